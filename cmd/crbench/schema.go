package main

import (
	"github.com/spf13/cobra"

	"github.com/objhash/objhash/bench/schema"
)

func newSchema() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of the reports that run writes",
		Example: `  crbench schema > crbench-1.schema.json`,
		Args:    cobra.NoArgs,
		RunE: runE(func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(schema.CRBench1)
			return err
		}),
	}
}
