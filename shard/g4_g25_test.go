package shard

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/objhash/objhash/internal/region"
)

// limited opens an index whose memory is limited to n bytes.
func (s setup) limited(t testing.TB, n int64) (Index, *region.Budget) {
	t.Helper()
	budget := region.NewBudget(n)
	return s.open(t, fewShards, func(c *Config) { c.Budget = budget }), budget
}

// At the limit an insert is an error that says so, however often it is tried;
// everything inserted before stays, is found, and is returned by inserts of it.
func TestG4_LimitIsAnError(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		const limit = 96 << 10
		x, budget := s.limited(t, limit)
		want := make(map[uint64]stored)
		refused := 0
		for i, ref := 0, int32(1); refused < sized(2000); i++ {
			ptr := s.address(i)
			if i%31 == 17 {
				ptr = wideAddress(i)
			}
			got, tag, err := x.Insert(ptr, ref, tagOf(ref))
			if used := budget.Used(); used > limit {
				t.Fatalf("%d bytes in use; limit %d", used, limit)
			}
			switch {
			case err == nil && got == ref && rightTag(x, tag, tagOf(ref)):
				want[ptr] = stored{ref, tagOf(ref)}
				ref++
			case got == 0 && errors.Is(err, ErrLimit) && errors.Is(err, region.ErrBudget) && !errors.Is(err, ErrClosed):
				refused++
				if ref, _ := x.Lookup(ptr); ref != 0 {
					t.Fatalf("address %#x was refused, but has %d", ptr, ref)
				}
			default:
				t.Fatalf("Insert(%#x, %d) = %d, tag %d, %v", ptr, ref, got, tag, err)
			}
		}
		// Two words for each slot and a table half full, or half a table beside it.
		if len(want) < limit/128 {
			t.Errorf("%d entries in %d bytes", len(want), limit)
		}
		mustHold(t, x, want)
		for ptr, w := range want {
			got, tag, err := x.Insert(ptr, math.MaxInt32, 1)
			if err != nil || got != w.ref || !rightTag(x, tag, w.tag) {
				t.Fatalf("Insert(%#x) of a known address at the limit = %d, tag %d, %v; want %d, tag %d", ptr, got, tag, err, w.ref, w.tag)
			}
		}
		mustHold(t, x, want)
	})
}

// What fails at the limit keeps no lock: other inserts go on to fail, and Close to work.
func TestG4_FailedInsertsKeepNoLock(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		x, _ := s.limited(t, 64<<10)
		mustReturn(t, "inserts at the limit, and Close", func() {
			for i, refused := 0, 0; refused < 3; i++ {
				if _, _, err := x.Insert(s.address(i), int32(i+1), 1); err != nil {
					refused++
				}
			}
			x.Close()
		})
	})
}

// A batch at the limit does the elements it can, and names those it cannot.
func TestG4_LimitWithinABatch(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		const limit = 48 << 10
		x, _ := s.limited(t, limit)
		want := make(map[uint64]stored)
		next := int32(1)
		failing := 0
		for at := 0; failing < 4; at += 500 {
			ptrs := make([]uint64, 0, 1000)
			for i := at; i < at+500; i++ {
				ptrs = append(ptrs, s.address(i))
				if len(want) > 0 && i%2 == 0 {
					ptrs = append(ptrs, s.address(i/3)) // most of them known
				}
			}
			refs := make([]int32, len(ptrs))
			used, err := x.InsertBatch(ptrs, 3, next, refs)
			before := int32(0)
			failed := make(map[string]bool) // elements that the error names
			if err != nil {
				for line := range strings.Lines(err.Error()) {
					element, _, _ := strings.Cut(line, ":")
					failed[element] = true
				}
			}
			for i, ref := range refs {
				w, known := want[ptrs[i]]
				switch {
				case known && ref == w.ref:
				case !known && ref == next+before && ref != 0:
					want[ptrs[i]] = stored{ref, 3}
					before++
				case !known && ref == 0 && failed[fmt.Sprintf("element %d", i)]:
				default:
					t.Fatalf("element %d, address %#x: number %d; want %d (0: new, next is %d); %d elements failed", i, ptrs[i], ref, w.ref, next+before, len(failed))
				}
			}
			if int(before) != used {
				t.Fatalf("InsertBatch used %d numbers, but inserted %d", used, before)
			}
			next += before
			if err != nil {
				failing++
				if !errors.Is(err, ErrLimit) {
					t.Fatalf("error %v; want ErrLimit", err)
				}
			}
		}
		mustHold(t, x, want)
	})
}

