package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/objhash/objhash/engine"
	"github.com/objhash/objhash/refcount"
)

// holdStrategies are all that Options.Holds takes.
func holdStrategies() (all []refcount.Strategy) {
	for _, s := range refcount.All() {
		if t := s.Traits(); t.Zero < refcount.AtBarrier && !t.OneThread {
			all = append(all, s)
		}
	}
	return all
}

func forEachHolds(t *testing.T, f func(*testing.T, refcount.Strategy)) {
	for _, s := range holdStrategies() {
		t.Run("holds="+s.Name(), func(t *testing.T) { within(t, "the whole test", func() { f(t, s) }) })
	}
}

func mustEncounter(t testing.TB, d *engine.Dumper, p engine.Ptr, k engine.Kind) engine.ObjRef {
	t.Helper()
	ref, _, err := d.Encounter(p, k)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func mustRelease(t testing.TB, d *engine.Dumper, ref engine.ObjRef) {
	t.Helper()
	if err := d.Release(ref); err != nil {
		t.Fatal(err)
	}
}

// G11: the reference of an object goes when its last holder lets go of it, once, and not
// again at Close.
func TestG11_release(t *testing.T) {
	forEachHolds(t, func(t *testing.T, s refcount.Strategy) {
		l := newLedger(t, 1)
		c := newCheckpoint(t, with(engine.Options{Holds: s}, l))
		d := c.Dumper()
		ref, kept := mustEncounter(t, d, addr(1), 1), mustEncounter(t, d, addr(2), 1)
		for range 2 {
			mustEncounter(t, d, addr(1), 1)
		}
		for i := range 3 {
			if b := l.of(addr(1), 1); b.drops != 0 {
				t.Fatalf("after %d of 3 releases: %+v", i, b)
			}
			mustRelease(t, d, ref)
		}
		if s.Traits().Zero == refcount.AtOnce {
			if b := l.of(addr(1), 1); b != (balance{1, 1, 1}) {
				t.Errorf("references %+v; want the one dropped at once, as the last", b)
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if s.Traits().Zero <= refcount.AtFlush {
			if b := l.of(addr(1), 1); b != (balance{1, 1, 1}) {
				t.Errorf("references %+v; want the one dropped, as the last", b)
			}
			d = c.Dumper()
			wantReleased(t, c, d, ref, addr(1))
			mustRelease(t, d, kept)
			d.Close()
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if got := l.totals(); got != (balance{2, 2, 2}) {
			t.Errorf("references %+v; want each dropped once, as the last", got)
		}
		l.settled()
	})
}

// wantReleased checks what becomes of an object that has been released: it is known, and
// refused.
func wantReleased(t *testing.T, c *engine.Checkpoint, d *engine.Dumper, ref engine.ObjRef, p engine.Ptr) {
	t.Helper()
	o, ok := c.Object(ref)
	if !ok || o.Ptr != p || o.Flags&engine.Released == 0 {
		t.Errorf("Object(%d) = %+v, %t; want the object, released", ref, o, ok)
	}
	if got, ok := c.Lookup(p); !ok || got != ref {
		t.Errorf("Lookup = %d, %t; want %d", got, ok, ref)
	}
	users, objects := o.Users, c.Len()
	refs := make([]engine.ObjRef, 1)
	_, _, err := d.Encounter(p, o.Kind)
	errs := []error{err}
	_, err = d.Dump(p, o.Kind, func(engine.ObjRef) error { t.Error("a released object is dumped"); return nil })
	errs = append(errs, err, d.EncounterBatch([]engine.Ptr{p}, o.Kind, refs, nil), d.Release(ref))
	for i, err := range errs {
		if !errors.Is(err, engine.ErrReleased) {
			t.Errorf("operation %d on a released object: %v; want ErrReleased", i, err)
		}
	}
	if o, _ := c.Object(ref); o.Users != users || c.Len() != objects || refs[0] != 0 {
		t.Errorf("refused encounters changed something: %d users, %d objects, ref %d", o.Users, c.Len(), refs[0])
	}
	if _, _, err := d.Encounter(p, o.Kind%2+1); !errors.As(err, &engine.KindError{}) && !errors.Is(err, engine.ErrInvalid) {
		t.Errorf("another kind: %v; want a KindError first", err)
	}
}

// Threads meet and release the same objects. Each is dropped once, by whoever is the
// last, and whoever has met one has it until it lets go.
func TestG11_releaseByManyThreads(t *testing.T) {
	forEachHolds(t, func(t *testing.T, s refcount.Strategy) {
		const threads = 8
		objects := sized(2_000)
		l := newLedger(t, 1)
		c := newCheckpoint(t, with(engine.Options{Holds: s, Shards: 2}, l))
		var wg sync.WaitGroup
		for w := range threads {
			wg.Go(func() {
				d := c.Dumper()
				defer d.Close()
				for i := range objects {
					p := addr((i*(1+w%2*2) + w%3) % objects)
					var ref engine.ObjRef
					var err error
					if i%2 == 0 {
						ref, _, err = d.Encounter(p, 1)
					} else {
						ref, err = d.Dump(p, 1, dumpOK)
					}
					if errors.Is(err, engine.ErrReleased) {
						continue
					}
					if err != nil {
						t.Errorf("meeting %#x: %v", p, err)
						return
					}
					if l.held(p) < 1 {
						t.Errorf("%#x, which this thread has met, is not held", p)
					}
					if i%5 == 0 {
						runtime.Gosched()
					}
					if err := d.Release(ref); err != nil {
						t.Errorf("releasing %#x: %v", p, err)
					}
				}
			})
		}
		wg.Wait()
		if s.Traits().Zero <= refcount.AtFlush {
			// Close has nothing left to drop.
			if b := l.totals(); b.grabs != b.drops {
				t.Errorf("before Close: references %+v; want all dropped", b)
			}
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		l.settled()
		for i := range objects {
			if b := l.of(addr(i), 1); b.lasts < 1 || b.drops > b.lasts && b.grabs == 1 {
				t.Fatalf("object %d: references %+v; want its own dropped as the last", i, b)
			}
		}
	})
}

// Close and Release at the same time: one of them drops.
func TestG11_releaseAndClose(t *testing.T) {
	forEachHolds(t, func(t *testing.T, s refcount.Strategy) {
		for round := range sized(60) {
			const threads, objects = 4, 200
			l := newLedger(t, 1)
			c := newCheckpoint(t, with(engine.Options{Holds: s, Shards: 1}, l))
			var met, wg sync.WaitGroup
			met.Add(threads)
			for range threads {
				wg.Go(func() {
					d := c.Dumper()
					defer d.Close()
					var refs []engine.ObjRef
					for i := range objects {
						refs = append(refs, mustEncounter(t, d, addr(i), 1))
					}
					met.Done()
					met.Wait()
					for _, ref := range refs {
						if err := d.Release(ref); err != nil && !errors.Is(err, engine.ErrClosed) && !errors.Is(err, engine.ErrNotFound) {
							t.Errorf("Release: %v", err)
						}
					}
				})
			}
			wg.Go(func() {
				met.Wait()
				for range round {
					runtime.Gosched()
				}
				c.Close()
			})
			wg.Wait()
			l.settled()
			for i := range objects {
				if b := l.of(addr(i), 1); b.lasts != 1 {
					t.Fatalf("object %d: references %+v; want one dropped as the last", i, b)
				}
			}
		}
	})
}

// Who loses the race for a new object that everybody else has let go of meanwhile is
// refused, and its own reference was the last. Its objref, and the hold on that, go to its
// next object; or nowhere, if the handle is closed.
func TestG11_releaseBeforeTheLoserMeetsIt(t *testing.T) {
	for _, closes := range []bool{false, true} {
		t.Run(fmt.Sprintf("closes=%t", closes), func(t *testing.T) {
			l := newLedger(t, 1)
			c := newCheckpoint(t, with(engine.Options{Holds: refcount.Rcuref{}, Shards: 1}, l))
			d, winner := c.Dumper(), c.Dumper()
			mine := true
			l.grabbing = func(account) error {
				if mine {
					mine = false
					mustRelease(t, winner, mustEncounter(t, winner, addr(1), 1))
				}
				return nil
			}
			if _, _, err := d.Encounter(addr(1), 1); !errors.Is(err, engine.ErrReleased) {
				t.Errorf("%v; want ErrReleased", err)
			}
			if b := l.of(addr(1), 1); b != (balance{2, 2, 2}) {
				t.Errorf("references %+v; want both dropped, each as the last", b)
			}
			if closes {
				d.Close()
				d = c.Dumper()
			}
			for i := 2; i < 200; i++ {
				ref := mustEncounter(t, d, addr(i), 1)
				mustEncounter(t, winner, addr(i), 1)
				mustRelease(t, d, ref)
				if b := l.of(addr(i), 1); b != (balance{1, 0, 0}) {
					t.Fatalf("object %d, released by one of two: %+v", i, b)
				}
				mustRelease(t, winner, ref)
				if b := l.of(addr(i), 1); b != (balance{1, 1, 1}) {
					t.Fatalf("object %d, released by both: %+v; want one dropped, as the last", i, b)
				}
			}
			d.Close()
			winner.Close()
			if s := c.Stats(); s.Allocated > 200+2*leaseRefs {
				t.Errorf("%d objrefs for 199 objects and two handles", s.Allocated)
			}
		})
	}
}

// An object is held while it is dumped, even if the callback lets go of it.
func TestG11_releaseFromItsOwnDump(t *testing.T) {
	for _, fails := range []bool{false, true} {
		l := newLedger(t, 1)
		c := newCheckpoint(t, with(engine.Options{Holds: refcount.Rcuref{}}, l))
		d := c.Dumper()
		want := errors.New("disk full")
		ref, err := d.Dump(addr(1), 1, func(ref engine.ObjRef) error {
			mustRelease(t, d, ref)
			if b := l.of(addr(1), 1); b.drops != 0 {
				t.Errorf("references %+v while the object is dumped", b)
			}
			if fails {
				return want
			}
			return nil
		})
		if fails != errors.Is(err, want) {
			t.Errorf("Dump: %v", err)
		}
		if b := l.of(addr(1), 1); b != (balance{1, 1, 1}) {
			t.Errorf("references %+v; want one dropped, as the last", b)
		}
		if o, ok := c.Object(ref); !ok || o.Flags&engine.Dumped == 0 != fails || o.Flags&engine.Released == 0 {
			t.Errorf("Object = %+v, %t", o, ok)
		}
		d.Close()
		c.Close()
		l.settled()
	}
}

// G13: Drop may use the context, and the handle, that it is called from.
func TestG13_releaseReentry(t *testing.T) {
	forEachHolds(t, func(t *testing.T, s refcount.Strategy) {
		const chain = 300
		l := newLedger(t, 1)
		c := newCheckpoint(t, with(engine.Options{Holds: s, Shards: 1}, l))
		d := c.Dumper()
		refs := make([]engine.ObjRef, chain)
		for i := range refs {
			refs[i] = mustEncounter(t, d, addr(i), 1)
		}
		dropped, met := 0, 0
		l.dropping = func(a account, last bool) {
			dropped++
			if next := int(a.p-addr(0))/192 + 1; next < chain {
				if err := d.Release(refs[next]); err != nil && !errors.Is(err, engine.ErrClosed) {
					t.Errorf("Release within Drop: %v", err)
				}
			}
			if _, _, err := d.Encounter(addr(chain+met), 1); err == nil {
				met++
			} else if !errors.Is(err, engine.ErrClosed) {
				t.Errorf("Encounter within Drop: %v", err)
			}
			c.Lookup(a.p)
		}
		mustRelease(t, d, refs[0])
		if s.Traits().Zero == refcount.AtOnce && dropped != chain {
			t.Errorf("%d dropped; want a chain of %d", dropped, chain)
		}
		d.Close()
		l.dropping = nil
		c.Close()
		l.settled()
		if got := l.totals(); got.grabs != chain+met || got.lasts != got.grabs {
			t.Errorf("references %+v; want %d, each dropped once", got, chain+met)
		}
	})
}

// G16, G11: a panic or Goexit in Drop travels on from Release, and the reference counts as
// dropped.
func TestG11_releaseWithADropThatDoesNotReturn(t *testing.T) {
	for _, exits := range []bool{false, true} {
		l := newLedger(t, 1)
		c := newCheckpoint(t, with(engine.Options{Holds: refcount.Rcuref{}}, l))
		d := c.Dumper()
		ref := mustEncounter(t, d, addr(1), 1)
		mustEncounter(t, d, addr(2), 1)
		l.dropping = func(account, bool) {
			if exits {
				runtime.Goexit()
			}
			panic("drop")
		}
		done := make(chan any)
		go func() {
			returned := false
			defer func() {
				v := recover()
				if returned {
					v = "it returned"
				}
				done <- v
			}()
			mustRelease(t, d, ref)
			returned = true
		}()
		if got := <-done; exits && got != nil || !exits && got != "drop" {
			t.Errorf("exits=%t: ended with %v", exits, got)
		}
		l.dropping = nil
		wantReleasedByObject(t, c, ref)
		d.Close()
		c.Close()
		if got := l.totals(); got != (balance{2, 2, 2}) {
			t.Errorf("references %+v", got)
		}
	}
}

func wantReleasedByObject(t *testing.T, c *engine.Checkpoint, ref engine.ObjRef) {
	t.Helper()
	if o, ok := c.Object(ref); !ok || o.Flags&engine.Released == 0 {
		t.Errorf("Object(%d) = %+v, %t; want it released", ref, o, ok)
	}
}

// G12: an encounter that fails holds nothing: the next object's count starts at 0.
func TestG12_failedEncountersHoldNothing(t *testing.T) {
	l := newLedger(t, 2)
	c := newCheckpoint(t, with(engine.Options{Holds: refcount.Rcuref{}}, l))
	d := c.Dumper()
	fail := errors.New("no")
	l.grabbing = func(a account) error {
		if a.p == addr(9) {
			return fail
		}
		return nil
	}
	ref := mustEncounter(t, d, addr(1), 1)
	if _, _, err := d.Encounter(addr(1), 2); !errors.As(err, &engine.KindError{}) {
		t.Errorf("another kind: %v", err)
	}
	if _, _, err := d.Encounter(addr(9), 1); !errors.Is(err, fail) {
		t.Errorf("failing Grab: %v", err)
	}
	mustRelease(t, d, ref)
	wantReleasedByObject(t, c, ref)
	l.grabbing = nil
	mustRelease(t, d, mustEncounter(t, d, addr(9), 1))
	if got := l.totals(); got != (balance{2, 2, 2}) {
		t.Errorf("references %+v", got)
	}
}

// Users are the audit's, whoever has let go; the real count of an object is asked for only
// while it is held.
func TestAudit_releasedObjects(t *testing.T) {
	l := newLedger(t, 1)
	asked := map[engine.Ptr]int{}
	var d *engine.Dumper
	var refs []engine.ObjRef
	l.kinds[0].Users = func(p engine.Ptr) int64 {
		asked[p]++
		if p == addr(2) { // its last holder lets go right now
			mustRelease(t, d, refs[2])
		}
		if b := l.of(p, 1); b.drops != 0 {
			t.Errorf("%#x: asked for its count with references %+v", p, b)
		}
		return 2 // with the context's own: as one user counts
	}
	c := newCheckpoint(t, with(engine.Options{Holds: refcount.Rcuref{}, Count: refcount.Atomic{}}, l))
	d = c.Dumper()
	for i := range 4 {
		refs = append(refs, mustEncounter(t, d, addr(i), 1))
	}
	if _, err := d.Dump(addr(3), 1, dumpOK); err != nil {
		t.Fatal(err)
	}
	if err := c.EndCollect(); err != nil {
		t.Fatal(err)
	}
	mustRelease(t, d, refs[0])
	mustRelease(t, d, refs[3])
	mustRelease(t, d, refs[3])
	r := c.Audit()
	if asked[addr(0)] != 0 || asked[addr(3)] != 0 || asked[addr(1)] != 1 || asked[addr(2)] != 1 {
		t.Errorf("asked %v; want the objects that are held, once each", asked)
	}
	if b := l.of(addr(2), 1); b != (balance{1, 1, 1}) {
		t.Errorf("released during the audit: references %+v; want it dropped after that", b)
	}
	if r.Objects != 4 || len(r.LeaksIn)+len(r.LeaksOut) != 0 || len(r.NotDumped) != 3 {
		t.Errorf("report %+v; want 4 objects, the 3 that were not dumped, and no leaks", r)
	}
	var b bytes.Buffer
	if err := c.WriteSnapshot(&b); err != nil {
		t.Fatal(err)
	}
	s, err := engine.ReadSnapshot(&b)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range s.Objects {
		want := engine.Flags(0)
		if i == 3 {
			want = engine.Dumped
		}
		if o.Flags != want || o.Users < 1 {
			t.Errorf("object %d in the snapshot: %+v; want flags %d, and its users", i, o, want)
		}
	}
	if len(s.Objects) != 4 {
		t.Errorf("%d objects in the snapshot", len(s.Objects))
	}
}

// Objects of the base of a round are held from the moment they are met again.
func TestRelease_inARound(t *testing.T) {
	l := newLedger(t, 2)
	first := newCheckpoint(t, with(engine.Options{}, l))
	d := first.Dumper()
	for i := range 100 {
		mustEncounter(t, d, addr(i), 1)
	}
	if _, _, err := d.EncounterKey([]byte("key"), 1); err != nil {
		t.Fatal(err)
	}
	d.Close()
	var b bytes.Buffer
	if err := first.WriteSnapshot(&b); err != nil {
		t.Fatal(err)
	}
	first.Close()
	s, err := engine.ReadSnapshot(&b)
	if err != nil {
		t.Fatal(err)
	}
	c, err := engine.NewCheckpointFrom(with(engine.Options{Holds: refcount.Rcuref{}}, l), s)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d = c.Dumper()
	before := l.totals()
	for i := range 100 {
		ref := mustEncounter(t, d, addr(i), 1)
		mustEncounter(t, d, addr(i), 1)
		mustRelease(t, d, ref)
		mustRelease(t, d, ref)
		wantReleased(t, c, d, ref, addr(i))
	}
	key, _, err := d.EncounterKey([]byte("key"), 1)
	if err != nil {
		t.Fatal(err)
	}
	mustRelease(t, d, key)
	if _, _, err := d.EncounterKey([]byte("key"), 1); !errors.Is(err, engine.ErrReleased) {
		t.Errorf("a released key: %v; want ErrReleased", err)
	}
	after := l.totals()
	if after.drops-before.drops != 100 || after.lasts-before.lasts != 100 {
		t.Errorf("%d drops, %d of them last; want 100", after.drops-before.drops, after.lasts-before.lasts)
	}
	d.Close()
	c.Close()
	l.settled()
}

func TestRelease_errors(t *testing.T) {
	l := newLedger(t, 1)
	plain := newCheckpoint(t, with(engine.Options{}, l))
	d := plain.Dumper()
	if err := d.Release(mustEncounter(t, d, addr(1), 1)); !errors.Is(err, engine.ErrInvalid) {
		t.Errorf("without Holds: %v; want ErrInvalid", err)
	}
	d.Close()
	if err := (*engine.Dumper)(nil).Release(1); !errors.Is(err, engine.ErrInvalid) {
		t.Errorf("nil handle: %v; want ErrInvalid", err)
	}
	c := newCheckpoint(t, with(engine.Options{Holds: refcount.Rcuref{}}, l))
	d = c.Dumper()
	ref := mustEncounter(t, d, addr(1), 1)
	reserved, err := d.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	for _, none := range []engine.ObjRef{0, -1, reserved, 50, 1 << 20, 1<<31 - 1} {
		if err := d.Release(none); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("Release(%d): %v; want ErrNotFound", none, err)
		}
	}
	d.Close()
	if err := d.Release(ref); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("closed handle: %v; want ErrClosed", err)
	}
	d = c.Dumper()
	c.Close()
	if err := d.Release(ref); !errors.Is(err, engine.ErrClosed) {
		t.Errorf("closed context: %v; want ErrClosed", err)
	}
	d.Close()
	for _, s := range refcount.All() {
		tr := s.Traits()
		_, err := engine.NewCheckpoint(engine.Options{Holds: s})
		if want := tr.Zero >= refcount.AtBarrier || tr.OneThread; want != errors.Is(err, engine.ErrInvalid) {
			t.Errorf("Holds %s: %v; want ErrInvalid: %t", s.Name(), err, want)
		}
		_, err = engine.NewCheckpoint(engine.Options{Count: s})
		if want := tr.Exact == refcount.Never; want != errors.Is(err, engine.ErrInvalid) {
			t.Errorf("Count %s: %v; want ErrInvalid: %t", s.Name(), err, want)
		}
	}
}

// G21: the engine's users are right with every strategy, and whatever holds are counted with.
func TestG21_usersWithEveryStrategy(t *testing.T) {
	for _, s := range refcount.All() {
		tr := s.Traits()
		if tr.Exact == refcount.Never {
			continue
		}
		t.Run("strategy="+s.Name(), func(t *testing.T) {
			threads, objects := 4, sized(1_000)
			if tr.OneThread {
				threads = 1
			}
			l := newLedger(t, 1)
			c := newCheckpoint(t, with(engine.Options{Count: s, Holds: refcount.Rcuref{}}, l))
			var wg sync.WaitGroup
			for w := range threads {
				wg.Go(func() {
					d := c.Dumper()
					defer d.Close()
					refs, all := make([]engine.ObjRef, objects), make([]engine.Ptr, objects)
					for i := range all {
						all[i] = addr(i)
					}
					for range 3 {
						if err := d.EncounterBatch(all, 1, refs, nil); err != nil {
							t.Error(err)
						}
						for i := range objects {
							for range i%3 + w {
								mustEncounter(t, d, all[i], 1)
							}
						}
					}
				})
			}
			wg.Wait()
			for i := range objects {
				want := int64(0)
				for w := range threads {
					want += 3 * int64(1+i%3+w)
				}
				ref, _ := c.Lookup(addr(i))
				if o, ok := c.Object(ref); !ok || o.Users != want {
					t.Fatalf("object %d: %+v, %t; want %d users", i, o, ok, want)
				}
			}
		})
	}
}

// An encounter is not interrupted by Drop: with every strategy a Release, the Close of a
// handle or an Audit calls it, never the encounter of another object, which would be found
// half done by what Drop does with the same handle.
func TestG13_encountersDoNotDropOthers(t *testing.T) {
	forEachHolds(t, func(t *testing.T, s refcount.Strategy) {
		objects := sized(20_000)
		l := newLedger(t, 1)
		c := newCheckpoint(t, with(engine.Options{Holds: s, Shards: 1}, l))
		d := c.Dumper()
		encountering := false
		l.dropping = func(a account, _ bool) {
			if encountering {
				t.Errorf("%#x is dropped by the encounter of another object", a.p)
			}
		}
		for i := range objects {
			encountering = true
			ref := mustEncounter(t, d, addr(i), 1)
			mustEncounter(t, d, addr(i), 1)
			encountering = false
			if i < 20 {
				mustRelease(t, d, ref)
				mustRelease(t, d, ref)
			}
		}
		d.Close()
		c.Close()
		l.settled()
	})
}

// G11: who loses a race tells the truth about last: the winner's object is held until the
// loser's own reference is dropped.
func TestG11_theLosersDropIsNotTheLast(t *testing.T) {
	l := newLedger(t, 2)
	c := newCheckpoint(t, with(engine.Options{Holds: refcount.Rcuref{}, Shards: 1}, l))
	d, winner := c.Dumper(), c.Dumper()
	for i, kind := range []engine.Kind{1, 2} { // the loser's; of another kind it is refused
		p := addr(i)
		var ref engine.ObjRef
		mine := true
		l.grabbing = func(account) error {
			if mine {
				mine = false
				ref = mustEncounter(t, winner, p, 1)
			}
			return nil
		}
		l.dropping = func(a account, last bool) {
			if a.k == kind && ref != 0 {
				held := ref
				ref = 0
				mustRelease(t, winner, held)
				if last || l.of(p, 1).lasts != 0 {
					t.Errorf("the loser's Drop: last %t, references %+v; want the winner's to stay until it returns", last, l.of(p, 1))
				}
			}
		}
		got, _, err := d.Encounter(p, kind)
		l.dropping = nil
		if kind == 1 {
			if err != nil {
				t.Fatal(err)
			}
			mustRelease(t, d, got)
		} else if !errors.As(err, &engine.KindError{}) {
			t.Errorf("another kind: %v; want a KindError", err)
		}
		if b := l.of(p, 1); b.grabs != b.drops || b.lasts != 1 {
			t.Errorf("kind %d: references %+v; want all dropped, one as the last", kind, b)
		}
	}
	d.Close()
	winner.Close()
	c.Close()
	l.settled()
}
