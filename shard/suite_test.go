package shard

import (
	"errors"
	"flag"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/objhash/objhash/internal/invariants"
)

// The tests of what an index promises run over every variant and kernel, with good and
// bad hashes, in tables of usual and of the smallest size: see forEachSetup.

// slow tells that this build or machine takes many times as long as usual: under the
// race detector, which implies checked invariants, and as a 32-bit program.
const slow = invariants.Enabled || bits.UintSize == 32

// sized returns n, or an eighth of it where everything is slow or in a hurry.
func sized(n int) int {
	if slow || testing.Short() {
		return max(1, n/8)
	}
	return n
}

var seedFlag = flag.Uint64("seed", 0, "seed of the randomised tests, as printed by one that failed; 0 takes a fresh one")

// seeded returns a source of random numbers whose seed a failing test prints.
func seeded(t testing.TB) *rand.Rand {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

type subject struct {
	name string
	make func(Config) (Index, error)
}

var (
	compactSubject = subject{"compact", func(c Config) (Index, error) {
		x, err := NewCompact(c)
		if err != nil {
			return nil, err
		}
		return x, nil
	}}
	lockedSubject = subject{"locked", func(c Config) (Index, error) {
		x, err := NewLocked(c)
		if err != nil {
			return nil, err
		}
		return x, nil
	}}
	subjects = []subject{compactSubject, lockedSubject}
)

// quality is a quality of the hash: a multiplier, and addresses that make it so.
type quality struct {
	name       string
	multiplier uint64
	address    func(i int) uint64 // canonical, not 0, different for each i below 1<<20
}

var qualities = []quality{
	{"default", 0, heapAddress},
	// Small addresses stay small: every hash has the same top bits.
	{"constant", 1, func(i int) uint64 { return uint64(i + 1) }},
	// The lowest four bits of an address become the top four bits of its hash.
	{"4bits", 1 | 1<<44, func(i int) uint64 { return uint64(i + 1) }},
}

// heapAddress returns addresses as they occur: slabs of some sizes and, every fourth
// one, in the kernel's half.
func heapAddress(i int) uint64 {
	if i&3 == 3 {
		return 0xffff_8880_0000_0000 + uint64(i)*192
	}
	return 0x7f3a_5c00_0000 + uint64(i&3)<<36 + uint64(i)*48
}

// wideAddress returns addresses outside 48 bits, as of 57-bit kernels, and tagged
// pointers.
func wideAddress(i int) uint64 {
	if i&1 == 1 {
		return 0x00a5_7f00_0000_0000 + uint64(i)*64
	}
	return 0xff11_0000_0000_0000 + uint64(i)*64
}

type size struct {
	name   string
	config Config
}

var sizes = []size{
	{"default", Config{}},
	// One shard that starts with the smallest table, and grows right away.
	{"stress", Config{Shards: 1}},
}

// setup is one combination that a test runs with.
type setup struct {
	subject
	quality
	size
}

// forEachSetup runs f as a subtest for every combination of variant, kernel, hash and
// size.
func forEachSetup(t *testing.T, f func(t *testing.T, s setup)) {
	forEachSubject(t, func(t *testing.T, sub subject) {
		for _, q := range qualities {
			for _, z := range sizes {
				t.Run(fmt.Sprintf("hash=%s/size=%s", q.name, z.name), func(t *testing.T) {
					f(t, setup{sub, q, z})
				})
			}
		}
	})
}

// forEachSubject runs f as a subtest for every variant, and for every kernel where
// there is a choice.
func forEachSubject(t *testing.T, f func(t *testing.T, sub subject)) {
	for _, sub := range subjects {
		t.Run("index="+sub.name, func(t *testing.T) {
			if sub.name != compactSubject.name {
				f(t, sub)
				return
			}
			forEachKernel(t, func(t *testing.T) { f(t, sub) })
		})
	}
}

// forEachKernel runs f as a subtest for every kernel that there is here.
func forEachKernel(t *testing.T, f func(t *testing.T)) {
	for _, k := range supportedKernels() {
		t.Run("kernel="+k.String(), func(t *testing.T) {
			useKernel(t, k)
			f(t)
		})
	}
}

func supportedKernels() (list []kernel) {
	for k := range kernels {
		if k.supported() {
			list = append(list, k)
		}
	}
	return list
}

// fewShards makes a test independent of the number of processors, which the number of
// shards otherwise goes by.
func fewShards(c *Config) {
	if c.Shards == 0 {
		c.Shards = 4
	}
}

// open makes an index and closes it when the test ends, if it is still open then.
func (s setup) open(t testing.TB, adjust ...func(*Config)) Index {
	t.Helper()
	c := s.config
	c.Multiplier = s.multiplier
	for _, f := range adjust {
		f(&c)
	}
	return s.subject.open(t, c)
}

func (s subject) open(t testing.TB, c Config) Index {
	t.Helper()
	x, err := s.make(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() { // a failed test may have left locked what Close waits for
			x.Close()
		}
	})
	return x
}

