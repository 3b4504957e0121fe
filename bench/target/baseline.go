package target

import "github.com/objhash/objhash/bench/baseline"

var baseline2008 = Spec{
	Name:       "baseline",
	Summary:    "the table of the 2008 patch: 1024 chained buckets, its own hash, no locks",
	MaxThreads: 1,
	FixedSize:  true,
	New: func(o Options) (Target, error) {
		return newBaseline(baseline.Config{Hash: baseline.Hash2008}, o)
	},
	NewRestart: func(o Options, image *Image) (Restart, error) {
		return newBaselineRestart(baseline.Config{Hash: baseline.Hash2008}, o, image)
	},
	Drops:  true,
	Audits: true,
}

// baselineSized gets the hash constant that replaced the seed's, too: at its
// best a chained table has neither too few buckets nor a hash that fills some
// of them only.
var baselineSized = Spec{
	Name:       "baseline-sized",
	Summary:    "the table of 2008 with as many buckets as objects and the hash constant of 2016",
	MaxThreads: 1,
	New: func(o Options) (Target, error) {
		return newBaseline(sized(o), o)
	},
	NewRestart: func(o Options, image *Image) (Restart, error) {
		return newBaselineRestart(sized(o), o, image)
	},
	Drops:  true,
	Audits: true,
}

func sized(o Options) baseline.Config {
	return baseline.Config{Hash: baseline.Hash2016, Bits: baseline.BitsFor(o.Objects)}
}

// baselineTarget is its own worker: there is only one.
type baselineTarget struct {
	t     *baseline.Table
	users func(uint64) int64
}

// Audit makes the target an Auditor, as ckpt_obj_contained did from 2009 on, but to
// the end of the table.
func (t *baselineTarget) Audit() (found int, err error) {
	for o := range t.t.All() {
		if o.Users != t.users(o.Ptr) {
			found++
		}
	}
	return found, nil
}

func newBaseline(c baseline.Config, o Options) (Target, error) {
	c.Kinds = baselineKinds(o)
	t, err := baseline.New(c)
	if err != nil {
		return nil, err
	}
	return &baselineTarget{t: t, users: o.Users}, nil
}

func baselineKinds(o Options) (kinds []baseline.Kind) {
	for _, name := range o.Kinds {
		kinds = append(kinds, baseline.Kind{Name: name, Drop: o.Drop})
	}
	return kinds
}

func (t *baselineTarget) Worker() (Worker, error)         { return baselineWorker{t.t}, nil }
func (t *baselineTarget) Lookup(ptr uint64) (int32, bool) { return t.t.Lookup(ptr) }
func (t *baselineTarget) Len() int                        { return t.t.Len() }
func (t *baselineTarget) Bytes() int64                    { return t.t.Bytes() }

func (t *baselineTarget) Close() error {
	t.t.Close()
	return nil
}

type baselineWorker struct{ t *baseline.Table }

func (w baselineWorker) Encounter(ptrs []uint64, kinds []uint16, refs []int32) (first int, err error) {
	for i, p := range ptrs {
		ref, added, err := w.t.LookupAdd(p, kinds[i])
		if err != nil {
			return first, err
		}
		if added {
			first++
		}
		refs[i] = ref
	}
	return first, nil
}

func (w baselineWorker) Lookup(ptrs []uint64, refs []int32) (found int, err error) {
	for i, p := range ptrs {
		ref, ok := w.t.Lookup(p)
		if ok {
			found++
		}
		refs[i] = ref
	}
	return found, nil
}

func (w baselineWorker) Close() error { return nil }
