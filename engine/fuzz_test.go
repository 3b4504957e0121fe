package engine_test

import (
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/objhash/objhash/engine"
)

// The fuzz targets turn bytes into operations on one thread, and compare the answers,
// and the references held, with a simple model.

// tape gives out the bytes of an input, zeros at its end.
type tape []byte

func (t *tape) next(n int) int {
	if len(*t) == 0 {
		return 0
	}
	b := (*t)[0]
	*t = (*t)[1:]
	return int(b) % n
}

const fuzzKinds = 300

// fuzzKind favours the kinds that are handled differently.
func (t *tape) kind() engine.Kind {
	return []engine.Kind{1, 1, 1, 2, 254, 255, 256, fuzzKinds, 0, fuzzKinds + 1, math.MaxUint16}[t.next(11)]
}

func (t *tape) ptr() engine.Ptr {
	switch b := t.next(256); {
	case b < 150:
		return addr(b)
	case b < 200:
		return wide(b)
	case b < 200+len(oddAddresses):
		return oddAddresses[b-200]
	}
	return 0
}

// fate is what the next callback does: nothing wrong, mostly.
func (t *tape) fate() fate {
	switch b := t.next(12); b {
	case 0, 1, 2:
		return fates[b]
	}
	return fate{"success", func() error { return nil }}
}

// met is the model of one object.
type met struct {
	ref    engine.ObjRef
	kind   engine.Kind
	users  int64
	dumped bool
}

// checkpointModel is a checkpoint as simple as can be, beside the real one.
type checkpointModel struct {
	t *testing.T
	tape
	l       *ledger
	c       *engine.Checkpoint
	handles [3]*engine.Dumper
	open    [3]bool

	objects  map[any]*met // by engine.Ptr or string
	refs     map[engine.ObjRef]bool
	reserved int
	max      int
	closed   bool
}

func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte{})
	for seed := range byte(12) {
		data := make([]byte, 400)
		x := uint32(seed)*2654435761 + 1
		for i := range data {
			x = x*1664525 + 1013904223
			data[i] = byte(x >> 24)
		}
		data[0], data[1], data[2] = seed, seed*7, seed
		f.Add(data)
	}
	// Each operation alone, on the same object and then on another one.
	for op := range byte(checkpointOps) {
		f.Add([]byte{0, 0, 0, op, 0, 1, 0, 5, op, 0, 1, 0, 5, op, 1, 2, 3, 5, op, 2, 160, 0, 5})
		f.Add([]byte{0, 2, 1, 0, 0, 1, 0, 5, 0, 1, 2, 0, 5, op, 0, 1, 0, 0, op, 2, 9, 0, 1, op, 1, 1, 3, 2})
	}
	f.Fuzz(fuzzCheckpoint)
}

const checkpointOps = 11

func fuzzCheckpoint(t *testing.T, data []byte) {
	m := &checkpointModel{
		t: t, tape: data, l: newLedger(t, fuzzKinds),
		objects: map[any]*met{}, refs: map[engine.ObjRef]bool{},
	}
	o := with(settings[m.next(len(settings))].options, m.l)
	m.max = m.next(40)
	o.MaxObjects = m.max
	o.ExpectedObjects = 0
	o.Seed = 1
	m.c = newCheckpoint(t, o)
	for i := range m.handles {
		m.handles[i] = m.c.Dumper()
		m.open[i] = true
	}
	for ops := 0; len(m.tape) > 0 && ops < 2_000 && !t.Failed(); ops++ {
		m.operate()
	}
	for i := range m.handles {
		closeQuietly(t, m.handles[i])
	}
	if !m.closed {
		m.wantAll(true)
	}
	closeQuietly(t, m.c)
	m.l.settled()
}

