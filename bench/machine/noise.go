package machine

import (
	"fmt"
	"strconv"
	"strings"
)

// Watch observes how quiet the machine is while something is measured.
type Watch struct {
	sys    system
	before cpuTime
	load   float64
}

// NewWatch begins to observe.
func NewWatch() *Watch { return newWatch("/") }

func newWatch(sys system) *Watch {
	load, _ := strconv.ParseFloat(firstField(sys.text("proc/loadavg")), 64)
	return &Watch{sys: sys, before: sys.cpuTime(), load: load}
}

// Lap begins to observe anew what the hypervisor takes.
func (w *Watch) Lap() *Watch { return &Watch{sys: w.sys, before: w.sys.cpuTime()} }

// StealPercent is the share of CPU time that the hypervisor gave to others
// since the watch began.
func (w *Watch) StealPercent() float64 {
	now := w.sys.cpuTime()
	return cpuTime{total: now.total - w.before.total, steal: now.steal - w.before.steal}.stealPercent()
}

// Thresholds of a noisy machine.
const (
	stealLimitPercent = 1.0
	loadLimitPerCore  = 0.25
)

// Warnings says what disturbed the measurement in an environment, and what to do about it.
func (w *Watch) Warnings(e Env) (warnings []string) {
	if steal := w.StealPercent(); steal > stealLimitPercent {
		warnings = append(warnings, fmt.Sprintf(
			"the hypervisor gave %.1f %% of the CPU time to other machines; run again at a quieter time or on dedicated cores, and trust intervals, not medians", steal))
	}
	if w.load > loadLimitPerCore*float64(e.Cores) {
		warnings = append(warnings, fmt.Sprintf(
			"the load average was %.2f on %d cores before the first trial; stop other programs, wait a minute for it to fall, and run again", w.load, e.Cores))
	}
	if e.Governor != "" && e.Governor != "performance" {
		warnings = append(warnings, fmt.Sprintf(
			"the frequency governor is %s, which changes the clock rate with the load; set it to performance (cpupower frequency-set -g performance) and run again", e.Governor))
	}
	return warnings
}

// cpuTime is what /proc/stat has in its first line, in ticks.
type cpuTime struct{ total, steal uint64 }

func (t cpuTime) stealPercent() float64 {
	if t.total == 0 {
		return 0
	}
	return 100 * float64(t.steal) / float64(t.total)
}

func (s system) cpuTime() (t cpuTime) {
	line, _, _ := strings.Cut(s.text("proc/stat"), "\n")
	fields := strings.Fields(line)
	if len(fields) == 0 || fields[0] != "cpu" {
		return t
	}
	const steal, guest = 7, 8 // guest time is in user time already
	for i, f := range fields[1:] {
		n, _ := strconv.ParseUint(f, 10, 64)
		if i < guest {
			t.total += n
		}
		if i == steal {
			t.steal = n
		}
	}
	return t
}

func firstField(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}
