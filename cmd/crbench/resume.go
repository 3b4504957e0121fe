package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/objhash/objhash/bench"
)

// aside are flags that do not change what is measured.
var aside = []string{"json", "out", "resume", "force", "quiet", "help"}

// profiled are flags that go before what profiles say, but only where the person set them.
var profiled = []string{"trials", "seed"}

// recordedFlags returns the values of the flags that say what a run measures, by name.
func recordedFlags(flags *pflag.FlagSet) map[string][]string {
	values := map[string][]string{}
	flags.VisitAll(func(f *pflag.Flag) {
		if v := flagValues(f); len(v) > 0 && !slices.Contains(aside, f.Name) && (f.Changed || !slices.Contains(profiled, f.Name)) {
			values[f.Name] = v
		}
	})
	return values
}

// flagValues returns the values of a flag; none for one that is empty.
func flagValues(f *pflag.Flag) []string {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return list.GetSlice()
	}
	if v := f.Value.String(); v != "" {
		return []string{v}
	}
	return nil
}

// resumeFlags sets the flags that a run in a folder had, for going on with it. A flag that
// the person set must have the same value.
func resumeFlags(flags *pflag.FlagSet, dir string) error {
	if dir == "" {
		return nil
	}
	report, err := bench.ReadReport(dir)
	if err != nil {
		return fmt.Errorf("to resume: %w", err)
	}
	for _, name := range profiled {
		if len(report.Options[name]) == 0 && flags.Changed(name) {
			return fmt.Errorf("%w: to resume: the run left --%s to its profiles; leave it out", bench.ErrChoice, name)
		}
	}
	for name, had := range report.Options {
		f := flags.Lookup(name)
		switch {
		case f == nil:
			return fmt.Errorf("to resume: the run in %s had --%s, which this crbench does not know", dir, name)
		case f.Changed && !slices.Equal(flagValues(f), had):
			return fmt.Errorf("%w: to resume: the run had --%s %s, not %s; leave out flags that it had",
				bench.ErrChoice, name, strings.Join(had, ","), strings.Join(flagValues(f), ","))
		case f.Changed:
			continue
		}
		if err := setFlag(f, had); err != nil {
			return fmt.Errorf("to resume: --%s: %w", name, err)
		}
		f.Changed = true // as it was for the run that had it
	}
	return nil
}

func setFlag(f *pflag.Flag, values []string) error {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return list.Replace(values)
	}
	return f.Value.Set(strings.Join(values, ","))
}
