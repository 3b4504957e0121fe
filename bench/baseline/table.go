package baseline

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"math/bits"
	"unsafe"
)

// Errors of a table. They come wrapped with the ptr, objref or kind concerned.
var (
	// ErrInvalid: a ptr of 0, an objref below 1, a Config out of range, or an
	// operation of the other direction or on a closed table.
	ErrInvalid = errors.New("baseline: invalid argument")
	// ErrNotFound: Fetch of an objref that was not inserted.
	ErrNotFound = errors.New("baseline: not found")
	// ErrExists: Insert of an objref that was inserted before.
	ErrExists = errors.New("baseline: objref exists")
	// ErrExhausted: all 2^31-1 objrefs are given out.
	ErrExhausted = errors.New("baseline: objrefs exhausted")
	// ErrKind: the object has another kind, or the table has no such kind.
	ErrKind = errors.New("baseline: wrong kind")
)

// Kind says how objects of one sort are held. The table holds one reference per
// object, however many encounters it has.
type Kind struct {
	Name string                 // for messages
	Grab func(ptr uint64) error // takes the table's reference; nil: nothing to take
	Drop func(ptr uint64)       // gives it back; nil: nothing to give back
}

// Config describes a table. The zero value is the seed's.
type Config struct {
	// Bits is log2 of the number of buckets, 1 to 31 (28 on 32-bit machines).
	// 0: 10, as in the seed. See BitsFor.
	Bits int

	// Hash is Hash2008 or Hash2016. 0: Hash2008.
	Hash Hash

	// Kinds are the kinds of objects; kind k of the operations is Kinds[k-1].
	// nil: any kind is accepted, and nothing is held.
	Kinds []Kind
}

// Object is what the table knows of an object.
type Object struct {
	Ptr    uint64
	Objref int32
	Kind   uint16
	Flags  uint16 // the seed's field, which nothing sets yet: always 0
	Users  int64  // encounters; 0 on restart
}

// entry is the seed's struct cr_objref, packed: 32 bytes where pointers have 64
// bits.
type entry struct {
	ptr    uint64
	objref int32
	kind   uint16
	flags  uint16
	users  int64
	next   *entry
}

// direction is what a table's keys are. It is checked before all else, so that
// a closed table needs no check of its own.
type direction uint8

const (
	unsettled  direction = iota
	checkpoint           // keys are ptrs
	restart              // keys are objrefs
	closed
)

// Table is the table of 2008. It is for one goroutine at a time.
type Table struct {
	buckets []*entry
	hash    uint64
	shift   uint8
	dir     direction
	next    int64 // the seed's objref_index; wider, so that its end can be seen
	count   int
	kinds   []Kind
}

// New returns an empty table. It fails with ErrInvalid if a field of c is out of
// its range.
func New(c Config) (*Table, error) {
	if c.Bits == 0 {
		c.Bits = defaultBits
	}
	if c.Hash == 0 {
		c.Hash = Hash2008
	}
	if c.Bits < 1 || c.Bits > maxBits {
		return nil, fmt.Errorf("%w: Config.Bits is %d, want 1 to %d", ErrInvalid, c.Bits, maxBits)
	}
	if c.Hash != Hash2008 && c.Hash != Hash2016 {
		return nil, fmt.Errorf("%w: Config.Hash is %#x, want Hash2008 or Hash2016", ErrInvalid, uint64(c.Hash))
	}
	if len(c.Kinds) > math.MaxUint16 {
		return nil, fmt.Errorf("%w: %d Config.Kinds, want at most %d", ErrInvalid, len(c.Kinds), math.MaxUint16)
	}
	return &Table{
		buckets: make([]*entry, 1<<c.Bits),
		hash:    uint64(c.Hash),
		shift:   uint8(64 - c.Bits),
		next:    1,
		kinds:   c.Kinds,
	}, nil
}

// bucket is hash_64. The mask spares the compiler's check for shifts of 64 and
// more, which cannot occur.
func (t *Table) bucket(key uint64) **entry {
	return &t.buckets[key*t.hash>>(t.shift&63)]
}

