package refcount

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/objhash/objhash/internal/region"
)

// Biased counts in two words for each objref: one in which its owner counts with plain
// adds, and one in which all others count with locked ones. The owner is the handle that
// counts the objref first.
//
// Source: Choi, Shull, Torrellas: Biased Reference Counting: Minimizing Atomic Operations
// in Garbage Collection (PACT 2018); CPython 3.13 without the global lock (PEP 703).
//
// The true count is the sum of both, and either may be the larger one: if others drop
// users that the owner counted, the shared count is below 0. When the owner's count comes
// down to 0 the owner merges the two: it gives the objref up, and from then on all count
// in the shared word, where 0 is death. When the shared count falls below 0 the objref is
// queued to its owner, who merges at its next Flush or Close. If the owner has closed,
// nobody changes its counts any more, and whoever made the shared count fall merges.
//
// Fast path: one load, and one plain add to the word next to it. Exact at once: closing a
// handle leaves its objrefs as they are, and needs no walk over them. While objrefs are
// being merged an estimate may be too high. Deaths are told at once if the owner drops
// the last user, or has closed or given the objref up; otherwise when the owner is
// flushed or closed after the decrement, an idle owner too, or at the barrier. Wait-free, but for a short
// lock, which a 64th of the handles share: to open, flush and close a handle, and to queue
// an objref, once in its life. The shared word saturates for ever; the sum is not seen
// beyond 2^31-1, and saturates when it is merged, for which an objref is queued in time.
//
// Memory: 12 bytes for each objref, 8 more than [Atomic]; about 160 for each handle, and
// 4 KiB. Good where most objects are counted by the thread that found them first; bad at
// objects that are hot on many threads, where it is [Atomic] with two more loads, the first
// from a line that the owner writes all the time.
// The first 2^31 handles can own; later ones count in the shared words.
type Biased struct{}

// Name implements [Strategy].
func (Biased) Name() string { return "biased" }

// Traits implements [Strategy].
func (Biased) Traits() Traits {
	return Traits{
		Summary: "plain adds by the handle that counts an object first, locked ones by others (PACT 2018, PEP 703)",
		Zero:    AtFlush, PerObject: 12, PerHandle: biasedHandleBytes + mailboxBytes,
	}
}

// New implements [Strategy]. The counter's handles are of type *[BiasedHandle].
func (Biased) New(c Config) (Counter, error) {
	a := c.arena()
	b := &biasedCounter{shared: region.NewArray[uint32](a), biases: region.NewArray[uint64](a), zero: c.Zero}
	return b, a.Charge(mailboxesBytes)
}

// bias is who owns an objref, and the owner's count of it.
type bias struct {
	// owner goes through these states, from the left to the right:
	//
	//	nobody -> a handle's id -> queued, plus the next objref in the mailbox -> merged
	//
	// with or without those in the middle. A handle's own operations go on from the id;
	// an id becomes queued for one thread only, which is the one that brings the objref
	// to the mailbox, or merges it if that is closed.
	owner uint32

	// local is written by the owner alone, and only while owner is its id; then it is 1 at
	// least, so that an objref with an owner can only be without users if the shared word
	// is below 0. It counts until it is merged.
	local uint32
}

const (
	nobody   = 0
	idMax    = 1<<31 - 3
	closedID = 1<<31 - 2 // of handles that do not own; never in a bias
	merged   = 1<<31 - 1
	queued   = 1 << 31

	// At localMax the owner carries half to the shared word. So that is never below
	// -localMax, far from the zones of dead and saturated words.
	localMax = 1 << 27

	// An objref whose shared word is larger is queued, for the sum may be too large.
	sharedMax = countMax - localMax

	mailboxes         = 64
	mailboxesBytes    = mailboxes * 64
	mailboxBytes      = 32 // of one id, in a map
	biasedHandleBytes = 128
)

