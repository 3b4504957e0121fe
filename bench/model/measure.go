package model

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/objhash/objhash/refcount"
)

// work is a profile cut for a number of threads.
type work struct {
	profile *Profile
	parts   [][]int32 // what each thread counts
	rounds  []int     // how many times
	last    int32     // objref
	ops     int
}

func newWork(p *Profile, threads int) *work {
	w := &work{profile: p, last: firstRef + int32(p.objects(threads)) - 1}
	for i := range threads {
		part, rounds := p.part(i, threads)
		w.parts, w.rounds = append(w.parts, part), append(w.rounds, rounds)
		w.ops += len(part) * rounds
	}
	return w
}

// part returns the operations of a thread, and how many times it does them.
func (p *Profile) part(thread, threads int) (refs []int32, rounds int) {
	cut := func(n int) (from, to int) { return thread * n / threads, (thread + 1) * n / threads }
	switch {
	case p.Private > 0:
		refs = make([]int32, p.Private)
		for i := range refs {
			refs[i] = firstRef + int32(thread*p.Private+i)
		}
	case p.HandleOps > 0:
		from, to := cut(len(p.draws) / p.HandleOps)
		return p.draws[from*p.HandleOps : to*p.HandleOps], 1
	case len(p.draws) == p.Ops:
		from, to := cut(p.Ops)
		return p.draws[from:to], 1
	default:
		refs = p.draws
	}
	from, to := cut(p.Ops / len(refs))
	return refs, to - from
}

// thread does the operations of one thread.
func (w *work) thread(c refcount.Counter, i int) {
	refs := w.parts[i]
	if n := w.profile.HandleOps; n > 0 {
		for task := range slices.Chunk(refs, n) {
			doTask(c, task)
		}
		return
	}
	h := c.Handle()
	for range w.rounds[i] {
		incAll(h, refs)
	}
	h.Close()
}

func doTask(c refcount.Counter, refs []int32) {
	h := c.Handle()
	incAll(h, refs)
	h.Close()
}

func incAll(h refcount.Handle, refs []int32) {
	for _, ref := range refs {
		h.Inc(ref)
	}
}

// newCounter returns a counter with room for objrefs up to last. It collects garbage, so
// that what others left is not collected while something is timed.
func newCounter(s refcount.Strategy, last int32) (refcount.Counter, error) {
	runtime.GC()
	c, err := s.New(refcount.Config{})
	if err == nil {
		err = c.Grow(1, last)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Name(), err)
	}
	return c, nil
}

// trial does the work once, from the start of the threads to the last count read, and
// returns ns/op.
func (w *work) trial(s refcount.Strategy) (float64, error) {
	if w.profile.HandleOps > 0 {
		if err := w.touch(s); err != nil {
			return 0, err
		}
	}
	c, err := newCounter(s, w.last)
	if err != nil {
		return 0, err
	}
	elapsed := together(len(w.parts), func(i int) { w.thread(c, i) })
	start := time.Now()
	sum := readAll(c, w.last)
	elapsed += time.Since(start)
	if s.Traits().Exact != refcount.Never && sum != int64(w.ops) {
		return 0, fmt.Errorf("%s, profile %s, %d threads: the counts add up to %d, want %d operations",
			s.Name(), w.profile.Name, len(w.parts), sum, w.ops)
	}
	return nsPer(elapsed, w.ops), nil
}

// touch opens as many handles as the work does, for their memory to be there. The system
// gives memory when it is first touched, and takes back what is not used: that costs some
// handles many times what they cost otherwise, now and then.
func (w *work) touch(s refcount.Strategy) error {
	c, err := newCounter(s, w.last)
	if err != nil {
		return err
	}
	for i := range w.parts {
		w.thread(c, i)
	}
	return nil
}

func readAll(c refcount.Counter, last int32) (sum int64) {
	c.Barrier()
	for ref := int32(firstRef); ref <= last; ref++ {
		sum += c.Count(ref)
	}
	return sum
}

// Costs of a strategy, as they are sampled. A task is a whole handle of few operations.
const (
	costOp = iota
	costOutgrown
	costHandle
	costMerge
	costTask
	costMergeTask
	costRead
	costReadHandle
	costHot2 // two threads, one hot object
	numCosts
)

// gauge measures the costs of strategies.
type gauge struct {
	private, outgrown, tasks *work // one thread
	hot2                     *work // two threads; nil with one processor

	handles int // opened and closed
	objects int // counted by a handle that closes
	readers int // handles whose counts are read
}

