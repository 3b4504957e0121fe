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

// G19: Close with operations in flight: each completes or returns ErrClosed; a second
// Close is harmless; nothing is touched after release.

// allowed complains of an error that is not one of want.
func allowed(t *testing.T, what string, err error, want ...error) {
	for _, w := range want {
		if errors.Is(err, w) {
			return
		}
	}
	var kind *engine.KindError
	if err != nil && !errors.As(err, &kind) {
		t.Errorf("%s: %v", what, err)
	}
}

func TestG19_closeWithEverythingInFlight(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		for round := range sized(80) {
			closeInFlight(t, o, uint64(round))
		}
	})
}

// closeInFlight closes a context at some moment while threads do all there is to do.
func closeInFlight(t *testing.T, o engine.Options, round uint64) {
	const workers, ops = 4, 400
	l := newLedger(t, 2)
	l.grabbing = func(a account) error {
		if a.p%7 == 0 {
			runtime.Gosched()
		}
		return nil
	}
	o = with(o, l)
	if round%2 == 0 {
		o.MaxObjects = workers * ops
	}
	c := newCheckpoint(t, o)
	closeAt := rand.New(rand.NewPCG(19, round)).Int64N(workers * ops * 9 / 10)
	var done atomic.Int64
	parallel(workers+1, func(w int) {
		rng := rand.New(rand.NewPCG(round, uint64(w)))
		if w == workers {
			for done.Load() < closeAt {
				runtime.Gosched()
			}
			closeQuietly(t, c)
			return
		}
		d := c.Dumper()
		var ptrs [8]engine.Ptr
		var refs [8]engine.ObjRef
		for range ops {
			i := rng.IntN(ops)
			p := addr(i)
			if i%8 == 0 {
				p = wide(i)
			}
			k := engine.Kind(i%2 + 1)
			switch rng.IntN(10) {
			case 0:
				_, _, err := d.EncounterKey(fmt.Append(nil, i), k)
				allowed(t, "EncounterKey", err, engine.ErrClosed)
			case 1:
				for j := range ptrs {
					ptrs[j] = addr(i&^1 + 2*j + int(k) - 1)
				}
				err := d.EncounterBatch(ptrs[:], k, refs[:], nil)
				allowed(t, "EncounterBatch", err, engine.ErrClosed)
				for j, ref := range refs {
					if ref == 0 && err == nil {
						t.Errorf("EncounterBatch: element %d has objref 0, and no error", j)
					}
				}
			case 2:
				_, err := d.Dump(p, k, func(engine.ObjRef) error {
					runtime.Gosched()
					return nil
				})
				allowed(t, "Dump", err, engine.ErrClosed)
			case 3:
				_, err := d.Reserve()
				allowed(t, "Reserve", err, engine.ErrClosed)
			case 4:
				closeQuietly(t, d)
				d = c.Dumper()
			case 5:
				if ref, ok := c.Lookup(p); ok {
					if o, ok := c.Object(ref); ok && (o.Ptr != p || o.Kind != k) {
						t.Errorf("Object(%d) = %+v; want %#x", ref, o, p)
					}
				}
				for j := range ptrs {
					ptrs[j] = addr(i + j)
				}
				found := c.LookupBatch(ptrs[:], refs[:])
				for _, ref := range refs {
					if ref != 0 {
						found--
					}
				}
				if found != 0 {
					t.Errorf("LookupBatch counts %d more than it wrote", found)
				}
			case 6:
				for ref, o := range c.All() {
					if o.Ptr == 0 && o.Key == nil {
						t.Errorf("All yields %d: %+v", ref, o)
					}
					break
				}
				c.Stats()
			default:
				ref, first, err := d.Encounter(p, k)
				allowed(t, "Encounter", err, engine.ErrClosed)
				if (ref != 0) != (err == nil) || first && err != nil {
					t.Errorf("Encounter = %d, %t, %v", ref, first, err)
				}
			}
			done.Add(1)
		}
		closeQuietly(t, d)
	})
	l.settled()
}

