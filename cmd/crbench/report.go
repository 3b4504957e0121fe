package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/htmlreport"
)

func newReport() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "report DIR|FILE... -o FILE",
		Short: "Make a page of HTML from the results of runs",
		Long: `report makes one page from the documents of runs, each from the folder of a run or from
what --json wrote, those of crbench model too. The page says first who was fastest, by how
much, and how sure that is; then it has charts with their figures as tables, what it was
measured on, and the commands that measure it again.

The page is one file without a script that needs no network, for a wide screen or a phone,
light or dark, or paper.`,
		Example: `  crbench report results/million -o report.html
  crbench report results/*/ -o results/report.html`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: files("json"),
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			if err := bench.FolderExists(output); err != nil {
				return err
			}
			runs, err := htmlreport.Load(args)
			if err != nil {
				return err
			}
			if err := bench.WriteFile(output, func(w io.Writer) error { return htmlreport.Write(w, runs) }); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", output, bench.Plural(len(runs), "run"))
			return err
		}),
	}
	f := cmd.Flags()
	f.StringVarP(&output, "output", "o", "", "file to write the page to")
	complete(cmd, "output", files("html"))
	if err := cmd.MarkFlagRequired("output"); err != nil {
		panic(err)
	}
	return cmd
}