func (m *checkpointModel) operate() {
	op := m.next(checkpointOps)
	h := m.next(len(m.handles))
	d := m.handles[h]
	usable := m.open[h] && !m.closed
	switch op {
	case 0, 1:
		m.encounter(d, usable, m.ptr(), m.kind(), m.fate())
	case 2:
		m.batch(d, usable)
	case 3:
		m.key(d, usable)
	case 4:
		m.dump(d, usable)
	case 5:
		ref, err := d.Reserve()
		if !usable {
			wantErr(m.t, "Reserve", err, engine.ErrClosed)
			return
		}
		if err != nil {
			m.t.Fatalf("Reserve: %v", err)
		}
		m.fresh(ref)
		m.reserved++
	case 6:
		m.look()
	case 7:
		closeQuietly(m.t, d)
		m.open[h] = false
	case 8:
		closeQuietly(m.t, d)
		m.handles[h] = m.c.Dumper()
		m.open[h] = true
	case 9:
		m.race(d, usable, m.handles[(h+1)%len(m.handles)], m.open[(h+1)%len(m.handles)])
	case 10:
		if m.next(8) == 0 {
			closeQuietly(m.t, m.c)
			m.closed = true
			m.l.settled()
		} else if !m.closed {
			m.wantAll(false)
		}
	}
}

// fresh checks an objref that must be new.
func (m *checkpointModel) fresh(ref engine.ObjRef) {
	if ref <= 0 || m.refs[ref] {
		m.t.Fatalf("objref %d given out twice, or not positive", ref)
	}
	m.refs[ref] = true
	if limit := len(m.refs) + leaseRefs*len(m.handles); int(ref) > limit {
		m.t.Fatalf("objref %d of %d, with %d handles; want at most %d", ref, len(m.refs), len(m.handles), limit)
	}
}

// expect says how an encounter must end, before it happens: err is nil if id can be
// met, in which case known tells whether it is known.
func (m *checkpointModel) expect(id any, k engine.Kind, usable bool, taken int) (known *met, err error) {
	known = m.objects[id]
	switch {
	case !usable:
		return nil, engine.ErrClosed
	case k == 0 || k > fuzzKinds:
		return nil, engine.ErrInvalid
	case known != nil && known.kind != k:
		return nil, &engine.KindError{Ref: known.ref, Have: known.kind, Want: k}
	case known != nil:
		return known, nil
	case id == engine.Ptr(0) || id == "":
		return nil, engine.ErrInvalid
	case m.max > 0 && len(m.objects)+taken >= m.max:
		return nil, engine.ErrLimit
	}
	return nil, nil
}

// sameError compares by what errors.Is and errors.As find.
func (m *checkpointModel) sameError(what string, got, want error) {
	m.t.Helper()
	var kind *engine.KindError
	if errors.As(want, &kind) {
		wantKindError(m.t, what, got, *kind)
	} else {
		wantErr(m.t, what, got, want)
	}
	if m.t.Failed() {
		m.t.FailNow()
	}
}

// settle checks the answer of an encounter of id, and what it did to references.
func (m *checkpointModel) settle(what string, id any, k engine.Kind, known *met, want error, ref engine.ObjRef, first bool, err error) {
	m.t.Helper()
	if want != nil || err != nil {
		m.sameError(what, err, want)
		if ref != 0 || first {
			m.t.Fatalf("%s(%v, %d) = %d, %t with error %v", what, id, k, ref, first, err)
		}
	} else if known != nil {
		if ref != known.ref || first {
			m.t.Fatalf("%s(%v, %d) = %d, %t; want %d, false", what, id, k, ref, first, known.ref)
		}
		known.users++
	} else {
		if !first {
			m.t.Fatalf("%s(%v, %d) = %d, false; want a new object", what, id, k, ref)
		}
		m.fresh(ref)
		m.objects[id] = &met{ref: ref, kind: k, users: 1}
	}
	m.wantHeld(id)
}

// wantHeld checks that an object is held once, from its first encounter to Close.
func (m *checkpointModel) wantHeld(id any) {
	m.t.Helper()
	p, isPtr := id.(engine.Ptr)
	if !isPtr {
		return
	}
	want := 0
	if m.objects[id] != nil && !m.closed {
		want = 1
	}
	if held := m.l.held(p); held != want {
		m.t.Fatalf("%#x: %d references held; want %d", p, held, want)
	}
}

