package refcount

import (
	"sync"
	"sync/atomic"

	"github.com/objhash/objhash/internal/region"
)

// Refcache keeps deltas in a small cache of the handle's own, adds them to the shared
// counts when it is flushed, and finds the dead by epochs.
//
// A handle's cache has 512 entries, one for each objref modulo 512; an objref that needs
// an entry evicts the one that is there, and every 4096 operations, or when [Handle].Flush
// asks for it, all are evicted. The epoch ends when every open handle has been flushed in
// it. A shared count that becomes 0 need not be a true 0, so it is reviewed: if it is 0
// still when two epochs have ended since the last delta came in, every handle has been
// flushed since and had none. Then nobody has a user, and the objref dies.
//
// Source: Refcache, in "RadixVM: Scalable Address Spaces for Multithreaded Applications"
// (Clements, Kaashoek, Zeldovich, EuroSys 2013). There a flag says that a count in review
// has been touched; here it is the epoch of the last touch, so that a review which has to
// be repeated need not wait for two epochs more.
//
// Fast path: one plain add, in 4 KiB that stay in the cache. Exact at flush. Deaths are
// told when every open handle has been flushed three times, each round after the one
// before; so an idle open handle holds all deaths back, until it is closed or the barrier
// comes. Without open handles deaths are told at once. Whichever handle is flushed
// reviews all that is due. Lock-free, but for a short lock with each flush, and with each
// operation of a closed handle. Memory: 8 bytes for each objref, 4 more if deaths are
// told, and a bit more than 4 KiB for each handle. Good at hot objects, and at pairs of
// Inc and Dec of objects that others hold, which cost no write to shared memory at all;
// bad at scattered ones, where each operation evicts, and at short-lived ones, which must
// be reviewed.
type Refcache struct{}

const (
	refcacheEntries     = 512
	refcachePeriod      = 4096 // operations between flushes
	refcacheCacheBytes  = refcacheEntries * 8
	refcacheHandleBytes = 128
)

// Name implements [Strategy].
func (Refcache) Name() string { return "refcache" }

// Traits implements [Strategy].
func (Refcache) Traits() Traits {
	return Traits{
		Summary: "a cache of 512 deltas for each handle; zeros are reviewed two epochs later (RadixVM)",
		Exact:   AtFlush, Zero: AtEpoch, Behind: refcachePeriod,
		PerObject: 12, PerHandle: refcacheHandleBytes + refcacheCacheBytes,
	}
}

// New implements [Strategy].
func (Refcache) New(c Config) (Counter, error) {
	a := c.arena()
	return &refcacheCounter{
		words: region.NewArray[uint64](a), next: region.NewArray[uint32](a), zero: c.Zero,
	}, nil
}

// A shared count is a word, layout version 1:
//
//	63                            16 15               2     1      0
//	┌───────────────────────────────┬──────────────────┬────────┬──────┐
//	│ count, signed                 │ stamp            │ review │ dead │
//	└───────────────────────────────┴──────────────────┴────────┴──────┘
//
//	count   the deltas that have come in: below 0 if a decrement overtook its increment
//	stamp   in review: the epoch of the last touch, modulo 2^14; otherwise 0
//	review  on one review queue, once
//	dead    for ever; the rest is 0 then
//
// 2^47 users would wrap. Without a Zero all but the count is 0.
//
// A count that is not above 0 and has been touched is in review or dead. To touch is to
// evict an entry, even of delta 0, or to succeed with TryInc: it puts the present epoch in
// the stamp of a word in review. The reviewer's compare-and-swap from (0, stamp, review) to
// dead comes when the epoch is stamp+2 or later.
//
// Why the dead are dead. Let a word be 0 when it is touched last, with stamp s. It was no
// later than epoch s (evict sees to it). Every handle that was open then has been flushed
// in epoch s+1, so after it, and evicted nothing of this objref, or there would be a later
// touch. So no handle had an entry, and the word was the true count. From 0 there is only
// TryInc, which is a touch. (If the word is below 0, so is the true count: decrements too
// many, which make it 0.)
//
// Why entries of delta 0 are evicted too. H2 has the only user, which is in the word:
//
//	epoch e    H3 is flushed, then takes a user: H3 has +1
//	           H2 drops its user and is flushed: the word is 0, in review from e on
//	epoch e+1  H4 is flushed
//	           H4 takes a user, H3 drops its own: H4 has +1, H3 has 0
//	           H3 and H2 are flushed
//	epoch e+2  the word is 0, and H4 has a user
//
// H4's +1 comes too late, in e+2. H3's 0 is all that tells of it.
const (
	refcacheDead       = 1 << 0
	refcacheReview     = 1 << 1
	refcacheStampShift = 2
	refcacheStamp      = 1<<refcacheCountShift - 1<<refcacheStampShift
	refcacheCountShift = 16
)

