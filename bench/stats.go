package bench

import (
	"cmp"
	"math"
	"slices"

	"github.com/aclements/go-moremath/stats"
	"golang.org/x/perf/benchmath"
)

// Interval is a median and what it lies between.
type Interval struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// The ways in which an interval may be meant.
const (
	Interval95     = "95%"     // of the median, whatever the distribution
	IntervalMinMax = "min-max" // there were fewer samples than 95 % takes
)

const (
	confidence    = 0.95
	samplesFor95  = 6
	DefaultTrials = 10
)

// summarize returns the median of samples, which must not be empty, its
// interval, and how that is meant.
func summarize(samples []float64) (Interval, string) {
	sample := benchmath.NewSample(slices.Clone(samples), &benchmath.DefaultThresholds)
	s := benchmath.AssumeNothing.Summary(sample, confidence)
	if len(samples) < samplesFor95 {
		return Interval{s.Center, slices.Min(samples), slices.Max(samples)}, IntervalMinMax
	}
	return Interval{s.Center, s.Lo, s.Hi}, Interval95
}

// outliers returns the indices of the samples that lie outside of Tukey's fences: by more
// than 1.5 times the distance of the quartiles beyond one of them.
func outliers(samples []float64) (indices []int) {
	if len(samples) < samplesFor95 {
		return nil
	}
	const fence = 1.5
	s := stats.Sample{Xs: samples}
	low, high := s.Quantile(0.25), s.Quantile(0.75)
	reach := fence * (high - low)
	for i, x := range samples {
		if x < low-reach || x > high+reach {
			indices = append(indices, i)
		}
	}
	return indices
}

// drifts says whether samples rise or fall from first to last: Kendall's test, at a level
// of 1 %.
func drifts(samples []float64) bool {
	const z99 = 2.576
	n := len(samples)
	if n < samplesFor95 {
		return false
	}
	s := 0
	for i, x := range samples {
		for _, later := range samples[i+1:] {
			s += cmp.Compare(later, x)
		}
	}
	// Without ties, this is the variance of s, which is about normal from ten samples on
	// and never rejects by chance below that.
	variance := float64(n*(n-1)*(2*n+5)) / 18
	return math.Abs(float64(s))-1 > z99*math.Sqrt(variance)
}
