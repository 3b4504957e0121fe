package engine_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/objhash/objhash/engine"
)

// underLoad runs writers, which meet objects 0 to n-1 of kinds 1 to 3, each a few
// times and with all that can go wrong, and readers until they are done. met is the
// number of objects, from 0 up, whose encounter has returned; refs are theirs.
func underLoad(t *testing.T, o engine.Options, n int, reader func(c *engine.Checkpoint, d *engine.Dumper, rng *rand.Rand, met int, refs []atomic.Int32)) {
	const writers, readers = 2, 3
	l := newLedger(t, 3)
	var c *engine.Checkpoint
	l.grabbing = func(a account) error {
		if k := kindOf(a.p); k != a.k {
			// Whoever comes with the wrong kind leaves a record for a moment, but loses.
			d := c.Dumper()
			defer d.Close()
			_, _, err := d.Encounter(a.p, k)
			return err
		}
		return nil
	}
	c = newCheckpoint(t, with(o, l))
	refs := make([]atomic.Int32, n)
	var met atomic.Int64
	var finished atomic.Bool
	var done sync.WaitGroup
	for r := range readers {
		done.Go(func() {
			rng := rand.New(rand.NewPCG(5, uint64(r)))
			d := c.Dumper()
			defer d.Close()
			for !finished.Load() && !t.Failed() {
				if m := int(met.Load()); m > 0 {
					reader(c, d, rng, m, refs)
				}
				runtime.Gosched() // one processor must do
			}
		})
	}
	parallel(writers, func(w int) {
		d := c.Dumper()
		defer d.Close()
		for i := range n {
			if t.Failed() {
				return
			}
			p, k := object(i)
			if i%4 == w {
				if ref, _, err := d.Encounter(p, k%3+1); err == nil {
					t.Errorf("Encounter with the wrong kind = %d, nil", ref)
				}
			}
			ref, _, err := d.Encounter(p, k)
			if err != nil {
				t.Error(err)
				return
			}
			refs[i].Store(int32(ref))
			if w == 0 {
				met.Store(int64(i + 1))
			}
		}
	})
	finished.Store(true)
	done.Wait()
	wantInOrder(t, c)
	closeQuietly(t, c)
	l.settled()
}

// object returns the address and kind of object i.
func object(i int) (engine.Ptr, engine.Kind) {
	if i%8 == 5 {
		return wide(i), kindOf(wide(i))
	}
	return addr(i), kindOf(addr(i))
}

// kindOf derives an object's kind from its address.
func kindOf(p engine.Ptr) engine.Kind { return engine.Kind(p>>6%3) + 1 }

// TestG5: a lookup that starts after an insert returned finds it, also while the
// shard grows.
func TestG5_whatWasMetIsFound(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		underLoad(t, o, sized(40_000), func(c *engine.Checkpoint, d *engine.Dumper, rng *rand.Rand, met int, refs []atomic.Int32) {
			const batch = 40
			var ptrs [batch]engine.Ptr
			var got [batch]engine.ObjRef
			for i := range ptrs {
				// Mostly the newest.
				j := met - 1 - rng.IntN(min(met, 1+rng.IntN(1000)))
				ptrs[i], _ = object(j)
				want := engine.ObjRef(refs[j].Load())
				if i == 0 {
					if ref, ok := c.Lookup(ptrs[i]); !ok || ref != want {
						t.Errorf("Lookup of object %d = %d, %t; its encounter returned %d", j, ref, ok, want)
					}
					if o, ok := c.Object(want); !ok || o.Ptr != ptrs[i] || o.Kind != kindOf(o.Ptr) {
						t.Errorf("Object(%d) = %+v, %t; want %#x", want, o, ok, ptrs[i])
					}
					if ref, first, err := d.Encounter(ptrs[i], kindOf(ptrs[i])); ref != want || first || err != nil {
						t.Errorf("Encounter of object %d = %d, %t, %v; want %d, false", j, ref, first, err, want)
					}
				}
			}
			if found := c.LookupBatch(ptrs[:], got[:]); found != batch {
				t.Errorf("LookupBatch found %d of %d", found, batch)
			}
			for i, ref := range got {
				if o, ok := c.Object(ref); !ok || o.Ptr != ptrs[i] {
					t.Errorf("LookupBatch says %#x has objref %d; Object says %+v, %t", ptrs[i], ref, o, ok)
				}
			}
		})
	})
}

