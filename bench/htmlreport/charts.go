package htmlreport

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/attribution"
)

// table has a header for each row: its first column.
type table struct {
	Caption string
	Header  []string
	Rows    [][]datum
}

// datum is a cell of a table. Heat is 0..heats, from none and the best to the worst.
type datum struct {
	Text string
	Note string
	Heat int
	Best bool
}

const heats = 6

func data(texts ...string) (row []datum) {
	for _, s := range texts {
		row = append(row, datum{Text: s})
	}
	return row
}

// names gives each target of all runs its look, in the order in which they are met.
type names map[string]style

func (n names) of(name string) style {
	s, ok := n[name]
	if !ok {
		s = style(len(n))
		n[name] = s
	}
	return s
}

func sizeWords(objects int) string { return bench.Plural(objects, "object") }

// threadWords says so if not all of the threads could run at a time.
func (run *Run) threadWords(threads int) string {
	s := bench.Plural(threads, "thread")
	if p := run.processors(); threads > p {
		s += " on " + bench.Plural(p, "processor")
	}
	return s
}

func (run *Run) cellWords(res *bench.Result) string {
	return sizeWords(res.Objects) + ", " + run.threadWords(res.Threads)
}

// cellChart has a bar for each target of a cell, the fastest first.
func (b *builder) cellChart(run *Run, cell []*bench.Result) *chart {
	head := cell[0]
	c := b.chart("Time per operation: "+run.cellWords(head), fmt.Sprintf("%s: ns per operation, less is better", head.Profile))
	reference := run.report.Reference(cell)
	header := []string{"target", "ns/op", "interval", "Mops/s", "bytes/object", "trials", "verified"}
	if reference != nil {
		header = append(header, "× "+reference.Target)
	}
	c.Table = table{Caption: head.Profile + ", " + run.cellWords(head), Header: header}
	var rows []bar
	for _, res := range slices.SortedStableFunc(slices.Values(cell), byTime) {
		row := bar{name: res.Target, class: b.names.of(res.Target).colour()}
		switch ns := res.NsPerOp; {
		case res.Error != "":
			row.void, row.label = true, "failed"
		case ns == nil:
			row.void, row.label = true, "no figure"
		default:
			row.value, row.low, row.high = ns.Median, ns.Low, ns.High
			row.label = bench.Digits(ns.Median) + " " + interval(*ns)
		}
		switch {
		case res.NoTable:
			row.note = "no table"
		case res.Unsteady:
			row.note = "unsteady"
		case res == reference:
			row.note = "reference"
		}
		rows = append(rows, row)
		c.Table.Rows = append(c.Table.Rows, run.cellRow(res, reference))
	}
	c.bars(rows)
	return c
}

func byTime(a, b *bench.Result) int {
	time := func(res *bench.Result) float64 {
		if res.NsPerOp == nil {
			return math.Inf(1)
		}
		return res.NsPerOp.Median
	}
	return cmp.Compare(time(a), time(b))
}

func (run *Run) cellRow(res, reference *bench.Result) []datum {
	row := data(res.Target, "–", "–", "–", "–", bench.Grouped(res.Trials), verdict(res))
	if ns := res.NsPerOp; ns != nil {
		row[1].Text, row[2].Text, row[3].Text = bench.Digits(ns.Median), cmp.Or(interval(*ns), "–"), bench.Digits(1000/ns.Median)
	}
	if res.BytesPerObject != nil {
		row[4].Text = fmt.Sprintf("%.1f", *res.BytesPerObject)
	}
	row[5].Note = doubts(res)
	if reference == nil {
		return row
	}
	times := datum{Text: "–"}
	if res.NsPerOp != nil {
		t, _ := run.timesFaster(res, reference)
		times.Text = bench.Digits(t.Median)
		if res != reference {
			times.Note = interval(t)
		}
	}
	return append(row, times)
}

