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

// wantNobodyWaiting checks that no wait has left anything behind.
func wantNobodyWaiting(t testing.TB, r *engine.Restart) {
	t.Helper()
	if registered, counted := r.Waiting(); registered != 0 || counted != 0 {
		t.Errorf("%d waiters left, %d counted", registered, counted)
	}
}

// isVictim tells whether err is about a cycle that the caller itself has closed, and
// not about an object that failed for one.
func isVictim(err error) bool {
	var cycle *engine.CycleError
	return errors.As(err, &cycle) && !errors.Is(err, engine.ErrFailed)
}

// G15: every wait ends within a bound after its cause: here, in no time.

func TestG15_everyWaitEnds(t *testing.T) {
	cause := errors.New("no more time")
	for _, c := range []struct {
		name string
		end  func(r *engine.Restart, other *engine.Restorer, cancel context.CancelCauseFunc)
		want []error
	}{
		{"inserted", func(r *engine.Restart, _ *engine.Restorer, _ context.CancelCauseFunc) { r.Insert(5, addr(5), 1) }, nil},
		{"restored", func(_ *engine.Restart, other *engine.Restorer, _ context.CancelCauseFunc) {
			other.Restore(bg, 5, 1, at(addr(5)))
		}, nil},
		{"failed", func(_ *engine.Restart, other *engine.Restorer, _ context.CancelCauseFunc) {
			other.Restore(bg, 5, 1, func(*engine.Claim) (engine.Ptr, error) { return 0, errSick })
		}, []error{engine.ErrFailed, errSick}},
		{"cancelled", func(_ *engine.Restart, _ *engine.Restorer, cancel context.CancelCauseFunc) { cancel(cause) },
			[]error{context.Canceled, cause}},
		{"closed", func(r *engine.Restart, _ *engine.Restorer, _ context.CancelCauseFunc) { r.Close() }, []error{engine.ErrClosed}},
		{"cancelled and closed", func(r *engine.Restart, _ *engine.Restorer, cancel context.CancelCauseFunc) {
			r.Close()
			cancel(cause)
		}, []error{engine.ErrClosed}},
		{"stalled", func(_ *engine.Restart, other *engine.Restorer, _ context.CancelCauseFunc) { other.Close() }, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRestart(t, engine.Options{Kinds: make([]engine.KindOps, 1)})
			h, other := newRestorer(t, r), newRestorer(t, r)
			ctx, cancel := context.WithCancelCause(bg)
			defer cancel(nil)
			var ended time.Time
			var wg sync.WaitGroup
			wg.Go(func() {
				p, err := h.Await(ctx, 5, 1)
				ended = time.Now()
				var stall *engine.StallError
				switch {
				case c.name == "stalled":
					if !errors.As(err, &stall) || len(stall.Waits) != 1 || stall.Waits[0].For != 5 {
						t.Errorf("%s: %v", c.name, err)
					}
				case c.want == nil:
					wantPtr(t, c.name, p, err, addr(5))
				}
				for _, want := range c.want {
					wantErr(t, c.name, err, want)
				}
				if errors.Is(err, context.Canceled) {
					wantMessage(t, err, "objref 5", "no more time")
				}
			})
			time.Sleep(time.Hour)
			start := time.Now()
			c.end(r, other, cancel)
			wg.Wait()
			if took := ended.Sub(start); took != 0 {
				t.Errorf("%s: the wait ended after %v", c.name, took)
			}
			wantNobodyWaiting(t, r)
		})
	}
}

func TestG15_deadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRestart(t, engine.Options{Kinds: make([]engine.KindOps, 1)})
		h := newRestorer(t, r)
		newRestorer(t, r) // there is one who could
		ref := engine.ObjRef(10)
		for d := time.Nanosecond; d < time.Hour; d *= 10 {
			ctx, cancel := context.WithTimeout(bg, d)
			start := time.Now()
			_, err := h.Await(ctx, 5, 1)
			wantErr(t, "Await", err, context.DeadlineExceeded)
			if took := time.Since(start); took != d {
				t.Errorf("ended after %v; the time-out was %v", took, d)
			}
			cancel()
			// It has no effect on create, nor where nobody has to wait.
			ref++
			p, err := h.Restore(ctx, ref, 1, at(addr(1)))
			wantPtr(t, "Restore", p, err, addr(1))
			p, err = h.Await(ctx, ref, 1)
			wantPtr(t, "Await", p, err, addr(1))
		}
		wantNobodyWaiting(t, r)
	})
}

