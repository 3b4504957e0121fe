package main

import (
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/target"
	"github.com/objhash/objhash/refcount"
)

// addCompletion adds the sub-command that writes the scripts of shells, to the output that
// the root has now.
func addCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() != "completion" {
			continue
		}
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		cmd.Example = "  crbench completion bash > crbench.bash\n  source crbench.bash"
		for _, shell := range cmd.Commands() {
			shell.RunE = runE(shell.RunE)
			shell.Example = "  crbench completion " + shell.Name()
		}
	}
}

// complete says how a shell completes the values of a flag of a command.
func complete(cmd *cobra.Command, flag string, how cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, how); err != nil {
		panic(err) // the command has no such flag, or it is completed twice
	}
}

// completeNoFiles lets a shell propose no names of files for arguments and flags of a
// command, and of those below it, where nothing else was said.
func completeNoFiles(cmd *cobra.Command) {
	if cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if _, found := cmd.GetFlagCompletionFunc(f.Name); !found {
			complete(cmd, f.Name, cobra.NoFileCompletions)
		}
	})
	for _, sub := range cmd.Commands() {
		completeNoFiles(sub)
	}
}

// files completes names of files with one of the endings, and folders on the way.
func files(endings ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(endings, cobra.ShellCompDirectiveFilterFileExt)
}

func folders(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

func anyFile(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

// lists completes the last word of several that commas separate, of those that choices
// has for its beginning.
func lists(choices func(beginning string) []cobra.Completion) cobra.CompletionFunc {
	return func(_ *cobra.Command, _ []string, typed string) (all []cobra.Completion, _ cobra.ShellCompDirective) {
		last := strings.LastIndexByte(typed, ',') + 1
		for _, c := range choices(typed[last:]) {
			if strings.HasPrefix(c, typed[last:]) {
				all = append(all, typed[:last]+c)
			}
		}
		return all, cobra.ShellCompDirectiveNoFileComp
	}
}

// profileNames are the canonical profiles, and files here or in the folder that is named.
func profileNames(beginning string) (all []cobra.Completion) {
	for _, p := range bench.Profiles() {
		all = append(all, cobra.CompletionWithDesc(p.Name, p.Summary))
	}
	found, err := filepath.Glob(beginning + "*.toml")
	if err != nil {
		return all // what was typed is no pattern
	}
	for _, path := range found {
		all = append(all, cobra.CompletionWithDesc(path, "a file"))
	}
	return all
}

// profileLists completes profiles where all may stand for them.
func profileLists(beginning string) []cobra.Completion {
	return append(profileNames(beginning), cobra.CompletionWithDesc("all", "every canonical profile"))
}

// oneProfile completes the only argument.
func oneProfile(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return lists(profileNames)(cmd, args, typed)
}

// targetNames are targets and, behind what is typed of them, strategies.
func targetNames(beginning string) (all []cobra.Completion) {
	plain, _, with := strings.Cut(beginning, "/")
	for _, s := range target.All() {
		switch {
		case !with:
			all = append(all, cobra.CompletionWithDesc(s.Name, s.Summary))
		case s.WithStrategy != nil && s.Name == plain:
			for _, strategy := range refcount.All() {
				all = append(all, cobra.CompletionWithDesc(plain+"/"+strategy.Name(), strategy.Traits().Summary))
			}
		}
	}
	return all
}

func targetLists(beginning string) []cobra.Completion {
	return append(targetNames(beginning), cobra.CompletionWithDesc("all", "every target"))
}

func strategyLists(string) (all []cobra.Completion) {
	for _, s := range refcount.All() {
		all = append(all, cobra.CompletionWithDesc(s.Name(), s.Traits().Summary))
	}
	return append(all, cobra.CompletionWithDesc("all", "every strategy"))
}
