package bench_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/perf/benchfmt"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/machine"
)

// benched is a report of two targets in two cells, the second target twice as slow.
func benched() *bench.Report {
	r := &bench.Report{Env: machine.Env{OS: "linux", Arch: "amd64", CPU: "one", Kernel: "6.1", GOMAXPROCS: 2, Revision: "r"}}
	for _, threads := range []int{1, 2} {
		for i, target := range []string{"index", "counter/atomic"} {
			res := &bench.Result{Profile: "lookup-hit", Target: target, Objects: 10_000, Threads: threads, Ops: 1000}
			for trial := range 7 {
				res.SamplesNs = append(res.SamplesNs, float64((i+1)*(100*threads+trial)))
				res.SamplesBytes = append(res.SamplesBytes, 24.5)
			}
			r.Results = append(r.Results, res)
		}
	}
	r.Results[0].Latency = &bench.Latency{Calls: 5, P50: 20, P99: 300, Max: 4000}
	resident := 31.5
	r.Results[1].RSSBytesPerObject = &resident // and calls were not timed
	r.Results = append(r.Results, &bench.Result{Profile: "grow", Target: "index", Objects: 5, Threads: 1, Error: "it lost an object"})
	return r
}

func TestWriteBench(t *testing.T) {
	var out bytes.Buffer
	if err := benched().WriteBench(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"goos: linux\ngoarch: amd64\npkg: github.com/objhash/objhash/bench\ncpu: one\nkernel: 6.1\ngomaxprocs: 2\n",
		"Unit p99-ns better=lower\n",
		"BenchmarkLookupHit/target=index/objects=10000/threads=1 1000 100 ns/op 24.5 bytes/object\n",
		"BenchmarkLookupHit/target=counter+atomic/objects=10000/threads=2 1000 412 ns/op 24.5 bytes/object\n",
		"BenchmarkLookupHit/target=index/objects=10000/threads=1 5 20 p50-ns 0 p90-ns 300 p99-ns",
		"BenchmarkLookupHit/target=counter+atomic/objects=10000/threads=1 1000 31.5 resident-bytes/object\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	reader, lines := benchfmt.NewReader(&out, "bench.txt"), 0
	for reader.Scan() {
		switch rec := reader.Result().(type) {
		case *benchfmt.Result:
			lines++
		case *benchfmt.SyntaxError:
			t.Error(rec)
		}
	}
	if want := 4*7 + 2; lines != want || reader.Err() != nil {
		t.Errorf("%d lines, want %d: %v", lines, want, reader.Err())
	}
}

// benchstat runs the real one.
func benchstat(t *testing.T, args ...string) [][]string {
	t.Helper()
	goCommand, err := exec.LookPath("go")
	if err != nil {
		t.Skip("no go command to run benchstat with")
	}
	out, err := exec.CommandContext(t.Context(), goCommand, append([]string{"tool", "benchstat", "-format", "csv"}, args...)...).Output()
	if err != nil {
		t.Fatalf("benchstat %s: %v", args, err)
	}
	r := csv.NewReader(bytes.NewReader(out))
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	return rows
}

// row returns the row of benchstat's that begins so, in the table of the unit.
func row(t *testing.T, rows [][]string, unit, name string) []string {
	t.Helper()
	in := false
	for _, r := range rows {
		if len(r) > 1 && r[0] == "" && strings.Contains(r[1], "/") || len(r) > 1 && r[0] == "" && strings.HasSuffix(r[1], "-sec") {
			in = r[1] == unit
		}
		if in && r[0] == name {
			return r
		}
	}
	t.Fatalf("no row %s of %s in\n%v", name, unit, rows)
	return nil
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	v, err := strconv.ParseFloat(s, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestBenchstat has the medians shown that the report has, and the targets compared.
func TestBenchstat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bench.txt")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := benched().WriteBench(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	rows := benchstat(t, path)
	for threads, want := range map[int]float64{1: 206e-9, 2: 406e-9} {
		name := fmt.Sprintf("LookupHit/target=counter+atomic/objects=10000/threads=%d", threads)
		if got := number(t, row(t, rows, "sec/op", name)[1]); got < 0.999*want || got > 1.001*want {
			t.Errorf("%s: median %g, want %g", name, got, want)
		}
	}
	if got := number(t, row(t, rows, "bytes/object", "LookupHit/target=index/objects=10000/threads=2")[1]); got != 24.5 {
		t.Errorf("%g bytes per object, want 24.5", got)
	}
	compared := row(t, benchstat(t, "-col", "/target", path), "sec/op", "LookupHit/objects=10000/threads=1")
	if !strings.Contains(strings.Join(compared, " "), "+100.00%") {
		t.Errorf("compared by target: %q, want +100.00%%", compared)
	}
}

func TestNamesAndPercents(t *testing.T) {
	for name, want := range map[string]string{"checkpoint-zipf": "CheckpointZipf", "übung-2x": "Übung2x"} {
		if got := bench.Camel(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	for part, want := range map[float64]string{0.03: "3 %", 0.1234: "12.3 %", 1e-9: "1e-07 %", 1: "100 %", 112: "11,200 %"} {
		if got := bench.Percent(part); got != want {
			t.Errorf("%g is %s, want %s", part, got, want)
		}
	}
}
