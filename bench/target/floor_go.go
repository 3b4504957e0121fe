//go:build !amd64 || race || purego

package target

// floorOffsets writes the offset of the line of each of ptrs to offsets, which is as long.
// The lines are left to the loop that reads them: its loads overlap, too.
func floorOffsets(t *floorTarget, ptrs, offsets []uint64) {
	for i, ptr := range ptrs {
		offsets[i] = floorOffset(ptr, t.lines)
	}
}
