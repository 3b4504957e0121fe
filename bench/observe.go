package bench

import (
	"context"
	"runtime"
	"runtime/pprof"

	"github.com/objhash/objhash/bench/attribution"
)

// observation is what a profiler wants of a trial. It travels in the context of the trial,
// so that one without has nothing to do for it.
type observation struct {
	contention bool // record all waiting in timed phases, rather than label their threads
}

type observationKey struct{}

// observed returns the context of a trial that is observed, with labels that say of what
// it is.
func observed(ctx context.Context, o observation, labels pprof.LabelSet) context.Context {
	return context.WithValue(pprof.WithLabels(ctx, labels), observationKey{}, o)
}

// observe is called where a phase begins. If it is timed and observed, its threads shall
// take the labels of the context that it returns, which otherwise is nil. The function is
// to be called where the phase ends.
func (ph *Phase) observe(ctx context.Context) (labels context.Context, end func()) {
	o, ok := ctx.Value(observationKey{}).(observation)
	switch {
	case !ok || !ph.Timed:
		return nil, func() {}
	case !o.contention:
		return pprof.WithLabels(ctx, pprof.Labels(attribution.PhaseLabel, ph.Name)), func() {}
	}
	const everyEvent = 1
	before := runtime.SetMutexProfileFraction(everyEvent)
	runtime.SetBlockProfileRate(everyEvent)
	return nil, func() {
		runtime.SetBlockProfileRate(0)
		runtime.SetMutexProfileFraction(before)
	}
}

// observeHere does f, the phase itself, on this goroutine.
func (ph *Phase) observeHere(ctx context.Context, f func()) {
	labels, end := ph.observe(ctx)
	defer end()
	if labels != nil {
		pprof.SetGoroutineLabels(labels)
		defer pprof.SetGoroutineLabels(ctx)
	}
	f()
}