// Memory that somebody else gives back can be used: nothing that happened at the limit
// stands in the way, in no shard.
func TestG4_GoesOnWhenThereIsMemoryAgain(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		const limit = 256 << 20 // far more than the entries need
		x, budget := s.limited(t, limit)
		want := make(map[uint64]stored)
		next := int32(1)
		i := 0
		insert := func() error {
			ptr := s.address(i)
			i++
			got, _, err := x.Insert(ptr, next, tagOf(next))
			if err == nil {
				if got != next {
					t.Fatalf("Insert(%#x, %d) = %d", ptr, next, got)
				}
				want[ptr] = stored{next, tagOf(next)}
				next++
			}
			return err
		}
		for range 3 + sized(8)/4 {
			// Nothing is left for a larger table.
			taken := limit - budget.Used()
			if err := budget.Take(taken); err != nil {
				t.Fatal(err)
			}
			for refused := 0; refused < 20; {
				if err := insert(); err != nil {
					if !errors.Is(err, ErrLimit) {
						t.Fatal(err)
					}
					refused++
				}
			}
			budget.Give(taken)
			mustReturn(t, "inserts with memory again", func() {
				for range len(want)/4 + 100 {
					if err := insert(); err != nil {
						t.Error(err)
						return
					}
				}
			})
			if t.Failed() {
				t.FailNow()
			}
		}
		mustHold(t, x, want)
	})
}

// However many threads run into the limit at once, the budget is never exceeded, not
// even for a moment, and what they were told is what is in.
func TestG25_BudgetHoldsUnderConcurrency(t *testing.T) {
	oversubscribe(t)
	forEachSetup(t, func(t *testing.T, s setup) {
		const workers, limit = 4, 64 << 10
		n := sized(6000)
		x, budget := s.limited(t, limit)
		var (
			fails   = failures{t: t}
			working atomic.Int64
			refused atomic.Int64
			wins    [workers]map[uint64]stored
		)
		working.Store(workers)
		together(workers+1, func(w int) {
			if w == workers {
				for working.Load() > 0 && !fails.enough() {
					if used := budget.Used(); used > limit || used < 0 {
						fails.errorf("%d bytes in use; limit %d", used, limit)
					}
					runtime.Gosched()
				}
				return
			}
			defer working.Add(-1)
			wins[w] = make(map[uint64]stored)
			next := int32(w*n + 1)
			for i := range n {
				// Two workers at each address.
				ptr := s.address((i + w/2*n/2) % n)
				if i%40 == 3 {
					ptr = wideAddress(i)
				}
				got, tag, err := x.Insert(ptr, next, tagOf(next))
				switch {
				case err != nil:
					refused.Add(1)
					if !errors.Is(err, ErrLimit) || got != 0 {
						fails.errorf("Insert(%#x, %d) = %d, %v", ptr, next, got, err)
					}
				case !rightTag(x, tag, tagOf(got)):
					fails.errorf("Insert(%#x, %d) = %d, tag %d; want tag %d", ptr, next, got, tag, tagOf(got))
				case got == next:
					wins[w][ptr] = stored{next, tagOf(next)}
					next++
				}
				if ref, _ := x.Lookup(ptr); err == nil && ref != got {
					fails.errorf("Lookup(%#x) = %d after Insert returned %d", ptr, ref, got)
				}
			}
		})
		if t.Failed() {
			t.FailNow()
		}
		if refused.Load() == 0 && !slow && !testing.Short() {
			t.Errorf("nobody ran into the limit: %d bytes in use", budget.Used())
		}
		want := make(map[uint64]stored)
		for _, won := range wins {
			for ptr, w := range won {
				if other, twice := want[ptr]; twice {
					t.Fatalf("address %#x was inserted under %d and %d", ptr, other.ref, w.ref)
				}
				want[ptr] = w
			}
		}
		mustHold(t, x, want)
	})
}

