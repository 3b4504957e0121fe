package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/objhash/objhash/bench/target"
	"github.com/objhash/objhash/internal/region"
	"github.com/objhash/objhash/refcount"
)

// newCounting makes the workload of a profile that counts by objref. The refs of a part
// are what it counts.
func newCounting(p Profile, s Size) (*Workload, error) {
	m := countingMaker{s: s, users: make([]int32, s.Objects)}
	w := &Workload{Profile: p, Objects: s.Objects, Distinct: s.Objects, Threads: s.Threads, Kinds: p.Kinds}
	for i, ph := range p.Phases {
		rng := rand.New(rand.NewPCG(s.Seed, uint64(i)+1))
		ops, err := m.phase(ph, rng)
		if err != nil {
			return nil, fmt.Errorf("%w %q, phase %q: %w", ErrProfile, p.Name, ph.Name, err)
		}
		w.phases = append(w.phases, ops)
	}
	if m.open {
		return nil, fmt.Errorf("%w %q: handles stay open", ErrProfile, p.Name)
	}
	w.users = m.users
	return w, nil
}

// countingMaker holds what the phases share while their workload is made.
type countingMaker struct {
	s     Size
	users []int32 // by objref - 1: what is counted so far
	last  []part  // of the last phase that counted
	open  bool    // there are handles
}

func (m *countingMaker) phase(ph Phase, rng *rand.Rand) (phaseOps, error) {
	ops, err := phaseOps{Phase: ph}, error(nil)
	switch ph.Op {
	case Count, Uncount:
		ops.parts, err = m.draw(ph, rng)
		if err == nil {
			err = m.count(ph.Op, ops.parts)
		}
		m.last, m.open = ops.parts, true
	case Flush:
		ops.users = slices.Clone(m.users)
		if ph.Timed {
			err = errors.New("a flush is not timed")
		}
	case Close:
		ops.parts = make([]part, m.s.Threads)
		m.open = false
	case Verdict:
		ops.whole = m.s.Objects
		ops.users = slices.Clone(m.users)
		m.open = false
	case Barrier:
		if m.open {
			err = errors.New("handles are open")
		}
	default:
		err = fmt.Errorf("operation %q is not one of counting", ph.Op)
	}
	return ops, err
}

func (m *countingMaker) count(op Op, parts []part) error {
	by := int32(1)
	if op == Uncount {
		by = -1
	}
	for _, p := range parts {
		for _, ref := range p.refs {
			m.users[ref-1] += by
		}
	}
	if slices.Min(m.users) < 0 {
		return errors.New("uncounts what was not counted")
	}
	return nil
}

func (m *countingMaker) draw(ph Phase, rng *rand.Rand) ([]part, error) {
	objects, threads := m.s.Objects, m.s.Threads
	switch ph.Draw {
	case Each:
		return cutRefs(refPasses(objects, ph.count(objects)/objects, rng), threads, 1), nil
	case Own:
		parts := make([]part, threads)
		for t := range parts {
			lo, hi := objects*t/threads, objects*(t+1)/threads
			refs := refPasses(hi-lo, ph.count(objects)/objects, rng)
			for i := range refs {
				refs[i] += int32(lo)
			}
			parts[t].refs = refs
		}
		return parts, nil
	case Uniform, Zipf, Hot:
		refs, err := sharedRefs(ph, ph.Draw, objects, rng)
		return cutRefs(refs, threads, 1), err
	case Handles:
		if ph.PerTask < 1 || BlockOps%ph.PerTask != 0 {
			return nil, fmt.Errorf("%d operations per task; want a divisor of %d", ph.PerTask, BlockOps)
		}
		refs, err := sharedRefs(ph, ph.Spread, objects, rng)
		return cutRefs(refs, threads, ph.PerTask), err
	case Again:
		parts := make([]part, len(m.last))
		for t := range parts {
			refs := slices.Clone(m.last[t].refs)
			rng.Shuffle(len(refs), func(i, j int) { refs[i], refs[j] = refs[j], refs[i] })
			parts[t].refs = refs
		}
		return parts, nil
	default:
		return nil, fmt.Errorf("draw %q is not one of counting", ph.Draw)
	}
}

// refPasses takes every objref once per pass, each pass in a random order of its own.
func refPasses(objects, passes int, rng *rand.Rand) []int32 {
	order := make([]int32, objects)
	for i := range order {
		order[i] = int32(i) + 1
	}
	drawn := make([]int32, 0, objects*passes)
	for range passes {
		rng.Shuffle(objects, func(i, j int) { order[i], order[j] = order[j], order[i] })
		drawn = append(drawn, order...)
	}
	return drawn
}

