package bench

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/objhash/objhash/bench/keys"
	"github.com/objhash/objhash/bench/target"
)

// newRestart makes the workload of a restart. The refs of a part are what it asks
// for, its ptrs what the target answers.
func newRestart(p Profile, s Size) (*Workload, error) {
	all, err := keys.Generate(p.Keys, s.Seed, s.Objects)
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrProfile, p.Name, err)
	}
	image := &target.Image{Ptrs: all, Kinds: make([]uint16, len(all))}
	kinds := newKindsOf(p, len(all))
	for i := range image.Kinds {
		image.Kinds[i] = kinds.of(i)
	}
	w := &Workload{Profile: p, Objects: len(all), Distinct: len(all), Threads: s.Threads, Kinds: p.Kinds, image: image}
	for i, ph := range p.Phases {
		rng := rand.New(rand.NewPCG(s.Seed, uint64(i)+1))
		if ph.Needs {
			image.Needs = needs(len(all), rng)
		}
		parts, err := drawRefs(ph, len(all), s.Threads, rng)
		if err != nil {
			return nil, fmt.Errorf("%w %q, phase %q: %w", ErrProfile, p.Name, ph.Name, err)
		}
		w.phases = append(w.phases, phaseOps{Phase: ph, parts: parts})
	}
	return w, nil
}

// needs lets each object need two of lower objrefs, so that nothing needs itself.
func needs(n int, rng *rand.Rand) [][2]int32 {
	all := make([][2]int32, n)
	for i := 1; i < n; i++ {
		all[i] = [2]int32{1 + rng.Int32N(int32(i)), 1 + rng.Int32N(int32(i))}
	}
	return all
}

func drawRefs(ph Phase, objects, threads int, rng *rand.Rand) ([]part, error) {
	if ph.Op != Restore && ph.Op != Fetch {
		return nil, fmt.Errorf("operation %q is not one of a restart", ph.Op)
	}
	var parts []part
	switch ph.Draw {
	case InOrder:
		order := make([]int32, objects)
		for i := range order {
			order[i] = int32(i) + 1
		}
		parts = make([]part, threads)
		for block := 0; block*BlockOps < objects; block++ {
			t := &parts[block%threads]
			t.refs = append(t.refs, order[block*BlockOps:min((block+1)*BlockOps, objects)]...)
		}
	case Each:
		parts = cutRefs(refPasses(objects, ph.count(objects)/objects, rng), threads, 1)
	case Uniform, Zipf, Hot:
		refs, err := sharedRefs(ph, ph.Draw, objects, rng)
		if err != nil {
			return nil, err
		}
		parts = cutRefs(refs, threads, 1)
	default:
		return nil, fmt.Errorf("draw %q is not one of a restart", ph.Draw)
	}
	for t := range parts {
		parts[t].ptrs = make([]uint64, len(parts[t].refs))
	}
	return parts, nil
}

// restart does the workload on one restart context.
func (w *Workload) restart(ctx context.Context, spec target.Spec, seed uint64, size bool) (o Outcome, err error) {
	for _, ph := range w.phases {
		for _, p := range ph.parts {
			clear(p.ptrs)
		}
	}
	before := w.footprint()
	t, err := spec.NewRestart(w.options(seed), w.image)
	if err != nil {
		return o, fmt.Errorf("new: %w", err)
	}
	defer func() {
		if e := t.Close(); e != nil && err == nil {
			err = fmt.Errorf("close: %w", e)
		}
	}()
	created := 0
	for i := range w.phases {
		ph := &w.phases[i]
		run, err := ph.run(ctx, func(int) (worker, error) { return ph.restartWorker(t) })
		if err != nil {
			return o, fmt.Errorf("phase %q: %w", ph.Name, err)
		}
		if ph.Timed {
			o.Elapsed += run.elapsed
		}
		if ph.Op == Restore {
			created += run.count
		}
	}
	if size {
		w.measure(&o, t, before)
	}
	if created != w.Distinct {
		return o, fmt.Errorf("%d objects were created, of %d", created, w.Distinct)
	}
	if n := t.Len(); n != w.Distinct {
		return o, fmt.Errorf("the context counts %d objects, of %d", n, w.Distinct)
	}
	return o, w.answers()
}

// answers checks that each objref got the address at which its object was created.
func (w *Workload) answers() error {
	for _, ph := range w.phases {
		for _, p := range ph.parts {
			for i, ref := range p.refs {
				if got, want := p.ptrs[i], w.image.Ptrs[ref-1]; got != want {
					return fmt.Errorf("phase %q: objref %d is at %#x; want %#x", ph.Name, ref, got, want)
				}
			}
		}
	}
	return nil
}

func (ph *phaseOps) restartWorker(t target.Restart) (worker, error) {
	w, err := t.Worker()
	if err != nil {
		return worker{}, err
	}
	do := func(p part) (int, error) { return w.Fetch(p.refs, p.ptrs) }
	if ph.Op == Restore {
		do = func(p part) (int, error) { return w.Restore(p.refs, p.ptrs) }
	}
	return worker{do: do, close: w.Close}, nil
}
