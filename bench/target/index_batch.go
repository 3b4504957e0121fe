package target

import "github.com/objhash/objhash/shard"

var indexBatch = Spec{
	Name:    "index-batch",
	Summary: "index with a block per call: the cache misses of a block overlap",
	Batch:   true,
	New: func(o Options) (Target, error) {
		m, err := shard.NewCompact(shard.Config{Expected: o.Expected, Seed: o.Seed})
		if err != nil {
			return nil, err
		}
		return &indexBatchTarget{indexTarget{m: m}}, nil
	},
}

type indexBatchTarget struct{ indexTarget }

func (t *indexBatchTarget) Worker() (Worker, error) {
	return &indexBatchWorker{m: t.m, lease: lease{from: &t.source}}, nil
}

type indexBatchWorker struct {
	m     *shard.Compact
	lease lease
}

const (
	// A batch is offered consecutive objrefs, so leases are larger than those
	// of single calls, and a rest too short for a good batch is given up.
	indexBatchLease = 1024
	indexBatchShort = 64
)

func (w *indexBatchWorker) Encounter(ptrs []uint64, _ []uint16, refs []int32) (first int, err error) {
	for len(ptrs) > 0 {
		if int(w.lease.end-w.lease.next) < min(len(ptrs), indexBatchShort) {
			w.lease.renew(indexBatchLease)
		}
		n := min(len(ptrs), int(w.lease.end-w.lease.next))
		used, err := w.m.InsertBatch(ptrs[:n], 0, w.lease.next, refs[:n])
		w.lease.next += int32(used)
		first += used
		if err != nil {
			return first, err
		}
		ptrs, refs = ptrs[n:], refs[n:]
	}
	return first, nil
}

func (w *indexBatchWorker) Lookup(ptrs []uint64, refs []int32) (found int, err error) {
	return w.m.LookupBatch(ptrs, refs, nil), nil
}

func (w *indexBatchWorker) Close() error { return nil }
