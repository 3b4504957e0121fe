package bench

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/pprof/profile"

	"github.com/objhash/objhash/bench/attribution"
	"github.com/objhash/objhash/bench/rundir"
)

// CPU says what the processor time of the timed phases went into, in trials under a
// profiler.
type CPU struct {
	Profile string                           `json:"profile"` // file, from the folder of the run
	Samples int64                            `json:"samples"`
	Shares  map[attribution.Category]float64 `json:"shares"` // of the samples; together 1
}

// Contention says how long the threads of the timed phases waited for each other, in a
// trial in which all waiting was recorded, which makes it longer. Waiting without sleep, as
// in a spin lock, is not in it. A wait for a mutex is in both figures: the mutex profile
// says who let others wait, the block profile who waited.
type Contention struct {
	MutexProfile string  `json:"mutex_profile,omitempty"` // file, from the folder of the run; "": nobody waited
	MutexNs      float64 `json:"mutex_wait_ns_per_op"`
	BlockProfile string  `json:"block_profile,omitempty"`
	BlockNs      float64 `json:"block_wait_ns_per_op"`
}

// DefaultProfileTime is the processor time that a target is profiled for: some 300 samples.
const DefaultProfileTime = 3 * time.Second

// profilePatience bounds the time for a target whose timed phases are short beside what
// prepares them, in times of what it is profiled for.
const profilePatience = 4

// profileFile is the name of a result's profile in the folder of the run.
func profileFile(folder string, res *Result) string {
	return folder + "/" + res.CellName() + rundir.ProfileSuffix
}

// profiles gives each target of a cell trials under a profiler of processor time and, if
// there is somebody to wait for, one under those of waiting. They are no part of ns/op.
func (r *runner) profiles(ctx context.Context, c *comparison) error {
	w, seed := c.workload, c.rng.Uint64()
	r.at.Latency, r.at.Profiling = false, true
	for i := range c.entrants {
		e := &c.entrants[i]
		if e.result.Error != "" || e.result.profiled() {
			continue
		}
		r.at.Target = e.spec.Name
		r.tell()
		var err error
		if e.result.CPU == nil {
			err = r.profileCPU(ctx, w, e, seed)
		}
		if err == nil && w.Threads > 1 {
			err = r.profileContention(ctx, w, e, seed)
		}
		if ctx.Err() != nil {
			return errStopped
		}
		if err != nil {
			return fmt.Errorf("profiling %s: %w", e.spec.Name, err)
		}
		if err := r.save(); err != nil {
			return err
		}
	}
	return nil
}

// profiled says that all profiles of a result are there, those of waiting, too.
func (res *Result) profiled() bool {
	return res.CPU != nil && (res.Threads == 1 || res.Contention != nil)
}

func (res *Result) labels() pprof.LabelSet {
	return pprof.Labels("target", res.Target, "profile", res.Profile,
		"objects", strconv.Itoa(res.Objects), "threads", strconv.Itoa(res.Threads))
}

// wrong notes the error of a trial, unless that was interrupted.
func (e *entrant) wrong(ctx context.Context, err error) {
	if ctx.Err() == nil {
		e.result.fail(err)
	}
}

// profileCPU fails where the profile cannot be had; that the target was wrong it notes.
func (r *runner) profileCPU(ctx context.Context, w *Workload, e *entrant, seed uint64) error {
	want := r.c.ProfileTime
	processors := min(w.Threads, runtime.GOMAXPROCS(0))
	ctx = observed(ctx, observation{}, e.result.labels())
	// The trials set labels of this goroutine, too.
	defer pprof.SetGoroutineLabels(context.Background())

	var b bytes.Buffer
	if err := pprof.StartCPUProfile(&b); err != nil {
		return err
	}
	start, timed, err := time.Now(), time.Duration(0), error(nil)
	for n := uint64(0); err == nil && timed*time.Duration(processors) < want && time.Since(start) < profilePatience*want; n++ {
		var o Outcome
		o, err = w.once(ctx, e.spec, seed+n, trialOptions{})
		timed += o.Elapsed
	}
	pprof.StopCPUProfile()
	if err != nil {
		e.wrong(ctx, err)
		return nil
	}
	p, err := profile.Parse(&b)
	if err != nil {
		return err
	}
	p = attribution.Timed(p)
	cpu := &CPU{Profile: profileFile(rundir.CPU, e.result)}
	cpu.Samples, cpu.Shares = attribution.Shares(p)
	e.result.CPU = cpu
	return r.writeProfile(cpu.Profile, p)
}

