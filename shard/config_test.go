package shard

import (
	"errors"
	"math"
	"math/bits"
	"testing"

	"github.com/objhash/objhash/internal/region"
)

func TestConfigRefusesWhatItCannotDo(t *testing.T) {
	forEachSubject(t, func(t *testing.T, sub subject) {
		for _, test := range []struct {
			name   string
			config Config
			want   error
		}{
			{"expected below 0", Config{Expected: -1}, ErrInvalid},
			{"shards below 0", Config{Shards: -1}, ErrInvalid},
			{"too many shards", Config{Shards: shardsMax + 1}, ErrInvalid},
			{"even multiplier", Config{Multiplier: 2}, ErrInvalid},
			{"no memory", Config{Expected: 1 << 20, Budget: region.NewBudget(1 << 20)}, ErrLimit},
			{"no memory for the smallest", Config{Budget: region.NewBudget(1)}, ErrLimit},
		} {
			t.Run("config="+test.name, func(t *testing.T) {
				x, err := sub.make(test.config)
				if !errors.Is(err, test.want) {
					t.Errorf("error %v; want %v", err, test.want)
				}
				if x != nil {
					t.Errorf("an index beside the error")
				}
			})
		}
	})
}

func TestConfigRoundsShardsUp(t *testing.T) {
	forEachSubject(t, func(t *testing.T, sub subject) {
		for shards, want := range map[int]int{1: 1, 2: 2, 3: 4, 16: 16, 17: 32, 1000: 1024, shardsMax: shardsMax} {
			x := sub.open(t, Config{Shards: shards})
			if got := x.Stats().Shards; got != want {
				t.Errorf("Shards: %d makes %d; want %d", shards, got, want)
			}
			mustInsert(t, x, heapAddress(1), 1)
			mustFind(t, x, heapAddress(1), stored{1, tagOf(1)})
			x.Close()
		}
	})
}

// What Expected promises is worth its memory: as many entries as that, and none of the
// tables has grown.
func TestConfigExpectedMakesRoom(t *testing.T) {
	forEachSubject(t, func(t *testing.T, sub subject) {
		for _, n := range []int{1000, 16 << 10, 85196} {
			x := sub.open(t, Config{Expected: n, Shards: 1})
			for i := range n {
				mustInsert(t, x, heapAddress(i), int32(i+1))
			}
			if st := x.Stats(); st.Growths != 0 || st.Rehashes != 0 {
				t.Errorf("Expected: %d: %d growths, %d rehashes; want none", n, st.Growths, st.Rehashes)
			}
			x.Close()
		}
	})
}

// However many entries are expected, the answer is an index or an error.
func TestG4_ExpectedBeyondTheBudget(t *testing.T) {
	forEachSubject(t, func(t *testing.T, sub subject) {
		for _, expected := range []int{1 << 28, math.MaxInt32 - 64, math.MaxInt32, math.MaxInt >> 1, math.MaxInt - 15, math.MaxInt} {
			for _, shards := range []int{1, 16} {
				x, err := sub.make(Config{Expected: expected, Shards: shards, Budget: region.NewBudget(1 << 20)})
				if err != nil {
					if !errors.Is(err, ErrLimit) {
						t.Errorf("Expected: %d, Shards: %d: error %v; want ErrLimit", expected, shards, err)
					}
					continue
				}
				// The budget cannot hold them, but an index may start smaller than told.
				mustInsert(t, x, heapAddress(1), 1)
				mustFind(t, x, heapAddress(1), stored{1, tagOf(1)})
				x.Close()
			}
		}
	})
}

// Equal seeds place equal addresses equally, and different ones differently.
func TestConfigSeedChoosesTheMultiplier(t *testing.T) {
	used := make(map[uint64]bool)
	for seed := range uint64(len(multipliers)) {
		m := multiplierFor(Config{Seed: seed})
		if again := multiplierFor(Config{Seed: seed}); again != m {
			t.Errorf("seed %d: multiplier %#x, then %#x", seed, m, again)
		}
		used[m] = true
	}
	if len(used) != len(multipliers) {
		t.Errorf("%d seeds choose %d multipliers; want as many", len(multipliers), len(used))
	}
	if m := multiplierFor(Config{Seed: 5, Multiplier: 77}); m != 77 {
		t.Errorf("Multiplier: 77 gives %d", m)
	}
}

func TestBatchesOfUnequalLengthPanic(t *testing.T) {
	forEachSubject(t, func(t *testing.T, sub subject) {
		x := sub.open(t, Config{})
		ptrs := []uint64{1, 2, 3}
		for what, f := range map[string]func(){
			"LookupBatch, short refs": func() { x.LookupBatch(ptrs, make([]int32, 2), nil) },
			"LookupBatch, long refs":  func() { x.LookupBatch(ptrs, make([]int32, 4), nil) },
			"LookupBatch, short tags": func() { x.LookupBatch(ptrs, make([]int32, 3), make([]uint8, 2)) },
			"InsertBatch, short refs": func() { x.InsertBatch(ptrs, 1, 1, make([]int32, 2)) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s: no panic", what)
					}
				}()
				f()
			}()
		}
		if n := x.Len(); n != 0 {
			t.Errorf("%d entries after refused batches; want 0", n)
		}
	})
}