func (m *checkpointModel) encounter(d *engine.Dumper, usable bool, p engine.Ptr, k engine.Kind, f fate) {
	known, want := m.expect(p, k, usable, 0)
	m.l.grabbing = func(account) error { return f.meet() }
	var ref engine.ObjRef
	var first bool
	e := ends(func() (err error) {
		ref, first, err = d.Encounter(p, k)
		return err
	})
	m.l.grabbing = nil
	if known == nil && want == nil && f.name != "success" {
		f.wantFate(m.t, "Encounter", e)
		m.settle("Encounter", p, k, nil, errSick, ref, first, errSick)
		return
	}
	m.settle("Encounter", p, k, known, want, ref, first, e.err)
}

func (m *checkpointModel) batch(d *engine.Dumper, usable bool) {
	n, k := m.next(20), m.kind()
	ptrs, refs, firsts := make([]engine.Ptr, n), make([]engine.ObjRef, n), make([]bool, n)
	for i := range ptrs {
		ptrs[i] = m.ptr()
		refs[i], firsts[i] = 77, true
	}
	sickAt := m.ptr()
	m.l.grabbing = func(a account) error {
		if a.p == sickAt {
			return errSick
		}
		return nil
	}
	err := d.EncounterBatch(ptrs, k, refs, firsts)
	m.l.grabbing = nil
	errs := elementErrors(err)
	for i, p := range ptrs {
		known, want := m.expect(p, k, usable, 0)
		if want == nil && known == nil && p == sickAt {
			want = errSick
		}
		got := errs[i]
		if !usable || k == 0 || k > fuzzKinds {
			got = err // of the batch as a whole
		}
		m.settle(fmt.Sprintf("EncounterBatch, element %d", i), p, k, known, want, refs[i], firsts[i], got)
		delete(errs, i)
	}
	if len(errs) > 0 {
		m.t.Fatalf("EncounterBatch names elements that did not fail: %v", errs)
	}
}

func (m *checkpointModel) key(d *engine.Dumper, usable bool) {
	key, k := "", m.kind()
	if b := m.next(40); b > 0 {
		key = fmt.Sprint("key ", b)
	}
	known, want := m.expect(key, k, usable, 0)
	ref, first, err := d.EncounterKey([]byte(key), k)
	m.settle("EncounterKey", key, k, known, want, ref, first, err)
}

func (m *checkpointModel) dump(d *engine.Dumper, usable bool) {
	p, k, f, nested := m.ptr(), m.kind(), m.fate(), m.next(3) == 0
	known, want := m.expect(p, k, usable, 0)
	runs := 0
	var ref engine.ObjRef
	e := ends(func() (err error) {
		ref, err = d.Dump(p, k, func(ref engine.ObjRef) error {
			runs++
			if o, ok := m.c.Object(ref); !ok || o.Ptr != p || o.Flags != engine.Dumping {
				m.t.Errorf("in the dump of objref %d: Object = %+v, %t", ref, o, ok)
			}
			if nested {
				again, err := d.Dump(p, k, func(engine.ObjRef) error { runs++; return nil })
				if again != ref || err != nil {
					m.t.Errorf("nested Dump = %d, %v; want %d", again, err, ref)
				}
			}
			return f.meet()
		})
		return err
	})
	dumps := want == nil && (known == nil || !known.dumped)
	if dumps != (runs == 1) || runs > 1 {
		m.t.Fatalf("Dump(%#x): %d dumps ran; known is %+v, want is %v", p, runs, known, want)
	}
	err := e.err
	if dumps && f.name != "success" {
		f.wantFate(m.t, "Dump", e)
		err = nil // the encounter has succeeded
		if ref == 0 {
			ref, _ = m.c.Lookup(p) // a panic or an exit returns nothing
		}
	}
	m.settle("Dump", p, k, known, want, ref, want == nil && known == nil, err)
	if dumps {
		o := m.objects[p]
		o.dumped = f.name == "success"
		if nested {
			o.users++
		}
	}
}

