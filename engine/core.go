package engine

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/objhash/objhash/internal/invariants"
	"github.com/objhash/objhash/internal/region"
)

// core is what both directions share: kinds, records, limits, and the exactly-once
// holding and dropping of references.
type core struct {
	kinds   []KindOps
	arena   *region.Arena
	records *region.Array[uint64]
	side    sideTable
	closed  atomic.Bool

	_          [64]byte // objects is written by every new object, where there is a limit
	objectsMax int64    // 0: no limit
	objects    atomic.Int64
	_          [48]byte
}

func (c *core) init(o Options) {
	c.kinds = slices.Clone(o.Kinds)
	c.arena = region.NewArena(region.NewBudget(o.MaxBytes))
	c.records = region.NewArray[uint64](c.arena)
	c.side.arena = c.arena
	c.objectsMax = int64(o.MaxObjects)
}

// cell returns the record of ref, or nil where there never was room for one.
func (c *core) cell(ref ObjRef) *uint64 { return c.records.At(uint32(ref)) }

// made returns the ranges of objrefs, up to last, that have records.
func (c *core) made(last uint32) []span {
	var all []span
	for first := uint64(1); first <= uint64(last); {
		_, end := region.Segment(uint32(first))
		if c.cell(ObjRef(first)) != nil {
			all = append(all, span{uint32(first), min(end, last)})
		}
		first = uint64(end) + 1
	}
	return all
}

func load(cell *uint64) record { return record(atomic.LoadUint64(cell)) }

// store writes the record of an objref that only this thread knows of yet.
//
// Ordering: the publishing step that follows orders it for whoever learns of the
// objref there. It is atomic for those who ask for a record by number alone.
func store(cell *uint64, r record) { atomic.StoreUint64(cell, uint64(r)) }

// swap makes one transition of a record.
//
// Ordering: a transition to dropped or absent is the permission to drop; the others
// publish what the callback before them did.
func swap(cell *uint64, from, to record) bool {
	return atomic.CompareAndSwapUint64(cell, uint64(from), uint64(to))
}

func (c *core) checkKind(k Kind) error {
	if k == 0 || int(k) > len(c.kinds) {
		return fmt.Errorf("%w: unknown kind %d; this context has kinds 1 to %d", ErrInvalid, k, len(c.kinds))
	}
	return nil
}

func (c *core) kindName(k Kind) string {
	if c.checkKind(k) == nil && c.kinds[k-1].Name != "" {
		return c.kinds[k-1].Name
	}
	return fmt.Sprintf("kind %d", k)
}

// admit takes one object off the limit, if there is one.
func (c *core) admit() error {
	if c.objectsMax == 0 {
		return nil
	}
	if n := c.objects.Add(1); n > c.objectsMax {
		c.objects.Add(-1)
		return c.errFull()
	}
	return nil
}

// full returns the error that admit would, without admitting anything.
func (c *core) full() error {
	if c.objectsMax == 0 || c.objects.Load() < c.objectsMax {
		return nil
	}
	return c.errFull()
}

func (c *core) errFull() error { return fmt.Errorf("%w: MaxObjects %d", ErrLimit, c.objectsMax) }

// dismiss undoes admit.
func (c *core) dismiss() {
	if c.objectsMax != 0 {
		c.objects.Add(-1)
	}
}

// grab admits an object and takes its reference. If it fails, panics or exits, the
// object is dismissed.
func (c *core) grab(p Ptr, k Kind) error {
	if err := c.admit(); err != nil {
		return err
	}
	if c.kinds[k-1].Grab == nil || p == 0 {
		return nil
	}
	grabbed := false
	defer func() {
		if !grabbed {
			c.dismiss()
		}
	}()
	if err := c.hold(p, k); err != nil {
		return err
	}
	grabbed = true
	return nil
}

// hold takes the reference of an object that has been admitted.
func (c *core) hold(p Ptr, k Kind) error {
	grab := c.kinds[k-1].Grab
	if grab == nil || p == 0 {
		return nil
	}
	if err := grab(p); err != nil {
		return fmt.Errorf("grabbing %s %#x: %w", c.kindName(k), uint64(p), err)
	}
	return nil
}

func (c *core) drop(p Ptr, k Kind, last bool) {
	if drop := c.kinds[k-1].Drop; drop != nil && p != 0 {
		drop(p, last)
	}
}

// unrecord takes the record of an object back that was never published, and tells of
// what kind it was. It returns false if Close has come first, and drops the reference:
// then the record, and what is kept beside it, must stay as they are.
func (c *core) unrecord(cell *uint64, ref ObjRef) (Kind, bool) {
	r := load(cell)
	if r.state() != held || !swap(cell, r, 0) {
		return 0, false
	}
	if r.beside() {
		c.side.remove(ref)
	}
	return r.kind(), true
}

