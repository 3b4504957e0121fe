package bench

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/objhash/objhash/bench/target"
)

// DefaultAgainst is the target that others are compared with unless another is
// asked for: the fastest peer. Where it was not measured it is counter/atomic; where that
// was not either, the first that counts users as targets do by themselves.
const DefaultAgainst = "xsync4"

// counterAgainst is that target for counters.
const counterAgainst = "counter/atomic"

// WriteTable writes the report for people: one table per cell, the fastest
// target first, each compared with the one that the person named where that was measured,
// and one of latencies below it if calls were timed.
// If bare counters were measured with several strategies, tables that compare these over
// all profiles follow.
func (r *Report) WriteTable(w io.Writer) error {
	p := printer{w: w}
	p.printf("%s; median of the trials; %s\n", r.Unit, r.Env.Summary())
	cells, elsewhere := r.cells(), r.Skipped
	for _, cell := range cells {
		reference, note := r.reference(cell)
		p.cell(r, cell, reference)
		p.printf("%s", note)
		elsewhere = p.skipped(elsewhere, cell[0])
		p.attribution(cell)
		p.latencies(r, cell)
	}
	if len(cells) == 0 {
		p.printf("\nnothing was measured\n")
	}
	if len(elsewhere) > 0 {
		p.printf("\n%s\n", joinSkipped(elsewhere))
	}
	shown := slices.Concat(cells...)
	p.strategies(shown)
	p.footer(r, shown)
	return errors.Join(p.err, r.WriteThresholds(w))
}

// footer says what to mind when reading the results.
func (p *printer) footer(r *Report, results []*Result) {
	some := func(f func(*Result) bool) bool { return slices.ContainsFunc(results, f) }
	if some(func(res *Result) bool { return res.Interval == IntervalMinMax }) {
		p.printf("\nintervals are smallest..largest: 95 %% of the median takes %d trials\n", samplesFor95)
	}
	processors := min(r.Env.Cores, r.Env.GOMAXPROCS)
	if processors > 0 && some(func(res *Result) bool { return res.Threads > processors }) {
		p.printf("\nmore than %s took turns on %s: such figures show what it costs to wait for one that is not running, not what more processors gain\n",
			plural(processors, "thread"), plural(processors, "processor"))
	}
	if some(func(res *Result) bool { return res.Profile == verdictProfile && res.Threads > 1 }) {
		p.printf("\n%s is timed on one thread, however many counted the users\n", verdictProfile)
	}
	if r.HarnessNs > 0 {
		p.printf("\nof each operation, %.2f ns are the harness's: the loop, reading the address, writing the objref\n", r.HarnessNs)
	}
	for _, warning := range r.Warnings {
		p.printf("\nwarning: %s\n", warning)
	}
	if r.Incomplete {
		p.printf("\ninterrupted: some results are missing or have fewer trials than asked for\n")
	}
}

// cells returns the results by cell, in the order of the run, without the cells that an
// interruption left without any figure.
func (r *Report) cells() (cells [][]*Result) {
	for i, res := range r.Results {
		if i == 0 || !res.sameCell(r.Results[i-1]) {
			cells = append(cells, nil)
		}
		last := len(cells) - 1
		cells[last] = append(cells[last], res)
	}
	return slices.DeleteFunc(cells, func(cell []*Result) bool {
		return !slices.ContainsFunc(cell, func(res *Result) bool { return res.NsPerOp != nil || res.Error != "" })
	})
}

func (res *Result) sameCell(o *Result) bool {
	return res.Profile == o.Profile && res.Objects == o.Objects && res.Threads == o.Threads
}

