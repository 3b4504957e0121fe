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

func TestUsageErrors(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args    string
		message string
	}{
		{"rum", `unknown command "rum"`},
		{"run extra", `unknown command "extra"`},
		{"run --objets 5", "unknown flag: --objets"},
		{"run --profile lookup-hot", `unknown profile "lookup-hot"; did you mean "lookup-hit"?`},
		{"run --target xsync5", `unknown target "xsync5"; did you mean`},
		{"run --target index,nonsense", "there are: index, index-batch"},
		{"run --target counter/atmic", `unknown strategy "atmic"; did you mean "atomic"?`},
		{"run --target conter/atomic", `unknown target "conter"; did you mean "counter"?`},
		{"run --target xsync4/atomic", "xsync4 takes no strategy; those that do are objhash, objhash-batch, counter"},
		{"run --target log", `"log" is a strategy, no target; did you mean "counter/log"?`},
		{"run --target counter --strategy atomics", `unknown strategy "atomics"; did you mean "atomic"?`},
		{"run --strategy plain,nonsense", "there are: plain, mutex"},
		{"run --target index,counter/log --strategy atomic", "no target takes the strategy atomic: index takes none, counter/log has its own; those that do are objhash, objhash-batch, counter, by their plain names"},
		{"run --against log", `to compare against: invalid choice: "log" is a strategy, no target; did you mean "counter/log"?`},
		{"run --against counter", `"counter" stands for several; name one, like counter/atomic`},
		{"run --against all", `"all" stands for several`},
		{"run --profile count-hot,grow --target baseline,counter/plain --threads 2,3", "nothing to measure\n" +
			"  skipped: count-hot, 1 object, 2 threads: baseline: it does not count by objref\n"},
		{"run --profile replay --target counter --threads 2", "skipped: replay, 2 threads: counter: it only counts"},
		{"run --against counter/nothing", `to compare against: invalid choice: unknown strategy "nothing"`},
		{"run --against nobody", `to compare against: invalid choice: unknown target "nobody"`},
		{"run --objects 0", `"0" is no number of objects`},
		{"run --objects 1e99", `"1e99" is too large a number of objects; want at most 536,870,912`},
		{"run --objects ten", "like 1000000, 1_000_000, 1e6 or 10k"},
		{"run --threads -1", `"-1" is no number of threads`},
		{"run --threads 4097", `"4097" is too large a number of threads; want at most 4,096`},
		{"run --json -", "standard output is for people"},
		{"run --latency --threads 2,257", "latencies of 257 threads; want at most 256"},
		{"run --trials 0", "0 trials; want 1 to 10,000"},
		{"run --trials many", `invalid argument "many" for "--trials"`},
		{"run --seed -3", `invalid argument "-3" for "--seed"`},
		{"run --cpuprofile --out DIR --cpuprofile-time 0s", "0s to profile each target for; want more than 0"},
		{"run --cpuprofile", "profiles are kept in the folder of the run; name one with --out"},
		{"pprof", "requires at least 1 arg"},
		{"run --trial-limit 5", "missing unit in duration"},
		{"run --trial-limit -5s", "want 0 or more"},
		{"run --profile grow --trace x.trace", "a trace is for profiles that replay one, as replay does, and there is none among grow"},
		{"import csv x", `unknown command "csv"`},
		{"import tsv", "accepts 1 arg(s), received 0"},
		{"import tsv x", `required flag(s) "output" not set`},
		{"import tsv x -o y --head -1", "-1 encounters to import"},
		{"inspect", "accepts 1 arg(s), received 0"},
		{"inspect x y", "accepts 1 arg(s), received 2"},
		{"list index", `unknown command "index"`},
		{"env --json", "unknown flag: --json"},
		{"report -o x.html", "requires at least 1 arg(s), only received 0"},
		{"report x.json", `required flag(s) "output" not set`},
		{"report x.json -o -", "standard output is for people"},
		{"model extra", `unknown command "extra"`},
		{"model --threads 0", `"0" is no number of threads`},
		{"model --threads 1,two", `"two" is no number of threads`},
		{"model --threads 2000", "2,000 threads; want 1 to 1,024"},
		{"model --json -", "standard output is for people"},
		{"model --strategy atomc", `unknown strategy "atomc"; did you mean "atomic"?`},
		{"model --strategy nonsense", "there are: plain, mutex"},
		{"model --assume-cores -1", "-1 cores to assume; want 1 to 1,024"},
		{"model --assume-cores few", `invalid argument "few" for "--assume-cores"`},
		{"model --quick", "unknown flag: --quick"},
	} {
		args := strings.Fields(strings.ReplaceAll(c.args, "DIR", dir))
		code, stdout, stderr := crbench(t, args...)
		if code != exitUsage {
			t.Errorf("crbench %s: exit code %d, want %d", c.args, code, exitUsage)
		}
		if !strings.Contains(stderr, c.message) || !strings.Contains(stderr, "--help") {
			t.Errorf("crbench %s: says\n%swant %q and a pointer to --help", c.args, stderr, c.message)
		}
		if stdout != "" {
			t.Errorf("crbench %s: printed %q to stdout", c.args, stdout)
		}
	}
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("bad.tsv", "0\tfile\n")
	write("bad.trace", "no trace at all")
	write("bad.snapshot", "no snapshot at all")
	for _, c := range []struct {
		args    string
		message string
	}{
		{"run --profile replay --trace DIR/none.trace", "no such file"},
		{"run --profile replay --trace DIR/bad.trace", "bad.trace"},
		{"run --profile grow --objects 500M", "GiB"},
		{"run --profile grow --json DIR/none/out.json", "there is no folder"},
		{"import tsv DIR/none.tsv -o DIR/x.trace", "no such file"},
		{"import tsv DIR/bad.tsv -o DIR/x.trace", "importing"},
		{"import tsv DIR/bad.tsv -o DIR/none/x.trace", "there is no folder"},
		{"model --json DIR/none/out.json", "there is no folder"},
		{"inspect DIR/none.snapshot", "no such file"},
		{"inspect DIR", "inspecting"},
		{"inspect DIR/bad.snapshot --json", "bad.snapshot: not a sound snapshot: at byte 0"},
	} {
		code, _, stderr := crbench(t, strings.Fields(strings.ReplaceAll(c.args, "DIR", dir))...)
		if code != exitError || !strings.Contains(stderr, c.message) {
			t.Errorf("crbench %s: exit code %d, says\n%swant %d and %q", c.args, code, stderr, exitError, c.message)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "x.trace")); err == nil {
		t.Error("a failed import left a file")
	}
}

