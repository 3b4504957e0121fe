// Package compare tells whether two runs differ.
//
// # Terminology
//
// A row is a target in a cell (profile, objects, threads) that both runs measured. Its
// change is that of the median from the first run to the second.
//
// # Statistics
//
// Trials of a run are not independent: what a machine does to a program lasts for seconds,
// and the trials within are alike. Tests that take each as a witness of its own (Mann and
// Whitney's, on medians) found differences in 30 to 80 of 100 pairs of runs of one program
// on two busy cores. So a run is split into five blocks of rounds that follow each other,
// and a block has one figure for each target: its shortest time. What disturbs a trial makes
// it longer, so medians of runs at a load of 12 differed by 9 to 28 % (standard deviation),
// and shortest times by 2 to 3 %.
//
// The blocks of two runs are compared by Welch's t-test of their logarithms, with an
// allowance for what two runs differ by beyond their blocks. A block is divided by its
// level before, which is how long the other targets of the cell took in it beside what they
// usually take. Where a cell has one target, it has no level, and the allowance is that for
// a machine that is busier.
//
// A comparison has many rows, of which one in twenty would differ by chance alone. So
// p-values are adjusted by Holm's method: if the figures of runs are as their blocks let
// expect, no more than a share alpha of all comparisons of equal runs, however many rows
// they have, has a row that is called significant.
//
// What a comparison cannot see it says: a row has the smallest difference that would have
// been found in 19 of 20 comparisons. It becomes smaller with longer runs, and with a
// machine that does less else.
//
// Memory is compared as it is: it hardly varies.
//
// # Limits
//
// Where a target changes, the others of its cell change beside it, by a part that is smaller
// the more there are; where there are two, by as much.
//
// What changes all targets of a cell alike, such as another version of Go may, is not told
// from a machine that is busier. The geometric mean shows it, and a note says in how many
// rows the times alone differ.
//
// # Prior art
//
// benchstat, which does not adjust p-values.
package compare

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/machine"
)

// DefaultAlpha is the share of comparisons of equal runs that may find a difference.
const DefaultAlpha = 0.05

// ErrIncomparable is what comparing runs of different machines or workloads returns.
var ErrIncomparable = errors.New("these runs cannot be compared")

// Options say how two runs are compared.
type Options struct {
	Alpha float64

	// Threshold is by what part of the first run's figure the second's may be larger, in
	// a row that differs significantly, or in memory; nil: by as much as it wants.
	Threshold *float64

	// Force compares runs of different machines and workloads.
	Force bool
}

// Comparison is how the second of two runs differs from the first.
type Comparison struct {
	Alpha     float64  `json:"alpha"`
	Threshold *float64 `json:"threshold,omitempty"`

	Rows []Row `json:"rows"`

	// GeomeanNs and GeomeanBytes are the changes of the geometric means over all rows that
	// have such figures in both runs; nil: none has.
	GeomeanNs    *float64 `json:"geomean_ns_change"`
	GeomeanBytes *float64 `json:"geomean_bytes_change"`

	// Broken are rows that the first run verified and the second did not.
	Broken []string `json:"broken,omitempty"`

	// Crossed are thresholds that were crossed: Threshold, and those of the profiles in
	// the second run.
	Crossed []string `json:"crossed,omitempty"`

	// Notes say what to mind: what was not compared and why.
	Notes []string `json:"notes,omitempty"`
}

// Row is a target in a cell in both runs.
type Row struct {
	Profile string `json:"profile"`
	Objects int    `json:"objects"`
	Threads int    `json:"threads"`
	Target  string `json:"target"`

	A           bench.Interval `json:"a_ns_per_op"`
	B           bench.Interval `json:"b_ns_per_op"`
	Change      float64        `json:"change"`       // of the median: 0.1 is 10 % more time
	LevelChange float64        `json:"level_change"` // of the times divided by the level of their block
	Sees        *float64       `json:"sees"`         // the least LevelChange that would be found 19 times of 20; nil: none
	TimesP      float64        `json:"times_p"`      // of the times alone
	LevelP      float64        `json:"level_p"`      // of the times divided by the level of their block
	P           float64        `json:"p"`            // LevelP, adjusted for the number of rows
	Differs     bool           `json:"differs"`
	ABytes      *float64       `json:"a_bytes_per_object"`
	BBytes      *float64       `json:"b_bytes_per_object"`
	BytesChange *float64       `json:"bytes_change"`

	n1, n2 int // trials
	level  difference
	alone  bool // in its cell
}

func (r *Row) rawP() float64 { return r.LevelP }

func (r *Row) name() string {
	return name(r.Profile, r.Objects, r.Threads, r.Target)
}

