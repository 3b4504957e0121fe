package shard

import (
	"errors"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/objhash/objhash/internal/region"
)

// testLow is what the records of these tests have below the address.
const testLow = 0x0122

func wantRecord(ptr uint64) uint64 { return ptr<<16 | testLow }

// openCompact makes an index of the setup, which is one of Compact.
func (s setup) openCompact(t testing.TB, adjust ...func(*Config)) *Compact {
	t.Helper()
	return s.open(t, adjust...).(*Compact)
}

// forEachEncounterSetup is forEachSetup for what only Compact has.
func forEachEncounterSetup(t *testing.T, f func(t *testing.T, s setup)) {
	forEachSetup(t, func(t *testing.T, s setup) {
		if s.subject.name == compactSubject.name {
			f(t, s)
		}
	})
}

// encounters is a Compact with its records, and what should be in it.
type encounters struct {
	t       testing.TB
	x       *Compact
	records []uint64 // by number
	want    map[uint64]stored
	next    int32
}

func newEncounters(t testing.TB, x *Compact, numbers int) *encounters {
	return &encounters{t, x, make([]uint64, numbers+1), map[uint64]stored{}, 1}
}

// expect returns what an encounter of ptr, with number next on offer (0: none), should
// return. Where the index has had no room for a tag, 0 is right as well.
func (e *encounters) expect(ptr uint64, tag uint8, next int32) (ref int32, orZero bool) {
	if have, ok := e.want[ptr]; ok {
		if have.tag != tag || tag == TagUnknown || !canonical(ptr) {
			return 0, true
		}
		_, known := e.x.Lookup(ptr)
		return have.ref, known == TagUnknown
	}
	if ptr == 0 || !canonical(ptr) || tag == TagUnknown {
		return 0, true
	}
	return next, false
}

// one encounters ptr and checks the answer.
func (e *encounters) one(ptr uint64, tag uint8, next int32) {
	e.t.Helper()
	want, orZero := e.expect(ptr, tag, next)
	_, known := e.want[ptr]
	got := e.x.Encounter(ptr, tag, next, &e.records[next], testLow)
	if got != want && !(orZero && got == 0) {
		e.t.Fatalf("Encounter(%#x, %d, %d) = %d; want %d", ptr, tag, next, got, want)
	}
	e.settle(ptr, tag, got, known)
	if next > 0 && next >= e.next && e.records[next] != 0 {
		e.t.Fatalf("Encounter(%#x, %d, %d) = %d wrote a record that it had no use for", ptr, tag, next, got)
	}
}

// settle notes what an encounter has returned.
func (e *encounters) settle(ptr uint64, tag uint8, got int32, known bool) {
	e.t.Helper()
	if got == 0 || known {
		return
	}
	if e.records[got] != wantRecord(ptr) {
		e.t.Fatalf("the record of %#x, number %d, is %#x; want %#x", ptr, got, e.records[got], wantRecord(ptr))
	}
	e.want[ptr] = stored{got, tag}
	e.next++
}

// batch encounters ptrs with so many numbers on offer, and checks the answers. It returns
// how many were done.
func (e *encounters) batch(ptrs []uint64, tag uint8, numbers int) (done int) {
	e.t.Helper()
	refs := make([]int32, len(ptrs))
	records := e.records[e.next : int(e.next)+numbers]
	done, used := e.x.EncounterBatch(ptrs, tag, e.next, records, testLow, refs)
	first := e.next
	for i, ptr := range ptrs[:done] {
		next := e.next
		if int(next-first) == numbers {
			next = 0
		}
		want, _ := e.expect(ptr, tag, next)
		if want == 0 || refs[i] != want {
			e.t.Fatalf("element %d of a batch, %#x with tag %d, has %d; want %d", i, ptr, tag, refs[i], want)
		}
		_, known := e.want[ptr]
		e.settle(ptr, tag, refs[i], known)
	}
	if int(e.next-first) != used {
		e.t.Fatalf("a batch has used %d numbers; says %d", e.next-first, used)
	}
	if done < len(ptrs) {
		next := e.next
		if used == numbers {
			next = 0
		}
		if want, orZero := e.expect(ptrs[done], tag, next); want != 0 && !orZero {
			e.t.Fatalf("a batch stopped at element %d, %#x with tag %d; want %d for it", done, ptrs[done], tag, want)
		}
	}
	for i := used; i < numbers; i++ {
		if records[i] != 0 {
			e.t.Fatalf("a batch that used %d numbers wrote record %d", used, i)
		}
	}
	return done
}

