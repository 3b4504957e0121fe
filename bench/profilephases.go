package bench

import (
	"fmt"
	"slices"
	"strings"
)

// drawsOf are the draws of each operation; none: it needs none. How they are made is in
// workload.go, restart.go and counting.go.
var drawsOf = map[Op][]Draw{
	Encounter: {Each, Uniform, Zipf, Hot, Held, Tasks, Recorded},
	Lookup:    {Each, Absent, Uniform, Zipf, Hot, Held},
	Restore:   {InOrder, Each},
	Fetch:     {InOrder, Each, Uniform, Zipf, Hot},
	Count:     {Each, Own, Uniform, Zipf, Hot, Handles, Again},
	Uncount:   {Again},
	Audit:     nil, Snapshot: nil, Drop: nil, Close: nil, Flush: nil, Barrier: nil, Verdict: nil,
}

var (
	tableOps    = []Op{Encounter, Lookup, Audit, Snapshot, Drop}
	restartOps  = []Op{Restore, Fetch}
	countingOps = []Op{Count, Uncount, Flush, Close, Barrier, Verdict}
)

// phases makes the phases, and checks each by itself before all together.
func (c *profileCheck) phases(p *Profile) {
	if n := len(c.doc.Phases); n < 1 || n > phasesMax {
		c.bad("phase", "%s; want 1 to %d", plural(n, "phase"), phasesMax)
		return
	}
	before := len(c.mistakes)
	met := map[string]bool{}
	for i := range c.doc.Phases {
		d, at := &c.doc.Phases[i], fmt.Sprintf("phase[%d]", i)
		p.Phases = append(p.Phases, d.phase())
		c.text(at+".name", d.Name)
		if met[d.Name] {
			c.bad(at+".name", "%q is an earlier phase's; give it another", d.Name)
		}
		met[d.Name] = true
		c.phase(at, d)
	}
	if len(c.mistakes) > before {
		return // what follows would tell of the same mistakes
	}
	if !slices.ContainsFunc(p.Phases, func(ph Phase) bool { return ph.Timed }) {
		c.bad("phase", "none is timed; say timed = true in those that are measured")
	}
	ops := tableOps
	switch {
	case p.counts() || p.has(Uncount):
		ops = countingOps
	case p.restart() || p.has(Fetch):
		ops = restartOps
	}
	for i, ph := range p.Phases {
		if !slices.Contains(ops, ph.Op) {
			c.bad(fmt.Sprintf("phase[%d].op", i), "%q cannot be in one profile with %s", ph.Op, strings.Join(words(ops), ", "))
			return
		}
	}
	switch ops[0] {
	case Encounter:
		c.tablePhases(p)
	case Restore:
		c.restartPhases(p)
	case Count:
		c.countingPhases(p)
	}
}

func (d *phaseTable) phase() Phase {
	return Phase{
		Name: d.Name, Op: Op(d.Op), Draw: Draw(d.Draw), PerObject: or(d.PerObject, 0), Operations: or(d.Operations, 0),
		AtLeast: or(d.AtLeast, 0), Theta: or(d.Theta, 0), HotObjects: or(d.HotObjects, 0), HotDraws: or(d.HotDraws, 0),
		Shared: or(d.Shared, 0), Tasks: or(d.Tasks, 0), PerTask: or(d.PerTask, 0), Spread: Draw(or(d.Spread, "")),
		Needs: or(d.Needs, false), Timed: d.Timed,
	}
}

// distribution is the draw that says which objects are met how often.
func (ph *Phase) distribution() Draw {
	if ph.Draw == Held || ph.Draw == Handles {
		return ph.Spread
	}
	return ph.Draw
}