type biasedCounter struct {
	// A shared word may be below 0 until it is merged: values from belowZeroMin on are
	// that, and not a bug of the caller's.
	shared *region.Array[uint32]
	biases *region.Array[uint64]
	zero   func(int32)

	ids  atomic.Uint64 // that were given out
	open atomic.Int64  // handles

	mail [mailboxes]mailbox // by id
}

// mailbox tells which handles are open, and the objref that was queued to each last, 0 if
// there is none. The others are in a list, from owner to owner.
type mailbox struct {
	sync.Mutex
	last map[uint32]int32
	_    [64 - 8 - unsafe.Sizeof(uintptr(0))]byte
}

func (c *biasedCounter) box(id uint32) *mailbox { return &c.mail[id%mailboxes] }

// bias returns that of an objref that has room.
func (c *biasedCounter) bias(ref int32) *bias { return biasIn(c.biases.Made(uint32(ref))) }

func biasIn(element *uint64) *bias {
	// Same as: *element, in two halves.
	// Safety: a bias has the size of an element, and needs no more alignment.
	return (*bias)(unsafe.Pointer(element))
}

// Grow implements [Counter].
func (c *biasedCounter) Grow(first, last int32) error {
	if err := c.biases.Grow(uint32(first), uint32(last)); err != nil {
		return err
	}
	return c.shared.Grow(uint32(first), uint32(last))
}

// Bytes implements [Counter].
func (c *biasedCounter) Bytes() int64 {
	return c.shared.Bytes() + c.biases.Bytes() + mailboxesBytes + c.open.Load()*(biasedHandleBytes+mailboxBytes)
}

// Count implements [Counter].
func (c *biasedCounter) Count(ref int32) int64 {
	if ref <= 0 {
		return 0
	}
	element, w := c.biases.At(uint32(ref)), c.shared.At(uint32(ref))
	if element == nil || w == nil {
		return 0
	}
	b := biasIn(element)
	for {
		owner := atomic.LoadUint32(&b.owner)
		local := atomic.LoadUint32(&b.local)
		v := atomic.LoadUint32(w)
		// Users may move from one to the other. The estimate shall rather be too high.
		local = max(local, atomic.LoadUint32(&b.local))
		// Ordering: pairs with the merge. Local is in the shared word before owner says
		// so; if owner is the same before and after, local counts or not, as it says.
		// Owner changes four times at most, so this ends.
		if atomic.LoadUint32(&b.owner) != owner {
			continue
		}
		if v > countMax && v < belowZeroMin {
			return wordCount(v)
		}
		sum := int64(int32(v))
		if owner != merged {
			sum += int64(local)
		}
		return min(max(sum, 0), countMax)
	}
}

// Barrier implements [Counter]. It merges what is queued.
func (c *biasedCounter) Barrier() {
	var died []int32
	for i := range c.mail {
		m := &c.mail[i]
		m.Lock()
		for id, last := range m.last {
			m.last[id] = 0
			died = c.mergeList(died, last)
		}
		m.Unlock()
	}
	tell(c.zero, died...)
}

// mergeList merges a mailbox's list, and appends what died of that.
func (c *biasedCounter) mergeList(died []int32, ref int32) []int32 {
	for ref != 0 {
		next := int32(atomic.LoadUint32(&c.bias(ref).owner) &^ queued)
		if c.merge(ref) {
			died = append(died, ref)
		}
		ref = next
	}
	return died
}

// merge adds the owner's count of ref to the shared word, for ever, and returns true if
// ref died of that. The caller is the owner, who has ref in its mailbox; or at a barrier,
// or the owner has closed and the caller made it queued.
func (c *biasedCounter) merge(ref int32) bool {
	b := c.bias(ref)
	addShared(c.shared.Made(uint32(ref)), int32(b.local))
	// Ordering: pairs with the load of owner in review. Who sees merged finds the owner's
	// count in the shared word, so if that is 0 there are no users; who sees less has
	// changed the shared word before that is looked at here.
	atomic.StoreUint32(&b.owner, merged)
	return c.settle(ref)
}

