package main

import (
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"github.com/objhash/objhash/bench"
)

func newMan() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "man -o DIR",
		Short: "Write manual pages",
		Long: `man writes a manual page for crbench and one for each of its sub-commands, with what
--help says, into a folder that is there. Their date is that of SOURCE_DATE_EPOCH, if that
is set.`,
		Example: `  mkdir -p man1
  crbench man -o man1
  man ./man1/crbench-run.1`,
		Args: cobra.NoArgs,
		RunE: runE(func(cmd *cobra.Command, _ []string) error {
			if info, err := os.Stat(dir); err != nil {
				return fmt.Errorf("the folder for manual pages: %w", err)
			} else if !info.IsDir() {
				return fmt.Errorf("the folder for manual pages: %w", &fs.PathError{Op: "write into", Path: dir, Err: fs.ErrInvalid})
			}
			root := cmd.Root()
			markDown(root)
			if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "objhash", Manual: "crbench"}, dir); err != nil {
				return fmt.Errorf("writing manual pages: %w", err)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", dir, bench.Plural(countCommands(root), "page"))
			return err
		}),
	}
	cmd.Flags().StringVarP(&dir, "output", "o", "", "folder to write the pages into")
	complete(cmd, "output", folders)
	if err := cmd.MarkFlagRequired("output"); err != nil {
		panic(err) // the flag was defined two lines up
	}
	return cmd
}

func countCommands(cmd *cobra.Command) int {
	n := 1
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && !sub.IsAdditionalHelpTopicCommand() {
			n += countCommands(sub)
		}
	}
	return n
}

// markDown writes the texts of a command, and of those below it, in the language that pages
// are made from: they mean what they say, and what is set by hand stays so.
func markDown(cmd *cobra.Command) {
	cmd.DisableAutoGenTag = true
	paragraphs := strings.Split(strings.TrimSpace(cmd.Long), "\n\n")
	for i, p := range paragraphs {
		if strings.HasPrefix(p, "  ") || strings.Contains(p, "\n  ") || strings.HasPrefix(p, "\t") {
			paragraphs[i] = "```\n" + p + "\n```"
		} else {
			paragraphs[i] = literal.Replace(p)
		}
	}
	cmd.Long = strings.Join(paragraphs, "\n\n")
	cmd.Flags().VisitAll(func(f *pflag.Flag) { f.Usage = literal.Replace(f.Usage) })
	for _, sub := range cmd.Commands() {
		markDown(sub)
	}
}

var literal = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", `\<`, ">", `\>`)
