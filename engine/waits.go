package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// waitGraph is who waits for what. A handle waits for one object at most, and a
// claimed object is created by one handle, so from each there is one way to go; a
// cycle is found by going it. It is used only by those who wait, and by those who
// end what somebody may be waiting for.
type waitGraph struct {
	mu        sync.Mutex
	restorers []*Restorer // by id-1; nil: free
	free      []uint32    // ids
	open      int         // handles
	waiting   int         // of these, waiting
	waiters   map[ObjRef][]*waiter
}

type waiter struct {
	h     *Restorer
	ref   ObjRef
	woken chan struct{} // closed when there is something to look at, or err
	err   error
}

// add registers a new handle.
func (g *waitGraph) add(h *Restorer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := len(g.free); n > 0 {
		h.id = g.free[n-1]
		g.free = g.free[:n-1]
	} else {
		g.restorers = append(g.restorers, nil)
		h.id = uint32(len(g.restorers))
	}
	g.restorers[h.id-1] = h
	g.open++
}

// remove takes a handle off. It may have been the last one that could have created
// what the others wait for.
func (g *waitGraph) remove(h *Restorer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.restorers[h.id-1] = nil
	g.free = append(g.free, h.id)
	g.open--
	g.endStall()
}

// wait waits until it is worth looking at the record of ref again.
func (h *Restorer) wait(ctx context.Context, ref ObjRef) error {
	if ctx.Err() != nil {
		return cancelled(ctx, ref)
	}
	s, err := h.r.enter(h.id)
	if err != nil {
		return err
	}
	defer h.r.leave(s)
	done := ctx.Done() // may be anybody's code: not while we are registered
	w, err := h.register(ref)
	if w == nil {
		return err
	}
	select {
	case <-w.woken:
		return w.err
	case <-done:
	}
	if h.r.unregister(w) {
		return cancelled(ctx, ref)
	}
	return w.err
}

func cancelled(ctx context.Context, ref ObjRef) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); cause != err {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return fmt.Errorf("waiting for objref %d: %w", ref, err)
}

// register makes h a waiter for ref, unless there is no need to wait any more (nil,
// nil) or no sense in it.
func (h *Restorer) register(ref ObjRef) (*waiter, error) {
	r, g := h.r, &h.r.waits
	if h.closed { // by MayCreate, or the methods of a context of the caller's own
		return nil, ErrClosed
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	n := &r.waitedFor[ref%waitedStripes].n
	// Ordering: pairs with wake, which comes after the record has changed. Either the
	// change is seen here, or this is seen there.
	n.Add(1)
	w := (*waiter)(nil)
	defer func() {
		if w == nil {
			n.Add(-1)
		}
	}()
	_, rec := r.find(ref)
	if s := rec.state(); s != absent && s != claimed {
		return nil, nil
	}
	// Ordering: Close stores closed, then wakes all under the lock.
	if r.closed.Load() {
		return nil, ErrClosed
	}
	if path := h.cycle(ref); path != nil {
		return nil, &CycleError{Path: path}
	}
	w = &waiter{h: h, ref: ref, woken: make(chan struct{})}
	if g.waiters == nil {
		g.waiters = make(map[ObjRef][]*waiter)
	}
	g.waiters[ref] = append(g.waiters[ref], w)
	h.waiting = w
	g.waiting++
	g.endStall()
	return w, nil
}

// cycle returns the objects whose creation would wait for each other if h waited for
// ref, or nil. The lock is held.
//
// The claims of a handle are read only while it waits, or is our own: then its thread
// is not changing them.
func (h *Restorer) cycle(ref ObjRef) (path []ObjRef) {
	r := h.r
	for {
		_, rec := r.find(ref)
		if rec.state() != claimed {
			return nil
		}
		owner := r.waits.restorers[rec.owner()-1]
		if owner == nil || owner != h && owner.waiting == nil {
			return nil
		}
		from := slices.IndexFunc(owner.claims, func(c *Claim) bool { return c.ref == ref })
		if from < 0 {
			return nil // just ended
		}
		for _, c := range owner.claims[from:] {
			path = append(path, c.ref)
		}
		if owner == h {
			return path
		}
		ref = owner.waiting.ref
	}
}

// end ends the waiting of w, which is taken off the list by the caller. The lock is
// held.
func (g *waitGraph) end(w *waiter, err error) {
	w.err = err
	w.h.waiting = nil
	w.h.r.waitedFor[w.ref%waitedStripes].n.Add(-1)
	g.waiting--
	close(w.woken)
}

// endAll ends all waiting. The lock is held.
func (g *waitGraph) endAll(err error) {
	for _, list := range g.waiters {
		for _, w := range list {
			g.end(w, err)
		}
	}
	clear(g.waiters)
}

// close ends all waiting for good: r.closed is set by now.
func (g *waitGraph) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.endAll(ErrClosed)
}