// TestG6: a lookup never sees a partly written entry: ptr, kind, objref always belong
// together. Here readers go by objrefs that nobody has told them.
func TestG6_ptrKindAndObjrefBelongTogether(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		underLoad(t, o, sized(20_000), func(c *engine.Checkpoint, d *engine.Dumper, rng *rand.Rand, met int, refs []atomic.Int32) {
			for range 200 {
				// About the newest, where things happen, but as far as leases reach.
				ref := engine.ObjRef(max(1, met-100+rng.IntN(300)))
				o, ok := c.Object(ref)
				if !ok {
					continue
				}
				if o.Ptr == 0 || o.Key != nil || o.Kind != kindOf(o.Ptr) {
					t.Errorf("Object(%d) = %+v; want an address and its kind, %d", ref, o, kindOf(o.Ptr))
				}
				if got, ok := c.Lookup(o.Ptr); !ok || got != ref {
					t.Errorf("Object(%d) is %#x, whose Lookup = %d, %t", ref, o.Ptr, got, ok)
				}
				_, _, err := d.Encounter(o.Ptr, o.Kind%3+1)
				wantKindError(t, "Encounter", err, engine.KindError{Ref: ref, Have: o.Kind, Want: o.Kind%3 + 1})
			}
			// An object that is found by address, finished or not, is complete.
			if met < len(refs) {
				p, k := object(met)
				if ref, ok := c.Lookup(p); ok {
					if o, ok := c.Object(ref); !ok || o.Ptr != p || o.Kind != k {
						t.Errorf("Lookup(%#x) = %d, but Object = %+v, %t", p, ref, o, ok)
					}
				}
			}
			n := 0
			for ref, o := range c.All() {
				if o.Kind != kindOf(o.Ptr) {
					t.Errorf("All yields %d: %+v; want kind %d", ref, o, kindOf(o.Ptr))
				}
				if n++; n > 100 {
					break
				}
			}
		})
	})
}

func TestG6_identityAndKindOfOneObject(t *testing.T) {
	for _, place := range []func(int) engine.Ptr{addr, wide} {
		takeObjrefsInTurn(t, place, sized(3_000))
	}
}

// takeObjrefsInTurn has one objref after the other tried by several objects, of which
// the last stays: readers must never see the identity of one with the kind of another.
func takeObjrefsInTurn(t *testing.T, place func(int) engine.Ptr, rounds int) {
	l := newLedger(t, 3)
	c := newCheckpoint(t, with(engine.Options{Shards: 1}, l))
	loser, winner := newDumper(t, c), newDumper(t, c)
	depth := 0
	l.grabbing = func(a account) error {
		if depth++; depth == 1 && kindOf(a.p) != a.k {
			_, _, err := winner.Encounter(a.p, kindOf(a.p))
			return err
		}
		return nil
	}
	var next atomic.Int64
	next.Store(1)
	var finished atomic.Bool
	var done sync.WaitGroup
	for range 2 {
		done.Go(func() {
			for !finished.Load() && !t.Failed() {
				ref := engine.ObjRef(next.Load())
				if o, ok := c.Object(ref); ok && (o.Ptr == 0 || o.Kind != kindOf(o.Ptr)) {
					t.Errorf("Object(%d) = %+v; want kind %d", ref, o, kindOf(o.Ptr))
				}
				runtime.Gosched()
			}
		})
	}
	for i := range rounds {
		for try := range 4 {
			depth = 0
			p := place(i*4 + try)
			k := kindOf(p)
			if try < 3 {
				k = k%3 + 1 // loses to the winner, who is of the right kind
			}
			ref, _, err := loser.Encounter(p, k)
			if try < 3 && err == nil || try == 3 && err != nil {
				t.Fatalf("Encounter = %d, %v", ref, err)
			}
			if try == 3 {
				next.Store(int64(ref) + 1)
			}
		}
	}
	finished.Store(true)
	done.Wait()
	closeQuietly(t, c)
	l.settled()
}