// settle makes ref, which is merged, dead if it has no users, and returns true if it
// was that.
//
// Ordering: the step that makes the word dead succeeds for one thread only, and not after
// a TryInc.
func (c *biasedCounter) settle(ref int32) bool {
	w := c.shared.Made(uint32(ref))
	mendBelowZero(w)
	return c.zero != nil && atomic.CompareAndSwapUint32(w, 0, deadWord)
}

// mendBelowZero is for words that were decremented too often.
func mendBelowZero(w *uint32) {
	for v := atomic.LoadUint32(w); v >= belowZeroMin; v = atomic.LoadUint32(w) {
		atomic.CompareAndSwapUint32(w, v, 0)
	}
}

// inc adds one to the shared word of ref, and returns false if that is dead.
func (c *biasedCounter) inc(ref int32) bool {
	w := c.shared.Made(uint32(ref))
	v := atomic.AddUint32(w, 1)
	switch {
	case v <= sharedMax, v >= belowZeroMin:
		return true
	case v <= countMax:
		c.review(ref, v) // which does not die, as it has a user
		return true
	}
	return mendWord(w, v)
}

// dec takes one off the shared word of ref, and returns true if ref died of that.
func (c *biasedCounter) dec(ref int32) bool {
	w := c.shared.Made(uint32(ref))
	switch v := atomic.AddUint32(w, ^uint32(0)); {
	case v == 0:
		return c.review(ref, v)
	case v <= countMax:
		return false
	case v < belowZeroMin:
		mendWord(w, v)
		return false
	default:
		if int32(v) < -localMax {
			// As many decrements too many; more would lead to the dead.
			atomic.AddUint32(w, 1)
		}
		return c.review(ref, v)
	}
}

// review does what is to be done when ref's shared word was made v, 0 or less or more than
// sharedMax, and returns true if ref died of that.
//
// Ordering: the load of owner comes after the add to the shared word. It pairs with the
// steps that make owner merged, in merge and drop.
func (c *biasedCounter) review(ref int32, v uint32) bool {
	b := c.bias(ref)
	for {
		owner := atomic.LoadUint32(&b.owner)
		switch {
		case owner == merged:
			return c.settle(ref)
		case owner == nobody:
			mendBelowZero(c.shared.Made(uint32(ref)))
			return false
		case v == 0, owner&queued != 0:
			return false // the owner has a user, or will see to it
		}
		// Ordering: pairs with that in drop; one of the two succeeds.
		if atomic.CompareAndSwapUint32(&b.owner, owner, queued) {
			return !c.queue(ref, owner) && c.merge(ref)
		}
	}
}

// queue brings ref, which the caller made queued, to the mailbox of id, its owner. It
// returns false if that handle is closed.
//
// Ordering: pairs with Close under the same lock. If this comes first, Close finds ref. If
// Close does, what the owner has counted happened before, and nobody else merges ref: for
// Close only merges what is in the mailbox, and the owner has no id any more.
func (c *biasedCounter) queue(ref int32, id uint32) bool {
	m := c.box(id)
	m.Lock()
	defer m.Unlock()
	last, open := m.last[id]
	if open {
		atomic.StoreUint32(&c.bias(ref).owner, queued|uint32(last))
		m.last[id] = ref
	}
	return open
}

// Handle implements [Counter].
func (c *biasedCounter) Handle() Handle {
	c.open.Add(1)
	h := &BiasedHandle{counter: c, biases: c.biases, id: closedID, open: true}
	// Ids are not used twice: those of closed handles stay with what they own.
	if n := c.ids.Add(1); n <= idMax {
		h.id = uint32(n)
		m := c.box(h.id)
		m.Lock()
		if m.last == nil {
			m.last = make(map[uint32]int32)
		}
		m.last[h.id] = 0
		m.Unlock()
	}
	return h
}