// LookupAdd is an encounter during checkpoint: it finds ptr, or adds it with the
// next objref, and counts a user. first says that it was added.
//
// Errors: ErrInvalid for a ptr of 0 or a table used for restart or closed;
// ErrKind for an object of another kind or a kind the table does not have;
// ErrExhausted for a new object when no objref is left; the error of Grab,
// wrapped.
func (t *Table) LookupAdd(ptr uint64, kind uint16) (objref int32, first bool, err error) {
	if t.dir != checkpoint {
		if err := t.settle(checkpoint); err != nil {
			return 0, false, err
		}
	}
	if ptr == 0 {
		return 0, false, fmt.Errorf("%w: ptr is 0", ErrInvalid)
	}
	head := t.bucket(ptr)
	for e := *head; e != nil; e = e.next {
		if e.ptr == ptr {
			if e.kind != kind {
				return 0, false, t.kindError(e, kind)
			}
			e.users++
			return e.objref, false, nil
		}
	}
	if t.next > math.MaxInt32 {
		return 0, false, fmt.Errorf("%w: no objref for ptr %#x", ErrExhausted, ptr)
	}
	if err := t.grab(ptr, kind); err != nil {
		return 0, false, err
	}
	objref = int32(t.next)
	t.next++
	t.count++
	*head = &entry{ptr: ptr, objref: objref, kind: kind, users: 1, next: *head}
	return objref, true, nil
}

// Lookup returns the objref of an object met during checkpoint, and counts no
// user. It finds nothing in a table used for restart, whose keys are objrefs.
func (t *Table) Lookup(ptr uint64) (objref int32, ok bool) {
	if e := t.find(ptr); e != nil {
		return e.objref, true
	}
	return 0, false
}

// Users returns how many encounters the object had; 0 if it is not known. Like
// Lookup it is for checkpoint.
func (t *Table) Users(ptr uint64) int64 {
	if e := t.find(ptr); e != nil {
		return e.users
	}
	return 0
}

func (t *Table) find(ptr uint64) *entry {
	if t.dir != checkpoint {
		return nil
	}
	for e := *t.bucket(ptr); e != nil; e = e.next {
		if e.ptr == ptr {
			return e
		}
	}
	return nil
}

// Insert adds the object that restart created for an objref of the image.
//
// Errors: ErrInvalid for an objref below 1, a ptr of 0, or a table used for
// checkpoint or closed; ErrExists for an objref inserted before, of whatever
// kind; ErrKind for a kind the table does not have; the error of Grab, wrapped.
func (t *Table) Insert(objref int32, ptr uint64, kind uint16) error {
	if t.dir != restart {
		if err := t.settle(restart); err != nil {
			return err
		}
	}
	if objref < 1 {
		return fmt.Errorf("%w: objref is %d, want 1 or more", ErrInvalid, objref)
	}
	if ptr == 0 {
		return fmt.Errorf("%w: ptr of objref %d is 0", ErrInvalid, objref)
	}
	head := t.bucket(uint64(objref))
	for e := *head; e != nil; e = e.next {
		if e.objref == objref {
			return fmt.Errorf("%w: objref %d is ptr %#x, not %#x", ErrExists, objref, e.ptr, ptr)
		}
	}
	if err := t.grab(ptr, kind); err != nil {
		return err
	}
	t.count++
	*head = &entry{ptr: ptr, objref: objref, kind: kind, next: *head}
	return nil
}

// Fetch returns the object that was inserted for an objref.
//
// Errors: ErrInvalid for an objref below 1 or a table used for checkpoint or
// closed; ErrNotFound; ErrKind for an object of another kind.
func (t *Table) Fetch(objref int32, kind uint16) (ptr uint64, err error) {
	ptr, err = t.TryFetch(objref, kind)
	if ptr == 0 && err == nil {
		err = fmt.Errorf("%w: objref %d", ErrNotFound, objref)
	}
	return ptr, err
}

