package bench

import (
	"context"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/objhash/objhash/bench/target"
)

// Latency says how long the calls of the timed phases took, in a trial in which each of
// them was timed. From one reading of the clock to the next is one call, so its time has
// one reading in it and all that happened between, recording the call before included.
// Figures have three digits; a call of more than 10 s counts as one of 10 s.
type Latency struct {
	OpsPerCall int   `json:"ops_per_call"` // the last call of a thread may have fewer
	Calls      int64 `json:"calls"`

	P50   int64 `json:"p50_ns"`
	P90   int64 `json:"p90_ns"`
	P99   int64 `json:"p99_ns"`
	P999  int64 `json:"p99_9_ns"`
	P9999 int64 `json:"p99_99_ns"`
	Max   int64 `json:"max_ns"`

	// Elapsed is what all of it took. What the machine does to a thread comes with time.
	Elapsed int64 `json:"elapsed_ns"`

	histogram *hdrhistogram.Histogram
}

// Histogram is that of all threads, in nanoseconds; nil for what was read from a document.
func (l *Latency) Histogram() *hdrhistogram.Histogram { return l.histogram }

// Control is what calls that do nothing took in a cell, as many on as many threads: what
// the machine itself adds.
type Control struct {
	Profile string  `json:"profile"`
	Objects int     `json:"objects"`
	Threads int     `json:"threads"`
	Latency Latency `json:"latency"`
}

// LatencyThreadsMax is how many threads can have their calls timed. It bounds the memory
// of the histograms, 200 KiB each, at 50 MiB.
const LatencyThreadsMax = 256

// The range of the histograms in nanoseconds, and their precision.
const (
	latencyMax    = 10 * time.Second
	latencyDigits = 3
)

// histogram is that of one thread. It is a copy of one that nobody else has, so that the
// padding can keep other threads off its total, which every call writes.
type histogram struct {
	hdrhistogram.Histogram
	_ [64]byte
}

func newHistograms(threads int) []histogram {
	all := make([]histogram, threads)
	for i := range all {
		all[i].Histogram = *hdrhistogram.New(1, latencyMax.Nanoseconds(), latencyDigits)
		all[i].Reset() // so that no call waits for a page of it
	}
	return all
}

func (h *histogram) record(d time.Duration) {
	// It cannot fail: the value is in the range.
	_ = h.RecordValue(min(d, latencyMax).Nanoseconds())
}

// latency merges the histograms.
func latency(all []histogram, ops int, elapsed time.Duration) Latency {
	h := hdrhistogram.New(1, latencyMax.Nanoseconds(), latencyDigits) // which stays, while the others go
	for i := range all {
		h.Merge(&all[i].Histogram)
	}
	q := h.ValueAtPercentilesSlice([]float64{50, 90, 99, 99.9, 99.99})
	return Latency{
		OpsPerCall: ops, Calls: h.TotalCount(),
		P50: q[0], P90: q[1], P99: q[2], P999: q[3], P9999: q[4], Max: h.Max(),
		Elapsed: elapsed.Nanoseconds(), histogram: h,
	}
}

// hasCalls says whether the phase is timed and consists of calls that threads do.
func (ph *phaseOps) hasCalls() bool {
	return ph.Timed && slices.ContainsFunc(ph.parts, func(p part) bool { return len(p.refs) > 0 })
}

// callOps is how many operations a call has: a block for a target that takes it as a whole,
// what one task does where a task is more than an operation; otherwise one. 0: no phase
// consists of calls.
func (w *Workload) callOps(spec target.Spec) int {
	i := slices.IndexFunc(w.phases, func(ph phaseOps) bool { return ph.hasCalls() })
	switch {
	case i < 0:
		return 0
	case spec.Batch:
		return BlockOps
	case w.phases[i].Draw == Handles:
		return w.phases[i].PerTask
	default:
		return 1
	}
}

