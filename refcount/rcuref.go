package refcount

// Rcuref counts with one unconditional locked add for every operation, TryInc included,
// and one test of the sign.
//
// Source: rcuref of Linux 6.4 (2023), lib/rcuref.c, by Thomas Gleixner, made to replace
// refcount_inc_not_zero and its loop around compare-and-swap in the network's routing
// cache. Here 0, not -1, is the count without users.
//
// Fast path: one locked add. Exact, and deaths told, at once. Wait-free. Memory: 4 bytes
// for each objref, none for a handle. Good where objects are looked up while others
// drop them; as bad at hot objects as [Atomic].
type Rcuref struct{}

// Name implements [Strategy].
func (Rcuref) Name() string { return "rcuref" }

// Traits implements [Strategy].
func (Rcuref) Traits() Traits {
	return Traits{Summary: "one locked add and a sign test, also for lookups of what may be dying (Linux 6.4)", PerObject: 4}
}

// New implements [Strategy].
func (Rcuref) New(c Config) (Counter, error) { return &rcurefCounter{AtomicCounter{newWords(c)}}, nil }

type rcurefCounter struct{ AtomicCounter }

// Handle implements [Counter].
func (c *rcurefCounter) Handle() Handle { return c }

// TryInc implements [Handle].
func (c *rcurefCounter) TryInc(ref int32) bool { return incWord(c.at(ref)) }
