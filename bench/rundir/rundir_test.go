package rundir_test

import (
	"path/filepath"
	"testing"

	"github.com/objhash/objhash/bench/rundir"
)

func TestCellName(t *testing.T) {
	if got, want := rundir.CellName("lookup-hit", 1_000_000, 2, "counter/atomic"), "lookup-hit-1000000-2t-counter+atomic"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestReportPath(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "some.json")
	if got, want := rundir.ReportPath(dir), filepath.Join(dir, "report.json"); got != want {
		t.Errorf("of a folder: %s, want %s", got, want)
	}
	if got := rundir.ReportPath(file); got != file {
		t.Errorf("of a file: %s, want %s", got, file)
	}
}
