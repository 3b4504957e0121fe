package compare

import (
	"math"
	"slices"

	"github.com/aclements/go-moremath/stats"

	"github.com/objhash/objhash/bench"
)

const (
	// blocksMax is of how many blocks a run consists: enough to see how it varies, and few
	// enough that a block lasts longer than most of what the machine does.
	blocksMax = 5

	// blocksMin is how many show anything of how a run varies.
	blocksMin = 4

	// runSpread is by what part two runs of one program differ (standard deviation) beyond
	// what blocks of one run do, as by where its memory lies.
	runSpread = 0.005

	// aloneSpread is the same for the times themselves, where nothing tells the target from
	// the machine.
	aloneSpread = 0.15

	// found is in what share of comparisons a difference of Row.Sees would be found.
	found = 0.95
)

// pair is a result in both runs.
type pair struct{ a, b *bench.Result }

func (p *pair) sameCell(o *pair) bool {
	return p.a.Profile == o.a.Profile && p.a.Objects == o.a.Objects && p.a.Threads == o.a.Threads
}

// blocks splits the first so many rounds of a run into blocks that follow each other, and
// returns the logarithm of the shortest time of each. What disturbs a trial makes it
// longer, never shorter, so the shortest varies least.
func blocks(samples []float64, rounds int) []float64 {
	n := min(blocksMax, rounds)
	fastest := make([]float64, n)
	for i := range fastest {
		fastest[i] = math.Log(slices.Min(samples[i*rounds/n : (i+1)*rounds/n]))
	}
	return fastest
}

// blocksOf are the blocks of a target in both runs, and those less the level of the same
// block: how long the other targets of the cell took in it, beside what they usually take.
// What slows all of them alike, as a busy machine does, is in both and goes. Without others,
// there is no level.
func blocksOf(p *pair, peers []*pair) (a, b, levelA, levelB []float64) {
	of := func(samples func(*pair) []float64) (own []float64, others [][]float64) {
		rounds := len(samples(p))
		for _, peer := range peers {
			rounds = min(rounds, len(samples(peer)))
		}
		for _, peer := range peers {
			others = append(others, blocks(samples(peer), rounds))
		}
		return blocks(samples(p), rounds), others
	}
	a, othersA := of(func(p *pair) []float64 { return p.a.SamplesNs })
	b, othersB := of(func(p *pair) []float64 { return p.b.SamplesNs })
	if len(peers) == 0 {
		return a, b, a, b
	}
	usual := make([]float64, len(peers)) // the same for both runs, so that it does not set them apart
	for i := range peers {
		usual[i] = median(slices.Concat(othersA[i], othersB[i]))
	}
	less := func(own []float64, others [][]float64) []float64 {
		rest := make([]float64, len(own))
		for block := range own {
			levels := make([]float64, len(peers))
			for i := range peers {
				levels[i] = others[i][block] - usual[i]
			}
			rest[block] = own[block] - median(levels)
		}
		return rest
	}
	return a, b, less(a, othersA), less(b, othersB)
}

// difference is how far the means of the blocks of two runs are apart.
type difference struct {
	mean, err float64 // err is its standard error
	degrees   float64 // of freedom
}

// differ compares blocks as Welch's test does, with what runs differ by beyond them.
func differ(a, b []float64, spread float64) difference {
	va, vb := stats.Variance(a)/float64(len(a)), stats.Variance(b)/float64(len(b))
	v := va + vb + 2*spread*spread
	d := difference{mean: stats.Mean(b) - stats.Mean(a), err: math.Sqrt(v)}
	d.degrees = v * v / (va*va/float64(len(a)-1) + vb*vb/float64(len(b)-1))
	return d
}

const degreesMax = 1e6 // that tell from a normal distribution

func (d difference) t() stats.TDist { return stats.TDist{V: min(d.degrees, degreesMax)} }

// p is how likely chance alone would do as much; 1 where there is no variation.
func (d difference) p() float64 {
	if d.err == 0 || math.IsNaN(d.degrees) && d.mean == 0 {
		return 1
	}
	return 2 * d.t().CDF(-math.Abs(d.mean)/d.err)
}

// sees is the smallest part by which times have to grow for a test at that level to find it.
func (d difference) sees(alpha float64) float64 {
	quantile := stats.InvCDF(d.t())
	return math.Expm1((quantile(1-alpha/2) + quantile(found)) * d.err)
}

// median is that of values, of which there must be one.
func median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
