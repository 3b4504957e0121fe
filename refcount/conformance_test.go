package refcount

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/objhash/objhash/internal/region"
)

// strategies are all that there are; every test runs over each.
var strategies = []struct {
	Strategy
	behind int64                            // users of one objref that an open handle may hold back
	each   int64                            // bytes for an objref, at most
	word   func(c Counter, r int32) *uint32 // where the count is, or that which all handles share
	bytes  func(Handle) uintptr             // memory of a handle
}{
	{Atomic{}, 0, 4,
		func(c Counter, r int32) *uint32 { return c.(*AtomicCounter).at(r) },
		func(Handle) uintptr { return 0 }},
	{Log{}, 64, 4 + ownMax*int64(cellBytes),
		func(c Counter, r int32) *uint32 { return c.(*logCounter).shared.At(uint32(r)) },
		func(h Handle) uintptr { return unsafe.Sizeof(*h.(*LogHandle)) }},
}

func newCounter(t testing.TB, s Strategy, limit int64) (Counter, *region.Arena) {
	t.Helper()
	a := region.NewArena(region.NewBudget(limit))
	t.Cleanup(a.Close)
	c, err := s.New(Config{Arena: a})
	if err != nil {
		t.Fatal(err)
	}
	return c, a
}

func grow(t testing.TB, c Counter, first, last int32) {
	t.Helper()
	if err := c.Grow(first, last); err != nil {
		t.Fatalf("Grow(%d, %d): %v", first, last, err)
	}
}

// loads are what is counted: objref number n of a thread's stream, of 1 to objects.
var loads = []struct {
	name string
	ref  func(rng *rand.Rand, thread, threads, objects int) int32
}{
	{"private", func(rng *rand.Rand, thread, threads, objects int) int32 {
		each := objects / threads
		return int32(thread*each + rng.IntN(each) + 1)
	}},
	{"hot", func(*rand.Rand, int, int, int) int32 { return 1 }},
	{"even", func(rng *rand.Rand, _, _, objects int) int32 { return int32(rng.IntN(objects) + 1) }},
	{"skewed", func(rng *rand.Rand, _, _, objects int) int32 {
		u := rng.Float64()
		return int32(u*u*u*u*float64(objects)) + 1
	}},
}

// G21: counted users equal the oracle's for every strategy, after handles are closed,
// in any interleaving. The oracle is a plain slice for each thread.
func TestG21_countsEqualTheOracle(t *testing.T) {
	const objects, incs = 1_000, 20_000
	for _, s := range strategies {
		for _, load := range loads {
			for _, threads := range []int{1, 2, 4, 8} {
				t.Run(fmt.Sprintf("strategy=%s/load=%s/threads=%d", s.Name(), load.name, threads), func(t *testing.T) {
					c, _ := newCounter(t, s, 0)
					grow(t, c, 1, objects)
					oracles := make([][]int64, threads)
					var wg sync.WaitGroup
					for w := range threads {
						oracle := make([]int64, objects+1)
						oracles[w] = oracle
						wg.Go(func() {
							rng := rand.New(rand.NewPCG(21, uint64(w)))
							h := c.Handle()
							for n := range incs / threads {
								ref := load.ref(rng, w, threads, objects)
								h.Inc(ref)
								oracle[ref]++
								switch rng.IntN(1_000) {
								case 0: // handles come and go
									h.Close()
									h = c.Handle()
								case 1:
									runtime.Gosched()
								case 2: // so does room
									if err := c.Grow(int32(n)*50+1, int32(n)*50+64); err != nil {
										t.Error(err)
									}
								}
								if n%64 == 0 {
									if got, least := c.Count(ref), oracle[ref]-s.behind; got < least {
										t.Errorf("Count(%d) = %d; this thread alone counted %d", ref, got, oracle[ref])
									}
								}
							}
							h.Close()
						})
					}
					wg.Wait()
					var total int64
					for ref := range int32(objects + 1) {
						var want int64
						for _, oracle := range oracles {
							want += oracle[ref]
						}
						if got := c.Count(ref); got != want {
							t.Fatalf("Count(%d) = %d; want %d", ref, got, want)
						}
						total += want
					}
					if total != int64(incs/threads*threads) {
						t.Errorf("%d counted in all; want %d", total, incs)
					}
				})
			}
		}
	}
}

