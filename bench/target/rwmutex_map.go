package target

import (
	"sync"
	"unsafe"
)

var rwmutexMap = Spec{
	Name:    "rwmutex-map",
	Summary: "64 shards, each a Go map behind a RWMutex: the usual next step",
	New: func(o Options) (Target, error) {
		t := &rwmutexMapTarget{}
		for i := range t.shards {
			t.shards[i].refs = make(map[uint64]int32, o.Expected/rwmutexShards)
		}
		return t, nil
	},
}

const (
	rwmutexShardBits = 6
	rwmutexShards    = 1 << rwmutexShardBits
)

type rwmutexMapTarget struct {
	source source
	shards [rwmutexShards]rwmutexShard
}

type rwmutexShard struct {
	rwmutexShardFields
	// Two lines: the prefetcher of x86 fetches lines in pairs.
	_ [128 - unsafe.Sizeof(rwmutexShardFields{})%128]byte
}

type rwmutexShardFields struct {
	mu   sync.RWMutex
	refs map[uint64]int32
}

// shard takes the high bits of a product, for the low bits of addresses are
// aligned and would leave most shards empty.
func (t *rwmutexMapTarget) shard(ptr uint64) *rwmutexShard {
	return &t.shards[ptr*0x9e3779b97f4a7c15>>(64-rwmutexShardBits)]
}

func (t *rwmutexMapTarget) Worker() (Worker, error) {
	return &rwmutexMapWorker{t: t, lease: lease{from: &t.source}}, nil
}

func (t *rwmutexMapTarget) Lookup(ptr uint64) (int32, bool) {
	s := t.shard(ptr)
	s.mu.RLock()
	defer s.mu.RUnlock()
	ref, ok := s.refs[ptr]
	return ref, ok
}

func (t *rwmutexMapTarget) Len() (n int) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.RLock()
		n += len(s.refs)
		s.mu.RUnlock()
	}
	return n
}

func (t *rwmutexMapTarget) Bytes() int64 { return BytesUnknown }
func (t *rwmutexMapTarget) Close() error { return nil }

type rwmutexMapWorker struct {
	t     *rwmutexMapTarget
	lease lease
}

func (w *rwmutexMapWorker) Encounter(ptrs []uint64, _ []uint16, refs []int32) (first int, err error) {
	for i, p := range ptrs {
		s := w.t.shard(p)
		s.mu.RLock()
		ref, ok := s.refs[p]
		s.mu.RUnlock()
		if !ok {
			s.mu.Lock()
			if ref, ok = s.refs[p]; !ok {
				ref = w.lease.candidate()
				w.lease.take()
				s.refs[p] = ref
				first++
			}
			s.mu.Unlock()
		}
		refs[i] = ref
	}
	return first, nil
}

func (w *rwmutexMapWorker) Lookup(ptrs []uint64, refs []int32) (found int, err error) {
	for i, p := range ptrs {
		s := w.t.shard(p)
		s.mu.RLock()
		ref, ok := s.refs[p]
		s.mu.RUnlock()
		if ok {
			found++
		}
		refs[i] = ref
	}
	return found, nil
}

func (w *rwmutexMapWorker) Close() error { return nil }
