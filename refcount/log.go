package refcount

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/objhash/objhash/internal/region"
)

// Log notes encounters in a short log of the handle's own, and adds them up when the
// log is full: the encounter log with periodic compaction, into per-handle arrays of
// small counts whose overflow goes to shared ones.
//
// A handle that fills its log takes one of ownMax arrays of one byte for each objref,
// as long as there is one that no other handle has, and adds to that without locked
// instructions; when a byte is full, 256 users go to the object's shared count.
// Without such an array it adds to the shared counts, as [Atomic] does. An array goes
// from handle to handle with what is in it; a count is the sum over all.
//
// Fast path: one plain store. A locked add, 6 to 7 ns even in cache, would also keep
// the processor from starting the loads of the next encounter; here 64 adds come
// together, their cache misses overlap, and a byte each keeps four times as many
// objects in the cache as a word would. Exact once all handles are closed; an open
// handle holds back 64 users at most, and 256 more for the moment between the two
// halves of a carry. Memory: 4 bytes for each objref, and 1 more for each array that
// concurrent handles made necessary, so 12 at most; 384 bytes for each handle.
type Log struct{}

const (
	ownMax  = 8    // arrays of bytes
	ownFull = 0xff // the largest count in one
)

// Name implements [Strategy].
func (Log) Name() string { return "log" }

// New implements [Strategy]. The counter's handles are of type *[LogHandle].
func (Log) New(a *region.Arena) (Counter, error) {
	return &logCounter{shared: AtomicCounter{words: region.NewArray[uint32](a)}, arena: a}, nil
}

type logCounter struct {
	shared AtomicCounter
	arena  *region.Arena

	mu  sync.Mutex
	own atomic.Pointer[[]*ownCounts] // all that were made; a new list with each
}

// all returns the counts of all handles there were.
func (c *logCounter) all() []*ownCounts {
	if own := c.own.Load(); own != nil {
		return *own
	}
	return nil
}

// ownCounts are the counts of one handle at a time, a byte for each objref. Its holder
// alone writes; others read it, for estimates.
type ownCounts struct {
	words *region.Array[uint32] // objref r is byte r%4, from the right, of word r/4
	held  bool                  // by a handle; guarded by logCounter.mu
	room  int32                 // objrefs up to here have room
}

// Grow implements [Counter].
func (c *logCounter) Grow(first, last int32) error { return c.shared.Grow(first, last) }

// Count implements [Counter].
func (c *logCounter) Count(ref int32) int64 {
	sum := c.shared.Count(ref)
	if ref <= 0 {
		return sum
	}
	for _, o := range c.all() {
		if w := o.words.At(uint32(ref) / 4); w != nil {
			sum += int64(atomic.LoadUint32(w) >> (ref % 4 * 8) & ownFull)
		}
	}
	return min(sum, saturated)
}

// borrow returns counts that no other handle has, or nil.
func (c *logCounter) borrow() *ownCounts {
	c.mu.Lock()
	defer c.mu.Unlock()
	own := c.all()
	i := slices.IndexFunc(own, func(o *ownCounts) bool { return !o.held })
	if i < 0 {
		if len(own) == ownMax {
			return nil
		}
		i = len(own)
		own = append(slices.Clip(own), &ownCounts{words: region.NewArray[uint32](c.arena)})
		c.own.Store(&own)
	}
	own[i].held = true
	return own[i]
}

func (c *logCounter) giveBack(o *ownCounts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o.held = false
}

// Handle implements [Counter].
func (c *logCounter) Handle() Handle { return &LogHandle{counter: c, limit: logLen} }

const logLen = 64

// LogHandle is a handle of [Log].
type LogHandle struct {
	counter *logCounter
	own     *ownCounts // nil: none was free, or none needed yet
	n       uint
	limit   uint // flush when n is this
	refs    [logLen]int32

	// 384 bytes in all, so that no two handles share a cache line.
	_ [96]byte
}

// Inc implements [Handle].
func (h *LogHandle) Inc(ref int32) {
	h.refs[h.n%logLen] = ref
	h.n++
	if h.n >= h.limit {
		h.flush()
	}
}

// Close implements [Handle]. What is counted later is added at once.
func (h *LogHandle) Close() {
	h.limit = 1
	h.flush()
	if h.own != nil {
		h.counter.giveBack(h.own)
		h.own = nil
	}
}

func (h *LogHandle) flush() {
	if h.own == nil && h.n == logLen {
		h.own = h.counter.borrow()
	}
	refs := h.refs[:h.n]
	h.n = 0
	if len(refs) == 0 {
		return
	}
	if h.own == nil || !h.own.makeRoom(slices.Max(refs)) {
		h.counter.shared.addAll(refs)
		return
	}
	for _, ref := range refs {
		if bump(h.own.words.Made(uint32(ref)/4), uint(ref)%4*8) {
			h.counter.shared.add(ref, ownFull+1)
		}
	}
}

// makeRoom makes room for objrefs up to last, if there is memory for it.
func (o *ownCounts) makeRoom(last int32) bool {
	if last > o.room {
		if o.words.Grow(0, uint32(last)/4) != nil {
			return false
		}
		o.room = last
	}
	return true
}

// addAll adds one to each of refs, at most logLen.
func (c *AtomicCounter) addAll(refs []int32) {
	var words [logLen]*uint32
	for i, ref := range refs {
		words[i] = c.words.Made(uint32(ref))
		// These loads do not wait for each other; the adds below would.
		atomic.LoadUint32(words[i])
	}
	for i := range refs {
		add(words[i], 1)
	}
}
