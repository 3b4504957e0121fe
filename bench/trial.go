package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/objhash/objhash/bench/target"
)

// BlockOps is the number of operations that a worker gets in one call.
const BlockOps = 256

// errStopped is the result of a trial that was interrupted.
var errStopped = errors.New("interrupted")

// Outcome is what one trial measured.
type Outcome struct {
	Elapsed time.Duration // of the timed phases, over all tables
	Bytes   int64         // of the first table
	Exact   bool          // Bytes is the target's own account
}

// Trial does the workload on as many fresh tables as told, one after the
// other, and verifies each of them. An error says what the target did wrong,
// unless ctx ended. A workload has one trial at a time.
func (w *Workload) Trial(ctx context.Context, spec target.Spec, tables int, seed uint64) (Outcome, error) {
	sum, err := w.once(ctx, spec, seed, true)
	for i := 1; i < tables && err == nil; i++ {
		var o Outcome
		o, err = w.once(ctx, spec, seed+uint64(i), false)
		sum.Elapsed += o.Elapsed
	}
	return sum, err
}

// once does the workload on one table, and finds its size if told to.
func (w *Workload) once(ctx context.Context, spec target.Spec, seed uint64, size bool) (o Outcome, err error) {
	for _, ph := range w.phases {
		for _, p := range ph.parts {
			clear(p.refs)
		}
	}
	before := liveHeap()
	t, err := spec.New(w.options(seed))
	if err != nil {
		return o, fmt.Errorf("new: %w", err)
	}
	defer func() {
		if e := t.Close(); e != nil && err == nil {
			err = fmt.Errorf("close: %w", e)
		}
	}()

	v := newVerifier(w)
	for i := range w.phases {
		ph := &w.phases[i]
		run, err := ph.run(ctx, t)
		if err != nil {
			return o, fmt.Errorf("phase %q: %w", ph.Name, err)
		}
		if ph.Timed {
			o.Elapsed += run.elapsed
		}
		v.counts = append(v.counts, run.count)
	}
	if size {
		o.Bytes, o.Exact = t.Bytes(), true
		if o.Bytes == target.BytesUnknown {
			o.Bytes, o.Exact = liveHeap()-before, false
		}
	}
	return o, v.verify(t)
}

// liveHeap is the size of the Go objects that are alive. The collection it
// needs is also the one that each trial begins with.
func liveHeap() int64 {
	runtime.GC()
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}

// phaseRun is what a phase came to.
type phaseRun struct {
	elapsed time.Duration
	count   int // firsts or found, by the target's own count
}

// run does a phase on all threads.
func (ph *phaseOps) run(ctx context.Context, t target.Target) (phaseRun, error) {
	var stop atomic.Bool
	defer context.AfterFunc(ctx, func() { stop.Store(true) })()

	threads := make([]thread, len(ph.parts))
	for i := range threads {
		w, err := t.Worker()
		if err != nil {
			return phaseRun{}, fmt.Errorf("worker: %w", err)
		}
		threads[i] = thread{worker: w, part: ph.parts[i], op: ph.Op}
	}
	line := newStartLine(len(threads))
	var wg sync.WaitGroup
	for i := range threads {
		wg.Go(func() { threads[i].run(line, &stop) })
	}
	wg.Wait()

	run := phaseRun{}
	var errs []error
	first, last := threads[0].start, threads[0].end
	for i := range threads {
		th := &threads[i]
		if th.start.Before(first) {
			first = th.start
		}
		if th.end.After(last) {
			last = th.end
		}
		run.count += th.count
		errs = append(errs, th.err)
	}
	run.elapsed = last.Sub(first)
	return run, errors.Join(errs...)
}

// thread is one worker's part of a phase.
type thread struct {
	worker target.Worker
	part   part
	op     Op

	start, end time.Time
	count      int
	err        error
}

func (th *thread) run(line *startLine, stop *atomic.Bool) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer func() {
		if p := recover(); p != nil {
			th.err = fmt.Errorf("panic: %v", p)
		}
	}()
	line.wait()
	th.start = time.Now()
	if th.op == Encounter {
		th.encounter(stop)
	} else {
		th.lookup(stop)
	}
	if err := th.worker.Close(); err != nil && th.err == nil {
		th.err = fmt.Errorf("closing the worker: %w", err)
	}
	th.end = time.Now()
}

func (th *thread) encounter(stop *atomic.Bool) {
	p := th.part
	for lo := 0; lo < len(p.ptrs); lo += BlockOps {
		if stop.Load() {
			th.err = errStopped
			return
		}
		hi := min(lo+BlockOps, len(p.ptrs))
		n, err := th.worker.Encounter(p.ptrs[lo:hi], p.kinds[lo:hi], p.refs[lo:hi])
		th.count += n
		if err != nil {
			th.err = err
			return
		}
	}
}

func (th *thread) lookup(stop *atomic.Bool) {
	p := th.part
	for lo := 0; lo < len(p.ptrs); lo += BlockOps {
		if stop.Load() {
			th.err = errStopped
			return
		}
		hi := min(lo+BlockOps, len(p.ptrs))
		n, err := th.worker.Lookup(p.ptrs[lo:hi], p.refs[lo:hi])
		th.count += n
		if err != nil {
			th.err = err
			return
		}
	}
}

// startLine lets all threads go at the same moment. While there is a processor
// for each they spin, for a thread that sleeps takes longer to wake than a
// short phase takes; otherwise they give way to those not yet there.
type startLine struct {
	missing atomic.Int64
	spin    bool
}

func newStartLine(threads int) *startLine {
	l := &startLine{spin: threads <= runtime.GOMAXPROCS(0)}
	l.missing.Store(int64(threads))
	return l
}

func (l *startLine) wait() {
	const patience = 1 << 20 // a missing thread may need this one's processor after all
	l.missing.Add(-1)
	for n := 0; l.missing.Load() > 0; n++ {
		if !l.spin || n > patience {
			runtime.Gosched()
		}
	}
}
