package engine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/objhash/objhash/engine"
)

// G1: for N concurrent encounters of one object exactly one is first; all get the
// same objref.

func TestG1_hundredThousandGoroutinesMeetOneObject(t *testing.T) {
	n := 100_000
	if slow {
		n = 7_000
	}
	l := newLedger(t, 1)
	c := newCheckpoint(t, with(engine.Options{}, l))
	var firsts, largest atomic.Int64
	var got atomic.Int32
	parallel(n, func(int) {
		d := c.Dumper()
		defer d.Close()
		ref, first, err := d.Encounter(addr(7), 1)
		if err != nil || ref <= 0 {
			t.Errorf("Encounter = %d, %t, %v", ref, first, err)
			return
		}
		if first {
			firsts.Add(1)
		}
		if !got.CompareAndSwap(0, int32(ref)) && got.Load() != int32(ref) {
			t.Errorf("objrefs %d and %d for one object", got.Load(), ref)
		}
		for old := largest.Load(); old < int64(ref) && !largest.CompareAndSwap(old, int64(ref)); old = largest.Load() {
		}
	})
	if firsts.Load() != 1 {
		t.Errorf("%d of %d encounters were first; want 1", firsts.Load(), n)
	}
	objects := wantInOrder(t, c)
	if o := objects[engine.ObjRef(got.Load())]; len(objects) != 1 || o.Ptr != addr(7) || o.Users != int64(n) {
		t.Errorf("objects are %v; want %#x alone, with %d users", objects, addr(7), n)
	}
	if held := l.held(addr(7)); held != 1 {
		t.Errorf("%d references held; want 1", held)
	}
	closeQuietly(t, c)
	l.settled()
}

func TestG1_everyObjectIsFirstOnce(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		const workers = 4
		objects := sized(20_000)
		l := newLedger(t, 3)
		c := newCheckpoint(t, with(o, l))
		kind := func(i int) engine.Kind { return engine.Kind(i%3 + 1) }
		refs := make([]atomic.Int32, objects)
		firsts := make([]atomic.Int32, objects)
		parallel(workers, func(w int) {
			d := c.Dumper()
			defer d.Close()
			// Neighbours go the same way, so that they collide all the time.
			for i := range objects {
				if w%2 == 1 {
					i ^= 1
				}
				p := addr(i)
				if i%16 == 3 {
					p = wide(i)
				}
				ref, first, err := d.Encounter(p, kind(i))
				if err != nil {
					t.Error(err)
					return
				}
				if first {
					firsts[i].Add(1)
				}
				if !refs[i].CompareAndSwap(0, int32(ref)) && refs[i].Load() != int32(ref) {
					t.Errorf("object %d has objrefs %d and %d", i, refs[i].Load(), ref)
				}
			}
		})
		for i := range objects {
			if firsts[i].Load() != 1 {
				t.Fatalf("object %d was first %d times", i, firsts[i].Load())
			}
		}
		found := wantInOrder(t, c)
		if len(found) != objects {
			t.Errorf("%d objects; want %d", len(found), objects)
		}
		for ref, o := range found {
			if o.Users != workers {
				t.Errorf("objref %d: %d users; want %d", ref, o.Users, workers)
			}
		}
		closeQuietly(t, c)
		l.settled()
	})
}

func TestG1_everyKeyIsFirstOnce(t *testing.T) {
	const workers = 4
	keys := sized(5_000)
	c := newCheckpoint(t, engine.Options{Kinds: newLedger(t, 2).kinds})
	refs := make([]atomic.Int32, keys)
	firsts := make([]atomic.Int32, keys)
	parallel(workers, func(w int) {
		d := c.Dumper()
		defer d.Close()
		var key []byte
		for i := range keys {
			key = fmt.Appendf(key[:0], "dev 8:1 ino %d", i) // the caller's to overwrite
			ref, first, err := d.EncounterKey(key, 2)
			if err != nil {
				t.Error(err)
				return
			}
			if first {
				firsts[i].Add(1)
			}
			if !refs[i].CompareAndSwap(0, int32(ref)) && refs[i].Load() != int32(ref) {
				t.Errorf("key %d has objrefs %d and %d", i, refs[i].Load(), ref)
			}
		}
	})
	for i := range keys {
		o, ok := c.Object(engine.ObjRef(refs[i].Load()))
		want := fmt.Sprintf("dev 8:1 ino %d", i)
		if firsts[i].Load() != 1 || !ok || string(o.Key) != want || o.Kind != 2 || o.Flags != engine.Keyed || o.Users != workers {
			t.Fatalf("key %d: first %d times, object %+v, %t", i, firsts[i].Load(), o, ok)
		}
	}
	wantInOrder(t, c)
}

