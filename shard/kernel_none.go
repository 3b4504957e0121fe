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

func (x *Compact) lookupBatch(ptrs []uint64, refs []int32, tags []uint8) (found int) {
	return x.lookupBatchGo(ptrs, refs, tags)
}
