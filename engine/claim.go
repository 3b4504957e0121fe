package engine

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/objhash/objhash/internal/invariants"
)

// Claim is the right, and the duty, of one thread to create an object. It ends when
// the create callback does. It is a token: any goroutine that has it may use it.
//
// The record of a claimed objref says who claims it. All steps from there are made
// by the claim, except that Close takes a declared object away:
//
//	open ──▶ declaring ──▶ declared ──▶ ended
//	  └──────────────────────────────────▲
type Claim struct {
	h    *Restorer
	in   *inFlight // what we are counted in as under way
	cell *uint64
	ref  ObjRef
	kind Kind

	resolved bool // the record is final; written by the creating goroutine alone

	mu    sync.Mutex
	phase claimPhase
	rec   record // what is in cell, unless Close has been there
	ptr   Ptr    // declared
}

type claimPhase uint8

const (
	open      claimPhase = iota
	declaring            // Grab is running
	addressed            // Declare has published the address
	ended
)

// Ref returns the objref that is claimed.
func (c *Claim) Ref() ObjRef {
	if c == nil {
		return 0
	}
	return c.ref
}

// claim makes h's thread the creator of ref, whose record is in cell, if that is known. An error that wraps ErrExists says that
// somebody else was faster.
func (h *Restorer) claim(ref ObjRef, k Kind, cell *uint64) (*Claim, error) {
	r := h.r
	if h.closed { // by MayCreate
		return nil, ErrClosed
	}
	if len(h.claims) >= NestedMax {
		return nil, fmt.Errorf("%w: objref %d would be created within %d others", ErrLimit, ref, len(h.claims))
	}
	s, err := r.enter(h.id)
	if err != nil {
		return nil, err
	}
	rec := claimedRecord(h.id, k)
	cell, err = r.placeClaim(ref, rec, cell)
	if err != nil {
		r.leave(s)
		return nil, err
	}
	c := h.newClaim()
	c.h, c.in, c.cell, c.ref, c.kind, c.rec = h, s, cell, ref, k, rec
	h.claims = append(h.claims, c)
	return c, nil
}

// newClaim returns a Claim that nobody has used: a token cannot be used twice. They are
// made some at a time, which takes half the time.
func (h *Restorer) newClaim() *Claim {
	if len(h.spare) == 0 {
		h.spare = make([]Claim, 16)
	}
	c := &h.spare[0]
	h.spare = h.spare[1:]
	return c
}

// placeClaim publishes a claim and takes its object off the limit, in this order: the
// number of objects of an image is a limit that those who race for one may not exceed.
func (r *Restart) placeClaim(ref ObjRef, rec record, cell *uint64) (*uint64, error) {
	if err := r.full(); err != nil {
		// Ordering: a claim is placed before it counts, so that the one which took the
		// last permit is seen if it is of this object.
		if _, have := r.find(ref); have.state() != absent {
			return nil, fmt.Errorf("%w: objref %d", ErrExists, ref)
		}
		return nil, fmt.Errorf("objref %d: %w", ref, err)
	}
	var err error
	if cell != nil {
		err = r.placeAt(cell, ref, rec)
	} else {
		cell, err = r.place(ref, 0, rec)
	}
	if err != nil {
		return nil, err
	}
	if err := r.admit(); err != nil {
		swapped := swap(cell, rec, 0)
		invariants.Check(swapped, "a claimed record changed")
		r.wake(ref)
		return nil, fmt.Errorf("objref %d: %w", ref, err)
	}
	return cell, nil
}

// run runs create and ends the claim, whatever create does.
func (c *Claim) run(create func(*Claim) (Ptr, error)) (p Ptr, err error) {
	h := c.h
	defer func() {
		last := len(h.claims) - 1
		h.claims[last] = nil
		h.claims = h.claims[:last]
		h.r.leave(c.in)
	}()
	returned := false
	defer func() {
		if returned {
			return
		}
		v := recover()
		if v == nil {
			_ = c.fail(errExited)
			return
		}
		_ = c.fail(panicError(v))
		panic(v)
	}()
	p, err = create(c)
	if err == nil {
		err = c.succeed(p)
	} else {
		err = c.fail(err)
	}
	returned = true
	if err != nil {
		return 0, err
	}
	return p, nil
}

