package bench_test

import (
	"errors"
	"sync"
	"time"

	"github.com/objhash/objhash/bench/target"
)

// faulty is a correct table with one planted fault. Its methods consult the
// fault at the moment at which a wrong table would go wrong.
type faulty struct {
	fault fault

	mu       sync.Mutex
	refs     map[uint64]int32
	records  map[int32]record
	inserted int
	last     int32
	hits     int
	lookups  int
}

type record struct {
	ptr   uint64
	kind  uint16
	users int64
}

// fault names what goes wrong, once, in the middle of the work.
type fault string

const (
	faultNone        fault = ""
	faultLoses       fault = "loses an insert"
	faultTwoRefs     fault = "gives an object a second objref"
	faultSharedRef   fault = "gives two objects one objref"
	faultZeroRef     fault = "answers objref 0"
	faultNegativeRef fault = "answers a negative objref"
	faultExtraFirst  fault = "counts one first too many"
	faultHitForMiss  fault = "finds what is absent"
	faultMissForHit  fault = "does not find what is there"
	faultWrongRef    fault = "looks up another object's objref"
	faultFoundCount  fault = "counts one found too few"
	faultLen         fault = "counts one object too many"
	faultForgets     fault = "forgets an object at the end"
	faultPhantom     fault = "has an object nobody added"
	faultUsers       fault = "counts one user too few"
	faultKind        fault = "records the wrong kind"
	faultError       fault = "returns an error"
	faultPanic       fault = "panics"
	faultSlow        fault = "takes very long for an insert"
	faultClose       fault = "fails to close"
)

// when is the operation at which a fault happens.
const when = 700

// slow is how long a slow operation takes.
const slow = 5 * time.Millisecond

var errPlanted = errors.New("planted error")

func (f fault) spec() target.Spec {
	return target.Spec{Name: "faulty", New: func(target.Options) (target.Target, error) {
		return &faulty{fault: f, refs: map[uint64]int32{}, records: map[int32]record{}}, nil
	}}
}

func (t *faulty) is(f fault, count int) bool { return t.fault == f && count == when }

func (t *faulty) Worker() (target.Worker, error) { return faultyWorker{t}, nil }

func (t *faulty) Lookup(ptr uint64) (int32, bool) {
	ref, ok := t.refs[ptr]
	switch {
	case t.fault == faultPhantom && !ok:
		return 1, true
	case t.fault == faultForgets && ref == when:
		return 0, false
	}
	return ref, ok
}

func (t *faulty) Len() int {
	if t.fault == faultLen {
		return len(t.refs) + 1
	}
	return len(t.refs)
}

func (t *faulty) Bytes() int64 { return target.BytesUnknown }

func (t *faulty) Close() error {
	if t.fault == faultClose {
		return errPlanted
	}
	return nil
}

func (t *faulty) Object(ref int32) (ptr uint64, kind uint16, users int64, ok bool) {
	r, ok := t.records[ref]
	switch {
	case t.fault == faultUsers && ref == when:
		r.users--
	case t.fault == faultKind && ref == when:
		r.kind++
	}
	return r.ptr, r.kind, r.users, ok
}

type faultyWorker struct{ t *faulty }

func (w faultyWorker) Encounter(ptrs []uint64, kinds []uint16, refs []int32) (first int, err error) {
	t := w.t
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, p := range ptrs {
		ref, ok := t.refs[p]
		if ok {
			ref = t.hit(ref)
		} else {
			first++
			if ref, err = t.insert(p, kinds[i]); err != nil {
				return first, err
			}
			if t.is(faultExtraFirst, t.inserted) {
				first++
			}
		}
		if r, ok := t.records[ref]; ok {
			r.users++
			t.records[ref] = r
		}
		refs[i] = ref
	}
	return first, nil
}

func (t *faulty) hit(ref int32) int32 {
	t.hits++
	if t.is(faultTwoRefs, t.hits) {
		t.last++
		return t.last
	}
	return ref
}

func (t *faulty) insert(p uint64, kind uint16) (int32, error) {
	t.inserted++
	switch {
	case t.is(faultError, t.inserted):
		return 0, errPlanted
	case t.is(faultPanic, t.inserted):
		panic("planted panic")
	case t.is(faultZeroRef, t.inserted):
		return 0, nil
	case t.is(faultNegativeRef, t.inserted):
		return -5, nil
	case t.is(faultSharedRef, t.inserted):
	case t.is(faultSlow, t.inserted):
		time.Sleep(slow)
		t.last++
	default:
		t.last++
	}
	if !t.is(faultLoses, t.inserted) {
		t.refs[p] = t.last
	}
	t.records[t.last] = record{ptr: p, kind: kind}
	return t.last, nil
}

func (w faultyWorker) Lookup(ptrs []uint64, refs []int32) (found int, err error) {
	t := w.t
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, p := range ptrs {
		t.lookups++
		ref := t.refs[p]
		switch {
		case t.is(faultHitForMiss, t.lookups), t.is(faultWrongRef, t.lookups):
			ref = ref%7 + 1
		case t.is(faultMissForHit, t.lookups):
			ref = 0
		case t.is(faultFoundCount, t.lookups):
			found--
		}
		if ref != 0 {
			found++
		}
		refs[i] = ref
	}
	return found, nil
}

func (w faultyWorker) Close() error { return nil }
