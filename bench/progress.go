package bench

import (
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
)

// NewProgress returns a printer of progress: on a terminal, which has columns, one line that
// is drawn over, otherwise a line for each cell, and then one every ten seconds. It prints
// between trials only. Call the second function before anything else is printed.
func NewProgress(w io.Writer, columns func() int) (tell func(Progress), done func()) {
	if columns != nil {
		draw, done := NewLine(w, columns)
		return func(p Progress) { draw(p.line()) }, done
	}
	const often = 10 * time.Second
	told := time.Duration(0)
	tell = func(p Progress) {
		switch {
		case !p.MakingWorkload:
			return
		case p.Visit == 1:
			fmt.Fprintf(w, "%s\n", p.where())
		case p.Elapsed-told >= often:
			fmt.Fprintf(w, "%s, visit %d: %s\n", p.where(), p.Visit, p.times())
		default:
			return
		}
		told = p.Elapsed
	}
	return tell, func() {}
}

// NewLine returns what draws a line of a terminal over the last one, and what erases it. A
// line that is too long is cut: one that wraps could not be drawn over.
func NewLine(w io.Writer, columns func() int) (draw func(string), erase func()) {
	const clear = "\r\x1b[K"
	draw = func(line string) {
		if most := columns() - 1; text.StringWidth(line) > most { // the cursor takes one
			line = text.Snip(line, max(most, 1), "~")
		}
		fmt.Fprint(w, clear+line)
	}
	return draw, func() { fmt.Fprint(w, clear) }
}

// line begins with what changes most, as a narrow terminal shows no more of it.
func (p Progress) line() string {
	return fmt.Sprintf("[%d/%d] %s; %s; %s", p.Cell, p.Cells, p.times(), p.what(), p.load())
}

func (p Progress) times() string {
	s := p.Elapsed.Round(time.Second).String()
	if p.Left > 0 {
		s += fmt.Sprintf(", about %s left", p.Left.Round(time.Second))
	}
	return s
}

func (p Progress) where() string { return fmt.Sprintf("[%d/%d] %s", p.Cell, p.Cells, p.load()) }

func (p Progress) load() string {
	s := p.Profile
	if p.Objects > 0 {
		s += ", " + plural(p.Objects, "object")
	}
	return s + ", " + plural(p.Threads, "thread")
}

func (p Progress) what() string {
	switch {
	case p.MakingWorkload:
		return "making the workload"
	case p.Latency:
		return p.Target + ", timing calls"
	case p.Profiling:
		return p.Target + ", under a profiler"
	case p.Fresh:
		return p.Target + ", memory of a fresh process"
	case p.WarmUp:
		return p.Target + ", warm-up"
	}
	s := fmt.Sprintf("%s, trial %d", p.Target, p.Round)
	if p.Round <= p.Rounds {
		s += fmt.Sprintf(" of %d", p.Rounds)
	}
	if p.MedianNs > 0 {
		s += fmt.Sprintf(", %.3g ns/op so far", p.MedianNs)
	}
	return s
}
