package refcount

import (
	"sync"
	"sync/atomic"

	"github.com/objhash/objhash/internal/region"
)

// splitCounter is for strategies that split a count into a word which all threads write,
// and parts in arrays which one handle at a time writes: the count is the sum over all.
//
// An array goes from handle to handle with what is in it, so there are as many as there
// ever were handles counting at the same time.
//
// A shared word may be below 0, by no more than what is in the arrays, or on its way
// there; values from belowZeroMin on are those. A strategy sees to it that this is at
// most 2^28 for one objref.
type splitCounter[T region.Element] struct {
	shared *region.Array[uint32]
	marks  *marks
	most   int   // arrays
	head   int64 // what the arena is charged for each array, beyond its segments

	open atomic.Int64 // handles

	mu   sync.Mutex
	idle []*ownCounts[T]                 // that no handle has
	own  atomic.Pointer[[]*ownCounts[T]] // all that were made
}

func (c *splitCounter[T]) init(cfg Config, most int, head int64) {
	a := cfg.arena()
	c.shared, c.marks = region.NewArray[uint32](a), newMarks(a, cfg.Zero)
	c.most, c.head = most, head
}

// ownCounts are parts of counts, of one handle at a time. Its holder alone writes; others
// read it, for estimates.
type ownCounts[T region.Element] struct {
	cells *region.Array[T]
	room  uint32 // objrefs up to here have room, if it is made from the first one on
}

// all returns the arrays of all handles there were.
func (c *splitCounter[T]) all() []*ownCounts[T] {
	if own := c.own.Load(); own != nil {
		return *own
	}
	return nil
}

// borrow returns an array that no other handle has, or nil: there are as many as there may
// be, or memory is refused.
func (c *splitCounter[T]) borrow() *ownCounts[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.idle); n > 0 {
		o := c.idle[n-1]
		c.idle = c.idle[:n-1]
		return o
	}
	own := c.all()
	a := c.shared.Arena()
	if len(own) == c.most || a.Charge(c.head) != nil {
		return nil
	}
	o := &ownCounts[T]{cells: region.NewArray[T](a)}
	// A longer list may share memory with the shorter ones before it: whoever has one
	// of those does not look beyond its end.
	own = append(own, o)
	// Ordering: pairs with the Load in all: the array is in the list before that is
	// seen. Who sees the list before misses an array that was empty at that time.
	c.own.Store(&own)
	return o
}

func (c *splitCounter[T]) giveBack(o *ownCounts[T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = append(c.idle, o)
}

// Grow implements [Counter].
func (c *splitCounter[T]) Grow(first, last int32) error {
	if err := c.shared.Grow(uint32(first), uint32(last)); err != nil {
		return err
	}
	return c.marks.grow(first, last)
}

// sharedCount returns what the shared word adds to the count of ref, any number; or the
// whole count, if the arrays do not matter.
func (c *splitCounter[T]) sharedCount(ref int32) (n int64, whole bool) {
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

// bytes returns what the words, the arrays and the marks take.
func (c *splitCounter[T]) bytes() int64 {
	n := c.shared.Bytes() + c.marks.bytes()
	for _, o := range c.all() {
		n += o.cells.Bytes() + c.head
	}
	return n
}
