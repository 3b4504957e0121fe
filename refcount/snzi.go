package refcount

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/objhash/objhash/internal/region"
)

// SNZI tells whether an objref has users, not how many: a scalable non-zero indicator.
//
// It is a tree of two levels. A leaf is a handle's own: its users of one objref. The root
// is a word that all share. A leaf that goes from 0 to 1 arrives at the root, one that goes
// back to 0 departs there, and everything in between touches the leaf alone; so the root
// is 0 exactly when there are no users.
//
// Source: "SNZI: Scalable NonZero Indicators" (Ellen, Lev, Luchangco, Moir, PODC 2007).
// There a node is shared: who arrives second must not go on before the first one's arrival
// has reached the parent, so a node stands at 1/2 until then, and others help. Here a leaf
// has one writer, and an arrival is at the root before it is in the leaf; nobody can come
// in between. The root is two words there, so that who asks whether it is 0 need not read
// the one that is counted in; here it is one, which few touch.
//
// Fast path: one plain add. Deaths are told at once. Never exact: a count is 0 if there are
// no users, and otherwise those at the root, 1 for each leaf that has some. A Dec comes
// through the handle of its Inc; when a handle is closed, its users move to the root, and
// any handle may do their Dec. A leaf that is full, or for which there is no memory, leaves
// its arrivals at the root; a Dec takes from the leaf first, and from the root when that is
// empty, for it is the sum that counts.
//
// Wait-free, but for the lock with which a handle takes or gives back its leaves, or makes
// room in them, and the loop with which Close moves a leaf. Memory: 4 bytes for each
// objref, and up to 8 for each of the most handles that were open at a time: 4 for those up
// to the largest objref counted there, and 4 for those that were; 2.1 KiB for each handle.
// Good at dropping hot
// objects, of which each thread has many users; bad where a thread has one at a time, for
// then each operation goes through both levels.
type SNZI struct{}

// Name implements [Strategy].
func (SNZI) Name() string { return "snzi" }

// Traits implements [Strategy].
func (SNZI) Traits() Traits {
	return Traits{
		Summary: "zero or not: a leaf for each handle, which touches the shared word at 0 only (SNZI)",
		Exact:   Never, Zero: AtOnce, Behind: countMax, OwnDec: true,
		PerObject: 4, PerObjectHandle: 8, PerHandle: snziHandleBytes + int(leavesHeadBytes),
	}
}

// New implements [Strategy].
func (SNZI) New(c Config) (Counter, error) { return &snziCounter{words: newWords(c)}, nil }

// snziCounter has the roots: the leaves that are not 0, and the users that are in none.
type snziCounter struct {
	words
	open atomic.Int64 // handles

	mu   sync.Mutex
	all  []*snziLeaves
	free []*snziLeaves // of no handle, and all 0
}

// snziLeaves belong to one handle at a time. Nobody else reads or writes them, and they go
// from handle to handle under a lock.
type snziLeaves struct {
	leaves   *region.Array[uint32] // by objref
	listed   *region.Array[uint32] // the first n: objrefs whose leaf says so
	n        uint32
	listRoom uint32 // for the first so many
	room     int32  // leaves up to here have room
}

// A leaf, layout version 1: the users, and in bit 0 whether the objref is on the list of
// those that Close looks at. It stays there when the leaf is 0 again, so that it is there
// once, however often it comes and goes.
const (
	leafListed = 1
	leafOne    = 2
	leafFull   = 1<<32 - leafOne
)

// Bytes implements [Counter].
func (c *snziCounter) Bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.words.Bytes() + c.open.Load()*snziHandleBytes
	for _, l := range c.all {
		n += leavesHeadBytes + l.leaves.Bytes() + l.listed.Bytes()
	}
	return n
}

// borrow returns leaves that no other handle has.
func (c *snziCounter) borrow() *snziLeaves {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.free); n > 0 {
		l := c.free[n-1]
		c.free = c.free[:n-1]
		return l
	}
	a := c.array.Arena()
	if a.Charge(leavesHeadBytes) != nil {
		return nil
	}
	l := &snziLeaves{leaves: region.NewArray[uint32](a), listed: region.NewArray[uint32](a)}
	c.all = append(c.all, l)
	return l
}

func (c *snziCounter) giveBack(l *snziLeaves) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.free = append(c.free, l)
}

// makeRoom makes room for the leaf of ref, if there is memory for it.
func (l *snziLeaves) makeRoom(ref int32) bool {
	if l.leaves.Grow(0, uint32(ref)) != nil {
		return false
	}
	_, last := region.Segment(uint32(ref))
	l.room = int32(min(last, countMax))
	return true
}

