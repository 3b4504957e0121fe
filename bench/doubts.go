package bench

import (
	"fmt"
	"math"
	"slices"
	"time"
)

const (
	// stealTrialLimit is the share of CPU time, in percent, from which on a trial has been
	// slowed down by more than what intervals are narrowed to. Time is counted in ticks of
	// 10 ms, so a short trial has it or not.
	stealTrialLimit = 5.0

	// harnessLimit is what the harness may add to an operation, in nanoseconds.
	harnessLimit = 1.0

	// clockLimit is the part of a call's median from which on it tells of the clock.
	clockLimit = 0.5
)

// doubts says why figures may be less than they seem, and what to do about it.
func (r *Report) doubts(c Config) (all []string) {
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	measured := slices.DeleteFunc(slices.Clone(r.Results), func(res *Result) bool { return res.NsPerOp == nil })
	trials, stolen, unsteady := 0, 0, []*Result{}
	var widest, clocked *Result
	wide := 0
	for _, res := range measured {
		trials += len(res.StealPercents)
		for _, steal := range res.StealPercents {
			if steal > stealTrialLimit {
				stolen++
			}
		}
		if res.Unsteady {
			unsteady = append(unsteady, res)
		}
		if res.Interval == Interval95 && !res.narrow(c.Width) {
			wide++
			if widest == nil || res.NsPerOp.width() > widest.NsPerOp.width() {
				widest = res
			}
		}
		if l := res.Latency; l != nil && clocked == nil && r.ClockNs > clockLimit*float64(l.P50) {
			clocked = res
		}
	}
	if stolen > 0 {
		say("the hypervisor took more than %.0f %% of the CPU time in %d of %s (trial_steal_percent has each); compare what was measured in the same rounds, or run again at a quieter time",
			stealTrialLimit, stolen, plural(trials, "trial"))
	}
	if wide > 0 {
		say("%d of %s wider than %s of the median, most of all %s: %s after %s; give more time with --budget, more --trials, or a quieter machine, and trust no smaller differences",
			wide, pluralIntervals(len(measured)), percent(c.Width), widest.where(), percent(widest.NsPerOp.width()), plural(widest.Trials, "trial"))
	}
	if len(unsteady) > 0 {
		say("%s did not settle, or had times that rose or fell from trial to trial, %s among them; run again with more --trials, and see samples_ns for how they went",
			plural(len(unsteady), "result"), unsteady[0].where())
	}
	if clocked != nil {
		say("a reading of the clock takes %.0f ns, more than half of the usual call of %s; read its percentiles beside those of nothing, or time blocks with a target in -batch",
			r.ClockNs, clocked.where())
	}
	if r.HarnessNs > harnessLimit {
		say("the harness adds %.1f ns to each operation, more than %.0f; other programs run here, or the processor is throttled: run again", r.HarnessNs, harnessLimit)
	}
	for _, res := range measured {
		if res.Latency.late() {
			l := res.Latency
			say("%s served %s of %s operations per second, so its latencies grow with the length of the trial; lower --rate", res.where(), grouped(int64(l.ServedPerS)), grouped(int64(l.RatePerS)))
			break
		}
	}
	return all
}

// late says that fewer operations ended than were to begin, by more than is usual for so
// many calls: they begin at random, so their number varies by its square root.
func (l *Latency) late() bool {
	if l == nil || !l.Corrected || l.Calls == 0 {
		return false
	}
	const deviations = 3
	return l.ServedPerS < (1-settled-deviations/math.Sqrt(float64(l.Calls)))*l.RatePerS
}

// percent has three digits, or all before the point.
func percent(part float64) string {
	if part >= 1 {
		return grouped(int64(math.Round(100*part))) + " %"
	}
	return fmt.Sprintf("%.3g %%", 100*part)
}

func pluralIntervals(n int) string {
	if n == 1 {
		return "1 interval is"
	}
	return grouped(n) + " intervals are"
}

// overBudget says that the promised trials took longer than the budget; "": they did not.
func (c *Config) overBudget(took time.Duration) string {
	if c.Budget == 0 || took < c.Budget+c.Budget/4 {
		return ""
	}
	return fmt.Sprintf("the run took %s instead of %s: every target gets %s; ask for fewer targets, profiles or --trials",
		took.Round(time.Second), c.Budget, plural(c.Trials, "trial"))
}

// where names a result.
func (res *Result) where() string {
	return fmt.Sprintf("%s (%s, %s, %s)", res.Target, res.Profile, plural(res.Objects, "object"), plural(res.Threads, "thread"))
}
