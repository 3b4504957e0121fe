package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/rundir"
)

func read(t *testing.T, elements ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elements...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func options(out string) bench.RunOptions {
	return bench.RunOptions{
		Profiles: []string{"grow", "first-pass"}, Targets: []string{"index", "mutex-map"}, Objects: []string{"20k"}, Threads: []string{"1"},
		Trials: 3, Seed: 1, Latency: true, Out: out, Flags: map[string][]string{"trials": {"3"}},
	}
}

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "results", "new")
	r, err := options(dir).Run(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := bench.ReadReport(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Results) != 4 || got.Incomplete || got.Started.IsZero() || got.Finished.Before(got.Started) || got.Options["trials"][0] != "3" {
		t.Errorf("report: %+v", got)
	}
	var want bytes.Buffer
	if err := r.WriteBench(&want); err != nil {
		t.Fatal(err)
	}
	if read(t, dir, rundir.Bench) != want.String() {
		t.Error("bench.txt has other trials than the report")
	}
	if !strings.Contains(read(t, dir, rundir.Env), "GOMAXPROCS") {
		t.Error("env.txt does not tell GOMAXPROCS")
	}
	for _, p := range got.Profiles {
		if read(t, dir, rundir.Profiles, p.Name+".toml") != p.TOML || p.TOML == "" {
			t.Errorf("profile %s is not as in the report", p.Name)
		}
	}
	for _, res := range got.Results {
		name := rundir.CellName(res.Profile, res.Objects, res.Threads, res.Target)
		h, err := hdrhistogram.NewHistogramLogReader(strings.NewReader(read(t, dir, rundir.Latency, name+".hlog"))).NextIntervalHistogram()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if h.TotalCount() != res.Latency.Calls || h.ValueAtPercentile(99) != res.Latency.P99 {
			t.Errorf("%s: %d calls, p99 %d; the report has %d, %d", name, h.TotalCount(), h.ValueAtPercentile(99), res.Latency.Calls, res.Latency.P99)
		}
	}
	if _, err := options(dir).Run(t.Context(), nil); !errors.Is(err, bench.ErrChoice) || !strings.Contains(err.Error(), "complete run already") {
		t.Errorf("a second run in it: %v", err)
	}
	if _, err := options(filepath.Dir(dir)).Run(t.Context(), nil); !errors.Is(err, bench.ErrChoice) || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a run in a folder that has something else: %v", err)
	}
	if _, _, err := bench.OpenFolder(dir); !errors.Is(err, bench.ErrChoice) || !strings.Contains(err.Error(), "nothing to resume") {
		t.Errorf("resuming a complete run: %v", err)
	}
}

// interrupted runs until so many trials have begun, and returns the folder.
func interrupted(t *testing.T, trials int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := options(dir).Run(ctx, func(p bench.Progress) {
		if p.MakingWorkload {
			return
		}
		if trials--; trials < 0 {
			cancel()
		}
	})
	if !errors.Is(err, bench.ErrInterrupted) {
		t.Fatalf("not interrupted: %v", err)
	}
	return dir
}

