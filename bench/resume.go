package bench

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/objhash/objhash/bench/machine"
	"github.com/objhash/objhash/bench/target"
)

// ErrResume is what a run returns that cannot go on with one that was interrupted. The
// message says why.
var ErrResume = errors.New("cannot resume")

// checkResume says why the run that the report is of is another than this, on another
// machine, or of other code. force takes the last two.
func (c *Config) checkResume(prior *Report, force bool) error {
	if why := c.otherRun(prior, profileTexts(c.Profiles)); len(why) > 0 {
		return fmt.Errorf("%w: another run was asked for than the one that was interrupted\n  %s", ErrResume, strings.Join(why, "\n  "))
	}
	if why := otherPlace(prior.Env, machine.Read()); len(why) > 0 && !force {
		return fmt.Errorf("%w: figures of one run would come from two places; --force goes on all the same\n  %s", ErrResume, strings.Join(why, "\n  "))
	}
	return nil
}

func (c *Config) otherRun(prior *Report, texts []ProfileText) (why []string) {
	differ := func(what, before, now string) {
		if before != now {
			why = append(why, fmt.Sprintf("%s: %s before, %s now", what, before, now))
		}
	}
	options := map[string][]string{}
	maps.Copy(options, prior.Options)
	maps.Copy(options, c.Options)
	for _, name := range slices.Sorted(maps.Keys(options)) {
		differ("--"+name, strings.Join(prior.Options[name], ","), strings.Join(c.Options[name], ","))
	}
	differ("seed", fmt.Sprint(prior.Seed), fmt.Sprint(c.Seed))
	differ("trace", prior.Trace, c.TraceName)
	differ("profiles", profileNames(prior.Profiles), profileNames(texts))
	for i := range texts {
		if len(prior.Profiles) == len(texts) && prior.Profiles[i].Name == texts[i].Name && prior.Profiles[i].SHA256 != texts[i].SHA256 {
			why = append(why, fmt.Sprintf("profile %s: what it says has changed", texts[i].Name))
		}
	}
	return why
}

func profileNames(texts []ProfileText) string {
	names := make([]string, len(texts))
	for i, t := range texts {
		names[i] = t.Name
	}
	return strings.Join(names, ",")
}

func otherPlace(before, now machine.Env) (why []string) {
	for _, d := range machine.Differences(before, now) {
		why = append(why, fmt.Sprintf("%s: %s before, %s now", d.What, d.A, d.B))
	}
	if before.Revision != now.Revision || before.Dirty != now.Dirty {
		why = append(why, fmt.Sprintf("revision of the code: %s before, %s now", revision(before), revision(now)))
	}
	return why
}

func revision(e machine.Env) string {
	if e.Dirty {
		return e.Revision + " with changes"
	}
	return e.Revision
}

// resume takes over what the report of an interrupted run has. What is said of the run as
// a whole stays as it was at its beginning.
func (r *runner) resume(prior *Report) {
	now := r.report
	resumed := *prior
	r.start = r.start.Add(-time.Duration(prior.ElapsedS * float64(time.Second))) // of the budget, that is used
	resumed.Incomplete, resumed.Finished, resumed.Thresholds = false, time.Time{}, nil
	// What was doubted may be settled now, and is said again in the end where it is not.
	said := prior.doubts(r.c)
	resumed.Warnings = slices.DeleteFunc(slices.Clone(prior.Warnings), func(w string) bool { return slices.Contains(said, w) })
	resumed.Resumed = append(slices.Clone(prior.Resumed), now.Started)
	if len(prior.Resumed) == 0 && (now.Env.Dirty || now.Env.Revision == "unknown") {
		resumed.Warnings = append(resumed.Warnings, "the run was interrupted, and the code it was gone on with may be other code: its revision does not tell")
	}
	if why := otherPlace(prior.Env, now.Env); len(why) > 0 {
		resumed.Warnings = append(resumed.Warnings, "the run was interrupted, and gone on with elsewhere: "+strings.Join(why, "; "))
	}
	r.report = &resumed
}

// is says whether a result or a skipped target is of the cell. A cell does not know its
// objects before its trace is read.
func (c *cell) is(profile string, objects, threads int) bool {
	return c.profile.Name == profile && c.threads == threads && (c.objects == 0 || c.objects == objects)
}

// resumed returns the targets of a cell that was begun before an interruption; begun is
// false if it was not.
func (r *runner) resumed(c cell, specs []target.Spec) (entrants []entrant, begun bool) {
	if r.c.Resume == nil {
		return nil, false
	}
	for _, res := range r.report.Results {
		if !c.is(res.Profile, res.Objects, res.Threads) {
			continue
		}
		begun = true
		i := slices.IndexFunc(specs, func(s target.Spec) bool { return s.Name == res.Target })
		if i >= 0 && res.Error == "" {
			entrants = append(entrants, entrant{spec: specs[i], result: res})
		}
	}
	return entrants, begun || slices.ContainsFunc(r.report.Skipped, func(s Skipped) bool { return c.is(s.Profile, s.Objects, s.Threads) })
}

// fewestTrials is how many rounds all of them have had. An interruption may have come when
// some had had their trial of a round and others had not.
func fewestTrials(entrants []entrant) int {
	if len(entrants) == 0 {
		return 0
	}
	return slices.MinFunc(entrants, func(a, b entrant) int { return cmp.Compare(a.result.Trials, b.result.Trials) }).result.Trials
}

// through says that nothing is left to do in a cell that was begun before an interruption.
func (r *runner) through(c *comparison) bool {
	return !slices.ContainsFunc(c.entrants, func(e entrant) bool {
		res := e.result
		switch {
		case r.c.timesCalls(&c.profile) && (res.Latency == nil || !r.hasControl(c.cell, res.Latency.OpsPerCall)):
			return true
		case r.wantsResident(res) && res.RSSBytesPerObject == nil:
			return true
		default:
			return r.c.ProfileDir != "" && !res.profiled()
		}
	}) && (len(c.entrants) == 0 || r.enough(c, 0))
}

// hasControl says whether calls of so many operations that do nothing were measured in a
// cell before an interruption.
func (r *runner) hasControl(c cell, ops int) bool {
	return slices.ContainsFunc(r.report.Controls, func(had Control) bool {
		return c.is(had.Profile, had.Objects, had.Threads) && had.Latency.OpsPerCall == ops
	})
}
