package main

import (
	"github.com/spf13/cobra"

	"github.com/objhash/objhash/bench"
)

func newList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List targets, strategies and load profiles, a line each",
		Long: `list writes the names that 'crbench run' takes for --target, --strategy and --profile,
each with a line that says what it is.`,
		Example: `  crbench list`,
		Args:    cobra.NoArgs,
		RunE: runE(func(cmd *cobra.Command, _ []string) error {
			return bench.WriteList(cmd.OutOrStdout())
		}),
	}
}
