package bench

import (
	"slices"
	"time"
)

// DefaultWidth is how wide an interval may be, as a part of its median, before more trials
// are done for it if there is time, and before the report says so.
const DefaultWidth = 0.03

// enough says that a cell needs no further round, or that there is no time for one, which
// would take so long.
func (r *runner) enough(c *comparison, next time.Duration) bool {
	switch {
	case c.rounds < r.c.Trials || c.begun():
		return false
	case r.c.Budget == 0, c.rounds >= TrialsMax:
		return true
	default:
		return c.narrow(r.c.Width) || time.Since(r.start)+next > r.c.Budget
	}
}

// begun says that some targets have had their trial of the next round before an
// interruption: then it is finished, so that all have as many.
func (c *comparison) begun() bool {
	return slices.ContainsFunc(c.entrants, func(e entrant) bool { return e.result.Trials > c.rounds })
}

// narrow says that every target's interval is narrower than asked for.
func (c *comparison) narrow(width float64) bool {
	return !slices.ContainsFunc(c.entrants, func(e entrant) bool { return !e.result.narrow(width) })
}

func (res *Result) narrow(width float64) bool {
	return res.NsPerOp != nil && res.Interval == Interval95 && res.NsPerOp.width() < width
}

// width is that of the interval, as a part of the median.
func (i *Interval) width() float64 { return (i.High - i.Low) / i.Median }

// left estimates how long the run still takes: as long for each operation as so far. 0: it
// has not begun.
func (r *runner) left(all []*comparison) time.Duration {
	done, rest := 0.0, 0.0
	for _, c := range all {
		perRound := float64(max(c.objects, 1<<17)) // about what a trial of few objects has in operations
		done += perRound * float64(c.rounds)
		rest += perRound * float64(max(r.c.Trials-c.rounds, 0))
	}
	if done == 0 {
		return 0
	}
	elapsed := time.Since(r.start)
	return max(time.Duration(float64(elapsed)*rest/done), r.c.Budget-elapsed)
}
