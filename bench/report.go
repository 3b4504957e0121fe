package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/objhash/objhash/bench/machine"
	"github.com/objhash/objhash/bench/rundir"
)

// Schema names the format of a Report as JSON. Fields may be added to it; a
// field that is there keeps its meaning.
const Schema = "objhash.crbench/1"

// Unit says what ns_per_op is.
const Unit = "ns/op (wall / all operations)"

// Report is everything a run found out.
type Report struct {
	Schema  string `json:"schema"`
	Command string `json:"command,omitempty"`

	// Options are what the command was told or took by default, by the names of its flags,
	// without those that say only where results go, and those that were left to profiles.
	Options map[string][]string `json:"options,omitempty"`

	// Resumed are the times at which a run that had been interrupted was gone on with.
	Started  time.Time   `json:"started,omitzero"`
	Resumed  []time.Time `json:"resumed,omitempty"`
	Finished time.Time   `json:"finished,omitzero"` // or interrupted

	// ElapsedS is how long it took so far, in seconds, without the time between an
	// interruption and going on.
	ElapsedS float64 `json:"elapsed_s,omitempty"`

	Seed    uint64      `json:"seed"`
	Against string      `json:"against,omitempty"` // what the person wanted the others compared with
	Trace   string      `json:"trace,omitempty"`   // what replay replayed
	Unit    string      `json:"unit"`
	Env     machine.Env `json:"env"`

	Profiles []ProfileText `json:"profiles,omitempty"` // that were measured
	Results  []*Result     `json:"results"`
	Skipped  []Skipped     `json:"skipped,omitempty"`

	// ClockNs is what one reading of the clock takes, which is part of every latency; 0:
	// the run did not time calls. Controls have a cell each, more than one where targets
	// differ in the operations of a call.
	ClockNs  float64   `json:"clock_ns,omitempty"`
	Controls []Control `json:"controls,omitempty"`

	// Thresholds are those of the profiles, checked when all was measured.
	Thresholds []ThresholdResult `json:"thresholds,omitempty"`

	// HarnessNs is what the harness itself adds to each operation, at least.
	HarnessNs float64 `json:"harness_ns_per_op,omitempty"`

	// Pairs compare each target with the one that its cell is compared with.
	Pairs []Pair `json:"pairs,omitempty"`

	Warnings []string `json:"warnings,omitempty"`

	// Incomplete says that the run was interrupted: some results are missing
	// or have fewer trials than asked for.
	Incomplete bool `json:"incomplete,omitempty"`
}

// Result is one target in one cell.
type Result struct {
	Profile string `json:"profile"`
	Target  string `json:"target"`
	Objects int    `json:"objects"`
	Threads int    `json:"threads"`

	// Strategy is what the target was told to count users with.
	Strategy string `json:"strategy,omitempty"`

	Ops    int `json:"ops"`    // timed operations of a trial
	Trials int `json:"trials"` // counted, without the warm-up

	// NsPerOp and BytesPerObject are null where there is no measurement: the
	// target failed, or the run was interrupted before its first trial.
	NsPerOp        *Interval `json:"ns_per_op"`
	BytesPerObject *float64  `json:"bytes_per_object"`

	// NoTable says that it finds nothing, as a bound does: it cannot be verified.
	NoTable bool `json:"no_table,omitempty"`

	// Verified says that all its trials were right.
	Verified bool   `json:"verified"`
	Error    string `json:"error,omitempty"` // why not

	Distinct    int       `json:"distinct_objects"`       // that were in the table at the end
	Tables      int       `json:"tables_per_trial"`       // that share the operations
	Interval    string    `json:"interval,omitempty"`     // Interval95 or IntervalMinMax
	BytesSource string    `json:"bytes_source,omitempty"` // BytesOwn or BytesHeap
	SamplesNs   []float64 `json:"samples_ns,omitempty"`   // ns/op of each trial, in order

	// What there is of each trial beside its time, by the same index. Outliers are
	// indices of trials that lie apart; they count like all others.
	SamplesBytes  []float64 `json:"samples_bytes,omitempty"` // per object
	StealPercents []float64 `json:"trial_steal_percent,omitempty"`
	Outliers      []int     `json:"outliers,omitempty"`

	// Unsteady says that trials still got faster when the warm-up had to end, or rose or
	// fell from the first to the last.
	Unsteady bool `json:"unsteady,omitempty"`

	// RSSBytesPerObject is by how much the resident memory of a fresh process grew for
	// the table, garbage given back to the system before and after; nil: not measured.
	RSSBytesPerObject *float64 `json:"rss_bytes_per_object,omitempty"`

	// Latency is from a trial of its own; nil: calls were not timed.
	Latency *Latency `json:"latency,omitempty"`

	// CPU and Contention are from trials of their own; nil: the target was not profiled.
	CPU        *CPU        `json:"cpu,omitempty"`
	Contention *Contention `json:"contention,omitempty"`
}

