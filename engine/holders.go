package engine

import (
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/objhash/objhash/internal/region"
)

// Who met what is kept in chunks of 32-bit words, one chunk for one handle at a time,
// as runs that follow each other, layout version 1:
//
//	 0        2          4        5
//	┌────────┬──────────┬────────┬────────┬────────┬─ ─ ┬────────┬─ ─
//	│ holder │ sequence │ length │ objref │ objref │    │ objref │ next run
//	└────────┴──────────┴────────┴────────┴────────┴─ ─ ┴────────┴─ ─
//	 low word first               └──────── length words ────────┘
//
// A run ends with SetHolder, with Close, or with its chunk. Its sequence number is
// greater than those of all runs that were begun before, in the whole context, so a
// chunk can go from handle to handle, and no run needs to know of another.
const (
	runHolder   = 0
	runSequence = 2
	runLength   = 4
	runHeader   = 5 // words before the objrefs

	chunkWordsMin = 64
	chunkWordsMax = 16 << 10 // 64 KiB

	// chunkExtra is what a chunk is charged beside its words: a holderChunk, and its
	// place in the lists.
	chunkExtra = 64
)

// holderBook is where a context keeps who met what.
type holderBook struct {
	tracked   bool
	arena     *region.Arena
	sequence  atomic.Uint64 // of the newest run
	mu        sync.Mutex
	chunks    []*holderChunk // all
	available []*holderChunk // of closed handles, with room for a run
}

// holderChunk is a chunk. The handle that has it alone writes, behind published.
type holderChunk struct {
	words     []uint32
	published atomic.Uint32 // so many words never change again
}

// run is the objrefs that one handle met in a row on behalf of one holder.
type run struct {
	holder uint64
	refs   []uint32
}

// take returns a chunk with room for a run: one that a handle has left, or a new one
// of the given number of words.
func (b *holderBook) take(words int) (*holderChunk, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.available); n > 0 {
		c := b.available[n-1]
		b.available = b.available[:n-1]
		return c, nil
	}
	if err := b.arena.Charge(chunkExtra); err != nil {
		return nil, err
	}
	p, err := b.arena.Alloc(uintptr(words) * 4)
	if err != nil {
		b.arena.Discharge(chunkExtra)
		return nil, err
	}
	// Same as: make([]uint32, words)
	// Safety: the span is that long, aligned, zeroed, and nobody else's.
	c := &holderChunk{words: unsafe.Slice((*uint32)(p), words)}
	b.chunks = append(b.chunks, c)
	return c, nil
}

// leave takes a chunk back from a handle that is being closed.
func (b *holderBook) leave(c *holderChunk) {
	if len(c.words)-int(c.published.Load()) <= runHeader {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.available = append(b.available, c)
}

// runs returns all runs that had been published when it was called, in sequence. Their
// objrefs are those in the book, not copies.
func (b *holderBook) runs() []run {
	runs := make([]run, b.sequence.Load())
	b.mu.Lock()
	chunks := b.chunks[:len(b.chunks):len(b.chunks)] // only ever appended to
	b.mu.Unlock()
	for _, c := range chunks {
		// Ordering: pairs with the Store in endRun: what is published was written before.
		placeRuns(runs, c.words[:c.published.Load()])
	}
	return slices.DeleteFunc(runs, func(r run) bool { return len(r.refs) == 0 })
}

// placeRuns puts the runs in words where they belong by their sequence numbers, which
// begin with 1. Whatever the words are (those of a context that is being closed may turn
// into zeros), it ends.
func placeRuns(runs []run, words []uint32) {
	for len(words) >= runHeader {
		n := int(min(words[runLength], uint32(len(words)-runHeader)))
		if i := long(words[runSequence:]) - 1; i < uint64(len(runs)) {
			runs[i] = run{long(words[runHolder:]), words[runHeader : runHeader+n]}
		}
		words = words[runHeader+n:]
	}
}

// walk returns all runs that have been published, in the order of a thread that walks
// one holder after the other: first those with a rank, from 0, then all others,
// ascending. It adds the ranks of the latter to ranks.
func (b *holderBook) walk(ranks map[uint64]int) []run {
	runs := b.runs()
	var unranked []uint64
	for _, r := range runs {
		if _, known := ranks[r.holder]; !known {
			ranks[r.holder] = -1
			unranked = append(unranked, r.holder)
		}
	}
	slices.Sort(unranked)
	for i, holder := range unranked {
		ranks[holder] = len(ranks) - len(unranked) + i
	}
	// A counting sort, which leaves each holder's runs in sequence.
	next := make([]int, len(ranks)+1)
	for _, r := range runs {
		next[ranks[r.holder]+1]++
	}
	for rank := range len(ranks) {
		next[rank+1] += next[rank]
	}
	sorted := make([]run, len(runs))
	for _, r := range runs {
		rank := ranks[r.holder]
		sorted[next[rank]] = r
		next[rank]++
	}
	return sorted
}

// holdersByObject returns the holders of all objects, of which it takes a copy. The copy
// has the holders of one objref next to each other, each as often as it met it.
func (c *Checkpoint) holdersByObject() holdersOf {
	var runs []run
	if c.holders.tracked {
		runs = c.holders.walk(map[uint64]int{})
	}
	end := uint32(0) // all objrefs are below
	for _, r := range runs {
		end = max(end, slices.Max(r.refs)+1)
	}
	// A counting sort by objref: ends[ref] is first where its holders begin, then where
	// they end.
	ends := make([]uint64, end+1)
	for _, r := range runs {
		for _, ref := range r.refs {
			ends[ref+1]++
		}
	}
	for ref := range end {
		ends[ref+1] += ends[ref]
	}
	ids := make([]uint64, ends[end])
	for _, r := range runs {
		for _, ref := range r.refs {
			ids[ends[ref]] = r.holder
			ends[ref]++
		}
	}
	return func(first, last ObjRef) iter.Seq2[ObjRef, []Holder] {
		return func(yield func(ObjRef, []Holder) bool) {
			var holders []Holder
			for ref := int64(first); ref <= int64(last) && ref < int64(end); ref++ {
				begin := uint64(0)
				if ref > 0 {
					begin = ends[ref-1]
				}
				// An objref that nobody met may have no record; a reserved one is no object.
				if begin == ends[ref] || !load(c.cell(ObjRef(ref))).isObject() {
					continue
				}
				holders = holders[:0]
				for _, id := range ids[begin:ends[ref]] {
					holders = addUser(holders, id)
				}
				if len(holders) > 0 && !yield(ObjRef(ref), holders) {
					return
				}
			}
		}
	}
}

func long(words []uint32) uint64 { return uint64(words[0]) | uint64(words[1])<<32 }

func putLong(words []uint32, v uint64) { words[0], words[1] = uint32(v), uint32(v>>32) }

func (b *holderBook) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.chunks, b.available = nil, nil
}