func TestEmptyIndex(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		x := s.open(t)
		mustHold(t, x, nil)
		if found := x.LookupBatch(nil, nil, nil); found != 0 {
			t.Errorf("LookupBatch of nothing found %d", found)
		}
		if used, err := x.InsertBatch(nil, 1, 1, nil); used != 0 || err != nil {
			t.Errorf("InsertBatch of nothing = %d, %v", used, err)
		}
		if ref, _ := x.Lookup(s.address(0)); ref != 0 {
			t.Errorf("Lookup in an empty index = %d", ref)
		}
		if st := x.Stats(); st.Growths != 0 || st.Rehashes != 0 || st.Slots < 8 {
			t.Errorf("Stats() = %+v", st)
		}
	})
}

// A batch says for each element whether it was inserted, also where an address
// occurs twice in it, and goes on behind elements that fail.
func TestInsertBatchTellsWhatItInserted(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		x := s.open(t)
		const tag = 9
		a := func(i int) uint64 { return s.address(i) }
		mustInsert(t, x, a(0), 1000)

		ptrs := []uint64{a(1), a(0), a(1), 0, a(2), wideAddress(1), a(2), wideAddress(1), a(3)}
		want := []int32{10, 1000, 10, 0, 11, 12, 11, 12, 13}
		refs := make([]int32, len(ptrs))
		used, err := x.InsertBatch(ptrs, tag, 10, refs)
		if used != 4 {
			t.Errorf("used %d numbers; want 4", used)
		}
		if !errors.Is(err, ErrInvalid) || errors.Is(err, ErrLimit) {
			t.Errorf("error %v; want ErrInvalid for element 3", err)
		}
		for i := range ptrs {
			if refs[i] != want[i] {
				t.Errorf("element %d, address %#x: number %d; want %d", i, ptrs[i], refs[i], want[i])
			}
		}
		mustHold(t, x, map[uint64]stored{
			a(0): {1000, tagOf(1000)}, a(1): {10, tag}, a(2): {11, tag}, wideAddress(1): {12, tag}, a(3): {13, tag},
		})
	})
}

// Batches are cut into blocks: lengths on both sides of every boundary.
func TestBatchesOfEveryLength(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		for n := range 3*batchBlock + 2 {
			x := s.open(t)
			ptrs, refs := make([]uint64, n), make([]int32, n)
			want := make(map[uint64]stored, n)
			for i := range ptrs {
				ptrs[i] = s.address(i)
				if i%7 == 3 {
					ptrs[i] = wideAddress(i)
				}
				want[ptrs[i]] = stored{int32(i + 1), 5}
			}
			used, err := x.InsertBatch(ptrs, 5, 1, refs)
			if used != n || err != nil {
				t.Fatalf("InsertBatch of %d = %d, %v", n, used, err)
			}
			mustHold(t, x, want)
			if used, err = x.InsertBatch(ptrs, 6, int32(n+1), refs); used != 0 || err != nil {
				t.Fatalf("InsertBatch of %d known = %d, %v", n, used, err)
			}
			mustHold(t, x, want)
			x.Close()
		}
	})
}

// Tags come back where numbers are as dense as entries: that is what spares the
// caller a second look. A shard that is still small when a number from a large block
// comes may lose those of its first few.
func TestTagsOfDenseNumbersComeBack(t *testing.T) {
	forEachSubject(t, func(t *testing.T, sub subject) {
		for _, test := range []struct{ shards, unknownMax int }{{1, 0}, {16, 200}} {
			const n = 20_000
			x := sub.open(t, Config{Shards: test.shards})
			for i := range n {
				mustInsert(t, x, heapAddress(i), int32(i+1))
			}
			unknown := 0
			for i := range n {
				ref := int32(i + 1)
				mustFind(t, x, heapAddress(i), stored{ref, tagOf(ref)})
				if _, tag := x.Lookup(heapAddress(i)); tag != tagOf(ref) {
					unknown++
				}
			}
			if unknown > test.unknownMax {
				t.Errorf("shards %d: %d of %d tags lost; want at most %d", test.shards, unknown, n, test.unknownMax)
			}
			x.Close()
		}
	})
}

// What an index says it uses is what it takes of the budget.
func TestBytesComeOutOfTheBudget(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		budget := region.NewBudget(0)
		x := s.open(t, func(c *Config) { c.Budget = budget })
		for i := range sized(20_000) {
			mustInsert(t, x, s.address(i), int32(i+1))
			if i%64 == 0 {
				mustInsert(t, x, wideAddress(i), int32(1<<20+i))
				if bytes, used := x.Bytes(), budget.Used(); bytes != used || bytes <= 0 {
					t.Fatalf("after %d entries: Bytes() = %d; %d of the budget are used", i+1, bytes, used)
				}
			}
		}
	})
}

// On 32-bit machines a word of an entry must still be loaded at once: slots are
// aligned to their size.
func TestSlotsAreAligned(t *testing.T) {
	x, err := NewCompact(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	for i := range x.dir {
		if base := uintptr(x.dir[i].tab.Load().base); base&(groupBytes-1) != 0 {
			t.Errorf("shard %d: table at %#x; want a multiple of %d", i, base, groupBytes)
		}
	}
	if base := uintptr(closedTable.base); base&(groupBytes-1) != 0 {
		t.Errorf("closed table at %#x; want a multiple of %d", base, groupBytes)
	}
	if base := uintptr(closedLockedTable.base); bits.TrailingZeros64(uint64(base)) < 3 {
		t.Errorf("closed locked table at %#x; want a multiple of 8", base)
	}
}
