// Package rundir names what is in the folder of a run.
//
//	DIR/report.json         everything, as one document (package schema describes it)
//	DIR/table.txt           the same, for people
//	DIR/bench.txt           every trial, in the Go benchmark format
//	DIR/env.txt             the environment, for people
//	DIR/profiles/NAME.toml  each load profile as it was resolved
//	DIR/latency/CELL.hlog   the histogram of a result whose calls were timed
//	DIR/cpu/CELL.pb.gz      the CPU profile of a result, if one was taken
//	DIR/mutex/CELL.pb.gz    where its threads waited for locks, and
//	DIR/block/CELL.pb.gz    where for anything
//
// CELL is what [CellName] returns.
package rundir

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The files of a run, and its folders.
const (
	Report = "report.json"
	Table  = "table.txt"
	Bench  = "bench.txt"
	Env    = "env.txt"

	Profiles = "profiles"
	Latency  = "latency"
	CPU      = "cpu"
	Mutex    = "mutex"
	Block    = "block"
)

// What names end in that begin with CellName: histograms, and profiles of any kind.
const (
	HistogramSuffix = ".hlog"
	ProfileSuffix   = ".pb.gz"
)

// CellName is the name of a result's files, without their ending, such as
// lookup-hit-1000000-2t-counter+atomic.
func CellName(profile string, objects, threads int, target string) string {
	flat := strings.NewReplacer("/", "+", "\\", "+") // a report of unknown origin stays within its folder, too
	return fmt.Sprintf("%s-%d-%dt-%s", flat.Replace(profile), objects, threads, flat.Replace(target))
}

// ReportPath is the file of the report that a person names by itself or by the folder of
// its run.
func ReportPath(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return filepath.Join(path, Report)
	}
	return path
}
