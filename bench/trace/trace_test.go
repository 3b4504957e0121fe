package trace

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func wantEqual(t testing.TB, got, want *Trace) {
	t.Helper()
	if !slices.Equal(got.Kinds, want.Kinds) {
		t.Fatalf("kinds are %q, want %q", got.Kinds, want.Kinds)
	}
	if len(got.Encounters) != len(want.Encounters) {
		t.Fatalf("%d encounters, want %d", len(got.Encounters), len(want.Encounters))
	}
	for i, e := range got.Encounters {
		if e != want.Encounters[i] {
			t.Fatalf("encounter %d is %+v, want %+v", i, e, want.Encounters[i])
		}
	}
}

// walk is a made-up trace with every way there is to code an encounter: roots,
// holders in and out of order, holders that are no objects, kinds beyond the
// tag's, addresses at both ends of 64 bits. Its generator is the same on every
// machine.
func walk(encounters int) *Trace {
	t := &Trace{}
	for k := range 40 {
		t.Kinds = append(t.Kinds, fmt.Sprintf("kind%d", k+1))
	}
	rng := rand.New(rand.NewPCG(5, 22))
	objects := []Encounter{{Kind: 1, Ptr: 1}, {Kind: 1, Ptr: 1<<64 - 1}, {Kind: 40, Ptr: 1 << 63}}
	t.Encounters = append(t.Encounters, objects...)
	at := 0
	var holder uint64
	for len(t.Encounters) < encounters {
		switch rng.IntN(16) {
		case 0:
			holder = 0
		case 1:
			holder = uint64(rng.IntN(1 << 20))
		case 2:
			holder = objects[rng.IntN(len(objects))].Ptr
		case 3:
			at = min(at+rng.IntN(4), len(objects)-1)
			holder = objects[at].Ptr
		case 4, 5, 6, 7, 8:
			at = min(at+1, len(objects)-1)
			holder = objects[at].Ptr
		}
		o := objects[rng.IntN(len(objects))]
		if rng.IntN(2) == 0 {
			// Kinds have address ranges of their own, so that none has two kinds.
			kind := 2 + rng.IntN(39)
			o = Encounter{Kind: uint16(kind), Ptr: uint64(kind)<<40 + uint64(rng.IntN(1<<12))<<(kind%12)}
			if !slices.ContainsFunc(objects, func(k Encounter) bool { return k.Ptr == o.Ptr }) {
				objects = append(objects, o)
			}
		}
		t.Encounters = append(t.Encounters, Encounter{holder, o.Kind, o.Ptr})
	}
	return t
}

func TestObjectsAndHolders_countDistinctOnes(t *testing.T) {
	tr := &Trace{Kinds: []string{"a"}, Encounters: []Encounter{
		{0, 1, 10}, {0, 1, 20}, {10, 1, 20}, {20, 1, 10}, {10, 1, 30}, {10, 1, 30}, {0, 1, 40},
	}}
	if got := tr.Objects(); got != 4 {
		t.Errorf("Objects = %d, want 4", got)
	}
	if got := tr.Holders(); got != 2 {
		t.Errorf("Holders = %d, want 2: the roots' 0 is none", got)
	}
}

func TestHead_dropsUnusedKindsAndCopies(t *testing.T) {
	tr := &Trace{Kinds: []string{"a", "b", "c", "d"}, Encounters: []Encounter{
		{0, 4, 10}, {0, 2, 20}, {10, 4, 30}, {20, 1, 40},
	}}
	head := tr.Head(3)
	wantEqual(t, head, &Trace{Kinds: []string{"b", "d"}, Encounters: []Encounter{{0, 2, 10}, {0, 1, 20}, {10, 2, 30}}})
	head.Encounters[0].Ptr = 99
	if tr.Encounters[0] != (Encounter{0, 4, 10}) {
		t.Error("Head shares memory with its trace")
	}
	wantEqual(t, tr.Head(100), &Trace{Kinds: []string{"a", "b", "d"}, Encounters: []Encounter{{0, 3, 10}, {0, 2, 20}, {10, 3, 30}, {20, 1, 40}}})
	wantEqual(t, tr.Head(-1), &Trace{})
	wantEqual(t, (&Trace{Encounters: []Encounter{{0, 65535, 1}}}).Head(1), &Trace{Encounters: []Encounter{{0, 0, 1}}})
}

func TestPartition_dealsEachEncounterOnceInOrderByHolder(t *testing.T) {
	tr := walk(5000)
	// The holder tells encounters that are alike apart.
	for i := range tr.Encounters {
		tr.Encounters[i].Ptr = uint64(i) + 1
	}
	for _, parts := range []int{1, 2, 3, 16, 6000} {
		split := tr.Partition(parts)
		if len(split) != parts {
			t.Fatalf("%d parts, want %d", len(split), parts)
		}
		partOf := map[uint64]int{}
		var all []Encounter
		for p, part := range split {
			if !slices.IsSortedFunc(part, func(a, b Encounter) int { return int(a.Ptr) - int(b.Ptr) }) {
				t.Fatalf("part %d of %d is not in the order of the walk", p, parts)
			}
			for _, e := range part {
				if was, met := partOf[e.Holder]; met && was != p && e.Holder != 0 {
					t.Fatalf("holder %#x is in parts %d and %d of %d", e.Holder, was, p, parts)
				}
				partOf[e.Holder] = p
			}
			all = append(all, part...)
		}
		slices.SortFunc(all, func(a, b Encounter) int { return int(a.Ptr) - int(b.Ptr) })
		if !slices.Equal(all, tr.Encounters) {
			t.Fatalf("%d parts do not make up the trace", parts)
		}
		again := tr.Partition(parts)
		for p := range split {
			if !slices.Equal(split[p], again[p]) {
				t.Fatalf("part %d of %d is another the second time", p, parts)
			}
		}
	}
	for _, parts := range []int{0, -1} {
		if got := tr.Partition(parts); got != nil {
			t.Errorf("Partition(%d) = %d parts, want nil", parts, len(got))
		}
	}
}

func TestPartition_isBalanced(t *testing.T) {
	sizes := func(tr *Trace, parts int) (sizes []int) {
		for _, part := range tr.Partition(parts) {
			sizes = append(sizes, len(part))
		}
		return sizes
	}

	roots := &Trace{}
	for i := range 1001 {
		roots.Encounters = append(roots.Encounters, Encounter{0, 1, uint64(i) + 1})
	}
	if got := sizes(roots, 4); !slices.Equal(got, []int{251, 250, 250, 250}) {
		t.Errorf("roots alone: %v, want them dealt one by one", got)
	}

	// One holder with half of all: nothing can be done but keep the others off.
	big := &Trace{}
	for i := range 100 {
		big.Encounters = append(big.Encounters, Encounter{1, 1, 1}, Encounter{uint64(i) + 2, 1, 1})
	}
	if got := sizes(big, 3); !slices.Equal(got, []int{100, 50, 50}) {
		t.Errorf("a holder with half: %v, want [100 50 50]", got)
	}

	tr := walk(5000)
	for _, parts := range []int{2, 3, 7, 16} {
		got := sizes(tr, parts)
		if d := slices.Max(got) - slices.Min(got); d > 1 {
			t.Errorf("%d parts differ by %d encounters, want 1 at most", parts, d)
		}
	}
}
