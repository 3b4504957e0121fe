package engine_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/objhash/objhash/engine"
)

func TestDeclare_makesTheObjectKnownAtOnce(t *testing.T) {
	forEachPlace(func(ref engine.ObjRef, p engine.Ptr) {
		synctest.Test(t, func(t *testing.T) {
			l := newLedger(t, 1)
			r := newRestart(t, with(engine.Options{}, l))
			h, other, waiting := newRestorer(t, r), newRestorer(t, r), newRestorer(t, r)
			var wg sync.WaitGroup
			got, err := h.Restore(bg, ref, 1, func(c *engine.Claim) (engine.Ptr, error) {
				wg.Go(func() {
					got, err := waiting.Await(bg, ref, 1)
					wantPtr(t, "Await", got, err, p)
				})
				synctest.Wait()
				if _, err := r.Fetch(ref, 1); !errors.Is(err, engine.ErrNotFound) || r.Len() != 0 {
					t.Errorf("before Declare: Fetch: %v, Len %d", err, r.Len())
				}
				if err := c.Declare(p); err != nil || c.Ref() != ref {
					t.Errorf("Declare: %v, Ref = %d", err, c.Ref())
				}
				wg.Wait()
				got, err := r.Fetch(ref, 1)
				wantPtr(t, "Fetch", got, err, p)
				for _, h := range []*engine.Restorer{h, other} {
					got, err = h.Restore(bg, ref, 1, notCalled(t))
					wantPtr(t, "Restore", got, err, p)
				}
				if b := l.of(p, 1); b.grabs != 1 || r.Len() != 1 {
					t.Errorf("after Declare: %+v, Len %d", b, r.Len())
				}
				return p, nil
			})
			wantPtr(t, "Restore", got, err, p)
			if b := l.of(p, 1); b.grabs != 1 || b.drops != 0 || r.Len() != 1 {
				t.Errorf("at the end: %+v, Len %d", b, r.Len())
			}
			closeQuietly(t, r)
			l.settled()
		})
	})
}

func TestDeclare_twice(t *testing.T) {
	forEachPlace(func(ref engine.ObjRef, p engine.Ptr) {
		l := newLedger(t, 1)
		r := newRestart(t, with(engine.Options{}, l))
		h := newRestorer(t, r)
		var claim *engine.Claim
		got, err := h.Restore(bg, ref, 1, func(c *engine.Claim) (engine.Ptr, error) {
			claim = c
			wantErr(t, "address 0", c.Declare(0), engine.ErrInvalid)
			for range 2 {
				if err := c.Declare(p); err != nil {
					t.Errorf("Declare: %v", err)
				}
			}
			for _, q := range []engine.Ptr{addr(2), wide(2)} {
				err := c.Declare(q)
				wantErr(t, "another address", err, engine.ErrExists)
				wantMessage(t, err, fmt.Sprintf("objref %d", ref), fmt.Sprintf("%#x", uint64(p)), fmt.Sprintf("%#x", uint64(q)))
			}
			return p, nil
		})
		wantPtr(t, "Restore", got, err, p)
		wantErr(t, "after the end", claim.Declare(p), engine.ErrClosed)
		wantErr(t, "after the end", claim.Declare(addr(2)), engine.ErrClosed)
		if claim.Ref() != ref {
			t.Errorf("Ref = %d", claim.Ref())
		}
		closeQuietly(t, r)
		wantErr(t, "after Close", claim.Declare(p), engine.ErrClosed)
		l.settled()
		if b := l.totals(); b.grabs != 1 {
			t.Errorf("%+v; want one reference", b)
		}
	})
}

func TestDeclare_afterAFailure(t *testing.T) {
	l := newLedger(t, 1)
	r := newRestart(t, with(engine.Options{}, l))
	h := newRestorer(t, r)
	for i, fate := range fates {
		var claim *engine.Claim
		ends(func() error {
			_, err := h.Restore(bg, engine.ObjRef(i+1), 1, func(c *engine.Claim) (engine.Ptr, error) {
				claim = c
				return 0, fate.meet()
			})
			return err
		})
		wantErr(t, fate.name, claim.Declare(addr(1)), engine.ErrClosed)
	}
	closeQuietly(t, r)
	if b := l.totals(); b.grabs != 0 {
		t.Errorf("%+v; want nothing grabbed", b)
	}
}

