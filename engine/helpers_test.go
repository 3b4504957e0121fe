package engine_test

import (
	"context"
	"errors"
	"math/bits"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/objhash/objhash/engine"
	"github.com/objhash/objhash/refcount"
)

// leaseRefs is the documented number of objrefs that a handle takes at a time.
const leaseRefs = 64

// slow tells that a build or machine takes many times as long as usual: under the
// race detector, and as a 32-bit program, which may be an emulated one.
const slow = raceEnabled || bits.UintSize == 32

// sized returns n, or a tenth of it where everything is slow.
func sized(n int) int {
	if slow {
		return n / 10
	}
	return n
}

// addr returns the address of object i: slab objects of 192 bytes.
func addr(i int) engine.Ptr { return 0xffff888000000000 + engine.Ptr(i)*192 }

// wide returns an address outside 48 bits for object i.
func wide(i int) engine.Ptr { return 0x0123000000000000 + engine.Ptr(i)*64 }

// oddAddresses are those that a table may stumble over.
var oddAddresses = []engine.Ptr{
	1, 2, 3, 1<<47 - 1, // the least and the greatest of the lower half
	1 << 47, 1<<48 - 1, 1 << 48, 1 << 63, 1<<63 - 1, // not canonical
	^engine.Ptr(0), ^engine.Ptr(0) - 1, 0xffff_8000_0000_0000, 0xffff_7fff_ffff_ffff,
	0x7fff_ffff_f000, 0x7fff_ffff_f001, 0x7fff_ffff_e000, // one bit, one page apart
	0xffff_8880_0000_0000, 0xffff_8880_0000_1000, 0xffff_8880_0000_2000,
	0x00ff_8880_0000_0000, 0x01ff_8880_0000_0000, // equal but for the tag byte
	0xb400_7fff_ffff_f000, 0xb500_7fff_ffff_f000,
	1 << 56, 1 << 57, 0xdead_beef_dead_beef, 0xffff_ffff, 1 << 32, 1 << 31,
}

func name(k engine.Kind) string { return "sort" + strconv.Itoa(int(k)) }

// account is what references are counted for.
type account struct {
	p engine.Ptr
	k engine.Kind
}

type balance struct{ grabs, drops, lasts int }

// ledger makes kinds whose Grab and Drop count the references taken and released,
// by address and kind, and complain of a release without a reference.
type ledger struct {
	t     testing.TB
	kinds []engine.KindOps

	// grabbing runs before a Grab counts, and may fail, panic or exit in its place;
	// dropping runs after a Drop has counted. Set them before they are used.
	grabbing func(account) error
	dropping func(a account, last bool)

	grabs, drops, lasts atomic.Int64 // of all accounts

	stripes [64]struct {
		sync.Mutex
		balances map[account]balance
		held     map[engine.Ptr]int
	}
}

func newLedger(t testing.TB, kinds int) *ledger {
	l := &ledger{t: t}
	for i := range kinds {
		k := engine.Kind(i + 1)
		l.kinds = append(l.kinds, engine.KindOps{
			Name: name(k),
			Grab: func(p engine.Ptr) error { return l.grab(account{p, k}) },
			Drop: func(p engine.Ptr, last bool) { l.drop(account{p, k}, last) },
		})
	}
	return l
}

// update adds to an account and returns what it is then.
func (l *ledger) update(a account, by balance) balance {
	l.grabs.Add(int64(by.grabs))
	l.drops.Add(int64(by.drops))
	l.lasts.Add(int64(by.lasts))
	s := &l.stripes[stripeOf(a.p)]
	s.Lock()
	defer s.Unlock()
	if s.balances == nil {
		s.balances, s.held = map[account]balance{}, map[engine.Ptr]int{}
	}
	b := s.balances[a]
	b.grabs += by.grabs
	b.drops += by.drops
	b.lasts += by.lasts
	s.balances[a] = b
	s.held[a.p] += by.grabs - by.drops
	return b
}

func stripeOf(p engine.Ptr) uint64 { return uint64(p) * 0x9e3779b97f4a7c15 >> 58 }

func (l *ledger) grab(a account) error {
	if l.grabbing != nil {
		if err := l.grabbing(a); err != nil {
			return err
		}
	}
	l.update(a, balance{grabs: 1})
	return nil
}