var errExited = errors.New("the creating goroutine has exited")

// panicError is the cause of a failure that was a panic.
func panicError(v any) error {
	if err, ok := v.(error); ok {
		return fmt.Errorf("panic: %w", err)
	}
	return fmt.Errorf("panic: %v", v)
}

// Declare says that the object is at p, although it is not complete yet. Everybody
// who waits for it, and whoever asks for it from now on, gets p at once: that is how
// objects that refer to each other are restored. The context grabs its reference now.
// create must return the same p. If it fails all the same, the reference is dropped,
// and those who have p already have the address of an object that failed.
//
// Errors: [ErrInvalid] for p == 0, or while another Declare of this claim runs;
// [ErrExists] if another address has been declared; [ErrClosed] after the claim has
// ended or the context is closed; [ErrLimit]; or what Grab returned.
func (c *Claim) Declare(p Ptr) error {
	if c == nil || c.h == nil {
		return fmt.Errorf("%w: nil claim", ErrInvalid)
	}
	if p == 0 {
		return fmt.Errorf("%w: address 0 declared for objref %d", ErrInvalid, c.ref)
	}
	if again, err := c.startDeclaring(p); again || err != nil {
		return err
	}
	defer c.stopDeclaring()
	r := c.h.r
	if err := r.hold(p, c.kind); err != nil {
		return fmt.Errorf("objref %d: %w", c.ref, err)
	}
	if err := c.publishDeclared(p); err != nil {
		r.drop(p, c.kind, true)
		return err
	}
	// If Close has come first, the reference is dropped when the claim ends.
	if r.overtaken(c.cell, c.ref) {
		return ErrClosed
	}
	return nil
}

func (c *Claim) startDeclaring(p Ptr) (again bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.phase == ended:
		return false, fmt.Errorf("%w: the claim of objref %d has ended", ErrClosed, c.ref)
	case c.phase == declaring:
		return false, fmt.Errorf("%w: objref %d is being declared", ErrInvalid, c.ref)
	case c.phase == addressed && c.ptr == p:
		return true, nil
	case c.phase == addressed:
		return false, fmt.Errorf("%w: objref %d has been declared at %#x, not %#x", ErrExists, c.ref, uint64(c.ptr), uint64(p))
	}
	c.phase = declaring
	return false, nil
}

// stopDeclaring undoes startDeclaring if nothing came of it.
func (c *Claim) stopDeclaring() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase == declaring {
		c.phase = open
	}
}

// publish makes the object, to which a reference has been grabbed, known at p.
func (c *Claim) publish(p Ptr, s state) error {
	r := c.h.r
	rec := newRecord(p, c.kind, s)
	if rec.beside() {
		if err := r.putBeside(c.ref, p); err != nil {
			return err
		}
	}
	invariants.Step("claim: before publishing")
	// Ordering: publishes the object. Nobody else changes a claimed record.
	swapped := swap(c.cell, c.rec, rec)
	invariants.Check(swapped, "a claimed record changed")
	c.rec, c.ptr = rec, p
	c.in.objects.Add(1)
	r.wake(c.ref)
	return nil
}

// publishDeclared publishes for Declare, unless the claim has ended meanwhile.
func (c *Claim) publishDeclared(p Ptr) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.phase != declaring {
		return fmt.Errorf("%w: the claim of objref %d ended while it was being declared", ErrClosed, c.ref)
	}
	if err := c.publish(p, declared); err != nil {
		return err
	}
	c.phase = addressed
	return nil
}