func TestG19_closeOnManyThreadsAtOnce(t *testing.T) {
	for range sized(100) {
		l := newLedger(t, 1)
		c, r := newCheckpoint(t, with(engine.Options{}, l)), newRestart(t, with(engine.Options{}, l))
		d := newDumper(t, c)
		for i := range 100 {
			mustMeet(t, d, addr(i), 1, engine.ObjRef(i+1), true)
			if err := r.Insert(engine.ObjRef(i*i*i+1), addr(i), 1); err != nil {
				t.Fatal(err)
			}
		}
		parallel(8, func(w int) {
			closeQuietly(t, c)
			closeQuietly(t, r)
		})
		closeQuietly(t, d)
		// A Close that finds another one under way does not wait for it: all is
		// dropped when the last one returns.
		l.settled()
	}
}

func TestG19_closeDoesNotWaitForItself(t *testing.T) {
	l := newLedger(t, 1)
	c, r := newCheckpoint(t, with(engine.Options{}, l)), newRestart(t, with(engine.Options{}, l))
	drops := 0
	l.dropping = func(a account, last bool) {
		drops++
		within(t, "Close during Close", func() {
			closeQuietly(t, c)
			closeQuietly(t, r)
		})
	}
	d := newDumper(t, c)
	mustMeet(t, d, addr(1), 1, 1, true)
	if err := r.Insert(1, addr(1), 1); err != nil {
		t.Fatal(err)
	}
	closeQuietly(t, r)
	closeQuietly(t, c)
	if drops != 2 {
		t.Errorf("%d drops; want 2", drops)
	}
}

// wantClosed checks that nothing but ErrClosed comes from a closed context's handle.
func wantClosed(t *testing.T, d *engine.Dumper) {
	t.Helper()
	ref, first, err := d.Encounter(addr(1), 1)
	wantErr(t, "Encounter", err, engine.ErrClosed)
	if ref != 0 || first {
		t.Errorf("Encounter = %d, %t with an error", ref, first)
	}
	ref, first, err = d.EncounterKey([]byte("key"), 1)
	wantErr(t, "EncounterKey", err, engine.ErrClosed)
	if ref != 0 || first {
		t.Errorf("EncounterKey = %d, %t with an error", ref, first)
	}
	refs, firsts := []engine.ObjRef{7, 8}, []bool{true, true}
	err = d.EncounterBatch([]engine.Ptr{addr(1), addr(2)}, 1, refs, firsts)
	wantErr(t, "EncounterBatch", err, engine.ErrClosed)
	if refs[0] != 0 || refs[1] != 0 || firsts[0] || firsts[1] {
		t.Errorf("EncounterBatch = %v, %v with an error", refs, firsts)
	}
	ref, err = d.Dump(addr(1), 1, func(engine.ObjRef) error {
		t.Error("dumped after Close")
		return nil
	})
	wantErr(t, "Dump", err, engine.ErrClosed)
	if ref != 0 {
		t.Errorf("Dump = %d with an error", ref)
	}
	ref, err = d.Reserve()
	wantErr(t, "Reserve", err, engine.ErrClosed)
	if ref != 0 {
		t.Errorf("Reserve = %d with an error", ref)
	}
	closeQuietly(t, d)
}

