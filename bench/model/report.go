package model

import (
	"fmt"
	"io"
	"math"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/machine"
	"github.com/objhash/objhash/refcount"
)

// Schema names the format of a Report as JSON. Fields may be added to it; a field that is
// there keeps its meaning.
const Schema = "objhash.model/2"

// Report is what was measured and what follows from it. Times are in ns. What is null is not
// known: it takes more processors than there are, or the run was interrupted before.
type Report struct {
	Schema  string      `json:"schema"`
	Command string      `json:"command,omitempty"`
	Seed    uint64      `json:"seed"`
	Unit    string      `json:"unit"`
	Env     machine.Env `json:"env"`

	Cores        int   `json:"cores"`                   // that threads can run on here
	AssumedCores int   `json:"assumed_cores,omitempty"` // predicted for; 0: one for each thread
	Threads      []int `json:"threads"`                 // that were asked for
	Rounds       int   `json:"rounds"`                  // samples of each strategy, at least

	Machine    MachineCosts     `json:"machine"`
	Strategies []*StrategyCosts `json:"strategies"`
	Profiles   []*Profile       `json:"profiles"`
	Results    []*Result        `json:"results"`

	// LeftOut are strategies that count no users, of which none was asked for by name.
	LeftOut []string `json:"left_out,omitempty"`

	Warnings   []string `json:"warnings,omitempty"`
	Incomplete bool     `json:"incomplete,omitempty"` // interrupted
}

// MachineCosts are the measured costs of lines.
type MachineCosts struct {
	Move         *bench.Interval `json:"move_ns"`
	MoveAmong    *bench.Interval `json:"move_among_ns"`
	Add          *bench.Interval `json:"add_ns"`
	ContendedAdd *bench.Interval `json:"contended_add_ns"`
	CASFailures  *bench.Interval `json:"cas_failures_per_success"`
	Processors   *bench.Interval `json:"processors_of_two_threads"`
	CacheBytes   int64           `json:"core_cache_bytes"`
}

// StrategyCosts are the measured costs of a strategy, and its row.
type StrategyCosts struct {
	Strategy   string         `json:"strategy"`
	Row        Row            `json:"row"`
	Op         bench.Interval `json:"op_ns"`
	OpOutgrown bench.Interval `json:"op_outgrown_ns"`
	Handle     bench.Interval `json:"handle_ns"`
	Merge      bench.Interval `json:"merge_object_ns"`
	MergeTask  bench.Interval `json:"merge_task_object_ns"`
	Read       bench.Interval `json:"read_object_ns"`
	ReadHandle bench.Interval `json:"read_object_handle_ns"`

	Inexact bool `json:"inexact,omitempty"` // tells only whether there are users
}

// Result is one strategy on one profile and number of threads.
type Result struct {
	Profile      string          `json:"profile"`
	Strategy     string          `json:"strategy"`
	Threads      int             `json:"threads"`
	Processors   int             `json:"processors"`   // predicted for
	Extrapolated bool            `json:"extrapolated"` // nothing measured checks it
	Predicted    *float64        `json:"predicted_ns_per_op"`
	Parallel     *float64        `json:"parallel_ns_per_op"`
	Serial       *float64        `json:"serial_ns_per_op"`
	Merge        *float64        `json:"merge_ns_per_op"`
	Measured     *bench.Interval `json:"measured_ns_per_op,omitempty"`
	Ratio        *float64        `json:"predicted_over_measured,omitempty"`
}

// WriteJSON writes the report as one JSON document.
func (r *Report) WriteJSON(w io.Writer) error { return bench.WriteJSON(w, r) }

func (r *Report) addStrategy(e *entrant) {
	of := func(cost int) bench.Interval { return bench.Summarize(e.costs[cost]) }
	r.Strategies = append(r.Strategies, &StrategyCosts{
		Strategy: e.strategy.Name(), Row: e.row,
		Op: of(costOp), OpOutgrown: of(costOutgrown), Handle: of(costHandle), Merge: of(costMerge),
		MergeTask: of(costMergeTask), Read: of(costRead), ReadHandle: of(costReadHandle),
		Inexact: e.strategy.Traits().Exact == refcount.Never,
	})
}

// processorsLeast is what two threads must get of two processors for measurements with two
// threads to be of use.
const processorsLeast = 1.8

func (r *Report) warnOfProcessors() {
	if p := r.Machine.Processors; p != nil && p.Median < processorsLeast {
		r.Warnings = append(r.Warnings, fmt.Sprintf(
			"two threads got %.1f processors, not 2, so what is measured with more than one thread shows neither the speed-up nor the contention that it should, and is not compared with what is predicted; stop other programs and run again", p.Median))
	}
}

// known is x unless that is not a number.
func known(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

// interval summarizes samples, if there are any.
func interval(samples []float64) *bench.Interval {
	if len(samples) == 0 {
		return nil
	}
	i := bench.Summarize(samples)
	return &i
}