func TestHelp(t *testing.T) {
	for _, args := range []string{"", "--help", "run --help", "list --help", "env --help", "import --help", "import tsv --help", "inspect --help", "model --help", "compare --help", "schema --help", "report --help", "profile --help", "pprof --help"} {
		code, stdout, stderr := crbench(t, strings.Fields(args)...)
		if code != exitOK || !strings.Contains(stdout, "Usage:") || stderr != "" {
			t.Errorf("crbench %s: exit code %d, stderr %q, stdout\n%s", args, code, stderr, stdout)
		}
	}
	for _, args := range []string{"", "run --help"} {
		_, stdout, _ := crbench(t, strings.Fields(args)...)
		if !strings.Contains(strings.Join(strings.Fields(stdout), " "), "as snzi does, take part in count-drop alone") {
			t.Errorf("crbench %s: does not say where snzi takes part:\n%s", args, stdout)
		}
	}
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
	for _, args := range []string{"", " --target all"} {
		code, stdout, stderr := crbench(t, strings.Fields("run -p first-pass,count-zipf --threads 2 --trials 1 --objects 100"+args)...)
		if code != exitOK || !strings.Contains(stdout, "counter/log") || !strings.Contains(stdout, "skipped: baseline: serves at most 1 thread") {
			t.Fatalf("exit code %d\n%s%s", code, stdout, stderr)
		}
		for _, nature := range []string{"it only counts", "it does not count by objref", "it is no table"} {
			if strings.Contains(stdout, nature) {
				t.Errorf("says %q:\n%s", nature, stdout)
			}
		}
	}
}

// TestNothingWithinTheLimit is wrong usage that shows at the end.
func TestNothingWithinTheLimit(t *testing.T) {
	code, stdout, stderr := crbench(t, strings.Fields("run -p first-pass -t blcr --threads 1 --trials 1 --trial-limit 1ms")...)
	if code != exitUsage || !strings.Contains(stdout, "nothing was measured") || !strings.Contains(stderr, "within the trial limit of 1ms") {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
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
