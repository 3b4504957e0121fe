package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/target"
)

func find(t *testing.T, name string) target.Spec {
	t.Helper()
	spec, ok := target.Find(name)
	if !ok {
		t.Fatalf("no target %q", name)
	}
	return spec
}

// TestLatencyCountsCalls compares the calls that were recorded with the operations.
func TestLatencyCountsCalls(t *testing.T) {
	for _, c := range []struct {
		profile, target string
		threads         int
		ops             int   // of a call
		calls           int64 // -1: one for each operation
	}{
		{"grow", "index", 1, 1, -1},
		{"grow", "index", 2, 1, -1},
		{"lookup-hit", "xsync4", 2, 1, -1}, // the phase that fills is not timed
		{"grow", "index-batch", 1, bench.BlockOps, 8},
		{"grow", "objhash-batch", 2, bench.BlockOps, 2 * 4},
		{"grow", "index", 8, 1, -1},
		{"restart-in-order", "objhash", 2, 1, -1},
		{"restart-fetch", "objhash", 2, 1, -1},
		{"audit", "objhash", 1, 0, 0},
		{"drop-all", "objhash-batch", 1, 0, 0},
	} {
		w := workload(t, c.profile, 2000, c.threads)
		if c.calls < 0 {
			c.calls = int64(w.Ops())
		}
		l, err := w.Latency(t.Context(), find(t, c.target), 1, bench.Sampling{})
		if err != nil {
			t.Errorf("%s, %s, %d threads: %v", c.profile, c.target, c.threads, err)
			continue
		}
		checkLatency(t, c.profile+", "+c.target, l, c.ops, c.calls)
		l, err = w.Nothing(t.Context(), c.ops, bench.Sampling{})
		if err != nil {
			t.Error(err)
		}
		checkLatency(t, c.profile+", nothing", l, c.ops, c.calls)
		if _, err := w.Trial(t.Context(), find(t, c.target), 1, 1); err != nil {
			t.Errorf("%s, %s, a trial after that: %v", c.profile, c.target, err)
		}
	}
}

func checkLatency(t *testing.T, what string, l bench.Latency, ops int, calls int64) {
	t.Helper()
	if l.Calls != calls || l.OpsPerCall != ops {
		t.Errorf("%s: %d calls of %d operations; want %d of %d", what, l.Calls, l.OpsPerCall, calls, ops)
	}
	if !(l.P50 <= l.P90 && l.P90 <= l.P99 && l.P99 <= l.P999 && l.P999 <= l.P9999 && l.P9999 <= l.Max) {
		t.Errorf("%s: percentiles are not in order: %+v", what, l)
	}
	if (l.Elapsed > 0 && l.Max > 0) != (calls > 0) {
		t.Errorf("%s: %+v", what, l)
	}
}

func TestLatencyOfCounting(t *testing.T) {
	plain := find(t, "counter").Variants(nil)[0]
	for _, c := range []struct {
		profile string
		ops     int
	}{{"count-zipf", 1}, {"count-drop", 1}, {"count-10k-tasks", 32}, {"count-verdict", 0}} {
		w := countingWorkload(t, c.profile, 300, 1)
		l, err := w.Latency(t.Context(), plain, 1, bench.Sampling{})
		if err != nil {
			t.Fatalf("%s: %v", c.profile, err)
		}
		calls := int64(0)
		if c.ops > 0 {
			calls = int64(w.Ops() / c.ops)
		}
		checkLatency(t, c.profile, l, c.ops, calls)
	}
}

// TestLatencyShowsASlowOperation plants one. What is usual does not show it; what is the
// longest does.
func TestLatencyShowsASlowOperation(t *testing.T) {
	for _, threads := range []int{1, 2} {
		l, err := workload(t, "first-pass", 2000, threads).Latency(t.Context(), faultSlow.spec(), 1, bench.Sampling{})
		if err != nil {
			t.Fatal(err)
		}
		if l.Max < slow.Nanoseconds() || l.P50 >= slow.Nanoseconds() || l.Elapsed < slow.Nanoseconds() {
			t.Errorf("%d threads: an operation took %s: %+v", threads, slow, l)
		}
	}
}

func latencyRun(t *testing.T) bench.Config {
	c := small(t, []string{"first-pass", "drop-all"}, []string{"mutex-map", "index-batch", "objhash"})
	c.Latency, c.LatencyEvery = true, 1
	return c
}

