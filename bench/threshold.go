package bench

import (
	"fmt"
	"io"
	"slices"
	"strconv"
)

// The directions of a ThresholdResult.
const (
	BoundMin = "min"
	BoundMax = "max"
)

// ThresholdResult is a limit of a threshold beside the figure of a result. Figures are
// compared as they are reported; for times that is the median.
type ThresholdResult struct {
	Profile string   `json:"profile"`
	Target  string   `json:"target"`
	Objects int      `json:"objects"`
	Threads int      `json:"threads"`
	What    Figure   `json:"what"`
	Against string   `json:"against,omitempty"` // the other target of TimesFaster
	Bound   string   `json:"bound"`             // BoundMin or BoundMax
	Limit   float64  `json:"limit"`
	Value   *float64 `json:"value"` // nil: there is none, so it is not known whether it was crossed
	Crossed bool     `json:"crossed"`
}

// figures are all figures of a result, and how to find them; nil: it has none.
var figures = []struct {
	what Figure
	unit string // in the Go benchmark format
	of   func(*Result) *float64
}{
	{NsPerOp, unitNs, func(res *Result) *float64 {
		if res.NsPerOp == nil {
			return nil
		}
		return &res.NsPerOp.Median
	}},
	{BytesPerObject, unitBytes, func(res *Result) *float64 { return res.BytesPerObject }},
	{RSSBytesPerObject, unitResident, func(res *Result) *float64 { return res.RSSBytesPerObject }},
	{P50Ns, "p50-ns", ofCalls(func(l *Latency) int64 { return l.P50 })},
	{P90Ns, "p90-ns", ofCalls(func(l *Latency) int64 { return l.P90 })},
	{P99Ns, "p99-ns", ofCalls(func(l *Latency) int64 { return l.P99 })},
	{P999Ns, "p99.9-ns", ofCalls(func(l *Latency) int64 { return l.P999 })},
	{P9999Ns, "p99.99-ns", ofCalls(func(l *Latency) int64 { return l.P9999 })},
	{MaxNs, "max-ns", ofCalls(func(l *Latency) int64 { return l.Max })},
}

const (
	unitNs       = "ns/op"
	unitBytes    = "bytes/object"
	unitResident = "resident-bytes/object"
)

// ofCalls finds a figure of the latencies.
func ofCalls(of func(*Latency) int64) func(*Result) *float64 {
	return func(res *Result) *float64 {
		if res.Latency == nil || res.Latency.Calls == 0 {
			return nil
		}
		v := float64(of(res.Latency))
		return &v
	}
}

// checkThresholds compares the results of the profiles with what these ask for.
func (r *Report) checkThresholds(profiles []Profile) {
	r.Thresholds = nil
	for _, p := range profiles {
		for _, t := range p.Thresholds {
			for _, res := range r.Results {
				if res.Profile == p.Name && t.concerns(res) {
					r.Thresholds = append(r.Thresholds, t.check(r, res)...)
				}
			}
		}
	}
}

func (t *Threshold) concerns(res *Result) bool {
	return t.Target == res.Target && (t.Objects == 0 || t.Objects == res.Objects) && (t.Threads == 0 || t.Threads == res.Threads)
}

// value is the figure of a result, nil if it has none.
func (t *Threshold) value(r *Report, res *Result) *float64 {
	if t.What == TimesFaster {
		return r.ratio(res, t.Against)
	}
	for _, f := range figures {
		if f.what == t.What {
			return f.of(res)
		}
	}
	return nil
}

// ratio is that of the medians; nil: one of them is missing.
func (r *Report) ratio(res *Result, against string) *float64 {
	i := slices.IndexFunc(r.Results, func(o *Result) bool { return o.sameCell(res) && o.Target == against && o.NsPerOp != nil })
	if i < 0 || res.NsPerOp == nil {
		return nil
	}
	ratio := r.Results[i].NsPerOp.Median / res.NsPerOp.Median
	return &ratio
}

func (t *Threshold) check(r *Report, res *Result) (checked []ThresholdResult) {
	value := t.value(r, res)
	for _, limit := range []struct {
		bound   string
		at      *float64
		crosses func(v, at float64) bool
	}{
		{BoundMin, t.Min, func(v, at float64) bool { return v < at }},
		{BoundMax, t.Max, func(v, at float64) bool { return v > at }},
	} {
		if limit.at == nil {
			continue
		}
		checked = append(checked, ThresholdResult{
			Profile: res.Profile, Target: res.Target, Objects: res.Objects, Threads: res.Threads,
			What: t.What, Against: t.Against, Bound: limit.bound, Limit: *limit.at, Value: value,
			Crossed: value != nil && limit.crosses(*value, *limit.at),
		})
	}
	return checked
}

// Crossed returns the thresholds that were crossed.
func (r *Report) Crossed() []ThresholdResult {
	return slices.DeleteFunc(slices.Clone(r.Thresholds), func(t ThresholdResult) bool { return !t.Crossed })
}

func (t ThresholdResult) String() string {
	where := fmt.Sprintf("%s, %s, %s: %s", t.Profile, plural(t.Objects, "object"), plural(t.Threads, "thread"), t.Target)
	what := string(t.What)
	if t.Against != "" {
		what += " than " + t.Against
	}
	limit := fmt.Sprintf("%s at %s %s", what, map[string]string{BoundMin: "least", BoundMax: "most"}[t.Bound], figureText(t.Limit))
	switch {
	case t.Value == nil:
		return fmt.Sprintf("%s: %s: not measured", where, limit)
	case t.Crossed:
		return fmt.Sprintf("%s: %s: CROSSED by %s", where, limit, figureText(*t.Value))
	default:
		return fmt.Sprintf("%s: %s: kept with %s", where, limit, figureText(*t.Value))
	}
}

func figureText(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }

// WriteThresholds writes a line for each threshold, if there are any.
func (r *Report) WriteThresholds(w io.Writer) error {
	p := printer{w: w}
	if len(r.Thresholds) > 0 {
		p.printf("\nthresholds\n")
	}
	for _, t := range r.Thresholds {
		p.printf("  %s\n", t)
	}
	return p.err
}