func (l *ledger) drop(a account, last bool) {
	by := balance{drops: 1}
	if last {
		by.lasts = 1
	}
	if b := l.update(a, by); b.drops > b.grabs {
		l.t.Errorf("%s %#x: drop %d after %d grabs", name(a.k), a.p, b.drops, b.grabs)
	}
	if l.dropping != nil {
		l.dropping(a, last)
	}
}

func (l *ledger) of(p engine.Ptr, k engine.Kind) balance {
	s := &l.stripes[stripeOf(p)]
	s.Lock()
	defer s.Unlock()
	return s.balances[account{p, k}]
}

// held returns the references held on an object, of whatever kind.
func (l *ledger) held(p engine.Ptr) int {
	s := &l.stripes[stripeOf(p)]
	s.Lock()
	defer s.Unlock()
	return s.held[p]
}

// totals returns the sum of all accounts.
func (l *ledger) totals() balance {
	return balance{int(l.grabs.Load()), int(l.drops.Load()), int(l.lasts.Load())}
}

// settled fails the test unless grabs minus drops is zero for each object.
func (l *ledger) settled() {
	l.t.Helper()
	wrong := 0
	for i := range l.stripes {
		s := &l.stripes[i]
		s.Lock()
		for a, b := range s.balances {
			if b.grabs != b.drops {
				if wrong++; wrong <= 5 {
					l.t.Errorf("%s %#x: %d grabs, %d drops", name(a.k), a.p, b.grabs, b.drops)
				}
			}
		}
		s.Unlock()
	}
	if wrong > 5 {
		l.t.Errorf("and %d more objects whose references are not balanced", wrong-5)
	}
}

// newCheckpoint makes a context that the test closes at its end.
func newCheckpoint(t testing.TB, o engine.Options) *engine.Checkpoint {
	t.Helper()
	c, err := engine.NewCheckpoint(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAtEnd(t, c) })
	return c
}

func newRestart(t testing.TB, o engine.Options) *engine.Restart {
	t.Helper()
	r, err := engine.NewRestart(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAtEnd(t, r) })
	return r
}

func newDumper(t testing.TB, c *engine.Checkpoint) *engine.Dumper {
	d := c.Dumper()
	t.Cleanup(func() { closeAtEnd(t, d) })
	return d
}

// closeAtEnd leaves open what a failed test may have left locked.
func closeAtEnd(t testing.TB, c interface{ Close() error }) {
	t.Helper()
	if !t.Failed() {
		closeQuietly(t, c)
	}
}

func closeQuietly(t testing.TB, c interface{ Close() error }) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// mustMeet encounters p and fails the test unless the result is as said.
func mustMeet(t testing.TB, d *engine.Dumper, p engine.Ptr, k engine.Kind, ref engine.ObjRef, first bool) {
	t.Helper()
	gotRef, gotFirst, err := d.Encounter(p, k)
	if gotRef != ref || gotFirst != first || err != nil {
		t.Fatalf("Encounter(%#x, %d) = %d, %t, %v; want %d, %t, nil", p, k, gotRef, gotFirst, err, ref, first)
	}
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error is %v; want one that wraps %q", what, err, want)
	}
}

func wantKindError(t testing.TB, what string, err error, want engine.KindError) {
	t.Helper()
	var got *engine.KindError
	if !errors.As(err, &got) || *got != want {
		t.Errorf("%s: error is %v; want %v", what, err, &want)
	}
}

// parallel runs f on n goroutines that start at once, and waits for all.
func parallel(n int, f func(worker int)) {
	start := make(chan struct{})
	var done sync.WaitGroup
	for i := range n {
		done.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	done.Wait()
}

// together runs f for each of a number of rounds on two goroutines, which start every
// round at the same moment, as far as the machine lets them.
func together(rounds int, f func(worker, round int)) {
	var arrived atomic.Int64
	parallel(2, func(w int) {
		for round := range rounds {
			arrived.Add(1)
			for spins := 0; arrived.Load() < int64(2*(round+1)); spins++ {
				if spins > 100 {
					runtime.Gosched() // one processor must do
				}
			}
			f(w, round)
		}
	})
}

// patience bounds what must end soon. It only runs out if the test fails.
func patience() time.Duration {
	if slow {
		return 3 * time.Minute
	}
	return 20 * time.Second
}

// within fails the test, with all stacks, unless f returns.
func within(t testing.TB, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	await(t, what, done)
}

func await(t testing.TB, what string, done <-chan struct{}) {
	t.Helper()
	timer := time.NewTimer(patience())
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		buf := make([]byte, 1<<16)
		t.Fatalf("%s: still waiting after %v\n%s", what, patience(), buf[:runtime.Stack(buf, true)])
	}
}

