package model

import (
	"math"
	"slices"
	"testing"

	"github.com/objhash/objhash/refcount"
)

var tinySizes = sizes{ops: 1 << 10, round: 16, zipf: 100, zipfUsers: 8, tasks: 20, files: 10, taskFiles: 5}

func sum(xs []float64) (sum float64) {
	for _, x := range xs {
		sum += x
	}
	return sum
}

func TestMasses(t *testing.T) {
	masses := zipfMasses(100_000, theta)
	if s := sum(masses); math.Abs(s-1) > 1e-9 {
		t.Errorf("the masses add up to %v", s)
	}
	if !slices.IsSortedFunc(masses, func(a, b float64) int { return int(math.Copysign(1, b-a)) }) {
		t.Error("a rank is more popular than one before it")
	}
	if ratio := masses[0] / masses[9]; !near(ratio, math.Pow(10, theta)) {
		t.Errorf("the first is %v times as popular as the tenth", ratio)
	}
	for _, p := range everyProfile(t) {
		for _, row := range everyRow(t) {
			lines := p.lines(row, p.masses, row.PerLine, 64)
			if len(lines) > 0 && math.Abs(sum(lines)-1) > 1e-9 {
				t.Errorf("%s, %+v: lines add up to %v", p.Name, row, sum(lines))
			}
			for i := 1; i < len(lines); i++ {
				if lines[i] > lines[i-1] {
					t.Fatalf("%s, %+v: line %d is more popular than the one before it", p.Name, row, i)
				}
			}
		}
	}
}

func TestPerHandle(t *testing.T) {
	p := &Profile{Ops: 12, masses: []float64{0.5, 0.25, 0.25}}
	if got, want := p.perHandle(6), (1-0.25)+2*(1-0.75*0.75); !near(got, want) {
		t.Errorf("two operations meet %v objects, want %v", got, want)
	}
	if got := privateProfile().perHandle(8); got != 64 {
		t.Errorf("a thread counts %v objects of its own, want 64", got)
	}
}

// TestWork: however it is cut, all is done, within the room.
func TestWork(t *testing.T) {
	for _, p := range everyProfile(t) {
		for _, threads := range []int{1, 2, 3, 7} {
			w := newWork(p, threads)
			if w.ops != p.Ops || len(w.parts) != threads {
				t.Errorf("%s, %d threads: %d operations in %d parts, want %d", p.Name, threads, w.ops, len(w.parts), p.Ops)
			}
			for _, part := range w.parts {
				if len(part) > 0 && (slices.Min(part) < firstRef || slices.Max(part) > w.last) {
					t.Errorf("%s, %d threads: objrefs %d to %d, want %d to %d", p.Name, threads, slices.Min(part), slices.Max(part), firstRef, w.last)
				}
			}
			if _, err := w.trial(refcount.Atomic{}); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestDraws: what is drawn is as popular as the model takes it to be.
func TestDraws(t *testing.T) {
	big := tinySizes
	big.zipfUsers = 1 << 9
	profiles, err := newProfiles(big, 1)
	if err != nil {
		t.Fatal(err)
	}
	p := profiles[2]
	drawn := make([]float64, len(p.masses))
	for _, ref := range p.draws {
		drawn[ref-firstRef] += 1 / float64(len(p.draws))
	}
	for i, mass := range p.masses {
		if sigma := math.Sqrt(mass / float64(p.Ops)); math.Abs(drawn[i]-mass) > 6*sigma {
			t.Errorf("object %d: drawn %v of the time, want %v", i, drawn[i], mass)
		}
	}
}
