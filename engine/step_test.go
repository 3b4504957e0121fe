//go:build race || objhash_invariants

package engine_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/objhash/objhash/engine"
	"github.com/objhash/objhash/internal/invariants"
	"github.com/objhash/objhash/refcount"
)

// stopper stops the first thread that comes to a step of a given name.
type stopper struct {
	name    string
	armed   atomic.Bool
	stopped chan struct{} // closed when one has stopped
	resume  chan struct{} // close it to let that one go on
	once    sync.Once
}

func newStopper(t *testing.T, name string) *stopper {
	s := &stopper{name: name, stopped: make(chan struct{}), resume: make(chan struct{})}
	s.armed.Store(true)
	t.Cleanup(invariants.OnStep(func(step string) {
		if step == s.name && s.armed.CompareAndSwap(true, false) {
			close(s.stopped)
			<-s.resume
		}
	}))
	t.Cleanup(s.release) // before the test is left with a stopped thread
	return s
}

func (s *stopper) release() { s.once.Do(func() { close(s.resume) }) }

// The steps of an encounter of a new object, in order.
var encounterSteps = []string{
	"encounter: before publishing",
	"insert: before the CAS",
	"insert: after the search",
	"publish: before checking closed",
}

// The steps of a thread that replaces a shard of the index.
var replaceSteps = []string{
	"replace: between groups",
	"replace: before publishing",
	"replace: before releasing",
}

// stop runs meet until it stops at a step, and returns a channel that is closed when
// meet has returned.
func stop(t *testing.T, s *stopper, meet func()) (done chan struct{}) {
	t.Helper()
	done = make(chan struct{})
	go func() {
		defer close(done)
		meet()
	}()
	select {
	case <-s.stopped:
	case <-done:
		t.Fatalf("the thread did not come to step %q", s.name)
	}
	return done
}

// G20: a thread stopped between any two steps of an insert blocks no other thread's
// lookups, encounters of known objects, or inserts elsewhere.

func TestG20_stoppedEncounterBlocksNobody(t *testing.T) {
	for _, step := range encounterSteps {
		t.Run(step, func(t *testing.T) {
			for _, o := range []engine.Options{{Shards: 1}, {}, {Shards: 1, Count: refcount.Atomic{}}} {
				l := newLedger(t, 2)
				c := newCheckpoint(t, with(o, l))
				victim, d := newDumper(t, c), newDumper(t, c)
				const known = 30
				for i := range known {
					if _, _, err := d.Encounter(addr(i), 1); err != nil {
						t.Fatal(err)
					}
				}
				s := newStopper(t, step)
				var ref engine.ObjRef
				var first bool
				var err error
				done := stop(t, s, func() { ref, first, err = victim.Encounter(addr(1000), 1) })

				var met engine.ObjRef
				within(t, "other threads, while one is stopped at "+step, func() {
					for i := range known {
						if _, ok := c.Lookup(addr(i)); !ok {
							t.Errorf("object %d is not found", i)
						}
						if _, first, err := d.Encounter(addr(i), 1); first || err != nil {
							t.Errorf("known object %d: first %t, %v", i, first, err)
						}
						if _, err := d.Dump(addr(i), 1, dumpOK); err != nil {
							t.Errorf("known object %d: %v", i, err)
						}
					}
					// Whether the stopped thread's object is met yet or not, it is whole.
					if ref, ok := c.Lookup(addr(1000)); ok {
						if o, ok := c.Object(ref); !ok || o.Ptr != addr(1000) || o.Kind != 1 {
							t.Errorf("Object(%d) = %+v, %t; want %#x", ref, o, ok, addr(1000))
						}
						_, _, err := d.Encounter(addr(1000), 2)
						wantKindError(t, "other kind", err, engine.KindError{Ref: ref, Have: 1, Want: 2})
					}
					// New objects, enough to replace every shard of the index; those of
					// batches and keys; the very object that the stopped thread is at.
					for i := range 500 {
						if _, first, err := d.Encounter(addr(2000+i), 1); !first || err != nil {
							t.Errorf("new object: first %t, %v", first, err)
						}
					}
					refs := make([]engine.ObjRef, 3)
					if err := d.EncounterBatch([]engine.Ptr{addr(1000), addr(3000), wide(3000)}, 1, refs, nil); err != nil {
						t.Error(err)
					}
					met = refs[0]
					if _, first, err := d.EncounterKey([]byte("key"), 1); !first || err != nil {
						t.Errorf("key: first %t, %v", first, err)
					}
					if ref, err := d.Reserve(); ref == 0 || err != nil {
						t.Errorf("Reserve = %d, %v", ref, err)
					}
					c.Len()
					for range c.All() {
					}
				})
				s.release()
				await(t, "the stopped thread", done)
				published := step == encounterSteps[2] || step == encounterSteps[3]
				if ref != met || first != published || err != nil {
					t.Errorf("the stopped thread's Encounter = %d, %t, %v; the others have %d", ref, first, err, met)
				}
				if held := l.held(addr(1000)); held != 1 {
					t.Errorf("%d references held; want 1", held)
				}
				wantInOrder(t, c)
				closeQuietly(t, c)
				closeQuietly(t, victim)
				closeQuietly(t, d)
				l.settled()
			}
		})
	}
}

