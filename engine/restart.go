package engine

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/objhash/objhash/internal/invariants"
	"github.com/objhash/objhash/internal/region"
)

// Restart is one restart, shared by any number of threads: it knows which objects
// of an image exist again, and where. Make one with [NewRestart].
//
// Objrefs come from an image that may be hostile. Dense ones cost 8 to 16 bytes for
// each object; whatever their distribution, memory stays within 160 bytes for each,
// plus a fixed 48 KiB (see segment).
//
// All methods may be called from any thread at any time, Close included. A nil
// *Restart behaves like a closed one.
type Restart struct {
	core
	total    *xsync.Counter // objects
	segments [region.Segments]segment
	sparse   atomic.Pointer[xsync.MapOf[ObjRef, *uint64]]
	inFlight [inFlightStripes]stripe
	released atomic.Bool
	dropped  atomic.Bool
}

// segment is a range of objrefs, a quarter of a doubling. Its records are an array
// once that is no larger than what the objects that exist can answer for; those made
// before stay in the sparse table, and the array says so.
type segment struct {
	mu   sync.Mutex
	refs []ObjRef // in the sparse table
}

// Operations that insert count themselves in and out on one of these lines, by
// objref, so that the memory is not released under them.
type stripe struct {
	n atomic.Int64
	_ [56]byte
}

const (
	inFlightStripes = 16

	// sparseBytes is what an object in the sparse table is charged: its entry, its
	// record, and its place in the segment's list.
	sparseBytes = 112

	// Objrefs up to denseAlways have an array in any case.
	denseAlways = 4 << 10
)

// NewRestart returns an empty context. Options that concern encounters (Shards,
// Seed, Count) have no effect. Errors wrap [ErrInvalid] or [ErrLimit].
func NewRestart(o Options) (*Restart, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	r := &Restart{total: xsync.NewCounter()}
	r.init(o)
	if err := r.arena.Charge(int64(unsafe.Sizeof(*r))); err != nil {
		return nil, translate(err)
	}
	if o.ExpectedObjects > 0 {
		if err := r.records.Grow(1, uint32(o.ExpectedObjects)); err != nil {
			r.release()
			return nil, fmt.Errorf("room for %d expected objects: %w", o.ExpectedObjects, translate(err))
		}
	}
	return r, nil
}

func (r *Restart) isClosed() bool { return r == nil || r.closed.Load() }

func checkRef(ref ObjRef) error {
	if ref <= 0 {
		return fmt.Errorf("%w: objref %d; want 1 to %d", ErrInvalid, ref, refMax)
	}
	return nil
}

// enter counts an inserting operation in, unless the context is closed.
func (r *Restart) enter(ref ObjRef) (*stripe, error) {
	s := &r.inFlight[ref%inFlightStripes]
	// Ordering: pairs with Close, which stores closed and then loads the stripes. An
	// operation that is not seen there sees closed here.
	s.n.Add(1)
	if r.closed.Load() {
		r.leave(s)
		return nil, ErrClosed
	}
	return s, nil
}

func (r *Restart) leave(s *stripe) {
	s.n.Add(-1)
	r.tryRelease()
	runtime.KeepAlive(r)
}

// tryRelease gives the memory back if Close has dropped everything and no operation
// is in flight.
func (r *Restart) tryRelease() {
	if !r.dropped.Load() {
		return
	}
	for i := range r.inFlight {
		if r.inFlight[i].n.Load() != 0 {
			return
		}
	}
	if !r.released.Swap(true) {
		r.sparse.Store(nil)
		r.release()
	}
}