// race lets an encounter lose, or not, against another one that its Grab makes.
func (m *checkpointModel) race(d *engine.Dumper, usable bool, other *engine.Dumper, otherOpen bool) {
	p, k, kOther := m.ptr(), m.kind(), m.kind()
	known, want := m.expect(p, k, usable, 0)
	inner := 0
	m.l.grabbing = func(account) error {
		if inner++; inner > 1 {
			return nil
		}
		otherKnown, otherWant := m.expect(p, kOther, otherOpen, 1)
		ref, first, err := other.Encounter(p, kOther)
		m.l.grabbing = nil
		if otherWant == nil && err == nil && first {
			// The outer reference is not counted yet.
			m.settle("inner Encounter", p, kOther, otherKnown, otherWant, ref, first, err)
		} else {
			m.sameError("inner Encounter", err, otherWant)
		}
		return nil
	}
	ref, first, err := d.Encounter(p, k)
	m.l.grabbing = nil
	if known == nil && want == nil && inner > 0 {
		if won := m.objects[p]; won != nil {
			known, want = won, nil
			if won.kind != k {
				known, want = nil, &engine.KindError{Ref: won.ref, Have: won.kind, Want: k}
			}
		}
	}
	m.settle("Encounter in a race", p, k, known, want, ref, first, err)
}

func (m *checkpointModel) look() {
	n := 1 + m.next(8)
	ptrs, refs := make([]engine.Ptr, n), make([]engine.ObjRef, n)
	want := 0
	for i := range ptrs {
		ptrs[i], refs[i] = m.ptr(), 77
		if m.objects[ptrs[i]] != nil && !m.closed {
			want++
		}
	}
	if found := m.c.LookupBatch(ptrs, refs); found != want {
		m.t.Fatalf("LookupBatch found %d of %v; want %d", found, ptrs, want)
	}
	for i, p := range ptrs {
		var want engine.ObjRef
		if o := m.objects[p]; o != nil && !m.closed {
			want = o.ref
		}
		if ref, ok := m.c.Lookup(p); ref != want || refs[i] != want || ok != (want != 0) {
			m.t.Fatalf("Lookup(%#x) = %d, %t, in a batch %d; want %d", p, ref, ok, refs[i], want)
		}
	}
}

// wantAll compares everything there is. Users are exact when all handles are closed.
func (m *checkpointModel) wantAll(users bool) {
	m.t.Helper()
	objects := wantInOrder(m.t, m.c)
	if len(objects) != len(m.objects) {
		m.t.Fatalf("%d objects; want %d", len(objects), len(m.objects))
	}
	for id, want := range m.objects {
		o := objects[want.ref]
		same := any(o.Ptr) == id
		if key, isKey := id.(string); isKey {
			same = string(o.Key) == key
		}
		if !same || o.Kind != want.kind || (o.Flags&engine.Dumped != 0) != want.dumped || users && o.Users != want.users {
			m.t.Fatalf("objref %d: %+v; want %v, %+v", want.ref, o, id, *want)
		}
		m.wantHeld(id)
	}
	if s := m.c.Stats(); s.Reserved != m.reserved || s.Objects+s.Reserved != len(m.refs) {
		m.t.Fatalf("Stats = %+v; want %d reserved, %d objrefs in use", s, m.reserved, len(m.refs))
	}
}

// ref favours objrefs around the borders of arrays, and those far away.
func (t *tape) ref() engine.ObjRef {
	bases := []engine.ObjRef{0, 1, 1, 500, 4_050, 8_150, 100_000, 1 << 20, 1 << 30, math.MaxInt32 - 255, math.MinInt32}
	return bases[t.next(len(bases))] + engine.ObjRef(t.next(256))
}

func FuzzRestart(f *testing.F) {
	f.Add([]byte{})
	for seed := range byte(12) {
		data := make([]byte, 600)
		x := uint32(seed)*2654435761 + 7
		for i := range data {
			x = x*1664525 + 1013904223
			data[i] = byte(x >> 24)
		}
		data[0], data[1], data[2] = seed%3*10, seed%2, seed/4
		f.Add(data)
	}
	// One objref again and again, in an array, beside it, and in both.
	for base := range byte(11) {
		f.Add([]byte{0, 0, 0, 0, base, 5, 1, 0, 5, 0, base, 5, 2, 3, 5, 1, base, 5, 0, 1, base, 5, 3, 0, base, 6, 160, 0, 5, 0, base, 6, 160, 0, 5})
	}
	f.Fuzz(fuzzRestart)
}

