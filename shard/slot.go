package shard

import (
	"sync/atomic"
	"unsafe"

	"github.com/objhash/objhash/internal/invariants"
)

// The layout of a table is an interface: version 1. Words are 64 bits in the
// machine's byte order; a group is eight of them, one cache line.
//
//	 63                    low          low-4    refBits      0
//	┌─────────────────────┬────────────┬────────┬─────────────┐
//	│ remainder           │ distance 4 │ tag    │ ref         │   an entry
//	│ 48-s-g bits         │ 0..14      │ 8 or 0 │ 1..         │
//	├─────────────────────┼────────────┼────────┼─────────────┤
//	│ 0                   │ 0          │ 0      │ 0           │   empty
//	│ 0                   │ 15         │ 0      │ 0           │   frozen
//	└─────────────────────┴────────────┴────────┴─────────────┘
//
// s is how many bits of a hash choose the shard, and g log2 of the groups in this table,
// rounded down, so that low = 16+s+g: what the remainder loses as a table doubles, the
// number gains.
//
// States of a slot, and all its transitions:
//
//	empty ──CAS by an inserter──▶ entry      for ever
//	empty ──CAS by the grower───▶ frozen     until the table is dropped, or, if there
//	                                         is no memory for its successor:
//	frozen ─Store by the grower─▶ empty
//
// Slots of a group are filled in order: a slot is tried only after all before it
// were seen to hold entries. So one frozen slot closes its group, and a group has
// room exactly if its last slot holds no entry.
const (
	groupSlots = 8
	groupBytes = groupSlots * 8

	distBits   = 4
	distFrozen = 1<<distBits - 1
	tagBits    = 8

	layoutVersion = 1
)

type group [groupSlots]uint64

// Compile-time assertions of the layout.
var (
	_ [groupBytes]byte        = [unsafe.Sizeof(group{})]byte{}
	_ [distFrozen]struct{}    = [ProbeGroupsMax]struct{}{}
	_ [layoutVersion]struct{} = [1]struct{}{}
)

// layout says where the fields of a table's words are.
type layout struct {
	low     uint // bits below the remainder
	tagBits uint // 8, or 0 where the numbers need the room
	refBits uint
	lowMask uint64 // 1<<low - 1
	step    uint64 // one unit of distance: 1 above the largest word without a key
	refMask uint64
	frozen  uint64
}

func newLayout(shardBits, groupBits uint, tagged bool) layout {
	l := layout{low: addrPad + shardBits + groupBits}
	if tagged {
		l.tagBits = tagBits
	}
	l.refBits = l.low - distBits - l.tagBits
	l.lowMask = 1<<l.low - 1
	l.step = 1 << (l.low - distBits)
	l.refMask = 1<<l.refBits - 1
	l.frozen = distFrozen << (l.low - distBits)
	return l
}

// fits tells whether number ref can stand in a word.
func (l *layout) fits(ref int32) bool { return uint64(ref) <= l.refMask }

// entry packs all below the remainder but the distance.
func (l *layout) entry(ref int32, tag uint8) uint64 {
	if l.tagBits == 0 {
		return uint64(ref)
	}
	return uint64(tag)<<l.refBits | uint64(ref)
}

func (l *layout) ref(w uint64) int32 { return int32(w & l.refMask) }

func (l *layout) tag(w uint64) uint8 {
	if l.tagBits == 0 {
		return TagUnknown
	}
	return uint8(w >> (l.refBits & 63))
}

func (l *layout) dist(w uint64) uint64 { return w & l.lowMask >> (l.low - distBits) }

// find returns the word of g whose remainder and distance are those of key, or 0,
// and the last word of g. Which of the slots matches cannot be
// predicted, and a mispredicted branch would throw away the loads of the operations
// that follow: so they are compared in a form that compiles to conditional moves.
// That it is one of the first four can be predicted quite well, since slots are
// filled in order; and the less there is to execute, the more of the following
// operations the processor sees while it waits for memory.
//
// At most one entry matches; an empty slot matches a key of 0, and must come before
// the entry does: hence the order.
func find(g *group, key, step uint64) (word, last uint64) {
	// Ordering: before the other slots. If it holds an entry, so do they, for ever, and an
	// inserter that finds none of them to match may go on to the next group. Loaded after
	// them, it could be one of those that filled the group behind an entry of this very
	// address, put where this thread had looked already.
	last = atomic.LoadUint64(&g[7])
	// Ordering: pairs with the CAS in claim. A word is an entry, whole, or it is
	// none: nothing else is read through it here.
	w := atomic.LoadUint64(&g[3])
	if w^key < step {
		word = w
	}
	w = atomic.LoadUint64(&g[2])
	if w^key < step {
		word = w
	}
	w = atomic.LoadUint64(&g[1])
	if w^key < step {
		word = w
	}
	w = atomic.LoadUint64(&g[0])
	if w^key < step {
		word = w
	}
	if word != 0 {
		return word, last
	}
	invariants.Step("find: between the halves")
	w = last
	if w^key < step {
		word = w
	}
	w = atomic.LoadUint64(&g[6])
	if w^key < step {
		word = w
	}
	w = atomic.LoadUint64(&g[5])
	if w^key < step {
		word = w
	}
	w = atomic.LoadUint64(&g[4])
	if w^key < step {
		word = w
	}
	return word, last
}

type claimResult uint8

const (
	claimed     claimResult = iota // the entry is in
	claimedLast                    // the entry is in, and the group is full now
	claimFound                     // another entry of the same address is in
	claimFull                      // no room in this group
	claimFrozen                    // the table is being replaced
)

// claim puts word into the first empty slot of g unless an entry with the same
// remainder and distance is there, which it returns.
func claim(g *group, word uint64, l *layout) (claimResult, uint64) {
	for i := range g {
		slot := &g[i]
		for {
			w := atomic.LoadUint64(slot)
			if w == 0 {
				invariants.Step("insert: before the CAS")
				// Ordering: this CAS publishes the entry. It comes after every write the
				// caller did for this number (its record), so whoever loads the word sees
				// those too. If the grower's freeze comes first we fail and see it; if it
				// comes second it fails, and copies our entry.
				if atomic.CompareAndSwapUint64(slot, 0, word) {
					if i == groupSlots-1 {
						return claimedLast, word
					}
					return claimed, word
				}
				continue
			}
			if w == l.frozen {
				return claimFrozen, 0
			}
			if w^word < l.step {
				return claimFound, w
			}
			break
		}
	}
	return claimFull, 0
}
