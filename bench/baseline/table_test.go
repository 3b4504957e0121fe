package baseline

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"unsafe"
)

func newTable(t testing.TB, c Config) *Table {
	t.Helper()
	table, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// holds counts the references that a table took of each ptr.
type holds map[uint64]int

func (h holds) kind(name string) Kind {
	return Kind{
		Name: name,
		Grab: func(ptr uint64) error { h[ptr]++; return nil },
		Drop: func(ptr uint64) { h[ptr]-- },
	}
}

func wantObject(t *testing.T, table *Table, ptr uint64, kind uint16, wantRef int32, wantFirst bool) {
	t.Helper()
	ref, first, err := table.LookupAdd(ptr, kind)
	if err != nil || ref != wantRef || first != wantFirst {
		t.Fatalf("LookupAdd(%#x, %d) = %d, %t, %v, want %d, %t, nil", ptr, kind, ref, first, err, wantRef, wantFirst)
	}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: error %v, want %v", what, err, want)
	}
}

func TestLookupAdd_numbersFirstEncountersFromOne(t *testing.T) {
	table := newTable(t, Config{})
	wantObject(t, table, 0x1000, 1, 1, true)
	wantObject(t, table, 0x2000, 7, 2, true)
	wantObject(t, table, 0x1000, 1, 1, false)
	wantObject(t, table, 0x3000, 1, 3, true)
	if ref, ok := table.Lookup(0x2000); ref != 2 || !ok {
		t.Errorf("Lookup = %d, %t, want 2, true", ref, ok)
	}
	if ref, ok := table.Lookup(0x4000); ref != 0 || ok {
		t.Errorf("Lookup of an unknown ptr = %d, %t, want 0, false", ref, ok)
	}
	if table.Len() != 3 {
		t.Errorf("Len = %d, want 3", table.Len())
	}
}

func TestLookupAdd_anyPtrButNull(t *testing.T) {
	for _, bits := range []int{1, 10, 20} {
		table := newTable(t, Config{Bits: bits, Hash: Hash2016})
		_, _, err := table.LookupAdd(0, 1)
		wantError(t, "NULL", err, ErrInvalid)
		ptrs := []uint64{1, 2, 3, math.MaxUint64, math.MaxUint64 - 1, 1 << 63, 0x800000000000, 0xffff888000000000, 4096, 8192}
		for i, p := range ptrs {
			wantObject(t, table, p, 1, int32(i+1), true)
		}
		for i, p := range ptrs {
			wantObject(t, table, p, 1, int32(i+1), false)
		}
	}
}