// insert is what a caller does about an element that was left undone.
func (e *encounters) insert(ptr uint64, tag uint8) {
	e.t.Helper()
	if ptr == 0 {
		return
	}
	if tag == TagUnknown {
		tag = 0
	}
	got, _, err := e.x.Insert(ptr, e.next, tag)
	if err != nil {
		e.t.Fatal(err)
	}
	if _, known := e.want[ptr]; !known {
		e.records[got] = wantRecord(ptr)
	}
	_, known := e.want[ptr]
	e.settle(ptr, tag, got, known)
}

// Single encounters, batches and inserts in any order do what they say: known and new
// addresses, other tags, those that are not for this way, numbers used up.
func TestEncounter_model(t *testing.T) {
	forEachEncounterSetup(t, func(t *testing.T, s setup) {
		r := seeded(t)
		const addresses = 3000
		e := newEncounters(t, s.openCompact(t, fewShards), 2*addresses)
		ptr := func() uint64 {
			switch r.IntN(20) {
			case 0:
				return wideAddress(r.IntN(100))
			case 1:
				return [...]uint64{0, 1, ^uint64(0), 1 << 47, 1<<47 - 1, 0xffff_8000_0000_0000, 1 << 63}[r.IntN(7)]
			}
			return s.address(r.IntN(1 + len(e.want)*3/2))
		}
		tag := func() uint8 {
			return [...]uint8{7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0, 254, TagUnknown}[r.IntN(15)]
		}
		for len(e.want) < addresses {
			switch r.IntN(8) {
			case 0:
				e.insert(ptr(), tag())
			case 1, 2, 3:
				next := e.next
				if r.IntN(5) == 0 {
					next = 0
				}
				e.one(ptr(), tag(), next)
			default:
				e.randomBatch(r, ptr, tag())
			}
		}
		mustHold(t, e.x, e.want)
		e.x.Close()
		if got := e.x.Encounter(s.address(0), 7, e.next, &e.records[e.next], testLow); got != 0 {
			t.Errorf("Encounter = %d after Close; want 0", got)
		}
	})
}

// randomBatch encounters a batch, and goes on after each element that it stops at.
func (e *encounters) randomBatch(r *rand.Rand, ptr func() uint64, tag uint8) {
	ptrs := make([]uint64, r.IntN(100))
	for i := range ptrs {
		if ptrs[i] = ptr(); i > 0 && r.IntN(4) == 0 {
			ptrs[i] = ptrs[r.IntN(i)]
		}
	}
	for len(ptrs) > 0 {
		done := e.batch(ptrs, tag, r.IntN(40))
		if done == len(ptrs) {
			break
		}
		e.insert(ptrs[done], tag)
		ptrs = ptrs[done+1:]
	}
}

// Once the numbers are used up, known addresses are done all the same.
func TestEncounterBatch_numbersUsedUp(t *testing.T) {
	forEachKernel(t, func(t *testing.T) {
		for _, numbers := range []int{0, 1, 31, 32, 33, 64} {
			e := newEncounters(t, compactSubject.open(t, Config{Expected: 1000}).(*Compact), 100)
			var ptrs []uint64
			for i := range numbers {
				ptrs = append(ptrs, heapAddress(i), heapAddress(i/2))
			}
			ptrs = append(ptrs, ptrs...) // all known by then
			ptrs = append(ptrs, heapAddress(5000))
			if done := e.batch(ptrs, 3, numbers); done != 4*numbers {
				t.Errorf("%d numbers: %d elements done; want %d", numbers, done, 4*numbers)
			}
		}
		x := compactSubject.open(t, Config{}).(*Compact)
		if done, used := x.EncounterBatch(nil, 1, 1, nil, 0, nil); done != 0 || used != 0 {
			t.Errorf("an empty batch: %d done, %d used", done, used)
		}
	})
}

