package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/compare"
)

func newCompare() *cobra.Command {
	o := compare.Options{}
	var threshold string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "compare A B",
		Short: "Tell whether two runs differ",
		Long: `compare reads the reports of two runs, named by their folders or files, and shows how
each target that both measured changed from A to B: its medians with their intervals, the
change, and how likely chance alone would do as much. A change that may be chance is "~".

Trials that follow each other are alike, so a run is split into five blocks of rounds,
each of which has the shortest time of each target, beside that of the other targets of
its cell: where all are slower alike, the machine was busier. Welch's test compares the
blocks; its p-values are adjusted for the number of rows by Holm's method. "sees" is the
smallest difference that would have been found 19 times of 20: if it is too large, both
runs have to be longer, or the machine less busy. Memory is compared as it is.

With --threshold 5% the exit code is 3 if a target takes significantly more time, by more
than 5 %, or more memory by more than that. It is 3, too, if B crossed a threshold of its
profile, and 1 if a target failed verification in B and not in A.

Runs on different machines (CPU, cores, GOMAXPROCS, caches), with different seeds, traces
or profiles are refused, but for --force. A different version of Go or of the kernel is
pointed out.`,
		Example: `  crbench compare results/before results/after
  crbench compare old.json new.json --threshold 5%`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: files("json"),
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			var err error
			if o.Threshold, err = parseThreshold(threshold); err != nil {
				return err
			}
			a, err := bench.ReadReport(args[0])
			if err != nil {
				return err
			}
			b, err := bench.ReadReport(args[1])
			if err != nil {
				return err
			}
			c, err := compare.Reports(a, b, o)
			if err != nil {
				return err
			}
			if asJSON {
				err = c.WriteJSON(cmd.OutOrStdout())
			} else {
				err = c.WriteTable(colored(cmd.OutOrStdout()))
			}
			return errors.Join(err, verdict(c))
		}),
	}
	f := cmd.Flags()
	f.StringVar(&threshold, "threshold", "", "exit with 3 if a target needs more time or memory by more than this, like 5%")
	f.Float64Var(&o.Alpha, "alpha", compare.DefaultAlpha, "how often runs that do not differ may show a difference")
	f.BoolVar(&o.Force, "force", false, "compare runs of different machines or workloads")
	f.BoolVar(&asJSON, "json", false, "write one JSON document in place of a table")
	return cmd
}

// parseThreshold reads a number of percent; nil: there is none.
func parseThreshold(s string) (*float64, error) {
	if s == "" {
		return nil, nil
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(s, "%")), 64)
	if err != nil || !(v >= 0 && v < 1e6) {
		return nil, fmt.Errorf("%w: threshold %q; want a number of percent, like 5%%", bench.ErrChoice, s)
	}
	v /= 100
	return &v, nil
}

// verdict is what the exit code tells.
func verdict(c *compare.Comparison) error {
	switch {
	case len(c.Broken) > 0:
		return fmt.Errorf("targets that failed verification in B and not in A: %d", len(c.Broken))
	case len(c.Crossed) > 0:
		return thresholdError{fmt.Errorf("thresholds crossed: %d", len(c.Crossed))}
	default:
		return nil
	}
}
