package shard

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/objhash/objhash/internal/region"
)

// fail reports a failure from any goroutine, and tells whether there have been so
// many that going on is useless.
type failures struct {
	t *testing.T
	n atomic.Int32
}

func (f *failures) errorf(format string, args ...any) (enough bool) {
	f.t.Helper()
	n := f.n.Add(1)
	if n <= 10 {
		f.t.Errorf(format, args...)
	}
	return n >= 10
}

func (f *failures) enough() bool { return f.n.Load() >= 10 }

// Of workers that insert the same addresses at the same time, singly and in batches,
// exactly one wins each address, and all learn its number. Losers keep their number
// for their next insert, as the engine's leases do.
func TestG1_ExactlyOneInsertWins(t *testing.T) {
	oversubscribe(t)
	forEachSetup(t, func(t *testing.T, s setup) {
		r := seeded(t)
		// Small rounds for the smallest tables, and one whose tables are mapped memory,
		// which reads as zeros once it is released.
		for _, n := range append(slices.Repeat([]int{200}, sized(40)), sized(24_000)) {
			testOneInsertWins(t, s, r, n)
		}
	})
}

func testOneInsertWins(t *testing.T, s setup, r *rand.Rand, n int) {
	const workers = 4
	x := s.open(t)
	defer x.Close()
	ptrs := s.addresses(r, n)
	for i := 0; i < n; i += 50 {
		ptrs[i] = wideAddress(i)
	}
	var (
		fails  = failures{t: t}
		orders [workers][]int
		got    [workers][]int32 // what each worker got, by address
		won    [workers]int
	)
	for w := range workers {
		orders[w] = r.Perm(n)
		got[w] = make([]int32, n)
	}
	// Worker w has the numbers w*n+1 to (w+1)*n, and the tag w+1.
	together(workers, func(w int) {
		next := int32(w*n + 1)
		order := orders[w]
		insertOne := func(i int) {
			ref, tag, err := x.Insert(ptrs[i], next, uint8(w+1))
			winner := (ref - 1) / int32(n)
			if err != nil || ref <= 0 || !rightTag(x, tag, uint8(winner+1)) {
				fails.errorf("Insert(%#x, %d, %d) = %d, %d, %v", ptrs[i], next, w+1, ref, tag, err)
			}
			got[w][i] = ref
			if ref == next {
				next++
				won[w]++
			}
		}
		batch := make([]uint64, 0, n)
		for len(order) > 0 && !fails.enough() {
			k := min(1+len(order)%97, len(order))
			part := order[:k]
			order = order[k:]
			if w%2 == 0 {
				for _, i := range part {
					insertOne(i)
				}
				continue
			}
			batch = batch[:0]
			for _, i := range part {
				batch = append(batch, ptrs[i])
			}
			refs := make([]int32, k)
			used, err := x.InsertBatch(batch, uint8(w+1), next, refs)
			if err != nil {
				fails.errorf("InsertBatch: %v", err)
			}
			before := int32(0)
			for j, i := range part {
				got[w][i] = refs[j]
				if refs[j] == next+before {
					before++
				}
			}
			if int(before) != used {
				fails.errorf("InsertBatch used %d numbers, but inserted %d", used, before)
			}
			next += before
			won[w] += int(before)
		}
	})
	if t.Failed() {
		t.FailNow()
	}

	total, want := 0, make(map[uint64]stored, n)
	owner := make(map[int32]uint64, n)
	for i, ptr := range ptrs {
		ref := got[0][i]
		for w := range workers {
			if got[w][i] != ref {
				t.Fatalf("address %#x: worker 0 got %d, worker %d got %d", ptr, ref, w, got[w][i])
			}
		}
		if other, taken := owner[ref]; taken {
			t.Fatalf("number %d has two addresses: %#x and %#x", ref, other, ptr)
		}
		owner[ref] = ptr
		want[ptr] = stored{ref, uint8((ref-1)/int32(n)) + 1}
	}
	for _, k := range won {
		total += k
	}
	if total != n {
		t.Fatalf("%d addresses, but %d inserts won", n, total)
	}
	mustHold(t, x, want)
}

