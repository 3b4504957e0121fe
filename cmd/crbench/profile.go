package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/objhash/objhash/bench"
)

func newProfile() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "profile",
		Short: "Show and check load profiles",
		Long:  "profile shows load profiles, and checks files of one's own.\n\n" + bench.ProfileFormat,
		Example: `  crbench profile show checkpoint-zipf > mine.toml
  crbench profile check mine.toml
  crbench run --profile mine.toml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newProfileShow(), newProfileCheck())
	return cmd
}

func newProfileShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show NAME|FILE",
		Short: "Write a profile as a file, with all that it inherits in place",
		Long: `show writes a profile to standard output, as a file that inherits nothing and that
'crbench run --profile' reads again. What ends in .toml, or has a folder before it, is a
file; all else is the name of a canonical profile, see 'crbench list'.`,
		Example: `  crbench profile show container
  crbench profile show ./mine.toml`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: oneProfile,
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			profiles, err := bench.ChooseProfiles(args)
			if err != nil {
				return err
			}
			if len(profiles) != 1 {
				return fmt.Errorf("%w: %q stands for several profiles; name one", bench.ErrChoice, args[0])
			}
			_, err = cmd.OutOrStdout().Write(profiles[0].TOML())
			return err
		}),
	}
}

func newProfileCheck() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE...",
		Short: "Say what is wrong with files of profiles, by line and column",
		Long: `check reads files of profiles, and what they inherit from, as 'crbench run --profile'
does. It writes a line for each mistake, as file:line:column: what is wrong, or one that
says that there is none. A size that does not fit into the memory of this machine is a
mistake, too. The exit code is 1 if there was any.`,
		Example: `  crbench profile check mine.toml
  crbench profile check profiles/*.toml`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: files("toml"),
		RunE: runE(func(cmd *cobra.Command, args []string) error {
			return checkProfiles(cmd.OutOrStdout(), cmd.ErrOrStderr(), args)
		}),
	}
}

func checkProfiles(stdout, stderr io.Writer, files []string) error {
	wrong := 0
	for _, file := range files {
		p, err := bench.LoadProfile(file)
		if err != nil {
			wrong++
			fmt.Fprintln(stderr, err)
			continue
		}
		if _, err := fmt.Fprintf(stdout, "%s: sound: %s\n", file, p.Describe()); err != nil {
			return err
		}
	}
	if wrong > 0 {
		return fmt.Errorf("%d of %s cannot be used", wrong, bench.Plural(len(files), "profile"))
	}
	return nil
}
