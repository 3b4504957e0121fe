package shard

import (
	"sync/atomic"

	"github.com/objhash/objhash/internal/invariants"
	"github.com/objhash/objhash/internal/region"
)

// closedTable is what every shard of a closed index publishes: all groups frozen,
// nothing in it, never written.
var closedTable = newClosedTable()

func newClosedTable() *table {
	t, err := newTable(region.NewArena(nil), 0, groupBitsMin, 0, mixer{})
	if err != nil {
		panic(err) // two groups, no budget
	}
	t.freeze()
	return t
}

// why a table is to be replaced.
type reason uint8

const (
	crowded   reason = iota // too many groups are full
	displaced               // an entry found no room within ProbeGroupsMax of its home
	unfit                   // a number has more bits than the words have room for
)

// awaitReplacement waits until whoever is replacing the shard's table is done.
func (x *Compact) awaitReplacement(s *compactShard) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.closed.Load() {
		return region.ErrClosed
	}
	return nil
}

// replace replaces the table old of shard s, unless somebody has done so already.
// On an error the old table stays in use.
//
// Lookups go on meanwhile. The slots that are still empty are frozen one group
// after the other, and each group is copied right after: nothing can be added
// behind the copy. Whoever stops in here keeps inserters of new addresses out of
// this one shard, and nobody else.
func (x *Compact) replace(s *compactShard, old *table, ref int32, why reason) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x.closed.Load() {
		return region.ErrClosed
	}
	if s.tab.Load() != old {
		return nil
	}
	groupBits, m := old.groupBits, old.mixer
	switch {
	case why == unfit:
	case old.sparse():
		// The addresses defeat the hash: more room would only hide it.
		m = newMixer(addrBits - x.shardBits)
	default:
		groupBits++
	}
	for {
		t, err := x.successor(groupBits, ref, m)
		if err != nil {
			old.thaw()
			return err
		}
		res := old.moveTo(t)
		if res == moved {
			x.count(old, t)
			x.publish(s, old, t)
			return nil
		}
		x.arena.Release(t.base, t.bytes())
		if res == movedTooLarge {
			// Numbers come in any order: another thread's was larger than ours.
			ref = max(ref, old.largestRef())
			continue
		}
		// Past the bound again. A fresh mixer helps unless the table is too small for
		// its entries, so the next try gets more room as well.
		m = newMixer(addrBits - x.shardBits)
		groupBits++
	}
}

// sparse tells whether t is so far from being filled that well-mixed addresses
// would not have made it look full.
func (t *table) sparse() bool {
	if t.groupMask+1 < sparseGroupsMin {
		return false // too few groups to tell bad luck from a bad hash
	}
	entries := uint64(0)
	for i := range t.groupMask + 1 {
		g := t.group(i)
		for j := range g {
			if atomic.LoadUint64(&g[j]) == 0 {
				break
			}
			entries++
		}
	}
	return entries*sparseDen < (t.groupMask+1)*groupSlots*sparseNum
}

// With well-mixed addresses a quarter of the groups is full at 0.70, and the probe
// bound reached at 0.68 in tables of 2^16 groups; at half, neither happens.
const (
	sparseNum       = 11 // of 20
	sparseDen       = 20
	sparseGroupsMin = 32
)

// successor makes a table with room for numbers up to twice ref.
func (x *Compact) successor(groupBits uint, ref int32, m mixer) (*table, error) {
	const refMax = 1<<31 - 1
	return newTable(x.arena, x.shardBits, groupBits, int32(min(2*int64(ref), refMax)), m)
}

func (x *Compact) count(old, t *table) {
	if t.mixer != old.mixer {
		x.rehashes.Add(1)
	}
	if t.groupMask > old.groupMask {
		x.growths.Add(1)
	}
}

// publish makes t the table of s and releases old.
func (x *Compact) publish(s *compactShard, old, t *table) {
	invariants.Step("replace: before publishing")
	// Ordering: from here on lookups search t. It comes after the whole copy and
	// before the release of old: a thread that was looking in old sees, when it
	// loads tab again, that what it saw may be stale.
	s.tab.Store(t)
	invariants.Step("replace: before releasing")
	x.arena.Release(old.base, old.bytes())
}

// freeze closes every group that has room.
func (t *table) freeze() {
	for i := range t.groupMask + 1 {
		t.freezeGroup(t.group(i))
	}
}

// freezeGroup closes g to inserters and returns how many entries it has.
func (t *table) freezeGroup(g *group) int {
	for i := range g {
		for {
			w := atomic.LoadUint64(&g[i])
			if w == t.frozen {
				return i
			}
			if w != 0 {
				break
			}
			// Ordering: competes with the CAS in claim. If the inserter's comes first
			// we fail and see its entry; if ours does, the inserter sees the group
			// closed. Slots are filled in order, so this one slot closes the group.
			if atomic.CompareAndSwapUint64(&g[i], 0, t.frozen) {
				return i
			}
		}
	}
	return groupSlots
}

// thaw undoes freeze, where there is no memory for a successor.
func (t *table) thaw() {
	for i := range t.groupMask + 1 {
		g := t.group(i)
		for j := range g {
			if atomic.LoadUint64(&g[j]) == t.frozen {
				atomic.StoreUint64(&g[j], 0)
			}
		}
	}
}

type moveResult uint8

const (
	moved         moveResult = iota
	movedTooFar              // an entry finds no room within the probe bound
	movedTooLarge            // a number does not fit the new table's words
)

// moveTo freezes t and copies its entries to the unpublished table to, as far as
// that goes.
func (t *table) moveTo(to *table) moveResult {
	for i := range t.groupMask + 1 {
		g := t.group(i)
		n := t.freezeGroup(g)
		for j := range n {
			if res := to.put(t, i, atomic.LoadUint64(&g[j])); res != moved {
				return res
			}
		}
		if i&63 == 0 {
			invariants.Step("replace: between groups")
		}
	}
	return moved
}

// largestRef freezes t and returns the largest number in it.
func (t *table) largestRef() (largest int32) {
	for i := range t.groupMask + 1 {
		g := t.group(i)
		for j := range t.freezeGroup(g) {
			largest = max(largest, t.ref(atomic.LoadUint64(&g[j])))
		}
	}
	return largest
}

// put adds the entry w of group i of table from to t, which nobody else sees yet.
func (t *table) put(from *table, i, w uint64) moveResult {
	ref := from.ref(w)
	if !t.fits(ref) {
		return movedTooLarge
	}
	var h uint64
	if t.mixer == from.mixer {
		// The mixed hash stays; only the boundary between group and remainder moves.
		h = from.mixed(i, w)
	} else {
		h = from.unplace(i, w)
		if t.mixer.on {
			h = t.mixer.mix(h)
		}
	}
	home, key := h>>(t.homeShift&63), h<<(t.groupBits&63)
	e := t.entry(ref, from.tag(w))
	for range ProbeGroupsMax {
		g := t.group(home)
		for j := range g {
			if g[j] == 0 {
				g[j] = key | e
				if j == groupSlots-1 {
					t.full.Store(t.full.Load() + 1)
				}
				return moved
			}
		}
		home++
		key += t.step
	}
	return movedTooFar
}
