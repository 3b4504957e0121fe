package engine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/objhash/objhash/engine"
)

// G14: a dump callback succeeds at most once per object; an object is never marked
// dumped after a failed dump.

func dumpOK(engine.ObjRef) error { return nil }

func wantFlags(t *testing.T, c *engine.Checkpoint, ref engine.ObjRef, want engine.Flags) {
	t.Helper()
	if o, ok := c.Object(ref); !ok || o.Flags != want {
		t.Errorf("Object(%d) = %+v, %t; want flags %b", ref, o, ok, want)
	}
}

func TestG14_dumpRunsOnce(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		c := newCheckpoint(t, with(o, newLedger(t, 300)))
		want := engine.ObjRef(0)
		for _, p := range []engine.Ptr{addr(1), wide(1)} {
			for _, k := range []engine.Kind{1, 300} {
				p += engine.Ptr(k) << 12
				want++
				d := newDumper(t, c)
				runs := 0
				dump := func(ref engine.ObjRef) error {
					runs++
					wantFlags(t, c, ref, engine.Dumping)
					return nil
				}
				for range 3 {
					if ref, err := d.Dump(p, k, dump); ref != want || err != nil {
						t.Errorf("Dump = %d, %v; want %d", ref, err, want)
					}
					wantFlags(t, c, want, engine.Dumped)
				}
				if runs != 1 {
					t.Errorf("%d callbacks ran; want 1", runs)
				}
				closeQuietly(t, d) // flushes its counts
				if o, _ := c.Object(want); o.Users != 3 {
					t.Errorf("%d users; want one for each Dump", o.Users)
				}
			}
		}
	})
}

func TestG14_objectMetBeforeIsDumped(t *testing.T) {
	c := newCheckpoint(t, engine.Options{Kinds: newLedger(t, 1).kinds})
	d, other := newDumper(t, c), newDumper(t, c)
	mustMeet(t, d, addr(1), 1, 1, true)
	wantFlags(t, c, 1, 0)
	runs := 0
	if ref, err := other.Dump(addr(1), 1, func(engine.ObjRef) error { runs++; return nil }); ref != 1 || err != nil || runs != 1 {
		t.Errorf("Dump = %d, %v, %d callbacks; want 1, nil, 1", ref, err, runs)
	}
	mustMeet(t, d, addr(1), 1, 1, false)
	wantFlags(t, c, 1, engine.Dumped)
}

func TestG14_failedDumpIsTriedAgain(t *testing.T) {
	for _, fate := range fates {
		t.Run(fate.name, func(t *testing.T) {
			forEachSetting(t, func(t *testing.T, o engine.Options) {
				for _, p := range []engine.Ptr{addr(1), wide(1)} {
					l := newLedger(t, 1)
					c := newCheckpoint(t, with(o, l))
					d := newDumper(t, c)
					for range 3 {
						var ref engine.ObjRef
						fate.wantFate(t, "Dump", ends(func() (err error) {
							ref, err = d.Dump(p, 1, func(got engine.ObjRef) error {
								wantFlags(t, c, got, engine.Dumping)
								return fate.meet()
							})
							return err
						}))
						if want := fate.name == "error"; (ref == 1) != want {
							t.Errorf("Dump = %d after a dump's %s", ref, fate.name)
						}
						wantFlags(t, c, 1, 0)
					}
					runs := 0
					ref, err := d.Dump(p, 1, func(ref engine.ObjRef) error { runs++; return nil })
					if ref != 1 || err != nil || runs != 1 {
						t.Errorf("Dump = %d, %v, %d callbacks; want the same objref, 1, and one callback", ref, err, runs)
					}
					wantFlags(t, c, 1, engine.Dumped)
					closeQuietly(t, d)
					closeQuietly(t, c)
					l.settled()
				}
			})
		})
	}
}

