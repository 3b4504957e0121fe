package engine_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/objhash/objhash/engine"
)

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
