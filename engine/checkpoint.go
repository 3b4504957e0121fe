package engine

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/objhash/objhash/internal/invariants"
	"github.com/objhash/objhash/refcount"
	"github.com/objhash/objhash/shard"
)

// Checkpoint is one checkpoint, shared by any number of threads: it knows which
// objects have been met and under which objref. Make one with [NewCheckpoint]; each
// thread adds objects through a [Dumper] of its own.
//
// All methods may be called from any thread at any time, Close included. A nil
// *Checkpoint behaves like a closed one.
type Checkpoint struct {
	core
	index   *shard.Compact
	past    atomic.Bool // the collect pass, or all: encounters leave the short way
	bare    kindSet     // new objects of these kinds go the short way
	keys    keyTable
	counts  refcount.Counter
	holds   holds
	holders holderBook
	leases  leasePool
	base    *base // nil: this context is no round of an incremental checkpoint
}

// NewCheckpoint returns an empty context. Errors wrap [ErrInvalid] or [ErrLimit].
//
// A small context is cheap: to make one and a handle, and to close both, allocates 12 KB and
// takes 5 to 15 us, the collection of that garbage included, the less the idler the machine;
// with 100 objects, and all of their encounters, it is 19 KB and 13 to 23 us
// (BenchmarkSmallContext, 2 processors).
func NewCheckpoint(o Options) (*Checkpoint, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	c := &Checkpoint{leases: newLeasePool()}
	c.init(o)
	c.keys.arena = c.arena
	c.holders.arena, c.holders.tracked = c.arena, o.TrackHolders
	if err := c.arena.Charge(int64(unsafe.Sizeof(*c))); err != nil {
		return nil, translate(err)
	}
	var err error
	c.index, err = shard.NewCompact(shard.Config{
		Expected: o.ExpectedObjects,
		Shards:   o.Shards,
		Seed:     seed(o.Seed),
		Budget:   c.arena.Budget(),
	})
	if err == nil {
		strategy := o.Count
		if strategy == nil {
			strategy = refcount.Log{}
		}
		if strategy.Traits().Exact == refcount.Never {
			err = fmt.Errorf("%w: Count %q, which cannot count", ErrInvalid, strategy.Name())
		} else {
			c.counts, err = strategy.New(refcount.Config{Arena: c.arena})
		}
	}
	if err == nil {
		err = c.newHolds(o.Holds)
		c.bare = bareKinds(o)
	}
	if err != nil {
		c.release()
		return nil, badOption(err)
	}
	return c, nil
}

func seed(s uint64) uint64 {
	if s == 0 {
		return rand.Uint64()
	}
	return s
}

// Dumper returns a handle for one thread, to be closed when that thread is done.
// Handles are cheap. One that is lost without Close leaves a hole of at most 64 objrefs,
// and what it counted last may be missing: of users, and of holds, so that objects are not
// released before Close.
func (c *Checkpoint) Dumper() *Dumper {
	d := &Dumper{c: c}
	if c == nil {
		return d
	}
	d.kinds = uint32(len(c.kinds))
	d.count = c.counts.Handle()
	d.log, _ = d.count.(*refcount.LogHandle)
	if c.holders.tracked {
		d.log = nil // noting a holder is not for the short way
		d.holders = &holderLog{book: &c.holders}
	}
	if c.holds.counter != nil {
		d.log = nil // nor is holding
		d.hold = c.holds.counter.Handle()
	}
	c.leases.add(d)
	return d
}

// makeRoom makes records and counts for the objrefs of s.
func (c *Checkpoint) makeRoom(s span) error {
	err := c.records.Grow(s.first, s.last)
	if err == nil {
		err = c.counts.Grow(int32(s.first), int32(s.last))
	}
	if err == nil {
		err = c.holds.grow(s)
	}
	if err != nil {
		return fmt.Errorf("room for objrefs %d to %d: %w", s.first, s.last, translate(err))
	}
	return nil
}

func (c *Checkpoint) isClosed() bool { return c == nil || c.closed.Load() }

