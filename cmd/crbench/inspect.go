package main

import (
	"github.com/spf13/cobra"

	"github.com/objhash/objhash/bench"
)

func newInspect() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Show what is in the snapshot of a checkpoint's table",
		Long: `inspect reads a snapshot that a checkpoint wrote, checks it to the last byte, and
shows its objects and users by kind, the objects that are shared most, the holders that
have most if the checkpoint tracked them, and what leaked if it was written with an audit.`,
		Example: `  crbench inspect round1.snapshot
  crbench inspect round1.snapshot --json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: anyFile,
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			return bench.InspectFile(cmd.OutOrStdout(), args[0], asJSON)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON document in place of tables")
	return cmd
}
