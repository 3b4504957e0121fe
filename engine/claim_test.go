package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/objhash/objhash/engine"
)

// create is what restores an object.
type create = func(*engine.Claim) (engine.Ptr, error)

var bg = context.Background()

func newRestorer(t testing.TB, r *engine.Restart) *engine.Restorer {
	t.Helper()
	h := r.Restorer()
	t.Cleanup(func() { closeAtEnd(t, h) })
	return h
}

// at restores an object at p.
func at(p engine.Ptr) create {
	return func(*engine.Claim) (engine.Ptr, error) { return p, nil }
}

// notCalled is for objects that nobody may create.
func notCalled(t testing.TB) create {
	return func(c *engine.Claim) (engine.Ptr, error) {
		t.Errorf("create runs for objref %d", c.Ref())
		return 0, errSick
	}
}

func wantPtr(t testing.TB, what string, got engine.Ptr, err error, want engine.Ptr) {
	t.Helper()
	if got != want || err != nil {
		t.Errorf("%s = %#x, %v; want %#x", what, got, err, want)
	}
}

// forEachPlace runs f for objrefs in arrays and beside them, and for addresses within
// 48 bits and outside.
func forEachPlace(f func(engine.ObjRef, engine.Ptr)) {
	for _, ref := range []engine.ObjRef{1, 4_000, 100_000, math.MaxInt32} {
		for _, p := range []engine.Ptr{addr(1), wide(1)} {
			f(ref, p)
		}
	}
}

// lives are what an objref may have come to when it is asked for. Each brings it there
// with h, as an object of kind 1 at p, and calls look, while another create runs if
// there is one.
var lives = []struct {
	name string
	lead func(t testing.TB, r *engine.Restart, h *engine.Restorer, ref engine.ObjRef, p engine.Ptr, look func())
}{
	{"inserted", func(t testing.TB, r *engine.Restart, h *engine.Restorer, ref engine.ObjRef, p engine.Ptr, look func()) {
		if err := r.Insert(ref, p, 1); err != nil {
			t.Error(err)
		}
		look()
	}},
	{"restored", func(t testing.TB, r *engine.Restart, h *engine.Restorer, ref engine.ObjRef, p engine.Ptr, look func()) {
		got, err := h.Restore(bg, ref, 1, at(p))
		wantPtr(t, "Restore", got, err, p)
		look()
	}},
	{"claimed", func(t testing.TB, r *engine.Restart, h *engine.Restorer, ref engine.ObjRef, p engine.Ptr, look func()) {
		got, err := h.Restore(bg, ref, 1, func(*engine.Claim) (engine.Ptr, error) {
			look()
			return p, nil
		})
		wantPtr(t, "Restore", got, err, p)
	}},
	{"declared", func(t testing.TB, r *engine.Restart, h *engine.Restorer, ref engine.ObjRef, p engine.Ptr, look func()) {
		got, err := h.Restore(bg, ref, 1, func(c *engine.Claim) (engine.Ptr, error) {
			if err := c.Declare(p); err != nil {
				t.Error(err)
			}
			look()
			return p, nil
		})
		wantPtr(t, "Restore", got, err, p)
	}},
	{"failed", func(t testing.TB, r *engine.Restart, h *engine.Restorer, ref engine.ObjRef, p engine.Ptr, look func()) {
		_, err := h.Restore(bg, ref, 1, func(*engine.Claim) (engine.Ptr, error) { return 0, errSick })
		wantErr(t, "Restore", err, engine.ErrFailed)
		look()
	}},
	{"failed after Declare", func(t testing.TB, r *engine.Restart, h *engine.Restorer, ref engine.ObjRef, p engine.Ptr, look func()) {
		_, err := h.Restore(bg, ref, 1, func(c *engine.Claim) (engine.Ptr, error) {
			if err := c.Declare(p); err != nil {
				t.Error(err)
			}
			return 0, errSick
		})
		wantErr(t, "Restore", err, engine.ErrFailed)
		look()
	}},
}