// A crowd at one address: one is first, all learn its number.
func TestG1_ManyGoroutinesOneAddress(t *testing.T) {
	goroutines := 100_000
	if slow {
		goroutines = 5000 // the race detector allows 8,128
	}
	forEachSubject(t, func(t *testing.T, sub subject) {
		x := sub.open(t, Config{})
		got := make([]int32, goroutines)
		together(goroutines, func(i int) { got[i], _, _ = x.Insert(heapAddress(7), int32(i+1), 1) })
		first := 0
		for i, ref := range got {
			if ref != got[0] || ref == 0 {
				t.Fatalf("goroutine %d got %d, goroutine 0 %d", i, ref, got[0])
			}
			if ref == int32(i+1) {
				first++
			}
		}
		if first != 1 {
			t.Errorf("%d goroutines were first", first)
		}
		mustHold(t, x, map[uint64]stored{heapAddress(7): {got[0], 1}})
	})
}

// Readers look up, singly and in batches, what writers told them they have inserted,
// while the tables grow below them.
func TestG5_LookupFindsWhatWasInserted(t *testing.T) {
	oversubscribe(t)
	forEachSetup(t, func(t *testing.T, s setup) {
		r := seeded(t)
		rounds := sized(3)
		if s.quality.name == "default" && s.size.name == "stress" {
			rounds = sized(16) // the most growths of large tables
		}
		for range rounds {
			testLookupFinds(t, s, r, 16_000)
		}
	})
}