// reference returns what a cell is compared with, if anything, and a line that says so if
// it is not what the person named.
func (r *Report) reference(cell []*Result) (reference *Result, note string) {
	measured := slices.DeleteFunc(slices.Clone(cell), func(res *Result) bool { return res.NsPerOp == nil })
	first := func(f func(*Result) bool) *Result {
		if i := slices.IndexFunc(measured, f); i >= 0 {
			return measured[i]
		}
		return nil
	}
	named := func(name string) *Result { return first(func(res *Result) bool { return res.Target == name }) }
	if res := named(r.Against); res != nil {
		return res, ""
	}
	if len(measured) > 1 {
		reference = cmp.Or(named(DefaultAgainst), named(counterAgainst),
			first(func(res *Result) bool { return res.Strategy == "" || res.Strategy == target.OwnStrategy }),
			measured[0])
	}
	switch {
	case r.Against == "":
		return reference, ""
	case reference == nil:
		return nil, fmt.Sprintf("  %s has no figure here, and there is nothing else to compare with\n", r.Against)
	default:
		return reference, fmt.Sprintf("  %s has no figure here, so compared with %s\n", r.Against, reference.Target)
	}
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

func (p *printer) cell(r *Report, cell []*Result, reference *Result) {
	head := cell[0]
	trials := 0
	for _, res := range cell {
		trials = max(trials, res.Trials)
	}
	objects := plural(head.Objects, "object")
	if head.Distinct != head.Objects {
		objects += fmt.Sprintf(" (%s met)", grouped(head.Distinct))
	}
	tables, each := max(head.Tables, 1), ""
	switch {
	case tables > 1 && head.counts():
		each = " x " + plural(tables, "counter")
	case tables > 1:
		each = " x " + plural(tables, "table")
	}
	p.printf("\n%s: %s, %s, %s%s x %s\n", head.Profile, objects,
		plural(head.Threads, "thread"), plural(head.Ops/tables, "operation"), each, plural(trials, "trial"))

	resident := slices.ContainsFunc(cell, func(res *Result) bool { return res.RSSBytesPerObject != nil })
	header := table.Row{"target", "ns/op", "interval", "Mops/s", "bytes/object"}
	if resident {
		header = append(header, "resident")
	}
	if reference != nil {
		header = append(header, "x "+reference.Target)
	}
	t := newTable(append(header, "verified"))
	for _, res := range slices.SortedStableFunc(slices.Values(cell), fastestFirst) {
		t.AppendRow(res.row(r, reference, resident))
	}
	p.printf("%s\n", t.Render())
	p.outliers(cell)
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

// outliers lists the trials that lie apart, from 1.
func (p *printer) outliers(cell []*Result) {
	var all []string
	for _, res := range cell {
		if len(res.Outliers) == 0 {
			continue
		}
		numbers := make([]string, len(res.Outliers))
		for i, index := range res.Outliers {
			numbers[i] = strconv.Itoa(index + 1)
		}
		all = append(all, res.Target+" "+strings.Join(numbers, ", "))
	}
	if len(all) > 0 {
		p.printf("  outliers, which count like all trials: %s\n", strings.Join(all, "; "))
	}
}

func (res *Result) row(r *Report, reference *Result, resident bool) table.Row {
	row := table.Row{res.Target, "-", "-", "-", "-"}
	if ns := res.NsPerOp; ns != nil {
		row[1] = digits(ns.Median)
		row[2] = fmt.Sprintf("[%s, %s]", digits(ns.Low), digits(ns.High))
		row[3] = digits(1000 / ns.Median)
	}
	if b := res.BytesPerObject; b != nil {
		row[4] = fmt.Sprintf("%.1f", *b)
	}
	if resident {
		row = append(row, "-")
		if b := res.RSSBytesPerObject; b != nil {
			row[5] = fmt.Sprintf("%.1f", *b)
		}
	}
	if reference != nil {
		row = append(row, r.timesFaster(res, reference))
	}
	switch {
	case res.Error != "":
		return append(row, "FAILED")
	case res.NoTable:
		return append(row, "no table")
	case !res.Verified:
		return append(row, "-")
	default:
		return append(row, "yes")
	}
}

// timesFaster is how a target compares with the reference, with the interval if both were
// measured in the same rounds.
func (r *Report) timesFaster(res, reference *Result) string {
	pair := r.pairOf(res, reference)
	switch {
	case res.NsPerOp == nil:
		return "-"
	case pair == nil:
		return digits(reference.NsPerOp.Median / res.NsPerOp.Median)
	default:
		x := pair.TimesFaster
		return fmt.Sprintf("%s [%s, %s]", digits(x.Median), digits(x.Low), digits(x.High))
	}
}

// skipped lists what was skipped in the cell of res, and returns the others.
func (p *printer) skipped(all []Skipped, res *Result) (others []Skipped) {
	for _, s := range all {
		if s.Profile == res.Profile && s.Objects == res.Objects && s.Threads == res.Threads {
			p.printf("  skipped: %s: %s\n", s.Target, s.Reason)
		} else {
			others = append(others, s)
		}
	}
	return others
}

// joinSkipped has a line for all that was skipped in one place for one reason.
func joinSkipped(all []Skipped) string {
	targets := map[Skipped][]string{}
	var lines []Skipped
	for _, s := range all {
		name := s.Target
		s.Target, s.Strategy = "", ""
		if targets[s] == nil {
			lines = append(lines, s)
		}
		targets[s] = append(targets[s], name)
	}
	var b strings.Builder
	for i, s := range lines {
		if i > 0 {
			b.WriteByte('\n')
		}
		objects := ""
		if s.Objects > 0 { // a trace that was not read has its own
			objects = ", " + plural(s.Objects, "object")
		}
		fmt.Fprintf(&b, "  skipped: %s%s, %s: %s: %s", s.Profile, objects, plural(s.Threads, "thread"),
			strings.Join(targets[s], ", "), s.Reason)
	}
	return b.String()
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