// addresses returns n addresses of the setup's quality, in no order.
func (s setup) addresses(r *rand.Rand, n int) []uint64 {
	ptrs := make([]uint64, n)
	for i, j := range r.Perm(n) {
		ptrs[i] = s.address(j)
	}
	return ptrs
}

// stored is what an index should return for an address.
type stored struct {
	ref int32
	tag uint8
}

// tagOf returns the tag that tests store with number ref: never 0, never TagUnknown.
func tagOf(ref int32) uint8 { return uint8(uint32(ref)*7%251) + 1 }

// rightTag tells whether an index may return tag got where want was stored.
func rightTag(x Index, got, want uint8) bool {
	_, compact := x.(*Compact)
	return got == want || compact && got == TagUnknown
}

// mustInsert inserts a new address.
func mustInsert(t testing.TB, x Index, ptr uint64, ref int32) {
	t.Helper()
	got, tag, err := x.Insert(ptr, ref, tagOf(ref))
	if err != nil || got != ref || !rightTag(x, tag, tagOf(ref)) {
		t.Fatalf("Insert(%#x, %d, %d) = %d, %d, %v; want what was offered", ptr, ref, tagOf(ref), got, tag, err)
	}
}

// mustFind looks up an address that is there.
func mustFind(t testing.TB, x Index, ptr uint64, want stored) {
	t.Helper()
	if ref, tag := x.Lookup(ptr); ref != want.ref || !rightTag(x, tag, want.tag) {
		t.Fatalf("Lookup(%#x) = %d, tag %d; want %d, tag %d", ptr, ref, tag, want.ref, want.tag)
	}
}

// mustHold checks that x, which nobody writes to, holds exactly want, whichever way
// one looks at it.
func mustHold(t testing.TB, x Index, want map[uint64]stored) {
	t.Helper()
	ptrs := make([]uint64, 0, len(want))
	for ptr, w := range want {
		mustFind(t, x, ptr, w)
		ptrs = append(ptrs, ptr)
	}

	refs, tags := make([]int32, len(ptrs)), make([]uint8, len(ptrs))
	if found := x.LookupBatch(ptrs, refs, tags); found != len(ptrs) {
		t.Fatalf("LookupBatch found %d of %d addresses", found, len(ptrs))
	}
	for i, ptr := range ptrs {
		if w := want[ptr]; refs[i] != w.ref || !rightTag(x, tags[i], w.tag) {
			t.Fatalf("LookupBatch: address %#x has %d, tag %d; want %d, tag %d", ptr, refs[i], tags[i], w.ref, w.tag)
		}
	}

	seen := make(map[uint64]bool, len(want))
	for ptr, ref := range x.All() {
		w, ok := want[ptr]
		if !ok || ref != w.ref || seen[ptr] {
			t.Fatalf("All: address %#x with %d; want %d (0: none), once; seen before: %v", ptr, ref, w.ref, seen[ptr])
		}
		seen[ptr] = true
	}
	if len(seen) != len(want) {
		t.Fatalf("All: %d addresses; want %d", len(seen), len(want))
	}

	if n := x.Len(); n != len(want) {
		t.Fatalf("Len() = %d; want %d", n, len(want))
	}
	mustBeConsistent(t, x, len(want))
}

