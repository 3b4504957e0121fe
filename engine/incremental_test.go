package engine_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/objhash/objhash/engine"
)

// Incremental checkpoints: what a context makes of the objects of the snapshot that it
// goes on from.

// newRound makes a context that the test closes at its end, which goes on from s.
func newRound(t testing.TB, o engine.Options, s *engine.Snapshot) *engine.Checkpoint {
	t.Helper()
	c, err := engine.NewCheckpointFrom(o, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeAtEnd(t, c) })
	return c
}

// snapshotOf returns a snapshot of objects under the objrefs 1, 2, ... of the kinds 1, 2,
// 1, ...: addresses in and outside 48 bits, and keys.
func snapshotOf(l *ledger, n int) *engine.Snapshot {
	s := &engine.Snapshot{}
	for _, k := range l.kinds {
		s.Kinds = append(s.Kinds, k.Name)
	}
	for i := range n {
		o := engine.SnapshotObject{Ref: engine.ObjRef(i + 1), Object: engine.Object{Kind: engine.Kind(i%len(l.kinds) + 1), Users: 3}}
		switch i % 4 {
		case 0, 1:
			o.Ptr, o.Flags = addr(i), engine.Dumped
		case 2:
			o.Ptr = wide(i)
		case 3:
			o.Key, o.Flags = fmt.Append(nil, "key", i), engine.Keyed
		}
		s.Objects = append(s.Objects, o)
	}
	return s
}

func encounter(d *engine.Dumper, o *engine.Object) (engine.ObjRef, bool, error) {
	if o.Flags&engine.Keyed != 0 {
		return d.EncounterKey(o.Key, o.Kind)
	}
	return d.Encounter(o.Ptr, o.Kind)
}

// meetAll encounters all objects of the snapshot that d's context goes on from.
func meetAll(t testing.TB, d *engine.Dumper, s *engine.Snapshot) {
	t.Helper()
	for i := range s.Objects {
		o := &s.Objects[i]
		if o.Flags == engine.Reserved {
			continue
		}
		ref, first, err := encounter(d, &o.Object)
		if errors.Is(err, engine.ErrLimit) {
			continue
		}
		if ref != o.Ref || !first || err != nil {
			t.Fatalf("object %+v is met again as %d, %t, %v; want its objref, for the first time in this round", o, ref, first, err)
		}
	}
}

// differences returns what Diff yields, by change.
func differences(t testing.TB, c *engine.Checkpoint) map[engine.Change][]engine.ObjRef {
	t.Helper()
	by, last := map[engine.Change][]engine.ObjRef{}, engine.ObjRef(0)
	for d := range c.Diff() {
		if d.Ref <= last {
			t.Fatalf("Diff yields %d after %d", d.Ref, last)
		}
		last = d.Ref
		by[d.Change] = append(by[d.Change], d.Ref)
		o, ok := c.Object(d.Ref)
		if ok == (d.Change == engine.Gone) {
			t.Fatalf("Diff says %+v; Object %+v, %t", d, o, ok)
		}
		if ok && (o.Ptr != d.Object.Ptr || string(o.Key) != string(d.Object.Key) || o.Users != d.Object.Users) {
			t.Fatalf("Diff says %+v; Object %+v", d, o)
		}
	}
	return by
}

