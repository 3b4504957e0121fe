//go:build race || objhash_invariants

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/objhash/objhash/engine"
	"github.com/objhash/objhash/internal/invariants"
)

// The steps of a claim, in order. The first is met only where there is an array.
var claimSteps = []string{
	"restart: before publishing",
	"claim: before publishing",
	"publish: before checking closed",
}

// stoppedClaim restores ref at p on a thread that stops at a step, from which finish
// releases it and returns what Restore did.
func stoppedClaim(t *testing.T, r *engine.Restart, h *engine.Restorer, step string, ref engine.ObjRef, p engine.Ptr, declares bool) (finish func() (engine.Ptr, error)) {
	s := newStopper(t, step)
	var got engine.Ptr
	var err error
	done := stop(t, s, func() {
		got, err = h.Restore(bg, ref, 1, func(c *engine.Claim) (engine.Ptr, error) {
			if declares {
				if err := c.Declare(p); err != nil {
					return 0, err
				}
			}
			return p, nil
		})
	})
	return func() (engine.Ptr, error) {
		s.release()
		await(t, "the stopped thread", done)
		return got, err
	}
}

func forEachStoppedClaim(t *testing.T, f func(t *testing.T, step string, ref engine.ObjRef, p engine.Ptr, declares bool)) {
	for _, step := range claimSteps {
		for _, declares := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/declares=%t", step, declares), func(t *testing.T) {
				for _, ref := range []engine.ObjRef{5, 1 << 30} {
					if step == claimSteps[0] && ref > 5 {
						continue // beside the arrays there is no such step
					}
					for _, p := range []engine.Ptr{addr(5), wide(5)} {
						f(t, step, ref, p, declares)
					}
				}
			})
		}
	}
}

// G20: a creator that is stopped between any two steps delays those who ask for its
// object, who can give up, and nobody else.
func TestG20_stoppedCreatorBlocksNobody(t *testing.T) {
	forEachStoppedClaim(t, func(t *testing.T, step string, ref engine.ObjRef, p engine.Ptr, declares bool) {
		l := newLedger(t, 1)
		r := newRestart(t, with(engine.Options{}, l))
		victim, h, another := newRestorer(t, r), newRestorer(t, r), newRestorer(t, r)
		for _, life := range lives {
			life.lead(t, r, h, 100+engine.ObjRef(len(life.name)), addr(100), func() {})
		}
		if step == claimSteps[0] { // its array
			got, err := h.Restore(bg, 1, 1, at(addr(1)))
			wantPtr(t, "Restore", got, err, addr(1))
		}
		finish := stoppedClaim(t, r, victim, step, ref, p, declares)
		want := p
		within(t, "other threads, while one is stopped at "+step, func() {
			for i := range 3_000 {
				other, q := engine.ObjRef(1_000+i), addr(1_000+i)
				switch i % 3 {
				case 0:
					other = 1<<30 - other // in the segment of ref, if that is 1<<30
				case 1:
					q = wide(1_000 + i)
				}
				got, err := h.Restore(bg, other, 1, at(q))
				wantPtr(t, "Restore", got, err, q)
				got, err = another.Await(bg, other, 1)
				wantPtr(t, "Await", got, err, q)
				got, err = r.Fetch(other, 1)
				wantPtr(t, "Fetch", got, err, q)
				if err := r.Insert(other+10_000, q, 1); err != nil {
					t.Error(err)
				}
			}
			// Of the object itself: a Fetch does not wait, and who waits may give up.
			got, err := r.Fetch(ref, 1)
			if err != nil {
				wantErr(t, "Fetch of the object", err, engine.ErrNotFound)
			} else {
				wantPtr(t, "Fetch of the object", got, err, p)
			}
			ctx, cancel := context.WithTimeout(bg, 5*time.Millisecond)
			defer cancel()
			got, err = h.Await(ctx, ref, 1)
			if err != nil {
				wantErr(t, "Await of the object", err, context.DeadlineExceeded)
			} else {
				wantPtr(t, "Await of the object", got, err, p)
			}
			wantNobodyWaiting(t, r)
			if step == claimSteps[0] { // not yet claimed: another thread may
				want = addr(6)
				got, err = another.Restore(bg, ref, 1, at(want))
				wantPtr(t, "Restore of the object", got, err, want)
			}
		})
		got, err := finish()
		wantPtr(t, "the stopped Restore", got, err, want)
		closeQuietly(t, r)
		l.settled()
	})
}

// G11, G19: Close goes past a creator that is stopped; its reference is dropped, and
// what waits for it gets ErrClosed.
func TestG11_G19_closeDuringAClaim(t *testing.T) {
	forEachStoppedClaim(t, func(t *testing.T, step string, ref engine.ObjRef, p engine.Ptr, declares bool) {
		l := newLedger(t, 1)
		r := newRestart(t, with(engine.Options{}, l))
		victim, h := newRestorer(t, r), newRestorer(t, r)
		if step == claimSteps[0] {
			got, err := h.Restore(bg, 1, 1, at(addr(1)))
			wantPtr(t, "Restore", got, err, addr(1))
		}
		finish := stoppedClaim(t, r, victim, step, ref, p, declares)
		waited := make(chan error, 1)
		go func() {
			_, err := h.Await(bg, ref, 1)
			waited <- err
		}()
		within(t, "Close, while a creator is stopped at "+step, func() {
			for registered, _ := r.Waiting(); registered == 0 && len(waited) == 0; registered, _ = r.Waiting() {
				time.Sleep(time.Millisecond)
			}
			closeQuietly(t, r)
			if err := <-waited; err != nil {
				wantErr(t, "Await", err, engine.ErrClosed)
			} else if step == claimSteps[1] {
				t.Error("Await returns an object that has not been published")
			}
		})
		got, err := finish()
		if got != 0 || !(errors.Is(err, engine.ErrClosed)) {
			t.Errorf("the stopped Restore = %#x, %v", got, err)
		}
		wantNobodyWaiting(t, r)
		l.settled()
	})
}

// Close between the end of one step and the start of the next, on the very thread.
func TestG19_closeAtEveryStepOfAClaim(t *testing.T) {
	forEachPlace(func(ref engine.ObjRef, p engine.Ptr) {
		for _, declares := range []bool{false, true} {
			for _, fails := range []bool{false, true} {
				// Steps are counted from the first on until there are no more.
				for at := int32(1); ; at++ {
					l := newLedger(t, 1)
					r := newRestart(t, with(engine.Options{}, l))
					h := r.Restorer()
					var n atomic.Int32
					closed := false
					restore := invariants.OnStep(func(string) {
						if n.Add(1) == at {
							closed = true
							closeQuietly(t, r)
						}
					})
					_, err := h.Restore(bg, ref, 1, func(c *engine.Claim) (engine.Ptr, error) {
						if declares {
							if err := c.Declare(p); err != nil {
								wantErr(t, "Declare", err, engine.ErrClosed)
							}
						}
						if fails {
							return 0, errSick
						}
						return p, nil
					})
					restore()
					if closed && !fails {
						wantErr(t, "Restore", err, engine.ErrClosed)
					}
					closeQuietly(t, r)
					closeQuietly(t, h)
					l.settled()
					if !closed {
						break
					}
				}
			}
		}
	})
}
