package refcount

import (
	"sync/atomic"

	"github.com/objhash/objhash/internal/region"
)

// Padded is [Atomic] with a cache line for each objref, so that objects which are
// neighbours by number do not share one.
//
// Source: the usual advice against false sharing, ____cacheline_aligned_in_smp in Linux.
//
// Fast path: one locked add. Exact, and deaths told, at once. Memory: 64 bytes for each
// objref. Good at a few objects, each hot on one thread; with many the cache holds a
// sixteenth of the counts.
type Padded struct{}

// Name implements [Strategy].
func (Padded) Name() string { return "padded" }

// Traits implements [Strategy].
func (Padded) Traits() Traits {
	return Traits{Summary: "one locked add to a word with a cache line of its own", PerObject: 64}
}

// New implements [Strategy].
func (Padded) New(c Config) (Counter, error) {
	return &paddedCounter{region.NewArray[region.Line](c.arena()), c.Zero}, nil
}

// paddedCounter is its own handle, for any thread.
type paddedCounter struct {
	lines *region.Array[region.Line]
	zero  func(int32)
}

// Grow implements [Counter].
func (c *paddedCounter) Grow(first, last int32) error {
	return c.lines.Grow(uint32(first), uint32(last))
}

// Bytes implements [Counter].
func (c *paddedCounter) Bytes() int64 { return c.lines.Bytes() }

// Barrier implements [Counter]: deaths have been told at once.
func (c *paddedCounter) Barrier() {}

// Handle implements [Counter].
func (c *paddedCounter) Handle() Handle { return c }

// Count implements [Counter].
func (c *paddedCounter) Count(ref int32) int64 {
	if ref <= 0 {
		return 0
	}
	line := c.lines.At(uint32(ref))
	if line == nil {
		return 0
	}
	return wordCount(atomic.LoadUint32(&line[0]))
}

func (c *paddedCounter) at(ref int32) *uint32 { return &c.lines.Made(uint32(ref))[0] }

// Inc implements [Handle].
func (c *paddedCounter) Inc(ref int32) { incWord(c.at(ref)) }

// TryInc implements [Handle].
func (c *paddedCounter) TryInc(ref int32) bool { return tryIncCAS(c.at(ref)) }

// Dec implements [Handle].
func (c *paddedCounter) Dec(ref int32) {
	if w := c.at(ref); decWord(w) {
		die(c.zero, ref, w)
	}
}

// Flush implements [Handle]; there is nothing to flush.
func (c *paddedCounter) Flush() {}

// Close implements [Handle].
func (c *paddedCounter) Close() {}
