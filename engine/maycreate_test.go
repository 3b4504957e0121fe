package engine_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/objhash/objhash/engine"
)

// Objects have owners: the owner creates, everybody else waits.
func TestMayCreate_theOwnerCreates(t *testing.T) {
	const threads = 6
	n := sized(2_000)
	var creators sync.Map
	r := newRestart(t, engine.Options{Kinds: make([]engine.KindOps, 1), MayCreate: func(ref engine.ObjRef, k engine.Kind, holder uint64) bool {
		if k != 1 {
			t.Errorf("MayCreate is asked about kind %d", k)
		}
		return uint64(ref)%threads == holder
	}})
	var ready sync.WaitGroup
	ready.Add(threads)
	within(t, "restoring with owners", func() {
		parallel(threads, func(w int) {
			h := r.Restorer()
			defer h.Close()
			if w != 0 { // the first one's holder is what it is before the first call
				h.SetHolder(uint64(w))
			}
			ready.Done()
			ready.Wait() // all open
			for i := range n {
				ref := engine.ObjRef(i + 1)
				p, err := h.Restore(bg, ref, 1, func(*engine.Claim) (engine.Ptr, error) {
					if _, twice := creators.Swap(ref, w); twice || int(ref)%threads != w {
						t.Errorf("%d is created by %d, or twice", ref, w)
					}
					return addr(i), nil
				})
				wantPtr(t, "Restore", p, err, addr(i))
			}
		})
	})
}

// The owner does not come: those who wait hear of it when nobody else is left.
func TestMayCreate_theOwnerNeverComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRestart(t, engine.Options{Kinds: make([]engine.KindOps, 1), MayCreate: func(_ engine.ObjRef, _ engine.Kind, holder uint64) bool {
			return holder == 9
		}})
		owner := r.Restorer()
		owner.SetHolder(9)
		var wg sync.WaitGroup
		var stalled atomic.Int32
		const waiters = 10
		for i := range waiters {
			h := newRestorer(t, r)
			wg.Go(func() {
				_, err := h.Restore(bg, engine.ObjRef(i%3+1), 1, notCalled(t))
				var stall engine.StallError
				if !errors.As(err, &stall) || len(stall.Waits) != waiters {
					t.Errorf("Restore: %v", err)
				}
				stalled.Add(1)
			})
		}
		synctest.Wait()
		if n := stalled.Load(); n != 0 {
			t.Fatalf("%d have given up before the owner", n)
		}
		closeQuietly(t, owner)
		wg.Wait()
		// The objects have not failed.
		late := newRestorer(t, r)
		late.SetHolder(9)
		p, err := late.Restore(bg, 1, 1, at(addr(1)))
		wantPtr(t, "Restore by the owner", p, err, addr(1))
	})
}

// SetHolder within create concerns the calls that follow.
func TestMayCreate_holdersChange(t *testing.T) {
	r := newRestart(t, engine.Options{Kinds: make([]engine.KindOps, 1), MayCreate: func(ref engine.ObjRef, _ engine.Kind, holder uint64) bool {
		return uint64(ref) == holder
	}})
	h := newRestorer(t, r)
	h.SetHolder(1)
	p, err := h.Restore(bg, 1, 1, func(*engine.Claim) (engine.Ptr, error) {
		_, err := h.Restore(bg, 2, 1, notCalled(t))
		var stall *engine.StallError
		if !errors.As(err, &stall) || len(stall.Waits) != 1 || stall.Waits[0].For != 2 ||
			len(stall.Waits[0].Creating) != 1 || stall.Waits[0].Creating[0] != 1 {
			t.Errorf("Restore(2) for holder 1: %v", err)
		}
		wantMessage(t, err, "all 1 restorers wait", "for objref 2", "creating 1")
		h.SetHolder(2)
		return h.Restore(bg, 2, 1, at(addr(2)))
	})
	wantPtr(t, "Restore", p, err, addr(2))
}

// A callback that ends as no callback should leaves nothing behind.
func TestMayCreate_fates(t *testing.T) {
	for _, fate := range fates[1:] {
		sick := true
		r := newRestart(t, engine.Options{MaxObjects: 1, Kinds: make([]engine.KindOps, 1), MayCreate: func(engine.ObjRef, engine.Kind, uint64) bool {
			if sick {
				fate.meet()
			}
			return true
		}})
		h := newRestorer(t, r)
		fate.wantFate(t, "Restore", ends(func() error {
			_, err := h.Restore(bg, 1, 1, notCalled(t))
			return err
		}))
		sick = false
		p, err := h.Restore(bg, 1, 1, at(addr(1)))
		wantPtr(t, "Restore", p, err, addr(1))
	}
}

// A handle that MayCreate has closed creates nothing, waits for nothing, and leaves the
// others' waiting alone.
func TestMayCreate_closesTheHandle(t *testing.T) {
	for _, may := range []bool{false, true} {
		var h *engine.Restorer
		r := newRestart(t, engine.Options{Kinds: []engine.KindOps{{}}, MayCreate: func(engine.ObjRef, engine.Kind, uint64) bool {
			closeQuietly(t, h)
			return may
		}})
		h = r.Restorer()
		other := r.Restorer()
		p, err := h.Restore(t.Context(), 1, 1, func(*engine.Claim) (engine.Ptr, error) {
			t.Error("create ran")
			return addr(1), nil
		})
		if p != 0 {
			t.Errorf("Restore = %#x", p)
		}
		wantErr(t, "Restore with a handle that MayCreate closed", err, engine.ErrClosed)
		if registered, counted := r.Waiting(); registered != 0 || counted != 0 {
			t.Errorf("%d waiters, %d counted", registered, counted)
		}
		closeQuietly(t, other)
	}
}
