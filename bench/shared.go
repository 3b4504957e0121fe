package bench

import (
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
)

// What packages that report other measurements share with this one.

// Choose returns those of all that have the names, in the order of the names; "all" and no
// name at all stand for everything. what is what one is called in errors, which wrap
// [ErrChoice] and name what is near.
func Choose[T any](what string, names []string, all []T, nameOf func(T) string) ([]T, error) {
	return choose(what, names, all, nameOf)
}

// WriteFile replaces a file by what write writes: readers see the old document or the new
// one, never a part.
func WriteFile(path string, write func(io.Writer) error) error { return writeFile(path, write) }

// WriteJSON writes a report as one JSON document.
func WriteJSON(w io.Writer, report any) error { return writeJSON(w, report) }

// NewTable returns a table whose first column is of words and the others of figures.
func NewTable(header table.Row) table.Writer { return newTable(header) }

// FolderExists tells early what [WriteFile] would fail with in the end.
func FolderExists(path string) error { return folderExists(path) }

// Summarize returns the median of samples, of which there must be one, and what it lies
// between.
func Summarize(samples []float64) Interval {
	i, _ := summarize(samples)
	return i
}

// Digits writes about three significant digits, without an exponent.
func Digits(x float64) string { return digits(x) }

// Grouped writes n with a comma between thousands.
func Grouped[T int | int64](n T) string { return grouped(n) }

// Plural writes n and the word for that many.
func Plural[T int | int64](n T, what string) string { return plural(n, what) }

// Cells returns the results by cell, in the order of the run, without the cells that have no
// figure and no failure.
func (r *Report) Cells() [][]*Result { return r.cells() }

// Reference returns what the others of a cell are compared with; nil: nothing.
func (r *Report) Reference(cell []*Result) *Result {
	reference, _ := r.reference(cell)
	return reference
}
