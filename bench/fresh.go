package bench

import (
	"context"
	"fmt"

	"github.com/objhash/objhash/bench/machine"
)

// FreshTrial is a trial that a process does that has done nothing else: memory that a
// process once got from the system it may keep for the next table, so resident memory says
// something only there. It is told to that process as JSON.
type FreshTrial struct {
	Profile Profile `json:"profile"`
	Target  string  `json:"target"` // with its strategy, as in results
	Objects int     `json:"objects"`
	Threads int     `json:"threads"`
	Seed    uint64  `json:"seed"`       // of the workload
	Hash    uint64  `json:"trial_seed"` // of hash functions
	Trace   string  `json:"trace"`      // file to replay; "": the one that is embedded
	Pin     bool    `json:"pin"`
}

// FreshOutcome is what it answers, as JSON.
type FreshOutcome struct {
	ResidentBytes int64 `json:"resident_bytes"` // that the table made the process grow by
}

// residentObjectsMin is the number of objects below which resident memory is not looked at:
// it comes in pages, and the Go runtime's own comes and goes beside it.
const residentObjectsMin = 10_000

// Run does the trial in this process, and verifies it as any other.
func (f FreshTrial) Run(ctx context.Context) (out FreshOutcome, err error) {
	specs, err := ChooseTargets([]string{f.Target})
	if err != nil {
		return out, err
	}
	size := Size{Objects: f.Objects, Threads: f.Threads, Seed: f.Seed}
	if f.Profile.recorded() {
		if size.Trace, _, err = OpenTrace(f.Trace); err != nil {
			return out, err
		}
	}
	w, err := NewWorkload(f.Profile, size)
	if err != nil {
		return out, err
	}
	if f.Pin {
		cpus, err := allowedCPUs()
		if err != nil {
			return out, err
		}
		w.pin(cpus)
	}
	w.resident = true
	o, err := w.Trial(ctx, specs[0], 1, f.Hash)
	return FreshOutcome{ResidentBytes: o.Resident}, err
}

// wantsResident says whether the resident memory of a result is to be measured.
func (r *runner) wantsResident(res *Result) bool {
	return r.c.Fresh != nil && !res.NoTable && res.Distinct >= residentObjectsMin && machine.ResidentBytes() > 0
}

// fresh measures the resident memory of each target of a cell. What goes wrong with it is
// a warning, for all else was measured, and verified.
func (r *runner) fresh(ctx context.Context, c *comparison) error {
	r.at.Fresh = true
	defer func() { r.at.Fresh = false }()
	for i := range c.entrants {
		e := &c.entrants[i]
		if !r.wantsResident(e.result) || e.result.RSSBytesPerObject != nil {
			continue
		}
		r.at.Target = e.spec.Name
		r.tell()
		out, err := r.c.Fresh(ctx, FreshTrial{
			Profile: c.profile, Target: e.spec.Name, Objects: c.objects, Threads: c.threads,
			Seed: r.c.Seed, Hash: c.rng.Uint64(), Trace: r.c.TracePath, Pin: r.c.Pin,
		})
		switch {
		case ctx.Err() != nil:
			return errStopped
		case err != nil:
			r.report.Warnings = append(r.report.Warnings, fmt.Sprintf("%s has no resident memory: %v", e.result.where(), err))
		case out.ResidentBytes > 0:
			perObject := float64(out.ResidentBytes) / float64(c.workload.Distinct)
			e.result.RSSBytesPerObject = &perObject
		}
	}
	return r.save()
}