func testLookupFinds(t *testing.T, s setup, r *rand.Rand, n int) {
	const writers, readers = 2, 3
	x := s.open(t)
	defer x.Close()
	ptrs := s.addresses(r, n)
	var (
		fails    = failures{t: t}
		progress [writers]atomic.Int64 // writer w has inserted ptrs[w], ptrs[w+writers], ..., so many of them
		writing  atomic.Int64
	)
	writing.Store(writers)
	together(writers+readers, func(w int) {
		if w < writers {
			defer writing.Add(-1)
			for i := w; i < n && !fails.enough(); i += writers {
				ref := int32(i + 1)
				if got, _, err := x.Insert(ptrs[i], ref, tagOf(ref)); got != ref || err != nil {
					fails.errorf("Insert(%#x, %d) = %d, %v", ptrs[i], ref, got, err)
				}
				progress[w].Store(int64(i/writers + 1))
			}
			return
		}
		rng := rand.New(rand.NewPCG(uint64(w), 1))
		var (
			at   [64]int
			keys [64]uint64
			refs [64]int32
			tags [64]uint8
		)
		check := func(how string, i int, ref int32, tag uint8) {
			if want := int32(i + 1); ref != want || !rightTag(x, tag, tagOf(want)) {
				fails.errorf("%s(%#x) = %d, tag %d; want %d, tag %d", how, ptrs[i], ref, tag, want, tagOf(want))
			}
		}
		for writing.Load() > 0 && !fails.enough() {
			from := rng.IntN(writers)
			done := int(progress[from].Load())
			if done == 0 {
				runtime.Gosched()
				continue
			}
			for j := range at {
				// Half of them among the latest.
				k := rng.IntN(done)
				if j&1 == 0 {
					k = done - 1 - rng.IntN(min(done, 64))
				}
				at[j] = k*writers + from
				keys[j] = ptrs[at[j]]
				ref, tag := x.Lookup(keys[j])
				check("Lookup", at[j], ref, tag)
			}
			if found := x.LookupBatch(keys[:], refs[:], tags[:]); found != len(keys) {
				fails.errorf("LookupBatch found %d of %d", found, len(keys))
			}
			for j := range at {
				check("LookupBatch", at[j], refs[j], tags[j])
			}
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	want := make(map[uint64]stored, n)
	for i, ptr := range ptrs {
		want[ptr] = stored{int32(i + 1), tagOf(int32(i + 1))}
	}
	mustHold(t, x, want)
}

// Writers race for the same addresses, under numbers and tags that tell who offered
// them and for which address. Whatever a reader sees, by whatever way, fits together.
func TestG6_EntriesAreWhole(t *testing.T) {
	oversubscribe(t)
	forEachSetup(t, func(t *testing.T, s setup) {
		r := seeded(t)
		for range sized(8) {
			testEntriesAreWhole(t, s, r, 4000)
		}
	})
}

func testEntriesAreWhole(t *testing.T, s setup, r *rand.Rand, n int) {
	const writers, readers = 3, 2
	x := s.open(t)
	defer x.Close()
	ptrs := s.addresses(r, n)
	index := make(map[uint64]int, n)
	for i, ptr := range ptrs {
		index[ptr] = i
	}
	var (
		fails   = failures{t: t}
		writing atomic.Int64
	)
	writing.Store(writers)
	// Writer w offers w*n+i+1 for address i.
	fits := func(how string, i int, ref int32, tag uint8, absent bool) {
		if ref == 0 && absent {
			return
		}
		if ref <= 0 || ref > int32(writers*n) || int(ref-1)%n != i || !rightTag(x, tag, tagOf(ref)) {
			fails.errorf("%s(%#x) = %d, tag %d: not what was offered for address %d", how, ptrs[i], ref, tag, i)
		}
	}
	together(writers+readers, func(w int) {
		if w < writers {
			defer writing.Add(-1)
			for i, ptr := range ptrs {
				ref := int32(w*n + i + 1)
				got, tag, err := x.Insert(ptr, ref, tagOf(ref))
				if err != nil {
					fails.errorf("Insert(%#x): %v", ptr, err)
				}
				fits("Insert", i, got, tag, false)
				if fails.enough() {
					return
				}
			}
			return
		}
		rng := rand.New(rand.NewPCG(uint64(w), 2))
		refs, tags := make([]int32, 40), make([]uint8, 40)
		for round := 0; writing.Load() > 0 && !fails.enough(); round++ {
			at := rng.IntN(n - 40)
			for i := at; i < at+40; i++ {
				ref, tag := x.Lookup(ptrs[i])
				fits("Lookup", i, ref, tag, true)
			}
			x.LookupBatch(ptrs[at:at+40], refs, tags)
			for i := range refs {
				fits("LookupBatch", at+i, refs[i], tags[i], true)
			}
			if round%64 == 0 {
				seen := make(map[uint64]bool, n)
				for ptr, ref := range x.All() {
					i, known := index[ptr]
					if !known || seen[ptr] {
						fails.errorf("All yields %#x; known: %v, seen before: %v", ptr, known, seen[ptr])
						break
					}
					seen[ptr] = true
					fits("All", i, ref, tagOf(ref), false)
				}
			}
		}
	})
}

// From address to number and back, whenever nobody writes: after every few inserts,
// over growths of all kinds, for entries of all kinds.
func TestG7_BothDirectionsAreInverse(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		r := seeded(t)
		x := s.open(t)
		want := make(map[uint64]stored)
		ptrs := s.addresses(r, sized(6000))
		for i := range ptrs {
			if i%20 == 7 {
				ptrs[i] = wideAddress(i)
			}
		}
		for ref := int32(1); len(ptrs) > 0; {
			k := min(len(ptrs), 1+len(want)/4)
			for _, ptr := range ptrs[:k] {
				mustInsert(t, x, ptr, ref)
				want[ptr] = stored{ref, tagOf(ref)}
				ref++
			}
			ptrs = ptrs[k:]
			mustHold(t, x, want)
		}

		byRef := make(map[int32]uint64, len(want))
		for ptr, ref := range x.All() {
			if other, taken := byRef[ref]; taken {
				t.Fatalf("number %d: addresses %#x and %#x", ref, other, ptr)
			}
			byRef[ref] = ptr
		}
		for ref, ptr := range byRef {
			if got, _ := x.Lookup(ptr); got != ref {
				t.Fatalf("number %d has address %#x, whose number is %d", ref, ptr, got)
			}
		}
	})
}

// Insert, Stats, Len, another loop, and Close may be called from the body of a loop over
// All: no lock is held there. What was in before the loop is seen, the rest may be.
func TestAllHoldsNoLock(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		x := s.open(t)
		const n = 300
		for i := range n {
			mustInsert(t, x, s.address(i), int32(i+1))
		}
		mustReturn(t, "calls from the body of a loop over All", func() {
			old, next := 0, n
			for _, ref := range x.All() {
				if ref <= n {
					old++
				}
				// Enough for every shard to grow.
				for range 10 {
					if next < 20*n {
						if _, _, err := x.Insert(s.address(next), int32(next+1), 1); err != nil {
							t.Error(err)
						}
						next++
					}
				}
				if ref%16 == 1 {
					x.Stats()
					x.Len()
					for range x.All() {
						break
					}
				}
			}
			if old != n {
				t.Errorf("the loop saw %d of %d entries", old, n)
			}
			for range x.All() {
				x.Close()
			}
		})
		mustBeClosed(t, x, []uint64{s.address(0)})
	})
}

