//go:build race || objhash_invariants

package shard

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/objhash/objhash/internal/invariants"
	"github.com/objhash/objhash/internal/region"
)

// Steps of an insert, and of a replacement of a table, between which a thread can be
// stopped.
var (
	insertSteps  = []string{"insert: before the CAS", "insert: after the search"}
	replaceSteps = []string{"replace: between groups", "replace: before publishing", "replace: before releasing"}
)

// stop makes the first goroutine that comes to a step stop there: reached is closed when
// it has, and it goes on after resume. Others pass.
func stop(t *testing.T, step string) (reached <-chan struct{}, resume func()) {
	var first atomic.Bool
	at, on := make(chan struct{}), make(chan struct{})
	restore := invariants.OnStep(func(name string) {
		if name == step && first.CompareAndSwap(false, true) {
			close(at)
			<-on
		}
	})
	resume = sync.OnceFunc(func() {
		close(on)
		restore()
	})
	t.Cleanup(resume)
	return at, resume
}

// forEachQuality runs f for every quality of the hash, with one shard and with several,
// on the variant whose inserts are lock-free.
func forEachCompactSetup(t *testing.T, f func(t *testing.T, s setup)) {
	for _, q := range qualities {
		for _, z := range sizes {
			t.Run(fmt.Sprintf("hash=%s/size=%s", q.name, z.name), func(t *testing.T) {
				f(t, setup{compactSubject, q, z})
			})
		}
	}
}

// A thread stopped between two steps of an insert keeps nobody from anything: neither
// lookups, nor inserts of known addresses, of others, of its own, nor growth.
func TestG20_StoppedInsertBlocksNobody(t *testing.T) {
	for _, step := range insertSteps {
		t.Run("step="+step, func(t *testing.T) {
			forEachCompactSetup(t, func(t *testing.T, s setup) { testStoppedInsert(t, s, step) })
		})
	}
}

func testStoppedInsert(t *testing.T, s setup, step string) {
	const known, n = 20, 3000
	x := s.open(t)
	want := make(map[uint64]stored)
	insert := func(i int) {
		ref := int32(i + 1)
		if got, _, err := x.Insert(s.address(i), ref, tagOf(ref)); got != ref || err != nil {
			t.Errorf("Insert(%#x, %d) = %d, %v", s.address(i), ref, got, err)
		}
		want[s.address(i)] = stored{ref, tagOf(ref)}
	}
	for i := range known {
		insert(i)
	}

	const victim, victimRef, otherRef = known, 1 << 20, 1<<20 + 1
	reached, resume := stop(t, step)
	done := make(chan int32, 1)
	go func() {
		got, _, err := x.Insert(s.address(victim), victimRef, tagOf(victimRef))
		if err != nil {
			t.Error(err)
		}
		done <- got
	}()
	mustClose(t, "the insert on its way to "+step, reached)

	mustReturn(t, "lookups, inserts, and growth beside an insert that is stopped", func() {
		for round := range 2 {
			for ptr, w := range want {
				if ref, tag := x.Lookup(ptr); ref != w.ref || !rightTag(x, tag, w.tag) {
					t.Errorf("Lookup(%#x) = %d, tag %d; want %d, tag %d", ptr, ref, tag, w.ref, w.tag)
				}
				if got, _, err := x.Insert(ptr, 1<<21, 1); got != w.ref || err != nil {
					t.Errorf("Insert(%#x) of a known address = %d, %v; want %d", ptr, got, err, w.ref)
				}
			}
			if round == 0 {
				for i := victim + 1; i < n; i++ {
					insert(i)
				}
			}
		}
		for range x.All() {
		}
		x.Stats()
	})
	// Another thread comes with the same address.
	got, _, err := x.Insert(s.address(victim), otherRef, tagOf(otherRef))
	if err != nil || got != otherRef && got != victimRef {
		t.Errorf("Insert of the address of the stopped insert = %d, %v", got, err)
	}
	if step == "insert: before the CAS" && got != otherRef {
		t.Errorf("Insert of the address of an insert that is stopped before its CAS = %d; want %d", got, otherRef)
	}
	if ref, _ := x.Lookup(s.address(victim)); ref != got {
		t.Errorf("Lookup of the address of the stopped insert = %d; want %d", ref, got)
	}
	resume()
	if last := <-done; last != got {
		t.Errorf("the stopped insert returned %d, another of the same address %d", last, got)
	}
	want[s.address(victim)] = stored{got, tagOf(got)}
	mustHold(t, x, want)
}