// sharedRefs draws objrefs by the distribution that a phase names.
func sharedRefs(ph Phase, by Draw, objects int, rng *rand.Rand) ([]int32, error) {
	byRank := refPasses(objects, 1, rng)
	next, err := ph.sharing(by, objects, rng)
	if err != nil {
		return nil, err
	}
	refs := make([]int32, ph.count(objects))
	for i := range refs {
		refs[i] = byRank[next()]
	}
	return refs, nil
}

// cutRefs gives each thread a run of consecutive operations, in whole units.
func cutRefs(drawn []int32, threads, unit int) []part {
	units := len(drawn) / unit
	parts := make([]part, threads)
	for t := range parts {
		parts[t].refs = drawn[units*t/threads*unit : units*(t+1)/threads*unit]
	}
	return parts
}

// counting is a trial of a counter.
type counting struct {
	w       *Workload
	counter refcount.Counter
	inexact bool
	open    []openHandles // by thread
	deaths  *deaths       // nil: none are told
}

// openHandles are those of one thread. The padding keeps other threads off its cache
// line, which every new handle writes.
type openHandles struct {
	all []refcount.Handle
	_   [104]byte
}

func (o *openHandles) close() {
	for _, h := range o.all {
		h.Close()
	}
	o.all = nil
}

// count does the workload on one counter. Watching its deaths slows it down.
func (w *Workload) count(ctx context.Context, spec target.Spec, size, watch bool) (o Outcome, err error) {
	before := w.footprint()
	arena := region.NewArena(nil)
	defer arena.Close()
	config := refcount.Config{Arena: arena}
	t := &counting{w: w, inexact: spec.Inexact, open: make([]openHandles, w.Threads)}
	if w.Profile.has(Uncount) {
		t.deaths = &deaths{told: make([]atomic.Int32, w.Objects+1)}
		config.Zero = t.deaths.tell
		if watch {
			t.deaths.pending = make([]atomic.Int32, w.Objects+1)
			config.Zero = t.deaths.tellWatched
		}
	}
	if t.counter, err = spec.NewCounter(config); err != nil {
		return o, fmt.Errorf("new: %w", err)
	}
	if err := t.counter.Grow(1, int32(w.Objects)); err != nil {
		return o, fmt.Errorf("making room: %w", err)
	}
	for i := range w.phases {
		ph := &w.phases[i]
		if size && (ph.Op == Close || ph.Op == Verdict) {
			w.measure(&o, t.counter, before)
			size = false
		}
		elapsed, err := t.phase(ctx, ph)
		if err != nil {
			return o, fmt.Errorf("phase %q: %w", ph.Name, err)
		}
		if ph.Timed {
			o.Elapsed += elapsed
		}
	}
	t.counter.Barrier()
	if err := t.verify(w.users); err != nil || t.deaths == nil {
		return o, err
	}
	return o, t.deaths.verify(w.users)
}

func (t *counting) phase(ctx context.Context, ph *phaseOps) (elapsed time.Duration, err error) {
	switch ph.Op {
	case Flush:
		for i := range t.open {
			for _, h := range t.open[i].all {
				h.Flush()
			}
		}
		return 0, t.verify(ph.users)
	case Barrier:
		ph.observeHere(ctx, func() {
			start := time.Now()
			t.counter.Barrier()
			elapsed = time.Since(start)
		})
		return elapsed, nil
	case Verdict:
		wrong := 0
		ph.observeHere(ctx, func() {
			start := time.Now()
			for i := range t.open {
				t.open[i].close()
			}
			t.counter.Barrier()
			wrong = t.differing(ph.users)
			elapsed = time.Since(start)
		})
		if wrong > 0 {
			err = fmt.Errorf("%s counted wrong at the first reading", plural(wrong, "object"))
		}
		return elapsed, err
	case Uncount:
		if n := t.deaths.sum(); n > 0 {
			return 0, fmt.Errorf("%s told of objects that have users", plural(n, "death"))
		}
		t.deaths.expect(ph.parts)
	}
	run, err := ph.run(ctx, func(thread int) (worker, error) { return t.worker(ph, thread), nil })
	return run.elapsed, err
}

