package model

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/objhash/objhash/bench"
)

// WriteTable writes the report for people: the measured costs, then a table for each profile
// with what is predicted, and beside it what was measured.
func (r *Report) WriteTable(w io.Writer) error {
	p := &printer{w: w}
	p.printf("%s; medians of %s; ratio: predicted / measured; %s\n", r.Unit, bench.Plural(r.Rounds, "round"), r.Env.Summary())
	p.machine(r)
	p.strategies(r)
	for _, profile := range r.Profiles {
		p.profile(r, profile)
	}
	p.printf("\n%s\n", r.extrapolation())
	for _, s := range r.Strategies {
		switch s.Row.Source {
		case Fitted:
			p.printf("\n%s (fitted) is not in the model's table: %s moves of a line for each operation follow from two threads on a hot object\n",
				s.Strategy, bench.Digits(s.Row.Transfers))
		case Assumed:
			p.printf("\n%s (assumed) is not in the model's table, and one processor cannot show how it contends: one move for each operation is assumed\n", s.Strategy)
		}
	}
	for _, warning := range r.Warnings {
		p.printf("\nnoisy machine: %s\n", warning)
	}
	if r.Incomplete {
		p.printf("\ninterrupted: some results are missing or have fewer samples than usual\n")
	}
	return p.err
}

// extrapolation says what nothing here can check.
func (r *Report) extrapolation() string {
	var beyond []string
	for _, res := range r.Results {
		if t := strconv.Itoa(res.Threads); res.Extrapolated && !slices.Contains(beyond, t) {
			beyond = append(beyond, t)
		}
	}
	s := "nothing is extrapolated"
	if len(beyond) > 0 {
		s = fmt.Sprintf("extrapolated (*): the predictions for %s threads; threads here have %s, so nothing measured checks them, and moves between sockets are not in them",
			strings.Join(beyond, ", "), bench.Plural(r.Cores, "core"))
	}
	if r.AssumedCores > 0 {
		return fmt.Sprintf("%s; %s assumed", s, bench.Plural(r.AssumedCores, "core"))
	}
	return s + "; a core for each thread is assumed"
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

func (p *printer) table(header table.Row, rows []table.Row) {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.AppendHeader(header)
	var columns []table.ColumnConfig
	for i := 2; i <= len(header); i++ {
		columns = append(columns, table.ColumnConfig{Number: i, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	t.Style().Format.Header = text.FormatDefault
	t.AppendRows(rows)
	p.printf("%s\n", t.Render())
}

func (p *printer) machine(r *Report) {
	p.printf("\nCosts of this machine\n")
	rows := []table.Row{
		{"a", median(r.Machine.Add), "ns", "locked add to a word that nobody else changes"},
		{"A", median(r.Machine.ContendedAdd), "ns", "locked add to a word that two threads change, wall time of both over all adds"},
		{"L", median(r.Machine.Move), "ns", "move of a line to another core that changes it, taking turns: half a turn"},
		{"M", median(r.Machine.MoveAmong), "ns", "move among others, which overlap: two threads add to 128 lines in random order"},
		{"f", median(r.Machine.CASFailures), "", "failures of compare-and-swap for each success, two threads"},
		{"got", median(r.Machine.Processors), "", "processors that two threads without any conflict got"},
		{"cache", strconv.FormatInt(r.Machine.CacheBytes>>10, 10), "KiB", "of one core"},
	}
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, Align: text.AlignRight}})
	t.AppendRows(rows)
	p.printf("%s\n", t.Render())
	if r.Machine.Move == nil || r.Machine.MoveAmong == nil || r.Machine.ContendedAdd == nil {
		p.printf("A, L, M and f take two processors, and two threads did not get them: what depends on these is not predicted\n")
	}
}

func median(i *bench.Interval) string {
	if i == nil {
		return "-"
	}
	return bench.Digits(i.Median)
}

func (p *printer) strategies(r *Report) {
	p.printf("\nCosts of the strategies, in ns, one thread: c an operation in cache, c' one of the profile zipf, h a handle opened and closed,\n" +
		"m an object of a handle that closes, m' the same for a handle of few operations, r an object's count told, r' each further handle;\n" +
		"t moves of a contended line for each operation\n")
	var rows []table.Row
	for _, s := range r.Strategies {
		t := "0"
		if s.Row.Transfers > 0 {
			t = bench.Digits(s.Row.Transfers)
		}
		rows = append(rows, table.Row{s.name(), bench.Digits(s.Op.Median), bench.Digits(s.OpOutgrown.Median), bench.Digits(s.Handle.Median),
			bench.Digits(s.Merge.Median), bench.Digits(s.MergeTask), bench.Digits(s.Read.Median), bench.Digits(s.ReadHandle), t})
	}
	if len(rows) == 0 {
		p.printf("nothing was measured\n")
		return
	}
	p.table(table.Row{"strategy", "c", "c'", "h", "m", "m'", "r", "r'", "t"}, rows)
}

// name is the strategy's, with where its row comes from unless that is the table.
func (s *StrategyCosts) name() string {
	if s.Row.Source == Table {
		return s.Strategy
	}
	return fmt.Sprintf("%s (%s)", s.Strategy, s.Row.Source)
}

func (p *printer) profile(r *Report, profile *Profile) {
	var results []*Result
	for _, res := range r.Results {
		if res.Profile == profile.Name {
			results = append(results, res)
		}
	}
	if len(results) == 0 {
		return
	}
	p.printf("\n%s: %s; %s\n", profile.Name, profile.Summary, bench.Plural(profile.Ops, "operation"))
	columns := columnsOf(results)
	header := table.Row{"threads"}
	for _, c := range columns {
		name := strconv.Itoa(c.threads)
		if c.extrapolated {
			name += "*"
		}
		header = append(header, name)
		if c.measured {
			header = append(header, "measured", "ratio")
		}
	}
	var rows []table.Row
	for _, s := range r.Strategies {
		row := table.Row{s.name()}
		for _, c := range columns {
			i := slices.IndexFunc(results, func(res *Result) bool { return res.Strategy == s.Strategy && res.Threads == c.threads })
			res := &Result{}
			if i >= 0 {
				res = results[i]
			}
			row = append(row, digits(res.Predicted))
			if c.measured {
				row = append(row, median(res.Measured), digits(res.Ratio))
			}
		}
		rows = append(rows, row)
	}
	p.table(header, rows)
}

// column is a number of threads.
type column struct {
	threads                int
	measured, extrapolated bool
}

func columnsOf(results []*Result) (columns []column) {
	for _, res := range results {
		i := slices.IndexFunc(columns, func(c column) bool { return c.threads == res.Threads })
		if i < 0 {
			i = len(columns)
			columns = append(columns, column{threads: res.Threads})
		}
		columns[i].measured = columns[i].measured || res.Measured != nil
		columns[i].extrapolated = res.Extrapolated
	}
	slices.SortFunc(columns, func(a, b column) int { return cmp.Compare(a.threads, b.threads) })
	return columns
}

func digits(x *float64) string {
	if x == nil {
		return "-"
	}
	return bench.Digits(*x)
}
