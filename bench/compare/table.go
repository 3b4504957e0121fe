package compare

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
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
	for n := 4; n <= 11; n++ {
		columns = append(columns, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight, AlignFooter: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	t.AppendHeader(table.Row{"profile", "objects, threads", "target", "A ns/op", "B ns/op", "change", "sees", "p", "A B/object", "B B/object", "change"})
	for i := range c.Rows {
		r := &c.Rows[i]
		change := "~"
		if r.Differs {
			change = percent(r.LevelChange)
		}
		t.AppendRow(table.Row{
			r.Profile, fmt.Sprintf("%d, %d", r.Objects, r.Threads), r.Target,
			interval(r.A.Median, r.A.Low, r.A.High), interval(r.B.Median, r.B.Low, r.B.High), change, sees(r.Sees), fmt.Sprintf("%.3g", r.P),
			figure(r.ABytes), figure(r.BBytes), changed(r.BytesChange),
		})
	}
	t.AppendFooter(table.Row{"geomean", "", "", "", "", changed(c.GeomeanNs), "", "", "", "", changed(c.GeomeanBytes)})
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
	s := fmt.Sprintf("%d of %d rows differ (Welch's test of blocks of rounds, p adjusted by Holm's method, alpha %g)\n", differ, len(c.Rows), c.Alpha)
	s += c.sight()
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

// sightWanted is the difference that a comparison should be able to see.
const sightWanted = 0.05

// sight says what the comparison could have seen, and what it would take to see more.
func (c *Comparison) sight() string {
	if n := c.count(func(r *Row) bool { return r.Sees == nil }); n > 0 {
		return fmt.Sprintf("too few trials in %d of %d rows for any difference to show: run both with --trials %d or more\n", n, len(c.Rows), trialsWanted)
	}
	worst, best := 0.0, math.Inf(1)
	for _, r := range c.Rows {
		worst, best = max(worst, *r.Sees), min(best, *r.Sees)
	}
	if len(c.Rows) == 0 {
		return ""
	}
	s := fmt.Sprintf("this comparison could have seen differences of about %s or more, in its best row %s (19 times of 20)\n", sees(&worst), sees(&best))
	if worst > sightWanted {
		s += fmt.Sprintf("to see %s, run both for longer (--trials %d or more, or --budget with a small --width), with several targets, on a machine that does nothing else\n", sees(ptr(sightWanted)), max(trialsWanted, 4*c.fewest()))
	}
	return s
}

// trialsWanted is how many trials give blocks in which some are not disturbed.
const trialsWanted = 50

func (c *Comparison) fewest() int {
	r := slices.MinFunc(c.Rows, func(a, b Row) int { return cmp.Compare(min(a.n1, a.n2), min(b.n1, b.n2)) })
	return min(r.n1, r.n2)
}

func ptr(v float64) *float64 { return &v }

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

func sees(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.2g %%", 100**v)
}
