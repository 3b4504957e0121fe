//go:build race || objhash_invariants

package engine_test

import (
	"errors"
	"testing"

	"github.com/objhash/objhash/engine"
	"github.com/objhash/objhash/internal/invariants"
)

// The steps of an encounter of an object of the base, in order. From the third on it has
// been met.
var againSteps = []string{
	"encounter: before publishing",
	"insert: before the CAS",
	"insert: after the search",
	"publish: before checking closed",
}

// G20, G1, G11: a thread stopped between any two steps of meeting an object of the base
// blocks nobody, the very same object included; one encounter of it is first.
func TestG20_stoppedEncounterOfTheBaseBlocksNobody(t *testing.T) {
	for _, step := range againSteps {
		for i, p := range []engine.Ptr{addr(0), 0, wide(2)} { // 0: a key
			if step[:6] == "insert" && i > 0 {
				continue // they are not in the index's tables
			}
			l := newLedger(t, 1)
			s := snapshotOf(l, 100)
			c := newRound(t, with(engine.Options{Shards: 1}, l), s)
			victim, d := newDumper(t, c), newDumper(t, c)
			x := s.Objects[[]int{0, 3, 2}[i]]
			stopped := newStopper(t, step)
			var ref engine.ObjRef
			var first bool
			var err error
			done := stop(t, stopped, func() { ref, first, err = encounter(victim, &x.Object) })
			firsts := 0
			within(t, "other threads, while one is stopped at "+step, func() {
				for j := range s.Objects {
					o := &s.Objects[j]
					ref, first, err := encounter(d, &o.Object)
					if ref != o.Ref || err != nil || !first && o.Ref != x.Ref {
						t.Errorf("%+v is met as %d, %t, %v", o, ref, first, err)
					}
					if first {
						firsts++
					}
					if found, ok := c.Lookup(o.Ptr); o.Ptr != 0 && (found != ref || !ok) {
						t.Errorf("Lookup(%#x) = %d, %t", o.Ptr, found, ok)
					}
				}
				for j := range 200 {
					if _, first, err := d.Encounter(addr(1_000+j), 1); !first || err != nil {
						t.Errorf("new object: %t, %v", first, err)
					}
				}
				if got := readSnapshot(t, writeSnapshot(t, c)); len(got.Objects) != 300 {
					t.Errorf("%d objects in a snapshot; want 300", len(got.Objects))
				}
			})
			stopped.release()
			await(t, "the stopped thread", done)
			if first {
				firsts++
			}
			if ref != x.Ref || err != nil || firsts != 100 || first != (step != againSteps[0]) {
				t.Errorf("%s: the stopped thread's encounter = %d, %t, %v; %d were first", step, ref, first, err, firsts)
			}
			if p != 0 && l.held(p) != 1 {
				t.Errorf("%s: %d references held", step, l.held(p))
			}
			wantInOrder(t, c)
			closeQuietly(t, c)
			closeQuietly(t, victim)
			closeQuietly(t, d)
			l.settled()
		}
	}
}

// G11, G19: Close goes past a thread stopped at any step of meeting an object of the base.
func TestG11_G19_closeDuringEachStepOfTheBase(t *testing.T) {
	for _, step := range againSteps {
		l := newLedger(t, 1)
		c := newRound(t, with(engine.Options{}, l), snapshotOf(l, 10))
		victim := newDumper(t, c)
		stopped := newStopper(t, step)
		var ref engine.ObjRef
		var err error
		done := stop(t, stopped, func() { ref, _, err = victim.Encounter(addr(0), 1) })
		within(t, "Close, while a thread is stopped at "+step, func() { closeQuietly(t, c) })
		stopped.release()
		await(t, "the stopped thread", done)
		if ref != 0 || !errors.Is(err, engine.ErrClosed) {
			t.Errorf("%s: Encounter = %d, %v; want ErrClosed", step, ref, err)
		}
		closeQuietly(t, victim)
		l.settled()
	}
}

// An object of the base is met under its own kind while a thread that meets it under
// another one is stopped, and the other way round: who comes first has the address.
func TestG9_stoppedEncounterUnderAnotherKind(t *testing.T) {
	for _, stoppedKind := range []engine.Kind{1, 2} { // 1 is its own
		for i, step := range againSteps {
			l := newLedger(t, 2)
			c := newRound(t, with(engine.Options{Shards: 1}, l), snapshotOf(l, 10))
			victim, d := newDumper(t, c), newDumper(t, c)
			stopped := newStopper(t, step)
			var ref, ref2 engine.ObjRef
			var first, first2 bool
			var err, err2 error
			done := stop(t, stopped, func() { ref, first, err = victim.Encounter(addr(0), stoppedKind) })
			within(t, "the other kind", func() { ref2, first2, err2 = d.Encounter(addr(0), 3-stoppedKind) })
			stopped.release()
			await(t, "the stopped thread", done)
			if first == first2 || first != (err == nil) || first2 != (err2 == nil) {
				t.Fatalf("stopped with kind %d at %q: %d, %t, %v; the other one: %d, %t, %v", stoppedKind, step, ref, first, err, ref2, first2, err2)
			}
			winner, kind := ref, stoppedKind
			if first2 {
				winner, kind = ref2, 3-stoppedKind
			}
			givenUp := stoppedKind == 2 && i > 0 // then its own kind has to take another objref
			if (winner == 1) != (kind == 1 && !givenUp) || i == 0 && first {
				t.Errorf("stopped with kind %d at %q: objref %d, of kind %d, has the address", stoppedKind, step, winner, kind)
			}
			if o, ok := c.Object(winner); !ok || o.Ptr != addr(0) || o.Kind != kind || l.held(addr(0)) != 1 {
				t.Errorf("stopped with kind %d at %q: Object(%d) = %+v, %t; %d references held", stoppedKind, step, winner, o, ok, l.held(addr(0)))
			}
			wantInOrder(t, c)
			closeQuietly(t, c)
			closeQuietly(t, victim)
			closeQuietly(t, d)
			l.settled()
		}
	}
}

// A snapshot leaves out the object of a thread that has made its record and has not
// published it, and has all others.
func TestG6_snapshotDuringAnEncounter(t *testing.T) {
	for _, meet := range []func(d *engine.Dumper) error{
		func(d *engine.Dumper) error { _, _, err := d.Encounter(addr(1_000), 1); return err },
		func(d *engine.Dumper) error { _, _, err := d.Encounter(wide(1_000), 1); return err },
		func(d *engine.Dumper) error { _, _, err := d.EncounterKey([]byte("key"), 1); return err },
	} {
		c := newCheckpoint(t, engine.Options{Kinds: []engine.KindOps{{}}})
		victim, d := newDumper(t, c), newDumper(t, c)
		for i := range 200 {
			mustMeet(t, d, addr(i), 1, engine.ObjRef(i+1), true)
		}
		s := newStopper(t, "encounter: before publishing")
		var err error
		done := stop(t, s, func() { err = meet(victim) })
		within(t, "a snapshot, while a thread is stopped", func() {
			if got := readSnapshot(t, writeSnapshot(t, c)); len(got.Objects) != 200 {
				t.Errorf("%d objects; want 200", len(got.Objects))
			}
		})
		s.release()
		await(t, "the stopped thread", done)
		if got := readSnapshot(t, writeSnapshot(t, c)); len(got.Objects) != 201 || err != nil {
			t.Errorf("%d objects, %v; want 201", len(got.Objects), err)
		}
	}
	// Every step is passed in a build that can stop there.
	if !invariants.Enabled {
		t.Error("this build takes no steps")
	}
}