func TestG2_objrefsStayFromRoundToRound(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		const n, newOnes = 1_000, 300
		l := newLedger(t, 2)
		s := snapshotOf(l, n)
		c := newRound(t, with(o, l), s)
		d := newDumper(t, c)
		// Nothing is met before it is met.
		ptrs, refs := []engine.Ptr{addr(0), wide(2), addr(5_000), 0}, make([]engine.ObjRef, 4)
		if got := c.LookupBatch(ptrs, refs); got != 0 || c.Len() != 0 || refs[0] != 0 || refs[1] != 0 {
			t.Errorf("LookupBatch finds %d, %v; Len is %d", got, refs, c.Len())
		}
		for i := range s.Objects {
			if _, ok := c.Object(s.Objects[i].Ref); ok {
				t.Fatalf("objref %d has an object", s.Objects[i].Ref)
			}
		}
		for _, p := range ptrs {
			if ref, ok := c.Lookup(p); ok {
				t.Errorf("Lookup(%#x) = %d", p, ref)
			}
		}
		if by := differences(t, c); len(by[engine.Gone]) != n || len(by) != 1 {
			t.Errorf("%d objects gone, %d changes; want %d, one", len(by[engine.Gone]), len(by), n)
		}
		if st := c.Stats(); st.Expected != n || st.Allocated != n {
			t.Errorf("Stats = %+v", st)
		}
		wantInOrder(t, c)

		again := map[engine.ObjRef]bool{}
		for i := range s.Objects {
			x := &s.Objects[i]
			if i%3 == 0 {
				continue
			}
			for meeting := range 3 {
				ref, first, err := encounter(d, &x.Object)
				if ref != x.Ref || first != (meeting == 0) || err != nil {
					t.Fatalf("encounter %d of %+v = %d, %t, %v", meeting, x, ref, first, err)
				}
			}
			again[x.Ref] = true
			if x.Ptr != 0 {
				if ref, ok := c.Lookup(x.Ptr); ref != x.Ref || !ok {
					t.Errorf("Lookup(%#x) = %d, %t", x.Ptr, ref, ok)
				}
				if held := l.held(x.Ptr); held != 1 {
					t.Errorf("%#x: %d references held", x.Ptr, held)
				}
			}
		}
		for i := range newOnes {
			mustMeet(t, d, addr(10_000+i), 1, engine.ObjRef(n+1+i), true)
		}
		closeQuietly(t, d)
		by := differences(t, c)
		if len(by[engine.New]) != newOnes || len(by[engine.Again]) != len(again) || len(by[engine.Gone]) != n-len(again) {
			t.Errorf("%d new, %d again, %d gone; want %d, %d, %d", len(by[engine.New]), len(by[engine.Again]), len(by[engine.Gone]), newOnes, len(again), n-len(again))
		}
		for _, ref := range by[engine.Again] {
			if o, _ := c.Object(ref); !again[ref] || o.Users != 3 || o.Flags&^engine.Keyed != 0 {
				t.Errorf("objref %d: %+v, met again: %t", ref, o, again[ref])
			}
		}
		wantInOrder(t, c)
		// The next round goes on from this one.
		next := readSnapshot(t, writeSnapshot(t, c))
		wantSame(t, c, next)
		c2 := newRound(t, with(o, l), next)
		d2 := newDumper(t, c2)
		meetAll(t, d2, next)
		if by := differences(t, c2); len(by) != 1 || len(by[engine.Again]) != len(next.Objects) {
			t.Errorf("of %d objects %d are met again", len(next.Objects), len(by[engine.Again]))
		}
		closeQuietly(t, c)
		closeQuietly(t, c2)
		l.settled()
	})
}

