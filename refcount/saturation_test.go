package refcount

import (
	"fmt"
	"math"
	"testing"
)

// newSaturating returns a counter in which objref 7 has n users, and says who dies.
func newSaturating(t *testing.T, s Strategy, n uint32) (Counter, *users) {
	t.Helper()
	preset := presets[s.Name()]
	if preset == nil {
		t.Fatalf("no hook for %s: see presets", s.Name())
	}
	u := newUsers(t, 64)
	c, _ := newCounterWith(t, s, 0, u.zero)
	grow(t, c, 1, 64)
	preset(c, 7, n)
	wantCount(t, s, c, 7, int64(n))
	return c, u
}

// G4: counts saturate instead of wrapping, and what is saturated never dies.
func TestG4_countsSaturate(t *testing.T) {
	const most, left = math.MaxInt32, 4_000
	eachStrategy(t, func(t *testing.T, s Strategy) {
		for _, threads := range threadsOf(s, 1, 4) {
			t.Run(fmt.Sprintf("threads=%d", threads), func(t *testing.T) {
				c, u := newSaturating(t, s, most-left)
				neighbours := int64(0) // users of 6 and 8
				run := func(n int, count func(h Handle, n int)) {
					parallel(threads, func(int) {
						h := c.Handle()
						defer h.Close()
						for n := range n {
							count(h, n)
							h.Inc(6 + int32(n)%2*2)
							if got := c.Count(7); got < 1 || got > most {
								t.Errorf("Count = %d", got)
								return
							}
						}
					})
					neighbours += int64(n * threads)
				}
				up := func(h Handle, n int) {
					if n%2 == 0 {
						h.Inc(7)
					} else if !h.TryInc(7) {
						t.Error("TryInc returns false")
					}
				}
				run(left/threads-1, up)
				wantCount(t, s, c, 7, int64(most-threads))
				for range 5 {
					run(2, up)
					wantCount(t, s, c, 7, most)
					run(300, up)
					wantCount(t, s, c, 7, most)
					c.Barrier()
				}
				down := func(h Handle, n int) { h.Dec(7) }
				upAndDown := func(h Handle, n int) { // each through the handle it came through
					h.Inc(7)
					if n%2 == 0 {
						h.Dec(7)
					}
				}
				for range 3 {
					run(500, down)
					run(700, upAndDown)
					c.Barrier()
					if got := c.Count(7); got < 1 || got > most {
						t.Errorf("Count = %d after decrements", got)
					}
				}
				u.wantDead("all are used", 1, 64, none)
				for _, ref := range []int32{5, 9} {
					wantCount(t, s, c, ref, 0)
				}
				if s.Traits().Exact != Never && c.Count(6)+c.Count(8) != neighbours {
					t.Errorf("the neighbours have %d and %d users; want %d in all", c.Count(6), c.Count(8), neighbours)
				}
			})
		}
	})
}

// At the very end, one by one.
func TestG4_theLastCounts(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		for _, before := range []uint32{0, 1, 2, 255, 256, 257} {
			c, u := newSaturating(t, s, math.MaxInt32-before)
			closed := c.Handle()
			closed.Close()
			for n := int64(1); n <= 600; n++ {
				closed.Inc(7)
				wantCount(t, s, c, 7, min(math.MaxInt32, math.MaxInt32-int64(before)+n))
			}
			u.wantDead("it is used", 1, 64, none)
		}
	})
}

// Without overflow a count comes back from where it was.
func TestG4_upToTheLastCountAndBack(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		const n = 700
		c, u := newSaturating(t, s, math.MaxInt32-n-100)
		h := c.Handle()
		for range n {
			h.Inc(7)
		}
		for range n {
			h.Dec(7)
		}
		runUntil(AtBarrier, c, []Handle{h}, directly)
		wantCount(t, s, c, 7, math.MaxInt32-n-100)
		u.wantDead("it is used", 1, 64, none)
	})
}

// More decrements than increments are a bug of the caller's, which hurts this objref
// alone: it has no users.
func TestDec_moreThanInc(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		for _, threads := range threadsOf(s, 1, 4) {
			for _, dies := range []bool{false, true} {
				t.Run(fmt.Sprintf("threads=%d/dies=%t", threads, dies), func(t *testing.T) {
					u := newUsers(t, 64)
					zero := u.zero
					if !dies {
						zero = nil
					}
					c, _ := newCounterWith(t, s, 0, zero)
					grow(t, c, 1, 64)
					handles := handlesOf(c, threads)
					parallel(threads, func(w int) {
						h := handles[w]
						for range 100 {
							for _, ref := range []int32{6, 7, 8} {
								h.Inc(ref)
							}
						}
						for range 300 {
							h.Dec(7)
							h.Dec(9) // never had any
							if n := c.Count(7) + c.Count(9); n < 0 || n > int64(100*threads+2*len(handles))+2*s.Traits().Behind*int64(threads) {
								t.Errorf("Count = %d", n)
								return
							}
						}
					})
					for range 2 {
						runUntil(AtEpoch, c, handles, directly)
						runUntil(AtBarrier, c, handles, directly)
						for ref := int32(1); ref <= 12; ref++ {
							want := map[int32]int64{6: 100, 8: 100}[ref] * int64(threads)
							wantCount(t, s, c, ref, want)
						}
					}
					// The ones beside them did not die; and 7 did, for it had users.
					u.wantDead("in the end", 1, 8, func(ref int32) bool { return dies && ref == 7 })
					u.wantDead("in the end", 10, 64, none)
					if s.Traits().Zero == AtOnce {
						u.wantDead("never born", 9, 9, none)
					}
				})
			}
		}
	})
}
