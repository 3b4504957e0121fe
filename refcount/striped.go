package refcount

import (
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/objhash/objhash/internal/region"
)

// Striped counts by compare-and-swap on a shared word, until threads compete for it: from
// then on the object has a row of cells, each in a cache line of its own, and each handle
// adds to one of them.
//
// Source: LongAdder and Striped64 of Java's JDK 8 (Doug Lea, 2014), which do the same for
// one counter; xsync.Counter (puzpuzpuz/xsync) in Go. There a thread that meets another
// looks for a cell where it does not; here a handle keeps the one it was given. A row has
// the next power of two from GOMAXPROCS on, but at least 2 and at most 64 cells, as of
// when the counter is made.
//
// An object gets its row when a handle's compare-and-swap fails there that failed there the
// last time it did. One failure says little: two threads that count 10,000 objects at random
// meet somewhere once in 10,000 operations, and would in the end have given each a row.
//
// Fast path: one load and one compare-and-swap; for an object with a row, a load of a
// word that nobody writes any more, and a locked add to a cell that is nearly the thread's
// own. Exact at once. Cells are read one after another: a sum of some that others write
// meanwhile misses none of the operations before, and has any of those that come during it.
// Cells do not saturate: a row that is beyond 2^31-1 comes back from there.
//
// Deaths are told at once while the object has no row, as with [CAS]; with a row they are
// told at the barrier, because no thread knows the sum. The row is then free for another
// object; until then an object keeps it. The barrier takes time proportional to the rows.
// Lock-free, and wait-free for objects with rows. One thread at a time gives out rows, with
// a lock that none waits for: who finds it taken tries its word again.
//
// Memory: 4 bytes for each objref, 64 for each handle, and, beyond what Traits say, 64 for
// each cell of each object with a row: 1 KiB on 16 processors. To pad all of 10 million
// objects would take 640 MB for one cell each. Where memory for a row is refused, the
// object goes on without; new memory is not asked for before the next barrier. There are
// at most 2^28 cells. Good at a few hot objects among many that are not. Bad where hot
// objects are read often; and a row is not taken back when its object cools down.
type Striped struct{}

// The words are those of word.go, with a part of the saturated zone for objects with rows:
//
//	0x00000000             as there
//	0x00000001..7fffffff   as there: the count
//	0x80000000..9fffffff   inflated: the rest is the row's number, and the row has the count
//	0xa0000000             saturated
//	0xd8000000             dead
//
// It is only ever changed by compare-and-swap, so there are no others:
//
//	count ── inflate ──> inflated ── Barrier, sum is 0 ──> dead
//	  └── to 0, if deaths are told ──────────────────────────┘
//
// A row is a piece of an array of words, 8 for each cell, of which the first is the cell.
// Row n begins at n << rowShift. There is no row 0; as a number it means none. A cell is
// what its handles added less what they took off, so it may be below 0.
//
//	cell 0, owner, next, 5 unused │ cell 1, 7 unused │ cell 2 ...
const (
	inflatedMin = 0x8000_0000
	rowMask     = 1<<29 - 1

	cellShift = 3 // a cache line of words
	rowOwner  = 1 // objref, 0: the row is free; guarded by the lock
	rowNext   = 2 // number of the next free row; guarded by the lock

	cellsMin, cellsMax = 2, 64
	rowWordsMax        = 1 << 31

	stripedHandleBytes = 64
)

func isInflated(v uint32) bool { return v&^rowMask == inflatedMin }

// Name implements [Strategy].
func (Striped) Name() string { return "striped" }

// Traits implements [Strategy].
func (Striped) Traits() Traits {
	return Traits{
		Summary: "compare-and-swap; where that fails, a locked add to one of the object's own padded cells (LongAdder)",
		Zero:    AtBarrier, PerObject: 4, PerHandle: stripedHandleBytes,
	}
}

