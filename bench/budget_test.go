package bench_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/objhash/objhash/bench"
)

// TestBudget goes on where intervals are too wide, until the time is over.
func TestBudget(t *testing.T) {
	c := small(t, []string{"first-pass"}, []string{"mutex-map", "xsync4"})
	c.Trials, c.Budget, c.Width = 1, 3*time.Second, 1e-9
	left := time.Duration(0)
	c.Progress = func(p bench.Progress) { left = max(left, p.Left) }
	start := time.Now()
	r, err := bench.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d > 3*c.Budget {
		t.Errorf("a budget of %s, and it took %s", c.Budget, d)
	}
	for _, res := range r.Results {
		if res.Trials <= c.Trials || res.Trials != len(res.SamplesNs) {
			t.Errorf("%s, %s: %d trials, and intervals of %+v", res.Profile, res.Target, res.Trials, res.NsPerOp)
		}
	}
	if len(r.Pairs) != 1 || left <= 0 {
		t.Errorf("pairs %+v, at most %s left", r.Pairs, left)
	}
}

// TestBudgetIsTooShort gives every target its trials all the same, and no more.
func TestBudgetIsTooShort(t *testing.T) {
	c := small(t, []string{"first-pass"}, []string{"mutex-map", "xsync4"})
	c.Trials, c.Budget = 7, time.Nanosecond
	r, err := bench.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range r.Results {
		if res.Trials != c.Trials {
			t.Errorf("%s: %d trials", res.Target, res.Trials)
		}
	}
	if !strings.Contains(tableOf(t, r), "instead of 1ns: every target gets 7 trials") {
		t.Errorf("warnings %q", r.Warnings)
	}
}

// TestVisits spreads the trials of a cell over the run, in the order of the plan.
func TestVisits(t *testing.T) {
	c := small(t, []string{"first-pass", "grow"}, []string{"mutex-map"})
	c.Trials = 6
	var visits []string
	c.Progress = func(p bench.Progress) {
		if p.MakingWorkload {
			visits = append(visits, p.Profile)
		}
	}
	r, err := bench.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(visits, " ")
	if most := strings.TrimSpace(strings.Repeat("first-pass grow ", 6)); !strings.HasPrefix(most, got) || len(visits) < 2*5 {
		t.Errorf("visits: %s", got)
	}
	for _, res := range r.Results {
		if res.Trials != c.Trials || len(res.StealPercents) != c.Trials || len(res.SamplesBytes) != c.Trials {
			t.Errorf("%+v", res)
		}
	}
}

// TestPairs compares with the reference of each cell, and follows the person's.
func TestPairs(t *testing.T) {
	c := small(t, []string{"first-pass"}, []string{"mutex-map", "index", "xsync4"})
	c.Targets = append(c.Targets, faultExtraFirst.spec())
	c.Trials, c.Objects, c.Against = 6, []int{1000}, "index"
	r, err := bench.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, p := range r.Pairs {
		got[p.Target] = p.Against
		if x := p.TimesFaster; x.Low <= 0 || x.Low > x.Median || x.Median > x.High || p.P <= 0 || p.P > 1 {
			t.Errorf("%+v", p)
		}
	}
	if want := map[string]string{"mutex-map": "index", "xsync4": "index"}; !maps.Equal(got, want) {
		t.Errorf("pairs %v, want %v", got, want)
	}
	r.Pairs[0].TimesFaster = bench.Interval{Median: 0.5, Low: 0.25, High: 0.75}
	if table := tableOf(t, r); !strings.Contains(table, "0.50 [0.25, 0.75]") {
		t.Errorf("no ratio with its interval in\n%s", table)
	}
}

// TestFresh has each target measured in another process, and lives with what fails there.
func TestFresh(t *testing.T) {
	c := small(t, []string{"first-pass"}, []string{"mutex-map", "index"})
	c.Objects, c.Trials = []int{10_000}, 1
	broken := errors.New("planted error")
	c.Fresh = func(_ context.Context, f bench.FreshTrial) (bench.FreshOutcome, error) {
		if f.Target == "index" {
			return bench.FreshOutcome{}, broken
		}
		if f.Objects != 10_000 || f.Threads != 1 || f.Seed != 1 || f.Profile.Name != "first-pass" {
			t.Errorf("told to do %+v", f)
		}
		return bench.FreshOutcome{ResidentBytes: 420_000}, nil
	}
	r, err := bench.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range r.Results {
		rss := res.RSSBytesPerObject
		if res.Target == "index" && rss != nil || res.Target == "mutex-map" && (rss == nil || *rss != 42) {
			t.Errorf("%s: %v bytes", res.Target, rss)
		}
	}
	table := tableOf(t, r)
	for _, want := range []string{"resident", " 42.0 ", "warning: index (first-pass, 10,000 objects, 1 thread) has no resident memory: planted error"} {
		if !strings.Contains(table, want) {
			t.Errorf("no %q in\n%s", want, table)
		}
	}
}
