package bench

import (
	"fmt"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// The profiles of which the comparison of strategies shows more than ns/op.
const (
	privateProfile = "count-private"
	tasksProfile   = "count-10k-tasks"
	verdictProfile = "count-verdict"
)

// strategies writes a table for each number of threads: what every strategy did under
// every profile that counts by objref. One strategy alone needs no such table.
func (p *printer) strategies(results []*Result) {
	byThreads := map[int][]*Result{}
	var threads []int
	for _, res := range results {
		if !res.counts() {
			continue
		}
		if !slices.Contains(threads, res.Threads) {
			threads = append(threads, res.Threads)
		}
		byThreads[res.Threads] = append(byThreads[res.Threads], res)
	}
	for _, n := range threads {
		m := newMatrix(byThreads[n])
		if len(m.strategies) < 2 {
			continue
		}
		p.printf("\nstrategies of counting, %s: ns/op\n%s\n", plural(n, "thread"), m.render())
		if m.bytes != nil {
			p.printf("  bytes/object: %s\n", m.bytes.describe())
		}
		if m.tasks != nil {
			p.printf("  bytes with handles: %s: all memory while each task has a handle open\n", m.tasks.describe())
		}
		if m.verdict != nil {
			p.printf("  verdict ms: %s: until the count of each is known\n", m.verdict.describe())
		}
	}
}

// matrix is one table: a row for each strategy, a column for each profile and size.
type matrix struct {
	strategies []string
	columns    []*column

	// Columns that are shown twice, of the largest size; nil: not measured.
	bytes, tasks, verdict *column
}

// column is what the strategies did in a cell of the run.
type column struct {
	profile string
	objects int
	results map[string]*Result // by strategy
}

func newMatrix(results []*Result) *matrix {
	m := &matrix{}
	for _, res := range results {
		if !slices.Contains(m.strategies, res.Strategy) {
			m.strategies = append(m.strategies, res.Strategy)
		}
		i := slices.IndexFunc(m.columns, func(c *column) bool {
			return c.profile == res.Profile && c.objects == res.Objects
		})
		if i < 0 {
			i = len(m.columns)
			m.columns = append(m.columns, &column{profile: res.Profile, objects: res.Objects, results: map[string]*Result{}})
		}
		m.columns[i].results[res.Strategy] = res
	}
	m.bytes, m.tasks, m.verdict = m.largest(privateProfile), m.largest(tasksProfile), m.largest(verdictProfile)
	return m
}

func (m *matrix) largest(profile string) (largest *column) {
	for _, c := range m.columns {
		if c.profile == profile && (largest == nil || c.objects > largest.objects) {
			largest = c
		}
	}
	return largest
}

func (c *column) describe() string {
	return fmt.Sprintf("%s, %s", c.profile, plural(c.objects, "object"))
}

// header tells sizes apart where the profile has several.
func (m *matrix) header(c *column) string {
	for _, o := range m.columns {
		if o != c && o.profile == c.profile {
			return fmt.Sprintf("%s %s", c.profile, grouped(c.objects))
		}
	}
	return c.profile
}

func (m *matrix) render() string {
	header := table.Row{"strategy"}
	for _, c := range m.columns {
		header = append(header, m.header(c))
	}
	if m.bytes != nil {
		header = append(header, "bytes/object")
	}
	if m.tasks != nil {
		header = append(header, "bytes with handles")
	}
	if m.verdict != nil {
		header = append(header, "verdict ms")
	}
	t := newTable(header)
	for _, s := range m.strategies {
		t.AppendRow(m.row(s))
	}
	return t.Render()
}

func (m *matrix) row(strategy string) table.Row {
	row := table.Row{strategy}
	for _, c := range m.columns {
		row = append(row, c.figure(strategy, func(res *Result) string { return digits(res.NsPerOp.Median) }))
	}
	if m.bytes != nil {
		row = append(row, m.bytes.figure(strategy, func(res *Result) string {
			return fmt.Sprintf("%.1f", *res.BytesPerObject)
		}))
	}
	if m.tasks != nil {
		row = append(row, m.tasks.figure(strategy, func(res *Result) string {
			return grouped(int64(*res.BytesPerObject*float64(res.Distinct) + 0.5))
		}))
	}
	if m.verdict != nil {
		row = append(row, m.verdict.figure(strategy, func(res *Result) string {
			return digits(res.NsPerOp.Median * float64(res.Ops) / float64(res.Tables) / 1e6)
		}))
	}
	return row
}

// figure returns what the strategy measured in the column, if it did.
func (c *column) figure(strategy string, of func(*Result) string) string {
	switch res := c.results[strategy]; {
	case res == nil:
		return "-"
	case res.Error != "":
		return "FAILED"
	case res.NsPerOp == nil:
		return "-"
	default:
		return of(res)
	}
}

// newTable returns a table whose first column is of words and the others of figures.
func newTable(header table.Row) table.Writer {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.AppendHeader(header)
	var columns []table.ColumnConfig
	for i := 2; i <= len(header); i++ {
		columns = append(columns, table.ColumnConfig{Number: i, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	t.Style().Format.Header = text.FormatDefault
	return t
}