// Stopped while growing a shard it delays at most inserts of new objects into that
// shard.
func TestG20_stoppedGrowthDelaysOneShard(t *testing.T) {
	const shards, known, others = 64, 64 * 6, 256
	for _, step := range replaceSteps {
		t.Run(step, func(t *testing.T) {
			l := newLedger(t, 1)
			c := newCheckpoint(t, with(engine.Options{Shards: shards, Seed: 1}, l))
			victim, d := newDumper(t, c), newDumper(t, c)
			for i := range known {
				if _, _, err := d.Encounter(addr(i), 1); err != nil {
					t.Fatal(err)
				}
			}
			s := newStopper(t, step)
			met := 0
			done := stop(t, s, func() {
				for ; met < 100_000 && s.armed.Load(); met++ {
					if _, _, err := victim.Encounter(addr(100_000+met), 1); err != nil {
						t.Error(err)
					}
				}
			})
			within(t, "lookups and known objects, while a shard is replaced", func() {
				ptrs, refs := make([]engine.Ptr, known), make([]engine.ObjRef, known)
				for i := range known {
					ptrs[i] = addr(i)
					if _, ok := c.Lookup(addr(i)); !ok {
						t.Errorf("object %d is not found", i)
					}
					if _, first, err := d.Encounter(addr(i), 1); first || err != nil {
						t.Errorf("known object %d: first %t, %v", i, first, err)
					}
				}
				if found := c.LookupBatch(ptrs, refs); found != known {
					t.Errorf("LookupBatch found %d of %d", found, known)
				}
				if err := d.EncounterBatch(ptrs, 1, refs, nil); err != nil {
					t.Error(err)
				}
				if _, first, err := d.EncounterKey([]byte("key"), 1); !first || err != nil {
					t.Errorf("key: first %t, %v", first, err)
				}
				if _, first, err := d.Encounter(wide(1), 1); !first || err != nil {
					t.Errorf("wide address: first %t, %v", first, err)
				}
			})
			// New objects, each on a thread of its own: those of one shard wait, which is
			// one in 64.
			through := make(chan struct{}, others)
			var all sync.WaitGroup
			for i := range others {
				all.Go(func() {
					d := c.Dumper()
					defer d.Close()
					if _, first, err := d.Encounter(addr(500_000+i), 1); !first || err != nil {
						t.Errorf("new object %d: first %t, %v", i, first, err)
					}
					through <- struct{}{}
				})
			}
			within(t, "new objects in other shards", func() {
				for range others * 3 / 4 {
					<-through
				}
			})
			s.release()
			await(t, "the stopped thread", done)
			within(t, "new objects in all shards", all.Wait)
			if n := len(wantInOrder(t, c)); n != known+others+met+2 {
				t.Errorf("%d objects; want %d", n, known+others+met+2)
			}
			closeQuietly(t, c)
			closeQuietly(t, victim)
			closeQuietly(t, d)
			l.settled()
		})
	}
}