// A thread stopped within the replacement of a table keeps nobody from lookups, from
// inserts of known addresses, from inserts into other shards. Inserts of new addresses
// into this shard may wait; they are not lost.
func TestG20_StoppedReplacementDelaysOnlyNewInsertsThere(t *testing.T) {
	for _, step := range replaceSteps {
		t.Run("step="+step, func(t *testing.T) {
			forEachCompactSetup(t, func(t *testing.T, s setup) { testStoppedReplacement(t, s, step) })
		})
	}
}

func testStoppedReplacement(t *testing.T, s setup, step string) {
	index := s.open(t, fewShards)
	x := index.(*Compact)
	want := make(map[uint64]stored)
	var mu sync.Mutex // of want
	next := atomic.Int32{}
	insert := func(ptr uint64) {
		ref := next.Add(1)
		if got, _, err := x.Insert(ptr, ref, tagOf(ref)); got != ref || err != nil {
			t.Errorf("Insert(%#x, %d) = %d, %v", ptr, ref, got, err)
		}
		mu.Lock()
		want[ptr] = stored{ref, tagOf(ref)}
		mu.Unlock()
	}
	// Some in every shard, whatever the quality of the hash.
	elsewhere := make(map[*dirEntry][]uint64)
	r := seeded(t)
	for len(elsewhere) < len(x.dir) || len(elsewhere[&x.dir[0]]) < 40 {
		ptr := uint64(int64(r.Uint64()) >> addrPad)
		sh, _ := x.hash(ptr)
		elsewhere[sh] = append(elsewhere[sh], ptr)
	}
	for _, ptrs := range elsewhere {
		for _, ptr := range ptrs[:len(ptrs)/2] {
			insert(ptr)
		}
	}

	reached, resume := stop(t, step)
	victim := make(chan struct{})
	var inside atomic.Pointer[dirEntry]
	go func() {
		defer close(victim)
		for i := range 20_000 {
			sh, _ := x.hash(s.address(i))
			inside.Store(sh)
			insert(s.address(i))
			select {
			case <-reached:
				return
			default:
			}
		}
	}()
	mustClose(t, "the insert on its way to "+step, reached)
	here := inside.Load()
	mu.Lock()
	known := make(map[uint64]stored, len(want))
	for ptr, w := range want {
		known[ptr] = w
	}
	mu.Unlock()

	mustReturn(t, "lookups and inserts of known addresses beside a replacement that is stopped", func() {
		var keys []uint64
		for ptr, w := range known {
			keys = append(keys, ptr)
			if ref, tag := x.Lookup(ptr); ref != w.ref || !rightTag(x, tag, w.tag) {
				t.Errorf("Lookup(%#x) = %d, tag %d; want %d, tag %d", ptr, ref, tag, w.ref, w.tag)
			}
			if got, _, err := x.Insert(ptr, 1<<29, 1); got != w.ref || err != nil {
				t.Errorf("Insert(%#x) of a known address = %d, %v; want %d", ptr, got, err, w.ref)
			}
			if ref, _ := x.Lookup(ptr ^ 1<<46); ref != known[ptr^1<<46].ref {
				t.Errorf("Lookup(%#x) = %d; want 0", ptr^1<<46, ref)
			}
		}
		refs := make([]int32, len(keys))
		if found := x.LookupBatch(keys, refs, nil); found != len(keys) {
			t.Errorf("LookupBatch found %d of %d", found, len(keys))
		}
		if used, err := x.InsertBatch(keys, 1, 1<<29, refs); used != 0 || err != nil {
			t.Errorf("InsertBatch of known addresses = %d, %v", used, err)
		}
		insert(wideAddress(0))
		for sh, ptrs := range elsewhere {
			if sh != here {
				for _, ptr := range ptrs[len(ptrs)/2:] {
					insert(ptr)
				}
			}
		}
	})

	// New addresses there: they wait, or not; then all are in.
	fresh := elsewhere[here][len(elsewhere[here])/2:]
	var wg sync.WaitGroup
	for _, ptr := range fresh {
		wg.Go(func() { insert(ptr) })
	}
	resume()
	done := make(chan struct{})
	go func() {
		wg.Wait()
		<-victim
		close(done)
	}()
	mustClose(t, "inserts after the replacement goes on", done)
	mustHold(t, x, want)
}

