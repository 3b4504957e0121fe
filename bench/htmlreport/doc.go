// Package htmlreport makes one page of HTML from the documents of benchmark runs.
//
// # Structure
//
//	files -> Load -> []*Run -> page (page.go, answer.go, charts.go) -> page.tmpl -> HTML
//	                             |
//	                             +-- chart.go: what is drawn, as marks with coordinates
//
// [Load] reads and checks the documents. The page is built as data: text, tables, and charts
// that are lists of marks. The template is the only place that knows HTML and SVG, so
// html/template escapes all that came from a document.
//
// # Guarantees
//
//   - The page is one file: its style and its charts are in it, it has no script, and it
//     names nothing that a browser would fetch.
//   - Each chart has a name and a description for those who do not see it, and its figures
//     as a table. A series has a shape and a dash besides its colour.
//   - An interval that reaches far beyond all medians is drawn as far as a factor of 2 beyond
//     them, with an arrow in a chart of rows; its figures are in full.
//   - A document of any content makes a page or an error. What is optional in a document
//     may be missing.
//   - The same documents make the same page, byte for byte.
//
// # Charts
//
// Libraries that draw static SVG in Go write colours and sizes as values into each element,
// and letters as shapes or in fonts of their own. Such a chart cannot follow a dark screen,
// cannot be read by a screen reader, and is too small to read on a phone. So charts are
// drawn here: a narrow picture with text of the page's own font, coloured by classes. Scales
// and their ticks are those of go-moremath.
package htmlreport