// Insert records that the object of ref exists again, at p, and grabs a reference
// to it.
//
// Errors: [ErrInvalid] for an objref that is not positive, p == 0 or an unknown kind;
// [ErrExists] if ref has an object already, found before Grab is called; [ErrLimit];
// [ErrClosed]; or what Grab returned. After an error nothing has changed.
func (r *Restart) Insert(ref ObjRef, p Ptr, k Kind) error {
	if r == nil {
		return ErrClosed
	}
	if err := checkRef(ref); err != nil {
		return err
	}
	if p == 0 {
		return fmt.Errorf("%w: address 0 for objref %d", ErrInvalid, ref)
	}
	if err := r.checkKind(k); err != nil {
		return fmt.Errorf("objref %d: %w", ref, err)
	}
	s, err := r.enter(ref)
	if err != nil {
		return err
	}
	defer r.leave(s)
	if have, ok := r.find(ref); ok {
		return fmt.Errorf("%w: objref %d is the %s at %#x", ErrExists, ref, r.kindName(have.kind()), uint64(r.address(ref, have)))
	}
	if err := r.grab(p, k); err != nil {
		return fmt.Errorf("objref %d: %w", ref, err)
	}
	cell, err := r.place(ref, p, newRecord(p, k, held))
	if err != nil {
		r.dismiss()
		// Another thread's object may be the same one, then this was not its last.
		r.drop(p, k, !errors.Is(err, ErrExists))
		if r.closed.Load() {
			return ErrClosed
		}
		return err
	}
	r.total.Inc()
	if r.overtaken(cell, ref) {
		return ErrClosed
	}
	return nil
}

// find returns the record of an object.
func (r *Restart) find(ref ObjRef) (record, bool) {
	for {
		before := r.cell(ref)
		if cell := r.recordOf(ref); cell != nil {
			have := load(cell)
			return have, have.isObject()
		}
		// Ordering: an object that was not in the sparse table may have been put into
		// an array made since; if there is none, it was in neither when we looked.
		if r.cell(ref) == before {
			return 0, false
		}
	}
}

// place publishes a record, in its array if it has one.
func (r *Restart) place(ref ObjRef, p Ptr, rec record) (*uint64, error) {
	exists := func() error { return fmt.Errorf("%w: objref %d", ErrExists, ref) }
	cell := r.cell(ref)
	if cell == nil {
		var placed bool
		var err error
		if cell, placed, err = r.placeSparse(ref, p, rec, exists); placed || err != nil {
			return cell, err
		}
	}
	if rec.beside() {
		return cell, r.placeBeside(cell, ref, p, rec, exists)
	}
	invariants.Step("restart: before publishing")
	// Ordering: this step publishes the object; it succeeds for one thread only.
	if !swap(cell, 0, rec) {
		return nil, exists()
	}
	return cell, nil
}