// Nothing can be added behind the copy of a group: inserts into groups that have been
// copied, while the rest has not, are in the new table. Those that a frozen group stops
// wait until it is there.
func TestG5_InsertsBesideTheCopyAreNotLost(t *testing.T) {
	const inserters = 40
	x, err := NewCompact(Config{Shards: 1, Multiplier: 1, Expected: 2000}) // at least 256 groups
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	old := x.dir[0].tab.Load()
	groups := old.groups
	// Addresses by home group.
	address := func(home, i uint64) uint64 {
		ptr := old.start(home)>>addrPad + i + 1
		return uint64(int64(ptr<<addrPad) >> addrPad)
	}
	want := make(map[uint64]stored)
	ref := int32(0)
	for home := range groups {
		ref++
		mustInsert(t, x, address(home, 0), ref)
		want[address(home, 0)] = stored{ref, tagOf(ref)}
	}

	copied := make(chan struct{}) // 65 groups have been
	goOn := make(chan struct{})
	var stops, searched atomic.Int32
	all := make(chan struct{})
	restore := invariants.OnStep(func(name string) {
		switch {
		case name == "replace: between groups" && stops.Add(1) == 2:
			close(copied)
			<-goOn
		case name == "insert: after the search" && stops.Load() == 2 && searched.Add(1) == inserters:
			close(all)
		}
	})
	defer restore()

	replaced := make(chan struct{})
	go func() {
		defer close(replaced)
		s := &x.dir[0]
		if err := x.replace(s, s.tab.Load(), ref, crowded); err != nil {
			t.Error(err)
		}
	}()
	mustClose(t, "the replacement", copied)

	var wg sync.WaitGroup
	results := make([]int32, inserters)
	for i := range uint64(inserters) {
		wg.Go(func() {
			got, _, err := x.Insert(address(i, 1), ref+1+int32(i), tagOf(ref+1+int32(i)))
			if err != nil {
				t.Error(err)
			}
			results[i] = got
		})
	}
	mustClose(t, "searches of inserts beside a replacement", all)
	close(goOn)
	mustClose(t, "the replacement", replaced)
	mustReturn(t, "inserts beside a replacement", wg.Wait)
	for i := range uint64(inserters) {
		w := ref + 1 + int32(i)
		if results[i] != w {
			t.Errorf("Insert of address %d = %d; want %d", i, results[i], w)
		}
		want[address(i, 1)] = stored{w, tagOf(w)}
	}
	mustHold(t, x, want)
}

// An insert that is stopped before its CAS, in a table that is replaced, released, and
// reads as zeros meanwhile, does not stay in there.
func TestG5_InsertIntoAReleasedTableIsNotLost(t *testing.T) {
	x, err := NewCompact(Config{Shards: 1, Expected: 200_000}) // tables of several MiB, that are mapped where anything is
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	want := make(map[uint64]stored)
	for i := range 1000 {
		mustInsert(t, x, heapAddress(i), int32(i+1))
		want[heapAddress(i)] = stored{int32(i + 1), tagOf(int32(i + 1))}
	}
	for round := range 4 {
		ptr, ref := heapAddress(2000+round), int32(2000+round)
		reached, resume := stop(t, "insert: before the CAS")
		done := make(chan struct{})
		go func() {
			defer close(done)
			if got, _, err := x.Insert(ptr, ref, tagOf(ref)); got != ref || err != nil {
				t.Errorf("Insert(%#x, %d) = %d, %v", ptr, ref, got, err)
			}
		}()
		mustClose(t, "the insert", reached)
		s := &x.dir[0]
		for range 2 { // the second one releases what shared a block with the first
			if err := x.replace(s, s.tab.Load(), ref, crowded); err != nil {
				t.Fatal(err)
			}
		}
		resume()
		mustClose(t, "the insert into a released table", done)
		want[ptr] = stored{ref, tagOf(ref)}
		mustHold(t, x, want)
	}
}

// Two inserters of different addresses that go for the same slot: one is stopped right
// before its CAS while the other takes the slot.
func TestG1_TwoInsertsIntoOneSlot(t *testing.T) {
	forEachCompactSetup(t, func(t *testing.T, s setup) {
		x := s.open(t)
		want := make(map[uint64]stored)
		for round := range 200 {
			a, b := s.address(2*round), s.address(2*round+1)
			ra, rb := int32(2*round+1), int32(2*round+2)
			reached, resume := stop(t, "insert: before the CAS")
			done := make(chan struct{})
			go func() {
				defer close(done)
				if got, _, err := x.Insert(a, ra, tagOf(ra)); got != ra || err != nil {
					t.Errorf("Insert(%#x, %d) = %d, %v", a, ra, got, err)
				}
			}()
			mustClose(t, "the insert", reached)
			mustInsert(t, x, b, rb)
			resume()
			mustClose(t, "the insert that was overtaken", done)
			want[a], want[b] = stored{ra, tagOf(ra)}, stored{rb, tagOf(rb)}
		}
		mustHold(t, x, want)
	})
}