// Encounters make a table grow when as many groups are full as with inserts.
func TestEncounter_growsAsInsertsDo(t *testing.T) {
	forEachKernel(t, func(t *testing.T) {
		// A hash that needs no mixer, which would be random; and addresses that fill a table
		// unevenly, so that its groups become full before an entry finds no room.
		r := rand.New(rand.NewPCG(1, 1))
		s := setup{compactSubject, qualities[0], size{config: Config{Shards: 4}}}
		x, y, z := s.openCompact(t), s.openCompact(t), s.openCompact(t)
		records, refs := make([]uint64, 5000), make([]int32, 5000)
		var ptrs []uint64
		for i := range records {
			ptr := 1 + r.Uint64()>>18
			ptrs = append(ptrs, ptr)
			if _, _, err := x.Insert(ptr, int32(i+1), 7); err != nil {
				t.Fatal(err)
			}
			if got := y.Encounter(ptr, 7, int32(i+1), &records[i], testLow); got != int32(i+1) {
				t.Fatalf("Encounter(%#x, %d) = %d", ptr, i+1, got)
			}
			if x.growths.Load() != y.growths.Load() {
				t.Fatalf("after %d encounters tables have grown %d times; after as many inserts %d times", i+1, y.growths.Load(), x.growths.Load())
			}
		}
		for i := 0; i < len(ptrs); { // some tables have no room for tags for a while
			done, _ := z.EncounterBatch(ptrs[i:], 7, int32(i+1), records[i:], testLow, refs[i:])
			if i += done; done == 0 {
				t.Fatalf("a batch stops at the new address %#x", ptrs[i])
			}
		}
		sx, sy, sz := x.Stats(), y.Stats(), z.Stats()
		sx.Bytes, sy.Bytes, sz.Bytes = 0, 0, 0 // the time at which pages go is another matter
		if sy != sx || sz != sx {
			t.Errorf("Stats of encounters are %+v and %+v; of inserts %+v", sy, sz, sx)
		}
	})
}

// What does not fit the memory is left undone, and can be done once there is some.
func TestEncounter_noMemory(t *testing.T) {
	forEachKernel(t, func(t *testing.T) {
		budget := region.NewBudget(16 << 10)
		x := compactSubject.open(t, Config{Shards: 1, Budget: budget}).(*Compact)
		e := newEncounters(t, x, 1<<16)
		for {
			got := x.Encounter(heapAddress(int(e.next)), 1, e.next, &e.records[e.next], testLow)
			if got == 0 {
				break
			}
			e.settle(heapAddress(int(e.next)), 1, got, false)
		}
		mustHold(t, x, e.want)
		ptrs, refs := []uint64{heapAddress(1), heapAddress(int(e.next)), heapAddress(2)}, make([]int32, 3)
		if done, used := x.EncounterBatch(ptrs, 1, e.next, e.records[e.next:], testLow, refs); done != 1 || used != 0 || refs[0] != 1 {
			t.Errorf("a batch without memory: %d done, %d used, number %d; want 1, 0 and 1", done, used, refs[0])
		}
		mustHold(t, x, e.want)
	})
}

