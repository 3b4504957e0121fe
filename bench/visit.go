package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/objhash/objhash/bench/target"
)

const (
	// visitsMin is in how many visits a cell gets the trials that it is promised, of
	// visitRoundsMin each at least. What the machine does changes within seconds, so trials
	// that follow each other at once are more alike than those of another run.
	visitsMin      = 2
	visitRoundsMin = 3

	// A first visit has warm-ups until no target gets faster by more than the share
	// settled from one to the next; the first of them verifies more, so it is slower.
	// Later ones only have to bring memory and caches back.
	warmUpsMin      = 2
	warmUpsMax      = 5
	warmUpsMinLater = 1
	settled         = 0.05
)

// comparison is a cell, with what is known of it between visits.
type comparison struct {
	cell
	rng      *rand.Rand
	entrants []entrant
	workload *Workload // kept between visits if there is no other cell
	visits   int
	rounds   int // counted
	done     bool

	roundTime, visitTime time.Duration // of the last round, and of all in the last visit but its rounds
}

// entrant is a target in a cell.
type entrant struct {
	spec    target.Spec
	result  *Result
	skipped bool
	warmUps []time.Duration // of this visit
}

// cells visits the cells in turns until each has its trials.
func (r *runner) cells(ctx context.Context) (err error) {
	if r.c.Pin {
		if r.cpus, err = allowedCPUs(); err != nil {
			return err
		}
	}
	all := make([]*comparison, 0, len(r.c.plan()))
	for i, c := range r.c.plan() {
		// Rounds of different cells have different orders and hash seeds.
		all = append(all, &comparison{cell: c, rng: rand.New(rand.NewPCG(r.c.Seed, uint64(i+1)<<32))})
	}
	for {
		visited := false
		for i, c := range all {
			if c.visits > 0 && (c.done || r.enough(c, c.visitTime+c.roundTime)) {
				continue
			}
			visited = true
			if err := r.visit(ctx, c, i+1, all); err != nil {
				return err
			}
		}
		if !visited {
			return nil
		}
	}
}

// visit does some rounds in a cell.
func (r *runner) visit(ctx context.Context, c *comparison, number int, all []*comparison) error {
	defer r.pair(c)
	start, rounds := time.Now(), c.rounds
	r.at = Progress{
		Cell: number, Cells: len(all), Visit: c.visits + 1, Profile: c.profile.Name, Objects: c.objects, Threads: c.threads,
		Rounds: r.c.Trials, MakingWorkload: true, Left: r.left(all),
	}
	r.tell()
	if err := r.begin(ctx, c); err != nil {
		return err
	}
	r.at.Objects, r.at.MakingWorkload = c.objects, false
	c.visits++
	if err := r.warmUp(ctx, c); err != nil {
		return err
	}
	roundsTime := time.Duration(0)
	for last := c.rounds + r.c.visitRounds(); c.rounds < last && !r.enough(c, c.roundTime); {
		r.at.Left = r.left(all)
		began := time.Now()
		if err := r.round(ctx, c); err != nil {
			return err
		}
		c.roundTime = time.Since(began)
		roundsTime += c.roundTime
	}
	c.done = c.rounds == rounds || len(c.entrants) == 0 || r.enough(c, 0)
	c.visitTime = time.Since(start) - roundsTime
	if c.visits == 1 {
		if err := r.fresh(ctx, c); err != nil {
			return err
		}
		if r.c.Latency {
			if err := r.latencies(ctx, c); err != nil {
				return err
			}
		}
		c.dropFailed()
	}
	if len(all) > 1 {
		c.workload = nil
	}
	return nil
}

// visitRounds is how many rounds a visit has at most.
func (c *Config) visitRounds() int {
	return max(visitRoundsMin, (c.Trials+visitsMin-1)/visitsMin)
}

