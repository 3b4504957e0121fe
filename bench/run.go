package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/objhash/objhash/bench/machine"
	"github.com/objhash/objhash/bench/target"
	"github.com/objhash/objhash/bench/trace"
	"github.com/objhash/objhash/refcount"
)

// Config says what a run measures: each profile at each size on each number of
// threads is a cell, and in each cell all targets are compared.
type Config struct {
	Profiles []Profile

	// Targets are those that are compared; empty: all, without a word about counters
	// where tables are measured, or the other way round, or about what is no table where
	// more than lookups is measured.
	Targets []target.Spec

	// Strategies are what targets that take one count users with; empty: see
	// [target.Spec.Variants].
	Strategies []refcount.Strategy

	// Against is the target that the others are compared with where it was measured;
	// "": see [DefaultAgainst].
	Against string

	Objects []int // empty: each profile's own
	Threads []int // empty: each profile's own, or those of [Threads]
	Trials  int   // counted ones, at least; rounds of warm-up come before
	Seed    uint64

	// Budget is the time for all of the run. While some is left, cells get further
	// rounds until the interval of every target's median is narrower than Width, which
	// is a part of the median. 0: Trials rounds and no more.
	Budget time.Duration
	Width  float64 // 0: see [DefaultWidth]

	Pin bool // threads to processors, in turns; only on Linux

	Trace     *trace.Trace // for profiles that replay one
	TraceName string       // as reports call it

	// TrialLimit skips a target of fixed size in cells where its warm-up takes
	// longer; 0: none is skipped.
	TrialLimit time.Duration

	// Latency gives each target of a cell one more trial, in which calls are timed: on
	// average one in LatencyEvery. 0: see [DefaultLatencyEvery].
	Latency      bool
	LatencyEvery int

	// RatePerS is how many operations per second all threads together begin in the
	// trials of Latency, however long they take. 0: what each profile says, or as many as
	// they can.
	RatePerS float64

	// Fresh does a trial in a process of its own, for resident memory; nil: that is not
	// measured.
	Fresh     func(context.Context, FreshTrial) (FreshOutcome, error)
	TracePath string // of Trace, for that process; "": the one that is embedded

	// ProfileDir is the folder of the run, for profiles of each target of a cell, from
	// trials of their own; "": none. Each is of about ProfileTime of the processor, unless
	// that would take several times as long.
	ProfileDir  string
	ProfileTime time.Duration

	Command string              // as reports quote it
	Options map[string][]string // as reports keep them

	// Resume is the report of a run with the same configuration that was interrupted,
	// which is gone on with; nil: this is a new one.
	Resume *Report

	// Progress is told what comes next, between trials; it may be nil.
	Progress func(Progress)

	// Save is given the report after each trial; it may be nil. An error ends
	// the run.
	Save func(*Report) error
}

// Progress is where a run is.
type Progress struct {
	Cell, Cells    int // from 1
	Visit          int // of the cell, from 1
	Profile        string
	Objects        int
	Threads        int
	WarmUp         bool
	Round, Rounds  int // from 1; with a budget there may be more than Rounds
	Target         string
	MedianNs       float64       // of the target's trials in this cell so far, for an operation; 0: there is none
	MakingWorkload bool          // rather than doing a trial
	Fresh          bool          // a trial in a process of its own
	Latency        bool          // a trial that times calls
	Profiling      bool          // trials under a profiler
	Elapsed, Left  time.Duration // Left is an estimate; 0: there is none
}

// ErrInterrupted is what Run returns, with the report so far, if its context
// ended before it was through.
var ErrInterrupted = errors.New("interrupted")