// A number that has more bits than the table has room for, and a table without tags: the
// index may leave them undone, but must not lie.
func TestEncounter_largeNumbers(t *testing.T) {
	forEachKernel(t, func(t *testing.T) {
		x := compactSubject.open(t, Config{Shards: 1}).(*Compact)
		want := map[uint64]stored{}
		ref := int32(1)
		for i := 0; ref < 1<<22; i++ {
			var record uint64
			ptr := heapAddress(i)
			switch got := x.Encounter(ptr, 9, ref, &record, testLow); {
			case got == ref && record != wantRecord(ptr):
				t.Fatalf("the record of %#x, number %d, is %#x", ptr, got, record)
			case got == ref:
				want[ptr] = stored{ref, 9}
			case got != 0:
				t.Fatalf("Encounter(%#x, %d) = %d", ptr, ref, got)
			}
			again := x.Encounter(ptr, 9, 0, nil, testLow)
			if _, tag := x.Lookup(ptr); again != want[ptr].ref && !(again == 0 && tag == TagUnknown) {
				t.Fatalf("Encounter of %#x, which has %d with tag %d, = %d", ptr, want[ptr].ref, tag, again)
			}
			ref += 1 + ref/8
		}
		mustHold(t, x, want)
	})
}

// A batch may bring more records than there are numbers left. No address gets a number
// beyond the last one, not even in a table whose words have room for it.
func TestG4_encounterBatchOfTheLastNumbers(t *testing.T) {
	forEachKernel(t, func(t *testing.T) {
		x := compactSubject.open(t, Config{Shards: 1 << 9}).(*Compact)
		tab, err := newTable(x.arena, span{9, 0, 1}, 1<<11, math.MaxInt32, mixer{})
		if err != nil {
			t.Fatal(err)
		}
		if !tab.fits(math.MaxInt32) || tab.refMask <= math.MaxInt32 {
			t.Fatalf("the table has room for numbers up to %#x only", tab.refMask)
		}
		x.dir[0].tab.Store(tab)
		ptrs := make([]uint64, 40)
		for i := range ptrs {
			ptrs[i] = x.address(tab.unplace(uint64(i)*3, 0))
		}
		ptrs = ptrs[1:] // the first one is 0
		refs, records := make([]int32, len(ptrs)), make([]uint64, len(ptrs))
		const numbers = 20
		if done, used := x.EncounterBatch(ptrs, 5, math.MaxInt32-numbers+1, records, testLow, refs); done != numbers || used != numbers {
			t.Errorf("EncounterBatch with %d numbers left: %d done, %d used, numbers %d", numbers, done, used, refs)
		}
		used, err := x.InsertBatch(ptrs[numbers:], 5, math.MaxInt32-2, refs[numbers:])
		if used != 3 || !errors.Is(err, ErrInvalid) {
			t.Errorf("InsertBatch with 3 numbers left: %d used, %v", used, err)
		}
		if n := x.Len(); n != numbers+3 {
			t.Errorf("%d entries; want %d", n, numbers+3)
		}
		for ptr, ref := range x.All() {
			if ref <= 0 {
				t.Errorf("%#x has number %d", ptr, ref)
			}
		}
	})
}

// Threads that encounter the same addresses at the same time, while the index grows:
// exactly one inserts each, all learn its number, and whoever finds a number, by whatever
// way, finds its record written.
func TestG1_encounterExactlyOnce(t *testing.T) {
	oversubscribe(t)
	forEachEncounterSetup(t, func(t *testing.T, s setup) {
		r := seeded(t)
		for _, n := range []int{200, 200, 200, 200, sized(16_000)} {
			testEncounterOnce(t, s, r, n)
		}
	})
}

// encounterRace is one round of threads that encounter the same addresses.
type encounterRace struct {
	x       *Compact
	ptrs    []uint64
	records []uint64 // by number
	fails   failures
}