// slotBytes is what a slot takes.
func (s subject) slotBytes() int64 {
	if s.name == "locked" {
		return 16
	}
	return 8
}

// tableBytes returns what the tables of x take that are in use.
func (s subject) tableBytes(x Index) int64 { return int64(x.Stats().Slots) * s.slotBytes() }

// slotsEachMax is how many slots an object costs at most, right after a growth. A
// compact table is doubled if it is 0.55 full or more. A locked one is doubled from
// 0.5, and once more if its new random multiplier happens to be a bad one.
func (s subject) slotsEachMax() float64 {
	if s.name == lockedSubject.name {
		return 2 * 2 / 0.5
	}
	return 2 / 0.55 * 1.02
}

const (
	// Where addresses are well mixed it is 0.70 full then, but for one table in some
	// hundred that happens to reach the probe bound before.
	slotsEachMaxMixed = 2 / 0.60 * 1.02
	// Below some hundred objects it is the smallest sizes of the tables that count.
	smallTablesBytes = 3 << 10 // for each shard
	// What tables that have been replaced take, until blocks are given back.
	replacedBytesMax = 6 << 20
)

// What an object costs, at every moment of a life from empty to large, whatever the
// hash: see the package doc, G25. The moments that cost most are right after a growth.
func TestG25_BytesForEachObject(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		budget := region.NewBudget(0)
		x := s.open(t, func(c *Config) { c.Budget = budget })
		empty, last := x.Bytes(), int64(0)
		for i := range sized(300_000) {
			mustInsert(t, x, s.address(i), int32(i+1))
			used := budget.Used()
			if used == last {
				continue
			}
			last = used
			tables := s.tableBytes(x)
			small := int64(x.Stats().Shards+15) * smallTablesBytes
			if most := int64(s.slotsEachMax()*float64(i+1))*s.slotBytes() + small; tables > most {
				t.Fatalf("%d bytes of tables for %d objects; want at most %d; %+v", tables, i+1, most, x.Stats())
			}
			// Replaced tables are half as large, a quarter, ...; one more is as large if
			// the hash had to be changed.
			if most := empty + tables + min(2*tables, replacedBytesMax) + small; used > most {
				t.Fatalf("%d bytes in use, of these %d of tables, for %d objects; want at most %d; %+v", used, tables, i+1, most, x.Stats())
			}
		}
	})
}

// With well-mixed addresses tables are fuller when they grow.
func TestG25_BytesForEachWellMixedObject(t *testing.T) {
	r := seeded(t)
	x := compactSubject.open(t, Config{Shards: 1})
	last := int64(0)
	for i := range sized(300_000) {
		mustInsert(t, x, r.Uint64()<<addrPad>>addrPad>>1, int32(i+1))
		if i%1000 != 999 || i < 20_000 {
			continue
		}
		if bytes := x.Bytes(); bytes != last {
			last = bytes
			if slots := x.Stats().Slots; float64(slots) > slotsEachMaxMixed*float64(i+1) {
				t.Fatalf("%d slots for %d objects; want at most %.2f for each; %+v", slots, i+1, slotsEachMaxMixed, x.Stats())
			}
		}
	}
}

