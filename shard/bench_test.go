package shard_test

import (
	"testing"

	"github.com/objhash/objhash/bench/benchtest"
)

// BenchmarkIndex runs the profiles of crbench over both variants and the best peer.
func BenchmarkIndex(b *testing.B) {
	for _, profile := range []string{"lookup-hit", "lookup-miss", "first-pass", "grow"} {
		spec := benchtest.Spec{Profile: profile, Objects: []int{10_000, 1_000_000}, Threads: []int{1, 2}}
		benchtest.Run(b, spec, "index", "index-batch", "index-locked", "xsync4")
	}
}
