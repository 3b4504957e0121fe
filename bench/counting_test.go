package bench_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/target"
	"github.com/objhash/objhash/refcount"
)

var countingProfiles = []string{"count-private", "count-hot", "count-zipf", "count-10k-tasks", "count-verdict", "count-drop"}

// countingProfile is a canonical profile, most often one of these, with fewer operations: enough to verify, not to
// time.
func countingProfile(t testing.TB, name string) bench.Profile {
	t.Helper()
	p, ok := bench.FindProfile(name)
	if !ok {
		t.Fatalf("no profile %q", name)
	}
	for i := range p.Phases {
		p.Phases[i].AtLeast = min(p.Phases[i].AtLeast, 10_000)
		p.Phases[i].Tasks = min(p.Phases[i].Tasks, 100)
	}
	return p
}

func countingWorkload(t testing.TB, name string, objects, threads int) *bench.Workload {
	t.Helper()
	w, err := bench.NewWorkload(countingProfile(t, name), bench.Size{Objects: objects, Threads: threads, Seed: 5})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func counterWith(s refcount.Strategy) target.Spec {
	spec, _ := target.Find("counter")
	return spec.WithStrategy(s)
}

// TestEveryStrategyPasses has fewer objects than threads, and more.
func TestEveryStrategyPasses(t *testing.T) {
	for _, profile := range countingProfiles {
		for _, threads := range []int{1, 2, 8} {
			for _, objects := range []int{1, 5, 700} {
				w := countingWorkload(t, profile, objects, threads)
				for _, s := range append(refcount.All(), zeroOnly{}) {
					spec := counterWith(s)
					if w.Profile.Excludes(spec, w.Threads) != "" {
						continue
					}
					name := fmt.Sprintf("strategy=%s/profile=%s/threads=%d/objects=%d", s.Name(), profile, threads, objects)
					if _, err := w.WarmUp(t.Context(), spec, 1, 1); err != nil {
						t.Errorf("%s, warm-up: %v", name, err)
					}
					o, err := w.Trial(t.Context(), spec, 1, 1)
					if err != nil {
						t.Errorf("%s: %v", name, err)
					} else if o.Elapsed <= 0 || o.Bytes <= 0 || !o.Exact {
						t.Errorf("%s: %+v", name, o)
					}
				}
			}
		}
	}
}

// TestEngineWithEveryStrategy lets the engine count users with each.
func TestEngineWithEveryStrategy(t *testing.T) {
	for _, threads := range []int{1, 2} {
		for _, profile := range []string{"checkpoint-zipf", "audit", "drop-all", "restart-in-order"} {
			w := workload(t, profile, 500, threads)
			for _, name := range []string{"objhash", "objhash-batch"} {
				base, _ := target.Find(name)
				for _, spec := range base.Variants(refcount.All()) {
					if w.Profile.Excludes(spec, w.Threads) != "" {
						continue
					}
					if _, err := w.Trial(t.Context(), spec, 1, 1); err != nil {
						t.Errorf("%s, %s, %d threads: %v", profile, spec.Name, threads, err)
					}
				}
			}
		}
	}
}

func TestCountingSizes(t *testing.T) {
	for _, c := range []struct {
		profile      string
		objects, ops int
		want         int // objects
	}{
		{"count-private", 3000, 12_000, 3000},
		{"count-hot", 3000, 10_000, 1},
		{"count-zipf", 3000, 24_000, 3000},
		{"count-10k-tasks", 300, 3200, 300},
		{"count-verdict", 3000, 3000, 3000},
		{"count-drop", 3000, 24_000, 3000},
	} {
		for _, threads := range []int{1, 3, 64} {
			w := countingWorkload(t, c.profile, c.objects, threads)
			if w.Ops() != c.ops || w.Objects != c.want || w.Distinct != c.want {
				t.Errorf("%s on %d threads: %d operations on %d objects (%d distinct); want %d on %d",
					c.profile, threads, w.Ops(), w.Objects, w.Distinct, c.ops, c.want)
			}
		}
	}
}

func TestCountingRefuses(t *testing.T) {
	count := bench.Phase{Name: "count", Op: bench.Count, Draw: bench.Each, PerObject: 1}
	closing := bench.Phase{Name: "close", Op: bench.Close}
	for _, c := range []struct {
		phases  []bench.Phase
		message string
	}{
		{[]bench.Phase{count}, "handles stay open"},
		{[]bench.Phase{count, {Op: bench.Barrier}, closing}, "handles are open"},
		{[]bench.Phase{count, {Op: bench.Flush, Timed: true}, closing}, "a flush is not timed"},
		{[]bench.Phase{count, {Op: bench.Lookup, Draw: bench.Each}, closing}, `"lookup" is not one of counting`},
		{[]bench.Phase{{Op: bench.Count, Draw: bench.Absent}, closing}, `"absent" is not one of counting`},
		{[]bench.Phase{{Op: bench.Count, Draw: bench.Zipf, Theta: -1}, closing}, "exponent"},
		{[]bench.Phase{{Op: bench.Count, Draw: bench.Handles, Spread: bench.Zipf, Theta: 1, Tasks: 5, PerTask: 7}, closing}, "divisor of 256"},
		{[]bench.Phase{count, {Op: bench.Uncount, Draw: bench.Each, PerObject: 2}, closing}, "was not counted"},
	} {
		_, err := bench.NewWorkload(bench.Profile{Name: "x", Phases: c.phases}, bench.Size{Objects: 10, Threads: 2})
		if err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%v; want an error that says %q", err, c.message)
		}
	}
}

