package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// Restorer is one thread's handle on a [Restart]: the objects that this thread is
// creating, and the one it waits for. With it the context knows who waits for whom,
// so that nobody waits for ever: create callbacks must use the handle of the thread
// they run on. Not for concurrent use. After Close, and on a nil *Restorer, every
// method returns an error.
//
// A thread that will create or insert objects others wait for should have a handle
// open from the start: when every open handle waits, all get a [StallError].
type Restorer struct {
	r      *Restart
	id     uint32 // place among the context's handles, from 1
	holder uint64
	closed bool

	claims  []*Claim // being created by this thread, each from within the one before
	spare   []Claim  // for the next ones
	waiting *waiter  // guarded by waitGraph.mu

	// 192 bytes in all, so that no two handles write one cache line.
	_ [104]byte
}

// NestedMax is how many objects a thread may be creating at a time, each from within
// the create callback of the one before. It keeps the stack of a thread that follows
// a hostile chain of references within about 100 MB.
const NestedMax = 100_000

// Restorer returns a handle for one thread, to be closed when that thread is done.
// One that is lost without Close keeps the context from seeing that all others wait
// in vain.
func (r *Restart) Restorer() *Restorer {
	h := &Restorer{r: r}
	if r != nil {
		r.waits.add(h)
	}
	return h
}

// SetHolder says for whom this thread restores objects from now on; before the first
// call that is holder 0. It means what Options.MayCreate takes it to mean.
func (h *Restorer) SetHolder(holder uint64) {
	if h != nil {
		h.holder = holder
	}
}

func (h *Restorer) check(ref ObjRef, k Kind) error {
	if h == nil || h.r == nil {
		return fmt.Errorf("%w: nil handle or context", ErrInvalid)
	}
	if h.closed || h.r.closed.Load() {
		return ErrClosed
	}
	if err := checkRef(ref); err != nil {
		return err
	}
	if err := h.r.checkKind(k); err != nil {
		return fmt.Errorf("objref %d: %w", ref, err)
	}
	return nil
}

// Restore returns the address of the object of ref, which create makes if nobody has
// and nobody is about to. For one caller, at most, create runs; everybody else waits,
// without spinning, until it returns or calls [Claim.Declare], and gets the same
// address. The context grabs a reference to the object, which it drops when it is
// closed.
//
// create runs on the caller's goroutine, with no lock held, and may restore whatever
// the object refers to through this same handle. If it returns an error, panics or
// exits, the object has failed for good, and everybody who asks for it gets that
// cause. ctx ends the caller's waiting; it has no effect on create.
//
// Errors: [ErrInvalid]; *[KindError] if the object is of another kind; [ErrFailed]
// with the cause, for the caller whose create failed as for everybody else;
// *[CycleError] if waiting would close a cycle; *[StallError]; [ErrLimit], without
// create having run if that is about objects or the depth of nesting; [ErrClosed]; or
// the error of ctx.
func (h *Restorer) Restore(ctx context.Context, ref ObjRef, k Kind, create func(*Claim) (Ptr, error)) (Ptr, error) {
	if create == nil {
		return 0, fmt.Errorf("%w: nil create function for objref %d", ErrInvalid, ref)
	}
	return h.get(ctx, ref, k, create)
}

// Await returns the address of the object of ref as soon as another thread has
// restored, declared or inserted it. Errors are those of [Restorer.Restore].
func (h *Restorer) Await(ctx context.Context, ref ObjRef, k Kind) (Ptr, error) {
	return h.get(ctx, ref, k, nil)
}

func (h *Restorer) get(ctx context.Context, ref ObjRef, k Kind, create func(*Claim) (Ptr, error)) (Ptr, error) {
	if err := h.check(ref, k); err != nil {
		return 0, err
	}
	if ctx == nil {
		return 0, fmt.Errorf("%w: nil context.Context for objref %d", ErrInvalid, ref)
	}
	if p := h.r.ready(ref, k); p != 0 {
		return p, nil
	}
	for {
		cell, rec := h.r.find(ref)
		if s := rec.state(); s != absent && s != claimed {
			return h.r.fetch(ref, k)
		} else if s == claimed && rec.kind() != k {
			return 0, &KindError{Ref: ref, Have: rec.kind(), Want: k}
		} else if s == absent && create != nil && h.mayCreate(ref, k) {
			c, err := h.claim(ref, k, cell)
			if c != nil {
				return c.run(create)
			}
			if !errors.Is(err, ErrExists) {
				return 0, err
			}
			continue // somebody else was faster
		}
		if err := h.wait(ctx, ref); err != nil {
			return 0, err
		}
	}
}

func (h *Restorer) mayCreate(ref ObjRef, k Kind) bool {
	may := h.r.mayCreate
	return may == nil || may(ref, k, h.holder)
}

// Close ends the use of the handle. It is an error, [ErrInvalid], to close it from
// within a create callback that runs on it. A second Close does nothing.
func (h *Restorer) Close() error {
	if h == nil || h.r == nil || h.closed {
		return nil
	}
	if n := len(h.claims); n > 0 {
		return fmt.Errorf("%w: closing a handle that is creating %d objects", ErrInvalid, n)
	}
	h.closed = true
	h.r.waits.remove(h)
	runtime.KeepAlive(h.r)
	return nil
}