// Run measures. The report is never nil.
func Run(ctx context.Context, c Config) (*Report, error) {
	c.Width = cmp.Or(c.Width, DefaultWidth)
	c.LatencyEvery = cmp.Or(c.LatencyEvery, DefaultLatencyEvery)
	r := &runner{
		c:     c,
		start: time.Now(),
		watch: machine.NewWatch(),
		report: &Report{
			Schema: Schema, Command: c.Command, Options: c.Options, Started: now(), Seed: c.Seed, Against: c.Against, Trace: c.TraceName, Unit: Unit,
			Env: machine.Read(), HarnessNs: harnessCost(), Results: []*Result{},
		},
	}
	r.report.Profiles = profileTexts(c.Profiles)
	if slices.ContainsFunc(c.Profiles, func(p Profile) bool { return c.timesCalls(&p) }) {
		r.report.ClockNs = clockCost()
	}
	if c.Resume != nil {
		r.resume(c.Resume)
	}
	err := r.save()
	if err != nil {
		return r.report, err
	}
	err = r.cells(ctx)
	r.report.Finished = now()
	r.report.Env.StealPercent = r.watch.StealPercent()
	r.report.Warnings = append(r.report.Warnings, r.watch.Warnings(r.report.Env)...)
	r.report.Warnings = append(r.report.Warnings, r.report.doubts(c)...)
	if why := c.overBudget(time.Since(r.start)); why != "" {
		r.report.Warnings = append(r.report.Warnings, why)
	}
	if errors.Is(err, errStopped) {
		r.report.Incomplete = true
		err = ErrInterrupted
	}
	r.report.checkThresholds(c.Profiles)
	return r.report, errors.Join(err, r.save())
}

// now is the time as reports have it.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }

type runner struct {
	c      Config
	start  time.Time
	watch  *machine.Watch
	cpus   []int // that threads are pinned to; none: they are not
	report *Report
	at     Progress
}

func (r *runner) save() error {
	r.report.ElapsedS = time.Since(r.start).Seconds()
	if r.c.Save == nil {
		return nil
	}
	return r.c.Save(r.report)
}

// cell is one comparison.
type cell struct {
	profile Profile
	objects int
	threads int
}

func (c *Config) plan() (cells []cell) {
	for _, p := range c.Profiles {
		sizes := c.Objects
		if p.recorded() || p.OneSize || len(sizes) == 0 {
			sizes = []int{p.Objects}
		}
		threads := c.Threads
		if len(threads) == 0 {
			threads = p.Threads
		}
		if len(threads) == 0 {
			threads = Threads(runtime.GOMAXPROCS(0))
		}
		for _, n := range sizes {
			for _, t := range threads {
				cells = append(cells, cell{p, n, t})
			}
		}
	}
	return cells
}

// feasible says why no target can take part in any cell, if none can.
func (c *Config) feasible() error {
	var skipped []Skipped
	for _, cell := range c.plan() {
		in, out := c.entrants(cell)
		if len(in) > 0 {
			return nil
		}
		skipped = append(skipped, out...)
	}
	return fmt.Errorf("%w: nothing to measure\n%s", ErrChoice, joinSkipped(skipped))
}

// entrants decides which targets take part in a cell.
func (c *Config) entrants(in cell) (specs []target.Spec, out []Skipped) {
	targets := c.Targets
	if len(targets) == 0 {
		targets = slices.DeleteFunc(target.All(), in.profile.beside)
	}
	met := map[string]bool{} // a target may be named by itself and by its strategy
	for _, s := range targets {
		variants := []target.Spec{s}
		if in.profile.Excludes(s, in.threads) == "" {
			variants = s.Variants(c.Strategies)
		}
		for _, v := range variants {
			why := in.profile.Excludes(v, in.threads)
			switch {
			case met[v.Name]:
			case why != "":
				out = append(out, in.skip(v, why))
			default:
				specs = append(specs, v)
			}
			met[v.Name] = true
		}
	}
	return specs, out
}

func (c *cell) skip(s target.Spec, reason string) Skipped {
	return Skipped{
		Profile: c.profile.Name, Target: s.Name, Strategy: s.Strategy, Objects: c.objects, Threads: c.threads, Reason: reason,
	}
}

func (r *runner) tell() {
	if r.c.Progress != nil {
		r.at.Elapsed = time.Since(r.start)
		r.c.Progress(r.at)
	}
}

// tablesPerTrial spreads a trial over so many tables that it has enough
// operations to be timed.
func tablesPerTrial(ops int) int {
	const enough, most = 1 << 17, 16
	return min(max(1, (enough+ops-1)/max(ops, 1)), most)
}

// Threads returns the numbers of threads that are measured unless others are
// asked for: one, and one per processor in use.
func Threads(gomaxprocs int) []int {
	return slices.Compact([]int{1, max(1, gomaxprocs)})
}
