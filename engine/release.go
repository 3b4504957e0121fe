package engine

import (
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/objhash/objhash/internal/region"
	"github.com/objhash/objhash/refcount"
)

// holds count who still needs an object, apart from its users, which the audit wants
// whole. A context in which references are held until Close has none.
type holds struct {
	counter refcount.Counter
	dumped  *region.Array[uint32] // objref r is bit r%32 of word r/32: it was dumped before it was released
}

func (c *Checkpoint) newHolds(s refcount.Strategy) error {
	if s == nil {
		return nil
	}
	if t := s.Traits(); t.Zero >= refcount.AtBarrier || t.OneThread {
		return fmt.Errorf("%w: Holds %q, which tells that an object is let go %s, or serves one thread only; want one that tells earlier, refcount.Rcuref say",
			ErrInvalid, s.Name(), t.Zero)
	}
	c.holds.dumped = region.NewArray[uint32](c.arena)
	var err error
	c.holds.counter, err = s.New(refcount.Config{Arena: c.arena, Zero: func(ref int32) { c.letGo(ObjRef(ref)) }})
	return err
}

func (h *holds) grow(s span) error {
	if h.counter == nil {
		return nil
	}
	if err := h.dumped.Grow(s.first/32, s.last/32); err != nil {
		return err
	}
	return h.counter.Grow(int32(s.first), int32(s.last))
}

func (h *holds) wasDumped(ref ObjRef) bool {
	return atomic.LoadUint32(h.dumped.Made(uint32(ref)/32))&(1<<(ref%32)) != 0
}

func (h *holds) noteDumped(ref ObjRef) {
	atomic.OrUint32(h.dumped.Made(uint32(ref)/32), 1<<(ref%32))
}

// Release lets go of the object of ref: it undoes the hold of one encounter, of whichever
// pass. When every hold has been undone, the object is released: its reference is dropped,
// as the last one, and it cannot be encountered again. It keeps its objref and its record,
// so lookups, the audit and snapshots go on knowing it, but the audit does not ask for its
// reference count any more.
//
// Drop runs on the goroutine whose operation finds that there is no hold left: that of the
// last Release with a strategy that tells zeros at once, such as refcount.Rcuref; that of a
// later Release, or of the Close of a handle, with others; or that of an Audit, which holds
// each object for a moment. Close drops what is held still, and does not wait for a Drop
// that another thread has begun. If the object is being dumped, its reference is dropped
// when the callback returns. A Drop that calls Release, whose Drop calls Release, and so
// on, goes as deep as that chain is long.
//
// It may be called through any handle, but for strategies whose Traits say OwnDec: there
// through the one that met the object, as long as that is open. More calls than there were
// encounters are a bug of the caller's that is not always noticed.
//
// Errors: [ErrInvalid] without Options.Holds; [ErrNotFound] if ref has no object;
// [ErrReleased] if nobody holds it any more; [ErrClosed].
func (d *Dumper) Release(ref ObjRef) error {
	switch {
	case d == nil || d.c == nil:
		return fmt.Errorf("%w: nil handle or context", ErrInvalid)
	case d.closed || d.c.isClosed():
		return ErrClosed
	case d.hold == nil:
		return fmt.Errorf("%w: Release in a context without Options.Holds", ErrInvalid)
	}
	var r record
	if ref > 0 {
		if cell := d.c.cell(ref); cell != nil {
			r = load(cell)
		}
	}
	switch {
	case r.state() == released:
		return errReleased(ref)
	case !r.isObject():
		return fmt.Errorf("%w: objref %d", ErrNotFound, ref)
	}
	d.hold.Dec(int32(ref))
	runtime.KeepAlive(d.c)
	return nil
}

func errReleased(ref ObjRef) error { return fmt.Errorf("%w: objref %d", ErrReleased, ref) }

// holdMet holds an object that has been met, unless it has been released.
func (d *Dumper) holdMet(ref ObjRef) error {
	if d.hold != nil && !d.hold.TryInc(int32(ref)) {
		return errReleased(ref)
	}
	return nil
}

// unhold undoes holdMet.
func (d *Dumper) unhold(ref ObjRef) {
	if d.hold != nil {
		d.hold.Dec(int32(ref))
	}
}

// holdNext holds the object that is about to be published under d.next: whoever meets it
// then may let go before this thread takes another step. If it comes to nothing, the next
// object inherits the hold with the objref, since a count that goes back to 0 would say
// that the objref has been released.
func (d *Dumper) holdNext() {
	if d.hold != nil && !d.heldNext {
		d.heldNext = true
		d.hold.Inc(int32(d.next))
	}
}

// letGo drops the reference of an object that nobody holds any more, unless Close does.
func (c *Checkpoint) letGo(ref ObjRef) {
	cell := c.cell(ref)
	for {
		r := load(cell)
		switch r.state() {
		case dumped:
			c.holds.noteDumped(ref)
		case held, dumping:
		default:
			return // Close has come first; or the base's object was given up
		}
		// The address is looked up before that step. What is kept beside a published record
		// stays until Close has been through all records, and then that step fails; from
		// that step on Close need not wait for us.
		p := c.address(ref, r)
		if !swap(cell, r, r.with(released)) {
			continue
		}
		if r.state() != dumping {
			c.drop(p, r.kind(), true)
		}
		return
	}
}

// flagsOf returns what the record of ref, which is an object's, says of it.
func (c *Checkpoint) flagsOf(ref ObjRef, r record) Flags {
	switch r.state() {
	case dumping:
		return Dumping
	case dumped:
		return Dumped
	case released:
		if c.holds.wasDumped(ref) {
			return Released | Dumped
		}
		return Released
	}
	return 0
}