// succeed ends the claim of an object that has been created at p.
func (c *Claim) succeed(p Ptr) error {
	r := c.h.r
	c.mu.Lock()
	was := c.phase
	c.phase = ended
	c.mu.Unlock()
	switch {
	case was == declaring:
		return c.fail(fmt.Errorf("%w: create returned while it was being declared", ErrInvalid))
	case was == addressed && p != c.ptr:
		return c.fail(fmt.Errorf("%w: created at %#x, but declared at %#x", ErrInvalid, uint64(p), uint64(c.ptr)))
	case was == addressed:
		c.resolved = true
		if !swap(c.cell, c.rec, c.rec.with(held)) {
			// Only Close takes it away, and leaves the reference to us.
			r.drop(p, c.kind, true)
			return ErrClosed
		}
	case p == 0:
		return c.fail(fmt.Errorf("%w: created at address 0", ErrInvalid))
	default:
		if err := r.hold(p, c.kind); err != nil {
			return c.fail(err)
		}
		if err := c.publish(p, held); err != nil {
			r.drop(p, c.kind, true)
			return c.fail(err)
		}
		c.resolved = true
	}
	if r.overtaken(c.cell, c.ref) {
		return ErrClosed
	}
	return nil
}

// fail ends the claim of an object that could not be created, and returns what all
// who ask for it get, unless there is no memory to keep the cause for them.
func (c *Claim) fail(cause error) error {
	r := c.h.r
	if c.resolved { // a Drop panicked after that
		return cause
	}
	c.resolved = true
	c.mu.Lock()
	c.phase = ended
	rec, p := c.rec, c.ptr
	c.mu.Unlock()
	r.failures.put(r, c.ref, cause)
	// Ordering: whoever sees the record finds the cause. A claimed record is ours
	// alone; a declared one may have been taken away by Close, which leaves the
	// reference to us.
	if swap(c.cell, rec, failedRecord(c.kind)) && p != 0 {
		c.in.objects.Add(-1)
	}
	if rec.beside() {
		r.side.remove(c.ref)
	}
	r.dismiss()
	r.wake(c.ref)
	if p != 0 {
		r.drop(p, c.kind, true)
	}
	return &failureError{kind: r.kindName(c.kind), ref: c.ref, cause: cause}
}

// failures keeps why objects could not be created.
type failures struct {
	mu sync.RWMutex
	m  map[ObjRef]error
}

// failureBytes is what a cause is charged: its share of a Go map that is about to
// grow, and an error with a short text.
const failureBytes = 256

// errForgotten stands for a cause that there was no memory to keep.
var errForgotten = errors.New("cause not kept: MaxBytes is reached")

func (f *failures) put(r *Restart, ref ObjRef, cause error) {
	if r.arena.Charge(failureBytes) != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m == nil {
		f.m = make(map[ObjRef]error)
	}
	f.m[ref] = cause
}

func (f *failures) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.m = nil
}

// failure returns the error of an object whose creation has failed.
func (r *Restart) failure(ref ObjRef, k Kind) error {
	r.failures.mu.RLock()
	cause, ok := r.failures.m[ref]
	r.failures.mu.RUnlock()
	if !ok {
		cause = errForgotten
	}
	return &failureError{kind: r.kindName(k), ref: ref, cause: cause}
}

// failureError is an ErrFailed with its cause, which is often the failure of an
// object that this one refers to, and so on: the text is made when it is asked for,
// and does not repeat all of a long chain.
type failureError struct {
	kind  string
	ref   ObjRef
	cause error
}

func (e *failureError) Unwrap() []error { return []error{ErrFailed, e.cause} }

func (e *failureError) Error() string {
	const shown = 4
	var b strings.Builder
	fmt.Fprintf(&b, "%v: %s, objref %d", ErrFailed, e.kind, e.ref)
	cause, n := e.cause, 1
	for next, ok := cause.(*failureError); ok; next, ok = cause.(*failureError) {
		if n < shown {
			fmt.Fprintf(&b, ": %s, objref %d", next.kind, next.ref)
		}
		cause = next.cause
		n++
	}
	if n > shown {
		fmt.Fprintf(&b, ": and %d more", n-shown)
	}
	b.WriteString(": " + clip(fmt.Sprint(cause)))
	return b.String()
}

// clip leaves the middle of a long text out. What create callbacks add to the errors
// they pass on would make the texts of a chain grow with its square.
func clip(text string) string {
	const end = 400
	if len(text) <= 2*end {
		return text
	}
	return strings.ToValidUTF8(text[:end]+" ... "+text[len(text)-end:], "")
}