// New implements [Strategy].
func (Striped) New(c Config) (Counter, error) { return newStriped(c, runtime.GOMAXPROCS(0)), nil }

func newStriped(c Config, threads int) *stripedCounter {
	cells := min(max(threads, cellsMin), cellsMax)
	words := newWords(c)
	return &stripedCounter{
		words:    words,
		rows:     region.NewArray[uint64](words.array.Arena()),
		rowShift: uint(bits.Len(uint(cells-1)) + cellShift),
	}
}

type stripedCounter struct {
	words
	rows     *region.Array[uint64]
	rowShift uint

	open   atomic.Int64 // handles
	handed atomic.Uint32

	mu      sync.Mutex
	made    uint32 // the last row made
	free    uint32 // a row that no object has; the others follow by rowNext
	refused bool   // memory, since the last barrier
}

// Count implements [Counter].
func (c *stripedCounter) Count(ref int32) int64 {
	w := c.find(ref)
	if w == nil {
		return 0
	}
	v := atomic.LoadUint32(w)
	if isInflated(v) {
		return min(max(c.sum(v&rowMask), 0), countMax)
	}
	return wordCount(v)
}

// Bytes implements [Counter].
func (c *stripedCounter) Bytes() int64 {
	return c.words.Bytes() + c.rows.Bytes() + c.open.Load()*stripedHandleBytes
}

// Barrier implements [Counter].
func (c *stripedCounter) Barrier() { tell(c.zero, c.bury()...) }

// bury makes dead the inflated objects without users, and returns them.
//
// An object has users when it is inflated, so one that has none has lost them.
func (c *stripedCounter) bury() []int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = false
	if c.zero == nil {
		return nil
	}
	var died []int32
	for row := uint32(1); row <= c.made; row++ {
		ref := int32(*c.inRow(row, rowOwner))
		if ref == 0 || c.sum(row) > 0 {
			continue
		}
		// Ordering: no handle is in use; Count may be, and sees the count that was
		// or that of a dead object.
		atomic.StoreUint32(c.at(ref), deadWord)
		c.freeRow(row)
		died = append(died, ref)
	}
	return died
}

// inRow returns word i of a row.
func (c *stripedCounter) inRow(row, i uint32) *uint64 { return c.rows.Made(row<<c.rowShift + i) }

// sum returns the sum of a row, which is that at some one moment only if nobody writes it.
//
// Ordering: none is needed, as for a word.
func (c *stripedCounter) sum(row uint32) int64 {
	var sum int64
	for i := uint32(0); i < 1<<c.rowShift; i += 1 << cellShift {
		sum += int64(atomic.LoadUint64(c.inRow(row, i)))
	}
	return sum
}

// inflate gives ref, whose word is w, a row of cells. It does not if ref has no users,
// there is no memory, or another thread is giving out a row.
func (c *stripedCounter) inflate(ref int32, w *uint32) {
	if !c.mu.TryLock() {
		return
	}
	defer c.mu.Unlock()
	if !hasUsers(atomic.LoadUint32(w)) {
		return
	}
	row := c.takeRow()
	if row == 0 {
		return
	}
	*c.inRow(row, rowOwner) = uint64(ref)
	for {
		v := atomic.LoadUint32(w)
		if !hasUsers(v) {
			c.freeRow(row)
			return
		}
		atomic.StoreUint64(c.inRow(row, 0), uint64(v))
		// Ordering: this step publishes the row; its partners are the loads of the
		// word in TryInc, Dec and Count. An add that comes before it makes it fail,
		// and is in the v of the next turn; one that comes after it fails itself, and
		// then finds the row.
		if atomic.CompareAndSwapUint32(w, v, inflatedMin|row) {
			return
		}
	}
}