func TestG1_oneFirstForEachObjectOfEachRound(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		const workers = 4
		n := sized(4_000)
		l := newLedger(t, 2)
		s := snapshotOf(l, n)
		c := newRound(t, with(o, l), s)
		firsts, dumps := newRefSet(t), newRefSet(t)
		parallel(workers, func(w int) {
			d := c.Dumper()
			defer d.Close()
			for _, i := range rand.New(rand.NewPCG(3, uint64(w/2))).Perm(n) { // in pairs
				x := &s.Objects[i]
				ref, first, err := encounter(d, &x.Object)
				if ref != x.Ref || err != nil {
					t.Errorf("%+v is met as %d, %v", x, ref, err)
				}
				if first {
					firsts.add(ref)
				}
				if x.Ptr == 0 {
					continue
				}
				if found, ok := c.Lookup(x.Ptr); found != ref || !ok {
					t.Errorf("Lookup(%#x) = %d, %t, after it was met", x.Ptr, found, ok)
				}
				if _, err := d.Dump(x.Ptr, x.Kind, func(ref engine.ObjRef) error { dumps.add(ref); return nil }); err != nil {
					t.Error(err)
				}
				if _, _, err := d.Encounter(addr(100_000+i), 1); err != nil {
					t.Error(err)
				}
			}
		})
		if got, _ := firsts.largest(); got != n {
			t.Errorf("%d objects were met for the first time; want %d", got, n)
		}
		if got, _ := dumps.largest(); got != n*3/4 {
			t.Errorf("%d objects were dumped; want %d", got, n*3/4)
		}
		for ref, x := range wantInOrder(t, c) {
			want := int64(workers)
			if x.Ptr != 0 && int(ref) <= n {
				want *= 2
			}
			if x.Users != want {
				t.Errorf("objref %d has %d users; want %d", ref, x.Users, want)
			}
			if x.Ptr != 0 && l.held(x.Ptr) != 1 {
				t.Errorf("%#x: %d references held", x.Ptr, l.held(x.Ptr))
			}
		}
		closeQuietly(t, c)
		l.settled()
	})
}

// What happens to an object of the base under another kind: whichever kind is met first
// has the address, and the other one is a KindError.
func TestG9_anotherKindInAnotherRound(t *testing.T) {
	l := newLedger(t, 300)
	s := snapshotOf(l, 600)
	c := newRound(t, with(engine.Options{}, l), s)
	d := newDumper(t, c)
	for i := range s.Objects {
		x := &s.Objects[i]
		other := x.Object
		other.Kind = x.Kind%300 + 1
		if i%2 == 0 {
			ref, first, err := encounter(d, &other)
			if ref <= 600 || !first || err != nil {
				t.Fatalf("%+v under another kind = %d, %t, %v; want a new objref", x, ref, first, err)
			}
			_, _, err = encounter(d, &x.Object)
			wantKindError(t, "its own kind, later", err, engine.KindError{Ref: ref, Have: other.Kind, Want: x.Kind})
			if _, ok := c.Object(x.Ref); ok {
				t.Errorf("objref %d has an object", x.Ref)
			}
			continue
		}
		if ref, first, err := encounter(d, &x.Object); ref != x.Ref || !first || err != nil {
			t.Fatalf("%+v = %d, %t, %v", x, ref, first, err)
		}
		_, _, err := encounter(d, &other)
		wantKindError(t, "another kind, later", err, engine.KindError{Ref: x.Ref, Have: x.Kind, Want: other.Kind})
	}
	if by := differences(t, c); len(by[engine.New]) != 300 || len(by[engine.Again]) != 300 || len(by[engine.Gone]) != 300 {
		t.Errorf("%d new, %d again, %d gone; want 300 each", len(by[engine.New]), len(by[engine.Again]), len(by[engine.Gone]))
	}
	wantInOrder(t, c)
	closeQuietly(t, c)
	l.settled()
}

