package bench

import (
	"fmt"
	"slices"

	"github.com/objhash/objhash/bench/keys"
)

// Op is what the operations of a phase do.
type Op string

const (
	Encounter Op = "encounter" // look up or add
	Lookup    Op = "lookup"    // look up only

	Restore Op = "restore" // create, with what is needed, unless it is there
	Fetch   Op = "fetch"   // look up by objref

	// Audit compares the users of all objects with real reference counts, of which
	// one in a hundred differs; Snapshot writes all objects to memory and reads them
	// again. They are done by one call, between phases of threads.
	Audit    Op = "audit"
	Snapshot Op = "snapshot"

	// Count adds one user to an objref, Uncount takes one off again. A thread has one
	// handle for that, or the many of the draw Handles, which stay open until Close.
	Count   Op = "count"
	Uncount Op = "uncount"
	Close   Op = "close"

	// Flush flushes all handles, and the counts are verified: they are about to change
	// beyond recognition. It is never timed.
	Flush Op = "flush"

	// Barrier is that of the counter, when all handles are closed. Verdict closes them,
	// does the barrier, and reads the count of every object. One thread does it all,
	// so that the time has no waking of threads in it.
	Barrier Op = "barrier"
	Verdict Op = "verdict"

	// Drop closes the table, which drops the reference of every object. It is the
	// last phase, and done by one thread.
	Drop Op = "drop"
)

// Draw is how a phase chooses the addresses of its operations.
type Draw string

const (
	// Each takes every object once per pass, each pass in a random order of
	// its own.
	Each Draw = "each"
	// Absent is Each over as many addresses that were never added, from the
	// same areas.
	Absent Draw = "absent"
	// Uniform draws objects, each as likely as any other.
	Uniform Draw = "uniform"
	// Zipf draws objects by Zipf's law with exponent Theta; which object has
	// which rank is random.
	Zipf Draw = "zipf"
	// Hot draws a share HotDraws of its operations from a share HotObjects of the
	// objects, and the others from the rest, all uniformly; which are hot is random.
	Hot Draw = "hot"
	// Tasks lets task after task meet the same Shared objects in the same
	// order, as a walk of a shared fd table does, and then one of its own.
	Tasks Draw = "tasks"
	// Held lets task after task meet the PerTask objects that it holds. Spread says
	// which these are; a task may hold one twice.
	Held Draw = "held"
	// Recorded takes the operations of the trace, in its order.
	Recorded Draw = "recorded"
	// InOrder takes every objref once, in order; threads take blocks in turn.
	InOrder Draw = "in-order"
	// Own is Each, with objects of its own for each thread: a run of objrefs.
	Own Draw = "own"
	// Handles lets tasks come one after the other, each with a handle of its own,
	// through which it counts PerTask objects. Spread says which these are.
	Handles Draw = "handles"
	// Again takes what the same thread took in the phase before, in another order.
	Again Draw = "again"

	// Dealt gives the objects out one by one, as cards are, to the tasks of Held: no
	// object has two holders unless there are fewer objects than PerTask * Tasks. It is
	// for Spread alone.
	Dealt Draw = "dealt"
)

// Phase is a part of a profile in which all threads do operations of one sort.
// Between two phases all threads wait for each other.
type Phase struct {
	Name string
	Op   Op
	Draw Draw

	// PerObject is the number of operations per object, for Each, Own, Absent (all
	// three whole passes), Uniform, Zipf and Hot. The last three may have Operations
	// instead, which is how many there are in total.
	PerObject  int
	Operations int

	// AtLeast is the number of operations below which further passes are added,
	// so that a small table is looked up in for long enough to be timed. For
	// Each, Own and Absent.
	AtLeast int

	Theta                float64 // exponent in 0..2, for Zipf
	HotObjects, HotDraws float64 // shares in 0..1, for Hot
	Shared               int     // objects of the shared fd table, for Tasks

	// Tasks hold PerTask objects each, for Held and Handles. Spread is the draw that says
	// which: Uniform, Zipf, Hot or, for Held, Dealt.
	Tasks, PerTask int
	Spread         Draw

	Needs bool // objects need two of lower objrefs, at random; for Restore

	Timed bool
}

