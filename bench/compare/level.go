package compare

import (
	"math"
	"slices"

	"github.com/objhash/objhash/bench"
)

// pair is a result in both runs.
type pair struct{ a, b *bench.Result }

func (p *pair) sameCell(o *pair) bool {
	return p.a.Profile == o.a.Profile && p.a.Objects == o.a.Objects && p.a.Threads == o.a.Threads
}

// relative returns the times of a pair, each divided by the level of its round: how long
// the other targets of the cell took in that round, beside what they usually take. What
// slows all of them alike, as a busy machine does, is in both and goes. ok is false where
// there are no others.
func relative(p *pair, peers []*pair) (a, b []float64, ok bool) {
	if len(peers) == 0 {
		return nil, nil, false
	}
	usual := make([]float64, len(peers)) // the same for both runs, so that it does not set them apart
	for i, peer := range peers {
		usual[i] = median(slices.Concat(peer.a.SamplesNs, peer.b.SamplesNs))
	}
	divide := func(samples []float64, of func(*pair) []float64) (divided []float64) {
		for round, ns := range samples {
			var levels []float64
			for i, peer := range peers {
				if s := of(peer); round < len(s) {
					levels = append(levels, math.Log(s[round]/usual[i]))
				}
			}
			if len(levels) > 0 {
				divided = append(divided, ns/math.Exp(median(levels)))
			}
		}
		return divided
	}
	a = divide(p.a.SamplesNs, func(peer *pair) []float64 { return peer.a.SamplesNs })
	b = divide(p.b.SamplesNs, func(peer *pair) []float64 { return peer.b.SamplesNs })
	return a, b, len(a) > 0 && len(b) > 0
}

// median is that of values, of which there must be one.
func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
