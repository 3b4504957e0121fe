package bench

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
)

// DefaultAgainst is the target that others are compared with unless another is
// asked for: the fastest peer.
const DefaultAgainst = "xsync4"

// WriteTable writes the report for people: one table per cell, the fastest
// target first, each compared with the target named against where that was
// measured, counters with counter/atomic otherwise. If bare counters were measured with
// several strategies, tables that compare these over all profiles follow.
func (r *Report) WriteTable(w io.Writer, against string) error {
	p := printer{w: w}
	p.printf("%s; median of the trials; %s\n", r.Unit, r.Env.Summary())
	few := false
	for cell := range slices.Values(r.cells()) {
		p.cell(cell, r.reference(cell, against))
		p.skipped(r, cell[0])
		few = few || slices.ContainsFunc(cell, func(res *Result) bool { return res.Interval == IntervalMinMax })
	}
	p.strategies(r)
	if len(r.Results) == 0 {
		p.printf("\nnothing was measured\n")
		p.skipped(r, nil)
	}
	if few {
		p.printf("\nintervals are smallest..largest: 95 %% of the median takes %d trials\n", samplesFor95)
	}
	for _, warning := range r.Warnings {
		p.printf("\nnoisy machine: %s\n", warning)
	}
	if r.Incomplete {
		p.printf("\ninterrupted: some results are missing or have fewer trials than asked for\n")
	}
	return p.err
}

// cells returns the results by cell, in the order of the run.
func (r *Report) cells() (cells [][]*Result) {
	for i, res := range r.Results {
		if i == 0 || !res.sameCell(r.Results[i-1]) {
			cells = append(cells, nil)
		}
		last := len(cells) - 1
		cells[last] = append(cells[last], res)
	}
	return cells
}

func (res *Result) sameCell(o *Result) bool {
	return res.Profile == o.Profile && res.Objects == o.Objects && res.Threads == o.Threads
}

func (r *Report) reference(cell []*Result, against string) *Result {
	for _, name := range []string{against, counterAgainst} {
		for _, res := range cell {
			if res.Target == name && res.NsPerOp != nil {
				return res
			}
		}
	}
	return nil
}

// printer keeps the first error of several writes.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *printer) cell(cell []*Result, reference *Result) {
	head := cell[0]
	trials := 0
	for _, res := range cell {
		trials = max(trials, res.Trials)
	}
	objects := plural(head.Objects, "object")
	if head.Distinct != head.Objects {
		objects += fmt.Sprintf(" (%s met)", grouped(head.Distinct))
	}
	p.printf("\n%s: %s, %s, %s operations x %s\n", head.Profile, objects,
		plural(head.Threads, "thread"), grouped(head.Ops), plural(trials, "trial"))

	header := table.Row{"target", "ns/op", "interval", "Mops/s", "bytes/object"}
	if reference != nil {
		header = append(header, "x "+reference.Target)
	}
	t := newTable(append(header, "verified"))
	for _, res := range slices.SortedStableFunc(slices.Values(cell), fastestFirst) {
		t.AppendRow(res.row(reference))
	}
	p.printf("%s\n", t.Render())
	for _, res := range cell {
		if res.Error != "" {
			p.printf("  failed: %s: %s\n", res.Target, res.Error)
		}
	}
}

func fastestFirst(a, b *Result) int {
	switch {
	case a.NsPerOp == nil || b.NsPerOp == nil:
		return cmp.Compare(boolInt(a.NsPerOp == nil), boolInt(b.NsPerOp == nil))
	default:
		return cmp.Compare(a.NsPerOp.Median, b.NsPerOp.Median)
	}
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (res *Result) row(reference *Result) table.Row {
	row := table.Row{res.Target, "-", "-", "-", "-"}
	if ns := res.NsPerOp; ns != nil {
		row[1] = digits(ns.Median)
		row[2] = fmt.Sprintf("[%s, %s]", digits(ns.Low), digits(ns.High))
		row[3] = digits(1000 / ns.Median)
	}
	if b := res.BytesPerObject; b != nil {
		row[4] = fmt.Sprintf("%.1f", *b)
	}
	if reference != nil {
		ratio := "-"
		if res.NsPerOp != nil {
			ratio = digits(reference.NsPerOp.Median / res.NsPerOp.Median)
		}
		row = append(row, ratio)
	}
	switch {
	case res.Error != "":
		return append(row, "FAILED")
	case !res.Verified:
		return append(row, "-")
	default:
		return append(row, "yes")
	}
}

// skipped lists what was skipped in the cell of res, or anywhere.
func (p *printer) skipped(r *Report, res *Result) {
	for _, s := range r.Skipped {
		if res == nil || s.Profile == res.Profile && s.Objects == res.Objects && s.Threads == res.Threads {
			p.printf("  skipped: %s: %s\n", s.Target, s.Reason)
		}
	}
}

// digits writes about three significant digits, without an exponent.
func digits(x float64) string {
	switch {
	case x < 0.1:
		return strconv.FormatFloat(x, 'f', 4, 64)
	case x >= 100:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case x >= 10:
		return strconv.FormatFloat(x, 'f', 1, 64)
	default:
		return strconv.FormatFloat(x, 'f', 2, 64)
	}
}

// grouped writes n with a comma between thousands.
func grouped[T int | int64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(c)
	}
	return b.String()
}

func plural[T int | int64](n T, what string) string {
	if n != 1 {
		what += "s"
	}
	return grouped(n) + " " + what
}
