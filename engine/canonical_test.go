package engine_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/objhash/objhash/engine"
)

// Whichever thread was first, the objects of task 100 get the smallest numbers.
func ExampleCheckpoint_Canonical() {
	ckpt, err := engine.NewCheckpoint(engine.Options{Kinds: kinds, TrackHolders: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ckpt.Close()
	met := func(task uint64, files ...engine.Ptr) {
		d := ckpt.Dumper()
		defer d.Close()
		d.SetHolder(task)
		for _, p := range files {
			if _, _, err := d.Encounter(p, file); err != nil {
				fmt.Println(err)
			}
		}
	}
	met(101, 0x3000, 0x1000)
	met(100, 0x1000, 0x2000)

	canonical, err := ckpt.Canonical(nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for old, renamed := range canonical.All() {
		o, _ := ckpt.Object(old)
		fmt.Printf("%#x: %d becomes %d\n", o.Ptr, old, renamed)
	}
	// Output:
	// 0x1000: 2 becomes 1
	// 0x2000: 3 becomes 2
	// 0x3000: 1 becomes 3
}

// walkStep is one thing that a thread does as it walks a holder: it meets an object, by
// address or key, or a batch of them, or reserves an objref.
type walkStep struct {
	objects []int
	how     int
}

// walkOf is what each holder's walk consists of.
type walkOf map[uint64][]walkStep

func randomWalk(rng *rand.Rand, holders, objects, steps int) walkOf {
	all := walkOf{}
	for range holders {
		walk := []walkStep{}
		for range rng.IntN(steps) + 1 {
			s := walkStep{how: rng.IntN(12)}
			n := 1
			if s.how == 0 {
				n = rng.IntN(400)
			}
			for range n {
				// Half of all encounters are with a tenth of the objects.
				i := rng.IntN(objects)
				if rng.IntN(2) == 0 {
					i /= 10
				}
				s.objects = append(s.objects, i)
			}
			walk = append(walk, s)
		}
		all[rng.Uint64()>>rng.IntN(64)] = walk
	}
	return all
}

// take walks one holder with d and returns the objrefs that it got, in order.
func (w walkOf) take(t testing.TB, d *engine.Dumper, holder uint64) []engine.ObjRef {
	d.SetHolder(holder)
	var got []engine.ObjRef
	for _, s := range w[holder] {
		var ref engine.ObjRef
		var err error
		switch s.how {
		case 0:
			refs, batch := make([]engine.ObjRef, len(s.objects)), make([]engine.Ptr, len(s.objects))
			for j, i := range s.objects {
				batch[j] = addr(i)
			}
			err = d.EncounterBatch(batch, 1, refs, nil)
			got = append(got, refs...)
		case 1:
			ref, err = d.Reserve()
		case 2:
			ref, _, err = d.EncounterKey(fmt.Append(nil, "key", s.objects[0]), 1)
		case 3:
			ref, _, err = d.Encounter(wide(s.objects[0]), 1)
		case 4:
			ref, err = d.Dump(addr(s.objects[0]), 1, dumpOK)
		default:
			ref, _, err = d.Encounter(addr(s.objects[0]), 1)
		}
		if err != nil {
			t.Error(err)
		}
		if s.how != 0 {
			got = append(got, ref)
		}
	}
	return got
}

// alone walks all holders with one handle, whose objrefs are 1, 2, 3...
func (w walkOf) alone(t testing.TB, order []uint64) map[uint64][]engine.ObjRef {
	c := newCheckpoint(t, engine.Options{Kinds: []engine.KindOps{{}}})
	d := newDumper(t, c)
	got := map[uint64][]engine.ObjRef{}
	for _, holder := range order {
		got[holder] = w.take(t, d, holder)
	}
	return got
}

// wantDense checks that r renumbers to 1..N, one to one.
func wantDense(t testing.TB, r *engine.Renumbering) {
	t.Helper()
	next := engine.ObjRef(1)
	seen := map[engine.ObjRef]bool{}
	for old, renamed := range r.All() {
		if renamed != next || seen[old] || old <= 0 || r.New(old) != renamed {
			t.Fatalf("All yields %d, %d after %d; New says %d", old, renamed, next-1, r.New(old))
		}
		seen[old] = true
		next++
	}
	if int(next) != r.Len()+1 {
		t.Fatalf("All yields %d numbers; Len is %d", next-1, r.Len())
	}
}

// G3: Canonical is dense. And it is what one thread alone would have numbered, whatever
// the threads, their handles and the schedule.
func TestG3_canonicalIsWhatOneThreadWouldNumber(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		o.Kinds = []engine.KindOps{{}}
		for round := range 6 {
			rng := rand.New(rand.NewPCG(5, uint64(round)))
			walks := randomWalk(rng, []int{1, 3, 40}[round%3], sized(5_000), []int{4, sized(200), sized(2_000)}[round/2])
			var ascending []uint64
			for holder := range walks {
				ascending = append(ascending, holder)
			}
			slices.Sort(ascending)

			// Some holders come first, in some order; all others in ascending order.
			order := slices.Clone(ascending)
			rng.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
			listed := order[:rng.IntN(len(order)+1)]
			slices.Sort(order[len(listed):])

			c := newCheckpoint(t, tracking(o))
			todo := make(chan uint64, len(order))
			for _, i := range rng.Perm(len(order)) {
				todo <- order[i]
			}
			close(todo)
			const workers = 4
			var got [workers]map[uint64][]engine.ObjRef
			parallel(workers, func(w int) {
				rng := rand.New(rand.NewPCG(6, uint64(w)))
				got[w] = map[uint64][]engine.ObjRef{}
				d := c.Dumper()
				defer func() { closeQuietly(t, d) }()
				for holder := range todo {
					got[w][holder] = walks.take(t, d, holder)
					if rng.IntN(8) == 0 {
						closeQuietly(t, d)
						d = c.Dumper()
					}
				}
			})
			for _, way := range []struct {
				name  string
				given []uint64
				order []uint64
			}{{"listed", listed, order}, {"ascending", nil, ascending}} {
				seq := slices.Values(way.given)
				if way.given == nil {
					seq = nil
				}
				r, err := c.Canonical(seq)
				if err != nil {
					t.Fatal(err)
				}
				wantDense(t, r)
				if s := c.Stats(); r.Len() != s.Objects+s.Reserved {
					t.Errorf("%s: %d canonical numbers for %d objects and %d reserved", way.name, r.Len(), s.Objects, s.Reserved)
				}
				want := walks.alone(t, way.order)
				for w := range got {
					for holder, refs := range got[w] {
						for i, old := range refs {
							if r.New(old) != want[holder][i] {
								t.Fatalf("%s, round %d: encounter %d of holder %d: %d becomes %d; one thread would have numbered it %d",
									way.name, round, i, holder, old, r.New(old), want[holder][i])
							}
						}
					}
				}
			}
		}
	})
}

// A holder that is walked in parts, by one handle after the other, and by others in
// between.
func TestG3_canonicalOfAHolderInParts(t *testing.T) {
	c := newCheckpoint(t, tracking(engine.Options{Kinds: []engine.KindOps{{}}}))
	a, b := newDumper(t, c), newDumper(t, c)
	met := func(d *engine.Dumper, holder uint64, objects ...int) {
		d.SetHolder(holder)
		for _, i := range objects {
			if _, _, err := d.Encounter(addr(i), 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	met(b, 2, 9, 1)
	met(a, 1, 1, 2)
	met(b, 1, 3, 1)
	met(a, 2, 8, 4)
	met(a, 1, 4, 9)
	met(b, 1, 5)
	a.SetHolder(0)
	b.SetHolder(0)
	for _, ascending := range []bool{true, false} {
		want := []int{1, 2, 3, 4, 9, 5, 8}
		order := []uint64{}
		if !ascending {
			want = []int{9, 1, 8, 4, 2, 3, 5}
			order = []uint64{2, 1, 77}
		}
		r, err := c.Canonical(slices.Values(order))
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for old := range r.All() {
			o, _ := c.Object(old)
			got = append(got, int(o.Ptr-addr(0))/192)
		}
		if !slices.Equal(got, want) {
			t.Errorf("objects in canonical order: %v; want %v", got, want)
		}
	}
}

// Late objects have no canonical number; objrefs reserved late have.
func TestCanonical_late(t *testing.T) {
	c := newCheckpoint(t, tracking(engine.Options{Kinds: []engine.KindOps{{}}}))
	d := newDumper(t, c)
	mustMeet(t, d, addr(1), 1, 1, true)
	if err := c.EndCollect(); err != nil {
		t.Fatal(err)
	}
	mustMeet(t, d, addr(2), 1, 2, true)
	if ref, err := d.Reserve(); ref != 3 || err != nil {
		t.Fatalf("Reserve = %d, %v", ref, err)
	}
	closeQuietly(t, d)
	r, err := c.Canonical(nil)
	if err != nil {
		t.Fatal(err)
	}
	wantDense(t, r)
	for old, want := range []engine.ObjRef{0, 1, 0, 2, 0} {
		if got := r.New(engine.ObjRef(old)); got != want {
			t.Errorf("New(%d) = %d; want %d", old, got, want)
		}
	}
}

func TestCanonical_numbersOfNothing(t *testing.T) {
	c := newCheckpoint(t, tracking(engine.Options{}))
	r, err := c.Canonical(slices.Values([]uint64{7}))
	if err != nil {
		t.Fatal(err)
	}
	for _, old := range []engine.ObjRef{0, 1, -1, -1 << 31, 1<<31 - 1} {
		if got := r.New(old); got != 0 {
			t.Errorf("New(%d) = %d", old, got)
		}
	}
	wantDense(t, r)
	if r.Len() != 0 {
		t.Errorf("%d numbers", r.Len())
	}
}

func TestCanonical_stopsWhenAsked(t *testing.T) {
	c := newCheckpoint(t, tracking(engine.Options{Kinds: []engine.KindOps{{}}}))
	d := newDumper(t, c)
	for i := range 10 {
		mustMeet(t, d, addr(i), 1, engine.ObjRef(i+1), true)
	}
	closeQuietly(t, d)
	r, err := c.Canonical(nil)
	if err != nil {
		t.Fatal(err)
	}
	closeQuietly(t, c) // the numbers stay
	seen := 0
	for range r.All() {
		if seen++; seen == 3 {
			break
		}
	}
	if seen != 3 || r.New(10) != 10 {
		t.Errorf("%d numbers seen, the tenth is %d", seen, r.New(10))
	}
}

func TestCanonical_errors(t *testing.T) {
	_, err := (*engine.Checkpoint)(nil).Canonical(nil)
	wantErr(t, "nil context", err, engine.ErrClosed)
	plain := newCheckpoint(t, engine.Options{})
	_, err = plain.Canonical(nil)
	wantErr(t, "holders not tracked", err, engine.ErrInvalid)
	wantMessage(t, err, "TrackHolders")
	c := newCheckpoint(t, tracking(engine.Options{}))
	_, err = c.Canonical(slices.Values([]uint64{5, 6, 0, 6}))
	wantErr(t, "holder named twice", err, engine.ErrInvalid)
	wantMessage(t, err, "holder 6", "number 2", "number 4")
	_, err = c.Canonical(func(yield func(uint64) bool) {
		closeQuietly(t, c)
		yield(1)
	})
	wantErr(t, "closed by order", err, engine.ErrClosed)
	_, err = c.Canonical(nil)
	wantErr(t, "closed context", err, engine.ErrClosed)
}

// Many encounters, which several workers go through at once.
func TestCanonical_large(t *testing.T) {
	const objects = 20_000
	c := newCheckpoint(t, tracking(engine.Options{Kinds: []engine.KindOps{{}}}))
	parallel(2, func(w int) {
		d := c.Dumper()
		defer d.Close()
		batch, refs := make([]engine.Ptr, 1_000), make([]engine.ObjRef, 1_000)
		for i := range sized(400) {
			d.SetHolder(uint64(2*i + w))
			for j := range batch {
				batch[j] = addr((i*len(batch) + j*(w+1)) % objects)
			}
			if err := d.EncounterBatch(batch, 1, refs, nil); err != nil {
				t.Error(err)
			}
		}
	})
	r, err := c.Canonical(nil)
	if err != nil {
		t.Fatal(err)
	}
	wantDense(t, r)
	want := map[engine.Ptr]engine.ObjRef{}
	for h := range 2 * sized(400) {
		i, w := h/2, h%2
		for j := range 1_000 {
			p := addr((i*1_000 + j*(w+1)) % objects)
			if want[p] == 0 {
				want[p] = engine.ObjRef(len(want) + 1)
			}
		}
	}
	for p, number := range want {
		if ref, _ := c.Lookup(p); r.New(ref) != number {
			t.Fatalf("%#x: %d becomes %d; want %d", p, ref, r.New(ref), number)
		}
	}
	if r.Len() != len(want) {
		t.Errorf("%d numbers; want %d", r.Len(), len(want))
	}
}
