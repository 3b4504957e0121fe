package refcount

import (
	"sync"
	"sync/atomic"

	"github.com/objhash/objhash/internal/region"
)

// Arrays counts with plain adds in an array of the handle's own, of which only the
// pieces that the handle touches are there.
//
// An array has a word for each objref: the handle's increments less its decrements. When
// one of those gets to 4,096 or -4,096, that goes to the object's shared word. An array
// goes from handle to handle with what is in it; a count is the sum over all. So there
// are as many arrays as handles that count at the same time, not as there were handles.
//
// Source: percpu_ref of Linux 3.11 (2013), a counter for each processor and object; the
// arrays by object number are those of PEP 703 (CPython without its lock, 2023), which
// counts the users of types that way, in each thread.
//
// Fast path: two loads that lead to the word, and one plain add. Wait-free, but for the
// lock with which a handle takes or gives back an array, or adds a piece to it. Where
// memory for that is refused, a handle adds to the shared words, as [Atomic] does, until
// it is flushed.
//
// Exact at flush. The handle's own thread sees each of its operations in Count at once.
// To other threads an add that is not locked promises nothing before something orders it,
// and that something comes with the flush: until then they miss what is in the handle's
// array, or on its way to the shared word. Both together are 4,096 users at most, and most
// of the time a few nanoseconds' worth. Deaths are told at the barrier.
//
// Memory: 4 bytes for each objref, and a quarter of a byte if deaths are told; 4 more for
// each array in which the objref's piece has been touched. Pieces are of 128 objrefs for
// the first 1,024, and a ninth of all objrefs at most; whoever counts everywhere touches
// all. For each handle 64 bytes, and 2.2 KiB for each array. Good at hot objects, which
// nothing makes slower, and at many short handles. Bad where many handles are open at
// once and count everywhere; where a death must be told soon; and where counts are read
// often: a read looks at all arrays. As many loads that miss the cache as with one shared
// word, but they are nobody else's lines.
type Arrays struct{}

const (
	// arraysCarry is where a part is carried to the shared word.
	arraysCarry = 1 << 12

	// arraysMost is how many arrays there are at most: so a shared word can be below 0 by
	// 2^28 at most, as a splitCounter wants it, for that is what all arrays can have for
	// one objref. Any more handles add to the shared words.
	arraysMost = (1<<32 - belowZeroMin) / arraysCarry

	arraysHandleBytes = 64
	arrayHeadBytes    = 2224 // the list of its segments, and its place in two lists
)

// Name implements [Strategy].
func (Arrays) Name() string { return "arrays" }

// Traits implements [Strategy].
func (Arrays) Traits() Traits {
	return Traits{
		Summary: "one plain add to an array of the handle's own, made where it is touched (percpu_ref, PEP 703)",
		Exact:   AtFlush, Zero: AtBarrier, Behind: arraysCarry,
		PerObject: 4.25, PerObjectHandle: 4, PerHandle: arraysHandleBytes + arrayHeadBytes,
	}
}

// New implements [Strategy].
func (Arrays) New(c Config) (Counter, error) {
	a := &arraysCounter{splitCounter: newSplitCounter(c), most: arraysMost}
	a.nowhere = region.NewArray[uint32](a.shared.Arena())
	return a, nil
}

type arraysCounter struct {
	splitCounter
	nowhere *region.Array[uint32] // without segments: of handles without an array

	mu   sync.Mutex
	most int                          // arrays
	idle []*ownCounts                 // that no handle has
	own  atomic.Pointer[[]*ownCounts] // all that were made
}

// ownCounts are parts of counts, of one handle at a time. Its holder alone writes; others
// read it, for estimates. They go from handle to handle with what is in them, so there are
// as many as there ever were handles counting at the same time.
type ownCounts struct{ cells *region.Array[uint32] }

// all returns the arrays of all handles there were.
func (c *arraysCounter) all() []*ownCounts {
	if own := c.own.Load(); own != nil {
		return *own
	}
	return nil
}

