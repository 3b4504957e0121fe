package refcount

// CAS counts with a loop around compare-and-swap, so a word is never other than right.
//
// Source: refcount_t of Linux 4.11 (2017), lib/refcount.c, and lockref before it: both
// test before they write, and try again if another thread was faster.
//
// Fast path: one load and one compare-and-swap. Exact, and deaths told, at once.
// Lock-free: of several threads one succeeds, the others try again, so on a hot object
// most of the work is lost. Memory: 4 bytes for each objref, none for a handle.
type CAS struct{}

// Name implements [Strategy].
func (CAS) Name() string { return "cas" }

// Traits implements [Strategy].
func (CAS) Traits() Traits {
	return Traits{Summary: "a loop around compare-and-swap (lockref, refcount_t)", PerObject: 4}
}

// New implements [Strategy].
func (CAS) New(c Config) (Counter, error) { return &casCounter{newWords(c)}, nil }

// casCounter is its own handle, for any thread.
type casCounter struct{ words }

// Handle implements [Counter].
func (c *casCounter) Handle() Handle { return c }

// Inc implements [Handle].
func (c *casCounter) Inc(ref int32) { tryIncCAS(c.at(ref)) }

// TryInc implements [Handle].
func (c *casCounter) TryInc(ref int32) bool { return tryIncCAS(c.at(ref)) }

// Dec implements [Handle].
func (c *casCounter) Dec(ref int32) {
	if c.give(ref, 1) {
		c.zero(ref)
	}
}

// Flush implements [Handle]; there is nothing to flush.
func (c *casCounter) Flush() {}

// Close implements [Handle].
func (c *casCounter) Close() {}
