package engine_test

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/objhash/objhash/engine"
)

// G11: grabs minus drops is zero per object after Close, on every path: errors,
// panics, lost races, cancels.

// In every setting, each kind of callback meets each fate on each path: before the
// race is decided, after it is lost, and at Close.
func TestG11_everyFateOnEveryPath(t *testing.T) {
	type path struct {
		name string
		run  func(d *engine.Dumper, p engine.Ptr) error
	}
	paths := []path{
		{"Encounter", func(d *engine.Dumper, p engine.Ptr) error {
			_, _, err := d.Encounter(p, 1)
			return err
		}},
		{"EncounterBatch", func(d *engine.Dumper, p engine.Ptr) error {
			return d.EncounterBatch([]engine.Ptr{addr(500), p, addr(501)}, 1, make([]engine.ObjRef, 3), nil)
		}},
		{"Dump", func(d *engine.Dumper, p engine.Ptr) error {
			_, err := d.Dump(p, 1, dumpOK)
			return err
		}},
	}
	places := []struct {
		name string
		set  func(l *ledger, p engine.Ptr, winner func(), meet func() error)
	}{
		{"Grab", func(l *ledger, p engine.Ptr, _ func(), meet func() error) {
			l.grabbing = func(a account) error {
				if a.p == p {
					return meet()
				}
				return nil
			}
		}},
		{"Grab/lost", func(l *ledger, p engine.Ptr, winner func(), meet func() error) {
			mine := true
			l.grabbing = func(a account) error {
				if a.p == p && mine {
					mine = false
					winner()
					return meet()
				}
				return nil
			}
		}},
		{"Drop/lost", func(l *ledger, p engine.Ptr, winner func(), meet func() error) {
			mine, once := true, true
			l.grabbing = func(a account) error {
				if a.p == p && mine {
					mine = false
					winner()
				}
				return nil
			}
			l.dropping = func(a account, last bool) {
				if a.p == p && once {
					once = false
					_ = meet() // Drop has no error
				}
			}
		}},
		{"Drop/Close", func(l *ledger, p engine.Ptr, _ func(), meet func() error) {
			l.dropping = func(a account, last bool) {
				if a.p == p {
					_ = meet()
				}
			}
		}},
	}
	for _, fate := range fates {
		for _, path := range paths {
			for _, place := range places {
				t.Run(fate.name+"/"+path.name+"/"+place.name, func(t *testing.T) {
					forEachSetting(t, func(t *testing.T, o engine.Options) {
						for _, p := range []engine.Ptr{addr(1), wide(1)} {
							l := newLedger(t, 1)
							c := newCheckpoint(t, with(o, l))
							d, other := newDumper(t, c), newDumper(t, c)
							place.set(l, p, func() { other.Encounter(p, 1) }, fate.meet)
							path.run(d, addr(400))
							met := ends(func() error { return path.run(d, p) })
							if inGrab := place.name[0] == 'G'; inGrab && (met == ending{}) {
								t.Error("the call did not end as its Grab did")
							}
							// Whatever happened, the context goes on.
							wantInOrder(t, c)
							met = ends(func() error { return path.run(d, addr(2)) })
							if met != (ending{}) {
								t.Errorf("the next call ended with %+v", met)
							}
							wantInOrder(t, c)
							closed := ends(c.Close)
							if place.name == "Drop/Close" && fate.name == "panic" && closed.panicked != errSick {
								t.Errorf("Close ended with %+v; want the panic of Drop to travel on", closed)
							}
							closeQuietly(t, d)
							closeQuietly(t, other)
							l.settled()
							if b := l.of(p, 1); place.name == "Drop/Close" && b != (balance{1, 1, 1}) {
								t.Errorf("references %+v; want one, dropped as the last", b)
							}
						}
					})
				})
			}
		}
	}
}

// Close drops everything whatever many of the Drops do, on all its goroutines.
func TestG11_closeDropsAllWhateverDropsDo(t *testing.T) {
	const objects = 3*4096 + 100 // several goroutines' worth
	for _, fate := range fates {
		t.Run(fate.name, func(t *testing.T) {
			for _, every := range []int{1, 2, 1000} {
				if every == 1 && slow && fate.name != "error" {
					continue // thousands of nested panics take long there
				}
				l := newLedger(t, 1)
				var n atomic.Int64
				l.dropping = func(_ account, last bool) {
					if !last {
						t.Error("Close dropped a reference as not the last")
					}
					if n.Add(1)%int64(every) == 0 {
						_ = fate.meet()
					}
				}
				c := newCheckpoint(t, with(engine.Options{}, l))
				r := newRestart(t, with(engine.Options{}, l))
				d := newDumper(t, c)
				for i := range objects {
					p := addr(i)
					if i%100 == 0 {
						p = wide(i)
					}
					if _, _, err := d.Encounter(p, 1); err != nil {
						t.Fatal(err)
					}
					ref := engine.ObjRef(i + 1)
					if i%10 == 0 {
						ref = 1<<30 + ref*1000 // beside the arrays
					}
					if err := r.Insert(ref, p+1, 1); err != nil {
						t.Fatal(err)
					}
				}
				for _, close := range []func() error{c.Close, r.Close} {
					e := ends(close)
					if fate.name == "panic" && e.panicked != errSick {
						t.Errorf("Close ended with %+v; want the first panic", e)
					}
					if fate.name == "error" && e != (ending{}) {
						t.Errorf("Close ended with %+v", e)
					}
				}
				l.settled()
				if b := l.totals(); b != (balance{2 * objects, 2 * objects, 2 * objects}) {
					t.Errorf("references %+v; want %d, all dropped as the last", b, 2*objects)
				}
			}
		})
	}
}