func TestExcludes(t *testing.T) {
	find := func(name string) target.Spec {
		specs, err := bench.ChooseTargets([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		return specs[0]
	}
	engine := find("objhash").WithStrategy(zeroOnly{})
	for _, c := range []struct {
		profile string
		spec    target.Spec
		want    string
	}{
		{"count-private", find("xsync4"), "does not count by objref"},
		{"count-hot", find("objhash"), "does not count by objref"},
		{"count-hot", find("objhash/atomic"), "does not count by objref"},
		{"first-pass", find("counter"), "it only counts"},
		{"first-pass", find("counter/atomic"), "it only counts"},
		{"restart-fetch", find("counter"), "it only counts"},
		{"restart-fetch", find("objhash/atomic"), "a restart counts no users"},
		{"count-zipf", find("counter/plain"), "at most 1 thread"},
		{"first-pass", find("objhash/plain"), "at most 1 thread"},
		{"count-verdict", counterWith(zeroOnly{}), "not exact"},
		{"first-pass", engine, "not exact"},
		{"drop-all", engine, "not exact"},
		{"count-drop", counterWith(zeroOnly{}), ""},
		{"count-drop", find("counter"), ""},
		{"first-pass", find("objhash/cas"), ""},
	} {
		w := countingWorkload(t, c.profile, 10, 2)
		if got := w.Profile.Excludes(c.spec, w.Threads); !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s, %s: excluded for %q; want %q", c.profile, c.spec.Name, got, c.want)
		}
	}
}

// TestCountingVerificationCatches plants one fault after the other into a correct
// counter. Each happens once.
func TestCountingVerificationCatches(t *testing.T) {
	for _, c := range []struct {
		fault    countFault
		profiles string
		message  string // a regular expression
	}{
		{countLoses, "count-private count-hot count-zipf count-10k-tasks", `^objref \d+ has \d+ users; want \d+$`},
		{countLoses, "count-verdict", "1 object counted wrong at the first reading"},
		{countLoses, "count-drop", `^phase "flush": objref \d+ has 7 users; want 8$`},
		{countTwice, "count-private count-hot count-zipf count-10k-tasks", `^objref \d+ has \d+ users; want \d+$`},
		{countTwice, "count-verdict", "1 object counted wrong"},
		{countTwice, "count-drop", `^phase "flush": objref \d+ has 9 users; want 8$`},
		{countNeighbour, "count-private count-zipf count-10k-tasks", `^objref \d+ has \d+ users; want \d+$`},
		{countNeighbour, "count-hot", "^objref 1 has 9999 users; want 10000$"},
		{countNeighbour, "count-verdict", "2 objects counted wrong"},
		{countNeighbour, "count-drop", `^phase "flush": objref \d+ has \d users; want 8$`},
		{uncountLoses, "count-drop", `^objref \d+ has 1 users; want 0$`},
		{uncountNeighbour, "count-drop", `^objref \d+ has 1 users; want 0$`},
		{countPhantom, "count-private count-hot count-zipf count-10k-tasks", `users, and was never counted`},
		{countMisreads, "count-verdict", "1 object counted wrong at the first reading"},
		{deathTwice, "count-drop", `^the death of objref \d+, with 0 users, was told 2 times$`},
		{deathNever, "count-drop", `^the death of objref \d+, with 0 users, was told 0 times$`},
		{deathOfNone, "count-drop", `^the death of objref -7 was told, which was never counted$`},
		{deathEarly, "count-drop", `^phase "uncount": 1 death told of objects that have users$`},
		{deathAtFirst, "count-drop", `^the death of objref \d+ was told while it had users$`},
		{countPanics, "count-private count-10k-tasks count-drop", "planted panic"},
		{countNew, "count-hot", "^new: planted error$"},
		{countGrow, "count-hot", "^making room: planted error$"},
	} {
		for _, profile := range strings.Fields(c.profiles) {
			for _, threads := range []int{1, 2, 8} {
				name := fmt.Sprintf("fault=%s/profile=%s/threads=%d", strings.ReplaceAll(string(c.fault), " ", "-"), profile, threads)
				t.Run(name, func(t *testing.T) {
					_, err := countingWorkload(t, profile, 1000, threads).WarmUp(t.Context(), counterWith(faultyCounting{c.fault}), 1, 1)
					if err == nil {
						t.Fatal("verification did not notice")
					}
					if !regexp.MustCompile(c.message).MatchString(err.Error()) {
						t.Errorf("error is %q; want it to say %q", err, c.message)
					}
				})
			}
		}
	}
}

// TestCountingFaultIsReported sees a fault in the report of a run, and the others go on.
func TestCountingFaultIsReported(t *testing.T) {
	c := bench.Config{
		Profiles:   []bench.Profile{countingProfile(t, "count-zipf"), countingProfile(t, "count-drop")},
		Strategies: []refcount.Strategy{refcount.Atomic{}, faultyCounting{deathTwice}, faultyCounting{countLoses}, faultyCounting{deathAtFirst}},
		Objects:    []int{1000}, Threads: []int{2}, Trials: 2, Seed: 1,
	}
	counter, _ := target.Find("counter")
	c.Targets = []target.Spec{counter, counter.WithStrategy(refcount.Atomic{})}
	r, err := bench.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Results) != 8 || len(r.Failed()) != 4 {
		t.Fatalf("%d results, %d failed; want 8, 4", len(r.Results), len(r.Failed()))
	}
	var out bytes.Buffer
	if err := r.WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"FAILED", "failed: counter/loses an increment: ", "failed: counter/tells a death twice: ",
		"failed: counter/tells a death at the first decrement: the death of objref", "x counter/atomic"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, out.String())
		}
	}
}

