package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/objhash/objhash/bench/target"
)

// TestHarnessCost holds the harness to what it may add to an operation.
func TestHarnessCost(t *testing.T) {
	ns := harnessCost()
	t.Logf("%.2f ns/op", ns)
	if ns <= 0 || ns > harnessLimit && !raceDetector {
		t.Errorf("the harness adds %.2f ns to an operation; want at most %g", ns, harnessLimit)
	}
}

func TestOutliers(t *testing.T) {
	for _, c := range []struct {
		samples []float64
		want    []int
	}{
		{[]float64{5, 5, 5, 5, 5, 5}, nil},
		{[]float64{5, 5.1, 5.2, 9, 5.1, 5, 5.2, 5.1}, []int{3}},
		{[]float64{1, 5.1, 5.2, 5.3, 5.1, 5, 5.2, 9}, []int{0, 7}},
		{[]float64{5, 5, 5, 5, 99}, nil}, // too few to tell
	} {
		if got := outliers(c.samples); !slices.Equal(got, c.want) {
			t.Errorf("outliers of %v: %v, want %v", c.samples, got, c.want)
		}
	}
}

// TestDrifts finds trends, and seldom one where there is none.
func TestDrifts(t *testing.T) {
	if !drifts([]float64{10, 9, 8, 7, 6, 5, 5.5, 4, 3, 2}) || !drifts([]float64{1, 2, 3, 4, 5, 6, 7, 8}) {
		t.Error("a trend is not seen")
	}
	if drifts([]float64{3, 2, 1}) || drifts([]float64{5, 5, 5, 5, 5, 5, 5, 5}) {
		t.Error("a trend is seen where there is none")
	}
	rng := rand.New(rand.NewPCG(1, 2))
	false1 := 0
	for range 1000 {
		samples := make([]float64, 10)
		for i := range samples {
			samples[i] = rng.NormFloat64()
		}
		if drifts(samples) {
			false1++
		}
	}
	if false1 > 20 {
		t.Errorf("%d of 1000 sets of chance samples have a trend; want about 10", false1)
	}
}

func TestSettling(t *testing.T) {
	ms := func(all ...int) (times []time.Duration) {
		for _, n := range all {
			times = append(times, time.Duration(n)*time.Millisecond)
		}
		return times
	}
	for _, c := range []struct {
		times []time.Duration
		want  bool
	}{
		{ms(), false},
		{ms(100), false},
		{ms(100, 90), true},
		{ms(100, 96), false},
		{ms(100, 90, 89), false},
		{ms(90, 100, 91), false},
	} {
		if got := falling(c.times); got != c.want {
			t.Errorf("%v: falling is %t", c.times, got)
		}
	}
}

// TestNewPair compares rounds, not medians: a disturbance that lasts for some rounds is in
// both samples.
func TestNewPair(t *testing.T) {
	disturbed := []float64{1, 1, 1, 3, 3, 3, 1, 1, 1, 1}
	fast, slow := &Result{Target: "fast"}, &Result{Target: "slow"}
	for i, d := range disturbed {
		noise := 1 + 0.001*float64(i%3)
		fast.SamplesNs = append(fast.SamplesNs, 10*d*noise)
		slow.SamplesNs = append(slow.SamplesNs, 10.5*d)
	}
	p := newPair(fast, slow)
	if x := p.TimesFaster; math.Abs(x.Median-1.05) > 0.003 || x.Low < 1.04 || x.High > 1.06 || p.P > 0.01 {
		t.Errorf("5 %% faster is %+v", p)
	}
	if p.Target != "fast" || p.Against != "slow" {
		t.Errorf("compares %s with %s", p.Target, p.Against)
	}
	if p := newPair(slow, slow); p.P != 1 || p.TimesFaster != (Interval{1, 1, 1}) {
		t.Errorf("a target with itself: %+v", p)
	}
}

func TestSignTest(t *testing.T) {
	for _, c := range []struct {
		above, below int
		want         float64
	}{{10, 0, 2.0 / 1024}, {0, 10, 2.0 / 1024}, {5, 5, 1}, {8, 2, 2 * 56.0 / 1024}, {0, 0, 1}} {
		ratios := append(slices.Repeat([]float64{1.1}, c.above), slices.Repeat([]float64{0.9}, c.below)...)
		if got := signTest(ratios); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%d above and %d below 1: P %g, want %g", c.above, c.below, got, c.want)
		}
	}
}