func refcacheCount(v uint64) int64 { return int64(v) >> refcacheCountShift }

// refcacheAge returns how many epochs before epoch v was touched. The stamp is of no later
// epoch if v was loaded first. Modulo 2^14 it can only be too low, and the review then waits.
func refcacheAge(epoch, v uint64) uint64 {
	return (epoch - v>>refcacheStampShift) & (refcacheStamp >> refcacheStampShift)
}

type refcacheCounter struct {
	words *region.Array[uint64]
	next  *region.Array[uint32] // links the review queues, if deaths are told
	zero  func(int32)

	// epoch moves on under mu, and by one only when every open handle has been flushed in
	// it. Thus it is that of a handle's last flush, or the one after, while that handle
	// is open and at work.
	epoch  atomic.Uint64
	caches atomic.Int64

	mu      sync.Mutex
	open    []*RefcacheHandle
	waiting int // open handles that have not been flushed in the epoch
	queues  refcacheQueues
}

// refcacheList is a list of objrefs in review, or dead and to be told, linked by
// refcacheCounter.next. Who has the list has its links: nobody else puts an objref on a
// list as long as it is in review.
type refcacheList struct{ first, last int32 } // 0: none

// refcacheQueues are objrefs in review, by the epoch modulo 4 in which they were touched
// when that was looked at last.
type refcacheQueues [4]refcacheList

func (q *refcacheQueues) of(epoch uint64) *refcacheList { return &q[epoch%4] }

func (c *refcacheCounter) push(l *refcacheList, ref int32) {
	c.join(l, &refcacheList{ref, ref})
}

func (c *refcacheCounter) pop(l *refcacheList) int32 {
	ref := l.first
	if ref == l.last {
		*l = refcacheList{}
	} else {
		l.first = int32(*c.next.Made(uint32(ref)))
	}
	return ref
}

// join moves all of from to the end of to.
func (c *refcacheCounter) join(to, from *refcacheList) {
	switch {
	case from.first == 0:
		return
	case to.first == 0:
		*to = *from
	default:
		*c.next.Made(uint32(to.last)) = uint32(from.first)
		to.last = from.last
	}
	*from = refcacheList{}
}

func (c *refcacheCounter) joinAll(to, from *refcacheQueues) {
	for i := range from {
		c.join(&to[i], &from[i])
	}
}

// Grow implements [Counter].
func (c *refcacheCounter) Grow(first, last int32) error {
	if c.zero != nil {
		if err := c.next.Grow(uint32(first), uint32(last)); err != nil {
			return err
		}
	}
	return c.words.Grow(uint32(first), uint32(last))
}

// Count implements [Counter].
func (c *refcacheCounter) Count(ref int32) int64 {
	if ref <= 0 {
		return 0
	}
	w := c.words.At(uint32(ref))
	if w == nil {
		return 0
	}
	return min(max(refcacheCount(atomic.LoadUint64(w)), 0), countMax)
}

