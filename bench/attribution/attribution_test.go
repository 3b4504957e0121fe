package attribution_test

import (
	"maps"
	"testing"

	"github.com/google/pprof/profile"

	"github.com/objhash/objhash/bench/attribution"
)

const module = "github.com/objhash/objhash/"

// frame is a function and a line of it; the frames of a location are inlined into its last.
type frame struct {
	name string
	file string
	line int64
}

func fn(name string) frame { return frame{name: name} }

// sample is a stack, innermost location first, that was seen so many times.
func sample(timed bool, n int64, locations ...[]frame) *profile.Sample {
	s := &profile.Sample{Value: []int64{n, n * 1e7}}
	if timed {
		s.Label = map[string][]string{attribution.PhaseLabel: {"lookup"}}
	}
	for _, frames := range locations {
		l := &profile.Location{}
		for _, f := range frames {
			l.Line = append(l.Line, profile.Line{Function: &profile.Function{Name: f.name, Filename: f.file}, Line: f.line})
		}
		s.Location = append(s.Location, l)
	}
	return s
}

func at(frames ...frame) []frame { return frames }

func one(s ...*profile.Sample) *profile.Profile { return &profile.Profile{Sample: s} }

func category(t *testing.T, s *profile.Sample) attribution.Category {
	t.Helper()
	n, shares := attribution.Shares(one(s))
	if n != s.Value[0] || len(shares) != 1 {
		t.Fatalf("%d samples, %v", n, shares)
	}
	for c, share := range shares {
		if share != 1 {
			t.Fatalf("share %v", share)
		}
		return c
	}
	panic("unreachable")
}

func TestInnermostFrameDecides(t *testing.T) {
	worker := at(fn(module + "bench/target.(*indexWorker).Lookup"))
	thread := at(fn(module + "bench.(*thread).blocks"))
	for _, c := range []struct {
		name  string
		stack [][]frame
		want  attribution.Category
	}{
		{"inlined into a search", [][]frame{at(fn(module+"shard.(*Compact).hash"), fn(module+"shard.(*Compact).lookupGo")), worker}, attribution.Hash},
		{"the search itself", [][]frame{at(fn(module + "shard.(*Compact).lookupGo")), worker}, attribution.Search},
		{"a copy in a growth", [][]frame{at(fn("runtime.memmove")), at(fn(module + "shard.(*Locked).grow")), worker}, attribution.Grow},
		{"an atomic operation of a count", [][]frame{at(fn("sync/atomic.AddUint32"), fn(module+"refcount.incWord")), thread}, attribution.Count},
		{"a loop", [][]frame{worker, thread}, attribution.Harness},
		{"nobody's", [][]frame{at(fn("example.Strange")), at(fn("runtime.goexit"))}, attribution.Other},
		{"no symbols", [][]frame{{}}, attribution.Other},
	} {
		if got := category(t, sample(true, 3, c.stack...)); got != c.want {
			t.Errorf("%s: %q; want %q", c.name, got, c.want)
		}
	}
}

// TestKernelsByLine splits a kernel by its lines, from the table; the last of its parts is
// what an end of a search is.
func TestKernelsByLine(t *testing.T) {
	kernel := module + "shard.encounterBatchAVX512"
	parts := map[attribution.Category]bool{}
	for line := int64(1); line < 4000; line++ {
		parts[category(t, sample(true, 1, at(frame{kernel, "shard/kernel_amd64.s", line})))] = true
	}
	want := map[attribution.Category]bool{attribution.Hash: true, attribution.Search: true, attribution.Insert: true}
	if !maps.Equal(parts, want) {
		t.Errorf("the kernel does %v", parts)
	}
	// In Go, the name has inlined functions of its own.
	if got := category(t, sample(true, 1, at(frame{module + "shard.encounter", "shard/kernel_none.go", 1900}))); got != attribution.Search {
		t.Errorf("the function in Go does %q", got)
	}
}

func TestOnlyTimedSamplesCount(t *testing.T) {
	hash, search := at(fn("runtime.memhash64")), at(fn("runtime.mapaccess2_fast64"))
	p := one(sample(true, 1, hash, search), sample(true, 3, search), sample(false, 50, search))
	n, shares := attribution.Shares(p)
	want := map[attribution.Category]float64{attribution.Hash: 0.25, attribution.Search: 0.75}
	if n != 4 || !maps.Equal(shares, want) {
		t.Errorf("%d samples, %v; want 4, %v", n, shares, want)
	}
	if n, shares := attribution.Shares(one(sample(false, 2, hash))); n != 0 || shares == nil || len(shares) > 0 { // a report has an object, not null
		t.Errorf("of nothing: %d samples, %v", n, shares)
	}
}

func TestTimed(t *testing.T) {
	f := &profile.Function{ID: 1, Name: "runtime.memhash64"}
	l := &profile.Location{ID: 1, Line: []profile.Line{{Function: f}}}
	s := func(label string) *profile.Sample {
		return &profile.Sample{Value: []int64{1}, Location: []*profile.Location{l}, Label: map[string][]string{label: {"x"}}}
	}
	p := &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}},
		Sample:     []*profile.Sample{s(attribution.PhaseLabel), s("target")}, Location: []*profile.Location{l}, Function: []*profile.Function{f},
	}
	q := attribution.Timed(p)
	if len(q.Sample) != 1 || len(q.Sample[0].Label[attribution.PhaseLabel]) != 1 || len(p.Sample) != 2 {
		t.Errorf("%v of %v", q.Sample, p.Sample)
	}
	if err := q.CheckValid(); err != nil {
		t.Error(err)
	}
}

func TestUndecided(t *testing.T) {
	p := one(sample(true, 2, at(fn("example.A"), fn("example.B")), at(fn("runtime.goexit"))),
		sample(true, 1, at(fn("runtime.memhash64"))), sample(false, 9, at(fn("example.C"))))
	want := map[string]int64{"example.A < example.B < runtime.goexit": 2}
	if got := attribution.Undecided(p); !maps.Equal(got, want) {
		t.Errorf("%v; want %v", got, want)
	}
}