// Two inserters of one address meet in a table that was replaced, and released, below
// both. What one finds of the other there does not count: a third has put the address
// into the new table meanwhile.
func TestG1_InsertsMeetInAReleasedTable(t *testing.T) {
	x, err := NewCompact(Config{Shards: 1, Expected: 200_000}) // mapped where anything is: zeros, once released
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	const ptr, winner = 0x7f00_1230, 3
	var at, on [3]chan struct{} // the first inserter before its CAS, the second, the first after it
	for i := range at {
		at[i], on[i] = make(chan struct{}), make(chan struct{})
	}
	var before atomic.Int32
	var after atomic.Bool // stop the next one after its search
	stopAt := func(i int) {
		close(at[i])
		<-on[i]
	}
	defer invariants.OnStep(func(name string) {
		switch {
		case name == "insert: before the CAS":
			if n := int(before.Add(1)); n <= 2 {
				stopAt(n - 1)
			}
		case name == "insert: after the search" && after.CompareAndSwap(true, false):
			stopAt(2)
		}
	})()
	var done [2]chan struct{}
	for i := range done {
		done[i] = make(chan struct{})
		go func() {
			defer close(done[i])
			ref := int32(i + 1)
			if got, _, err := x.Insert(ptr, ref, tagOf(ref)); got != winner || err != nil {
				t.Errorf("Insert(%#x, %d) = %d, %v; want %d", ptr, ref, got, err, winner)
			}
		}()
		mustClose(t, "an insert on its way to its CAS", at[i])
	}
	s := &x.dir[0]
	for range 2 { // the second one releases what shared a block with the first
		if err := x.replace(s, s.tab.Load(), winner, crowded); err != nil {
			t.Fatal(err)
		}
	}
	mustInsert(t, x, ptr, winner)
	after.Store(true)
	close(on[0])
	mustClose(t, "the first insert, into the released table", at[2])
	close(on[1])
	mustClose(t, "the second insert", done[1])
	close(on[2])
	mustClose(t, "the first insert", done[0])
	mustHold(t, x, map[uint64]stored{ptr: {winner, tagOf(winner)}})
}

// A table is frozen for a successor that turns out too small for what others inserted
// during the copy, and there is no memory for a larger one. Then the old table is in use
// again, and takes inserts.
func TestG4_NoMemoryInTheMiddleOfAReplacement(t *testing.T) {
	const limit = 1 << 30
	budget := region.NewBudget(limit)
	x, err := NewCompact(Config{Shards: 1, Multiplier: 1, Expected: 20_000, Budget: budget})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	s := &x.dir[0]
	old := s.tab.Load()
	groups := old.groups
	address := func(home, i uint64) uint64 {
		ptr := old.start(home)>>addrPad + i + 1
		return uint64(int64(ptr<<addrPad) >> addrPad)
	}
	want := make(map[uint64]stored)
	next := int32(1)
	insert := func(ptr uint64) {
		if got, _, err := x.Insert(ptr, next, tagOf(next)); got != next || err != nil {
			t.Errorf("Insert(%#x, %d) = %d, %v", ptr, next, got, err)
		}
		want[ptr] = stored{next, tagOf(next)}
		next++
	}
	insert(address(0, 0))

	// Before the second group is copied, all but the first get seven entries. None is
	// full, so none of these inserts is held up; but mixed, some go beyond the bound.
	var once sync.Once
	taken := int64(0)
	restore := invariants.OnStep(func(name string) {
		if name != "replace: between groups" {
			return
		}
		once.Do(func() {
			for home := uint64(1); home < groups; home++ {
				for i := range uint64(groupSlots - 1) {
					insert(address(home, i))
				}
			}
			taken = limit - budget.Used()
			if err := budget.Take(taken); err != nil {
				t.Error(err)
			}
		})
	})
	defer restore()
	mustReturn(t, "a replacement without memory", func() {
		if err := x.replace(s, old, next, displaced); !errors.Is(err, region.ErrBudget) {
			t.Errorf("replacement: %v; want ErrBudget", err)
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	if s.tab.Load() != old {
		t.Fatal("the table was replaced")
	}
	for i := range groups {
		if slices.Contains(old.group(i)[:], old.frozen) {
			t.Fatalf("group %d is closed, with no table to come", i)
		}
	}
	mustHold(t, x, want)
	mustReturn(t, "inserts after a replacement that failed", func() {
		for home := uint64(0); home < groups; home += groups / 32 {
			insert(address(home, groupSlots-1))
		}
	})
	mustHold(t, x, want)

	budget.Give(taken)
	mustReturn(t, "inserts with memory again", func() {
		for home := uint64(0); home < groups; home += groups / 32 {
			for i := range uint64(2 * groupSlots) {
				insert(address(home, groupSlots+i))
			}
		}
	})
	mustHold(t, x, want)
}
