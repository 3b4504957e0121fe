package compare

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// WriteTable writes the comparison for people. A change that may be chance is "~".
func (c *Comparison) WriteTable(w io.Writer) error {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.Style().Format.Footer = text.FormatDefault
	var columns []table.ColumnConfig
	for n := 4; n <= 10; n++ {
		columns = append(columns, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight, AlignFooter: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	t.AppendHeader(table.Row{"profile", "objects, threads", "target", "A ns/op", "B ns/op", "change", "p", "A B/object", "B B/object", "change"})
	for i := range c.Rows {
		r := &c.Rows[i]
		change := "~"
		if r.Differs {
			change = percent(r.Change)
		}
		t.AppendRow(table.Row{
			r.Profile, fmt.Sprintf("%d, %d", r.Objects, r.Threads), r.Target,
			interval(r.A.Median, r.A.Low, r.A.High), interval(r.B.Median, r.B.Low, r.B.High), change, fmt.Sprintf("%.3g", r.P),
			figure(r.ABytes), figure(r.BBytes), changed(r.BytesChange),
		})
	}
	t.AppendFooter(table.Row{"geomean", "", "", "", "", changed(c.GeomeanNs), "", "", "", changed(c.GeomeanBytes)})
	if _, err := fmt.Fprintln(w, t.Render()); err != nil {
		return err
	}
	_, err := io.WriteString(w, c.text())
	return err
}

// text is what stands below the table.
func (c *Comparison) text() string {
	differ := 0
	for _, r := range c.Rows {
		if r.Differs {
			differ++
		}
	}
	s := fmt.Sprintf("%d of %d rows differ (Mann-Whitney, p adjusted by Holm's method, alpha %g)\n", differ, len(c.Rows), c.Alpha)
	if n := TrialsFor(len(c.Rows), c.Alpha); slices.ContainsFunc(c.Rows, func(r Row) bool { return !canShow(r.n1, r.n2, len(c.Rows), c.Alpha) }) {
		s += fmt.Sprintf("too few trials in some rows for any difference to show among %d rows: run both with --trials %d or more\n", len(c.Rows), n)
	}
	for _, l := range []struct {
		head  string
		lines []string
	}{{"failed in B, not in A", c.Broken}, {"thresholds crossed", c.Crossed}, {"to mind", c.Notes}} {
		if len(l.lines) == 0 {
			continue
		}
		s += "\n" + l.head + "\n"
		for _, line := range l.lines {
			s += "  " + line + "\n"
		}
	}
	return s
}

// WriteJSON writes the comparison as one JSON document.
func (c *Comparison) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(c)
}

func interval(median, low, high float64) string {
	return fmt.Sprintf("%.4g [%.4g, %.4g]", median, low, high)
}

func figure(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.4g", *v)
}

func changed(v *float64) string {
	if v == nil {
		return "-"
	}
	return percent(*v)
}
