package htmlreport

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/aclements/go-moremath/scale"

	"github.com/objhash/objhash/bench"
)

// chart is a picture with its figures as a table. Lengths are in the units of a picture that
// is chartWidth wide: about a pixel each on a phone, a little more elsewhere.
type chart struct {
	ID     string // unique on the page
	Title  string
	Desc   string // what those who do not see it should know
	Height float64
	Marks  []mark
	Table  table
}

const (
	chartWidth = 360
	glyph      = 7.4 // width of an average letter; text is kept within what this says
)

// Width is for the template.
func (c *chart) Width() int { return chartWidth }

// mark is one thing that is drawn: a text, a rectangle or a path.
type mark struct {
	Kind       string // "text", "rect" or "path"
	Class      string
	X, Y, W, H coordinate
	Anchor     string // of a text: middle or end; "": start
	Text       string
	Note       string // behind the text, paler
	D          string // of a path
	Tip        string // what is shown when one points at it
}

// coordinate is written with as many digits as can be seen.
type coordinate float64

func (c coordinate) String() string {
	return strconv.FormatFloat(math.Round(float64(c)*10)/10, 'f', -1, 64)
}

func (c *chart) text(class string, x, y float64, anchor, s string) {
	c.Marks = append(c.Marks, mark{Kind: "text", Class: class, X: coordinate(x), Y: coordinate(y), Anchor: anchor, Text: s})
}

func (c *chart) rect(class string, x, y, w, h float64, tip string) {
	c.Marks = append(c.Marks, mark{Kind: "rect", Class: class, X: coordinate(x), Y: coordinate(y), W: coordinate(w), H: coordinate(h), Tip: tip})
}

func (c *chart) path(class, d, tip string) {
	c.Marks = append(c.Marks, mark{Kind: "path", Class: class, D: d, Tip: tip})
}

// polyline is the path through points.
func polyline(points [][2]float64) string {
	var b strings.Builder
	for i, p := range points {
		b.WriteByte("ML"[min(i, 1)])
		fmt.Fprintf(&b, "%v %v", coordinate(p[0]), coordinate(p[1]))
	}
	return b.String()
}

// cut shortens a name to a width.
func cut(s string, width float64) string {
	r := []rune(s)
	if most := int(width / glyph); len(r) > most {
		return string(r[:max(most-1, 1)]) + "…"
	}
	return s
}

// bar is a row of a chart of bars.
type bar struct {
	name  string
	note  string // behind the name, like "reference"
	class string // its colour
	value float64
	low   float64 // low and high are equal: it has no interval
	high  float64
	label string // the figures in words
	void  bool   // it has no figure; label says why
}

// reach is how far beyond the largest median, and below the smallest, intervals are drawn, as
// a factor. Their figures say the rest.
const reach = 2

const (
	barRow   = 33.0 // a line of text, and the bar below it
	barThick = 11.0
)

// bars draws rows below each other, from zero.
func (c *chart) bars(rows []bar) {
	value, most := 0.0, 0.0
	for _, b := range rows {
		value, most = max(value, b.value), max(most, b.value, b.high)
	}
	most = min(most, reach*value) // a wide interval would leave no room for the others
	const left, right = 1.0, 6.0
	at := func(x float64) float64 { return left + max(x, 0)/max(most, figureLeast)*(chartWidth-left-right) }
	for i, b := range rows {
		top := float64(i) * barRow
		c.label(top, b.name, b.note, b.label)
		y := top + 18
		c.rect("rail", left, y, chartWidth-left-right, barThick, "")
		if b.void {
			continue
		}
		c.rect("fill "+b.class, left, y, max(at(b.value)-left, 1), barThick, "")
		if b.low < b.high {
			lo, hi, mid := at(b.low), at(min(b.high, most)), y+barThick/2
			d := polyline([][2]float64{{lo, mid}, {hi, mid}}) + polyline([][2]float64{{lo, mid - 4}, {lo, mid + 4}})
			if b.high > most {
				d += polyline([][2]float64{{hi - 4, mid - 4}, {hi, mid}, {hi - 4, mid + 4}}) // it goes on
			} else {
				d += polyline([][2]float64{{hi, mid - 4}, {hi, mid + 4}})
			}
			c.path("halo", d, "")
			c.path("whisker", d, "")
		}
	}
	c.Height = float64(len(rows))*barRow + 2
}

