package engine_test

import (
	"context"
	"fmt"
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

// BenchmarkSmallContext is the whole life of a context with few objects, see smallCheckpoint.
// bytes is what such a context says it takes.
func BenchmarkSmallContext(b *testing.B) {
	for _, objects := range []int{0, 10, 100, 1_000} {
		for _, how := range []struct {
			name string
			live func(t testing.TB, objects int, look bool) (bytes int64)
		}{
			{"checkpoint", smallCheckpoint},
			{"restart", smallRestart},
		} {
			b.Run(fmt.Sprintf("how=%s/objects=%d", how.name, objects), func(b *testing.B) {
				bytes := how.live(b, objects, true)
				b.ReportAllocs()
				for b.Loop() {
					how.live(b, objects, false)
				}
				b.ReportMetric(float64(bytes), "bytes")
			})
		}
	}
}
