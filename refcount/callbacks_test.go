package refcount

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"
)

// A death may cause the next: one operation, or a flush for each, tells a chain of them.
func TestZero_chain(t *testing.T) {
	const chain = 1_000
	eachStrategy(t, func(t *testing.T, s Strategy) {
		var h Handle
		u := newUsers(t, chain)
		c, _ := newCounterWith(t, s, 0, func(ref int32) {
			u.zero(ref)
			if ref < chain {
				u.dec(h, ref+1)
			}
		})
		grow(t, c, 1, chain)
		h = c.Handle()
		for ref := int32(1); ref <= chain; ref++ {
			u.inc(h, ref)
		}
		runUntil(AtBarrier, c, []Handle{h}, directly)
		u.wantDead("all are used", 1, chain, none)
		u.dec(h, 1)
		when := s.Traits().Zero
		for n := int32(1); n <= chain && u.total.Load() < chain; n++ {
			runUntil(when, c, []Handle{h}, directly)
			if !u.dead(n) {
				t.Fatalf("%d dead, of a chain, after %d times %q", u.total.Load(), n, when)
			}
		}
		u.wantDead("in the end", 1, chain, every)
	})
}

// Zero may flush, and be at a barrier of its own, in the middle of what tells it.
func TestZero_reaches(t *testing.T) {
	const chain = 100
	eachStrategy(t, func(t *testing.T, s Strategy) {
		for _, ends := range []string{"Flush", "Close"} {
			t.Run("ends="+ends, func(t *testing.T) {
				var h Handle
				u := newUsers(t, 2*chain+100)
				var c Counter
				c, _ = newCounterWith(t, s, 0, func(ref int32) {
					u.zero(ref)
					if u.told[ref].Load() > 1 {
						return // and do not go on for ever
					}
					if got := c.Count(ref); got != 0 {
						t.Errorf("Count(%d) = %d of the dead", ref, got)
					}
					if h.TryInc(ref) {
						t.Errorf("TryInc(%d) of the dead returns true", ref)
					}
					h.Inc(ref)
					h.Dec(ref)
					if err := c.Grow(3*ref, 3*ref+63); err != nil {
						t.Error(err)
					}
					if c.Bytes() <= 0 {
						t.Error("no Bytes")
					}
					if ref < chain {
						u.dec(h, ref+1)
						u.inc(h, ref+chain+1) // a new one
					}
					if ends == "Close" {
						h.Close()
						if ref%2 == 0 {
							h = c.Handle()
						}
					}
					runUntil(AtEpoch, c, []Handle{h}, directly)
					c.Barrier()
				})
				grow(t, c, 1, 2*chain+100)
				h = c.Handle()
				for ref := int32(1); ref <= chain; ref++ {
					u.inc(h, ref)
				}
				if ends == "Close" {
					h.Close() // so that the decrements may come through others
					h = c.Handle()
				}
				u.dec(h, 1)
				runUntil(s.Traits().Zero, c, []Handle{h}, directly)
				runUntil(AtBarrier, c, []Handle{h}, directly)
				u.wantDead("in the end", 1, 2*chain, func(ref int32) bool { return ref <= chain })
				for ref := int32(1); ref <= 2*chain+100; ref++ {
					wantCount(t, s, c, ref, u.n[ref].Load())
				}
			})
		}
	})
}

// While a Zero runs, any other thread can do anything with the counter.
func TestG13_zeroRunsUnderNoLock(t *testing.T) {
	const dying, others = 300, 600 // others are 301 to 600
	eachStrategy(t, func(t *testing.T, s Strategy) {
		u := newUsers(t, others)
		var c Counter
		first := true
		use := func() {
			h := c.Handle()
			for ref := int32(dying + 1); ref <= others; ref++ {
				u.inc(h, ref)
				if !u.tryInc(h, ref) {
					t.Errorf("TryInc(%d) returns false", ref)
				}
				u.dec(h, ref)
				u.dec(h, ref)
				_ = c.Count(ref) + c.Count(ref-dying)
			}
			h.Flush()
			if err := c.Grow(1, 4*others); err != nil {
				t.Error(err)
			}
			h.Close()
			_ = c.Bytes()
		}
		c, _ = newCounterWith(t, s, 0, func(ref int32) {
			u.zero(ref)
			if !first {
				return
			}
			first = false
			if s.Traits().OneThread {
				use()
				return
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				use()
			}()
			select {
			case <-done:
			case <-time.After(30 * time.Second):
				t.Error("another thread waits for a Zero")
			}
		})
		grow(t, c, 1, others)
		h := c.Handle()
		for ref := int32(1); ref <= others; ref++ {
			u.inc(h, ref)
		}
		h.Flush()
		for ref := int32(1); ref <= dying; ref++ {
			u.dec(h, ref)
		}
		runUntil(s.Traits().Zero, c, []Handle{h}, directly)
		u.wantDead("in the end", 1, others, func(ref int32) bool { return ref <= dying })
		runUntil(AtBarrier, c, []Handle{h}, directly)
		for ref := int32(1); ref <= others; ref++ {
			wantCount(t, s, c, ref, u.n[ref].Load())
		}
	})
}

