package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/machine"
	"github.com/objhash/objhash/bench/target"
	"github.com/objhash/objhash/refcount"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestEveryTargetPasses runs every target under every profile on one thread
// and two, as small as it goes.
func TestEveryTargetPasses(t *testing.T) {
	tr, _, err := bench.OpenTrace("")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range bench.Profiles() {
		for i := range p.Phases { // enough lookups to verify, not to time
			p.Phases[i].AtLeast = min(p.Phases[i].AtLeast, 10_000)
		}
		for _, threads := range []int{1, 2} {
			w, err := bench.NewWorkload(p, bench.Size{Objects: 3000, Threads: threads, Seed: 1, Trace: tr})
			if err != nil {
				t.Fatal(err)
			}
			for _, spec := range target.All() {
				if w.Profile.Excludes(spec, w.Threads) != "" || spec.Counts {
					continue
				}
				o, err := w.Trial(t.Context(), spec, 1, 1)
				if err != nil {
					t.Errorf("%s, %s, %d threads: %v", p.Name, spec.Name, threads, err)
				} else if o.Elapsed <= 0 || o.Bytes <= 0 {
					t.Errorf("%s, %s, %d threads: %v, %d bytes", p.Name, spec.Name, threads, o.Elapsed, o.Bytes)
				}
			}
		}
	}
}

func small(t *testing.T, profiles, targets []string) bench.Config {
	t.Helper()
	ps, err := bench.ChooseProfiles(profiles)
	if err != nil {
		t.Fatal(err)
	}
	ts, err := bench.ChooseTargets(targets)
	if err != nil {
		t.Fatal(err)
	}
	return bench.Config{Profiles: ps, Targets: ts, Objects: []int{500}, Threads: []int{1}, Trials: 2, Seed: 1}
}

func TestRun(t *testing.T) {
	c := small(t, []string{"first-pass", "checkpoint-zipf"}, []string{"mutex-map", "baseline", "xsync4"})
	c.Threads = []int{1, 2}
	c.Targets = append(c.Targets, faultExtraFirst.spec())
	c.Objects = []int{1000}
	trials, warmUps := map[string]int{}, map[string]int{}
	c.Progress = func(p bench.Progress) {
		switch {
		case p.MakingWorkload:
		case p.WarmUp:
			warmUps[p.Target]++
		default:
			trials[p.Target]++
		}
	}
	r, err := bench.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	// 4 cells of 2 rounds after warm-ups; the baseline has no part in those of 2 threads;
	// the faulty target none after its first trial.
	if want := map[string]int{"mutex-map": 8, "xsync4": 8, "baseline": 4}; !maps.Equal(trials, want) {
		t.Errorf("trials %v, want %v", trials, want)
	}
	if warmUps["faulty"] != 4 || warmUps["baseline"] < 2*2 || warmUps["xsync4"] < 4*2 || warmUps["xsync4"] > 4*5 {
		t.Errorf("warm-ups %v", warmUps)
	}
	if len(r.Results) != 14 || len(r.Skipped) != 2 || len(r.Failed()) != 4 || r.Incomplete {
		t.Errorf("%d results, %d skipped, %d failed; want 14, 2, 4", len(r.Results), len(r.Skipped), len(r.Failed()))
	}
	for _, res := range r.Results {
		if res.Target == "faulty" {
			if res.Verified || res.NsPerOp != nil || res.Trials != 0 || res.Error == "" {
				t.Errorf("faulty target is reported as %+v", res)
			}
			continue
		}
		if !res.Verified || res.Trials != 2 || len(res.SamplesNs) != 2 || res.NsPerOp == nil || res.NsPerOp.Median <= 0 ||
			res.Interval != bench.IntervalMinMax || res.BytesPerObject == nil || *res.BytesPerObject <= 0 {
			t.Errorf("%s, %s: %+v", res.Profile, res.Target, res)
		}
	}
	var out bytes.Buffer
	if err := r.WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"x xsync4", "FAILED", "failed: faulty: ", "skipped: baseline: serves at most 1 thread", "smallest..largest"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, out.String())
		}
	}
}

