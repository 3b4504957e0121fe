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

	// Against is the target that others are compared with.
	Against string

	TrialLimit time.Duration // see Config
	Command    string        // see Config
}

// DefaultProfiles are the profiles of a run that names none: they show the
// main properties within some minutes.
func DefaultProfiles() []string {
	return []string{"lookup-hit", "first-pass", "checkpoint-zipf", "replay"}
}

// Run does the run and keeps the report in the file. The report is nil if the
// options are wrong, with an error that wraps ErrChoice if it is the person's
// to correct. A target that failed verification is an error, too.
func (o RunOptions) Run(ctx context.Context, tell func(Progress)) (*Report, error) {
	c, err := o.config()
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
	c = Config{Trials: o.Trials, Seed: o.Seed, TrialLimit: o.TrialLimit, Command: o.Command}
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
	if o.Against != "" {
		if _, err = ChooseTargets([]string{o.Against}); err != nil {
			return c, fmt.Errorf("to compare against: %w", err)
		}
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
	if o.Trials < 1 || o.Trials > TrialsMax {
		return c, fmt.Errorf("%w: %d trials; want 1 to %s", ErrChoice, o.Trials, grouped(TrialsMax))
	}
	if o.TrialLimit < 0 {
		return c, fmt.Errorf("%w: trial limit %s; want 0 or more", ErrChoice, o.TrialLimit)
	}
	return c, o.loadTrace(&c)
}

func (o RunOptions) strategies(targets []target.Spec) ([]refcount.Strategy, error) {
	if len(o.Strategies) == 0 {
		return nil, nil
	}
	strategies, err := ChooseStrategies(o.Strategies)
	if err == nil && !slices.ContainsFunc(targets, func(s target.Spec) bool { return s.WithStrategy != nil }) {
		var names []string
		for _, s := range takers() {
			names = append(names, s.Name)
		}
		err = fmt.Errorf("%w: strategies are for the targets %s, by their plain names; none is among %s",
			ErrChoice, strings.Join(names, ", "), strings.Join(o.Targets, ", "))
	}
	return strategies, err
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