// Close comes while Grab runs: what it grabbed is dropped, and nothing is met.
func TestG11_closeInGrab(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		for _, p := range []engine.Ptr{addr(1), wide(1)} {
			for _, handle := range []bool{false, true} { // the handle is closed as well
				l := newLedger(t, 1)
				c := newCheckpoint(t, with(o, l))
				d := newDumper(t, c)
				mustMeet(t, d, addr(10), 1, 1, true)
				l.grabbing = func(account) error {
					closeQuietly(t, c)
					if handle {
						closeQuietly(t, d)
					}
					return nil
				}
				ref, first, err := d.Encounter(p, 1)
				if ref != 0 || first {
					t.Errorf("Encounter = %d, %t", ref, first)
				}
				wantErr(t, "Encounter", err, engine.ErrClosed)
				if b := l.of(p, 1); b.grabs != 1 || b.drops != 1 {
					t.Errorf("references %+v; want one, dropped", b)
				}
				closeQuietly(t, d)
				l.settled()
			}
		}
	})
}

// The handle alone is closed while Grab runs.
func TestG11_handleClosedInGrab(t *testing.T) {
	l := newLedger(t, 1)
	c := newCheckpoint(t, with(engine.Options{MaxObjects: 1}, l))
	d := newDumper(t, c)
	l.grabbing = func(a account) error {
		if a.p == addr(1) {
			closeQuietly(t, d)
		}
		return nil
	}
	_, _, err := d.Encounter(addr(1), 1)
	wantErr(t, "Encounter", err, engine.ErrClosed)
	if held := l.held(addr(1)); held != 0 {
		t.Errorf("%d references held; want 0", held)
	}
	mustMeet(t, newDumper(t, c), addr(2), 1, 1, true)
	wantInOrder(t, c)
	closeQuietly(t, c)
	l.settled()
}

// Close has gone past an object's record when the object is published: the encounter
// itself drops. Close is held in the Drop of an object with a larger objref meanwhile.
func TestG11_closeOvertakesAnEncounter(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		for _, p := range []engine.Ptr{addr(1), wide(1)} {
			l := newLedger(t, 1)
			c := newCheckpoint(t, with(o, l))
			d, other := newDumper(t, c), newDumper(t, c)
			mustMeet(t, d, addr(100), 1, 1, true)
			mustMeet(t, other, addr(200), 1, 65, true)
			inGrab, inDrop := make(chan struct{}), make(chan struct{})
			met := make(chan struct{})
			l.grabbing = func(account) error {
				close(inGrab)
				<-inDrop
				return nil
			}
			l.dropping = func(a account, _ bool) {
				if a.p == addr(200) {
					close(inDrop)
					<-met
				}
			}
			var ref engine.ObjRef
			var first bool
			var err error
			go func() {
				defer close(met)
				ref, first, err = d.Encounter(p, 1)
			}()
			await(t, "Grab", inGrab)
			within(t, "Close", func() { closeQuietly(t, c) })
			if ref != 0 || first {
				t.Errorf("Encounter = %d, %t", ref, first)
			}
			wantErr(t, "Encounter", err, engine.ErrClosed)
			closeQuietly(t, d)
			closeQuietly(t, other)
			l.settled()
			if b := l.of(p, 1); b != (balance{1, 1, 1}) {
				t.Errorf("references %+v; want one, dropped as the last", b)
			}
		}
	})
}

// The same, but the record is still ahead of Close, which drops it.
func TestG11_closeMeetsAnEncounterUnderWay(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		l := newLedger(t, 1)
		c := newCheckpoint(t, with(o, l))
		d, other := newDumper(t, c), newDumper(t, c)
		mustMeet(t, d, addr(100), 1, 1, true)
		if _, err := other.Reserve(); err != nil { // takes objrefs 65 to 128
			t.Fatal(err)
		}
		inGrab, inDrop := make(chan struct{}), make(chan struct{})
		met := make(chan struct{})
		l.grabbing = func(account) error {
			close(inGrab)
			<-inDrop
			return nil
		}
		l.dropping = func(a account, _ bool) {
			if a.p == addr(100) {
				close(inDrop)
				<-met
			}
		}
		var err error
		go func() {
			defer close(met)
			_, _, err = other.Encounter(addr(1), 1)
		}()
		await(t, "Grab", inGrab)
		within(t, "Close", func() { closeQuietly(t, c) })
		wantErr(t, "Encounter", err, engine.ErrClosed)
		l.settled()
	})
}

