package bench

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/objhash/objhash/bench/keys"
)

// drawn makes the workload of a phase, after a fill if that is wanted, and returns how often
// each address is in it, with all of its operations in order.
func drawn(t *testing.T, objects, threads int, fill bool, ph Phase) (w *Workload, ptrs []uint64, counts map[uint64]int) {
	t.Helper()
	ph.Name, ph.Timed = "drawn", true
	p := Profile{Name: "x", Kinds: []string{"a", "b", "c"}, Keys: keys.Mixed(), Phases: []Phase{ph}}
	if fill {
		p.Phases = []Phase{{Name: "fill", Op: Encounter, Draw: Each, PerObject: 1}, ph}
	}
	w, err := NewWorkload(p, Size{Objects: objects, Threads: threads, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	counts = map[uint64]int{}
	for _, part := range w.phases[len(w.phases)-1].parts {
		for _, ptr := range part.ptrs {
			ptrs = append(ptrs, ptr)
			counts[ptr]++
		}
	}
	return w, ptrs, counts
}

// sorted returns how often the objects are met, the most frequent first.
func sorted(counts map[uint64]int) []int {
	var all []int
	for _, n := range counts {
		all = append(all, n)
	}
	slices.Sort(all)
	slices.Reverse(all)
	return all
}

// TestUniformCounts compares with what a uniform draw gives by a chi-square test.
func TestUniformCounts(t *testing.T) {
	const objects, each = 1000, 100
	for name, ph := range map[string]Phase{
		"uniform":     {Op: Encounter, Draw: Uniform, PerObject: each},
		"zipf, 0":     {Op: Encounter, Draw: Zipf, PerObject: each},
		"in total":    {Op: Encounter, Draw: Uniform, Operations: objects * each},
		"held":        {Op: Encounter, Draw: Held, Tasks: objects, PerTask: each, Spread: Uniform},
		"all are hot": {Op: Encounter, Draw: Hot, PerObject: each, HotObjects: 1, HotDraws: 0.5},
	} {
		_, ptrs, counts := drawn(t, objects, 3, false, ph)
		chi := 0.0
		for _, n := range counts {
			chi += (float64(n) - each) * (float64(n) - each) / each
		}
		chi += float64(objects-len(counts)) * each
		// 999 degrees of freedom: 1143 is exceeded once in 1000, as 863 is not reached.
		if len(ptrs) != objects*each || chi > 1143 || chi < 863 {
			t.Errorf("%s: %d operations, chi-square %.0f over %d objects", name, len(ptrs), chi, objects)
		}
	}
}

func TestHotCounts(t *testing.T) {
	const objects, ops = 10_000, 1_000_000
	for _, lookup := range []bool{false, true} {
		ph := Phase{Op: Encounter, Draw: Hot, Operations: ops, HotObjects: 0.01, HotDraws: 0.9}
		if lookup {
			ph.Op = Lookup
		}
		_, ptrs, counts := drawn(t, objects, 2, lookup, ph)
		hot := 0
		frequent := sorted(counts)
		for _, n := range frequent[:objects/100] {
			hot += n
		}
		// The standard deviation of the share is 0.0003; of one hot object's count, 95.
		if share := float64(hot) / ops; len(ptrs) != ops || math.Abs(share-0.9) > 0.0015 {
			t.Errorf("the hot hundredth has a share of %.4f of %d operations", share, len(ptrs))
		}
		if frequent[0] > 9500 || frequent[objects/100-1] < 8500 || frequent[objects/100] > 60 {
			t.Errorf("counts go from %d to %d, then from %d", frequent[0], frequent[objects/100-1], frequent[objects/100])
		}
	}
}

// TestSmallHotSets has sets that round to nothing, and objects that are all hot.
func TestSmallHotSets(t *testing.T) {
	for objects, want := range map[int]int{1: 1, 2: 1, 10: 1, 1499: 1, 1500: 2, 10_000: 10} {
		ph := Phase{HotObjects: 0.001, HotDraws: 1}
		if got, err := ph.hot(objects); err != nil || got != want {
			t.Errorf("%d of %d objects are hot (%v); want %d", got, objects, err, want)
		}
	}
	_, _, counts := drawn(t, 50, 1, false, Phase{Op: Encounter, Draw: Hot, PerObject: 100, HotObjects: 0.001, HotDraws: 1})
	if len(counts) != 1 {
		t.Errorf("%d objects are met, of one that is hot", len(counts))
	}
}

// TestZipfCounts has exponents on both sides of 1: the first hundred ranks have the share
// that the law gives them.
func TestZipfCounts(t *testing.T) {
	const objects = 5000
	for _, theta := range []float64{0.5, 0.99, 1, 1.4} {
		for name, ph := range map[string]Phase{
			"zipf": {Op: Encounter, Draw: Zipf, Theta: theta, PerObject: 40},
			"held": {Op: Encounter, Draw: Held, Theta: theta, Tasks: objects, PerTask: 40, Spread: Zipf},
		} {
			_, ptrs, counts := drawn(t, objects, 2, false, ph)
			head := 0
			for _, n := range sorted(counts)[:100] {
				head += n
			}
			want, sum := 0.0, 0.0
			for k := range objects {
				weight := math.Pow(float64(k+1), -theta)
				sum += weight
				if k < 100 {
					want += weight
				}
			}
			if share := float64(head) / float64(len(ptrs)); math.Abs(share-want/sum) > 0.005 {
				t.Errorf("%s, theta %v: the first hundred have a share of %.4f; want %.4f", name, theta, share, want/sum)
			}
		}
	}
}

func TestDealtObjectsHaveOneHolder(t *testing.T) {
	_, ptrs, counts := drawn(t, 1000, 3, false, Phase{Op: Encounter, Draw: Held, Tasks: 50, PerTask: 20, Spread: Dealt})
	if len(ptrs) != 1000 || len(counts) != 1000 {
		t.Errorf("%d encounters of %d objects", len(ptrs), len(counts))
	}
	_, _, counts = drawn(t, 100, 3, false, Phase{Op: Encounter, Draw: Held, Tasks: 50, PerTask: 20, Spread: Dealt})
	for ptr, n := range counts {
		if n != 10 {
			t.Fatalf("%#x has %d holders, of 10", ptr, n)
		}
	}
}

// TestWholeTasks checks that no task is cut in two.
func TestWholeTasks(t *testing.T) {
	for _, threads := range []int{1, 2, 3, 7, 64} {
		w, ptrs, _ := drawn(t, 500, threads, false, Phase{Op: Encounter, Draw: Held, Tasks: 41, PerTask: 30, Spread: Uniform})
		for _, p := range w.phases[0].parts {
			if len(p.ptrs)%30 != 0 || len(p.kinds) != len(p.ptrs) || len(p.refs) != len(p.ptrs) {
				t.Errorf("on %d threads, one has %d operations", threads, len(p.ptrs))
			}
		}
		_, alone, _ := drawn(t, 500, 1, false, Phase{Op: Encounter, Draw: Held, Tasks: 41, PerTask: 30, Spread: Uniform})
		if !slices.Equal(ptrs, alone) {
			t.Errorf("on %d threads, the operations are others", threads)
		}
	}
}

func TestKindShares(t *testing.T) {
	p := Profile{Kinds: []string{"a", "b", "c"}, KindShares: []float64{7, 2, 1}}
	for _, objects := range []int{10, 100, 100_000} {
		k := newKindsOf(p, objects)
		var counts [4]int
		for i := range objects {
			counts[k.of(i)]++
		}
		for kind, share := range []float64{0, 0.7, 0.2, 0.1} {
			// Multiples of the golden ratio stay within a few of the share.
			if off := math.Abs(float64(counts[kind]) - share*float64(objects)); off > 4 {
				t.Errorf("of %d objects, %d have kind %d; want a share of %v", objects, counts[kind], kind, share)
			}
		}
	}
}

// TestCountedByEveryDistribution checks draws by objref, of counters and restarts.
func TestCountedByEveryDistribution(t *testing.T) {
	const objects = 1000
	for _, c := range []struct {
		ph   Phase
		head float64 // share of the ten most frequent
	}{
		{Phase{Draw: Uniform, PerObject: 200}, 0.0113},
		{Phase{Draw: Hot, PerObject: 200, HotObjects: 0.01, HotDraws: 0.75}, 0.75},
		{Phase{Draw: Zipf, PerObject: 200, Theta: 1}, 0.391},
		{Phase{Draw: Handles, Spread: Hot, Tasks: 3125, PerTask: 64, HotObjects: 0.01, HotDraws: 0.75}, 0.75},
		{Phase{Op: Fetch, Draw: Hot, Operations: 200_000, HotObjects: 0.01, HotDraws: 0.75}, 0.75},
		{Phase{Op: Fetch, Draw: Uniform, Operations: 200_000}, 0.0113},
	} {
		t.Run(fmt.Sprintf("op=%s/draw=%s", c.ph.Op, c.ph.Draw), func(t *testing.T) {
			p := Profile{Name: "x", Kinds: []string{"a"}, Keys: keys.Mixed(), Phases: []Phase{{Op: Restore, Draw: InOrder}, c.ph}}
			if c.ph.Op == "" {
				c.ph.Op = Count
				p.Phases = []Phase{{Op: Close}, c.ph, {Op: Close}}
			}
			w, err := NewWorkload(p, Size{Objects: objects, Threads: 3, Seed: 1})
			if err != nil {
				t.Fatal(err)
			}
			counts, ops, head := map[uint64]int{}, 0, 0
			for _, part := range w.phases[1].parts {
				for _, ref := range part.refs {
					counts[uint64(ref)]++
					ops++
				}
			}
			for _, n := range sorted(counts)[:10] {
				head += n
			}
			if share := float64(head) / float64(ops); ops != 200_000 || math.Abs(share-c.head) > 0.005 {
				t.Errorf("the ten most frequent have a share of %.4f of %d operations; want %.4f of 200,000", share, ops, c.head)
			}
		})
	}
}
