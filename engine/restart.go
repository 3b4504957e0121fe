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
// plus a fixed 48 KiB (see segment). One that could not be created takes 256 more, to
// keep the cause.
//
// All methods may be called from any thread at any time, Close included. A nil
// *Restart behaves like a closed one.
type Restart struct {
	core
	arrays   atomic.Uint32 // objrefs up to here have an array; 0 once closed
	arraysMu sync.Mutex    // for writing arrays
	segments [region.Segments]segment
	sparse   atomic.Pointer[xsync.MapOf[ObjRef, *uint64]]
	inFlight [inFlightStripes]inFlight
	released atomic.Bool
	dropped  atomic.Bool

	mayCreate func(ObjRef, Kind, uint64) bool
	failures  failures
	waits     waitGraph
	waitedFor [waitedStripes]waitedFor
}

// segment is a range of objrefs, an eighth of a doubling. Its records are an array
// once that is no larger than what the objects that exist can answer for; those made
// before stay in the sparse table, and the array says so.
type segment struct {
	mu   sync.Mutex
	refs []ObjRef // in the sparse table
}

// inFlight is a part of the number of operations that insert or wait, which count
// themselves in and out so that the memory is not released under them, and of the number
// of objects that they made. It is so large that no other thread's part is on one of its
// cache lines, wherever it begins.
type inFlight struct {
	n, objects atomic.Int64
	_          [112]byte
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
	r := &Restart{mayCreate: o.MayCreate}
	r.init(o)
	if err := r.arena.Charge(int64(unsafe.Sizeof(*r))); err != nil {
		return nil, translate(err)
	}
	if o.ExpectedObjects > 0 {
		if err := r.records.Grow(1, uint32(o.ExpectedObjects)); err != nil {
			r.release()
			return nil, fmt.Errorf("room for %d expected objects: %w", o.ExpectedObjects, translate(err))
		}
		r.noteArrays()
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

// enter counts an operation in, unless the context is closed. Threads that come with
// different numbers do not disturb each other.
func (r *Restart) enter(n uint32) (*inFlight, error) {
	s := &r.inFlight[n%inFlightStripes]
	// Ordering: pairs with Close, which stores closed and then loads the stripes. An
	// operation that is not seen there sees closed here.
	s.n.Add(1)
	if r.closed.Load() {
		r.leave(s)
		return nil, ErrClosed
	}
	return s, nil
}

func (r *Restart) leave(s *inFlight) {
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
		r.failures.clear()
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
	s, err := r.enter(uint32(ref))
	if err != nil {
		return err
	}
	defer r.leave(s)
	if _, have := r.find(ref); have.state() != absent && have.state() != dropped {
		return r.existsError(ref, have)
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
	s.objects.Add(1)
	r.wake(ref)
	if r.overtaken(cell, ref) {
		return ErrClosed
	}
	return nil
}

func (r *Restart) existsError(ref ObjRef, have record) error {
	kind := r.kindName(have.kind())
	switch have.state() {
	case claimed:
		return fmt.Errorf("%w: objref %d is a %s that is being created", ErrExists, ref, kind)
	case failed:
		return fmt.Errorf("%w: objref %d is a %s that could not be created", ErrExists, ref, kind)
	}
	return fmt.Errorf("%w: objref %d is the %s at %#x", ErrExists, ref, kind, uint64(r.address(ref, have)))
}

// find returns the record of ref, and where it is; absent if there is none.
func (r *Restart) find(ref ObjRef) (*uint64, record) {
	if cell := r.cell(ref); cell != nil {
		if rec := load(cell); rec.state() != elsewhere {
			return cell, rec
		}
	}
	for {
		before := r.cell(ref)
		if cell := r.recordOf(ref); cell != nil {
			return cell, load(cell)
		}
		// Ordering: an object that was not in the sparse table may have been put into
		// an array made since; if there is none, it was in neither when we looked.
		if r.cell(ref) == before {
			return nil, 0
		}
	}
}

// place publishes a record, in its array if it has one.
func (r *Restart) place(ref ObjRef, p Ptr, rec record) (*uint64, error) {
	exists := func() error { return fmt.Errorf("%w: objref %d", ErrExists, ref) }
	cell := r.recordOf(ref)
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
	return cell, r.placeAt(cell, ref, rec)
}

// placeAt publishes a record in its cell.
func (r *Restart) placeAt(cell *uint64, ref ObjRef, rec record) error {
	invariants.Step("restart: before publishing")
	// Ordering: this step publishes the record; it succeeds for one thread only.
	if !swap(cell, 0, rec) {
		return fmt.Errorf("%w: objref %d", ErrExists, ref)
	}
	return nil
}

// putBeside keeps the address of a claimed objref beside. An Insert that has lost
// against the claim may be about to take its own address away there: with the
// segment's lock it has, and one that comes later sees the claim.
func (r *Restart) putBeside(ref ObjRef, p Ptr) error {
	s := &r.segments[region.SegmentNumber(uint32(ref))]
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := r.side.put(ref, identity{ptr: p}); err != nil {
		return fmt.Errorf("objref %d: %w", ref, err)
	}
	return nil
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
		r.noteArrays()
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
	if cell, ok := m.Load(ref); ok {
		if load(cell) != 0 {
			return nil, false, exists()
		}
		return cell, false, nil // claimed once, and given up
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

// total returns the number of objects.
func (r *Restart) total() (n int64) {
	for i := range r.inFlight {
		n += r.inFlight[i].objects.Load()
	}
	return n
}

// dense tells whether the array of ref's segment s may be made: it ends no further
// than twice the number of objects there are, or a quarter of it would be in use.
func (r *Restart) dense(s *segment, ref ObjRef) bool {
	first, last := region.Segment(uint32(ref))
	return int64(last) <= denseAlways+2*r.total() ||
		len(s.refs)*4 >= int(last-first+1)
}

// Fetch returns the address of the object of ref, if it has been inserted, restored or
// declared. It never waits, and costs one cache miss.
//
// Errors: [ErrInvalid] for an objref that is not positive or an unknown kind;
// [ErrNotFound], also while the object is being created; *[KindError] if the object is
// of another kind; [ErrFailed], with its cause, if it could not be created; [ErrClosed].
func (r *Restart) Fetch(ref ObjRef, k Kind) (Ptr, error) {
	if r == nil {
		return 0, ErrClosed
	}
	if p := r.ready(ref, k); p != 0 {
		return p, nil
	}
	return r.fetch(ref, k)
}

// ready returns the address of an object that needs no closer look, or 0.
func (r *Restart) ready(ref ObjRef, k Kind) Ptr {
	// Ordering: pairs with the Store in noteArrays. One comparison for an objref that
	// is not positive, one that is in no array, and a closed context.
	if uint32(ref)-1 >= r.arrays.Load() {
		return 0
	}
	rec := load(r.records.Made(uint32(ref)))
	if !rec.readyAs(k) {
		return 0
	}
	runtime.KeepAlive(r)
	return rec.ptr()
}

// noteArrays looks how far arrays reach without a gap, after one has been made.
func (r *Restart) noteArrays() {
	r.arraysMu.Lock()
	defer r.arraysMu.Unlock()
	if r.closed.Load() {
		return
	}
	to := r.arrays.Load()
	for to < refMax && r.cell(ObjRef(to+1)) != nil {
		_, last := region.Segment(to + 1)
		to = min(last, refMax)
	}
	r.arrays.Store(to)
}

func (r *Restart) fetch(ref ObjRef, k Kind) (Ptr, error) {
	if r.closed.Load() {
		return 0, ErrClosed
	}
	if err := checkRef(ref); err != nil {
		return 0, err
	}
	if err := r.checkKind(k); err != nil {
		return 0, fmt.Errorf("objref %d: %w", ref, err)
	}
	for {
		_, have := r.find(ref)
		s := have.state()
		switch {
		case r.isClosed() || s == dropped:
			return 0, ErrClosed
		case s == absent:
			return 0, fmt.Errorf("%w: objref %d", ErrNotFound, ref)
		case have.kind() != k:
			return 0, &KindError{Ref: ref, Have: have.kind(), Want: k}
		case s == claimed:
			return 0, fmt.Errorf("%w: objref %d is being created", ErrNotFound, ref)
		case s == failed:
			return 0, r.failure(ref, k)
		}
		p := r.address(ref, have)
		runtime.KeepAlive(r)
		if p != 0 {
			return p, nil
		}
		// A declared object whose address was kept beside has failed meanwhile.
	}
}

// Len returns the number of objects.
func (r *Restart) Len() int {
	if r.isClosed() {
		return 0
	}
	return int(r.total())
}

// Bytes returns the memory of all tables in bytes, as counted against MaxBytes.
func (r *Restart) Bytes() int64 {
	if r.isClosed() {
		return 0
	}
	return r.arena.Used()
}

// Close wakes all who wait, drops every reference that the context holds, each exactly
// once and in parallel, and gives the memory back as soon as no operation is under way.
// Those under way on other threads complete or return [ErrClosed]; what they grabbed is
// dropped as well, that of an object whose create callback runs when it returns. A second
// Close does nothing, and does not wait for the first. Panics in Drop are treated as by
// [Checkpoint.Close].
func (r *Restart) Close() error {
	if r == nil || r.closed.Swap(true) {
		return nil
	}
	defer func() {
		r.dropped.Store(true)
		r.tryRelease()
		runtime.KeepAlive(r)
	}()
	r.arraysMu.Lock()
	r.arrays.Store(0)
	r.arraysMu.Unlock()
	r.waits.close()
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
