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
	p.printf("%s; medians of %s; %s\n", r.Unit, bench.Plural(r.Rounds, "round"), r.Env.Summary())
	if len(r.Strategies) == 0 {
		p.printf("\nnothing was measured\n")
		return p.err
	}
	p.machine(r)
	p.strategies(r)
	if len(r.Results) > 0 {
		p.printf(`
Predictions. measured: the median, and its interval, of threads that start together and count,
until the handles are closed and every count is read (crbench run reads none). ratio: predicted /
measured; at 1 thread it checks little, as the costs are measured in loops of the same operations.
`)
	}
	for _, profile := range r.Profiles {
		p.profile(r, profile)
	}
	for _, note := range r.notes() {
		p.printf("\n%s\n", note)
	}
	return p.err
}

// notes are what to know of the tables.
func (r *Report) notes() (notes []string) {
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if slices.ContainsFunc(r.Results, func(res *Result) bool { return res.Predicted == nil }) {
		note("-: not predicted, as it takes moves of lines between cores, whose cost is not known")
	}
	if slices.ContainsFunc(r.Results, func(res *Result) bool { return res.Measured != nil && res.Ratio == nil }) {
		note("- (ratio): not compared, as two threads did not get two processors")
	}
	for _, s := range r.Strategies {
		if s.Row.OneThread && slices.Max(r.Threads) > 1 {
			note("%s serves one thread: - for more", s.Strategy)
		}
	}
	if len(r.Results) == 0 {
		note("nothing to predict: none of these strategies serves so many threads")
	} else {
		note("%s", r.extrapolation())
	}
	for _, s := range r.Strategies {
		switch {
		case s.Row.Source == Fitted:
			note("%s (fitted) is not in the model's table: %s moves of a line for each operation follow from two threads on a hot object",
				s.Strategy, bench.Digits(s.Row.Transfers))
		case s.Row.Source == Assumed:
			note("%s (assumed) is not in the model's table, and one processor cannot show how it contends: one move for each operation is assumed", s.Strategy)
		}
		if s.Inexact {
			note("%s tells only whether an object has users, not how many", s.Strategy)
		}
	}
	for _, name := range r.LeftOut {
		note("left out: %s, which tells only whether an object has users; --strategy %s shows it", name, name)
	}
	for _, warning := range r.Warnings {
		note("noisy machine: %s", warning)
	}
	if r.Incomplete {
		note("interrupted: some results are missing or have fewer samples than usual")
	}
	return notes
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
		s = fmt.Sprintf("extrapolated (*): the predictions for %s threads; nothing measured checks them (threads here have %s), and moves between sockets are not in them",
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
	t := bench.NewTable(header)
	t.AppendRows(rows)
	p.printf("%s\n", t.Render())
}

func (p *printer) machine(r *Report) {
	p.printf("\nCosts of this machine\n")
	m := r.Machine
	row := func(name string, i *bench.Interval, unit, what string) table.Row {
		return table.Row{name, median(i), between(i), unit, what}
	}
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 2, Align: text.AlignRight}})
	t.AppendRows([]table.Row{
		row("a", m.Add, "ns", "locked add to a word that nobody else changes"),
		row("A", m.ContendedAdd, "ns", "locked add to a word that two threads change, wall time of both over all adds"),
		row("L", m.Move, "ns", "move of a line to another core that changes it, taking turns: half a turn"),
		row("M", m.MoveAmong, "ns", "move among others, which overlap: two threads add to 128 lines in random order"),
		row("f", m.CASFailures, "", "failures of compare-and-swap for each success, two threads"),
		row("got", m.Processors, "", "processors that two threads without any conflict got"),
		{"cache", strconv.FormatInt(m.CacheBytes>>10, 10), "", "KiB", "of one core"},
	})
	p.printf("%s\n", t.Render())
	if m.Move == nil {
		p.printf("A, L, M and f take two processors, and two threads did not get them: what depends on these is not predicted\n")
	}
}

func median(i *bench.Interval) string {
	if i == nil {
		return "-"
	}
	return signed(i.Median)
}

func between(i *bench.Interval) string {
	if i == nil {
		return ""
	}
	return signed(i.Low) + ".." + signed(i.High)
}

// signed is for differences too.
func signed(x float64) string {
	if x < 0 {
		return "-" + bench.Digits(-x)
	}
	return bench.Digits(x)
}

func (p *printer) strategies(r *Report) {
	p.printf(`
Costs of the strategies, in ns, on one thread
  c   counting one user, of objects that stay in the cache
  c'  counting one user, under count-zipf, where not all objects stay there
  h   opening and closing a handle that counted nothing
  m   closing a handle that counted many objects, for each of them
  m'  what a handle of the profile tasks costs for each of its operations, beyond h and c;
      below 0 where short handles are cheaper
  r   telling one object's count when all handles are closed
  r'  the same, what each further handle that counted adds to it
  t   moves of a line between cores for each operation on a contended object (not measured);
      1/8: one in so many, and one with a handle's first operation on an object; first: only
      that one; evicted: when the handle's cache puts an object out
`)
	var rows []table.Row
	for _, s := range r.Strategies {
		rows = append(rows, table.Row{s.name(), bench.Digits(s.Op.Median), bench.Digits(s.OpOutgrown.Median), bench.Digits(s.Handle.Median),
			bench.Digits(s.Merge.Median), signed(s.MergeTask.Median), between(&s.MergeTask), bench.Digits(s.Read.Median),
			bench.Digits(max(0, s.ReadHandle.Median)), s.Row.transfers()})
	}
	p.table(table.Row{"strategy", "c", "c'", "h", "m", "m'", "interval", "r", "r'", "t"}, rows)
}

// transfers are the moves of an operation in the words of the table.
func (row Row) transfers() string {
	switch {
	case row.Batch == first:
		return "first"
	case row.Entries > 0:
		return "evicted"
	case row.Batch > 0:
		return fmt.Sprintf("1/%d", row.Batch)
	case row.Transfers > 0 && row.Transfers < 1:
		return fmt.Sprintf("1/%.0f", 1/row.Transfers)
	}
	return strconv.FormatFloat(row.Transfers, 'g', 3, 64)
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
	p.printf("\n%s: %s; %s in all\n", profile.Name, profile.Summary, bench.Plural(profile.Ops, "operation"))
	columns := columnsOf(results)
	header := table.Row{"threads"}
	for _, c := range columns {
		name := strconv.Itoa(c.threads)
		if !c.measured {
			name += "*"
		}
		header = append(header, name)
		if c.measured {
			header = append(header, "measured", "interval", "ratio")
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
				row = append(row, median(res.Measured), between(res.Measured), digits(res.Ratio))
			}
		}
		rows = append(rows, row)
	}
	p.table(header, rows)
}

// column is a number of threads.
type column struct {
	threads  int
	measured bool
}

func columnsOf(results []*Result) (columns []column) {
	for _, res := range results {
		i := slices.IndexFunc(columns, func(c column) bool { return c.threads == res.Threads })
		if i < 0 {
			i = len(columns)
			columns = append(columns, column{threads: res.Threads})
		}
		columns[i].measured = columns[i].measured || res.Measured != nil
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