// whileAlive calls look for an objref in each of lives, and checks that the context is
// as it was, and all references are dropped at the end.
func whileAlive(t *testing.T, look func(t *testing.T, life string, r *engine.Restart, own, other *engine.Restorer, ref engine.ObjRef, p engine.Ptr)) {
	for _, life := range lives {
		t.Run(life.name, func(t *testing.T) {
			forEachPlace(func(ref engine.ObjRef, p engine.Ptr) {
				l := newLedger(t, 2)
				r := newRestart(t, with(engine.Options{MaxObjects: 3}, l))
				own, other := newRestorer(t, r), newRestorer(t, r)
				looked := false
				life.lead(t, r, own, ref, p, func() {
					looked = true
					references, objects := l.totals(), r.Len()
					got, errGot := r.Fetch(ref, 1)
					look(t, life.name, r, own, other, ref, p)
					again, errAgain := r.Fetch(ref, 1)
					if got != again || fmt.Sprint(errGot) != fmt.Sprint(errAgain) {
						t.Errorf("Fetch = %#x, %v; before, %#x, %v", again, errAgain, got, errGot)
					}
					if l.totals() != references || r.Len() != objects {
						t.Errorf("%+v, Len %d; before, %+v, %d", l.totals(), r.Len(), references, objects)
					}
				})
				if !looked {
					t.Error("did not come to life")
				}
				// No permit is lost.
				for free := engine.ObjRef(3 - r.Len()); free > 0; free-- {
					p, err := other.Restore(bg, 10+free, 1, at(addr(2)))
					wantPtr(t, "another object", p, err, addr(2))
				}
				_, err := other.Restore(bg, 20, 1, notCalled(t))
				wantErr(t, "one too many", err, engine.ErrLimit)
				closeQuietly(t, r)
				l.settled()
			})
		})
	}
}

// G9: the same objref with another kind is a KindError on every path and changes
// nothing.
func TestG9_claimsOfAnotherKind(t *testing.T) {
	whileAlive(t, func(t *testing.T, life string, r *engine.Restart, own, other *engine.Restorer, ref engine.ObjRef, p engine.Ptr) {
		want := engine.KindError{Ref: ref, Have: 1, Want: 2}
		for _, h := range []*engine.Restorer{own, other} {
			got, err := h.Restore(bg, ref, 2, notCalled(t))
			wantKindError(t, "Restore", err, want)
			got2, err := h.Await(bg, ref, 2)
			wantKindError(t, "Await", err, want)
			if got != 0 || got2 != 0 {
				t.Errorf("%#x, %#x with an error", got, got2)
			}
		}
		_, err := r.Fetch(ref, 2)
		wantKindError(t, "Fetch", err, want)
		wantErr(t, "Insert", r.Insert(ref, p, 2), engine.ErrExists)
	})
}

// Those who wait for an object of another kind than it turns out to be.
func TestG9_waitingForAnotherKind(t *testing.T) {
	for _, by := range []string{"Insert", "Restore", "Declare", "failure"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRestart(t, engine.Options{Kinds: make([]engine.KindOps, 2)})
			h, other := newRestorer(t, r), newRestorer(t, r)
			var wg sync.WaitGroup
			wg.Go(func() {
				_, err := h.Await(bg, 7, 2)
				wantKindError(t, "Await, and then "+by, err, engine.KindError{Ref: 7, Have: 1, Want: 2})
			})
			synctest.Wait()
			switch by {
			case "Insert":
				r.Insert(7, addr(7), 1)
			case "Restore":
				other.Restore(bg, 7, 1, at(addr(7)))
			case "failure":
				other.Restore(bg, 7, 1, func(*engine.Claim) (engine.Ptr, error) { return 0, errSick })
			case "Declare":
				other.Restore(bg, 7, 1, func(c *engine.Claim) (engine.Ptr, error) {
					c.Declare(addr(7))
					wg.Wait()
					return addr(7), nil
				})
			}
			wg.Wait()
		})
	}
}

// G10: a duplicate objref on restart errors before its create callback, or a Grab, runs.
func TestG10_insertOfAClaimedObjref(t *testing.T) {
	whileAlive(t, func(t *testing.T, life string, r *engine.Restart, own, other *engine.Restorer, ref engine.ObjRef, p engine.Ptr) {
		for k := engine.Kind(1); k <= 2; k++ {
			for _, q := range []engine.Ptr{p, addr(5), wide(5)} {
				err := r.Insert(ref, q, k)
				wantErr(t, "Insert", err, engine.ErrExists)
				wantMessage(t, err, fmt.Sprintf("objref %d", ref), name(1))
			}
		}
	})
}

