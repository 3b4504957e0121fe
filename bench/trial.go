package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/puzpuzpuz/xsync/v4"

	"github.com/objhash/objhash/bench/machine"
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

	// Resident is by how much the first table made the memory of the process grow that
	// the system has given it; only of a trial of [FreshTrial].
	Resident int64
}

// Trial does the workload on as many fresh tables, or counters, as told, one after the
// other, and verifies each of them. An error says what the target did wrong,
// unless ctx ended. A workload has one trial at a time.
func (w *Workload) Trial(ctx context.Context, spec target.Spec, tables int, seed uint64) (Outcome, error) {
	return w.trial(ctx, spec, tables, seed, false)
}

// WarmUp is a trial that verifies, too, what takes long: that no death is told before the
// last decrement of its object has begun.
func (w *Workload) WarmUp(ctx context.Context, spec target.Spec, tables int, seed uint64) (Outcome, error) {
	return w.trial(ctx, spec, tables, seed, true)
}

func (w *Workload) trial(ctx context.Context, spec target.Spec, tables int, seed uint64, warmUp bool) (Outcome, error) {
	sum, err := w.once(ctx, spec, seed, trialOptions{size: true, warmUp: warmUp})
	for i := 1; i < tables && err == nil; i++ {
		var o Outcome
		o, err = w.once(ctx, spec, seed+uint64(i), trialOptions{warmUp: warmUp})
		sum.Elapsed += o.Elapsed
	}
	return sum, err
}

type trialOptions struct {
	size   bool // find the size of the table
	warmUp bool
}

// once does the workload on one table or counter.
func (w *Workload) once(ctx context.Context, spec target.Spec, seed uint64, t trialOptions) (Outcome, error) {
	switch {
	case w.image != nil:
		return w.restart(ctx, spec, seed, t.size)
	case w.users != nil:
		return w.count(ctx, spec, t.size, t.warmUp)
	default:
		return w.table(ctx, spec, seed, t.size)
	}
}

// table does the workload on one table, and finds its size if told to.
func (w *Workload) table(ctx context.Context, spec target.Spec, seed uint64, size bool) (o Outcome, err error) {
	for _, ph := range w.phases {
		for _, p := range ph.parts {
			clear(p.refs)
		}
	}
	drops := xsync.NewCounter() // threads that drop do not disturb each other
	options := w.options(seed)
	if w.Profile.has(Drop) {
		options.Drop = func(uint64) { drops.Inc() }
	}
	before := w.footprint()
	t, err := spec.New(options)
	if err != nil {
		return o, fmt.Errorf("new: %w", err)
	}
	closed := false
	defer func() {
		if closed {
			return
		}
		if e := t.Close(); e != nil && err == nil {
			err = fmt.Errorf("close: %w", e)
		}
	}()

	v := newVerifier(w)
	for i := range w.phases {
		ph := &w.phases[i]
		if ph.Op == Drop {
			break
		}
		run, err := w.phase(ctx, ph, t)
		if err != nil {
			return o, fmt.Errorf("phase %q: %w", ph.Name, err)
		}
		if ph.Timed {
			o.Elapsed += run.elapsed
		}
		v.counts = append(v.counts, run.count)
	}
	if size {
		w.measure(&o, t, before)
	}
	if spec.NoTable {
		return o, nil
	}
	if err := v.verify(t); err != nil || !w.Profile.has(Drop) {
		return o, err
	}
	closed = true
	drops.Reset() // of threads that met a new object at once, all but one have dropped theirs
	start := time.Now()
	w.phases[len(w.phases)-1].observeHere(ctx, func() { err = t.Close() })
	if err != nil {
		return o, fmt.Errorf("close: %w", err)
	}
	o.Elapsed += time.Since(start)
	if n := drops.Value(); n != int64(w.Distinct) {
		return o, fmt.Errorf("%d references were dropped, of %d", n, w.Distinct)
	}
	return o, nil
}

// footprint is what memory the process uses.
type footprint struct {
	heap     int64 // alive
	resident int64 // 0: it was not looked at
}

func (w *Workload) footprint() footprint {
	f := footprint{heap: liveHeap()}
	if w.resident {
		debug.FreeOSMemory()
		f.resident = machine.ResidentBytes()
	}
	return f
}

// measure finds the size of a table, before which the footprint was that.
func (w *Workload) measure(o *Outcome, t interface{ Bytes() int64 }, before footprint) {
	o.Bytes, o.Exact = t.Bytes(), true
	if o.Bytes == target.BytesUnknown || w.resident {
		now := w.footprint()
		o.Resident = now.resident - before.resident
		if o.Bytes == target.BytesUnknown {
			o.Bytes, o.Exact = now.heap-before.heap, false
		}
	}
}

// phase does one phase.
func (w *Workload) phase(ctx context.Context, ph *phaseOps, t target.Target) (phaseRun, error) {
	switch ph.Op {
	case Audit:
		return w.audit(ctx, ph, t.(target.Auditor))
	case Snapshot:
		return w.snapshot(ctx, ph, t.(target.Snapshotter))
	default:
		return ph.run(ctx, func(int) (worker, error) { return ph.worker(t) })
	}
}