// Latency is a trial on one table that times every call. Its result is zero if the workload
// has no calls to time. It is verified as any other.
func (w *Workload) Latency(ctx context.Context, spec target.Spec, seed uint64) (Latency, error) {
	return w.timeCalls(w.callOps(spec), func() (time.Duration, error) {
		o, err := w.once(ctx, spec, seed, trialOptions{})
		return o.Elapsed, err
	})
}

// Nothing does the calls of the timed phases, of so many operations each, without doing
// anything in them.
func (w *Workload) Nothing(ctx context.Context, ops int) (Latency, error) {
	idle := worker{do: func(part) (int, error) { return 0, nil }, close: func() error { return nil }}
	return w.timeCalls(ops, func() (sum time.Duration, err error) {
		runtime.GC() // as before every trial
		for i := range w.phases {
			ph := &w.phases[i]
			if !ph.hasCalls() {
				continue
			}
			run, err := ph.run(ctx, func(int) (worker, error) { return idle, nil })
			if err != nil {
				return 0, err
			}
			sum += run.elapsed
		}
		return sum, nil
	})
}

// timeCalls has every call of the timed phases timed that happens in f.
func (w *Workload) timeCalls(ops int, f func() (time.Duration, error)) (Latency, error) {
	if ops == 0 {
		return Latency{}, nil
	}
	all := newHistograms(w.Threads)
	set := func(ops int, all []histogram) {
		for i := range w.phases {
			if ph := &w.phases[i]; ph.hasCalls() {
				ph.callOps, ph.histograms = ops, all
			}
		}
	}
	set(ops, all)
	defer set(0, nil)
	elapsed, err := f()
	if err != nil {
		return Latency{}, err
	}
	return latency(all, ops, elapsed), nil
}

// timedCalls is blocks with calls of callOps operations, each of which it times.
func (th *thread) timedCalls(stop *atomic.Bool) {
	ops, last := th.callOps, time.Since(th.start)
	for lo := 0; lo < len(th.part.refs); lo += ops {
		if stop.Load() {
			th.err = errStopped
			return
		}
		n, err := th.worker.do(th.part.block(lo, min(lo+ops, len(th.part.refs))))
		now := time.Since(th.start)
		th.histogram.record(now - last)
		last = now
		th.count += n
		if err != nil {
			th.err = err
			return
		}
	}
}

// clockCost is what one reading of the clock takes, in nanoseconds: the least of several
// averages, for the rest is what interrupted them.
func clockCost() float64 {
	const batches, readings = 50, 1000
	start := time.Now()
	least := time.Duration(1<<63 - 1)
	for range batches {
		first := time.Since(start)
		last := first
		for range readings {
			last = time.Since(start)
		}
		least = min(least, last-first)
	}
	return float64(least.Nanoseconds()) / readings
}

// latencies gives each target of a cell a trial that times every call, and then measures
// calls that do nothing.
func (r *runner) latencies(ctx context.Context, c cell, w *Workload, entrants []entrant, seed uint64) error {
	r.at.Latency = true
	var sizes []int // of calls
	for i := range entrants {
		e := &entrants[i]
		ops := w.callOps(e.spec)
		if ops == 0 {
			return nil
		}
		if e.result.Latency != nil { // from before an interruption
			sizes = append(sizes, ops)
			continue
		}
		r.at.Target = e.spec.Name
		r.tell()
		l, err := w.Latency(ctx, e.spec, seed)
		switch {
		case ctx.Err() != nil:
			return errStopped
		case err != nil:
			e.result.fail(err)
		default:
			e.result.Latency = &l
			sizes = append(sizes, ops)
		}
		if err := r.save(); err != nil {
			return err
		}
	}
	slices.Sort(sizes)
	for _, ops := range slices.Compact(sizes) {
		if r.hasControl(c, ops) {
			continue
		}
		r.at.Target = controlName
		r.tell()
		l, err := w.Nothing(ctx, ops)
		if err != nil {
			return err
		}
		r.report.Controls = append(r.report.Controls, Control{c.profile.Name, c.objects, c.threads, l})
	}
	return r.save()
}