// rude is a Context whose Done does not return.
type rude struct {
	context.Context
	meet func() error
}

func (r rude) Done() <-chan struct{} {
	r.meet()
	return nil
}

// A Context that panics leaves nobody registered as waiting.
func TestG15_contextThatPanics(t *testing.T) {
	for _, fate := range fates[1:] {
		r := newRestart(t, engine.Options{Kinds: make([]engine.KindOps, 1)})
		h := newRestorer(t, r)
		newRestorer(t, r) // no stall
		fate.wantFate(t, "Await", ends(func() error {
			_, err := h.Await(rude{bg, fate.meet}, 5, 1)
			return err
		}))
		wantNobodyWaiting(t, r)
		p, err := h.Restore(bg, 5, 1, at(addr(5)))
		wantPtr(t, "Restore", p, err, addr(5))
	}
}

// A stall is noticed by whoever makes it: the last to wait, or one that leaves; not
// while one that could create is at work.
func TestG15_stall(t *testing.T) {
	for _, last := range []string{"Await", "Close", "nested"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRestart(t, engine.Options{Kinds: make([]engine.KindOps, 1)})
			const waiters = 20
			busy := newRestorer(t, r)
			hs := make([]*engine.Restorer, waiters)
			for i := range hs {
				hs[i] = newRestorer(t, r)
			}
			var wg sync.WaitGroup
			var ended atomic.Int32
			wait := func(h *engine.Restorer, i int, n int) error {
				_, err := h.Await(bg, engine.ObjRef(100+i%7), 1)
				var stall *engine.StallError
				if !errors.As(err, &stall) || len(stall.Waits) != n {
					t.Errorf("%s: %v", last, err)
					return err
				}
				for _, w := range stall.Waits {
					if w.For < 100 || w.For > 106 || len(w.Creating) != map[string]int{"nested": 2}[last] {
						t.Errorf("%s: %+v", last, w)
					}
				}
				wantMessage(t, err, fmt.Sprintf("all %d restorers wait", n), "for objref 10", fmt.Sprintf("and %d more", n-8))
				ended.Add(1)
				return err
			}
			for i, h := range hs {
				wg.Go(func() {
					if last != "nested" {
						n := waiters
						if last == "Await" {
							n++
						}
						wait(h, i, n)
						return
					}
					h.Restore(bg, engine.ObjRef(1_000+2*i), 1, func(c *engine.Claim) (engine.Ptr, error) {
						return h.Restore(bg, c.Ref()+1, 1, func(c *engine.Claim) (engine.Ptr, error) {
							return 0, wait(h, i, waiters)
						})
					})
				})
			}
			time.Sleep(time.Hour)
			if n := ended.Load(); n != 0 {
				t.Errorf("%s: %d have given up while one is at work", last, n)
			}
			if last == "Await" {
				wait(busy, 0, waiters+1)
			} else {
				closeQuietly(t, busy)
			}
			wg.Wait()
			wantNobodyWaiting(t, r)
		})
	}
}

// An error that every thread gets goes round once: those whose objects others wait for
// fail, and nobody is forgotten.
func TestG15_waitersOfTheStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRestart(t, engine.Options{Kinds: make([]engine.KindOps, 1)})
		const n = 50
		var wg, claimed sync.WaitGroup
		claimed.Add(n)
		for i := range engine.ObjRef(n) {
			h := newRestorer(t, r)
			wg.Go(func() {
				// Each waits for the next one's object, and the last for one of nobody.
				_, err := h.Restore(bg, i+1, 1, func(*engine.Claim) (engine.Ptr, error) {
					claimed.Done()
					claimed.Wait()
					return h.Await(bg, i+2, 1)
				})
				var stall *engine.StallError
				if !errors.As(err, &stall) || len(stall.Waits) != n {
					t.Errorf("object %d: %v", i+1, err)
				}
			})
		}
		wg.Wait()
		wantNobodyWaiting(t, r)
	})
}

// G17: a cycle of waits gives one CycleError that names every member; acyclic graphs
// never do.

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