// A Grab that runs on the way sees the moment between the miss and the insert: the
// object is met by somebody else in it.
func TestG1_loserOfTheRaceGetsTheWinnersObjref(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		for _, p := range []engine.Ptr{addr(1), wide(1)} {
			l := newLedger(t, 1)
			c := newCheckpoint(t, with(o, l))
			loser, winner := newDumper(t, c), newDumper(t, c)
			mustMeet(t, loser, addr(100), 1, 1, true)
			var won engine.ObjRef
			depth := 0
			l.grabbing = func(a account) error {
				if depth++; depth == 1 && a.p == p {
					var first bool
					var err error
					if won, first, err = winner.Encounter(p, 1); !first || err != nil {
						t.Errorf("winner's Encounter = %d, %t, %v", won, first, err)
					}
				}
				return nil
			}
			mustMeet(t, loser, p, 1, 65, false)
			if won != 65 {
				t.Errorf("winner's objref is %d; want 65, the first of its lease", won)
			}
			if b := l.of(p, 1); b != (balance{grabs: 2, drops: 1}) {
				t.Errorf("references %+v; want the loser's dropped, not as the last", b)
			}
			// G3: the loser's objref is not burnt.
			mustMeet(t, loser, addr(2), 1, 2, true)
			if got, _ := c.Object(65); got.Ptr != p {
				t.Errorf("objref 65 is %+v; want %#x", got, p)
			}
			closeQuietly(t, winner)
			closeQuietly(t, loser)
			if got, _ := c.Object(65); got.Users != 2 {
				t.Errorf("%d users; want 2", got.Users)
			}
			wantInOrder(t, c)
			closeQuietly(t, c)
			l.settled()
		}
	})
}

// G2: objrefs are unique, > 0 and never reused in a context, even after a failure, a
// cancel or a panic.

func TestG2_objrefsAreUniqueWhateverFails(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		const workers = 8
		rounds := sized(3_000)
		l := newLedger(t, 2)
		var calls atomic.Uint32
		l.grabbing = func(account) error {
			switch calls.Add(1) % 7 {
			case 1:
				return errSick
			case 3:
				panic(errSick)
			}
			return nil
		}
		c := newCheckpoint(t, with(o, l))
		seen := newRefSet(t)
		parallel(workers, func(w int) {
			rng := rand.New(rand.NewPCG(2, uint64(w)))
			d := c.Dumper()
			defer func() { d.Close() }()
			for range rounds {
				var ref engine.ObjRef
				var first bool
				var err error
				i := rng.IntN(rounds * 2)
				e := ends(func() error {
					switch rng.IntN(8) {
					case 0:
						ref, err = d.Reserve()
						first = err == nil
					case 1:
						ref, first, err = d.EncounterKey(fmt.Append(nil, i), engine.Kind(i%2+1))
					case 2:
						ref, first, err = d.Encounter(wide(i), engine.Kind(i%2+1))
					case 3: // often the wrong kind
						ref, first, err = d.Encounter(addr(i), engine.Kind(rng.IntN(2)+1))
					case 4:
						d.Close()
						d = c.Dumper()
					case 5:
						ref, err = d.Dump(addr(i), engine.Kind(i%2+1), func(engine.ObjRef) error { return errSick })
						if ref != 0 {
							err = nil
						}
					default:
						ref, first, err = d.Encounter(addr(i), engine.Kind(i%2+1))
					}
					return err
				})
				var kind *engine.KindError
				if e.err != nil && !errors.Is(e.err, errSick) && !errors.As(e.err, &kind) || e.exited {
					t.Errorf("ended with %+v", e)
				}
				if e.err != nil && (ref != 0 || first) {
					t.Errorf("objref %d, %t with error %v", ref, first, e.err)
				}
				if first {
					seen.add(ref)
				}
			}
		})
		// Dump does not tell whether it was the first: its objects come from All.
		byDump := 0
		for ref := range wantInOrder(t, c) {
			if _, ok := seen.seen[ref]; !ok {
				byDump++
				seen.add(ref)
			}
		}
		s := c.Stats()
		if n, largest := seen.largest(); n != s.Objects+s.Reserved || int(largest) > s.Allocated || byDump == 0 {
			t.Errorf("%d objrefs up to %d given out (%d by Dump); the context has %d objects, %d reserved, %d allocated",
				n, largest, byDump, s.Objects, s.Reserved, s.Allocated)
		}
		closeQuietly(t, c)
		l.settled()
	})
}

