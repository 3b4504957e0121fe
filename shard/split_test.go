package shard

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/objhash/objhash/internal/region"
)

// mustBeDirectory checks that every shard's table is in all of its entries of the
// directory and in no others, and has what it needs to be there.
func mustBeDirectory(t *testing.T, x *Compact) {
	t.Helper()
	for i := 0; i < len(x.dir); {
		tab := x.dir[i].tab.Load()
		if tab.first != i || tab.count<<tab.depth != len(x.dir) {
			t.Fatalf("entry %d of %d has a table for %d from %d on, at depth %d", i, len(x.dir), tab.count, tab.first, tab.depth)
		}
		for j := range tab.count {
			if x.dir[i+j].tab.Load() != tab {
				t.Fatalf("entries %d and %d of one shard have two tables", i, i+j)
			}
		}
		i += tab.count
	}
}

// An index that is told nothing starts with one shard. The shards split as it grows, until
// there is one for each entry of the directory, and none has more groups than it should.
func TestShardsSplit(t *testing.T) {
	r := seeded(t)
	x := compactSubject.open(t, Config{}).(*Compact)
	if st := x.Stats(); st.Shards != 1 || st.Slots != firstGroups*groupSlots {
		t.Errorf("an empty index has %d shards and %d slots", st.Shards, st.Slots)
	}
	want := make(map[uint64]stored)
	for i, n := 0, sized(400_000); i < n; i++ {
		ptr, ref := r.Uint64()<<addrPad>>addrPad>>1, int32(i+1)
		if _, there := want[ptr]; there || ptr == 0 {
			continue
		}
		mustInsert(t, x, ptr, ref)
		want[ptr] = stored{ref, tagOf(ref)}
		if i&(i-1) == 0 || i == n-1 {
			mustBeDirectory(t, x)
			mustHold(t, x, want)
			st := x.Stats()
			if most := x.stripes + 2*st.Slots/groupSlots/splitGroups; st.Shards > most {
				t.Errorf("%d entries: %d shards, %d slots; want at most %d shards", i+1, st.Shards, st.Slots, most)
			}
		}
	}
	for i := range x.dir {
		if tab := x.dir[i].tab.Load(); tab.groups > splitGroups {
			t.Errorf("shard of entry %d has %d groups; want at most %d", i, tab.groups, splitGroups)
		}
	}
	if st := x.Stats(); st.Shards < x.stripes {
		t.Errorf("%d shards for %d entries; want at least %d", st.Shards, st.Objects, x.stripes)
	}
}

// Where there is one entry for each shard, tables grow instead.
func TestShardsDoNotSplitForEver(t *testing.T) {
	x := compactSubject.open(t, Config{Shards: 2}).(*Compact)
	n := sized(100_000)
	for i := range n {
		mustInsert(t, x, heapAddress(i), int32(i+1))
	}
	mustBeDirectory(t, x)
	mustBeConsistent(t, x, n)
	if st := x.Stats(); st.Shards != 2 {
		t.Errorf("%d shards; want 2", st.Shards)
	}
}

// A split gives each half the entries whose next bit says so, however displaced they are,
// from tables of every size, odd ones too.
func TestSplitMovesEverything(t *testing.T) {
	r := seeded(t)
	for range sized(300) {
		x := compactSubject.open(t, Config{}).(*Compact)
		s := span{depth: uint(r.IntN(4))}
		s.count = len(x.dir) >> s.depth
		s.first = r.IntN(1<<s.depth) * s.count
		old, err := newTable(x.arena, s, uint64(groupsMin+r.IntN(70)), 1000, mixer{})
		if err != nil {
			t.Fatal(err)
		}
		want := make(map[uint64]int32)
		for range 1 + r.IntN(int(old.groups)*6) {
			h := old.prefix() | r.Uint64()>>s.depth>>addrPad<<addrPad
			if r.IntN(3) == 0 { // many of one home
				h = old.prefix() | (1<<62|r.Uint64()>>40)>>s.depth>>addrPad<<addrPad
			}
			ref := int32(len(want) + 1)
			if res, _ := old.insert(h, ref, 7); res == claimed || res == claimedLast {
				want[h] = ref
			}
		}
		to, err := x.successors(old, true, old.groups, 1000, mixer{})
		if err != nil {
			t.Fatal(err)
		}
		if res := old.moveTo(to); res != moved {
			continue // one more group of one home than the bound
		}
		for h, ref := range want {
			half := 0
			if h<<s.depth>>63 != 0 {
				half = 1
			}
			if got, tag := to[half].lookup(h); got != ref || tag != 7 && tag != TagUnknown {
				t.Fatalf("hash %#x has %d, tag %d in half %d; want %d", h, got, tag, half, ref)
			}
			if got, _ := to[1-half].lookup(h); got != 0 {
				t.Fatalf("hash %#x has %d in the wrong half", h, got)
			}
		}
		mustHaveMoved(t, to, want)
		x.Close()
	}
}

