package refcount

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// G21: counts equal the oracle's, at every barrier, whatever the interleaving before.
func TestG21_countsEqualTheOracle(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		for _, l := range loads {
			for _, threads := range threadsOf(s, 1, 2, 4, 8) {
				t.Run(fmt.Sprintf("load=%s/threads=%d", l.name, threads), func(t *testing.T) {
					testCounts(t, s, l, threads, 3, 4_000)
				})
			}
		}
	})
}

const countedObjects = 1_000

// testCounts lets threads count, in phases of so many operations, with a barrier after
// each; then all go on, with the handles they have. There is no synchronization but what
// the strategy has, and what hands users over, so that the race detector sees the
// strategy's own.
func testCounts(t *testing.T, s Strategy, l load, threads, phases, operations int) {
	c, _ := newCounter(t, s, 0)
	grow(t, c, 1, countedObjects)
	oracle, _ := newCounter(t, Plain{}, 0)
	grow(t, oracle, 1, countedObjects)
	given := &givenUsers{}
	workers := make([]*worker, threads)
	for w := range workers {
		workers[w] = &worker{
			c: c, h: c.Handle(), given: given,
			rng: rand.New(rand.NewPCG(21, uint64(w))),
			ref: func(rng *rand.Rand) int32 { return l.ref(rng, w, threads, countedObjects) },
			inc: make([]int, countedObjects+1), dec: make([]int, countedObjects+1),
		}
		workers[w].handleOfInc = s.Traits().OwnDec
	}
	for phase := range phases {
		parallel(threads, func(w int) { workers[w].run(t, operations/threads) })
		for _, w := range workers {
			w.tellOracle(oracle.Handle())
		}
		for _, w := range workers {
			w.tellOracleDecs(oracle.Handle())
		}
		for range 2 { // a Barrier changes no count
			for ref := range int32(countedObjects + 1) {
				wantCount(t, s, c, ref, oracle.Count(ref))
			}
			if t.Failed() {
				t.Fatalf("phase %d", phase)
			}
			c.Barrier()
		}
	}
	for _, w := range workers {
		w.h.Close()
	}
	for ref := range int32(countedObjects + 1) {
		wantCount(t, s, c, ref, oracle.Count(ref))
	}
}

// worker counts on one thread. A user is told by its objref.
type worker struct {
	c   Counter
	h   Handle
	rng *rand.Rand
	ref func(*rand.Rand) int32

	handleOfInc bool // takes what came through an open handle off there
	mine        []int32
	free        []int32 // users that came through closed handles, or of other threads
	given       *givenUsers

	inc, dec []int // by objref, since the last barrier
}

// givenUsers are users that one thread has left to others.
type givenUsers struct {
	mu   sync.Mutex
	refs []int32
}

func (g *givenUsers) give(refs []int32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refs = append(g.refs, refs...)
}

func (g *givenUsers) take() []int32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	half := len(g.refs) / 2
	refs := append([]int32(nil), g.refs[half:]...)
	g.refs = g.refs[:half]
	return refs
}

// run does so many operations, and flushes or replaces the handle.
func (w *worker) run(t *testing.T, operations int) {
	for range operations {
		switch n := w.rng.IntN(1_000); {
		case n < 3:
			w.replace()
		case n < 5:
			runtime.Gosched()
		case n < 7:
			first := int32(w.rng.IntN(20_000) + 1)
			if err := w.c.Grow(first, first+63); err != nil {
				t.Error(err)
			}
		case n < 11:
			w.h.Flush()
		case n < 15:
			from := &w.free
			if !w.handleOfInc && n%2 == 0 {
				from = &w.mine
			}
			w.given.give(*from)
			*from = nil
		case n < 20:
			w.free = append(w.free, w.given.take()...)
		case n < 40:
			if got := w.c.Count(w.ref(w.rng)); got < 0 || got > math.MaxInt32 {
				t.Errorf("Count = %d", got)
				return
			}
		case n < 360:
			w.h.Inc(w.incOf())
		case n < 560:
			if ref := w.incOf(); !w.h.TryInc(ref) {
				t.Errorf("TryInc(%d) returns false, and nothing dies", ref)
				return
			}
		default:
			w.drop()
		}
	}
	if w.rng.IntN(3) == 0 {
		w.replace()
	} else {
		w.h.Flush()
	}
}

func (w *worker) replace() {
	w.h.Close()
	w.h = w.c.Handle()
	w.free = append(w.free, w.mine...)
	w.mine = w.mine[:0]
}

// incOf returns what to count next.
func (w *worker) incOf() int32 {
	ref := w.ref(w.rng)
	w.mine = append(w.mine, ref)
	w.inc[ref]++
	return ref
}

// drop takes off any user that this thread has.
func (w *worker) drop() {
	from := &w.mine
	if n := len(w.mine) + len(w.free); n == 0 {
		return
	} else if w.rng.IntN(n) >= len(w.mine) {
		from = &w.free
	}
	i, last := w.rng.IntN(len(*from)), len(*from)-1
	ref := (*from)[i]
	(*from)[i] = (*from)[last]
	*from = (*from)[:last]
	w.dec[ref]++
	w.h.Dec(ref)
}

