package engine

import (
	"fmt"
	"iter"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/objhash/objhash/internal/invariants"
	"github.com/objhash/objhash/shard"
)

// base is the table that an incremental checkpoint goes on from. It is constant but for
// met; what becomes of its objects is in their records, which are made beforehand, in the
// state expected. The index of the context has only objects that have been met: a lookup
// that misses there, and the encounter of an object that is new there, ask the base.
//
// An object of the base is met by one step, expected ──▶ held, of a record that all know
// where to find. Nothing has to be undone if that step is lost, and the entry in the
// context's index that follows is only there to make further encounters fast.
type base struct {
	index *shard.Compact // address ▶ objref
	keys  map[string]ObjRef

	objects []span // their objrefs
	count   int
	met     *xsync.Counter
}

// A snapshot whose largest objref is sparseMin and more than sparseMax times the number
// of its objects takes room out of proportion, which its owner must ask for.
const (
	sparseMin = 64 << 10
	sparseMax = 64
)

// spanBytes is what a span of objrefs in a list is charged.
const spanBytes = 8

// NewCheckpointFrom returns a context for the next round of an incremental checkpoint. An
// object of s keeps its objref; a new one gets an objref that is free in s. Those reserved
// in s stay reserved.
//
// Nothing of s counts as met, and nothing is grabbed, before its first encounter in this
// round. That is as any object's: it grabs, first is true for exactly one caller, who has
// to decide whether to dump the object again, and users count from 0. [Checkpoint.Diff]
// tells what is new and what is gone.
//
// Identity is all that is compared. If the address or key of an object of s is met under
// another kind before, or at the moment when, it is met under its own, the old object is
// gone, even if that encounter fails for lack of memory, and whoever has the address then
// gets an objref of its own. If the kinds are equal too, it is the same object: where
// addresses are used again between rounds, take those objects out of s before, or use keys
// with a generation.
//
// The kinds of s must be the first of o.Kinds, by name and number. s is not kept, and its
// users, dump marks and holders are ignored. Memory: as for that many objects met, with
// another entry in an index for each, in proportion to the largest objref as ever. s may
// come from anywhere, so if that objref is out of proportion, more than 64 times the number
// of objects, it is refused unless o.MaxBytes says how much there may be.
//
// Errors wrap [ErrInvalid], also if s does not fit o or is not sound in itself, as when
// two objects have one address; or [ErrLimit].
func NewCheckpointFrom(o Options, s *Snapshot) (*Checkpoint, error) {
	if s == nil {
		return nil, fmt.Errorf("%w: nil snapshot", ErrInvalid)
	}
	if err := s.check(o.Kinds); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if n := len(s.Objects); n > 0 && o.MaxBytes == 0 && int64(s.Objects[n-1].Ref) > sparseMin+sparseMax*int64(n) {
		return nil, fmt.Errorf("%w: a snapshot of %d objects with objref %d, for which there would have to be room; Options.MaxBytes says how much there may be",
			ErrLimit, n, s.Objects[n-1].Ref)
	}
	c, err := NewCheckpoint(o)
	if err != nil {
		return nil, err
	}
	if err := c.expect(o, s); err != nil {
		_ = c.Close() // never fails
		return nil, err
	}
	return c, nil
}

// check returns what is wrong with s by itself, and for a context with the given kinds.
func (s *Snapshot) check(kinds []KindOps) error {
	if len(s.Kinds) > len(kinds) {
		return fmt.Errorf("the snapshot has %d kinds, the options %d", len(s.Kinds), len(kinds))
	}
	for i, name := range s.Kinds {
		if kinds[i].Name != name {
			return fmt.Errorf("kind %d is %q in the snapshot, %q in the options", i+1, name, kinds[i].Name)
		}
	}
	last := ObjRef(0)
	for i := range s.Objects {
		o := &s.Objects[i]
		if what := o.foundWrong(last, len(s.Kinds)); what != "" {
			return fmt.Errorf("the snapshot's object %d: %s", i, what)
		}
		if keyed := o.Flags&Keyed != 0; keyed != (len(o.Key) > 0) {
			return fmt.Errorf("the snapshot's object %d: objref %d: keyed %t, with a key of %d bytes", i, o.Ref, keyed, len(o.Key))
		}
		last = o.Ref
	}
	return nil
}

