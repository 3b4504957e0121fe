package refcount

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/objhash/objhash/internal/region"
)

// The conformance suite holds every strategy to the contract in refcount.go and to its
// own Traits. This file has what its parts share:
//
//	counts_test.go      counts equal the oracle's, threads and estimates
//	handles_test.go     the life of handles, and how it may end
//	zero_test.go        who is told dead, when, and how often
//	callbacks_test.go   what a Zero may do
//	saturation_test.go  the largest count, and what is below 0
//	room_test.go        room for objrefs, memory, and what Traits say of it
//	model_test.go       any sequence of operations against the oracle; fuzzed
//	word_test.go        the words of those that count in a shared one
//	soak_test.go        the long jobs
//
// A new strategy is tested once it is in All and has an entry in presets.
var strategies = All()

// presets give ref a count of n, which nobody counted: for what would take 2^31 steps
// otherwise. The counter is at a barrier, and ref has room and a count of 0.
var presets = map[string]func(c Counter, ref int32, n uint32){
	"plain":   func(c Counter, ref int32, n uint32) { *c.(*plainCounter).at(ref) = n },
	"mutex":   func(c Counter, ref int32, n uint32) { *c.(*mutexCounter).at(ref) = n },
	"atomic":  func(c Counter, ref int32, n uint32) { *c.(*AtomicCounter).at(ref) = n },
	"padded":  func(c Counter, ref int32, n uint32) { *c.(*paddedCounter).at(ref) = n },
	"cas":     func(c Counter, ref int32, n uint32) { *c.(*casCounter).at(ref) = n },
	"rcuref":  func(c Counter, ref int32, n uint32) { *c.(*rcurefCounter).at(ref) = n },
	"striped": func(c Counter, ref int32, n uint32) { *c.(*stripedCounter).at(ref) = n },
	"sloppy":  func(c Counter, ref int32, n uint32) { *c.(*sloppyCounter).at(ref) = n },
	"refcache": func(c Counter, ref int32, n uint32) {
		*c.(*refcacheCounter).words.Made(uint32(ref)) = uint64(n) << refcacheCountShift
	},
	"biased": func(c Counter, ref int32, n uint32) { *c.(*biasedCounter).shared.Made(uint32(ref)) = n },
	"arrays": func(c Counter, ref int32, n uint32) { *c.(*arraysCounter).shared.Made(uint32(ref)) = n },
	"log":    func(c Counter, ref int32, n uint32) { *c.(*logCounter).shared.Made(uint32(ref)) = n },
	"snzi":   func(c Counter, ref int32, n uint32) { *c.(*snziCounter).at(ref) = n },
}

// underRace tells that the race detector watches, and makes all that counts slow.
const underRace = cellBytes != 1

func eachStrategy(t *testing.T, test func(t *testing.T, s Strategy)) {
	for _, s := range strategies {
		t.Run("strategy="+s.Name(), func(t *testing.T) { test(t, s) })
	}
}

// threadsOf returns those numbers of threads that s can have.
func threadsOf(s Strategy, threads ...int) []int {
	if s.Traits().OneThread {
		return []int{1}
	}
	return threads
}

// newCounter returns a counter with an arena of at most limit bytes; 0: any.
func newCounter(t testing.TB, s Strategy, limit int64) (Counter, *region.Arena) {
	t.Helper()
	return newCounterWith(t, s, limit, nil)
}

func newCounterWith(t testing.TB, s Strategy, limit int64, zero func(int32)) (Counter, *region.Arena) {
	t.Helper()
	a := region.NewArena(region.NewBudget(limit))
	t.Cleanup(a.Close)
	c, err := s.New(Config{Arena: a, Zero: zero})
	if err != nil {
		t.Fatal(err)
	}
	return c, a
}

func grow(t testing.TB, c Counter, first, last int32) {
	t.Helper()
	if err := c.Grow(first, last); err != nil {
		t.Fatalf("Grow(%d, %d): %v", first, last, err)
	}
}

// wantCount compares what c counts, at a barrier, with the truth.
func wantCount(t testing.TB, s Strategy, c Counter, ref int32, want int64) {
	t.Helper()
	got := c.Count(ref)
	if s.Traits().Exact != Never {
		if got != want {
			t.Errorf("Count(%d) = %d; want %d", ref, got, want)
		}
		return
	}
	if got < 0 || got > countMax || (got == 0) != (want == 0) {
		t.Errorf("Count(%d) = %d with %d users", ref, got, want)
	}
}