func TestG9_twoKindsRaceForAnObjectOfTheBase(t *testing.T) {
	n := sized(8_000)
	l := newLedger(t, 2)
	s := snapshotOf(l, n)
	c := newRound(t, with(engine.Options{Shards: 1}, l), s)
	handles := []*engine.Dumper{newDumper(t, c), newDumper(t, c)}
	var firsts [2][]bool
	for w := range firsts {
		firsts[w] = make([]bool, n)
	}
	together(n, func(w, i int) {
		x := s.Objects[i].Object
		x.Kind = engine.Kind(w + 1)
		ref, first, err := encounter(handles[w], &x)
		var kind *engine.KindError
		if err != nil && !errors.As(err, &kind) {
			t.Errorf("%+v: %v", x, err)
		}
		// Even its own kind may find the old object given up.
		if err == nil && ref <= engine.ObjRef(n) && (ref != s.Objects[i].Ref || x.Kind != s.Objects[i].Kind) {
			t.Errorf("%+v has objref %d; in the base it is %+v", x, ref, s.Objects[i])
		}
		firsts[w][i] = first
	})
	for i := range n {
		if firsts[0][i] == firsts[1][i] {
			t.Errorf("object %d: first for kind 1: %t, for kind 2: %t", i, firsts[0][i], firsts[1][i])
		}
		if p := s.Objects[i].Ptr; p != 0 && l.held(p) != 1 {
			t.Errorf("%#x: %d references held", p, l.held(p))
		}
	}
	if got := len(wantInOrder(t, c)); got != n {
		t.Errorf("%d objects; want %d", got, n)
	}
	closeQuietly(t, c)
	l.settled()
}

// G12: a failing grab leaves nothing behind, and the object can be met afterwards.
func TestG12_failingGrabOfAnObjectOfTheBase(t *testing.T) {
	for _, fate := range fates {
		for _, closes := range []bool{false, true} {
			t.Run(fmt.Sprintf("fate=%s/closes=%t", fate.name, closes), func(t *testing.T) {
				l := newLedger(t, 2)
				s := snapshotOf(l, 10)
				c := newRound(t, with(engine.Options{MaxObjects: 10}, l), s)
				d, other := newDumper(t, c), newDumper(t, c)
				l.grabbing = func(account) error {
					if closes {
						closeQuietly(t, d)
					}
					return fate.meet()
				}
				fate.wantFate(t, "Encounter", ends(func() error {
					_, _, err := d.Encounter(addr(0), 1)
					return err
				}))
				// And of an object that takes the address of an old one.
				if !closes {
					fate.wantFate(t, "Encounter under another kind", ends(func() error {
						_, _, err := d.Encounter(addr(0), 2)
						return err
					}))
				}
				l.grabbing = nil
				if c.Len() != 0 || c.Stats().Expected != 10 {
					t.Errorf("%d objects, %d expected; want none met", c.Len(), c.Stats().Expected)
				}
				meetAll(t, other, s)
				closeQuietly(t, c)
				l.settled()
			})
		}
	}
}

// Grab closes the handle that it is called for, or the context, and succeeds.
func TestG11_grabOfAnObjectOfTheBaseCloses(t *testing.T) {
	for _, context := range []bool{false, true} {
		l := newLedger(t, 1)
		c := newRound(t, with(engine.Options{}, l), snapshotOf(l, 10))
		d := newDumper(t, c)
		l.grabbing = func(account) error {
			if context {
				return c.Close()
			}
			return d.Close()
		}
		ref, first, err := d.Encounter(addr(0), 1)
		if ref != 0 || first || !errors.Is(err, engine.ErrClosed) {
			t.Errorf("Encounter = %d, %t, %v; want ErrClosed", ref, first, err)
		}
		l.settled()
		closeQuietly(t, d)
	}
}

// G13: no callback runs under a lock, so Grab may meet the object it is called for.
func TestG13_grabMeetsItsOwnObjectOfTheBase(t *testing.T) {
	for _, other := range []bool{false, true} { // inside it is met under another kind
		l := newLedger(t, 2)
		c := newRound(t, with(engine.Options{}, l), snapshotOf(l, 10))
		d := newDumper(t, c)
		inside := 0
		l.grabbing = func(a account) error {
			if inside++; inside > 1 {
				return nil
			}
			k := a.k
			if other {
				k = 2
			}
			ref, first, err := d.Encounter(a.p, k)
			if (ref == 1) == other || !first || err != nil {
				t.Errorf("Encounter in Grab = %d, %t, %v", ref, first, err)
			}
			return nil
		}
		ref, first, err := d.Encounter(addr(0), 1)
		var kind *engine.KindError
		if first || other != errors.As(err, &kind) || !other && ref != 1 {
			t.Errorf("Encounter = %d, %t, %v", ref, first, err)
		}
		if l.held(addr(0)) != 1 {
			t.Errorf("%d references held", l.held(addr(0)))
		}
		closeQuietly(t, c)
		l.settled()
	}
}