// While one thread inserts, others watch everything that is in: by lookups, by loops,
// by counts. What was there stays there, with the same number.
func TestG8_NothingDisappears(t *testing.T) {
	oversubscribe(t)
	forEachSetup(t, func(t *testing.T, s setup) {
		r := seeded(t)
		n := sized(16_000)
		x := s.open(t)
		ptrs := s.addresses(r, n)
		index := make(map[uint64]int, n)
		for i := range ptrs {
			if i%64 == 5 {
				ptrs[i] = wideAddress(i)
			}
			index[ptrs[i]] = i
		}
		var (
			fails = failures{t: t}
			done  atomic.Int64
		)
		together(4, func(w int) {
			if w == 0 {
				for i, ptr := range ptrs {
					ref := int32(i + 1)
					if got, _, err := x.Insert(ptr, ref, tagOf(ref)); err != nil || got != ref {
						fails.errorf("Insert(%#x, %d) = %d, %v", ptr, ref, got, err)
					}
					done.Store(int64(i + 1))
				}
				return
			}
			for !fails.enough() {
				before := int(done.Load())
				switch w {
				case 1:
					seen := 0
					for ptr, ref := range x.All() {
						i, known := index[ptr]
						if !known || ref != int32(i+1) {
							fails.errorf("All yields %#x, %d; known: %v, number %d", ptr, ref, known, i+1)
							break
						}
						if i < before {
							seen++
						}
					}
					if seen != before {
						fails.errorf("All saw %d of the %d entries that were in", seen, before)
					}
				case 2:
					if got := x.Len(); got < before {
						fails.errorf("Len() = %d where %d were in", got, before)
					}
					if st := x.Stats(); st.Objects < before {
						fails.errorf("Stats().Objects = %d where %d were in", st.Objects, before)
					}
				case 3:
					for i := range before {
						if ref, tag := x.Lookup(ptrs[i]); ref != int32(i+1) || !rightTag(x, tag, tagOf(ref)) {
							if fails.errorf("Lookup(%#x) = %d, tag %d; want %d, tag %d", ptrs[i], ref, tag, i+1, tagOf(int32(i+1))) {
								return
							}
						}
					}
				}
				if before == n {
					return
				}
			}
		})
	})
}

// A loop that is left early, or run again, starts afresh.
func TestAllStopsWhenTold(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		x := s.open(t)
		want := make(map[uint64]int32)
		for i := range 100 {
			ptr := s.address(i)
			if i%10 == 0 {
				ptr = wideAddress(i)
			}
			want[ptr] = int32(i + 1)
			mustInsert(t, x, ptr, int32(i+1))
		}
		all := x.All()
		for stop := range len(want) {
			n := 0
			for range all {
				if n++; n > stop {
					break
				}
			}
			if n != stop+1 {
				t.Fatalf("a loop left at entry %d saw %d", stop, n)
			}
		}
		if got := maps.Collect(all); !maps.Equal(got, want) {
			t.Errorf("All yields %s; want %s", fmt.Sprint(got), fmt.Sprint(want))
		}
	})
}