func (w *Workload) audit(ctx context.Context, ph *phaseOps, t target.Auditor) (run phaseRun, err error) {
	found := 0
	ph.observeHere(ctx, func() {
		start := time.Now()
		found, err = t.Audit()
		run.elapsed = time.Since(start)
	})
	met := 0 // encounters of objects that leak
	for _, ph := range w.phases {
		for _, p := range ph.parts {
			for _, ptr := range p.ptrs {
				if ph.Op == Encounter && leaks(ptr) {
					met++
				}
			}
		}
	}
	want := met / w.encountered
	if err == nil && found != want {
		err = fmt.Errorf("the audit found %d leaks, of %d", found, want)
	}
	return run, err
}

func (w *Workload) snapshot(ctx context.Context, ph *phaseOps, t target.Snapshotter) (run phaseRun, err error) {
	const bytesPerObject = 32
	b := bytes.NewBuffer(make([]byte, 0, bytesPerObject*w.Distinct))
	n := 0
	ph.observeHere(ctx, func() {
		start := time.Now()
		if err = t.WriteSnapshot(b); err == nil {
			n, err = t.ReadSnapshot(b)
		}
		run.elapsed = time.Since(start)
	})
	if err == nil && n != w.Distinct {
		err = fmt.Errorf("%d objects were read from the snapshot, of %d", n, w.Distinct)
	}
	return run, err
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

// worker is a target's handle for one thread, for the operations of one phase.
type worker struct {
	do    func(block part) (count int, err error)
	close func() error
}

func (ph *phaseOps) worker(t target.Target) (worker, error) {
	w, err := t.Worker()
	if err != nil {
		return worker{}, err
	}
	do := func(p part) (int, error) { return w.Lookup(p.ptrs, p.refs) }
	if ph.Op == Encounter {
		do = func(p part) (int, error) { return w.Encounter(p.ptrs, p.kinds, p.refs) }
	}
	return worker{do: do, close: w.Close}, nil
}

// run does a phase on all threads, each with a worker that open opens for it.
func (ph *phaseOps) run(ctx context.Context, open func(thread int) (worker, error)) (phaseRun, error) {
	var stop atomic.Bool
	defer context.AfterFunc(ctx, func() { stop.Store(true) })()

	labels, end := ph.observe(ctx)
	defer end()
	threads := make([]thread, len(ph.parts))
	for i := range threads {
		w, err := open(i)
		if err != nil {
			return phaseRun{}, fmt.Errorf("worker: %w", err)
		}
		threads[i] = thread{worker: w, part: ph.parts[i], cpu: anyCPU, labels: labels}
		if ph.timing != nil {
			threads[i].timing, threads[i].calls = ph.timing, &ph.timing.calls[i]
		}
		if n := len(ph.cpus); n > 0 {
			threads[i].cpu = ph.cpus[i%n]
		}
	}
	line := newStartLine(len(threads))
	// More of them than processors are goroutines: the system takes longer to wake a thread
	// than a part of a short phase takes. What is pinned is a thread of the system.
	ofTheSystem := len(threads) <= runtime.GOMAXPROCS(0) || len(ph.cpus) > 0
	var wg sync.WaitGroup
	for i := range threads {
		wg.Go(func() {
			if ofTheSystem {
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
			}
			threads[i].run(line, &stop)
		})
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
	worker worker
	part   part

	cpu int // that it is pinned to, or anyCPU

	timing *timing // nil: calls are not timed one by one
	calls  *calls  // of this thread

	labels context.Context // for profilers; nil: none

	start, end time.Time
	count      int
	err        error
}

func (th *thread) run(line *startLine, stop *atomic.Bool) {
	defer func() {
		if p := recover(); p != nil {
			th.err = fmt.Errorf("panic: %v", p)
		}
	}()
	unpin, err := pinThread(th.cpu)
	line.wait()
	if err != nil {
		th.err = err
		return
	}
	defer unpin()
	if th.labels != nil {
		pprof.SetGoroutineLabels(th.labels)
	}
	th.start = time.Now()
	switch {
	case th.timing == nil:
		th.blocks(stop)
	case th.timing.rate > 0:
		th.openLoop(stop, line.spin)
	case th.timing.every > 1:
		th.sampledCalls(stop)
	default:
		th.allCalls(stop)
	}
	if err := th.worker.close(); err != nil && th.err == nil {
		th.err = fmt.Errorf("closing the worker: %w", err)
	}
	th.end = time.Now()
}

func (th *thread) blocks(stop *atomic.Bool) {
	th.rest(0, len(th.part.refs), stop)
}

// rest does the operations from lo to hi in blocks, and says whether to go on.
func (th *thread) rest(lo, hi int, stop *atomic.Bool) bool {
	for ; lo < hi; lo += BlockOps {
		if !th.call(lo, min(lo+BlockOps, hi), stop) {
			return false
		}
	}
	return true
}

// call does the operations from lo to hi in one call, and says whether to go on.
func (th *thread) call(lo, hi int, stop *atomic.Bool) bool {
	if stop.Load() {
		th.err = errStopped
		return false
	}
	n, err := th.worker.do(th.part.block(lo, hi))
	th.count += n
	th.err = err
	return err == nil
}

func (p part) block(lo, hi int) part {
	b := part{refs: p.refs[lo:hi]}
	if p.ptrs != nil {
		b.ptrs = p.ptrs[lo:hi]
	}
	if p.kinds != nil {
		b.kinds = p.kinds[lo:hi]
	}
	return b
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
