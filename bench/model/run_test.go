package model

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/refcount"
)

func tiny(strategies ...refcount.Strategy) Config {
	return Config{
		Strategies: strategies, Threads: []int{1, 2, 256}, Seed: 1,
		sizes: tinySizes, rounds: 2, window: 100 * time.Microsecond, budget: time.Minute,
	}
}

func atMost(t *testing.T, processors int) {
	t.Helper()
	before := runtime.GOMAXPROCS(processors)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
}

func run(t *testing.T, c Config) *Report {
	t.Helper()
	r, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tableOf(t *testing.T, r *Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestRun(t *testing.T) {
	r := run(t, tiny(refcount.All()...))
	if r.Schema != Schema || r.Incomplete || r.Rounds != 2 || len(r.Strategies) != len(refcount.All()) {
		t.Errorf("%+v", r)
	}
	for _, res := range r.Results {
		if (res.Threads <= r.Cores) != (res.Measured != nil) || (res.Measured == nil) != res.Extrapolated {
			t.Errorf("%d cores: %+v", r.Cores, res)
		}
		if res.Threads == 1 && (res.Predicted == nil || res.Ratio == nil) {
			t.Errorf("one thread: %+v", res)
		}
	}
	out := tableOf(t, r)
	for _, want := range []string{"private: ", "count-hot: ", "count-zipf: ", "tasks: ", "256*", "measured", "extrapolated (*)", "snzi tells only", "plain serves one thread", "a core for each thread is assumed", "GOMAXPROCS"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// TestOneProcessor: what takes two is not measured, and the report says so.
func TestOneProcessor(t *testing.T) {
	atMost(t, 1)
	r := run(t, tiny(refcount.Atomic{}, refcount.Log{}, named{refcount.Atomic{}, "newcomer", refcount.Atomic{}.Traits()}))
	if r.Cores != 1 || r.Machine.Move != nil || r.Machine.ContendedAdd != nil || r.Machine.Add == nil {
		t.Errorf("%+v", r.Machine)
	}
	for _, res := range r.Results {
		if want := res.Threads == 1 || res.Profile == "private" && res.Strategy != "log"; (res.Predicted != nil) != want {
			t.Errorf("%+v: predicted, want %v", res, want)
		}
	}
	out := tableOf(t, r)
	for _, want := range []string{"take two processors", "newcomer (assumed)", "(threads here have 1 core)", "-: not predicted"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestAssumedCores(t *testing.T) {
	c := tiny(refcount.Atomic{})
	c.AssumeCores = 1
	r := run(t, c)
	for _, res := range r.Results {
		if res.Processors != 1 || res.Extrapolated != (res.Threads > 1) || res.Predicted == nil || (res.Measured != nil) != (res.Threads == 1) {
			t.Errorf("%+v", res)
		}
	}
	if out := tableOf(t, r); !strings.Contains(out, "1 core assumed") || !strings.Contains(out, "2*") || !strings.Contains(out, "predictions for 2, 256 threads") {
		t.Error(out)
	}
}

// forgetful loses what is counted.
type forgetful struct{ refcount.Atomic }

func (forgetful) New(c refcount.Config) (refcount.Counter, error) {
	counter, err := refcount.Atomic{}.New(c)
	return forgetfulCounter{counter}, err
}

type forgetfulCounter struct{ refcount.Counter }

func (forgetfulCounter) Count(int32) int64 { return 0 }

func TestWrongCounts(t *testing.T) {
	_, err := Run(t.Context(), tiny(forgetful{}))
	if err == nil || !strings.Contains(err.Error(), "the counts add up to 0, want 1024 operations") {
		t.Errorf("error %v", err)
	}
}

// TestInterrupted: the rounds that were complete count, and without one there is nothing.
func TestInterrupted(t *testing.T) {
	for _, c := range []struct {
		at, rounds, strategies int
		message                string
	}{{2, 0, 0, "nothing was measured"}, {3, 1, 2, "interrupted: "}} {
		ctx, cancel := context.WithCancel(t.Context())
		config := tiny(refcount.Atomic{}, refcount.CAS{})
		told := 0
		config.Progress = func(Progress) {
			if told++; told == c.at {
				cancel()
			}
		}
		r, err := Run(ctx, config)
		cancel()
		if !errors.Is(err, bench.ErrInterrupted) || !r.Incomplete || r.Rounds != c.rounds || len(r.Strategies) != c.strategies {
			t.Errorf("%v, %+v", err, r)
		}
		if c.rounds == 0 && !errors.Is(err, errNothing) {
			t.Errorf("error %v", err)
		}
		if out := tableOf(t, r); !strings.Contains(out, c.message) {
			t.Error(out)
		}
	}
}

// TestNotTogether: where two threads never ran at the same time, no line is known, whatever
// was seen of one, and there are no ratios.
func TestNotTogether(t *testing.T) {
	c := tiny(refcount.Atomic{})
	c = c.withDefaults()
	profiles, err := newProfiles(c.sizes, 1)
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{c: c, cores: 2, profiles: profiles, report: &Report{Threads: c.Threads, Profiles: profiles}}
	e := &entrant{strategy: refcount.Atomic{}, known: true, trials: map[*trials][]float64{}}
	e.row, _ = RowOf(e.strategy)
	for i := range e.costs {
		e.costs[i] = []float64{5}
	}
	for _, p := range profiles {
		two := &trials{profile: p, threads: 2}
		r.works, e.trials[two] = append(r.works, two), []float64{7}
	}
	r.entrants = []*entrant{e}
	r.lines[lineMove], r.lines[lineAdd] = []float64{100}, []float64{5}
	r.conclude()
	if m := r.report.Machine; m.Move != nil || m.CASFailures != nil || m.Add == nil {
		t.Errorf("%+v", m)
	}
	for _, res := range r.report.Results {
		if res.Ratio != nil || res.Threads == 2 && res.Measured == nil {
			t.Errorf("%+v", res)
		}
	}
	if out := tableOf(t, r.report); !strings.Contains(out, "two threads did not get them") || !strings.Contains(out, "- (ratio)") {
		t.Error(out)
	}
}

func TestNothingToPredict(t *testing.T) {
	c := tiny(refcount.Plain{})
	c.Threads = []int{2}
	if out := tableOf(t, run(t, c)); strings.Contains(out, "ratio: ") || !strings.Contains(out, "plain serves one thread") || !strings.Contains(out, "nothing to predict") {
		t.Error(out)
	}
}

func TestBudget(t *testing.T) {
	c := tiny(refcount.Atomic{})
	c.rounds, c.budget = 1000, time.Nanosecond
	if r := run(t, c); r.Rounds != 1 || r.Incomplete {
		t.Errorf("%d rounds, want 1: nothing is without a sample", r.Rounds)
	}
}

func TestJSON(t *testing.T) {
	r := run(t, tiny(refcount.Atomic{}, refcount.Plain{}))
	var first, second bytes.Buffer
	if err := r.WriteJSON(&first); err != nil {
		t.Fatal(err)
	}
	var read Report
	d := json.NewDecoder(bytes.NewReader(first.Bytes()))
	d.DisallowUnknownFields()
	if err := d.Decode(&read); err != nil {
		t.Fatal(err)
	}
	if err := read.WriteJSON(&second); err != nil {
		t.Fatal(err)
	}
	if first.String() != second.String() || !strings.Contains(first.String(), `"schema": "objhash.model/2"`) {
		t.Errorf("written\n%s\nread and written again\n%s", &first, &second)
	}
	if err := r.WriteJSON(failing{}); err == nil {
		t.Error("no error of a writer that fails")
	}
	if err := r.WriteTable(failing{}); err == nil {
		t.Error("no error of a writer that fails")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no room") }

// TestLines: whatever else runs here, measuring lines ends, and gives a time or says that it
// could not.
func TestLines(t *testing.T) {
	const d = 200 * time.Microsecond
	for _, processors := range []int{1, 2} {
		atMost(t, processors)
		ns, failures := contend(d, casOne)
		for what, x := range map[string]float64{
			"move": moveTime(d), "scattered": scatterTime(2, d), "contended": ns, "failures": failures + 1,
			"alone": addTime(d), "scattered alone": scatterTime(1, d), "processors": processorsOfTwo(d, 5),
		} {
			if !math.IsNaN(x) && !(x > 0) {
				t.Errorf("%s: %v", what, x)
			}
		}
	}
}

func TestCacheBytes(t *testing.T) {
	for _, c := range []struct {
		caches []string
		want   int64
	}{
		{[]string{"L1d 32K", "L2 512K", "L3 32M"}, 512 << 10},
		{[]string{"L2 2M"}, 2 << 20},
		{[]string{"L2 some"}, defaultCache},
		{nil, defaultCache},
	} {
		if got := cacheBytes(c.caches); got != c.want {
			t.Errorf("%v: %d, want %d", c.caches, got, c.want)
		}
	}
}

func TestProgress(t *testing.T) {
	var lines, drawn strings.Builder
	tell, done := NewProgress(&lines, nil)
	for _, what := range []string{"atomic", "cas"} {
		tell(Progress{Round: 1, Rounds: 7, What: what})
	}
	done()
	if lines.String() != "[1/7] round\n" {
		t.Errorf("%q", lines.String())
	}
	tell, done = NewProgress(&drawn, func() int { return 80 })
	tell(Progress{Round: 2, Rounds: 7, What: "atomic", Elapsed: 2 * time.Second, Left: 9 * time.Second})
	done()
	if !strings.Contains(drawn.String(), "round 2 of 7, atomic; 2s, about 9s left") || !strings.HasSuffix(drawn.String(), "\x1b[K") {
		t.Errorf("%q", drawn.String())
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		o       Options
		message string
	}{
		{Options{Threads: []string{"0"}}, "no number of threads"},
		{Options{Strategies: []string{"atomc"}}, `did you mean "atomic"?`},
		{Options{AssumeCores: -1}, "-1 cores"},
		{Options{AssumeCores: 2000}, "want 1 to 1,024"},
		{Options{Threads: []string{"1", "2000"}}, "2,000 threads; want 1 to 1,024"},
		{Options{JSON: "-"}, "want a file"},
	} {
		if r, err := c.o.Run(t.Context(), nil); r != nil || !errors.Is(err, bench.ErrChoice) || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%+v: %v, want %q", c.o, err, c.message)
		}
	}
	if c, err := (Options{Threads: []string{"4", "1"}}).config(); err != nil || c.Threads[0] != 1 {
		t.Errorf("%v, %v: want threads ascending", c.Threads, err)
	}
	if c, err := (Options{}).config(); err != nil || len(c.Threads) != len(DefaultThreads()) || len(c.Strategies) != len(refcount.All())-1 || len(c.LeftOut) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := (Options{Strategies: []string{"snzi"}}).config(); err != nil || len(c.Strategies) != 1 || len(c.LeftOut) != 0 {
		t.Errorf("%+v, %v: want what is named", c, err)
	}
}