// doubts are what makes trials tell less than as many others.
func doubts(res *bench.Result) string {
	var all []string
	if n := len(res.Outliers); n > 0 {
		all = append(all, bench.Plural(n, "outlier"))
	}
	if res.Unsteady {
		all = append(all, "unsteady")
	}
	if most := slices.Max(append([]float64{0}, res.StealPercents...)); most >= 1 {
		all = append(all, fmt.Sprintf("up to %.0f %% of the CPU stolen", most))
	}
	return strings.Join(all, ", ")
}

func verdict(res *bench.Result) string {
	switch {
	case res.Error != "":
		return "FAILED"
	case res.NoTable:
		return "no table"
	case !res.Verified:
		return "–"
	default:
		return "yes"
	}
}

// measured are the targets of results that have figures, in their order.
func measured(results []*bench.Result) (targets []string) {
	for _, res := range results {
		if res.NsPerOp != nil && !slices.Contains(targets, res.Target) {
			targets = append(targets, res.Target)
		}
	}
	return targets
}

// sweep draws a figure of each target against a number that the results differ in. Fewer
// than two numbers make no chart.
func (b *builder) sweep(c *chart, results []*bench.Result, x, y axis, number func(*bench.Result) int, figure func(ns float64) float64, unit string) *chart {
	var numbers []int
	for _, res := range results {
		if n := number(res); res.NsPerOp != nil && n > 0 && !slices.Contains(numbers, n) {
			numbers = append(numbers, n)
		}
	}
	if len(numbers) < 2 {
		return nil
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		x.ticks = append(x.ticks, tick{float64(n), short(float64(n))})
	}
	x.log = true
	c.Table = table{Caption: c.Desc, Header: []string{"target"}}
	for _, n := range numbers {
		c.Table.Header = append(c.Table.Header, bench.Plural(n, unit))
	}
	var all []series
	for _, name := range measured(results) {
		s := series{name: name, style: b.names.of(name)}
		row := slices.Repeat(data("–"), len(numbers)+1)
		row[0].Text = name
		for i, n := range numbers {
			at := slices.IndexFunc(results, func(res *bench.Result) bool {
				return res.Target == name && number(res) == n && res.NsPerOp != nil
			})
			if at < 0 {
				continue
			}
			ns := results[at].NsPerOp
			p := point{x: float64(n), y: figure(ns.Median), low: figure(ns.Low), high: figure(ns.High)}
			p.low, p.high = min(p.low, p.high), max(p.low, p.high)
			words := bench.Digits(p.y) + " " + interval(bench.Interval{Low: p.low, High: p.high})
			p.tip = fmt.Sprintf("%s, %s: %s %s", name, bench.Plural(n, unit), words, y.title)
			row[i+1] = datum{Text: bench.Digits(p.y), Note: interval(bench.Interval{Low: p.low, High: p.high})}
			s.points = append(s.points, p)
		}
		all = append(all, s)
		c.Table.Rows = append(c.Table.Rows, row)
	}
	y.log = wide(all)
	if !c.lines(x, y, all) {
		return nil
	}
	return c
}

// wide says whether figures differ so much that small ones would vanish on a linear axis.
func wide(all []series) bool {
	low, high := math.Inf(1), 0.0
	for _, s := range all {
		for _, p := range s.points {
			low, high = min(low, p.y), max(high, p.y)
		}
	}
	return high > 12*low
}

// threadsChart is the throughput of each target by the number of threads.
func (b *builder) threadsChart(run *Run, profile string, objects int, results []*bench.Result) *chart {
	c := b.chart("Throughput by threads: "+sizeWords(objects), profile+": million operations per second by number of threads, more is better")
	x := axis{title: "threads", known: run.processors(), beyond: "more than processors"}
	return b.sweep(c, results, x, axis{title: "Mops/s"},
		func(res *bench.Result) int { return res.Threads }, func(ns float64) float64 { return 1000 / ns }, "thread")
}

