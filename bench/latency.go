package bench

import (
	"cmp"
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/objhash/objhash/bench/target"
)

// Latency says how long calls of the timed phases took, in a trial in which they were timed.
// Where all are, from one reading of the clock to the next is one call, so its time has
// one reading in it and all that happened between, recording the call before included. A
// call that is one of a sample has its own two readings.
// Figures have three digits; a call of more than 10 s counts as one of 10 s.
type Latency struct {
	OpsPerCall int   `json:"ops_per_call"` // the last call of a thread may have fewer
	Calls      int64 `json:"calls"`        // that were timed

	// SampledEvery is how many calls there were for one that was timed, on average.
	SampledEvery int `json:"sampled_every,omitempty"`

	// RatePerS is how many operations per second were to begin, and ServedPerS how many
	// ended; 0: each thread began a call when the one before had ended. Corrected says
	// that times are from when a call was to begin, so that they have the waiting for
	// calls before.
	RatePerS   float64 `json:"rate_per_s,omitempty"`
	ServedPerS float64 `json:"served_per_s,omitempty"`
	Corrected  bool    `json:"corrected,omitempty"`

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

// DefaultLatencyEvery is of how many single operations one is timed: often enough for
// percentiles, seldom enough that the clock, which takes longer than a fast operation,
// does not slow the thread down.
const DefaultLatencyEvery = 64

// Sampling says which calls are timed: on average one of Every; 0 and 1: all. With a rate,
// all are, and RatePerS operations per second begin.
type Sampling struct {
	Every    int
	RatePerS float64
	Seed     uint64 // of the choice of calls, and of the times at which they begin
}

// timing is how calls of a phase are timed.
type timing struct {
	ops   int     // of a call
	every int     // 1: all are timed
	rate  float64 // of calls of a thread, per second; 0: as many as it can
	calls []calls // by thread
}

// calls are those of one thread. The histogram is a copy of one that nobody else has, so
// that the padding can keep other threads off its total, which every call writes.
type calls struct {
	hdrhistogram.Histogram
	rng    *rand.Rand
	served time.Duration // from the start of a phase to the end of its last timed call, over all phases
	_      [64]byte
}

func newCalls(threads int, seed uint64) []calls {
	all := make([]calls, threads)
	for i := range all {
		all[i].Histogram = *newHistogram()
		all[i].Reset() // so that no call waits for a page of it
		all[i].rng = rand.New(rand.NewPCG(seed, uint64(i)))
	}
	return all
}

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, latencyMax.Nanoseconds(), latencyDigits)
}

func (c *calls) record(d time.Duration) {
	// It cannot fail: the value is in the range.
	_ = c.RecordValue(min(d, latencyMax).Nanoseconds())
}