// G11 and G19: Close goes past a thread stopped at any step of an encounter; what it
// grabbed is dropped, by one of the two.
func TestG11_G19_closeDuringEachStep(t *testing.T) {
	meets := []struct {
		name string
		p    engine.Ptr
		meet func(d *engine.Dumper, p engine.Ptr) (engine.ObjRef, error)
	}{
		{"Encounter", addr(1), func(d *engine.Dumper, p engine.Ptr) (engine.ObjRef, error) {
			ref, _, err := d.Encounter(p, 1)
			return ref, err
		}},
		{"Encounter/wide", wide(1), func(d *engine.Dumper, p engine.Ptr) (engine.ObjRef, error) {
			ref, _, err := d.Encounter(p, 1)
			return ref, err
		}},
		{"EncounterBatch", addr(1), func(d *engine.Dumper, p engine.Ptr) (engine.ObjRef, error) {
			refs := make([]engine.ObjRef, 1)
			err := d.EncounterBatch([]engine.Ptr{p}, 1, refs, nil)
			return refs[0], err
		}},
		{"Dump", addr(1), func(d *engine.Dumper, p engine.Ptr) (engine.ObjRef, error) {
			return d.Dump(p, 1, dumpOK)
		}},
		{"EncounterKey", 0, func(d *engine.Dumper, _ engine.Ptr) (engine.ObjRef, error) {
			ref, _, err := d.EncounterKey([]byte("key"), 1)
			return ref, err
		}},
	}
	for _, step := range encounterSteps {
		for _, m := range meets {
			if step[:6] == "insert" && (m.p == 0 || m.p == wide(1)) {
				continue // they are not in the index's tables
			}
			t.Run(m.name+"/"+step, func(t *testing.T) {
				for _, known := range []bool{false, true} { // others have used the tables before
					l := newLedger(t, 1)
					c := newCheckpoint(t, with(engine.Options{}, l))
					victim, d := newDumper(t, c), newDumper(t, c)
					if known {
						mustMeet(t, d, addr(50), 1, 1, true)
						mustMeet(t, d, wide(50), 1, 2, true)
						if _, _, err := d.EncounterKey([]byte("other"), 1); err != nil {
							t.Fatal(err)
						}
					}
					s := newStopper(t, step)
					var ref engine.ObjRef
					var e ending
					done := stop(t, s, func() {
						e = ends(func() (err error) {
							ref, err = m.meet(victim, m.p)
							return err
						})
					})
					within(t, "Close, while a thread is stopped at "+step, func() { closeQuietly(t, c) })
					s.release()
					await(t, "the stopped thread", done)
					if ref != 0 || !errors.Is(e.err, engine.ErrClosed) {
						t.Errorf("%s = %d, ended with %+v; want ErrClosed", m.name, ref, e)
					}
					closeQuietly(t, victim)
					closeQuietly(t, d)
					l.settled()
				}
			})
		}
	}
}

// The restart side: while an Insert is stopped before it publishes, others go on, and
// one of them may take the objref.
func TestG20_stoppedRestartInsertBlocksNobody(t *testing.T) {
	const step = "restart: before publishing"
	for _, end := range []bool{false, true} {
		l := newLedger(t, 2)
		r := newRestart(t, with(engine.Options{}, l))
		s := newStopper(t, step)
		var err error
		done := stop(t, s, func() { err = r.Insert(5, addr(5), 1) })
		within(t, "other threads, while an Insert is stopped", func() {
			for ref := engine.ObjRef(1); ref < 3000; ref++ {
				if err := r.Insert(ref, addr(int(ref)), 2); err != nil {
					t.Errorf("Insert(%d): %v", ref, err)
				}
				if p, err := r.Fetch(ref, 2); p != addr(int(ref)) || err != nil {
					t.Errorf("Fetch(%d) = %#x, %v", ref, p, err)
				}
			}
			if err := r.Insert(1<<30, wide(1), 2); err != nil {
				t.Error(err)
			}
			if end {
				closeQuietly(t, r)
			}
		})
		s.release()
		await(t, "the stopped thread", done)
		if end && errors.Is(err, engine.ErrClosed) {
			err = engine.ErrExists // either answer is true
		}
		wantErr(t, "the stopped Insert", err, engine.ErrExists)
		closeQuietly(t, r)
		l.settled()
	}
}

// Close goes past a stopped Insert; its reference is dropped.
func TestG11_closeDuringARestartInsert(t *testing.T) {
	for _, step := range []string{"restart: before publishing", "publish: before checking closed"} {
		for _, ref := range []engine.ObjRef{1, 1 << 30} {
			if step[:7] == "restart" && ref > 1 {
				continue // beside the arrays there is no such step
			}
			for _, p := range []engine.Ptr{addr(1), wide(1)} {
				if step[:7] == "restart" && p == wide(1) {
					continue
				}
				l := newLedger(t, 1)
				r := newRestart(t, with(engine.Options{}, l))
				s := newStopper(t, step)
				var err error
				done := stop(t, s, func() { err = r.Insert(ref, p, 1) })
				within(t, "Close, while an Insert is stopped at "+step, func() { closeQuietly(t, r) })
				s.release()
				await(t, "the stopped thread", done)
				wantErr(t, "the stopped Insert", err, engine.ErrClosed)
				l.settled()
			}
		}
	}
}

