package engine_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/objhash/objhash/engine"
)

// G4: at the limit the answer is an error, before anything is created; everything made
// before stays readable.

func TestG4_maxObjectsOfClaims(t *testing.T) {
	forEachPlace(func(ref engine.ObjRef, p engine.Ptr) {
		const limit = 3
		l := newLedger(t, 1)
		r := newRestart(t, with(engine.Options{MaxObjects: limit}, l))
		h := newRestorer(t, r)
		// The first holds its permit while it is being created.
		got, err := h.Restore(bg, ref, 1, func(*engine.Claim) (engine.Ptr, error) {
			for i := range engine.ObjRef(limit - 1) {
				got, err := h.Restore(bg, 200+i, 1, at(addr(int(200+i))))
				wantPtr(t, "Restore", got, err, addr(int(200+i)))
			}
			_, err := h.Restore(bg, 300, 1, notCalled(t))
			wantErr(t, "one too many", err, engine.ErrLimit)
			wantMessage(t, err, "MaxObjects 3", "objref 300")
			wantErr(t, "one too many", r.Insert(301, addr(301), 1), engine.ErrLimit)
			return p, nil
		})
		wantPtr(t, "Restore", got, err, p)
		for range 3 {
			_, err := h.Restore(bg, 300, 1, notCalled(t))
			wantErr(t, "one too many", err, engine.ErrLimit)
			_, err = r.Fetch(300, 1)
			wantErr(t, "one too many", err, engine.ErrNotFound)
			for i := range engine.ObjRef(limit - 1) {
				got, err := h.Restore(bg, 200+i, 1, notCalled(t))
				wantPtr(t, "Restore", got, err, addr(int(200+i)))
			}
			wantErr(t, "Insert of a known objref", r.Insert(200, addr(1), 1), engine.ErrExists)
		}
		closeQuietly(t, r)
		l.settled()
	})
}

// Every failure gives its permit back, once.
func TestG4_failuresGiveTheirPermitBack(t *testing.T) {
	for _, fate := range fates {
		for _, place := range []string{"create", "Grab", "Declare", "after Declare", "MayCreate"} {
			l := newLedger(t, 1)
			sick := true
			meet := func(at string) error {
				if sick && (at == place || place == "Declare" && at == "Grab") {
					return fate.meet()
				}
				return nil
			}
			o := with(engine.Options{MaxObjects: 1}, l)
			o.MayCreate = func(engine.ObjRef, engine.Kind, uint64) bool { return fate.name == "error" || meet("MayCreate") == nil }
			l.grabbing = func(account) error { return meet("Grab") }
			r := newRestart(t, o)
			h := newRestorer(t, r)
			make := func(p engine.Ptr) create {
				return func(c *engine.Claim) (engine.Ptr, error) {
					if err := meet("create"); err != nil {
						return 0, err
					}
					if place != "create" && place != "Grab" {
						if err := c.Declare(p); err != nil {
							return 0, err
						}
					}
					return p, meet("after Declare")
				}
			}
			for i := range 5 {
				if place == "MayCreate" && fate.name == "error" {
					continue // it has no error to return
				}
				what := fmt.Sprintf("%s in %s", fate.name, place)
				fate.wantFate(t, what, ends(func() error {
					_, err := h.Restore(bg, engine.ObjRef(i+1), 1, make(addr(i)))
					return err
				}))
			}
			sick = false
			p, err := h.Restore(bg, 10, 1, make(addr(10)))
			wantPtr(t, "the permit", p, err, addr(10))
			_, err = h.Restore(bg, 11, 1, notCalled(t))
			wantErr(t, "one too many", err, engine.ErrLimit)
			closeQuietly(t, r)
			l.settled()
		}
	}
}

// An image's number of objects is the natural limit: as many threads as there are may
// come for the same object at once, and none of them is turned away.
func TestG4_maxObjectsIsThatOfTheImage(t *testing.T) {
	for _, spread := range []engine.ObjRef{1, 10_007} {
		const threads, objects = 2, 10
		rounds := sized(4_000)
		rs, hs := make([]*engine.Restart, rounds), make([][threads]*engine.Restorer, rounds)
		for i := range rounds {
			r, err := engine.NewRestart(engine.Options{MaxObjects: objects, Kinds: make([]engine.KindOps, 1)})
			if err != nil {
				t.Fatal(err)
			}
			rs[i] = r
			for w := range threads {
				hs[i][w] = r.Restorer()
			}
		}
		together(rounds, func(w, round int) {
			for i := range objects {
				p, err := hs[round][w].Restore(bg, engine.ObjRef(i+1)*spread, 1, at(addr(i)))
				wantPtr(t, "Restore", p, err, addr(i))
			}
		})
		for i, r := range rs {
			_, err := hs[i][0].Restore(bg, 1<<30, 1, notCalled(t))
			wantErr(t, "one too many", err, engine.ErrLimit)
			for _, h := range hs[i] {
				closeQuietly(t, h)
			}
			closeQuietly(t, r)
			if t.Failed() {
				return
			}
		}
	}
}

