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
	// visitsMin is in how many visits at least a cell gets the trials that it is promised.
	// It is one for each round, unless making the workload takes longer than the round.
	// What a machine does to a program lasts for seconds, so trials that follow each other
	// at once are alike, and unlike those of another run: with all ten in a row, a third to
	// a half of runs differ from the next of the same target (Mann-Whitney, 5 %).
	visitsMin = 5

	// Warm-ups go on until no target gets faster by more than the share settled from one
	// to the next; the first of them verifies more, so it is slower. They are needed once:
	// each trial finds the caches as another target left them, on any visit.
	warmUpsMin = 2
	warmUpsMax = 5
	settled    = 0.05
)

// comparison is a cell, with what is known of it between visits.
type comparison struct {
	cell
	rng      *rand.Rand
	entrants []entrant
	workload *Workload // kept between visits if there is no other cell
	visits   int
	rounds   int  // counted
	done     bool // no target is left

	making, roundTime time.Duration // of the last workload and the last round
}

// entrant is a target in a cell.
type entrant struct {
	spec    target.Spec
	result  *Result
	skipped bool
	warmUps []time.Duration

	unsettled bool // it still got faster in the last warm-up
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
		// Rounds of different cells have different orders and hash seeds, and so have those
		// before and after an interruption.
		k := &comparison{cell: c, rng: rand.New(rand.NewPCG(r.c.Seed, uint64(i+1)<<32+uint64(len(r.report.Resumed))))}
		specs, _ := r.c.entrants(c)
		if entrants, begun := r.resumed(c, specs); begun {
			k.entrants, k.rounds = entrants, fewestTrials(entrants)
			k.done = r.through(k)
		}
		all = append(all, k)
	}
	for {
		visited := false
		for i, c := range all {
			if c.done || c.visits > 0 && r.enough(c, c.making+c.roundTime) {
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

// visit does a round in a cell, or some.
func (r *runner) visit(ctx context.Context, c *comparison, number int, all []*comparison) error {
	defer r.pair(c)
	r.at = Progress{
		Cell: number, Cells: len(all), Visit: c.visits + 1, Profile: c.profile.Name, Objects: c.objects, Threads: c.threads,
		Rounds: r.c.Trials, MakingWorkload: true, Left: r.left(all),
	}
	r.tell()
	start := time.Now()
	if err := r.begin(ctx, c); err != nil {
		return err
	}
	c.making = time.Since(start)
	r.at.Objects, r.at.MakingWorkload = c.objects, false
	if c.visits++; c.visits == 1 {
		if err := r.warmUp(ctx, c); err != nil {
			return err
		}
	}
	start = time.Now()
	for last := c.rounds + max(1, r.c.Trials/visitsMin); c.rounds < last && len(c.entrants) > 0 && !r.enough(c, 0); {
		r.at.Left = r.left(all)
		began := time.Now()
		if err := r.round(ctx, c); err != nil {
			return err
		}
		c.roundTime = time.Since(began)
		if time.Since(start) > c.making || r.enough(c, c.roundTime) {
			break
		}
	}
	if c.visits == 1 {
		if err := r.beside(ctx, c); err != nil {
			return err
		}
	}
	c.done = len(c.entrants) == 0
	if len(all) > 1 {
		c.workload = nil
	}
	return nil
}

// beside measures what is beside the rounds, once in a cell.
func (r *runner) beside(ctx context.Context, c *comparison) error {
	defer c.dropFailed()
	if err := r.fresh(ctx, c); err != nil {
		return err
	}
	if r.c.timesCalls(&c.profile) {
		if err := r.latencies(ctx, c); err != nil {
			return err
		}
	}
	if r.c.ProfileDir != "" {
		return r.profiles(ctx, c)
	}
	return nil
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
	if c.visits > 0 {
		return nil
	}
	tables := tablesPerTrial(c.workload.Ops())
	specs, skipped := r.c.entrants(c.cell)
	if entrants, begun := r.resumed(c.cell, specs); begun {
		c.entrants, c.rounds = entrants, fewestTrials(entrants)
		return nil
	}
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
	for n := 1; ; n++ {
		r.at.Round = n
		if err := r.inOrder(ctx, c); err != nil {
			return err
		}
		if n >= warmUpsMin && !slices.ContainsFunc(c.entrants, func(e entrant) bool { return falling(e.warmUps) }) {
			return nil
		}
		if n < warmUpsMax {
			continue
		}
		for i := range c.entrants {
			e := &c.entrants[i]
			e.unsettled = falling(e.warmUps)
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
		if !r.at.WarmUp && e.result.Trials > c.rounds {
			continue // it had this one before an interruption
		}
		r.at.Target, r.at.MedianNs = e.spec.Name, 0
		if ns := e.result.NsPerOp; ns != nil {
			r.at.MedianNs = ns.Median
		}
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
	first := r.at.WarmUp && r.at.Round == 1
	limited, cancel := ctx, context.CancelFunc(func() {})
	if first && e.spec.FixedSize && r.c.TrialLimit > 0 && e.result.Trials == 0 {
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
		e.result.Unsteady = e.unsettled || drifts(e.result.SamplesNs)
	}
	return r.save()
}