// G18: cancelling one waiter disturbs nobody else, and leaves no goroutine (TestMain
// looks for those) and no waiter behind.

func TestG18_cancelOneOfAThousand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRestart(t, engine.Options{Kinds: make([]engine.KindOps, 1)})
		const waiters = 1_000
		var cancels [waiters]context.CancelFunc
		var ended atomic.Int32
		var wg sync.WaitGroup
		wait := func(i int, cancelled bool) {
			h := r.Restorer()
			ctx, cancel := context.WithCancel(bg)
			cancels[i] = cancel
			wg.Go(func() {
				defer h.Close()
				p, err := h.Await(ctx, 5, 1)
				ended.Add(1)
				if cancelled {
					wantErr(t, "Await", err, context.Canceled)
				} else {
					wantPtr(t, "Await", p, err, addr(5))
				}
			})
		}
		h := newRestorer(t, r)
		p, err := h.Restore(bg, 5, 1, func(*engine.Claim) (engine.Ptr, error) {
			order := rand.New(rand.NewPCG(18, 18)).Perm(waiters)
			for i := range waiters {
				wait(i, slices.Index(order, i) < 100)
				if i%100 == 0 {
					synctest.Wait()
				}
			}
			for n, i := range order[:100] {
				synctest.Wait()
				cancels[i]()
				synctest.Wait()
				registered, counted := r.Waiting()
				if int(ended.Load()) != n+1 || registered != waiters-n-1 || counted != registered {
					t.Errorf("%d cancelled: %d have ended, %d wait, %d counted", n+1, ended.Load(), registered, counted)
				}
			}
			return addr(5), nil
		})
		wantPtr(t, "Restore", p, err, addr(5))
		wg.Wait()
		for _, cancel := range cancels {
			cancel()
		}
		wantNobodyWaiting(t, r)
	})
}

// The creator ends, one waiter is cancelled and the context is closed, all at once:
// each waiter gets one of the true answers.
func TestG15_G18_G19_everythingAtOnce(t *testing.T) {
	for round := range sized(3_000) {
		l := newLedger(t, 1)
		r := newRestart(t, with(engine.Options{}, l))
		ctx, cancel := context.WithCancel(bg)
		hs := [4]*engine.Restorer{}
		for i := range hs {
			hs[i] = r.Restorer()
		}
		p := [2]func(int) engine.Ptr{addr, wide}[round%2](5)
		claimed := make(chan struct{})
		within(t, "everything at once", func() {
			parallel(5, func(w int) {
				switch {
				case w == 0:
					_, err := hs[0].Restore(bg, 5, 1, func(c *engine.Claim) (engine.Ptr, error) {
						close(claimed)
						for range round % 7 {
							runtime.Gosched()
						}
						switch round % 3 {
						case 0:
							return 0, errSick
						case 1:
							return p, c.Declare(p)
						}
						return p, nil
					})
					allowed(t, "Restore", err, engine.ErrFailed, engine.ErrClosed)
				case w == 4:
					<-claimed
					for range round % 11 {
						runtime.Gosched()
					}
					cancel()
					if round%5 < 2 {
						closeQuietly(t, r)
					}
				default:
					<-claimed
					c := bg
					if w == 1 {
						c = ctx
					}
					got, err := hs[w].Await(c, 5, 1)
					if err == nil {
						wantPtr(t, "Await", got, err, p)
					} else if w == 1 {
						allowed(t, "Await", err, engine.ErrFailed, engine.ErrClosed, context.Canceled)
					} else {
						allowed(t, "Await", err, engine.ErrFailed, engine.ErrClosed)
					}
				}
			})
		})
		wantNobodyWaiting(t, r)
		for _, h := range hs {
			closeQuietly(t, h)
		}
		closeQuietly(t, r)
		l.settled()
		if t.Failed() {
			return
		}
	}
}

// G19: Close with claims and waits in flight.

func TestG19_closeWithClaimsInFlight(t *testing.T) {
	for round := range sized(150) {
		closeClaimsInFlight(t, uint64(round))
	}
}

