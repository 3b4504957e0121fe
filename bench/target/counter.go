package target

import "github.com/objhash/objhash/refcount"

var counter = Spec{
	Name:         "counter",
	Summary:      "a bare counter of users (package refcount), which counts by objref; one for each strategy",
	Counts:       true,
	WithStrategy: counterOf,
}

func counterOf(s refcount.Strategy) Spec {
	spec := Spec{
		Name:       "counter",
		Summary:    s.Traits().Summary,
		Counts:     true,
		NewCounter: s.New,
	}
	return spec.with(s)
}

// with names the strategy that a target counts with, and its limits.
func (s Spec) with(count refcount.Strategy) Spec {
	traits := count.Traits()
	s.Name += "/" + count.Name()
	s.Strategy = count.Name()
	s.Inexact = traits.Exact == refcount.Never
	if traits.OneThread {
		s.MaxThreads = 1
	}
	s.WithStrategy = nil
	return s
}

// Variants returns what is measured for a target: one for each of the strategies, or the
// target alone if it takes none. No strategies at all stand for its own, or for every
// one if it has none of its own.
func (s Spec) Variants(strategies []refcount.Strategy) []Spec {
	switch {
	case s.WithStrategy == nil:
		return []Spec{s}
	case len(strategies) > 0:
	case s.New != nil:
		return []Spec{s}
	default:
		strategies = refcount.All()
	}
	variants := make([]Spec, len(strategies))
	for i, count := range strategies {
		variants[i] = s.WithStrategy(count)
	}
	return variants
}