// expect makes s the base of a context that nobody else knows of yet.
func (c *Checkpoint) expect(o Options, s *Snapshot) error {
	addresses := 0
	var used []span
	for i := range s.Objects {
		used = appendRef(used, s.Objects[i].Ref)
		if s.Objects[i].Ptr != 0 {
			addresses++
		}
	}
	for _, run := range used {
		if err := c.makeRoom(run); err != nil {
			return err
		}
	}
	c.leases.skip(used)
	b := &base{keys: make(map[string]ObjRef), met: xsync.NewCounter()}
	var err error
	b.index, err = shard.NewCompact(shard.Config{
		Expected: addresses,
		Shards:   o.Shards,
		Seed:     seed(o.Seed),
		Budget:   c.arena.Budget(),
	})
	if err != nil {
		return badOption(err)
	}
	c.base = b
	c.bare = kindSet{} // what is new to the index may be in the base
	for i := range s.Objects {
		if err := c.expectObject(&s.Objects[i]); err != nil {
			return fmt.Errorf("objref %d of the snapshot: %w", s.Objects[i].Ref, err)
		}
	}
	// What is free between the runs is a list as well.
	return translate(c.arena.Charge(spanBytes * int64(len(b.objects)+len(used))))
}

// appendRef adds an objref, larger than those in the last range, to a list of ranges.
func appendRef(runs []span, ref ObjRef) []span {
	r := uint32(ref)
	if n := len(runs); n > 0 && runs[n-1].last == r-1 {
		runs[n-1].last = r
		return runs
	}
	return append(runs, span{r, r})
}

// expectObject makes the record of an object of the base, and its entry there.
func (c *Checkpoint) expectObject(o *SnapshotObject) error {
	if o.Flags&Reserved != 0 {
		store(c.cell(o.Ref), newRecord(0, 0, reserved))
		c.leases.reserved++
		return nil
	}
	id := identity{ptr: o.Ptr, key: string(o.Key)}
	if err := c.base.insert(c, id, o.Ref); err != nil {
		return err
	}
	r := newRecord(o.Ptr, o.Kind, expected)
	if r.beside() {
		if err := c.side.put(o.Ref, id); err != nil {
			return err
		}
	}
	store(c.cell(o.Ref), r)
	return nil
}

// insert adds an object to the base.
func (b *base) insert(c *Checkpoint, id identity, ref ObjRef) error {
	b.objects = appendRef(b.objects, ref)
	b.count++
	if id.ptr != 0 {
		got, _, err := b.index.Insert(uint64(id.ptr), int32(ref), 0)
		if err == nil && got != int32(ref) {
			err = fmt.Errorf("%w: address %#x is that of objref %d as well", ErrInvalid, uint64(id.ptr), got)
		}
		return translate(err)
	}
	if twin, twice := b.keys[id.key]; twice {
		return fmt.Errorf("%w: key %q is that of objref %d as well", ErrInvalid, id.key, twin)
	}
	if err := c.arena.Charge(keyBytes); err != nil {
		return translate(err)
	}
	b.keys[id.key] = ref
	return nil
}

// notMet returns the objrefs of all objects of the base that have not been met, or have
// been given up.
func (c *Checkpoint) notMet() (refs []span) {
	if c.base == nil {
		return nil
	}
	for _, s := range c.base.objects {
		for ref := s.first; ref <= s.last; ref++ {
			if !load(c.cell(ObjRef(ref))).isObject() {
				refs = appendRef(refs, ObjRef(ref))
			}
		}
	}
	return refs
}

// close gives the memory back that is not the context's own.
func (b *base) close() {
	if b != nil {
		_ = b.index.Close() // never fails
	}
}

// inBase returns the objref that the base has for an object, and its record; 0 if it has
// none.
func (c *Checkpoint) inBase(id identity) (ObjRef, *uint64) {
	if c.base == nil {
		return 0, nil
	}
	var ref ObjRef
	if id.ptr != 0 {
		r, _ := c.base.index.Lookup(uint64(id.ptr))
		ref = ObjRef(r)
	} else {
		ref = c.base.keys[id.key]
	}
	if ref == 0 {
		return 0, nil
	}
	return ref, c.cell(ref)
}

// metInBase returns the objref of an object of the base if it has been met in this
// round, else 0.
func (c *Checkpoint) metInBase(id identity) ObjRef {
	if ref, cell := c.inBase(id); ref != 0 && load(cell).isObject() {
		return ref
	}
	return 0
}