// zeroOnly is a strategy that tells no more than whether there are users, and that needs
// decrements to come through the handles of their increments.
type zeroOnly struct{ refcount.Atomic }

func (zeroOnly) Name() string { return "zero-only" }

func (zeroOnly) Traits() refcount.Traits {
	return refcount.Traits{Summary: "for this test", Exact: refcount.Never, Zero: refcount.AtOnce, OwnDec: true}
}

func (z zeroOnly) New(c refcount.Config) (refcount.Counter, error) {
	counter, err := z.Atomic.New(c)
	return zeroOnlyCounter{counter}, err
}

type zeroOnlyCounter struct{ refcount.Counter }

func (c zeroOnlyCounter) Count(ref int32) int64 { return min(c.Counter.Count(ref), 1) }

func (c zeroOnlyCounter) Handle() refcount.Handle {
	return &ownDecHandle{Handle: c.Counter.Handle(), users: map[int32]int{}}
}

// ownDecHandle panics when a decrement undoes no increment of its own.
type ownDecHandle struct {
	refcount.Handle
	users map[int32]int
}

func (h *ownDecHandle) Inc(ref int32) {
	h.users[ref]++
	h.Handle.Inc(ref)
}

func (h *ownDecHandle) Dec(ref int32) {
	if h.users[ref]--; h.users[ref] < 0 {
		panic("a decrement of another handle's increment")
	}
	h.Handle.Dec(ref)
}

