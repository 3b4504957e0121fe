package bench

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/objhash/objhash/bench/keys"
	"github.com/objhash/objhash/bench/machine"
	"github.com/objhash/objhash/bench/target"
	"github.com/objhash/objhash/bench/trace"
)

// ErrProfile is what NewWorkload returns, wrapped, for a profile that cannot
// be made into a workload of the size asked for.
var ErrProfile = errors.New("unusable profile")

// ObjectsMax is the largest number of objects of a workload. It leaves targets
// room for objrefs that are leased and not used.
const ObjectsMax = 1 << 29

// Size is what a workload is made from besides its profile.
type Size struct {
	Objects int // 0: the profile's own
	Threads int
	Seed    uint64
	Trace   *trace.Trace // for profiles that replay one
}

// Workload is every operation of a trial, made beforehand.
type Workload struct {
	Profile  Profile
	Objects  int // the size asked for
	Distinct int // objects that encounters meet: the size of the table at the end
	Threads  int
	Kinds    []string

	phases []phaseOps

	// encountered is how often encounters meet each object, of a profile with an audit.
	encountered int

	image *target.Image // of a restart
	users []int32       // of one that counts, by objref - 1: what there is at the end

	// unmet are addresses that no encounter meets, as a sample.
	unmet []uint64

	resident bool // footprints have the resident memory
}

// pin has threads run on those processors, in turns.
func (w *Workload) pin(cpus []int) {
	for i := range w.phases {
		w.phases[i].cpus = cpus
	}
}

// phaseOps are the operations of a phase, cut into one part per thread.
type phaseOps struct {
	Phase
	parts []part
	whole int     // operations of a phase that the table does as a whole
	users []int32 // of a Flush or Verdict, by objref - 1: what there is

	timing *timing // nil: its calls are not timed one by one
	cpus   []int   // that threads are pinned to, in turns; none: they are not
}

type part struct {
	ptrs  []uint64 // none for what counts by objref
	kinds []uint16 // for encounters
	refs  []int32  // what the target answers, or is asked for: one for each operation
}

// Ops is the number of timed operations of all threads.
func (w *Workload) Ops() int {
	n := 0
	for _, ph := range w.phases {
		if ph.Timed {
			n += ph.ops()
		}
	}
	return n
}

func (ph *phaseOps) ops() int {
	n := ph.whole
	for _, p := range ph.parts {
		n += len(p.refs)
	}
	return n
}

// Excludes says why a target cannot do the profile on so many threads; "": it can.
func (p *Profile) Excludes(s target.Spec, threads int) string {
	switch {
	case s.NoTable && !p.looksUp():
		return "it is no table: it only does lookups"
	case p.counts() && !s.Counts:
		return "it does not count by objref"
	case !p.counts() && s.Counts:
		return "it only counts, and has no table"
	case p.restart() && s.Strategy != "":
		return "a restart counts no users"
	case p.restart() && s.NewRestart == nil:
		return "it has no restart side"
	case s.Inexact && !p.has(Uncount):
		return "its counts are not exact: it tells only whether there are users"
	case p.has(Drop) && !s.Drops:
		return "it holds no references"
	case p.has(Audit) && !s.Audits:
		return "it cannot audit"
	case p.has(Snapshot) && !s.Snapshots:
		return "it has no snapshots"
	case s.MaxThreads > 0 && threads > s.MaxThreads:
		return "serves at most " + plural(s.MaxThreads, "thread")
	}
	return ""
}

// beside says that a target is not of the sort that the profile is for, which goes without
// saying unless somebody asked for it by its name.
func (p *Profile) beside(s target.Spec) bool {
	return s.Counts != p.counts() || s.NoTable && !p.looksUp()
}

func (w *Workload) options(seed uint64) target.Options {
	o := target.Options{Objects: w.Distinct, Kinds: w.Kinds, Threads: w.Threads, Seed: seed}
	if w.Profile.Presized {
		o.Expected = w.Distinct
	}
	if w.Profile.has(Audit) {
		o.Users = w.realUsers
	}
	return o
}

// realUsers is the real reference count of an object of a profile with an audit:
// what its encounters count, but for the objects that leak.
func (w *Workload) realUsers(ptr uint64) int64 {
	n := int64(w.encountered)
	if leaks(ptr) {
		n++
	}
	return n
}

