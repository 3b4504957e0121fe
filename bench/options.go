package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/objhash/objhash/bench/target"
	"github.com/objhash/objhash/refcount"
)

// RunOptions is a run as a person asks for it, in words. The zero value of a
// list asks for the default.
type RunOptions struct {
	Profiles []string // names, "all", or files; default: DefaultProfiles
	Targets  []string // names, or "all"; default: all
	Objects  []string // numbers; default: each profile's own
	Threads  []string // numbers; default: each profile's own, or Threads

	// Strategies are names, or "all", of what targets count users with that can count
	// in more than one way; default: bare counters in each way, others as they do by
	// themselves.
	Strategies []string

	Trials int
	Seed   uint64

	// OwnTrials and OwnSeed say that what profiles say goes before Trials and Seed.
	OwnTrials, OwnSeed bool

	JSON  string // file to keep the report in; "": none
	Out   string // new folder to keep everything in, see [Folder]; "": none
	Trace string // file of the trace to replay; "": the profile's, or the one that is embedded

	Against string // see Config

	// See Config for these.
	TrialLimit   time.Duration
	Budget       time.Duration
	Width        float64
	Pin          bool
	Latency      bool
	LatencyEvery int
	RatePerS     float64 // above 0: latencies are asked for, too
	Command      string
	Fresh        func(context.Context, FreshTrial) (FreshOutcome, error)

	// CPUProfile asks for profiles in the folder of the run, see Config. ProfileTime is that
	// of each target.
	CPUProfile  bool
	ProfileTime time.Duration

	// Resume is the folder of a run that was interrupted, which is gone on with; "": none
	// is. The other options are those that it had. Force does so although the machine or
	// the code is another.
	Resume string
	Force  bool

	Flags map[string][]string // see Config.Options
}

// DefaultProfiles are the profiles of a run that names none: they show the
// main properties within some minutes.
func DefaultProfiles() []string {
	return []string{"lookup-hit", "first-pass", "checkpoint-zipf", "replay"}
}

// Run does the run and keeps the report in the file. The report is nil if the
// options are wrong, or no target can do any of it. An error that is the person's to
// correct wraps ErrChoice. A target that failed verification is an error, too.
func (o RunOptions) Run(ctx context.Context, tell func(Progress)) (*Report, error) {
	c, err := o.config()
	if err == nil {
		err = c.feasible()
	}
	if err != nil {
		return nil, err
	}
	c.Progress = tell
	keep, err := o.keepers(&c)
	if err != nil {
		return nil, err
	}
	c.Save = keep.SaveSoon
	report, err := Run(ctx, c)
	if err == nil && len(report.Results) == 0 {
		err = fmt.Errorf("%w: no target is done within the trial limit of %s", ErrChoice, o.TrialLimit)
	}
	return report, errors.Join(err, keep.Save(report), report.failure())
}

// keeper keeps a report somewhere.
type keeper interface {
	SaveSoon(*Report) error
	Save(*Report) error
}

type keepers []keeper

