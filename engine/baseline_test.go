package engine_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/objhash/objhash/bench/baseline"
	"github.com/objhash/objhash/engine"
)

// The 2008 table is the oracle: equal streams of encounters get equal answers.

// stream is a seeded stream of encounters that meets what it has met before most of
// the time, popular objects more often, and is wrong now and then.
type stream struct {
	rng     *rand.Rand
	objects int
	kinds   int
}

func newStream(seed uint64, objects, kinds int) *stream {
	return &stream{rand.New(rand.NewPCG(seed, 2008)), objects, kinds}
}

func (s *stream) next() (engine.Ptr, engine.Kind) {
	// Objects near 0 are popular.
	u := s.rng.Float64()
	i := int(u * u * u * float64(s.objects))
	p, k := s.object(i)
	switch s.rng.IntN(100) {
	case 0:
		return 0, k
	case 1:
		return p, engine.Kind(s.rng.IntN(s.kinds) + 1)
	case 2:
		return p, []engine.Kind{0, engine.Kind(s.kinds + 1), math.MaxUint16}[s.rng.IntN(3)]
	}
	return p, k
}

func (s *stream) object(i int) (engine.Ptr, engine.Kind) {
	k := engine.Kind(i%s.kinds + 1)
	switch i % 11 {
	case 4:
		return wide(i), k
	case 7:
		return 0x5500_0000_0000 + engine.Ptr(i)<<12, k
	}
	return addr(i), k
}

// sickly fails the first grabs of some objects, in the same way each time it is made.
func sickly() func(p uint64) error {
	var mu sync.Mutex
	tries := map[uint64]int{}
	return func(p uint64) error {
		mu.Lock()
		defer mu.Unlock()
		tries[p]++
		if p>>6%13 == 5 && tries[p] <= 2 {
			return errSick
		}
		return nil
	}
}

// newBaseline returns the oracle, with kinds that grab as grab does.
func newBaseline(t *testing.T, kinds int, grab func(uint64) error) *baseline.Table {
	c := baseline.Config{Bits: baseline.BitsFor(20_000), Hash: baseline.Hash2016}
	for k := range kinds {
		c.Kinds = append(c.Kinds, baseline.Kind{Name: name(engine.Kind(k + 1)), Grab: grab})
	}
	table, err := baseline.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(table.Close)
	return table
}

// sort says what an error means, in words that both tables share.
func sort(err error, known bool) string {
	var kind *engine.KindError
	switch {
	case err == nil:
		return "none"
	case errors.Is(err, errSick):
		return "sick"
	case errors.As(err, &kind):
		return "other kind"
	case errors.Is(err, baseline.ErrKind) && known:
		return "other kind"
	case errors.Is(err, baseline.ErrInvalid), errors.Is(err, engine.ErrInvalid), errors.Is(err, baseline.ErrKind):
		return "invalid"
	case errors.Is(err, baseline.ErrExists), errors.Is(err, engine.ErrExists):
		return "exists"
	case errors.Is(err, baseline.ErrNotFound), errors.Is(err, engine.ErrNotFound):
		return "not found"
	}
	return err.Error()
}

// answer is what an encounter gave.
type answer struct {
	ref   engine.ObjRef
	first bool
	err   string
}

