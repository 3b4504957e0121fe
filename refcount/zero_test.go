package refcount

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// A death is told at the moment that Traits name, and not while there is a user.
func TestZero_isToldInTime(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		for _, handles := range []int{1, 3} {
			for _, each := range []int{1, 64, 300} {
				t.Run(fmt.Sprintf("handles=%d/users=%d", handles, handles*each), func(t *testing.T) {
					u := newUsers(t, 64)
					c, _ := newCounterWith(t, s, 0, u.zero)
					grow(t, c, 1, 64)
					open := handlesOf(c, handles+1) // and an idle one
					for _, h := range open[:handles] {
						for range each {
							u.inc(h, 7)
						}
						u.inc(h, 9)
					}
					for range 5 {
						runUntil(AtBarrier, c, open, directly)
					}
					for i, h := range open[:handles] {
						for n := range each {
							if i == handles-1 && n == each-1 { // one user is left
								for range 5 {
									runUntil(AtBarrier, c, open, directly)
								}
								u.wantDead("one user is left", 1, 64, none)
								wantCount(t, s, c, 7, 1)
							}
							u.dec(h, 7)
						}
					}
					when := s.Traits().Zero
					toBeFlushed := open
					if when == AtFlush {
						toBeFlushed = open[:handles] // the idle one has not counted it
					}
					runUntil(when, c, toBeFlushed, directly)
					u.wantDead("no user is left", 1, 64, func(ref int32) bool { return ref == 7 })
					for range 5 {
						runUntil(AtBarrier, c, open, directly)
					}
					u.wantDead("much later", 1, 64, func(ref int32) bool { return ref == 7 })
					wantCount(t, s, c, 7, 0)
					wantCount(t, s, c, 9, int64(handles))
				})
			}
		}
	})
}

// A handle that is closed is one that is flushed.
func TestZero_isToldThoughHandlesAreClosed(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		u := newUsers(t, 64)
		c, _ := newCounterWith(t, s, 0, u.zero)
		grow(t, c, 1, 64)
		open := handlesOf(c, 4)
		for _, h := range open {
			for ref := int32(1); ref <= 20; ref++ {
				u.inc(h, ref)
			}
			for ref := int32(20); ref > 10; ref-- {
				u.dec(h, ref)
			}
		}
		for _, i := range []int{2, 0, 3, 1} {
			open[i].Close()
		}
		// With every handle closed there is none left to be flushed.
		if when := s.Traits().Zero; when <= AtFlush {
			u.wantDead("all handles are closed", 1, 20, func(ref int32) bool { return ref > 10 })
		}
		c.Barrier()
		u.wantDead("after a Barrier", 1, 64, func(ref int32) bool { return ref > 10 && ref <= 20 })
		h := c.Handle()
		for range 4 {
			for ref := int32(1); ref <= 10; ref++ {
				u.dec(h, ref)
			}
		}
		runUntil(s.Traits().Zero, c, []Handle{h}, directly)
		u.wantDead("no user is left", 1, 64, func(ref int32) bool { return ref <= 20 })
	})
}

// Dead is for ever: there is no user more, no count, and nothing is told again.
func TestZero_theDeadStayDead(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		const dead = 20 // and as many that live
		u := newUsers(t, 64)
		c, _ := newCounterWith(t, s, 0, u.zero)
		grow(t, c, 1, 64)
		open := handlesOf(c, 2)
		for ref := int32(1); ref <= 2*dead; ref++ {
			u.inc(open[0], ref)
			if ref <= dead {
				u.dec(open[0], ref)
			}
		}
		runUntil(s.Traits().Zero, c, open, directly)
		u.wantDead("at first", 1, 64, func(ref int32) bool { return ref <= dead })
		closed := c.Handle()
		closed.Close()
		for round := range 300 {
			h := []Handle{open[0], open[1], closed, c.Handle()}[round%4]
			for ref := int32(1); ref <= dead; ref++ {
				switch (round + int(ref)) % 5 {
				case 0, 1:
					if h.TryInc(ref) {
						t.Fatalf("round %d: TryInc(%d) of a dead objref returns true", round, ref)
					}
				case 2, 3:
					h.Inc(ref)
				case 4:
					h.Dec(ref)
				}
			}
			if round%4 == 3 {
				h.Close()
			}
			if round%50 == 49 {
				runUntil(AtEpoch, c, open, directly)
				runUntil(AtBarrier, c, open, directly)
			}
			for ref := int32(1); ref <= dead; ref += 7 {
				if got := c.Count(ref); got != 0 {
					t.Fatalf("round %d: Count(%d) = %d; want 0, it is dead", round, ref, got)
				}
			}
		}
		u.wantDead("in the end", 1, 64, func(ref int32) bool { return ref <= dead })
		for ref := int32(1); ref <= 2*dead; ref++ {
			wantCount(t, s, c, ref, u.n[ref].Load())
		}
	})
}

