package engine_test

import (
	"context"
	"testing"

	"github.com/objhash/objhash/bench/benchtest"
	"github.com/objhash/objhash/bench/traces"
	"github.com/objhash/objhash/engine"
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

// BenchmarkRestoreInOrder is the whole life of a claim that nobody waits for.
func BenchmarkRestoreInOrder(b *testing.B) {
	r := newRestart(b, engine.Options{Kinds: make([]engine.KindOps, 1)})
	h := newRestorer(b, r)
	ctx := context.Background()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		if _, err := h.Restore(ctx, engine.ObjRef(i), 1, func(*engine.Claim) (engine.Ptr, error) { return addr(i), nil }); err != nil {
			b.Fatal(err)
		}
	}
}
