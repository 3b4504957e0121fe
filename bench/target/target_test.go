package target_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/objhash/objhash/bench/target"
	"github.com/objhash/objhash/refcount"
)

func TestRegistry(t *testing.T) {
	var names []string
	for _, s := range target.All() {
		names = append(names, s.Name)
		if s.Summary == "" || (s.New == nil) != s.Counts {
			t.Errorf("%s: incomplete", s.Name)
		}
		if found, ok := target.Find(s.Name); !ok || found.Name != s.Name {
			t.Errorf("%s: not found by its name", s.Name)
		}
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != len(target.All()) {
		t.Errorf("names are not unique: %v", names)
	}
	if _, ok := target.Find("nobody"); ok {
		t.Error("found a target that is not there")
	}
}

// withStrategies returns all targets, and those that take a strategy with each of them.
func withStrategies() (specs []target.Spec) {
	for _, s := range target.All() {
		specs = append(specs, s)
		if s.WithStrategy != nil {
			specs = append(specs, s.Variants(refcount.All())...)
		}
	}
	return specs
}

func TestVariants(t *testing.T) {
	two := []refcount.Strategy{refcount.Plain{}, refcount.Atomic{}}
	for _, c := range []struct {
		target     string
		strategies []refcount.Strategy
		want       []string
	}{
		{"xsync4", nil, []string{"xsync4"}},
		{"xsync4", two, []string{"xsync4"}},
		{"objhash", nil, []string{"objhash"}},
		{"objhash", two, []string{"objhash/plain", "objhash/atomic"}},
		{"objhash-batch", two, []string{"objhash-batch/plain", "objhash-batch/atomic"}},
		{"counter", two, []string{"counter/plain", "counter/atomic"}},
	} {
		spec, _ := target.Find(c.target)
		var got []string
		for _, v := range spec.Variants(c.strategies) {
			got = append(got, v.Name)
			if name, strategy, _ := strings.Cut(v.Name, "/"); v.Strategy != strategy || name != c.target {
				t.Errorf("%s has the strategy %q", v.Name, v.Strategy)
			}
			if alone := v.Strategy == "plain"; alone != (v.MaxThreads == 1) {
				t.Errorf("%s serves %d threads", v.Name, v.MaxThreads)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s with %d strategies: %v; want %v", c.target, len(c.strategies), got, c.want)
		}
	}
	spec, _ := target.Find("counter")
	if n := len(spec.Variants(nil)); n != len(refcount.All()) {
		t.Errorf("%d counters, of %d strategies", n, len(refcount.All()))
	}
}

// TestOwnStrategy tells strategies apart by the memory that they take.
func TestOwnStrategy(t *testing.T) {
	const n = 1000
	ptrs, kinds, refs := make([]uint64, n), make([]uint16, n), make([]int32, n)
	for i := range ptrs {
		ptrs[i], kinds[i] = uint64(0x1000+64*i), 1
	}
	bytes := func(spec target.Spec) int64 {
		tt, err := spec.New(target.Options{Objects: n, Kinds: []string{"a"}, Threads: 1, Seed: 1})
		if err != nil {
			t.Fatal(err)
		}
		w, err := tt.Worker()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Encounter(ptrs, kinds, refs); err != nil {
			t.Fatal(err)
		}
		defer tt.Close()
		defer w.Close()
		return tt.Bytes()
	}
	spec, _ := target.Find("objhash")
	for _, s := range spec.Variants(refcount.All()) {
		if s.Inexact {
			continue
		}
		if same := bytes(s) == bytes(spec); same != (s.Strategy == target.OwnStrategy) {
			t.Errorf("%s takes as much as objhash: %v", s.Name, same)
		}
	}
}

// TestBlocks hands blocks of several kinds, with repeats, to two workers of
// every target: whatever it does with a block, each element's objref ends up
// in its place.
func TestBlocks(t *testing.T) {
	const n = 600
	ptrs, kinds := make([]uint64, n), make([]uint16, n)
	for i := range ptrs {
		object := i * i % 251
		ptrs[i] = uint64(0x1000 + 64*object)
		kinds[i] = uint16(1 + object%3)
	}
	for _, s := range withStrategies() {
		if s.New == nil || s.Inexact || s.NoTable {
			continue
		}
		t.Run("target="+s.Name, func(t *testing.T) {
			tt, err := s.New(target.Options{Objects: n, Kinds: []string{"a", "b", "c"}, Threads: 2, Seed: 1})
			if err != nil {
				t.Fatal(err)
			}
			workers := 2
			if s.MaxThreads == 1 {
				workers = 1
			}
			known := map[uint64]int32{}
			firsts := 0
			for w := range workers {
				worker, err := tt.Worker()
				if err != nil {
					t.Fatal(err)
				}
				refs := make([]int32, n)
				for lo, size := 0, 1+w; lo < n; size = size*2 + w {
					hi := min(lo+size, n)
					first, err := worker.Encounter(ptrs[lo:hi], kinds[lo:hi], refs[lo:hi])
					if err != nil {
						t.Fatal(err)
					}
					firsts += first
					lo = hi
				}
				for i, ref := range refs {
					if old := known[ptrs[i]]; ref <= 0 || old != 0 && old != ref {
						t.Fatalf("worker %d, element %d: objref %d after %d", w, i, ref, old)
					}
					known[ptrs[i]] = ref
				}
				found, err := worker.Lookup([]uint64{ptrs[0], 0x7fff0000, ptrs[1]}, refs[:3])
				if err != nil || found != 2 || refs[0] != known[ptrs[0]] || refs[1] != 0 || refs[2] != known[ptrs[1]] {
					t.Errorf("lookup of two known and one unknown: %d found, %v, %v", found, refs[:3], err)
				}
				if err := worker.Close(); err != nil {
					t.Error(err)
				}
			}
			if firsts != len(known) || tt.Len() != len(known) {
				t.Errorf("%d firsts, %d in the table, want %d", firsts, tt.Len(), len(known))
			}
			if err := tt.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
