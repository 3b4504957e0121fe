package main

import (
	"github.com/spf13/cobra"

	"github.com/objhash/objhash/bench/machine"
)

func newEnv() *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: "Show the environment that results are recorded with",
		Long: `env shows what every report says of where it was measured: the processors and their
caches, the system, Go and its settings, the revision of the code, and how busy the machine
is now.`,
		Example: `  crbench env`,
		Args:    cobra.NoArgs,
		RunE: runE(func(cmd *cobra.Command, _ []string) error {
			return machine.Read().WriteText(cmd.OutOrStdout())
		}),
	}
}