// A successor that turns out too small for the numbers in the table is given back, like a
// table that has been replaced.
func TestG25_AbandonedTablesAreGivenBack(t *testing.T) {
	budget := region.NewBudget(0)
	x, err := NewCompact(Config{Shards: 1, Expected: 100_000, Budget: budget})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	const large = 600_000 // needs the tag's bits
	mustInsert(t, x, heapAddress(0), large)
	rounds := sized(60)
	each := compactSubject.tableBytes(x)
	for range rounds {
		if err := replaceTable(x); err != nil {
			t.Fatal(err)
		}
		mustFind(t, x, heapAddress(0), stored{large, tagOf(large)})
	}
	if used, most := budget.Used(), compactSubject.tableBytes(x)+3*each+replacedBytesMax; used > most {
		t.Errorf("%d bytes in use after %d replacements; want at most %d", used, rounds, most)
	}
}

// Losers of a race for a wide address are not charged for it.
func TestG25_WideAddressesAreChargedOnce(t *testing.T) {
	oversubscribe(t)
	const n = 4000
	for range sized(8) {
		x := compactSubject.open(t, Config{})
		empty := x.Bytes()
		together(4, func(w int) {
			for i := range n {
				if _, _, err := x.Insert(wideAddress(i), int32(w*n+i+1), 1); err != nil {
					t.Error(err)
					return
				}
			}
		})
		if got, want := x.Bytes()-empty, int64(n*wideEntryBytes); got != want {
			t.Fatalf("%d bytes for %d wide addresses; want %d", got, n, want)
		}
		x.Close()
	}
}

// What Close gives back, somebody else can have: all of it.
func TestG25_CloseGivesTheBudgetBack(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		for _, n := range []int{0, 10, 1000, sized(100_000)} {
			const others = 12345
			budget := region.NewBudget(0)
			if err := budget.Take(others); err != nil {
				t.Fatal(err)
			}
			x := s.open(t, func(c *Config) { c.Budget = budget })
			for i := range n {
				mustInsert(t, x, s.address(i), int32(i+1))
				if i%10 == 0 {
					mustInsert(t, x, wideAddress(i), int32(n+i+1))
				}
			}
			x.Close()
			if used := budget.Used(); used != others {
				t.Errorf("%d bytes in use after Close of an index of %d; want %d", used, n, others)
			}
		}
	})
}

// An index that there is no memory for leaves nothing behind.
func TestG25_FailedNewGivesTheBudgetBack(t *testing.T) {
	forEachSubject(t, func(t *testing.T, sub subject) {
		for _, limit := range []int64{1, 1000, 100_000} {
			budget := region.NewBudget(limit)
			if _, err := sub.make(Config{Shards: 1024, Budget: budget}); !errors.Is(err, ErrLimit) {
				t.Fatalf("1024 shards in %d bytes: error %v; want ErrLimit", limit, err)
			}
			if used := budget.Used(); used != 0 {
				t.Errorf("%d bytes in use after a failure to make an index in %d", used, limit)
			}
		}
	})
}

