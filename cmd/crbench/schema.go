package main

import (
	"github.com/spf13/cobra"

	"github.com/objhash/objhash/bench/schema"
)

func newSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the reports that run writes",
		Long: `schema writes the JSON Schema that every report.json, and what 'crbench run --json'
writes, keeps to. It is the same for all reports of objhash.crbench/1: fields are added,
and none changes its meaning.`,
		Example: `  crbench schema > crbench-1.schema.json`,
		Args:    cobra.NoArgs,
		RunE: runE(func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(schema.CRBench1)
			return err
		}),
	}
}
