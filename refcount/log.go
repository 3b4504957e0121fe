package refcount

import (
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/objhash/objhash/internal/region"
)

// Log notes encounters in a short log of the handle's own, and adds them up when the
// log is full: the encounter log with periodic compaction, into arrays of small counts
// whose overflow goes to shared ones.
//
// There are up to as many arrays, of one byte for each objref, as there are processors, but
// at least 8 and at most 64. A handle has the one that the
// fewest open handles have, and locks it while it adds its log up, without locked
// instructions; when a byte is full, 256 users go to the object's shared count, and when
// it is empty, 128 come from there. It does not wait: if another handle is adding up
// there, it adds to the shared counts, as [Atomic] does. So no more threads come in each
// other's way than run at the same time, however many handles are open. A count is the
// sum over all arrays.
//
// Source: ours; the parts are the encounter logs of record and replay tools, and the
// per-CPU counters of Linux (percpu_ref, 3.11) with the overflow of its percpu_counter.
//
// Fast path: one plain store. A locked add, 6 to 7 ns even in cache, would also keep
// the processor from starting the loads of the next encounter; here 64 adds come
// together, their cache misses overlap, and a byte each keeps four times as many
// objects in the cache as a word would. Exact at flush; an open handle holds back 64
// users at most, and 256 more for the moment between the two halves of a carry. Deaths
// are told at the barrier. Wait-free, but for a lock to open and close handles, and to make
// room in an array. Memory: 4 bytes for each objref, a quarter of one if deaths are told, and
// 1 for each of the arrays that concurrent handles made necessary, so 12 at most with up to 8
// processors; 384 bytes for each handle, and 1.1 KiB for each array. Bad where a death must be told soon, or counts
// are read often: a read looks at all arrays.
type Log struct{}

const (
	ownLeast  = 8  // arrays of cells, where there are few processors
	ownMost   = 64 // the same, where there are many
	cellBytes = unsafe.Sizeof(ownCell(0))
	ownFull   = 0xff // the largest count in one
	ownBorrow = 0x80 // what comes from the shared count: half, so that it does not go back and forth
)

// Name implements [Strategy].
func (Log) Name() string { return "log" }

// Traits implements [Strategy].
func (Log) Traits() Traits {
	return Traits{
		Summary: "a log of 64 encounters, added up in a few arrays of bytes, with overflow to a shared word",
		Exact:   AtFlush, Zero: AtBarrier, Behind: logLen + ownFull + 1,
		PerObject: 4.25, PerObjectHandle: float64(cellBytes), OwnMax: ownMax(), PerHandle: logHandleBytes,
	}
}

// New implements [Strategy]. The counter's handles are of type *[LogHandle].
func (Log) New(c Config) (Counter, error) {
	l := &logCounter{splitCounter: newSplitCounter(c), own: make([]atomic.Pointer[ownCells], ownMax())}
	return l, l.shared.Arena().Charge(l.ownBytes())
}

// ownMax is how many arrays of cells a counter that is made now may have.
func ownMax() int { return min(max(runtime.GOMAXPROCS(0), ownLeast), ownMost) }

type logCounter struct {
	splitCounter
	mu  sync.Mutex                 // to open and close handles, and to make an array
	own []atomic.Pointer[ownCells] // made from the first on, when there are handles for one more
}

// ownBytes is what own takes when all of it is made. It is charged beforehand, since a
// handle cannot be refused.
func (c *logCounter) ownBytes() int64 {
	return int64(len(c.own)) * int64(unsafe.Sizeof(ownCells{})+unsafe.Sizeof(c.own[0]))
}

// ownCells are the cells of a few handles.
type ownCells struct {
	// busy is 1 while a handle adds up here.
	//
	// Ordering: from the step to 1 to that back to 0 the handle is the only writer of
	// cells and room, and sees what the one before it wrote.
	busy  atomic.Uint32
	room  uint32 // objrefs up to here have room
	cells atomic.Pointer[region.Array[ownCell]]

	handles int // open ones; guarded by logCounter.mu

	// 64 bytes in all, so that no two share a cache line.
	_ [64 - 8 - 2*unsafe.Sizeof(uintptr(0))]byte
}

// Count implements [Counter].
func (c *logCounter) Count(ref int32) int64 {
	sum, whole := c.sharedCount(ref)
	if whole {
		return sum
	}
	for i := range c.own {
		// Ordering: pairs with the Store in Handle. Who does not see it misses handles that
		// had counted nothing at that time.
		o := c.own[i].Load()
		if o == nil {
			break
		}
		cells := o.cells.Load()
		if cells == nil {
			continue
		}
		if cell := cells.At(uint32(ref)); cell != nil {
			sum += int64(loadCell(cell))
		}
	}
	return min(max(sum, 0), countMax)
}

