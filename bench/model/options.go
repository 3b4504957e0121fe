package model

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/refcount"
)

// Options are a run as a person asks for it, in words. The zero value of a list asks for
// the default.
type Options struct {
	Strategies  []string // names, or "all"; default: all
	Threads     []string // numbers; default: DefaultThreads
	AssumeCores int      // see Config
	Seed        uint64
	JSON        string // file to keep the report in; "": none
	Command     string // see Config
}

// DefaultThreads are the numbers of threads that are predicted for unless others are asked
// for.
func DefaultThreads() []string {
	return []string{"1", "2", "4", "8", "16", "32", "64", "128", "256"}
}

// ThreadsMax is the largest number of threads that is predicted for.
const ThreadsMax = 1024

// Run measures, predicts, and writes the report to the file. The report is nil if the options
// are wrong, with an error that wraps [bench.ErrChoice] if it is the person's to correct.
func (o Options) Run(ctx context.Context, tell func(Progress)) (*Report, error) {
	c, err := o.config()
	if err != nil {
		return nil, err
	}
	if o.JSON != "" {
		if err := bench.FolderExists(o.JSON); err != nil {
			return nil, err
		}
	}
	c.Progress = tell
	report, err := Run(ctx, c)
	if report != nil && o.JSON != "" {
		err = errors.Join(err, bench.WriteFile(o.JSON, report.WriteJSON))
	}
	return report, err
}

func (o Options) config() (c Config, err error) {
	c = Config{AssumeCores: o.AssumeCores, Seed: o.Seed, Command: o.Command}
	c.Strategies, err = bench.Choose("strategy", o.Strategies, refcount.All(), refcount.Strategy.Name)
	if err != nil {
		return c, err
	}
	c.leaveOut(o.Strategies)
	if len(o.Threads) == 0 {
		o.Threads = DefaultThreads()
	}
	if c.Threads, err = bench.ParseCounts("threads", o.Threads, bench.ThreadsMax); err != nil {
		return c, err
	}
	slices.Sort(c.Threads)
	if most := c.Threads[len(c.Threads)-1]; most > ThreadsMax {
		return c, fmt.Errorf("%w: %s threads; want 1 to %s", bench.ErrChoice, bench.Grouped(most), bench.Grouped(ThreadsMax))
	}
	if o.AssumeCores < 0 || o.AssumeCores > ThreadsMax {
		return c, fmt.Errorf("%w: %d cores to assume; want 1 to %s, or 0 for a core for each thread",
			bench.ErrChoice, o.AssumeCores, bench.Grouped(ThreadsMax))
	}
	return c, nil
}

// leaveOut takes away the strategies that tell only whether there are users, but those with
// a name among names.
func (c *Config) leaveOut(names []string) {
	c.Strategies = slices.DeleteFunc(c.Strategies, func(s refcount.Strategy) bool {
		out := s.Traits().Exact == refcount.Never && !slices.Contains(names, s.Name())
		if out {
			c.LeftOut = append(c.LeftOut, s.Name())
		}
		return out
	})
}
