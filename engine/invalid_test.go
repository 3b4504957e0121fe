package engine_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/objhash/objhash/engine"
	"github.com/objhash/objhash/refcount"
)

// Bad input is an error that says what was wrong and what is expected, and changes
// nothing.

func TestInvalid_options(t *testing.T) {
	both := func(o engine.Options) []error {
		_, err := engine.NewCheckpoint(o)
		_, err2 := engine.NewRestart(o)
		return []error{err, err2}
	}
	for _, c := range []struct {
		o     engine.Options
		parts []string
	}{
		{engine.Options{Kinds: make([]engine.KindOps, engine.KindsMax+1)}, []string{"4096 kinds", "4095"}},
		{engine.Options{ExpectedObjects: -1}, []string{"ExpectedObjects -1", "0 to 2147483647"}},
		{engine.Options{MaxObjects: -5}, []string{"MaxObjects -5", "0 to 2147483647"}},
		{engine.Options{MaxBytes: -1}, []string{"MaxBytes -1", "0 or more"}},
		{engine.Options{MaxBytes: math.MinInt64}, []string{"MaxBytes"}},
	} {
		for _, err := range both(c.o) {
			wantErr(t, strings.Join(c.parts, " "), err, engine.ErrInvalid)
			wantMessage(t, err, c.parts...)
		}
	}
	// More than an int can hold where it has 32 bits.
	if tooMany := int64(math.MaxInt32) + 1; int64(int(tooMany)) == tooMany {
		for _, o := range []engine.Options{{ExpectedObjects: int(tooMany)}, {MaxObjects: int(tooMany)}} {
			for _, err := range both(o) {
				wantErr(t, "2^31 objects", err, engine.ErrInvalid)
				wantMessage(t, err, "2147483648", "2147483647")
			}
		}
	}
	for _, shards := range []int{-1, 65537, math.MaxInt} {
		_, err := engine.NewCheckpoint(engine.Options{Shards: shards})
		wantErr(t, "Shards", err, engine.ErrInvalid)
		wantMessage(t, err, "shards", "0 to 65536")
	}
}

func TestInvalid_countStrategyFails(t *testing.T) {
	_, err := engine.NewCheckpoint(engine.Options{Count: sickStrategy{}})
	wantErr(t, "NewCheckpoint", err, errSick)
}

type sickStrategy struct{}

func (sickStrategy) Name() string            { return "sick" }
func (sickStrategy) Traits() refcount.Traits { return refcount.Traits{} }

func (sickStrategy) New(refcount.Config) (refcount.Counter, error) { return nil, errSick }

func TestInvalid_zeroOptionsWork(t *testing.T) {
	c := newCheckpoint(t, engine.Options{})
	d := newDumper(t, c)
	if ref, err := d.Reserve(); ref != 1 || err != nil {
		t.Errorf("Reserve = %d, %v; want 1", ref, err)
	}
	_, _, err := d.Encounter(addr(1), 1)
	wantErr(t, "Encounter", err, engine.ErrInvalid)
	r := newRestart(t, engine.Options{})
	wantErr(t, "Insert", r.Insert(1, addr(1), 1), engine.ErrInvalid)
	_, err = r.Fetch(1, 1)
	wantErr(t, "Fetch", err, engine.ErrInvalid)
}

func TestInvalid_optionsAreCopied(t *testing.T) {
	l := newLedger(t, 1)
	kinds := append([]engine.KindOps(nil), l.kinds...)
	c := newCheckpoint(t, engine.Options{Kinds: kinds})
	kinds[0] = engine.KindOps{Grab: func(engine.Ptr) error { return errSick }}
	mustMeet(t, newDumper(t, c), addr(1), 1, 1, true)
	closeQuietly(t, c)
	l.settled()
}

// A kind without operations, or with some of them.
func TestInvalid_kindsMayLackOperations(t *testing.T) {
	for _, ops := range []engine.KindOps{
		{},
		{Grab: func(engine.Ptr) error { return nil }},
		{Drop: func(engine.Ptr, bool) {}},
	} {
		c, r := newCheckpoint(t, engine.Options{Kinds: []engine.KindOps{ops, {}}}), newRestart(t, engine.Options{Kinds: []engine.KindOps{ops, {}}})
		d := newDumper(t, c)
		for i := range 200 {
			mustMeet(t, d, addr(i), engine.Kind(i%2+1), engine.ObjRef(i+1), true)
			if err := r.Insert(engine.ObjRef(i+1), addr(i), engine.Kind(i%2+1)); err != nil {
				t.Fatal(err)
			}
		}
		_, err := d.Dump(addr(0), 1, func(engine.ObjRef) error { return errSick })
		wantErr(t, "Dump", err, errSick)
		wantMessage(t, err, "kind 1") // it has no name
		closeQuietly(t, c)
		closeQuietly(t, r)
	}
}