func name(profile string, objects, threads int, target string) string {
	return fmt.Sprintf("%s, objects=%d, threads=%d: %s", profile, objects, threads, target)
}

// Reports compares b with a.
func Reports(a, b *bench.Report, o Options) (*Comparison, error) {
	if o.Alpha <= 0 || o.Alpha >= 1 {
		return nil, fmt.Errorf("%w: alpha %v; want more than 0 and less than 1", bench.ErrChoice, o.Alpha)
	}
	if o.Threshold != nil && *o.Threshold < 0 {
		return nil, fmt.Errorf("%w: a threshold below 0", bench.ErrChoice)
	}
	c := &Comparison{Alpha: o.Alpha, Threshold: o.Threshold}
	if err := c.comparable(a, b, o.Force); err != nil {
		return nil, err
	}
	c.match(a, b)
	if len(c.Rows) == 0 && len(c.Broken) == 0 {
		return nil, fmt.Errorf("nothing to compare: no target has figures of the same profile, objects and threads in both runs\n%s", c.notes())
	}
	c.adjust()
	c.geomeans()
	c.cross(b)
	return c, nil
}

func (c *Comparison) notes() string {
	return "  " + strings.Join(c.Notes, "\n  ")
}

func (c *Comparison) notef(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

// comparable refuses runs that differ in more than what they are to be compared in, and
// notes what may explain a difference.
func (c *Comparison) comparable(a, b *bench.Report, force bool) error {
	var why []string
	for _, d := range machine.Differences(a.Env, b.Env) {
		text := fmt.Sprintf("%s: A has %q, B has %q", d.What, d.A, d.B)
		if d.Hardware {
			why = append(why, text)
		} else {
			c.Notes = append(c.Notes, text)
		}
	}
	if a.Seed != b.Seed {
		why = append(why, fmt.Sprintf("seed: A has %d, B has %d, so addresses and draws are others", a.Seed, b.Seed))
	}
	if a.Trace != b.Trace {
		why = append(why, fmt.Sprintf("trace: A replayed %q, B %q", a.Trace, b.Trace))
	}
	for _, p := range a.Profiles {
		i := slices.IndexFunc(b.Profiles, func(q bench.ProfileText) bool { return p.Name == q.Name })
		if i >= 0 && b.Profiles[i].SHA256 != p.SHA256 {
			why = append(why, fmt.Sprintf("profile %s: what it says is not the same in A and B", p.Name))
		}
	}
	if len(why) > 0 && !force {
		return fmt.Errorf("%w; --force compares them all the same\n  %s", ErrIncomparable, strings.Join(why, "\n  "))
	}
	c.Notes = append(why, c.Notes...)
	for _, r := range []struct {
		name string
		of   *bench.Report
	}{{"A", a}, {"B", b}} {
		if r.of.Incomplete {
			c.notef("%s was interrupted: results are missing or have fewer trials", r.name)
		}
		for _, warning := range r.of.Warnings {
			c.notef("%s: %s", r.name, warning)
		}
	}
	return nil
}

// match finds the rows, and notes what is no row.
func (c *Comparison) match(a, b *bench.Report) {
	var pairs []*pair
	same := func(x, y *bench.Result) bool {
		return x.Profile == y.Profile && x.Objects == y.Objects && x.Threads == y.Threads && x.Target == y.Target
	}
	for _, ra := range a.Results {
		where := name(ra.Profile, ra.Objects, ra.Threads, ra.Target)
		i := slices.IndexFunc(b.Results, func(rb *bench.Result) bool { return same(ra, rb) })
		if i < 0 {
			c.notef("only in A: %s", where)
			continue
		}
		rb := b.Results[i]
		switch {
		case ra.Error == "" && rb.Error != "":
			c.Broken = append(c.Broken, fmt.Sprintf("%s: failed in B: %s", where, rb.Error))
		case ra.Error != "":
			c.notef("%s: failed in A: %s", where, ra.Error)
		case ra.NsPerOp == nil || rb.NsPerOp == nil || len(ra.SamplesNs) == 0 || len(rb.SamplesNs) == 0:
			c.notef("%s: no figure in A, in B, or in both", where)
		default:
			pairs = append(pairs, &pair{ra, rb})
		}
	}
	for _, p := range pairs {
		peers := slices.DeleteFunc(slices.Clone(pairs), func(o *pair) bool { return o == p || !o.sameCell(p) })
		c.Rows = append(c.Rows, newRow(p, peers))
	}
	for _, rb := range b.Results {
		if !slices.ContainsFunc(a.Results, func(ra *bench.Result) bool { return same(ra, rb) }) {
			c.notef("only in B: %s", name(rb.Profile, rb.Objects, rb.Threads, rb.Target))
		}
	}
}

func newRow(p *pair, peers []*pair) Row {
	a, b := p.a, p.b
	r := Row{
		Profile: a.Profile, Objects: a.Objects, Threads: a.Threads, Target: a.Target,
		A: *a.NsPerOp, B: *b.NsPerOp, Change: b.NsPerOp.Median/a.NsPerOp.Median - 1,
		ABytes: a.BytesPerObject, BBytes: b.BytesPerObject, n1: len(a.SamplesNs), n2: len(b.SamplesNs),
		TimesP: 1, LevelP: 1, alone: len(peers) == 0,
	}
	if min(r.n1, r.n2) >= blocksMin {
		spread := runSpread
		if len(peers) == 0 {
			spread = aloneSpread
		}
		ba, bb, la, lb := blocksOf(p, peers)
		r.level = differ(la, lb, spread)
		r.TimesP, r.LevelP = differ(ba, bb, runSpread).p(), r.level.p()
		r.LevelChange = math.Expm1(r.level.mean)
	}
	if r.ABytes != nil && r.BBytes != nil && *r.ABytes > 0 {
		more := *r.BBytes / *r.ABytes - 1
		r.BytesChange = &more
	}
	return r
}

// adjust finds what differs significantly, and notes what only seems to.
func (c *Comparison) adjust() {
	times := c.holm(func(r *Row) float64 { return r.TimesP })
	together := 0
	for i, p := range c.holm((*Row).rawP) {
		r := &c.Rows[i]
		r.P = p
		r.Differs = p < c.Alpha
		if r.level.err > 0 {
			sees := r.level.sees(c.Alpha / float64(len(c.Rows)))
			r.Sees = &sees
		}
		if times[i] < c.Alpha && !r.Differs {
			together++
		}
	}
	if n := c.count(func(r *Row) bool { return r.alone }); n > 0 {
		c.notef("rows of a target that is alone in its cell: %d; what it does is not told from what the machine does, so only a large difference counts; measure another target beside it", n)
	}
	if together > 0 {
		c.notef("rows in which times differ, but as much as those of the other targets of their cell: %d; one of the two runs had a busier machine, or all targets changed", together)
	}
}

func (c *Comparison) count(is func(*Row) bool) (n int) {
	for i := range c.Rows {
		if is(&c.Rows[i]) {
			n++
		}
	}
	return n
}

// holm adjusts the p-values of the rows by Holm's method: the smallest has to stand for all
// rows, the next for all but one, and so on.
func (c *Comparison) holm(of func(*Row) float64) []float64 {
	order := make([]int, len(c.Rows))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(of(&c.Rows[i]), of(&c.Rows[j])) })
	adjusted, least := make([]float64, len(order)), 0.0
	for rank, i := range order {
		least = max(least, min(1, of(&c.Rows[i])*float64(len(order)-rank)))
		adjusted[i] = least
	}
	return adjusted
}