func TestG10_restoreOfAKnownObject(t *testing.T) {
	whileAlive(t, func(t *testing.T, life string, r *engine.Restart, own, other *engine.Restorer, ref engine.ObjRef, p engine.Ptr) {
		dead, cancel := context.WithCancel(bg)
		cancel()
		for _, h := range []*engine.Restorer{own, other} {
			for _, ctx := range []context.Context{bg, dead} { // it has no effect where nobody waits
				if life == "claimed" && (h == other && ctx == bg) {
					continue // would wait
				}
				got, err := h.Restore(ctx, ref, 1, notCalled(t))
				got2, err2 := h.Await(ctx, ref, 1)
				for i, err := range []error{err, err2} {
					switch life {
					case "claimed":
						if ctx == dead {
							wantErr(t, "Restore, cancelled", err, context.Canceled)
							continue
						}
						var cycle engine.CycleError
						if !errors.As(err, &cycle) || len(cycle.Path) != 1 || cycle.Path[0] != ref {
							t.Errorf("waiting for oneself: %v", err)
						}
					case "failed", "failed after Declare":
						wantErr(t, "Restore", err, engine.ErrFailed)
						wantErr(t, "Restore", err, errSick)
						wantMessage(t, err, fmt.Sprintf("objref %d", ref), name(1), "sick")
					default:
						wantPtr(t, life, []engine.Ptr{got, got2}[i], err, p)
					}
				}
			}
		}
	})
}

func TestRestore_once(t *testing.T) {
	for _, spread := range []engine.ObjRef{1, 1_000_003} {
		const threads = 8
		n := sized(3_000)
		l := newLedger(t, 1)
		r := newRestart(t, with(engine.Options{}, l))
		created := make([]atomic.Int32, n)
		parallel(threads, func(w int) {
			h := r.Restorer()
			defer h.Close()
			for i := range n {
				p := addr(i)
				if i%3 == 0 {
					p = wide(i)
				}
				got, err := h.Restore(bg, engine.ObjRef(i+1)*spread&math.MaxInt32, 1, func(c *engine.Claim) (engine.Ptr, error) {
					created[i].Add(1)
					if i%5 == 0 {
						return p, c.Declare(p)
					}
					return p, nil
				})
				wantPtr(t, fmt.Sprintf("Restore(%d)", i), got, err, p)
			}
		})
		for i := range created {
			if got := created[i].Load(); got != 1 {
				t.Fatalf("object %d created %d times", i, got)
			}
		}
		if r.Len() != n {
			t.Errorf("Len = %d; want %d", r.Len(), n)
		}
		closeQuietly(t, r)
		l.settled()
		if g := l.totals().grabs; g != n {
			t.Errorf("%d grabs for %d objects", g, n)
		}
	}
}

// Restore and Insert meet at the same objref: one of them makes the object, the other
// one finds it. Addresses outside 48 bits are kept beside, where neither may disturb
// the other's.
func TestG6_restoreAgainstInsert(t *testing.T) {
	n := sized(100_000)
	for _, place := range []func(int) engine.Ptr{addr, wide} {
		l := newLedger(t, 1)
		r := newRestart(t, with(engine.Options{ExpectedObjects: n}, l))
		h := newRestorer(t, r)
		const chunk = 100
		within(t, "Restore against Insert", func() {
			together(n/chunk, func(w, round int) {
				for i := round * chunk; i < (round+1)*chunk && !t.Failed(); i++ {
					ref, p := engine.ObjRef(i+1), place(2*i+w)
					if w == 0 {
						if err := r.Insert(ref, p, 1); err != nil && !errors.Is(err, engine.ErrExists) {
							t.Error(err)
						}
						continue
					}
					got, err := h.Restore(bg, ref, 1, at(p))
					if got != p && got != place(2*i) || err != nil {
						t.Errorf("Restore(%d) = %#x, %v", ref, got, err)
					}
				}
			})
			for i := range n {
				p, err := r.Fetch(engine.ObjRef(i+1), 1)
				if err != nil || l.held(p) != 1 {
					t.Fatalf("Fetch(%d) = %#x, %v; %d references held", i+1, p, err, l.held(p))
				}
			}
		})
		closeQuietly(t, r)
		l.settled()
	}
}

