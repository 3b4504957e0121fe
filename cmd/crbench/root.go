package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/objhash/objhash/bench"
)

const (
	exitOK        = 0
	exitError     = 1
	exitUsage     = 2
	exitThreshold = 3
)

// thresholdError says that all went well, but a figure crossed what it was to keep.
type thresholdError struct{ error }

// commandError is an error of a command that was called rightly. Everything
// else that execution returns is wrong usage.
type commandError struct{ error }

func (e commandError) Unwrap() error { return e.error }

// runE marks the errors of a command's work.
func runE(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := f(cmd, args); err != nil {
			return commandError{err}
		}
		return nil
	}
}

// execute runs the command line and returns the exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args[1:])
	root.SetOut(stdout)
	root.SetErr(stderr)
	addCompletion(root)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(stderr, "crbench: %v\n", err)
	if errors.As(err, &thresholdError{}) {
		return exitThreshold
	}
	if errors.As(err, &commandError{}) && !errors.Is(err, bench.ErrChoice) {
		return exitError
	}
	fmt.Fprintf(stderr, "Run '%s --help' for usage.\n", cmd.CommandPath())
	return exitUsage
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "crbench",
		Short: "Measure object tables of checkpoint/restart under described workloads",
		Long: `crbench measures object tables of checkpoint/restart: "have I met this object
before, and what is its number?", asked by many threads at once.

Every target does the same operations on the same addresses, or objrefs, and is
verified after every trial. Strategies of counting that tell only whether there are
users, as snzi does, take part in count-drop alone.

Exit codes: 0 all is well, 1 an error or a target that failed verification,
2 wrong usage, 3 a threshold that was crossed.`,
		Example: `  crbench list
  crbench run --profile lookup-hit,first-pass --objects 1e6
  crbench run --profile replay --trace heap.trace --threads 1,2 --json out.json`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(newList(), newProfile(), newRun(), newCompare(), newReport(), newPprof(), newEnv(), newImport(), newInspect(), newModel(), newSchema(), newMan(), newFreshTrial())
	completeNoFiles(root)
	return root
}