// TryFetch is Fetch for objrefs that may well be absent: then it returns 0, which
// is no object's ptr, and no error.
func (t *Table) TryFetch(objref int32, kind uint16) (ptr uint64, err error) {
	if t.dir != restart {
		if err := t.settle(restart); err != nil {
			return 0, err
		}
	}
	if objref < 1 {
		return 0, fmt.Errorf("%w: objref is %d, want 1 or more", ErrInvalid, objref)
	}
	for e := *t.bucket(uint64(objref)); e != nil; e = e.next {
		if e.objref == objref {
			if e.kind != kind {
				return 0, t.kindError(e, kind)
			}
			return e.ptr, nil
		}
	}
	return 0, nil
}

// All yields every object once, in bucket order, newest first within a bucket.
// The table must not be added to meanwhile.
func (t *Table) All() iter.Seq[Object] {
	return func(yield func(Object) bool) {
		for _, e := range t.buckets {
			for ; e != nil; e = e.next {
				if !yield(Object{Ptr: e.ptr, Objref: e.objref, Kind: e.kind, Flags: e.flags, Users: e.users}) {
					return
				}
			}
		}
	}
}

// Len returns the number of objects; 0 after Close.
func (t *Table) Len() int { return t.count }

// Bytes returns the memory of buckets and entries, in bytes, as the Go heap
// allocated it (size classes included); 0 after Close.
func (t *Table) Bytes() int64 {
	if t.dir == closed {
		return 0
	}
	return heapBytes(uintptr(len(t.buckets))*unsafe.Sizeof(t.buckets[0])) +
		int64(t.count)*heapBytes(unsafe.Sizeof(entry{}))
}

// Close drops the reference of every object, once, and empties the table. A
// second Close does nothing.
func (t *Table) Close() {
	if t.dir == closed {
		return
	}
	buckets := t.buckets
	t.buckets, t.count, t.dir = nil, 0, closed
	if t.kinds == nil {
		return
	}
	for _, e := range buckets {
		for ; e != nil; e = e.next {
			if drop := t.kinds[e.kind-1].Drop; drop != nil {
				drop(e.ptr)
			}
		}
	}
}

// settle makes want the table's direction if it has none yet.
func (t *Table) settle(want direction) error {
	switch t.dir {
	case unsettled:
		t.dir = want
		return nil
	case closed:
		return fmt.Errorf("%w: the table is closed", ErrInvalid)
	case checkpoint:
		return fmt.Errorf("%w: the table is used for checkpoint, its keys are ptrs", ErrInvalid)
	default:
		return fmt.Errorf("%w: the table is used for restart, its keys are objrefs", ErrInvalid)
	}
}

// grab takes the table's reference to a new object.
func (t *Table) grab(ptr uint64, kind uint16) error {
	if t.kinds == nil {
		return nil
	}
	if kind == 0 || int(kind) > len(t.kinds) {
		return fmt.Errorf("%w: kind %d of ptr %#x, want 1 to %d", ErrKind, kind, ptr, len(t.kinds))
	}
	k := &t.kinds[kind-1]
	if k.Grab == nil {
		return nil
	}
	if err := k.Grab(ptr); err != nil {
		return fmt.Errorf("baseline: grab %s ptr %#x: %w", k.Name, ptr, err)
	}
	return nil
}

func (t *Table) kindError(e *entry, want uint16) error {
	return fmt.Errorf("%w: objref %d, ptr %#x has kind %d, not %d", ErrKind, e.objref, e.ptr, e.kind, want)
}

// heapBytes is what the Go heap sets aside for an allocation of size bytes that
// holds pointers: whole pages if it is large, else its size class, which append
// shows by rounding a capacity up to it. The header is the word that the runtime
// keeps before small objects whose pointer bitmap does not fit their span's end.
func heapBytes(size uintptr) int64 {
	const (
		page      = 8 << 10
		header    = 8
		maxSmall  = 32<<10 - header
		maxBitmap = unsafe.Sizeof(uintptr(0)) * bits.UintSize
	)
	if size > maxSmall {
		return int64((size + page - 1) &^ (page - 1))
	}
	if size > maxBitmap {
		size += header
	}
	return int64(cap(append([]byte(nil), make([]byte, size)...)))
}
