package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func crbench(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = execute(t.Context(), append([]string{"crbench"}, args...), &out, &errs)
	return code, out.String(), errs.String()
}

func TestListAndEnv(t *testing.T) {
	code, stdout, _ := crbench(t, "list")
	for _, want := range []string{"objhash-batch", "baseline-sized", "xsync4", "checkpoint-zipf", "replay", "\nStrategies:\n", "count-10k-tasks"} {
		if code != exitOK || !strings.Contains(stdout, want) {
			t.Errorf("list: exit code %d, no %s in\n%s", code, want, stdout)
		}
	}
	code, stdout, _ = crbench(t, "env")
	for _, want := range []string{"GOMAXPROCS", "GOGC", "cpu", "load average", "revision"} {
		if code != exitOK || !strings.Contains(stdout, want) {
			t.Errorf("env: exit code %d, no %s in\n%s", code, want, stdout)
		}
	}
}

func TestRunWritesJSON(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.json")
	code, stdout, stderr := crbench(t, "run", "-p", "first-pass", "-p", "grow", "-t", "mutex-map,xsync4", "--objects", "1e3,2k",
		"--threads", "1", "--trials", "2", "--json", path)
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	if !strings.Contains(stdout, "x xsync4") || !strings.Contains(stdout, "first-pass: 1,000 objects, 1 thread") {
		t.Errorf("table:\n%s", stdout)
	}
	if want := "[4/4] grow, 2,000 objects, 1 thread\n"; !strings.Contains(stderr, want) || strings.Contains(stderr, "\x1b") {
		t.Errorf("progress, not on a terminal:\n%swant plain lines with %q", stderr, want)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Schema     string
		Incomplete bool
		Results    []struct {
			Target   string
			Verified bool
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Schema != "objhash.crbench/1" || doc.Incomplete || len(doc.Results) != 8 || !doc.Results[0].Verified {
		t.Errorf("document:\n%s", b)
	}
}

func TestRunLatency(t *testing.T) {
	code, stdout, stderr := crbench(t, strings.Fields("run -p grow -t index,xsync4 --objects 1000 --threads 2 --trials 1 --latency")...)
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{"x xsync4", "latency: grow, 1,000 objects, 2 threads", "p99.99", "nothing"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
}

// TestRunLeavesOutSilently does not speak of targets that nobody named.
func TestRunLeavesOutSilently(t *testing.T) {
	for args, skipped := range map[string]string{"first-pass": "baseline", "count-zipf --target all": "counter/plain"} {
		code, stdout, stderr := crbench(t, strings.Fields("run --threads 2 --trials 1 --objects 100 -p "+args)...)
		if code != exitOK || !strings.Contains(stdout, "skipped: "+skipped+": serves at most 1 thread") {
			t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
		}
		for _, nature := range []string{"it only counts", "it does not count by objref", "it is no table"} {
			if strings.Contains(stdout, nature) {
				t.Errorf("says %q:\n%s", nature, stdout)
			}
		}
	}
}

func TestRunStrategies(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.json")
	code, stdout, stderr := crbench(t, "run", "-p", "count-zipf,count-verdict,first-pass", "-t", "counter,objhash,mutex-map", "--strategy", "plain,atomic,mutex",
		"--objects", "1000", "--threads", "1,2", "--trials", "1", "--json", path)
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{
		"skipped: counter/plain: serves at most 1 thread", "skipped: objhash: it does not count by objref",
		"skipped: counter: it only counts", "skipped: objhash/plain: serves", "x counter/atomic",
		"strategies of counting, 1 thread", "strategies of counting, 2 threads", "verdict ms",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("no %q in\n%s", want, stdout)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Results []struct {
			Target, Strategy string
			Verified         bool
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Results) != 3+2+3+2+4+3 {
		t.Fatalf("%d results", len(doc.Results))
	}
	for _, r := range doc.Results {
		if _, strategy, _ := strings.Cut(r.Target, "/"); r.Strategy != strategy || !r.Verified {
			t.Errorf("%+v", r)
		}
	}
}

func TestImportAndReplay(t *testing.T) {
	dir := t.TempDir()
	tsv, out := filepath.Join(dir, "in.tsv"), filepath.Join(dir, "out.trace")
	if err := os.WriteFile(tsv, []byte("0\tfile\t10\n0\tmm\t20\n10\tfile\t30\n20\tfile\t10\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := crbench(t, "import", "tsv", tsv, "-o", out)
	if code != exitOK || !strings.Contains(stdout, "4 encounters of 3 objects by 2 holders, 2 kinds") {
		t.Fatalf("import: exit code %d, %s%s", code, stdout, stderr)
	}
	code, stdout, stderr = crbench(t, "run", "--profile", "replay", "--trace", out, "--target", "baseline,mutex-map", "--threads", "1,2", "--trials", "1")
	if code != exitOK || !strings.Contains(stdout, "replay: 3 objects, 2 threads") {
		t.Errorf("replay: exit code %d, %s%s", code, stdout, stderr)
	}
}

func TestInspect(t *testing.T) {
	golden := filepath.Join("..", "..", "engine", "testdata", "golden.snapshot")
	code, stdout, stderr := crbench(t, "inspect", golden)
	for _, want := range []string{"17 objects", "file", "socket", "kind 3", "10 holders"} {
		if code != exitOK || !strings.Contains(stdout, want) {
			t.Errorf("exit code %d, no %q in\n%s%s", code, want, stdout, stderr)
		}
	}
	code, stdout, stderr = crbench(t, "inspect", "--json", golden)
	var doc struct {
		Schema string
		Total  struct{ Objects int }
		Kinds  []struct{ Name string }
	}
	if err := json.Unmarshal([]byte(stdout), &doc); err != nil || code != exitOK {
		t.Fatalf("exit code %d, %v: %s", code, err, stderr)
	}
	if doc.Schema != "objhash.inspect/1" || doc.Total.Objects != 17 || len(doc.Kinds) != 3 || doc.Kinds[1].Name != "socket" {
		t.Errorf("document:\n%s", stdout)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := filepath.Join(t.TempDir(), "out.json")
	var out, errs bytes.Buffer
	code := execute(ctx, []string{"crbench", "run", "--profile", "grow", "--json", path}, &out, &errs)
	if code != exitError || !strings.Contains(errs.String(), "interrupted") {
		t.Errorf("exit code %d, says %s", code, errs.String())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(b) || !strings.Contains(string(b), `"incomplete": true`) {
		t.Errorf("document:\n%s", b)
	}
}

func TestModel(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out.json")
	code, stdout, stderr := crbench(t, "model", "-s", "plain,atomic", "--threads", "1,64", "--json", path)
	for _, want := range []string{"Costs of this machine", "private:", "count-hot:", "count-zipf:", "tasks:", "measured", "64*", "extrapolated"} {
		if code != exitOK || !strings.Contains(stdout, want) {
			t.Fatalf("exit code %d, no %q in\n%s%s", code, want, stdout, stderr)
		}
	}
	if !strings.Contains(stderr, "[1/15] round\n") {
		t.Errorf("progress, not on a terminal:\n%s", stderr)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Schema  string
		Results []struct{ Strategy string }
	}
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Schema != "objhash.model/2" || len(doc.Results) != 4*(1+2) {
		t.Errorf("document:\n%s", b)
	}
}

func TestModelInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := filepath.Join(t.TempDir(), "out.json")
	var out, errs bytes.Buffer
	code := execute(ctx, []string{"crbench", "model", "--json", path}, &out, &errs)
	if code != exitError || !strings.Contains(errs.String(), "interrupted") || !strings.Contains(out.String(), "nothing was measured") {
		t.Errorf("exit code %d, says %s%s", code, errs.String(), out.String())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(b) || !strings.Contains(string(b), `"incomplete": true`) {
		t.Errorf("document:\n%s", b)
	}
}