// sizeChart is the time of each target by the number of objects.
func (b *builder) sizeChart(profile, title string, threads int, results []*bench.Result) *chart {
	c := b.chart(title, profile+": ns per operation by number of objects, less is better")
	return b.sweep(c, results, axis{title: "objects"}, axis{title: "ns/op"},
		func(res *bench.Result) int { return res.Objects }, func(ns float64) float64 { return ns }, "object")
}

// bytesChart has the memory of each target, of the cell with most threads.
func (b *builder) bytesChart(profile string, objects int, results []*bench.Result) *chart {
	most := map[string]*bench.Result{}
	for _, res := range results {
		if old := most[res.Target]; res.BytesPerObject != nil && (old == nil || res.Threads > old.Threads) {
			most[res.Target] = res
		}
	}
	if len(most) == 0 {
		return nil
	}
	c := b.chart("Memory: "+sizeWords(objects), profile+": bytes per object, less is better")
	c.Table = table{Caption: profile + ", " + sizeWords(objects) + ": memory",
		Header: []string{"target", "bytes/object", "from", "of the process", "threads"}}
	var rows []bar
	sorted := slices.SortedFunc(maps.Values(most), func(x, y *bench.Result) int {
		return cmp.Or(cmp.Compare(*x.BytesPerObject, *y.BytesPerObject), cmp.Compare(x.Target, y.Target))
	})
	for _, res := range sorted {
		bytes := *res.BytesPerObject
		label := fmt.Sprintf("%.1f B", bytes)
		if bytes >= 1000 {
			label = bench.Grouped(int64(bytes+0.5)) + " B"
		}
		rows = append(rows, bar{name: res.Target, class: b.names.of(res.Target).colour(), value: bytes, label: label})
		row := data(res.Target, fmt.Sprintf("%.1f", bytes), res.BytesSource, "–", bench.Grouped(res.Threads))
		if rss := res.RSSBytesPerObject; rss != nil {
			row[3].Text = fmt.Sprintf("%.1f", *rss)
		}
		c.Table.Rows = append(c.Table.Rows, row)
	}
	c.bars(rows)
	return c
}

// cpuChart has what each target of a cell spent its time on; nil: there are no profiles.
func (b *builder) cpuChart(run *Run, cell []*bench.Result) *chart {
	spent := map[attribution.Category]bool{}
	var results []*bench.Result
	for _, res := range slices.SortedStableFunc(slices.Values(cell), byTime) {
		if res.CPU != nil && len(res.CPU.Shares) > 0 {
			results = append(results, res)
			for kind := range res.CPU.Shares {
				spent[kind] = true
			}
		}
	}
	if len(results) == 0 {
		return nil
	}
	where := cell[0].Profile + ", " + run.cellWords(cell[0])
	c := b.chart("CPU time: "+run.cellWords(cell[0]), cell[0].Profile+": shares of the CPU time of each target, by kind of work")
	c.Table = table{Caption: where + ": CPU time", Header: []string{"target"}}
	var kinds []kind
	for _, name := range slices.SortedFunc(maps.Keys(spent), byCategory) {
		kinds = append(kinds, kind{string(name), categoryRank(name)})
		c.Table.Header = append(c.Table.Header, string(name))
	}
	c.Table.Header = append(c.Table.Header, "samples")
	var rows []stack
	for _, res := range results {
		s, row := stack{name: res.Target}, data(res.Target)
		if res.CPU.Samples < samplesEnough {
			s.note = bench.Plural(res.CPU.Samples, "sample") + " only"
		}
		for _, k := range kinds {
			share := res.CPU.Shares[attribution.Category(k.name)]
			s.parts = append(s.parts, share)
			row = append(row, datum{Text: percent(share)})
		}
		c.Table.Rows = append(c.Table.Rows, append(row, datum{Text: bench.Grouped(res.CPU.Samples)}))
		rows = append(rows, normal(s))
	}
	c.stacks(kinds, rows)
	return c
}

// samplesEnough is how many samples tell a share to about 5 % of the whole.
const samplesEnough = 100

