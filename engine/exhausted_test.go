//go:build !race && (amd64 || arm64 || riscv64 || s390x || ppc64le || loong64)

// The tables reach as far as the largest objref: 3 GiB of address space, which is not
// to be had with 32 bits, and which the race detector would fill.

package engine_test

import (
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/objhash/objhash/engine"
)

// G4: at 2^31-1 the answer is an error; nothing wraps, and everything inserted before
// stays readable.

func TestG4_objrefsEnd(t *testing.T) {
	const left = 150 // two leases and a piece
	l := newLedger(t, 300)
	for i := range l.kinds {
		l.kinds[i].Drop = nil // spares Close the way through 2^31 records
	}
	c := newCheckpoint(t, with(engine.Options{Shards: 2}, l))
	c.SetNextObjRef(math.MaxInt32 - left + 1)
	a, b := newDumper(t, c), newDumper(t, c)
	met := map[engine.Ptr]engine.ObjRef{}
	keys := map[string]engine.ObjRef{}
	meet := func(d *engine.Dumper, i int) error {
		var ref engine.ObjRef
		var first bool
		var err error
		switch {
		case i%10 == 3:
			ref, first, err = d.EncounterKey(fmt.Append(nil, i), 2)
		case i%10 == 6:
			ref, first, err = d.Encounter(wide(i), 300)
		default:
			ref, first, err = d.Encounter(addr(i), 1)
		}
		if err != nil {
			if ref != 0 || first {
				t.Errorf("objref %d, %t with error %v", ref, first, err)
			}
			return err
		}
		if !first || ref <= math.MaxInt32-left {
			t.Fatalf("objref %d, first %t; want one above %d", ref, first, math.MaxInt32-left)
		}
		switch {
		case i%10 == 3:
			keys[fmt.Sprint(i)] = ref
		case i%10 == 6:
			met[wide(i)] = ref
		default:
			met[addr(i)] = ref
		}
		return nil
	}
	// b takes one lease, of which it uses one objref; a takes all others.
	if err := meet(b, 0); err != nil {
		t.Fatal(err)
	}
	i := 1
	for ; i <= left-leaseRefs; i++ {
		if err := meet(a, i); err != nil {
			t.Fatalf("object %d: %v", i, err)
		}
	}
	wantEnd := func(d *engine.Dumper) {
		t.Helper()
		for range 3 {
			for j := range 10 {
				wantErr(t, "one too many", meet(d, i+j), engine.ErrExhausted)
			}
			ref, err := d.Reserve()
			wantErr(t, "Reserve", err, engine.ErrExhausted)
			if ref != 0 {
				t.Errorf("Reserve = %d with an error", ref)
			}
			err = d.EncounterBatch([]engine.Ptr{addr(1), addr(7777)}, 1, make([]engine.ObjRef, 2), nil)
			wantErr(t, "EncounterBatch", err, engine.ErrExhausted)
		}
	}
	wantEnd(a)
	// b still has its lease, and what it gives back is used.
	if err := meet(b, i); err != nil {
		t.Errorf("an objref of a lease taken before: %v", err)
	}
	closeQuietly(t, b)
	for n := range leaseRefs - 2 {
		i++
		if err := meet(a, i); err != nil {
			t.Fatalf("objref %d of those given back: %v", n, err)
		}
	}
	i++
	wantEnd(a)
	late := newDumper(t, c)
	wantEnd(late)

	largest := engine.ObjRef(0)
	for p, ref := range met {
		largest = max(largest, ref)
		k := engine.Kind(1)
		if p>>48 == 0x0123 {
			k = 300
		}
		mustMeet(t, late, p, k, ref, false)
		if got, ok := c.Lookup(p); got != ref || !ok {
			t.Errorf("Lookup(%#x) = %d, %t; want %d", p, got, ok, ref)
		}
		if o, ok := c.Object(ref); o.Ptr != p || o.Kind != k || !ok {
			t.Errorf("Object(%d) = %+v, %t; want %#x", ref, o, ok, p)
		}
		_, _, err := a.Encounter(p, 2)
		wantKindError(t, "other kind", err, engine.KindError{Ref: ref, Have: k, Want: 2})
		if got, err := a.Dump(p, k, dumpOK); got != ref || err != nil {
			t.Errorf("Dump(%#x) = %d, %v; want %d", p, got, err, ref)
		}
	}
	for key, ref := range keys {
		largest = max(largest, ref)
		if got, first, err := a.EncounterKey([]byte(key), 2); got != ref || first || err != nil {
			t.Errorf("EncounterKey(%q) = %d, %t, %v; want %d", key, got, first, err, ref)
		}
	}
	if n := len(met) + len(keys); n != left || largest != math.MaxInt32 {
		t.Errorf("%d objects up to objref %d; want %d, %d", n, largest, left, math.MaxInt32)
	}
	if s := c.Stats(); s.Objects != left || s.Allocated != math.MaxInt32 || c.Len() != left || s.Index.Objects != len(met) {
		t.Errorf("Stats = %+v; want %d objects, all objrefs allocated", s, left)
	}
	if g := l.totals().grabs; g != len(met) {
		t.Errorf("%d grabs for %d objects with an address", g, len(met))
	}
}

func TestG4_objrefsEndForManyThreads(t *testing.T) {
	const left, workers = 1_000, 8
	c := newCheckpoint(t, engine.Options{Kinds: []engine.KindOps{{}}})
	c.SetNextObjRef(math.MaxInt32 - left + 1)
	seen := newRefSet(t)
	var mu sync.Mutex
	ends := 0
	parallel(workers, func(w int) {
		d := c.Dumper()
		defer d.Close()
		for i := range left {
			ref, first, err := d.Encounter(addr(w*left+i), 1)
			if err != nil {
				wantErr(t, "Encounter", err, engine.ErrExhausted)
				mu.Lock()
				ends++
				mu.Unlock()
				continue
			}
			if !first {
				t.Errorf("objref %d: not first", ref)
			}
			seen.add(ref)
		}
	})
	n, largest := seen.largest()
	if n > left || n < left-workers*leaseRefs || largest != math.MaxInt32 || ends != workers*left-n {
		t.Errorf("%d objrefs up to %d, %d errors; want %d at most", n, largest, ends, left)
	}
	// What the handles gave back is there for the next.
	d := newDumper(t, c)
	for ; n < left; n++ {
		ref, err := d.Reserve()
		if err != nil {
			t.Fatalf("objref %d of %d: %v", n+1, left, err)
		}
		seen.add(ref)
	}
	_, err := d.Reserve()
	wantErr(t, "Reserve", err, engine.ErrExhausted)
}