// Nobody, nothing, never: each is an error that changes nothing.
func TestInvalid_restorer(t *testing.T) {
	l := newLedger(t, 1)
	r := newRestart(t, with(engine.Options{}, l))
	var none *engine.Restart
	h, closed := newRestorer(t, r), newRestorer(t, r)
	closeQuietly(t, closed)
	closeQuietly(t, closed)
	for _, c := range []struct {
		name string
		h    *engine.Restorer
		ctx  context.Context
		ref  engine.ObjRef
		k    engine.Kind
		want error
		part string
	}{
		{"nil handle", nil, bg, 1, 1, engine.ErrInvalid, "handle"},
		{"zero handle", new(engine.Restorer), bg, 1, 1, engine.ErrInvalid, "context"},
		{"handle of nothing", none.Restorer(), bg, 1, 1, engine.ErrInvalid, "context"},
		{"closed handle", closed, bg, 1, 1, engine.ErrClosed, "closed"},
		{"nil context", h, nil, 1, 1, engine.ErrInvalid, "context"},
		{"objref 0", h, bg, 0, 1, engine.ErrInvalid, "objref 0"},
		{"objref < 0", h, bg, math.MinInt32, 1, engine.ErrInvalid, "objref -2147483648"},
		{"kind 0", h, bg, 1, 0, engine.ErrInvalid, "kind 0"},
		{"kind 2", h, bg, 1, 2, engine.ErrInvalid, "kind 2"},
		{"last kind", h, bg, 1, math.MaxUint16, engine.ErrInvalid, "kind 65535"},
	} {
		p, err := c.h.Restore(c.ctx, c.ref, c.k, notCalled(t))
		wantErr(t, c.name+": Restore", err, c.want)
		wantMessage(t, err, c.part)
		q, err := c.h.Await(c.ctx, c.ref, c.k)
		wantErr(t, c.name+": Await", err, c.want)
		if p != 0 || q != 0 {
			t.Errorf("%s: %#x, %#x with an error", c.name, p, q)
		}
		_, err = c.h.Restore(c.ctx, c.ref, c.k, nil)
		if err == nil {
			t.Errorf("%s: nothing to create it with, and no error", c.name)
		}
		c.h.SetHolder(7)
		if c.h != h {
			closeQuietly(t, c.h)
		}
	}
	_, err := h.Restore(bg, 9, 1, nil)
	wantErr(t, "nil create", err, engine.ErrInvalid)
	wantMessage(t, err, "objref 9")
	for _, claim := range []*engine.Claim{nil, new(engine.Claim)} {
		wantErr(t, "Declare", claim.Declare(addr(1)), engine.ErrInvalid)
		if claim.Ref() != 0 {
			t.Errorf("Ref = %d", claim.Ref())
		}
	}
	if r.Len() != 0 || l.totals() != (balance{}) {
		t.Errorf("Len %d, %+v after bad input", r.Len(), l.totals())
	}
}

func TestRestorer_closedWithinItsOwnCreate(t *testing.T) {
	l := newLedger(t, 1)
	r := newRestart(t, with(engine.Options{}, l))
	h := r.Restorer()
	p, err := h.Restore(bg, 1, 1, func(*engine.Claim) (engine.Ptr, error) {
		wantErr(t, "Close within create", h.Close(), engine.ErrInvalid)
		p, err := h.Restore(bg, 2, 1, func(*engine.Claim) (engine.Ptr, error) {
			err := h.Close()
			wantErr(t, "Close within nested create", err, engine.ErrInvalid)
			wantMessage(t, err, "2 objects")
			return addr(2), nil
		})
		wantPtr(t, "nested", p, err, addr(2))
		return addr(1), nil
	})
	wantPtr(t, "Restore", p, err, addr(1))
	closeQuietly(t, h)
	_, err = h.Restore(bg, 1, 1, notCalled(t))
	wantErr(t, "Restore", err, engine.ErrClosed)
}