func TestLookupAdd_countsUsers(t *testing.T) {
	table := newTable(t, Config{Bits: 2})
	for n := range 10 {
		for p := uint64(1); p <= uint64(10-n); p++ {
			if _, _, err := table.LookupAdd(p, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, _, err := table.LookupAdd(1, 2); !errors.Is(err, ErrKind) {
		t.Fatal(err)
	}
	table.Lookup(1)
	for p := uint64(1); p <= 10; p++ {
		if got, want := table.Users(p), int64(11-p); got != want {
			t.Errorf("Users(%d) = %d, want %d", p, got, want)
		}
	}
	if got := table.Users(11); got != 0 {
		t.Errorf("Users of an unknown ptr = %d, want 0", got)
	}
}

func TestLookupAdd_otherKindIsAnErrorAndChangesNothing(t *testing.T) {
	h := holds{}
	table := newTable(t, Config{Kinds: []Kind{h.kind("file"), h.kind("mm")}})
	wantObject(t, table, 0x10, 1, 1, true)
	for _, kind := range []uint16{0, 2, 3, math.MaxUint16} {
		_, _, err := table.LookupAdd(0x10, kind)
		wantError(t, fmt.Sprintf("known ptr, kind %d", kind), err, ErrKind)
	}
	for _, kind := range []uint16{0, 3, math.MaxUint16} {
		_, _, err := table.LookupAdd(0x20, kind)
		wantError(t, fmt.Sprintf("new ptr, kind %d", kind), err, ErrKind)
	}
	if table.Users(0x10) != 1 || table.Len() != 1 || h[0x10] != 1 || h[0x20] != 0 {
		t.Errorf("users %d, len %d, holds %v, want 1, 1, one hold of 0x10", table.Users(0x10), table.Len(), h)
	}
	wantObject(t, table, 0x20, 2, 2, true)
}

func TestGrab_failureLeavesNothing(t *testing.T) {
	sick := errors.New("sick")
	fail, drops := true, 0
	kinds := []Kind{{
		Name: "file",
		Grab: func(uint64) error {
			if fail {
				return sick
			}
			return nil
		},
		Drop: func(uint64) { drops++ },
	}}

	check := newTable(t, Config{Kinds: kinds})
	_, _, err := check.LookupAdd(0x10, 1)
	wantError(t, "LookupAdd", err, sick)
	if _, ok := check.Lookup(0x10); ok || check.Len() != 0 || check.Users(0x10) != 0 {
		t.Error("a failed LookupAdd left an entry")
	}
	rest := newTable(t, Config{Kinds: kinds})
	wantError(t, "Insert", rest.Insert(1, 0x10, 1), sick)
	_, err = rest.Fetch(1, 1)
	wantError(t, "Fetch", err, ErrNotFound)

	fail = false
	wantObject(t, check, 0x10, 1, 1, true)
	if err := rest.Insert(1, 0x10, 1); err != nil {
		t.Error(err)
	}
	check.Close()
	rest.Close()
	if drops != 2 {
		t.Errorf("%d drops, want 2: one for each object that was held", drops)
	}
}

func TestGrab_panicLeavesNothing(t *testing.T) {
	table := newTable(t, Config{Kinds: []Kind{{Name: "file", Grab: func(uint64) error { panic("grab") }}}})
	func() {
		defer func() { _ = recover() }()
		table.LookupAdd(0x10, 1)
	}()
	if _, ok := table.Lookup(0x10); ok || table.Len() != 0 || table.next != 1 {
		t.Error("a Grab that panicked left an entry or took an objref")
	}
}

func TestClose_dropsEveryReferenceOnce(t *testing.T) {
	h := holds{}
	table := newTable(t, Config{Bits: 3, Kinds: []Kind{h.kind("file"), {Name: "plain"}, h.kind("mm")}})
	for p := uint64(1); p <= 100; p++ {
		for range p%3 + 1 {
			if _, _, err := table.LookupAdd(p, uint16(p%3)+1); err != nil {
				t.Fatal(err)
			}
		}
	}
	for p := uint64(1); p <= 100; p++ {
		if want := int(1 - p%3%2); h[p] != want {
			t.Fatalf("ptr %d held %d times, want %d", p, h[p], want)
		}
	}
	table.Close()
	table.Close()
	for p, n := range h {
		if n != 0 {
			t.Errorf("ptr %d: grabs - drops = %d after Close", p, n)
		}
	}
	if table.Len() != 0 || table.Bytes() != 0 {
		t.Errorf("Len %d, Bytes %d after Close, want 0, 0", table.Len(), table.Bytes())
	}
	for range table.All() {
		t.Error("All yields an object after Close")
	}
	_, _, err := table.LookupAdd(1, 1)
	wantError(t, "LookupAdd after Close", err, ErrInvalid)
	wantError(t, "Insert after Close", table.Insert(1, 1, 1), ErrInvalid)
	_, err = table.Fetch(1, 1)
	wantError(t, "Fetch after Close", err, ErrInvalid)
	if _, ok := table.Lookup(1); ok || table.Users(1) != 0 {
		t.Error("an object is found after Close")
	}
}

func TestClose_dropsRestoredObjects(t *testing.T) {
	h := holds{}
	table := newTable(t, Config{Kinds: []Kind{h.kind("file")}})
	for ref := int32(1); ref <= 50; ref++ {
		if err := table.Insert(ref, uint64(ref)<<12, 1); err != nil {
			t.Fatal(err)
		}
	}
	table.Close()
	for p, n := range h {
		if n != 0 {
			t.Errorf("ptr %#x: grabs - drops = %d after Close", p, n)
		}
	}
}

func TestInsert_duplicateObjrefIsRefusedBeforeItsGrab(t *testing.T) {
	h := holds{}
	table := newTable(t, Config{Kinds: []Kind{h.kind("file"), h.kind("mm")}})
	if err := table.Insert(5, 0x10, 1); err != nil {
		t.Fatal(err)
	}
	wantError(t, "same object", table.Insert(5, 0x10, 1), ErrExists)
	wantError(t, "other ptr", table.Insert(5, 0x20, 1), ErrExists)
	wantError(t, "other kind", table.Insert(5, 0x10, 2), ErrExists)
	if h[0x10] != 1 || h[0x20] != 0 || table.Len() != 1 {
		t.Errorf("holds %v, len %d, want one hold of 0x10, 1", h, table.Len())
	}
	if ptr, err := table.Fetch(5, 1); ptr != 0x10 || err != nil {
		t.Errorf("Fetch = %#x, %v, want 0x10, nil", ptr, err)
	}
}

func TestRestart_zeroAndNegativeObjrefsAreInvalid(t *testing.T) {
	table := newTable(t, Config{})
	for _, ref := range []int32{0, -1, math.MinInt32} {
		wantError(t, fmt.Sprintf("Insert(%d)", ref), table.Insert(ref, 0x10, 1), ErrInvalid)
		_, err := table.Fetch(ref, 1)
		wantError(t, fmt.Sprintf("Fetch(%d)", ref), err, ErrInvalid)
	}
	wantError(t, "NULL", table.Insert(1, 0, 1), ErrInvalid)
	if table.Len() != 0 {
		t.Errorf("Len = %d, want 0", table.Len())
	}
}

func TestFetch_findsByObjrefAndComparesTheKind(t *testing.T) {
	table := newTable(t, Config{Bits: 4, Kinds: []Kind{{Name: "file"}, {Name: "mm"}}})
	refs := []int32{1, 2, 1024, 1 << 20, math.MaxInt32}
	for i, ref := range refs {
		if err := table.Insert(ref, uint64(i+1)<<6, uint16(i%2)+1); err != nil {
			t.Fatal(err)
		}
	}
	for i, ref := range refs {
		if ptr, err := table.Fetch(ref, uint16(i%2)+1); err != nil || ptr != uint64(i+1)<<6 {
			t.Errorf("Fetch(%d) = %#x, %v", ref, ptr, err)
		}
		_, err := table.Fetch(ref, uint16((i+1)%2)+1)
		wantError(t, "other kind", err, ErrKind)
	}
	_, err := table.Fetch(3, 1)
	wantError(t, "unknown objref", err, ErrNotFound)
	wantError(t, "unknown kind", table.Insert(3, 0x10, 3), ErrKind)
	wantError(t, "kind 0", table.Insert(3, 0x10, 0), ErrKind)
}

func TestDirection_doesNotMix(t *testing.T) {
	check := newTable(t, Config{})
	wantObject(t, check, 0x10, 1, 1, true)
	wantError(t, "Insert into a checkpoint", check.Insert(2, 0x20, 1), ErrInvalid)
	_, err := check.Fetch(1, 1)
	wantError(t, "Fetch from a checkpoint", err, ErrInvalid)

	rest := newTable(t, Config{})
	if err := rest.Insert(0x10, 0x10, 1); err != nil {
		t.Fatal(err)
	}
	_, _, err = rest.LookupAdd(0x20, 1)
	wantError(t, "LookupAdd in a restart", err, ErrInvalid)
	if _, ok := rest.Lookup(0x10); ok || rest.Users(0x10) != 0 {
		t.Error("a restart is searched by ptr")
	}
}

func TestCounter_endsWithAnErrorAndDoesNotWrap(t *testing.T) {
	h := holds{}
	table := newTable(t, Config{Kinds: []Kind{h.kind("file")}})
	table.next = math.MaxInt32 - 1
	wantObject(t, table, 0x10, 1, math.MaxInt32-1, true)
	wantObject(t, table, 0x20, 1, math.MaxInt32, true)
	for range 3 {
		_, _, err := table.LookupAdd(0x30, 1)
		wantError(t, "one too many", err, ErrExhausted)
	}
	if h[0x30] != 0 || table.Len() != 2 {
		t.Errorf("holds %v, len %d after ErrExhausted", h, table.Len())
	}
	wantObject(t, table, 0x10, 1, math.MaxInt32-1, false)
	wantObject(t, table, 0x20, 1, math.MaxInt32, false)
}

func TestAll_yieldsEveryObjectOnceNewestFirst(t *testing.T) {
	table := newTable(t, Config{Bits: 1})
	for p := uint64(1); p <= 64; p++ {
		wantObject(t, table, p, uint16(p), int32(p), true)
	}
	last := [2]int32{math.MaxInt32, math.MaxInt32}
	seen := map[uint64]bool{}
	for o := range table.All() {
		b := o.Ptr * uint64(Hash2008) >> 63
		if o.Objref >= last[b] {
			t.Errorf("objref %d after %d in one bucket", o.Objref, last[b])
		}
		last[b] = o.Objref
		if want := (Object{Ptr: o.Ptr, Objref: int32(o.Ptr), Kind: uint16(o.Ptr), Users: 1}); o != want || seen[o.Ptr] {
			t.Errorf("got %+v (seen %t), want %+v once", o, seen[o.Ptr], want)
		}
		seen[o.Ptr] = true
	}
	if len(seen) != 64 {
		t.Errorf("%d objects, want 64", len(seen))
	}
	for range table.All() {
		break
	}
}

func TestNew_refusesWhatIsOutOfRange(t *testing.T) {
	for _, c := range []Config{{Bits: -1}, {Bits: maxBits + 1}, {Hash: 3}, {Kinds: make([]Kind, 1<<16)}} {
		_, err := New(c)
		wantError(t, fmt.Sprintf("Bits %d, Hash %d, %d kinds", c.Bits, c.Hash, len(c.Kinds)), err, ErrInvalid)
	}
	if got := len(newTable(t, Config{}).buckets); got != 1024 {
		t.Errorf("%d buckets by default, want the seed's 1024", got)
	}
}

func TestBitsFor_isTheFirstThatHoldsAll(t *testing.T) {
	for n, want := range map[int]int{
		-1: 1, 0: 1, 1: 1, 2: 1, 3: 2, 4: 2, 5: 3, 1000: 10, 1024: 10, 1025: 11, 1_000_000: 20,
		math.MaxInt: maxBits,
	} {
		if got := BitsFor(n); got != want {
			t.Errorf("BitsFor(%d) = %d, want %d", n, got, want)
		}
	}
}

func TestEntry_has32Bytes(t *testing.T) {
	if got := unsafe.Sizeof(entry{}); got > 32 {
		t.Errorf("an entry has %d bytes, want 32 at most", got)
	}
}

// TotalAlloc is the allocator's own count, so it shows that Bytes is exact and
// not an estimate.
func TestBytes_isWhatTheAllocatorGave(t *testing.T) {
	for _, bits := range []int{1, 5, 6, 7, 8, 10, 11, 12, 13, 16} {
		const objects = 1000
		var table *Table
		// A neighbour of the test may allocate as well, but not every time.
		var got, want int64
		for range 10 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			table, _ = New(Config{Bits: bits})
			for p := uint64(1); p <= objects; p++ {
				table.LookupAdd(p<<6, 1)
			}
			runtime.ReadMemStats(&after)
			got = table.Bytes() + heapBytes(unsafe.Sizeof(*table))
			want = int64(after.TotalAlloc - before.TotalAlloc)
			if got == want {
				break
			}
		}
		if got != want {
			t.Errorf("bits %d: Bytes and the table itself are %d, the allocator says %d", bits, got, want)
		}
	}
}

// The seed's multiplication by shifts, from include/linux/hash.h of Linux 2.6.27.
func hash64Shifts(val uint64, bits int) uint64 {
	hash, n := val, val
	n <<= 18
	hash -= n
	n <<= 33
	hash -= n
	n <<= 3
	hash += n
	n <<= 3
	hash -= n
	n <<= 4
	hash += n
	n <<= 2
	hash += n
	return hash >> (64 - bits)
}

func TestHash2008_shiftsGiveTheProduct(t *testing.T) {
	rng := rand.New(rand.NewPCG(2008, 64))
	for range 10_000 {
		v, bits := rng.Uint64(), 1+rng.IntN(31)
		if got, want := v*uint64(Hash2008)>>(64-bits), hash64Shifts(v, bits); got != want {
			t.Fatalf("hash_64(%#x, %d) = %#x, want %#x", v, bits, got, want)
		}
	}
}

func TestHash2008_losesThePageBitsThatHash2016Keeps(t *testing.T) {
	const pages = 512 // addresses that differ in bits 12 to 20 alone
	used := func(h Hash) int {
		table := newTable(t, Config{Hash: h})
		n := 0
		for i := range uint64(pages) {
			p := table.bucket(0xffff888000000000 + i<<12)
			if *p == nil {
				n++
				*p = &entry{}
			}
		}
		return n
	}
	old, cur := used(Hash2008), used(Hash2016)
	t.Logf("%d pages fill %d of 1024 buckets with the constant of 2008, %d with that of 2016", pages, old, cur)
	if old*4 > cur {
		t.Errorf("2008 fills %d buckets, 2016 %d; want less than a quarter", old, cur)
	}
}

// The oracle has an oracle: a Go map, driven by the same random encounters.
func TestLookupAdd_agreesWithAMap(t *testing.T) {
	for _, hash := range []Hash{Hash2008, Hash2016} {
		rng := rand.New(rand.NewPCG(1, uint64(hash)))
		table := newTable(t, Config{Bits: 6, Hash: hash})
		objrefs, users := map[uint64]int32{}, map[uint64]int64{}
		for range 20_000 {
			ptr := uint64(1+rng.IntN(2000)) << 6
			want, known := objrefs[ptr]
			if !known {
				want = int32(len(objrefs) + 1)
				objrefs[ptr] = want
			}
			users[ptr]++
			wantObject(t, table, ptr, 1, want, !known)
		}
		if table.Len() != len(objrefs) {
			t.Errorf("Len = %d, want %d", table.Len(), len(objrefs))
		}
		for o := range table.All() {
			if o.Objref != objrefs[o.Ptr] || o.Users != users[o.Ptr] {
				t.Errorf("%+v, want objref %d, %d users", o, objrefs[o.Ptr], users[o.Ptr])
			}
		}
	}
}
