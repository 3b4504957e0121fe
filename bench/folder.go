package bench

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/objhash/objhash/bench/rundir"
)

// Folder keeps all that a run finds out in a folder, in the files that package rundir
// names. Each file is complete at any moment, whenever the program is killed.
type Folder struct {
	dir     string
	last    time.Time
	begun   bool              // what stays the same is written
	written map[*Latency]bool // histograms
}

// NewFolder makes the folder of a new run. It may be there, but must be empty: no run is
// written over.
func NewFolder(dir string) (*Folder, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("the folder of the run: %w", err)
	}
	if len(entries) > 0 {
		r, err := ReadReport(dir)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%w: the folder %s is not empty; name a new one", ErrChoice, dir)
		case r.Incomplete:
			return nil, fmt.Errorf("%w: in %s there is a run that was interrupted; go on with it by --resume %s, or name a new folder", ErrChoice, dir, dir)
		default:
			return nil, fmt.Errorf("%w: in %s there is a complete run already, which is not written over; name a new folder", ErrChoice, dir)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("the folder of the run: %w", err)
	}
	return newFolder(dir), nil
}

// OpenFolder returns the folder of a run that was interrupted, to go on with it, and what
// was measured.
func OpenFolder(dir string) (*Folder, *Report, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, nil, fmt.Errorf("%w: to resume: there is no folder %s", ErrChoice, dir)
	}
	r, err := ReadReport(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("to resume: %w", err)
	}
	if !r.Incomplete {
		return nil, nil, fmt.Errorf("%w: the run in %s is complete, there is nothing to resume", ErrChoice, dir)
	}
	return newFolder(dir), r, removeUnfinished(dir)
}

func newFolder(dir string) *Folder { return &Folder{dir: dir, written: map[*Latency]bool{}} }

// SaveSoon saves a report of a run that goes on, unless that was done within the last
// second.
func (f *Folder) SaveSoon(r *Report) error {
	if time.Since(f.last) < time.Second {
		return nil
	}
	return f.Save(r.partial())
}

// Save replaces the files by those of the report, which is written last: what it speaks of
// is there.
func (f *Folder) Save(r *Report) error {
	if err := f.begin(r); err != nil {
		return err
	}
	for _, res := range r.Results {
		if err := f.latency(res); err != nil {
			return err
		}
	}
	if err := f.write(rundir.Bench, r.WriteBench); err != nil {
		return err
	}
	if err := f.write(rundir.Table, r.WriteTable); err != nil {
		return err
	}
	err := f.write(rundir.Report, r.WriteJSON)
	f.last = time.Now()
	return err
}

// begin writes what does not change during a run.
func (f *Folder) begin(r *Report) error {
	if f.begun {
		return nil
	}
	if err := f.write(rundir.Env, r.Env.WriteText); err != nil {
		return err
	}
	for _, p := range r.Profiles {
		err := f.write(filepath.Join(rundir.Profiles, p.Name+".toml"), func(w io.Writer) error {
			_, err := io.WriteString(w, p.TOML)
			return err
		})
		if err != nil {
			return err
		}
	}
	f.begun = true
	return nil
}

// CellName is the name of the result's files in the folder of its run, without their ending.
func (res *Result) CellName() string {
	return rundir.CellName(res.Profile, res.Objects, res.Threads, res.Target)
}

// latency writes the histogram of a result, if it has one that is not written yet.
func (f *Folder) latency(res *Result) error {
	l := res.Latency
	if l == nil || l.Histogram() == nil || f.written[l] {
		return nil
	}
	name := res.CellName()
	err := f.write(filepath.Join(rundir.Latency, name+rundir.HistogramSuffix), func(w io.Writer) error { return writeHistogram(w, name, l) })
	f.written[l] = err == nil
	return err
}

// writeHistogram writes a log of one histogram. Its times are from the beginning of the
// trial; values are in nanoseconds.
func writeHistogram(w io.Writer, name string, l *Latency) error {
	h := l.Histogram()
	h.SetStartTimeMs(0)
	h.SetEndTimeMs(time.Duration(l.Elapsed).Milliseconds())
	log := hdrhistogram.NewHistogramLogWriter(w)
	if err := log.OutputLogFormatVersion(); err != nil {
		return err
	}
	if err := log.OutputComment(fmt.Sprintf("[%s, nanoseconds, %d operations a call]", name, l.OpsPerCall)); err != nil {
		return err
	}
	if err := log.OutputLegend(); err != nil {
		return err
	}
	return log.OutputIntervalHistogram(h)
}

func (f *Folder) write(name string, write func(io.Writer) error) error {
	path := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return writeFile(path, write)
}

// removeUnfinished removes what a program that was killed had begun to write.
func removeUnfinished(dir string) error {
	for _, sub := range []string{"", rundir.Profiles, rundir.Latency, rundir.CPU, rundir.Mutex, rundir.Block} {
		paths, err := filepath.Glob(filepath.Join(dir, sub, ".*.*.unfinished"))
		if err != nil {
			return err
		}
		for _, path := range paths {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}