// An open handle holds back no more than its strategy says, and a count never goes
// back or beyond the truth.
func TestG21_countOfOpenHandles(t *testing.T) {
	for _, s := range strategies {
		t.Run("strategy="+s.Name(), func(t *testing.T) {
			c, _ := newCounter(t, s, 0)
			grow(t, c, 1, 64)
			h, other := c.Handle(), c.Handle()
			last := int64(0)
			for n := int64(1); n <= 1_000; n++ {
				h.Inc(7)
				if got := c.Count(7); got < last || got > n || got < n-s.behind {
					t.Fatalf("Count = %d after %d, before it was %d; want at most %d behind", got, n, last, s.behind)
				} else {
					last = got
				}
			}
			if s.behind == 0 {
				other.Inc(7)
				if got := c.Count(7); got != 1_001 {
					t.Errorf("Count = %d; want 1001 at once", got)
				}
				return
			}
			other.Inc(7)
			other.Close()
			h.Close()
			if got := c.Count(7); got != 1_001 {
				t.Errorf("Count = %d with all handles closed; want 1001", got)
			}
		})
	}
}

func TestClose_countsOnce(t *testing.T) {
	for _, s := range strategies {
		t.Run("strategy="+s.Name(), func(t *testing.T) {
			c, _ := newCounter(t, s, 0)
			grow(t, c, 1, 64)
			for _, n := range []int{0, 1, 63, 64, 65, 128, 129} {
				before := c.Count(3)
				h := c.Handle()
				for range n {
					h.Inc(3)
				}
				for range 3 {
					h.Close()
					if got := c.Count(3) - before; got != int64(n) {
						t.Errorf("%d counted, then closed: Count went up by %d", n, got)
					}
				}
			}
			c.Handle().Close() // never used
			if got := c.Count(1) + c.Count(2) + c.Count(4); got != 0 {
				t.Errorf("neighbours have %d users", got)
			}
		})
	}
}

func TestCount_objrefWithoutRoom(t *testing.T) {
	for _, s := range strategies {
		t.Run("strategy="+s.Name(), func(t *testing.T) {
			c, _ := newCounter(t, s, 0)
			wantNone := func(refs ...int32) {
				t.Helper()
				for _, ref := range refs {
					func() {
						defer func() {
							if v := recover(); v != nil {
								t.Errorf("Count(%d) panics: %v", ref, v)
							}
						}()
						if got := c.Count(ref); got != 0 {
							t.Errorf("Count(%d) = %d; want 0", ref, got)
						}
					}()
				}
			}
			wantNone(1, 2, 100, 10_000, 1<<20, math.MaxInt32-1, math.MaxInt32)
			wantNone(0, -1, -2, -511, -512, -513, -100_000, math.MinInt32, math.MinInt32+1)
			grow(t, c, 1, 64)
			h := c.Handle()
			h.Inc(1)
			h.Close()
			wantNone(2, 64, 100_000, 1<<20, math.MaxInt32)
			wantNone(0, -1, -511, -512, -513, math.MinInt32)
		})
	}
}

// G4: counts saturate instead of wrapping.
func TestG4_countsSaturate(t *testing.T) {
	const most = math.MaxInt32
	for _, s := range strategies {
		for _, threads := range []int{1, 4} {
			t.Run(fmt.Sprintf("strategy=%s/threads=%d", s.Name(), threads), func(t *testing.T) {
				c, _ := newCounter(t, s, 0)
				grow(t, c, 1, 64)
				const left = 1_000
				atomic.StoreUint32(s.word(c, 7), most-left)
				if got := c.Count(7); got != most-left {
					t.Fatalf("Count = %d; want %d", got, most-left)
				}
				run := func(each int) {
					var wg sync.WaitGroup
					for range threads {
						wg.Go(func() {
							h := c.Handle()
							defer h.Close()
							for n := range each {
								h.Inc(7)
								h.Inc(6 + int32(n)%2*2) // its neighbours
								if got := c.Count(7); got < most-left || got > most {
									t.Errorf("Count = %d", got)
									return
								}
							}
						})
					}
					wg.Wait()
				}
				run(left/threads - 1)
				if got, want := c.Count(7), int64(most-threads); got != want {
					t.Errorf("Count = %d just before the end; want %d", got, want)
				}
				for round := range 5 {
					run(2)
					run(100)
					if got := c.Count(7); got != most {
						t.Errorf("round %d: Count = %d; want %d, for ever", round, got, int64(most))
					}
					if word := atomic.LoadUint32(s.word(c, 7)); wordCount(word) != most {
						t.Errorf("round %d: the count goes on behind the scenes, to %d", round, word)
					}
				}
				if got, want := c.Count(6)+c.Count(8), int64(threads*(left/threads-1+5*102)); got != want {
					t.Errorf("the neighbours have %d users; want %d", got, want)
				}
			})
		}
	}
}