// phase checks one phase by itself.
func (c *profileCheck) phase(at string, d *phaseTable) {
	ph := d.phase()
	draws, known := drawsOf[ph.Op]
	if !known {
		c.bad(at+".op", "%s", unknownWord("operation", d.Op, words(slices.Concat(tableOps, restartOps, countingOps))))
		return
	}
	if draws == nil && d.Draw != "" {
		c.bad(at+".draw", "%q is done for all objects at once; leave the draw out", ph.Op)
		return
	}
	if draws != nil && !slices.Contains(draws, ph.Draw) {
		c.bad(at+".draw", "%s", unknownWord("draw of "+d.Op, d.Draw, words(draws)))
		return
	}
	if ph.Draw == Held || ph.Draw == Handles {
		spreads := []Draw{Uniform, Zipf, Hot}
		if ph.Draw == Held {
			spreads = append(spreads, Dealt)
		}
		if !slices.Contains(spreads, ph.Spread) {
			c.bad(at+".spread", "%s", unknownWord("spread", string(ph.Spread), words(spreads)))
			return
		}
	}
	c.parameters(at, d)
	if ph.Op == Flush && ph.Timed {
		c.bad(at+".timed", "a flush is never timed; leave it out")
	}
	if d.Needs != nil && ph.Op != Restore {
		c.bad(at+".needs", "for op = %q alone; leave it out", Restore)
	}
	if ph.Draw == Handles && ph.PerTask > 0 && BlockOps%ph.PerTask != 0 {
		c.bad(at+".per_task", "%d; want a divisor of %d", ph.PerTask, BlockOps)
	}
}

// parameters checks that a phase has the numbers that its draw takes, and no others.
func (c *profileCheck) parameters(at string, d *phaseTable) {
	ph := d.phase()
	passes := slices.Contains([]Draw{Each, Own, Absent}, ph.Draw)
	sharing := slices.Contains([]Draw{Uniform, Zipf, Hot}, ph.Draw)
	holders := ph.Draw == Held || ph.Draw == Handles
	number := func(key string, takes, needs bool, given *int, most float64) {
		c.number(at+"."+key, ph, takes, needs, given != nil, float64(or(given, 0)), 1, most)
	}
	number("per_object", (passes || sharing) && ph.Op != Restore, passes && ph.Op != Restore, d.PerObject, perObjectMax)
	number("operations", sharing, sharing && d.PerObject == nil, d.Operations, ObjectsMax*8)
	number("at_least", passes && ph.Op != Restore, false, d.AtLeast, ObjectsMax*8)
	number("tasks", holders, holders, d.Tasks, ObjectsMax)
	number("per_task", holders, holders, d.PerTask, perObjectMax)
	number("shared", ph.Draw == Tasks, ph.Draw == Tasks, d.Shared, ObjectsMax)
	if sharing && d.PerObject != nil && d.Operations != nil {
		c.bad(at+".operations", "there is per_object, too; give one of them")
	}
	if objects := or(c.doc.Objects, 0); ph.Draw == Tasks && ph.Shared > max(1, objects/2) {
		c.bad(at+".shared", "%d, of %s; want at most half, since the others are the tasks' own", ph.Shared, plural(objects, "object"))
	}

	by := ph.distribution()
	c.number(at+".theta", ph, by == Zipf, by == Zipf, d.Theta != nil, ph.Theta, 0, 2)
	c.number(at+".hot_objects", ph, by == Hot, by == Hot, d.HotObjects != nil, ph.HotObjects, 0, 1)
	c.number(at+".hot_draws", ph, by == Hot, by == Hot, d.HotDraws != nil, ph.HotDraws, 0, 1)
	if d.HotObjects != nil && by == Hot && ph.HotObjects == 0 {
		c.bad(at+".hot_objects", "0; want some objects in the hot set")
	}
	if d.Spread != nil && !holders {
		c.bad(at+".spread", "for draw = %q and %q alone; leave it out", Held, Handles)
	}
}

func (c *profileCheck) number(key string, ph Phase, takes, needs, given bool, value, least, most float64) {
	switch {
	case given && !takes && ph.Draw == "":
		c.bad(key, "op = %q does not take it; leave it out", ph.Op)
	case given && !takes:
		draw := fmt.Sprintf("draw = %q", ph.Draw)
		if ph.Spread != "" {
			draw += fmt.Sprintf(" with spread = %q", ph.Spread)
		}
		c.bad(key, "op = %q with %s does not take it; leave it out", ph.Op, draw)
	case needs && !given:
		c.bad(key, "there is none; want %s to %s", figure(least), figure(most))
	case given && !(value >= least && value <= most):
		c.bad(key, "%s; want %s to %s", figure(value), figure(least), figure(most))
	}
}

// figure writes a number as a person would.
func figure(x float64) string {
	if x == float64(int64(x)) {
		return grouped(int64(x))
	}
	return fmt.Sprint(x)
}

