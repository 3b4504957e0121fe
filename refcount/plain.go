package refcount

// Plain counts for one thread, with plain adds to one word for each objref: the oracle
// that the others are compared with, and the yardstick of what counting costs at least.
//
// Source: the users of objects in the Linux checkpoint/restart patches from 2009 on,
// where one thread walked all tasks.
//
// Fast path: one plain add. Exact, and deaths told, at once. Memory: 4 bytes for each
// objref. Good where there is one thread; there must not be two.
type Plain struct{}

// Name implements [Strategy].
func (Plain) Name() string { return "plain" }

// Traits implements [Strategy].
func (Plain) Traits() Traits {
	return Traits{
		Summary:   "one plain add; one thread only: the oracle",
		PerObject: 4, OneThread: true,
	}
}

// New implements [Strategy].
func (Plain) New(c Config) (Counter, error) { return &plainCounter{newWords(c)}, nil }

// plainCounter is its own handle.
type plainCounter struct{ words }

// Handle implements [Counter].
func (c *plainCounter) Handle() Handle { return c }

// Count implements [Counter].
func (c *plainCounter) Count(ref int32) int64 {
	w := c.find(ref)
	if w == nil {
		return 0
	}
	return wordCount(*w)
}

// Inc implements [Handle].
func (c *plainCounter) Inc(ref int32) { incPlain(c.at(ref)) }

// TryInc implements [Handle].
func (c *plainCounter) TryInc(ref int32) bool {
	if isDead(*c.at(ref)) {
		return false
	}
	c.Inc(ref)
	return true
}

// Dec implements [Handle].
func (c *plainCounter) Dec(ref int32) {
	if decPlain(c.at(ref), c.zero != nil) {
		c.zero(ref)
	}
}

// Flush implements [Handle]; there is nothing to flush.
func (c *plainCounter) Flush() {}

// Close implements [Handle].
func (c *plainCounter) Close() {}
