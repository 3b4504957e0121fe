package refcount

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
)

// What a handle counted is counted once, however often it is closed.
func TestClose_countsOnce(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		c, _ := newCounter(t, s, 0)
		grow(t, c, 1, 64)
		want := int64(0)
		for _, n := range []int{0, 1, 63, 64, 65, 128, 129, 255, 256, 257, 600} {
			h := c.Handle()
			for range n {
				h.Inc(3)
			}
			for range n / 3 {
				h.Dec(3)
			}
			want += int64(n - n/3)
			for range 3 {
				h.Close()
				wantCount(t, s, c, 3, want)
			}
		}
		c.Handle().Close() // never used
		c.Handle()         // never used nor closed
		c.Barrier()
		for _, ref := range []int32{1, 2, 4, 5} {
			wantCount(t, s, c, ref, 0)
		}
		wantCount(t, s, c, 3, want)
	})
}

// A closed handle may be used: each operation is flushed at once.
func TestClose_thenUseCountsAtOnce(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		u := newUsers(t, 64)
		c, _ := newCounterWith(t, s, 0, u.zero)
		grow(t, c, 1, 64)
		idle := c.Handle()
		h := c.Handle()
		for range 100 {
			u.inc(h, 3)
		}
		h.Close()
		for n := int64(101); n <= 300; n++ {
			if n%2 == 0 {
				u.inc(h, 3)
			} else if !u.tryInc(h, 3) {
				t.Fatal("TryInc returns false")
			}
			wantCount(t, s, c, 3, n)
		}
		for n := int64(299); n >= 0; n-- {
			u.dec(h, 3)
			wantCount(t, s, c, 3, n)
			if n == 1 {
				h.Close()
				h.Flush()
			}
		}
		runUntil(s.Traits().Zero, c, []Handle{idle}, directly)
		u.wantDead("no user is left", 1, 64, func(ref int32) bool { return ref == 3 })
		idle.Close()
		runUntil(AtBarrier, c, nil, directly)
		if h.TryInc(3) {
			t.Error("TryInc of a dead objref returns true")
		}
		wantCount(t, s, c, 3, 0)
	})
}

// Handles may be closed in any order, while others go on.
func TestG21_handlesAreClosedInAnyOrder(t *testing.T) {
	test := func(t *testing.T, s Strategy, order []int) {
		c, _ := newCounter(t, s, 0)
		grow(t, c, 1, 64)
		handles := handlesOf(c, len(order))
		var want [3]int64 // objrefs 5 to 7
		count := func(i, incs, decs int) {
			ref := 5 + i%3
			for range incs {
				handles[i].Inc(int32(ref))
			}
			for range decs {
				handles[i].Dec(int32(ref))
			}
			want[i%3] += int64(incs - decs)
		}
		for i := range handles {
			count(i, 70*i+100, 3*i)
		}
		for n, i := range order {
			handles[i].Close()
			for _, j := range order[n+1:] {
				count(j, 40, 30)
			}
			count(i, 2, 1) // closed
		}
		for i, n := range want {
			wantCount(t, s, c, int32(5+i), n)
		}
		if t.Failed() {
			t.Fatalf("closed in this order: %v", order)
		}
	}
	eachStrategy(t, func(t *testing.T, s Strategy) {
		for i := range 24 {
			left, order := []int{0, 1, 2, 3}, []int(nil)
			for n := 4; n > 0; n-- {
				k := i % n
				i /= n
				order = append(order, left[k])
				left = append(left[:k:k], left[k+1:]...)
			}
			test(t, s, order)
		}
		rng := rand.New(rand.NewPCG(50, 0))
		for range 4 {
			test(t, s, rng.Perm(50))
		}
	})
}

func TestG21_moreHandlesThanObjectsAndTheReverse(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		for _, shape := range []struct{ handles, objects, each int }{{500, 3, 100}, {2, 20_000, 20_000}} {
			t.Run(fmt.Sprintf("handles=%d/objects=%d", shape.handles, shape.objects), func(t *testing.T) {
				c, _ := newCounter(t, s, 0)
				grow(t, c, 1, int32(shape.objects))
				handles := handlesOf(c, shape.handles)
				want := make([]int64, shape.objects)
				for n := range shape.each {
					for i, h := range handles {
						ref := (n + i) % shape.objects
						h.Inc(int32(ref + 1))
						want[ref]++
						if n%4 == 3 {
							h.Dec(int32(ref + 1))
							want[ref]--
						}
					}
				}
				for _, h := range handles {
					h.Close()
				}
				for i, n := range want {
					wantCount(t, s, c, int32(i+1), n)
				}
			})
		}
	})
}

// A handle may go from goroutine to goroutine; it is only not for two at once.
func TestG21_handlesGoFromGoroutineToGoroutine(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		const n, each = 8, 150
		c, _ := newCounter(t, s, 0)
		grow(t, c, 1, 64)
		run := parallel
		if s.Traits().OneThread {
			run = inTurn
		}
		handles := make([]Handle, n)
		run(n, func(w int) { handles[w] = c.Handle() })
		for round := range 4 {
			run(n, func(w int) {
				h := handles[(w+round)%n]
				for range each {
					h.Inc(7)
					h.Inc(int32(w + 10))
					h.Dec(7)
					h.Inc(7)
				}
			})
		}
		run(n, func(w int) { handles[(w+5)%n].Close() })
		wantCount(t, s, c, 7, 4*n*each)
		for w := range int32(n) {
			wantCount(t, s, c, w+10, 4*each)
		}
	})
}

// A goroutine that ends by a panic, or is made to exit, loses nothing if its handle's
// Close is deferred.
func TestG21_nothingIsLostOnTheWayOut(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		run := parallel
		if s.Traits().OneThread {
			run = inTurn
		}
		for _, incs := range []int{1, 63, 64, 65, 300} {
			c, _ := newCounter(t, s, 0)
			grow(t, c, 1, 64)
			run(6, func(w int) {
				defer func() {
					if v := recover(); (v != nil) != (w%3 == 0) {
						t.Errorf("goroutine %d recovers from %v", w, v)
					}
				}()
				h := c.Handle()
				defer h.Close()
				for n := range incs {
					h.Inc(7)
					if n%4 == 1 {
						h.Dec(7)
					}
				}
				switch w % 3 {
				case 0:
					panic("between increment and Close")
				case 1:
					runtime.Goexit()
				}
			})
			wantCount(t, s, c, 7, int64(6*(incs-(incs+2)/4)))
		}
	})
}
