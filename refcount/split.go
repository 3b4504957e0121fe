package refcount

import (
	"sync/atomic"

	"github.com/objhash/objhash/internal/region"
)

// splitCounter is for strategies that split a count into a word which all threads write,
// and parts in arrays which one thread at a time writes: the count is the sum over all.
//
// A shared word may be below 0, by no more than what is in the arrays, or on its way
// there; values from belowZeroMin on are those. A strategy sees to it that this is at
// most 2^28 for one objref.
type splitCounter struct {
	shared *region.Array[uint32]
	marks  *marks
	open   atomic.Int64 // handles
}

func newSplitCounter(c Config) splitCounter {
	a := c.arena()
	return splitCounter{shared: region.NewArray[uint32](a), marks: newMarks(a, c.Zero)}
}

// Grow implements [Counter].
func (c *splitCounter) Grow(first, last int32) error {
	if err := c.shared.Grow(uint32(first), uint32(last)); err != nil {
		return err
	}
	return c.marks.grow(first, last)
}

// sharedCount returns what the shared word adds to the count of ref, any number; or the
// whole count, if the arrays do not matter.
func (c *splitCounter) sharedCount(ref int32) (n int64, whole bool) {
	if ref <= 0 || c.marks.isDead(ref) {
		return 0, true
	}
	w := c.shared.At(uint32(ref))
	if w == nil {
		return 0, true
	}
	v := atomic.LoadUint32(w)
	if v > countMax && v < belowZeroMin {
		return countMax, true
	}
	return int64(int32(v)), false
}

// addShared adds n to a shared word.
func addShared(w *uint32, n int32) {
	// Ordering: none is needed; the sum is read at a barrier of the caller's, or as
	// an estimate.
	if v := atomic.AddUint32(w, uint32(n)); v > countMax && v < belowZeroMin {
		atomic.StoreUint32(w, saturatedWord)
	}
}
