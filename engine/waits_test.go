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

// rude is a Context whose Done has something else to do first.
type rude struct {
	context.Context
	meet func() error
}

func (r rude) Done() <-chan struct{} {
	r.meet()
	return r.Context.Done()
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

// What a waiter waits for happens after it has looked, and before it waits: there its
// Context is asked for Done.
func TestG15_betweenTheLookAndTheWait(t *testing.T) {
	act := map[string]func(r *engine.Restart, other *engine.Restorer, cancel func()){
		"insert": func(r *engine.Restart, _ *engine.Restorer, _ func()) { r.Insert(5, addr(5), 1) },
		"restore": func(_ *engine.Restart, other *engine.Restorer, _ func()) {
			other.Restore(bg, 5, 1, at(addr(5)))
		},
		"fail": func(_ *engine.Restart, other *engine.Restorer, _ func()) {
			other.Restore(bg, 5, 1, func(*engine.Claim) (engine.Ptr, error) { return 0, errSick })
		},
		"cancel": func(_ *engine.Restart, _ *engine.Restorer, cancel func()) { cancel() },
		"close":  func(r *engine.Restart, _ *engine.Restorer, _ func()) { r.Close() },
	}
	for _, gap := range [][]string{
		{"insert"}, {"restore"}, {"fail"}, {"cancel"}, {"close"},
		{"restore", "cancel"}, {"restore", "close"}, {"restore", "cancel", "close"}, {"cancel", "close"}, {"fail", "cancel", "close"},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newLedger(t, 1)
			r := newRestart(t, with(engine.Options{}, l))
			h, other := newRestorer(t, r), newRestorer(t, r)
			ctx, cancel := context.WithCancel(bg)
			defer cancel()
			got, err := h.Await(rude{ctx, func() error {
				for _, a := range gap {
					act[a](r, other, cancel)
				}
				return nil
			}}, 5, 1)
			switch last := gap[len(gap)-1]; {
			case last == "close":
				wantErr(t, fmt.Sprint(gap), err, engine.ErrClosed)
			case gap[0] == "fail":
				wantErr(t, fmt.Sprint(gap), err, errSick)
			case gap[0] == "cancel":
				wantErr(t, fmt.Sprint(gap), err, context.Canceled)
			default: // an object that is there is no matter of patience
				wantPtr(t, fmt.Sprint(gap), got, err, addr(5))
			}
			wantNobodyWaiting(t, r)
			closeQuietly(t, r)
			l.settled()
		})
	}
}