func TestG14_failedDumpNamesTheObject(t *testing.T) {
	c := newCheckpoint(t, engine.Options{Kinds: newLedger(t, 2).kinds})
	d := newDumper(t, c)
	_, err := d.Dump(0x1230, 2, func(engine.ObjRef) error { return errSick })
	wantErr(t, "Dump", err, errSick)
	wantMessage(t, err, name(2), "0x1230", "objref 1", errSick.Error())
}

// The mark is set before the callback runs: a cycle gets the objref of the object
// whose dump is not finished.
func TestG14_cycleGetsTheObjref(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		l := newLedger(t, 2)
		c := newCheckpoint(t, with(o, l))
		d, other := newDumper(t, c), newDumper(t, c)
		const length = 5 // object i refers to object i+1, and the last to the first
		var order []int
		var dump func(d *engine.Dumper, i int) error
		dump = func(d *engine.Dumper, i int) error {
			_, err := d.Dump(addr(i%length), 1, func(ref engine.ObjRef) error {
				order = append(order, i)
				if i >= length {
					return fmt.Errorf("object %d dumped again, within its own dump", i%length)
				}
				// The same object, by its own handle and by another's.
				for _, d := range []*engine.Dumper{d, other} {
					if got, err := d.Dump(addr(i), 1, func(engine.ObjRef) error {
						return fmt.Errorf("object %d dumped within its own dump", i)
					}); got != ref || err != nil {
						return fmt.Errorf("nested Dump of object %d = %d, %w; want %d", i, got, err, ref)
					}
				}
				wantFlags(t, c, ref, engine.Dumping)
				return dump(d, i+1)
			})
			return err
		}
		if err := dump(d, 0); err != nil {
			t.Error(err)
		}
		if len(order) != length {
			t.Errorf("dumps ran in order %v; want each of %d objects once", order, length)
		}
		for ref, o := range c.All() {
			if o.Flags != engine.Dumped {
				t.Errorf("objref %d: %+v; want it dumped", ref, o)
			}
		}
		closeQuietly(t, d)
		closeQuietly(t, other)
		closeQuietly(t, c)
		l.settled()
	})
}

// While one thread is in dump, nobody else waits.
func TestG14_nobodyWaitsForADump(t *testing.T) {
	c := newCheckpoint(t, engine.Options{Kinds: newLedger(t, 1).kinds})
	d := newDumper(t, c)
	ref, err := d.Dump(addr(1), 1, func(ref engine.ObjRef) error {
		within(t, "other threads' calls during a dump", func() {
			parallel(4, func(int) {
				d := c.Dumper()
				defer d.Close()
				if got, err := d.Dump(addr(1), 1, func(engine.ObjRef) error { return errSick }); got != ref || err != nil {
					t.Errorf("Dump = %d, %v; want %d", got, err, ref)
				}
				if got, first, err := d.Encounter(addr(1), 1); got != ref || first || err != nil {
					t.Errorf("Encounter = %d, %t, %v; want %d", got, first, err, ref)
				}
				if got, ok := c.Lookup(addr(1)); got != ref || !ok {
					t.Errorf("Lookup = %d, %t; want %d", got, ok, ref)
				}
				wantFlags(t, c, ref, engine.Dumping)
			})
		})
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	wantFlags(t, c, ref, engine.Dumped)
}

// Many threads dump the same objects, whose dumps fail in all ways there are: each
// object's dump succeeds once, never two run at a time, and none after the success.
func TestG14_manyThreadsDumpTheSameObjects(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		const workers = 4
		objects := sized(1_000)
		l := newLedger(t, 2)
		c := newCheckpoint(t, with(o, l))
		running := make([]atomic.Int32, objects)
		succeeded := make([]atomic.Int32, objects)
		parallel(workers, func(w int) {
			rng := rand.New(rand.NewPCG(14, uint64(w)))
			d := c.Dumper()
			defer d.Close()
			dump := func(i int) func(engine.ObjRef) error {
				return func(engine.ObjRef) error {
					if running[i].Add(1) != 1 || succeeded[i].Load() != 0 {
						t.Errorf("object %d: two dumps at a time, or one after the success", i)
					}
					defer running[i].Add(-1)
					switch rng.IntN(8) {
					case 0:
						panic(errSick)
					case 1:
						runtime.Goexit()
					case 2, 3:
						return errSick
					case 4:
						runtime.Gosched()
					}
					succeeded[i].Add(1)
					return nil
				}
			}
			for n := range objects * 4 {
				i := (n/2 + rng.IntN(8)) % objects
				var ref engine.ObjRef
				e := ends(func() (err error) {
					ref, err = d.Dump(addr(i), 1, dump(i))
					return err
				})
				if e.err != nil && !errors.Is(e.err, errSick) {
					t.Errorf("Dump = %d, %v", ref, e.err)
				}
			}
		})
		d := newDumper(t, c)
		for i := range objects {
			before := succeeded[i].Load()
			ref, err := d.Dump(addr(i), 1, func(engine.ObjRef) error { succeeded[i].Add(1); return nil })
			if err != nil || before > 1 || succeeded[i].Load() != 1 {
				t.Fatalf("object %d: %d dumps succeeded, then Dump = %d, %v", i, before, ref, err)
			}
			wantFlags(t, c, ref, engine.Dumped)
		}
		wantInOrder(t, c)
		closeQuietly(t, d)
		closeQuietly(t, c)
		l.settled()
	})
}

