package shard

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/objhash/objhash/internal/region"
)

// grownTable returns a table of x that is as full as one is that has to grow, in as many
// entries of the directory as there are for depth.
func grownTable(tb testing.TB, x *Compact, depth uint, groups uint64) (t *table, entries int) {
	tb.Helper()
	r := rand.New(rand.NewPCG(1, groups))
	s := span{depth: depth, count: len(x.dir) >> depth}
	t, err := newTable(x.arena, s, groups, int32(groups*groupSlots<<depth), mixer{})
	if err != nil {
		tb.Fatal(err)
	}
	for t.full.Load() < t.fullLimit {
		h := r.Uint64() >> depth >> addrPad << addrPad
		switch res, _ := t.insert(h, int32(entries+1), 1); res {
		case claimedLast:
			t.full.Add(1)
			fallthrough
		case claimed:
			entries++
		case claimFull:
			tb.Fatalf("a table of %d groups is full after %d entries", groups, entries)
		}
	}
	return t, entries
}

// Tables of every size, odd ones too, with and without tags and a mixer, however displaced
// their entries: when they grow to any size up to twice theirs, or are split, every entry is
// found under its number, at home or behind groups that are full, and the groups that are
// full are counted.
func TestMovesInOrderMoveEverything(t *testing.T) {
	r := seeded(t)
	inOrder := 0
	for range sized(1500) {
		a := region.NewArena(nil)
		s := span{depth: uint(r.IntN(6)), count: 2}
		s.first = r.IntN(1<<s.depth) * s.count
		var m mixer
		if r.IntN(3) == 0 {
			m = newMixer(addrBits - s.depth)
		}
		first, groups := int32(1), uint64(groupsMin+r.IntN(70))
		if r.IntN(3) == 0 {
			groups = 2 << r.IntN(7)
		}
		if r.IntN(3) == 0 {
			first = int32(groups << s.depth << 8) // no room for tags
		}
		old, err := newTable(a, s, groups, first+1000, m)
		if err != nil {
			t.Fatal(err)
		}
		want := make(map[uint64]int32)
		clustered := r.IntN(4)
		for range r.IntN(int(old.groups) * 7) {
			rest := r.Uint64()
			if r.IntN(4) < clustered { // of a few homes
				rest = rest>>12<<10 | 1<<62
			}
			if m.on {
				rest = m.unmix(rest >> (addrPad + s.depth) << (addrPad + s.depth))
			}
			h := old.prefix() | rest>>s.depth>>addrPad<<addrPad
			ref := first + int32(len(want))
			if res, _ := old.insert(h, ref, 7); res == claimed || res == claimedLast {
				want[h] = ref
			}
		}
		var to successors
		larger := old.groups + r.Uint64N(old.groups+1)
		if r.IntN(3) == 0 {
			larger = largerThan(old.groups)
		}
		if split := !m.on && r.IntN(2) == 0; split {
			for half := range to {
				if to[half], err = newTable(a, s.half(half), max(larger/2, groupsMin), first, m); err != nil {
					t.Fatal(err)
				}
			}
		} else if to[0], err = newTable(a, s, larger, first, m); err != nil {
			t.Fatal(err)
		}
		isInOrder := to.inOrder(old)
		if res := old.moveTo(to); res != moved {
			continue // one more group of one home than the bound
		}
		for h, ref := range want {
			half, _ := to.of(h << s.depth)
			if got, tag := half.lookup(h); got != ref || tag != 7 && half.tagBits+old.tagBits == 2*tagBits {
				t.Fatalf("%d groups, %d and %d, hash %#x has %d, tag %d; want %d", old.groups, to[0].groups, half.groups, h, got, tag, ref)
			}
		}
		mustHaveMoved(t, to, want)
		if isInOrder {
			inOrder++
		}
	}
	if inOrder < sized(500) {
		t.Errorf("%d moves were in order", inOrder)
	}
}

// Addresses that defeat the hash of a small table, but not that of larger ones, leave it no
// mixer for good: the index would be one shard, and each replacement a copy of everything.
func TestMixersGoAsTablesGrow(t *testing.T) {
	x := compactSubject.open(t, Config{}).(*Compact)
	mixed := false
	n := sized(100_000)
	for i := range n {
		mustInsert(t, x, heapAddress(i), int32(i+1))
		s, _ := x.hash(heapAddress(i))
		mixed = mixed || s.tab.Load().mixer.on
	}
	mustBeConsistent(t, x, n)
	for i := range x.dir {
		if tab := x.dir[i].tab.Load(); tab.mixer.on {
			t.Errorf("shard of entry %d, depth %d, %d groups, still has a mixer", i, tab.depth, tab.groups)
		}
	}
	if st := x.Stats(); !mixed || st.Shards < x.stripes {
		t.Errorf("a mixer: %t; %d shards; want one, and at least %d", mixed, st.Shards, x.stripes)
	}
}

