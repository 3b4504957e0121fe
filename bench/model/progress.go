package model

import (
	"fmt"
	"io"
)

// NewProgress returns a printer of progress: on a terminal one line that is drawn over,
// otherwise a line for each round. It prints between measurements only. Call the second
// function before anything else is printed.
func NewProgress(w io.Writer, terminal bool) (tell func(Progress), done func()) {
	if terminal {
		const erase = "\r\x1b[K"
		return func(p Progress) { fmt.Fprintf(w, erase+"round %d of %d, %s", p.Round, p.Rounds, p.What) },
			func() { fmt.Fprint(w, erase) }
	}
	told := 0
	return func(p Progress) {
		if p.Round != told {
			told = p.Round
			fmt.Fprintf(w, "[%d/%d] round\n", p.Round, p.Rounds)
		}
	}, func() {}
}