// Two threads go through the same objects with nothing else to do, so that they are as
// near to each other as can be.
func TestG14_oneOfTwoDumpsRuns(t *testing.T) {
	objects := sized(100_000)
	c := newCheckpoint(t, engine.Options{Kinds: []engine.KindOps{{}}})
	ds := [2]*engine.Dumper{newDumper(t, c), newDumper(t, c)}
	for i := range objects {
		mustMeet(t, ds[0], addr(i), 1, engine.ObjRef(i+1), true)
	}
	runs := make([]atomic.Int32, objects)
	const chunk = 200
	together(objects/chunk, func(w, round int) {
		i := 0
		dump := func(engine.ObjRef) error { runs[i].Add(1); return nil }
		for i = round * chunk; i < (round+1)*chunk; i++ {
			if ref, err := ds[w].Dump(addr(i), 1, dump); int(ref) != i+1 || err != nil {
				t.Errorf("Dump of object %d = %d, %v", i, ref, err)
			}
		}
	})
	for i := range runs {
		if n := runs[i].Load(); n != 1 {
			t.Fatalf("object %d: %d dumps ran; want 1", i, n)
		}
	}
	// One object, whose dumps all fail.
	var running atomic.Int32
	together(objects/chunk, func(w, round int) {
		dump := func(engine.ObjRef) error {
			if running.Add(1) != 1 {
				t.Error("two dumps of one object at a time")
			}
			running.Add(-1)
			return errSick
		}
		for range chunk / 4 {
			if _, err := ds[w].Dump(wide(1), 1, dump); err != nil && !errors.Is(err, errSick) {
				t.Error(err)
			}
		}
	})
	ref, _ := c.Lookup(wide(1))
	wantFlags(t, c, ref, 0)
}

// A dump that is not running and has not succeeded must not be taken for one.
func TestG14_closedObjectIsNotTakenForDumped(t *testing.T) {
	l := newLedger(t, 1)
	var c *engine.Checkpoint
	closing := false
	c = newCheckpoint(t, with(engine.Options{Count: onInc(func(int32) {
		if closing { // between the encounter and the dump
			closeQuietly(t, c)
		}
	})}, l))
	d := newDumper(t, c)
	mustMeet(t, d, addr(1), 1, 1, true)
	closing = true
	ran := false
	ref, err := d.Dump(addr(1), 1, func(engine.ObjRef) error { ran = true; return nil })
	if err == nil && !ran {
		t.Errorf("Dump = %d, nil, but no dump ran: want ErrClosed", ref)
	}
	if err != nil && !errors.Is(err, engine.ErrClosed) {
		t.Errorf("Dump: error is %v; want ErrClosed", err)
	}
	closeQuietly(t, d)
	l.settled()
}
