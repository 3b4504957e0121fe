package engine_test

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/objhash/objhash/engine"
)

// A batch fills refs[i] and first[i] for every element; one that fails leaves refs[i]
// 0, the others are done all the same, and the joined error names the indices.

func TestBatch_fillsEveryElement(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		for _, n := range []int{0, 1, 2, 31, 32, 33, 255, 256, 257, 600} {
			for _, k := range []engine.Kind{1, 300} {
				l := newLedger(t, 300)
				c := newCheckpoint(t, with(o, l))
				d := newDumper(t, c)
				ptrs := make([]engine.Ptr, n)
				refs, firsts := make([]engine.ObjRef, n), make([]bool, n)
				var kept []engine.Ptr
				for i := range ptrs {
					switch i % 5 {
					case 0:
						ptrs[i] = wide(i)
					case 3:
						ptrs[i] = ptrs[i/2] // a duplicate within the batch
					default:
						ptrs[i] = addr(i)
					}
				}
				kept = append(kept, ptrs...)
				for round := range 2 {
					for i := range refs { // what was there before must not shine through
						refs[i], firsts[i] = 99, i%2 == 0
					}
					if err := d.EncounterBatch(ptrs, k, refs, firsts); err != nil {
						t.Fatal(err)
					}
					known := map[engine.Ptr]bool{}
					for i, p := range ptrs {
						want, ok := c.Lookup(p)
						if refs[i] != want || !ok || firsts[i] != (round == 0 && !known[p]) {
							t.Fatalf("round %d: element %d, %#x: objref %d, first %t; Lookup = %d, %t", round, i, p, refs[i], firsts[i], want, ok)
						}
						known[p] = true
						if p != kept[i] {
							t.Fatalf("element %d of ptrs was written", i)
						}
					}
				}
				if err := d.EncounterBatch(ptrs, k, refs, nil); err != nil {
					t.Errorf("without first: %v", err)
				}
				got := make([]engine.ObjRef, n)
				if found := c.LookupBatch(ptrs, got); found != n {
					t.Errorf("LookupBatch found %d of %d", found, n)
				}
				for i := range got {
					if got[i] != refs[i] {
						t.Errorf("LookupBatch: element %d has objref %d; want %d", i, got[i], refs[i])
					}
				}
				closeQuietly(t, d)
				users := map[engine.Ptr]int64{}
				for _, p := range ptrs {
					users[p] += 3
				}
				for ref, o := range wantInOrder(t, c) {
					if o.Users != users[o.Ptr] {
						t.Errorf("objref %d: %+v; want %d users", ref, o, users[o.Ptr])
					}
				}
				if b := l.totals(); b.grabs != len(users) || b.drops != 0 {
					t.Errorf("references %+v; want %d", b, len(users))
				}
			}
		}
	})
}

func TestBatch_failingElementsAreNamed(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		const n = 700
		l := newLedger(t, 2)
		l.grabbing = func(a account) error {
			if a.p%1000 == 7 {
				return errSick
			}
			return nil
		}
		c := newCheckpoint(t, with(o, l))
		d := newDumper(t, c)
		if _, _, err := d.Encounter(addr(5), 2); err != nil {
			t.Fatal(err)
		}
		ptrs := make([]engine.Ptr, n)
		refs, firsts := make([]engine.ObjRef, n), make([]bool, n)
		bad := map[int]string{0: "address 0", 5: "kind", 6: errSick.Error(), 255: "address 0", 256: errSick.Error(), 699: "address 0"}
		for i := range ptrs {
			refs[i], firsts[i] = 99, true
			switch bad[i] {
			case "address 0":
				ptrs[i] = 0
			case errSick.Error():
				ptrs[i] = engine.Ptr(1000*(i+1) + 7)
			default:
				ptrs[i] = addr(i)
			}
		}
		err := d.EncounterBatch(ptrs, 1, refs, firsts)
		wantErr(t, "EncounterBatch", err, engine.ErrInvalid)
		wantErr(t, "EncounterBatch", err, errSick)
		var kind *engine.KindError
		if !errors.As(err, &kind) || *kind != (engine.KindError{Ref: 1, Have: 2, Want: 1}) {
			t.Errorf("error is %v; want a KindError among others", err)
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != len(bad) {
			t.Errorf("%d errors; want %d:\n%v", len(lines), len(bad), err)
		}
		for i, p := range ptrs {
			why, isBad := bad[i]
			ref, ok := c.Lookup(p)
			if isBad {
				if refs[i] != 0 || firsts[i] || ok && i != 5 {
					t.Errorf("element %d, which failed: objref %d, first %t, Lookup = %d", i, refs[i], firsts[i], ref)
				}
				wantLine(t, lines, i, why)
			} else if refs[i] != ref || !ok || !firsts[i] {
				t.Errorf("element %d: objref %d, first %t, Lookup = %d", i, refs[i], firsts[i], ref)
			}
		}
		if n := len(wantInOrder(t, c)); n != 700-len(bad)+1 {
			t.Errorf("%d objects; want %d", n, 700-len(bad)+1)
		}
		closeQuietly(t, c)
		l.settled()
	})
}