// G3: what is free in the snapshot is given out first, in order, and never an objref that
// it uses.
func TestG3_objrefsBetweenThoseOfTheBase(t *testing.T) {
	l := newLedger(t, 1)
	s := &engine.Snapshot{Kinds: []string{name(1)}}
	used := map[engine.ObjRef]bool{}
	for _, ref := range []engine.ObjRef{3, 4, 200, 201, 300, 1000} {
		o := engine.SnapshotObject{Ref: ref, Object: engine.Object{Ptr: addr(int(ref)), Kind: 1}}
		if ref == 300 {
			o.Object = engine.Object{Flags: engine.Reserved}
		}
		used[ref] = true
		s.Objects = append(s.Objects, o)
	}
	c := newRound(t, with(engine.Options{}, l), s)
	if st := c.Stats(); st.Expected != 5 || st.Reserved != 1 || st.Free != 994 || st.Allocated != 1000 {
		t.Errorf("Stats = %+v", st)
	}
	d := newDumper(t, c)
	want := engine.ObjRef(1)
	for i := range 1_200 {
		for used[want] {
			want++
		}
		mustMeet(t, d, addr(5_000+i), 1, want, true)
		want++
		if i%100 == 0 {
			wantInOrder(t, c)
		}
	}
	meetAll(t, d, s)
	wantInOrder(t, c)
	if got := readSnapshot(t, writeSnapshot(t, c)); len(got.Objects) != 1_206 || got.Objects[299].Flags != engine.Reserved {
		t.Errorf("%d objects in the next snapshot", len(got.Objects))
	}
	closeQuietly(t, c)
	l.settled()
}

// G4, G25: limits hold for the objects of the base as for others.
func TestG4_limitsOfARound(t *testing.T) {
	l := newLedger(t, 1)
	s := snapshotOf(l, 1_000)
	c := newRound(t, with(engine.Options{MaxObjects: 500}, l), s)
	d := newDumper(t, c)
	for i := range s.Objects {
		ref, first, err := encounter(d, &s.Objects[i].Object)
		if i < 500 && (ref != s.Objects[i].Ref || !first || err != nil) {
			t.Fatalf("object %d: %d, %t, %v", i, ref, first, err)
		}
		if i >= 500 {
			wantErr(t, "beyond MaxObjects", err, engine.ErrLimit)
		}
	}
	if st := c.Stats(); st.Objects != 500 || st.Expected != 500 {
		t.Errorf("Stats = %+v", st)
	}
	// With whatever memory there is: either there is too little for the base, or all of
	// it can be met, even if the index of this round has no room.
	rounds := 0
	for limit := int64(20_000); limit < 400_000; limit += 5_000 {
		l := newLedger(t, 1)
		c, err := engine.NewCheckpointFrom(with(engine.Options{MaxBytes: limit, Shards: 1}, l), s)
		if err != nil {
			wantErr(t, "too little memory", err, engine.ErrLimit)
			continue
		}
		rounds++
		d := c.Dumper()
		for again := range 2 {
			for i := range s.Objects {
				ref, first, err := encounter(d, &s.Objects[i].Object)
				if ref != s.Objects[i].Ref || first != (again == 0) || err != nil {
					t.Fatalf("MaxBytes %d: object %d: %d, %t, %v", limit, i, ref, first, err)
				}
			}
		}
		if b := c.Stats().Bytes; b > limit {
			t.Errorf("MaxBytes %d: %d in use", limit, b)
		}
		if n := len(readSnapshot(t, writeSnapshot(t, c)).Objects); n != 1_000 || c.Len() != n {
			t.Errorf("MaxBytes %d: %d objects in a snapshot, Len %d", limit, n, c.Len())
		}
		closeQuietly(t, d)
		closeQuietly(t, c)
		l.settled()
	}
	if rounds == 0 {
		t.Error("no limit was enough")
	}
	// A far objref costs no more than the limit.
	s.Objects[999].Ref = math.MaxInt32
	_, err := engine.NewCheckpointFrom(with(engine.Options{MaxBytes: 1 << 20}, l), s)
	wantErr(t, "the largest objref in 1 MiB", err, engine.ErrLimit)
}

