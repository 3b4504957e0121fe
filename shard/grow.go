package shard

import (
	"math/bits"
	"sync/atomic"
	"unsafe"

	"github.com/objhash/objhash/internal/invariants"
	"github.com/objhash/objhash/internal/region"
)

// closedTable is what every shard of a closed index publishes: all groups frozen,
// nothing in it, never written.
var closedTable = newClosedTable()

func newClosedTable() *table {
	t, err := newTable(region.NewArena(nil), span{count: 1}, groupsMin, 0, mixer{})
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

// awaitReplacement waits until whoever is replacing t is done.
func (x *Compact) awaitReplacement(t *table) error {
	if !x.closed.Load() {
		t.mu.Lock()
		defer t.mu.Unlock()
	}
	if x.closed.Load() {
		return region.ErrClosed
	}
	return nil
}

// replace replaces the table old of the shard that s belongs to, unless somebody has done
// so already. On an error the old table stays in use.
//
// Lookups go on meanwhile. The slots that are still empty are frozen one group
// after the other, and each group is copied right after: nothing can be added
// behind the copy. Whoever stops in here keeps inserters of new addresses out of
// this one shard, and nobody else.
func (x *Compact) replace(s *dirEntry, old *table, ref int32, why reason) error {
	old.mu.Lock()
	defer old.mu.Unlock()
	if x.closed.Load() {
		return region.ErrClosed
	}
	if s.tab.Load() != old {
		return nil
	}
	split, groups, m := false, old.groups, old.mixer
	switch {
	case why == unfit:
	case old.sparse():
		// The addresses defeat the hash: more room would only hide it.
		m = newMixer(addrBits - old.depth)
	default:
		if !old.clustered() {
			m = mixer{}
		}
		if split = !m.on && x.splits(old); !split {
			groups *= 2
		}
	}
	for {
		to, err := x.successors(old, split, groups, ref, m)
		if err != nil {
			old.thaw()
			return err
		}
		res := old.moveTo(to)
		if res == moved {
			x.count(old, to)
			x.publish(old, to)
			return nil
		}
		x.abandon(to)
		if res == movedTooLarge {
			// Numbers come in any order: another thread's was larger than ours.
			ref = max(ref, old.largestRef())
			continue
		}
		if old.mixer.on && !m.on {
			// The sample was wrong: the addresses still need the mixer.
			m = old.mixer
			if split {
				split, groups = false, 2*groups
			}
			continue
		}
		// Past the bound again. A fresh mixer helps unless the table is too small for
		// its entries, so the next try gets more room as well.
		split, m = false, newMixer(addrBits-old.depth)
		groups *= 2
	}
}

// sparse tells whether t is so far from being filled that well-mixed addresses
// would not have made it look full.
func (t *table) sparse() bool {
	if t.groups < sparseGroupsMin {
		return false // too few groups to tell bad luck from a bad hash
	}
	entries := 0
	for i := range t.groups {
		entries += t.occupied(t.group(i))
	}
	return uint64(entries)*sparseDen < t.groups*groupSlots*sparseNum
}

// With well-mixed addresses a quarter of the groups is full at 0.70, and the probe
// bound reached at 0.68 in tables of 2^16 groups; at half, neither happens.
const (
	sparseNum       = 11 // of 20
	sparseDen       = 20
	sparseGroupsMin = 32
)

// clustered tells whether t has a mixer and needs it. A few addresses that few groups are
// enough to tell apart may have been why it got it, or some that were inserted first, and a
// shard with a mixer is never split. Its first groups are a sample of its addresses.
func (t *table) clustered() bool {
	if !t.mixer.on {
		return false
	}
	var in [clusters]uint8
	for i := range min(t.groups, clusters) {
		g := t.group(i)
		for j := range t.occupied(g) {
			n := &in[t.unplace(i, atomic.LoadUint64(&g[j]))<<t.depth>>(64-6)]
			if *n++; *n > clusterMax {
				return true
			}
		}
	}
	return false
}

// Of well-mixed addresses, 5 or 6 are in each part that has its share of as many groups,
// and more than 16 in one of them once in 150 times.
const (
	clusters   = 1 << 6
	clusterMax = 16
)

// successors are the tables that replace one: of the same shard, or, if there is a second
// one, of its two halves.
type successors [2]*table

// of returns which of them a hash goes to, and the hash as it is there; h is what place
// makes of it in the table before.
func (s *successors) of(h uint64) (*table, uint64) {
	if s[1] == nil {
		return s[0], h
	}
	return s[h>>63], h << 1
}

// successors makes tables to replace old, with room for numbers up to twice ref.
func (x *Compact) successors(old *table, split bool, groups uint64, ref int32, m mixer) (to successors, err error) {
	const refMax = 1<<31 - 1
	ref = int32(min(2*int64(ref), refMax))
	if !split {
		to[0], err = newTable(x.arena, old.span, groups, ref, m)
		return to, err
	}
	if err := x.arena.Charge(int64(unsafe.Sizeof(table{}))); err != nil {
		return to, err
	}
	if to[0], err = newTable(x.arena, old.half(0), groups, ref, m); err == nil {
		if to[1], err = newTable(x.arena, old.half(1), groups, ref, m); err == nil {
			return to, nil
		}
		x.arena.Release(to[0].base, to[0].bytes())
	}
	x.arena.Discharge(int64(unsafe.Sizeof(table{})))
	return to, err
}

// abandon gives back successors that are not wanted.
func (x *Compact) abandon(to successors) {
	for _, t := range to {
		if t != nil {
			x.arena.Release(t.base, t.bytes())
		}
	}
	if to[1] != nil {
		x.arena.Discharge(int64(unsafe.Sizeof(table{})))
	}
}

func (x *Compact) count(old *table, to successors) {
	if to[0].mixer.on && to[0].mixer != old.mixer {
		x.rehashes.Add(1)
	}
	if to[1] != nil || to[0].groups > old.groups {
		x.growths.Add(1)
	}
}

// publish puts to in the place of old, and releases old.
func (x *Compact) publish(old *table, to successors) {
	invariants.Step("replace: before publishing")
	// Ordering: from here on lookups search to, those of one entry of the directory after
	// those of another. It comes after the whole copy and before the release of old: a
	// thread that was looking in old sees, when it loads its entry again, that what it saw
	// may be stale.
	//
	// The locks keep others, who find a successor in one entry, from replacing it, or
	// closing the index, before it is in all of its entries.
	for _, t := range to {
		if t != nil {
			t.mu.Lock()
			defer t.mu.Unlock()
			x.store(t.span, t)
			invariants.Step("replace: between the entries")
		}
	}
	invariants.Step("replace: before releasing")
	x.arena.Release(old.base, old.bytes())
}

// freeze closes every group that has room.
func (t *table) freeze() {
	for i := range t.groups {
		t.freezeGroup(t.group(i))
	}
}

// freezeGroup closes g to inserters and returns how many entries it has.
func (t *table) freezeGroup(g *group) int {
	for i := t.occupied(g); i < groupSlots; i++ {
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

// occupied returns how many entries g has, at least: inserters may be adding more. It halves
// the slots without a branch, since how many there are cannot be predicted.
func (t *table) occupied(g *group) int {
	// Ordering: slots are filled in order and entries stay, so an entry in one slot says
	// that there is one in each before it. Only freezing ends what may come behind.
	n := 4 * one(atomic.LoadUint64(&g[3])&t.refMask)
	n += 2 * one(atomic.LoadUint64(&g[n+1])&t.refMask)
	n += one(atomic.LoadUint64(&g[n&7]) & t.refMask)
	n += one(atomic.LoadUint64(&g[n&7]) & t.refMask)
	return int(n)
}

// one returns 1, or 0 if none of bits is set.
func one(bits uint64) (n uint) {
	if bits != 0 {
		n = 1
	}
	return n
}

// thaw undoes freeze, where there is no memory for a successor.
func (t *table) thaw() {
	for i := range t.groups {
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

// moveTo freezes t and copies its entries to its unpublished successors, as far as that
// goes.
func (t *table) moveTo(to successors) moveResult {
	if to.double(t) {
		return t.moveInOrder(to)
	}
	for i := range t.groups {
		if res := to.putThose(t, i, t.freezeGroup(t.group(i)), 0); res != moved {
			return res
		}
		if i&63 == 0 {
			invariants.Step("replace: between groups")
		}
	}
	return moved
}

// double tells whether the successors have twice the groups of t, mix addresses as it does,
// and have tags if it has. Then what is at home in group i of t will be in group 2i or 2i+1
// of them, and in its word the remainder loses its first bit, and the number gains one.
func (s *successors) double(t *table) bool {
	groups := s[0].groups
	if s[1] != nil {
		groups += s[1].groups
	}
	return groups == 2*t.groups && s[0].mixer == t.mixer && s[0].tagBits == t.tagBits
}

// pair returns groups 2i and 2i+1 of the successors, counted through both, and the table
// that they are in; or nil if they are in two.
func (s *successors) pair(i uint64) (*table, *[2 * groupSlots]uint64) {
	t, i := s[0], 2*i
	if i >= t.groups {
		t, i = s[1], i-t.groups
	}
	if i+1 == t.groups {
		return nil, nil
	}
	// Same as: groups i and i+1
	// Safety: i+1 < t.groups.
	return t, (*[2 * groupSlots]uint64)(unsafe.Pointer(t.group(i)))
}

// moveInOrder is moveTo where the successors are double: from memory to memory, in order
// on both sides.
func (t *table) moveInOrder(to successors) moveResult {
	sp := spreader{distMask: t.frozen, refMask: t.refMask, first: 0, middle: 1 << 63}
	powerOf2 := t.groups&(t.groups-1) == 0
	for i := range t.groups {
		if i&63 == 0 {
			invariants.Step("replace: between groups")
		}
		g := t.group(i)
		n := t.freezeGroup(g)
		half, dst := to.pair(i)
		if dst == nil || dst[0]|dst[groupSlots] != 0 {
			// Two tables, or entries of the groups before have overflowed into this.
			if res := to.putThose(t, i, n, 0); res != moved {
				return res
			}
			continue
		}
		if !powerOf2 {
			sp.first, sp.middle = t.halves(i)
		}
		left, right := sp.spread(g[:n], dst)
		if left == groupSlots || right == groupSlots {
			half.countFull()
		}
		if left+right < n {
			if res := to.putThose(t, i, n, 1); res != moved {
				return res
			}
		}
	}
	return moved
}

// spreader is what spread needs to know of a table.
type spreader struct {
	distMask, refMask uint64 // where in a word these are
	first, middle     uint64 // see halves
}

// spread puts those of the entries of a group that are at home there, nearly all, into the
// two empty groups that they will be at home in, and returns how many. Which of the two
// cannot be predicted, so it is computed in a form that compiles to conditional moves.
// All fields above the number move up by one bit. If it were inlined, there would not be
// enough registers.
//
//go:noinline
func (s *spreader) spread(g []uint64, dst *[2 * groupSlots]uint64) (left, right int) {
	distMask, refMask, first, middle := s.distMask, s.refMask, s.first, s.middle
	right = groupSlots
	for i := range g {
		w := atomic.LoadUint64(&g[i])
		if w&distMask != 0 {
			continue
		}
		at, goesRight := left, 0
		if w-first >= middle {
			at, goesRight = right, 1
		}
		dst[at&(2*groupSlots-1)] = w + w&^refMask
		right += goesRight
		left += 1 - goesRight
	}
	return left, right - groupSlots
}

// halves says which keys of group i go where as the groups double: those from middle on to
// the right, counted from the key first.
func (t *table) halves(i uint64) (first, middle uint64) {
	start := t.start(i)
	return start << t.groupBits, (t.startOf(2*i+1, 2*t.groups) - start) << t.groupBits
}

// largestRef freezes t and returns the largest number in it.
func (t *table) largestRef() (largest int32) {
	for i := range t.groups {
		g := t.group(i)
		for j := range t.freezeGroup(g) {
			largest = max(largest, t.ref(atomic.LoadUint64(&g[j])))
		}
	}
	return largest
}

// putThose adds those of the n entries of group i of table from to the successors that are
// at least so far from home.
func (s *successors) putThose(from *table, i uint64, n int, dist uint64) moveResult {
	g := from.group(i)
	for j := range n {
		w := atomic.LoadUint64(&g[j])
		if from.dist(w) < dist {
			continue
		}
		if res := s.put(from, i, w); res != moved {
			return res
		}
	}
	return moved
}

// put adds the entry w of group i of table from to the successors, which nobody else sees
// yet.
func (s *successors) put(from *table, i, w uint64) moveResult {
	// The mixed hash stays; only the boundaries between shard, group and remainder move.
	h := from.mixed(from.start(from.home(i, w)), w)
	if s[0].mixer != from.mixer {
		if from.mixer.on {
			h = from.mixer.unmix(h)
		}
		if s[0].mixer.on {
			h = s[0].mixer.mix(h)
		}
	}
	t, h := s.of(h)
	ref := from.ref(w)
	if !t.fits(ref) {
		return movedTooLarge
	}
	home, _ := bits.Mul64(h, t.groups)
	key, e := h<<(t.groupBits&63), t.entry(ref, from.tag(w))
	for range ProbeGroupsMax {
		g := t.group(home)
		if n := t.occupied(g); n < groupSlots {
			g[n] = key | e
			if n == groupSlots-1 {
				t.countFull()
			}
			return moved
		}
		home = t.next(home)
		key += t.step
	}
	return movedTooFar
}

// countFull counts a group that has become full in a table that nobody else sees yet.
func (t *table) countFull() {
	t.full.Store(t.full.Load() + 1)
}