// tellOracle repeats the increments since the last barrier.
func (w *worker) tellOracle(h Handle) {
	for ref, n := range w.inc {
		for range n {
			h.Inc(int32(ref))
		}
	}
	clear(w.inc)
}

// tellOracleDecs repeats the decrements, which may have come from other threads than
// the increments.
func (w *worker) tellOracleDecs(h Handle) {
	for ref, n := range w.dec {
		for range n {
			h.Dec(int32(ref))
		}
	}
	clear(w.dec)
}

// Meanwhile a count is an estimate: it misses no more than what open handles may hold
// back of the operations that are done, and no more of those that are being done.
func TestG21_estimates(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		for _, threads := range threadsOf(s, 1, 4) {
			t.Run(fmt.Sprintf("threads=%d", threads), func(t *testing.T) { testEstimates(t, s, threads) })
		}
	})
}

func testEstimates(t *testing.T, s Strategy, threads int) {
	const objects = 3
	type account struct{ begun, done atomic.Int64 }
	var inc, dec [objects + 1]account
	c, _ := newCounter(t, s, 0)
	grow(t, c, 1, objects)
	slack := s.Traits().Behind * int64(threads)
	check := func(ref int32) bool {
		least := inc[ref].done.Load()
		most := -dec[ref].done.Load()
		got := c.Count(ref)
		least -= dec[ref].begun.Load() + slack
		most += inc[ref].begun.Load() + slack
		if got < 0 || got > math.MaxInt32 || s.Traits().Exact != Never && (got < least || got > most) {
			t.Errorf("Count(%d) = %d; want %d to %d", ref, got, least, most)
			return false
		}
		return true
	}
	parallel(threads, func(w int) {
		rng := rand.New(rand.NewPCG(22, uint64(w)))
		h := c.Handle()
		defer func() { h.Close() }()
		var mine [objects + 1]int
		for step := range 6_000 / threads {
			ref := 1 + rng.Int32N(objects)
			// Up for a time, then down: both ways estimates are late.
			if up := step/500%2 == 0 || mine[ref] == 0; up {
				inc[ref].begun.Add(1)
				h.Inc(ref)
				inc[ref].done.Add(1)
				mine[ref]++
			} else {
				dec[ref].begun.Add(1)
				h.Dec(ref)
				dec[ref].done.Add(1)
				mine[ref]--
			}
			if !check(ref) {
				return
			}
			switch rng.IntN(200) {
			case 0:
				h.Flush()
			case 1:
				h.Close()
				h = c.Handle()
			}
		}
	})
	for ref := int32(1); ref <= objects; ref++ {
		wantCount(t, s, c, ref, inc[ref].done.Load()-dec[ref].done.Load())
	}
}

// Without a Zero nothing dies: counts go to 0 and rise again.
func TestG21_countsRiseAgain(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		c, _ := newCounter(t, s, 0)
		grow(t, c, 1, 64)
		open := handlesOf(c, 2)
		h := open[0]
		for round := range 20 {
			inc := func() { h.Inc(7) }
			if round%2 == 1 {
				inc = func() {
					if !h.TryInc(7) {
						t.Fatal("TryInc returns false, and nothing dies")
					}
				}
			}
			for range 1 + round*round {
				inc()
			}
			runUntil(AtBarrier, c, open, directly)
			wantCount(t, s, c, 7, int64(1+round*round))
			for range 1 + round*round {
				h.Dec(7)
			}
			runUntil([]When{AtFlush, AtEpoch, AtBarrier}[round%3], c, open, directly)
			wantCount(t, s, c, 7, 0)
		}
		wantCount(t, s, c, 6, 0)
		wantCount(t, s, c, 8, 0)
	})
}

// A decrement may become visible long before the increment that it undoes.
func TestG21_decIsSeenBeforeInc(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		if s.Traits().OwnDec {
			return // the two come through one handle
		}
		for _, n := range []int{1, 2, 63, 64, 65, 200, 1_000} {
			u := newUsers(t, 64)
			c, _ := newCounterWith(t, s, 0, u.zero)
			grow(t, c, 1, 64)
			open := handlesOf(c, 3)
			for range n {
				u.inc(open[0], 7)
				u.inc(open[0], 7)
			}
			for range n {
				u.dec(open[1], 7)
			}
			open[1].Flush()
			for range n - 1 {
				u.dec(open[2], 7)
			}
			for range 4 {
				open[1].Flush()
				open[2].Flush()
			}
			if got := c.Count(7); got < 0 || got > int64(2*n) {
				t.Errorf("n=%d: Count = %d", n, got)
			}
			runUntil(AtBarrier, c, open, directly)
			wantCount(t, s, c, 7, 1)
			u.wantDead("one user is left", 1, 64, none)
			u.dec(open[2], 7)
			runUntil(s.Traits().Zero, c, open, directly)
			u.wantDead("no user is left", 7, 7, every)
			wantCount(t, s, c, 7, 0)
		}
	})
}