// meetAgain ends an encounter with the object of ref, whose record was r a moment ago:
// expected, and of the kind that it is met under.
//
// As in add, the object is held before anybody can see that it has been met.
func (d *Dumper) meetAgain(ref ObjRef, cell *uint64, r record, id identity) (ObjRef, bool, error) {
	c, k := d.c, r.kind()
	if err := d.ensureTally(); err != nil {
		return 0, false, err
	}
	if err := c.grab(id.ptr, k); err != nil {
		return 0, false, err
	}
	if err := d.stillOpen(); err != nil {
		c.dismiss()
		c.drop(id.ptr, k, true)
		return 0, false, err
	}
	// Held before it can be seen, as in add; here nobody else gets the objref.
	if d.hold != nil {
		d.hold.Inc(int32(ref))
	}
	invariants.Step("encounter: before publishing")
	// Ordering: this step publishes the object; it succeeds for one thread only. Who
	// loses finds it met, or given up by giveUp, for ever.
	if !swap(cell, r, r.with(held)) {
		lost := load(cell)
		c.dismiss()
		func() {
			defer d.unhold(ref)
			c.drop(id.ptr, k, !lost.isObject() || lost.state() == released)
		}()
		if c.closed.Load() {
			return 0, false, ErrClosed
		}
		return d.add(id, k)
	}
	c.base.met.Inc()
	// Without memory for it the object is found in the base, as it is until then.
	_, _, _ = c.enter(id, ref, k)
	d.tally(ref)
	if c.overtaken(cell, ref) {
		return 0, false, ErrClosed
	}
	return ref, true, nil
}

// stillOpen returns an error if Grab has closed the handle, or used it up.
func (d *Dumper) stillOpen() error {
	if d.closed {
		return ErrClosed
	}
	return d.ensureTally()
}

// giveUp sees to it that an object that is about to be published is not in the base any
// more: there it is of another kind, and has not been met. It returns the objref and kind
// of that object if it has been met by now.
//
// Ordering: whether an address may still be that of the base's object is decided by the
// first step away from expected, here or in meetAgain; each sees the other's. Once the
// object is given up the index decides, between all who want the address.
func (c *Checkpoint) giveUp(id identity) (ObjRef, Kind) {
	ref, cell := c.inBase(id)
	if ref == 0 {
		return 0, 0
	}
	for {
		r := load(cell)
		if r.isObject() {
			return ref, r.kind()
		}
		if r.state() != expected || swap(cell, r, r.with(dropped)) {
			return 0, 0
		}
	}
}

// Change is what became of an object between the base of a context and its own round.
type Change uint8

// The changes.
const (
	New   Change = 1 + iota // it was not in the base, and has been met
	Again                   // it was in the base, and has been met
	Gone                    // it was in the base, and has not been met
)

// String returns the name of a change.
func (ch Change) String() string {
	switch ch {
	case New:
		return "new"
	case Again:
		return "again"
	case Gone:
		return "gone"
	}
	return fmt.Sprintf("change %d", uint8(ch))
}

// Difference is one object of a context or of its base. Of one that is gone, Object tells
// identity and kind.
type Difference struct {
	Ref    ObjRef
	Change Change
	Object Object
}

// Diff yields, by objref, all objects of the context and of the snapshot that it was made
// from ([NewCheckpointFrom]). It is true of this round once all has been met; before that,
// what is yet to be met is Gone. In a context without a base everything is New.
func (c *Checkpoint) Diff() iter.Seq[Difference] {
	return func(yield func(Difference) bool) {
		var old []span
		if c != nil && c.base != nil {
			old = c.base.objects
		}
		for ref, r := range c.recorded() {
			for len(old) > 0 && old[0].last < uint32(ref) {
				old = old[1:]
			}
			inBase := len(old) > 0 && old[0].first <= uint32(ref)
			diff := Difference{Ref: ref, Change: New}
			if inBase && !r.isObject() {
				diff.Change = Gone
				diff.Object, _ = c.describe(ref, r.record)
			} else {
				if inBase {
					diff.Change = Again
				}
				var ok bool
				if diff.Object, ok = c.Object(ref); !ok {
					continue
				}
			}
			if c.isClosed() || !yield(diff) {
				return
			}
		}
	}
}