func (c *Comparison) geomeans() {
	var ns, bytes []float64
	for _, r := range c.Rows {
		ns = append(ns, r.Change)
		if r.BytesChange != nil {
			bytes = append(bytes, *r.BytesChange)
		}
	}
	c.GeomeanNs, c.GeomeanBytes = geomean(ns), geomean(bytes)
}

// geomean is the change that, done for all, comes to the product of the changes.
func geomean(changes []float64) *float64 {
	if len(changes) == 0 {
		return nil
	}
	sum := 0.0
	for _, change := range changes {
		sum += math.Log1p(change)
	}
	mean := math.Expm1(sum / float64(len(changes)))
	return &mean
}

// cross finds the thresholds that were crossed.
func (c *Comparison) cross(b *bench.Report) {
	for _, t := range b.Crossed() {
		c.Crossed = append(c.Crossed, "of the profile, in B: "+t.String())
	}
	if c.Threshold == nil {
		return
	}
	for i := range c.Rows {
		r := &c.Rows[i]
		// It has to take more time by itself, too: beside one that became faster, all are slower.
		if r.Differs && r.LevelChange > *c.Threshold && r.Change > 0 {
			c.Crossed = append(c.Crossed, fmt.Sprintf("%s: %s more time, p=%.3g", r.name(), percent(r.LevelChange), r.P))
		}
		if r.BytesChange != nil && *r.BytesChange > *c.Threshold {
			c.Crossed = append(c.Crossed, fmt.Sprintf("%s: %s more memory", r.name(), percent(*r.BytesChange)))
		}
	}
}

func percent(part float64) string { return fmt.Sprintf("%+.1f %%", 100*part) }
