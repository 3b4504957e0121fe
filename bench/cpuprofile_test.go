package bench_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/attribution"
	"github.com/objhash/objhash/bench/rundir"
)

func readProfile(t *testing.T, path string) *profile.Profile {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p, err := profile.Parse(f)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return p
}

func profiled(t *testing.T, o bench.RunOptions, each time.Duration) (*bench.Report, string) {
	t.Helper()
	o.Trials, o.Seed, o.Out, o.CPUProfile, o.ProfileTime = 1, 1, t.TempDir(), true, each
	report, err := o.Run(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return report, o.Out
}

// TestRulesDecide runs targets under a profiler: no more than a twentieth of their time may
// be in functions that no rule knows, but for a sample more.
func TestRulesDecide(t *testing.T) {
	report, dir := profiled(t, bench.RunOptions{
		Profiles: []string{"grow"}, Targets: []string{"index-batch", "objhash", "xsync4", "mutex-map"}, Objects: []string{"50k"}, Threads: []string{"1"},
	}, time.Second)
	for _, res := range report.Results {
		p := readProfile(t, filepath.Join(dir, res.CPU.Profile))
		samples, shares := attribution.Shares(p)
		if samples == 0 {
			t.Errorf("%s: no samples", res.Target)
		}
		if other := shares[attribution.Other] * float64(samples); other > 1.5+0.05*float64(samples) {
			t.Errorf("%s: of %d samples nobody knows what %.0f are: %v", res.Target, samples, other, attribution.Undecided(p))
		}
	}
}

// TestProfiledPhases sees that the samples are of the timed phases only, and say what they
// are of, whoever does the phase: threads, or the target as a whole.
func TestProfiledPhases(t *testing.T) {
	for _, c := range []struct {
		profile, target, phase string
		objects                string
	}{
		{"lookup-hit", "mutex-map", "lookup", "50000"}, // the phase that fills is not timed
		{"audit", "objhash", "audit", "50000"},
		{"drop-all", "objhash", "drop", "50000"},
	} {
		report, dir := profiled(t, bench.RunOptions{
			Profiles: []string{c.profile}, Targets: []string{c.target}, Objects: []string{c.objects}, Threads: []string{"1"},
		}, time.Second)
		res := report.Results[0]
		p := readProfile(t, filepath.Join(dir, res.CPU.Profile))
		if want := "cpu/" + c.profile + "-" + c.objects + "-1t-" + strings.ReplaceAll(c.target, "/", "+") + ".pb.gz"; res.CPU.Profile != want {
			t.Errorf("the profile is called %s; want %s", res.CPU.Profile, want)
		}
		if len(p.Sample) == 0 || res.CPU.Samples == 0 {
			t.Errorf("%s: no samples", c.profile)
		}
		sum := 0.0
		for _, share := range res.CPU.Shares {
			sum += share
		}
		if math.Abs(sum-1) > 1e-9 {
			t.Errorf("%s: the shares sum to %v", c.profile, sum)
		}
		want := map[string]string{"phase": c.phase, "target": c.target, "profile": c.profile, "objects": c.objects, "threads": "1"}
		for _, s := range p.Sample {
			for name, value := range want {
				if got := s.Label[name]; len(got) != 1 || got[0] != value {
					t.Fatalf("%s: a sample's label %s is %q; want %q", c.profile, name, got, value)
				}
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "mutex")); err == nil || res.Contention != nil {
			t.Errorf("%s: one thread waited for another", c.profile)
		}
	}
	var labels []string
	pprof.ForLabels(t.Context(), func(name, _ string) bool {
		labels = append(labels, name)
		return true
	})
	if len(labels) > 0 {
		t.Errorf("labels are left: %q", labels)
	}
}

// TestContention makes threads wait for one mutex.
func TestContention(t *testing.T) {
	for range 20 { // one thread may be through before the other begins
		report, dir := profiled(t, bench.RunOptions{
			Profiles: []string{"grow"}, Targets: []string{"mutex-map"}, Objects: []string{"200k"}, Threads: []string{"4"},
		}, 10*time.Millisecond)
		c := report.Results[0].Contention
		if c == nil {
			t.Fatal("not measured")
		}
		if c.MutexNs == 0 || c.BlockNs == 0 {
			continue
		}
		for _, file := range []string{c.MutexProfile, c.BlockProfile} {
			p := readProfile(t, filepath.Join(dir, file))
			if len(p.Sample) == 0 {
				t.Errorf("%s has no samples", file)
			}
			for _, s := range p.Sample {
				if s.Value[1] <= 0 {
					t.Errorf("%s: a sample waited %d ns", file, s.Value[1])
				}
			}
		}
		var b strings.Builder
		if err := report.WriteTable(&b); err != nil || !strings.Contains(b.String(), "\n  waited: mutex-map: ") || !strings.Contains(b.String(), "\n  cpu: mutex-map: ") {
			t.Errorf("the table, %v:\n%s", err, b.String())
		}
		return
	}
	t.Error("nobody ever waited")
}

// TestProfilingInterrupted keeps what was measured before.
func TestProfilingInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := bench.RunOptions{
		Profiles: []string{"grow"}, Targets: []string{"index"}, Objects: []string{"100k"}, Threads: []string{"2"}, Trials: 1,
		Out: t.TempDir(), CPUProfile: true, ProfileTime: time.Minute,
	}
	report, err := o.Run(ctx, func(p bench.Progress) {
		if p.Profiling {
			time.AfterFunc(100*time.Millisecond, cancel)
		}
	})
	if !errors.Is(err, bench.ErrInterrupted) {
		t.Fatalf("says %v", err)
	}
	if res := report.Results[0]; res.Error != "" || !res.Verified || res.NsPerOp == nil || res.CPU != nil || !report.Incomplete {
		t.Errorf("incomplete %v, %+v", report.Incomplete, res)
	}
}

// TestProfilingResumed has what an interruption left out.
func TestProfilingResumed(t *testing.T) {
	o := bench.RunOptions{
		Profiles: []string{"grow"}, Targets: []string{"mutex-map"}, Objects: []string{"1000"}, Threads: []string{"2"}, Trials: 1,
		Out: t.TempDir(), CPUProfile: true, ProfileTime: 10 * time.Millisecond,
	}
	report, err := o.Run(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	cpu := report.Results[0].CPU
	report.Results[0].Contention, report.Incomplete = nil, true
	f, err := bench.NewFile(filepath.Join(o.Out, rundir.Report))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Save(report); err != nil {
		t.Fatal(err)
	}
	o.Out, o.Resume = "", o.Out
	if report, err = o.Run(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if res := report.Results[0]; res.Contention == nil || res.CPU.Samples != cpu.Samples {
		t.Errorf("waiting %v, processor %v, want that of before, %v", res.Contention, res.CPU, cpu)
	}
}

// TestProfilingIsAlone fails while another profiler has the processor, and says so.
func TestProfilingIsAlone(t *testing.T) {
	if err := pprof.StartCPUProfile(new(strings.Builder)); err != nil {
		t.Fatal(err)
	}
	defer pprof.StopCPUProfile()
	o := bench.RunOptions{Profiles: []string{"grow"}, Targets: []string{"index"}, Objects: []string{"100"}, Threads: []string{"1"}, Trials: 1,
		Out: t.TempDir(), CPUProfile: true, ProfileTime: time.Second}
	if _, err := o.Run(context.Background(), nil); err == nil || !strings.Contains(err.Error(), "profiling index: ") {
		t.Errorf("says %v", err)
	}
}