// ratio is a row of a forest plot.
type ratio struct {
	name, note, class string
	median, low, high float64
	label             string // the figures in words
}

// forest draws ratios below each other on a logarithmic axis, with a line at 1.
func (c *chart) forest(rows []ratio) {
	medians := []float64{1}
	for _, r := range rows {
		medians = append(medians, r.median)
	}
	least, most := slices.Min(medians)/reach, slices.Max(medians)*reach
	figures := medians
	for _, r := range rows {
		figures = append(figures, max(r.low, least), min(r.high, most))
	}
	const left, right = 8.0, chartWidth - 8.0
	s := axis{log: true}.fit(figures, 6)
	at := func(x float64) float64 { return left + s.position(x)*(right-left) }
	bottom := float64(len(rows))*barRow + 2
	grid, free := "", math.Inf(-1)
	for _, t := range s.ticks {
		x, half := at(t.at), glyph*float64(len([]rune(t.label)))/2+2
		for i := range rows { // not through the text
			top := float64(i)*barRow + 17
			grid += polyline([][2]float64{{x, top}, {x, top + barThick + 3}})
		}
		if middle := min(max(x, half), chartWidth-half); middle-half > free {
			c.text("tick", middle, bottom+16, "middle", t.label)
			free = middle + half
		}
	}
	c.path("grid", grid, "")
	for i, r := range rows {
		top := float64(i) * barRow
		c.label(top, r.name, r.note, r.label)
		mid := top + 18 + barThick/2
		c.path("one", polyline([][2]float64{{at(1), mid - 8}, {at(1), mid + 8}}), "")
		if r.low < r.high {
			lo, hi := at(max(r.low, least)), at(min(r.high, most))
			d := polyline([][2]float64{{lo, mid}, {hi, mid}})
			if r.low < least { // it goes on
				d += polyline([][2]float64{{lo + 4, mid - 4}, {lo, mid}, {lo + 4, mid + 4}})
			}
			if r.high > most {
				d += polyline([][2]float64{{hi - 4, mid - 4}, {hi, mid}, {hi - 4, mid + 4}})
			}
			c.path("reach "+r.class, d, "")
		}
		c.path("dot "+r.class, style(3).shape(at(r.median), mid), "")
	}
	c.path("base", polyline([][2]float64{{left, bottom}, {right, bottom}}), "")
	c.Height = bottom + 22
}

// label writes the line of text above a row: a name, what to say of it, and figures.
func (c *chart) label(top float64, name, note, figures string) {
	room := chartWidth - glyph*float64(len([]rune(figures))) - 10
	m := mark{Kind: "text", Class: "name", Y: coordinate(top + 13), Text: cut(name, room)}
	if glyph*float64(len([]rune(m.Text))+len(note)+2) < room {
		m.Note = note
	}
	c.Marks = append(c.Marks, m)
	if figures != "" {
		c.text("value", chartWidth, top+13, "end", figures)
	}
}

// style is how a series looks: a colour, and a shape and a dash for those who cannot tell
// colours apart. No two of the first 24 have both the same colour and the same shape.
type style int

const (
	colours = 8
	dashes  = 4
)

func (s style) colour() string { return fmt.Sprintf("c%d", int(s)%colours) }
func (s style) dash() string   { return fmt.Sprintf("d%d", (int(s)+int(s)/colours)%dashes) }