// Bytes implements [Counter].
func (c *refcacheCounter) Bytes() int64 {
	c.mu.Lock()
	open := len(c.open)
	c.mu.Unlock()
	return c.words.Bytes() + c.next.Bytes() + int64(open)*refcacheHandleBytes + c.caches.Load()*refcacheCacheBytes
}

// Barrier implements [Counter]. All caches are empty, so a count of 0 is a true 0.
func (c *refcacheCounter) Barrier() {
	if c.zero == nil {
		return
	}
	c.mu.Lock()
	epoch := c.epoch.Add(2)
	c.waiting = len(c.open)
	var due refcacheList
	for _, h := range c.open {
		h.flushed = epoch - 1
	}
	for i := range c.queues {
		c.join(&due, &c.queues[i])
	}
	died := c.judge(&due, &c.queues)
	c.mu.Unlock()
	c.tellList(&died)
}

// judge empties due, whose objrefs are in review: it returns those that die, moves those
// touched too lately to young, and takes those with users out of review.
//
// Ordering: the compare-and-swap competes with touches of the same word. If it comes first,
// the other finds the objref dead, or not in review; if it comes second, it fails, and the
// word is looked at again.
func (c *refcacheCounter) judge(due *refcacheList, young *refcacheQueues) (died refcacheList) {
	for due.first != 0 {
		ref := c.pop(due)
		w := c.words.Made(uint32(ref))
		for {
			v := atomic.LoadUint64(w)
			if refcacheCount(v) > 0 {
				if atomic.CompareAndSwapUint64(w, v, v&^(refcacheStamp|refcacheReview)) {
					break
				}
				continue
			}
			// Ordering: after the load of v, for refcacheAge.
			epoch := c.epoch.Load()
			if age := refcacheAge(epoch, v); age < 2 {
				c.push(young.of(epoch-age), ref)
				break
			}
			if atomic.CompareAndSwapUint64(w, v, refcacheDead) {
				c.push(&died, ref)
				break
			}
		}
	}
	return died
}

// tellList is [tell] for a list, which needs no memory.
func (c *refcacheCounter) tellList(died *refcacheList) {
	defer func() {
		if died.first != 0 {
			c.tellList(died)
		}
	}()
	for died.first != 0 {
		c.zero(c.pop(died))
	}
}

// advance ends the epoch if no open handle has to be flushed in it any more. mu is held.
func (c *refcacheCounter) advance() {
	switch {
	case len(c.open) == 0:
		// Nobody has a cache, so what is in review is due. A handle that is closed
		// evicts under mu, so it is not between the load of the epoch and the touch.
		c.epoch.Add(2)
	case c.waiting == 0:
		// Ordering: pairs with the loads in evict and flush. Who loads the new epoch begins
		// after all flushes of the old one are done.
		c.epoch.Add(1)
		c.waiting = len(c.open)
	}
}

// Handle implements [Counter].
func (c *refcacheCounter) Handle() Handle {
	h := &RefcacheHandle{counter: c, left: refcachePeriod}
	c.mu.Lock()
	defer c.mu.Unlock()
	// An empty cache is as good as one flushed in this epoch.
	h.flushed = c.epoch.Load()
	h.index = len(c.open)
	c.open = append(c.open, h)
	return h
}

// refcacheEntry holds back delta users of ref; all 0: nothing.
type refcacheEntry struct{ ref, delta int32 }

// RefcacheHandle is a handle of [Refcache].
type RefcacheHandle struct {
	counter   *refcacheCounter
	cache     *[refcacheEntries]refcacheEntry // nil: not used yet, or closed
	left      int32                           // operations until the next flush
	closed    bool
	reviewing bool
	refused   bool // memory for a cache, since the last flush

	fresh refcacheQueues // came into review here
	due   refcacheList   // to be judged

	// Guarded by refcacheCounter.mu.
	flushed uint64 // the epoch of the last flush
	index   int    // in refcacheCounter.open

	// 128 bytes in all, so that no two handles share a cache line.
	_ [48]byte
}