// overtaken drops the reference of a published object whose context was closed
// meanwhile, unless Close did.
//
// Ordering: the record was published before closed is loaded here, and Close stores
// closed before it loads records. So either we see closed, or Close sees the record,
// or both; the transition to dropped decides who drops.
func (c *core) overtaken(cell *uint64, ref ObjRef) bool {
	invariants.Step("publish: before checking closed")
	if !c.closed.Load() {
		return false
	}
	c.dropRecord(cell, ref)
	return true
}

// dropRecord drops the reference of the object in cell if it has one that nobody
// has dropped. A dump under way needs its object: runDump drops it at its end.
func (c *core) dropRecord(cell *uint64, ref ObjRef) {
	for {
		r := load(cell)
		if !r.isObject() || r.state() == released {
			return
		}
		invariants.Step("drop: after loading the record")
		if !swap(cell, r, r.with(dropped)) {
			continue
		}
		// Ordering: the address is looked up after that step, since the record may have
		// become another object's before, with the same word if both are kept beside;
		// from that step on nobody changes it.
		if r.state() != dumping {
			c.drop(c.address(ref, r), r.kind(), true)
		}
		return
	}
}

// span is a range of objrefs, last included.
type span struct{ first, last uint32 }

func (s span) len() int { return int(s.last - s.first + 1) }

// dropChunk is how many records a worker of dropAll takes at a time.
const dropChunk = 4096

// dropAll drops every object's reference in the given ranges, whose records at
// finds (nil: none), on as many goroutines as there are processors for more than a
// chunk in all: to start them takes longer than to drop a few. A panic in a Drop does not
// keep the others from being dropped; the first one travels on.
func (c *core) dropAll(ranges []span, at func(ObjRef) *uint64) {
	if !slices.ContainsFunc(c.kinds, func(k KindOps) bool { return k.Drop != nil }) {
		return
	}
	var chunks []span
	objrefs := 0
	for _, s := range ranges {
		objrefs += s.len()
		for first := uint64(s.first); first <= uint64(s.last); first += dropChunk {
			chunks = append(chunks, span{uint32(first), uint32(min(first+dropChunk-1, uint64(s.last)))})
		}
	}
	var next atomic.Int64
	var failed firstPanic
	var work func()
	work = func() {
		done := false
		defer func() {
			if !done { // a Drop called Goexit: this goroutine ends, its work does not
				work()
			}
		}()
		for i := next.Add(1) - 1; i < int64(len(chunks)); i = next.Add(1) - 1 {
			c.dropSpan(chunks[i], at, &failed)
		}
		done = true
	}
	workers := min(runtime.GOMAXPROCS(0), len(chunks), objrefs/dropChunk+1)
	if workers <= 1 {
		work()
	} else {
		var wg sync.WaitGroup
		for range workers {
			wg.Go(work)
		}
		wg.Wait()
	}
	failed.raise()
}

// dropSpan drops all of s, whatever the callbacks do.
func (c *core) dropSpan(s span, at func(ObjRef) *uint64, failed *firstPanic) {
	i := uint64(s.first)
	ended := false
	defer func() {
		if !ended {
			failed.keep(recover())
			if i < uint64(s.last) {
				c.dropSpan(span{uint32(i) + 1, s.last}, at, failed)
			}
		}
	}()
	for ; i <= uint64(s.last); i++ {
		cell := at(ObjRef(i))
		if cell == nil {
			continue
		}
		c.dropRecord(cell, ObjRef(i))
	}
	ended = true
}

// address returns the address of an object, 0 if it has none.
func (c *core) address(ref ObjRef, r record) Ptr {
	if !r.beside() {
		return r.ptr()
	}
	id, _ := c.side.get(ref)
	return id.ptr
}

// release gives the memory back.
func (c *core) release() {
	c.side.clear()
	c.arena.Close()
}

// firstPanic keeps the first of many panics.
type firstPanic struct {
	mu    sync.Mutex
	value any
}

func (f *firstPanic) keep(v any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.value == nil {
		f.value = v
	}
}

func (f *firstPanic) raise() {
	if f.value != nil {
		panic(f.value)
	}
}

func asUint64(p []Ptr) []uint64 {
	// Same as: []uint64(p)
	// Safety: Ptr is defined as uint64.
	return unsafe.Slice((*uint64)(unsafe.SliceData(p)), len(p))
}

func asInt32(r []ObjRef) []int32 {
	// Same as: []int32(r)
	// Safety: ObjRef is defined as int32.
	return unsafe.Slice((*int32)(unsafe.SliceData(r)), len(r))
}
