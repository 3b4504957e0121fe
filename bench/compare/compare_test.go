package compare_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/compare"
	"github.com/objhash/objhash/bench/machine"
)

// The reports of these tests have as many rows and trials as those of a usual run. Times
// vary as those of a real one do: by about 2 %, and every tenth is disturbed and takes up to
// half as long again.
const (
	cells   = 8
	targets = 4
	rows    = cells * targets
	trials  = 10
	spread  = 0.02
)

func report(rng *rand.Rand) *bench.Report { return reportOf(rng, trials) }

func reportOf(rng *rand.Rand, trials int) *bench.Report {
	r := &bench.Report{Schema: bench.Schema, Seed: 1, Env: machine.Env{CPU: "one", Cores: 2, Go: "go1.26"}}
	for row := range rows {
		bytes := 24.5
		res := &bench.Result{
			Profile: "lookup-hit", Target: fmt.Sprintf("target-%d", row), Objects: 1000 * (1 + row/targets), Threads: 1,
			BytesPerObject: &bytes, Verified: true,
		}
		for range trials {
			ns := float64(10+row) * math.Exp(spread*rng.NormFloat64())
			if rng.IntN(10) == 0 {
				ns *= 1 + rng.Float64()/2
			}
			res.SamplesNs = append(res.SamplesNs, ns)
		}
		summarize(res)
		r.Results = append(r.Results, res)
	}
	return r
}

func summarize(res *bench.Result) {
	s := slices.Sorted(slices.Values(res.SamplesNs))
	res.Trials = len(s)
	res.NsPerOp = &bench.Interval{Median: (s[len(s)/2-1] + s[len(s)/2]) / 2, Low: s[1], High: s[len(s)-2]}
}

// slower multiplies the times of a result.
func slower(res *bench.Result, factor float64) {
	for i := range res.SamplesNs {
		res.SamplesNs[i] *= factor
	}
	summarize(res)
}