// leaks tells whether somebody outside of the checkpoint holds an object: one in a
// hundred, whatever the strides of addresses.
func leaks(ptr uint64) bool { return (ptr*0x9e3779b97f4a7c15)>>32%100 == 0 }

// unmetMax is how many addresses that were never added verification looks for.
const unmetMax = 4096

// NewWorkload makes the workload of a profile.
func NewWorkload(p Profile, s Size) (*Workload, error) {
	if s.Threads < 1 {
		return nil, fmt.Errorf("%w %q: %d threads", ErrProfile, p.Name, s.Threads)
	}
	if p.recorded() {
		return newReplay(p, s)
	}
	if s.Objects == 0 || p.OneSize {
		s.Objects = p.Objects
	}
	if s.Objects < 1 || s.Objects > ObjectsMax {
		return nil, fmt.Errorf("%w %q: %d objects; want 1 to %d", ErrProfile, p.Name, s.Objects, ObjectsMax)
	}
	if err := enoughMemory(p, s.Objects); err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrProfile, p.Name, err)
	}
	switch {
	case p.restart():
		return newRestart(p, s)
	case p.counts():
		return newCounting(p, s)
	}
	m := maker{p: p, s: s, kinds: newKindsOf(p, s.Objects)}
	return m.make()
}

// enoughMemory refuses a size at which the operations and a common table would
// not fit, before the system ends the program for it.
func enoughMemory(p Profile, objects int) error {
	const bytesPerOp, bytesPerObject = 14, 128
	need, ops := float64(objects)*bytesPerObject, 0.0
	for i, n := range p.ops(objects) {
		if p.Phases[i].Draw != "" {
			ops += float64(n)
		}
	}
	need += ops * bytesPerOp
	if have := machine.MemoryBytes(); have > 0 && need > float64(have) {
		return fmt.Errorf("%s and %.3g operations take about %.1f GiB of memory, and there are %.1f",
			plural(objects, "object"), ops, need/(1<<30), float64(have)/(1<<30))
	}
	return nil
}

// maker holds what the phases of a workload share while it is made.
type maker struct {
	p     Profile
	s     Size
	kinds kindsOf

	objects, absent []uint64
	met             []bool // by object: some encounter meets it
}

func (m *maker) make() (*Workload, error) {
	if err := m.addresses(); err != nil {
		return nil, err
	}
	w := &Workload{Profile: m.p, Objects: m.s.Objects, Threads: m.s.Threads, Kinds: m.p.Kinds}
	for i, ph := range m.p.Phases {
		if ph.Op == Drop && i != len(m.p.Phases)-1 {
			return nil, fmt.Errorf("%w %q, phase %q: something comes after it", ErrProfile, m.p.Name, ph.Name)
		}
		if ph.Op.whole() {
			if ph.Op == Audit && (w.encountered == 0 || m.uneven()) {
				return nil, fmt.Errorf("%w %q, phase %q: an audit is of objects that draw %q met", ErrProfile, m.p.Name, ph.Name, Each)
			}
			w.phases = append(w.phases, phaseOps{Phase: ph})
			continue
		}
		rng := rand.New(rand.NewPCG(m.s.Seed, uint64(i)+1))
		drawn, err := m.draw(ph, rng)
		if err != nil {
			return nil, fmt.Errorf("%w %q, phase %q: %w", ErrProfile, m.p.Name, ph.Name, err)
		}
		unit := 1
		if ph.Draw == Held {
			unit = ph.PerTask // a thread walks whole tasks
		}
		w.phases = append(w.phases, phaseOps{Phase: ph, parts: cut(drawn, m.s.Threads, unit)})
		if ph.Op == Encounter && ph.Draw == Each {
			w.encountered += ph.count(w.Objects) / w.Objects
		}
	}
	w.unmet = m.absent[:min(len(m.absent), unmetMax)]
	for i, met := range m.met {
		if met {
			w.Distinct++
		} else if len(w.unmet) < 2*unmetMax {
			w.unmet = append(w.unmet, m.objects[i])
		}
	}
	for i := range w.phases {
		if ph := &w.phases[i]; ph.Op.whole() {
			ph.whole = w.Distinct
		}
	}
	return w, nil
}

// uneven says whether encounters meet some objects more often than others.
func (m *maker) uneven() bool {
	return slices.ContainsFunc(m.p.Phases, func(ph Phase) bool { return ph.Op == Encounter && ph.Draw != Each })
}

