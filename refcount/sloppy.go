package refcount

import (
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/objhash/objhash/internal/region"
)

// Sloppy takes users from a central count in batches: a handle that needs one takes 8,
// and has 7 spares for its next increments; a decrement makes a spare again.
//
// Source: the sloppy counters of Boyd-Wickizer, Clements, Mao, Pesterev, Kaashoek,
// Morris, Zeldovich: An Analysis of Linux Scalability to Many Cores (OSDI 2010), for the
// reference counts of dentries and mounts.
//
// A central word is the true count and all spares, so a spare is a user as good as any:
// it keeps the object from dying. If the central word is 0, there are neither users nor
// spares, and the objref is dead.
//
// Fast path: one plain add to a byte of the handle's own. A handle has at most 16 spares
// of an objref, and gives 8 back when there would be more; so a thread that takes users
// and drops them again by turns never comes to the central word. Flush and Close give
// all spares back, without looking at the objrefs that have none.
//
// Exact at flush: a count is the central word less all spares. While others count, it may
// be off by the spares that are on their way, 16 at most for each open handle; a read
// looks at all arrays. Deaths are told by the flush that gives the last spare back.
// Increments are wait-free, decrements lock-free, but for the lock with which a handle
// takes or gives back its array, or makes room in it. A central word saturates for ever;
// spares may make that happen early, by 16 for each open handle.
//
// Memory: 4 bytes for each objref; 1 1/32 more for each handle that is open at the same
// time, up to the largest objref it counts; 2.2 KiB for each handle. If the arena refuses
// that, the handle counts in the central words alone. Good at hot objects, above all at
// those that come and go on the same thread; bad where each object is counted once or
// twice before a flush, for then it has all the work of [Atomic] twice, and where many
// handles are open with many objects, for the memory.
type Sloppy struct{}

const (
	batch     = 8
	sparesMax = 2 * batch // of one objref in one handle

	// From here on a central word is counted up one by one, so that what saturates is
	// users, not spares. 2^17 threads would have to be between the look and the add to
	// get beyond the end all the same.
	batchMax = countMax - 1<<20
)

// Name implements [Strategy].
func (Sloppy) Name() string { return "sloppy" }

// Traits implements [Strategy].
func (Sloppy) Traits() Traits {
	return Traits{
		Summary: "spare users in byte arrays of the handle's own, from a shared word in batches of 8 (OSDI 2010)",
		Exact:   AtFlush, Zero: AtFlush, Behind: sparesMax,
		PerObject: 4, PerObjectHandle: 1 + 1./32,
		PerHandle: sloppyHandleBytes + sparesBytes,
	}
}

// New implements [Strategy]. The counter's handles are of type *[SloppyHandle].
func (Sloppy) New(c Config) (Counter, error) { return &sloppyCounter{words: newWords(c)}, nil }

// sloppyCounter has the central words.
//
// A central word is never less than the users and the spares that can be seen: users are
// added to it before they become spares, and taken off it after they were.
type sloppyCounter struct {
	words
	open atomic.Int64 // handles

	mu   sync.Mutex
	free *spares                // that no handle has
	all  atomic.Pointer[spares] // that were made
}

// spares are the spares of one handle at a time, a byte for each objref. Its holder alone
// writes; others read the bytes, for Count.
type spares struct {
	// own has objref r in byte r%4, from the right, of word r/4.
	own *region.Array[uint32]

	// dirty tells which words of own may be other than 0, in groups of 33 words for
	// 4096 objrefs: bit i of the first says that there are bits in the one i+1 further
	// on, and bit j of that says that word j of those 32 is dirty.
	dirty *region.Array[uint32]

	room int32 // objrefs up to here have room

	next     *spares // in the list of all
	nextFree *spares // guarded by sloppyCounter.mu
}

const (
	groupLen   = 4096 // objrefs that a group of 33 words in spares.dirty is about
	groupWords = 33

	sloppyHandleBytes = 128
	sparesBytes       = int(unsafe.Sizeof(spares{}) + 2*unsafe.Sizeof(region.Array[uint32]{}))
)

