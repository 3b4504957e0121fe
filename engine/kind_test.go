package engine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/objhash/objhash/engine"
)

// G9: the same ptr with another kind is a KindError on every path and changes
// nothing.

// tryAll meets p as another kind in every way there is, and checks each answer.
func tryAll(t *testing.T, d *engine.Dumper, p engine.Ptr, want engine.KindError) {
	t.Helper()
	ref, first, err := d.Encounter(p, want.Want)
	wantKindError(t, "Encounter", err, want)
	if ref != 0 || first {
		t.Errorf("Encounter = %d, %t with an error", ref, first)
	}
	ref, err = d.Dump(p, want.Want, func(engine.ObjRef) error {
		t.Error("dumped as another kind")
		return nil
	})
	wantKindError(t, "Dump", err, want)
	if ref != 0 {
		t.Errorf("Dump = %d with an error", ref)
	}
	refs, firsts := []engine.ObjRef{7}, []bool{true}
	err = d.EncounterBatch([]engine.Ptr{p}, want.Want, refs, firsts)
	wantKindError(t, "EncounterBatch", err, want)
	if refs[0] != 0 || firsts[0] {
		t.Errorf("EncounterBatch = %d, %t with an error", refs[0], firsts[0])
	}
}

// kindsOfAllSizes are those around the 254 that the index can remember.
var kindsOfAllSizes = []engine.Kind{1, 2, 253, 254, 255, 256, 257, 511, 512, 4095}

func TestG9_everyPairOfKindsOnEveryPath(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		for _, reserved := range []int{0, 1_000} { // large objrefs leave the index no room for kinds
			for _, place := range []func(int) engine.Ptr{addr, wide} {
				l := newLedger(t, engine.KindsMax)
				c := newCheckpoint(t, with(o, l))
				d := newDumper(t, c)
				for range reserved {
					if _, err := d.Reserve(); err != nil {
						t.Fatal(err)
					}
				}
				for i, have := range kindsOfAllSizes {
					p := place(i)
					ref, first, err := d.Encounter(p, have)
					if !first || err != nil {
						t.Fatalf("Encounter = %d, %t, %v", ref, first, err)
					}
					for _, other := range kindsOfAllSizes {
						if other != have {
							tryAll(t, d, p, engine.KindError{Ref: ref, Have: have, Want: other})
						}
					}
					mustMeet(t, d, p, have, ref, false)
				}
				if b := l.totals(); b.grabs != len(kindsOfAllSizes) || b.drops != 0 {
					t.Errorf("references %+v; want one for each object", b)
				}
				closeQuietly(t, d)
				for ref, o := range wantInOrder(t, c) {
					if want := kindsOfAllSizes[int(ref)-reserved-1]; o.Kind != want || o.Users != 2 || o.Flags != 0 {
						t.Errorf("objref %d: %+v; want kind %d, 2 users", ref, o, want)
					}
				}
				closeQuietly(t, c)
				l.settled()
			}
		}
	})
}

func TestG9_keysOfAnotherKind(t *testing.T) {
	c := newCheckpoint(t, engine.Options{Kinds: newLedger(t, engine.KindsMax).kinds})
	d := newDumper(t, c)
	for i, have := range kindsOfAllSizes {
		key := fmt.Append(nil, "key ", i)
		ref, first, err := d.EncounterKey(key, have)
		if !first || err != nil {
			t.Fatal(ref, first, err)
		}
		for _, other := range kindsOfAllSizes {
			if other == have {
				continue
			}
			got, first, err := d.EncounterKey(key, other)
			wantKindError(t, "EncounterKey", err, engine.KindError{Ref: ref, Have: have, Want: other})
			if got != 0 || first {
				t.Errorf("EncounterKey = %d, %t with an error", got, first)
			}
		}
		if o, ok := c.Object(ref); !ok || o.Kind != have {
			t.Errorf("Object(%d) = %+v, %t; want kind %d", ref, o, ok, have)
		}
	}
	closeQuietly(t, d)
	for _, o := range wantInOrder(t, c) {
		if o.Users != 1 {
			t.Errorf("%+v; want 1 user", o)
		}
	}
}

