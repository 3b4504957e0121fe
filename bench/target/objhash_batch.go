package target

import (
	"slices"
	"unsafe"

	"github.com/objhash/objhash/engine"
	"github.com/objhash/objhash/refcount"
)

var objhashBatch = Spec{
	Name:         "objhash-batch",
	Summary:      "our engine (default strategy: " + OwnStrategy + ") with a block per call; blocks of several kinds are grouped by kind first",
	Batch:        true,
	New:          func(o Options) (Target, error) { return newObjhashBatch(o, nil) },
	WithStrategy: objhashBatchOf,
}

func objhashBatchOf(s refcount.Strategy) Spec {
	spec := Spec{
		Name:    "objhash-batch",
		Summary: "our engine with a block per call; users: " + s.Traits().Summary,
		Batch:   true,
		New:     func(o Options) (Target, error) { return newObjhashBatch(o, s) },
	}
	return spec.with(s)
}

func newObjhashBatch(o Options, count refcount.Strategy) (Target, error) {
	t, err := newObjhash(o, count)
	if err != nil {
		return nil, err
	}
	return &objhashBatchTarget{objhashTarget: *t, kinds: len(o.Kinds)}, nil
}

type objhashBatchTarget struct {
	objhashTarget
	kinds int
}

func (t *objhashBatchTarget) Worker() (Worker, error) {
	return &objhashBatchWorker{c: t.c, d: t.c.Dumper(), starts: make([]int, t.kinds+2)}, nil
}

// objhashBatchWorker keeps the room for grouping from one block to the next.
type objhashBatchWorker struct {
	c *engine.Checkpoint
	d *engine.Dumper

	starts []int // by kind: where its group begins, then where it ends
	order  []int // by place among the groups: the place in the block
	ptrs   []uint64
	refs   []int32
	first  []bool
}

func (w *objhashBatchWorker) Encounter(ptrs []uint64, kinds []uint16, refs []int32) (first int, err error) {
	if !slices.ContainsFunc(kinds, func(k uint16) bool { return k != kinds[0] }) {
		return w.encounter(ptrs, kinds[0], refs)
	}
	w.group(ptrs, kinds)
	lo := 0
	for k := 1; k < len(w.starts)-1; k++ {
		hi := w.starts[k]
		if lo == hi {
			continue
		}
		n, err := w.encounter(w.ptrs[lo:hi], uint16(k), w.refs[lo:hi])
		first += n
		if err != nil {
			return first, err
		}
		lo = hi
	}
	for to, from := range w.order {
		refs[from] = w.refs[to]
	}
	return first, nil
}

// group sorts the block by kind, counting. Afterwards starts[k] is the end of
// the group of kind k.
func (w *objhashBatchWorker) group(ptrs []uint64, kinds []uint16) {
	n := len(ptrs)
	w.order = slices.Grow(w.order[:0], n)[:n]
	w.ptrs = slices.Grow(w.ptrs[:0], n)[:n]
	w.refs = slices.Grow(w.refs[:0], n)[:n]
	clear(w.starts)
	for _, k := range kinds {
		w.starts[k+1]++
	}
	for k := 1; k < len(w.starts); k++ {
		w.starts[k] += w.starts[k-1]
	}
	for i, k := range kinds {
		to := w.starts[k]
		w.starts[k]++
		w.order[to] = i
		w.ptrs[to] = ptrs[i]
	}
}

func (w *objhashBatchWorker) encounter(ptrs []uint64, kind uint16, refs []int32) (first int, err error) {
	w.first = slices.Grow(w.first[:0], len(ptrs))[:len(ptrs)]
	err = w.d.EncounterBatch(asPtrs(ptrs), engine.Kind(kind), asObjRefs(refs), w.first)
	for _, f := range w.first {
		if f {
			first++
		}
	}
	return first, err
}

func (w *objhashBatchWorker) Lookup(ptrs []uint64, refs []int32) (found int, err error) {
	return w.c.LookupBatch(asPtrs(ptrs), asObjRefs(refs)), nil
}

func (w *objhashBatchWorker) Close() error { return w.d.Close() }

// Same as: a copy into a []engine.Ptr, without the copy.
// Safety: engine.Ptr is defined as uint64, so the elements are the same.
func asPtrs(ptrs []uint64) []engine.Ptr {
	return unsafe.Slice((*engine.Ptr)(unsafe.SliceData(ptrs)), len(ptrs))
}

// Same as: a slice of engine.ObjRef that the caller's slice is an alias of.
// Safety: engine.ObjRef is defined as int32, so the elements are the same.
func asObjRefs(refs []int32) []engine.ObjRef {
	return unsafe.Slice((*engine.ObjRef)(unsafe.SliceData(refs)), len(refs))
}
