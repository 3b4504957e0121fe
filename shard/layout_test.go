package shard

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/objhash/objhash/internal/region"
)

// forEachLayout calls f with every layout that a table can have.
func forEachLayout(f func(shardBits, groupBits uint, l layout)) {
	for shardBits := range uint(17) {
		for groupBits := uint(1); groupBits <= groupBitsMax; groupBits++ {
			for _, tagged := range []bool{true, false} {
				f(shardBits, groupBits, newLayout(shardBits, groupBits, tagged))
			}
		}
	}
}

// Fields lie beside each other, in the order of the drawing, and fill the word.
func TestLayoutFillsTheWord(t *testing.T) {
	forEachLayout(func(shardBits, groupBits uint, l layout) {
		if l.refBits+l.tagBits+distBits != l.low || l.low != addrPad+shardBits+groupBits {
			t.Errorf("%d shard bits, %d group bits: %+v", shardBits, groupBits, l)
		}
		if remainder := 64 - l.low; remainder+groupBits+shardBits != addrBits {
			t.Errorf("%d shard bits, %d group bits: remainder of %d bits", shardBits, groupBits, remainder)
		}
		if l.refBits < 1 || l.step != 1<<(l.refBits+l.tagBits) || l.refMask != 1<<l.refBits-1 || l.lowMask != 1<<l.low-1 {
			t.Errorf("%d shard bits, %d group bits: %+v", shardBits, groupBits, l)
		}
	})
}

// What goes into a word comes out of it, at the ends of every field and at random.
func TestLayoutRoundTrip(t *testing.T) {
	r := seeded(t)
	forEachLayout(func(shardBits, groupBits uint, l layout) {
		largest := int32(min(l.refMask, math.MaxInt32))
		if !l.fits(largest) || l.refMask < math.MaxInt32 && l.fits(largest+1) {
			t.Fatalf("%d shard bits, %d group bits: largest number %d; %+v", shardBits, groupBits, largest, l)
		}
		remainders := []uint64{0, ^uint64(0) << l.low, 1 << l.low, r.Uint64() << l.low}
		for _, ref := range []int32{1, 2, largest/2 + 1, largest, 1 + r.Int32N(largest)} {
			for _, tag := range []uint8{0, 1, 127, 128, 254, uint8(r.UintN(255))} {
				for dist := range uint64(ProbeGroupsMax) {
					for _, key := range remainders {
						w := key + dist*l.step | l.entry(ref, tag)
						wantTag := tag
						if l.tagBits == 0 {
							wantTag = TagUnknown
						}
						if l.ref(w) != ref || l.tag(w) != wantTag || l.dist(w) != dist || w&^l.lowMask != key {
							t.Fatalf("%d shard bits, %d group bits: word %#x of %d, tag %d, distance %d, remainder %#x reads as %d, tag %d, distance %d, remainder %#x",
								shardBits, groupBits, w, ref, tag, dist, key, l.ref(w), l.tag(w), l.dist(w), w&^l.lowMask)
						}
						// Nothing but an entry looks like one, and the key of an entry
						// matches it alone.
						if w == 0 || w == l.frozen || w&l.refMask == 0 || w^(key+dist*l.step) >= l.step || l.frozen^(key+dist*l.step) < l.step {
							t.Fatalf("%d shard bits, %d group bits: word %#x", shardBits, groupBits, w)
						}
						if other := key + (dist+1)*l.step; w^other < l.step {
							t.Fatalf("%d shard bits, %d group bits: word %#x matches distance %d too", shardBits, groupBits, w, dist+1)
						}
					}
				}
			}
		}
		if l.frozen&l.refMask != 0 || l.frozen == 0 || l.frozen&^l.lowMask != 0 || l.dist(l.frozen) != distFrozen {
			t.Fatalf("%d shard bits, %d group bits: frozen %#x", shardBits, groupBits, l.frozen)
		}
	})
}