// counts says whether it is of a profile for counters.
func (res *Result) counts() bool {
	p, ok := FindProfile(res.Profile)
	return ok && p.counts()
}

// Where a figure of bytes comes from.
const (
	BytesOwn  = "own account"
	BytesHeap = "heap growth"
)

// Skipped is a target that a cell was not measured with.
type Skipped struct {
	Profile  string `json:"profile"`
	Target   string `json:"target"`
	Strategy string `json:"strategy,omitempty"`
	Objects  int    `json:"objects"`
	Threads  int    `json:"threads"`
	Reason   string `json:"reason"`
}

// Failed returns the results whose target was wrong.
func (r *Report) Failed() (failed []*Result) {
	for _, res := range r.Results {
		if res.Error != "" {
			failed = append(failed, res)
		}
	}
	return failed
}

// ReadReport reads a report from its file or from the folder of its run.
func ReadReport(path string) (*Report, error) {
	path = rundir.ReportPath(path)
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading a report: %w", err)
	}
	r := &Report{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: no report of crbench run: %w", path, err)
	}
	if r.Schema != Schema {
		return nil, fmt.Errorf("%s: its schema is %q; want %q, as crbench run writes it", path, r.Schema, Schema)
	}
	if slices.Contains(r.Results, nil) {
		return nil, fmt.Errorf("%s: no report of crbench run: a result is null", path)
	}
	return r, nil
}

// WriteJSON writes the report as one JSON document.
func (r *Report) WriteJSON(w io.Writer) error { return writeJSON(w, r) }

func writeJSON(w io.Writer, report any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(report); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

// add records a trial that was right.
func (res *Result) add(o Outcome, stealPercent float64) {
	res.Trials++
	res.SamplesNs = append(res.SamplesNs, float64(o.Elapsed.Nanoseconds())/float64(res.Ops))
	res.StealPercents = append(res.StealPercents, stealPercent)
	ns, how := summarize(res.SamplesNs)
	res.NsPerOp, res.Interval = &ns, how
	res.Outliers = outliers(res.SamplesNs)
	res.BytesSource = BytesHeap
	if o.Exact {
		res.BytesSource = BytesOwn
	}
	res.SamplesBytes = append(res.SamplesBytes, float64(o.Bytes)/float64(res.Distinct))
	b, _ := summarize(res.SamplesBytes)
	res.BytesPerObject = &b.Median
	res.Verified = !res.NoTable
}

// fail records that the target was wrong. What it measured before is void.
func (res *Result) fail(err error) {
	res.Error = err.Error()
	res.Verified = false
	res.NsPerOp, res.BytesPerObject = nil, nil
	res.Interval, res.BytesSource = "", ""
	res.SamplesNs, res.SamplesBytes, res.StealPercents, res.Outliers = nil, nil, nil, nil
	res.Latency, res.RSSBytesPerObject, res.Unsteady = nil, nil, false
	res.CPU, res.Contention = nil, nil
}
