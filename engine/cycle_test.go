package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/objhash/objhash/engine"
)

// G17: a cycle of waits gives one CycleError that names every member; acyclic graphs
// never do.

// isVictim tells whether err is about a cycle that the caller itself has closed, and
// not about an object that failed for one.
func isVictim(err error) bool {
	var cycle *engine.CycleError
	return errors.As(err, &cycle) && !errors.Is(err, engine.ErrFailed)
}

// cycleOf lets n threads create one object each, within that others to the given
// depths, and then wait for the next thread's object. It returns the cycles found, and
// how long the one that closed it waited.
func cycleOf(t *testing.T, n int, depth func(int) int) (want []engine.ObjRef, found []engine.CycleError, took time.Duration) {
	r := newRestart(t, engine.Options{Kinds: make([]engine.KindOps, 1)})
	top := func(i int) engine.ObjRef { return engine.ObjRef(1 + i%n*1_000) }
	var mu sync.Mutex
	var wg, claimed sync.WaitGroup
	claimed.Add(n)
	for i := range n {
		for j := range depth(i) + 1 {
			want = append(want, top(i)+engine.ObjRef(j))
		}
		h := newRestorer(t, r)
		wg.Go(func() {
			var nest create
			nest = func(c *engine.Claim) (engine.Ptr, error) {
				if c.Ref() < top(i)+engine.ObjRef(depth(i)) {
					return h.Restore(bg, c.Ref()+1, 1, nest)
				}
				claimed.Done()
				claimed.Wait()
				start := time.Now()
				p, err := h.Restore(bg, top(i+1), 1, notCalled(t))
				var cycle *engine.CycleError
				mu.Lock()
				defer mu.Unlock()
				if isVictim(err) && errors.As(err, &cycle) {
					found = append(found, *cycle)
					took = time.Since(start)
				}
				return p, err
			}
			// It may be found on the way to top, in an object that nobody waits for.
			_, err := h.Restore(bg, top(i)+500, 1, func(*engine.Claim) (engine.Ptr, error) {
				return h.Restore(bg, top(i), 1, nest)
			})
			var cycle engine.CycleError
			if !errors.Is(err, engine.ErrFailed) || !errors.As(err, &cycle) {
				t.Errorf("a thread in the cycle: %v", err)
			}
		})
	}
	within(t, "a cycle", wg.Wait)
	wantNobodyWaiting(t, r)
	return want, found, took
}

// isRotation tells whether got is want from some member on.
func isRotation(got, want []engine.ObjRef) bool {
	i := slices.Index(want, got[0])
	return i >= 0 && slices.Equal(got, append(slices.Clone(want[i:]), want[:i]...))
}

func TestG17_cycleOfEveryLength(t *testing.T) {
	for n := 1; n <= 8; n++ {
		for name, depth := range map[string]func(int) int{
			"flat":   func(int) int { return 0 },
			"nested": func(i int) int { return i * 3 % 5 },
			"deep":   func(i int) int { return 100 },
		} {
			best := time.Hour
			for range 5 {
				want, found, took := cycleOf(t, n, depth)
				if len(found) != 1 {
					t.Fatalf("%d threads, %s: %d cycles found", n, name, len(found))
				}
				if !isRotation(found[0].Path, want) {
					t.Errorf("%d threads, %s: path %v; want %v", n, name, found[0].Path, want)
				}
				best = min(best, took)
			}
			if best > 10*time.Millisecond && !slow {
				t.Errorf("%d threads, %s: found after %v", n, name, best)
			}
		}
	}
}

func TestG17_message(t *testing.T) {
	_, found, _ := cycleOf(t, 1, func(int) int { return 2 })
	if len(found) != 1 {
		t.Fatal(found)
	}
	wantMessage(t, found[0], "cycle", "objref 1 -> 2 -> 3 -> 1")
	wantMessage(t, engine.CycleError{}, "cycle")
	wantMessage(t, engine.StallError{}, "0 restorers")
}

// A victim that does not give up, but waits again, is a victim again; when it creates
// its object in another way, all others go on.
func TestG17_theVictimDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 5
		l := newLedger(t, 1)
		r := newRestart(t, with(engine.Options{}, l))
		var wg, claimed sync.WaitGroup
		claimed.Add(n)
		var victims atomic.Int32
		for i := range engine.ObjRef(n) {
			h := newRestorer(t, r)
			wg.Go(func() {
				p, err := h.Restore(bg, i+1, 1, func(*engine.Claim) (engine.Ptr, error) {
					claimed.Done()
					claimed.Wait()
					next := (i+1)%n + 1
					_, err := h.Await(bg, next, 1)
					if isVictim(err) {
						victims.Add(1)
						for range 10 {
							if _, err := h.Await(bg, next, 1); !isVictim(err) {
								t.Errorf("waiting again: %v", err)
							}
						}
						return addr(int(i)), nil
					}
					return addr(int(i)), err
				})
				wantPtr(t, "Restore", p, err, addr(int(i)))
			})
		}
		wg.Wait()
		if victims.Load() != 1 {
			t.Errorf("%d victims", victims.Load())
		}
		closeQuietly(t, r)
		l.settled()
	})
}