// TestLatencyReport looks for all of it in the document and in the tables.
func TestLatencyReport(t *testing.T) {
	c := latencyRun(t)
	told := map[string]int{}
	c.Progress = func(p bench.Progress) {
		if p.Latency {
			told[p.Target]++
		}
	}
	r, err := bench.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if len(told) != 4 || told["mutex-map"] != 1 || told["nothing"] != 2 {
		t.Errorf("progress told of %v", told)
	}
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		ClockNs float64 `json:"clock_ns"`
		Results []struct {
			Profile, Target string
			Latency         map[string]float64
		}
		Controls []struct {
			Profile          string
			Objects, Threads int
			Latency          map[string]float64
		}
	}
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.ClockNs <= 0 || len(doc.Results) != 4 || len(doc.Controls) != 2 {
		t.Fatalf("document:\n%s", b.String())
	}
	calls := map[float64]float64{1: 500, bench.BlockOps: 2}
	for _, res := range doc.Results {
		l := res.Latency
		if has := res.Profile == "first-pass"; has != (l != nil) || l["calls"] != calls[l["ops_per_call"]] {
			t.Errorf("%s, %s: %v", res.Profile, res.Target, l)
		}
	}
	for i, ops := range []float64{1, bench.BlockOps} {
		c := doc.Controls[i]
		if c.Profile != "first-pass" || c.Objects != 500 || c.Threads != 1 || c.Latency["ops_per_call"] != ops || c.Latency["calls"] != calls[ops] {
			t.Errorf("control %+v", c)
		}
		for _, field := range []string{"p50_ns", "p90_ns", "p99_ns", "p99_9_ns", "p99_99_ns", "max_ns", "elapsed_ns"} {
			if _, ok := c.Latency[field]; !ok {
				t.Errorf("no %s in %v", field, c.Latency)
			}
		}
	}
	checkLatencyTable(t, tableOf(t, r))
}

