package engine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/objhash/objhash/engine"
	"github.com/objhash/objhash/refcount"
)

// Objects of kinds without a Grab are added in a short way, unless the context asks for
// more. Nothing but time tells which way an encounter went.

// bareKinds returns kinds without a Grab. The drops of kind 2 are counted.
func bareKinds(n int, drops *dropCount) (kinds []engine.KindOps) {
	for i := range n {
		kinds = append(kinds, engine.KindOps{Name: name(engine.Kind(i + 1))})
	}
	kinds[1].Drop = drops.drop
	return kinds
}

// dropCount counts drops by address, and those that were the last of their objects.
type dropCount struct {
	mu    sync.Mutex
	lasts map[engine.Ptr]int
}

func (d *dropCount) drop(p engine.Ptr, last bool) {
	if !last {
		return // of an encounter that lost a race
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lasts == nil {
		d.lasts = map[engine.Ptr]int{}
	}
	d.lasts[p]++
}

// waysRound is a context of which a random history is the same whichever way its
// encounters go.
type waysRound struct {
	c     *engine.Checkpoint
	d     *engine.Dumper
	drops dropCount
	log   []string // what every call said
}

func (w *waysRound) say(format string, args ...any) {
	w.log = append(w.log, fmt.Sprintf(format, args...))
}

// detours are options that keep all encounters from the short way, and change nothing else
// of what a caller sees.
var detours = map[string]engine.Options{
	"short":   {},
	"limit":   {MaxObjects: 1 << 30},
	"count":   {Count: refcount.Atomic{}},
	"holders": {TrackHolders: true},
	"holds":   {Holds: refcount.Rcuref{}},
}

func TestShort_saysTheSameAsTheOtherWay(t *testing.T) {
	for round := range sized(20) {
		seed := rand.Uint64()
		rounds := map[string]*waysRound{}
		for name, o := range detours {
			w := &waysRound{}
			o.Kinds = bareKinds(300, &w.drops)
			o.Shards, o.Seed = 1+15*(round%2), 1
			w.c = newCheckpoint(t, o)
			w.history(rand.New(rand.NewPCG(seed, 0)))
			rounds[name] = w
		}
		want := rounds["limit"]
		for name, w := range rounds {
			for i := range min(len(w.log), len(want.log)) {
				if w.log[i] != want.log[i] {
					t.Fatalf("seed %d, %s: call %d: %s; the other way: %s", seed, name, i, w.log[i], want.log[i])
				}
			}
			if len(w.log) != len(want.log) || !reflect.DeepEqual(w.drops.lasts, want.drops.lasts) {
				t.Fatalf("seed %d, %s: %d calls, %d objects dropped; the other way: %d, %d",
					seed, name, len(w.log), len(w.drops.lasts), len(want.log), len(want.drops.lasts))
			}
		}
	}
}

// history does random things to the context, by one thread, and notes what is said.
func (w *waysRound) history(r *rand.Rand) {
	w.d = w.c.Dumper()
	for range 60 {
		switch r.IntN(12) {
		case 0:
			ref, err := w.d.Reserve()
			w.say("Reserve = %d, %v", ref, err)
		case 1:
			ref, first, err := w.d.EncounterKey([]byte{byte(r.IntN(9))}, w.kind(r))
			w.say("EncounterKey = %d, %t, %v", ref, first, err)
		case 2:
			ref, err := w.d.Dump(w.ptr(r), w.kind(r), dumpOK)
			w.say("Dump = %d, %v", ref, err)
		case 3:
			if r.IntN(4) == 0 {
				w.say("Close = %v", w.d.Close())
				w.d = w.c.Dumper()
			}
			if r.IntN(20) == 0 {
				w.say("EndCollect = %v", w.c.EndCollect())
			}
		case 4, 5, 6:
			ref, first, err := w.d.Encounter(w.ptr(r), w.kind(r))
			w.say("Encounter = %d, %t, %v", ref, first, err)
		default:
			w.batch(r)
		}
	}
	w.end()
}

func (w *waysRound) kind(r *rand.Rand) engine.Kind {
	return [...]engine.Kind{1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 254, 255, 256, 300, 0, 301}[r.IntN(16)]
}

func (w *waysRound) ptr(r *rand.Rand) engine.Ptr {
	switch r.IntN(40) {
	case 0:
		return 0
	case 1:
		return oddAddresses[r.IntN(len(oddAddresses))]
	case 2:
		return wide(r.IntN(50))
	}
	return addr(r.IntN(10 + 20*w.c.Len()/10))
}

// batch encounters a batch: of any length, or as long as a few leases, or all wide.
func (w *waysRound) batch(r *rand.Rand) {
	ptrs := make([]engine.Ptr, r.IntN([...]int{10, 100, 400, 1500}[r.IntN(4)]))
	allWide := r.IntN(10) == 0
	for i := range ptrs {
		switch ptrs[i] = w.ptr(r); {
		case allWide:
			ptrs[i] = wide(r.IntN(500))
		case i > 0 && r.IntN(3) == 0:
			ptrs[i] = ptrs[r.IntN(i)]
		}
	}
	refs := make([]engine.ObjRef, len(ptrs))
	var first []bool
	if r.IntN(3) > 0 {
		first = make([]bool, len(ptrs))
	}
	err := w.d.EncounterBatch(ptrs, w.kind(r), refs, first)
	w.say("EncounterBatch = %v, %v, %v", refs, first, err)
}

// end notes what the context knows in the end, while its handle is open and afterwards.
func (w *waysRound) end() {
	for range 2 {
		s := w.c.Stats()
		w.say("%d objects, %d reserved, %d leased, %d free, %d in all", s.Objects, s.Reserved, s.Leased, s.Free, s.Allocated)
		w.say("Close = %v", w.d.Close())
	}
	for ref, o := range w.c.All() {
		w.say("objref %d: %+v", ref, o)
	}
	late := []engine.ObjRef{}
	for _, e := range w.c.Audit().Late {
		late = append(late, e.Ref)
	}
	w.say("late: %v", late)
	w.say("Close = %v", w.c.Close())
	ref, first, err := w.d.Encounter(addr(1), 1)
	w.say("closed: Encounter = %d, %t, %v", ref, first, err)
}

// Threads meet the same objects at the same time, singly and in batches. One is first at
// each, all get its objref, users are counted exactly, objrefs are as dense as leases
// allow, and each object is dropped once.
func TestShort_manyThreads(t *testing.T) {
	for _, shards := range []int{1, 64} {
		for range 3 {
			testShortThreads(t, shards, 4, sized(6000))
		}
	}
}

func testShortThreads(t *testing.T, shards, workers, objects int) {
	var drops dropCount
	c := newCheckpoint(t, engine.Options{Shards: shards, Kinds: bareKinds(2, &drops)})
	var firsts atomic.Int64
	users := make([]atomic.Int64, objects)
	refOf := make([]atomic.Int32, objects)
	met := func(i int, ref engine.ObjRef, first bool) {
		if first {
			firsts.Add(1)
		}
		users[i].Add(1)
		if !refOf[i].CompareAndSwap(0, int32(ref)) && refOf[i].Load() != int32(ref) {
			t.Errorf("object %d has objrefs %d and %d", i, refOf[i].Load(), ref)
		}
	}
	parallel(workers, func(w int) {
		r := rand.New(rand.NewPCG(uint64(w), uint64(objects)))
		d := c.Dumper()
		defer d.Close()
		order := r.Perm(objects)
		for len(order) > 0 {
			if w%2 == 0 {
				ref, first, err := d.Encounter(addr(order[0]), 2)
				if err != nil {
					t.Error(err)
				}
				met(order[0], ref, first)
				order = order[1:]
				continue
			}
			part := order[:min(len(order), 1+r.IntN(500))]
			ptrs := make([]engine.Ptr, len(part))
			refs, first := make([]engine.ObjRef, len(part)), make([]bool, len(part))
			for j, i := range part {
				ptrs[j] = addr(i)
			}
			if err := d.EncounterBatch(ptrs, 2, refs, first); err != nil {
				t.Error(err)
			}
			for j, i := range part {
				met(i, refs[j], first[j])
			}
			order = order[len(part):]
		}
	})
	if int(firsts.Load()) != objects {
		t.Errorf("%d were first; want %d", firsts.Load(), objects)
	}
	if s := c.Stats(); s.Allocated > objects+leaseRefs*workers || s.Objects+s.Free != s.Allocated {
		t.Errorf("%d objects, %d objrefs free, %d given out, to %d threads", s.Objects, s.Free, s.Allocated, workers)
	}
	for ref, o := range wantInOrder(t, c) {
		i := int(o.Ptr-addr(0)) / 192
		if o.Users != users[i].Load() || int32(ref) != refOf[i].Load() {
			t.Errorf("objref %d: %+v; want objref %d, %d users", ref, o, refOf[i].Load(), users[i].Load())
		}
	}
	closeQuietly(t, c)
	drops.wantOnce(t, objects)
}

// wantOnce checks that so many objects were dropped, each once.
func (d *dropCount) wantOnce(t *testing.T, objects int) {
	t.Helper()
	if len(d.lasts) != objects {
		t.Errorf("%d objects dropped; want %d", len(d.lasts), objects)
	}
	for p, n := range d.lasts {
		if n != 1 {
			t.Errorf("%#x was dropped %d times", p, n)
		}
	}
}

// Close comes while threads add objects, each its own: all that were met are dropped, once,
// and so are those whose encounters say ErrClosed, if they are dropped at all.
func TestG11_closeInTheMidstOfTheShortWay(t *testing.T) {
	for round := range sized(100) {
		var drops dropCount
		c := newCheckpoint(t, engine.Options{Kinds: bareKinds(2, &drops)})
		const workers = 3
		var met [workers][]engine.Ptr
		parallel(workers+1, func(w int) {
			if w == workers {
				for c.Len() < 3*round {
				}
				closeQuietly(t, c)
				return
			}
			d := c.Dumper()
			defer d.Close()
			for next := 0; ; {
				n := 1 + next%150
				ptrs, refs := make([]engine.Ptr, n), make([]engine.ObjRef, n)
				for i := range ptrs {
					ptrs[i] = addr((next+i)*workers + w)
				}
				next += n
				err := d.EncounterBatch(ptrs, 2, refs, nil)
				for i, ref := range refs {
					if ref != 0 {
						met[w] = append(met[w], ptrs[i])
					}
				}
				if err != nil {
					if !errors.Is(err, engine.ErrClosed) {
						t.Error(err)
					}
					return
				}
			}
		})
		for w := range met {
			for _, p := range met[w] {
				if drops.lasts[p] != 1 {
					t.Fatalf("round %d: %#x, which was met, was dropped %d times", round, p, drops.lasts[p])
				}
			}
		}
		drops.wantOnce(t, len(drops.lasts))
	}
}

// EndCollect comes while threads add objects, each its own: an object is late, or has its
// user, or was in between, and then it has none.
func TestShort_endCollectInTheMidst(t *testing.T) {
	for round := range sized(200) {
		c := newCheckpoint(t, engine.Options{Kinds: bareKinds(2, &dropCount{})})
		const workers, objects = 3, 800
		parallel(workers+1, func(w int) {
			if w == workers {
				for c.Len() < round {
				}
				if err := c.EndCollect(); err != nil {
					t.Error(err)
				}
				return
			}
			d := c.Dumper()
			defer d.Close()
			for next := 0; next < objects; {
				n := 1 + next%130
				ptrs, refs := make([]engine.Ptr, n), make([]engine.ObjRef, n)
				for i := range ptrs {
					ptrs[i] = addr((next+i)*workers + w)
				}
				next += n
				if err := d.EncounterBatch(ptrs, 1, refs, nil); err != nil {
					t.Error(err)
				}
			}
		})
		late := map[engine.ObjRef]bool{}
		for _, e := range c.Audit().Late {
			late[e.Ref] = true
		}
		for ref, o := range wantInOrder(t, c) {
			if o.Users > 1 || o.Users == 1 && late[ref] {
				t.Errorf("objref %d: %d users, late %t", ref, o.Users, late[ref])
			}
		}
	}
}
