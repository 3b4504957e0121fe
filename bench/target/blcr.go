package target

import "sync"

var blcr = Spec{
	Name:      "blcr",
	Summary:   "64 buckets, each a sorted list behind a RWMutex, as in BLCR's cr_objects.c",
	FixedSize: true,
	New:       func(Options) (Target, error) { return &blcrTarget{}, nil },
}

// blcrTarget follows the object map of Berkeley Lab Checkpoint/Restart, the
// one concurrent ancestor: its bucket count, its hash, its lists in ascending
// order of address, its node allocated before the lock is taken and freed if
// it was not needed. Its map never grows. Two things differ: the list is singly
// linked, since nothing is removed, and what is stored is an objref.
type blcrTarget struct {
	source  source
	buckets [blcrBuckets]blcrBucket
}

const (
	blcrBucketBits = 6
	blcrBuckets    = 1 << blcrBucketBits
)

type blcrBucket struct {
	mu   sync.RWMutex
	head *blcrNode
}

type blcrNode struct {
	next *blcrNode
	ptr  uint64
	ref  int32
}

func (t *blcrTarget) bucket(ptr uint64) *blcrBucket {
	h := ptr ^ ptr>>blcrBucketBits ^ ptr>>(2*blcrBucketBits)
	return &t.buckets[h%blcrBuckets]
}

func (b *blcrBucket) find(ptr uint64) (int32, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for n := b.head; n != nil && n.ptr <= ptr; n = n.next {
		if n.ptr == ptr {
			return n.ref, true
		}
	}
	return 0, false
}

// insert puts the node in unless its address is there already; it returns the
// objref that the address has afterwards.
func (b *blcrBucket) insert(node *blcrNode) int32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := &b.head
	for *at != nil && (*at).ptr <= node.ptr {
		if (*at).ptr == node.ptr {
			return (*at).ref
		}
		at = &(*at).next
	}
	node.next = *at
	*at = node
	return node.ref
}

func (t *blcrTarget) Worker() (Worker, error) {
	return &blcrWorker{t: t, lease: lease{from: &t.source}}, nil
}

func (t *blcrTarget) Lookup(ptr uint64) (int32, bool) { return t.bucket(ptr).find(ptr) }

func (t *blcrTarget) Len() (n int) {
	for i := range t.buckets {
		b := &t.buckets[i]
		b.mu.RLock()
		for node := b.head; node != nil; node = node.next {
			n++
		}
		b.mu.RUnlock()
	}
	return n
}

func (t *blcrTarget) Bytes() int64 { return BytesUnknown }
func (t *blcrTarget) Close() error { return nil }

type blcrWorker struct {
	t     *blcrTarget
	lease lease
}

func (w *blcrWorker) Encounter(ptrs []uint64, _ []uint16, refs []int32) (first int, err error) {
	for i, p := range ptrs {
		b := w.t.bucket(p)
		ref, ok := b.find(p)
		if !ok {
			node := &blcrNode{ptr: p, ref: w.lease.candidate()}
			if ref = b.insert(node); ref == node.ref {
				w.lease.take()
				first++
			}
		}
		refs[i] = ref
	}
	return first, nil
}

func (w *blcrWorker) Lookup(ptrs []uint64, refs []int32) (found int, err error) {
	for i, p := range ptrs {
		ref, ok := w.t.bucket(p).find(p)
		if ok {
			found++
		}
		refs[i] = ref
	}
	return found, nil
}

func (w *blcrWorker) Close() error { return nil }
