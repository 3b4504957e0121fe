//go:build soak

package compare_test

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/compare"
	"github.com/objhash/objhash/bench/target"
)

var (
	soakDir     = flag.String("soak.dir", "", "keep the reports of the runs here, and go on with those that are there")
	soakRuns    = flag.Int("soak.runs", 21, "runs; each is compared with the next")
	soakThreads = flag.Int("soak.threads", 1, "threads of a run")
	soakBudget  = flag.Duration("soak.budget", 16*time.Second, "time of a run")
)

// slowed is a table that does 5 % more work: of every 20 blocks it does one twice.
type slowed struct{ target.Target }

const (
	slowedName  = "index-slowed"
	slowedEvery = 20
)

func (t slowed) Worker() (target.Worker, error) {
	w, err := t.Target.Worker()
	return &slowedWorker{Worker: w}, err
}

type slowedWorker struct {
	target.Worker
	blocks int
	before []uint64 // a block that has left the nearest cache since
	refs   []int32
}

func (w *slowedWorker) Encounter(ptrs []uint64, kinds []uint16, refs []int32) (int, error) {
	if err := w.again(ptrs); err != nil {
		return 0, err
	}
	return w.Worker.Encounter(ptrs, kinds, refs)
}

func (w *slowedWorker) Lookup(ptrs []uint64, refs []int32) (int, error) {
	if err := w.again(ptrs); err != nil {
		return 0, err
	}
	return w.Worker.Lookup(ptrs, refs)
}

func (w *slowedWorker) again(ptrs []uint64) error {
	switch w.blocks++; w.blocks % slowedEvery {
	case slowedEvery / 2:
		w.before = ptrs
	case 0:
		if cap(w.refs) < len(w.before) {
			w.refs = make([]int32, len(w.before))
		}
		_, err := w.Worker.Lookup(w.before, w.refs[:len(w.before)])
		return err
	}
	return nil
}

// TestSelfCompare makes runs of the same program, one after the other, and compares each
// with the next: as it is, where any difference is a false alarm, and with the slowed index
// in the place of index.
//
//	go test -tags soak -run TestSelfCompare -timeout 1h -v ./bench/compare
func TestSelfCompare(t *testing.T) {
	dir := *soakDir
	if dir == "" {
		dir = t.TempDir()
	}
	var runs []*bench.Report
	for n := range *soakRuns {
		path := filepath.Join(dir, fmt.Sprintf("run-%02d.json", n))
		r, err := bench.ReadReport(path)
		if errors.Is(err, fs.ErrNotExist) {
			r, err = soakRun(t, path)
		}
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, r)
	}
	alarms, able, found, seen, sees := 0, 0, 0, 0, []float64{}
	for i := range len(runs) - 1 {
		a := only(runs[i], "index", "index")
		self := compared(t, a, only(runs[i+1], "index", "index"))
		slower := compared(t, a, only(runs[i+1], slowedName, "index"))
		if n := len(differing(self)); n > 0 {
			alarms++
			t.Logf("runs %d and %d: %v differ", i, i+1, differing(self))
		}
		for _, r := range slower.Rows {
			if r.Target == "index" {
				sees = append(sees, *r.Sees)
				differs := r.Differs && r.LevelChange > 0
				if differs {
					found++
				}
				if *r.Sees <= planted {
					able++
					if differs {
						seen++
					}
				}
			}
		}
	}
	slices.Sort(sees)
	pairs := len(sees)
	t.Logf("of %d comparisons %d had a false alarm, and %d found the planted slowdown; they could have seen %.1f %% (median; %.1f %% to %.1f %%), and %d of the %d that could see %g found it",
		pairs, alarms, found, 100*sees[pairs/2], 100*sees[0], 100*sees[pairs-1], seen, able, planted)
	if alarms > pairs/20 {
		t.Errorf("%d false alarms in %d comparisons; want at most one in 20", alarms, pairs)
	}
	if seen < able*19/20 {
		t.Errorf("%d of %d comparisons that could see a difference of %g found it", seen, able, planted)
	}
}

// planted is the part by which slowed is slower, if a block takes as long again the second
// time.
const planted = 1.0 / slowedEvery

func compared(t *testing.T, a, b *bench.Report) *compare.Comparison {
	t.Helper()
	return reports(t, a, b, compare.Options{})
}

// only returns the report with one of the two tables for index, by that name.
func only(r *bench.Report, keep, as string) *bench.Report {
	of := *r
	of.Results = nil
	for _, res := range r.Results {
		switch {
		case res.Target == keep:
			renamed := *res
			renamed.Target = as
			of.Results = append(of.Results, &renamed)
		case res.Target != "index" && res.Target != slowedName:
			of.Results = append(of.Results, res)
		}
	}
	return &of
}

func soakRun(t *testing.T, path string) (*bench.Report, error) {
	profiles, err := bench.ChooseProfiles([]string{"checkpoint-zipf"})
	if err != nil {
		return nil, err
	}
	specs, err := bench.ChooseTargets([]string{"index", "xsync4", "xsync3", "syncmap"})
	if err != nil {
		return nil, err
	}
	slow := specs[slices.IndexFunc(specs, func(s target.Spec) bool { return s.Name == "index" })]
	slow.Name = slowedName
	fast := slow.New
	slow.New = func(o target.Options) (target.Target, error) {
		t, err := fast(o)
		return slowed{t}, err
	}
	f, err := bench.NewFile(path)
	if err != nil {
		return nil, err
	}
	r, err := bench.Run(t.Context(), bench.Config{
		Profiles: profiles, Targets: append(specs, slow), Objects: []int{10_000}, Threads: []int{*soakThreads},
		Trials: bench.DefaultTrials, Seed: 1, Budget: *soakBudget, Width: 1e-9,
	})
	return r, errors.Join(err, f.Save(r))
}