// mustHaveMoved checks that the successors have the entries of want, by hash, and no others,
// and have counted their full groups.
func mustHaveMoved(t *testing.T, to successors, want map[uint64]int32) {
	t.Helper()
	n := 0
	for _, tab := range to {
		full := int64(0)
		for i := uint64(0); tab != nil && i < tab.groups; i++ {
			for _, w := range tab.group(i) {
				if w == 0 {
					break
				}
				n++
				if h := tab.unplace(i, w); want[h] != tab.ref(w) {
					t.Fatalf("word %#x in group %d is of hash %#x, number %d; want %d", w, i, h, tab.ref(w), want[h])
				}
			}
			if tab.group(i)[groupSlots-1] != 0 {
				full++
			}
		}
		if tab != nil && tab.full.Load() != full {
			t.Fatalf("%d full groups are counted; want %d", tab.full.Load(), full)
		}
	}
	if n != len(want) {
		t.Fatalf("%d entries after %d have been moved", n, len(want))
	}
}

// A split for which there is no memory changes nothing, and costs nothing.
func TestSplitWithoutMemory(t *testing.T) {
	r := seeded(t)
	budget := region.NewBudget(80 << 10)
	x := compactSubject.open(t, Config{Budget: budget}).(*Compact)
	want := make(map[uint64]stored)
	refused := 0
	for refused < 100 {
		ptr, ref := r.Uint64()<<addrPad>>addrPad>>1, int32(len(want)+1)
		if _, _, err := x.Insert(ptr, ref, tagOf(ref)); err != nil {
			refused++
			continue
		}
		want[ptr] = stored{ref, tagOf(ref)}
	}
	if x.Stats().Shards < 2 {
		t.Errorf("no shard was split: %+v", x.Stats())
	}
	mustBeDirectory(t, x)
	mustHold(t, x, want)
	if used := budget.Used(); used > 80<<10 {
		t.Errorf("%d bytes in use; limit %d", used, 80<<10)
	}
}

// Threads that insert, look up and close while all shards split: what is in stays in.
func TestSplitsBesideEverything(t *testing.T) {
	oversubscribe(t)
	for round := range sized(40) {
		x := compactSubject.open(t, Config{}).(*Compact)
		n := 2000 + 1000*(round%5)
		var inserted, next atomic.Int64
		together(4, func(w int) {
			r := rand.New(rand.NewPCG(uint64(round), uint64(w)))
			for range n {
				i := int(inserted.Load())
				if i > 0 {
					i = r.IntN(i)
					if ref, _ := x.Lookup(heapAddress(i)); ref == 0 {
						t.Errorf("address %d was inserted and is not found", i)
						return
					}
				}
				ref := int32(next.Add(1))
				ptr := heapAddress(int(ref - 1))
				if got, _, err := x.Insert(ptr, ref, 1); got != ref || err != nil {
					t.Errorf("Insert(%#x, %d) = %d, %v", ptr, ref, got, err)
					return
				}
				for done := inserted.Load(); done == int64(ref-1); done = inserted.Load() {
					inserted.CompareAndSwap(done, int64(ref))
				}
			}
		})
		mustBeDirectory(t, x)
		if got := x.Len(); got != int(next.Load()) {
			t.Fatalf("%d entries; want %d", got, next.Load())
		}
		x.Close()
	}
}
