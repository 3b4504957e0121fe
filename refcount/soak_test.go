//go:build soak

package refcount

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// The long jobs, run by `make soak`.

// 10^8 operations, over all strategies, loads and numbers of threads.
func TestSoak_hundredMillionOperations(t *testing.T) {
	const operations, phases = 100_000_000, 20
	threads := []int{1, 2, 4, 8, 16}
	runs := 0
	for _, s := range strategies {
		runs += len(loads) * len(threadsOf(s, threads...))
	}
	eachStrategy(t, func(t *testing.T, s Strategy) {
		for _, l := range loads {
			for _, threads := range threadsOf(s, threads...) {
				t.Run(fmt.Sprintf("load=%s/threads=%d", l.name, threads), func(t *testing.T) {
					testCounts(t, s, l, threads, phases, operations/runs/phases+1)
				})
			}
		}
	})
}

func TestSoak_threadsDropWhatTheyShare(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		for _, threads := range threadsOf(s, 2, 4, 16) {
			for _, barrier := range []bool{false, true} {
				t.Run(fmt.Sprintf("threads=%d/barrier=%t", threads, barrier), func(t *testing.T) {
					testDrops(t, s, threads, barrier, 1_000_000)
				})
			}
		}
	})
}

func TestSoak_lookupsRaceWithTheLastDrop(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		for _, threads := range threadsOf(s, 2, 4, 16) {
			t.Run(fmt.Sprintf("threads=%d", threads), func(t *testing.T) {
				for batch := range 100 { // whose arenas are closed at the end of each
					t.Run(fmt.Sprintf("batch=%d", batch), func(t *testing.T) {
						for round := range 100 {
							testLookups(t, s, threads, uint64(batch*100+round))
						}
					})
				}
			})
		}
	})
}

func TestSoak_lookupsChaseTheLastDrop(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		if !s.Traits().OneThread {
			testChase(t, s, 500_000)
		}
	})
}

func TestSoak_programs(t *testing.T) {
	for seed := range uint64(200) {
		testRandomPrograms(t, 1_000+seed, 100)
	}
}

// As with presets, but for real: more users than can be counted, one after the other.
func TestSoak_moreUsersThanCanBeCounted(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		u := newUsers(t, 64)
		c, _ := newCounterWith(t, s, 0, u.zero)
		grow(t, c, 1, 64)
		h := c.Handle()
		h.Inc(6)
		h.Inc(8)
		for n := uint32(0); n < 1<<31+1_000; n++ {
			h.Inc(7)
			if n%(1<<24) == 0 {
				if got := c.Count(7); got < 0 || got > math.MaxInt32 {
					t.Fatalf("Count = %d after %d", got, n)
				}
			}
		}
		h.Flush()
		wantCount(t, s, c, 7, math.MaxInt32)
		rng := rand.New(rand.NewPCG(4, 0))
		for range 1_000_000 {
			switch ref := 6 + rng.Int32N(3); {
			case ref != 7:
				u.inc(h, ref)
			case rng.IntN(3) == 0:
				h.Inc(7)
			default:
				h.Dec(7)
			}
		}
		h.Close()
		c.Barrier()
		if got := c.Count(7); got < 1 || got > math.MaxInt32 {
			t.Errorf("Count = %d after decrements", got)
		}
		wantCount(t, s, c, 6, 1+u.n[6].Load())
		wantCount(t, s, c, 8, 1+u.n[8].Load())
		u.wantDead("all are used", 1, 64, none)
	})
}