// TestResume interrupts runs at many places, and wants each to end as if it had not been.
func TestResume(t *testing.T) {
	for _, trials := range []int{0, 1, 8, 9, 12} {
		dir := interrupted(t, trials)
		before, err := bench.ReadReport(dir)
		if err != nil || !before.Incomplete {
			t.Fatalf("after %d trials: %v, incomplete %v", trials, err, before.Incomplete)
		}
		if _, err := options(dir).Run(t.Context(), nil); !errors.Is(err, bench.ErrChoice) || !strings.Contains(err.Error(), "--resume") {
			t.Errorf("a new run in the folder of an interrupted one: %v", err)
		}
		o := options("")
		o.Resume = dir
		if _, err := o.Run(t.Context(), nil); err != nil {
			t.Fatalf("after %d trials: %v", trials, err)
		}
		after, err := bench.ReadReport(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(after.Results) != 4 || after.Incomplete || len(after.Resumed) != 1 || !after.Started.Equal(before.Started) || len(after.Controls) != 2 {
			t.Errorf("after %d trials: %d results, %d controls, %+v", trials, len(after.Results), len(after.Controls), after)
		}
		for i, res := range after.Results {
			if len(res.SamplesNs) != 3 || len(res.SamplesBytes) != 3 || res.Trials != 3 || res.Latency == nil || !res.Verified {
				t.Errorf("after %d trials, result %d: %+v", trials, i, res)
			}
			if i < len(before.Results) && !startsWith(res.SamplesNs, before.Results[i].SamplesNs) {
				t.Errorf("after %d trials, result %d: %v does not go on with %v", trials, i, res.SamplesNs, before.Results[i].SamplesNs)
			}
			if i < len(before.Results) && before.Results[i].Latency != nil && before.Results[i].Latency.P99 != res.Latency.P99 {
				t.Errorf("after %d trials, result %d: latencies were measured again", trials, i)
			}
			name := rundir.CellName(res.Profile, res.Objects, res.Threads, res.Target)
			read(t, dir, rundir.Latency, name+".hlog")
		}
	}
}

func startsWith(all, first []float64) bool {
	for i, v := range first {
		if i >= len(all) || all[i] != v {
			return false
		}
	}
	return true
}

// TestResumeRefuses another run, machine and code.
func TestResumeRefuses(t *testing.T) {
	for _, c := range []struct {
		message  string
		report   func(*bench.Report)
		options  func(*bench.RunOptions)
		withNote bool // --force does it, and the report says so
	}{
		{message: "--trials: 3 before, 4 now", options: func(o *bench.RunOptions) { o.Flags = map[string][]string{"trials": {"4"}} }},
		{message: "seed: 1 before, 2 now", options: func(o *bench.RunOptions) { o.Seed = 2 }},
		{message: "profiles: grow,first-pass before, grow now", options: func(o *bench.RunOptions) { o.Profiles = o.Profiles[:1] }},
		{message: "profile grow: what it says has changed", report: func(r *bench.Report) { r.Profiles[0].SHA256 = "another" }},
		{message: "CPU: another before", report: func(r *bench.Report) { r.Env.CPU = "another" }, withNote: true},
		{message: "Go: go1.1 before", report: func(r *bench.Report) { r.Env.Go = "go1.1" }, withNote: true},
		{message: "revision of the code: another before", report: func(r *bench.Report) { r.Env.Revision = "another" }, withNote: true},
	} {
		dir := interrupted(t, 3)
		if c.report != nil {
			r, err := bench.ReadReport(dir)
			if err != nil {
				t.Fatal(err)
			}
			c.report(r)
			b, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, rundir.Report), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		o := options("")
		o.Resume = dir
		if c.options != nil {
			c.options(&o)
		}
		if _, err := o.Run(t.Context(), nil); !errors.Is(err, bench.ErrResume) || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%v, want %q", err, c.message)
		}
		o.Force = true
		r, err := o.Run(t.Context(), nil)
		if (err == nil) != c.withNote {
			t.Errorf("%s: forced: %v", c.message, err)
		}
		if err == nil && !strings.Contains(strings.Join(r.Warnings, "\n"), c.message) {
			t.Errorf("%s: the report does not tell: %q", c.message, r.Warnings)
		}
	}
}

// TestSaveIsWhole reads the report of a run that goes on, again and again.
func TestSaveIsWhole(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	f, err := bench.NewFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := &bench.Report{Schema: bench.Schema, Results: []*bench.Result{{Profile: "grow", SamplesNs: make([]float64, 50_000)}}}
	if err := f.Save(r); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	saved := make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				saved <- nil
				return
			default:
				if err := f.Save(r); err != nil {
					saved <- err
					return
				}
			}
		}
	}()
	for deadline := time.Now().Add(300 * time.Millisecond); time.Now().Before(deadline); {
		got, err := bench.ReadReport(dir)
		if err != nil || len(got.Results[0].SamplesNs) != 50_000 {
			t.Errorf("a part of a report: %v", err)
			break
		}
	}
	close(stop)
	if err := <-saved; err != nil {
		t.Error(err)
	}
}