// In a cycle with one declared object nobody waits for ever, and nobody gets an error.
func TestG17_aDeclaredObjectBreaksACycle(t *testing.T) {
	for n := 1; n <= 8; n++ {
		for declared := range n {
			synctest.Test(t, func(t *testing.T) {
				r := newRestart(t, engine.Options{Kinds: make([]engine.KindOps, 1)})
				var wg, claimed sync.WaitGroup
				claimed.Add(n)
				for i := range n {
					h := newRestorer(t, r)
					wg.Go(func() {
						p, err := h.Restore(bg, engine.ObjRef(i+1), 1, func(c *engine.Claim) (engine.Ptr, error) {
							if i == declared {
								if err := c.Declare(addr(i)); err != nil {
									t.Error(err)
								}
							}
							claimed.Done()
							claimed.Wait()
							_, err := h.Restore(bg, engine.ObjRef((i+1)%n+1), 1, notCalled(t))
							return addr(i), err
						})
						wantPtr(t, fmt.Sprintf("Restore(%d)", i+1), p, err, addr(i))
					})
				}
				wg.Wait()
				wantNobodyWaiting(t, r)
			})
		}
	}
}

// An object that its owner has yet to create closes a cycle when the owner comes to
// wait, although nobody had claimed it when the others began to.
func TestG17_cycleThroughAnObjectClaimedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRestart(t, engine.Options{Kinds: make([]engine.KindOps, 1), MayCreate: func(ref engine.ObjRef, _ engine.Kind, holder uint64) bool {
			return uint64(ref) == holder
		}})
		a, b := newRestorer(t, r), newRestorer(t, r)
		a.SetHolder(1)
		b.SetHolder(2)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := a.Restore(bg, 1, 1, func(*engine.Claim) (engine.Ptr, error) {
				return a.Restore(bg, 2, 1, notCalled(t))
			})
			wantErr(t, "Restore(1)", err, engine.ErrFailed)
		})
		synctest.Wait()
		_, err := b.Restore(bg, 2, 1, func(*engine.Claim) (engine.Ptr, error) {
			p, err := b.Restore(bg, 1, 1, notCalled(t))
			var cycle *engine.CycleError
			if !isVictim(err) || !errors.As(err, &cycle) || !isRotation(cycle.Path, []engine.ObjRef{1, 2}) {
				t.Errorf("%v", err)
			}
			return p, err
		})
		wantErr(t, "Restore(2)", err, engine.ErrFailed)
		wg.Wait()
	})
}

// Waiters that are cancelled while others look for cycles through them.
func TestG17_G18_cancelWhileTheDetectorWalks(t *testing.T) {
	for round := range sized(2_000) {
		r := newRestart(t, engine.Options{Kinds: make([]engine.KindOps, 1)})
		const n = 3
		var wg, claimed sync.WaitGroup
		claimed.Add(n)
		ctx, cancel := context.WithCancel(bg)
		var victims, cancelled atomic.Int32
		for i := range n {
			h := newRestorer(t, r)
			wg.Go(func() {
				h.Restore(bg, engine.ObjRef(i+1), 1, func(*engine.Claim) (engine.Ptr, error) {
					claimed.Done()
					claimed.Wait()
					c := bg
					if i == 1 {
						c = ctx
					}
					if i == 2 {
						for range round % 50 {
							runtime.Gosched()
						}
						cancel()
					}
					p, err := h.Await(c, engine.ObjRef((i+1)%n+1), 1)
					switch {
					case isVictim(err):
						victims.Add(1)
					case errors.Is(err, context.Canceled) && !errors.Is(err, engine.ErrFailed):
						cancelled.Add(1)
					case !errors.Is(err, engine.ErrFailed):
						t.Errorf("Await: %v", err)
					}
					return p, err
				})
			})
		}
		within(t, "a cycle that is cancelled", wg.Wait)
		cancel()
		if victims.Load() > 1 || victims.Load()+cancelled.Load() < 1 {
			t.Errorf("%d victims, %d cancelled", victims.Load(), cancelled.Load())
		}
		wantNobodyWaiting(t, r)
		closeQuietly(t, r)
	}
}

// web is a graph of objects to be restored: to[i] is what object i refers to.
type web struct {
	to       [][]int
	declares []bool
}

