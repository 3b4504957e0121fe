package target

import "github.com/objhash/objhash/shard"

var indexLocked = Spec{
	Name:    "index-locked",
	Summary: "the comparison to index (shard.Locked): inserts take the lock of their stripe",
	New: func(o Options) (Target, error) {
		m, err := shard.NewLocked(shard.Config{Expected: o.Expected, Seed: o.Seed})
		if err != nil {
			return nil, err
		}
		return &indexLockedTarget{m: m}, nil
	},
}

type indexLockedTarget struct {
	source source
	m      *shard.Locked
}

func (t *indexLockedTarget) Worker() (Worker, error) {
	return &indexLockedWorker{t: t, lease: lease{from: &t.source}}, nil
}

func (t *indexLockedTarget) Lookup(ptr uint64) (int32, bool) {
	ref, _ := t.m.Lookup(ptr)
	return ref, ref != 0
}

func (t *indexLockedTarget) Len() int     { return t.m.Len() }
func (t *indexLockedTarget) Bytes() int64 { return t.m.Bytes() }
func (t *indexLockedTarget) Close() error { return t.m.Close() }

type indexLockedWorker struct {
	t     *indexLockedTarget
	lease lease
}

func (w *indexLockedWorker) Encounter(ptrs []uint64, _ []uint16, refs []int32) (first int, err error) {
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

func (w *indexLockedWorker) Lookup(ptrs []uint64, refs []int32) (found int, err error) {
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

func (w *indexLockedWorker) Close() error { return nil }
