package refcount

import (
	"sync/atomic"

	"github.com/objhash/objhash/internal/region"
)

// Atomic counts with one atomic fetch-and-add on a shared 32-bit word, as the Linux
// atomic_t of 2008 did.
//
// Fast path: one locked add. Exact at once. Memory: 4 bytes for each objref, none
// for a handle. Good at private and scattered objects; a hot object's cache line
// bounces between all threads that count it.
type Atomic struct{}

// Name implements [Strategy].
func (Atomic) Name() string { return "atomic" }

// New implements [Strategy]. The counter is an *[AtomicCounter].
func (Atomic) New(a *region.Arena) (Counter, error) {
	return &AtomicCounter{words: region.NewArray[uint32](a)}, nil
}

// AtomicCounter is the counter of [Atomic], and its own handle.
type AtomicCounter struct{ words *region.Array[uint32] }

const saturated = 1<<31 - 1

// Grow implements [Counter].
func (c *AtomicCounter) Grow(first, last int32) error {
	return c.words.Grow(uint32(first), uint32(last))
}

// Handle implements [Counter].
func (c *AtomicCounter) Handle() Handle { return c }

// Inc implements [Handle]. Any thread may call it.
func (c *AtomicCounter) Inc(ref int32) { c.add(ref, 1) }

func (c *AtomicCounter) add(ref int32, n uint32) { add(c.words.Made(uint32(ref)), n) }

func add(w *uint32, n uint32) {
	// Ordering: none is needed; the sum is read at a barrier of the caller's, or as
	// an estimate.
	if atomic.AddUint32(w, n) > saturated {
		// Far from wrapping: 2^23 threads would have to be between these two steps.
		atomic.StoreUint32(w, saturated)
	}
}

// Close implements [Handle]; there is nothing to flush.
func (c *AtomicCounter) Close() {}

// Count implements [Counter].
func (c *AtomicCounter) Count(ref int32) int64 {
	if ref <= 0 {
		return 0
	}
	w := c.words.At(uint32(ref))
	if w == nil {
		return 0
	}
	return int64(min(atomic.LoadUint32(w), saturated))
}
