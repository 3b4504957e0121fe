// Package benchtest runs the workloads of package bench as benchmarks of the
// testing package.
package benchtest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/target"
	"github.com/objhash/objhash/bench/trace"
)

// Run runs a canonical profile as benchmarks of the testing package: one
// sub-benchmark per target, number of threads and number of objects, named
// target=index/profile=lookup-hit/objects=1000000/threads=1. Packages use it
// in their tests so that `go test -bench` and crbench do the same operations.
//
// One iteration is one trial on one table; ns/op is wall time divided by all
// timed operations, as crbench reports it, so it does not depend on how much
// of an iteration is preparation. The table is verified in every iteration.
// Results are benchstat's to read: run with -count=10.
func Run(b *testing.B, spec Spec, targets ...string) {
	b.Helper()
	chosen, err := bench.ChooseTargets(targets)
	if err != nil {
		b.Fatal(err)
	}
	profiles, err := bench.ChooseProfiles([]string{spec.Profile})
	if err != nil {
		b.Fatal(err)
	}
	for _, objects := range spec.Objects {
		for _, threads := range spec.Threads {
			// Made when the first benchmark that is not filtered out asks for it.
			workload := sync.OnceValues(func() (*bench.Workload, error) {
				return bench.NewWorkload(profiles[0], bench.Size{Objects: objects, Threads: threads, Seed: seed, Trace: spec.Trace})
			})
			for _, t := range chosen {
				if t.MaxThreads > 0 && threads > t.MaxThreads {
					continue
				}
				name := fmt.Sprintf("target=%s/profile=%s/objects=%d/threads=%d", t.Name, spec.Profile, objects, threads)
				b.Run(name, func(b *testing.B) {
					w, err := workload()
					if err != nil {
						b.Fatal(err)
					}
					run(b, w, t)
				})
			}
		}
	}
}

// Spec says what Run measures.
type Spec struct {
	Profile string
	Objects []int // ignored by profiles that replay a trace: give one number, for the name
	Threads []int
	Trace   *trace.Trace // for profiles that replay one
}

const seed = 1

func run(b *testing.B, w *bench.Workload, spec target.Spec) {
	var elapsed time.Duration
	var bytes int64
	trials := 0
	for b.Loop() {
		o, err := w.Trial(b.Context(), spec, 1, seed+uint64(trials))
		if err != nil {
			b.Fatal(err)
		}
		elapsed += o.Elapsed
		bytes = o.Bytes
		trials++
	}
	b.ReportMetric(float64(elapsed.Nanoseconds())/float64(trials)/float64(w.Ops()), "ns/op")
	b.ReportMetric(float64(bytes)/float64(w.Distinct), "B/object")
}