// wantForgotten checks that a closed context, or none, knows nothing.
func wantForgotten(t *testing.T, c *engine.Checkpoint) {
	t.Helper()
	for _, p := range []engine.Ptr{addr(1), wide(1), 0} {
		if ref, ok := c.Lookup(p); ref != 0 || ok {
			t.Errorf("Lookup(%#x) = %d, %t", p, ref, ok)
		}
	}
	refs := []engine.ObjRef{7, 8}
	if found := c.LookupBatch([]engine.Ptr{addr(1), wide(1)}, refs); found != 0 || refs[0] != 0 || refs[1] != 0 {
		t.Errorf("LookupBatch = %d, %v", found, refs)
	}
	if o, ok := c.Object(1); ok {
		t.Errorf("Object(1) = %+v", o)
	}
	for ref, o := range c.All() {
		t.Errorf("All yields %d: %+v", ref, o)
	}
	if c.Len() != 0 || c.Stats() != (engine.Stats{}) {
		t.Errorf("Len = %d, Stats = %+v; want nothing", c.Len(), c.Stats())
	}
	closeQuietly(t, c)
}

func TestG19_useAfterClose(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		l := newLedger(t, 1)
		c := newCheckpoint(t, with(o, l))
		d, closed := newDumper(t, c), newDumper(t, c)
		mustMeet(t, d, addr(1), 1, 1, true)
		mustMeet(t, d, wide(1), 1, 2, true)

		// A closed handle of an open context.
		closeQuietly(t, closed)
		wantClosed(t, closed)
		if s := c.Stats(); s.Handles != 1 || s.Objects != 2 {
			t.Errorf("Stats = %+v; want one handle, two objects", s)
		}

		// An open handle of a closed context, and one that came too late.
		closeQuietly(t, c)
		wantForgotten(t, c)
		wantClosed(t, d)
		late := c.Dumper()
		wantClosed(t, late)
		wantForgotten(t, c)
		l.settled()
	})
}

func TestG19_restartAfterClose(t *testing.T) {
	l := newLedger(t, 1)
	r := newRestart(t, with(engine.Options{}, l))
	for _, ref := range []engine.ObjRef{1, 1 << 30} {
		if err := r.Insert(ref, addr(1), 1); err != nil {
			t.Fatal(err)
		}
	}
	closeQuietly(t, r)
	for _, r := range []*engine.Restart{r, nil} {
		for _, ref := range []engine.ObjRef{1, 2, 1 << 30, 1<<31 - 1} {
			wantErr(t, "Insert", r.Insert(ref, addr(1), 1), engine.ErrClosed)
			p, err := r.Fetch(ref, 1)
			wantErr(t, "Fetch", err, engine.ErrClosed)
			if p != 0 {
				t.Errorf("Fetch = %#x with an error", p)
			}
		}
		if r.Len() != 0 || r.Bytes() != 0 {
			t.Errorf("Len = %d, Bytes = %d", r.Len(), r.Bytes())
		}
		closeQuietly(t, r)
	}
	l.settled()
}

func TestG19_nilReceivers(t *testing.T) {
	var c *engine.Checkpoint
	wantForgotten(t, c)
	for _, d := range []*engine.Dumper{nil, new(engine.Dumper), c.Dumper()} {
		_, _, err := d.Encounter(addr(1), 1)
		_, _, errKey := d.EncounterKey([]byte("key"), 1)
		refs, firsts := []engine.ObjRef{7}, []bool{true}
		errBatch := d.EncounterBatch([]engine.Ptr{addr(1)}, 1, refs, firsts)
		_, errDump := d.Dump(addr(1), 1, dumpOK)
		_, errReserve := d.Reserve()
		for _, err := range []error{err, errKey, errBatch, errDump, errReserve} {
			if !errors.Is(err, engine.ErrInvalid) && !errors.Is(err, engine.ErrClosed) {
				t.Errorf("on a nil handle: %v", err)
			}
		}
		if refs[0] != 0 || firsts[0] {
			t.Errorf("EncounterBatch = %v, %v on a nil handle", refs, firsts)
		}
		closeQuietly(t, d)
	}
}