// ending is how a function ended: it returned an error, panicked, or exited its
// goroutine.
type ending struct {
	err      error
	panicked any
	exited   bool
}

// ends runs f on a goroutine of its own and tells how it ended.
func ends(f func() error) (e ending) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.exited = true
		defer func() {
			if v := recover(); v != nil {
				e = ending{panicked: v}
			}
		}()
		err := f()
		e = ending{err: err}
	}()
	<-done
	return e
}

// fate is what a callback does in place of succeeding.
type fate struct {
	name string
	meet func() error
}

var errSick = errors.New("sick")

var fates = []fate{
	{"error", func() error { return errSick }},
	{"panic", func() error { panic(errSick) }},
	{"goexit", func() error { runtime.Goexit(); return nil }},
}

// wantFate checks that f ended as its callback did.
func (f fate) wantFate(t testing.TB, what string, e ending) {
	t.Helper()
	switch {
	case f.name == "error" && errors.Is(e.err, errSick):
	case f.name == "panic" && e.panicked == errSick:
	case f.name == "goexit" && e.exited:
	default:
		t.Errorf("%s: ended with %+v; want what its callback did: %s", what, e, f.name)
	}
}

// settings are the contexts that the guarantees are tested on: as small as can be,
// so that everything collides and grows; as they come; presized; and with another strategy
// than the default.
var settings = []struct {
	name    string
	options engine.Options
}{
	{"shards=1", engine.Options{Shards: 1, Seed: 1}},
	{"shards=auto", engine.Options{}},
	{"shards=64/presized", engine.Options{Shards: 64, ExpectedObjects: 10_000}},
	{"shards=2/count=atomic", engine.Options{Shards: 2, Count: refcount.Atomic{}}},
}

// forEachSetting runs f as a subtest for each of settings. f must end within patience:
// a callback that waits for a lock must not keep all other tests from running.
func forEachSetting(t *testing.T, f func(*testing.T, engine.Options)) {
	for _, s := range settings {
		t.Run(s.name, func(t *testing.T) {
			within(t, "the whole test", func() { f(t, s.options) })
		})
	}
}

// with returns o with the kinds of l.
func with(o engine.Options, l *ledger) engine.Options {
	o.Kinds = l.kinds
	return o
}

// onInc is a counting strategy whose handles call it, with each objref counted.
type onInc func(ref int32)

func (onInc) Name() string { return "hooked" }

func (onInc) Traits() refcount.Traits { return refcount.Traits{} }

func (h onInc) New(refcount.Config) (refcount.Counter, error) { return hooked{h}, nil }

type hooked struct{ inc func(int32) }

func (hooked) Grow(first, last int32) error { return nil }
func (h hooked) Handle() refcount.Handle    { return h }
func (hooked) Count(int32) int64            { return 0 }
func (hooked) Barrier()                     {}
func (hooked) Bytes() int64                 { return 0 }
func (h hooked) Inc(ref int32)              { h.inc(ref) }
func (h hooked) TryInc(ref int32) bool      { h.inc(ref); return true }
func (hooked) Dec(int32)                    {}
func (hooked) Flush()                       {}
func (hooked) Close()                       {}

