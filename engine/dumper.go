package engine

import (
	"fmt"
	"runtime"

	"github.com/objhash/objhash/internal/invariants"
	"github.com/objhash/objhash/refcount"
	"github.com/objhash/objhash/shard"
)

// Dumper is one thread's handle on a [Checkpoint]: leased objrefs and local counts.
// Not for concurrent use; callbacks running on its own goroutine may use it. After
// Close, and on a nil *Dumper, every method returns an error.
type Dumper struct {
	c     *Checkpoint
	count refcount.Handle
	log   *refcount.LogHandle // count, if it is of this type and all there is to do: the hot path calls it directly

	holders *holderLog // nil: not tracked

	hold     refcount.Handle // nil: references are held until Close
	heldNext bool            // the next new object's objref has a hold already
	closed   bool

	// The lease: objrefs from next to lease.last are ours and unused. Written by
	// this thread alone, the lease and leased under the pool's lock.
	leased bool
	next   uint32
	lease  span

	// The records of next and of those that follow it, as far as they are leased and lie
	// side by side. nil: no lease.
	cells []uint64
	bare  uint64 // kinds below 64, by bit, that go the short way: none without cells

	objects, reserved int32  // in this lease
	kinds             uint32 // how many the context has; 0 without a context, and on a closed handle
	place             int32  // in the pool's list of handles, from 1; 0: not there. Guarded by the pool's lock

	// 128 bytes in all, so that no two handles share a cache line: every new object
	// writes its handle.
	_ [8]byte
}

func (d *Dumper) check(k Kind) error {
	if d == nil || d.c == nil {
		return fmt.Errorf("%w: nil handle or context", ErrInvalid)
	}
	if d.closed || d.c.closed.Load() {
		return ErrClosed
	}
	if k == 0 || int(k) > len(d.c.kinds) {
		return d.c.checkKind(k)
	}
	return nil
}

// Encounter tells whether the object at p has been met before, and its objref. If
// it has not, the object gets one, and a reference to it is grabbed; first is true
// for exactly one caller. Each successful call counts one user, until EndCollect.
//
// Errors: [ErrInvalid] for p == 0 or an unknown kind; *[KindError] if the object is
// known under another kind; [ErrReleased] if everybody has let go of it; [ErrLimit],
// [ErrExhausted]; [ErrClosed]; or what Grab returned. After an error ref is 0 and nothing has changed.
//
// It waits for nobody, except that a new object's encounter waits while its shard of
// the index is being moved to a larger table, and for what strategies of Options.Count and
// Options.Holds wait for, if they do.
func (d *Dumper) Encounter(p Ptr, k Kind) (ref ObjRef, first bool, err error) {
	if d != nil && k < 64 && d.bare>>k&1 != 0 && !d.c.past.Load() {
		// The fewer instructions there are here, the more encounters the processor looks
		// ahead while it waits for the memory of one.
		next := int32(d.next)
		got := d.c.index.Encounter(uint64(p), uint8(k), next, &d.cells[0], bareLow(k))
		if got != next && got != 0 {
			d.log.Inc(got)
			return ObjRef(got), false, nil
		}
		return d.encounterBare(p, k, got)
	}
	if d.mustCheck(k) {
		return d.encounter(p, k)
	}
	got, tag := d.c.index.Lookup(uint64(p))
	if got == 0 {
		return d.add(identity{ptr: p}, k)
	}
	if Kind(tag) == k && k < shard.TagUnknown && d.log != nil {
		d.log.Inc(got)
		return ObjRef(got), false, nil
	}
	return d.meet(ObjRef(got), d.c.kindOf(got, tag), k)
}

// mustCheck tells whether check may have an error to return, or the dump pass has
// begun, in a form small enough to be inlined.
func (d *Dumper) mustCheck(k Kind) bool {
	return d == nil || uint32(k)-1 >= d.kinds || d.c.past.Load()
}