func reports(t *testing.T, a, b *bench.Report, o compare.Options) *compare.Comparison {
	t.Helper()
	if o.Alpha == 0 {
		o.Alpha = compare.DefaultAlpha
	}
	c, err := compare.Reports(a, b, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func differing(c *compare.Comparison) (names []string) {
	for _, r := range c.Rows {
		if r.Differs {
			names = append(names, r.Target)
		}
	}
	return names
}

func TestFalseAlarms(t *testing.T) {
	const comparisons = 1000
	rng, alarms := rand.New(rand.NewPCG(1, 1)), 0
	for range comparisons {
		if len(differing(reports(t, report(rng), report(rng), compare.Options{}))) > 0 {
			alarms++
		}
	}
	t.Logf("%d of %d comparisons of equal runs found a difference", alarms, comparisons)
	if alarms > comparisons/20 {
		t.Errorf("%d of %d comparisons of equal runs found a difference; want at most one in 20", alarms, comparisons)
	}
}

// TestBusyMachine compares runs of which the second had a machine that slowed each round of
// a cell by up to three times, and some cells more than others.
func TestBusyMachine(t *testing.T) {
	const comparisons = 200
	rng, alarms, told := rand.New(rand.NewPCG(10, 1)), 0, 0
	for range comparisons {
		a, b := report(rng), report(rng)
		for cell := range cells {
			busy := rng.Float64()
			for trial := range trials {
				factor := 1 + busy*2*rng.Float64()
				for _, res := range b.Results[cell*targets:][:targets] {
					res.SamplesNs[trial] *= factor
				}
			}
		}
		for _, res := range b.Results {
			summarize(res)
		}
		c := reports(t, a, b, compare.Options{})
		if len(differing(c)) > 0 {
			alarms++
		}
		if slices.ContainsFunc(c.Notes, func(s string) bool { return strings.Contains(s, "busier machine") }) {
			told++
		}
	}
	t.Logf("%d of %d comparisons with a busy machine found a difference", alarms, comparisons)
	if alarms > comparisons/20 || told < comparisons/2 {
		t.Errorf("of %d comparisons with a busy machine %d found a difference, %d told of it; want at most one in 20, and most", comparisons, alarms, told)
	}
}

// longRun is a cell of a run on a shared machine, whose trials are alike where they follow
// each other: how fast the machine is and how often it disturbs a trial change slowly, for all
// targets, and a little for each by itself. With calm 0 it disturbs most of them.
func longRun(rng *rand.Rand, rounds int, calm float64) *bench.Report {
	const lasting = 0.97 // of a state, from a round to the next
	next := func(state *float64) float64 {
		*state = lasting**state + math.Sqrt(1-lasting*lasting)*rng.NormFloat64()
		return *state
	}
	r := report(rng)
	r.Results = r.Results[:targets]
	speed, load, own := rng.NormFloat64(), rng.NormFloat64(), make([]float64, targets)
	for i, res := range r.Results {
		res.SamplesNs, own[i] = nil, rng.NormFloat64()
	}
	for range rounds {
		level, disturbed := 0.1*next(&speed), 0.6+0.2*next(&load)-0.5*calm
		for i, res := range r.Results {
			ns := float64(10+i) * math.Exp(level+0.005*next(&own[i])+0.01*rng.NormFloat64())
			if rng.Float64() < disturbed {
				ns *= 1 + 0.5*rng.ExpFloat64()
			}
			res.SamplesNs = append(res.SamplesNs, ns)
		}
	}
	for _, res := range r.Results {
		summarize(res)
	}
	return r
}

// TestLastingNoise compares runs whose trials are not independent: such runs do not differ,
// and where a comparison says that it sees 5 %, it finds 5 %.
func TestLastingNoise(t *testing.T) {
	const comparisons, planted = 1000, 0.05
	for _, c := range []struct {
		rounds  int
		calm    float64
		sighted int // comparisons that can see it, at least
	}{{50, 0, 0}, {200, 0, 0}, {200, 1, 0}, {1000, 1, 500}} {
		rng, alarms, able, found := rand.New(rand.NewPCG(11, uint64(c.rounds))), 0, 0, 0
		for range comparisons {
			a, b := longRun(rng, c.rounds, c.calm), longRun(rng, c.rounds, c.calm)
			if len(differing(reports(t, a, b, compare.Options{}))) > 0 {
				alarms++
			}
			slower(b.Results[0], 1+planted)
			r := reports(t, a, b, compare.Options{}).Rows[0]
			if *r.Sees <= planted {
				able++
				if r.Differs {
					found++
				}
			}
		}
		t.Logf("%d rounds, calm %g: %d of %d false alarms; %d could see %g, and %d of them found it", c.rounds, c.calm, alarms, comparisons, able, planted, found)
		if alarms > comparisons/20 || float64(found) < 0.95*float64(able) || able < c.sighted {
			t.Errorf("%d rounds, calm %g: %d of %d false alarms; %d could see %g, and %d of them found it", c.rounds, c.calm, alarms, comparisons, able, planted, found)
		}
	}
}

// TestFindsPlanted looks for a target that is slower by 5 % in all its cells. With as much
// noise as here that takes more trials than the usual ones.
func TestFindsPlanted(t *testing.T) {
	const comparisons, trials = 20, 50
	rng, threshold := rand.New(rand.NewPCG(2, 1)), 0.02
	found, rowsFound, others := 0, 0, 0
	for range comparisons {
		a, b := reportOf(rng, trials), reportOf(rng, trials)
		planted := map[string]bool{}
		for i := 0; i < rows; i += targets {
			slower(b.Results[i], 1.05)
			planted[b.Results[i].Target] = true
		}
		c := reports(t, a, b, compare.Options{Threshold: &threshold})
		n := 0
		for _, name := range differing(c) {
			if planted[name] {
				n++
			} else {
				others++
			}
		}
		if n > 0 && len(c.Crossed) > 0 {
			found++
		}
		rowsFound += n
	}
	t.Logf("found %d of %d, in %.1f of %d rows on average, and %d others", found, comparisons, float64(rowsFound)/comparisons, cells, others)
	if found < comparisons*19/20 || others > comparisons*rows/100 {
		t.Errorf("found a planted slowdown %d times of %d, and %d others", found, comparisons, others)
	}
}

func TestHolm(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	a, b := report(rng), report(rng)
	slower(b.Results[5], 2)
	c := reports(t, a, b, compare.Options{})
	if got := differing(c); !slices.Equal(got, []string{"target-5"}) {
		t.Fatalf("%v differ, want target-5", got)
	}
	r := c.Rows[5]
	rawP := func(r compare.Row) float64 { return r.LevelP }
	if want := rawP(r) * rows; math.Abs(r.P-want) > 1e-12 {
		t.Errorf("the smallest p-value %g is adjusted to %g, want %g", rawP(r), r.P, want)
	}
	for i := range c.Rows {
		for j := range c.Rows {
			if rawP(c.Rows[i]) < rawP(c.Rows[j]) && c.Rows[i].P > c.Rows[j].P {
				t.Errorf("p-values %g and %g change their order: %g, %g", rawP(c.Rows[i]), rawP(c.Rows[j]), c.Rows[i].P, c.Rows[j].P)
			}
		}
	}
}

func TestGeomeanAndMemory(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 1))
	a := report(rng)
	b := report(rng)
	for i := range a.Results {
		b.Results[i].SamplesNs = slices.Clone(a.Results[i].SamplesNs)
		slower(b.Results[i], []float64{2, 0.5}[i%2])
	}
	more := 26.0
	b.Results[3].BytesPerObject = &more
	threshold := 0.05
	c := reports(t, a, b, compare.Options{Threshold: &threshold})
	if math.Abs(*c.GeomeanNs) > 1e-9 {
		t.Errorf("as many take twice the time as half of it: geomean %+g", *c.GeomeanNs)
	}
	if *c.GeomeanBytes <= 0 || *c.GeomeanBytes > 0.01 {
		t.Errorf("geomean of memory %+g", *c.GeomeanBytes)
	}
	memory := slices.DeleteFunc(slices.Clone(c.Crossed), func(s string) bool { return !strings.Contains(s, "more memory") })
	if len(memory) != 1 || !strings.Contains(memory[0], "target-3") || !strings.Contains(memory[0], "+6.1 %") {
		t.Errorf("crossed by memory: %q", memory)
	}
	if times := len(c.Crossed) - len(memory); times != rows/2 {
		t.Errorf("%d times crossed, want those that doubled: %d", times, rows/2)
	}
}

