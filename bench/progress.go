package bench

import (
	"fmt"
	"io"
	"time"
)

// NewProgress returns a printer of progress: on a terminal one line that is
// drawn over, otherwise a line for each cell, and then one every ten seconds. It prints between trials only.
// Call the second function before anything else is printed.
func NewProgress(w io.Writer, terminal bool) (tell func(Progress), done func()) {
	if terminal {
		const erase = "\r\x1b[K"
		tell = func(p Progress) {
			fmt.Fprintf(w, erase+"%s: %s, %s", p.where(), p.what(), p.times())
		}
		return tell, func() { fmt.Fprint(w, erase) }
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

func (p Progress) times() string {
	s := p.Elapsed.Round(time.Second).String()
	if p.Left > 0 {
		s += fmt.Sprintf(", about %s left", p.Left.Round(time.Second))
	}
	return s
}

func (p Progress) where() string {
	s := fmt.Sprintf("[%d/%d] %s", p.Cell, p.Cells, p.Profile)
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
	case p.Round > p.Rounds:
		return fmt.Sprintf("%s, trial %d", p.Target, p.Round)
	default:
		return fmt.Sprintf("%s, trial %d of %d", p.Target, p.Round, p.Rounds)
	}
}
