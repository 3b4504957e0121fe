package shard

import (
	"runtime"
	"sync/atomic"

	"github.com/objhash/objhash/internal/invariants"
)

// Encounter is for authors of engines that keep a record, one word, for each number. It
// looks ptr up and, if ptr is absent and next is above 0, writes ptr<<16 | low to *record
// and inserts ptr under next with the tag: whoever finds the number finds its record
// written. As with Insert, the caller never offers a number for two addresses of which one
// could have been inserted.
//
// It returns the number of ptr: next, if this call inserted it; another one, if it was
// known with this very tag. It returns 0 if it has left ptr undone: absent and next is 0;
// known with another tag, or in a table without room for tags, or the tag is TagUnknown; 0,
// or outside 48 bits; inserted by another thread meanwhile; no memory for it; the index is
// closed; or there is more to it than this way is for. What was to be done is then done by
// Lookup and Insert.
//
// After 0 *record may have been written, and nobody can find ptr under next, unless the
// index has been closed: the caller takes the record back.
func (x *Compact) Encounter(ptr uint64, tag uint8, next int32, record *uint64, low uint64) int32 {
	return encounter(x, ptr, tag, next, record, low)
}

// EncounterBatch does what Encounter does for ptrs, one after the other, overlapping their
// cache misses. Those that it inserts get next, next+1, ..., whose records are records[0],
// records[1], ...; once these are used up, only known addresses are done. It stops before
// the first element that Encounter would leave undone.
//
// It returns how many elements are done, whose numbers are in refs, and how many numbers
// were used. Element i was inserted by this call if refs[i] is next plus the count of
// elements inserted before it. If it stopped, records[used], if there is one, may have been
// written: see Encounter. refs must be as long as ptrs.
func (x *Compact) EncounterBatch(ptrs []uint64, tag uint8, next int32, records []uint64, low uint64, refs []int32) (done, used int) {
	checkLen("refs", len(refs), len(ptrs))
	return x.encounterBatch(ptrs, tag, next, records, low, refs)
}

// newcomer is an address that is to be inserted if it is absent.
type newcomer struct {
	ptr    uint64
	ref    int32 // 0: it is not to be inserted
	tag    uint8
	record *uint64
	low    uint64
}

// encounterGo is Encounter without a kernel.
func (x *Compact) encounterGo(ptr uint64, tag uint8, next int32, record *uint64, low uint64) int32 {
	if !canonical(ptr) {
		return 0
	}
	s, h := x.hash(ptr)
	t := s.tab.Load()
	home, key := t.place(h)
	at := located{s, t, t.group(home), key}
	ref := x.encounterAt(&at, &newcomer{ptr, next, tag, record, low})
	runtime.KeepAlive(x)
	return ref
}

// encounterBatchGo is EncounterBatch without a kernel.
func (x *Compact) encounterBatchGo(ptrs []uint64, tag uint8, next int32, records []uint64, low uint64, refs []int32) (done, used int) {
	n := newcomer{tag: tag, low: low}
	var at [batchBlock]located
	for done < len(ptrs) {
		block := ptrs[done:min(done+batchBlock, len(ptrs))]
		x.locate(block, &at)
		for i, ptr := range block {
			n.ptr, n.ref = ptr, 0
			if used < len(records) {
				n.ref, n.record = next+int32(used), &records[used]
			}
			ref := int32(0)
			if at[i].s != nil {
				ref = x.encounterAt(&at[i], &n)
			}
			if ref == 0 {
				return done, used
			}
			refs[done] = ref
			done++
			if ref == n.ref {
				used++
			}
		}
	}
	runtime.KeepAlive(x)
	return done, used
}

// encounterAt encounters n, whose home is l.
func (x *Compact) encounterAt(l *located, n *newcomer) int32 {
	t := l.t
	w, last := find(l.g, l.key, t.step)
	ref, tag := t.ref(w), t.tag(w)
	// Ordering: as in lookupGo.
	atHome := (w != 0 || last&t.refMask == 0) && l.s.tab.Load() == t
	if !atHome {
		_, h := x.hash(n.ptr)
		ref, tag = l.s.lookup(h)
	}
	switch {
	case n.tag == TagUnknown:
		return 0
	case ref != 0 && (tag == n.tag || ref == n.ref):
		// Under n.ref only if a kernel has put it in and left the rest to us, as the table
		// was being replaced; the new one may have no room for tags.
		return ref
	case ref != 0 || n.ref <= 0 || n.ptr == 0:
		return 0
	}
	// Ordering: before the CAS that publishes the entry, in claim, so whoever finds the
	// number sees the record. It is atomic for those who ask for a record by number alone.
	atomic.StoreUint64(n.record, n.ptr<<addrPad|n.low)
	invariants.Step("encounter: before publishing")
	if atHome && x.claimHome(l, n) {
		return n.ref
	}
	// This insert finds what claimHome may have left behind in a table that has been
	// replaced: if the entry was copied it is found under its number, which nobody else
	// offers; if not it is inserted again. To return 0 instead would make the caller take
	// back the record of an entry that others can find.
	_, h := x.hash(n.ptr)
	if got, _, err := x.insert(l.s, h, n.ref, n.tag); err != nil || got != n.ref {
		return 0
	}
	return n.ref
}

// claimHome puts the entry of n into its home group. It returns false if that has come to
// nothing, or if nobody knows what has become of it: insert does.
func (x *Compact) claimHome(l *located, n *newcomer) bool {
	t := l.t
	if !t.fits(n.ref) {
		return false
	}
	res, _ := claim(l.g, l.key|t.entry(n.ref, n.tag), &t.layout)
	invariants.Step("insert: after the search")
	// Ordering: as in insert.
	if res != claimed && res != claimedLast || l.s.tab.Load() != t {
		return false
	}
	if res == claimedLast {
		x.filled(l.s, t, n.ref)
	}
	return true
}