// takeRow returns the number of a row that no object has, all 0, or 0.
func (c *stripedCounter) takeRow() uint32 {
	if row := c.free; row != 0 {
		next := c.inRow(row, rowNext)
		c.free, *next = uint32(*next), 0
		return row
	}
	row := c.made + 1
	first, length := uint64(row)<<c.rowShift, uint64(1)<<c.rowShift
	if c.refused || first+length > rowWordsMax ||
		c.rows.Grow(uint32(first), uint32(first+length-1)) != nil {
		c.refused = true
		return 0
	}
	c.made = row
	return row
}

// freeRow makes a row one that no object has.
func (c *stripedCounter) freeRow(row uint32) {
	for i := uint32(0); i < 1<<c.rowShift; i += 1 << cellShift {
		atomic.StoreUint64(c.inRow(row, i), 0)
	}
	*c.inRow(row, rowOwner), *c.inRow(row, rowNext) = 0, uint64(c.free)
	c.free = row
}

// Handle implements [Counter].
func (c *stripedCounter) Handle() Handle {
	c.open.Add(1)
	cell := (c.handed.Add(1) - 1) << cellShift & (1<<c.rowShift - 1)
	return &stripedHandle{counter: c, cell: cell}
}

type stripedHandle struct {
	counter *stripedCounter
	cell    uint32 // which word of a row
	met     int32  // where a compare-and-swap failed last
	closed  bool
	// 64 bytes in all, so that no two handles share a cache line.
	_ [47]byte
}

// add adds n to the row of an inflated object, whose word is v.
//
// Ordering: pairs with the CompareAndSwap in inflate: cell 0 has what the word had.
func (h *stripedHandle) add(v uint32, n int64) {
	atomic.AddUint64(h.counter.inRow(v&rowMask, h.cell), uint64(n))
}

// Inc implements [Handle].
func (h *stripedHandle) Inc(ref int32) {
	w := h.counter.at(ref)
	v := atomic.LoadUint32(w)
	switch {
	case isInflated(v):
		h.add(v, 1)
	case v >= countMax || !atomic.CompareAndSwapUint32(w, v, v+1):
		if v < countMax {
			h.meet(ref, w)
		}
		h.inc(ref, w)
	}
}

// TryInc implements [Handle].
func (h *stripedHandle) TryInc(ref int32) bool { return h.inc(ref, h.counter.at(ref)) }

// meet notes that another thread was met at ref, whose word is w.
func (h *stripedHandle) meet(ref int32, w *uint32) {
	if h.met == ref {
		h.counter.inflate(ref, w)
	}
	h.met = ref
}

// inc adds one to ref, whose word is w, unless it is dead.
func (h *stripedHandle) inc(ref int32, w *uint32) bool {
	for {
		v := atomic.LoadUint32(w)
		if isInflated(v) {
			h.add(v, 1)
			return true
		}
		if v > countMax {
			return !isDead(v) // saturated, so there is nothing to add to
		}
		next := v + 1
		if next > countMax {
			next = saturatedWord
		}
		if atomic.CompareAndSwapUint32(w, v, next) {
			return true
		}
		h.meet(ref, w)
	}
}

// Dec implements [Handle].
func (h *stripedHandle) Dec(ref int32) {
	w := h.counter.at(ref)
	for {
		v := atomic.LoadUint32(w)
		if isInflated(v) {
			h.add(v, -1)
			return
		}
		if !hasUsers(v) {
			return // saturated or dead, for ever; or a decrement too many
		}
		next := v - 1
		if next == 0 && h.counter.zero != nil {
			next = deadWord // at once: nobody sees a 0 that is not dead
		}
		if atomic.CompareAndSwapUint32(w, v, next) {
			if next == deadWord {
				h.counter.zero(ref)
			}
			return
		}
		h.meet(ref, w)
	}
}

// Flush implements [Handle]; there is nothing to flush.
func (h *stripedHandle) Flush() {}

// Close implements [Handle].
func (h *stripedHandle) Close() {
	if !h.closed {
		h.closed = true
		h.counter.open.Add(-1)
	}
}
