package bench

import (
	"fmt"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
)

// controlName is what people see of a Control.
const controlName = "nothing"

// latencies writes how long single calls took in a cell, if the run timed them: the
// targets in the order of the cell's own table, then the control.
func (p *printer) latencies(r *Report, cell []*Result) {
	if r.ClockNs == 0 {
		return
	}
	head := cell[0]
	t := newTable(table.Row{"target", "ops/call", "p50", "p90", "p99", "p99.9", "p99.99", "max", "count", "took"})
	for _, res := range slices.SortedStableFunc(slices.Values(cell), fastestFirst) {
		if res.Latency != nil {
			t.AppendRow(res.Latency.row(res.Target))
		}
	}
	if t.Length() == 0 {
		p.printf("  no latencies: no call was timed by itself\n")
		return
	}
	t.AppendSeparator()
	for _, c := range r.Controls {
		if c.Profile == head.Profile && c.Objects == head.Objects && c.Threads == head.Threads {
			t.AppendRow(c.Latency.row(controlName))
		}
	}
	p.printf("latency: %s, %s, %s, one trial with %s\n%s\n",
		head.Profile, plural(head.Objects, "object"), plural(head.Threads, "thread"), timed(cell), t.Render())
	p.printf("  a reading of the clock takes %s, and every time has one in it; %s is the same calls without work: what the machine does to a thread, more of it in a longer time\n",
		nanoseconds(int64(r.ClockNs+0.5)), controlName)
}

// timed says which calls of a cell were timed.
func timed(cell []*Result) string {
	every := 1
	for _, res := range cell {
		l := res.Latency
		switch {
		case l == nil:
		case l.Corrected:
			return grouped(int64(l.RatePerS)) + " operations per second to begin, times from when each was to"
		default:
			every = max(every, l.SampledEvery)
		}
	}
	if every > 1 {
		return fmt.Sprintf("one in %d single operations, and all longer calls, timed", every)
	}
	return "every call timed"
}

func (l *Latency) row(name string) table.Row {
	row := table.Row{name, grouped(l.OpsPerCall)}
	for _, ns := range []int64{l.P50, l.P90, l.P99, l.P999, l.P9999, l.Max} {
		row = append(row, nanoseconds(ns))
	}
	return append(row, grouped(l.Calls), nanoseconds(l.Elapsed))
}

// nanoseconds writes about three digits, in the unit that suits.
func nanoseconds(ns int64) string {
	switch x := float64(ns); {
	case ns < 1000:
		return fmt.Sprintf("%d ns", ns)
	case ns < 1e6:
		return digits(x/1e3) + " us"
	case ns < 1e9:
		return digits(x/1e6) + " ms"
	default:
		return digits(x/1e9) + " s"
	}
}
