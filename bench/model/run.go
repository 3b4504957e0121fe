package model

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/machine"
	"github.com/objhash/objhash/refcount"
)

// Config is what to measure and predict.
type Config struct {
	Strategies []refcount.Strategy
	Threads    []int // to predict for, ascending

	// AssumeCores is the number of processors to predict for; 0: one for each thread.
	AssumeCores int

	LeftOut []string // for the report

	Seed     uint64
	Command  string         // for the report
	Progress func(Progress) // nil: nobody is told

	sizes  sizes
	rounds int
	window time.Duration // for which lines are moved, several times in a round
	budget time.Duration // after which no further round is begun
}

// Progress is where a measurement is.
type Progress struct {
	Round, Rounds int // from 1
	What          string
	Elapsed, Left time.Duration // Left is an estimate; 0: there is none
}

const (
	rounds  = 15 // an interval of the median takes 6; with more, two rounds that others disturb do not widen it
	windows = 4  // in a round
)

func (c Config) withDefaults() Config {
	if c.rounds == 0 {
		c.sizes, c.rounds = defaultSizes(), rounds
		c.window, c.budget = 4*time.Millisecond, 90*time.Second
	}
	return c
}

// runner measures for a report.
type runner struct {
	c        Config
	cores    int
	report   *Report
	profiles []*Profile
	gauge    gauge
	works    []*trials
	lines    [numLines][]float64
	entrants []*entrant
	rng      *rand.Rand
}

// Costs of the machine, as they are sampled.
const (
	lineMove = iota
	lineMoveAmong
	lineAdd
	lineContendedAdd
	lineCAS
	lineProcessors
	numLines
)

// linesOfTwo are those that two threads measure, if both run.
var linesOfTwo = []int{lineMove, lineMoveAmong, lineContendedAdd, lineCAS}

// entrant is a strategy and what was measured of it.
type entrant struct {
	strategy refcount.Strategy
	row      Row
	known    bool // the row
	costs    [numCosts][]float64
	trials   map[*trials][]float64
}

// trials are of one profile on one number of threads.
type trials struct {
	profile *Profile
	threads int
	work    *work
}

// Run measures and predicts. The report is nil only if the sizes are wrong.
func Run(ctx context.Context, c Config) (*Report, error) {
	c = c.withDefaults()
	watch := machine.NewWatch()
	r := &runner{c: c, cores: min(runtime.GOMAXPROCS(0), runtime.NumCPU()), rng: rand.New(rand.NewPCG(c.Seed, 1))}
	r.report = &Report{
		Schema: Schema, Command: c.Command, Seed: c.Seed, Unit: bench.Unit, Env: machine.Read(),
		Cores: r.cores, AssumedCores: c.AssumeCores,
		Strategies: []*StrategyCosts{}, Results: []*Result{}, LeftOut: c.LeftOut, Threads: c.Threads,
	}
	if err := r.prepare(); err != nil {
		return nil, err
	}
	err := r.measure(ctx)
	if ctx.Err() != nil {
		r.report.Incomplete = true
		err = errors.Join(err, r.interrupted())
	}
	r.report.Env.StealPercent = watch.StealPercent()
	r.report.Warnings = watch.Warnings(r.report.Env)
	// A single sample, of some of the costs, tells nothing.
	if r.report.Rounds > 0 {
		r.conclude()
	}
	r.report.warnOfProcessors()
	return r.report, err
}

// left estimates how long the rounds that are not done take: as long as those that are, as
// far as the budget goes.
func (r *runner) left(spent time.Duration, done int) time.Duration {
	if done == 0 {
		return 0
	}
	return max(0, min(spent*time.Duration(r.c.rounds)/time.Duration(done), r.c.budget)-spent)
}

func (r *runner) interrupted() error {
	if r.report.Rounds == 0 {
		return fmt.Errorf("%w: %w", errNothing, bench.ErrInterrupted)
	}
	return bench.ErrInterrupted
}

var errNothing = errors.New("nothing was measured, as no round was complete")

func (r *runner) prepare() (err error) {
	if r.profiles, err = newProfiles(r.c.sizes, r.c.Seed); err != nil {
		return err
	}
	r.report.Profiles = r.profiles
	const private, hot, popular, tasks = 0, 1, 2, 3
	r.gauge = gauge{
		private: newWork(r.profiles[private], 1), outgrown: newWork(r.profiles[popular], 1), tasks: newWork(r.profiles[tasks], 1),
		handles: 1000, objects: 4096, readers: 8,
	}
	if r.cores > 1 {
		r.gauge.hot2 = newWork(r.profiles[hot], 2)
	}
	for _, p := range r.profiles {
		for _, threads := range r.c.Threads {
			if r.exists(threads) {
				r.works = append(r.works, &trials{p, threads, newWork(p, threads)})
			}
		}
	}
	for _, s := range r.c.Strategies {
		row, known := RowOf(s)
		r.entrants = append(r.entrants, &entrant{strategy: s, row: row, known: known, trials: map[*trials][]float64{}})
	}
	return nil
}

// exists tells whether what is predicted for so many threads can be measured here.
func (r *runner) exists(threads int) bool {
	return threads <= r.cores && r.processors(threads) == threads
}

func (r *runner) processors(threads int) int {
	if r.c.AssumeCores > 0 {
		return min(threads, r.c.AssumeCores)
	}
	return threads
}