// holderLog is a handle's part of the book.
type holderLog struct {
	book   *holderBook
	holder uint64
	chunk  *holderChunk // nil: none yet
	used   int          // words of chunk
	open   bool         // a run is, and
	run    int          // begins here in chunk
}

// ensureRoom sees to it that one more objref can be noted.
func (l *holderLog) ensureRoom() error {
	need := 1
	if !l.open {
		need += runHeader
	}
	words := chunkWordsMin
	if l.chunk != nil {
		if l.used+need <= len(l.chunk.words) {
			return nil
		}
		words = min(2*len(l.chunk.words), chunkWordsMax)
	}
	c, err := l.book.take(words)
	if err != nil {
		return fmt.Errorf("room for an encounter of holder %d: %w", l.holder, translate(err))
	}
	l.endRun()
	l.chunk, l.used = c, int(c.published.Load())
	return nil
}

// note adds ref to the holder's run. There must be room.
func (l *holderLog) note(ref ObjRef) {
	if !l.open {
		l.open, l.run = true, l.used
		header := l.chunk.words[l.run : l.run+runHeader]
		putLong(header[runHolder:], l.holder)
		// Ordering: none but that of the numbers. One thread's runs are in the order in
		// which it began them; so are two threads' where one waited for the other.
		putLong(header[runSequence:], l.book.sequence.Add(1))
		l.used += runHeader
	}
	l.chunk.words[l.used] = uint32(ref)
	l.used++
}

// endRun publishes what has been noted.
func (l *holderLog) endRun() {
	if !l.open {
		return
	}
	l.open = false
	l.chunk.words[l.run+runLength] = uint32(l.used - l.run - runHeader)
	// Ordering: pairs with the Load in runs; none of the words before is written again.
	l.chunk.published.Store(uint32(l.used))
}

// close publishes what has been noted and leaves the chunk to others.
func (l *holderLog) close() {
	l.endRun()
	if l.chunk != nil {
		l.book.leave(l.chunk)
		l.chunk = nil
	}
}

// SetHolder says on whose behalf the encounters that follow are: a task, a thread, a
// parent object, whatever number the caller gives it. Until the first call it is 0.
// It has an effect only with Options.TrackHolders, and none on a closed handle.
//
// It also makes what this handle has met before visible to [Checkpoint.Audit] and
// [Checkpoint.Canonical], which may not have seen the last 16,384 encounters yet.
func (d *Dumper) SetHolder(holder uint64) {
	if d == nil || d.holders == nil || d.closed {
		return
	}
	d.holders.endRun()
	d.holders.holder = holder
}

// ensureTally sees to it that tally cannot fail.
func (d *Dumper) ensureTally() error {
	if d.holders == nil || d.c.past.Load() {
		return nil
	}
	if d.closed {
		return ErrClosed // by a callback
	}
	return d.holders.ensureRoom()
}

// tally counts one user of ref and notes the holder, unless the collect pass is over.
//
// Ordering: past is never false again once it was true, so whoever finds it false here
// has found it false in ensureTally, and has room.
func (d *Dumper) tally(ref ObjRef) {
	if d.c.past.Load() {
		return
	}
	d.inc(int32(ref))
	if d.holders != nil {
		d.holders.note(ref)
	}
}
