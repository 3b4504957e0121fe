package refcount

import "sync"

// Mutex counts with plain adds under one of 256 locks, by objref.
//
// Source: the usual way to make a table safe, with the lock striping of Java's
// ConcurrentHashMap (2004).
//
// Fast path: lock, add, unlock. Exact, and deaths told, at once, not under the lock.
// Blocking: a thread that is stopped with the lock stops all that share it. Memory: 4
// bytes for each objref, 16 KiB for the locks. Good for comparison.
type Mutex struct{}

// Name implements [Strategy].
func (Mutex) Name() string { return "mutex" }

// Traits implements [Strategy].
func (Mutex) Traits() Traits {
	return Traits{Summary: "a plain add under one of 256 locks", PerObject: 4}
}

// New implements [Strategy].
func (Mutex) New(c Config) (Counter, error) {
	m := &mutexCounter{words: newWords(c)}
	return m, m.array.Arena().Charge(stripesBytes)
}

const (
	stripes      = 256
	stripesBytes = stripes * 64
)

// mutexCounter is its own handle, for any thread.
type mutexCounter struct {
	words
	locks [stripes]struct {
		sync.Mutex
		_ [56]byte
	}
}

func (c *mutexCounter) lock(ref int32) *sync.Mutex { return &c.locks[uint32(ref)%stripes].Mutex }

// Bytes implements [Counter].
func (c *mutexCounter) Bytes() int64 { return c.words.Bytes() + stripesBytes }

// Handle implements [Counter].
func (c *mutexCounter) Handle() Handle { return c }

// Count implements [Counter].
func (c *mutexCounter) Count(ref int32) int64 {
	w := c.find(ref)
	if w == nil {
		return 0
	}
	l := c.lock(ref)
	l.Lock()
	defer l.Unlock()
	return wordCount(*w)
}

// Inc implements [Handle].
func (c *mutexCounter) Inc(ref int32) { c.TryInc(ref) }

// TryInc implements [Handle].
func (c *mutexCounter) TryInc(ref int32) bool {
	w, l := c.at(ref), c.lock(ref)
	l.Lock()
	dead := isDead(*w)
	incPlain(w)
	l.Unlock()
	return !dead
}

// Dec implements [Handle].
func (c *mutexCounter) Dec(ref int32) {
	w, l := c.at(ref), c.lock(ref)
	l.Lock()
	died := decPlain(w, c.zero != nil)
	l.Unlock()
	if died {
		c.zero(ref)
	}
}

// Flush implements [Handle]; there is nothing to flush.
func (c *mutexCounter) Flush() {}

// Close implements [Handle].
func (c *mutexCounter) Close() {}