func fuzzRestart(t *testing.T, data []byte) {
	type object struct {
		p engine.Ptr
		k engine.Kind
	}
	m := tape(data)
	l := newLedger(t, fuzzKinds)
	o := with(engine.Options{}, l)
	o.MaxObjects = m.next(60)
	o.ExpectedObjects = []int{0, 0, 1, 5_000}[m.next(4)]
	o.MaxBytes = []int64{0, 0, 50_000, 100_000}[m.next(4)]
	r, err := engine.NewRestart(o)
	if err != nil {
		wantErr(t, "NewRestart", err, engine.ErrLimit)
		return
	}
	objects := map[engine.ObjRef]object{}
	closed := false
	for ops := 0; len(m) > 0 && ops < 2_000 && !t.Failed(); ops++ {
		op, ref := m.next(16), m.ref()
		have, exists := objects[ref]
		switch {
		case op == 15 && m.next(8) == 0:
			closeQuietly(t, r)
			closed = true
			l.settled()
		case op%2 == 0:
			p, k, f := m.ptr(), m.kind(), m.fate()
			before := l.totals()
			l.grabbing = func(account) error { return f.meet() }
			e := ends(func() error { return r.Insert(ref, p, k) })
			l.grabbing = nil
			after := l.totals()
			grabbed := after.grabs - after.drops - before.grabs + before.drops
			want := 0
			switch {
			case ref <= 0 || p == 0 || k == 0 || k > fuzzKinds:
				wantErr(t, "Insert", e.err, engine.ErrInvalid)
			case closed:
				wantErr(t, "Insert", e.err, engine.ErrClosed)
			case exists:
				wantErr(t, "Insert", e.err, engine.ErrExists)
				if after.grabs != before.grabs {
					t.Errorf("Insert(%d): grabbed for a duplicate", ref)
				}
			case o.MaxObjects > 0 && len(objects) == o.MaxObjects:
				wantErr(t, "Insert", e.err, engine.ErrLimit)
			case f.name != "success":
				f.wantFate(t, "Insert", e)
			case o.MaxBytes > 0 && errors.Is(e.err, engine.ErrLimit):
			default:
				if e != (ending{}) {
					t.Fatalf("Insert(%d, %#x, %d) ended with %+v", ref, p, k, e)
				}
				objects[ref] = object{p, k}
				want = 1
			}
			if grabbed != want {
				t.Fatalf("Insert(%d, %#x, %d): %d references taken; want %d", ref, p, k, grabbed, want)
			}
		default:
			k := m.kind()
			p, err := r.Fetch(ref, k)
			switch {
			case closed:
				wantErr(t, "Fetch", err, engine.ErrClosed)
			case ref <= 0 || k == 0 || k > fuzzKinds:
				wantErr(t, "Fetch", err, engine.ErrInvalid)
			case !exists:
				wantErr(t, "Fetch", err, engine.ErrNotFound)
			case have.k != k:
				wantKindError(t, "Fetch", err, engine.KindError{Ref: ref, Have: have.k, Want: k})
			case p != have.p || err != nil:
				t.Fatalf("Fetch(%d, %d) = %#x, %v; want %#x", ref, k, p, err, have.p)
			}
			if err != nil && p != 0 {
				t.Fatalf("Fetch(%d, %d) = %#x with error %v", ref, k, p, err)
			}
		}
		if b := r.Bytes(); o.MaxBytes > 0 && b > o.MaxBytes || b > restartFixed+int64(o.ExpectedObjects)*16+int64(len(objects))*(restartPerObject+96) {
			t.Fatalf("%d objects take %d bytes; MaxBytes is %d", len(objects), b, o.MaxBytes)
		}
		if n := r.Len(); !closed && n != len(objects) {
			t.Fatalf("Len = %d; want %d", n, len(objects))
		}
	}
	if !closed {
		for ref, want := range objects {
			if p, err := r.Fetch(ref, want.k); p != want.p || err != nil {
				t.Fatalf("Fetch(%d) = %#x, %v; want %#x", ref, p, err, want.p)
			}
		}
	}
	closeQuietly(t, r)
	l.settled()
}