// shape is the outline of a point at x, y.
func (s style) shape(x, y float64) string {
	const r = 3.8
	move := func(dx, dy float64) string { return fmt.Sprintf("M%v %v", coordinate(x+dx), coordinate(y+dy)) }
	switch (int(s) + 2*(int(s)/colours)) % 6 {
	case 0:
		return move(-r, 0) + fmt.Sprintf("a%v %v 0 1 0 %v 0a%v %v 0 1 0 %v 0z", r, r, 2*r, r, r, -2*r)
	case 1:
		return move(-r, -r) + "h7.6v7.6h-7.6z"
	case 2:
		return move(0, -r-1) + "l4.8 8.2h-9.6z"
	case 3:
		return move(0, -r-1.2) + "l5 5l-5 5l-5 -5z"
	case 4:
		return move(0, r+1) + "l4.8 -8.2h-9.6z"
	default:
		return move(-r-1, -1.4) + "h3.4v-3.4h2.8v3.4h3.4v2.8h-3.4v3.4h-2.8v-3.4h-3.4z"
	}
}

// series is a line of a chart.
type series struct {
	name   string
	style  style
	points []point
	bare   bool // no marks at the points: there are too many
	loose  bool // no line between them
}

// point has an interval in y if low < high.
type point struct {
	x, y      float64
	low, high float64
	tip       string
}

// axis is one direction of a chart.
type axis struct {
	title string
	log   bool
	ticks []tick   // fixed ones; nil: they follow from the figures
	least *float64 // where it begins; nil: where the figures do, or at 0 if that is not log
	label func(float64) string

	// What lies beyond the last place that is known is drawn apart; 0: nothing.
	known  int
	beyond string
}

type tick struct {
	at    float64
	label string
}

// scaled is an axis with its range.
type scaled struct {
	position func(float64) float64 // in 0..1
	ticks    []tick
}

// fit gives an axis the range of its figures.
func (a axis) fit(figures []float64, most int) scaled {
	low, high := slices.Min(figures), slices.Max(figures)
	if a.least != nil {
		low = *a.least
	}
	for _, t := range a.ticks {
		low, high = min(low, t.at), max(high, t.at)
	}
	if a.log {
		return a.fitLog(low, high, most)
	}
	if a.ticks == nil {
		low = min(low, 0)
	}
	if low == high {
		high = low + 1
	}
	s := scale.Linear{Min: low, Max: high}
	ticks := a.ticks
	if ticks == nil {
		o := scale.TickOptions{Max: most}
		s.Nice(o)
		major, _ := s.Ticks(o)
		ticks = a.labelled(major)
	}
	return scaled{s.Map, ticks}
}

func (a axis) fitLog(low, high float64, most int) scaled {
	low, high = max(low, figureLeast), max(high, figureLeast)
	if low == high {
		low, high = low/2, high*2
	}
	if a.ticks == nil {
		low, high = roundDown(low), 1/roundDown(1/high)
	}
	s, err := scale.NewLog(low, high, 10)
	if err != nil { // its range has a 0, which max took out
		panic(err)
	}
	ticks := a.ticks
	if ticks == nil {
		major, minor := s.Ticks(scale.TickOptions{Max: most})
		if len(major) < 4 {
			major = append(major, roundOnes(minor)...)
			slices.Sort(major)
			major = slices.Compact(major)
		}
		ticks = a.labelled(major)
	}
	return scaled{s.Map, ticks}
}

// roundDown returns the next number below that begins with 1, 2 or 5.
func roundDown(x float64) float64 {
	decade := math.Pow(10, math.Floor(math.Log10(x)+1e-9))
	for _, d := range []float64{5, 2} {
		if x >= d*decade*(1-1e-9) {
			return d * decade
		}
	}
	return decade
}

// roundOnes are those that begin with 2 or 5.
func roundOnes(all []float64) (some []float64) {
	for _, x := range all {
		if d := math.Round(x / math.Pow(10, math.Floor(math.Log10(x)+1e-9))); d == 2 || d == 5 {
			some = append(some, x)
		}
	}
	return some
}

func (a axis) labelled(all []float64) (ticks []tick) {
	label := a.label
	if label == nil {
		label = short
	}
	for _, x := range all {
		ticks = append(ticks, tick{x, label(x)})
	}
	return ticks
}