// mustBeConsistent checks the statistics of an index that has n entries.
func mustBeConsistent(t testing.TB, x Index, n int) {
	t.Helper()
	st := x.Stats()
	inTables := int64(0)
	for _, p := range st.Probes {
		inTables += p
	}
	if st.Objects != n || inTables != int64(n-st.Wide) || st.Slots < n-st.Wide || st.Bytes != x.Bytes() || st.Shards < 1 {
		t.Fatalf("Stats() = %+v; want %d objects, of them %d in tables; Bytes() = %d", st, n, n-st.Wide, x.Bytes())
	}
}

// mustBeClosed checks that x behaves as a closed index. ptrs were in it.
func mustBeClosed(t testing.TB, x Index, ptrs []uint64) {
	t.Helper()
	for _, ptr := range ptrs {
		if ref, _ := x.Lookup(ptr); ref != 0 {
			t.Fatalf("Lookup(%#x) = %d after Close; want 0", ptr, ref)
		}
		if got, _, err := x.Insert(ptr, 1<<30, 1); got != 0 || !errors.Is(err, ErrClosed) {
			t.Fatalf("Insert(%#x) = %d, %v after Close; want 0, ErrClosed", ptr, got, err)
		}
	}
	refs := make([]int32, len(ptrs))
	if found := x.LookupBatch(ptrs, refs, nil); found != 0 {
		t.Fatalf("LookupBatch found %d after Close; want 0", found)
	}
	used, err := x.InsertBatch(ptrs, 1, 1<<30, refs)
	if used != 0 || len(ptrs) > 0 && !errors.Is(err, ErrClosed) {
		t.Fatalf("InsertBatch = %d, %v after Close; want 0, ErrClosed", used, err)
	}
	for i, ref := range refs {
		if ref != 0 {
			t.Fatalf("InsertBatch: element %d has %d after Close; want 0", i, ref)
		}
	}
	for ptr, ref := range x.All() {
		t.Fatalf("All yields %#x, %d after Close; want nothing", ptr, ref)
	}
	if n := x.Len(); n != 0 {
		t.Fatalf("Len() = %d after Close; want 0", n)
	}
	if st := x.Stats(); st.Objects != 0 || st.Wide != 0 {
		t.Fatalf("Stats() = %+v after Close; want no objects", st)
	}
	if err := x.Close(); err != nil {
		t.Fatalf("second Close: %v", err)
	}
}

// together runs f(0) to f(n-1) at the same time, and returns when all have.
func together(n int, f func(worker int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for worker := range n {
		wg.Go(func() {
			<-start
			f(worker)
		})
	}
	close(start)
	wg.Wait()
}

// oversubscribe gives the test several times as many threads as there are
// processors, so that the system stops some of them in the middle of an operation,
// for long enough that others do thousands.
func oversubscribe(t *testing.T) {
	old := runtime.GOMAXPROCS(4 * runtime.NumCPU())
	t.Cleanup(func() { runtime.GOMAXPROCS(old) })
}

// stuckAfter is when an operation that should not wait is taken to wait for ever. It
// only runs out if the test fails.
func stuckAfter() time.Duration {
	if slow {
		return 2 * time.Minute
	}
	return 30 * time.Second
}

// mustReturn fails the test, and shows what every goroutine does, if f does not
// return. f reports its own failures by t.Error.
func mustReturn(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	mustClose(t, what, done)
}

// mustClose waits for done to be closed.
func mustClose(t testing.TB, what string, done <-chan struct{}) {
	t.Helper()
	timer := time.NewTimer(stuckAfter())
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		stacks := make([]byte, 1<<16)
		t.Fatalf("%s: stuck\n%s", what, stacks[:runtime.Stack(stacks, true)])
	}
}