// TestNoTable has figures, and is neither right nor wrong.
func TestNoTable(t *testing.T) {
	r, err := bench.Run(t.Context(), small(t, []string{"lookup-hit", "grow"}, []string{"mutex-map", "floor"}))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Results) != 3 || len(r.Skipped) != 1 || r.Skipped[0].Target != "floor" || r.Skipped[0].Profile != "grow" {
		t.Fatalf("results %+v, skipped %+v", r.Results, r.Skipped)
	}
	for _, res := range r.Results {
		if bound := res.Target == "floor"; res.NsPerOp == nil || res.Trials != 2 || res.Verified == bound || res.NoTable != bound {
			t.Errorf("%s: %+v", res.Target, res)
		}
	}
	got := tableOf(t, r)
	for _, want := range []string{"no table │", "skipped: floor: it is no table"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// TestRoundsAreShuffled sees each target in more than one place.
func TestRoundsAreShuffled(t *testing.T) {
	c := small(t, []string{"first-pass"}, []string{"mutex-map", "rwmutex-map", "xsync3", "xsync4"})
	c.Trials = 6
	var order []string
	c.Progress = func(p bench.Progress) {
		if !p.MakingWorkload {
			order = append(order, p.Target)
		}
	}
	if _, err := bench.Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	rounds := slices.Collect(slices.Chunk(order, 4))
	first := strings.Join(rounds[0], " ")
	if !slices.ContainsFunc(rounds, func(r []string) bool { return strings.Join(r, " ") != first }) {
		t.Errorf("all rounds have the order %s", first)
	}
}

// TestInterrupted ends a run in the middle and expects what was measured, and
// the file, to be there.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := small(t, []string{"first-pass", "grow"}, []string{"mutex-map", "xsync4"})
	c.Trials = 5
	c.Progress = func(p bench.Progress) {
		if !p.MakingWorkload && !p.WarmUp && p.Round == 3 {
			cancel()
		}
	}
	path := filepath.Join(t.TempDir(), "out.json")
	f, err := bench.NewFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c.Save = f.Save
	r, err := bench.Run(ctx, c)
	if !errors.Is(err, bench.ErrInterrupted) {
		t.Fatalf("error %v, want ErrInterrupted", err)
	}
	if !r.Incomplete || len(r.Results) != 4 || r.Results[0].Trials < 2 {
		t.Errorf("report of an interrupted run: %+v", r.Results)
	}
	var saved bench.Report
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &saved); err != nil {
		t.Fatal(err)
	}
	if !saved.Incomplete || len(saved.Results) != 4 || saved.Results[0].Trials != r.Results[0].Trials {
		t.Errorf("the file differs from the report: %s", b)
	}
}

// TestInterruptedInATrial ends the context while operations run: they stop at
// the next block.
func TestInterruptedInATrial(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	w := workload(t, "lookup-hit", 20_000, 2)
	spec, _ := target.Find("blcr") // tens of seconds, if not stopped
	start := time.Now()
	if _, err := w.Trial(ctx, spec, 1, 1); err == nil {
		t.Error("the trial was not stopped")
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("stopping took %s", d)
	}
}

func TestTrialLimit(t *testing.T) {
	c := small(t, []string{"first-pass"}, []string{"blcr", "mutex-map"})
	c.Objects = []int{50_000}
	c.TrialLimit = 10 * time.Millisecond
	r, err := bench.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Results) != 1 || len(r.Skipped) != 1 || r.Skipped[0].Target != "blcr" || !strings.Contains(r.Skipped[0].Reason, "trial limit") {
		t.Errorf("results %+v, skipped %+v", r.Results, r.Skipped)
	}
}

