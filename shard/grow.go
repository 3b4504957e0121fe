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
		groups = largerThan(groups)
		if split = !m.on && x.splits(old, groups); split {
			groups = (groups + 1) / 2
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
				split, groups = false, largerThan(old.groups)
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
	if to.inOrder(t) {
		return t.moveInOrder(to)
	}
	for i := range t.groups {
		if i&63 == 0 {
			invariants.Step("replace: between groups")
		}
		if res := to.putThose(t, i, t.freezeGroup(t.group(i)), 0); res != moved {
			return res
		}
	}
	return moved
}

// inOrder tells whether moveInOrder will do: the successors have no fewer groups than t, and not
// more than twice as many, mix addresses as it does, and have tags if it has. Then entries
// are in the same order there, those that are at home in one group of t will be at home in
// homesMax groups at most, and the fields of their words above the number move up at most.
func (s *successors) inOrder(t *table) bool {
	groups := s[0].groups
	if s[1] != nil {
		groups += s[1].groups
	}
	return t.groups <= groups && groups <= 2*t.groups && s[0].mixer == t.mixer && s[0].tagBits == t.tagBits
}

const homesMax = 3

// moveInOrder is moveTo from memory to memory, in order on both sides.
func (t *table) moveInOrder(to successors) moveResult {
	m := mover{from: t, to: to}
	m.distMask = t.frozen
	if to[0].low > t.low {
		m.upMask = ^t.refMask
	}
	res := moved
	if to[1] == nil {
		res = m.move(0, 0, t.groups)
	} else {
		half := t.groups / 2
		res = m.move(0, 0, half)
		if t.groups&1 != 0 {
			m.leave(half, 1<<t.freezeGroup(t.group(half))-1) // some go here and some there
			half++
		}
		if res == moved {
			res = m.move(1, half, t.groups)
		}
	}
	// What has come round the end of t.
	for i := uint64(0); i < min(t.groups, ProbeGroupsMax) && res == moved; i++ {
		res = to.putThose(t, i, t.occupied(t.group(i)), i+1)
	}
	return res
}

// mover moves entries in order.
type mover struct {
	spreader
	from *table
	to   successors

	// Entries that were not at home, or for which there was no room where they are at home: a
	// few in a hundred. They wait until many have come together, since they look for room, and
	// what they fill has to be looked for by those who come after.
	late  [128]lateEntry
	nLate int
}

type lateEntry struct{ i, w uint64 } // a word, and its group

// move moves what is in groups first to last-1 and will be in successor k.
func (m *mover) move(k int, first, last uint64) moveResult {
	t, s := m.from, m.to[k]
	ends, bounds := t.bounds(first, 0, 0), s.bounds(0, 0, 0)
	if m.to[1] != nil {
		bounds = s.bounds(0, 1, uint64(k)<<63)
	}
	// Entries of the group that starts with hash start are at home in group home of s, as far
	// as they do not go beyond the hash ends[0], in the next one up to ends[1], or in the one
	// after that. Of these, counts has how many entries are in each, 8 bits for the first one,
	// and so on. Groups from fresh on are empty.
	home, counts, fresh := uint64(0), uint64(0), uint64(homesMax+ProbeGroupsMax)
	start := t.start(first)
	homeEnds := [2]uint64{bounds.next(), bounds.next()}
	for i := first; i < last; i++ {
		if i&63 == 0 {
			invariants.Step("replace: between groups")
		}
		g := t.group(i)
		n := t.freezeGroup(g)
		for homeEnds[0] < start {
			homeEnds[0], homeEnds[1] = homeEnds[1], bounds.next()
			home++
			counts >>= 8
		}
		if m.nLate > len(m.late)-groupSlots {
			if res := m.moveLate(); res != moved {
				return res
			}
			fresh = home + homesMax + ProbeGroupsMax
		}
		if home < fresh {
			counts = s.counts(home)
		}
		end := ends.next()
		m.first = start << t.groupBits
		m.second, m.third = ^uint64(0), ^uint64(0)
		if homeEnds[0] < end {
			m.second = (homeEnds[0] + 1 - start) << t.groupBits
			if homeEnds[1] < end {
				m.third = (homeEnds[1] + 1 - start) << t.groupBits
			}
		}
		now, left := m.spread(g[:n], s.group(home), counts)
		if full := now &^ counts & allFull; full != 0 {
			s.full.Store(s.full.Load() + int64(bits.OnesCount64(full)))
		}
		m.leave(i, left)
		counts, start = now, end+1
	}
	return m.moveLate()
}

const allFull = groupSlots * (1 | 1<<8 | 1<<16) // in counts

// counts returns how many entries are in group i and those after it, as move wants it.
func (t *table) counts(i uint64) (counts uint64) {
	for j := range min(homesMax, t.groups-i) {
		counts |= uint64(t.occupied(t.group(i+j))) << (8 * j)
	}
	return counts
}

// spreader is what spread needs to know.
type spreader struct {
	distMask, upMask uint64 // where the distance is in a word, and what of it moves up by a bit

	// The first key of the group, and how far from it those of the second home, and of the
	// third, begin.
	first, second, third uint64
}

// spread puts those of the entries of a group that are at home there, nearly all, into the
// groups that they will be at home in, from to on. Which ones these are cannot be predicted,
// so it is computed in a form that compiles to conditional moves. counts says how many
// entries these groups have; spread returns how many they have afterwards, and a bit for each
// of the slots whose entries it has left. If it were inlined, there would not be enough
// registers.
//
//go:noinline
func (s *spreader) spread(g []uint64, to *group, counts uint64) (now uint64, left uint8) {
	distMask, upMask, first, second, third := s.distMask, s.upMask, s.first, s.second, s.third
	for i := range g {
		w := atomic.LoadUint64(&g[i])
		home := uint64(0)
		if w-first >= second {
			home = 8
		}
		if w-first >= third {
			home = 16
		}
		n := counts >> home & 0xff
		if w&distMask != 0 || n == groupSlots {
			left |= 1 << i
			continue
		}
		// Same as: the slot n of the group home/8 from to on
		// Safety: the table has that group, as a hash of its own is at home there.
		*(*uint64)(unsafe.Add(unsafe.Pointer(to), (home+n)*8)) = w + w&upMask
		counts += 1 << home
	}
	return counts, left
}

// leave leaves those entries of group i for later that have a bit in left.
func (m *mover) leave(i uint64, left uint8) {
	g := m.from.group(i)
	for ; left != 0; left &= left - 1 {
		m.late[m.nLate&(len(m.late)-1)] = lateEntry{i, atomic.LoadUint64(&g[bits.TrailingZeros8(left)])}
		m.nLate++
	}
}

// moveLate moves the entries that have been left, but for those that have come round the end
// of the table: they are at home in groups that move does not know to be in use.
func (m *mover) moveLate() moveResult {
	for _, e := range m.late[:m.nLate] {
		if m.from.dist(e.w) > e.i {
			continue
		}
		if res := m.to.put(m.from, e.i, e.w); res != moved {
			return res
		}
	}
	m.nLate = 0
	return moved
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