// costs measures each cost once.
func (g *gauge) costs(s refcount.Strategy, fit bool) (ns [numCosts]float64, err error) {
	for _, measure := range []func(refcount.Strategy, *[numCosts]float64) error{g.ops, g.outgrow, g.task, g.merge} {
		if err := measure(s, &ns); err != nil {
			return ns, err
		}
	}
	if fit && g.hot2 != nil {
		ns[costHot2], err = g.hot2.trial(s)
	}
	return ns, err
}

// pieces are as long as what a strategy does once in a while, and short enough for most to
// be spared by whatever else the processor has to do: other programs, garbage collection.
const pieces = 64

// medianOf times f pieces times, and returns the median of ns for each of the n things that
// one f does.
func medianOf(n int, f func()) float64 {
	var w window
	for range pieces {
		start := time.Now()
		f()
		w.samples = append(w.samples, nsPer(time.Since(start), n))
	}
	return w.median()
}

// ops measures c, and h.
func (g *gauge) ops(s refcount.Strategy, ns *[numCosts]float64) error {
	c, err := newCounter(s, g.private.last)
	if err != nil {
		return err
	}
	h := c.Handle()
	refs, rounds := g.private.parts[0], g.private.rounds[0]
	for range 1 + rounds/8 {
		incAll(h, refs) // to get everything into the cache
	}
	times := 1 + rounds/pieces
	ns[costOp] = medianOf(times*len(refs), func() {
		for range times {
			incAll(h, refs)
		}
	})
	h.Close()

	n := 1 + g.handles/pieces
	ns[costHandle] = medianOf(n, func() {
		for range n {
			c.Handle().Close()
		}
	})
	return nil
}

// outgrow measures c'.
func (g *gauge) outgrow(s refcount.Strategy, ns *[numCosts]float64) error {
	c, err := newCounter(s, g.outgrown.last)
	if err != nil {
		return err
	}
	h := c.Handle()
	start := time.Now()
	incAll(h, g.outgrown.parts[0])
	ns[costOutgrown] = nsPer(time.Since(start), g.outgrown.ops)
	h.Close()
	return nil
}

// task measures a handle of few operations, of which m' is a part.
func (g *gauge) task(s refcount.Strategy, ns *[numCosts]float64) error {
	if err := g.tasks.touch(s); err != nil {
		return err
	}
	c, err := newCounter(s, g.tasks.last)
	if err != nil {
		return err
	}
	ops := g.tasks.profile.HandleOps
	refs := g.tasks.parts[0]
	// All together, with the garbage that they leave: who opens many handles pays for that.
	start := time.Now()
	for task := range slices.Chunk(refs, ops) {
		doTask(c, task)
	}
	ns[costTask] = nsPer(time.Since(start), len(refs)/ops)
	ns[costMergeTask] = mergeTask(ns, ops)
	return nil
}

// merge measures m, r and r'.
func (g *gauge) merge(s refcount.Strategy, ns *[numCosts]float64) error {
	last := int32(firstRef + g.objects - 1)
	c, err := newCounter(s, last)
	if err != nil {
		return err
	}
	// In random order, so that one handle's objects are nobody's neighbours.
	refs := make([]int32, g.objects)
	for i, at := range rand.New(rand.NewPCG(1, 1)).Perm(g.objects) {
		refs[i] = firstRef + int32(at)
	}
	readTime := func() float64 {
		start := time.Now()
		readAll(c, last)
		return nsPer(time.Since(start), g.objects)
	}
	// All at once, so that none takes over what another has left.
	open := func(n int) (closing time.Duration) {
		handles := make([]refcount.Handle, n)
		for i := range handles {
			handles[i] = c.Handle()
			incAll(handles[i], refs)
		}
		start := time.Now()
		for _, h := range handles {
			h.Close()
		}
		return time.Since(start)
	}
	closing := open(1)
	ns[costRead] = readTime()
	closing += open(g.readers)
	ns[costMerge] = nsPer(closing, (1+g.readers)*g.objects)
	ns[costReadHandle] = (readTime() - ns[costRead]) / float64(g.readers-1)
	return nil
}

// mergeTask is m'. It is below 0 where an operation of a short handle is cheaper than one of
// a long handle, as one is that only notes what the close adds up.
func mergeTask(ns *[numCosts]float64, ops int) float64 {
	return (ns[costTask]-ns[costHandle])/float64(ops) - ns[costOp]
}

// costsOf puts medians together. What noise makes less than nothing is nothing.
func costsOf(ns [numCosts]float64) Costs {
	return Costs{
		Op: ns[costOp], OpOutgrown: ns[costOutgrown], Handle: ns[costHandle], Merge: ns[costMerge],
		MergeTask:  ns[costMergeTask],
		Read:       ns[costRead],
		ReadHandle: max(0, ns[costReadHandle]),
	}
}