// encounter is Encounter where there is more to look at.
func (d *Dumper) encounter(p Ptr, k Kind) (ref ObjRef, first bool, err error) {
	if err := d.check(k); err != nil {
		return 0, false, err
	}
	got, tag := d.c.index.Lookup(uint64(p))
	if got == 0 {
		return d.add(identity{ptr: p}, k)
	}
	return d.meet(ObjRef(got), d.c.kindOf(got, tag), k)
}

// inc counts one user.
func (d *Dumper) inc(ref int32) {
	if d.log != nil {
		d.log.Inc(ref)
	} else {
		d.count.Inc(ref)
	}
}

// kindTag is how a kind is remembered in the index, where there is room for 8 bits.
func kindTag(k Kind) uint8 { return uint8(min(k, shard.TagUnknown)) }

// kindOf returns the kind of a published object.
func (c *Checkpoint) kindOf(ref int32, tag uint8) Kind {
	if tag != shard.TagUnknown {
		return Kind(tag)
	}
	return load(c.cell(ObjRef(ref))).kind()
}

// meet ends an encounter with a known object.
func (d *Dumper) meet(ref ObjRef, have, want Kind) (ObjRef, bool, error) {
	if have != want {
		return 0, false, d.c.errKind(ref, have, want)
	}
	if err := d.holdMet(ref); err != nil {
		return 0, false, err
	}
	return d.meetHeld(ref)
}

// meetHeld ends an encounter with a known object that is held, of the right kind.
func (d *Dumper) meetHeld(ref ObjRef) (ObjRef, bool, error) {
	if err := d.ensureTally(); err != nil {
		d.unhold(ref)
		return 0, false, err
	}
	d.tally(ref)
	runtime.KeepAlive(d.c)
	return ref, false, nil
}

func (c *Checkpoint) errKind(ref ObjRef, have, want Kind) error {
	if c.isClosed() {
		return ErrClosed // the record may be gone
	}
	return &KindError{Ref: ref, Have: have, Want: want}
}

// lose ends an encounter with an object that has been recorded under ref, but got the
// objref got from another thread. It holds the object before it drops its own reference,
// so that it knows which one is the last.
func (d *Dumper) lose(cell *uint64, ref ObjRef, id identity, k Kind, got ObjRef, have Kind) (ObjRef, bool, error) {
	err := d.holdMet(got)
	held := err == nil
	defer func() {
		if held { // another kind, or Drop did not return
			d.unhold(got)
		}
	}()
	d.abandon(cell, ref, id.ptr, err != nil)
	switch {
	case have != k:
		return 0, false, d.c.errKind(got, have, k)
	case err != nil:
		return 0, false, err
	}
	held = false
	return d.meetHeld(got)
}

// add ends an encounter with an object that was absent a moment ago.
//
// The order is what makes it safe: grab, then record, then publish with one step
// that succeeds for one thread only; whoever loses drops its reference and keeps its
// objref for the next object. A thread that stops anywhere in here has left nothing
// that others could see or would have to wait for.
func (d *Dumper) add(id identity, k Kind) (ref ObjRef, first bool, err error) {
	c := d.c
	if id.ptr == 0 && id.key == "" {
		return 0, false, fmt.Errorf("%w: address 0", ErrInvalid)
	}
	if ref, cell := c.inBase(id); ref != 0 {
		r := load(cell)
		switch {
		case r.isObject():
			return d.meet(ref, r.kind(), k)
		case r.state() == expected && r.kind() == k:
			return d.meetAgain(ref, cell, r, id)
		}
	}
	if err := d.ensureNew(); err != nil {
		return 0, false, err
	}
	if err := c.grab(id.ptr, k); err != nil {
		return 0, false, err
	}
	ref, cell, err := d.record(id, k)
	if err != nil {
		c.dismiss()
		c.drop(id.ptr, k, true)
		return 0, false, err
	}
	d.holdNext()
	invariants.Step("encounter: before publishing")
	got, have, err := c.publish(id, ref, k)
	switch {
	case err != nil:
		d.abandon(cell, ref, id.ptr, true)
		return 0, false, translate(err)
	case got != ref:
		return d.lose(cell, ref, id, k, got, have)
	}
	return d.added(cell, ref)
}

