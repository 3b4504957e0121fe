package model

import (
	"fmt"
	"io"
	"time"

	"github.com/objhash/objhash/bench"
)

// NewProgress returns a printer of progress: on a terminal one line that is drawn over,
// otherwise a line for each round. It prints between measurements only. See
// [bench.NewProgress].
func NewProgress(w io.Writer, columns func() int) (tell func(Progress), done func()) {
	if columns != nil {
		draw, done := bench.NewLine(w, columns)
		return func(p Progress) { draw(p.line()) }, done
	}
	told := 0
	return func(p Progress) {
		if p.Round != told {
			told = p.Round
			fmt.Fprintf(w, "[%d/%d] round\n", p.Round, p.Rounds)
		}
	}, func() {}
}

func (p Progress) line() string {
	s := fmt.Sprintf("round %d of %d, %s; %s", p.Round, p.Rounds, p.What, p.Elapsed.Round(time.Second))
	if p.Left > 0 {
		s += fmt.Sprintf(", about %s left", p.Left.Round(time.Second))
	}
	return s
}