// TestG7: ptr -> objref and objref -> ptr are inverse to each other whenever nobody
// writes.
func TestG7_lookupsAreInverseAtRest(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		const workers = 4
		objects := sized(20_000)
		c := newCheckpoint(t, with(o, newLedger(t, 3)))
		for round := range 3 {
			parallel(workers, func(w int) {
				rng := rand.New(rand.NewPCG(uint64(round), uint64(w)))
				d := c.Dumper()
				defer d.Close()
				for range objects / 4 {
					i := rng.IntN(objects)
					p, k := object(i)
					var err error
					switch i % 10 {
					case 0:
						_, _, err = d.EncounterKey(fmt.Append(nil, "key", i), k)
					case 1:
						_, err = d.Reserve()
					default:
						_, _, err = d.Encounter(p, k)
					}
					if err != nil {
						t.Error(err)
					}
				}
			})
			for ref, o := range wantInOrder(t, c) {
				if o.Key == nil && o.Kind != kindOf(o.Ptr) {
					t.Errorf("objref %d: %+v; want kind %d", ref, o, kindOf(o.Ptr))
				}
			}
		}
	})
}

// TestG8: nothing disappears before Close.
func TestG8_nothingDisappears(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		l := newLedger(t, 3)
		c := newCheckpoint(t, with(o, l))
		d := newDumper(t, c)
		known := map[engine.Ptr]engine.ObjRef{}
		var ptrs []engine.Ptr
		// Check after each of many small steps at first, while every shard is replaced
		// often, then after larger ones.
		for n, step := 0, 1; n < sized(20_000); n, step = n+step, step+step/4+1 {
			for i := n; i < n+step; i++ {
				p, k := object(i)
				ref, first, err := d.Encounter(p, k)
				if !first || err != nil {
					t.Fatalf("Encounter = %d, %t, %v", ref, first, err)
				}
				known[p] = ref
				ptrs = append(ptrs, p)
			}
			refs := make([]engine.ObjRef, len(ptrs))
			if found := c.LookupBatch(ptrs, refs); found != len(ptrs) {
				t.Fatalf("LookupBatch found %d of %d", found, len(ptrs))
			}
			for i, ref := range refs {
				if ref != known[ptrs[i]] {
					t.Fatalf("%#x has objref %d; had %d before", ptrs[i], ref, known[ptrs[i]])
				}
			}
			seen := 0
			for ref, o := range c.All() {
				if known[o.Ptr] != ref || o.Kind != kindOf(o.Ptr) {
					t.Fatalf("All yields %d: %+v; want objref %d", ref, o, known[o.Ptr])
				}
				seen++
			}
			if seen != len(known) || c.Len() != len(known) {
				t.Fatalf("%d objects met, All yields %d, Len is %d", len(known), seen, c.Len())
			}
			if b := l.totals(); b.grabs != len(known) || b.drops != 0 {
				t.Fatalf("%d objects met, references %+v", len(known), b)
			}
		}
	})
}

// A shard that grows for a small objref holds larger ones, which other handles put
// there.
func TestG8_growthKeepsObjrefsOfAllSizes(t *testing.T) {
	for _, shards := range []int{1, 2, 16, 64} {
		for _, reserved := range []int{20, 100, 500, 1_000, 10_000, 100_000} {
			c := newCheckpoint(t, engine.Options{Kinds: newLedger(t, 3).kinds, Shards: shards, Seed: 3})
			small, large := newDumper(t, c), newDumper(t, c)
			known := map[engine.Ptr]engine.ObjRef{}
			meet := func(d *engine.Dumper, i int) {
				p, k := object(i)
				ref, first, err := d.Encounter(p, k)
				if !first || err != nil {
					t.Fatalf("shards %d: Encounter(%#x) = %d, %t, %v; want a new object", shards, p, ref, first, err)
				}
				known[p] = ref
			}
			meet(small, 0)
			for range reserved {
				if _, err := large.Reserve(); err != nil {
					t.Fatal(err)
				}
			}
			for i := range 63 {
				meet(large, i*17+1)
				meet(small, i*17+2)
				for p, ref := range known {
					if got, _ := c.Lookup(p); got != ref {
						t.Fatalf("shards %d, %d reserved, %d objects: Lookup(%#x) = %d; its encounter returned %d",
							shards, reserved, len(known), p, got, ref)
					}
					_, _, err := small.Encounter(p, kindOf(p)%3+1)
					wantKindError(t, "other kind", err, engine.KindError{Ref: ref, Have: kindOf(p), Want: kindOf(p)%3 + 1})
				}
			}
			wantInOrder(t, c)
			closeQuietly(t, c)
		}
	}
}
