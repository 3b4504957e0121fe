package bench_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/objhash/objhash/bench"
)

func TestWorkloadSizes(t *testing.T) {
	for _, c := range []struct {
		profile       string
		objects       int
		ops, distinct int
	}{
		{"first-pass", 1000, 1000, 1000},
		{"grow", 1000, 1000, 1000},
		{"lookup-hit", 1 << 20, 1 << 20, 1 << 20},
		{"lookup-hit", 1000, 1049_000, 1000},
		{"lookup-miss", 1000, 1049_000, 1000},
		{"fork-storm", 1032, 33_000, 1032},
		{"fork-storm", 1, 1, 1},
		{"first-pass", 1, 1, 1},
	} {
		for _, threads := range []int{1, 3} {
			w := workload(t, c.profile, c.objects, threads)
			if w.Ops() != c.ops || w.Distinct != c.distinct {
				t.Errorf("%s of %d objects on %d threads: %d operations, %d distinct; want %d, %d",
					c.profile, c.objects, threads, w.Ops(), w.Distinct, c.ops, c.distinct)
			}
		}
	}
}

// TestWorkloadZipf compares the number of distinct objects with its
// expectation: the sum over the ranks of 1 - (1 - p)^draws.
func TestWorkloadZipf(t *testing.T) {
	const n = 20_000
	w := workload(t, "checkpoint-zipf", n, 2)
	if w.Ops() != 8*n {
		t.Errorf("%d operations, want %d", w.Ops(), 8*n)
	}
	var sum, want float64
	for k := 1; k <= n; k++ {
		sum += math.Pow(float64(k), -0.99)
	}
	for k := 1; k <= n; k++ {
		want += 1 - math.Pow(1-math.Pow(float64(k), -0.99)/sum, 8*n)
	}
	if math.Abs(float64(w.Distinct)-want) > 0.01*n {
		t.Errorf("%d distinct objects, expected about %.0f", w.Distinct, want)
	}
}

func TestWorkloadRefuses(t *testing.T) {
	first, _ := bench.FindProfile("first-pass")
	replay, _ := bench.FindProfile("replay")
	missing := first
	missing.Phases = []bench.Phase{{Op: bench.Lookup, Draw: bench.Each, Timed: true}}
	polluting := first
	polluting.Phases = []bench.Phase{{Op: bench.Encounter, Draw: bench.Absent, Timed: true}}
	for _, c := range []struct {
		profile bench.Profile
		size    bench.Size
		message string
	}{
		{first, bench.Size{Objects: -1, Threads: 1}, "-1 objects"},
		{first, bench.Size{Objects: bench.ObjectsMax + 1, Threads: 1}, "objects"},
		{first, bench.Size{Objects: bench.ObjectsMax, Threads: 1}, "GiB"},
		{first, bench.Size{Objects: 10}, "0 threads"},
		{replay, bench.Size{Threads: 1}, "there is none"},
		{missing, bench.Size{Objects: 10, Threads: 1}, "no earlier phase encounters"},
		{polluting, bench.Size{Objects: 10, Threads: 1}, "stay absent"},
	} {
		_, err := bench.NewWorkload(c.profile, c.size)
		if !errors.Is(err, bench.ErrProfile) || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%+v: %v; want ErrProfile that says %q", c.size, err, c.message)
		}
	}
}
