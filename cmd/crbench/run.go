package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/objhash/objhash/bench"
)

func newRun() *cobra.Command {
	var o bench.RunOptions
	var rss, quiet bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Measure targets under load profiles",
		Long: `run measures every target under every profile, at every size, on every number of
threads that is asked for; it compares the targets in a table and writes
everything to a JSON file if one is named. What a profile can say is in
'crbench profile --help'.

Some targets can count users in more than one way. --strategy is a second
dimension for them: "--target objhash --strategy atomic,log" measures
objhash/atomic and objhash/log. The target counter, which counts and does nothing
else, is measured with all strategies unless some are named; it takes part in the
profiles that begin with count-, and no other target does. Strategies that tell only
whether there are users, as snzi does, take part in count-drop alone. If it was
measured with several strategies, tables that compare these over all profiles come
last.

Figures are nanoseconds of wall time per operation, counting the operations of
all threads: the median of the trials with its 95 % interval. Each round of
trials takes the targets in a new random order, after rounds of warm-up until none
gets faster. The column of ratios compares each target with one of them round by
round: how many times faster it is, with the 95 % interval of that. What disturbs a
whole round disturbs it less than the figures themselves.
Flags that take several values take them comma-separated, repeated, or both.

The rounds of all profiles and sizes take turns, so that the trials of one are spread
over the run. With --budget it goes on after --trials rounds where intervals are wider
than --width, for as long as there is time. What a machine does to a program lasts for
seconds: compare runs of a minute or more, not of two seconds.

The column resident is by how much the memory of a process of its own grew for each
object; --rss=false saves the time for it. Tables of less than 10,000 objects have none.

With --latency each target has one more trial after those, in which calls are
timed. A call is one operation, of which one in --latency-every is timed; for targets
whose name ends in -batch, and floor, it is a block of 256, and for count-10k-tasks what
one task does, and all are timed. To see how long the longest takes, as when a table
grows, time all: --latency-every 1. A second table has percentiles of the calls of all
threads, and what the clock takes of each. Its last row, nothing, is the same calls
without any work: it tells a pause of a table from one of the machine, such as a
processor that another took. Calls that the table does as a whole, as in audit and
drop-all, are not among them.

With --rate so many operations per second begin, on all threads together, at times that
do not wait for the operations before; latencies are from when an operation was to begin.
If a table cannot serve them, they grow.

With --out everything goes to a new folder: the report, every trial as benchstat reads
it, the environment, the profiles and, with --latency, histograms. It is written after
every trial, at most once a second.

With --cpuprofile, which takes --out, each target has further trials after all others, until it has used
the time that --cpuprofile-time says in the timed phases, under a profiler that looks 100
times per second of processor time. Lines below the table say what that went into: hashing,
searching, inserting, locks, counting users, replacing tables, the harness's loop, Go's
runtime. With more than one thread there is one more trial in which all waiting is
recorded, and a line that says how long threads waited. crbench pprof opens the profiles.

Ctrl-C ends the run after the current operations; what was measured is shown
and written all the same. --resume goes on with a run that was ended so, or killed, in its
folder, with the options it had. Other code or another machine are refused, but for
--force.

Thresholds of a profile are checked in the end: one that is crossed makes the exit code 3.`,
		Example: `  crbench run
  crbench run --profile lookup-hit --target index,index-batch,xsync4 --objects 10k,1e6
  crbench run --target counter --profile count-hot,count-zipf,count-drop --strategy atomic,log --threads 1,8
  crbench run --target objhash --strategy all --profile checkpoint-zipf
  crbench run --profile grow --objects 1e6 --target index,objhash,xsync4 --latency
  crbench run --profile lookup-hit,first-pass --budget 5m --width 0.02 --pin
  crbench run --profile checkpoint-zipf --objects 1e6 --target index,xsync4 --rate 1e6
  crbench run --profile replay --trace heap.trace --threads 1,2 --json out.json
  crbench run --profile mine.toml,checkpoint-zipf
  crbench run --profile checkpoint-zipf --target objhash,rwmutex-map --threads 2 --out results/zipf --cpuprofile
  crbench run --profile all --out results/today
  crbench run --resume results/today`,
		Args: cobra.NoArgs,
		RunE: runE(func(cmd *cobra.Command, _ []string) error {
			o.Command = "crbench " + strings.Join(os.Args[1:], " ")
			if err := resumeFlags(cmd.Flags(), o.Resume); err != nil {
				return err
			}
			o.OwnTrials, o.OwnSeed = !cmd.Flags().Changed("trials"), !cmd.Flags().Changed("seed")
			if rss {
				o.Fresh = freshTrial
			}
			o.Flags = recordedFlags(cmd.Flags())
			tell, done := progress(quiet, cmd.ErrOrStderr(), bench.NewProgress)
			report, err := o.Run(cmd.Context(), tell)
			done()
			if report == nil {
				return err
			}
			if n := len(report.Crossed()); err == nil && n > 0 {
				err = thresholdError{fmt.Errorf("thresholds crossed: %d of %d", n, len(report.Thresholds))}
			}
			return errors.Join(report.WriteTable(colored(cmd.OutOrStdout())), err)
		}),
	}
	f := cmd.Flags()
	f.StringSliceVarP(&o.Profiles, "profile", "p", bench.DefaultProfiles(), "load profiles: names, all, or files that end in .toml or have a folder before them")
	f.StringSliceVarP(&o.Targets, "target", "t", nil, "targets, with a strategy as in counter/atomic or without, or all (default: all)")
	f.StringSliceVar(&o.Strategies, "strategy", nil, "strategies that targets count users with, or all (default: all for counter, their own for others)")
	f.StringSliceVarP(&o.Objects, "objects", "n", nil, "numbers of objects, like 1e6, 10k or 1_000_000 (default: each profile's own)")
	f.StringSliceVar(&o.Threads, "threads", nil, fmt.Sprintf("numbers of threads (default: each profile's own, or 1 and one per processor, here %s)",
		strings.Trim(fmt.Sprint(bench.Threads(runtime.GOMAXPROCS(0))), "[]")))
	f.IntVar(&o.Trials, "trials", bench.DefaultTrials, "trials per target that count, at least, before what profiles say; 95 % intervals take 6")
	f.DurationVar(&o.Budget, "budget", 0, "time for the whole run, like 5m: more trials where intervals are wider than --width; 0: --trials and no more")
	f.Float64Var(&o.Width, "width", bench.DefaultWidth, "width of the 95 % interval that is narrow enough, as a part of the median")
	f.BoolVar(&o.Pin, "pin", false, "keep each thread on one processor (Linux)")
	f.BoolVar(&rss, "rss", true, "measure resident memory, in a process of its own for each target and size")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of addresses, draws, orders and hash functions, before what profiles say")
	f.StringVar(&o.JSON, "json", "", "write the report to this file, after every trial")
	f.StringVar(&o.Out, "out", "", "keep everything in this new folder, written after every trial")
	f.StringVar(&o.Resume, "resume", "", "go on with the run in this folder, which was interrupted")
	f.BoolVar(&o.Force, "force", false, "resume although the machine or the code is another")
	f.StringVar(&o.Trace, "trace", "", "trace file that is replayed (default: the profile's, or a small one inside crbench)")
	f.StringVar(&o.Against, "against", "", fmt.Sprintf("target that the others are compared with (default: %s, or counter/atomic, or the first that counts users as it does by itself)",
		bench.DefaultAgainst))
	f.DurationVar(&o.TrialLimit, "trial-limit", 2*time.Second, "skip tables of fixed size where a trial takes longer; 0: skip none")
	f.BoolVar(&o.Latency, "latency", false, fmt.Sprintf("one more trial per target, in which calls are timed, on at most %d threads", bench.LatencyThreadsMax))
	f.IntVar(&o.LatencyEvery, "latency-every", bench.DefaultLatencyEvery, "time one of so many single operations, at random; 1: all")
	f.Float64Var(&o.RatePerS, "rate", 0, "operations per second that begin in the trial of --latency, which this asks for; 0: as many as end")
	f.BoolVar(&o.CPUProfile, "cpuprofile", false, "further trials of each target under a profiler of processor time and, with several threads, of waiting; the profiles are kept in the folder of the run")
	f.DurationVar(&o.ProfileTime, "cpuprofile-time", bench.DefaultProfileTime, "processor time that each target is profiled for, with --cpuprofile; it may take four times as long")
	f.BoolVarP(&quiet, "quiet", "q", false, "say nothing of progress")
	complete(cmd, "profile", lists(profileLists))
	complete(cmd, "target", lists(targetLists))
	complete(cmd, "strategy", lists(strategyLists))
	complete(cmd, "against", lists(targetNames))
	complete(cmd, "json", files("json"))
	complete(cmd, "trace", files("trace"))
	complete(cmd, "out", folders)
	complete(cmd, "resume", folders)
	return cmd
}