// A handle is usable again, and closes, whatever its create callbacks did.
func TestRestorer_afterEveryFate(t *testing.T) {
	for _, fate := range fates {
		r := newRestart(t, engine.Options{Kinds: make([]engine.KindOps, 1)})
		h := r.Restorer()
		fate.wantFate(t, "Restore", ends(func() error {
			_, err := h.Restore(bg, 1, 1, func(*engine.Claim) (engine.Ptr, error) {
				return h.Restore(bg, 2, 1, func(*engine.Claim) (engine.Ptr, error) { return 0, fate.meet() })
			})
			return err
		}))
		for ref := engine.ObjRef(1); ref <= 2; ref++ {
			_, err := h.Restore(bg, ref, 1, notCalled(t))
			wantErr(t, "Restore again", err, engine.ErrFailed)
		}
		p, err := h.Restore(bg, 3, 1, at(addr(3)))
		wantPtr(t, "the next", p, err, addr(3))
		closeQuietly(t, h)
	}
}

// A handle's number in the context is used again, by claims as by waits.
func TestRestorer_numbersAreReused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRestart(t, engine.Options{Kinds: make([]engine.KindOps, 1)})
		rng := rand.New(rand.NewPCG(1, 1))
		var hs []*engine.Restorer
		for i := range 2_000 {
			if len(hs) > 20 {
				j := rng.IntN(len(hs))
				closeQuietly(t, hs[j])
				hs[j] = hs[len(hs)-1]
				hs = hs[:len(hs)-1]
			}
			hs = append(hs, r.Restorer())
			if len(hs) < 2 {
				continue
			}
			// Two that wait for each other find each other.
			rng.Shuffle(len(hs), func(i, j int) { hs[i], hs[j] = hs[j], hs[i] })
			a, b, ref := hs[0], hs[1], engine.ObjRef(2*i+1)
			var wg sync.WaitGroup
			var claimed sync.WaitGroup
			claimed.Add(2)
			cycles := make(chan engine.CycleError, 2)
			for i, h := range []*engine.Restorer{a, b} {
				wg.Go(func() {
					h.Restore(bg, ref+engine.ObjRef(i), 1, func(*engine.Claim) (engine.Ptr, error) {
						claimed.Done()
						claimed.Wait()
						p, err := h.Await(bg, ref+engine.ObjRef(1-i), 1)
						var cycle *engine.CycleError
						if errors.As(err, &cycle) && !errors.Is(err, engine.ErrFailed) {
							cycles <- *cycle
						}
						return p, err
					})
				})
			}
			wg.Wait()
			if len(cycles) != 1 {
				t.Fatalf("%d cycles found", len(cycles))
			}
		}
		for _, h := range hs {
			closeQuietly(t, h)
		}
	})
}

// As deep as it goes: then an error, and all that was under way fails with it. What is
// kept of so many failures, each the cause of the next, is bounded.
func TestG4_nestedMax(t *testing.T) {
	r := newRestart(t, engine.Options{Kinds: make([]engine.KindOps, 1)})
	h := newRestorer(t, r)
	depth := 0
	var deepest error
	var nest create
	nest = func(c *engine.Claim) (engine.Ptr, error) {
		depth++
		p, err := h.Restore(bg, c.Ref()+1, 1, nest)
		if deepest == nil {
			deepest = err
		}
		return p, err
	}
	_, err := h.Restore(bg, 1, 1, nest)
	wantErr(t, "Restore", err, engine.ErrFailed)
	wantErr(t, "Restore", err, engine.ErrLimit)
	wantErr(t, "the deepest", deepest, engine.ErrLimit)
	if errors.Is(deepest, engine.ErrFailed) {
		t.Errorf("the deepest has been created: %v", deepest)
	}
	if depth != engine.NestedMax {
		t.Errorf("%d objects were being created; want %d", depth, engine.NestedMax)
	}
	if n := len(err.Error()); n > 2_000 {
		t.Errorf("an error of %d bytes", n)
	}
	if r.Len() != 0 {
		t.Errorf("Len = %d", r.Len())
	}
	// The one that was too deep has not failed.
	p, err := h.Restore(bg, engine.NestedMax+1, 1, at(addr(1)))
	wantPtr(t, "Restore", p, err, addr(1))
}