// wantLine checks that one line is about element i, and says why it failed.
func wantLine(t *testing.T, lines []string, i int, why string) {
	t.Helper()
	for _, line := range lines {
		for _, word := range strings.FieldsFunc(line, func(r rune) bool { return r < '0' || r > '9' }) {
			if word == strconv.Itoa(i) && strings.Contains(line, why) {
				return
			}
		}
	}
	t.Errorf("no line names element %d and %q:\n%s", i, why, strings.Join(lines, "\n"))
}

func TestBatch_unequalLengths(t *testing.T) {
	c := newCheckpoint(t, engine.Options{Kinds: newLedger(t, 1).kinds})
	d := newDumper(t, c)
	ptrs := []engine.Ptr{addr(1), addr(2)}
	for _, lengths := range [][2]int{{1, 2}, {3, 2}, {2, 1}, {2, 3}, {0, 0}, {2, 0}} {
		refs, firsts := make([]engine.ObjRef, lengths[0]), make([]bool, lengths[1])
		err := d.EncounterBatch(ptrs, 1, refs, firsts)
		wantErr(t, "EncounterBatch", err, engine.ErrInvalid)
		wantMessage(t, err, "2 ptrs", strconv.Itoa(lengths[0])+" refs", strconv.Itoa(lengths[1])+" first")
		if lengths[0] != 2 {
			wantErr(t, "EncounterBatch without first", d.EncounterBatch(ptrs, 1, refs, nil), engine.ErrInvalid)
			for i := range refs {
				refs[i] = 99
			}
			if found := c.LookupBatch(ptrs, refs); found != 0 {
				t.Errorf("LookupBatch of 2 into %d found %d", len(refs), found)
			}
		}
	}
	if c.Len() != 0 {
		t.Errorf("%d objects met by batches that were refused", c.Len())
	}
	if err := d.EncounterBatch(nil, 1, nil, nil); err != nil {
		t.Errorf("empty batch: %v", err)
	}
	if found := c.LookupBatch(nil, nil); found != 0 {
		t.Errorf("empty LookupBatch found %d", found)
	}
}

func TestBatch_lookupWritesZeroForWhatIsAbsent(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		c := newCheckpoint(t, with(o, newLedger(t, 1)))
		d := newDumper(t, c)
		rng := rand.New(rand.NewPCG(7, 7))
		for i := range 500 {
			if i%3 == 0 {
				mustMeet(t, d, addr(i), 1, engine.ObjRef(i/3*2+1), true)
				mustMeet(t, d, wide(i), 1, engine.ObjRef(i/3*2+2), true)
			}
		}
		for range 20 {
			ptrs, refs := make([]engine.Ptr, rng.IntN(300)), make([]engine.ObjRef, 0, 300)
			want := 0
			for i := range ptrs {
				j := rng.IntN(500)
				ptrs[i] = addr(j)
				if rng.IntN(2) == 0 {
					ptrs[i] = wide(j)
				}
				if rng.IntN(20) == 0 {
					ptrs[i] = 0
				} else if j%3 == 0 {
					want++
				}
				refs = append(refs, 99)
			}
			if found := c.LookupBatch(ptrs, refs); found != want {
				t.Errorf("LookupBatch found %d of %d; want %d", found, len(ptrs), want)
			}
			for i, ref := range refs {
				if one, _ := c.Lookup(ptrs[i]); one != ref {
					t.Errorf("element %d, %#x: LookupBatch says %d, Lookup %d", i, ptrs[i], ref, one)
				}
			}
		}
	})
}