// endStall ends all waiting if every open handle waits: no thread that the context
// knows of can create anything any more. The lock is held.
func (g *waitGraph) endStall() {
	if g.waiting == 0 || g.waiting < g.open {
		return
	}
	stall := &StallError{}
	for _, h := range g.restorers {
		if h == nil {
			continue
		}
		w := Wait{For: h.waiting.ref}
		for _, c := range h.claims {
			w.Creating = append(w.Creating, c.ref)
		}
		stall.Waits = append(stall.Waits, w)
	}
	g.endAll(stall)
}

// unregister takes a waiter whose context has ended off; false if it has been woken.
func (r *Restart) unregister(w *waiter) bool {
	g := &r.waits
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.h.waiting != w {
		return false
	}
	list := g.waiters[w.ref]
	if len(list) == 1 {
		delete(g.waiters, w.ref)
	} else {
		i := slices.Index(list, w)
		g.waiters[w.ref] = slices.Delete(list, i, i+1)
	}
	g.end(w, nil)
	return true
}

// waitedStripes is over how many lines the number of waiters is spread, by objref.
const waitedStripes = 64

// waitedFor is the number of those who wait for some objects, on a line of its own.
type waitedFor struct {
	n atomic.Int64
	_ [56]byte
}

// wake wakes those who wait for ref, whose record has just changed.
func (r *Restart) wake(ref ObjRef) {
	// Ordering: see register.
	if r.waitedFor[ref%waitedStripes].n.Load() == 0 {
		return
	}
	g := &r.waits
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range g.waiters[ref] {
		g.end(w, nil)
	}
	delete(g.waiters, ref)
}

// CycleError reports that waiting for an object would have closed a cycle: creating
// Path[0] waits for Path[1], and so on, and the last one for Path[0]. One of the
// threads concerned gets it, at once; the others go on when that one's objects have
// failed, or have been declared.
type CycleError struct{ Path []ObjRef }

// Error implements error.
func (e CycleError) Error() string {
	var b strings.Builder
	b.WriteString("cycle of objects that wait for each other: objref")
	for _, ref := range e.Path {
		fmt.Fprintf(&b, " %d ->", ref)
	}
	if len(e.Path) > 0 {
		fmt.Fprintf(&b, " %d", e.Path[0])
	}
	return b.String()
}

// As lets errors.As fill a CycleError as well as a *CycleError.
func (e *CycleError) As(target any) bool { return fill(target, e) }

// StallError reports that every open [Restorer] of a context waited, so that nobody
// was left to create what they waited for. Each of them gets it.
type StallError struct{ Waits []Wait }

// Wait is what one thread waits for, and which objects, each from within the one
// before, it is creating meanwhile.
type Wait struct {
	For      ObjRef
	Creating []ObjRef
}

// Error implements error.
func (e StallError) Error() string {
	const shown = 8
	var b strings.Builder
	fmt.Fprintf(&b, "all %d restorers wait", len(e.Waits))
	for i, w := range e.Waits {
		if i == shown {
			fmt.Fprintf(&b, "; and %d more", len(e.Waits)-shown)
			break
		}
		sep := ";"
		if i == 0 {
			sep = ":"
		}
		fmt.Fprintf(&b, "%s for objref %d", sep, w.For)
		if n := len(w.Creating); n > 0 {
			fmt.Fprintf(&b, ", creating %d", w.Creating[n-1])
		}
	}
	return b.String()
}

// As lets errors.As fill a StallError as well as a *StallError.
func (e *StallError) As(target any) bool { return fill(target, e) }
