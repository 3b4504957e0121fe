package engine_test

import (
	"testing"

	"github.com/objhash/objhash/bench/benchtest"
	"github.com/objhash/objhash/bench/traces"
)

// BenchmarkCheckpoint runs the profiles of crbench over a checkpoint context and the
// best peer.
func BenchmarkCheckpoint(b *testing.B) {
	for _, profile := range []string{"first-pass", "checkpoint-zipf", "fork-storm"} {
		spec := benchtest.Spec{Profile: profile, Objects: []int{10_000, 1_000_000}, Threads: []int{1, 2}}
		benchtest.Run(b, spec, "objhash", "objhash-batch", "xsync4")
	}
	heap, err := traces.GoHeapSmall()
	if err != nil {
		b.Fatal(err)
	}
	spec := benchtest.Spec{Profile: "replay", Objects: []int{heap.Objects()}, Threads: []int{1, 2}, Trace: heap}
	benchtest.Run(b, spec, "objhash", "objhash-batch", "xsync4")
}
