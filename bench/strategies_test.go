package bench_test

import (
	"strings"
	"testing"

	"github.com/objhash/objhash/bench"
)

// result is a made-up one of a bare counter.
func result(profile, strategy string, objects, threads int, ns, bytes float64) *bench.Result {
	return &bench.Result{
		Profile: profile, Target: "counter/" + strategy, Strategy: strategy, Objects: objects, Threads: threads,
		Ops: 2 * objects, Tables: 2, Distinct: objects, Verified: true,
		NsPerOp: &bench.Interval{Median: ns, Low: ns, High: ns}, BytesPerObject: &bytes,
	}
}

// TestStrategiesTable writes the comparison of made-up results: each figure is in its
// place, what was not measured is a dash, and one strategy alone has no table.
func TestStrategiesTable(t *testing.T) {
	broken := result("count-verdict", "broken", 1e6, 1, 0, 0)
	broken.NsPerOp, broken.BytesPerObject, broken.Error = nil, nil, "objref 1 has 2 users; want 3"
	r := &bench.Report{Results: []*bench.Result{
		result("first-pass", "", 1000, 1, 99.9, 99.9),
		result("count-hot", "plain", 1, 1, 1.25, 4096),
		result("count-hot", "log", 1, 1, 2.25, 8192),
		result("count-private", "plain", 1000, 1, 3.25, 4.5),
		result("count-private", "plain", 2000, 1, 4.25, 6.5),
		result("count-private", "log", 2000, 1, 5.25, 7.5),
		result("count-10k-tasks", "log", 300, 1, 6.25, 12_800),
		result("count-verdict", "plain", 1e6, 1, 7.25, 4.5),
		broken,
		result("count-hot", "log", 1, 2, 8.25, 4096),
	}}
	_, tables, _ := strings.Cut(tableOf(t, r), "strategies of counting, ")
	want := `1 thread: ns/op
┌──────────┬───────────┬─────────────────────┬─────────────────────┬─────────────────┬───────────────┬──────────────┬────────────────────┬────────────┐
│ strategy │ count-hot │ count-private 1,000 │ count-private 2,000 │ count-10k-tasks │ count-verdict │ bytes/object │ bytes with handles │ verdict ms │
├──────────┼───────────┼─────────────────────┼─────────────────────┼─────────────────┼───────────────┼──────────────┼────────────────────┼────────────┤
│ plain    │      1.25 │                3.25 │                4.25 │               - │          7.25 │          6.5 │                  - │       7.25 │
│ log      │      2.25 │                   - │                5.25 │            6.25 │             - │          7.5 │          3,840,000 │          - │
│ broken   │         - │                   - │                   - │               - │        FAILED │            - │                  - │     FAILED │
└──────────┴───────────┴─────────────────────┴─────────────────────┴─────────────────┴───────────────┴──────────────┴────────────────────┴────────────┘
  bytes/object: count-private, 2,000 objects
  bytes with handles: count-10k-tasks, 300 objects: all memory while each task has a handle open
  verdict ms: count-verdict, 1,000,000 objects: until the count of each is known
`
	if tables != want {
		t.Errorf("the tables are\n%s\nwant\n%s", tables, want)
	}
}

// TestStrategiesTableWithoutBytes has no column of bytes, for the profile that says what an
// object takes was not measured.
func TestStrategiesTableWithoutBytes(t *testing.T) {
	r := &bench.Report{Results: []*bench.Result{
		result("count-hot", "plain", 1, 1, 1.25, 4096),
		result("count-hot", "log", 1, 1, 2.25, 8192),
	}}
	_, tables, _ := strings.Cut(tableOf(t, r), "strategies of counting, ")
	if tables == "" || strings.Contains(tables, "bytes") {
		t.Errorf("the tables are\n%s", tables)
	}
}
