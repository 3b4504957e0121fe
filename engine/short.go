package engine

import (
	"github.com/objhash/objhash/internal/invariants"
	"github.com/objhash/objhash/refcount"
	"github.com/objhash/objhash/shard"
)

// The short way of an encounter is one step of the index, for objects of which nothing is
// asked but identity, record and users: it looks the object up, and if it is absent writes
// the record and publishes it. Whatever is not usual it leaves undone, and to the other way,
// [Dumper.encounter], which does everything.
//
// The protocol is that of add, without a reference to grab: record, then publish, then look
// at past and closed. An encounter that was left undone takes its record back and has done
// nothing then, so that the other way can begin anew.

// kindSet is a set of kinds that fit a tag.
type kindSet [4]uint64

func (s *kindSet) has(k Kind) bool {
	return k <= shard.TagUnknown && s[k/64%4]&(1<<(k%64)) != 0
}

// bareKinds returns the kinds whose new objects can go the short way: nothing is grabbed,
// limited, held or noted. Kinds whose tag does not tell them are not among them.
func bareKinds(o Options) (bare kindSet) {
	if o.Count != nil {
		if _, ok := o.Count.(refcount.Log); !ok {
			return bare
		}
	}
	if o.MaxObjects != 0 || o.Holds != nil || o.TrackHolders {
		return bare
	}
	for i := range o.Kinds {
		if k := Kind(i + 1); k < shard.TagUnknown && o.Kinds[i].Grab == nil {
			bare[k/64] |= 1 << (k % 64)
		}
	}
	return bare
}

// bareLow is what the record of an object of kind k that is held has below its address.
func bareLow(k Kind) uint64 { return uint64(k)<<kindShift | uint64(held) }

// encounterBare ends an encounter of an object of a bare kind that the index has inserted
// under got, d.next, or, if that is 0, left undone.
func (d *Dumper) encounterBare(p Ptr, k Kind, got int32) (ref ObjRef, first bool, err error) {
	cell := &d.cells[0]
	if got == 0 {
		d.retract(cell)
		return d.encounter(p, k)
	}
	return d.added(cell, ObjRef(got))
}

// retract takes back what an encounter that was left undone has written to cell, the record
// of d.next. Nothing has been grabbed, so nothing is dropped; where the index was closed
// after it was published, Close drops it, or nobody.
func (d *Dumper) retract(cell *uint64) {
	if load(cell) != 0 {
		d.takeBack(cell, ObjRef(d.next))
	}
}

// goesShort tells whether a batch of kind k can go the short way at this moment.
func (d *Dumper) goesShort(k Kind) bool { return !d.mustCheck(k) && d.c.bare.has(k) }

// encounterRun encounters elements start to end of b, as far as the short way goes, and
// returns how many it has done.
func (d *Dumper) encounterRun(b *batch, start, end int) (done int) {
	c, next, cells := d.c, d.next, d.cells
	ptrs, refs := asUint64(b.ptrs[start:end]), asInt32(b.refs[start:end])
	done, used := c.index.EncounterBatch(ptrs, uint8(b.k), int32(next), cells, bareLow(b.k), refs)
	if used > 0 {
		d.objects += int32(used)
		d.use(used)
		invariants.Step("publish: before checking closed")
	}
	if done < len(ptrs) && used < len(cells) {
		d.retract(&cells[used])
	}
	// Ordering: after the records of the new objects were written, as in tally and
	// overtaken. Close stores past before it looks at records, so past stands for closed
	// here: who does not see it leaves them to Close.
	past := c.past.Load()
	if !past {
		d.log.IncBatch(refs[:done])
	}
	for i := start; used > 0 && (past || b.first != nil); i++ {
		if uint32(b.refs[i]) == next {
			b.isFirst(i)
			if past && c.overtaken(&cells[0], ObjRef(next)) {
				b.fail(i, ErrClosed)
			}
			next, cells, used = next+1, cells[1:], used-1
		}
	}
	return done
}