// Lookup returns the objref of the object at p, if it has been met. It never waits,
// and costs one cache miss. A closed context knows no object.
func (c *Checkpoint) Lookup(p Ptr) (ObjRef, bool) {
	if c.isClosed() {
		return 0, false
	}
	ref, _ := c.index.Lookup(uint64(p))
	if ref == 0 && c.base != nil && p != 0 {
		ref = int32(c.metInBase(identity{ptr: p}))
	}
	return ObjRef(ref), ref != 0
}

// lookupKey is Lookup for an object that has a key.
func (c *Checkpoint) lookupKey(key string) ObjRef {
	ref, _ := c.keys.lookup(key)
	if ref == 0 {
		ref = c.metInBase(identity{key: key})
	}
	return ref
}

// LookupBatch looks all of ptrs up, overlapping their cache misses, writes their
// objrefs, 0 for what is absent, to refs, and returns how many it found. refs must
// be as long as ptrs; if it is not, nothing is looked up and 0 is returned.
func (c *Checkpoint) LookupBatch(ptrs []Ptr, refs []ObjRef) (found int) {
	if len(refs) != len(ptrs) {
		return 0
	}
	if c.isClosed() {
		clear(refs)
		return 0
	}
	found = c.index.LookupBatch(asUint64(ptrs), asInt32(refs), nil)
	if c.base != nil && found < len(ptrs) {
		for i, p := range ptrs {
			if refs[i] != 0 || p == 0 {
				continue
			}
			if refs[i] = c.metInBase(identity{ptr: p}); refs[i] != 0 {
				found++
			}
		}
	}
	return found
}

// Object returns what is known about the object of ref; false if there is none, or
// if ref is only reserved.
func (c *Checkpoint) Object(ref ObjRef) (Object, bool) {
	if c.isClosed() || ref <= 0 {
		return Object{}, false
	}
	cell := c.cell(ref)
	if cell == nil {
		return Object{}, false
	}
	for {
		r := load(cell)
		invariants.Step("object: after the record")
		if !r.isObject() {
			return Object{}, false
		}
		o, ok := c.describe(ref, r)
		// A record is written before its object is published. Whether that has happened,
		// and not to another thread's record of the same object, the index knows. An
		// identity kept beside may be that of a later object than the record is: the
		// objref of an object that lost a race goes to the next one.
		//
		// Ordering: once the index knows it, a record changes its state alone, so what is
		// loaded after that is the record of the object that was found.
		if !ok || c.refOf(o) != ref {
			return Object{}, false
		}
		if load(cell).with(held) == r.with(held) {
			o.Users = c.counts.Count(int32(ref))
			runtime.KeepAlive(c)
			return o, true
		}
	}
}

// describe returns what the record of an object, or of one that is expected or gone,
// says of it. It returns false if what belongs to the record is not there any more.
func (c *Checkpoint) describe(ref ObjRef, r record) (Object, bool) {
	o := Object{Ptr: r.ptr(), Kind: r.kind(), Flags: c.flagsOf(ref, r)}
	if r.beside() {
		id, ok := c.side.get(ref)
		if !ok {
			return Object{}, false
		}
		o.Ptr = id.ptr
		if id.ptr == 0 {
			o.Key = []byte(id.key)
			o.Flags |= Keyed
		}
	}
	return o, true
}

// refOf returns the objref under which an object is known.
func (c *Checkpoint) refOf(o Object) ObjRef {
	if o.Key != nil {
		return c.lookupKey(string(o.Key))
	}
	ref, _ := c.Lookup(o.Ptr)
	return ref
}

// Len returns the number of objects.
func (c *Checkpoint) Len() int {
	if c.isClosed() {
		return 0
	}
	n := c.usage().objects
	runtime.KeepAlive(c)
	return n
}

func (c *Checkpoint) usage() usage {
	u := c.leases.usage(&c.core)
	if c.base != nil {
		met := int(c.base.met.Value())
		u.objects += met
		u.expected = c.base.count - met
	}
	return u
}