// G3: allocated objrefs = objects + reserved + recorded holes; one handle alone
// numbers densely 1..N; with H handles the largest objref is at most N + 64 H; unused
// leases are given back and used first.

func TestG3_oneHandleNumbersDensely(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		l := newLedger(t, 2)
		sick := false
		l.grabbing = func(account) error {
			if sick {
				return errSick
			}
			return nil
		}
		c := newCheckpoint(t, with(o, l))
		d := newDumper(t, c)
		next := engine.ObjRef(1)
		for i := range 1_000 {
			// What fails or is known takes no objref.
			if _, _, err := d.Encounter(0, 1); err == nil {
				t.Fatal("address 0 was met")
			}
			sick = true
			_, _, err := d.Encounter(addr(i), 1)
			wantErr(t, "sick Grab", err, errSick)
			sick = false
			switch i % 5 {
			case 0:
				ref, err := d.Reserve()
				if ref != next || err != nil {
					t.Fatalf("Reserve = %d, %v; want %d", ref, err, next)
				}
			case 1:
				ref, first, err := d.EncounterKey(fmt.Append(nil, i), 1)
				if ref != next || !first || err != nil {
					t.Fatalf("EncounterKey = %d, %t, %v; want %d", ref, first, err, next)
				}
			case 2:
				mustMeet(t, d, wide(i), 2, next, true)
			default:
				mustMeet(t, d, addr(i), 1, next, true)
				mustMeet(t, d, addr(i), 1, next, false)
				_, _, err := d.Encounter(addr(i), 2)
				wantKindError(t, "other kind", err, engine.KindError{Ref: next, Have: 1, Want: 2})
			}
			next++
		}
		if s := c.Stats(); s.Objects != 800 || s.Reserved != 200 || s.Allocated < 1000 || s.Allocated > 1000+leaseRefs {
			t.Errorf("Stats: %d objects, %d reserved, %d allocated; want 800, 200, 1000 to 1064", s.Objects, s.Reserved, s.Allocated)
		}
		wantInOrder(t, c)
	})
}

func TestG3_batchesNumberDensely(t *testing.T) {
	c := newCheckpoint(t, engine.Options{Kinds: newLedger(t, 1).kinds})
	d := newDumper(t, c)
	const n = 1_000
	ptrs, refs := make([]engine.Ptr, n), make([]engine.ObjRef, n)
	for i := range ptrs {
		ptrs[i] = addr(i / 2) // each twice
	}
	if err := d.EncounterBatch(ptrs, 1, refs, nil); err != nil {
		t.Fatal(err)
	}
	for i, ref := range refs {
		if want := engine.ObjRef(i/2 + 1); ref != want {
			t.Fatalf("element %d has objref %d; want %d", i, ref, want)
		}
	}
}

