package engine_test

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/objhash/objhash/engine"
)

// G10: a duplicate objref on restart errors before its create callback runs: here,
// before anything is grabbed.

func TestG10_duplicateIsFoundBeforeGrab(t *testing.T) {
	for _, ref := range []engine.ObjRef{1, 4_000, 100_000, math.MaxInt32} { // in an array; beside it
		for _, p := range []engine.Ptr{addr(1), wide(1)} {
			for _, fill := range []bool{false, true} { // the array comes after the object
				l := newLedger(t, 2)
				r := newRestart(t, with(engine.Options{}, l))
				if err := r.Insert(ref, p, 1); err != nil {
					t.Fatal(err)
				}
				others := 0
				if fill && ref <= 100_000 {
					for i := engine.ObjRef(1); i <= 100_000; i++ {
						if i != ref {
							others++
							if err := r.Insert(i, addr(1_000_000), 1); err != nil {
								t.Fatal(err)
							}
						}
					}
				}
				before := l.totals()
				for _, q := range []engine.Ptr{p, addr(2), wide(2)} {
					for k := engine.Kind(1); k <= 2; k++ {
						err := r.Insert(ref, q, k)
						wantErr(t, "duplicate", err, engine.ErrExists)
						wantMessage(t, err, fmt.Sprintf("objref %d", ref), name(1), fmt.Sprintf("%#x", uint64(p)))
					}
				}
				if after := l.totals(); after != before {
					t.Errorf("references went from %+v to %+v: duplicates grab", before, after)
				}
				if got, err := r.Fetch(ref, 1); got != p || err != nil || r.Len() != others+1 {
					t.Errorf("Fetch(%d) = %#x, %v, Len = %d; want %#x, and %d", ref, got, err, r.Len(), p, others+1)
				}
				closeQuietly(t, r)
				l.settled()
			}
		}
	}
}

func TestG10_oneInsertOfManySucceeds(t *testing.T) {
	for round := range sized(2_000) {
		insertTogether(t, round)
	}
}

// insertTogether lets many threads insert the same objrefs: for each one succeeds, and
// all other references are dropped again.
func insertTogether(t *testing.T, round int) {
	const workers, refs = 4, 40
	l := newLedger(t, workers)
	r := newRestart(t, with(engine.Options{}, l))
	// Around the borders of arrays, each time from empty, where they are made.
	base := []engine.ObjRef{1, 490, 4_050, 8_190, 1 << 20, math.MaxInt32 - refs}[round%6]
	var winners [refs]atomic.Int32
	var wins [refs]atomic.Int32
	parallel(workers, func(w int) {
		for i := range refs {
			p := addr(i)
			if i%5 == 4 {
				p = wide(i)
			}
			err := r.Insert(base+engine.ObjRef(i), p, engine.Kind(w+1))
			switch {
			case err == nil:
				wins[i].Add(1)
				winners[i].Store(int32(w + 1))
			case !errors.Is(err, engine.ErrExists):
				t.Error(err)
			}
		}
	})
	for i := range refs {
		ref, p := base+engine.ObjRef(i), addr(i)
		if i%5 == 4 {
			p = wide(i)
		}
		if wins[i].Load() != 1 {
			t.Fatalf("round %d: %d Inserts of objref %d succeeded", round, wins[i].Load(), ref)
		}
		winner := engine.Kind(winners[i].Load())
		if got, err := r.Fetch(ref, winner); got != p || err != nil {
			t.Fatalf("Fetch(%d, %d) = %#x, %v; want %#x", ref, winner, got, err, p)
		}
		if held := l.held(p); held != 1 {
			t.Fatalf("round %d: %d references held on the object of objref %d", round, held, ref)
		}
	}
	if r.Len() != refs {
		t.Fatalf("Len = %d; want %d", r.Len(), refs)
	}
	closeQuietly(t, r)
	l.settled()
}