func TestInvalidSnapshotForARound(t *testing.T) {
	l := newLedger(t, 2)
	for name, spoil := range map[string]func(*engine.Snapshot){
		"more kinds":           func(s *engine.Snapshot) { s.Kinds = append(s.Kinds, "third") },
		"another kind's name":  func(s *engine.Snapshot) { s.Kinds[1] = "file" },
		"objref 0":             func(s *engine.Snapshot) { s.Objects[0].Ref = 0 },
		"objref negative":      func(s *engine.Snapshot) { s.Objects[0].Ref = -1 },
		"objref twice":         func(s *engine.Snapshot) { s.Objects[1].Ref = 1 },
		"kind 0":               func(s *engine.Snapshot) { s.Objects[0].Kind = 0 },
		"kind 3":               func(s *engine.Snapshot) { s.Objects[0].Kind = 3 },
		"no address":           func(s *engine.Snapshot) { s.Objects[0].Ptr = 0 },
		"address and key":      func(s *engine.Snapshot) { s.Objects[0].Key = []byte("k") },
		"no key":               func(s *engine.Snapshot) { s.Objects[3].Key = nil },
		"address twice":        func(s *engine.Snapshot) { s.Objects[4].Ptr = s.Objects[0].Ptr },
		"wide address twice":   func(s *engine.Snapshot) { s.Objects[4].Ptr = s.Objects[2].Ptr },
		"key twice":            func(s *engine.Snapshot) { s.Objects[7].Key = s.Objects[3].Key },
		"reserved with a kind": func(s *engine.Snapshot) { s.Objects[0].Flags = engine.Reserved },
	} {
		s := snapshotOf(l, 10)
		spoil(s)
		c, err := engine.NewCheckpointFrom(with(engine.Options{}, l), s)
		if c != nil {
			t.Errorf("%s: a context", name)
		}
		wantErr(t, name, err, engine.ErrInvalid)
	}
	_, err := engine.NewCheckpointFrom(engine.Options{}, nil)
	wantErr(t, "nil snapshot", err, engine.ErrInvalid)
	_, err = engine.NewCheckpointFrom(with(engine.Options{MaxObjects: -1}, l), snapshotOf(l, 1))
	wantErr(t, "wrong options", err, engine.ErrInvalid)
	// More kinds in the options are fine, and so is nothing at all.
	s := snapshotOf(l, 10)
	s.Kinds, s.Objects = s.Kinds[:1], s.Objects[:1]
	d := newDumper(t, newRound(t, with(engine.Options{}, l), s))
	meetAll(t, d, s)
	d = newDumper(t, newRound(t, with(engine.Options{}, l), &engine.Snapshot{}))
	mustMeet(t, d, addr(0), 2, 1, true)
	if got := fmt.Sprint(engine.New, engine.Again, engine.Gone, engine.Change(9)); got != "new again gone change 9" {
		t.Error(got)
	}
	for range (*engine.Checkpoint)(nil).Diff() {
		t.Error("a nil context has a difference")
	}
}