// parallel calls f for each of n threads and waits for all.
func parallel(n int, f func(w int)) {
	var wg sync.WaitGroup
	for w := range n {
		wg.Go(func() { f(w) })
	}
	wg.Wait()
}

// inTurn does the same, one after the other, each in a goroutine of its own.
func inTurn(n int, f func(w int)) {
	for w := range n {
		parallel(1, func(int) { f(w) })
	}
}

func handlesOf(c Counter, n int) []Handle {
	handles := make([]Handle, n)
	for i := range handles {
		handles[i] = c.Handle()
	}
	return handles
}

// runUntil brings about the moment when, for what was done before, with all open
// handles given; each step goes through do.
func runUntil(when When, c Counter, open []Handle, do func(func())) {
	rounds := map[When]int{AtOnce: 0, AtFlush: 1, AtEpoch: 3, AtBarrier: 1}[when]
	for range rounds {
		for _, h := range open {
			do(h.Flush)
		}
	}
	if when == AtBarrier {
		do(c.Barrier)
	}
}

func directly(f func()) { f() }

// users are who uses each of the objrefs from 1 on, and which of these were told dead.
type users struct {
	t     testing.TB
	named string // what is tested, for messages
	n     []atomic.Int64
	told  []atomic.Int32
	total atomic.Int64 // told
}

func newUsers(t testing.TB, objects int32) *users {
	return &users{t: t, n: make([]atomic.Int64, objects+1), told: make([]atomic.Int32, objects+1)}
}

// zero is the Zero of a Config.
func (u *users) zero(ref int32) {
	if ref <= 0 || int(ref) >= len(u.n) {
		u.t.Errorf("%sobjref %d is told dead; nobody counted it", u.named, ref)
		return
	}
	if n := u.n[ref].Load(); n > 0 {
		u.t.Errorf("%sobjref %d is told dead with %d users", u.named, ref, n)
	}
	if n := u.told[ref].Add(1); n > 1 {
		u.t.Errorf("%sobjref %d is told dead %d times", u.named, ref, n)
	}
	u.total.Add(1)
}

func (u *users) dead(ref int32) bool { return u.told[ref].Load() > 0 }

// inc counts a user of ref, which is new or has another. The user is there before the
// call, for ref must not die in it.
func (u *users) inc(h Handle, ref int32) {
	u.n[ref].Add(1)
	h.Inc(ref)
}

// tryInc counts a user of ref, if it is not dead: then it is there after the call.
func (u *users) tryInc(h Handle, ref int32) bool {
	dead := u.dead(ref)
	if !h.TryInc(ref) {
		return false
	}
	u.n[ref].Add(1)
	if dead || u.dead(ref) {
		u.t.Errorf("%sTryInc(%d) of a dead objref returns true", u.named, ref)
	}
	return true
}

// dec takes a user off, who is gone before the call, for ref may die in it.
func (u *users) dec(h Handle, ref int32) {
	u.n[ref].Add(-1)
	h.Dec(ref)
}

// wantDead wants that of the objrefs first to last exactly those are dead that dead says.
func (u *users) wantDead(when string, first, last int32, dead func(ref int32) bool) {
	u.t.Helper()
	for ref := first; ref <= last; ref++ {
		if got, want := u.dead(ref), dead(ref); got != want {
			u.t.Fatalf("%s%s: objref %d told dead: %t; want %t", u.named, when, ref, got, want)
		}
	}
}

func every(int32) bool { return true }
func none(int32) bool  { return false }

// load is what is counted.
type load struct {
	name string
	ref  func(rng *rand.Rand, thread, threads, objects int) int32 // from 1 to objects
}

var loads = []load{
	{"private", func(rng *rand.Rand, thread, threads, objects int) int32 {
		each := objects / threads
		return int32(thread*each + rng.IntN(each) + 1)
	}},
	{"hot", func(*rand.Rand, int, int, int) int32 { return 1 }},
	{"even", func(rng *rand.Rand, _, _, objects int) int32 { return int32(rng.IntN(objects) + 1) }},
	{"skewed", func(rng *rand.Rand, _, _, objects int) int32 {
		return int32(math.Pow(rng.Float64(), 4)*float64(objects)) + 1
	}},
}