// meetsAll says whether a phase of encounters meets every object.
func (ph *Phase) meetsAll(objects int) bool {
	switch {
	case ph.Op != Encounter:
		return false
	case ph.Draw == Held:
		return ph.Spread == Dealt && ph.Tasks*ph.PerTask >= objects
	default:
		return ph.Draw == Each || ph.Draw == Tasks
	}
}

// tablePhases checks the order of what is done to a table.
func (c *profileCheck) tablePhases(p *Profile) {
	all, some := false, false
	for i, ph := range p.Phases {
		at := fmt.Sprintf("phase[%d]", i)
		later := p.Phases[i+1:]
		switch {
		case ph.Op == Encounter:
			some, all = true, all || ph.meetsAll(p.Objects)
		case ph.Op == Lookup && ph.Draw != Absent && !all:
			c.bad(at+".op", "no phase before it meets every object, so it would look for what is not there; begin with encounters whose draw is %q", Each)
		case ph.Op.whole() && !some:
			c.bad(at+".op", "no phase before it puts anything into the table; begin with encounters")
		case ph.Op == Drop && (len(later) > 0 || !ph.Timed):
			c.bad(at+".op", "a drop closes the table; it comes last, and is timed")
		case ph.Op.whole() && slices.ContainsFunc(later, func(ph Phase) bool { return ph.Op == Encounter }):
			c.bad(at+".op", "%q comes after all encounters", ph.Op)
		case ph.Op == Audit && slices.ContainsFunc(p.Phases, func(ph Phase) bool { return ph.Op == Encounter && ph.Draw != Each }):
			c.bad(at+".op", "an audit knows the users of each object if all encounters have draw = %q", Each)
		}
	}
	if !some {
		c.bad("phase", "nothing is put into the table; begin with encounters")
	}
	if p.recorded() && len(p.Phases) > 1 {
		c.bad("phase", "a replay is one phase of encounters; leave the others out")
	}
	shared := 0
	for i, ph := range p.Phases {
		if ph.Draw != Tasks {
			continue
		}
		if shared != 0 && ph.Shared != shared {
			c.bad(fmt.Sprintf("phase[%d].shared", i), "an earlier phase has %d; want the same, since these have kinds of their own", shared)
		}
		shared = ph.Shared
	}
}

// restartPhases checks that everything is created once, and first.
func (c *profileCheck) restartPhases(p *Profile) {
	for i, ph := range p.Phases {
		if (ph.Op == Restore) != (i == 0) {
			c.bad(fmt.Sprintf("phase[%d].op", i), "a restart is one phase of %q, and then %q as often as wanted", Restore, Fetch)
		}
	}
}

// countingPhases checks that handles are open when they are used, and that users go
// through the handle by which they came.
func (c *profileCheck) countingPhases(p *Profile) {
	open, dropped := false, false
	var last *Phase // that counted through the handles that are open
	for i := range p.Phases {
		ph, at := &p.Phases[i], fmt.Sprintf("phase[%d]", i)
		switch {
		case dropped && (ph.Op == Count || ph.Op == Uncount):
			c.bad(at+".op", "objects have died; nothing is counted after that")
		case ph.Op == Count && ph.Draw == Handles && open:
			c.bad(at+".draw", "handles are open; close them first")
		case ph.Draw == Again && last == nil:
			c.bad(at+".draw", "no phase before it has counted through handles that are still open")
		case ph.Op == Count && ph.Draw == Again && last.Draw == Handles:
			c.bad(at+".draw", "threads have many handles; close them first, and count by another draw")
		case ph.Op == Uncount && last.Draw != Each && last.Draw != Own:
			c.bad(at+".op", "some objects may have no users to give back; count them by draw = %q or %q before", Each, Own)
		case slices.Contains([]Op{Flush, Close}, ph.Op) && !open:
			c.bad(at+".op", "no handles are open")
		case ph.Op == Barrier && open:
			c.bad(at+".op", "handles are open; close them first")
		}
		switch ph.Op {
		case Count:
			open, last = true, ph
		case Uncount:
			dropped = true
		case Close, Verdict:
			open, last = false, nil
		}
	}
	if open {
		c.bad("phase", "handles stay open; end with op = %q or %q", Close, Verdict)
	}
}