// All yields all objects by objref. Objects met meanwhile may or may not be seen.
func (c *Checkpoint) All() iter.Seq2[ObjRef, Object] {
	return func(yield func(ObjRef, Object) bool) {
		if c.isClosed() {
			return
		}
		for ref, r := range c.recorded() {
			var o Object
			ok := r.isObject()
			switch {
			case !ok:
			case !r.settled || r.beside():
				o, ok = c.Object(ref)
			default:
				// It is published, so there is no need to ask the index for it.
				o, ok = c.describe(ref, r.record)
				o.Users = c.counts.Count(int32(ref))
			}
			// Close takes records away only after it has said so.
			if ok && (c.isClosed() || !yield(ref, o)) {
				return
			}
		}
	}
}

// recordFound is a record, and whether it is settled: then it is, if it is one of an
// object, that of a published object.
type recordFound struct {
	record
	settled bool
}

// recorded yields, by objref, all records that are not absent.
func (c *Checkpoint) recorded() iter.Seq2[ObjRef, recordFound] {
	return func(yield func(ObjRef, recordFound) bool) {
		if c.isClosed() {
			return
		}
		last, moving := c.leases.moving()
		for _, s := range c.made(last) {
			for ref := s.first; ref <= s.last; ref++ {
				for len(moving) > 0 && moving[0].last < ref {
					moving = moving[1:]
				}
				r := load(c.records.Made(ref))
				if r != 0 && !yield(ObjRef(ref), recordFound{r, len(moving) == 0 || ref < moving[0].first}) {
					return
				}
			}
		}
		runtime.KeepAlive(c)
	}
}

// Stats describes a context at one moment. Allocated = Objects + Reserved + Leased +
// Free + Expected whenever nobody writes.
type Stats struct {
	Objects   int // objects met
	Reserved  int // objrefs without an object, see Dumper.Reserve
	Leased    int // objrefs that open handles hold, not used yet, and those that will never be
	Free      int // objrefs that closed handles gave back, used first
	Expected  int // objects of the snapshot the context was made from, not met so far
	Allocated int // objrefs ever given out, and those below: the largest one
	Handles   int // open handles

	Bytes       int64 // memory of all tables in bytes, as counted against MaxBytes
	RecordBytes int64 // of these, records, counts, keys, holders, and what is fixed
	IndexBytes  int64 // of these, the identity index, and that of the snapshot's objects

	Index shard.Stats // see there; looking at all slots takes time
}

// Stats takes time proportional to the size of the index.
func (c *Checkpoint) Stats() Stats {
	if c.isClosed() {
		return Stats{}
	}
	u := c.usage()
	s := Stats{
		Objects:   u.objects,
		Reserved:  u.reserved,
		Free:      u.free,
		Allocated: u.largest,
		Expected:  u.expected,
		Leased:    u.largest - u.objects - u.reserved - u.free - u.expected,
		Handles:   u.handles,
		Bytes:     c.arena.Budget().Used(),
		Index:     c.index.Stats(),
	}
	s.IndexBytes = s.Index.Bytes
	if c.base != nil {
		s.IndexBytes += c.base.index.Bytes()
	}
	s.RecordBytes = s.Bytes - s.IndexBytes
	runtime.KeepAlive(c)
	return s
}

// Close drops every reference that the context holds, each exactly once and in
// parallel. Operations under way on other threads complete or return [ErrClosed];
// what they grabbed is dropped as well, by them. The reference of an object whose
// Dump callback is still running is dropped when that returns. A second Close does
// nothing, and does not wait for the first.
//
// The memory is given back when the context and all its handles are closed, or when
// none of them is reachable any more. In the latter case nothing is dropped.
//
// If Drop callbacks panic, all references are dropped all the same, and the first
// panic travels on.
func (c *Checkpoint) Close() error {
	if c == nil || c.closed.Swap(true) {
		return nil
	}
	c.past.Store(true)
	defer func() {
		_ = c.index.Close() // never fails
		c.base.close()
		c.keys.clear()
		if c.leases.allDropped() {
			c.release()
		}
		runtime.KeepAlive(c)
	}()
	c.dropAll(c.made(c.leases.close()), c.cell)
	return nil
}

// release gives the memory back.
func (c *Checkpoint) release() {
	c.holders.clear()
	c.core.release()
}