// Close has loaded the record of an object that then loses its race, and whose objref
// is used for the next: Close must drop the reference of the object whose record it
// takes, not of the one it saw. The next object comes after Close has begun because its
// encounter is the one in whose Grab the other takes place.
func TestG11_closeDropsTheObjectWhoseRecordItTakes(t *testing.T) {
	for _, place := range []func(int) engine.Ptr{addr, wide} {
		a, b := place(1), place(2)
		l := newLedger(t, 1)
		c := newCheckpoint(t, with(engine.Options{}, l))
		d, other := newDumper(t, c), newDumper(t, c)
		publishing := []chan struct{}{make(chan struct{}), make(chan struct{})}
		goOn := []chan struct{}{make(chan struct{}), make(chan struct{})}
		loaded, drop := make(chan struct{}), make(chan struct{})
		var arrivals, closer atomic.Int32
		restore := invariants.OnStep(func(step string) {
			switch step {
			case "encounter: before publishing":
				if n := arrivals.Add(1); n > 1 && n < 4 { // the first one is the other handle's
					close(publishing[n-2])
					<-goOn[n-2]
				}
			case "drop: after loading the record":
				if closer.Add(1) == 1 {
					close(loaded)
					<-drop
				}
			}
		})
		depth := 0
		l.grabbing = func(x account) error {
			switch depth++; depth {
			case 1: // of b: meets a
				_, first, err := d.Encounter(a, 1)
				allowed(t, "Encounter of the object that loses", err, engine.ErrClosed)
				if first {
					t.Error("Encounter of the object that loses: first")
				}
			case 2: // of a: loses against the other handle
				if _, first, err := other.Encounter(a, 1); !first || err != nil {
					t.Errorf("Encounter of the winner: %t, %v", first, err)
				}
			}
			return nil
		}
		// The loser's objref comes before the winner's.
		if _, err := d.Reserve(); err != nil {
			t.Fatal(err)
		}
		met, closed := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(met)
			d.Encounter(b, 1)
		}()
		await(t, "a's record", publishing[0])
		go func() {
			defer close(closed)
			closeQuietly(t, c)
		}()
		within(t, "Close at a's record", func() {
			select {
			case <-loaded:
			case <-closed: // in a build without that step
			}
		})
		close(goOn[0])
		await(t, "b's record", publishing[1])
		close(drop)
		await(t, "Close", closed)
		close(goOn[1])
		await(t, "b's encounter", met)
		restore()
		closeQuietly(t, d)
		closeQuietly(t, other)
		l.settled()
	}
}

// G6: a reader that has the record of an object that then lost its race, and whose
// objref went to another one, does not mix the two up.
func TestG6_recordAndIdentityOfOneObject(t *testing.T) {
	c := newCheckpoint(t, engine.Options{Kinds: []engine.KindOps{{}, {}}})
	loser, winner := newDumper(t, c), newDumper(t, c)
	mustMeet(t, loser, addr(1), 1, 1, true)
	var read engine.Object
	var found bool
	stopped, resume, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	racing, reading := true, false
	t.Cleanup(invariants.OnStep(func(step string) {
		switch {
		case step == "encounter: before publishing" && racing:
			racing = false
			reading = true
			go func() {
				defer close(done)
				read, found = c.Object(2)
			}()
			<-stopped
			if _, first, err := winner.Encounter(wide(1), 2); !first || err != nil {
				t.Errorf("the winner's Encounter: first %t, %v", first, err)
			}
		case step == "object: after the record" && reading:
			reading = false
			close(stopped)
			<-resume
		}
	}))
	_, _, err := loser.Encounter(wide(1), 1)
	wantKindError(t, "the loser's Encounter", err, engine.KindError{Ref: 65, Have: 2, Want: 1})
	mustMeet(t, loser, wide(2), 2, 2, true)
	close(resume)
	await(t, "the reader", done)
	if found && (read.Ptr != wide(2) || read.Kind != 2) {
		t.Errorf("Object(2) = %+v; want address %#x and kind 2", read, wide(2))
	}
}

// The objref of an object that was about to lose its race when the collect pass ended
// does not make the next object look as if it had been met in that pass.
func TestAudit_lateAfterALostRace(t *testing.T) {
	c := newCheckpoint(t, engine.Options{Kinds: []engine.KindOps{{Users: func(engine.Ptr) int64 { return 1 }}}})
	loser, winner := newDumper(t, c), newDumper(t, c)
	mustMeet(t, loser, addr(1), 1, 1, true)
	racing := true
	t.Cleanup(invariants.OnStep(func(step string) {
		if step == "encounter: before publishing" && racing {
			racing = false
			mustMeet(t, winner, addr(2), 1, 65, true)
			if err := c.EndCollect(); err != nil {
				t.Error(err)
			}
		}
	}))
	mustMeet(t, loser, addr(2), 1, 65, false)
	if _, first, err := loser.Encounter(addr(3), 1); !first || err != nil {
		t.Fatalf("Encounter: first %t, %v", first, err)
	}
	closeQuietly(t, loser)
	closeQuietly(t, winner)
	r := c.Audit()
	if len(r.Late) != 1 || r.Late[0].Ptr != addr(3) || len(r.LeaksOut) != 0 {
		t.Errorf("late %+v, leaks out %+v; want the third object late alone", r.Late, r.LeaksOut)
	}
}