// Count implements [Counter].
func (c *sloppyCounter) Count(ref int32) int64 {
	w := c.find(ref)
	if w == nil {
		return 0
	}
	before := atomic.LoadUint32(w)
	var sum int64
	for s := c.all.Load(); s != nil; s = s.next {
		if own := s.own.At(uint32(ref) / 4); own != nil {
			sum += int64(atomic.LoadUint32(own) >> (ref % 4 * 8) & 0xff)
		}
	}
	v := atomic.LoadUint32(w)
	if v > countMax {
		return wordCount(v)
	}
	if before <= countMax {
		// Spares come and go in between. The estimate shall rather be too high.
		v = max(v, before)
	}
	return max(int64(v)-sum, 0)
}

// Bytes implements [Counter].
func (c *sloppyCounter) Bytes() int64 {
	n := c.words.Bytes() + c.open.Load()*sloppyHandleBytes
	for s := c.all.Load(); s != nil; s = s.next {
		n += int64(sparesBytes) + s.own.Bytes() + s.dirty.Bytes()
	}
	return n
}

// take counts a user of ref in the central word, and returns how many spares come with
// it, and false if ref is dead.
//
// Ordering: pairs with the step in words.give that makes a word dead: there are neither
// users nor spares then. If the add comes first,
// the word is too large for that; if it comes second, it finds the word dead, and puts
// back what it was.
func (c *sloppyCounter) take(ref int32) (extra uint32, ok bool) {
	w := c.at(ref)
	if atomic.LoadUint32(w) >= batchMax {
		return 0, incWord(w)
	}
	if v := atomic.AddUint32(w, batch); v > countMax {
		return 0, mendWord(w, v)
	}
	return batch - 1, true
}

// borrow returns spares that no other handle has. They are empty.
func (c *sloppyCounter) borrow() *spares {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.free
	if s != nil {
		c.free = s.nextFree
		return s
	}
	a := c.array.Arena()
	if a.Charge(int64(sparesBytes)) != nil {
		return nil
	}
	s = &spares{own: region.NewArray[uint32](a), dirty: region.NewArray[uint32](a), next: c.all.Load()}
	// Ordering: pairs with the Load in Count, which sees whole spares.
	c.all.Store(s)
	return s
}

func (c *sloppyCounter) giveBack(s *spares) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.nextFree, c.free = c.free, s
}

// makeRoom makes room for objrefs up to last, if there is memory for it.
func (s *spares) makeRoom(last int32) bool {
	_, end := region.Segment(uint32(last) / 4)
	room := int32(min(int64(end)*4+3, math.MaxInt32))
	if s.own.Grow(0, end) != nil || s.dirty.Grow(0, uint32(room)/groupLen*groupWords+groupWords-1) != nil {
		return false
	}
	s.room = room
	return true
}

// at returns the word with the spares of ref, and how many bits up they are.
func (s *spares) at(ref int32) (*uint32, uint) {
	return s.own.Made(uint32(ref) / 4), uint(ref) % 4 * 8
}

// keep makes n spares of ref, of which there were none.
func (s *spares) keep(ref int32, n uint32) {
	w, shift := s.at(ref)
	storeOwn(w, *w+n<<shift)
	group, word := uint32(ref)/groupLen*groupWords, uint32(ref)/128%32
	if d, bit := s.dirty.Made(group+1+word), uint32(1)<<(ref/4%32); *d&bit == 0 {
		*d |= bit
		*s.dirty.Made(group) |= 1 << word
	}
}

// giveAll gives all spares back to c, and returns what died of that.
func (s *spares) giveAll(c *sloppyCounter) (died []int32) {
	if s.room == 0 {
		return nil
	}
	for group := range uint32(s.room)/groupLen + 1 {
		top := s.dirty.Made(group * groupWords)
		for i := *top; i != 0; i &= i - 1 {
			word := uint32(bits.TrailingZeros32(i))
			d := s.dirty.Made(group*groupWords + 1 + word)
			for j := *d; j != 0; j &= j - 1 {
				at := group*(groupLen/4) + word*32 + uint32(bits.TrailingZeros32(j))
				w := s.own.Made(at)
				had := *w
				storeOwn(w, 0)
				for k := int32(0); had != 0; k, had = k+1, had>>8 {
					if ref := int32(at*4) + k; had&0xff != 0 && c.give(ref, had&0xff) {
						died = append(died, ref)
					}
				}
			}
			*d = 0
		}
		*top = 0
	}
	return died
}