// begin makes the workload, and on the first visit chooses the targets.
func (r *runner) begin(ctx context.Context, c *comparison) error {
	if c.workload == nil {
		w, err := NewWorkload(c.profile, Size{Objects: c.objects, Threads: c.threads, Seed: r.c.Seed, Trace: r.c.Trace})
		if err != nil {
			return err
		}
		w.pin(r.cpus)
		c.workload, c.objects = w, w.Objects
	}
	if ctx.Err() != nil {
		return errStopped
	}
	for i := range c.entrants {
		c.entrants[i].warmUps = nil
	}
	if c.visits > 0 {
		return nil
	}
	tables := tablesPerTrial(c.workload.Ops())
	specs, skipped := r.c.entrants(c.cell)
	r.report.Skipped = append(r.report.Skipped, skipped...)
	for _, s := range specs {
		res := &Result{
			Profile: c.profile.Name, Target: s.Name, Strategy: s.Strategy, Objects: c.objects, Threads: c.threads,
			Ops: c.workload.Ops() * tables, Distinct: c.workload.Distinct, Tables: tables, NoTable: s.NoTable,
		}
		r.report.Results = append(r.report.Results, res)
		c.entrants = append(c.entrants, entrant{spec: s, result: res})
	}
	return nil
}

// warmUp does rounds that are verified but not counted.
func (r *runner) warmUp(ctx context.Context, c *comparison) error {
	r.at.WarmUp = true
	defer func() { r.at.WarmUp = false }()
	least := warmUpsMin
	if c.visits > 1 {
		least = warmUpsMinLater
	}
	for n := 1; ; n++ {
		r.at.Round = n
		if err := r.inOrder(ctx, c); err != nil {
			return err
		}
		if n >= least && !slices.ContainsFunc(c.entrants, func(e entrant) bool { return falling(e.warmUps) }) {
			return nil
		}
		if n < warmUpsMax {
			continue
		}
		for i := range c.entrants {
			e := &c.entrants[i]
			e.result.Unsteady = e.result.Unsteady || falling(e.warmUps)
		}
		return nil
	}
}

// falling says whether the last time is still clearly less than all before.
func falling(times []time.Duration) bool {
	if len(times) < 2 {
		return false
	}
	last := len(times) - 1
	return float64(times[last]) < (1-settled)*float64(slices.Min(times[:last]))
}

// round does a round that counts.
func (r *runner) round(ctx context.Context, c *comparison) error {
	r.at.Round = c.rounds + 1
	if err := r.inOrder(ctx, c); err != nil {
		return err
	}
	c.rounds++
	return nil
}

// inOrder gives every target a trial, in a new random order.
func (r *runner) inOrder(ctx context.Context, c *comparison) error {
	seed := c.rng.Uint64()
	c.rng.Shuffle(len(c.entrants), func(i, j int) { c.entrants[i], c.entrants[j] = c.entrants[j], c.entrants[i] })
	for i := range c.entrants {
		e := &c.entrants[i]
		r.at.Target = e.spec.Name
		r.tell()
		if err := r.trial(ctx, c, e, seed); err != nil {
			return err
		}
	}
	c.dropFailed()
	return nil
}

func (c *comparison) dropFailed() {
	c.entrants = slices.DeleteFunc(c.entrants, func(e entrant) bool { return e.result.Error != "" || e.skipped })
}

// trial does one trial of the present round and records what came of it.
func (r *runner) trial(ctx context.Context, c *comparison, e *entrant, seed uint64) error {
	first := c.visits == 1 && r.at.WarmUp && r.at.Round == 1
	limited, cancel := ctx, context.CancelFunc(func() {})
	if first && e.spec.FixedSize && r.c.TrialLimit > 0 {
		limited, cancel = context.WithTimeout(ctx, r.c.TrialLimit)
	}
	defer cancel()
	do := c.workload.Trial
	if first {
		do = c.workload.WarmUp
	}
	watch := r.watch.Lap()
	o, err := do(limited, e.spec, e.result.Tables, seed)
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
	case r.at.WarmUp:
		e.warmUps = append(e.warmUps, o.Elapsed)
	default:
		e.result.add(o, watch.StealPercent())
	}
	return r.save()
}