// BenchmarkReplace takes the replacement of one table apart. The time of an op is that of
// all steps; each has a metric of its own, the median of all times: allocation; freezing
// and copying, where one new table in several has a page fault to pay for (faulted-ns is
// that of the slowest quarter); copying once more to where there is memory, for each entry;
// publishing; and the release of the old table.
func BenchmarkReplace(b *testing.B) {
	for _, c := range []struct {
		groups uint64
		depth  uint
		split  bool
	}{
		{16, 0, false}, {32, 0, true}, {1 << 9, 3, false}, {1 << 10, 3, false}, {1 << 11, 3, true},
		{1 << 11, dirBits - 1, true}, {1 << 11, dirBits, false}, {1 << 12, dirBits, false},
		{1 << 13, dirBits, false}, {1 << 14, dirBits, false},
	} {
		b.Run(fmt.Sprintf("groups=%d/depth=%d/split=%t", c.groups, c.depth, c.split), func(b *testing.B) {
			x, err := NewCompact(Config{})
			if err != nil {
				b.Fatal(err)
			}
			defer x.Close()
			old, entries := grownTable(b, x, c.depth, c.groups)
			groups := c.groups
			if !c.split {
				groups *= 2
			}
			var alloc, fill, again, publish, release []time.Duration
			for b.Loop() {
				times := [5]time.Time{time.Now()}
				to, err := x.successors(old, c.split, groups, int32(entries<<c.depth), mixer{})
				if err != nil {
					b.Fatal(err)
				}
				times[1] = time.Now()
				if res := old.moveTo(to); res != moved {
					b.Fatalf("moveTo = %d", res)
				}
				times[2] = time.Now()
				for _, t := range to {
					if t != nil {
						x.store(t.span, t)
					}
				}
				times[3] = time.Now()
				x.abandon(to)
				times[4] = time.Now()

				b.StopTimer()
				alloc = append(alloc, times[1].Sub(times[0]))
				fill = append(fill, times[2].Sub(times[1]))
				publish = append(publish, times[3].Sub(times[2]))
				release = append(release, times[4].Sub(times[3]))
				x.store(old.span, old)
				old.thaw()
				if to, err = x.successors(old, c.split, groups, int32(entries<<c.depth), mixer{}); err != nil {
					b.Fatal(err)
				}
				for _, t := range to {
					if t != nil {
						clear(unsafe.Slice((*group)(t.base), t.groups))
					}
				}
				start := time.Now()
				old.moveTo(to)
				again = append(again, time.Since(start))
				x.abandon(to)
				old.thaw()
				b.StartTimer()
			}
			all := func(name string, d []time.Duration, quantile float64) {
				slices.Sort(d)
				b.ReportMetric(float64(d[int(quantile*float64(len(d)))]), name)
			}
			all("alloc-ns", alloc, 0.5)
			all("fill-ns", fill, 0.5)
			all("faulted-ns", fill, 0.875)
			all("publish-ns", publish, 0.5)
			all("release-ns", release, 0.5)
			b.ReportMetric(float64(again[len(again)/2])/float64(entries), "copy-ns/entry")
			slices.Sort(again)
			b.ReportMetric(float64(again[0])/float64(entries), "copy-min-ns/entry")
		})
	}
}

// BenchmarkGrowthPause grows an index several times with the same addresses, so that the
// same inserts replace tables each time: of each of them the shortest time counts, and what
// the machine does to the thread besides drops out.
func BenchmarkGrowthPause(b *testing.B) {
	for _, objects := range []int{1_000_000, 10_000_000} {
		b.Run(fmt.Sprintf("objects=%d", objects), func(b *testing.B) {
			var least []time.Duration
			for b.Loop() {
				x, err := NewCompact(Config{})
				if err != nil {
					b.Fatal(err)
				}
				for i, replaced := 0, 0; i < objects; i++ {
					growths := x.growths.Load()
					start := time.Now()
					if _, _, err := x.Insert(heapAddress(i), int32(i+1), 1); err != nil {
						b.Fatal(err)
					}
					took := time.Since(start)
					if x.growths.Load() == growths {
						continue
					}
					if replaced == len(least) {
						least = append(least, took)
					}
					least[replaced] = min(least[replaced], took)
					replaced++
				}
				x.Close()
			}
			over := 0
			for _, d := range least {
				if d > 200*time.Microsecond {
					over++
				}
			}
			slices.Sort(least)
			at := func(q float64) float64 { return float64(least[int(q*float64(len(least)-1))]) }
			b.ReportMetric(at(0.5), "p50-ns")
			b.ReportMetric(at(0.9), "p90-ns")
			b.ReportMetric(at(0.99), "p99-ns")
			b.ReportMetric(at(1), "max-ns")
			b.ReportMetric(float64(over), "over-200us")
			b.ReportMetric(float64(len(least)), "replacements")
		})
	}
}

// Where one home ends and the next one begins is what place says, for numbers of groups and
// depths that no test has the memory for, too, and also as the halves of a table see it.
func TestBoundsAreWherePlaceSays(t *testing.T) {
	r := seeded(t)
	for _, groups := range []uint64{2, 3, 5, 1024, 1365, 1536, 2047, 1 << groupBitsMax, 1<<groupBitsMax + 1, 2<<groupBitsMax - 1} {
		for _, depth := range []uint{0, 1, dirBits, 15, 16} {
			tab := &table{span: span{depth: depth, count: 1}, groups: groups, groupBits: uint(bits.Len64(groups) - 1)}
			first := r.Uint64N(groups)
			for _, first := range []uint64{0, first, max(groups, 3) - 3} {
				whole, halves := tab.bounds(first, 0, 0), tab.bounds(first, 1, 1<<63)
				for i := first; i < min(groups, first+3); i++ {
					end := whole.next()
					if want := end>>1 | 1<<63; halves.next() != want {
						t.Fatalf("%d groups, depth %d: in the half, group %d does not end at %#x", groups, depth, i, want)
					}
					last := end >> (addrPad + depth) << addrPad // bits below are no part of a hash
					if home, _ := tab.place(last); home != i {
						t.Fatalf("%d groups, depth %d: group %d ends at %#x, whose home is %d", groups, depth, i, end, home)
					}
					if end == 1<<64-1 && i == groups-1 {
						continue
					}
					if home, _ := tab.place((end + 1) >> depth); home != i+1 || tab.start(i+1) != end+1 {
						t.Fatalf("%d groups, depth %d: behind group %d comes %#x, whose home is %d", groups, depth, i, end+1, home)
					}
				}
			}
		}
	}
}