func TestG9_dumpedObjects(t *testing.T) {
	l := newLedger(t, 2)
	c := newCheckpoint(t, with(engine.Options{}, l))
	d := newDumper(t, c)
	ref, err := d.Dump(addr(1), 1, func(ref engine.ObjRef) error {
		tryAll(t, d, addr(1), engine.KindError{Ref: ref, Have: 1, Want: 2})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	tryAll(t, d, addr(1), engine.KindError{Ref: ref, Have: 1, Want: 2})
	if o, _ := c.Object(ref); o.Kind != 1 || o.Flags != engine.Dumped {
		t.Errorf("%+v; want kind 1, dumped", o)
	}
}

func TestG9_restartFetch(t *testing.T) {
	l := newLedger(t, engine.KindsMax)
	r := newRestart(t, engine.Options{Kinds: l.kinds})
	for i, last := range []engine.ObjRef{10, 200, 5_000, 1 << 20, 1<<31 - 1} { // in arrays and beside
		for j, have := range kindsOfAllSizes {
			ref, p := last-engine.ObjRef(j), addr(i*100+j)
			if j%2 == 1 {
				p = wide(i*100 + j)
			}
			if err := r.Insert(ref, p, have); err != nil {
				t.Fatal(err)
			}
			for _, other := range kindsOfAllSizes {
				got, err := r.Fetch(ref, other)
				if other == have {
					if got != p || err != nil {
						t.Errorf("Fetch(%d, %d) = %#x, %v; want %#x", ref, other, got, err, p)
					}
					continue
				}
				wantKindError(t, "Fetch", err, engine.KindError{Ref: ref, Have: have, Want: other})
				if got != 0 {
					t.Errorf("Fetch = %#x with an error", got)
				}
			}
		}
	}
}

// Two threads meet one ptr with two kinds: one kind wins, the other thread gets a
// KindError, and its reference is dropped.
func TestG9_twoKindsRace(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		for _, kinds := range [][2]engine.Kind{{1, 2}, {254, 255}, {255, 256}, {300, 4095}} {
			objects := sized(2_000)
			l := newLedger(t, engine.KindsMax)
			c := newCheckpoint(t, with(o, l))
			place := func(i int) engine.Ptr {
				if i%8 == 7 {
					return wide(i)
				}
				return addr(i)
			}
			type result struct {
				ref   engine.ObjRef
				first bool
				err   error
			}
			results := [2][]result{make([]result, objects), make([]result, objects)}
			parallel(2, func(w int) {
				d := c.Dumper()
				defer d.Close()
				for i := range objects {
					r := &results[w][i]
					r.ref, r.first, r.err = d.Encounter(place(i), kinds[w])
				}
			})
			for i := range objects {
				winner := 0
				if results[1][i].err == nil {
					winner = 1
				}
				w, loser := results[winner][i], results[1-winner][i]
				if w.err != nil || !w.first {
					t.Fatalf("object %d: %+v and %+v; want one to win", i, w, loser)
				}
				wantKindError(t, "loser", loser.err, engine.KindError{Ref: w.ref, Have: kinds[winner], Want: kinds[1-winner]})
				if o, ok := c.Object(w.ref); !ok || o.Ptr != place(i) || o.Kind != kinds[winner] || o.Users != 1 {
					t.Fatalf("Object(%d) = %+v, %t; want %#x of kind %d, 1 user", w.ref, o, ok, place(i), kinds[winner])
				}
				won, lost := l.of(place(i), kinds[winner]), l.of(place(i), kinds[1-winner])
				if won != (balance{grabs: 1}) || lost.grabs != lost.drops || lost.lasts != 0 {
					t.Fatalf("object %d: the winner's references are %+v, the loser's %+v", i, won, lost)
				}
			}
			wantInOrder(t, c)
			closeQuietly(t, c)
			l.settled()
		}
	})
}

// The same with certainty: the other kind wins while Grab runs.
func TestG9_kindIsComparedAfterALostRace(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		for i, kinds := range [][2]engine.Kind{{1, 2}, {254, 255}, {255, 256}, {4095, 300}} {
			for _, p := range []engine.Ptr{addr(i), wide(i)} {
				l := newLedger(t, engine.KindsMax)
				c := newCheckpoint(t, with(o, l))
				d, other := newDumper(t, c), newDumper(t, c)
				var won engine.ObjRef
				l.grabbing = func(a account) error {
					if a.k == kinds[0] {
						won, _, _ = other.Encounter(p, kinds[1])
					}
					return nil
				}
				ref, first, err := d.Encounter(p, kinds[0])
				wantKindError(t, "Encounter", err, engine.KindError{Ref: won, Have: kinds[1], Want: kinds[0]})
				if ref != 0 || first {
					t.Errorf("Encounter = %d, %t with an error", ref, first)
				}
				if lost := l.of(p, kinds[0]); lost != (balance{grabs: 1, drops: 1}) {
					t.Errorf("the loser's references are %+v; want its one dropped", lost)
				}
				if won := l.of(p, kinds[1]); won != (balance{grabs: 1}) {
					t.Errorf("the winner's references are %+v; want one held", won)
				}
				closeQuietly(t, other)
				closeQuietly(t, d)
				if o, ok := c.Object(won); !ok || o.Kind != kinds[1] || o.Users != 1 {
					t.Errorf("Object(%d) = %+v, %t; want kind %d, 1 user", won, o, ok, kinds[1])
				}
			}
		}
	})
}

