package target

import "github.com/objhash/objhash/shard"

var index = Spec{
	Name:    "index",
	Summary: "our identity index alone (shard.Compact): 8-byte slots, one CAS, one call per operation",
	New: func(o Options) (Target, error) {
		m, err := shard.NewCompact(shard.Config{Expected: o.Expected, Seed: o.Seed})
		if err != nil {
			return nil, err
		}
		return &indexTarget{m: m}, nil
	},
}

type indexTarget struct {
	source source
	m      *shard.Compact
}

func (t *indexTarget) Worker() (Worker, error) {
	return &indexWorker{t: t, lease: lease{from: &t.source}}, nil
}

func (t *indexTarget) Lookup(ptr uint64) (int32, bool) {
	ref, _ := t.m.Lookup(ptr)
	return ref, ref != 0
}

func (t *indexTarget) Len() int     { return t.m.Len() }
func (t *indexTarget) Bytes() int64 { return t.m.Bytes() }
func (t *indexTarget) Close() error { return t.m.Close() }

type indexWorker struct {
	t     *indexTarget
	lease lease
}

func (w *indexWorker) Encounter(ptrs []uint64, _ []uint16, refs []int32) (first int, err error) {
	m := w.t.m
	for i, p := range ptrs {
		candidate := w.lease.candidate()
		ref, _, err := m.Insert(p, candidate, 0)
		if err != nil {
			return first, err
		}
		if ref == candidate {
			w.lease.take()
			first++
		}
		refs[i] = ref
	}
	return first, nil
}

func (w *indexWorker) Lookup(ptrs []uint64, refs []int32) (found int, err error) {
	m := w.t.m
	for i, p := range ptrs {
		ref, _ := m.Lookup(p)
		if ref != 0 {
			found++
		}
		refs[i] = ref
	}
	return found, nil
}

func (w *indexWorker) Close() error { return nil }