// Any goroutine that has the claim may declare; of many at once one does, or two with
// the same address, and create may even return meanwhile.
func TestDeclare_concurrently(t *testing.T) {
	n := sized(5_000)
	l := newLedger(t, 1)
	r := newRestart(t, with(engine.Options{}, l))
	h := newRestorer(t, r)
	for i := range n {
		const threads = 3
		ref := engine.ObjRef(i + 1)
		q := func(w int) engine.Ptr {
			if i%4 == 0 {
				return addr(i) // all the same
			}
			return [2]func(int) engine.Ptr{addr, wide}[w%2](threads*i + w)
		}
		var declared [threads]error
		var wg sync.WaitGroup
		_, err := h.Restore(bg, ref, 1, func(c *engine.Claim) (engine.Ptr, error) {
			for w := range threads {
				wg.Go(func() { declared[w] = c.Declare(q(w)) })
			}
			if i%2 == 0 {
				wg.Wait()
			}
			return q(0), nil
		})
		wg.Wait()
		for _, err := range declared {
			allowed(t, "Declare", err, engine.ErrExists, engine.ErrInvalid, engine.ErrClosed)
		}
		p, errFetch := r.Fetch(ref, 1)
		if err == nil {
			wantPtr(t, "Fetch", p, errFetch, q(0))
			if l.held(p) != 1 {
				t.Errorf("%d references to %#x", l.held(p), p)
			}
		} else {
			wantErr(t, "Restore", err, engine.ErrFailed)
			wantErr(t, "Restore", err, engine.ErrInvalid)
			wantErr(t, "Fetch", errFetch, engine.ErrFailed)
		}
		if t.Failed() {
			t.Fatalf("object %d: Restore: %v; Declare: %v", i, err, declared)
		}
	}
	if held := l.totals(); held.grabs-held.drops != r.Len() {
		t.Errorf("%d references held on %d objects", held.grabs-held.drops, r.Len())
	}
	closeQuietly(t, r)
	l.settled()
}

// From the Grab of the very Declare, and of the end of create.
func TestDeclare_withinItsOwnGrab(t *testing.T) {
	for _, declares := range []bool{true, false} {
		l := newLedger(t, 1)
		r := newRestart(t, with(engine.Options{}, l))
		h := newRestorer(t, r)
		var claim *engine.Claim
		grabs := 0
		l.grabbing = func(account) error {
			grabs++
			want := engine.ErrInvalid
			if !declares {
				want = engine.ErrClosed
			}
			wantErr(t, "Declare within Grab", claim.Declare(addr(1)), want)
			wantErr(t, "Declare within Grab", claim.Declare(addr(2)), want)
			return nil
		}
		p, err := h.Restore(bg, 1, 1, func(c *engine.Claim) (engine.Ptr, error) {
			claim = c
			if declares {
				return addr(1), c.Declare(addr(1))
			}
			return addr(1), nil
		})
		wantPtr(t, "Restore", p, err, addr(1))
		closeQuietly(t, r)
		l.settled()
		if grabs != 1 {
			t.Errorf("%d grabs", grabs)
		}
	}
}

// create ends while another goroutine's Declare waits for Grab: the claim fails, the
// Declare comes too late, and its reference is dropped.
func TestDeclare_overtakenByTheEndOfCreate(t *testing.T) {
	for _, end := range []string{"success", "error", "Close"} {
		forEachPlace(func(ref engine.ObjRef, p engine.Ptr) {
			l := newLedger(t, 1)
			r := newRestart(t, with(engine.Options{MaxObjects: 1}, l))
			h := newRestorer(t, r)
			grabbing, goOn := make(chan struct{}), make(chan struct{})
			l.grabbing = func(account) error {
				close(grabbing)
				<-goOn
				return nil
			}
			declared := make(chan error, 1)
			_, err := h.Restore(bg, ref, 1, func(c *engine.Claim) (engine.Ptr, error) {
				go func() { declared <- c.Declare(p) }()
				<-grabbing
				switch end {
				case "error":
					return 0, errSick
				case "Close":
					closeQuietly(t, r)
				}
				return p, nil
			})
			wantErr(t, end, err, engine.ErrFailed)
			if end != "error" {
				wantErr(t, end, err, engine.ErrInvalid)
			}
			close(goOn)
			wantErr(t, "Declare", <-declared, engine.ErrClosed)
			if b := l.of(p, 1); b.grabs != 1 || b.drops != 1 {
				t.Errorf("%+v; want one reference, dropped", b)
			}
			if end != "Close" {
				l.grabbing = nil
				_, err := r.Fetch(ref, 1)
				wantErr(t, "Fetch", err, engine.ErrFailed)
				got, err := h.Restore(bg, 7, 1, at(addr(7)))
				wantPtr(t, "the next", got, err, addr(7))
			}
			closeQuietly(t, r)
			l.settled()
		})
	}
}
