package benchtest_test

import (
	"testing"

	"github.com/objhash/objhash/bench/benchtest"
)

func BenchmarkPeers(b *testing.B) {
	for _, profile := range []string{"lookup-hit", "first-pass"} {
		benchtest.Run(b, benchtest.Spec{Profile: profile, Objects: []int{10_000}, Threads: []int{1, 2}}, "mutex-map", "xsync4", "baseline")
	}
}

// TestBenchmark runs a benchmark once and looks at what it reports.
func TestBenchmark(t *testing.T) {
	names := 0
	r := testing.Benchmark(func(b *testing.B) {
		benchtest.Run(b, benchtest.Spec{Profile: "first-pass", Objects: []int{100}, Threads: []int{1}}, "mutex-map")
		names++
	})
	if names != 1 || r.N != 1 {
		t.Errorf("ran %d times, N=%d", names, r.N)
	}
}
