package htmlreport

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/objhash/objhash/bench"
)

// winner is the fastest target of a cell, and by how much.
type winner struct {
	best       *bench.Result
	near       []string       // targets whose intervals overlap with that of the best
	times      bench.Interval // compared with Against, if that is not empty
	fromTrials bool           // times is from the trials, not from the two intervals

	// In words.
	SectionID        string
	Profile, Where   string
	Objects, Threads string
	Crowded          string // not empty: fewer processors than threads
	Fastest          string
	Ns, NsRange      string
	Times, TimesSpan string
	Against          string
	Near             string
}

// fastest returns the winner of a cell; nil: nothing there was measured and verified. A bound
// takes no part, for it is no table.
func (run *Run) fastest(cell []*bench.Result) *winner {
	ranked := slices.DeleteFunc(slices.Clone(cell), func(res *bench.Result) bool {
		return res.NsPerOp == nil || !res.Verified || res.NoTable
	})
	if len(ranked) == 0 {
		return nil
	}
	slices.SortStableFunc(ranked, func(a, b *bench.Result) int { return cmp.Compare(a.NsPerOp.Median, b.NsPerOp.Median) })
	w := &winner{best: ranked[0]}
	for _, res := range ranked[1:] {
		if res.Trials > 1 && res.NsPerOp.Low <= w.best.NsPerOp.High {
			w.near = append(w.near, res.Target)
		}
	}
	reference := run.report.Reference(cell)
	switch {
	case len(ranked) == 1:
		reference = nil
	case reference == w.best:
		reference = ranked[1]
	}
	if reference != nil && !reference.NoTable {
		w.Against = reference.Target
		w.times, w.fromTrials = run.timesFaster(w.best, reference)
	}
	run.words(w)
	return w
}

func (run *Run) words(w *winner) {
	ns := w.best.NsPerOp
	w.Profile, w.Fastest, w.Where = w.best.Profile, w.best.Target, run.cellWords(w.best)
	w.Objects, w.Threads = bench.Grouped(w.best.Objects), bench.Grouped(w.best.Threads)
	if p := run.processors(); w.best.Threads > p {
		w.Crowded = "on " + bench.Plural(p, "processor")
	}
	w.Ns, w.NsRange = bench.Digits(ns.Median), interval(*ns)
	if w.Against != "" {
		w.Times, w.TimesSpan = bench.Digits(w.times.Median), interval(w.times)
	}
	switch near := w.near; {
	case len(near) > 3:
		w.Near = fmt.Sprintf("%s, %s and %d others", near[0], near[1], len(near)-2)
	default:
		w.Near = list(near)
	}
}

// timesFaster compares two results of a cell: as the run compared their trials, or else by
// what their intervals allow, which is wider.
func (run *Run) timesFaster(a, b *bench.Result) (times bench.Interval, fromTrials bool) {
	for _, p := range run.report.Pairs {
		if p.Profile != a.Profile || p.Objects != a.Objects || p.Threads != a.Threads {
			continue
		}
		switch t := p.TimesFaster; {
		case p.Target == a.Target && p.Against == b.Target:
			return t, true
		case p.Target == b.Target && p.Against == a.Target:
			return bench.Interval{Median: 1 / t.Median, Low: 1 / t.High, High: 1 / t.Low}, true
		}
	}
	x, y := a.NsPerOp, b.NsPerOp
	return bench.Interval{Median: y.Median / x.Median, Low: y.Low / x.High, High: y.High / x.Low}, false
}

// answer is what a run found out, for those who read no further.
type answer struct {
	Sentences []string
	Each      []*winner // one for each profile
	Winners   []*winner // one for each cell
	How       string    // what the intervals of the winners are
	Verified  string
	Failed    []string
	Crossed   []string // thresholds
	Warnings  []string
}

// answer tells who was fastest.
func (run *Run) answer(cells [][]*bench.Result, ids map[string]string) answer {
	var a answer
	byProfile := map[string]*winner{} // where the profile is most telling
	var profiles []string
	for _, cell := range cells {
		w := run.fastest(cell)
		if w == nil {
			continue
		}
		w.SectionID = ids[w.Profile]
		a.Winners = append(a.Winners, w)
		if byProfile[w.Profile] == nil {
			profiles = append(profiles, w.Profile)
		}
		if old := byProfile[w.Profile]; old == nil || run.moreTelling(w.best, old.best) {
			byProfile[w.Profile] = w
		}
	}
	var chosen []*winner
	for _, p := range profiles {
		chosen = append(chosen, byProfile[p])
	}
	a.Sentences = append(a.Sentences, wins(chosen)...)
	a.Each = chosen
	a.How = how(a.Winners)
	a.verification(run.report)
	for _, t := range run.report.Crossed() {
		a.Crossed = append(a.Crossed, t.String())
	}
	a.Warnings = append(a.Warnings, run.report.Warnings...)
	if run.report.Incomplete {
		a.Warnings = append(a.Warnings, "The run was interrupted: some results are missing or have fewer trials than asked for.")
	}
	return a
}

