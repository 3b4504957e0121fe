package engine_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/objhash/objhash/engine"
)

// G23: any 64-bit ptr except 0 works (1, all ones, non-canonical, one bit apart, page
// strides); 0 is ErrInvalid.

// addressSets are what G23 is tried with.
func addressSets() map[string][]engine.Ptr {
	sets := map[string][]engine.Ptr{"odd": oddAddresses}
	var bits []engine.Ptr
	base := engine.Ptr(0xffff_8881_2345_6780)
	bits = append(bits, base)
	for i := range 64 {
		bits = append(bits, base^1<<i, 1<<i)
	}
	sets["one bit apart"] = unique(bits)
	for name, stride := range map[string]engine.Ptr{"pages": 4 << 10, "huge pages": 2 << 20, "bytes": 1, "2^40": 1 << 40, "2^47": 1 << 47} {
		var s []engine.Ptr
		for i := range engine.Ptr(600) {
			s = append(s, i*stride+stride)
		}
		sets[name] = unique(s)
	}
	rng := rand.New(rand.NewPCG(23, 23))
	var random []engine.Ptr
	for range 600 {
		random = append(random, engine.Ptr(rng.Uint64()))
	}
	sets["random"] = random
	return sets
}

func unique(all []engine.Ptr) (once []engine.Ptr) {
	seen := map[engine.Ptr]bool{0: true}
	for _, p := range all {
		if !seen[p] {
			once = append(once, p)
		}
		seen[p] = true
	}
	return once
}

func TestG23_checkpoint(t *testing.T) {
	for name, ptrs := range addressSets() {
		t.Run(name, func(t *testing.T) {
			forEachSetting(t, func(t *testing.T, o engine.Options) {
				l := newLedger(t, 2)
				c := newCheckpoint(t, with(o, l))
				d := newDumper(t, c)
				next := engine.ObjRef(0)
				for i, p := range ptrs {
					if ref, ok := c.Lookup(p); ok {
						t.Fatalf("Lookup(%#x) = %d before it is met", p, ref)
					}
					next++
					switch i % 3 {
					case 0:
						mustMeet(t, d, p, 1, next, true)
					case 1:
						if ref, err := d.Dump(p, 1, dumpOK); ref != next || err != nil {
							t.Fatalf("Dump(%#x) = %d, %v; want %d", p, ref, err, next)
						}
					default:
						refs, firsts := make([]engine.ObjRef, 2), make([]bool, 2)
						err := d.EncounterBatch([]engine.Ptr{p, p}, 1, refs, firsts)
						if err != nil || refs[0] != next || refs[1] != next || !firsts[0] || firsts[1] {
							t.Fatalf("EncounterBatch(%#x, twice) = %v, %v, %v; want %d", p, refs, firsts, err, next)
						}
					}
				}
				refs := make([]engine.ObjRef, len(ptrs))
				if found := c.LookupBatch(ptrs, refs); found != len(ptrs) {
					t.Errorf("LookupBatch found %d of %d", found, len(ptrs))
				}
				for i, p := range ptrs {
					want := engine.ObjRef(i + 1)
					if ref, ok := c.Lookup(p); ref != want || !ok || refs[i] != want {
						t.Errorf("Lookup(%#x) = %d, %t, in a batch %d; want %d", p, ref, ok, refs[i], want)
					}
					if o, ok := c.Object(want); o.Ptr != p || o.Kind != 1 || !ok {
						t.Errorf("Object(%d) = %+v, %t; want %#x", want, o, ok, p)
					}
					_, _, err := d.Encounter(p, 2)
					wantKindError(t, "other kind", err, engine.KindError{Ref: want, Have: 1, Want: 2})
					if ref, err := d.Dump(p, 1, dumpOK); ref != want || err != nil {
						t.Errorf("Dump(%#x) = %d, %v; want %d", p, ref, err, want)
					}
				}
				if err := d.EncounterBatch(ptrs, 1, refs, nil); err != nil || refs[0] != 1 {
					t.Errorf("EncounterBatch = %v, %v", refs, err)
				}
				closeQuietly(t, d)
				for _, o := range wantInOrder(t, c) {
					if b := l.of(o.Ptr, 1); b != (balance{grabs: 1}) || o.Flags != engine.Dumped || o.Users < 3 {
						t.Errorf("%+v: references %+v", o, b)
					}
				}
				closeQuietly(t, c)
				l.settled()
			})
		})
	}
}