// Large numbers need more bits, not more memory than numbers as large must have cost:
// at most 1/16 byte for each (newTable; successors have room for numbers up to twice as
// large), however they come. Tags come back or are unknown.
func TestG25_LargeNumbersInSmallTables(t *testing.T) {
	numbers := map[string][]int32{
		"the largest":          {math.MaxInt32},
		"the largest first":    {math.MaxInt32, 1, 2, 3, 4, 5},
		"falling":              {1 << 24, 1 << 20, 1 << 16, 1 << 12, 1 << 8, 1 << 4, 1},
		"rising":               {1, 1 << 4, 1 << 8, 1 << 12, 1 << 16, 1 << 20, 1 << 24, 1 << 28},
		"around powers of two": nil,
		"small behind large":   {8000},
		"large behind small":   nil,
	}
	for bit := range 27 {
		numbers["around powers of two"] = append(numbers["around powers of two"], 1<<bit, 1<<bit+1<<bit/2, 2<<bit-1)
	}
	numbers["around powers of two"] = slices.Compact(numbers["around powers of two"])
	for i := range int32(400) {
		numbers["small behind large"] = append(numbers["small behind large"], i+1)
		numbers["large behind small"] = append(numbers["large behind small"], i+1)
	}
	numbers["large behind small"] = append(numbers["large behind small"], 1<<26, 1000, 1001)

	forEachSetup(t, func(t *testing.T, s setup) {
		for name, refs := range numbers {
			if slow && s.quality.name != "4bits" && refs[0] == math.MaxInt32 {
				continue // a table of 32 MiB each
			}
			t.Run("numbers="+name, func(t *testing.T) {
				x := s.open(t)
				start := s.tableBytes(x)
				want := make(map[uint64]stored)
				largest := int64(0)
				for i, ref := range refs {
					mustInsert(t, x, s.address(i), ref)
					want[s.address(i)] = stored{ref, tagOf(ref)}
					for ptr, w := range want {
						mustFind(t, x, ptr, w)
					}
					largest = max(largest, int64(ref))
					most := start + largest/16 + 8*s.slotBytes()*int64(len(want)) + 1024
					if tables := s.tableBytes(x); tables > most {
						t.Fatalf("%d bytes of tables with %d entries, the largest number %d; want at most %d", tables, len(want), largest, most)
					}
				}
				mustHold(t, x, want)
			})
		}
	})
}

// Random numbers, as of many handles with leases here and there: in any order, of any
// size, while tables grow for lack of room.
func TestG25_NumbersInAnyOrder(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		r := seeded(t)
		for range sized(40) {
			x := s.open(t)
			want := make(map[uint64]stored)
			taken := make(map[int32]bool)
			top := uint(4 + r.IntN(18))
			for i := range 600 {
				ref := int32(1 + r.Uint32N(1<<(1+uint(r.IntN(int(top))))))
				for taken[ref] {
					ref++
				}
				taken[ref] = true
				mustInsert(t, x, s.address(i), ref)
				want[s.address(i)] = stored{ref, tagOf(ref)}
			}
			mustHold(t, x, want)
			x.Close()
		}
	})
}

// colliding returns addresses whose hashes by multiplier mul are equal in all but the
// lowest bits. Compact multiplies modulo 2^48, Locked modulo 2^64.
func colliding(mul uint64, width uint, top uint64, n int) []uint64 {
	inv, pad := inverse(mul), 64-width
	ptrs := make([]uint64, n)
	for i := range ptrs {
		hash := top | uint64(i+1)
		ptrs[i] = uint64(int64(hash*inv<<pad) >> pad)
	}
	return ptrs
}

// Addresses chosen with knowledge of the multiplier all go for one group. They cost a
// copy, not a doubling each: memory stays what it is for others, tables are replaced
// about as often, and no entry is further from home than the bound.
func TestG24_ChosenAddressesForTheMultiplier(t *testing.T) {
	n := sized(60_000)
	for seed := range uint64(3) {
		for _, shards := range []int{1, 16} {
			config := Config{Seed: seed, Shards: shards}
			mul := multiplierFor(config)
			t.Run("index=compact", func(t *testing.T) {
				testChosenAddresses(t, compactSubject, config, colliding(mul, addrBits, 0xa5a<<36, n))
			})
			t.Run("index=locked", func(t *testing.T) {
				testChosenAddresses(t, lockedSubject, config, colliding(mul<<addrPad|1, 64, 0xa5a<<52, n))
			})
		}
	}
}