// The reference of an object whose dump is running during Close stays until that
// returns, whatever it does.
func TestG11_closeDuringADump(t *testing.T) {
	ways := append([]fate{{"success", func() error { return nil }}}, fates...)
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			forEachSetting(t, func(t *testing.T, o engine.Options) {
				for _, p := range []engine.Ptr{addr(1), wide(1)} {
					for _, handle := range []bool{false, true} {
						l := newLedger(t, 1)
						c := newCheckpoint(t, with(o, l))
						d := newDumper(t, c)
						mustMeet(t, d, addr(2), 1, 1, true)
						e := ends(func() error {
							ref, err := d.Dump(p, 1, func(engine.ObjRef) error {
								closeQuietly(t, c)
								if handle {
									closeQuietly(t, d)
								}
								if held := l.held(p); held != 1 {
									t.Errorf("%d references held during the dump; want 1", held)
								}
								if held := l.held(addr(2)); held != 0 {
									t.Errorf("%d references held on another object after Close", held)
								}
								return way.meet()
							})
							if ref != 2 {
								t.Errorf("Dump = %d; want 2", ref)
							}
							return err
						})
						if way.name == "success" {
							if e != (ending{}) {
								t.Errorf("Dump ended with %+v", e)
							}
						} else {
							way.wantFate(t, "Dump", e)
						}
						l.settled()
						if b := l.of(p, 1); b != (balance{1, 1, 1}) {
							t.Errorf("references %+v; want one, dropped as the last", b)
						}
						closeQuietly(t, d)
					}
				}
			})
		})
	}
}

// Dropped once only, too, if Close and the end of a dump come together.
func TestG11_closeAndTheEndOfADumpTogether(t *testing.T) {
	for round := range sized(3_000) {
		l := newLedger(t, 1)
		c := newCheckpoint(t, with(engine.Options{Shards: 1}, l))
		d := newDumper(t, c)
		dumping := make(chan struct{})
		parallel(2, func(w int) {
			if w == 1 {
				<-dumping
				closeQuietly(t, c)
				return
			}
			p := addr(round)
			if round%2 == 1 {
				p = wide(round)
			}
			ref, err := d.Dump(p, 1, func(engine.ObjRef) error {
				close(dumping)
				if round%3 == 0 {
					runtime.Gosched()
				}
				if round%5 == 0 {
					return errSick
				}
				return nil
			})
			if ref != 1 || err != nil && !errors.Is(err, errSick) {
				t.Errorf("Dump = %d, %v", ref, err)
			}
			d.Close()
		})
		l.settled()
	}
}

func TestG11_everythingFailsUnderLoad(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		for round := range sized(60) {
			failUnderLoad(t, o, uint64(round))
		}
	})
}

// failUnderLoad lets a callback of each sort fail now and then, on many threads that
// share objects, and Close come in the midst of it.
func failUnderLoad(t *testing.T, o engine.Options, round uint64) {
	const workers = 4
	l := newLedger(t, 2)
	var calls atomic.Uint32
	fail := func() error {
		switch calls.Add(1) % 19 {
		case 3:
			return errSick
		case 7:
			panic(errSick)
		case 11:
			runtime.Goexit()
		case 13, 14:
			runtime.Gosched()
		}
		return nil
	}
	l.grabbing = func(account) error { return fail() }
	l.dropping = func(account, bool) { _ = fail() }
	o = with(o, l)
	o.MaxObjects = 200
	c := newCheckpoint(t, o)
	closeAt := rand.New(rand.NewPCG(11, round)).Uint64N(workers * 300)
	var ops atomic.Uint64
	parallel(workers, func(w int) {
		rng := rand.New(rand.NewPCG(round, uint64(w)))
		d := c.Dumper()
		for range 300 {
			i, k := rng.IntN(300), engine.Kind(1)
			p := addr(i)
			if i%9 == 0 {
				p = wide(i)
			}
			if i%16 == 3 {
				k = engine.Kind(rng.IntN(2) + 1)
			}
			ends(func() (err error) {
				switch rng.IntN(4) {
				case 0:
					_, err = d.Dump(p, k, func(engine.ObjRef) error { return fail() })
				case 1:
					err = d.EncounterBatch([]engine.Ptr{p, p + 8, p}, k, make([]engine.ObjRef, 3), nil)
				default:
					_, _, err = d.Encounter(p, k)
				}
				return err
			})
			if ops.Add(1) == closeAt {
				ends(c.Close)
			}
		}
		closeQuietly(t, d)
	})
	if !t.Failed() {
		ends(c.Close)
	}
	l.settled()
}
