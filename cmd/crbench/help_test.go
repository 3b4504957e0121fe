package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// newPublic is the whole command, and all that a person may call of it.
func newPublic() (root *cobra.Command, all []*cobra.Command) {
	root = newRoot()
	root.SetOut(io.Discard)
	addCompletion(root)
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Hidden {
			return
		}
		all = append(all, cmd)
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)
	return root, all
}

// TestHelp has texts and examples for all, which every flag and sub-command is in.
func TestHelp(t *testing.T) {
	_, all := newPublic()
	for _, cmd := range all {
		path := strings.Fields(cmd.CommandPath())[1:]
		code, stdout, stderr := crbench(t, append(path, "--help")...)
		if code != exitOK || stderr != "" || !strings.Contains(stdout, "Usage:") {
			t.Errorf("%s --help: exit code %d, stderr %q, stdout\n%s", cmd.CommandPath(), code, stderr, stdout)
		}
		if cmd.Long == "" || cmd.Example == "" {
			t.Errorf("%s has no long text, or no example", cmd.CommandPath())
		}
		if strings.Contains(stdout, freshName) {
			t.Errorf("%s --help speaks of %s", cmd.CommandPath(), freshName)
		}
		for line := range strings.Lines(cmd.Example) {
			if !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: example %q is not indented", cmd.CommandPath(), line)
			}
		}
	}
	_, stdout, _ := crbench(t)
	for _, want := range []string{"0 all is well", "1 an error", "2 wrong usage", "3 a threshold"} {
		if !strings.Contains(strings.Join(strings.Fields(stdout), " "), want) {
			t.Errorf("crbench does not say %q:\n%s", want, stdout)
		}
	}
}

// TestExamples parses the examples: their sub-commands, flags and arguments are there.
func TestExamples(t *testing.T) {
	_, all := newPublic()
	for _, cmd := range all {
		for line := range strings.Lines(cmd.Example) {
			command, _, _ := strings.Cut(line, ">") // a file for the output
			args := strings.Fields(command)
			if len(args) == 0 || args[0] != "crbench" {
				continue
			}
			root, _ := newPublic() // a flag keeps what an example gave it
			called, rest, err := root.Find(args[1:])
			if err == nil {
				err = called.ParseFlags(rest)
			}
			if err == nil {
				err = called.ValidateArgs(called.Flags().Args())
			}
			if err == nil {
				err = called.ValidateRequiredFlags()
			}
			if err != nil {
				t.Errorf("%s: example %q: %v", cmd.CommandPath(), strings.TrimSpace(line), err)
			}
		}
	}
}

// TestMan has a page for each command, with each flag.
func TestMan(t *testing.T) {
	dir := t.TempDir()
	if code, _, stderr := crbench(t, "man", "-o", dir); code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	_, all := newPublic()
	pages, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(pages) != len(all) {
		t.Errorf("%d pages of %d commands, %v: %q", len(pages), len(all), err, pages)
	}
	plain := strings.NewReplacer(`\-`, "-", `\fB`, "", `\fI`, "", `\fR`, "", `\fP`, "")
	for _, cmd := range all {
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-")
		b, err := os.ReadFile(filepath.Join(dir, name+".1"))
		if err != nil {
			t.Error(err)
			continue
		}
		page := plain.Replace(string(b))
		want := []string{`.TH "` + strings.ToUpper(name) + `" "1"`, ".SH NAME\n", ".SH SYNOPSIS\n", ".SH DESCRIPTION\n", ".SH EXAMPLE\n", name + " - " + cmd.Short}
		cmd.Flags().VisitAll(func(f *pflag.Flag) { want = append(want, "--"+f.Name) })
		for _, sub := range cmd.Commands() {
			if !sub.Hidden {
				want = append(want, name+"-"+sub.Name()+"(1)")
			}
		}
		for _, w := range want {
			if !strings.Contains(page, w) {
				t.Errorf("%s.1 has no %q", name, w)
			}
		}
	}
}
