package target

import "sync"

var mutexMap = Spec{
	Name:    "mutex-map",
	Summary: "one mutex around a Go map: what one writes first",
	New: func(o Options) (Target, error) {
		return &mutexMapTarget{refs: make(map[uint64]int32, o.Expected)}, nil
	},
}

// mutexMapTarget numbers objects under its lock, so it needs no leases: it is
// also its own only worker.
type mutexMapTarget struct {
	mu   sync.Mutex
	refs map[uint64]int32
}

func (t *mutexMapTarget) Worker() (Worker, error) { return mutexMapWorker{t}, nil }

func (t *mutexMapTarget) Lookup(ptr uint64) (int32, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	ref, ok := t.refs[ptr]
	return ref, ok
}

func (t *mutexMapTarget) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.refs)
}

func (t *mutexMapTarget) Bytes() int64 { return BytesUnknown }
func (t *mutexMapTarget) Close() error { return nil }

type mutexMapWorker struct{ t *mutexMapTarget }

func (w mutexMapWorker) Encounter(ptrs []uint64, _ []uint16, refs []int32) (first int, err error) {
	t := w.t
	for i, p := range ptrs {
		t.mu.Lock()
		ref, ok := t.refs[p]
		if !ok {
			ref = int32(len(t.refs) + 1)
			t.refs[p] = ref
			first++
		}
		t.mu.Unlock()
		refs[i] = ref
	}
	return first, nil
}

func (w mutexMapWorker) Lookup(ptrs []uint64, refs []int32) (found int, err error) {
	t := w.t
	for i, p := range ptrs {
		t.mu.Lock()
		ref, ok := t.refs[p]
		t.mu.Unlock()
		if ok {
			found++
		}
		refs[i] = ref
	}
	return found, nil
}

func (w mutexMapWorker) Close() error { return nil }