// A table finds the hash again from where a word stands, wherever that is: with and
// without a mixer, at every distance, around the end of the table.
func TestUnplaceUndoesPlace(t *testing.T) {
	r := seeded(t)
	forEachLayout(func(shardBits, groupBits uint, l layout) {
		for _, m := range []mixer{{}, newMixer(addrBits - shardBits)} {
			for _, groups := range []uint64{1 << groupBits, 1<<groupBits | r.Uint64N(1<<groupBits), 2<<groupBits - 1} {
				tab := &table{layout: l, groups: groups, groupBits: groupBits, mixer: m}
				tab.span = span{depth: shardBits, count: 2, first: 2 * r.IntN(1<<shardBits)}
				prefix, unit := tab.prefix(), uint64(1)<<addrPad
				within := ^uint64(0) >> shardBits
				hashes := []uint64{unit, -unit, 1 << 63, r.Uint64(), r.Uint64()}
				for range 10 {
					// The first hash of a home, and the last of the one before.
					start := tab.start(r.Uint64N(groups)) >> shardBits
					hashes = append(hashes, start, start-unit)
				}
				for _, h := range hashes {
					h = (h&within | prefix) >> addrPad << addrPad
					home, key := tab.place(h)
					if home >= groups || key&l.lowMask != 0 {
						t.Fatalf("%d shard bits, %d groups: place(%#x) = %#x, %#x", shardBits, groups, h, home, key)
					}
					for dist := range uint64(ProbeGroupsMax) {
						w := key + dist*l.step | l.entry(1, 7)
						if back := tab.unplace((home+dist)%groups, w); back != h {
							t.Fatalf("%d shard bits, %d groups, distance %d, mixer %v: unplace(place(%#x)) = %#x", shardBits, groups, dist, m.on, h, back)
						}
					}
				}
			}
		}
	})
}

// newTable takes the smallest layout that has room for a number, and the tag with it
// where there is room for that, in at most 1/32 byte for each number up to it.
func TestNewTableMakesRoomForTheNumber(t *testing.T) {
	for _, shardBits := range []uint{0, 1, 4, 10, 16} {
		for bit := range 31 {
			for _, ref := range []int32{1 << bit, 1<<bit - 1, math.MaxInt32 >> (30 - bit)} {
				if slow && ref > 1<<28 {
					continue
				}
				a := region.NewArena(nil)
				tab, err := newTable(a, span{depth: shardBits, count: 1}, groupsMin, ref, mixer{})
				if err != nil {
					t.Fatal(err)
				}
				if !tab.fits(ref) {
					t.Errorf("%d shard bits: a table for number %d has room up to %d", shardBits, ref, tab.refMask)
				}
				groups := tab.groups
				if groups > 2 && int64(groups)*groupBytes<<shardBits > int64(ref)/32 {
					t.Errorf("%d shard bits: a table for number %d has %d groups", shardBits, ref, groups)
				}
				if tagged := newLayout(shardBits, tab.groupBits, true); tab.tagBits == 0 && tagged.fits(ref) {
					t.Errorf("%d shard bits: a table for number %d has no tags, but has room for them", shardBits, ref)
				}
				a.Close()
			}
		}
	}
}

// Of the slots of a group, find returns the one that matches the key, or 0 and the last.
func TestFindAgainstAPlainLoop(t *testing.T) {
	r := seeded(t)
	l := newLayout(4, 5, true)
	keys := []uint64{0, 1 << l.low, 2 << l.low, 3 << l.low, 0x155 << l.low}
	for range 100_000 {
		var g group
		used := map[uint64]bool{}
		n := r.IntN(groupSlots + 1)
		for i := range n {
			for {
				k := keys[r.IntN(len(keys))] + r.Uint64N(ProbeGroupsMax)*l.step
				if !used[k] {
					used[k] = true
					g[i] = k | l.entry(1+r.Int32N(int32(l.refMask)), uint8(r.UintN(256)))
					break
				}
			}
		}
		if n < groupSlots && r.IntN(2) == 0 {
			g[n] = l.frozen
		}
		key := keys[r.IntN(len(keys))] + r.Uint64N(ProbeGroupsMax)*l.step
		want := uint64(0)
		for _, w := range g {
			if w&l.refMask != 0 && w&^(l.step-1) == key {
				want = w
			}
		}
		if got, last := find(&g, key, l.step); got != want || want == 0 && last != g[7] {
			t.Fatalf("find(%#x, %#x) = %#x, %#x; want %#x, %#x", g, key, got, last, want, g[7])
		}
	}
}