// At no moment are more objects being created than there are permits.
func TestG4_maxObjectsIsExactForClaims(t *testing.T) {
	const limit, threads = 3, 6
	n := sized(20_000)
	r := newRestart(t, engine.Options{MaxObjects: limit, Kinds: make([]engine.KindOps, 1)})
	var creating atomic.Int64
	parallel(threads, func(w int) {
		h := r.Restorer()
		defer h.Close()
		for i := range n {
			_, err := h.Restore(bg, engine.ObjRef(i%(n/2)*threads+w+1), 1, func(*engine.Claim) (engine.Ptr, error) {
				if c := creating.Add(1); c > limit {
					t.Errorf("%d objects are being created", c)
				}
				creating.Add(-1)
				return 0, errSick
			})
			if !errors.Is(err, errSick) && !errors.Is(err, engine.ErrLimit) {
				t.Errorf("Restore: %v", err)
			}
		}
	})
	h := newRestorer(t, r)
	for i := range engine.ObjRef(limit) {
		p, err := h.Restore(bg, 1<<30+i, 1, at(addr(1)))
		wantPtr(t, "all permits are back", p, err, addr(1))
	}
	_, err := h.Restore(bg, 1<<29, 1, notCalled(t))
	wantErr(t, "one too many", err, engine.ErrLimit)
}

// Those that are turned away leave nothing behind that takes memory.
func TestG25_beyondMaxObjects(t *testing.T) {
	r := newRestart(t, engine.Options{MaxObjects: 1, Kinds: make([]engine.KindOps, 1)})
	h := newRestorer(t, r)
	if _, err := h.Restore(bg, 1, 1, at(addr(1))); err != nil {
		t.Fatal(err)
	}
	before := r.Bytes()
	for i := range engine.ObjRef(10_000) {
		_, err := h.Restore(bg, 2+i*100_003, 1, notCalled(t))
		wantErr(t, "one too many", err, engine.ErrLimit)
	}
	if after := r.Bytes(); after != before {
		t.Errorf("%d bytes; %d before", after, before)
	}
}

func TestG4_G25_maxBytesOfClaims(t *testing.T) {
	for _, spread := range []engine.ObjRef{1, 5_003} {
		for limit := int64(8 << 10); limit < int64(sized(200<<10)); limit += limit / 2 {
			l := newLedger(t, 1)
			r, err := engine.NewRestart(with(engine.Options{MaxBytes: limit}, l))
			if err != nil {
				wantErr(t, "NewRestart", err, engine.ErrLimit)
				continue
			}
			h := newRestorer(t, r)
			met, failed := map[engine.ObjRef]engine.Ptr{}, map[engine.ObjRef]bool{}
			for i, limits := 1, 0; limits < 5 && i < 20_000; i++ {
				ref, p := engine.ObjRef(i)*spread, addr(i)
				if i%3 == 0 {
					p = wide(i)
				}
				ran := false
				got, err := h.Restore(bg, ref, 1, func(c *engine.Claim) (engine.Ptr, error) {
					ran = true
					switch i % 5 {
					case 0:
						return 0, errSick
					case 1:
						return p, c.Declare(p)
					}
					return p, nil
				})
				switch {
				case err == nil:
					wantPtr(t, "Restore", got, err, p)
					met[ref] = p
				case ran:
					wantErr(t, "created", err, engine.ErrFailed)
					failed[ref] = true
					if i%5 != 0 { // its address could not be kept
						wantErr(t, "created", err, engine.ErrLimit)
					} else {
						wantErr(t, "created", err, errSick)
					}
				default:
					wantErr(t, "not created", err, engine.ErrLimit)
					limits++
				}
				if b := r.Bytes(); b > limit {
					t.Fatalf("%d bytes; limit is %d", b, limit)
				}
			}
			for ref, p := range met {
				got, err := h.Restore(bg, ref, 1, notCalled(t))
				wantPtr(t, "Restore", got, err, p)
			}
			for ref := range failed {
				_, err := h.Restore(bg, ref, 1, notCalled(t))
				wantErr(t, "Restore of what failed", err, engine.ErrFailed)
			}
			if held := l.totals(); r.Len() != len(met) || held.grabs-held.drops != len(met) {
				t.Errorf("Len = %d, %d references held; want %d", r.Len(), held.grabs-held.drops, len(met))
			}
			closeQuietly(t, h)
			closeQuietly(t, r)
			l.settled()
		}
	}
}
