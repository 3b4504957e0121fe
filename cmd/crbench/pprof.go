package main

import (
	"context"
	"debug/elf"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/pprof/driver"
	"github.com/google/pprof/profile"
	"github.com/spf13/cobra"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/rundir"
)

// pprofOptions is what a person wants to see of a run.
type pprofOptions struct {
	kind      string
	merge     bool
	top       bool
	http      string
	noBrowser bool
}

// The kinds of profiles, which are the names of their folders, too.
var pprofKinds = []string{rundir.CPU, rundir.Mutex, rundir.Block}

func newPprof() *cobra.Command {
	var o pprofOptions
	cmd := &cobra.Command{
		Use:   "pprof RUN [FILTER...]",
		Short: "Look at the profiles of a run in pprof's own web pages",
		Long: `pprof opens a profile that "crbench run --cpuprofile RUN" left in the folder RUN, in
the web pages of pprof. It serves them on this machine until Ctrl-C.

A profile is of one target in one cell, and named after them:
PROFILE-OBJECTS-THREADSt-TARGET, with a + where the target has a /. FILTERs are the name,
or parts of it that it must have all. Without any it lists what there is, unless that is
one. --merge opens all that match as one profile; the samples keep the labels target,
profile, objects, threads and phase, so that the pages can tell them apart.

Profiles of processor time have the timed phases only. The graph needs dot, of graphviz;
the flame graph and all other pages do not. The disassembly needs objdump, and this
crbench to be the one that made the profile.`,
		Example: `  crbench pprof out
  crbench pprof out checkpoint-zipf 2t objhash-batch
  crbench pprof out --kind mutex --merge index-locked
  crbench pprof out grow-1000000-1t-index --top`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: o.complete,
		RunE:              runE(func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0], args[1:]) }),
	}
	f := cmd.Flags()
	f.StringVarP(&o.kind, "kind", "k", pprofKinds[0], "cpu: processor time; mutex: waiting, by who let others wait; block: waiting, by who waited")
	f.BoolVar(&o.merge, "merge", false, "all profiles that match as one")
	f.BoolVar(&o.top, "top", false, "write the functions with the most to standard output instead")
	f.StringVar(&o.http, "http", "localhost:0", "host:port to serve on; port 0: a free one")
	f.BoolVar(&o.noBrowser, "no-browser", false, "only say where the pages are")
	kinds := []cobra.Completion{"cpu\tprocessor time", "mutex\twaiting, by who let others wait", "block\twaiting, by who waited"}
	complete(cmd, "kind", cobra.FixedCompletions(kinds, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// complete completes the folder of a run, and then the names of its profiles.
func (o *pprofOptions) complete(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return nil, cobra.ShellCompDirectiveFilterDirs
	}
	names, err := o.list(args[0])
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp // there are none to propose
	}
	return matching(names, args[1:]), cobra.ShellCompDirectiveNoFileComp
}

func (o *pprofOptions) run(cmd *cobra.Command, run string, filters []string) error {
	if !slices.Contains(pprofKinds, o.kind) {
		return fmt.Errorf("%w: unknown kind of profile %q; there are: %s", bench.ErrChoice, o.kind, strings.Join(pprofKinds, ", "))
	}
	all, err := o.list(run)
	if err != nil {
		return err
	}
	chosen := matching(all, filters)
	switch {
	case len(chosen) == 0:
		return fmt.Errorf("%w: no %s profile of %s matches %s; there are:\n%s", bench.ErrChoice, o.kind, run, strings.Join(filters, " "), indented(all))
	case len(chosen) > 1 && !o.merge && len(filters) == 0:
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%d %s profiles; name one, or --merge them:\n%s", len(chosen), o.kind, indented(chosen))
		return err
	case len(chosen) > 1 && !o.merge:
		return fmt.Errorf("%w: %d profiles match; say more, or --merge them:\n%s", bench.ErrChoice, len(chosen), indented(chosen))
	}
	p, err := o.read(run, chosen)
	if err != nil {
		return err
	}
	return o.show(cmd, p)
}

// list returns the names of a run's profiles, in order.
func (o *pprofOptions) list(run string) (names []string, err error) {
	if info, err := os.Stat(run); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%w: %s is not the folder of a run", bench.ErrChoice, run)
	}
	entries, err := os.ReadDir(filepath.Join(run, o.kind))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), rundir.ProfileSuffix); ok && !strings.HasPrefix(name, ".") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		why := "crbench run --cpuprofile makes them"
		if o.kind != pprofKinds[0] {
			why += ", where threads waited"
		}
		return nil, fmt.Errorf("%s has no %s profiles; %s", run, o.kind, why)
	}
	slices.Sort(names)
	return names, nil
}

// matching returns the name itself if a filter is one, otherwise those with all filters.
func matching(names, filters []string) []string {
	if len(filters) == 1 && slices.Contains(names, filters[0]) {
		return filters
	}
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return slices.ContainsFunc(filters, func(f string) bool { return !strings.Contains(name, f) })
	})
}

func indented(names []string) string { return "  " + strings.Join(names, "\n  ") + "\n" }