// Elements that a batch has not come to when its handle is closed, by a Grab of its
// own, are refused or counted, but not lost.
func TestG19_handleClosedWithinABatch(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		l := newLedger(t, 1)
		c := newCheckpoint(t, with(o, l))
		d, other := newDumper(t, c), newDumper(t, c)
		const n, fatal = 600, 10
		ptrs := make([]engine.Ptr, n)
		for i := range ptrs {
			ptrs[i] = addr(i)
			if i != fatal {
				if _, _, err := other.Encounter(ptrs[i], 1); err != nil {
					t.Fatal(err)
				}
			}
		}
		l.grabbing = func(account) error {
			closeQuietly(t, d)
			return nil
		}
		refs := make([]engine.ObjRef, n)
		err := d.EncounterBatch(ptrs, 1, refs, nil)
		wantErr(t, "EncounterBatch", err, engine.ErrClosed)
		closeQuietly(t, other)
		for i, ref := range refs {
			known, _ := c.Lookup(ptrs[i])
			if i == fatal {
				if ref != 0 || known != 0 {
					t.Errorf("the element whose Grab closed the handle has objref %d, Lookup = %d", ref, known)
				}
				continue
			}
			want := int64(1)
			if ref != 0 {
				want = 2
			}
			if o, ok := c.Object(known); !ok || o.Users != want {
				t.Fatalf("element %d: the batch said objref %d; %+v has %d users, want %d", i, ref, o, o.Users, want)
			}
		}
		closeQuietly(t, c)
		l.settled()
	})
}

func TestG19_restartWithInsertsInFlight(t *testing.T) {
	for round := range sized(200) {
		closeRestartInFlight(t, uint64(round))
	}
}

// closeRestartInFlight closes a restart at some moment while threads insert and fetch.
func closeRestartInFlight(t *testing.T, round uint64) {
	const workers, ops = 4, 300
	l := newLedger(t, 1)
	r := newRestart(t, with(engine.Options{}, l))
	closeAt := rand.New(rand.NewPCG(19, round)).Int64N(workers * ops * 9 / 10)
	var done atomic.Int64
	parallel(workers+1, func(w int) {
		if w == workers {
			for done.Load() < closeAt {
				runtime.Gosched()
			}
			closeQuietly(t, r)
			return
		}
		rng := rand.New(rand.NewPCG(round, uint64(w)))
		for range ops {
			i := rng.IntN(ops)
			ref, p := engine.ObjRef(i+1), addr(i)
			switch i % 6 {
			case 0:
				p = wide(i)
			case 1:
				ref = 1<<30 + ref
			case 2:
				ref, p = 1<<29+ref*100_000, wide(i)
			case 3:
				ref = ref * 50
			}
			if rng.IntN(3) == 0 {
				got, err := r.Fetch(ref, 1)
				allowed(t, "Fetch", err, engine.ErrClosed, engine.ErrNotFound)
				if err == nil && got != p {
					t.Errorf("Fetch(%d) = %#x; want %#x", ref, got, p)
				}
			} else {
				allowed(t, "Insert", r.Insert(ref, p, 1), engine.ErrClosed, engine.ErrExists)
			}
			done.Add(1)
		}
	})
	l.settled()
}

// After Close an encounter fails at once: it does not grab first, and give back then.
func TestG19_nothingIsGrabbedAfterClose(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		l := newLedger(t, 1)
		c := newCheckpoint(t, with(o, l))
		d := newDumper(t, c)
		mustMeet(t, d, addr(1), 1, 1, true)
		closeQuietly(t, c)
		for _, p := range []engine.Ptr{addr(1), addr(2), wide(3)} {
			_, _, err := d.Encounter(p, 1)
			wantErr(t, "Encounter", err, engine.ErrClosed)
			_, err = d.Dump(p, 1, dumpOK)
			wantErr(t, "Dump", err, engine.ErrClosed)
			err = d.EncounterBatch([]engine.Ptr{p}, 1, make([]engine.ObjRef, 1), nil)
			wantErr(t, "EncounterBatch", err, engine.ErrClosed)
		}
		if n := l.totals().grabs; n != 1 {
			t.Errorf("%d grabs; want the one before Close", n)
		}
	})
}
