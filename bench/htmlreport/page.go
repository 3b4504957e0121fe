package htmlreport

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/machine"
)

//go:embed page.tmpl
var pageSource string

//go:embed style.css
var styleSource string

var pageTemplate = template.Must(template.New("page").
	Funcs(template.FuncMap{"style": func() template.CSS { return template.CSS(styleSource) }}).
	Parse(pageSource))

// Write writes the page of runs.
func Write(w io.Writer, runs []*Run) error {
	// A page that fails half way is none.
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, newPage(runs)); err != nil {
		return fmt.Errorf("making the page: %w", err)
	}
	if _, err := b.WriteTo(w); err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	return nil
}

type page struct {
	Title    string
	Subtitle string
	Single   bool   // it has one run, which its title names
	Lede     string // of several runs
	Sections []*section
	Across   []*chart // sizes over several runs
}

// section is what the page says of a run.
type section struct {
	ID       string
	Name     string
	When     string
	Model    bool
	Answer   answer
	Matrices []table
	Profiles []*profileSection

	Thresholds, Skipped *table

	Notes    []string
	Env      [][2]string
	Commands []string
	Sources  []bench.ProfileText
}

// profileSection is what it says of a profile.
type profileSection struct {
	ID, Name, Summary string
	Groups            []group
}

// group are charts that answer the same question.
type group struct {
	Title  string
	Charts []*chart
}

func (s *profileSection) add(title string, charts ...*chart) {
	charts = slices.DeleteFunc(charts, func(c *chart) bool { return c == nil })
	if len(charts) > 0 {
		s.Groups = append(s.Groups, group{title, charts})
	}
}

// builder makes the charts of a page.
type builder struct {
	names  names
	charts int
}

func (b *builder) chart(title, desc string) *chart {
	b.charts++
	return &chart{ID: fmt.Sprintf("chart%d", b.charts), Title: title, Desc: desc}
}

func newPage(runs []*Run) *page {
	p := &page{Title: "Benchmark report"}
	b := &builder{names: names{}}
	var machines []string
	results, failed, unverified := 0, 0, 0
	for i, run := range runs {
		id := fmt.Sprintf("run%d", i+1)
		env := run.env()
		if s := env.Summary(); !slices.Contains(machines, s) {
			machines = append(machines, s)
		}
		if run.model != nil {
			p.Sections = append(p.Sections, b.modelSection(run, id))
			continue
		}
		p.Sections = append(p.Sections, b.section(run, id))
		results += len(run.report.Results)
		for _, res := range run.report.Results {
			switch {
			case res.Error != "":
				failed++
			case !res.Verified:
				unverified++
			}
		}
	}
	p.Subtitle = strings.Join(machines, "; ")
	if len(runs) == 1 {
		p.Title += ": " + runs[0].Name
		p.Single = true
		return p
	}
	p.Lede = fmt.Sprintf("%s with %s.", bench.Plural(len(runs), "run"), bench.Plural(results, "result"))
	switch {
	case failed > 0:
		p.Lede += fmt.Sprintf(" %s failed verification.", bench.Plural(failed, "result"))
	case unverified > 0:
		p.Lede += fmt.Sprintf(" All were verified but %d, which have no trial or are of no table.", unverified)
	case results > 0:
		p.Lede += " All were verified after every trial."
	}
	p.Across = b.across(runs)
	return p
}

func (run *Run) env() machine.Env {
	if run.model != nil {
		return run.model.Env
	}
	return run.report.Env
}

func (b *builder) section(run *Run, id string) *section {
	r := run.report
	s := &section{ID: id, Name: run.Name, When: when(r)}
	cells := r.Cells()
	ids := map[string]string{}
	for _, cell := range cells {
		name := cell[0].Profile
		if ids[name] != "" {
			continue
		}
		ids[name] = fmt.Sprintf("%s-profile%d", id, len(s.Profiles)+1)
		s.Profiles = append(s.Profiles, b.profile(run, ids[name], name, cells))
	}
	s.Answer = run.answer(cells, ids)
	s.Matrices = run.matrices(cells)
	s.Thresholds, s.Skipped = run.thresholdsTable(), run.skippedTable()
	s.Notes = run.notes()
	s.Env = environment(r.Env)
	s.Commands = commands(r.Command, fmt.Sprintf("seed %d", r.Seed), r.Env)
	s.Sources = r.Profiles
	return s
}