// TestReportJSON compares a report with the golden file: the format is an
// interface.
func TestReportJSON(t *testing.T) {
	bytesPerObject, resident := 17.5, 20.25
	r := &bench.Report{
		Schema: bench.Schema, Command: "crbench run", Seed: 1, Against: "xsync4", Unit: bench.Unit,
		Env: machine.Env{Go: "go1.26", CPU: "a CPU", Cores: 2, GOMAXPROCS: 2, GOGC: 100, Revision: "unknown"},
		Results: []*bench.Result{
			{
				Profile: "lookup-hit", Target: "index", Objects: 1000, Threads: 1, Ops: 2000, Trials: 10,
				NsPerOp: &bench.Interval{Median: 5.5, Low: 5, High: 6}, BytesPerObject: &bytesPerObject, Verified: true,
				Distinct: 1000, Tables: 1, Interval: bench.Interval95, BytesSource: bench.BytesOwn, SamplesNs: []float64{5, 5.5, 6},
				SamplesBytes: []float64{17.5, 17.5, 17.5}, StealPercents: []float64{0, 2.5, 0}, Outliers: []int{2}, Unsteady: true,
				RSSBytesPerObject: &resident,
				Latency: &bench.Latency{
					OpsPerCall: 1, Calls: 2000, SampledEvery: 1, RatePerS: 1e6, ServedPerS: 9.5e5, Corrected: true, P50: 51, P90: 52, P99: 60, P999: 800, P9999: 9000, Max: 10_000, Elapsed: 123_456,
				},
			},
			{
				Profile: "lookup-hit", Target: "broken", Objects: 1000, Threads: 1, Ops: 2000,
				Error: "0x10 got objref 1 and objref 2", Distinct: 1000, Tables: 1,
			},
			{
				Profile: "lookup-hit", Target: "floor", Objects: 1000, Threads: 1, Ops: 2000, Trials: 1,
				NsPerOp: &bench.Interval{Median: 2, Low: 2, High: 2}, NoTable: true,
				Distinct: 1000, Tables: 1, Interval: bench.IntervalMinMax, SamplesNs: []float64{2},
			},
			{
				Profile: "count-zipf", Target: "counter/atomic", Strategy: "atomic", Objects: 1000, Threads: 1, Ops: 8000,
				Distinct: 1000, Tables: 1,
			},
		},
		ClockNs: 29.5, HarnessNs: 0.5,
		Pairs: []bench.Pair{{
			Profile: "lookup-hit", Objects: 1000, Threads: 1, Target: "index", Against: "xsync4",
			TimesFaster: bench.Interval{Median: 2, Low: 1.5, High: 2.5}, P: 0.002,
		}},
		Controls: []bench.Control{
			{Profile: "lookup-hit", Objects: 1000, Threads: 1, Latency: bench.Latency{OpsPerCall: 1, Calls: 2000, P50: 40, Max: 50}},
		},
		Skipped: []bench.Skipped{
			{Profile: "lookup-hit", Target: "baseline", Objects: 1000, Threads: 2, Reason: "serves at most 1 thread"},
			{Profile: "lookup-hit", Target: "objhash/plain", Strategy: "plain", Objects: 1000, Threads: 2, Reason: "serves at most 1 thread"},
		},
	}
	var got bytes.Buffer
	if err := r.WriteJSON(&got); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "report.json")
	if *update {
		if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("the format changed; run with -update if that is meant:\n%s", got.String())
	}
}

// TestReportSchema checks a real report for the fields that readers rely on.
func TestReportSchema(t *testing.T) {
	r, err := bench.Run(t.Context(), small(t, []string{"first-pass"}, []string{"mutex-map"}))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Schema  string           `json:"schema"`
		Env     map[string]any   `json:"env"`
		Results []map[string]any `json:"results"`
	}
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Schema != "objhash.crbench/1" || doc.Env["go"] == "" || len(doc.Results) != 1 {
		t.Fatalf("document:\n%s", b.String())
	}
	for _, field := range []string{"profile", "target", "objects", "threads", "ops", "trials", "ns_per_op", "bytes_per_object", "verified"} {
		if doc.Results[0][field] == nil {
			t.Errorf("results have no %s", field)
		}
	}
	ns, _ := doc.Results[0]["ns_per_op"].(map[string]any)
	for _, field := range []string{"median", "low", "high"} {
		if v, _ := ns[field].(float64); v <= 0 {
			t.Errorf("ns_per_op has no %s", field)
		}
	}
}

func TestIntervals(t *testing.T) {
	c := small(t, []string{"first-pass"}, []string{"mutex-map"})
	c.Trials = 6
	r, err := bench.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	res := r.Results[0]
	if res.Interval != bench.Interval95 || !(res.NsPerOp.Low <= res.NsPerOp.Median && res.NsPerOp.Median <= res.NsPerOp.High) {
		t.Errorf("interval of 6 trials: %+v, %s", res.NsPerOp, res.Interval)
	}
}

func TestWriteList(t *testing.T) {
	var out bytes.Buffer
	if err := bench.WriteList(&out); err != nil {
		t.Fatal(err)
	}
	for _, section := range []string{"Targets:", "Strategies:", "Profiles:"} {
		if !strings.Contains(out.String(), section) {
			t.Errorf("no %s in\n%s", section, out.String())
		}
	}
	for _, fact := range []string{"default strategy: log", "the exact count of each, which is an operation", "an operation is a decrement"} {
		if !strings.Contains(out.String(), fact) {
			t.Errorf("does not say %q:\n%s", fact, out.String())
		}
	}
	names := regexp.MustCompile(`(?m)^  ([a-z0-9-]+)  +\S`).FindAllStringSubmatch(out.String(), -1)
	if len(names) != len(target.All())+len(refcount.All())+len(bench.Profiles()) {
		t.Errorf("%d lines:\n%s", len(names), out.String())
	}
}
