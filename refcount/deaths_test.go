package refcount

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// deaths notes how often each objref was told dead.
type deaths struct {
	t    testing.TB
	mu   sync.Mutex
	told map[int32]int
}

func (d *deaths) zero(ref int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told[ref]++
}

// want checks that these died, each once, since the last call.
func (d *deaths) want(refs ...int32) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	var got []int32
	for ref, n := range d.told {
		if n != 1 {
			d.t.Errorf("objref %d was told dead %d times", ref, n)
		}
		got = append(got, ref)
	}
	slices.Sort(got)
	if !slices.Equal(got, refs) {
		d.t.Errorf("%v died; want %v", got, refs)
	}
	clear(d.told)
}

// newMortal returns a counter with room for objrefs up to last, that tells deaths.
func newMortal(t testing.TB, s Strategy, last int32) (Counter, *deaths) {
	t.Helper()
	d := &deaths{t: t, told: map[int32]int{}}
	c, err := s.New(Config{Zero: d.zero})
	if err != nil {
		t.Fatal(err)
	}
	grow(t, c, 1, last)
	return c, d
}

func wantCount(t testing.TB, c Counter, ref int32, want int64) {
	t.Helper()
	if got := c.Count(ref); got != want {
		t.Errorf("Count(%d) = %d; want %d", ref, got, want)
	}
}

func repeat(n int, f func(int32), ref int32) {
	for range n {
		f(ref)
	}
}

// batched are the strategies whose handles hold users or deaths back.
var batched = []Strategy{Sloppy{}, Biased{}}

// Users go from thread to thread: each takes those that others left, with TryInc where
// nobody vouches for the objref. Whatever the interleaving, an objref dies once, at the
// last barrier at the latest, and not as long as it has a user.
func TestDeaths_toldOnceWithManyThreads(t *testing.T) {
	for _, s := range batched {
		t.Run("strategy="+s.Name(), func(t *testing.T) {
			const threads, objects, steps = 4, 60, 6_000
			var users [objects + 1]atomic.Int64 // at least these: counted after Inc, before Dec
			var died [objects + 1]atomic.Int32
			c, err := s.New(Config{Zero: func(ref int32) {
				if n := users[ref].Load(); n != 0 {
					t.Errorf("objref %d died with %d users", ref, n)
				}
				died[ref].Add(1)
			}})
			if err != nil {
				t.Fatal(err)
			}
			grow(t, c, 1, objects)
			parcels := make(chan int32, objects+threads*steps) // users on their way to another thread
			// The handles that count first: one that closes, one that is idle, one in use.
			creators := [...]Handle{c.Handle(), c.Handle(), c.Handle()}
			closes, idle, first := creators[0], creators[1], creators[2]
			for ref := int32(1); ref <= objects; ref++ {
				creators[ref%3].Inc(ref)
				users[ref].Add(1)
				parcels <- ref
			}
			closes.Close()
			var wg sync.WaitGroup
			for w := range threads {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(4, uint64(w)))
					h := c.Handle()
					if w == 0 {
						h.Close()
						h = first
					}
					for range steps {
						switch rng.IntN(8) {
						case 0, 1, 2: // drop one, or pass it on with another one
							select {
							case ref := <-parcels:
								if rng.IntN(5) == 0 {
									h.Inc(ref)
									users[ref].Add(1)
									parcels <- ref
								}
								users[ref].Add(-1)
								h.Dec(ref)
							default:
							}
						case 3, 4:
							if ref := 1 + rng.Int32N(objects); h.TryInc(ref) {
								if died[ref].Load() != 0 {
									t.Errorf("TryInc(%d) revives the dead", ref)
								}
								users[ref].Add(1)
								if rng.IntN(3) == 0 {
									parcels <- ref
									continue
								}
								users[ref].Add(-1)
								h.Dec(ref)
							}
						case 5:
							h.Flush()
						case 6:
							if rng.IntN(4) == 0 {
								h.Close()
								h = c.Handle()
							}
						case 7:
							if n := c.Count(1 + rng.Int32N(objects)); n < 0 || n > objects+threads*steps {
								t.Errorf("Count = %d", n)
							}
						}
					}
					h.Close()
				})
			}
			wg.Wait()
			idle.Flush()
			c.Barrier()
			left := map[int32]int64{}
			for len(parcels) > 0 {
				left[<-parcels]++
			}
			for ref := int32(1); ref <= objects; ref++ {
				wantCount(t, c, ref, left[ref])
				if n, want := died[ref].Load(), left[ref] == 0; n > 1 || (n == 1) != want {
					t.Errorf("objref %d has %d users, and died %d times", ref, left[ref], n)
				}
				users[ref].Store(0)
				repeat(int(left[ref]), idle.Dec, ref)
			}
			idle.Flush()
			c.Barrier()
			for ref := int32(1); ref <= objects; ref++ {
				if n := died[ref].Load(); n != 1 {
					t.Errorf("objref %d died %d times", ref, n)
				}
				idle.Inc(ref)
				idle.Dec(ref)
				wantCount(t, c, ref, 0)
			}
		})
	}
}