// Many rounds at random, against a model: who keeps an objref, who gets a new one.
func TestG2_manyRounds(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	const objects = 400
	l := newLedger(t, 3)
	s := &engine.Snapshot{}
	was := map[string]engine.ObjRef{}
	for round := range 12 {
		c := newRound(t, with(settings[round%len(settings)].options, l), s)
		taken, now := map[engine.ObjRef]bool{}, map[string]engine.ObjRef{}
		for _, o := range s.Objects {
			taken[o.Ref] = true
		}
		handles := []*engine.Dumper{newDumper(t, c), newDumper(t, c), newDumper(t, c)}
		for range 300 {
			i := rnd.IntN(objects)
			x := engine.Object{Ptr: addr(i), Kind: engine.Kind(i%3 + 1)}
			if i%5 == 0 {
				x = engine.Object{Key: fmt.Append(nil, i), Flags: engine.Keyed, Kind: x.Kind}
			}
			if i%7 == 0 {
				x.Kind = engine.Kind(round%2 + 1) // its address is used again
			}
			id := fmt.Sprint(x.Ptr, string(x.Key), x.Kind)
			ref, first, err := encounter(handles[rnd.IntN(3)], &x)
			if err != nil {
				t.Fatal(err)
			}
			have, met := now[id]
			old, known := was[id]
			switch {
			case met && (first || ref != have), !met && !first, !met && known && ref != old, !met && !known && taken[ref]:
				t.Fatalf("round %d: object %+v = %d, %t; met as %d, in the base as %d", round, x, ref, first, have, old)
			}
			now[id] = ref
			taken[ref] = true
		}
		if rnd.IntN(2) == 0 {
			if _, err := handles[0].Reserve(); err != nil {
				t.Fatal(err)
			}
		}
		for _, d := range handles {
			closeQuietly(t, d)
		}
		wantInOrder(t, c)
		s = readSnapshot(t, writeSnapshot(t, c))
		wantSame(t, c, s)
		closeQuietly(t, c)
		was = now
	}
	l.settled()
	if !slices.ContainsFunc(s.Objects, func(o engine.SnapshotObject) bool { return o.Flags == engine.Reserved }) || strings.Join(s.Kinds, " ") != "sort1 sort2 sort3" {
		t.Errorf("kinds %q, or nothing reserved, after many rounds", s.Kinds)
	}
}

// A sparse snapshot, hostile or not, takes no room out of proportion unless that is
// allowed, and then no more than that.
func TestG25_sparseSnapshots(t *testing.T) {
	kinds := []engine.KindOps{{}}
	snapshot := func(refs ...engine.ObjRef) *engine.Snapshot {
		s := &engine.Snapshot{Kinds: []string{""}}
		for i, ref := range refs {
			s.Objects = append(s.Objects, engine.SnapshotObject{Ref: ref, Object: engine.Object{Ptr: addr(i), Kind: 1}})
		}
		return s
	}
	for _, refs := range [][]engine.ObjRef{{math.MaxInt32}, {1, 1 << 20}, {64<<10 + 65}} {
		_, err := engine.NewCheckpointFrom(engine.Options{Kinds: kinds}, snapshot(refs...))
		wantErr(t, "a sparse snapshot", err, engine.ErrLimit)
		_, err = engine.NewCheckpointFrom(engine.Options{Kinds: kinds, MaxBytes: 100 << 10}, snapshot(refs...))
		wantErr(t, "a sparse snapshot within 100 KiB", err, engine.ErrLimit)
	}
	for _, refs := range [][]engine.ObjRef{{64<<10 + 64}, {1, 2, 60_000}} {
		c, err := engine.NewCheckpointFrom(engine.Options{Kinds: kinds}, snapshot(refs...))
		if err != nil {
			t.Fatal(err)
		}
		d := newDumper(t, c)
		mustMeet(t, d, addr(len(refs)-1), 1, refs[len(refs)-1], true)
		closeQuietly(t, d)
		closeQuietly(t, c)
	}
	c, err := engine.NewCheckpointFrom(engine.Options{Kinds: kinds, MaxBytes: 64 << 20}, snapshot(1, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	closeQuietly(t, c)
}