func testChosenAddresses(t *testing.T, sub subject, config Config, ptrs []uint64) {
	budget := region.NewBudget(0)
	config.Budget = budget
	x := sub.open(t, config)
	defer x.Close()
	last := int64(0)
	for i, ptr := range ptrs {
		mustInsert(t, x, ptr, int32(i+1))
		if used := budget.Used(); used != last {
			last = used
			most := int64(sub.slotsEachMax()*float64(i+1))*sub.slotBytes() + 16*smallTablesBytes
			if sub.name == lockedSubject.name {
				most *= 2 // addresses chosen against one multiplier may be bad for the next
			}
			if tables := sub.tableBytes(x); tables > most {
				t.Fatalf("%d bytes of tables for %d objects; want at most %d; %+v", tables, i+1, most, x.Stats())
			}
		}
	}
	st := x.Stats()
	if replaced, most := st.Growths+st.Rehashes, int64(log2ceil(uint64(len(ptrs)))+4); replaced > most || st.Rehashes == 0 {
		t.Errorf("%d growths and %d rehashes for %d entries; want 1 or more rehashes, and at most %d of both", st.Growths, st.Rehashes, len(ptrs), most)
	}
	for i, ptr := range ptrs {
		mustFind(t, x, ptr, stored{int32(i + 1), tagOf(int32(i + 1))})
	}
	mustBeConsistent(t, x, len(ptrs))
}

// A shard that mixes already may meet addresses that defeat its mixer, by luck or by a
// leak: it takes another, rather than grow until they are apart.
func TestG24_ChosenAddressesForTheMixer(t *testing.T) {
	for _, shards := range []int{1, 16} {
		const limit = 4 << 20 // rather than all of the machine's memory
		budget := region.NewBudget(limit)
		x, err := NewCompact(Config{Shards: shards, Budget: budget})
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		next := int32(1)
		insert := func(ptrs []uint64) {
			t.Helper()
			mustReturn(t, "inserts of chosen addresses", func() {
				for _, ptr := range ptrs {
					if got, _, err := x.Insert(ptr, next, tagOf(next)); err != nil || got != next {
						t.Errorf("shards %d, entry %d: Insert(%#x) = %d, %v; %+v", shards, next, ptr, got, err, x.Stats())
						return
					}
					next++
				}
			})
			if t.Failed() {
				t.FailNow()
			}
		}
		insert(colliding(x.mul, addrBits, 0xa5a<<36, 2000))
		s, _ := x.hash(colliding(x.mul, addrBits, 0xa5a<<36, 1)[0])
		for round := range 3 {
			m := s.tab.Load().mixer
			if !m.on {
				t.Fatalf("shards %d: chosen addresses, but no mixer: %+v", shards, x.Stats())
			}
			// Mixed hashes equal in all but the lowest bits.
			ptrs := make([]uint64, 400)
			for i := range ptrs {
				tab := s.tab.Load()
				mixed := uint64(0x5a5a)<<48 | uint64(round*len(ptrs)+i+1)<<(addrPad+tab.depth)
				ptrs[i] = x.address(tab.prefix() | m.unmix(mixed)>>tab.depth)
			}
			insert(ptrs)
			if tables := compactSubject.tableBytes(x); tables > int64(next)*32+16*smallTablesBytes {
				t.Fatalf("shards %d: %d bytes of tables with %d entries, the last %d of them chosen; %+v", shards, tables, next-1, len(ptrs), x.Stats())
			}
		}
		mustBeConsistent(t, x, int(next-1))
	}
}