// categoryRank is the place of a category; those that are not known come last.
func categoryRank(c attribution.Category) int {
	if i := slices.Index(attribution.Categories(), c); i >= 0 {
		return i
	}
	return len(attribution.Categories())
}

func byCategory(x, y attribution.Category) int {
	return cmp.Or(cmp.Compare(categoryRank(x), categoryRank(y)), cmp.Compare(x, y))
}

// waitChart has how long the threads of each target waited for each other; nil: none did.
func (b *builder) waitChart(run *Run, cell []*bench.Result) *chart {
	c := b.chart("Waiting: "+run.cellWords(cell[0]), cell[0].Profile+": ns per operation that threads slept for each other, in a trial that recorded it, which makes it longer")
	c.Table = table{Caption: cell[0].Profile + ", " + run.cellWords(cell[0]) + ": waiting",
		Header: []string{"target", "ns/op waited", "of it for mutexes"}}
	var rows []bar
	most := 0.0
	for _, res := range slices.SortedStableFunc(slices.Values(cell), byTime) {
		if w := res.Contention; w != nil {
			most = max(most, w.BlockNs)
			label := bench.Digits(w.BlockNs)
			rows = append(rows, bar{name: res.Target, class: b.names.of(res.Target).colour(), value: w.BlockNs, label: label})
			c.Table.Rows = append(c.Table.Rows, data(res.Target, label, bench.Digits(min(w.MutexNs, w.BlockNs))))
		}
	}
	if most == 0 {
		return nil
	}
	c.bars(rows)
	return c
}

// normal keeps shares that add up to more than all within the picture.
func normal(s stack) stack {
	sum := 0.0
	for _, p := range s.parts {
		sum += p
	}
	if sum > 1 {
		for i := range s.parts {
			s.parts[i] /= sum
		}
	}
	return s
}

// matrices compare all targets over all profiles, one table for each number of threads. One
// target or one profile needs none.
func (run *Run) matrices(cells [][]*bench.Result) (all []table) {
	var threads []int
	for _, cell := range cells {
		if !slices.Contains(threads, cell[0].Threads) {
			threads = append(threads, cell[0].Threads)
		}
	}
	slices.Sort(threads)
	for _, n := range threads {
		some := slices.DeleteFunc(slices.Clone(cells), func(cell []*bench.Result) bool { return cell[0].Threads != n })
		if t := matrix(some); len(t.Rows) > 1 && len(t.Header) > 2 {
			t.Caption = "ns/op, " + run.threadWords(n)
			all = append(all, t)
		}
	}
	return all
}

func matrix(cells [][]*bench.Result) table {
	t := table{Header: []string{"target"}}
	targets := measured(slices.Concat(cells...))
	for _, name := range targets {
		t.Rows = append(t.Rows, data(name))
	}
	sizes := map[string]int{}
	for _, cell := range cells {
		sizes[cell[0].Profile]++
	}
	for _, cell := range cells {
		name := cell[0].Profile
		if sizes[name] > 1 {
			name += ", " + short(float64(cell[0].Objects))
		}
		t.Header = append(t.Header, name)
		best := math.Inf(1)
		for _, res := range cell {
			if res.NsPerOp != nil && !res.NoTable {
				best = min(best, res.NsPerOp.Median)
			}
		}
		for i, target := range targets {
			at := slices.IndexFunc(cell, func(res *bench.Result) bool { return res.Target == target })
			t.Rows[i] = append(t.Rows[i], heat(cell, at, best))
		}
	}
	return t
}