// BiasedHandle is a handle of [Biased].
type BiasedHandle struct {
	counter *biasedCounter
	biases  *region.Array[uint64] // the counter's
	id      uint32
	open    bool
	// 128 bytes in all, so that no two handles share a cache line, or a pair of lines.
	_ [biasedHandleBytes - 2*unsafe.Sizeof(uintptr(0)) - 8]byte
}

// Inc implements [Handle].
func (h *BiasedHandle) Inc(ref int32) { h.TryInc(ref) }

// TryInc implements [Handle].
func (h *BiasedHandle) TryInc(ref int32) bool {
	b := biasIn(h.biases.Made(uint32(ref)))
	// Ordering: none is needed. Nobody but this handle makes owner its id, or writes local
	// while it is; if ref becomes queued now, it is merged when this handle is not in use.
	if atomic.LoadUint32(&b.owner) == h.id {
		n := b.local + 1
		if n == localMax {
			n = h.carry(ref)
		}
		storeOwn(&b.local, n)
		return true
	}
	return h.claim(ref) || h.counter.inc(ref)
}

// claim makes this handle the owner of ref and counts a user, if nobody has counted it
// yet. A handle that cannot own makes it merged.
func (h *BiasedHandle) claim(ref int32) bool {
	b := h.counter.bias(ref)
	if atomic.LoadUint32(&b.owner) != nobody {
		return false
	}
	if h.id == closedID {
		atomic.CompareAndSwapUint32(&b.owner, nobody, merged)
		return false
	}
	if !atomic.CompareAndSwapUint32(&b.owner, nobody, h.id) {
		return false
	}
	storeOwn(&b.local, 1)
	return true
}

// carry takes half of the owner's count, localMax, to the shared word, and returns the
// other half.
func (h *BiasedHandle) carry(ref int32) uint32 {
	w := h.counter.shared.Made(uint32(ref))
	addShared(w, localMax/2)
	if v := atomic.LoadUint32(w); v > sharedMax && v <= countMax {
		h.counter.review(ref, v) // which brings it to this handle's own mailbox
	}
	return localMax / 2
}

// Dec implements [Handle].
func (h *BiasedHandle) Dec(ref int32) {
	b := biasIn(h.biases.Made(uint32(ref)))
	// Ordering: as in TryInc.
	if atomic.LoadUint32(&b.owner) == h.id {
		n := b.local - 1
		storeOwn(&b.local, n)
		if n == 0 {
			h.drop(ref)
		}
		return
	}
	if c := h.counter; c.dec(ref) {
		c.zero(ref)
	}
}

// drop merges ref, which the owner has no users of any more.
func (h *BiasedHandle) drop(ref int32) {
	c := h.counter
	// Ordering: pairs with review, as the store in merge does. It fails if ref is queued:
	// then it will be merged with the mailbox.
	if atomic.CompareAndSwapUint32(&c.bias(ref).owner, h.id, merged) && c.settle(ref) {
		c.zero(ref)
	}
}

// Flush implements [Handle]. It merges what is queued.
func (h *BiasedHandle) Flush() {
	if h.id == closedID {
		return
	}
	m := h.counter.box(h.id)
	m.Lock()
	last := m.last[h.id]
	m.last[h.id] = 0
	m.Unlock()
	tell(h.counter.zero, h.counter.mergeList(nil, last)...)
}

// Close implements [Handle].
func (h *BiasedHandle) Close() {
	if !h.open {
		return
	}
	h.open = false
	h.counter.open.Add(-1)
	if h.id == closedID {
		return
	}
	m := h.counter.box(h.id)
	m.Lock()
	last := m.last[h.id]
	delete(m.last, h.id)
	m.Unlock()
	h.id = closedID
	tell(h.counter.zero, h.counter.mergeList(nil, last)...)
}