// replaceTable replaces the table of an index of one shard, which has no need to be
// replaced.
func replaceTable(x Index) error {
	switch x := x.(type) {
	case *Compact:
		s := &x.dir[0]
		return x.replace(s, s.tab.Load(), 1, crowded)
	case *Locked:
		s := &x.shards[0]
		s.mu.Lock()
		defer s.mu.Unlock()
		return x.grow(s, s.tab.Load())
	}
	panic("unknown variant")
}

// slowLookup is Lookup by the way that it seldom takes: where the entry is not in its
// home group.
func slowLookup(x Index, ptr uint64) int32 {
	if c, ok := x.(*Compact); ok {
		s, h := c.hash(ptr)
		ref, _ := s.lookup(h)
		runtime.KeepAlive(c)
		return ref
	}
	ref, _ := x.Lookup(ptr)
	return ref
}

// Large tables are replaced all the time, and released: they read as zeros from then on.
// Threads that the system stops in the middle of a lookup or an insert, for long enough
// for that to happen below them, must notice.
func TestG5_TablesReplacedAllTheTime(t *testing.T) {
	oversubscribe(t)
	forEachSubject(t, func(t *testing.T, sub subject) {
		const readers, inserters, newEach = 3, 3, 1000
		known, replacements := 2000, 240
		if slow {
			known, replacements = 200, 8 // there tables do not read as zeros
		}
		// Tables of a block of memory or more, few of them at any time.
		x := sub.open(t, Config{Shards: 1, Expected: 100_000, Budget: region.NewBudget(64 << 20)})
		for i := range known {
			mustInsert(t, x, heapAddress(i), int32(i+1))
		}
		var (
			fails    = failures{t: t}
			done     atomic.Bool
			inserted [inserters]int
		)
		together(1+readers+inserters, func(w int) {
			rng := rand.New(rand.NewPCG(uint64(w), 3))
			switch {
			case w == 0:
				defer done.Store(true)
				for range replacements {
					if err := replaceTable(x); err != nil || fails.enough() {
						fails.errorf("replacement: %v", err)
						return
					}
				}
			case w <= readers:
				var keys [40]uint64
				var refs [40]int32
				for !done.Load() && !fails.enough() {
					at := rng.IntN(known - len(keys))
					for j := range keys {
						keys[j] = heapAddress(at + j)
						if ref, _ := x.Lookup(keys[j]); ref != int32(at+j+1) {
							fails.errorf("Lookup(%#x) = %d; want %d", keys[j], ref, at+j+1)
						}
						if ref := slowLookup(x, keys[j]); ref != int32(at+j+1) {
							fails.errorf("the slow lookup of %#x finds %d; want %d", keys[j], ref, at+j+1)
						}
					}
					if found := x.LookupBatch(keys[:], refs[:], nil); found != len(keys) {
						fails.errorf("LookupBatch found %d of %d", found, len(keys))
					}
				}
			default:
				k := w - readers - 1
				for op := 0; !done.Load() && !fails.enough(); op++ {
					i := inserted[k]
					j := known + i*inserters + k
					if op%16 > 0 || i == newEach {
						j = rng.IntN(known)
						if got, _, err := x.Insert(heapAddress(j), 1<<19, 1); got != int32(j+1) || err != nil {
							fails.errorf("Insert(%#x) of a known address = %d, %v; want %d", heapAddress(j), got, err, j+1)
						}
						continue
					}
					if got, _, err := x.Insert(heapAddress(j), int32(j+1), 1); got != int32(j+1) || err != nil {
						fails.errorf("Insert(%#x, %d) = %d, %v", heapAddress(j), j+1, got, err)
					}
					if ref, _ := x.Lookup(heapAddress(j)); ref != int32(j+1) {
						fails.errorf("Lookup(%#x) = %d right after it was inserted under %d", heapAddress(j), ref, j+1)
					}
					inserted[k] = i + 1
				}
			}
		})
		for k, n := range inserted {
			for i := range n {
				j := known + i*inserters + k
				if ref, _ := x.Lookup(heapAddress(j)); ref != int32(j+1) {
					if fails.errorf("Lookup(%#x) = %d; want %d, as inserted", heapAddress(j), ref, j+1) {
						return
					}
				}
			}
		}
	})
}