func TestInvalid_kinds(t *testing.T) {
	l := newLedger(t, 3)
	c, r := newCheckpoint(t, with(engine.Options{}, l)), newRestart(t, with(engine.Options{}, l))
	d := newDumper(t, c)
	mustMeet(t, d, addr(1), 1, 1, true)
	if err := r.Insert(1, addr(1), 1); err != nil {
		t.Fatal(err)
	}
	for _, k := range []engine.Kind{0, 4, 255, 4095, 4096, 4097, math.MaxUint16} {
		for _, p := range []engine.Ptr{addr(1), addr(2), wide(2), 0} { // known and new
			ref, first, err := d.Encounter(p, k)
			dumped, errDump := d.Dump(p, k, func(engine.ObjRef) error { t.Error("dumped as an unknown kind"); return nil })
			refs, firsts := []engine.ObjRef{9}, []bool{true}
			errBatch := d.EncounterBatch([]engine.Ptr{p}, k, refs, firsts)
			byKey, firstKey, errKey := d.EncounterKey([]byte("key"), k)
			for _, err := range []error{err, errDump, errBatch, errKey} {
				wantErr(t, "unknown kind", err, engine.ErrInvalid)
				wantMessage(t, err, "unknown kind", "kinds 1 to 3")
			}
			if ref != 0 || first || dumped != 0 || refs[0] != 0 || firsts[0] || byKey != 0 || firstKey {
				t.Errorf("kind %d: an unknown kind was met", k)
			}
		}
		for _, ref := range []engine.ObjRef{1, 2, 1 << 30} {
			err := r.Insert(ref, addr(9), k)
			_, errFetch := r.Fetch(ref, k)
			for _, err := range []error{err, errFetch} {
				wantErr(t, "unknown kind", err, engine.ErrInvalid)
				wantMessage(t, err, "unknown kind", "kinds 1 to 3", "objref")
			}
		}
	}
	if b := l.totals(); c.Len() != 1 || r.Len() != 1 || b.grabs != 2 {
		t.Errorf("Len is %d and %d, references %+v; want what there was before", c.Len(), r.Len(), b)
	}
}

func TestInvalid_keys(t *testing.T) {
	c := newCheckpoint(t, engine.Options{Kinds: newLedger(t, 1).kinds})
	d := newDumper(t, c)
	for _, key := range [][]byte{nil, {}} {
		ref, first, err := d.EncounterKey(key, 1)
		wantErr(t, "EncounterKey", err, engine.ErrInvalid)
		wantMessage(t, err, "empty key")
		if ref != 0 || first {
			t.Errorf("EncounterKey = %d, %t", ref, first)
		}
	}
	// All others work, and are told apart byte by byte.
	keys := [][]byte{{0}, {0, 0}, {0, 0, 0}, {1}, []byte("a"), []byte("A"), make([]byte, 10_000), append(make([]byte, 10_000), 1)}
	for i, key := range keys {
		ref, first, err := d.EncounterKey(key, 1)
		if int(ref) != i+1 || !first || err != nil {
			t.Errorf("key %d: EncounterKey = %d, %t, %v; want %d", i, ref, first, err, i+1)
		}
	}
	for i, key := range keys {
		ref, first, err := d.EncounterKey(key, 1)
		if int(ref) != i+1 || first || err != nil {
			t.Errorf("key %d: EncounterKey = %d, %t, %v; want %d", i, ref, first, err, i+1)
		}
		key[0] ^= 0xff // the caller's to write to
		if o, _ := c.Object(ref); o.Key[0] == key[0] {
			t.Errorf("key %d is shared with the caller", i)
		}
		o, _ := c.Object(ref)
		o.Key[0] ^= 0xff // as is what Object returns
		if again, _ := c.Object(ref); again.Key[0] == o.Key[0] {
			t.Errorf("Object's key %d is shared with the context", i)
		}
	}
}

// A key and an address are never the same object.
func TestInvalid_keysAreNoAddresses(t *testing.T) {
	c := newCheckpoint(t, engine.Options{Kinds: newLedger(t, 2).kinds})
	d := newDumper(t, c)
	mustMeet(t, d, 0x3130, 1, 1, true)
	if ref, first, err := d.EncounterKey([]byte("01"), 2); ref != 2 || !first || err != nil {
		t.Errorf("EncounterKey = %d, %t, %v; want 2, true", ref, first, err)
	}
}

func TestInvalid_nilDump(t *testing.T) {
	c := newCheckpoint(t, engine.Options{Kinds: newLedger(t, 1).kinds})
	d := newDumper(t, c)
	ref, err := d.Dump(addr(1), 1, nil)
	wantErr(t, "Dump", err, engine.ErrInvalid)
	wantMessage(t, err, "nil dump")
	if ref != 0 || c.Len() != 0 {
		t.Errorf("Dump = %d, Len = %d with a nil function", ref, c.Len())
	}
}

func TestInvalid_objrefs(t *testing.T) {
	c := newCheckpoint(t, engine.Options{Kinds: newLedger(t, 1).kinds})
	d := newDumper(t, c)
	mustMeet(t, d, addr(1), 1, 1, true)
	if _, err := d.Reserve(); err != nil {
		t.Fatal(err)
	}
	r := newRestart(t, engine.Options{Kinds: newLedger(t, 1).kinds})
	for _, ref := range []engine.ObjRef{0, -1, -2, -511, -512, -513, math.MinInt32, math.MinInt32 + 1} {
		if o, ok := c.Object(ref); ok {
			t.Errorf("Object(%d) = %+v", ref, o)
		}
		err := r.Insert(ref, addr(1), 1)
		p, errFetch := r.Fetch(ref, 1)
		for _, err := range []error{err, errFetch} {
			wantErr(t, "objref", err, engine.ErrInvalid)
			wantMessage(t, err, "objref", "1 to 2147483647")
		}
		if p != 0 {
			t.Errorf("Fetch(%d) = %#x", ref, p)
		}
	}
	// Reserved, leased, never given out.
	for _, ref := range []engine.ObjRef{2, 3, 64, 65, 1000, math.MaxInt32} {
		if o, ok := c.Object(ref); ok {
			t.Errorf("Object(%d) = %+v", ref, o)
		}
	}
}

func TestInvalid_errorsAreDistinct(t *testing.T) {
	all := []error{engine.ErrInvalid, engine.ErrNotFound, engine.ErrExists, engine.ErrExhausted, engine.ErrLimit, engine.ErrClosed}
	for i, a := range all {
		for j, b := range all {
			if errors.Is(a, b) != (i == j) {
				t.Errorf("errors.Is(%v, %v) = %t", a, b, i != j)
			}
		}
	}
}