// short writes a round number in few letters.
func short(x float64) string {
	switch a := math.Abs(x); {
	case a >= 1e9:
		return round(x/1e9, "G")
	case a >= 1e6:
		return round(x/1e6, "M")
	case a >= 1e3:
		return round(x/1e3, "k")
	default:
		return round(x, "")
	}
}

// shortTime is short for a time in ns.
func shortTime(ns float64) string {
	switch {
	case ns < 1e3:
		return round(ns, " ns")
	case ns < 1e6:
		return round(ns/1e3, " µs")
	case ns < 1e9:
		return round(ns/1e6, " ms")
	default:
		return round(ns/1e9, " s")
	}
}

func round(x float64, unit string) string { return strconv.FormatFloat(x, 'g', 4, 64) + unit }

// The place of the lines in a chart of lines.
const (
	plotLeft   = 54.0
	plotRight  = chartWidth - 12.0
	plotTop    = 24.0
	plotBottom = 214.0
	keyRow     = 18.0
)

// lines draws series over two axes, and their names below. It draws nothing, and says so,
// without a point.
func (c *chart) lines(x, y axis, all []series) bool {
	var xs, ys []float64
	for _, s := range all {
		for _, p := range s.points {
			xs, ys = append(xs, p.x), append(ys, p.y)
		}
	}
	if len(xs) == 0 {
		return false
	}
	all, least, most := slices.Clone(all), slices.Min(ys)/reach, slices.Max(ys)*reach
	for i, s := range all {
		all[i].points = slices.Clone(s.points)
		for k := range all[i].points {
			if p := &all[i].points[k]; p.low < p.high {
				p.low, p.high = max(p.low, least), min(p.high, most)
				ys = append(ys, p.low, p.high)
			}
		}
	}
	sx, sy := x.fit(xs, 7), y.fit(ys, 6)
	px := func(v float64) float64 { return plotLeft + sx.position(v)*(plotRight-plotLeft) }
	py := func(v float64) float64 { return plotBottom - sy.position(v)*(plotBottom-plotTop) }
	c.axes(x, y, sx, sy, px, py)
	for _, s := range all {
		c.series(s, px, py)
	}
	c.Height = c.key(all, plotBottom+52) + 2
	return true
}

func (c *chart) axes(x, y axis, sx, sy scaled, px, py func(float64) float64) {
	c.text("axis", 0, 12, "", y.title)
	c.beyond(x, sx, px)
	grid, free := "", math.Inf(1) // below the label before
	for _, t := range sy.ticks {
		at := py(t.at)
		grid += polyline([][2]float64{{plotLeft, at}, {plotRight, at}})
		if at < free {
			c.text("tick", plotLeft-6, at+4, "end", t.label)
			free = at - 16
		}
	}
	free = math.Inf(-1)
	for _, t := range sx.ticks {
		at, half := px(t.at), glyph*float64(len([]rune(t.label)))/2+2
		grid += polyline([][2]float64{{at, plotBottom}, {at, plotBottom + 4}})
		middle := min(max(at, half), chartWidth-half) // at the edge it would be cut off
		if middle-half > free {
			c.text("tick", middle, plotBottom+17, "middle", t.label)
			free = middle + half
		}
	}
	c.path("grid", grid, "")
	c.path("base", polyline([][2]float64{{plotLeft, plotBottom}, {plotRight, plotBottom}}), "")
	c.text("axis", (plotLeft+plotRight)/2, plotBottom+34, "middle", x.title)
}

// beyond shades the part of a plot with ticks beyond what is known, from half way between.
func (c *chart) beyond(x axis, s scaled, px func(float64) float64) {
	first := slices.IndexFunc(s.ticks, func(t tick) bool { return x.known > 0 && t.at > float64(x.known) })
	if first < 0 {
		return
	}
	from := plotLeft
	if first > 0 {
		from = (px(s.ticks[first-1].at) + px(s.ticks[first].at)) / 2
	}
	c.rect("rail", from, plotTop-6, chartWidth-from, plotBottom-plotTop+6, "")
	c.text("note", chartWidth, 12, "end", x.beyond)
}

