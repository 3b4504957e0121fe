package target

import (
	"math/bits"
	"unsafe"

	"github.com/objhash/objhash/internal/region"
	"github.com/objhash/objhash/shard"
)

// floor bounds from below what a lookup can cost in a table that does not fit the caches.
// For each address it reads one word of one cache line, chosen by the address, of a memory
// that is as large as a presized index of as many objects, which it asks the index, and
// comes from the same sort of arena, so that it has the same pages. That memory is zero
// throughout: floor finds nothing. It has written to every line of it before it is used.
var floor = Spec{
	Name:    "floor",
	Summary: "no table: reads one cache line for each lookup, of a memory as large as the index, and finds nothing",
	New:     newFloor,
	Batch:   true,
	NoTable: true,
}

const (
	floorLine  = 64
	floorBlock = 256 // lines whose misses overlap: the block of the harness
)

type floorTarget struct {
	arena  *region.Arena
	memory unsafe.Pointer
	lines  uint64
}

func newFloor(o Options) (Target, error) {
	lines, err := floorLines(o.Objects)
	if err != nil {
		return nil, err
	}
	t := &floorTarget{arena: region.NewArena(nil), lines: lines}
	if t.memory, err = t.arena.Alloc(uintptr(lines) * floorLine); err != nil {
		return nil, err
	}
	for i := range lines {
		// What was never written to may be one page of zeros for all addresses.
		*t.word(i * floorLine) = 0
	}
	return t, nil
}

// floorLines returns how many cache lines a presized index has for so many objects. Making
// one reserves its memory, and touches nothing of it.
func floorLines(objects int) (uint64, error) {
	m, err := shard.NewCompact(shard.Config{Expected: objects})
	if err != nil {
		return 0, err
	}
	bytes := m.Bytes()
	return uint64(max(1, bytes/floorLine)), m.Close()
}

// word returns the first word of the line at an offset.
func (t *floorTarget) word(offset uint64) *int32 {
	// Same as: memory[offset:]
	// Safety: memory has that many lines, and offset is one's.
	return (*int32)(unsafe.Add(t.memory, offset))
}

func (t *floorTarget) Worker() (Worker, error) { return &floorWorker{t: t}, nil }

func (t *floorTarget) Lookup(uint64) (int32, bool) { return 0, false }
func (t *floorTarget) Len() int                    { return 0 }
func (t *floorTarget) Bytes() int64                { return t.arena.Used() }

func (t *floorTarget) Close() error {
	t.arena.Close()
	return nil
}

type floorWorker struct {
	t       *floorTarget
	offsets [floorBlock]uint64
}

// Encounter does nothing: the memory is as large as that of a table which is full.
func (w *floorWorker) Encounter(ptrs []uint64, _ []uint16, refs []int32) (first int, err error) {
	return 0, nil
}

// Lookup writes what it reads to refs, which keeps the reads.
func (w *floorWorker) Lookup(ptrs []uint64, refs []int32) (found int, err error) {
	for len(ptrs) > 0 {
		n := min(len(ptrs), floorBlock)
		offsets := w.offsets[:n]
		floorOffsets(w.t, ptrs[:n], offsets)
		for i, offset := range offsets {
			refs[i] = *w.t.word(offset)
		}
		ptrs, refs = ptrs[n:], refs[n:]
	}
	return 0, nil
}

func (w *floorWorker) Close() error { return nil }

// floorMul is 2^64 divided by the golden ratio.
const floorMul = 0x9e3779b97f4a7c15

// floorOffset returns the offset of the line of an address: a product spreads the
// addresses, and of a second one the high half is below the number of lines. That is no
// division, and the number need not be a power of two.
func floorOffset(ptr, lines uint64) uint64 {
	line, _ := bits.Mul64(ptr*floorMul, lines)
	return line * floorLine
}