// Handle implements [Counter].
func (c *sloppyCounter) Handle() Handle {
	c.open.Add(1)
	return &SloppyHandle{counter: c}
}

// SloppyHandle is a handle of [Sloppy].
type SloppyHandle struct {
	counter *sloppyCounter
	spares  *spares               // nil: none needed yet, or closed
	own     *region.Array[uint32] // of spares
	room    int32                 // there, in objrefs; 0 without
	refused bool                  // there is no memory for more, as of the last flush
	closed  bool
	// 128 bytes in all, so that no two handles share a cache line, or a pair of lines.
	_ [sloppyHandleBytes - 3*unsafe.Sizeof(uintptr(0)) - 8]byte
}

// Inc implements [Handle].
func (h *SloppyHandle) Inc(ref int32) { h.TryInc(ref) }

// TryInc implements [Handle].
func (h *SloppyHandle) TryInc(ref int32) bool {
	if ref <= h.room {
		w, shift := h.own.Made(uint32(ref)/4), uint(ref)%4*8
		if v := *w; v>>shift&0xff != 0 {
			storeOwn(w, v-1<<shift)
			return true
		}
	}
	return h.take(ref)
}

func (h *SloppyHandle) take(ref int32) bool {
	if !h.reaches(ref) {
		return incWord(h.counter.at(ref))
	}
	extra, ok := h.counter.take(ref)
	if extra != 0 {
		h.spares.keep(ref, extra)
	}
	return ok
}

// Dec implements [Handle].
func (h *SloppyHandle) Dec(ref int32) {
	if ref <= h.room {
		w, shift := h.own.Made(uint32(ref)/4), uint(ref)%4*8
		if v := *w; v>>shift&0xff-1 < sparesMax-1 { // neither 0 nor full
			storeOwn(w, v+1<<shift)
			return
		}
	}
	h.put(ref)
}

// put takes a user off ref, of which the handle has no spares, or all that it may have.
func (h *SloppyHandle) put(ref int32) {
	c := h.counter
	give := uint32(1)
	if h.reaches(ref) {
		w, shift := h.spares.at(ref)
		if *w>>shift&0xff == 0 {
			// What has no users has no spares either, and what is saturated for ever
			// needs none.
			if v := atomic.LoadUint32(c.at(ref)); v != 0 && v <= countMax {
				h.spares.keep(ref, 1)
			}
			return
		}
		storeOwn(w, *w-(batch-1)<<shift)
		give = batch
	}
	if c.give(ref, give) {
		c.zero(ref)
	}
}

// reaches tells whether the handle can have spares of ref.
func (h *SloppyHandle) reaches(ref int32) bool {
	if ref <= h.room {
		return true
	}
	if h.closed || h.refused {
		return false
	}
	if h.spares == nil {
		s := h.counter.borrow()
		if s == nil {
			h.refused = true
			return false
		}
		h.spares, h.own, h.room = s, s.own, s.room
	}
	if ref > h.room {
		h.refused = !h.spares.makeRoom(ref)
		h.room = h.spares.room
	}
	return !h.refused
}

// Flush implements [Handle].
func (h *SloppyHandle) Flush() {
	h.refused = false
	if h.spares != nil {
		tell(h.counter.zero, h.spares.giveAll(h.counter)...)
	}
}

// Close implements [Handle].
func (h *SloppyHandle) Close() {
	if h.closed {
		return
	}
	h.closed = true
	h.counter.open.Add(-1)
	if s := h.spares; s != nil {
		died := s.giveAll(h.counter)
		h.spares, h.own, h.room = nil, nil, 0
		h.counter.giveBack(s)
		tell(h.counter.zero, died...)
	}
}