// What was never counted does not die, whatever else happens around it.
func TestZero_theUnbornDoNotDie(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		u := newUsers(t, 2_000)
		c, _ := newCounterWith(t, s, 0, u.zero)
		grow(t, c, 1, 2_000)
		h := c.Handle()
		for ref := int32(10); ref <= 2_000; ref += 10 {
			u.inc(h, ref)
			u.dec(h, ref)
		}
		for range 3 {
			runUntil(AtEpoch, c, []Handle{h}, directly)
			runUntil(AtBarrier, c, []Handle{h}, directly)
		}
		u.wantDead("in the end", 1, 2_000, func(ref int32) bool { return ref%10 == 0 })
		if !u.tryInc(h, 5) {
			t.Error("TryInc of an objref that is not born returns false")
		}
		runUntil(AtBarrier, c, []Handle{h}, directly)
		wantCount(t, s, c, 5, 1)
		u.dec(h, 5)
		runUntil(s.Traits().Zero, c, []Handle{h}, directly)
		u.wantDead("born by TryInc, and dropped", 5, 5, every)
	})
}

// Who has no users, but has not been told, may rise: then it is not dead.
func TestZero_riseBeforeItIsTold(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		const objects = 300
		u := newUsers(t, objects)
		c, _ := newCounterWith(t, s, 0, u.zero)
		grow(t, c, 1, objects)
		open := handlesOf(c, 2)
		h := open[0]
		rng := rand.New(rand.NewPCG(7, 0))
		rose := make([]bool, objects+1)
		for ref := int32(1); ref <= objects; ref++ {
			u.inc(h, ref)
			for range rng.IntN(2) {
				runUntil(AtFlush, c, open, directly)
			}
			u.dec(h, ref)
			for range rng.IntN(3) {
				runUntil(AtFlush, c, open, directly)
			}
			rose[ref] = u.tryInc(open[rng.IntN(2)], ref)
			if was := u.dead(ref); rose[ref] == was {
				t.Fatalf("TryInc(%d) returns %t; told dead: %t", ref, rose[ref], was)
			}
		}
		for range 2 {
			runUntil(AtEpoch, c, open, directly)
			runUntil(AtBarrier, c, open, directly)
			u.wantDead("some rose again", 1, objects, func(ref int32) bool { return !rose[ref] })
			for ref := int32(1); ref <= objects; ref++ {
				wantCount(t, s, c, ref, u.n[ref].Load())
			}
		}
		for _, h := range open {
			h.Close() // then a Dec may come through any handle
		}
		last := c.Handle()
		for ref := int32(1); ref <= objects; ref++ {
			if rose[ref] {
				u.dec(last, ref)
			}
		}
		runUntil(s.Traits().Zero, c, []Handle{last}, directly)
		u.wantDead("in the end", 1, objects, every)
	})
}

// Threads drop objects that all of them use: each dies once, at the last of them.
func TestZero_threadsDropWhatTheyShare(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		for _, threads := range threadsOf(s, 2, 8) {
			for _, barrier := range []bool{false, true} {
				t.Run(fmt.Sprintf("threads=%d/barrier=%t", threads, barrier), func(t *testing.T) {
					testDrops(t, s, threads, barrier, 4_000/threads)
				})
			}
		}
	})
}

// testDrops lets every thread use all objects, then, after a barrier or without, drop
// them, in an order of its own.
func testDrops(t *testing.T, s Strategy, threads int, barrier bool, objects int) {
	u := newUsers(t, int32(objects))
	c, _ := newCounterWith(t, s, 0, u.zero)
	grow(t, c, 1, int32(objects))
	handles := handlesOf(c, threads)
	idle := c.Handle()
	parallel(threads, func(w int) {
		rng := rand.New(rand.NewPCG(14, uint64(w)))
		for _, i := range rng.Perm(objects) {
			u.inc(handles[w], int32(i+1))
			if rng.IntN(3) == 0 && !u.tryInc(handles[w], int32(i+1)) {
				t.Errorf("TryInc(%d) returns false; this thread uses it", i+1)
			}
		}
	})
	per := make([]int64, objects+1)
	for ref := range per {
		per[ref] = u.n[ref].Load()
	}
	open := append(handles[:threads:threads], idle)
	if barrier {
		runUntil(AtBarrier, c, open, directly)
		for ref, n := range per {
			wantCount(t, s, c, int32(ref), n)
		}
	}
	u.wantDead("all are used", 1, int32(objects), none)
	parallel(threads, func(w int) {
		rng := rand.New(rand.NewPCG(15, uint64(w)))
		again := rand.New(rand.NewPCG(14, uint64(w)))
		has := make([]int, objects)
		for _, i := range again.Perm(objects) {
			has[i] = 1
			if again.IntN(3) == 0 {
				has[i]++
			}
		}
		for _, i := range rng.Perm(objects) {
			for range has[i] {
				u.dec(handles[w], int32(i+1))
			}
			switch rng.IntN(100) {
			case 0:
				handles[w].Flush()
			case 1:
				handles[w].Close()
				handles[w] = c.Handle()
			case 2:
				runtime.Gosched()
			}
		}
	})
	open = append(handles[:threads:threads], idle)
	runUntil(s.Traits().Zero, c, open, directly)
	u.wantDead("all are dropped", 1, int32(objects), every)
	runUntil(AtEpoch, c, open, directly)
	runUntil(AtBarrier, c, open, directly)
	if got := u.total.Load(); got != int64(objects) {
		t.Errorf("%d deaths of %d objects", got, objects)
	}
	for ref := range int32(objects + 1) {
		wantCount(t, s, c, ref, 0)
	}
}

