package bench_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/objhash/objhash/bench"
)

func TestThresholds(t *testing.T) {
	little, much := 1e-6, 1e12
	c := small(t, []string{"grow"}, []string{"index", "mutex-map"})
	c.Threads = []int{1, 2}
	c.Profiles[0].Thresholds = []bench.Threshold{
		{Target: "index", What: bench.NsPerOp, Min: &little, Max: &much},
		{Target: "index", Threads: 2, What: bench.BytesPerObject, Max: &little},
		{Target: "mutex-map", Threads: 1, What: bench.NsPerOp, Min: &much},
		{Target: "mutex-map", Threads: 2, What: bench.P99Ns, Max: &much},
		{Target: "mutex-map", Objects: 7, What: bench.NsPerOp, Max: &little},
		{Target: "xsync4", What: bench.NsPerOp, Max: &little},
	}
	r, err := bench.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Thresholds) != 2*2+1+1+1 || len(r.Crossed()) != 2 {
		t.Fatalf("%d checked, %d crossed, want 7 and 2: %v", len(r.Thresholds), len(r.Crossed()), r.Thresholds)
	}
	var out bytes.Buffer
	if err := r.WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"grow, 500 objects, 1 thread: index: ns_per_op at least 1e-06: kept with ",
		"grow, 500 objects, 2 threads: index: bytes_per_object at most 1e-06: CROSSED by ",
		"grow, 500 objects, 1 thread: mutex-map: ns_per_op at least 1e+12: CROSSED by ",
		"grow, 500 objects, 2 threads: mutex-map: p99_ns at most 1e+12: not measured\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