func (c *chart) series(s series, px, py func(float64) float64) {
	var points [][2]float64
	for i, p := range s.points {
		x, y := px(p.x), py(p.y)
		if last := len(points) - 1; s.bare && 0 < i && i < len(s.points)-1 && math.Hypot(x-points[last][0], y-points[last][1]) < 1 {
			continue // it cannot be seen
		}
		points = append(points, [2]float64{x, y})
		if p.low < p.high {
			c.path("spread "+s.style.colour(), polyline([][2]float64{{px(p.x), py(p.low)}, {px(p.x), py(p.high)}}), "")
		}
	}
	if !s.loose {
		c.path("line "+s.style.colour()+" "+s.style.dash(), polyline(points), s.name)
	}
	if s.bare {
		return
	}
	for i, p := range s.points {
		c.path("dot "+s.style.colour(), s.style.shape(points[i][0], points[i][1]), p.tip)
	}
}

// key names the series in two columns from top on, and returns where it ends.
func (c *chart) key(all []series, top float64) float64 {
	const column = chartWidth / 2
	for i, s := range all {
		x, y := float64(i%2)*column, top+float64(i/2)*keyRow
		if !s.loose {
			c.path("line "+s.style.colour()+" "+s.style.dash(), polyline([][2]float64{{x + 2, y}, {x + 28, y}}), "")
		}
		if !s.bare {
			c.path("dot "+s.style.colour(), s.style.shape(x+15, y), "")
		}
		c.text("name", x+34, y+4, "", cut(s.name, column-38))
	}
	return top + float64((len(all)+1)/2)*keyRow - keyRow/2
}

// kind is a part of a whole, and how it looks, the same in all charts.
type kind struct {
	name string
	look int
}

func (k kind) class() string { return fmt.Sprint(min(k.look, stackKinds-1)) }

// stack is a row of a chart of parts of a whole.
type stack struct {
	name  string
	note  string
	parts []float64 // shares, in the order of the kinds
}

// stacks draws rows of shares, and the kinds below.
func (c *chart) stacks(kinds []kind, rows []stack) {
	for i, r := range rows {
		top := float64(i) * barRow
		c.label(top, r.name, "", r.note)
		x := 0.0
		for k, share := range r.parts {
			w := share * chartWidth
			if w <= 0 {
				continue
			}
			tip := fmt.Sprintf("%s: %s %s", r.name, kinds[k].name, percent(share))
			c.rect("part k"+kinds[k].class(), x, top+17, w, barThick+3, tip)
			if label := percent(share); w > glyph*float64(len(label))+4 {
				c.text("share on"+kinds[k].class(), x+w/2, top+28, "middle", label)
			}
			x += w
		}
	}
	top := float64(len(rows))*barRow + 14
	const columns = 3
	for k, kind := range kinds {
		x, y := float64(k%columns)*chartWidth/columns, top+float64(k/columns)*keyRow
		c.rect("part k"+kind.class(), x, y-6, 12, 12, "")
		c.text("name", x+18, y+4, "", cut(kind.name, chartWidth/columns-22))
	}
	c.Height = top + float64((len(kinds)+columns-1)/columns)*keyRow
}

// stackKinds is how many kinds have a look of their own.
const stackKinds = 9

func percent(share float64) string { return fmt.Sprintf("%.0f %%", share*100) }

// nanoseconds writes about three digits, in the unit that suits.
func nanoseconds(ns float64) string {
	switch {
	case ns < 1e3:
		return bench.Digits(ns) + " ns"
	case ns < 1e6:
		return bench.Digits(ns/1e3) + " µs"
	case ns < 1e9:
		return bench.Digits(ns/1e6) + " ms"
	default:
		return bench.Digits(ns/1e9) + " s"
	}
}
