package target

import (
	"math/rand/v2"
	"testing"

	"github.com/objhash/objhash/shard"
)

// TestFloorOffsets compares the two ways to compute them, where there are two.
func TestFloorOffsets(t *testing.T) {
	const objects = 5000
	made, err := newFloor(Options{Objects: objects})
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	floor := made.(*floorTarget)
	ptrs := make([]uint64, floorBlock)
	met := map[uint64]bool{}
	for n := range floorBlock + 1 {
		for i := range ptrs[:n] {
			ptrs[i] = rand.Uint64()
		}
		offsets := make([]uint64, n+1)
		floorOffsets(floor, ptrs[:n], offsets[:n])
		for i, got := range offsets[:n] {
			if want := floorOffset(ptrs[i], floor.lines); got != want || got%floorLine != 0 || got/floorLine >= floor.lines {
				t.Fatalf("offset %d for %#x, of %d lines; want %d", got, ptrs[i], floor.lines, want)
			}
			met[got] = true
		}
		if offsets[n] != 0 {
			t.Fatalf("writes beyond %d offsets", n)
		}
	}
	if len(met) < int(floor.lines)/2 {
		t.Errorf("%d addresses have %d lines, of %d", floorBlock*(floorBlock+1)/2, len(met), floor.lines)
	}
}

// TestFloorReads plants a word in every line, so that what a lookup reads shows.
func TestFloorReads(t *testing.T) {
	made, err := newFloor(Options{Objects: 5000})
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	floor := made.(*floorTarget)
	for i := range floor.lines {
		*floor.word(i * floorLine) = int32(i) + 1
	}
	w, err := made.Worker()
	if err != nil {
		t.Fatal(err)
	}
	const n = 2*floorBlock + 3
	ptrs, refs := make([]uint64, n), make([]int32, n)
	for i := range ptrs {
		ptrs[i] = 0x7f00_0000_0000 + 64*uint64(i)
	}
	if found, err := w.Lookup(ptrs, refs); found != 0 || err != nil {
		t.Errorf("%d found, %v", found, err)
	}
	for i, ref := range refs {
		if want := int32(floorOffset(ptrs[i], floor.lines)/floorLine) + 1; ref != want {
			t.Fatalf("element %d read line %d; want %d", i, ref-1, want-1)
		}
	}
}

func TestFloorIsAsLargeAsTheIndex(t *testing.T) {
	for _, objects := range []int{1, 1000, 300_000} {
		floor, err := newFloor(Options{Objects: objects})
		if err != nil {
			t.Fatal(err)
		}
		index, err := shard.NewCompact(shard.Config{Expected: objects})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := floor.Bytes(), index.Bytes(); got > want || got <= want-floorLine {
			t.Errorf("%d objects: %d bytes, and the index has %d", objects, got, want)
		}
		if err := floor.Close(); err != nil {
			t.Error(err)
		}
		if err := index.Close(); err != nil {
			t.Error(err)
		}
	}
}