// borrow returns an array that no other handle has, or nil: there are as many as there may
// be, or memory is refused.
func (c *arraysCounter) borrow() *ownCounts {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.idle); n > 0 {
		o := c.idle[n-1]
		c.idle = c.idle[:n-1]
		return o
	}
	own := c.all()
	a := c.shared.Arena()
	if len(own) == c.most || a.Charge(arrayHeadBytes) != nil {
		return nil
	}
	o := &ownCounts{cells: region.NewArray[uint32](a)}
	// A longer list may share memory with the shorter ones before it: whoever has one
	// of those does not look beyond its end.
	own = append(own, o)
	// Ordering: pairs with the Load in all: the array is in the list before that is
	// seen. Who sees the list before misses an array that was empty at that time.
	c.own.Store(&own)
	return o
}

func (c *arraysCounter) giveBack(o *ownCounts) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = append(c.idle, o)
}

// Count implements [Counter].
func (c *arraysCounter) Count(ref int32) int64 {
	sum, whole := c.sharedCount(ref)
	if whole {
		return sum
	}
	for _, o := range c.all() {
		if w := o.cells.At(uint32(ref)); w != nil {
			sum += int64(int32(atomic.LoadUint32(w)))
		}
	}
	return min(max(sum, 0), countMax)
}

// Barrier implements [Counter].
func (c *arraysCounter) Barrier() { c.marks.reap(c.Count) }

// Bytes implements [Counter].
func (c *arraysCounter) Bytes() int64 {
	n := c.shared.Bytes() + c.marks.bytes() + c.open.Load()*arraysHandleBytes
	for _, o := range c.all() {
		n += o.cells.Bytes() + arrayHeadBytes
	}
	return n
}

// Handle implements [Counter].
func (c *arraysCounter) Handle() Handle {
	c.open.Add(1)
	return &arraysHandle{words: c.nowhere, counter: c}
}

type arraysHandle struct {
	words   *region.Array[uint32] // of own, or nowhere: never nil, so that Inc need not ask
	counter *arraysCounter
	own     *ownCounts // nil: none was free, or none needed yet
	refused bool       // memory, since the last flush
	closed  bool
	// 64 bytes in all, so that no two handles share a cache line.
	_ [38]byte
}

// Inc implements [Handle].
func (h *arraysHandle) Inc(ref int32) {
	if w := h.words.At(uint32(ref)); w != nil {
		if v := *w + 1; v != arraysCarry {
			storeOwn(w, v)
			return
		}
	}
	h.add(ref, 1)
}

// TryInc implements [Handle].
func (h *arraysHandle) TryInc(ref int32) bool {
	if h.counter.marks.isDead(ref) {
		return false
	}
	h.Inc(ref)
	return true
}

// Dec implements [Handle].
func (h *arraysHandle) Dec(ref int32) {
	h.dec(ref)
	h.counter.marks.decremented(ref)
}

func (h *arraysHandle) dec(ref int32) {
	if w := h.words.At(uint32(ref)); w != nil {
		if v := *w - 1; int32(v) != -arraysCarry {
			storeOwn(w, v)
			return
		}
	}
	h.add(ref, -1)
}

// add adds n, 1 or -1, where that takes more than a plain add.
func (h *arraysHandle) add(ref, n int32) {
	w := h.word(ref)
	if w == nil {
		addShared(h.counter.shared.Made(uint32(ref)), n)
		return
	}
	v := int32(*w) + n
	if v == arraysCarry || v == -arraysCarry {
		storeOwn(w, 0)
		addShared(h.counter.shared.Made(uint32(ref)), v)
		return
	}
	storeOwn(w, uint32(v))
}

// word returns where in its array the handle counts ref, and makes that if need be; nil:
// nowhere, for want of memory or because the handle is closed.
func (h *arraysHandle) word(ref int32) *uint32 {
	if w := h.words.At(uint32(ref)); w != nil {
		return w
	}
	if h.closed || h.refused {
		return nil
	}
	if h.own == nil {
		h.own = h.counter.borrow()
	}
	if h.own == nil || h.own.cells.Grow(uint32(ref), uint32(ref)) != nil {
		h.refused = true // not to ask, and to make an error, each time
		return nil
	}
	h.words = h.own.cells
	return h.words.At(uint32(ref))
}

// Flush implements [Handle]: all has been added already.
func (h *arraysHandle) Flush() { h.refused = false }

// Close implements [Handle].
func (h *arraysHandle) Close() {
	if h.closed {
		return
	}
	h.closed = true
	h.counter.open.Add(-1)
	h.words = h.counter.nowhere
	if h.own != nil {
		h.counter.giveBack(h.own)
		h.own = nil
	}
}
