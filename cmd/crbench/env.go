package main

import (
	"github.com/spf13/cobra"

	"github.com/objhash/objhash/bench/machine"
)

func newEnv() *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: "Show the environment that results are recorded with",
		Args:  cobra.NoArgs,
		RunE: runE(func(cmd *cobra.Command, _ []string) error {
			return machine.Read().WriteText(cmd.OutOrStdout())
		}),
	}
}
