//go:build !amd64 || race || purego || objhash_invariants

package shard

// Without kernels there is nothing to keep for them.
type (
	kernelIndex struct{}
	kernelTable struct{}
)

func newKernelIndex(*Compact) kernelIndex { return kernelIndex{} }
func newKernelTable(*table) kernelTable   { return kernelTable{} }

func (k kernel) supported() bool { return k == kernelGo }

// Lookup implements [Index].
func (x *Compact) Lookup(ptr uint64) (ref int32, tag uint8) { return x.lookupGo(ptr) }

// Insert implements [Index]. An inserter that finds the shard being replaced waits
// for that, and only that.
func (x *Compact) Insert(ptr uint64, ref int32, tag uint8) (got int32, gotTag uint8, err error) {
	return x.insertGo(ptr, ref, tag)
}

func (x *Compact) insertBatch(ptrs []uint64, tag uint8, next int32, refs []int32) (used int, err error) {
	return x.insertBatchGo(ptrs, tag, next, refs)
}

func encounter(x *Compact, ptr uint64, tag uint8, next int32, record *uint64, low uint64) int32 {
	return x.encounterGo(ptr, tag, next, record, low)
}

func (x *Compact) encounterBatch(ptrs []uint64, tag uint8, next int32, records []uint64, low uint64, refs []int32) (done, used int) {
	return x.encounterBatchGo(ptrs, tag, next, records, low, refs)
}

func (x *Compact) lookupBatch(ptrs []uint64, refs []int32, tags []uint8) (found int) {
	return x.lookupBatchGo(ptrs, refs, tags)
}

// storesOrdered tells whether plain stores are seen in order, which the race detector and
// other processors do not promise.
const storesOrdered = false
