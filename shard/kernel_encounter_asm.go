//go:build amd64 && !race && !purego && !objhash_invariants

package shard

import (
	"runtime"
	"unsafe"
)

// Insert implements [Index]. An inserter that finds the shard being replaced waits
// for that, and only that.
func (x *Compact) Insert(ptr uint64, ref int32, tag uint8) (got int32, gotTag uint8, err error) {
	if ref > 0 {
		if got, gotTag = insertKernel(x, ptr, ref, tag); got != 0 {
			return got, gotTag, nil
		}
	}
	return x.insertGo(ptr, ref, tag)
}

// insertKernel is insertGo for what is usual; for the rest it returns 0. It runs the kernel
// that kernelUsed says.
//
//go:noescape
func insertKernel(x *Compact, ptr uint64, next int32, tag uint8) (ref int32, gotTag uint8)

// encounter is Encounter: the kernel that kernelUsed says. What is not usual it leaves to
// encounterLeft.
//
//go:noescape
func encounter(x *Compact, ptr uint64, tag uint8, next int32, record *uint64, low uint64) (ref int32)

//lint:ignore U1000 the assembly goes on there
func encounterLeft(x *Compact, ptr uint64, tag uint8, next int32, record *uint64, low uint64) (ref int32) {
	return x.encounterGo(ptr, tag, next, record, low)
}

// encounterBatchAVX512 does what EncounterBatch does for the n addresses at ptrs, 1 or more,
// with numbers below limit; or, if records is nil, what InsertBatch does. It ends before an
// element that it leaves to Go, or, crowded, after one with which its table became too full.
// It returns how many elements are done, and the first number that was not used.
//
//go:noescape
func encounterBatchAVX512(x *Compact, ptrs *uint64, refs *int32, n int, tag uint8, next int32, limit uint32, records *uint64, low uint64) (done int, after int32, crowded bool)

// encounterBatchAVX2 is encounterBatchAVX512 for less of a processor.
//
//go:noescape
func encounterBatchAVX2(x *Compact, ptrs *uint64, refs *int32, n int, tag uint8, next int32, limit uint32, records *uint64, low uint64) (done int, after int32, crowded bool)

// kernelFew is how many elements a batch kernel should do at least: if it did fewer, the
// next block is left to Go, which lets its misses overlap too.
const kernelFew = 16

// leftToGo returns how many of n elements are left to Go after a kernel has done so many.
func leftToGo(done, n int) int {
	if done < kernelFew {
		return min(batchBlock, n)
	}
	return 1
}

// numbersEnd is the end of the numbers that there are.
const numbersEnd = 1 << 31

// insertBatch is InsertBatch.
func (x *Compact) insertBatch(ptrs []uint64, tag uint8, next int32, refs []int32) (used int, err error) {
	if kernelUsed == kernelGo || next <= 0 {
		return x.insertBatchGo(ptrs, tag, next, refs)
	}
	var failed batchErrors
	for start := 0; start < len(ptrs); {
		part := ptrs[start:min(start+kernelBatch, len(ptrs))]
		done, n := 0, 0
		if int64(next)+int64(used) < numbersEnd {
			done, n = x.encounterPart(part, tag, next+int32(used), numbersEnd, nil, 0, refs[start:])
		}
		used += n
		start += done
		if done < len(part) {
			end := start + leftToGo(done, len(part)-done)
			var at [batchBlock]located
			x.locate(ptrs[start:end], &at)
			used += failed.insertEach(x, ptrs[start:end], tag, next+int32(used), refs[start:end], start)
			start = end
		}
	}
	runtime.KeepAlive(x)
	return used, failed.err()
}

// encounterBatch is EncounterBatch.
func (x *Compact) encounterBatch(ptrs []uint64, tag uint8, next int32, records []uint64, low uint64, refs []int32) (done, used int) {
	if kernelUsed == kernelGo || next <= 0 || tag == TagUnknown {
		return x.encounterBatchGo(ptrs, tag, next, records, low, refs)
	}
	limit := uint32(min(uint64(next)+uint64(len(records)), numbersEnd))
	for done < len(ptrs) {
		part := ptrs[done:min(done+kernelBatch, len(ptrs))]
		rest := records[used:]
		var none uint64
		at := &none
		if len(rest) > 0 {
			at = &rest[0]
		}
		d, u := x.encounterPart(part, tag, next+int32(used), limit, at, low, refs[done:])
		done += d
		used += u
		if d == len(part) {
			continue
		}
		n := leftToGo(d, len(part)-d)
		if used > 0 && used == len(records) {
			n = 1 // most likely a new address, at which Go stops
		}
		left := ptrs[done : done+n]
		d, u = x.encounterBatchGo(left, tag, next+int32(used), records[used:], low, refs[done:])
		done += d
		used += u
		if d < len(left) {
			break
		}
	}
	runtime.KeepAlive(x)
	return done, used
}

// encounterPart runs a batch kernel for at most kernelBatch addresses.
func (x *Compact) encounterPart(ptrs []uint64, tag uint8, next int32, limit uint32, records *uint64, low uint64, refs []int32) (done, used int) {
	var after int32
	var crowd bool
	// Safety: the kernels read n elements of ptrs and write as many of refs, which has
	// len(ptrs) or more, and write limit-next records.
	p, r, n := unsafe.SliceData(ptrs), unsafe.SliceData(refs), len(ptrs)
	if kernelUsed == kernelAVX512 {
		done, after, crowd = encounterBatchAVX512(x, p, r, n, tag, next, limit, records, low)
	} else {
		done, after, crowd = encounterBatchAVX2(x, p, r, n, tag, next, limit, records, low)
	}
	if crowd {
		s, _ := x.hash(ptrs[done-1])
		if t := s.tab.Load(); t.full.Load() >= t.fullLimit {
			// The entry is in; no memory for a larger table is no error yet.
			_ = x.replace(s, t, refs[done-1], crowded)
		}
	}
	return done, int(after - next)
}