func checkLatencyTable(t *testing.T, got string) {
	t.Helper()
	for _, want := range []string{
		`latency: first-pass, 500 objects, 1 thread, one trial`, `ops/call .* p50 .* p99\.99 .* max .* count`,
		`│ mutex-map +│ +1 │ .* 500 │`, `│ index-batch +│ +256 │ .* 2 │`,
		`│ nothing +│ +1 │ .* 500 │`, `│ nothing +│ +256 │ .* 2 │`,
		`a reading of the clock takes \d+ ns`, `no latencies: no call was timed by itself`,
	} {
		if !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// TestLatencyOnlyIfAskedFor keeps reports as they were.
func TestLatencyOnlyIfAskedFor(t *testing.T) {
	c := latencyRun(t)
	c.Latency = false
	r, err := bench.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	if got := b.String() + tableOf(t, r); strings.Contains(got, "latenc") || strings.Contains(got, "controls") || strings.Contains(got, "clock_ns") {
		t.Errorf("has latencies:\n%s", got)
	}
}

func TestLatencyUnits(t *testing.T) {
	res := result("grow", "", 1000, 1, 5, 5)
	res.Latency = &bench.Latency{OpsPerCall: 1, P50: 7, P90: 999, P99: 1500, P999: 25_000, P9999: 3_210_000, Max: 10e9, Calls: 1000, Elapsed: 12e9}
	got := tableOf(t, &bench.Report{ClockNs: 25.4, Results: []*bench.Result{res}})
	for _, want := range []string{" 7 ns ", " 999 ns ", " 1.50 us ", " 25.0 us ", " 3.21 ms ", " 10.0 s ", " 1,000 ", " 12.0 s ", "takes 25 ns"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// TestLatencyInterrupted ends the context in the trial that times calls.
func TestLatencyInterrupted(t *testing.T) {
	for _, at := range []string{"mutex-map", "nothing"} {
		ctx, cancel := context.WithCancel(t.Context())
		c := latencyRun(t)
		c.Progress = func(p bench.Progress) {
			if p.Latency && p.Target == at {
				cancel()
			}
		}
		r, err := bench.Run(ctx, c)
		cancel()
		if !errors.Is(err, bench.ErrInterrupted) || !r.Incomplete || len(r.Results) != 3 || len(r.Failed()) != 0 {
			t.Errorf("interrupted at %s: %v, %+v", at, err, r.Results)
		}
	}
}

// TestLatencyOfAFaultyTarget fails a target that is wrong in that trial alone.
func TestLatencyOfAFaultyTarget(t *testing.T) {
	c := small(t, []string{"first-pass"}, []string{"mutex-map"})
	c.Latency, c.Objects = true, []int{1000}
	latency, made := false, 0
	c.Progress = func(p bench.Progress) { latency = p.Latency }
	c.Targets = append(c.Targets, target.Spec{Name: "late", New: func(o target.Options) (target.Target, error) {
		if made++; latency {
			return faultZeroRef.spec().New(o)
		}
		return faultNone.spec().New(o)
	}})
	r, err := bench.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	failed := r.Failed()
	if len(failed) != 1 || failed[0].Target != "late" || failed[0].Latency != nil || failed[0].NsPerOp != nil {
		t.Errorf("made %d, failed %+v", made, failed)
	}
}

// TestLatencySample times about one call in so many, and shows the usual as timing all
// does.
func TestLatencySample(t *testing.T) {
	w := workload(t, "lookup-hit", 2000, 2)
	l, err := w.Latency(t.Context(), find(t, "index"), 1, bench.Sampling{Every: 50, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	want := int64(w.Ops() / 50)
	if l.Calls < want*9/10 || l.Calls > want*11/10 || l.SampledEvery != 50 || l.Corrected {
		t.Errorf("%d calls of %d operations were timed; want about %d: %+v", l.Calls, w.Ops(), want, l)
	}
	if h := l.Histogram(); h.TotalCount() != l.Calls || h.ValueAtPercentile(50) != l.P50 {
		t.Errorf("the histogram has %d calls", h.TotalCount())
	}
	// Calls that are longer than the clock takes are all timed.
	l, err = w.Latency(t.Context(), find(t, "index-batch"), 1, bench.Sampling{Every: 50, Seed: 7})
	if err != nil || l.SampledEvery != 1 || l.Calls < int64(w.Ops()/bench.BlockOps) {
		t.Errorf("blocks: %+v, %v", l, err)
	}
}

// TestOpenLoop has a pause in all the calls that were to begin in it, where a closed loop has
// it in one.
func TestOpenLoop(t *testing.T) {
	const ops, rate = 2000, 100_000 // slow is the time of 500 calls
	w := workload(t, "first-pass", ops, 1)
	closed, err := w.Latency(t.Context(), faultSlow.spec(), 1, bench.Sampling{})
	if err != nil {
		t.Fatal(err)
	}
	open, err := w.Latency(t.Context(), faultSlow.spec(), 1, bench.Sampling{RatePerS: rate, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	late := func(l bench.Latency) (n int64) {
		for _, bar := range l.Histogram().Distribution() {
			if bar.From > slow.Nanoseconds()/5 {
				n += bar.Count
			}
		}
		return n
	}
	if late(open) < 200 || late(closed) > 100 {
		t.Errorf("late were %d calls of the open loop, and %d of the closed one", late(open), late(closed))
	}
	if open.Calls != ops || !open.Corrected || open.RatePerS != rate || open.SampledEvery != 1 || open.ServedPerS <= 0 ||
		open.Max < slow.Nanoseconds() || open.Elapsed < (ops/2*time.Second/rate).Nanoseconds() {
		t.Errorf("open loop: %+v", open)
	}
	if closed.Corrected || closed.RatePerS != 0 {
		t.Errorf("closed loop: %+v", closed)
	}
}

// TestOpenLoopIsBounded does the rest of the operations at once, and verifies them too.
func TestOpenLoopIsBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes the 5 s of an open loop")
	}
	w := workload(t, "first-pass", 2000, 2)
	l, err := w.Latency(t.Context(), find(t, "index"), 1, bench.Sampling{RatePerS: 100, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	if l.Calls < 300 || l.Calls > 700 || l.Elapsed > (10*time.Second).Nanoseconds() {
		t.Errorf("5 s at 100 per second: %+v", l)
	}
	if _, err := w.Latency(t.Context(), faultLoses.spec(), 1, bench.Sampling{RatePerS: 100, Seed: 3}); err == nil {
		t.Error("what is done after the open loop is not verified")
	}
}

// TestOpenLoopInterrupted stops while it waits for the next call.
func TestOpenLoopInterrupted(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := workload(t, "first-pass", 2000, 1).Latency(ctx, find(t, "index"), 1, bench.Sampling{RatePerS: 1, Seed: 3})
	if err == nil || time.Since(start) > 4*time.Second {
		t.Errorf("%v after %s", err, time.Since(start))
	}
}
