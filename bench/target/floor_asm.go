//go:build amd64 && !race && !purego

package target

import "unsafe"

// floorOffsets writes the offset of the line of each of ptrs to offsets, which is as long,
// and prefetches it.
func floorOffsets(t *floorTarget, ptrs, offsets []uint64) {
	if len(ptrs) == 0 {
		return
	}
	// Safety: it reads and writes len(ptrs) elements.
	floorPrefetch(t.memory, t.lines, unsafe.SliceData(ptrs), unsafe.SliceData(offsets), len(ptrs))
}

// floorPrefetch does it for n addresses, 1 or more. A prefetch that is its own instruction
// leaves the processor as soon as it has a place to wait in, where a load keeps all that
// comes after it from being done with.
//
//go:noescape
func floorPrefetch(memory unsafe.Pointer, lines uint64, ptrs, offsets *uint64, n int)