// Two threads insert the same objrefs with nothing else to do, so that they are as near
// to each other as can be.
func TestG10_oneOfTwoInsertsSucceeds(t *testing.T) {
	n := sized(200_000)
	r := newRestart(t, engine.Options{Kinds: []engine.KindOps{{}}})
	succeeded := [2][]bool{make([]bool, n), make([]bool, n)}
	const chunk = 200
	together(n/chunk, func(w, round int) {
		for i := round * chunk; i < (round+1)*chunk; i++ {
			err := r.Insert(engine.ObjRef(i+1), addr(2*i+w), 1)
			if succeeded[w][i] = err == nil; err != nil && !errors.Is(err, engine.ErrExists) {
				t.Error(err)
			}
		}
	})
	for i := range n {
		a, b := succeeded[0][i], succeeded[1][i]
		want := addr(2 * i)
		if b {
			want = addr(2*i + 1)
		}
		if p, err := r.Fetch(engine.ObjRef(i+1), 1); a == b || p != want || err != nil {
			t.Fatalf("Inserts of objref %d succeeded: %t, %t; Fetch = %#x, %v", i+1, a, b, p, err)
		}
	}
	if r.Len() != n {
		t.Errorf("Len = %d; want %d", r.Len(), n)
	}
}

// The duplicate that a Grab of the same Insert makes is found after it.
func TestG10_duplicateMadeDuringGrab(t *testing.T) {
	for _, ref := range []engine.ObjRef{1, 4_000, 100_000, math.MaxInt32} {
		for _, p := range []engine.Ptr{addr(1), wide(1)} {
			l := newLedger(t, 2)
			r := newRestart(t, with(engine.Options{MaxObjects: 2}, l))
			l.grabbing = func(a account) error {
				if a.k == 2 {
					if err := r.Insert(ref, addr(2), 1); err != nil {
						t.Error(err)
					}
				}
				return nil
			}
			wantErr(t, "Insert", r.Insert(ref, p, 2), engine.ErrExists)
			if b := l.of(p, 2); b.grabs != 1 || b.drops != 1 {
				t.Errorf("references %+v; want the loser's dropped", b)
			}
			if got, err := r.Fetch(ref, 1); got != addr(2) || err != nil || r.Len() != 1 {
				t.Errorf("Fetch = %#x, %v, Len = %d", got, err, r.Len())
			}
			if err := r.Insert(2, addr(3), 1); err != nil {
				t.Errorf("the loser's permit is lost: %v", err)
			}
			closeQuietly(t, r)
			l.settled()
		}
	}
}

func TestG12_failingGrabOnRestart(t *testing.T) {
	for _, fate := range fates {
		for _, ref := range []engine.ObjRef{1, 4_000, 100_000, math.MaxInt32} {
			for _, p := range []engine.Ptr{addr(1), wide(1)} {
				l := newLedger(t, 1)
				sick := true
				l.grabbing = func(account) error {
					if sick {
						return fate.meet()
					}
					return nil
				}
				r := newRestart(t, with(engine.Options{MaxObjects: 1}, l))
				for range 2 {
					fate.wantFate(t, "Insert", ends(func() error { return r.Insert(ref, p, 1) }))
					_, err := r.Fetch(ref, 1)
					wantErr(t, "Fetch", err, engine.ErrNotFound)
					wantMessage(t, err, fmt.Sprintf("objref %d", ref))
				}
				if r.Len() != 0 {
					t.Errorf("Len = %d after a failed Grab", r.Len())
				}
				sick = false
				if err := r.Insert(ref, p, 1); err != nil {
					t.Error(err)
				}
				closeQuietly(t, r)
				l.settled()
			}
		}
	}
}

// G24: chosen addresses or objrefs cannot degrade an operation beyond a stated bound.
// G25: memory stays under MaxBytes, and per object under the documented figure,
// whatever the distribution of objrefs.

const (
	// What the doc of Restart says, in bytes.
	restartPerObject = 160
	restartFixed     = 48 << 10
)