func TestBaseline_oneThread(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		for seed := range uint64(2) {
			const kinds = 300
			s := newStream(seed, sized(10_000), kinds)
			oracle := newBaseline(t, kinds, sickly())
			grab := sickly()
			l := newLedger(t, kinds)
			l.grabbing = func(a account) error { return grab(uint64(a.p)) }
			c := newCheckpoint(t, with(o, l))
			d := newDumper(t, c)
			want := func(p engine.Ptr, k engine.Kind) answer {
				_, known := oracle.Lookup(uint64(p))
				if p != 0 && (k == 0 || k > kinds) {
					known = false // the engine looks at the kind first
				}
				ref, first, err := oracle.LookupAdd(uint64(p), uint16(k))
				return answer{engine.ObjRef(ref), first, sort(err, known)}
			}
			for n := 0; n < sized(20_000); n++ {
				p, k := s.next()
				switch s.rng.IntN(4) {
				case 0: // a batch, of one kind
					size := 1 + s.rng.IntN(20)
					ptrs, refs, firsts := make([]engine.Ptr, size), make([]engine.ObjRef, size), make([]bool, size)
					for i := range ptrs {
						ptrs[i], _ = s.next()
					}
					err := d.EncounterBatch(ptrs, k, refs, firsts)
					failed := 0
					for i, p := range ptrs {
						w := want(p, k)
						if refs[i] != w.ref || firsts[i] != w.first {
							t.Fatalf("op %d: element %d of a batch, %#x of kind %d: %d, %t; oracle says %+v", n, i, p, k, refs[i], firsts[i], w)
						}
						if w.err != "none" {
							failed++
						}
					}
					if (err != nil) != (failed > 0) {
						t.Fatalf("op %d: EncounterBatch with %d failing elements: %v", n, failed, err)
					}
				case 1: // a dump is an encounter, too
					w := want(p, k)
					ref, err := d.Dump(p, k, dumpOK)
					if got := (answer{ref, w.first, sort(err, true)}); got != w {
						t.Fatalf("op %d: Dump(%#x, %d) = %+v (%v); oracle says %+v", n, p, k, got, err, w)
					}
				default:
					w := want(p, k)
					ref, first, err := d.Encounter(p, k)
					if got := (answer{ref, first, sort(err, true)}); got != w {
						t.Fatalf("op %d: Encounter(%#x, %d) = %+v (%v); oracle says %+v", n, p, k, got, err, w)
					}
				}
				q, _ := s.next()
				ref, ok := c.Lookup(q)
				if wantRef, wantOK := oracle.Lookup(uint64(q)); int32(ref) != wantRef || ok != wantOK {
					t.Fatalf("op %d: Lookup(%#x) = %d, %t; oracle says %d, %t", n, q, ref, ok, wantRef, wantOK)
				}
			}
			closeQuietly(t, d)
			wantSameObjects(t, c, oracle, true)
			closeQuietly(t, c)
			l.settled()
		}
	})
}

// wantSameObjects compares all that the two know. Objrefs are equal if one thread has
// given them out, else only as many.
func wantSameObjects(t *testing.T, c *engine.Checkpoint, oracle *baseline.Table, sameRefs bool) {
	t.Helper()
	objects := wantInOrder(t, c)
	if len(objects) != oracle.Len() {
		t.Errorf("%d objects; oracle has %d", len(objects), oracle.Len())
	}
	for w := range oracle.All() {
		ref, ok := c.Lookup(engine.Ptr(w.Ptr))
		if !ok || sameRefs && int32(ref) != w.Objref {
			t.Fatalf("Lookup(%#x) = %d, %t; oracle says %d", w.Ptr, ref, ok, w.Objref)
		}
		o := objects[ref]
		if o.Ptr != engine.Ptr(w.Ptr) || uint16(o.Kind) != w.Kind || o.Users != w.Users {
			t.Fatalf("objref %d: %+v; oracle says %+v", ref, o, w)
		}
	}
}

func TestBaseline_manyThreads(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		const workers, kinds = 4, 3
		objects, ops := sized(5_000), sized(20_000)
		// Encounters that fail leave nothing, whoever comes first: so the oracle, which
		// meets one worker's stream after the other's, must end with the same objects.
		stream := func(w int) func() (engine.Ptr, engine.Kind) {
			s := newStream(uint64(w), objects, kinds)
			return func() (engine.Ptr, engine.Kind) {
				for {
					p, k := s.next()
					if p == 0 || k == 0 || k > kinds || k == kindFor(s, p) {
						return p, k
					}
				}
			}
		}
		oracle := newBaseline(t, kinds, nil)
		oracleFirsts := 0
		for w := range workers {
			next := stream(w)
			for range ops {
				p, k := next()
				if _, first, _ := oracle.LookupAdd(uint64(p), uint16(k)); first {
					oracleFirsts++
				}
			}
		}
		l := newLedger(t, kinds)
		c := newCheckpoint(t, with(o, l))
		firsts := make([]int, workers)
		parallel(workers, func(w int) {
			next := stream(w)
			d := c.Dumper()
			defer d.Close()
			for n := 0; n < ops; {
				p, k := next()
				if n%3 == 0 { // as many as there are of one kind, in one batch
					ptrs := []engine.Ptr{p}
					q, kq := next()
					for n++; n < ops && kq == k && len(ptrs) < 8; n++ {
						ptrs = append(ptrs, q)
						q, kq = next()
					}
					first := make([]bool, len(ptrs))
					_ = d.EncounterBatch(ptrs, k, make([]engine.ObjRef, len(ptrs)), first)
					for _, f := range first {
						if f {
							firsts[w]++
						}
					}
					if n == ops {
						break
					}
					p, k = q, kq
				}
				if _, first, _ := d.Encounter(p, k); first {
					firsts[w]++
				}
				n++
			}
		})
		sum := 0
		for _, n := range firsts {
			sum += n
		}
		if sum != oracleFirsts {
			t.Errorf("%d encounters were first; oracle says %d", sum, oracleFirsts)
		}
		wantSameObjects(t, c, oracle, false)
		closeQuietly(t, c)
		l.settled()
	})
}

