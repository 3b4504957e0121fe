package main

import (
	"github.com/spf13/cobra"

	"github.com/objhash/objhash/bench"
)

func newImport() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Turn recorded encounters into a trace",
		Long: `import turns encounters that were recorded elsewhere into a trace, which the profile
replay does again on every target.`,
		Example: `  crbench import tsv heap.tsv.gz -o heap.trace
  crbench run --profile replay --trace heap.trace`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newImportTSV())
	return cmd
}

func newImportTSV() *cobra.Command {
	var out string
	var head int
	cmd := &cobra.Command{
		Use:   "tsv FILE -o FILE.trace",
		Short: "Import tab-separated encounters: holder, kind, ptr",
		Long: `tsv imports encounters, one per line, in the order of the walk, as tab-separated
fields: holder (hexadecimal), kind (a name), ptr (hexadecimal, not 0). The file
may be compressed with gzip. The trace is compact, versioned and checksummed.`,
		Example: `  crbench import tsv heap.tsv.gz -o heap.trace
  crbench import tsv heap.tsv.gz -o small.trace --head 100000`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: files("tsv", "gz"),
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			return bench.ImportTSV(cmd.OutOrStdout(), args[0], out, head)
		}),
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "trace file to write")
	cmd.Flags().IntVar(&head, "head", 0, "import only this many encounters (default: all)")
	complete(cmd, "output", files("trace"))
	if err := cmd.MarkFlagRequired("output"); err != nil {
		panic(err) // the flag was defined two lines up
	}
	return cmd
}
