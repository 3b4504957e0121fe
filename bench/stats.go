package bench

import (
	"slices"

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