// claim takes the first empty slot, unless the address is there, the group is full, or
// it is closed.
func TestClaim(t *testing.T) {
	l := newLayout(0, 5, true)
	word := func(key uint64) uint64 { return key<<l.low | l.entry(int32(key), 3) }
	var g group
	for i := range groupSlots {
		w := word(uint64(i + 1))
		before := g
		want := claimed
		if i == groupSlots-1 {
			want = claimedLast
		}
		if res, got := claim(&g, w, &l); res != want || got != w || g[i] != w {
			t.Fatalf("claim of slot %d in %#x = %d, %#x: %#x", i, before, res, got, g)
		}
		again := w ^ l.entry(int32(i+1), 3) | l.entry(99, 4)
		if res, got := claim(&g, again, &l); res != claimFound || got != w {
			t.Fatalf("claim of a key that is there = %d, %#x; want found, %#x", res, got, w)
		}
	}
	full := g
	if res, _ := claim(&g, word(100), &l); res != claimFull || g != full {
		t.Fatalf("claim in a full group = %d: %#x", res, g)
	}
	for n := range groupSlots {
		closed := full
		clear(closed[n:])
		closed[n] = l.frozen
		g = closed
		if res, _ := claim(&g, word(100), &l); res != claimFrozen || g != closed {
			t.Fatalf("claim in a group frozen at slot %d = %d: %#x", n, res, g)
		}
	}
}

// Freezing closes every group and says how many entries it has; again changes nothing;
// thawing undoes it.
func TestFreezeAndThaw(t *testing.T) {
	tab, err := newTable(region.NewArena(nil), span{count: 1}, 16, 0, mixer{})
	if err != nil {
		t.Fatal(err)
	}
	before := make([]group, tab.groups)
	for i := range before {
		for j := range i % (groupSlots + 1) {
			before[i][j] = uint64(i*8+j+1)<<tab.low | tab.entry(int32(j+1), 1)
		}
		*tab.group(uint64(i)) = before[i]
	}
	for range 2 {
		for i := range before {
			g := tab.group(uint64(i))
			if n := tab.freezeGroup(g); n != i%(groupSlots+1) {
				t.Errorf("freezeGroup of group %d = %d; want %d", i, n, i%(groupSlots+1))
			}
			if g[7] == 0 && g[i%(groupSlots+1)] != tab.frozen {
				t.Errorf("group %d is not closed: %#x", i, *g)
			}
		}
	}
	tab.thaw()
	for i := range before {
		if got := *tab.group(uint64(i)); got != before[i] {
			t.Errorf("group %d after freezing and thawing: %#x; want %#x", i, got, before[i])
		}
	}
}

// The largest number of a table is final: looking for it closes every group.
func TestLargestRefFreezes(t *testing.T) {
	tab, err := newTable(region.NewArena(nil), span{count: 1}, 16, 0, mixer{})
	if err != nil {
		t.Fatal(err)
	}
	for home := range tab.groups {
		if res, _ := tab.insert(home<<60|1<<63>>20, int32(home+1), 1); res != claimed {
			t.Fatalf("insert into group %d = %d; want claimed", home, res)
		}
	}
	if got, want := tab.largestRef(), int32(tab.groups); got != want {
		t.Errorf("largestRef() = %d; want %d", got, want)
	}
	for home := range tab.groups {
		if res, _ := tab.insert(home<<60|1<<63>>21, 100, 1); res != claimFrozen {
			t.Errorf("insert into group %d after largestRef = %d; want frozen", home, res)
		}
	}
}

// Room for n well-mixed entries means a fill of fillAim at most, and not much less but for
// few entries, where chance matters.
func TestGroupsFor(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 10_000 {
		n := 1 + r.IntN(1<<(1+r.UintN(28)))
		slots := groupSlots * groupsFor(float64(n))
		fill := float64(n) / float64(slots)
		least := 0.0
		switch {
		case n > 100_000:
			least = fillAim * 0.99
		case n > 5000:
			least = fillAim * 0.95
		case n > 500:
			least = fillAim * 0.8
		case n > 20:
			least = fillAim * 0.4
		}
		if fill > fillAim || fill < least {
			t.Fatalf("%d entries: %d slots, fill %.3f; want %.3f to %.3f", n, slots, fill, least, fillAim)
		}
	}
	if got := groupsFor(0); got != groupsMin {
		t.Errorf("groupsFor(0) = %d; want %d", got, groupsMin)
	}
	if got := groupsFor(math.MaxInt); got != 1<<groupBitsMax {
		t.Errorf("groupsFor(MaxInt) = %d; want %d", got, 1<<groupBitsMax)
	}
}
