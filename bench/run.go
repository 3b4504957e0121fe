package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
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
	Trials  int   // counted ones; a warm-up round comes before
	Seed    uint64

	Trace     *trace.Trace // for profiles that replay one
	TraceName string       // as reports call it

	// TrialLimit skips a target of fixed size in cells where its warm-up takes
	// longer; 0: none is skipped.
	TrialLimit time.Duration

	// Latency gives each target of a cell one more trial, in which every call is timed.
	Latency bool

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
	Profile        string
	Objects        int
	Threads        int
	Round, Rounds  int // from 0: the warm-up
	Target         string
	MakingWorkload bool // rather than doing a trial
	Latency        bool // a trial that times every call, after all rounds
	Profiling      bool // trials under a profiler, after all others
	Elapsed        time.Duration
}

// ErrInterrupted is what Run returns, with the report so far, if its context
// ended before it was through.
var ErrInterrupted = errors.New("interrupted")

// warmups is the number of rounds that are done and verified but not counted.
const warmups = 1

// Run measures. The report is never nil.
func Run(ctx context.Context, c Config) (*Report, error) {
	r := &runner{
		c:     c,
		start: time.Now(),
		watch: machine.NewWatch(),
		report: &Report{
			Schema: Schema, Command: c.Command, Options: c.Options, Started: now(), Seed: c.Seed, Against: c.Against, Trace: c.TraceName, Unit: Unit,
			Env: machine.Read(), Results: []*Result{},
		},
	}
	r.report.Profiles = profileTexts(c.Profiles)
	if c.Latency {
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
	r.report.Warnings = append(r.report.Warnings, r.watch.Warnings(r.report.Env.Cores)...)
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
	report *Report
	at     Progress
}

func (r *runner) save() error {
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

func (r *runner) cells(ctx context.Context) error {
	cells := r.c.plan()
	for i, c := range cells {
		r.at = Progress{
			Cell: i + 1, Cells: len(cells), Profile: c.profile.Name, Objects: c.objects, Threads: c.threads,
			Rounds: warmups + r.c.Trials, MakingWorkload: true,
		}
		r.tell()
		if err := r.cell(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

func (r *runner) tell() {
	if r.c.Progress != nil {
		r.at.Elapsed = time.Since(r.start)
		r.c.Progress(r.at)
	}
}

// entrant is a target in a cell.
type entrant struct {
	spec    target.Spec
	result  *Result
	skipped bool
}

func (r *runner) cell(ctx context.Context, c cell) error {
	specs, _ := r.c.entrants(c)
	if entrants, begun := r.resumed(c, specs); begun && r.c.through(entrants) {
		return nil
	}
	w, err := NewWorkload(c.profile, Size{Objects: c.objects, Threads: c.threads, Seed: r.c.Seed, Trace: r.c.Trace})
	if err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errStopped
	}
	c.objects = w.Objects
	r.at.Objects, r.at.MakingWorkload = w.Objects, false
	tables := tablesPerTrial(w.Ops())
	entrants, begun := r.resumed(c, specs)
	if !begun {
		specs, skipped := r.c.entrants(c) // now that the objects are known
		r.report.Skipped = append(r.report.Skipped, skipped...)
		for _, s := range specs {
			e := entrant{spec: s, result: &Result{
				Profile: c.profile.Name, Target: s.Name, Strategy: s.Strategy, Objects: c.objects, Threads: c.threads,
				Ops: w.Ops() * tables, Distinct: w.Distinct, Tables: tables, NoTable: s.NoTable,
			}}
			entrants = append(entrants, e)
			r.report.Results = append(r.report.Results, e.result)
		}
	}

	// Rounds of different cells have different orders and hash seeds.
	rng := rand.New(rand.NewPCG(r.c.Seed, uint64(r.at.Cell)<<32))
	for round := range r.at.Rounds {
		r.at.Round = round
		trialSeed := rng.Uint64()
		rng.Shuffle(len(entrants), func(i, j int) { entrants[i], entrants[j] = entrants[j], entrants[i] })
		for i := range entrants {
			e := &entrants[i]
			if round >= warmups && e.result.Trials > round-warmups {
				continue // it had this one before an interruption
			}
			r.at.Target = e.spec.Name
			r.tell()
			if err := r.trial(ctx, c, w, e, trialSeed); err != nil {
				return err
			}
		}
		entrants = slices.DeleteFunc(entrants, func(e entrant) bool { return e.result.Error != "" || e.skipped })
	}
	if r.c.Latency {
		if err := r.latencies(ctx, c, w, entrants, rng.Uint64()); err != nil {
			return err
		}
	}
	if r.c.ProfileDir != "" {
		return r.profiles(ctx, w, entrants, rng.Uint64())
	}
	return nil
}

// trial does one trial of the present round and records what came of it.
func (r *runner) trial(ctx context.Context, c cell, w *Workload, e *entrant, seed uint64) error {
	limited, cancel := ctx, context.CancelFunc(func() {})
	if r.at.Round < warmups && e.spec.FixedSize && r.c.TrialLimit > 0 {
		limited, cancel = context.WithTimeout(ctx, r.c.TrialLimit)
	}
	defer cancel()
	var o Outcome
	var err error
	if r.at.Round < warmups {
		err = w.WarmUp(limited, e.spec, e.result.Tables, seed)
	} else {
		o, err = w.Trial(limited, e.spec, e.result.Tables, seed)
	}
	switch {
	case ctx.Err() != nil:
		return errStopped
	case limited.Err() != nil:
		why := fmt.Sprintf("its size is fixed, and a trial with so many objects takes longer than the trial limit of %s", r.c.TrialLimit)
		r.report.Skipped = append(r.report.Skipped, c.skip(e.spec, why))
		r.report.Results = slices.DeleteFunc(r.report.Results, func(res *Result) bool { return res == e.result })
		e.skipped = true
	case err != nil:
		e.result.fail(err)
	case r.at.Round >= warmups:
		e.result.add(o)
	}
	return r.save()
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