// profile makes the charts of a profile.
func (b *builder) profile(run *Run, id, name string, cells [][]*bench.Result) *profileSection {
	s := &profileSection{ID: id, Name: name, Summary: run.summary(name)}
	var results []*bench.Result
	var sizes, threads []int
	mine := slices.DeleteFunc(slices.Clone(cells), func(cell []*bench.Result) bool { return cell[0].Profile != name })
	for _, cell := range mine {
		results = append(results, cell...)
		if n := cell[0].Objects; !slices.Contains(sizes, n) {
			sizes = append(sizes, n)
		}
		if n := cell[0].Threads; !slices.Contains(threads, n) {
			threads = append(threads, n)
		}
	}
	each := func(draw func(*Run, []*bench.Result) *chart) (charts []*chart) {
		for _, cell := range mine {
			charts = append(charts, draw(run, cell))
		}
		return charts
	}
	ofSize := func(n int) []*bench.Result {
		return only(results, func(res *bench.Result) bool { return res.Objects == n })
	}
	var memory, byThreads, bySize []*chart
	for _, n := range sizes {
		memory = append(memory, b.bytesChart(name, n, ofSize(n)))
		byThreads = append(byThreads, b.threadsChart(run, name, n, ofSize(n)))
	}
	for _, n := range threads {
		of := only(results, func(res *bench.Result) bool { return res.Threads == n })
		bySize = append(bySize, b.sizeChart(name, "Time by size: "+run.threadWords(n), n, of))
	}
	s.add("How fast is each?", each(b.cellChart)...)
	s.add("How much faster, for sure?", each(b.pairsChart)...)
	s.add("What do more threads gain?", byThreads...)
	s.add("What do more objects cost?", bySize...)
	s.add("How much memory?", memory...)
	s.add("How long can a call take?", each(b.latencyChart)...)
	s.add("Where does the time go?", append(each(b.cpuChart), each(b.waitChart)...)...)
	return s
}

func only(all []*bench.Result, f func(*bench.Result) bool) []*bench.Result {
	return slices.DeleteFunc(slices.Clone(all), func(res *bench.Result) bool { return !f(res) })
}

// summary is what a canonical profile says of itself.
func (run *Run) summary(name string) string {
	if slices.ContainsFunc(run.report.Profiles, func(p bench.ProfileText) bool { return p.Name == name }) {
		return "" // it may be another of that name; its own text is on the page
	}
	p, _ := bench.FindProfile(name)
	return p.Summary
}

// across has a chart for each profile and number of threads that several runs on one machine
// measured with several sizes. Of a size that more than one has, the first counts.
func (b *builder) across(runs []*Run) (charts []*chart) {
	type key struct {
		profile string
		threads int
		machine string
	}
	results := map[key][]*bench.Result{}
	from := map[key]map[*Run]bool{}
	var keys []key
	for _, run := range runs {
		if run.report == nil {
			continue
		}
		for _, res := range run.report.Results {
			k := key{res.Profile, res.Threads, run.report.Env.Summary()}
			if from[k] == nil {
				from[k] = map[*Run]bool{}
				keys = append(keys, k)
			}
			from[k][run] = true
			results[k] = append(results[k], res)
		}
	}
	slices.SortStableFunc(keys, func(a, b key) int {
		return cmp.Or(cmp.Compare(a.profile, b.profile), cmp.Compare(a.threads, b.threads))
	})
	for _, k := range keys {
		if len(from[k]) < 2 {
			continue
		}
		if c := b.sizeChart(k.profile, k.profile+": "+bench.Plural(k.threads, "thread"), k.threads, results[k]); c != nil {
			charts = append(charts, c)
		}
	}
	return charts
}

// notes say what to mind when reading the figures.
func (run *Run) notes() (notes []string) {
	r := run.report
	processors := run.processors()
	if slices.ContainsFunc(r.Results, func(res *bench.Result) bool { return res.Threads > processors }) {
		notes = append(notes, fmt.Sprintf("More than %s took turns on %s: such figures show what it costs to wait for one that is not running, not what more processors gain.",
			bench.Plural(processors, "thread"), bench.Plural(processors, "processor")))
	}
	if r.ClockNs > 0 {
		notes = append(notes, fmt.Sprintf("A reading of the clock takes %s, and every latency has one in it. %q is as many calls without work: what the machine does to a thread.",
			nanoseconds(r.ClockNs), controlName))
	}
	if r.HarnessNs > 0 {
		notes = append(notes, fmt.Sprintf("The loop of the harness takes %s per operation around a target that does nothing; it is part of every figure.", nanoseconds(r.HarnessNs)))
	}
	return notes
}

func environment(env machine.Env) (rows [][2]string) {
	var b bytes.Buffer
	if env.WriteText(&b) != nil { // a buffer takes everything
		return nil
	}
	for line := range strings.Lines(b.String()) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "  ")
		rows = append(rows, [2]string{name, strings.TrimSpace(value)})
	}
	return rows
}

// commands make the run again, on the code that it was made with if that is known.
func commands(command, seed string, env machine.Env) (lines []string) {
	if env.Revision != "" && env.Revision != "unknown" {
		line := "git checkout " + env.Revision
		if env.Dirty {
			line += "  # and the changes that the code had"
		}
		lines = append(lines, line, "go install ./cmd/crbench")
	}
	if command != "" {
		lines = append(lines, command)
	}
	return append(lines, "# "+seed)
}

// when says when a run was made, and how long it took.
func when(r *bench.Report) string {
	const layout = "2006-01-02 15:04 MST"
	if r.Started.IsZero() {
		return ""
	}
	s := "Measured on " + r.Started.UTC().Format(layout)
	if took := r.Finished.Sub(r.Started); took > 0 {
		s += ", in " + took.Round(time.Second).String()
	}
	for i, t := range r.Resumed {
		s += []string{"; resumed on ", " and on "}[min(i, 1)] + t.UTC().Format(layout)
	}
	return s + "."
}
