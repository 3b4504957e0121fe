package target

import "sync"

var syncMap = Spec{
	Name:    "syncmap",
	Summary: "the standard library's sync.Map",
	New:     func(Options) (Target, error) { return &syncMapTarget{}, nil },
}

type syncMapTarget struct {
	source source
	m      sync.Map // uint64 -> int32
}

func (t *syncMapTarget) Worker() (Worker, error) {
	return &syncMapWorker{t: t, lease: lease{from: &t.source}}, nil
}

func (t *syncMapTarget) Lookup(ptr uint64) (int32, bool) {
	v, ok := t.m.Load(ptr)
	if !ok {
		return 0, false
	}
	return v.(int32), true
}

func (t *syncMapTarget) Len() (n int) {
	t.m.Range(func(_, _ any) bool { n++; return true })
	return n
}

func (t *syncMapTarget) Bytes() int64 { return BytesUnknown }
func (t *syncMapTarget) Close() error { return nil }

type syncMapWorker struct {
	t     *syncMapTarget
	lease lease
}

func (w *syncMapWorker) Encounter(ptrs []uint64, _ []uint16, refs []int32) (first int, err error) {
	m := &w.t.m
	for i, p := range ptrs {
		key := any(p) // boxed once for both calls
		v, ok := m.Load(key)
		if !ok {
			if v, ok = m.LoadOrStore(key, w.lease.candidate()); !ok {
				w.lease.take()
				first++
			}
		}
		refs[i] = v.(int32)
	}
	return first, nil
}

func (w *syncMapWorker) Lookup(ptrs []uint64, refs []int32) (found int, err error) {
	m := &w.t.m
	for i, p := range ptrs {
		refs[i] = 0
		if v, ok := m.Load(p); ok {
			refs[i] = v.(int32)
			found++
		}
	}
	return found, nil
}

func (w *syncMapWorker) Close() error { return nil }
