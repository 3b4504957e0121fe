package bench

import (
	"slices"

	"github.com/aclements/go-moremath/stats"
)

// Pair compares a target with the one that its cell is compared with. Both have had a trial
// in each round, so what disturbed a round, if it lasted, is in both and leaves their ratio
// as it was.
type Pair struct {
	Profile string `json:"profile"`
	Objects int    `json:"objects"`
	Threads int    `json:"threads"`
	Target  string `json:"target"`
	Against string `json:"against"`

	// TimesFaster is the median of the ratios of the rounds, above 1 where the target takes
	// less time, and its interval as for [Result.Interval].
	TimesFaster Interval `json:"times_faster"`

	// P is how likely as many rounds would have gone to one of the two by chance, had
	// neither an advantage: a two-sided sign test. The interval excludes 1 if it is below
	// 0.05.
	P float64 `json:"p"`
}

// pair compares the targets of a cell with its reference, as far as they were measured.
func (r *runner) pair(c *comparison) {
	head := &Result{Profile: c.profile.Name, Objects: c.objects, Threads: c.threads}
	cell := slices.DeleteFunc(slices.Clone(r.report.Results), func(res *Result) bool { return !res.sameCell(head) })
	r.report.Pairs = slices.DeleteFunc(r.report.Pairs, func(p Pair) bool {
		return p.Profile == head.Profile && p.Objects == head.Objects && p.Threads == head.Threads
	})
	reference, _ := r.report.reference(cell)
	if reference == nil {
		return
	}
	for _, res := range cell {
		if res != reference && res.NsPerOp != nil {
			r.report.Pairs = append(r.report.Pairs, newPair(res, reference))
		}
	}
}

func newPair(res, reference *Result) Pair {
	ratios := make([]float64, min(len(res.SamplesNs), len(reference.SamplesNs)))
	for i := range ratios {
		ratios[i] = reference.SamplesNs[i] / res.SamplesNs[i]
	}
	p := Pair{
		Profile: res.Profile, Objects: res.Objects, Threads: res.Threads, Target: res.Target, Against: reference.Target,
		P: signTest(ratios),
	}
	p.TimesFaster, _ = summarize(ratios)
	return p
}

// signTest is the two-sided P of ratios that lie around 1 by chance.
func signTest(ratios []float64) float64 {
	above, below := 0, 0
	for _, x := range ratios {
		switch {
		case x > 1:
			above++
		case x < 1:
			below++
		}
	}
	d := stats.BinomialDist{N: above + below, P: 0.5}
	return min(1, 2*d.CDF(float64(min(above, below))))
}

// pairOf returns how a target compares with the reference; nil: it was not compared.
func (r *Report) pairOf(res, reference *Result) *Pair {
	for i := range r.Pairs {
		p := &r.Pairs[i]
		if p.Profile == res.Profile && p.Objects == res.Objects && p.Threads == res.Threads &&
			p.Target == res.Target && p.Against == reference.Target {
			return p
		}
	}
	return nil
}