// heat is a figure beside the best of its cell: 6 steps of which each doubles, nearly.
func heat(cell []*bench.Result, at int, best float64) datum {
	switch {
	case at < 0:
		return datum{Text: "–"}
	case cell[at].Error != "":
		return datum{Text: "failed"}
	case cell[at].NsPerOp == nil:
		return datum{Text: "–"}
	}
	ns := cell[at].NsPerOp.Median
	d := datum{Text: bench.Digits(ns)}
	switch {
	case cell[at].NoTable || math.IsInf(best, 1):
		d.Note = "no table"
	case ns <= best:
		d.Best, d.Note, d.Heat = true, "best", 1
	default:
		d.Note = "× " + bench.Digits(ns/best)
		d.Heat = min(1+int(math.Ceil(math.Log(ns/best)/math.Log(1.8))), heats)
	}
	return d
}

// pairsChart has by how much each target of a cell is ahead of the one that the cell is
// compared with, from trials side by side; nil: the run compared none.
func (b *builder) pairsChart(run *Run, cell []*bench.Result) *chart {
	head := cell[0]
	pairs := slices.DeleteFunc(slices.Clone(run.report.Pairs), func(p bench.Pair) bool {
		return p.Profile != head.Profile || p.Objects != head.Objects || p.Threads != head.Threads
	})
	if len(pairs) == 0 {
		return nil
	}
	slices.SortStableFunc(pairs, func(p, q bench.Pair) int { return cmp.Compare(q.TimesFaster.Median, p.TimesFaster.Median) })
	against := pairs[0].Against
	c := b.chart("Times as fast as "+against+": "+run.cellWords(head),
		head.Profile+": ratio of the trials of each round, with its interval; right of 1 is faster")
	c.Table = table{Caption: head.Profile + ", " + run.cellWords(head) + ": comparison, round by round",
		Header: []string{"target", "against", "times as fast", "interval", "p", "clear"}}
	var rows []ratio
	for _, p := range pairs {
		t := p.TimesFaster
		r := ratio{name: p.Target, class: b.names.of(p.Target).colour(), median: t.Median, low: t.Low, high: t.High,
			label: bench.Digits(t.Median) + " " + interval(t)}
		clear := "yes"
		if t.Low <= 1 && t.High >= 1 {
			clear, r.note = "no", "not clear"
		}
		rows = append(rows, r)
		c.Table.Rows = append(c.Table.Rows, data(p.Target, p.Against, bench.Digits(t.Median), interval(t), fmt.Sprintf("%.2g", p.P), clear))
	}
	c.forest(rows)
	return c
}

func (run *Run) thresholdsTable() *table {
	if len(run.report.Thresholds) == 0 {
		return nil
	}
	t := &table{Caption: "Thresholds of the profiles",
		Header: []string{"profile", "target", "objects", "threads", "what", "limit", "value", "outcome"}}
	for _, h := range run.report.Thresholds {
		what, value, outcome := string(h.What), "–", "not measured"
		if h.Against != "" {
			what += " than " + h.Against
		}
		limit := map[string]string{bench.BoundMin: "at least ", bench.BoundMax: "at most "}[h.Bound] + bench.Digits(h.Limit)
		if h.Value != nil {
			value, outcome = bench.Digits(*h.Value), "kept"
		}
		if h.Crossed {
			outcome = "CROSSED"
		}
		t.Rows = append(t.Rows, data(h.Profile, h.Target, bench.Grouped(h.Objects), bench.Grouped(h.Threads), what, limit, value, outcome))
	}
	return t
}

// skippedTable has what was not measured, and why.
func (run *Run) skippedTable() *table {
	t := &table{Caption: "What was not measured", Header: []string{"profile", "objects", "threads", "targets", "reason"}}
	targets := map[bench.Skipped][]string{}
	var order []bench.Skipped
	for _, s := range run.report.Skipped {
		name := s.Target
		s.Target, s.Strategy = "", ""
		if targets[s] == nil {
			order = append(order, s)
		}
		targets[s] = append(targets[s], name)
	}
	for _, s := range order {
		t.Rows = append(t.Rows, data(s.Profile, bench.Grouped(s.Objects), bench.Grouped(s.Threads), strings.Join(targets[s], ", "), s.Reason))
	}
	if len(t.Rows) == 0 {
		return nil
	}
	return t
}