func TestG23_restart(t *testing.T) {
	for name, ptrs := range addressSets() {
		for _, spread := range []engine.ObjRef{1, 1_000_003} { // arrays; beside them
			t.Run(fmt.Sprintf("%s/spread=%d", name, spread), func(t *testing.T) {
				l := newLedger(t, 1)
				r := newRestart(t, engine.Options{Kinds: l.kinds})
				for i, p := range ptrs {
					ref := engine.ObjRef(i+1) * spread
					if err := r.Insert(ref, p, 1); err != nil {
						t.Fatalf("Insert(%d, %#x): %v", ref, p, err)
					}
				}
				for i, p := range ptrs {
					ref := engine.ObjRef(i+1) * spread
					if got, err := r.Fetch(ref, 1); got != p || err != nil {
						t.Errorf("Fetch(%d) = %#x, %v; want %#x", ref, got, err, p)
					}
				}
				if held := l.totals(); held.grabs != len(ptrs) {
					t.Errorf("%d grabs; want %d", held.grabs, len(ptrs))
				}
				closeQuietly(t, r)
				l.settled()
			})
		}
	}
}

func TestG23_zeroIsInvalid(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		l := newLedger(t, 1)
		c := newCheckpoint(t, with(o, l))
		d := newDumper(t, c)
		for range 2 { // on an empty index, and on one with objects
			ref, first, err := d.Encounter(0, 1)
			wantErr(t, "Encounter", err, engine.ErrInvalid)
			wantMessage(t, err, "address 0")
			if ref != 0 || first {
				t.Errorf("Encounter(0) = %d, %t", ref, first)
			}
			ref, err = d.Dump(0, 1, func(engine.ObjRef) error { t.Error("dumped address 0"); return nil })
			wantErr(t, "Dump", err, engine.ErrInvalid)
			if ref != 0 {
				t.Errorf("Dump(0) = %d", ref)
			}
			refs := []engine.ObjRef{9}
			wantErr(t, "EncounterBatch", d.EncounterBatch([]engine.Ptr{0}, 1, refs, nil), engine.ErrInvalid)
			if refs[0] != 0 {
				t.Errorf("EncounterBatch(0) = %d", refs[0])
			}
			if ref, ok := c.Lookup(0); ref != 0 || ok {
				t.Errorf("Lookup(0) = %d, %t", ref, ok)
			}
			refs[0] = 9
			if found := c.LookupBatch([]engine.Ptr{0}, refs); found != 0 || refs[0] != 0 {
				t.Errorf("LookupBatch(0) = %d, %v", found, refs)
			}
			for i := range 500 {
				if _, _, err := d.Encounter(addr(i), 1); err != nil {
					t.Fatal(err)
				}
			}
		}
		if l.of(0, 1).grabs != 0 || len(wantInOrder(t, c)) != 500 {
			t.Errorf("address 0 was grabbed %d times", l.of(0, 1).grabs)
		}
		r := newRestart(t, with(engine.Options{}, l))
		wantErr(t, "Insert", r.Insert(1, 0, 1), engine.ErrInvalid)
		if _, err := r.Fetch(1, 1); err == nil || r.Len() != 0 || l.of(0, 1).grabs != 0 {
			t.Errorf("Insert of address 0 left something: Len %d, %d grabs", r.Len(), l.of(0, 1).grabs)
		}
	})
}