// A count is beyond its end for the moment between an increment and its correction;
// nobody sees that.
func TestG4_countsAreNeverSeenBeyondTheEnd(t *testing.T) {
	for _, s := range strategies {
		t.Run("strategy="+s.Name(), func(t *testing.T) {
			c, _ := newCounter(t, s, 0)
			grow(t, c, 1, 64)
			for _, beyond := range []uint32{0, 1, 300} {
				atomic.StoreUint32(s.word(c, 7), countMax+beyond)
				if got := c.Count(7); got != math.MaxInt32 {
					t.Errorf("Count = %d with %d beyond the end; want %d", got, beyond, int64(math.MaxInt32))
				}
			}
		})
	}
}

func TestGrow_keepsCounts(t *testing.T) {
	for _, s := range strategies {
		t.Run("strategy="+s.Name(), func(t *testing.T) {
			c, _ := newCounter(t, s, 0)
			want := map[int32]int64{}
			h := c.Handle()
			for i := range int32(200) {
				first := i*613 + 1
				grow(t, c, first, first+63)
				grow(t, c, first, first+63) // again
				for ref := first; ref < first+64; ref += 9 {
					for range i%3 + 1 {
						h.Inc(ref)
						want[ref]++
					}
				}
			}
			h.Close()
			for ref, n := range want {
				if got := c.Count(ref); got != n {
					t.Fatalf("Count(%d) = %d; want %d", ref, got, n)
				}
			}
		})
	}
}

func TestGrow_byManyThreads(t *testing.T) {
	for _, s := range strategies {
		t.Run("strategy="+s.Name(), func(t *testing.T) {
			const threads, objects = 4, 20_000
			c, a := newCounter(t, s, 0)
			var wg sync.WaitGroup
			for range threads {
				wg.Go(func() {
					h := c.Handle()
					defer h.Close()
					for first := int32(1); first < objects; first += 64 {
						if err := c.Grow(first, first+63); err != nil {
							t.Error(err)
						}
						h.Inc(first)
						h.Inc(first + 63)
					}
				})
			}
			wg.Wait()
			for first := int32(1); first < objects; first += 64 {
				if one, other := c.Count(first), c.Count(first+63); one != threads || other != threads {
					t.Fatalf("Count(%d) = %d, Count(%d) = %d; want %d", first, one, first+63, other, threads)
				}
			}
			// Up to a fifth more for a part of the last piece, and the smallest ones.
			if used := a.Budget().Used(); used > s.each*(objects*5/4+2<<10) {
				t.Errorf("%d bytes for %d objrefs", used, objects)
			}
		})
	}
}

func TestGrow_underALimit(t *testing.T) {
	for _, s := range strategies {
		t.Run("strategy="+s.Name(), func(t *testing.T) {
			const limit = 40 << 10
			c, a := newCounter(t, s, limit)
			var err error
			last := int32(0)
			for last < 1<<20 {
				if err = c.Grow(last+1, last+64); err != nil {
					break
				}
				last += 64
			}
			if !errors.Is(err, region.ErrBudget) || last < limit/8 {
				t.Fatalf("after %d objrefs: %v; want the arena's error, and room for more than %d", last, err, limit/8)
			}
			if used := a.Budget().Used(); used > limit {
				t.Errorf("%d bytes; limit is %d", used, limit)
			}
			h := c.Handle()
			for ref := int32(1); ref <= last; ref++ {
				h.Inc(ref)
			}
			h.Close()
			for ref := int32(1); ref <= last; ref++ {
				if got := c.Count(ref); got != 1 {
					t.Fatalf("Count(%d) = %d; want 1", ref, got)
				}
			}
			a.Close()
			if err := c.Grow(last+1, last+64); err == nil {
				t.Error("Grow works on a closed arena")
			}
		})
	}
}

func TestStrategies_areTold(t *testing.T) {
	names := map[string]bool{}
	for _, s := range strategies {
		if s.Name() == "" || names[s.Name()] {
			t.Errorf("%T has no name of its own: %q", s.Strategy, s.Name())
		}
		names[s.Name()] = true
		c, _ := newCounter(t, s, 0)
		grow(t, c, 1, 64)
		h := c.Handle()
		if allocs := testing.AllocsPerRun(1_000, func() { h.Inc(1) }); allocs != 0 {
			t.Errorf("%s: Inc allocates %.1f times", s.Name(), allocs)
		}
		if n := s.bytes(h); n > 384 {
			t.Errorf("%s: a handle takes %d bytes", s.Name(), n)
		}
		h.Close()
	}
}