// keepers opens what the person wants results in, and reads what a run is to go on with.
func (o RunOptions) keepers(c *Config) (all keepers, err error) {
	if o.Out != "" && o.Resume != "" {
		return nil, fmt.Errorf("%w: results of a run that is resumed go to its own folder, not to a new one", ErrChoice)
	}
	if o.Force && o.Resume == "" {
		return nil, fmt.Errorf("%w: force is for a run that is resumed", ErrChoice)
	}
	if o.JSON != "" {
		f, err := NewFile(o.JSON)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	if o.Out != "" {
		f, err := NewFolder(o.Out)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	if o.Resume != "" {
		f, prior, err := OpenFolder(o.Resume)
		if err != nil {
			return nil, err
		}
		if err := c.checkResume(prior, o.Force); err != nil {
			return nil, err
		}
		c.Resume = prior
		all = append(all, f)
	}
	return all, nil
}

func (all keepers) each(f func(keeper) error) error {
	var errs []error
	for _, k := range all {
		errs = append(errs, f(k))
	}
	return errors.Join(errs...)
}

func (all keepers) SaveSoon(r *Report) error {
	return all.each(func(k keeper) error { return k.SaveSoon(r) })
}
func (all keepers) Save(r *Report) error { return all.each(func(k keeper) error { return k.Save(r) }) }

func (r *Report) failure() error {
	failed := r.Failed()
	if len(failed) == 0 {
		return nil
	}
	return fmt.Errorf("%d of %s failed verification", len(failed), plural(len(r.Results), "result"))
}

func (o RunOptions) config() (c Config, err error) {
	c = Config{
		Against: o.Against, Trials: o.Trials, Seed: o.Seed, TrialLimit: o.TrialLimit, Budget: o.Budget, Width: o.Width,
		Pin: o.Pin, Latency: o.Latency || o.RatePerS > 0, LatencyEvery: o.LatencyEvery, RatePerS: o.RatePerS,
		Command: o.Command, Options: o.Flags, Fresh: o.Fresh, TracePath: o.Trace,
	}
	if len(o.Profiles) == 0 {
		o.Profiles = DefaultProfiles()
	}
	if c.Profiles, err = ChooseProfiles(o.Profiles); err != nil {
		return c, err
	}
	if err = o.own(&c); err != nil {
		return c, err
	}
	if c.Targets, err = ChooseTargets(o.Targets); err != nil {
		return c, err
	}
	if c.Strategies, err = o.strategies(c.Targets); err != nil {
		return c, err
	}
	if len(o.Targets) == 0 || slices.Equal(o.Targets, []string{"all"}) {
		c.Targets = nil // nobody asked for any of them by its name
	}
	if err = o.against(); err != nil {
		return c, fmt.Errorf("to compare against: %w", err)
	}
	if c.Objects, err = ParseCounts("objects", o.Objects, ObjectsMax); err != nil {
		return c, err
	}
	if c.Threads, err = ParseCounts("threads", o.Threads, ThreadsMax); err != nil {
		return c, err
	}
	for _, cell := range c.plan() {
		if c.timesCalls(&cell.profile) && cell.threads > LatencyThreadsMax {
			return c, fmt.Errorf("%w: latencies of %s; want at most %d", ErrChoice, plural(cell.threads, "thread"), LatencyThreadsMax)
		}
	}
	if c.Trials < 1 || c.Trials > TrialsMax {
		return c, fmt.Errorf("%w: %d trials; want 1 to %s", ErrChoice, c.Trials, grouped(TrialsMax))
	}
	if o.TrialLimit < 0 {
		return c, fmt.Errorf("%w: trial limit %s; want 0 or more", ErrChoice, o.TrialLimit)
	}
	if o.CPUProfile {
		if c.ProfileDir, c.ProfileTime = cmp.Or(o.Out, o.Resume), o.ProfileTime; c.ProfileDir == "" {
			return c, fmt.Errorf("%w: profiles are kept in the folder of the run; name one with --out", ErrChoice)
		}
		if c.ProfileTime <= 0 {
			return c, fmt.Errorf("%w: %s to profile each target for; want more than 0", ErrChoice, o.ProfileTime)
		}
	}
	if err = o.measuring(); err != nil {
		return c, err
	}
	return c, o.loadTrace(&c)
}

// own takes from the profiles what they say and the person does not. A run has one number
// of trials, the largest that one asks for, and one seed.
func (o RunOptions) own(c *Config) error {
	most := 0
	for _, p := range c.Profiles {
		most = max(most, p.Trials)
	}
	if o.OwnTrials && most > 0 {
		c.Trials = most
	}
	if !o.OwnSeed {
		return nil
	}
	c.Seed = c.Profiles[0].Seed
	for _, p := range c.Profiles {
		if p.Seed != c.Seed {
			return fmt.Errorf("%w: %s has the seed %d, and %s has %d; name one with --seed, or run them apart",
				ErrChoice, c.Profiles[0].Name, c.Seed, p.Name, p.Seed)
		}
	}
	return nil
}

// measuring says what is wrong with how it is to be measured.
func (o RunOptions) measuring() error {
	switch {
	case o.Budget < 0:
		return fmt.Errorf("%w: a budget of %s; want 0 or more", ErrChoice, o.Budget)
	case !(o.Width >= 0 && o.Width < 1):
		return fmt.Errorf("%w: intervals of width %g; want a part of the median, like %g", ErrChoice, o.Width, DefaultWidth)
	case o.LatencyEvery < 0:
		return fmt.Errorf("%w: one of %d calls timed; want 1 or more", ErrChoice, o.LatencyEvery)
	case !(o.RatePerS >= 0 && o.RatePerS <= RateMax):
		return fmt.Errorf("%w: a rate of %g operations per second; want 0 to %g", ErrChoice, o.RatePerS, RateMax)
	case !o.Pin:
		return nil
	}
	_, err := allowedCPUs()
	return err
}

func (o RunOptions) strategies(targets []target.Spec) ([]refcount.Strategy, error) {
	if len(o.Strategies) == 0 {
		return nil, nil
	}
	strategies, err := ChooseStrategies(o.Strategies)
	if err != nil {
		return nil, err
	}
	var why []string
	for _, t := range targets {
		switch {
		case t.WithStrategy != nil:
			return strategies, nil
		case t.Strategy != "":
			why = append(why, t.Name+" has its own")
		default:
			why = append(why, t.Name+" takes none")
		}
	}
	return nil, fmt.Errorf("%w: no target takes the strategy %s: %s; those that do are %s, by their plain names",
		ErrChoice, strings.Join(o.Strategies, ", "), strings.Join(why, ", "), takers())
}

func (o RunOptions) against() error {
	if o.Against == "" {
		return nil
	}
	specs, err := ChooseTargets([]string{o.Against})
	if err == nil && (len(specs) > 1 || specs[0].Counts && specs[0].Strategy == "") {
		err = fmt.Errorf("%w: %q stands for several; name one, like %s", ErrChoice, o.Against, counterAgainst)
	}
	return err
}

func (o RunOptions) loadTrace(c *Config) (err error) {
	var replays []Profile
	for _, p := range c.Profiles {
		if p.recorded() {
			replays = append(replays, p)
		}
	}
	if len(replays) == 0 {
		if o.Trace != "" {
			return fmt.Errorf("%w: a trace is for profiles that replay one, as replay does, and there is none among %s",
				ErrChoice, strings.Join(o.Profiles, ", "))
		}
		return nil
	}
	path := o.Trace
	if path == "" {
		path = replays[0].Trace
		for _, p := range replays {
			if p.Trace != path {
				return fmt.Errorf("%w: %s and %s replay different traces; name one with --trace, or run them apart", ErrChoice, replays[0].Name, p.Name)
			}
		}
	}
	c.Trace, c.TraceName, err = OpenTrace(path)
	return err
}

// WriteList writes the names of all targets, strategies and profiles, a line each.
func WriteList(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "Targets:") // tw keeps errors for Flush
	for _, s := range target.All() {
		fmt.Fprintf(tw, "  %s\t%s\n", s.Name, s.Summary)
	}
	fmt.Fprintln(tw, "\nStrategies:")
	for _, s := range refcount.All() {
		fmt.Fprintf(tw, "  %s\t%s\n", s.Name(), s.Traits().Summary)
	}
	fmt.Fprintln(tw, "\nProfiles:")
	for _, p := range Profiles() {
		fmt.Fprintf(tw, "  %s\t%s\n", p.Name, p.Summary)
	}
	return tw.Flush()
}
