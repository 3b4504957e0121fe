package bench_test

import (
	"strings"
	"testing"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/machine"
)

func tableOf(t *testing.T, r *bench.Report) string {
	t.Helper()
	var out strings.Builder
	if err := r.WriteTable(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestComparedWith sees that a person is told when a table is not compared with what they
// named.
func TestComparedWith(t *testing.T) {
	cell := func(targets ...string) (results []*bench.Result) {
		for _, name := range targets {
			_, strategy, _ := strings.Cut(name, "/")
			res := result("first-pass", strategy, 1000, 1, 5, 5)
			res.Target = name
			results = append(results, res)
		}
		return results
	}
	for _, c := range []struct {
		against string
		results []*bench.Result
		column  string
		note    string
	}{
		{"", cell("index", "xsync4"), "xsync4", ""},
		{"", cell("counter/plain", "counter/atomic", "counter/log"), "counter/atomic", ""},
		{"", cell("objhash/plain", "objhash/log"), "objhash/log", ""},
		{"", cell("objhash/plain", "objhash/log", "objhash"), "objhash/log", ""},
		{"", cell("objhash-batch/cas", "objhash-batch/atomic"), "objhash-batch/cas", ""},
		{"", cell("objhash/plain", "mutex-map"), "mutex-map", ""},
		{"", cell("xsync4"), "", ""},
		{"index", cell("index", "xsync4"), "index", ""},
		{"counter/log", cell("counter/plain", "counter/atomic"), "counter/atomic", "counter/log has no figure here, so compared with counter/atomic"},
		{"xsync4", cell("counter/plain", "counter/atomic"), "counter/atomic", "xsync4 has no figure here, so compared with counter/atomic"},
		{"xsync4", cell("index"), "", "xsync4 has no figure here, and there is nothing else to compare with"},
	} {
		got := tableOf(t, &bench.Report{Against: c.against, Results: c.results})
		if strings.Contains(got, "│ x ") != (c.column != "") || !strings.Contains(got, "│ x "+c.column) && c.column != "" {
			t.Errorf("against %q: want the column %q in\n%s", c.against, c.column, got)
		}
		if !strings.Contains(got, c.note) || strings.Contains(got, "no figure") != (c.note != "") {
			t.Errorf("against %q: want the line %q in\n%s", c.against, c.note, got)
		}
	}
}

func TestOperationsOfATable(t *testing.T) {
	zipf, pass := result("count-zipf", "log", 2000, 1, 5, 5), result("first-pass", "", 1, 1, 5, 5)
	zipf.Ops, zipf.Tables, zipf.Trials = 144_000, 9, 10
	pass.Ops, pass.Tables, pass.Trials = 16, 16, 1
	once := result("grow", "", 1e6, 1, 5, 5)
	once.Ops, once.Tables, once.Trials = 1e6, 1, 2
	got := tableOf(t, &bench.Report{Results: []*bench.Result{zipf, pass, once}})
	for _, want := range []string{
		"2,000 objects, 1 thread, 16,000 operations x 9 counters x 10 trials\n",
		"1 object, 1 thread, 1 operation x 16 tables x 1 trial\n",
		"1,000,000 objects, 1 thread, 1,000,000 operations x 2 trials\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestFooterTellsOfTurns(t *testing.T) {
	const turns, verdict = "took turns on 2 processors", "count-verdict is timed on one thread"
	r := &bench.Report{Env: machine.Env{Cores: 4, GOMAXPROCS: 2}}
	for _, c := range []struct {
		profile        string
		threads        int
		turns, verdict bool
	}{
		{"count-hot", 2, false, false},
		{"count-hot", 3, true, false},
		{"count-verdict", 1, false, false},
		{"count-verdict", 2, false, true},
		{"count-verdict", 4, true, true},
	} {
		r.Results = []*bench.Result{result(c.profile, "log", 1, c.threads, 5, 5)}
		if got := tableOf(t, r); strings.Contains(got, turns) != c.turns || strings.Contains(got, verdict) != c.verdict {
			t.Errorf("%s on %d threads:\n%s", c.profile, c.threads, got)
		}
	}
}

// TestNothingToShow leaves out the cell that was interrupted in its warm-up, and says where
// a target was skipped that no table stands for.
func TestNothingToShow(t *testing.T) {
	shown, begun := result("grow", "", 1000, 2, 5, 5), result("first-pass", "", 1000, 1, 5, 5)
	begun.NsPerOp, begun.BytesPerObject, begun.Verified = nil, nil, false
	skip := func(profile, target string, threads int) bench.Skipped {
		return bench.Skipped{Profile: profile, Target: target, Objects: 1000, Threads: threads, Reason: "it is slow"}
	}
	r := &bench.Report{
		Incomplete: true, Results: []*bench.Result{shown, begun},
		Skipped: []bench.Skipped{skip("grow", "a", 2), skip("grow", "a", 4), skip("grow", "b", 4), skip("first-pass", "a", 1)},
	}
	got := tableOf(t, r)
	for _, want := range []string{
		"\n  skipped: a: it is slow\n",
		"\n\n  skipped: grow, 1,000 objects, 4 threads: a, b: it is slow\n  skipped: first-pass, 1,000 objects, 1 thread: a: it is slow\n",
		"interrupted: ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "\nfirst-pass") || strings.Contains(got, "nothing was measured") {
		t.Errorf("shows what has no figures:\n%s", got)
	}
	r.Results = r.Results[1:]
	if got := tableOf(t, r); !strings.Contains(got, "nothing was measured") || strings.Contains(got, "│") {
		t.Errorf("shows what has no figures:\n%s", got)
	}
}