// TestUnfinishedFilesGo when a run is resumed whose program was killed while it wrote.
func TestUnfinishedFilesGo(t *testing.T) {
	dir := interrupted(t, 2)
	left := filepath.Join(dir, ".report.json.123.unfinished")
	if err := os.WriteFile(left, []byte(`{"schema"`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := bench.OpenFolder(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestReadReport(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ content, message string }{
		{"{", "no report of crbench run"},
		{`{"schema": "objhash.crbench/1", "results": [null]}`, "a result is null"},
		{`{"schema": "objhash.model/2"}`, `its schema is "objhash.model/2"`},
	} {
		path := filepath.Join(dir, "x.json")
		if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := bench.ReadReport(path); err == nil || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: %v, want %q", c.content, err, c.message)
		}
	}
	if _, err := bench.ReadReport(dir); !os.IsNotExist(errors.Unwrap(err)) {
		t.Errorf("a folder without a report: %v", err)
	}
}

// TestResumeAtEveryPoint interrupts a run before every step that it tells of, and what goes
// on with it once more, and wants all that was promised, once.
func TestResumeAtEveryPoint(t *testing.T) {
	for _, c := range []struct {
		name   string
		budget time.Duration
		step   int
	}{{"trials", 0, 6}, {"budget", 100 * time.Millisecond, 17}} {
		if testing.Short() {
			c.step *= 24 // a run takes a second under the race detector
		}
		t.Run(c.name, func(t *testing.T) {
			for at := 0; ; at += c.step {
				if through := resumeAt(t, at, c.budget); through {
					break
				}
			}
		})
	}
}

// resumeAt says whether the run was through before it came to be interrupted.
func resumeAt(t *testing.T, at int, budget time.Duration) (through bool) {
	const trials = 2
	dir := filepath.Join(t.TempDir(), "run")
	did := map[string]int{} // what is done once, and was not interrupted
	o := options(dir)
	o.Objects, o.Trials, o.Budget, o.Width = []string{"10k"}, trials, budget, 1e-9
	o.Fresh = func(ctx context.Context, f bench.FreshTrial) (bench.FreshOutcome, error) {
		if ctx.Err() == nil {
			did["fresh "+f.Profile.Name+" "+f.Target]++
		}
		return bench.FreshOutcome{ResidentBytes: 1 << 20}, nil
	}
	for part := 0; ; part++ {
		ctx, cancel := context.WithCancel(t.Context())
		left := at
		r, err := o.Run(ctx, func(p bench.Progress) {
			if left--; left < 0 && part < 2 {
				cancel()
			} else if p.Latency && p.Target != "nothing" {
				did["latency "+p.Profile+" "+p.Target]++
			}
		})
		cancel()
		if o.Out, o.Resume = "", dir; errors.Is(err, bench.ErrInterrupted) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		checkResumed(t, r, at, trials, budget > 0)
		for what, n := range did {
			if n != 1 {
				t.Errorf("interrupted before step %d: %s was done %d times", at, what, n)
			}
		}
		if len(did) != 4+4 { // resident memory and latencies
			t.Errorf("interrupted before step %d: only %v was done", at, did)
		}
		return part == 0
	}
}

func checkResumed(t *testing.T, r *bench.Report, at, trials int, budget bool) {
	t.Helper()
	wrong := func(what string, got any) {
		t.Errorf("interrupted before step %d: %s: %v", at, what, got)
	}
	var order, pairs []string
	for i, res := range r.Results {
		order = append(order, res.Profile+" "+res.Target)
		if n := len(res.SamplesNs); n != res.Trials || n < trials || !budget && n > trials || n != r.Results[i/2*2].Trials {
			wrong("trials of "+order[i], n)
		}
		if res.Latency == nil || res.RSSBytesPerObject == nil || len(res.SamplesBytes) != res.Trials || !res.Verified {
			wrong("result", *res)
		}
	}
	if want := []string{"grow index", "grow mutex-map", "first-pass index", "first-pass mutex-map"}; !slices.Equal(order, want) {
		wrong("results", order)
	}
	for _, p := range r.Pairs {
		pairs = append(pairs, p.Profile)
	}
	slices.Sort(pairs)
	if len(r.Controls) != 2 || r.Incomplete || !slices.Equal(slices.Compact(pairs), []string{"first-pass", "grow"}) {
		wrong("report", *r)
	}
}

// TestResumeDoubtsOnce interrupts a run that has doubts, and wants those of the whole run.
func TestResumeDoubtsOnce(t *testing.T) {
	o := options(filepath.Join(t.TempDir(), "run"))
	o.Profiles, o.Objects, o.Latency, o.Trials, o.Width = []string{"grow"}, []string{"1000"}, false, 8, 1e-9
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	before, err := o.Run(ctx, func(p bench.Progress) {
		if p.Round == o.Trials && !p.WarmUp {
			cancel()
		}
	})
	if !errors.Is(err, bench.ErrInterrupted) {
		t.Fatalf("not interrupted: %v", err)
	}
	o.Out, o.Resume = "", o.Out
	after, err := o.Run(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*bench.Report{before, after} {
		wider := slices.DeleteFunc(slices.Clone(r.Warnings), func(w string) bool { return !strings.Contains(w, "wider than") })
		if len(wider) != 1 {
			t.Errorf("said %d times: %q", len(wider), wider)
		}
	}
}