// A panic in Zero travels on, and loses none of the other deaths.
func TestDeaths_panicLosesNone(t *testing.T) {
	for _, s := range batched {
		t.Run("strategy="+s.Name(), func(t *testing.T) {
			var told []int32
			c, err := s.New(Config{Zero: func(ref int32) {
				told = append(told, ref)
				if ref == 2 {
					panic("two")
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			grow(t, c, 1, 8)
			h, other := c.Handle(), c.Handle()
			for ref := int32(1); ref <= 3; ref++ {
				h.Inc(ref)
				other.Dec(ref)
			}
			other.Close()
			func() {
				defer func() {
					if recover() != "two" {
						t.Error("the panic does not travel on")
					}
				}()
				h.Close()
			}()
			if slices.Sort(told); !slices.Equal(told, []int32{1, 2, 3}) {
				t.Errorf("%v were told", told)
			}
		})
	}
}

// Zero may use the handle that finds the death, and close it.
func TestDeaths_zeroUsesTheHandle(t *testing.T) {
	for _, s := range batched {
		t.Run("strategy="+s.Name(), func(t *testing.T) {
			var h Handle
			told := 0
			c, err := s.New(Config{Zero: func(ref int32) {
				told++
				if h.TryInc(ref) {
					t.Errorf("TryInc(%d) revives the dead", ref)
				}
				if ref < 8 { // one brings down the next
					h.Dec(ref + 1)
				}
				h.Flush()
				h.Close()
			}})
			if err != nil {
				t.Fatal(err)
			}
			grow(t, c, 1, 8)
			h = c.Handle()
			for ref := int32(1); ref <= 8; ref++ {
				h.Inc(ref)
			}
			h.Dec(1)
			h.Flush()
			if told != 8 {
				t.Errorf("%d told; want 8", told)
			}
		})
	}
}

// The same operations on several handles, by turns, give the counts of [Plain].
func TestBatched_equalPlain(t *testing.T) {
	for _, s := range batched {
		t.Run("strategy="+s.Name(), func(t *testing.T) {
			for seed := range uint64(20) {
				const objects = 40
				rng := rand.New(rand.NewPCG(7, seed))
				c, died := newMortal(t, s, objects)
				plain, want := newMortal(t, Plain{}, objects)
				oracle := plain.Handle()
				hs := []Handle{c.Handle(), c.Handle(), c.Handle()}
				for range 4_000 {
					i := rng.IntN(len(hs))
					ref := 1 + rng.Int32N(objects)
					switch op := rng.IntN(100); {
					case op < 48:
						// What is dead for the oracle might still be revived here.
						if oracle.TryInc(ref) {
							hs[i].Inc(ref)
						}
					case op < 95:
						if plain.Count(ref) > 0 {
							oracle.Dec(ref)
							hs[i].Dec(ref)
						}
					case op < 97:
						hs[i].Flush()
					case op == 97:
						hs[i].Close()
					case op == 98:
						hs[i].Close()
						hs[i] = c.Handle()
					}
					wantCount(t, c, ref, plain.Count(ref))
				}
				for _, h := range hs {
					h.Flush()
				}
				c.Barrier()
				for ref := range int32(objects + 1) {
					wantCount(t, c, ref, plain.Count(ref))
				}
				var refs []int32
				for ref := range want.told {
					refs = append(refs, ref)
				}
				slices.Sort(refs)
				died.want(refs...)
			}
		})
	}
}
