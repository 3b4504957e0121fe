package main

import (
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/objhash/objhash/bench/model"
)

func newModel() *cobra.Command {
	var o model.Options
	var quiet bool
	cmd := &cobra.Command{
		Use:   "model",
		Short: "Predict what counting costs on more cores, from costs measured here",
		Long: `model measures what each counting strategy costs one thread, and what it takes to move
a contended cache line between two cores; from these it predicts ns/op for up to
1,024 threads, each on a core of its own, under four profiles. For as many threads as
there are cores here it measures too, and prints both and their ratio. The rest is
extrapolation, and marked so.

Strategies that tell only whether an object has users are left out unless named.

It takes at most about two minutes. Ctrl-C ends it after the current measurement;
what was measured is shown and written all the same, if one round was complete.`,
		Example: `  crbench model
  crbench model --strategy atomic,log --threads 1,2,64
  crbench model --assume-cores 16 --json model.json`,
		Args: cobra.NoArgs,
		RunE: runE(func(cmd *cobra.Command, _ []string) error {
			o.Command = "crbench " + strings.Join(os.Args[1:], " ")
			tell, done := progress(quiet, cmd.ErrOrStderr(), model.NewProgress)
			report, err := o.Run(cmd.Context(), tell)
			done()
			if report == nil {
				return err
			}
			return errors.Join(report.WriteTable(colored(cmd.OutOrStdout())), err)
		}),
	}
	f := cmd.Flags()
	f.StringSliceVarP(&o.Strategies, "strategy", "s", []string{"all"}, "counting strategies, or all that count")
	f.StringSliceVar(&o.Threads, "threads", model.DefaultThreads(), "numbers of threads, up to 1,024")
	f.IntVar(&o.AssumeCores, "assume-cores", 0, "predict for a machine with so many cores, which threads beyond them share; 0: a core for each thread")
	f.Uint64Var(&o.Seed, "seed", 1, "seed of draws and orders")
	f.StringVar(&o.JSON, "json", "", "write the report to this file")
	f.BoolVarP(&quiet, "quiet", "q", false, "say nothing of progress")
	complete(cmd, "strategy", lists(strategyLists))
	complete(cmd, "json", files("json"))
	return cmd
}