func TestG3_handlesLeaveAtMost64Each(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		const handles = 12
		objects := sized(5_000)
		c := newCheckpoint(t, with(o, newLedger(t, 1)))
		ds := make([]*engine.Dumper, handles)
		for i := range ds {
			ds[i] = newDumper(t, c)
		}
		seen := newRefSet(t)
		parallel(handles, func(w int) {
			rng := rand.New(rand.NewPCG(3, uint64(w)))
			for range objects {
				i := rng.IntN(objects)
				ref, first, err := ds[w].Encounter(addr(i), 1)
				if err != nil {
					t.Error(err)
					return
				}
				if first {
					seen.add(ref)
				}
			}
		})
		n, largest := seen.largest()
		if int(largest) > n+leaseRefs*handles {
			t.Errorf("%d objects, %d handles: largest objref is %d; want at most %d", n, handles, largest, n+leaseRefs*handles)
		}
		s := c.Stats()
		if s.Objects != n || s.Reserved != 0 || s.Free != 0 || s.Handles != handles || s.Leased != s.Allocated-n {
			t.Errorf("with open handles: %+v; want %d objects, all else leased", s, n)
		}
		wantInOrder(t, c)

		for _, d := range ds {
			closeQuietly(t, d)
		}
		s = c.Stats()
		if s.Objects != n || s.Handles != 0 || s.Leased != 0 || s.Free != s.Allocated-n {
			t.Errorf("with all handles closed: %+v; want %d objects, all else free", s, n)
		}
		wantInOrder(t, c)

		// What was given back comes first.
		d := newDumper(t, c)
		for range s.Free {
			ref, err := d.Reserve()
			if err != nil || int(ref) > s.Allocated {
				t.Fatalf("Reserve = %d, %v; %d were given back, none above %d", ref, err, s.Free, s.Allocated)
			}
			seen.add(ref)
		}
		if ref, err := d.Reserve(); int(ref) != s.Allocated+1 || err != nil {
			t.Errorf("Reserve = %d, %v; want %d, the first one never given out", ref, err, s.Allocated+1)
		}
		wantInOrder(t, c)
	})
}

func TestG3_statsTellHowObjrefsAreUsed(t *testing.T) {
	c := newCheckpoint(t, engine.Options{Kinds: newLedger(t, 1).kinds})
	want := func(what string, objects, reserved, leased, free, allocated, handles int) {
		t.Helper()
		s := c.Stats()
		got := [...]int{s.Objects, s.Reserved, s.Leased, s.Free, s.Allocated, s.Handles}
		if got != [...]int{objects, reserved, leased, free, allocated, handles} {
			t.Errorf("%s: objects, reserved, leased, free, allocated, handles are %v", what, got)
		}
		if c.Len() != objects {
			t.Errorf("%s: Len = %d; want %d", what, c.Len(), objects)
		}
		wantInOrder(t, c)
	}
	want("new", 0, 0, 0, 0, 0, 0)
	a := newDumper(t, c)
	want("unused handle", 0, 0, 0, 0, 0, 1)
	for i := range 10 {
		mustMeet(t, a, addr(i), 1, engine.ObjRef(i+1), true)
	}
	want("ten objects", 10, 0, 54, 0, 64, 1)
	b := newDumper(t, c)
	for i := range 10 {
		mustMeet(t, b, addr(i), 1, engine.ObjRef(i+1), false)
	}
	want("known objects take no lease", 10, 0, 54, 0, 64, 2)
	for want := range engine.ObjRef(70) {
		if ref, err := b.Reserve(); ref != 65+want || err != nil {
			t.Fatalf("Reserve = %d, %v; want %d", ref, err, 65+want)
		}
	}
	want("two leases used up", 10, 70, 54+58, 0, 192, 2)
	closeQuietly(t, a)
	want("one handle closed", 10, 70, 58, 54, 192, 1)
	closeQuietly(t, b)
	want("both closed", 10, 70, 0, 112, 192, 0)
	d := newDumper(t, c)
	if ref, _, err := d.Encounter(addr(99), 1); ref > 192 || err != nil {
		t.Errorf("Encounter = %d, %v; want an objref given back", ref, err)
	}
	s := c.Stats()
	want("one object more", 11, 70, s.Leased, 111-s.Leased, 192, 1)
}