// Threads look objects up while others drop them: a lookup that succeeds is before the
// death, which then waits for that user too; after one that fails none succeeds.
func TestZero_lookupsRaceWithTheLastDrop(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		for _, threads := range threadsOf(s, 2, 4) {
			t.Run(fmt.Sprintf("threads=%d", threads), func(t *testing.T) {
				for round := range 60 {
					testLookups(t, s, threads, uint64(round))
				}
			})
		}
	})
}

func testLookups(t *testing.T, s Strategy, threads int, seed uint64) {
	const objects, passes = 16, 6
	u := newUsers(t, objects)
	c, _ := newCounterWith(t, s, 0, u.zero)
	grow(t, c, 1, objects)
	handles := handlesOf(c, threads)
	for ref := int32(1); ref <= objects; ref++ {
		u.inc(handles[int(ref)%threads], ref) // who drops it in the end
	}
	if seed%2 == 0 {
		runUntil(AtFlush, c, handles, directly)
	}
	var refused [objects + 1]atomic.Bool
	var start sync.WaitGroup
	start.Add(threads)
	run := parallel
	if threads == 1 {
		run = inTurn
	}
	run(threads, func(w int) {
		rng := rand.New(rand.NewPCG(seed, uint64(w)))
		h := handles[w]
		start.Done()
		start.Wait()
		for pass := range passes {
			for _, i := range rng.Perm(objects) {
				ref := int32(i + 1)
				gone := refused[ref].Load()
				if u.tryInc(h, ref) {
					if gone {
						t.Errorf("TryInc(%d) returns true after one that returned false", ref)
					}
					if rng.IntN(4) == 0 {
						runtime.Gosched()
					}
					u.dec(h, ref)
				} else {
					refused[ref].Store(true)
				}
				if pass == passes/2 && int(ref)%threads == w {
					u.dec(h, ref)
				}
				if rng.IntN(16) == 0 {
					h.Flush()
				}
			}
		}
	})
	runUntil(s.Traits().Zero, c, handles, directly)
	u.wantDead("all are dropped", 1, objects, every)
	for ref := int32(1); ref <= objects; ref++ {
		if handles[0].TryInc(ref) {
			t.Errorf("TryInc(%d) of a dead objref returns true", ref)
		}
		wantCount(t, s, c, ref, 0)
	}
}

// One thread looks an object up, again and again, until another has dropped it: for each
// object, so that all of them die in a race.
func TestZero_lookupsChaseTheLastDrop(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		if s.Traits().OneThread {
			return
		}
		testChase(t, s, 1_500)
	})
}

func testChase(t *testing.T, s Strategy, objects int32) {
	const lookups = 30
	u := newUsers(t, objects)
	c, _ := newCounterWith(t, s, 0, u.zero)
	grow(t, c, 1, objects)
	handles := handlesOf(c, 2)
	for ref := int32(1); ref <= objects; ref++ {
		u.inc(handles[0], ref)
	}
	handles[0].Flush()
	var at atomic.Int32 // where the lookups are
	parallel(2, func(w int) {
		h := handles[w]
		for ref := int32(1); ref <= objects; ref++ {
			if w == 0 {
				for at.Load() < ref {
					runtime.Gosched()
				}
				u.dec(h, ref)
				if ref%16 == 0 {
					h.Flush()
				}
				continue
			}
			at.Store(ref)
			for n := range lookups {
				if !u.tryInc(h, ref) {
					break
				}
				u.dec(h, ref)
				if (n+int(ref))%16 == 0 {
					h.Flush()
				}
			}
		}
	})
	runUntil(s.Traits().Zero, c, handles, directly)
	u.wantDead("all are dropped", 1, objects, every)
	if got := u.total.Load(); got != int64(objects) {
		t.Errorf("%d deaths of %d objects", got, objects)
	}
}