// placeBeside publishes a record whose address is kept beside. It holds the
// segment's lock so that no two threads write the side table for one objref.
func (r *Restart) placeBeside(cell *uint64, ref ObjRef, p Ptr, rec record, exists func() error) error {
	s := &r.segments[region.SegmentNumber(uint32(ref))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if load(cell) != 0 {
		return exists()
	}
	if err := r.side.put(ref, identity{ptr: p}); err != nil {
		return fmt.Errorf("objref %d: %w", ref, err)
	}
	if !swap(cell, 0, rec) {
		r.side.remove(ref)
		return exists()
	}
	return nil
}

// placeSparse puts a record into the sparse table, or makes the array that it
// belongs to and returns its cell there, where it has yet to be placed.
func (r *Restart) placeSparse(ref ObjRef, p Ptr, rec record, exists func() error) (cell *uint64, placed bool, err error) {
	s := &r.segments[region.SegmentNumber(uint32(ref))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.cell(ref) == nil && r.dense(s, ref) {
		// Not having memory for the array is no error as long as the sparse table has.
		_ = r.records.GrowFilled(uint32(ref), func(at func(uint32) *uint64) {
			for _, sparse := range s.refs {
				*at(uint32(sparse)) = uint64(newRecord(0, 0, elsewhere))
			}
		})
	}
	if cell := r.cell(ref); cell != nil {
		if load(cell) != 0 {
			return nil, false, exists()
		}
		return cell, false, nil
	}
	m := r.sparse.Load()
	if m == nil {
		r.sparse.CompareAndSwap(nil, xsync.NewMapOf[ObjRef, *uint64]())
		m = r.sparse.Load()
	}
	if _, ok := m.Load(ref); ok {
		return nil, false, exists()
	}
	if err := r.arena.Charge(sparseBytes); err != nil {
		return nil, false, fmt.Errorf("objref %d: %w", ref, translate(err))
	}
	if rec.beside() {
		if err := r.side.put(ref, identity{ptr: p}); err != nil {
			r.arena.Discharge(sparseBytes)
			return nil, false, fmt.Errorf("objref %d: %w", ref, err)
		}
	}
	cell = new(uint64)
	*cell = uint64(rec)
	m.Store(ref, cell)
	s.refs = append(s.refs, ref)
	return cell, true, nil
}

// dense tells whether the array of ref's segment s may be made: it ends no further
// than twice the number of objects there are, or a quarter of it would be in use.
func (r *Restart) dense(s *segment, ref ObjRef) bool {
	first, last := region.Segment(uint32(ref))
	return int64(last) <= denseAlways+2*r.total.Value() ||
		len(s.refs)*4 >= int(last-first+1)
}

// Fetch returns the address of the object of ref. It never waits, and costs one
// cache miss.
//
// Errors: [ErrInvalid] for an objref that is not positive or an unknown kind;
// [ErrNotFound]; *[KindError] if the object is of another kind; [ErrClosed].
func (r *Restart) Fetch(ref ObjRef, k Kind) (Ptr, error) {
	if r.isClosed() {
		return 0, ErrClosed
	}
	var rec record
	if ref > 0 {
		if cell := r.cell(ref); cell != nil {
			rec = load(cell)
		}
	}
	if rec.state() == held && rec.kind() == k && !rec.beside() {
		runtime.KeepAlive(r)
		return rec.ptr(), nil
	}
	return r.fetch(ref, k)
}

func (r *Restart) fetch(ref ObjRef, k Kind) (Ptr, error) {
	if err := checkRef(ref); err != nil {
		return 0, err
	}
	if err := r.checkKind(k); err != nil {
		return 0, fmt.Errorf("objref %d: %w", ref, err)
	}
	have, ok := r.find(ref)
	p := r.address(ref, have)
	switch {
	case r.isClosed():
		return 0, ErrClosed
	case !ok:
		return 0, fmt.Errorf("%w: objref %d", ErrNotFound, ref)
	case have.kind() != k:
		return 0, &KindError{Ref: ref, Have: have.kind(), Want: k}
	}
	runtime.KeepAlive(r)
	return p, nil
}

// Len returns the number of objects.
func (r *Restart) Len() int {
	if r.isClosed() {
		return 0
	}
	return int(r.total.Value())
}

// Bytes returns the memory of all tables in bytes, as counted against MaxBytes.
func (r *Restart) Bytes() int64 {
	if r.isClosed() {
		return 0
	}
	return r.arena.Used()
}

// Close drops every reference that the context holds, each exactly once and in
// parallel, and gives the memory back as soon as no Insert is under way. Those under
// way on other threads complete or return [ErrClosed]; what they grabbed is dropped
// as well. A second Close does nothing, and does not wait for the first. Panics in
// Drop are treated as by [Checkpoint.Close].
func (r *Restart) Close() error {
	if r == nil || r.closed.Swap(true) {
		return nil
	}
	defer func() {
		r.dropped.Store(true)
		r.tryRelease()
		runtime.KeepAlive(r)
	}()
	r.dropAll(r.spans(), r.recordOf)
	return nil
}

// spans returns all objrefs that may have an object.
func (r *Restart) spans() []span {
	var all []span
	for first := uint64(1); first <= refMax; {
		_, last := region.Segment(uint32(first))
		if r.cell(ObjRef(first)) != nil {
			all = append(all, span{uint32(first), min(last, refMax)})
		} else {
			s := &r.segments[region.SegmentNumber(uint32(first))]
			s.mu.Lock()
			for _, ref := range s.refs {
				all = append(all, span{uint32(ref), uint32(ref)})
			}
			s.mu.Unlock()
		}
		first = uint64(last) + 1
	}
	return all
}

// recordOf returns where the record of ref is, or nil.
func (r *Restart) recordOf(ref ObjRef) *uint64 {
	cell := r.cell(ref)
	if cell != nil && load(cell).state() != elsewhere {
		return cell
	}
	if m := r.sparse.Load(); m != nil {
		if sparse, ok := m.Load(ref); ok {
			return sparse
		}
	}
	return nil
}