// countFault names what goes wrong in a counter, once, in the middle of the work.
type countFault string

const (
	countLoses       countFault = "loses an increment"
	countTwice       countFault = "counts an increment twice"
	countNeighbour   countFault = "counts a neighbour"
	countPhantom     countFault = "has users of what was never counted"
	countMisreads    countFault = "reads a count wrong, the first time"
	countPanics      countFault = "panics in an increment"
	uncountLoses     countFault = "loses a decrement"
	uncountNeighbour countFault = "uncounts a neighbour"
	countNew         countFault = "cannot be made"
	countGrow        countFault = "has no room"
	deathTwice       countFault = "tells a death twice"
	deathNever       countFault = "does not tell a death"
	deathOfNone      countFault = "tells a death of nobody"
	deathEarly       countFault = "tells a death while there are users"
	deathAtFirst     countFault = "tells a death at the first decrement"
)

// faultyCounting is refcount.Atomic with one planted fault.
type faultyCounting struct{ fault countFault }

func (s faultyCounting) Name() string            { return string(s.fault) }
func (s faultyCounting) Traits() refcount.Traits { return refcount.Atomic{}.Traits() }

func (s faultyCounting) New(c refcount.Config) (refcount.Counter, error) {
	if s.fault == countNew {
		return nil, errPlanted
	}
	f := &faultyCounter{fault: s.fault, zero: c.Zero}
	if c.Zero != nil {
		c.Zero = f.died
	}
	var err error
	f.Counter, err = refcount.Atomic{}.New(c)
	return f, err
}

type faultyCounter struct {
	refcount.Counter
	fault              countFault
	zero               func(int32)
	incs, decs, deaths atomic.Int64
	readings           atomic.Int64
	toldEarly          atomic.Int32
	grown              int32
}

// at says whether this is the moment of fault f, of which count counts.
func (c *faultyCounter) at(f countFault, count int64) bool { return c.fault == f && count == when }

func (c *faultyCounter) died(ref int32) {
	n := c.deaths.Add(1)
	if c.at(deathNever, n) || c.toldEarly.Load() == ref {
		return
	}
	c.zero(ref)
	switch {
	case c.at(deathTwice, n):
		c.zero(ref)
	case c.at(deathOfNone, n):
		c.zero(-7)
	}
}

func (c *faultyCounter) Grow(first, last int32) error {
	if c.fault == countGrow {
		return errPlanted
	}
	c.grown = last
	return c.Counter.Grow(first, last+1) // the neighbour of the last has room
}

func (c *faultyCounter) Count(ref int32) int64 {
	n := c.Counter.Count(ref)
	if c.fault == countPhantom && ref == c.grown+1 || c.at(countMisreads, c.readings.Add(1)) {
		n++
	}
	return n
}

func (c *faultyCounter) Handle() refcount.Handle { return faultyHandle{c.Counter.Handle(), c} }

type faultyHandle struct {
	refcount.Handle
	c *faultyCounter
}

func (h faultyHandle) Inc(ref int32) {
	n := h.c.incs.Add(1)
	switch {
	case h.c.at(countLoses, n):
		return
	case h.c.at(countTwice, n):
		h.Handle.Inc(ref)
	case h.c.at(countNeighbour, n):
		ref++
	case h.c.at(deathEarly, n):
		h.c.zero(ref)
	case h.c.at(countPanics, n):
		panic("planted panic")
	}
	h.Handle.Inc(ref)
}

func (h faultyHandle) Dec(ref int32) {
	n := h.c.decs.Add(1)
	switch {
	case h.c.at(uncountLoses, n):
		return
	case h.c.at(uncountNeighbour, n):
		ref++
	case h.c.fault == deathAtFirst && n == 1:
		h.c.toldEarly.Store(ref)
		h.c.zero(ref)
	}
	h.Handle.Dec(ref)
}