func (r *runner) profileContention(ctx context.Context, w *Workload, e *entrant, seed uint64) error {
	if e.result.Error != "" {
		return nil
	}
	before, err := waits()
	if err != nil {
		return err
	}
	ctx = observed(ctx, observation{contention: true}, pprof.Labels())
	if _, err := w.trial(ctx, e.spec, e.result.Tables, seed, false); err != nil {
		e.wrong(ctx, err)
		return nil
	}
	after, err := waits()
	if err != nil {
		return err
	}
	var c Contention
	save := func(i int, folder string) (file string, nsPerOp float64, err error) {
		p, ns, err := waited(before[i], after[i])
		if err != nil || ns == 0 {
			return "", 0, err
		}
		file = profileFile(folder, e.result)
		return file, float64(ns) / float64(e.result.Ops), r.writeProfile(file, p)
	}
	if c.MutexProfile, c.MutexNs, err = save(0, rundir.Mutex); err != nil {
		return err
	}
	if c.BlockProfile, c.BlockNs, err = save(1, rundir.Block); err != nil {
		return err
	}
	e.result.Contention = &c
	return nil
}

// waits are the profiles of waiting as they are now: for mutexes, and for all.
func waits() (all [2]*profile.Profile, err error) {
	for i, name := range []string{"mutex", "block"} {
		var b bytes.Buffer
		if err := pprof.Lookup(name).WriteTo(&b, 0); err != nil {
			return all, err
		}
		if all[i], err = profile.Parse(&b); err != nil {
			return all, err
		}
	}
	return all, nil
}

// delayValue is the value of a sample that says how long was waited, in nanoseconds.
const delayValue = 1

// waited returns what threads of the harness waited between two profiles.
func waited(before, after *profile.Profile) (p *profile.Profile, ns int64, err error) {
	before.Scale(-1)
	if p, err = profile.Merge([]*profile.Profile{after, before}); err != nil {
		return nil, 0, err
	}
	p = attribution.Only(p, func(s *profile.Sample) bool { return s.Value[delayValue] > 0 && onThread(s) })
	for _, s := range p.Sample {
		ns += s.Value[delayValue]
	}
	return p, ns, nil
}

// onThread says whether a stack is of a thread that does a part of a phase. The others are
// those who wait for these threads.
func onThread(s *profile.Sample) bool {
	return slices.ContainsFunc(s.Location, func(l *profile.Location) bool {
		return slices.ContainsFunc(l.Line, func(line profile.Line) bool {
			return line.Function != nil && strings.HasSuffix(line.Function.Name, "/bench.(*thread).run")
		})
	})
}

// writeProfile replaces a file in the folder of the run.
func (r *runner) writeProfile(file string, p *profile.Profile) error {
	path := filepath.Join(r.c.ProfileDir, filepath.FromSlash(file))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return writeFile(path, func(w io.Writer) error { return p.Write(w) })
}

// enoughSamples is how many samples tell a share to about 5 % of the whole.
const enoughSamples = 100

// attribution writes what the processor time of a cell's targets went into, if the run
// profiled them, in the order of the cell's own table.
func (p *printer) attribution(cell []*Result) {
	for _, res := range slices.SortedStableFunc(slices.Values(cell), fastestFirst) {
		if res.CPU != nil {
			p.printf("  cpu: %s: %s\n", res.Target, res.CPU)
		}
		if c := res.Contention; c != nil && c.MutexNs+c.BlockNs > 0 {
			p.printf("  waited: %s: %s ns/op, of it %s for mutexes\n", res.Target, digits(c.BlockNs), digits(min(c.MutexNs, c.BlockNs)))
		}
	}
}

// String lists the shares of at least half a percent, the largest first.
func (c *CPU) String() string {
	const least = 0.005 // would be 0 %
	categories := slices.DeleteFunc(attribution.Categories(), func(a attribution.Category) bool { return c.Shares[a] < least })
	slices.SortStableFunc(categories, func(a, b attribution.Category) int { return cmp.Compare(c.Shares[b], c.Shares[a]) })
	var parts []string
	for _, a := range categories {
		parts = append(parts, fmt.Sprintf("%s %.0f %%", a, 100*c.Shares[a]))
	}
	note := ""
	if c.Samples < enoughSamples {
		note = ", too few to go by"
	}
	return fmt.Sprintf("%s (%s%s)", cmp.Or(strings.Join(parts, ", "), "no shares"), plural(c.Samples, "sample"), note)
}
