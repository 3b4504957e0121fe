//go:build race || objhash_invariants

package shard

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

// A thread that splits a shard is stopped when it has published the first half and not the
// second. Lookups find everything, the first half takes new entries, and the second
// one's inserters wait. Who wants to replace the first half waits too: else the
// publication that is under way could go over that of its successor. So does Close.
// (Between two entries of one half there is no step to stop at; who has found the half in
// one of them meets the same lock.)
func TestSplitStoppedBetweenTheHalves(t *testing.T) {
	for _, close := range []bool{false, true} {
		for _, step := range []string{"replace: between the entries", "replace: before releasing"} {
			t.Run(step, func(t *testing.T) { testStoppedSplit(t, step, close) })
		}
	}
}

func testStoppedSplit(t *testing.T, step string, closes bool) {
	r := seeded(t)
	x := compactSubject.open(t, Config{}).(*Compact)
	x.stripes = max(x.stripes, 4)
	want := make(map[uint64]stored)
	random := func(half uint64) uint64 { // an address of that half of the index
		for {
			ptr := r.Uint64() << addrPad >> addrPad >> 1
			if _, h := x.hash(ptr); h>>63 == half && ptr != 0 && want[ptr].ref == 0 {
				return ptr
			}
		}
	}
	insert := func(half uint64) {
		ptr, ref := random(half), int32(len(want)+1)
		mustInsert(t, x, ptr, ref)
		want[ptr] = stored{ref, tagOf(ref)}
	}
	old := x.dir[0].tab.Load()
	for old.groups < splitGroupsFew {
		insert(uint64(len(want) & 1))
		old = x.dir[0].tab.Load()
	}
	for old.sparse() {
		insert(uint64(len(want) & 1))
	}
	if now := x.dir[0].tab.Load(); now != old || old.depth != 0 {
		t.Fatalf("the table that was to be split has been replaced: depth %d, %d groups", now.depth, now.groups)
	}

	reached, resume := stop(t, step)
	split := make(chan error, 1)
	go func() { split <- x.replace(&x.dir[0], old, 1, crowded) }()
	mustClose(t, "the split on its way to "+step, reached)
	firstOfSecond := &x.dir[len(x.dir)/2]
	half := x.dir[0].tab.Load()
	if published := firstOfSecond.tab.Load() != old; half == old || half.depth != 1 || published != (step != "replace: between the entries") {
		t.Fatalf("stopped at %q: depth %d, the second half is published: %v", step, half.depth, published)
	}

	for ptr, w := range want {
		mustFind(t, x, ptr, w)
		if got, _, err := x.Insert(ptr, 1<<20, 1); got != w.ref || err != nil {
			t.Fatalf("Insert of the known %#x = %d, %v; want %d", ptr, got, err, w.ref)
		}
	}
	for range 8 {
		insert(0)
	}
	// Inserts into the second half, a replacement of the first one, and Close.
	var replaced, inserted, closed atomic.Bool
	late, lateRef := random(1), int32(len(want)+1)
	done := make(chan struct{}, 3)
	go func() {
		defer func() { done <- struct{}{} }()
		if err := x.replace(&x.dir[len(x.dir)/2-1], half, 1, unfit); err != nil && !closes {
			t.Error(err)
		}
		replaced.Store(true)
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		got, _, err := x.Insert(late, lateRef, tagOf(lateRef))
		if (got != lateRef || err != nil) && !(closes && errors.Is(err, ErrClosed)) {
			t.Errorf("Insert(%#x, %d) = %d, %v", late, lateRef, got, err)
		}
		inserted.Store(true)
	}()
	go func() {
		defer func() { done <- struct{}{} }()
		if closes {
			x.Close()
			closed.Store(true)
		}
	}()
	time.Sleep(20 * time.Millisecond)
	if replaced.Load() || x.dir[0].tab.Load() != half || x.dir[len(x.dir)/2-1].tab.Load() != half {
		t.Error("the first half has been replaced before all of the split was published")
	}
	// A closed index says so without waiting.
	if inserted.Load() && step == "replace: between the entries" && !closes {
		t.Error("an insert into a half that is not published has not waited")
	}
	if closed.Load() {
		t.Error("Close has not waited")
	}
	if !closes {
		for ptr, w := range want {
			mustFind(t, x, ptr, w)
		}
	}
	resume()
	if err := <-split; err != nil {
		t.Error(err)
	}
	mustReturn(t, "what waited for the split", func() {
		for range 3 {
			<-done
		}
	})
	if closes {
		mustBeClosed(t, x, []uint64{late})
		return
	}
	want[late] = stored{lateRef, tagOf(lateRef)}
	mustBeDirectory(t, x)
	mustHold(t, x, want)
}
