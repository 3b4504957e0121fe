package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
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
	Profiles []string // names, or "all"; default: DefaultProfiles
	Targets  []string // names, or "all"; default: all
	Objects  []string // numbers; default: each profile's own
	Threads  []string // numbers; default: Threads

	// Strategies are names, or "all", of what targets count users with that can count
	// in more than one way; default: bare counters in each way, others as they do by
	// themselves.
	Strategies []string

	Trials int
	Seed   uint64

	JSON  string // file to keep the report in; "": none
	Trace string // file of the trace to replay; "": the one that is embedded

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
	save := func(*Report) error { return nil }
	if o.JSON != "" {
		f, err := NewFile(o.JSON)
		if err != nil {
			return nil, err
		}
		c.Save, save = f.SaveSoon, f.Save
	}
	report, err := Run(ctx, c)
	if err == nil && len(report.Results) == 0 {
		err = fmt.Errorf("%w: no target is done within the trial limit of %s", ErrChoice, o.TrialLimit)
	}
	return report, errors.Join(err, save(report), report.failure())
}

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
		Pin: o.Pin, Latency: o.Latency || o.RatePerS > 0, LatencyEvery: o.LatencyEvery, RatePerS: o.RatePerS, Command: o.Command,
		Fresh: o.Fresh, TracePath: o.Trace,
	}
	if len(o.Profiles) == 0 {
		o.Profiles = DefaultProfiles()
	}
	if c.Profiles, err = ChooseProfiles(o.Profiles); err != nil {
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
	if len(c.Threads) == 0 {
		c.Threads = Threads(runtime.GOMAXPROCS(0))
	}
	if most := slices.Max(c.Threads); c.Latency && most > LatencyThreadsMax {
		return c, fmt.Errorf("%w: latencies of %s; want at most %d", ErrChoice, plural(most, "thread"), LatencyThreadsMax)
	}
	if o.Trials < 1 || o.Trials > TrialsMax {
		return c, fmt.Errorf("%w: %d trials; want 1 to %s", ErrChoice, o.Trials, grouped(TrialsMax))
	}
	if o.TrialLimit < 0 {
		return c, fmt.Errorf("%w: trial limit %s; want 0 or more", ErrChoice, o.TrialLimit)
	}
	if err = o.measuring(); err != nil {
		return c, err
	}
	return c, o.loadTrace(&c)
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
	if !slices.ContainsFunc(c.Profiles, func(p Profile) bool { return p.recorded() }) {
		if o.Trace != "" {
			return fmt.Errorf("%w: a trace is for the profile replay, which is not among %s", ErrChoice, strings.Join(o.Profiles, ", "))
		}
		return nil
	}
	c.Trace, c.TraceName, err = OpenTrace(o.Trace)
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