// Profile is a workload as it is described to people. It is data: all that a
// workload is made from, but for a trace, and a size or seed that a run asks for instead.
type Profile struct {
	Name    string
	Summary string // one line

	// Source is the file that it was read from; "": it is a canonical one.
	Source string

	// Objects is the size that is used unless another is asked for; 0: the
	// trace has its own.
	Objects int

	// OneSize says that Objects is what the profile is about, and stays as it is.
	OneSize bool

	// Presized says that targets are told the number of objects beforehand.
	Presized bool

	// Kinds are the names of the kinds of objects. Objects have them in turn or, if
	// there are KindShares, in these proportions;
	// of Tasks, the shared objects have the first and the others the last.
	Kinds      []string
	KindShares []float64

	Keys   keys.Model
	Phases []Phase

	// Threads are the numbers of threads it is measured on unless a run asks for
	// others; empty: the run's default.
	Threads []int

	Trials int    // that count, unless a run asks for another number; 0: its default
	Seed   uint64 // of addresses and draws, unless a run asks for another

	// RatePerS is how many operations begin in each second, on all threads together,
	// whether or not earlier ones have ended (open loop); 0: each begins when the
	// one before it has ended.
	RatePerS float64

	// Trace is the file that a replay takes its operations from; "": the embedded one.
	Trace string

	// Thresholds are checked when all was measured.
	Thresholds []Threshold
}

// Threshold is what a profile demands of a result.
type Threshold struct {
	Target           string // by its name in results
	Objects, Threads int    // 0: in cells of any size, on any number of threads
	What             Figure
	Against          string   // the other target of TimesFaster
	Min, Max         *float64 // crossed below Min, above Max; nil: there is none
}

// Figure is what a threshold is about.
type Figure string

const (
	NsPerOp           Figure = "ns_per_op"
	BytesPerObject    Figure = "bytes_per_object"
	RSSBytesPerObject Figure = "rss_bytes_per_object"
	P50Ns             Figure = "p50_ns" // percentiles are those of calls, see Latencies
	P90Ns             Figure = "p90_ns"
	P99Ns             Figure = "p99_ns"
	P999Ns            Figure = "p99.9_ns"
	P9999Ns           Figure = "p99.99_ns"
	MaxNs             Figure = "max_ns"
	TimesFaster       Figure = "times_faster" // than Against
)

// recorded says whether the profile replays a trace.
func (p *Profile) recorded() bool {
	for _, ph := range p.Phases {
		if ph.Draw == Recorded {
			return true
		}
	}
	return false
}

func (p *Profile) has(op Op) bool {
	return slices.ContainsFunc(p.Phases, func(ph Phase) bool { return ph.Op == op })
}

// whole says that the table does the operation by itself, for all objects at once.
func (op Op) whole() bool { return op == Audit || op == Snapshot || op == Drop }

// counts says whether the profile is one for counters alone.
func (p *Profile) counts() bool { return p.has(Count) }

// looksUp says whether lookups are all that is timed.
func (p *Profile) looksUp() bool {
	return !slices.ContainsFunc(p.Phases, func(ph Phase) bool { return ph.Timed && ph.Op != Lookup })
}

// restart says whether the profile is one of a restart.
func (p *Profile) restart() bool { return p.has(Restore) }

// count is the number of operations of a phase that is not Recorded.
func (ph *Phase) count(objects int) int {
	switch ph.Draw {
	case "", Again:
		return 0
	case Held, Handles:
		return ph.Tasks * ph.PerTask
	case Tasks:
		shared, tasks := ph.tasks(objects)
		return tasks * (shared + 1)
	case Uniform, Zipf, Hot:
		if ph.Operations > 0 {
			return ph.Operations
		}
		return max(ph.PerObject, 1) * objects
	default:
		return max(ph.PerObject, 1, (ph.AtLeast+objects-1)/objects) * objects
	}
}

// tasks divides the objects: so many are shared, and each task has one of its
// own. At least half are tasks'.
func (ph *Phase) tasks(objects int) (shared, tasks int) {
	shared = max(1, min(ph.Shared, objects/2))
	return shared, max(1, objects-shared)
}

// Describe says in a line how large the workload is.
func (p *Profile) Describe() string {
	phases := plural(len(p.Phases), "phase")
	if p.recorded() {
		return phases + ", of a trace"
	}
	prepared, timed := 0, 0
	for i, n := range p.ops(p.Objects) {
		if p.Phases[i].Timed {
			timed += n
		} else {
			prepared += n
		}
	}
	return fmt.Sprintf("%s, %s, %s (%s timed)", plural(p.Objects, "object"), phases, plural(prepared+timed, "operation"), grouped(timed))
}

// ops are the operations of each phase of a profile that is not recorded.
func (p *Profile) ops(objects int) []int {
	counts, last := make([]int, len(p.Phases)), 0
	for i, ph := range p.Phases {
		switch {
		case ph.Op.whole() || ph.Op == Verdict:
			counts[i] = objects
		case ph.Draw == Again:
			counts[i] = last
		default:
			counts[i] = ph.count(objects)
			if counts[i] > 0 {
				last = counts[i]
			}
		}
	}
	return counts
}