// Inc implements [Handle].
func (h *RefcacheHandle) Inc(ref int32) { h.add(ref, 1) }

// Dec implements [Handle].
func (h *RefcacheHandle) Dec(ref int32) { h.add(ref, -1) }

// TryInc implements [Handle].
//
// Ordering: let the word be in review, and the handle have been flushed in epoch m last. Its
// entry comes in with the flush in m+1, after which the epoch can be m+2. If the stamp is
// m or later, the review is not before that. Otherwise the stamp changes here, and competes
// with the reviewer's compare-and-swap: if that comes first, the objref is dead; if it
// comes second, it fails, and finds the new stamp. If the word is not in review yet, its
// stamp will be m or later.
func (h *RefcacheHandle) TryInc(ref int32) bool {
	c := h.counter
	if h.closed {
		return h.addClosed(ref, 1)
	}
	if c.zero != nil {
		for w := c.words.Made(uint32(ref)); ; {
			v := atomic.LoadUint64(w)
			if v&refcacheDead != 0 {
				return false
			}
			if v&refcacheReview == 0 {
				break
			}
			stamped := stamp(v, c.epoch.Load())
			if stamped == v || atomic.CompareAndSwapUint64(w, v, stamped) {
				break
			}
		}
	}
	h.add(ref, 1)
	return true
}

// stamp returns v in review and touched in epoch.
func stamp(v, epoch uint64) uint64 {
	return v&^refcacheStamp | epoch<<refcacheStampShift&refcacheStamp | refcacheReview
}

func (h *RefcacheHandle) add(ref, n int32) {
	if h.cache == nil {
		if h.closed {
			h.addClosed(ref, n)
			return
		}
		if h.refused || h.counter.words.Arena().Charge(refcacheCacheBytes) != nil {
			h.refused = true // not to ask each time
			h.evict(ref, n)
			h.tick(n)
			return
		}
		h.cache = new([refcacheEntries]refcacheEntry)
		h.counter.caches.Add(1)
	}
	e := &h.cache[uint32(ref)%refcacheEntries]
	if e.ref != ref {
		if e.ref != 0 {
			h.evict(e.ref, e.delta)
		}
		*e = refcacheEntry{ref: ref}
	}
	e.delta += n
	h.tick(n)
}

// tick flushes the handle now and then. Whoever adds users is not told of deaths, for it
// may be in the middle of something: it leaves that to the next one that takes users off.
func (h *RefcacheHandle) tick(n int32) {
	if h.left--; h.left == 0 {
		h.flush(n < 0)
	}
}

// addClosed adds n to the count of ref, and returns false if that is dead.
func (h *RefcacheHandle) addClosed(ref, n int32) bool {
	c := h.counter
	if c.zero == nil {
		return h.evict(ref, n)
	}
	alive := func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		alive := h.evict(ref, n)
		h.handOver()
		c.advance()
		if n < 0 {
			h.takeDue()
		}
		return alive
	}()
	if n < 0 {
		h.review()
	}
	return alive
}

// evict adds n, which may be 0, to the count of ref, touches it, and puts it in review if
// it is 0 now, or below. It returns false if ref is dead.
func (h *RefcacheHandle) evict(ref, n int32) bool {
	c := h.counter
	w := c.words.Made(uint32(ref))
	if c.zero == nil {
		// Ordering: none is needed; the sum is read at a barrier of the caller's, or as
		// an estimate.
		atomic.AddUint64(w, uint64(n)<<refcacheCountShift)
		return true
	}
	for {
		v := atomic.LoadUint64(w)
		if v&refcacheDead != 0 {
			return false
		}
		next, epoch := v+uint64(n)<<refcacheCountShift, uint64(0)
		if v&refcacheReview != 0 || refcacheCount(next) <= 0 {
			epoch = c.epoch.Load()
			next = stamp(next, epoch)
		}
		if next == v {
			return true // nothing to add, and touched in this epoch if in review
		}
		if !atomic.CompareAndSwapUint64(w, v, next) {
			continue
		}
		if v&refcacheReview == 0 && next&refcacheReview != 0 {
			c.push(h.fresh.of(epoch), ref)
		}
		// Ordering: pairs with the step of advance. If the epoch has not changed, the stamp
		// is that of the touch. If it has, the stamp is too old: a handle may have been
		// flushed in the new epoch before the touch, and have an entry since, and the
		// review would not wait for its next flush; so touch again. No review comes in
		// between: it needs this handle's next flush, or mu, if the handle is closed.
		if next&refcacheReview == 0 || c.epoch.Load() == epoch {
			return true
		}
		n = 0
	}
}