// added ends an encounter with an object that has been published under d.next.
func (d *Dumper) added(cell *uint64, ref ObjRef) (ObjRef, bool, error) {
	d.useNext()
	d.objects++
	d.tally(ref)
	if d.c.overtaken(cell, ref) {
		return 0, false, ErrClosed
	}
	runtime.KeepAlive(d.c)
	return ref, true, nil
}

// abandon takes an object back that was grabbed and recorded under d.next, but never
// published.
func (d *Dumper) abandon(cell *uint64, ref ObjRef, p Ptr, last bool) {
	if k, mine := d.takeBack(cell, ref); mine {
		d.c.dismiss()
		d.c.drop(p, k, last)
	}
}

// takeBack takes the record of an object back that was written under d.next, but never
// published, and tells of what kind it was; false if Close has come first, and drops the
// reference. The next object gets its objref, unless Close needs the record, or EndCollect
// may have taken it for that of an object that was met.
//
// Ordering: EndCollect stores past before it looks at records. If it saw this one, the
// load here, after the record is gone, sees past.
func (d *Dumper) takeBack(cell *uint64, ref ObjRef) (k Kind, mine bool) {
	k, mine = d.c.unrecord(cell, ref)
	if !mine || d.c.past.Load() {
		d.useNext()
	}
	return k, mine
}

// useNext makes d.next an objref that is not given out again.
func (d *Dumper) useNext() {
	d.heldNext = false
	d.use(1)
}

// use makes n objrefs, from d.next on and as many as d.cells has at least, ours no more.
func (d *Dumper) use(n int) {
	d.next += uint32(n)
	if n < len(d.cells) {
		d.cells = d.cells[n:]
	} else {
		d.findCells()
	}
}

// findCells finds the records of d.next and those that follow it.
func (d *Dumper) findCells() {
	d.cells, d.bare = nil, 0
	if d.leased && d.next <= d.lease.last {
		d.cells, d.bare = d.c.records.Run(d.next, d.lease.last), d.c.bare[0]
	}
}

// ensureLease sees to it that next is ours to use.
func (d *Dumper) ensureLease() error {
	if d.closed {
		return ErrClosed
	}
	if d.leased && d.next <= d.lease.last {
		return nil
	}
	return d.c.leases.take(d)
}

// ensureNew sees to it that there is all that a new object needs of this handle.
func (d *Dumper) ensureNew() error {
	if err := d.ensureLease(); err != nil {
		return err
	}
	return d.ensureTally()
}

// record writes the record of an object that has been grabbed, under the next
// objref. Grab may have used, or closed, this very handle.
func (d *Dumper) record(id identity, k Kind) (ObjRef, *uint64, error) {
	if err := d.ensureNew(); err != nil {
		return 0, nil, err
	}
	ref := ObjRef(d.next)
	r := newRecord(id.ptr, k, held)
	if r.beside() {
		if err := d.c.side.put(ref, id); err != nil {
			return 0, nil, err
		}
	}
	cell := d.c.cell(ref)
	store(cell, r)
	return ref, cell, nil
}

// publish makes the object known under ref, unless it is known by now, and returns
// the objref and kind under which it is.
func (c *Checkpoint) publish(id identity, ref ObjRef, k Kind) (ObjRef, Kind, error) {
	if met, have := c.giveUp(id); met != 0 {
		return met, have, nil
	}
	return c.enter(id, ref, k)
}

// enter enters the object in the index or the table of keys, unless it is there by now,
// and returns the objref and kind under which it is.
func (c *Checkpoint) enter(id identity, ref ObjRef, k Kind) (ObjRef, Kind, error) {
	if id.ptr == 0 {
		return c.keys.insert(id.key, ref, k)
	}
	got, tag, err := c.index.Insert(uint64(id.ptr), int32(ref), kindTag(k))
	if err != nil || got == int32(ref) {
		return ObjRef(got), k, err
	}
	return ObjRef(got), c.kindOf(got, tag), nil
}