// Users add to an error what they know. All of it is kept, but for its middle.
func TestG25_errorsDoNotGrowWithDepth(t *testing.T) {
	r := newRestart(t, engine.Options{Kinds: []engine.KindOps{{Name: "file"}}})
	h := newRestorer(t, r)
	const depth = 2_000
	var nest create
	nest = func(c *engine.Claim) (engine.Ptr, error) {
		if c.Ref() == depth {
			return 0, errSick
		}
		_, err := h.Restore(bg, c.Ref()+1, 1, nest)
		return 0, fmt.Errorf("object %d needs %d: %w", c.Ref(), c.Ref()+1, err)
	}
	_, err := h.Restore(bg, 1, 1, nest)
	wantErr(t, "Restore", err, engine.ErrFailed)
	wantErr(t, "Restore", err, errSick)
	wantMessage(t, err, "file, objref 1:", "object 1 needs 2", "sick")
	if n := len(err.Error()); n > 2_000 {
		t.Errorf("an error of %d bytes", n)
	}
}

// G23: any 64-bit ptr except 0 works.
func TestG23_restoredAddresses(t *testing.T) {
	for _, declares := range []bool{false, true} {
		for _, spread := range []engine.ObjRef{1, 1 << 24} {
			l := newLedger(t, 1)
			r := newRestart(t, with(engine.Options{}, l))
			h := newRestorer(t, r)
			for i, p := range oddAddresses {
				ref := engine.ObjRef(i+1) * spread
				for range 2 {
					got, err := h.Restore(bg, ref, 1, func(c *engine.Claim) (engine.Ptr, error) {
						if declares {
							return p, c.Declare(p)
						}
						return p, nil
					})
					wantPtr(t, "Restore", got, err, p)
				}
				got, err := r.Fetch(ref, 1)
				wantPtr(t, "Fetch", got, err, p)
			}
			for _, p := range oddAddresses {
				if b := l.of(p, 1); b.grabs != 1 || b.drops != 0 {
					t.Errorf("%#x: %+v", p, b)
				}
			}
			closeQuietly(t, r)
			l.settled()
		}
	}
}

// G24, G25: an image that lies about its objrefs costs no more than one that does not,
// created or failed.
func TestG24_G25_hostileClaims(t *testing.T) {
	for name, refs := range objrefSets(sized(40_000)) {
		t.Run(name, func(t *testing.T) {
			l := newLedger(t, 1)
			r := newRestart(t, with(engine.Options{}, l))
			h := newRestorer(t, r)
			for i, ref := range refs {
				p, err := h.Restore(bg, ref, 1, at(addr(i)))
				if p != addr(i) || err != nil {
					t.Fatalf("Restore(%d) = %#x, %v", ref, p, err)
				}
				if i%64 == 0 || i < 200 {
					if b := r.Bytes(); b > restartFixed+int64(i+1)*restartPerObject {
						t.Fatalf("%d objects take %d bytes", i+1, b)
					}
				}
			}
			for i, ref := range refs {
				if p, err := r.Fetch(ref, 1); p != addr(i) || err != nil {
					t.Fatalf("Fetch(%d) = %#x, %v", ref, p, err)
				}
			}
			closeQuietly(t, r)
			l.settled()
		})
	}
}

// Far away first, and each from within the one before, so that there are no objects
// yet that could answer for arrays.
func TestG25_nestedHostileClaims(t *testing.T) {
	r := newRestart(t, engine.Options{Kinds: make([]engine.KindOps, 1)})
	h := newRestorer(t, r)
	refs := objrefSets(sized(20_000))["far, then near"]
	i := 0
	var nest create
	nest = func(c *engine.Claim) (engine.Ptr, error) {
		if i++; i == len(refs) {
			return addr(i), nil
		}
		if b := r.Bytes(); b > restartFixed+int64(i)*restartPerObject {
			t.Fatalf("%d objects being created take %d bytes", i, b)
		}
		if _, err := h.Restore(bg, refs[i], 1, nest); err != nil {
			return 0, err
		}
		return addr(int(c.Ref())), nil
	}
	_, err := h.Restore(bg, refs[0], 1, nest)
	if err != nil || r.Len() != len(refs) {
		t.Errorf("%v, Len = %d; want %d", err, r.Len(), len(refs))
	}
}