// closeClaimsInFlight closes a restart at some moment while threads do all there is
// to do.
func closeClaimsInFlight(t *testing.T, round uint64) {
	const workers, ops = 4, 200
	l := newLedger(t, 1)
	l.grabbing = func(a account) error {
		if a.p%11 == 0 {
			return errSick
		}
		return nil
	}
	r := newRestart(t, with(engine.Options{}, l))
	hs := [workers]*engine.Restorer{}
	for w := range hs {
		hs[w] = r.Restorer()
	}
	closeAt := rand.New(rand.NewPCG(19, round)).Int64N(workers * ops * 9 / 10)
	var done atomic.Int64
	within(t, "threads at work during Close", func() {
		parallel(workers+1, func(w int) {
			if w == workers {
				for done.Load() < closeAt {
					runtime.Gosched()
				}
				closeQuietly(t, r)
				closeQuietly(t, r)
				return
			}
			work := claimWork{t, r, hs[w], rand.New(rand.NewPCG(round, uint64(w)))}
			for range ops {
				work.once(0)
				done.Add(1)
			}
			closeQuietly(t, hs[w])
		})
	})
	l.settled()
	wantNobodyWaiting(t, r)
}

// claimWork is a thread that does one thing after the other.
type claimWork struct {
	t   *testing.T
	r   *engine.Restart
	h   *engine.Restorer
	rng *rand.Rand
}

func (w claimWork) once(depth int) {
	i := w.rng.IntN(300)
	ref, p := engine.ObjRef(i+1), addr(i)
	switch i % 4 {
	case 0:
		p = wide(i)
	case 1:
		ref = ref * 100_003
	}
	check := func(what string, got engine.Ptr, err error, also ...error) {
		var cycle *engine.CycleError
		var stall *engine.StallError
		if errors.As(err, &cycle) || errors.As(err, &stall) {
			return
		}
		allowed(w.t, what, err, append(also, engine.ErrClosed, engine.ErrFailed)...)
		if err == nil && got != p {
			w.t.Errorf("%s(%d) = %#x; want %#x", what, ref, got, p)
		}
	}
	switch w.rng.IntN(8) {
	case 0:
		check("Insert", p, w.r.Insert(ref, p, 1), engine.ErrExists, errSick)
	case 1:
		got, err := w.r.Fetch(ref, 1)
		check("Fetch", got, err, engine.ErrNotFound)
	case 2:
		ctx, cancel := context.WithTimeout(bg, time.Duration(w.rng.IntN(100))*time.Microsecond)
		defer cancel()
		got, err := w.h.Await(ctx, ref, 1)
		check("Await", got, err, context.DeadlineExceeded)
	default:
		got, err := w.h.Restore(bg, ref, 1, func(c *engine.Claim) (engine.Ptr, error) {
			if w.rng.IntN(2) == 0 {
				allowed(w.t, "Declare", c.Declare(p), engine.ErrClosed, errSick)
			}
			for range w.rng.IntN(3) {
				if depth < 5 {
					w.once(depth + 1)
				}
			}
			if w.rng.IntN(8) == 0 {
				return 0, errSick
			}
			return p, nil
		})
		check("Restore", got, err)
	}
}

// After Close nothing comes of a handle but ErrClosed, also from within a create that
// was running.
func TestG19_restorerAfterClose(t *testing.T) {
	r := newRestart(t, engine.Options{Kinds: make([]engine.KindOps, 1)})
	h := newRestorer(t, r)
	all := func() {
		for _, ref := range []engine.ObjRef{1, 2, 1 << 30} {
			for _, h := range []*engine.Restorer{h, r.Restorer()} {
				_, err := h.Restore(bg, ref, 1, notCalled(t))
				wantErr(t, "Restore", err, engine.ErrClosed)
				_, err = h.Await(bg, ref, 1)
				wantErr(t, "Await", err, engine.ErrClosed)
			}
			wantErr(t, "Insert", r.Insert(ref, addr(1), 1), engine.ErrClosed)
			_, err := r.Fetch(ref, 1)
			wantErr(t, "Fetch", err, engine.ErrClosed)
		}
	}
	p, err := h.Restore(bg, 1, 1, at(addr(1)))
	wantPtr(t, "Restore", p, err, addr(1))
	_, err = h.Restore(bg, 2, 1, func(*engine.Claim) (engine.Ptr, error) {
		closeQuietly(t, r)
		all()
		return addr(2), nil
	})
	wantErr(t, "Restore", err, engine.ErrClosed)
	all()
	closeQuietly(t, h)
	all()
}