// objrefSets are distributions that an image may come with.
func objrefSets(n int) map[string][]engine.ObjRef {
	rng := rand.New(rand.NewPCG(24, 25))
	sets := map[string][]engine.ObjRef{}
	add := func(name string, at func(i int) engine.ObjRef) {
		var set []engine.ObjRef
		seen := map[engine.ObjRef]bool{}
		for i := range n {
			if ref := at(i); ref > 0 && !seen[ref] {
				seen[ref] = true
				set = append(set, ref)
			}
		}
		sets[name] = set
	}
	add("dense", func(i int) engine.ObjRef { return engine.ObjRef(i + 1) })
	add("descending", func(i int) engine.ObjRef { return engine.ObjRef(n - i) })
	add("random", func(int) engine.ObjRef { return engine.ObjRef(rng.Int32()) })
	add("at the end", func(i int) engine.ObjRef { return math.MaxInt32 - engine.ObjRef(i) })
	add("powers of two", func(i int) engine.ObjRef { return 1<<(i%31) + engine.ObjRef(i/31) })
	// Arrays come in eighths of a doubling: one objref in each, then another, ...
	add("one per segment", func(i int) engine.ObjRef {
		const segments = 8 * 21
		s, j := i%segments, i/segments
		start := (8 + s%8) << (s/8 + 7)
		return engine.ObjRef(start - 1024 + j%(1<<(s/8+7)))
	})
	for _, stride := range []int{2, 3, 4, 5, 10, 50, 1000} {
		add(fmt.Sprintf("every %d", stride), func(i int) engine.ObjRef { return engine.ObjRef((i*stride + 1) & math.MaxInt32) })
	}
	// As sparse as can be while a quarter of every array is used.
	add("quarters", func(i int) engine.ObjRef {
		top := bits.Len(uint(i + 1024))
		return engine.ObjRef(i + 1<<top)
	})
	// Far away first, which makes near arrays cheap to ask for; then those.
	add("far, then near", func(i int) engine.ObjRef {
		if i < n/2 {
			return math.MaxInt32 - engine.ObjRef(i)*10
		}
		return engine.ObjRef((i - n/2) * 1000 % (2 * n))
	})
	return sets
}

func TestG24_G25_hostileObjrefs(t *testing.T) {
	for name, refs := range objrefSets(sized(100_000)) {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t, 1)
			r := newRestart(t, with(engine.Options{}, l))
			for i, ref := range refs {
				if err := r.Insert(ref, addr(i), 1); err != nil {
					t.Fatalf("Insert(%d): %v", ref, err)
				}
				if i%64 == 0 || i < 200 {
					if b := r.Bytes(); b > restartFixed+int64(i+1)*restartPerObject {
						t.Fatalf("%d objects take %d bytes, %.0f each; want at most %d, and %d once",
							i+1, b, float64(b)/float64(i+1), restartPerObject, restartFixed)
					}
				}
			}
			for i, ref := range refs {
				if p, err := r.Fetch(ref, 1); p != addr(i) || err != nil {
					t.Fatalf("Fetch(%d) = %#x, %v; want %#x", ref, p, err, addr(i))
				}
				if i%100 == 0 {
					wantErr(t, "duplicate", r.Insert(ref, addr(1), 1), engine.ErrExists)
				}
			}
			if r.Len() != len(refs) {
				t.Errorf("Len = %d; want %d", r.Len(), len(refs))
			}
			t.Logf("%.1f bytes per object", float64(r.Bytes())/float64(len(refs)))
			closeQuietly(t, r)
			l.settled()
		})
	}
}

// Dense objrefs are what images have: they must be cheap whatever their order.
func TestG25_denseObjrefsTake16Bytes(t *testing.T) {
	n := sized(100_000)
	orders := map[string]func(refs []engine.ObjRef){
		"ascending":  func([]engine.ObjRef) {},
		"descending": slices.Reverse[[]engine.ObjRef],
		"shuffled": func(refs []engine.ObjRef) {
			rand.New(rand.NewPCG(1, 2)).Shuffle(len(refs), func(i, j int) { refs[i], refs[j] = refs[j], refs[i] })
		},
	}
	for name, order := range orders {
		for _, expected := range []int{0, n} {
			t.Run(fmt.Sprintf("order=%s/expected=%d", name, expected), func(t *testing.T) {
				refs := make([]engine.ObjRef, n)
				for i := range refs {
					refs[i] = engine.ObjRef(i + 1)
				}
				order(refs)
				r := newRestart(t, engine.Options{Kinds: []engine.KindOps{{}}, ExpectedObjects: expected})
				for _, ref := range refs {
					if err := r.Insert(ref, addr(int(ref)), 1); err != nil {
						t.Fatal(err)
					}
				}
				bytes := float64(r.Bytes()-restartFixed) / float64(n)
				if limit := 16.0; (expected > 0 || name == "ascending") && bytes > limit {
					t.Errorf("%.1f bytes per object; want at most %.0f", bytes, limit)
				}
				t.Logf("%.1f bytes per object", bytes)
			})
		}
	}
}