// Addresses chosen so that each group that fills up is full without displacing
// anybody: a quarter of the groups, and nothing in the others.
func TestG24_ChosenAddressesForFullGroups(t *testing.T) {
	x, err := NewCompact(Config{Shards: 1, Multiplier: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	n := sized(40_000)
	for i := range n {
		// Eight for each value of the top bits, in an order that spreads them evenly
		// over tables of any size.
		ptr := bits.Reverse64(uint64(i/8)) | uint64(i%8+1)<<addrPad
		ptr = uint64(int64(ptr) >> addrPad)
		if got, _, err := x.Insert(ptr, int32(i+1), 1); err != nil || got != int32(i+1) {
			t.Fatalf("Insert(%#x) = %d, %v", ptr, got, err)
		}
	}
	st := x.Stats()
	if each := float64(st.Slots) / float64(n); each > compactSubject.slotsEachMax() {
		t.Errorf("%.1f slots for each of %d objects; %+v", each, n, st)
	}
}

// A table knows how many of its groups are full, those that filled up in it and those
// that came full from the one before: it grows by that, before probes get long.
func TestG24_FullGroupsAreCounted(t *testing.T) {
	x, err := NewCompact(Config{Shards: 1, Multiplier: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	for i := range 1000 {
		// Eight for each value of the top bits: their group stays full as tables double.
		ptr := bits.Reverse64(uint64(i/8)) | uint64(i%8+1)<<addrPad
		mustInsert(t, x, uint64(int64(ptr)>>addrPad), int32(i+1))
		tab := x.dir[0].tab.Load()
		full := int64(0)
		for j := range tab.groups {
			if tab.group(j)[groupSlots-1]&tab.refMask != 0 {
				full++
			}
		}
		if got := tab.full.Load(); got != full {
			t.Fatalf("%d entries: %d groups are full, and %d are counted; %+v", i+1, full, got, x.Stats())
		}
	}
	if x.Stats().Growths < 2 {
		t.Errorf("the table never grew: %+v", x.Stats())
	}
}

// An entry may be as far from home as the bound says: while the last of those groups
// has room, it is found, nothing is refused, and no table replaced; nor is the copy of
// such a table.
func TestG24_ProbesGoAsFarAsTheBound(t *testing.T) {
	const n = ProbeGroupsMax * groupSlots // addresses of one home group
	x, err := NewCompact(Config{Shards: 1, Multiplier: 1, Expected: 300})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	want := make(map[uint64]stored)
	for i := range uint64(n) {
		mustInsert(t, x, i+1, int32(i+1))
		want[i+1] = stored{int32(i + 1), tagOf(int32(i + 1))}
		mustHold(t, x, want)
	}
	st := x.Stats()
	if st.Growths+st.Rehashes != 0 || st.Probes[ProbeGroupsMax-1] != groupSlots {
		t.Fatalf("%d addresses of one home: %+v; want groups full up to distance %d, in the first table", n, st, ProbeGroupsMax-1)
	}
	for ptr, w := range want {
		if got, _, err := x.Insert(ptr, 999, 1); got != w.ref || err != nil {
			t.Errorf("Insert(%#x) of a known address = %d, %v; want %d", ptr, got, err, w.ref)
		}
	}
	tab := x.dir[0].tab.Load()
	to, err := newTable(x.arena, tab.span, tab.groups, n, mixer{})
	if err != nil {
		t.Fatal(err)
	}
	if res := tab.moveTo(successors{to}); res != moved {
		t.Fatalf("moveTo a table of the same size = %d; want moved", res)
	}
	for ptr, w := range want {
		_, h := x.hash(ptr)
		if ref, _ := to.lookup(h); ref != w.ref {
			t.Errorf("the copy has %d for address %#x; want %d", ref, ptr, w.ref)
		}
	}
}

// No entry is further from home than the bound, however full the tables: tables of
// every small size, without any memory to grow, filled until nothing goes in any more.
func TestG24_ProbesAreBounded(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		for _, expected := range []int{0, 50, 400} {
			room := func(b *region.Budget) func(*Config) {
				return func(c *Config) { c.Budget, c.Expected = b, expected }
			}
			measure := region.NewBudget(0)
			s.open(t, room(measure))
			x := s.open(t, room(region.NewBudget(measure.Used())))
			want := make(map[uint64]stored)
			for i := range 4 * x.Stats().Slots {
				ref := int32(len(want) + 1)
				ptr := s.address(i)
				got, _, err := x.Insert(ptr, ref, tagOf(ref))
				if err == nil && got == ref {
					want[ptr] = stored{ref, tagOf(ref)}
				} else if !errors.Is(err, ErrLimit) {
					t.Fatalf("Insert(%#x, %d) = %d, %v", ptr, ref, got, err)
				}
			}
			if len(want) == 0 {
				t.Errorf("expected %d: nothing went in", expected)
			}
			// Entries by their distance: none is missing, so none is beyond the bound.
			mustHold(t, x, want)
		}
	})
}