// Barrier implements [Counter].
func (c *logCounter) Barrier() { c.marks.reap(c.Count) }

// Bytes implements [Counter].
func (c *logCounter) Bytes() int64 {
	n := c.shared.Bytes() + c.marks.bytes() + c.open.Load()*logHandleBytes + c.ownBytes()
	for i := range c.own {
		o := c.own[i].Load()
		if o == nil {
			break
		}
		if cells := o.cells.Load(); cells != nil {
			n += cellsHeadBytes + cells.Bytes()
		}
	}
	return n
}

// Handle implements [Counter].
func (c *logCounter) Handle() Handle {
	c.open.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	var fewest *ownCells
	for i := range c.own {
		o := c.own[i].Load()
		if o == nil {
			o = new(ownCells)
			c.own[i].Store(o)
		}
		if fewest == nil || o.handles < fewest.handles {
			fewest = o
		}
		if fewest.handles == 0 {
			break // so the others are made when they are needed
		}
	}
	fewest.handles++
	return &LogHandle{counter: c, own: fewest, limit: logLen}
}

// makeCells makes the cells of o, if there is memory for them.
func (c *logCounter) makeCells(o *ownCells) *region.Array[ownCell] {
	a := c.shared.Arena()
	if a.Charge(cellsHeadBytes) != nil {
		return nil
	}
	cells := region.NewArray[ownCell](a)
	// Ordering: pairs with the Loads in Count. Who does not see them misses cells that were
	// empty at that time.
	o.cells.Store(cells)
	return cells
}

const (
	logLen         = 64
	logHandleBytes = 384
	cellsHeadBytes = int64(unsafe.Sizeof(region.Array[ownCell]{}))
)

// LogHandle is a handle of [Log].
type LogHandle struct {
	counter *logCounter
	own     *ownCells
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

// IncBatch does what Inc does for each of refs.
func (h *LogHandle) IncBatch(refs []int32) {
	for len(refs) > 0 {
		n := copy(h.refs[h.n:h.limit], refs)
		refs = refs[n:]
		h.n += uint(n)
		if h.n >= h.limit {
			h.flush()
		}
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
	h.flush()
	if h.limit == 1 {
		return
	}
	h.limit = 1
	c := h.counter
	c.open.Add(-1)
	c.mu.Lock()
	defer c.mu.Unlock()
	h.own.handles--
}

// flush adds up what the log notes: an objref for each increment, and one below 0 for
// each decrement.
func (h *LogHandle) flush() {
	notes := h.refs[:h.n]
	h.n = 0
	if len(notes) == 0 {
		return
	}
	if !h.own.busy.CompareAndSwap(0, 1) {
		h.counter.addAll(notes)
		return
	}
	cells := h.own.cells.Load()
	if cells == nil && len(notes) >= logLen/4 { // not for a handle that counts next to nothing
		cells = h.counter.makeCells(h.own)
	}
	if cells != nil {
		notes = h.addUp(cells, notes)
	}
	h.own.busy.Store(0)
	if len(notes) > 0 {
		h.counter.addAll(notes)
	}
}

// addUp adds notes up in cells, those of own, which are busy. It returns those for which
// there is no memory.
func (h *LogHandle) addUp(cells *region.Array[ownCell], notes []int32) (rest []int32) {
	c, o := h.counter, h.own
	// A log that ends as it begins is most likely that of a hot object. Its cell would have
	// to be loaded where it has just been stored, again and again.
	if ref := notes[0]; ref == notes[len(notes)-1] && uint32(ref) <= o.room {
		hot := 1
		for hot < len(notes) && notes[hot] == ref {
			hot++
		}
		if bump(cells.Made(uint32(ref)), uint32(hot)) {
			addShared(c.shared.Made(uint32(ref)), ownFull+1)
		}
		notes = notes[hot:]
	}
	room := o.room
	for i, note := range notes {
		if uint32(note) > room { // or a decrement
			if !c.addOne(o, cells, note) {
				return notes[i:]
			}
			room = o.room
			continue
		}
		if bump(cells.Made(uint32(note)), 1) {
			addShared(c.shared.Made(uint32(note)), ownFull+1)
		}
	}
	return nil
}

// addOne adds up one note in cells, those of o. It returns false if there is no memory for
// that.
func (c *logCounter) addOne(o *ownCells, cells *region.Array[ownCell], note int32) bool {
	ref := uint32(max(note, -note))
	if ref > o.room {
		if cells.Grow(0, ref) != nil {
			return false
		}
		_, last := region.Segment(ref)
		o.room = min(last, countMax) // all of it, or each objref that is one larger would come here
	}
	switch cell := cells.Made(ref); {
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
