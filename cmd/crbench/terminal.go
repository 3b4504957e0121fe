package main

import (
	"io"
	"os"
	"regexp"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"
)

// columns returns what tells how wide a stream is now, for lines that are drawn over. It is
// nil where they cannot be: in a file, a pipe, or a dumb terminal.
func columns(w any) func() int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	return func() int {
		const usual = 80
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
		return usual // a terminal that does not know
	}
}

// colored returns w, in which a terminal shows in colour what a person must not miss. The
// words are the same without. Package text heeds NO_COLOR.
func colored(w io.Writer) io.Writer {
	if columns(w) == nil {
		return w
	}
	return highlighter{w}
}

// highlighter gives colours to what is written, which has to be whole lines.
type highlighter struct{ w io.Writer }

var highlights = []struct {
	words *regexp.Regexp
	color text.Color
}{
	{regexp.MustCompile(`\b(FAILED|CROSSED)\b|(?m)^ *failed:|^(failed in B, not in A|thresholds crossed)$`), text.FgHiRed},
	{regexp.MustCompile(`(?m)^(warning|interrupted):|^to mind$`), text.FgHiYellow},
}

func (h highlighter) Write(b []byte) (int, error) {
	colored := b
	for _, light := range highlights {
		colored = light.words.ReplaceAllFunc(colored, func(words []byte) []byte { return []byte(light.color.Sprint(string(words))) })
	}
	if _, err := h.w.Write(colored); err != nil {
		return 0, err
	}
	return len(b), nil
}

// progress returns a printer of progress on a stream, and what ends it; both do nothing if
// the person wants none.
func progress[P any](quiet bool, w io.Writer, printer func(io.Writer, func() int) (func(P), func())) (tell func(P), done func()) {
	if quiet {
		return func(P) {}, func() {}
	}
	return printer(w, columns(w))
}