// TestDoubts says what each figure lacks, and what to do.
func TestDoubts(t *testing.T) {
	sound := func() *Result {
		return &Result{
			Target: "index", Profile: "grow", Objects: 1000, Threads: 1, Trials: 10, Interval: Interval95,
			NsPerOp: &Interval{Median: 100, Low: 99.5, High: 100.5}, StealPercents: []float64{0, 0, 0},
		}
	}
	c := Config{Width: DefaultWidth}
	if got := (&Report{HarnessNs: 0.5, ClockNs: 30, Results: []*Result{sound(), {Error: "wrong"}}}).doubts(c); len(got) != 0 {
		t.Errorf("a sound report: %q", got)
	}
	byChance := sound() // 80 operations began at random where 100 were to
	byChance.Latency = &Latency{Calls: 80, P50: 500, Corrected: true, RatePerS: 100, ServedPerS: 80}
	if got := (&Report{HarnessNs: 0.5, ClockNs: 30, Results: []*Result{byChance}}).doubts(c); len(got) != 0 {
		t.Errorf("few operations at random: %q", got)
	}
	for _, d := range []struct {
		spoil func(*Report, *Result)
		want  string
	}{
		{func(_ *Report, res *Result) { res.StealPercents[1] = 20 }, "more than 5 % of the CPU time in 1 of 3 trials"},
		{func(_ *Report, res *Result) { res.NsPerOp.High = 110 }, "1 of 1 interval is wider than 3 % of the median, most of all index (grow, 1,000 objects, 1 thread): 10.5 % after 10 trials; give more time with --budget"},
		{func(_ *Report, res *Result) { res.Unsteady = true }, "1 result did not settle"},
		{func(r *Report, res *Result) { res.Latency = &Latency{P50: 50} }, "a reading of the clock takes 30 ns, more than half"},
		{func(r *Report, res *Result) { r.HarnessNs = 1.5 }, "the harness adds 1.5 ns"},
		{func(r *Report, res *Result) {
			res.Latency = &Latency{Calls: 10_000, P50: 500, Corrected: true, RatePerS: 2e6, ServedPerS: 1e6}
		}, "served 1,000,000 of 2,000,000 operations per second"},
	} {
		res := sound()
		r := &Report{HarnessNs: 0.5, ClockNs: 30, Results: []*Result{res}}
		d.spoil(r, res)
		if got := r.doubts(c); len(got) != 1 || !strings.Contains(got[0], d.want) {
			t.Errorf("doubts %q, want %q", got, d.want)
		}
	}
	c.Budget = time.Minute
	if got := c.overBudget(2 * time.Minute); !strings.Contains(got, "took 2m0s instead of 1m0s") || c.overBudget(time.Minute) != "" {
		t.Errorf("twice the budget: %q", got)
	}
}

// TestEnough stops at the promised trials, at narrow intervals, or at the end of the time.
func TestEnough(t *testing.T) {
	narrow := &Result{Interval: Interval95, NsPerOp: &Interval{100, 99, 101}}
	wide := &Result{Interval: Interval95, NsPerOp: &Interval{100, 90, 101}}
	few := &Result{Interval: IntervalMinMax, NsPerOp: &Interval{100, 100, 100}}
	for _, c := range []struct {
		rounds  int
		budget  time.Duration
		next    time.Duration
		results []*Result
		want    bool
	}{
		{9, 0, 0, []*Result{narrow}, false},
		{10, 0, 0, []*Result{wide}, true},
		{9, time.Nanosecond, 0, []*Result{narrow}, false},
		{10, time.Hour, 0, []*Result{narrow, narrow}, true},
		{10, time.Hour, 0, []*Result{narrow, wide}, false},
		{10, time.Hour, 0, []*Result{few}, false},
		{10, time.Hour, 2 * time.Hour, []*Result{wide}, true},
		{10, time.Nanosecond, 0, []*Result{wide}, true},
		{TrialsMax, time.Hour, 0, []*Result{wide}, true},
	} {
		r := &runner{c: Config{Trials: 10, Budget: c.budget, Width: DefaultWidth}, start: time.Now().Add(-time.Second)}
		cell := &comparison{rounds: c.rounds}
		for _, res := range c.results {
			cell.entrants = append(cell.entrants, entrant{result: res})
		}
		if got := r.enough(cell, c.next); got != c.want {
			t.Errorf("%+v: enough is %t", c, got)
		}
	}
}

