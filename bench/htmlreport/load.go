package htmlreport

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/model"
	"github.com/objhash/objhash/bench/rundir"
)

// ErrNoReport is what Load returns, wrapped, for a file that is no report of crbench.
var ErrNoReport = errors.New("no report of crbench")

// Run is a document that was read: of `crbench run`, or of `crbench model`.
type Run struct {
	Name string // of the folder, or of the file without its ending

	dir    string // that the document is in
	report *bench.Report
	model  *model.Report
}

// Load reads documents, each from a file or from the folder of a run.
func Load(paths []string) ([]*Run, error) {
	var runs []*Run
	for _, path := range paths {
		run, err := load(path)
		if err != nil {
			return nil, err
		}
		runs = append(runs, run)
	}
	return runs, nil
}

func load(path string) (*Run, error) {
	path = rundir.ReportPath(path)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading a report: %w", err)
	}
	run, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	run.Name, run.dir = nameOf(path), filepath.Dir(path)
	return run, nil
}

// nameOf is what people call the run of a document: as its folder, if the document has the
// name that it has in every folder.
func nameOf(path string) string {
	if absolute, err := filepath.Abs(path); err == nil && filepath.Base(path) == rundir.Report {
		return filepath.Base(filepath.Dir(absolute))
	}
	return strings.TrimSuffix(filepath.Base(path), ".json")
}

func parse(b []byte) (*Run, error) {
	var head struct{ Schema string }
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoReport, err)
	}
	run := &Run{}
	var into any
	switch head.Schema {
	case bench.Schema:
		run.report = &bench.Report{}
		into = run.report
	case model.Schema:
		run.model = &model.Report{}
		into = run.model
	case "":
		return nil, fmt.Errorf("%w: it has no schema", ErrNoReport)
	default:
		return nil, fmt.Errorf("%w: its schema is %q; this crbench reads %q and %q", ErrNoReport, head.Schema, bench.Schema, model.Schema)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoReport, err)
	}
	if err := run.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoReport, err)
	}
	return run, nil
}

// The range of the figures that can be drawn: from a millionth to some days in ns.
const (
	figureLeast = 1e-6
	figureMost  = 1e15
)

// check refuses what cannot be drawn, so that nothing beyond here needs to mind it.
func (run *Run) check() error {
	if run.model != nil {
		return run.checkModel()
	}
	for i, res := range run.report.Results {
		switch {
		case res == nil:
			return fmt.Errorf("result %d is null", i)
		case res.Objects < 0 || res.Threads < 1:
			return fmt.Errorf("result %d has %d objects and %d threads", i, res.Objects, res.Threads)
		case res.NsPerOp != nil && !drawable(res.NsPerOp.Median, res.NsPerOp.Low, res.NsPerOp.High):
			return fmt.Errorf("result %d has %v ns per operation", i, *res.NsPerOp)
		case res.BytesPerObject != nil && !(math.Abs(*res.BytesPerObject) <= figureMost):
			return fmt.Errorf("result %d has %v bytes per object", i, *res.BytesPerObject)
		case res.Contention != nil && !(res.Contention.BlockNs >= 0 && res.Contention.BlockNs <= figureMost):
			return fmt.Errorf("result %d waited %v ns per operation", i, res.Contention.BlockNs)
		}
		if res.CPU == nil {
			continue
		}
		for name, share := range res.CPU.Shares {
			if !(share >= 0 && share <= 1) {
				return fmt.Errorf("result %d spent the share %v on %q", i, share, name)
			}
		}
	}
	for i, p := range run.report.Pairs {
		if t := p.TimesFaster; !drawable(t.Median, t.Low, t.High) {
			return fmt.Errorf("pair %d is %v times faster", i, t)
		}
	}
	return nil
}

func (run *Run) checkModel() error {
	for i, res := range run.model.Results {
		switch {
		case res == nil:
			return fmt.Errorf("result %d is null", i)
		case res.Threads < 1:
			return fmt.Errorf("result %d has %d threads", i, res.Threads)
		case res.Predicted != nil && !drawable(*res.Predicted),
			res.Measured != nil && !drawable(res.Measured.Median, res.Measured.Low, res.Measured.High):
			return fmt.Errorf("result %d has a figure that is no time", i)
		}
	}
	return nil
}

func drawable(figures ...float64) bool {
	return !slices.ContainsFunc(figures, func(x float64) bool { return !(x >= figureLeast && x <= figureMost) })
}