// latency merges what the threads recorded.
func (t *timing) latency(elapsed time.Duration) Latency {
	h, served := newHistogram(), time.Duration(0)
	for i := range t.calls {
		h.Merge(&t.calls[i].Histogram)
		served = max(served, t.calls[i].served)
	}
	q := h.ValueAtPercentilesSlice([]float64{50, 90, 99, 99.9, 99.99})
	l := Latency{
		OpsPerCall: t.ops, Calls: h.TotalCount(), SampledEvery: t.every,
		P50: q[0], P90: q[1], P99: q[2], P999: q[3], P9999: q[4], Max: h.Max(),
		Elapsed: elapsed.Nanoseconds(), histogram: h,
	}
	if t.rate > 0 {
		l.Corrected = true
		l.RatePerS = t.rate * float64(t.ops*len(t.calls))
		if served > 0 {
			l.ServedPerS = float64(l.Calls) * float64(t.ops) / served.Seconds()
		}
	}
	return l
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

// Latency is a trial on one table that times calls. Its result is zero if the workload
// has no calls to time. It is verified as any other.
func (w *Workload) Latency(ctx context.Context, spec target.Spec, seed uint64, s Sampling) (Latency, error) {
	return w.timeCalls(w.callOps(spec), s, func() (time.Duration, error) {
		o, err := w.once(ctx, spec, seed, trialOptions{})
		return o.Elapsed, err
	})
}

// Nothing does the calls of the timed phases, of so many operations each, without doing
// anything in them.
func (w *Workload) Nothing(ctx context.Context, ops int, s Sampling) (Latency, error) {
	idle := worker{do: func(part) (int, error) { return 0, nil }, close: func() error { return nil }}
	return w.timeCalls(ops, s, func() (sum time.Duration, err error) {
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

// timeCalls has calls of the timed phases timed that happen in f.
func (w *Workload) timeCalls(ops int, s Sampling, f func() (time.Duration, error)) (Latency, error) {
	if ops == 0 {
		return Latency{}, nil
	}
	t := &timing{ops: ops, every: max(s.Every, 1), rate: s.RatePerS / float64(ops*w.Threads), calls: newCalls(w.Threads, s.Seed)}
	if ops > 1 || t.rate > 0 {
		t.every = 1 // a reading costs little beside such a call, or has to be
	}
	set := func(t *timing) {
		for i := range w.phases {
			if ph := &w.phases[i]; ph.hasCalls() {
				ph.timing = t
			}
		}
	}
	set(t)
	defer set(nil)
	elapsed, err := f()
	if err != nil {
		return Latency{}, err
	}
	return t.latency(elapsed), nil
}

// allCalls is blocks with calls that are timed.
func (th *thread) allCalls(stop *atomic.Bool) {
	n, ops, last := len(th.part.refs), th.timing.ops, time.Since(th.start)
	for lo := 0; lo < n; lo += ops {
		ok := th.call(lo, min(lo+ops, n), stop)
		now := time.Since(th.start)
		th.calls.record(now - last)
		last = now
		if !ok {
			return
		}
	}
}

// sampledCalls is blocks with some calls of one operation between, which are timed. The
// distance from one to the next is random, for whatever a table does in a rhythm of its
// own.
func (th *thread) sampledCalls(stop *atomic.Bool) {
	n, lo := len(th.part.refs), 0
	for lo < n {
		next := min(n, lo+th.calls.rng.IntN(2*th.timing.every-1))
		if !th.rest(lo, next, stop) || next == n {
			return
		}
		start := time.Since(th.start)
		ok := th.call(next, next+1, stop)
		th.calls.record(time.Since(th.start) - start)
		if !ok {
			return
		}
		lo = next + 1
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

// timesCalls says whether there are trials of the profile that time calls.
func (c *Config) timesCalls(p *Profile) bool { return c.Latency || p.RatePerS > 0 }

// latencies gives each target of a cell a trial that times calls, and then measures calls
// that do nothing.
func (r *runner) latencies(ctx context.Context, c *comparison) error {
	r.at.Latency = true
	seed := c.rng.Uint64()
	sampling := Sampling{Every: r.c.LatencyEvery, RatePerS: cmp.Or(r.c.RatePerS, c.profile.RatePerS), Seed: seed}
	var sizes []int // of calls
	for i := range c.entrants {
		e := &c.entrants[i]
		ops := c.workload.callOps(e.spec)
		if ops == 0 {
			return nil
		}
		if e.result.Latency != nil { // from before an interruption
			sizes = append(sizes, ops)
			continue
		}
		r.at.Target = e.spec.Name
		r.tell()
		l, err := c.workload.Latency(ctx, e.spec, seed, sampling)
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
		if r.hasControl(c.cell, ops) {
			continue
		}
		r.at.Target = controlName
		r.tell()
		l, err := c.workload.Nothing(ctx, ops, sampling)
		if err != nil {
			return err
		}
		r.report.Controls = append(r.report.Controls, Control{c.profile.Name, c.objects, c.threads, l})
	}
	return r.save()
}