func (h *RefcacheHandle) evictAll() {
	if h.left == refcachePeriod {
		return
	}
	h.left, h.refused = refcachePeriod, false
	if h.cache == nil {
		return
	}
	for i, e := range h.cache {
		if e.ref != 0 {
			h.cache[i] = refcacheEntry{}
			h.evict(e.ref, e.delta)
		}
	}
}

// Flush implements [Handle].
func (h *RefcacheHandle) Flush() { h.flush(true) }

// flush evicts everything, and reviews what is due if it may tell of deaths.
func (h *RefcacheHandle) flush(tells bool) {
	c := h.counter
	// Ordering: before the entries are evicted: the flush must begin in its epoch.
	epoch := c.epoch.Load()
	h.evictAll()
	if c.zero == nil {
		return
	}
	c.mu.Lock()
	if !h.closed && h.flushed < epoch {
		h.flushed = epoch // and the epoch is that still: it waits for this handle
		c.waiting--
	}
	h.handOver()
	c.advance()
	if tells {
		h.takeDue()
	}
	c.mu.Unlock()
	if tells {
		h.review()
	}
}

// Close implements [Handle].
func (h *RefcacheHandle) Close() {
	if h.closed {
		h.Flush()
		return
	}
	c := h.counter
	h.evictAll()
	if h.cache != nil {
		h.cache = nil
		c.caches.Add(-1)
		c.words.Arena().Discharge(refcacheCacheBytes)
	}
	c.mu.Lock()
	h.closed = true
	if h.flushed < c.epoch.Load() {
		c.waiting--
	}
	last := c.open[len(c.open)-1]
	c.open[h.index], last.index = last, h.index
	c.open[len(c.open)-1] = nil
	c.open = c.open[:len(c.open)-1]
	h.handOver()
	c.advance()
	h.takeDue()
	c.mu.Unlock()
	h.review()
}

// handOver puts what came into review here where all handles take it. mu is held.
func (h *RefcacheHandle) handOver() { h.counter.joinAll(&h.counter.queues, &h.fresh) }

// takeDue takes what can be judged. mu is held.
func (h *RefcacheHandle) takeDue() {
	c := h.counter
	// Two epochs ago or three: nothing is older, because with each end of an epoch the
	// older ones are taken, and two end at once only without open handles.
	epoch := c.epoch.Load()
	c.join(&h.due, c.queues.of(epoch-2))
	c.join(&h.due, c.queues.of(epoch-3))
}

// review judges what is due and tells who died, until nothing is due. If it is called by
// who is told, it leaves that to the call that tells.
func (h *RefcacheHandle) review() {
	if h.reviewing {
		return
	}
	c := h.counter
	h.reviewing = true
	defer func() {
		h.reviewing = false
		if h.due.first != 0 { // a panic; a barrier must find them
			c.mu.Lock()
			c.join(c.queues.of(c.epoch.Load()-2), &h.due)
			c.mu.Unlock()
		}
	}()
	for h.due.first != 0 {
		died := c.judge(&h.due, &h.fresh)
		c.mu.Lock()
		// What was too young may be due by now. If not, the Flush that ends the epoch
		// finds it in the queues.
		h.handOver()
		h.takeDue()
		c.mu.Unlock()
		c.tellList(&died)
	}
}