// Dump encounters the object at p and, unless it is dumped already, runs dump, which
// writes the object's state. dump succeeds at most once for each object. While one
// thread is in dump, every other caller, and a nested call for the same object from
// within it, gets the objref at once: an object that refers to itself, through
// others, can be written, and nobody waits. If dump returns an error, panics or
// exits, the object counts as not dumped, Dump returns that error (or the panic
// travels on), and the next caller tries again, under the same objref.
//
// Errors: those of Encounter, and what dump returned. ref is valid whenever the
// encounter succeeded, even if dump failed.
func (d *Dumper) Dump(p Ptr, k Kind, dump func(ObjRef) error) (ObjRef, error) {
	if dump == nil {
		return 0, fmt.Errorf("%w: nil dump function", ErrInvalid)
	}
	ref, _, err := d.Encounter(p, k)
	if err != nil {
		return 0, err
	}
	c := d.c
	cell := c.cell(ref)
	for {
		r := load(cell)
		switch r.state() {
		case held:
			// The mark is set before the callback runs.
			if marked := r.with(dumping); swap(cell, r, marked) {
				return ref, c.runDump(cell, marked, p, ref, dump)
			}
		case dumping, dumped:
			runtime.KeepAlive(c)
			return ref, nil
		case released: // more calls of Release than encounters
			return 0, errReleased(ref)
		default:
			return 0, ErrClosed
		}
	}
}

// runDump runs the callback of an object whose record is marked, as r, as being
// dumped.
func (c *Checkpoint) runDump(cell *uint64, r record, p Ptr, ref ObjRef, dump func(ObjRef) error) error {
	end := held
	defer func() {
		if !swap(cell, r, r.with(end)) {
			// Only Close and Release take the mark away, and leave the reference to us.
			if end == dumped && load(cell).state() == released {
				c.holds.noteDumped(ref)
			}
			c.drop(p, r.kind(), true)
			return
		}
		c.overtaken(cell, ref)
	}()
	if err := dump(ref); err != nil {
		return fmt.Errorf("dumping %s %#x, objref %d: %w", c.kindName(r.kind()), uint64(p), ref, err)
	}
	end = dumped
	return nil
}

// Reserve returns an objref that belongs to no object, for something that needs a
// number in the image but has no identity. Where holders are tracked, it takes part in
// [Checkpoint.Canonical].
func (d *Dumper) Reserve() (ObjRef, error) {
	if d == nil || d.c == nil {
		return 0, fmt.Errorf("%w: nil handle or context", ErrInvalid)
	}
	if d.closed || d.c.isClosed() {
		return 0, ErrClosed
	}
	if err := d.ensureLease(); err != nil {
		return 0, err
	}
	if d.holders != nil {
		if err := d.holders.ensureRoom(); err != nil {
			return 0, err
		}
	}
	ref := ObjRef(d.next)
	store(d.c.cell(ref), newRecord(0, 0, reserved))
	d.useNext()
	d.reserved++
	if d.holders != nil {
		d.holders.note(ref) // also in the dump pass: it is no object, and needs a canonical number
	}
	runtime.KeepAlive(d.c)
	return ref, nil
}

// Close flushes the handle's counts and gives its unused objrefs back, to be used
// before any new ones. A second Close does nothing.
func (d *Dumper) Close() error {
	if d == nil || d.c == nil || d.closed {
		return nil
	}
	d.closed, d.kinds = true, 0
	d.count.Close()
	if d.holders != nil {
		d.holders.close()
	}
	defer func() {
		if d.c.leases.remove(d) {
			d.c.release()
		}
		runtime.KeepAlive(d.c)
	}()
	if d.hold != nil {
		d.hold.Close() // it may call Drop
	}
	return nil
}