func (m *maker) addresses() error {
	n, absent := m.s.Objects, min(m.s.Objects, unmetMax)
	for _, ph := range m.p.Phases {
		if ph.Draw == Absent {
			absent = n
		}
	}
	all, err := keys.Generate(m.p.Keys, m.s.Seed, n+absent)
	if err != nil {
		return fmt.Errorf("%w %q: %w", ErrProfile, m.p.Name, err)
	}
	m.objects, m.absent = all[:n:n], all[n:len(all):len(all)]
	m.met = make([]bool, n)
	return nil
}

func (m *maker) draw(ph Phase, rng *rand.Rand) (part, error) {
	switch {
	case ph.Op != Encounter && ph.Op != Lookup:
		return part{}, fmt.Errorf("unknown operation %q", ph.Op)
	case ph.Op == Encounter && len(m.p.Kinds) == 0:
		return part{}, errors.New("encounters need a kind")
	case ph.Op == Encounter && ph.Draw == Absent:
		return part{}, errors.New("an encounter would add what has to stay absent")
	}
	switch ph.Draw {
	case Each, Absent:
		return m.passes(ph, rng)
	case Uniform, Zipf, Hot:
		return m.shared(ph, ph.Draw, rng)
	case Held:
		if ph.Tasks < 1 || ph.PerTask < 1 {
			return part{}, fmt.Errorf("%d tasks with %d objects each; want at least one of both", ph.Tasks, ph.PerTask)
		}
		return m.shared(ph, ph.Spread, rng)
	case Tasks:
		return m.tasks(ph)
	default:
		return part{}, fmt.Errorf("unknown draw %q", ph.Draw)
	}
}

// drawing collects the operations of a phase.
type drawing struct {
	m    *maker
	ph   Phase
	from []uint64
	ops  int // how many there will be
	part part
	err  error
}

func (m *maker) drawing(ph Phase, from []uint64) *drawing {
	d := &drawing{m: m, ph: ph, from: from, ops: ph.count(len(m.objects))}
	d.part.ptrs = make([]uint64, 0, d.ops)
	if ph.Op == Encounter {
		d.part.kinds = make([]uint16, 0, d.ops)
	}
	return d
}

func (d *drawing) add(object int) {
	d.part.ptrs = append(d.part.ptrs, d.from[object])
	switch {
	case d.ph.Op == Encounter:
		d.part.kinds = append(d.part.kinds, d.m.kinds.of(object))
		d.m.met[object] = true
	case d.ph.Draw != Absent && !d.m.met[object]:
		d.err = errors.New("looks up objects that no earlier phase encounters")
	}
}

func (m *maker) passes(ph Phase, rng *rand.Rand) (part, error) {
	from := m.objects
	if ph.Draw == Absent {
		from = m.absent
	}
	d := m.drawing(ph, from)
	order := make([]int32, len(from))
	for i := range order {
		order[i] = int32(i)
	}
	for range d.ops / len(from) {
		rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, i := range order {
			d.add(int(i))
		}
	}
	return d.part, d.err
}

// shared draws objects by the distribution that a phase names.
func (m *maker) shared(ph Phase, by Draw, rng *rand.Rand) (part, error) {
	next, err := ph.sharing(by, len(m.objects), rng)
	if err != nil {
		return part{}, err
	}
	d := m.drawing(ph, m.objects)
	for range d.ops {
		// The addresses are in random order already: rank k is object k.
		d.add(next())
	}
	return d.part, d.err
}

func (m *maker) tasks(ph Phase) (part, error) {
	shared, tasks := ph.tasks(len(m.objects))
	d := m.drawing(ph, m.objects)
	for task := range tasks {
		for i := range shared {
			d.add(i)
		}
		if own := shared + task; own < len(m.objects) {
			d.add(own)
		}
	}
	return d.part, d.err
}

// cut gives each thread a run of consecutive operations, in whole units.
func cut(all part, threads, unit int) []part {
	units := len(all.ptrs) / unit
	refs := make([]int32, len(all.ptrs))
	parts := make([]part, threads)
	for t := range parts {
		lo, hi := units*t/threads*unit, units*(t+1)/threads*unit
		parts[t] = part{ptrs: all.ptrs[lo:hi], refs: refs[lo:hi]}
		if all.kinds != nil {
			parts[t].kinds = all.kinds[lo:hi]
		}
	}
	return parts
}