var errZero = errors.New("told to fail")

// A Zero that panics, or exits its goroutine, ends the operation that it was called in,
// and nothing else: the others are told, and the counter counts on.
func TestZero_failsAndTheOthersAreTold(t *testing.T) {
	const dying = 60
	eachStrategy(t, func(t *testing.T, s Strategy) {
		for _, exits := range []bool{false, true} {
			for _, closes := range []bool{false, true} {
				for _, failing := range []int32{1, 3, dying} { // each so manieth
					t.Run(fmt.Sprintf("exits=%t/closes=%t/every=%d", exits, closes, failing), func(t *testing.T) {
						u := newUsers(t, dying+10)
						fails := 0
						c, _ := newCounterWith(t, s, 0, func(ref int32) {
							u.zero(ref)
							if ref%failing != 0 {
								return
							}
							fails++
							if exits {
								runtime.Goexit()
							}
							panic(errZero)
						})
						grow(t, c, 1, dying+10)
						open := handlesOf(c, 2)
						for ref := int32(1); ref <= dying+10; ref++ {
							u.inc(open[ref%2], ref)
						}
						runUntil(AtFlush, c, open, directly)

						ended := 0 // operations that did not return
						do := func(f func()) {
							before := fails
							returned, panicked := ends(f)
							if (fails > before) == returned || (panicked != nil) != (!returned && !exits) {
								t.Errorf("an operation in which %d Zeros failed: returned: %t, panicked: %v",
									fails-before, returned, panicked)
							}
							if panicked != nil && panicked != errZero {
								t.Errorf("panic: %v", panicked)
							}
							if !returned {
								ended++
							}
						}
						for ref := int32(1); ref <= dying; ref++ {
							do(func() { u.dec(open[ref%2], ref) })
						}
						if closes && s.Traits().Zero != AtEpoch {
							do(open[0].Close)
							do(open[1].Close)
						}
						runUntil(s.Traits().Zero, c, open, do)
						u.wantDead("all are dropped", 1, dying+10, func(ref int32) bool { return ref <= dying })
						if want := int(dying / failing); fails != want || ended == 0 || s.Traits().Zero == AtOnce && ended != want {
							t.Errorf("%d Zeros failed, and ended %d operations; want %d", fails, ended, want)
						}

						for ref := int32(dying + 1); ref <= dying+10; ref++ {
							u.inc(open[0], ref)
							u.inc(open[1], ref)
						}
						open[0].Close()
						open[1].Close()
						c.Barrier()
						for ref := int32(1); ref <= dying+10; ref++ {
							wantCount(t, s, c, ref, u.n[ref].Load())
						}
						if got := u.total.Load(); got != dying {
							t.Errorf("%d deaths; want %d", got, dying)
						}
					})
				}
			}
		}
	})
}

// ends calls f in a goroutine of its own, and tells how that ends.
func ends(f func()) (returned bool, panicked any) {
	parallel(1, func(int) {
		defer func() { panicked = recover() }()
		f()
		returned = true
	})
	return returned, panicked
}

// Whoever adds users is in the middle of something else: nobody dies in Inc or TryInc.
func TestZero_incTellsNobody(t *testing.T) {
	const dying, others = 500, 100
	eachStrategy(t, func(t *testing.T, s Strategy) {
		for _, closed := range []bool{false, true} {
			adding, told := false, 0
			c, _ := newCounterWith(t, s, 0, func(ref int32) {
				told++
				if adding {
					t.Errorf("%d is told dead by an operation that adds users; closed handle: %t", ref, closed)
				}
			})
			grow(t, c, 1, dying+others)
			h := c.Handle()
			if closed {
				h.Close()
			}
			for ref := int32(1); ref <= dying; ref++ {
				h.Inc(ref)
				h.Dec(ref)
				adding = true
				for n := range int32(60) { // more than handles do between flushes, in all
					h.Inc(dying + 1 + n)
					if !h.TryInc(dying + 1 + (n+ref)%others) {
						t.Fatal("TryInc of a live objref returns false")
					}
				}
				adding = false
			}
			h.Close()
			c.Barrier()
			if told != dying {
				t.Errorf("%d told dead of %d", told, dying)
			}
		}
	})
}