// What is charged is what is taken: the Go heap grows by no more than Bytes says.
func TestG25_bytesAreNotAnUnderstatement(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	n := sized(200_000)
	for _, place := range []func(int) engine.Ptr{addr, wide} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		r := newRestart(t, engine.Options{Kinds: []engine.KindOps{{}}})
		for i := range n {
			if err := r.Insert(1<<30+engine.ObjRef(i)*1000, place(i), 1); err != nil {
				t.Fatal(err)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		heap := int64(after.HeapAlloc) - int64(before.HeapAlloc)
		if charged := r.Bytes(); heap > charged+restartFixed {
			t.Errorf("%d sparse objects take %d bytes of heap, %d each; Bytes is %d", n, heap, heap/int64(n), charged)
		}
		closeQuietly(t, r)
	}
}

// An image that is a lie about its objrefs fills no memory beyond the limit, and
// leaves the context usable.
func TestG25_hostileObjrefsUnderALimit(t *testing.T) {
	for name, refs := range objrefSets(sized(20_000)) {
		t.Run(name, func(t *testing.T) {
			const limit = 256 << 10
			l := newLedger(t, 1)
			o := with(engine.Options{}, l)
			o.MaxBytes = limit
			r := newRestart(t, o)
			met := map[engine.ObjRef]engine.Ptr{}
			for i, ref := range refs {
				p := addr(i)
				if i%16 == 15 {
					p = wide(i)
				}
				err := r.Insert(ref, p, 1)
				if err == nil {
					met[ref] = p
				} else if !errors.Is(err, engine.ErrLimit) {
					t.Fatalf("Insert(%d): %v", ref, err)
				}
				if b := r.Bytes(); b > limit {
					t.Fatalf("%d bytes; limit is %d", b, limit)
				}
			}
			if len(met) < min(1_000, len(refs)) {
				t.Errorf("%d objects in %d bytes", len(met), limit)
			}
			for ref, p := range met {
				if got, err := r.Fetch(ref, 1); got != p || err != nil {
					t.Fatalf("Fetch(%d) = %#x, %v; want %#x", ref, got, err, p)
				}
			}
			closeQuietly(t, r)
			l.settled()
		})
	}
}

// G5 and G6 on restart: what was inserted is found, whole, while arrays are made.
func TestG5_G6_restartUnderLoad(t *testing.T) {
	const writers, readers = 2, 2
	n := sized(30_000)
	for _, set := range []string{"dense", "random", "every 3", "descending", "quarters"} {
		refs := objrefSets(n)[set]
		l := newLedger(t, 3)
		r := newRestart(t, with(engine.Options{}, l))
		var inserted atomic.Int64
		var finished atomic.Bool
		parallel(writers+readers, func(w int) {
			if w < writers {
				for i, ref := range refs {
					p, k := object(i)
					err := r.Insert(ref, p, k)
					if err != nil && !errors.Is(err, engine.ErrExists) {
						t.Error(err)
					}
					if w == 0 {
						inserted.Store(int64(i + 1))
					}
				}
				if w == 0 {
					finished.Store(true)
				}
				return
			}
			rng := rand.New(rand.NewPCG(6, uint64(w)))
			for !finished.Load() && !t.Failed() {
				runtime.Gosched() // one processor must do
				m := int(inserted.Load())
				if m == 0 {
					continue
				}
				i := m - 1 - rng.IntN(min(m, 1+rng.IntN(1000)))
				p, k := object(i)
				if got, err := r.Fetch(refs[i], k); got != p || err != nil {
					t.Errorf("Fetch(%d) = %#x, %v; was inserted as %#x", refs[i], got, err, p)
				}
				_, err := r.Fetch(refs[i], k%3+1)
				wantKindError(t, "other kind", err, engine.KindError{Ref: refs[i], Have: k, Want: k%3 + 1})
				// One that is being inserted is there, whole, or not.
				if m < len(refs) {
					p, k := object(m)
					got, err := r.Fetch(refs[m], k)
					if err == nil && got != p || err != nil && !errors.Is(err, engine.ErrNotFound) {
						t.Errorf("Fetch(%d) = %#x, %v; is being inserted as %#x", refs[m], got, err, p)
					}
				}
			}
		})
		if r.Len() != len(refs) {
			t.Errorf("%s: Len = %d; want %d", set, r.Len(), len(refs))
		}
		closeQuietly(t, r)
		l.settled()
	}
}
