package htmlreport

import (
	"fmt"
	"slices"

	"github.com/objhash/objhash/bench"
)

// modelSection is what the page says of a prediction: a chart for each profile.
func (b *builder) modelSection(run *Run, id string) *section {
	m := run.model
	s := &section{ID: id, Name: run.Name, Model: true}
	s.Answer.Sentences = []string{fmt.Sprintf(
		"What counting costs on more cores, predicted from costs measured on %s. What needs more cores than that is extrapolated: nothing measured checks it.",
		bench.Plural(m.Cores, "core"))}
	s.Answer.Warnings = slices.Clone(m.Warnings)
	if m.Incomplete {
		s.Answer.Warnings = append(s.Answer.Warnings, "The run was interrupted: some figures are missing.")
	}
	var profiles []string
	for _, res := range m.Results {
		if !slices.Contains(profiles, res.Profile) {
			profiles = append(profiles, res.Profile)
		}
	}
	predicted := &profileSection{ID: id + "-profile1", Name: "Predictions"}
	var charts []*chart
	for _, name := range profiles {
		if c := b.predictions(run, name); c != nil {
			charts = append(charts, c)
		}
	}
	predicted.add("What will more cores gain?", charts...)
	s.Profiles = append(s.Profiles, predicted)
	s.Env = environment(m.Env)
	s.Commands = commands(m.Command, fmt.Sprintf("seed %d", m.Seed), m.Env)
	return s
}

// predictions has a line for each strategy over the numbers of threads.
func (b *builder) predictions(run *Run, profile string) *chart {
	c := b.chart(profile, "predicted ns per operation by number of threads, a core for each; less is better")
	var threads []int
	var strategies []string
	for _, res := range run.model.Results {
		if res.Profile != profile || res.Predicted == nil {
			continue
		}
		if !slices.Contains(threads, res.Threads) {
			threads = append(threads, res.Threads)
		}
		if !slices.Contains(strategies, res.Strategy) {
			strategies = append(strategies, res.Strategy)
		}
	}
	slices.Sort(threads)
	x := axis{title: "threads", log: true, known: run.model.Cores, beyond: "extrapolated"}
	c.Table = table{Caption: profile + ": " + c.Desc, Header: []string{"strategy"}}
	for _, n := range threads {
		x.ticks = append(x.ticks, tick{float64(n), short(float64(n))})
		c.Table.Header = append(c.Table.Header, bench.Plural(n, "thread"))
	}
	var all []series
	for _, strategy := range strategies {
		s := series{name: strategy, style: b.names.of("counter/" + strategy)}
		row := slices.Repeat(data("–"), len(threads)+1)
		row[0].Text = strategy
		for _, res := range run.model.Results {
			if res.Profile != profile || res.Strategy != strategy || res.Predicted == nil {
				continue
			}
			ns := *res.Predicted
			p := point{x: float64(res.Threads), y: ns, tip: fmt.Sprintf("%s, %s: %s", strategy, bench.Plural(res.Threads, "thread"), nanoseconds(ns))}
			d := datum{Text: bench.Digits(ns)}
			if res.Measured != nil {
				d.Note = "measured " + bench.Digits(res.Measured.Median)
			}
			row[1+slices.Index(threads, res.Threads)] = d
			s.points = append(s.points, p)
		}
		slices.SortStableFunc(s.points, func(p, q point) int { return int(p.x - q.x) })
		all = append(all, s)
		c.Table.Rows = append(c.Table.Rows, row)
	}
	if !c.lines(x, axis{title: "ns/op", log: true}, all) {
		return nil
	}
	return c
}