// moreTelling prefers large tables, and as many threads as can run at a time.
func (run *Run) moreTelling(a, b *bench.Result) bool {
	rank := func(res *bench.Result) int {
		if res.Threads > run.processors() {
			return -res.Threads
		}
		return res.Threads
	}
	return cmp.Or(cmp.Compare(a.Objects, b.Objects), cmp.Compare(rank(a), rank(b))) > 0
}

// processors is how many threads of a run could run at a time.
func (run *Run) processors() int {
	if p := min(run.report.Env.Cores, run.report.Env.GOMAXPROCS); p > 0 {
		return p
	}
	return math.MaxInt // not known
}

// wins counts who was fastest how often.
func wins(all []*winner) []string {
	if len(all) == 0 {
		return []string{"Nothing was measured."}
	}
	if len(all) == 1 {
		return nil // its own sentence says it
	}
	count, unclear := map[string]int{}, 0
	var names []string
	for _, w := range all {
		if len(w.near) > 0 {
			unclear++
		}
		if count[w.Fastest] == 0 {
			names = append(names, w.Fastest)
		}
		count[w.Fastest]++
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(count[b], count[a]) })
	if count[names[0]] == len(all) {
		return []string{fmt.Sprintf("%s was the fastest in all %s%s.", names[0], bench.Plural(len(all), "profile"), notClearly(unclear, len(all)))}
	}
	var parts []string
	for i, name := range names {
		part := fmt.Sprintf("%s in %d", name, count[name])
		if i == 0 {
			part = fmt.Sprintf("%s was the fastest in %d of %s", name, count[name], bench.Plural(len(all), "profile"))
		}
		parts = append(parts, part)
	}
	return []string{list(parts) + notClearly(unclear, len(all)) + "."}
}

// notClearly says in how many profiles the intervals of the fastest and of others overlap.
func notClearly(n, all int) string {
	switch n {
	case 0:
		return ""
	case all:
		return ", but nowhere clearly ahead of all others"
	default:
		return fmt.Sprintf(", but not clearly ahead of all others in %d", n)
	}
}

// how says what the intervals of the winners are.
func how(all []*winner) string {
	if len(all) == 0 {
		return ""
	}
	few, single, bounds := false, true, false
	for _, w := range all {
		few = few || w.best.Interval == bench.IntervalMinMax
		single = single && w.best.Trials <= 1
		bounds = bounds || w.Against != "" && !w.fromTrials
	}
	s := "Figures are medians of the trials, in brackets with their 95 % interval."
	switch {
	case single:
		return "There was one trial of each, so nothing says how far the figures can be trusted."
	case few:
		s = "Figures are medians of the trials, in brackets with the smallest and the largest: there were too few trials for a 95 % interval."
	}
	if bounds {
		s += " The interval of a ratio is what those of its two figures allow."
	}
	return s
}

func (a *answer) verification(r *bench.Report) {
	right, bounds, open := 0, 0, 0
	for _, res := range r.Results {
		switch {
		case res.Error != "":
			a.Failed = append(a.Failed, fmt.Sprintf("%s in %s, %s, %s: %s", res.Target, res.Profile,
				bench.Plural(res.Objects, "object"), bench.Plural(res.Threads, "thread"), res.Error))
		case res.Verified:
			right++
		case res.NoTable:
			bounds++
		default:
			open++
		}
	}
	var parts []string
	if len(a.Failed) > 0 {
		parts = append(parts, fmt.Sprintf("%s failed verification, without figures", bench.Plural(len(a.Failed), "result")))
	}
	switch {
	case right == len(r.Results) && right > 0:
		parts = append(parts, fmt.Sprintf("All %s were verified after every trial", bench.Plural(right, "result")))
	case right > 0:
		parts = append(parts, fmt.Sprintf("%s of %s were verified after every trial", bench.Grouped(right), bench.Plural(len(r.Results), "result")))
	}
	if bounds > 0 {
		parts = append(parts, fmt.Sprintf("%s of what is no table cannot be verified", bench.Plural(bounds, "figure")))
	}
	if open > 0 {
		parts = append(parts, fmt.Sprintf("%s had no trial", bench.Plural(open, "result")))
	}
	if len(parts) > 0 {
		a.Verified = strings.Join(parts, "; ") + "."
	}
}

// interval writes what a median lies between. That of one trial is none.
func interval(i bench.Interval) string {
	if i.Low == i.High {
		return ""
	}
	return fmt.Sprintf("[%s, %s]", bench.Digits(i.Low), bench.Digits(i.High))
}

// list joins words as people do.
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " and " + words[last]
}
