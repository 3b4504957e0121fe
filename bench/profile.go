package bench

import (
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
	// Zipf draws objects by Zipf's law with exponent Theta; which object has
	// which rank is random.
	Zipf Draw = "zipf"
	// Tasks lets task after task meet the same Shared objects in the same
	// order, as a walk of a shared fd table does, and then one of its own.
	Tasks Draw = "tasks"
	// Recorded takes the operations of the trace, in its order.
	Recorded Draw = "recorded"
	// InOrder takes every objref once, in order; threads take blocks in turn.
	InOrder Draw = "in order"
	// Own is Each, with objects of its own for each thread: a run of objrefs.
	Own Draw = "own"
	// Handles lets tasks come one after the other, each with a handle of its own,
	// through which it counts PerTask objects, drawn as for Zipf.
	Handles Draw = "handles"
	// Again takes what the same thread took in the phase before, in another order.
	Again Draw = "again"
)

// Phase is a part of a profile in which all threads do operations of one sort.
// Between two phases all threads wait for each other.
type Phase struct {
	Name string
	Op   Op
	Draw Draw

	// PerObject is the number of operations per object, for Each, Own, Absent (all
	// three whole passes) and Zipf.
	PerObject int

	// AtLeast is the number of operations below which further passes are added,
	// so that a small table is looked up in for long enough to be timed. For
	// Each, Own and Absent.
	AtLeast int

	Theta  float64 // exponent, for Zipf and Handles
	Shared int     // objects of the shared fd table, for Tasks

	Tasks, PerTask int // for Handles

	Needs bool // objects need two of lower objrefs, at random; for Restore

	Timed bool
}

// Profile is a workload as it is described to people. It is data: all that a
// workload is made from, but for its size, the seed, and a trace.
type Profile struct {
	Name    string
	Summary string // one line

	// Objects is the size that is used unless another is asked for; 0: the
	// trace has its own.
	Objects int

	// OneSize says that Objects is what the profile is about, and stays as it is.
	OneSize bool

	// Presized says that targets are told the number of objects beforehand.
	Presized bool

	// Kinds are the names of the kinds of objects. Objects have them in turn;
	// of Tasks, the shared objects have the first and the others the last.
	Kinds []string

	Keys   keys.Model
	Phases []Phase

	// Thresholds are checked when all was measured.
	Thresholds []Threshold
}

// LookupsAtLeast is how many lookups a timed phase has, however small the
// table: some milliseconds of the fastest target.
const LookupsAtLeast = 1 << 20

// CountsAtLeast is the same for counting, so that each of many threads runs for long
// enough to be interrupted by others.
const CountsAtLeast = 1 << 22

const defaultObjects = 100_000