// differing returns how many counts are not as they should be.
func (t *counting) differing(want []int32) (wrong int) {
	for i, users := range want {
		if t.counter.Count(int32(i)+1) != int64(users) {
			wrong++
		}
	}
	return wrong
}

func (t *counting) worker(ph *phaseOps, thread int) worker {
	open := &t.open[thread]
	nothing := func() error { return nil }
	switch {
	case ph.Op == Close:
		return worker{close: func() error {
			open.close()
			return nil
		}}
	case ph.Draw == Handles:
		// Room for them is the harness's, and no part of the time.
		open.all = make([]refcount.Handle, 0, len(ph.parts[thread].refs)/ph.PerTask)
		do := func(p part) (int, error) {
			for refs := range slices.Chunk(p.refs, ph.PerTask) {
				h := t.counter.Handle()
				open.all = append(open.all, h)
				incAll(h, refs)
			}
			return 0, nil
		}
		return worker{do: do, close: nothing}
	}
	if open.all == nil {
		open.all = []refcount.Handle{t.counter.Handle()}
	}
	h := open.all[0]
	do := func(p part) (int, error) {
		incAll(h, p.refs)
		return 0, nil
	}
	if ph.Op == Uncount {
		do = func(p part) (int, error) {
			decAll(h, p.refs)
			return 0, nil
		}
		if t.deaths.pending != nil {
			do = func(p part) (int, error) {
				t.deaths.decAll(h, p.refs)
				return 0, nil
			}
		}
	}
	return worker{do: do, close: nothing}
}

func incAll(h refcount.Handle, refs []int32) {
	for _, ref := range refs {
		h.Inc(ref)
	}
}

func decAll(h refcount.Handle, refs []int32) {
	for _, ref := range refs {
		h.Dec(ref)
	}
}

// verify checks the counts of all objects. All handles must be flushed or closed.
func (t *counting) verify(users []int32) error {
	for i, want := range users {
		ref := int32(i) + 1
		got := t.counter.Count(ref)
		if t.inexact && got > 0 && want > 0 {
			continue
		}
		if got != int64(want) {
			return fmt.Errorf("objref %d has %d users; want %d", ref, got, want)
		}
	}
	ref := int32(len(users)) + 1
	if got := t.counter.Count(ref); got != 0 {
		return fmt.Errorf("objref %d has %d users, and was never counted", ref, got)
	}
	return nil
}

// deaths are told by all threads.
type deaths struct {
	told    []atomic.Int32 // by objref
	strange atomic.Int32   // an objref that is none of the workload's; 0: there was none

	// pending are the decrements that have not begun, by objref; nil: they are not
	// watched. early is an objref whose death was told while it had some; 0: there was
	// none.
	pending []atomic.Int32
	early   atomic.Int32
}

func (d *deaths) tell(ref int32) {
	if ref < 1 || int(ref) >= len(d.told) {
		d.strange.Store(ref)
		return
	}
	d.told[ref].Add(1)
}

func (d *deaths) tellWatched(ref int32) {
	if ref > 0 && int(ref) < len(d.pending) && d.pending[ref].Load() > 0 {
		d.early.Store(ref)
	}
	d.tell(ref)
}

// expect notes the decrements that are about to come, if they are watched.
func (d *deaths) expect(parts []part) {
	if d.pending == nil {
		return
	}
	for _, p := range parts {
		for _, ref := range p.refs {
			d.pending[ref].Add(1)
		}
	}
}

// decAll is the loop of the same name for decrements that are watched.
func (d *deaths) decAll(h refcount.Handle, refs []int32) {
	for _, ref := range refs {
		d.pending[ref].Add(-1)
		h.Dec(ref)
	}
}

func (d *deaths) sum() (n int) {
	for i := range d.told {
		n += int(d.told[i].Load())
	}
	return n
}

// verify checks that what died, and nothing else, was told once, and not too early.
func (d *deaths) verify(users []int32) error {
	if ref := d.strange.Load(); ref != 0 {
		return fmt.Errorf("the death of objref %d was told, which was never counted", ref)
	}
	if ref := d.early.Load(); ref != 0 {
		return fmt.Errorf("the death of objref %d was told while it had users", ref)
	}
	for i, n := range users {
		want := int32(0)
		if n == 0 {
			want = 1
		}
		if told := d.told[i+1].Load(); told != want {
			return fmt.Errorf("the death of objref %d, with %d users, was told %s", i+1, n, plural(int(told), "time"))
		}
	}
	return nil
}