// kindFor returns the right kind of an address of s.
func kindFor(s *stream, p engine.Ptr) engine.Kind {
	var i engine.Ptr
	switch {
	case p>>48 == 0x0123:
		i = (p - wide(0)) / 64
	case p>>40 == 0x55:
		i = (p - 0x5500_0000_0000) >> 12
	default:
		i = (p - addr(0)) / 192
	}
	return engine.Kind(int(i)%s.kinds + 1)
}

func TestBaseline_restart(t *testing.T) {
	const kinds = 300
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 2008))
		oracle := newBaseline(t, kinds, sickly())
		grab := sickly()
		l := newLedger(t, kinds)
		l.grabbing = func(a account) error { return grab(uint64(a.p)) }
		r := newRestart(t, with(engine.Options{}, l))
		s := newStream(seed, 10_000, kinds)
		n := sized(20_000)
		for op := range n {
			ref := engine.ObjRef(rng.IntN(n))
			switch rng.IntN(20) {
			case 0:
				ref = -ref
			case 1, 2:
				ref = 1<<30 + ref*1000
			case 3:
				ref = math.MaxInt32 - ref%100
			}
			if rng.IntN(2) == 0 {
				p, k := s.next()
				oracleErr := oracle.Insert(int32(ref), uint64(p), uint16(k))
				err := r.Insert(ref, p, k)
				want, got := sort(oracleErr, false), sort(err, false)
				if k == 0 || k > kinds {
					want = "invalid" // the engine looks at the kind first
				}
				if got != want {
					t.Fatalf("op %d: Insert(%d, %#x, %d): %v; oracle says %v", op, ref, p, k, err, oracleErr)
				}
				continue
			}
			k := engine.Kind(rng.IntN(kinds) + 1)
			want, oracleErr := oracle.Fetch(int32(ref), uint16(k))
			got, err := r.Fetch(ref, k)
			if uint64(got) != want || sort(err, true) != sort(oracleErr, true) {
				t.Fatalf("op %d: Fetch(%d, %d) = %#x, %v; oracle says %#x, %v", op, ref, k, got, err, want, oracleErr)
			}
		}
		if r.Len() != oracle.Len() {
			t.Errorf("Len = %d; oracle says %d", r.Len(), oracle.Len())
		}
		for w := range oracle.All() {
			if p, err := r.Fetch(engine.ObjRef(w.Objref), engine.Kind(w.Kind)); uint64(p) != w.Ptr || err != nil {
				t.Fatalf("Fetch(%d) = %#x, %v; oracle says %+v", w.Objref, p, err, w)
			}
		}
		closeQuietly(t, r)
		l.settled()
	}
}

// Whatever the seed and the shards, one thread's objrefs are the same: images are
// reproducible.
func TestBaseline_objrefsDoNotDependOnTheHash(t *testing.T) {
	var want []engine.ObjRef
	for i, o := range []engine.Options{{}, {Seed: 1}, {Seed: 2, Shards: 1}, {Seed: 3, Shards: 256, ExpectedObjects: 50_000}} {
		c := newCheckpoint(t, engine.Options{Kinds: newLedger(t, 3).kinds, Seed: o.Seed, Shards: o.Shards, ExpectedObjects: o.ExpectedObjects})
		d := newDumper(t, c)
		s := newStream(7, 3_000, 3)
		var got []engine.ObjRef
		for range 5_000 {
			ref, _, _ := d.Encounter(s.next())
			got = append(got, ref)
		}
		if i == 0 {
			want = got
		} else if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("with %+v the objrefs are others", o)
		}
	}
}