func TestG9_keyRace(t *testing.T) {
	keys := sized(3_000)
	c := newCheckpoint(t, engine.Options{Kinds: newLedger(t, 2).kinds})
	var firsts, refused atomic.Int64
	parallel(2, func(w int) {
		d := c.Dumper()
		defer d.Close()
		for i := range keys {
			ref, first, err := d.EncounterKey(fmt.Append(nil, i), engine.Kind(w+1))
			var kind *engine.KindError
			switch {
			case errors.As(err, &kind):
				refused.Add(1)
				if o, ok := c.Object(kind.Ref); !ok || o.Kind != kind.Have || int(kind.Want) != w+1 || kind.Have == kind.Want {
					t.Errorf("%v, but Object(%d) = %+v, %t", err, kind.Ref, o, ok)
				}
			case err != nil || !first:
				t.Errorf("EncounterKey = %d, %t, %v", ref, first, err)
			default:
				firsts.Add(1)
			}
		}
	})
	if n := int64(keys); firsts.Load() != n || refused.Load() != n {
		t.Errorf("%d first, %d refused; want %d each", firsts.Load(), refused.Load(), n)
	}
	wantInOrder(t, c)
}

// Encounters of the right and the wrong kind go on while the index grows and moves
// from words with room for kinds to words without.
func TestG9_whileTheIndexGrows(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		const workers = 4
		objects := sized(8_000)
		l := newLedger(t, 600)
		c := newCheckpoint(t, with(o, l))
		kind := func(i int) engine.Kind { return engine.Kind(i%600 + 1) }
		parallel(workers, func(w int) {
			rng := rand.New(rand.NewPCG(9, uint64(w)))
			d := c.Dumper()
			defer d.Close()
			for i := range objects {
				ref, _, err := d.Encounter(addr(i), kind(i))
				if err != nil {
					t.Error(err)
					return
				}
				old := rng.IntN(i + 1)
				want := kind(old + 1 + rng.IntN(598))
				_, _, err = d.Encounter(addr(old), want)
				var got *engine.KindError
				if !errors.As(err, &got) || got.Have != kind(old) || got.Want != want {
					t.Errorf("Encounter of object %d, of kind %d, as %d: %v", old, kind(old), want, err)
					return
				}
				if i%5 == 0 {
					if _, err := d.Reserve(); err != nil {
						t.Error(err)
					}
				}
				if o, _ := c.Object(ref); o.Kind != kind(i) {
					t.Errorf("Object(%d) = %+v; want kind %d", ref, o, kind(i))
				}
			}
		})
		closeQuietly(t, c)
		l.settled()
	})
}

// errors.As finds a KindError by value and by pointer.
func TestG9_errorsAs(t *testing.T) {
	want := engine.KindError{Ref: 1, Have: 1, Want: 2}
	c := newCheckpoint(t, engine.Options{Kinds: newLedger(t, 2).kinds})
	d := newDumper(t, c)
	mustMeet(t, d, addr(1), 1, 1, true)
	_, _, err := d.Encounter(addr(1), 2)
	wrapped := fmt.Errorf("task 7: %w", d.EncounterBatch([]engine.Ptr{addr(1)}, 2, make([]engine.ObjRef, 1), nil))
	for _, err := range []error{err, wrapped} {
		var pointer *engine.KindError
		if !errors.As(err, &pointer) || *pointer != want {
			t.Errorf("errors.As(%v, **KindError) found %v", err, pointer)
		}
		e := ends(func() error {
			var value engine.KindError
			// By way of any: vet refuses the call that the doc of KindError allows.
			if target := any(&value); !errors.As(err, target) || value != want {
				t.Errorf("errors.As(%v, *KindError) found %v", err, value)
			}
			return nil
		})
		if e.panicked != nil {
			t.Errorf("errors.As(%v, *KindError) panics: %v", err, e.panicked)
		}
	}
}
