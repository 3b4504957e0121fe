//go:build race || objhash_invariants

package engine_test

import (
	"errors"
	"testing"

	"github.com/objhash/objhash/engine"
)

// shortVictim is a thread that meets objects of a kind without a Grab, in the short way:
// its handle has a lease.
type shortVictim struct {
	name string
	meet func(d *engine.Dumper, p engine.Ptr) (ref engine.ObjRef, first bool, err error)
}

var shortVictims = []shortVictim{
	{"Encounter", func(d *engine.Dumper, p engine.Ptr) (engine.ObjRef, bool, error) { return d.Encounter(p, 2) }},
	{"EncounterBatch", func(d *engine.Dumper, p engine.Ptr) (engine.ObjRef, bool, error) {
		refs, first := make([]engine.ObjRef, 3), make([]bool, 3)
		err := d.EncounterBatch([]engine.Ptr{addr(0), p, p}, 2, refs, first)
		return refs[1], first[1], err
	}},
}

// forEachShortStep runs f for each victim and step, when its encounter of addr(1000) has
// stopped there; resume lets it go on, and returns what it said. Handle d is another
// thread's. The victim has met one object before, and d another one. The index has room
// for tags.
func forEachShortStep(t *testing.T, f func(t *testing.T, s *shortStep)) {
	for _, v := range shortVictims {
		for i, step := range encounterSteps {
			t.Run(v.name+"/"+step, func(t *testing.T) {
				s := &shortStep{published: i >= 2, batch: v.name != "Encounter"}
				s.c = newCheckpoint(t, engine.Options{Shards: 1, ExpectedObjects: 100, Kinds: bareKinds(2, &s.drops)})
				s.victim, s.d = newDumper(t, s.c), newDumper(t, s.c)
				mustMeet(t, s.victim, addr(0), 2, 1, true)
				mustMeet(t, s.d, addr(1), 2, 1+leaseRefs, true)
				stopped := newStopper(t, step)
				var ref engine.ObjRef
				var first bool
				var err error
				done := stop(t, stopped, func() { ref, first, err = v.meet(s.victim, addr(1000)) })
				s.resume = func() (engine.ObjRef, bool, error) {
					stopped.release()
					await(t, "the stopped thread", done)
					return ref, first, err
				}
				f(t, s)
			})
		}
	}
}

type shortStep struct {
	published bool // the victim's object can be found
	batch     bool
	c         *engine.Checkpoint
	victim, d *engine.Dumper
	drops     dropCount
	resume    func() (ref engine.ObjRef, first bool, err error)
}

// G20, G1, G3: others go on meanwhile; one of them meets the very object, and either is
// first. The objref of the one that lost goes to its next object.
func TestG20_stoppedInTheShortWay(t *testing.T) {
	forEachShortStep(t, func(t *testing.T, s *shortStep) {
		within(t, "other threads", func() {
			ref, first, err := s.d.Encounter(addr(1000), 2)
			want := engine.ObjRef(2)
			if !s.published {
				want = 2 + leaseRefs
			}
			if ref != want || first == s.published || err != nil {
				t.Errorf("the other thread's Encounter = %d, %t, %v; want objref %d", ref, first, err, want)
			}
			_, _, err = s.d.Encounter(addr(1000), 1)
			wantKindError(t, "another kind", err, engine.KindError{Ref: want, Have: 2, Want: 1})
			for i := range 500 { // the index grows
				if _, first, err := s.d.Encounter(addr(2000+i), 1); !first || err != nil {
					t.Errorf("new object: first %t, %v", first, err)
				}
			}
		})
		ref, first, err := s.resume()
		if got, _ := s.c.Lookup(addr(1000)); ref != got || first != s.published || err != nil {
			t.Errorf("the stopped thread's Encounter = %d, %t, %v; Lookup says %d", ref, first, err, got)
		}
		next := engine.ObjRef(2)
		if s.published {
			next++
		}
		mustMeet(t, s.victim, addr(9999), 2, next, true)
		closeQuietly(t, s.victim)
		closeQuietly(t, s.d)
		users := int64(2)
		if s.batch {
			users++
		}
		for _, o := range wantInOrder(t, s.c) {
			if o.Ptr == addr(1000) && o.Users != users {
				t.Errorf("%+v; want %d users", o, users)
			}
		}
		closeQuietly(t, s.c)
		s.drops.wantOnce(t, 4)
	})
}

// G11, G19: Close goes past the stopped thread. What it has published, or written down, is
// dropped once.
func TestG11_G19_closeDuringTheShortWay(t *testing.T) {
	forEachShortStep(t, func(t *testing.T, s *shortStep) {
		within(t, "Close", func() { closeQuietly(t, s.c) })
		ref, first, err := s.resume()
		if ref != 0 || first || !errors.Is(err, engine.ErrClosed) {
			t.Errorf("the stopped thread's Encounter = %d, %t, %v; want ErrClosed", ref, first, err)
		}
		closeQuietly(t, s.victim)
		closeQuietly(t, s.d)
		s.drops.wantOnce(t, 3)
	})
}

// EndCollect goes past the stopped thread, whose object belongs to the collect pass then;
// also where another thread was first at it, and the objref is not used again.
func TestShort_endCollectDuringEachStep(t *testing.T) {
	for _, race := range []bool{false, true} {
		forEachShortStep(t, func(t *testing.T, s *shortStep) {
			met := engine.ObjRef(2)
			if race && !s.published {
				met = 2 + leaseRefs
				mustMeet(t, s.d, addr(1000), 2, met, true)
			}
			if err := s.c.EndCollect(); err != nil {
				t.Fatal(err)
			}
			if ref, _, err := s.resume(); ref != met || err != nil {
				t.Errorf("the stopped thread's Encounter = %d, %v; want %d", ref, err, met)
			}
			mustMeet(t, s.victim, addr(9999), 2, 3, true)
			wantRefs(t, "late", s.c.Audit().Late, 3)
			wantInOrder(t, s.c)
			closeQuietly(t, s.c)
		})
	}
}
