package htmlreport

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/rundir"
)

// nines are the percentiles that are marked on the axis of latencies: each has a tenth of the
// calls beyond it that the one before has.
var nines = []float64{0, 90, 99, 99.9, 99.99, 99.999, 99.9999}

// beyond is the place of a percentile on that axis.
func beyond(percentile float64) float64 { return -math.Log10(1 - percentile/100) }

// latencyChart has the latencies of each target of a cell by percentile, and those of calls
// that do nothing; nil: no call was timed.
func (b *builder) latencyChart(run *Run, cell []*bench.Result) *chart {
	head := cell[0]
	c := b.chart("Latency: "+run.cellWords(head), head.Profile+": time of a call by percentile, less is better"+timedHow(cell))
	c.Table = table{Caption: head.Profile + ", " + run.cellWords(head) + ": latency",
		Header: []string{"target", "ops/call", "p50", "p90", "p99", "p99.9", "p99.99", "max", "calls timed"}}
	var all []series
	last := 0.0
	add := func(name string, st style, l *bench.Latency, points []point) {
		if l.Calls < 1 {
			return
		}
		full := points != nil
		if !full {
			points = percentiles(l)
		}
		last = max(last, points[len(points)-1].x)
		all = append(all, series{name: name, style: st, points: points, bare: full})
		c.Table.Rows = append(c.Table.Rows, latencyRow(name, l))
	}
	for _, res := range slices.SortedStableFunc(slices.Values(cell), byTime) {
		if res.Latency != nil {
			add(ofCalls(res.Target, res.Latency), b.names.of(res.Target), res.Latency, run.distribution(res))
		}
	}
	for i := range run.report.Controls {
		if k := &run.report.Controls[i]; k.Profile == head.Profile && k.Objects == head.Objects && k.Threads == head.Threads {
			name := ofCalls(controlName, &k.Latency)
			add(name, b.names.of(name), &k.Latency, nil)
		}
	}
	x := axis{title: "percentile of the calls", least: new(float64)}
	for _, p := range nines {
		if at := beyond(p); at <= last {
			x.ticks = append(x.ticks, tick{at, strconv.FormatFloat(p, 'f', -1, 64)})
		}
	}
	x.ticks = append(x.ticks, tick{at: last})
	if !c.lines(x, axis{title: "time of a call", log: true, label: shortTime}, all) {
		return nil
	}
	return c
}

// timedHow says which calls of a cell were timed, and from when on.
func timedHow(cell []*bench.Result) string {
	var how, blocks string
	for _, res := range cell {
		l := res.Latency
		if l != nil && l.OpsPerCall > 1 {
			blocks = "; ×n: calls of n operations"
		}
		switch {
		case l == nil:
		case l.Corrected:
			how = "; from when a call was to begin, waiting for calls before it included"
		case l.SampledEvery > 1 && how == "":
			how = "; a sample of the calls"
		}
	}
	return how + blocks
}

// ofCalls names a series, and how many operations its calls have if that is not one.
func ofCalls(name string, l *bench.Latency) string {
	if l.OpsPerCall > 1 {
		name += fmt.Sprintf(" ×%d", l.OpsPerCall)
	}
	return name
}

// controlName is what people see of calls that do nothing.
const controlName = "control"

// percentiles are the points that every document has. The largest value is drawn where one
// call is.
func percentiles(l *bench.Latency) (points []point) {
	most := math.Log10(float64(l.Calls))
	add := func(at float64, ns int64, name string) {
		y := max(float64(ns), 1)
		points = append(points, point{x: at, y: y, tip: name + ": " + nanoseconds(y)})
	}
	for _, p := range []struct {
		percentile float64
		ns         int64
	}{{50, l.P50}, {90, l.P90}, {99, l.P99}, {99.9, l.P999}, {99.99, l.P9999}} {
		if at := beyond(p.percentile); at < most {
			add(at, p.ns, fmt.Sprintf("p%v", p.percentile))
		}
	}
	add(most, l.Max, "max")
	return points
}

func latencyRow(name string, l *bench.Latency) []datum {
	row := data(name, bench.Grouped(l.OpsPerCall))
	for _, ns := range []int64{l.P50, l.P90, l.P99, l.P999, l.P9999, l.Max} {
		row = append(row, datum{Text: nanoseconds(float64(ns))})
	}
	timed := datum{Text: bench.Grouped(l.Calls)}
	switch {
	case l.RatePerS > 0:
		timed.Note = fmt.Sprintf("%s of %s ops/s served", short(l.ServedPerS), short(l.RatePerS))
	case l.SampledEvery > 1:
		timed.Note = fmt.Sprintf("1 of %d", l.SampledEvery)
	}
	return append(row, timed)
}

// distribution is the whole histogram of a result, if the folder of the run has it. One that
// cannot be read is as good as none: the document has its percentiles.
func (run *Run) distribution(res *bench.Result) (points []point) {
	b, err := os.ReadFile(filepath.Join(run.dir, rundir.Latency, res.CellName()+rundir.HistogramSuffix))
	if err != nil {
		return nil
	}
	h := readHistogram(b)
	if h == nil || h.TotalCount() == 0 {
		return nil
	}
	total := float64(h.TotalCount())
	for _, bracket := range h.CumulativeDistributionWithTicks(10) {
		left := max(total-float64(bracket.Count), 1) // calls above; the last has one to itself
		points = append(points, point{x: math.Log10(total / left), y: max(float64(bracket.ValueAt), 1)})
	}
	return points
}

// readHistogram merges the histograms of a log; nil: it has none that can be read.
func readHistogram(b []byte) (sum *hdrhistogram.Histogram) {
	r := hdrhistogram.NewHistogramLogReader(bytes.NewReader(b))
	for {
		h, err := r.NextIntervalHistogram()
		if err != nil || h == nil {
			return sum
		}
		if sum == nil {
			sum = h
		} else {
			sum.Merge(h)
		}
	}
}