// list notes that ref has a leaf to look at, if there is memory for it.
func (l *snziLeaves) list(ref int32) bool {
	if l.n == l.listRoom {
		if l.listed.Grow(l.n, l.n) != nil {
			return false
		}
		_, last := region.Segment(l.n)
		l.listRoom = last + 1
	}
	*l.listed.Made(l.n) = uint32(ref)
	l.n++
	return true
}

// Handle implements [Counter].
func (c *snziCounter) Handle() Handle {
	c.open.Add(1)
	return &SNZIHandle{counter: c}
}

const (
	snziHandleBytes = 64
	leavesHeadBytes = int64(unsafe.Sizeof(snziLeaves{}) + 2*unsafe.Sizeof(region.Array[uint32]{}))
)

// SNZIHandle is a handle of [SNZI].
type SNZIHandle struct {
	counter *snziCounter
	leaves  *region.Array[uint32]
	own     *snziLeaves // nil: not used yet, or closed
	room    int32       // leaves up to here have room
	closed  bool
	// 64 bytes in all, so that no two handles share a cache line.
	_ [32]byte
}

// Inc implements [Handle].
func (h *SNZIHandle) Inc(ref int32) {
	if ref <= h.room {
		if leaf := h.leaves.Made(uint32(ref)); hasRoom(*leaf) {
			*leaf += leafOne
			return
		}
	}
	h.arrive(ref)
}

// TryInc implements [Handle]. A leaf above 0 is a user, so ref lives.
func (h *SNZIHandle) TryInc(ref int32) bool {
	if ref <= h.room {
		if leaf := h.leaves.Made(uint32(ref)); hasRoom(*leaf) {
			*leaf += leafOne
			return true
		}
	}
	return h.arrive(ref)
}

// hasRoom tells whether a leaf is above 0, and not full.
func hasRoom(leaf uint32) bool { return leaf-leafOne < leafFull-leafOne }

// arrive adds one to the root, unless ref is dead, and to the leaf if there can be one and
// it is 0.
//
// Ordering: the root first, so that it is never 0 while the leaf is not.
func (h *SNZIHandle) arrive(ref int32) bool {
	if !incWord(h.counter.at(ref)) {
		return false
	}
	if ref > h.room && !h.makeRoom(ref) {
		return true
	}
	switch leaf := h.leaves.Made(uint32(ref)); {
	case *leaf == leafListed, *leaf == 0 && h.own.list(ref):
		*leaf = leafOne | leafListed
	}
	return true
}

// makeRoom makes room for the leaf of ref, unless the handle is closed, or there is no
// memory for it.
func (h *SNZIHandle) makeRoom(ref int32) bool {
	if h.closed {
		return false
	}
	if h.own == nil {
		own := h.counter.borrow()
		if own == nil {
			return false
		}
		h.own, h.leaves = own, own.leaves
	}
	ok := ref <= h.own.room || h.own.makeRoom(ref)
	h.room = h.own.room
	return ok
}

// Dec implements [Handle].
//
// Ordering: the leaf is 0 before the root is, so it says the truth to who is told.
func (h *SNZIHandle) Dec(ref int32) {
	if ref <= h.room {
		switch leaf := h.leaves.Made(uint32(ref)); {
		case *leaf >= 2*leafOne:
			*leaf -= leafOne
			return
		case *leaf >= leafOne:
			*leaf = leafListed
		}
	}
	c := h.counter
	if w := c.at(ref); decWord(w) {
		die(c.zero, ref, w)
	}
}

// Flush implements [Handle]; Count sees no more than the root.
func (h *SNZIHandle) Flush() {}

// Close implements [Handle].
//
// Ordering: who does the Decs afterwards does so after Close, by contract, so the users
// are at the root then; until then the one that the leaf has there keeps it above 0.
func (h *SNZIHandle) Close() {
	if h.closed {
		return
	}
	h.closed = true
	h.room = 0
	h.counter.open.Add(-1)
	l := h.own
	if l == nil {
		return
	}
	for i := range l.n {
		ref := *l.listed.Made(i)
		leaf := l.leaves.Made(ref)
		if *leaf >= 2*leafOne {
			addWord(h.counter.at(int32(ref)), *leaf/leafOne-1)
		}
		*leaf = 0
	}
	l.n = 0
	h.own, h.leaves = nil, nil
	h.counter.giveBack(l)
}

// addWord adds n, below 2^31, to a word that is live or saturated. It is not one add
// for that could lead far out of a zone.
func addWord(w *uint32, n uint32) {
	for {
		v := atomic.LoadUint32(w)
		next := v + n
		if v > countMax {
			return
		}
		if next > countMax {
			next = saturatedWord
		}
		if atomic.CompareAndSwapUint32(w, v, next) {
			return
		}
	}
}