// TestProgressInAPipe has a line for each cell, and then one from time to time.
func TestProgressInAPipe(t *testing.T) {
	var out strings.Builder
	tell, done := NewProgress(&out, nil)
	for _, p := range []Progress{
		{Visit: 1, MakingWorkload: true},
		{Visit: 1, Target: "index"},
		{Visit: 2, MakingWorkload: true, Elapsed: 9 * time.Second, Left: time.Minute},
		{Visit: 3, MakingWorkload: true, Elapsed: 12 * time.Second, Left: time.Minute},
		{Visit: 4, MakingWorkload: true, Elapsed: 14 * time.Second, Left: time.Minute},
	} {
		p.Cell, p.Cells, p.Profile, p.Objects, p.Threads = 1, 1, "grow", 1000, 2
		tell(p)
	}
	done()
	const where = "[1/1] grow, 1,000 objects, 2 threads"
	if want := where + "\n" + where + ", visit 3: 12s, about 1m0s left\n"; out.String() != want {
		t.Errorf("printed\n%swant\n%s", out.String(), want)
	}
}

// TestProgressOnATerminal draws one line over and over, however narrow that is.
func TestProgressOnATerminal(t *testing.T) {
	at := Progress{
		Cell: 2, Cells: 9, Profile: "grow", Objects: 1000, Threads: 2, Target: "index", Round: 3, Rounds: 10, MedianNs: 12.345,
		Elapsed: 9 * time.Second, Left: time.Minute,
	}
	const line = "[2/9] 9s, about 1m0s left; index, trial 3 of 10, 12.3 ns/op so far; grow, 1,000 objects, 2 threads"
	for _, c := range []struct {
		columns int
		want    string
	}{{200, line}, {len(line) + 1, line}, {len(line), line[:len(line)-2] + "~"}, {40, line[:38] + "~"}, {1, "~"}, {0, "~"}} {
		var out strings.Builder
		tell, done := NewProgress(&out, func() int { return c.columns })
		tell(at)
		if want := "\r\x1b[K" + c.want; out.String() != want {
			t.Errorf("%d columns: %q, want %q", c.columns, out.String(), want)
		}
		out.Reset()
		if done(); out.String() != "\r\x1b[K" {
			t.Errorf("%d columns: %q in the end", c.columns, out.String())
		}
	}
}

// TestFreshTrial does one in this process, and refuses what is wrong.
func TestFreshTrial(t *testing.T) {
	p, _ := FindProfile("first-pass")
	f := FreshTrial{Profile: p, Target: "index", Objects: 300_000, Threads: 2, Seed: 1, Hash: 2}
	out, err := f.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if perObject := float64(out.ResidentBytes) / float64(f.Objects); perObject < 5 || perObject > 200 && !raceDetector {
		t.Errorf("%.1f bytes per object", perObject)
	}
	f.Target = "nobody"
	if _, err := f.Run(t.Context()); err == nil {
		t.Error("an unknown target is measured")
	}
}

// TestPin keeps a thread where it was put, and lets it go again.
func TestPin(t *testing.T) {
	cpus, err := allowedCPUs()
	if err != nil {
		t.Skip(err) // what the command says is in its own test
	}
	w, err := NewWorkload(mustFind(t, "first-pass"), Size{Objects: 1000, Threads: 3, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	w.pin(cpus[:1])
	seen := make([]int, 3)
	spec := target.Spec{Name: "where", New: func(o target.Options) (target.Target, error) {
		return &whereTarget{seen: seen}, nil
	}, NoTable: true}
	if _, err := w.Trial(t.Context(), spec, 1, 1); err != nil {
		t.Fatal(err)
	}
	for thread, n := range seen {
		if n != 1 {
			t.Errorf("thread %d may run on %d processors, want 1", thread, n)
		}
	}
	if after, err := allowedCPUs(); err != nil || !slices.Equal(after, cpus) {
		t.Errorf("processors after the trial: %v, %v; want %v", after, err, cpus)
	}
	w.pin([]int{1 << 9})
	if _, err := w.Trial(t.Context(), spec, 1, 1); err == nil {
		t.Error("pinned to a processor that is not there")
	}
}

// whereTarget notes on how many processors its workers may run.
type whereTarget struct {
	noTable
	seen    []int
	workers int
}

func (w *whereTarget) Worker() (target.Worker, error) {
	w.workers++
	return &whereWorker{seen: &w.seen[w.workers-1]}, nil
}

type noTable struct{}

func (noTable) Lookup(uint64) (int32, bool) { return 0, false }
func (noTable) Len() int                    { return 0 }
func (noTable) Bytes() int64                { return 0 }
func (noTable) Close() error                { return nil }

type whereWorker struct {
	noTarget
	seen *int
}

func (w *whereWorker) Encounter([]uint64, []uint16, []int32) (int, error) { return 0, nil }

// Close is called by the thread whose worker it is.
func (w *whereWorker) Close() error {
	cpus, err := allowedCPUs()
	*w.seen = len(cpus)
	return err
}

func mustFind(t *testing.T, name string) Profile {
	t.Helper()
	p, ok := FindProfile(name)
	if !ok {
		t.Fatalf("no profile %q", name)
	}
	return p
}
