package refcount

import (
	"sync/atomic"
	"unsafe"
)

// Log notes encounters in a short log of the handle's own, and adds them up when the
// log is full: the encounter log with periodic compaction, into per-handle arrays of
// small counts whose overflow goes to shared ones.
//
// A handle that fills its log takes one of ownMax arrays of one byte for each objref,
// as long as there is one that no other handle has, and adds to that without locked
// instructions; when a byte is full, 256 users go to the object's shared count, and when
// it is empty, 128 come from there. Without such an array it adds to the shared counts,
// as [Atomic] does. An array goes from handle to handle with what is in it; a count is
// the sum over all.
//
// Source: ours; the parts are the encounter logs of record and replay tools, and the
// per-CPU counters of Linux (percpu_ref, 3.11) with the overflow of its percpu_counter.
//
// Fast path: one plain store. A locked add, 6 to 7 ns even in cache, would also keep
// the processor from starting the loads of the next encounter; here 64 adds come
// together, their cache misses overlap, and a byte each keeps four times as many
// objects in the cache as a word would. Exact at flush; an open handle holds back 64
// users at most, and 256 more for the moment between the two halves of a carry. Deaths
// are told at the barrier. Wait-free, but for the lock with which a handle takes or gives
// back an array, or makes room in it. Memory: 4 bytes for each objref, a quarter of one if
// deaths are told, and 1 more for each array that concurrent handles made necessary, so 12
// at most; 384 bytes for each handle. Bad where a death must be told soon, or counts are read often: a read looks at
// all arrays.
type Log struct{}

const (
	ownMax    = 8 // arrays of cells
	cellBytes = unsafe.Sizeof(ownCell(0))
	ownFull   = 0xff // the largest count in one
	ownBorrow = 0x80 // what comes from the shared count: half, so that it does not go back and forth
)

// Name implements [Strategy].
func (Log) Name() string { return "log" }

// Traits implements [Strategy].
func (Log) Traits() Traits {
	return Traits{
		Summary: "a log of 64 encounters, added up in byte arrays of the handle's own, with overflow to a shared word",
		Exact:   AtFlush, Zero: AtBarrier, Behind: logLen + ownFull + 1,
		PerObject: 4.25, PerObjectHandle: float64(cellBytes), OwnMax: ownMax, PerHandle: logHandleBytes,
	}
}

// New implements [Strategy]. The counter's handles are of type *[LogHandle].
func (Log) New(c Config) (Counter, error) {
	l := new(logCounter)
	l.init(c, ownMax, 0) // for so few, lists of segments do not count
	return l, nil
}

type logCounter struct{ splitCounter[ownCell] }

// Count implements [Counter].
func (c *logCounter) Count(ref int32) int64 {
	sum, whole := c.sharedCount(ref)
	if whole {
		return sum
	}
	for _, o := range c.all() {
		if cell := o.cells.At(uint32(ref)); cell != nil {
			sum += int64(loadCell(cell))
		}
	}
	return min(max(sum, 0), countMax)
}

// Barrier implements [Counter].
func (c *logCounter) Barrier() { c.marks.reap(c.Count) }

// Bytes implements [Counter].
func (c *logCounter) Bytes() int64 { return c.bytes() + c.open.Load()*logHandleBytes }

// Handle implements [Counter].
func (c *logCounter) Handle() Handle {
	c.open.Add(1)
	return &LogHandle{counter: c, limit: logLen}
}

const (
	logLen         = 64
	logHandleBytes = 384
)

// LogHandle is a handle of [Log].
type LogHandle struct {
	counter *logCounter
	own     *ownCounts[ownCell] // nil: none was free, or none needed yet
	n       uint
	limit   uint // flush when n is this; 1: closed
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

// TryInc implements [Handle].
func (h *LogHandle) TryInc(ref int32) bool {
	if h.counter.marks.isDead(ref) {
		return false
	}
	h.Inc(ref)
	return true
}

// Dec implements [Handle].
func (h *LogHandle) Dec(ref int32) { h.Inc(-ref) }

// Flush implements [Handle].
func (h *LogHandle) Flush() { h.flush() }

// Close implements [Handle].
func (h *LogHandle) Close() {
	if h.limit != 1 {
		h.limit = 1
		h.counter.open.Add(-1)
	}
	h.flush()
	if h.own != nil {
		h.counter.giveBack(h.own)
		h.own = nil
	}
}

// flush adds up what the log notes: an objref for each increment, and one below 0 for
// each decrement.
func (h *LogHandle) flush() {
	if h.own == nil && h.n == logLen {
		h.own = h.counter.borrow()
	}
	refs := h.refs[:h.n]
	h.n = 0
	if len(refs) == 0 {
		return
	}
	if h.own == nil {
		h.counter.addAll(refs)
		return
	}
	// A log that ends as it begins is most likely that of a hot object. Its cell would have
	// to be loaded where it has just been stored, again and again.
	hot := 0
	if refs[0] == refs[len(refs)-1] && uint32(refs[0]) <= h.own.room {
		for hot = 1; hot < len(refs) && refs[hot] == refs[0]; hot++ {
		}
		if bump(h.own.cells.Made(uint32(refs[0])), uint32(hot)) {
			addShared(h.counter.shared.Made(uint32(refs[0])), ownFull+1)
		}
	}
	room, cells := h.own.room, h.own.cells
	for i, ref := range refs[hot:] {
		if uint32(ref) > room { // or a decrement
			if !h.counter.addOwn(h.own, ref) {
				h.counter.addAll(refs[hot+i:])
				return
			}
			room = h.own.room
			continue
		}
		if bump(cells.Made(uint32(ref)), 1) {
			addShared(h.counter.shared.Made(uint32(ref)), ownFull+1)
		}
	}
}

// addOwn adds up one note in o. It returns false if there is no memory for that.
func (c *logCounter) addOwn(o *ownCounts[ownCell], note int32) bool {
	ref := uint32(max(note, -note))
	if ref > o.room {
		if o.cells.Grow(0, ref) != nil {
			return false
		}
		o.room = ref
	}
	switch cell := o.cells.Made(ref); {
	case note < 0:
		if unbump(cell) {
			addShared(c.shared.Made(ref), -ownBorrow)
		}
		c.marks.decremented(-note)
	case bump(cell, 1):
		addShared(c.shared.Made(ref), ownFull+1)
	}
	return true
}

// addAll adds up refs, at most logLen, in the shared counts.
func (c *logCounter) addAll(refs []int32) {
	var words [logLen]*uint32
	for i, ref := range refs {
		words[i] = c.shared.Made(uint32(max(ref, -ref)))
		// These loads do not wait for each other; the adds below would.
		atomic.LoadUint32(words[i])
	}
	for i, ref := range refs {
		if ref < 0 {
			addShared(words[i], -1)
			c.marks.decremented(-ref)
		} else {
			addShared(words[i], 1)
		}
	}
}

// bump adds n, at most logLen, to a cell. It returns true if that would be more than full:
// then it is ownFull+1 less.
func bump(c *ownCell, n uint32) (carry bool) {
	v := uint32(*c) + n
	storeCell(c, ownCell(v&ownFull))
	return v > ownFull
}

// unbump takes one off a cell. It returns true if that was 0, and ownBorrow put there
// before.
func unbump(c *ownCell) (borrow bool) {
	v := *c
	if v == 0 {
		storeCell(c, ownBorrow-1)
		return true
	}
	storeCell(c, v-1)
	return false
}