func (o *pprofOptions) read(run string, names []string) (*profile.Profile, error) {
	var all []*profile.Profile
	for _, name := range names {
		path := filepath.Join(run, o.kind, name+rundir.ProfileSuffix)
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		p, err := profile.ParseData(b)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", path, err)
		}
		all = append(all, p)
	}
	p, err := profile.Merge(all)
	if err != nil {
		return nil, fmt.Errorf("merging the profiles: %w", err)
	}
	if len(p.Sample) == 0 {
		return nil, fmt.Errorf("no samples in %s", strings.Join(names, ", "))
	}
	findBinary(p)
	return p, nil
}

// findBinary tells the profile where its program is if that is this one, wherever it was
// when it made the profile.
func findBinary(p *profile.Profile) {
	self, err := os.Executable()
	if err != nil {
		return
	}
	id := buildID(self)
	for _, m := range p.Mapping {
		if id != "" && m.BuildID == id {
			m.File = self
		}
	}
}

// buildID is what the linker marked a program with, in hexadecimal digits, or "".
func buildID(path string) string {
	f, err := elf.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	s := f.Section(".note.gnu.build-id")
	if s == nil {
		return ""
	}
	note, err := s.Data()
	// Three words, one of them the size of the name, then the name "GNU\0", then the mark.
	const header = 12 + 4
	if err != nil || len(note) < header {
		return ""
	}
	size := int(f.ByteOrder.Uint32(note[4:]))
	return hex.EncodeToString(note[header:min(header+size, len(note))])
}

// show hands a profile to pprof, as a file: of one that it gets otherwise pprof would keep
// a copy.
func (o *pprofOptions) show(cmd *cobra.Command, p *profile.Profile) (err error) {
	dir, err := os.MkdirTemp("", "crbench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "profile"+rundir.ProfileSuffix)
	if err := write(file, p); err != nil {
		return err
	}
	ui := &pprofUI{w: cmd.ErrOrStderr()}
	options := &driver.Options{
		UI: ui, Writer: pprofWriter{cmd.OutOrStdout()},
		HTTPServer: func(args *driver.HTTPServerArgs) error { return serve(cmd.Context(), args) },
	}
	if o.top {
		ui.w = io.Discard // it tells of its progress only
		options.Flagset = newPprofFlags("-top", "-nodecount=30", "-output=stdout", file)
		return driver.PProf(options)
	}
	host, port, err := net.SplitHostPort(o.http)
	if err != nil {
		return fmt.Errorf("%w: %q to serve on; want host:port, like localhost:8080", bench.ErrChoice, o.http)
	}
	if port == "0" {
		port = "" // pprof's way to ask for a free one
	}
	if _, err := exec.LookPath("dot"); err != nil {
		ui.Print("There is no dot here (of graphviz): the graph needs it, the flame graph and the other pages do not.")
	}
	args := []string{"-http=" + net.JoinHostPort(host, port)}
	if o.noBrowser {
		args = append(args, "-no_browser")
	}
	options.Flagset = newPprofFlags(append(args, file)...)
	return driver.PProf(options)
}

func write(file string, p *profile.Profile) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	return errors.Join(p.Write(f), f.Close())
}

// serve serves pprof's pages until ctx ends.
func serve(ctx context.Context, args *driver.HTTPServerArgs) error {
	listener, err := net.Listen("tcp", args.Hostport)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	for path, h := range args.Handlers {
		mux.Handle(path, h)
	}
	const patience = time.Second // of a page in the making, when the person wants to go
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stopped := make(chan error, 1)
	defer context.AfterFunc(ctx, func() {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		stopped <- server.Shutdown(limited)
	})()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-stopped // a page that was cut off is no error
	return nil
}

// pprofWriter sends what pprof would write to a file to standard output.
type pprofWriter struct{ w io.Writer }

func (w pprofWriter) Open(string) (io.WriteCloser, error) { return w, nil }
func (w pprofWriter) Write(b []byte) (int, error)         { return w.w.Write(b) }
func (w pprofWriter) Close() error                        { return nil }

// pprofUI lets pprof talk to a person who is asked nothing.
type pprofUI struct{ w io.Writer }

func (u *pprofUI) ReadLine(string) (string, error)     { return "", io.EOF }
func (u *pprofUI) Print(args ...any)                   { fmt.Fprintln(u.w, fmt.Sprint(args...)) }
func (u *pprofUI) PrintErr(args ...any)                { u.Print(args...) }
func (u *pprofUI) IsTerminal() bool                    { return false }
func (u *pprofUI) WantBrowser() bool                   { return true }
func (u *pprofUI) SetAutoComplete(func(string) string) {}

// pprofFlags gives pprof a command line that crbench writes.
type pprofFlags struct {
	*flag.FlagSet
	args []string
}

func newPprofFlags(args ...string) *pprofFlags {
	return &pprofFlags{flag.NewFlagSet("pprof", flag.ContinueOnError), args}
}

func (f *pprofFlags) StringList(name, def, usage string) *[]*string {
	return &[]*string{f.String(name, def, usage)}
}

func (f *pprofFlags) ExtraUsage() string   { return "" }
func (f *pprofFlags) AddExtraUsage(string) {}

func (f *pprofFlags) Parse(usage func()) []string {
	f.Usage = usage
	if err := f.FlagSet.Parse(f.args); err != nil {
		return nil // pprof says that it has no source; none of its flags are a person's
	}
	return f.Args()
}