// restoreAll lets threads restore the objects of a web, each in an order of its own. It
// returns the errors of what was asked for, by thread.
func (g web) restoreAll(t *testing.T, threads int, seed uint64) (errs [][]error, r *engine.Restart, l *ledger) {
	l = newLedger(t, 1)
	r = newRestart(t, with(engine.Options{}, l))
	place := func(i int) engine.Ptr {
		if i%5 == 0 {
			return wide(i)
		}
		return addr(i)
	}
	created := make([]atomic.Int32, len(g.to))
	errs = make([][]error, threads)
	hs := make([]*engine.Restorer, threads)
	for w := range hs {
		hs[w] = r.Restorer()
	}
	within(t, "restoring all", func() {
		parallel(threads, func(w int) {
			defer hs[w].Close()
			var make create
			make = func(c *engine.Claim) (engine.Ptr, error) {
				i := int(c.Ref()) - 1
				created[i].Add(1)
				if g.declares[i] {
					if err := c.Declare(place(i)); err != nil {
						t.Errorf("Declare: %v", err)
					}
				}
				for _, j := range g.to[i] {
					if j%3 == 0 {
						runtime.Gosched()
					}
					p, err := hs[w].Restore(bg, engine.ObjRef(j+1), 1, make)
					if err != nil {
						return 0, err
					}
					if p != place(j) {
						t.Errorf("object %d is at %#x", j, p)
					}
				}
				return place(i), nil
			}
			for _, i := range rand.New(rand.NewPCG(seed, uint64(w))).Perm(len(g.to)) {
				_, err := hs[w].Restore(bg, engine.ObjRef(i+1), 1, make)
				errs[w] = append(errs[w], err)
			}
		})
	})
	for i := range created {
		if n := created[i].Load(); n != 1 {
			t.Errorf("object %d was created %d times", i, n)
		}
	}
	wantNobodyWaiting(t, r)
	closeQuietly(t, r)
	l.settled()
	return errs, r, l
}

// newWeb returns a web of n objects with up to degree references each; without cycles
// if acyclic. A share of the objects is declared before they are followed.
func newWeb(rng *rand.Rand, n, degree int, acyclic bool, declared float64) web {
	g := web{make([][]int, n), make([]bool, n)}
	for i := range n {
		g.declares[i] = rng.Float64() < declared
		for range rng.IntN(degree + 1) {
			if acyclic && i == n-1 {
				break
			}
			j := rng.IntN(n)
			if acyclic {
				j = i + 1 + rng.IntN(min(n-1-i, 20))
			}
			g.to[i] = append(g.to[i], j)
		}
	}
	return g
}

func TestG17_acyclicGraphsNeverFail(t *testing.T) {
	for round := range sized(150) {
		rng := rand.New(rand.NewPCG(17, uint64(round)))
		threads := 2 + rng.IntN(30)
		g := newWeb(rng, 200, 1+rng.IntN(4), true, []float64{0, 0.3}[round%2])
		errs, _, _ := g.restoreAll(t, threads, uint64(round))
		for _, list := range errs {
			for _, err := range list {
				if err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
			}
		}
	}
}

// All that a cyclic graph needs is that its objects are declared first.
func TestG17_declaredGraphsNeverFail(t *testing.T) {
	for round := range sized(150) {
		rng := rand.New(rand.NewPCG(18, uint64(round)))
		g := newWeb(rng, 200, 4, false, 1)
		errs, _, _ := g.restoreAll(t, 2+rng.IntN(30), uint64(round))
		for _, list := range errs {
			for _, err := range list {
				if err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
			}
		}
	}
}

func TestG17_cyclicGraphsAlwaysEnd(t *testing.T) {
	cycles := 0
	for round := range sized(300) {
		rng := rand.New(rand.NewPCG(19, uint64(round)))
		g := newWeb(rng, 100, 1+rng.IntN(2), false, []float64{0, 0.5, 0.9}[round%3])
		errs, _, _ := g.restoreAll(t, 2+rng.IntN(20), uint64(round))
		for _, list := range errs {
			for _, err := range list {
				var cycle *engine.CycleError
				if err != nil && !(errors.Is(err, engine.ErrFailed) && errors.As(err, &cycle)) {
					t.Fatalf("round %d: %v", round, err)
				}
				if err == nil {
					continue
				}
				cycles++
				g.wantCycle(t, cycle.Path)
			}
		}
	}
	if cycles == 0 {
		t.Error("no cycle was met")
	}
}

// wantCycle checks that a path is one of the graph's.
func (g web) wantCycle(t *testing.T, path []engine.ObjRef) {
	t.Helper()
	for i, ref := range path {
		next := path[(i+1)%len(path)]
		if !slices.Contains(g.to[ref-1], int(next-1)) {
			t.Fatalf("path %v: %d does not refer to %d", path, ref, next)
		}
		if g.declares[ref-1] && slices.Index(path, ref) == 0 {
			t.Fatalf("path %v: %d is declared, nobody waits for it", path, ref)
		}
	}
}
