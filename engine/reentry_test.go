package engine_test

import (
	"errors"
	"testing"

	"github.com/objhash/objhash/engine"
	"github.com/objhash/objhash/refcount"
)

// G13: no user callback runs while a lock of ours is held: a callback may re-enter the
// engine on the same shard.

// useEverything calls every method of a checkpoint and of a handle, about the object
// at p and about others, new and known. An object met is of kind 1.
func useEverything(t *testing.T, c *engine.Checkpoint, d *engine.Dumper, p engine.Ptr, fresh *int) {
	newPtr := func() engine.Ptr {
		*fresh++
		if *fresh%5 == 0 {
			return wide(1_000_000 + *fresh)
		}
		return addr(1_000_000 + *fresh)
	}
	check := func(what string, err error) {
		if err != nil && !errors.Is(err, engine.ErrClosed) {
			t.Errorf("%s in a callback: %v", what, err)
		}
	}
	_, _, err := d.Encounter(p, 1)
	check("Encounter", err)
	for range 40 { // enough to have the shard replaced
		_, _, err = d.Encounter(newPtr(), 1)
		check("Encounter", err)
	}
	refs := make([]engine.ObjRef, 4)
	check("EncounterBatch", d.EncounterBatch([]engine.Ptr{newPtr(), p, newPtr(), newPtr()}, 1, refs, make([]bool, 4)))
	_, err = d.Dump(p, 1, dumpOK)
	check("Dump", err)
	_, err = d.Dump(newPtr(), 1, dumpOK)
	check("Dump", err)
	_, _, err = d.EncounterKey([]byte{byte(*fresh), 1}, 1)
	check("EncounterKey", err)
	_, err = d.Reserve()
	check("Reserve", err)
	c.Lookup(p)
	c.LookupBatch([]engine.Ptr{p, newPtr()}, refs[:2])
	c.Object(1)
	c.Len()
	c.Stats()
	n := 0
	for range c.All() {
		if n++; n > 3 {
			break
		}
	}
	check("Dumper.Close", c.Dumper().Close())
}

// From each callback all methods are called, on the same object and in the same shard,
// with the handle that the callback runs for, and with another one.
func TestG13_callbacksReenter(t *testing.T) {
	for _, o := range []engine.Options{{Shards: 1}, {Shards: 1, Count: refcount.Atomic{}}} {
		for _, p := range []engine.Ptr{addr(1), wide(1)} {
			for _, place := range []string{"Grab", "Drop/lost", "Drop/Close", "dump"} {
				for _, own := range []bool{true, false} {
					for _, end := range []string{"nothing", "Close", "Dumper.Close", "both"} {
						within(t, "a callback of "+place+" that calls everything, then "+end, func() {
							reenter(t, o, p, place, own, end)
						})
					}
				}
			}
		}
	}
}

func reenter(t *testing.T, o engine.Options, p engine.Ptr, place string, own bool, end string) {
	l := newLedger(t, 1)
	c := newCheckpoint(t, with(o, l))
	d, other := newDumper(t, c), newDumper(t, c)
	fresh := 0
	inside := false
	runs := 0
	reenter := func() {
		if inside {
			return
		}
		inside = true
		defer func() { inside = false }()
		runs++
		if own {
			useEverything(t, c, d, p, &fresh)
		} else {
			useEverything(t, c, other, p, &fresh)
		}
		if end == "Close" || end == "both" {
			closeQuietly(t, c)
		}
		if end == "Dumper.Close" || end == "both" {
			closeQuietly(t, d)
		}
	}
	l.grabbing = func(a account) error {
		if a.p == p && place == "Grab" {
			reenter()
		}
		if a.p == p && place == "Drop/lost" && !inside {
			inside = true
			other.Encounter(p, 1)
			inside = false
		}
		return nil
	}
	l.dropping = func(a account, last bool) {
		if a.p == p && (place == "Drop/lost" && !last || place == "Drop/Close" && last) {
			reenter()
		}
	}
	ref, err := d.Dump(p, 1, func(engine.ObjRef) error {
		if place == "dump" {
			reenter()
		}
		return nil
	})
	closedFirst := end != "nothing" && (place == "Grab" || place == "Drop/lost" && end != "Dumper.Close")
	if err != nil && !(closedFirst && errors.Is(err, engine.ErrClosed)) {
		t.Errorf("%s, own %t, %s: Dump = %d, %v", place, own, end, ref, err)
	}
	if end == "nothing" && place != "Drop/Close" {
		wantInOrder(t, c)
	}
	closeQuietly(t, c)
	closeQuietly(t, d)
	closeQuietly(t, other)
	if runs == 0 {
		t.Errorf("%s: the callback did not run", place)
	}
	l.settled()
}

func TestG13_restartCallbacksReenter(t *testing.T) {
	for _, ref := range []engine.ObjRef{1, 5_000, 1<<31 - 1} {
		for _, p := range []engine.Ptr{addr(1), wide(1)} {
			for _, place := range []string{"Grab", "Drop/lost", "Drop/Close"} {
				for _, end := range []bool{false, true} {
					within(t, "a callback of "+place+" that calls everything", func() {
						reenterRestart(t, ref, p, place, end)
					})
				}
			}
		}
	}
}

func reenterRestart(t *testing.T, ref engine.ObjRef, p engine.Ptr, place string, end bool) {
	l := newLedger(t, 1)
	r := newRestart(t, with(engine.Options{}, l))
	inside := false
	runs := 0
	reenter := func() {
		if inside {
			return
		}
		inside = true
		defer func() { inside = false }()
		runs++
		for i := range engine.ObjRef(8) {
			other := ref - i - 1 // in the same segment
			if ref == 1 {
				other = ref + i + 1
			}
			err := r.Insert(other, p+8, 1)
			if err != nil && !errors.Is(err, engine.ErrClosed) {
				t.Errorf("Insert(%d) in %s: %v", other, place, err)
			}
			r.Fetch(other, 1)
		}
		r.Fetch(ref, 1)
		r.Len()
		r.Bytes()
		if end {
			closeQuietly(t, r)
		}
	}
	lose := true
	l.grabbing = func(a account) error {
		switch {
		case a.p != p || inside:
		case place == "Grab":
			reenter()
		case place == "Drop/lost" && lose:
			lose = false
			if err := r.Insert(ref, p+16, 1); err != nil {
				t.Errorf("Insert in Grab: %v", err)
			}
		}
		return nil
	}
	l.dropping = func(a account, last bool) {
		if a.p == p && place[0] == 'D' {
			reenter()
		}
	}
	err := r.Insert(ref, p, 1)
	switch {
	case place == "Drop/lost" && !(end && errors.Is(err, engine.ErrClosed)):
		wantErr(t, "Insert that lost", err, engine.ErrExists)
	case end && place != "Drop/Close":
		wantErr(t, "Insert overtaken by Close", err, engine.ErrClosed)
	case err != nil:
		t.Errorf("Insert: %v", err)
	}
	closeQuietly(t, r)
	if runs == 0 {
		t.Errorf("%s: the callback did not run", place)
	}
	l.settled()
}