func testEncounterOnce(t *testing.T, s setup, r *rand.Rand, n int) {
	const workers = 4
	x := s.openCompact(t)
	defer x.Close()
	race := &encounterRace{x: x, ptrs: s.addresses(r, n), records: make([]uint64, workers*n+1), fails: failures{t: t}}
	var orders, got [workers][]int32
	for w := range workers {
		got[w] = make([]int32, n)
		orders[w] = make([]int32, n)
		for i, j := range r.Perm(n) {
			orders[w][i] = int32(j)
		}
	}
	var won atomic.Int64
	together(workers, func(w int) {
		first := int32(w*n + 1)
		next := race.worker(first, first+int32(n), orders[w], got[w], w&1 == 0)
		won.Add(int64(next - first))
	})
	for i, ptr := range race.ptrs {
		for w := range workers {
			if got[w][i] != got[0][i] {
				t.Fatalf("%#x: worker 0 got %d, worker %d got %d", ptr, got[0][i], w, got[w][i])
			}
		}
		if ref, _ := x.Lookup(ptr); ref != got[0][i] {
			t.Fatalf("Lookup(%#x) = %d; its encounters got %d", ptr, ref, got[0][i])
		}
	}
	if int(won.Load()) != n || x.Len() != n {
		t.Errorf("%d numbers used, %d entries; want %d", won.Load(), x.Len(), n)
	}
}

// worker encounters all addresses in the given order, with numbers from next up to end, in
// batches or one by one. It returns the first number that was not used.
func (c *encounterRace) worker(next, end int32, order, got []int32, batch bool) int32 {
	var ptrs [48]uint64
	var refs [48]int32
	for len(order) > 0 && !c.fails.enough() {
		n := min(len(order), len(ptrs))
		for i, j := range order[:n] {
			ptrs[i] = c.ptrs[j]
		}
		done, used := 0, 0
		if batch {
			done, used = c.x.EncounterBatch(ptrs[:n], 5, next, c.records[next:end], testLow, refs[:n])
		} else if refs[0] = c.x.Encounter(ptrs[0], 5, next, &c.records[next], testLow); refs[0] != 0 {
			done = 1
			if refs[0] == next {
				used = 1
			}
		}
		next += int32(used)
		if done < n && (batch || done == 0) {
			refs[done] = c.slowly(ptrs[done], &next)
			done++
		}
		for i, j := range order[:done] {
			got[j] = refs[i]
			if r := atomic.LoadUint64(&c.records[refs[i]]); r != wantRecord(ptrs[i]) {
				c.fails.errorf("%#x has number %d, whose record is %#x", ptrs[i], refs[i], r)
			}
		}
		order = order[done:]
	}
	return next
}

// slowly does what an encounter has left undone, as an engine does.
func (c *encounterRace) slowly(ptr uint64, next *int32) int32 {
	atomic.StoreUint64(&c.records[*next], 0)
	if ref, _ := c.x.Lookup(ptr); ref != 0 {
		return ref
	}
	atomic.StoreUint64(&c.records[*next], wantRecord(ptr))
	got, _, err := c.x.Insert(ptr, *next, 5)
	if err != nil {
		c.fails.errorf("Insert(%#x): %v", ptr, err)
		return *next
	}
	if got == *next {
		*next++
	} else {
		atomic.StoreUint64(&c.records[*next], 0)
	}
	return got
}

// A kernel may leave an address to Go after it has put it in, if the table was replaced
// meanwhile, by one without room for tags perhaps. It still is this encounter's.
func TestEncounter_ownNumberInATableWithoutTags(t *testing.T) {
	x := compactSubject.open(t, Config{Shards: 1}).(*Compact)
	const number = 20_000
	ptrs := []uint64{heapAddress(1)}
	mustInsert(t, x, ptrs[0], number)
	if _, tag := x.Lookup(ptrs[0]); tag != TagUnknown {
		t.Fatalf("the table has room for tag %d; want none", tag)
	}
	var records [1]uint64
	var refs [1]int32
	if got := x.encounterGo(ptrs[0], 5, number, &records[0], testLow); got != number {
		t.Errorf("encounterGo = %d; want %d", got, number)
	}
	if done, used := x.encounterBatchGo(ptrs, 5, number, records[:], testLow, refs[:]); done != 1 || used != 1 || refs[0] != number {
		t.Errorf("encounterBatchGo = %d, %d, number %d; want 1, 1, %d", done, used, refs[0], number)
	}
	if got := x.encounterGo(ptrs[0], 5, number+1, &records[0], testLow); got != 0 {
		t.Errorf("encounterGo with another number = %d; want 0: the tag is not known", got)
	}
}
