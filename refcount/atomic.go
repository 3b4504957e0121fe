package refcount

import "sync/atomic"

// Atomic counts with one atomic fetch-and-add on a shared 32-bit word.
//
// Source: the atomic_t of Linux, which counted objects when the checkpoint/restart
// patches were written (2008). TryInc is its atomic_inc_not_zero, a loop around
// compare-and-swap.
//
// Fast path: one locked add. Exact, and deaths told, at once. Lock-free, Inc and Dec
// wait-free. Memory: 4 bytes for each objref, none for a handle. Good at private and
// scattered objects; a hot object's cache line goes back and forth between all threads
// that count it.
type Atomic struct{}

// Name implements [Strategy].
func (Atomic) Name() string { return "atomic" }

// Traits implements [Strategy].
func (Atomic) Traits() Traits {
	return Traits{Summary: "one locked add to a shared word", PerObject: 4}
}

// New implements [Strategy]. The counter is an *[AtomicCounter].
func (Atomic) New(c Config) (Counter, error) { return &AtomicCounter{newWords(c)}, nil }

// AtomicCounter is the counter of [Atomic], and its own handle, for any thread.
type AtomicCounter struct{ words }

// Handle implements [Counter].
func (c *AtomicCounter) Handle() Handle { return c }

// Inc implements [Handle].
func (c *AtomicCounter) Inc(ref int32) { incWord(c.at(ref)) }

// TryInc implements [Handle].
func (c *AtomicCounter) TryInc(ref int32) bool { return tryIncCAS(c.at(ref)) }

// tryIncCAS adds one to a word by compare-and-swap, unless it is dead.
func tryIncCAS(w *uint32) bool {
	for {
		v := atomic.LoadUint32(w)
		if int32(v) < 0 && v < belowZeroMin {
			return !isDead(v) // saturated, so there is nothing to add to
		}
		next := v + 1
		if int32(next) < 0 {
			next = mended(next)
		}
		if atomic.CompareAndSwapUint32(w, v, next) {
			return true
		}
	}
}

// Dec implements [Handle].
func (c *AtomicCounter) Dec(ref int32) {
	if w := c.at(ref); decWord(w) {
		die(c.zero, ref, w)
	}
}

// Flush implements [Handle]; there is nothing to flush.
func (c *AtomicCounter) Flush() {}

// Close implements [Handle].
func (c *AtomicCounter) Close() {}