// Profiles returns the canonical profiles.
func Profiles() []Profile {
	files := []string{"file"}
	fill := Phase{Name: "fill", Op: Encounter, Draw: Each, PerObject: 1}
	closing := Phase{Name: "close", Op: Close, Timed: true}
	return []Profile{
		{
			Name:     "lookup-hit",
			Summary:  "lookups of objects that are all there, in random order, in a presized table",
			Objects:  defaultObjects,
			Presized: true,
			Kinds:    files,
			Keys:     keys.Mixed(),
			Phases: []Phase{fill, {
				Name: "lookup", Op: Lookup, Draw: Each, PerObject: 1, AtLeast: LookupsAtLeast, Timed: true,
			}},
		},
		{
			Name:     "lookup-miss",
			Summary:  "lookups of addresses that are not there, from the same areas as those that are",
			Objects:  defaultObjects,
			Presized: true,
			Kinds:    files,
			Keys:     keys.Mixed(),
			Phases: []Phase{fill, {
				Name: "lookup", Op: Lookup, Draw: Absent, PerObject: 1, AtLeast: LookupsAtLeast, Timed: true,
			}},
		},
		{
			Name:     "first-pass",
			Summary:  "every encounter is the first of its object, in a presized table",
			Objects:  defaultObjects,
			Presized: true,
			Kinds:    files,
			Keys:     keys.Mixed(),
			Phases:   []Phase{{Name: "encounter", Op: Encounter, Draw: Each, PerObject: 1, Timed: true}},
		},
		{
			Name:    "grow",
			Summary: "first-pass into a table that does not know how many objects will come",
			Objects: defaultObjects,
			Kinds:   files,
			Keys:    keys.Mixed(),
			Phases:  []Phase{{Name: "encounter", Op: Encounter, Draw: Each, PerObject: 1, Timed: true}},
		},
		{
			// Unpresized, since a checkpoint learns the number of its objects
			// by making it. Objects that no draw hits are not in the table;
			// results say how many distinct ones were.
			Name:    "checkpoint-zipf",
			Summary: "8 encounters per object of 8 kinds, Zipf 0.99, into an empty table that is not presized",
			Objects: defaultObjects,
			Kinds:   []string{"file", "mm", "fs", "files", "sighand", "socket", "inode", "anon"},
			Keys:    keys.Mixed(),
			Phases: []Phase{{
				Name: "checkpoint", Op: Encounter, Draw: Zipf, Theta: 0.99, PerObject: 8, Timed: true,
			}},
		},
		{
			Name:    "fork-storm",
			Summary: "thousands of tasks meet the same 32 files of a shared fd table, and one mm each of their own",
			Objects: 10_000,
			Kinds:   []string{"file", "mm"},
			Keys:    keys.Mixed(),
			Phases: []Phase{{
				Name: "walk", Op: Encounter, Draw: Tasks, Shared: 32, Timed: true,
			}},
		},
		{
			Name:     "restart-in-order",
			Summary:  "restart creates all objects of an image, whose number it knows, in the order of their objrefs",
			Objects:  defaultObjects,
			Presized: true,
			Kinds:    files,
			Keys:     keys.Mixed(),
			Phases:   []Phase{{Name: "restore", Op: Restore, Draw: InOrder, PerObject: 1, Timed: true}},
		},
		{
			Name:     "restart-parallel",
			Summary:  "restart creates objects in random order, each after two others that it refers to",
			Objects:  defaultObjects,
			Presized: true,
			Kinds:    files,
			Keys:     keys.Mixed(),
			Phases:   []Phase{{Name: "restore", Op: Restore, Draw: Each, PerObject: 1, Needs: true, Timed: true}},
		},
		{
			Name:     "restart-fetch",
			Summary:  "lookups by objref, in random order, of objects that exist again",
			Objects:  defaultObjects,
			Presized: true,
			Kinds:    files,
			Keys:     keys.Mixed(),
			Phases: []Phase{{Name: "restore", Op: Restore, Draw: InOrder, PerObject: 1}, {
				Name: "fetch", Op: Fetch, Draw: Each, PerObject: 1, AtLeast: LookupsAtLeast, Timed: true,
			}},
		},
		{
			Name:    "audit",
			Summary: "8 encounters of each object are compared with reference counts, of which some differ",
			Objects: defaultObjects,
			Kinds:   files,
			Keys:    keys.Mixed(),
			Phases: []Phase{{Name: "fill", Op: Encounter, Draw: Each, PerObject: 8},
				{Name: "audit", Op: Audit, Timed: true}},
		},
		{
			Name:    "snapshot",
			Summary: "all objects are written to memory as a snapshot, and read again",
			Objects: defaultObjects,
			Kinds:   files,
			Keys:    keys.Mixed(),
			Phases:  []Phase{fill, {Name: "snapshot", Op: Snapshot, Timed: true}},
		},
		{
			Name:    "drop-all",
			Summary: "the context is closed: the reference of every object is dropped",
			Objects: defaultObjects,
			Kinds:   files,
			Keys:    keys.Mixed(),
			Phases:  []Phase{fill, {Name: "drop", Op: Drop, Timed: true}},
		},
		{
			Name:    "count-private",
			Summary: "users are counted by objref, in random order, each object on one thread",
			Objects: defaultObjects,
			Phases: []Phase{
				{Name: "count", Op: Count, Draw: Own, PerObject: 1, AtLeast: CountsAtLeast, Timed: true}, closing,
			},
		},
		{
			Name:    "count-hot",
			Summary: "all threads count the users of one object",
			Objects: 1,
			OneSize: true,
			Phases: []Phase{
				{Name: "count", Op: Count, Draw: Each, PerObject: 1, AtLeast: CountsAtLeast, Timed: true}, closing,
			},
		},
		{
			Name:    "count-zipf",
			Summary: "8 users per object, Zipf 0.99, are counted by all threads",
			Objects: defaultObjects,
			Phases:  []Phase{{Name: "count", Op: Count, Draw: Zipf, Theta: 0.99, PerObject: 8, Timed: true}, closing},
		},
		{
			Name:    "count-10k-tasks",
			Summary: "10,000 tasks open a handle each, count 32 files of a few hundred, Zipf 0.99, and close when all are done",
			Objects: 300,
			Phases: []Phase{
				{Name: "count", Op: Count, Draw: Handles, Tasks: 10_000, PerTask: 32, Theta: 0.99, Timed: true}, closing,
			},
		},
		{
			Name:    "count-verdict",
			Summary: "from the last of 8 users per object to the exact count of each, which is an operation: handles closed, barrier, reading",
			Objects: defaultObjects,
			Phases: []Phase{
				{Name: "count", Op: Count, Draw: Each, PerObject: 8}, {Name: "verdict", Op: Verdict, Timed: true},
			},
		},
		{
			// The passes are cut one after the other, so that up to 8 threads share
			// each object.
			Name:    "count-drop",
			Summary: "the 8 users of each object, counted by several threads, go again until every death has been told; an operation is a decrement",
			Objects: defaultObjects,
			Phases: []Phase{
				{Name: "count", Op: Count, Draw: Each, PerObject: 8},
				{Name: "flush", Op: Flush},
				{Name: "uncount", Op: Uncount, Draw: Again, Timed: true},
				closing, {Name: "barrier", Op: Barrier, Timed: true},
			},
		},
		{
			Name:    "replay",
			Summary: "the encounters of a recorded trace in its order, into a table that is not presized",
			Phases:  []Phase{{Name: "replay", Op: Encounter, Draw: Recorded, Timed: true}},
		},
	}
}

// FindProfile returns the canonical profile of that name.
func FindProfile(name string) (Profile, bool) {
	for _, p := range Profiles() {
		if p.Name == name {
			return p, true
		}
	}
	return Profile{}, false
}

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
	case Handles:
		return ph.Tasks * ph.PerTask
	case Tasks:
		shared, tasks := ph.tasks(objects)
		return tasks * (shared + 1)
	case Zipf:
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