func TestIncomparable(t *testing.T) {
	for _, c := range []struct {
		message string
		change  func(*bench.Report)
	}{
		{`CPU: A has "one", B has "another"`, func(r *bench.Report) { r.Env.CPU = "another" }},
		{"cores", func(r *bench.Report) { r.Env.Cores = 64 }},
		{"GOMAXPROCS", func(r *bench.Report) { r.Env.GOMAXPROCS = 1 }},
		{"seed: A has 1, B has 2", func(r *bench.Report) { r.Seed = 2 }},
		{"trace", func(r *bench.Report) { r.Trace = "x" }},
		{"profile lookup-hit", func(r *bench.Report) { r.Profiles = []bench.ProfileText{{Name: "lookup-hit", SHA256: "2"}} }},
	} {
		rng := rand.New(rand.NewPCG(5, 1))
		a, b := report(rng), report(rng)
		a.Profiles = []bench.ProfileText{{Name: "lookup-hit", SHA256: "1"}}
		c.change(b)
		_, err := compare.Reports(a, b, compare.Options{Alpha: 0.05})
		if !errors.Is(err, compare.ErrIncomparable) || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%v, want %q", err, c.message)
		}
		forced := reports(t, a, b, compare.Options{Force: true})
		if !slices.ContainsFunc(forced.Notes, func(s string) bool { return strings.Contains(s, c.message) }) {
			t.Errorf("forced, but without a note of %q: %q", c.message, forced.Notes)
		}
	}
}

// TestUneven compares runs that do not have the same figures.
func TestUneven(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 1))
	a, b := report(rng), report(rng)
	b.Env.Go, b.Incomplete = "go1.27", true
	fail := func(res *bench.Result, why string) {
		res.Error, res.Verified, res.NsPerOp, res.SamplesNs = why, false, nil, nil
	}
	a.Results[0].Target = "old"
	fail(a.Results[1], "lost an object")
	fail(b.Results[2], "lost two objects")
	b.Results[3].NsPerOp, b.Results[3].SamplesNs = nil, nil
	c := reports(t, a, b, compare.Options{})
	var out bytes.Buffer
	if err := c.WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"only in A: lookup-hit, objects=1000, threads=1: old\n", "only in B: lookup-hit, objects=1000, threads=1: target-0\n",
		"target-1: failed in A: lost an object", "target-2: failed in B: lost two objects", "target-3: no figure",
		`Go: A has "go1.26", B has "go1.27"`, "B was interrupted", "~", "geomean", "of 28 rows differ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if len(c.Broken) != 1 || len(c.Rows) != rows-4 {
		t.Errorf("%d broken, %d rows", len(c.Broken), len(c.Rows))
	}

	out.Reset()
	if err := c.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	var again compare.Comparison
	if err := json.Unmarshal(out.Bytes(), &again); err != nil || len(again.Rows) != rows-4 {
		t.Errorf("as JSON: %v\n%s", err, out.String())
	}

	for _, res := range b.Results {
		res.Profile = "other"
	}
	if _, err := compare.Reports(a, b, compare.Options{Alpha: 0.05}); err == nil || !strings.Contains(err.Error(), "nothing to compare") {
		t.Errorf("nothing in common: %v", err)
	}
}

func TestTooFewTrials(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 1))
	a, b := report(rng), report(rng)
	for _, r := range []*bench.Report{a, b} {
		for _, res := range r.Results {
			res.SamplesNs = res.SamplesNs[:3]
			summarize(res)
		}
	}
	for _, res := range b.Results {
		slower(res, 100)
	}
	c := reports(t, a, b, compare.Options{})
	var out bytes.Buffer
	if err := c.WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	if want := "too few trials in 32 of 32 rows"; len(differing(c)) != 0 || !strings.Contains(out.String(), want) {
		t.Errorf("%d differ; want none, and %q in\n%s", len(differing(c)), want, out.String())
	}
}

func TestThresholdsOfProfiles(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 1))
	a, b := report(rng), report(rng)
	value := 7.0
	b.Thresholds = []bench.ThresholdResult{{Profile: "grow", Target: "index", What: "ns/op", Bound: bench.BoundMax, Limit: 5, Value: &value, Crossed: true}}
	if c := reports(t, a, b, compare.Options{}); len(c.Crossed) != 1 || !strings.Contains(c.Crossed[0], "ns/op at most 5: CROSSED by 7") {
		t.Errorf("crossed: %q", c.Crossed)
	}
}

func TestWrongOptions(t *testing.T) {
	rng, below := rand.New(rand.NewPCG(9, 1)), -0.1
	a := report(rng)
	for _, o := range []compare.Options{{}, {Alpha: 1}, {Alpha: 0.05, Threshold: &below}} {
		if _, err := compare.Reports(a, a, o); !errors.Is(err, bench.ErrChoice) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