// measure does the rounds. In each, everything is measured once, strategies in a new random
// order, so that what disturbs for a while disturbs all alike.
func (r *runner) measure(ctx context.Context) error {
	start := time.Now()
	order := append([]*entrant(nil), r.entrants...)
	for round := range r.c.rounds {
		if spent := time.Since(start); round > 0 && spent+spent/time.Duration(round) > r.c.budget {
			return nil
		}
		r.moveLines(ctx)
		r.rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, e := range order {
			if ctx.Err() != nil {
				return nil
			}
			if r.c.Progress != nil {
				spent := time.Since(start)
				r.c.Progress(Progress{Round: round + 1, Rounds: r.c.rounds, What: e.strategy.Name(), Elapsed: spent, Left: r.left(spent, round)})
			}
			if err := r.strategy(ctx, e); err != nil {
				return err
			}
		}
		if ctx.Err() == nil {
			r.report.Rounds = round + 1
		}
	}
	return nil
}

func (r *runner) moveLines(ctx context.Context) {
	note := func(cost int, x float64) {
		if !math.IsNaN(x) {
			r.lines[cost] = append(r.lines[cost], x)
		}
	}
	for range windows {
		if ctx.Err() != nil {
			return
		}
		d := r.c.window
		alone := addTime(d)
		note(lineAdd, alone)
		if r.cores > 1 {
			note(lineMove, moveTime(d))
			// Of two threads, each finds half of the lines changed by the other.
			note(lineMoveAmong, max(0, 2*(scatterTime(2, d)-scatterTime(1, d))))
			both, _ := contend(d, addOne)
			note(lineContendedAdd, both)
			_, failures := contend(d, casOne)
			note(lineCAS, failures)
			note(lineProcessors, processorsOfTwo(d, alone))
		}
	}
}

// strategy measures one strategy once.
func (r *runner) strategy(ctx context.Context, e *entrant) error {
	one := e.strategy.Traits().OneThread
	ns, err := r.gauge.costs(e.strategy, !e.known && !one)
	if err != nil {
		return err
	}
	for i, x := range ns {
		e.costs[i] = append(e.costs[i], x)
	}
	for _, t := range r.works {
		if one && t.threads > 1 {
			continue
		}
		if ctx.Err() != nil {
			return nil
		}
		x, err := t.work.trial(e.strategy)
		if err != nil {
			return err
		}
		e.trials[t] = append(e.trials[t], x)
	}
	return nil
}

// conclude predicts from the medians.
func (r *runner) conclude() {
	m := r.machine()
	for _, e := range r.entrants {
		if len(e.costs[costOp]) == 0 {
			continue
		}
		var ns [numCosts]float64
		for i, samples := range e.costs {
			ns[i] = bench.Summarize(samples).Median
		}
		costs := costsOf(ns)
		if !e.known {
			two := ns[costHot2]
			if r.gauge.hot2 == nil {
				two = math.NaN()
			}
			e.row = e.row.fit(m, costs.Op, two)
		}
		r.report.addStrategy(e)
		for _, p := range r.profiles {
			for _, threads := range r.c.Threads {
				if e.row.OneThread && threads > 1 {
					continue
				}
				r.report.Results = append(r.report.Results, r.result(e, m, costs, p, threads))
			}
		}
	}
}

func (r *runner) machine() Machine {
	median := func(samples []float64) float64 {
		if len(samples) == 0 {
			return math.NaN()
		}
		return bench.Summarize(samples).Median
	}
	// All or none: what one of them says of lines is in doubt where the threads never ran
	// together for the others.
	for _, cost := range linesOfTwo {
		if len(r.lines[cost]) == 0 {
			for _, cost := range linesOfTwo {
				r.lines[cost] = nil
			}
		}
	}
	m := Machine{
		Move: median(r.lines[lineMove]), MoveAmong: median(r.lines[lineMoveAmong]), Add: median(r.lines[lineAdd]), ContendedAdd: median(r.lines[lineContendedAdd]),
		CASFailures: median(r.lines[lineCAS]), CacheBytes: cacheBytes(r.report.Env.Caches),
	}
	r.report.Machine = MachineCosts{
		Move: interval(r.lines[lineMove]), MoveAmong: interval(r.lines[lineMoveAmong]), Add: interval(r.lines[lineAdd]), ContendedAdd: interval(r.lines[lineContendedAdd]),
		CASFailures: interval(r.lines[lineCAS]), Processors: interval(r.lines[lineProcessors]), CacheBytes: m.CacheBytes,
	}
	return m
}

// mean is NaN without samples. It is for what is rare, and most often not seen at all.
func mean(samples []float64) float64 {
	sum := 0.0
	for _, x := range samples {
		sum += x
	}
	return sum / float64(len(samples))
}

func (r *runner) result(e *entrant, m Machine, costs Costs, p *Profile, threads int) *Result {
	processors := r.processors(threads)
	x := Predict(m, costs, e.row, p, threads, processors)
	res := &Result{
		Profile: p.Name, Strategy: e.strategy.Name(), Threads: threads, Processors: processors,
		Predicted: known(x.Total), Parallel: known(x.Parallel), Serial: known(x.Serial), Merge: known(x.Merge),
	}
	for _, t := range r.works {
		if t.profile == p && t.threads == threads {
			res.Measured = interval(e.trials[t])
		}
	}
	res.Extrapolated = res.Measured == nil
	got := r.report.Machine.Processors
	together := threads == 1 || !math.IsNaN(m.Move) && got != nil && got.Median >= processorsLeast
	if res.Predicted != nil && res.Measured != nil && res.Measured.Median > 0 && together {
		res.Ratio = known(x.Total / res.Measured.Median)
	}
	return res
}