// Handles that come and go must not eat objrefs.
func TestG3_shortLivedHandlesUseWhatTheirPredecessorsLeft(t *testing.T) {
	const workers, each = 4, 500
	c := newCheckpoint(t, engine.Options{Kinds: newLedger(t, 1).kinds})
	seen := newRefSet(t)
	parallel(workers, func(w int) {
		for i := range each {
			d := c.Dumper()
			ref, first, err := d.Encounter(addr(w*each+i), 1)
			if !first || err != nil {
				t.Error(ref, first, err)
			}
			seen.add(ref)
			d.Close()
		}
	})
	if n, largest := seen.largest(); int(largest) > n+leaseRefs*workers {
		t.Errorf("%d objects of handles of which %d are open at once: largest objref is %d; want at most %d",
			n, workers, largest, n+leaseRefs*workers)
	}
	wantInOrder(t, c)
}

// G12: a failing grab leaves no entry and nobody waiting.

func TestG12_failingGrabLeavesNothing(t *testing.T) {
	for _, fate := range fates {
		t.Run(fate.name, func(t *testing.T) {
			forEachSetting(t, func(t *testing.T, o engine.Options) {
				for _, p := range []engine.Ptr{addr(1), wide(1)} {
					l := newLedger(t, 1)
					sick := true
					l.grabbing = func(account) error {
						if sick {
							return fate.meet()
						}
						return nil
					}
					o.MaxObjects = 1
					c := newCheckpoint(t, with(o, l))
					d := newDumper(t, c)
					for range 3 {
						var ref engine.ObjRef
						e := ends(func() (err error) {
							ref, _, err = d.Encounter(p, 1)
							return err
						})
						fate.wantFate(t, "Encounter", e)
						if ref != 0 {
							t.Errorf("objref %d from an encounter that failed", ref)
						}
					}
					fate.wantFate(t, "Dump", ends(func() error {
						_, err := d.Dump(p, 1, func(engine.ObjRef) error { t.Error("dumped without a reference"); return nil })
						return err
					}))
					if ref, ok := c.Lookup(p); ok || ref != 0 || c.Len() != 0 {
						t.Errorf("Lookup = %d, %t, Len = %d after a failed Grab", ref, ok, c.Len())
					}
					if o, ok := c.Object(1); ok {
						t.Errorf("Object(1) = %+v after a failed Grab", o)
					}
					wantInOrder(t, c)
					sick = false
					mustMeet(t, d, p, 1, 1, true)
					closeQuietly(t, c)
					l.settled()
				}
			})
		})
	}
}

// Many threads meet one object whose Grab fails a few times: each failure is one
// caller's, then one is first, and all others get its objref.
func TestG12_failingGrabLeavesNobodyWaiting(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		const workers = 16
		for round := range 50 {
			l := newLedger(t, 1)
			var grabs atomic.Int32
			l.grabbing = func(account) error {
				if grabs.Add(1) <= 3 {
					return errSick
				}
				return nil
			}
			c := newCheckpoint(t, with(o, l))
			var mu sync.Mutex
			results := map[string]int{}
			within(t, "encounters with a failing Grab", func() {
				parallel(workers, func(int) {
					d := c.Dumper()
					defer d.Close()
					for {
						ref, first, err := d.Encounter(addr(round), 1)
						mu.Lock()
						switch {
						case errors.Is(err, errSick):
							results["sick"]++
						case err != nil:
							t.Error(err)
						case first:
							results["first"]++
						}
						if err == nil {
							results[fmt.Sprint("ref ", ref)]++
						}
						mu.Unlock()
						if err == nil {
							return
						}
					}
				})
			})
			if results["sick"] != 3 || results["first"] != 1 || len(results) != 3 {
				t.Fatalf("results %v; want 3 failures, one first, and one objref", results)
			}
			closeQuietly(t, c)
			l.settled()
		}
	})
}