// wantInOrder checks all that must hold of a context whenever nobody writes: G7,
// and the accounts of G3. It returns the objects.
func wantInOrder(t testing.TB, c *engine.Checkpoint) map[engine.ObjRef]engine.Object {
	t.Helper()
	s := c.Stats()
	objects := map[engine.ObjRef]engine.Object{}
	byPtr, byKey := map[engine.Ptr]engine.ObjRef{}, map[string]engine.ObjRef{}
	last := engine.ObjRef(0)
	for ref, o := range c.All() {
		if ref <= last || int(ref) > s.Allocated {
			t.Fatalf("All yields objref %d after %d; largest allocated is %d", ref, last, s.Allocated)
		}
		last = ref
		objects[ref] = o
		if again, ok := c.Object(ref); !ok || again.Ptr != o.Ptr || again.Kind != o.Kind || string(again.Key) != string(o.Key) {
			t.Fatalf("Object(%d) = %+v, %t; All said %+v", ref, again, ok, o)
		}
		if o.Flags&engine.Keyed != 0 {
			if o.Ptr != 0 || len(o.Key) == 0 {
				t.Fatalf("objref %d: keyed, but %+v", ref, o)
			}
			if twin, ok := byKey[string(o.Key)]; ok {
				t.Fatalf("key %q has objrefs %d and %d", o.Key, twin, ref)
			}
			byKey[string(o.Key)] = ref
			continue
		}
		if o.Ptr == 0 || o.Key != nil {
			t.Fatalf("objref %d: not keyed, but %+v", ref, o)
		}
		if twin, ok := byPtr[o.Ptr]; ok {
			t.Fatalf("%#x has objrefs %d and %d", o.Ptr, twin, ref)
		}
		byPtr[o.Ptr] = ref
		if got, ok := c.Lookup(o.Ptr); got != ref || !ok {
			t.Fatalf("Lookup(%#x) = %d, %t; Object says %d", o.Ptr, got, ok, ref)
		}
	}
	if n := len(objects); n != c.Len() || n != s.Objects || len(byPtr) != s.Index.Objects {
		t.Errorf("All yields %d objects, %d by address; Len is %d, Stats %d, the index has %d",
			n, len(byPtr), c.Len(), s.Objects, s.Index.Objects)
	}
	if s.Allocated != s.Objects+s.Reserved+s.Leased+s.Free+s.Expected || min(s.Reserved, s.Leased, s.Free, s.Expected) < 0 {
		t.Errorf("Allocated %d is not Objects %d + Reserved %d + Leased %d + Free %d + Expected %d",
			s.Allocated, s.Objects, s.Reserved, s.Leased, s.Free, s.Expected)
	}
	if s.Handles == 0 && s.Leased != 0 {
		t.Errorf("%d objrefs leased by no handle", s.Leased)
	}
	if s.Leased > leaseRefs*s.Handles {
		t.Errorf("%d handles lease %d objrefs; want at most %d each", s.Handles, s.Leased, leaseRefs)
	}
	return objects
}

// refSet collects objrefs from any number of goroutines, and finds one that comes
// twice.
type refSet struct {
	t    testing.TB
	mu   sync.Mutex
	seen map[engine.ObjRef]struct{}
	max  engine.ObjRef
}

func newRefSet(t testing.TB) *refSet {
	return &refSet{t: t, seen: map[engine.ObjRef]struct{}{}}
}

func (s *refSet) add(ref engine.ObjRef) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ref <= 0 {
		s.t.Errorf("objref %d is not positive", ref)
	}
	if _, twice := s.seen[ref]; twice {
		s.t.Errorf("objref %d was given out twice", ref)
	}
	s.seen[ref] = struct{}{}
	s.max = max(s.max, ref)
}

// largest returns how many objrefs were added, and the largest.
func (s *refSet) largest() (n int, largest engine.ObjRef) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.seen), s.max
}

// wantMessage checks that an error tells its reader what it should.
func wantMessage(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error; want one with %q", parts)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not tell %q", err, part)
		}
	}
}

// smallCheckpoint makes a context, meets the objects through one handle, and closes both.
// If it is to look, it returns what the context said it took before.
func smallCheckpoint(t testing.TB, objects int, look bool) (bytes int64) {
	c, err := engine.NewCheckpoint(engine.Options{Kinds: oneKind})
	if err != nil {
		t.Fatal(err)
	}
	d := c.Dumper()
	for i := range objects {
		if _, _, err := d.Encounter(addr(i), 1); err != nil {
			t.Fatal(err)
		}
	}
	if look {
		bytes = c.Stats().Bytes
	}
	closeQuietly(t, d)
	closeQuietly(t, c)
	return bytes
}

// smallRestart is smallCheckpoint for the other direction.
func smallRestart(t testing.TB, objects int, look bool) (bytes int64) {
	r, err := engine.NewRestart(engine.Options{Kinds: oneKind})
	if err != nil {
		t.Fatal(err)
	}
	h := r.Restorer()
	for i := range objects {
		create := func(*engine.Claim) (engine.Ptr, error) { return addr(i), nil }
		if _, err := h.Restore(context.Background(), engine.ObjRef(i+1), 1, create); err != nil {
			t.Fatal(err)
		}
	}
	if look {
		bytes = r.Bytes()
	}
	closeQuietly(t, h)
	closeQuietly(t, r)
	return bytes
}

// oneKind is a kind whose references cost nothing.
var oneKind = []engine.KindOps{{
	Grab: func(engine.Ptr) error { return nil },
	Drop: func(engine.Ptr, bool) {},
}}
