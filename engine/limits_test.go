package engine_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/objhash/objhash/engine"
	"github.com/objhash/objhash/refcount"
)

// G4: at the limit (2^31-1, MaxObjects, MaxBytes) the answer is an error; nothing
// wraps, and everything inserted before stays readable.

func TestG4_maxObjectsIsExact(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		for _, limit := range []int{1, 2, 63, 64, 65, 300} {
			l := newLedger(t, 2)
			sick := false
			l.grabbing = func(account) error {
				if sick {
					return errSick
				}
				return nil
			}
			o := with(o, l)
			o.MaxObjects = limit
			c := newCheckpoint(t, o)
			d := newDumper(t, c)
			for i := range limit {
				p := addr(i)
				if i%3 == 2 {
					p = wide(i)
				}
				// What fails takes nothing off the limit: a Grab, a kind, an address, a
				// reserved objref.
				sick = true
				for range 3 {
					_, _, err := d.Encounter(p, 1)
					wantErr(t, "sick Grab", err, errSick)
				}
				sick = false
				if _, _, err := d.Encounter(0, 1); err == nil {
					t.Error("address 0 was met")
				}
				if i > 0 && i%3 != 0 {
					_, _, err := d.Encounter(addr(0), 2)
					wantKindError(t, "other kind", err, engine.KindError{Ref: 1, Have: 1, Want: 2})
				}
				if _, _, err := d.Encounter(p, 1); err != nil {
					t.Fatalf("object %d of %d: %v", i+1, limit, err)
				}
			}
			for i := range 10 {
				for _, p := range []engine.Ptr{addr(1000 + i), wide(1000 + i)} {
					ref, first, err := d.Encounter(p, 1)
					wantErr(t, "one too many", err, engine.ErrLimit)
					if ref != 0 || first || l.of(p, 1).grabs != 0 {
						t.Errorf("one too many: Encounter = %d, %t, grabbed %d times", ref, first, l.of(p, 1).grabs)
					}
					wantMessage(t, err, "MaxObjects", fmt.Sprint(limit))
				}
				ref, _, err := d.EncounterKey(fmt.Append(nil, "key", i), 1)
				wantErr(t, "one key too many", err, engine.ErrLimit)
				if ref != 0 {
					t.Errorf("EncounterKey = %d with an error", ref)
				}
			}
			if _, err := d.Reserve(); err != nil {
				t.Errorf("Reserve at the limit of objects: %v", err)
			}
			mustMeet(t, d, addr(0), 1, 1, false)
			if _, err := d.Dump(addr(0), 1, dumpOK); err != nil {
				t.Errorf("Dump of a known object at the limit: %v", err)
			}
			if n := len(wantInOrder(t, c)); n != limit {
				t.Errorf("%d objects; want %d", n, limit)
			}
			closeQuietly(t, c)
			l.settled()
		}
	})
}

func TestG4_maxObjectsIsExactForManyThreads(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		const workers = 4
		limit := sized(3_000)
		l := newLedger(t, 1)
		var calls atomic.Uint32
		l.grabbing = func(account) error {
			if calls.Add(1)%11 == 0 {
				return errSick
			}
			return nil
		}
		o = with(o, l)
		o.MaxObjects = limit
		c := newCheckpoint(t, o)
		var mu sync.Mutex
		met := map[engine.Ptr]engine.ObjRef{}
		parallel(workers, func(w int) {
			rng := rand.New(rand.NewPCG(4, uint64(w)))
			d := c.Dumper()
			defer d.Close()
			for range limit * 2 {
				p := addr(rng.IntN(limit * 2))
				ref, first, err := d.Encounter(p, 1)
				if err != nil && !errors.Is(err, engine.ErrLimit) && !errors.Is(err, errSick) {
					t.Error(err)
				}
				if first {
					mu.Lock()
					met[p] = ref
					mu.Unlock()
				}
			}
		})
		l.grabbing = nil
		if len(met) > limit {
			t.Errorf("%d objects; limit is %d", len(met), limit)
		}
		// Races may have turned somebody away when there was room; no permit is lost.
		d := newDumper(t, c)
		for i := len(met); i < limit; i++ {
			ref, first, err := d.Encounter(addr(1_000_000+i), 1)
			if !first || err != nil {
				t.Fatalf("object %d of %d: Encounter = %d, %t, %v", i+1, limit, ref, first, err)
			}
		}
		_, _, err := d.Encounter(addr(2_000_000), 1)
		wantErr(t, "one too many", err, engine.ErrLimit)
		for p, ref := range met {
			mustMeet(t, d, p, 1, ref, false)
		}
		if n := len(wantInOrder(t, c)); n != limit {
			t.Errorf("%d objects; want %d", n, limit)
		}
		closeQuietly(t, c)
		l.settled()
	})
}

// At no moment do two threads have the one permit there is. All Grabs fail, so that it
// is fought for all the time.
func TestG4_maxObjectsIsExactAtEveryMoment(t *testing.T) {
	rounds := sized(100_000)
	var inside atomic.Int64
	kinds := []engine.KindOps{{Grab: func(engine.Ptr) error {
		if n := inside.Add(1); n > 1 {
			t.Errorf("%d threads have the one permit", n)
		}
		inside.Add(-1)
		return errSick
	}}, {}}
	o := engine.Options{MaxObjects: 1, Kinds: kinds}
	c, r := newCheckpoint(t, o), newRestart(t, o)
	ds := [2]*engine.Dumper{newDumper(t, c), newDumper(t, c)}
	const chunk = 50
	together(rounds/chunk, func(w, round int) {
		for i := round * chunk; i < (round+1)*chunk; i++ {
			_, _, err := ds[w].Encounter(addr(2*i+w), 1)
			if !errors.Is(err, errSick) && !errors.Is(err, engine.ErrLimit) {
				t.Errorf("Encounter: %v", err)
			}
		}
	})
	together(rounds/chunk, func(w, round int) {
		for i := round * chunk; i < (round+1)*chunk; i++ {
			err := r.Insert(engine.ObjRef(2*i+w+1), addr(i), 1)
			if !errors.Is(err, errSick) && !errors.Is(err, engine.ErrLimit) {
				t.Errorf("Insert: %v", err)
			}
		}
	})
	_, _, err := ds[0].Encounter(addr(1), 2)
	errInsert := r.Insert(1, addr(1), 2)
	if err != nil || errInsert != nil {
		t.Errorf("all permits were given back, but: %v and %v", err, errInsert)
	}
	_, _, err = ds[0].Encounter(addr(2), 2)
	wantErr(t, "one too many", err, engine.ErrLimit)
	wantErr(t, "one too many", r.Insert(2, addr(2), 2), engine.ErrLimit)
}

// Lost races give their permit back.
func TestG4_lostRacesTakeNothingOffTheLimit(t *testing.T) {
	const limit = 50
	l := newLedger(t, 2)
	c := newCheckpoint(t, with(engine.Options{MaxObjects: limit + 1}, l)) // loser and winner hold one each for a moment
	d, winner := newDumper(t, c), newDumper(t, c)
	depth := 0
	l.grabbing = func(a account) error {
		if depth++; depth == 1 {
			if _, _, err := winner.Encounter(a.p, 2); err != nil {
				t.Errorf("winner: %v", err)
			}
		}
		return nil
	}
	for i := range limit {
		depth = 0
		if _, _, err := d.Encounter(addr(i), 1); err == nil {
			t.Error("the loser met an object of another kind")
		}
	}
	depth = 1
	if _, _, err := d.Encounter(addr(1000), 1); err != nil {
		t.Errorf("the last object: %v", err)
	}
	_, _, err := d.Encounter(addr(1001), 1)
	wantErr(t, "one too many", err, engine.ErrLimit)
	closeQuietly(t, c)
	l.settled()
}

func TestG4_maxObjectsOfARestart(t *testing.T) {
	for _, limit := range []int{1, 64, 300} {
		l := newLedger(t, 1)
		sick := false
		l.grabbing = func(account) error {
			if sick {
				return errSick
			}
			return nil
		}
		o := with(engine.Options{MaxObjects: limit}, l)
		r := newRestart(t, o)
		refOf := func(i int) engine.ObjRef { return engine.ObjRef(1 + i*i*20_000) }
		for i := range limit {
			sick = true
			wantErr(t, "sick Grab", r.Insert(refOf(i), addr(i), 1), errSick)
			sick = false
			if err := r.Insert(refOf(i), addr(i), 1); err != nil {
				t.Fatalf("object %d of %d: %v", i+1, limit, err)
			}
			wantErr(t, "duplicate", r.Insert(refOf(i), addr(i), 1), engine.ErrExists)
		}
		for _, ref := range []engine.ObjRef{2, 3, 1<<31 - 1} {
			err := r.Insert(ref, addr(5000), 1)
			wantErr(t, "one too many", err, engine.ErrLimit)
			wantMessage(t, err, "MaxObjects", fmt.Sprint(limit))
		}
		for i := range limit {
			if p, err := r.Fetch(refOf(i), 1); p != addr(i) || err != nil {
				t.Errorf("Fetch(%d) = %#x, %v; want %#x", refOf(i), p, err, addr(i))
			}
		}
		if r.Len() != limit || l.of(addr(5000), 1).grabs != 0 {
			t.Errorf("Len = %d, %d grabs beyond the limit; want %d, none", r.Len(), l.of(addr(5000), 1).grabs, limit)
		}
		closeQuietly(t, r)
		l.settled()
	}
}

// fill meets objects by address, wide address and key, as share says, until there is
// no memory for any sort of them, and returns what it met. Memory stays under the
// limit all the time.
func fill(t *testing.T, c *engine.Checkpoint, d *engine.Dumper, limit int64, share int, start int) (met map[engine.Ptr]engine.ObjRef, keys map[string]engine.ObjRef) {
	met, keys = map[engine.Ptr]engine.ObjRef{}, map[string]engine.ObjRef{}
	for i, failures := start, 0; failures < 20; i++ {
		var ref engine.ObjRef
		var first bool
		var err error
		switch sort := i % 10; {
		case sort == share:
			key := fmt.Sprintf("key %d", i)
			ref, first, err = d.EncounterKey([]byte(key), 1)
			if err == nil {
				keys[key] = ref
			}
		case sort < share:
			ref, first, err = d.Encounter(wide(i), 1)
			if err == nil {
				met[wide(i)] = ref
			}
		default:
			ref, first, err = d.Encounter(addr(i), 1)
			if err == nil {
				met[addr(i)] = ref
			}
		}
		if err != nil {
			failures++
			wantErr(t, "out of memory", err, engine.ErrLimit)
			if ref != 0 || first {
				t.Errorf("objref %d, %t with an error", ref, first)
			}
		} else if !first {
			t.Errorf("objref %d: not first", ref)
		}
		if i&(i-1) == 0 || failures == 1 {
			if b := c.Stats().Bytes; b > limit {
				t.Errorf("%d bytes after %d objects; limit is %d", b, i-start+1, limit)
			}
		}
		if t.Failed() {
			break
		}
	}
	return met, keys
}

func TestG4_maxBytes(t *testing.T) {
	settings := []engine.Options{{Shards: 1}, {Shards: 16}, {Shards: 16, Count: refcount.Atomic{}}}
	for _, o := range settings {
		for _, share := range []int{-1, 0, 4} {
			for limit := int64(8 << 10); limit < int64(sized(600<<10)); limit += limit/4 + 700 {
				l := newLedger(t, 2)
				o := with(o, l)
				o.MaxBytes = limit
				c, err := engine.NewCheckpoint(o)
				if err != nil {
					wantErr(t, "NewCheckpoint", err, engine.ErrLimit)
					continue
				}
				d := newDumper(t, c)
				met, keys := fill(t, c, d, limit, share, 1)
				if held := l.totals(); held.grabs-held.drops != len(met) {
					t.Errorf("%d references held on %d objects", held.grabs-held.drops, len(met))
				}
				// All of it stays readable, and usable.
				for p, ref := range met {
					mustMeet(t, d, p, 1, ref, false)
					_, _, err := d.Encounter(p, 2)
					wantKindError(t, "other kind", err, engine.KindError{Ref: ref, Have: 1, Want: 2})
					if got, err := d.Dump(p, 1, dumpOK); got != ref || err != nil {
						t.Errorf("Dump = %d, %v; want %d", got, err, ref)
					}
				}
				for key, ref := range keys {
					if got, first, err := d.EncounterKey([]byte(key), 1); got != ref || first || err != nil {
						t.Errorf("EncounterKey(%q) = %d, %t, %v; want %d", key, got, first, err, ref)
					}
				}
				objects := wantInOrder(t, c)
				if len(objects) != len(met)+len(keys) {
					t.Errorf("%d objects; %d met by address, %d by key", len(objects), len(met), len(keys))
				}
				if b := c.Stats().Bytes; b > limit {
					t.Errorf("%d bytes; limit is %d", b, limit)
				}
				closeQuietly(t, c)
				l.settled()
				if t.Failed() {
					t.Fatalf("at %d shards, %T, MaxBytes %d, share %d", o.Shards, o.Count, limit, share)
				}
			}
		}
	}
}

func TestG4_maxBytesForManyThreads(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		const workers = 4
		for limit := int64(16 << 10); limit < int64(sized(900<<10)); limit += limit / 3 {
			l := newLedger(t, 1)
			o := with(o, l)
			o.ExpectedObjects = 0
			o.MaxBytes = limit
			c, err := engine.NewCheckpoint(o)
			if err != nil {
				wantErr(t, "NewCheckpoint", err, engine.ErrLimit)
				continue
			}
			parallel(workers, func(w int) {
				d := c.Dumper()
				defer d.Close()
				met, _ := fill(t, c, d, limit, 3, 1+w*1_000_000)
				for p, ref := range met {
					if got, ok := c.Lookup(p); got != ref || !ok {
						t.Errorf("Lookup(%#x) = %d, %t; want %d", p, got, ok, ref)
					}
				}
			})
			wantInOrder(t, c)
			closeQuietly(t, c)
			l.settled()
		}
	})
}

func TestG4_tooLittleMemoryForAContext(t *testing.T) {
	for _, bytes := range []int64{1, 63, 64, 100} {
		_, err := engine.NewCheckpoint(engine.Options{MaxBytes: bytes, ExpectedObjects: 1_000})
		wantErr(t, fmt.Sprintf("NewCheckpoint with %d bytes", bytes), err, engine.ErrLimit)
		_, err = engine.NewRestart(engine.Options{MaxBytes: bytes, ExpectedObjects: 1_000})
		wantErr(t, fmt.Sprintf("NewRestart with %d bytes", bytes), err, engine.ErrLimit)
	}
}

func TestG4_maxBytesOfARestart(t *testing.T) {
	for _, spread := range []engine.ObjRef{1, 3, 40, 5_000, 1 << 20} {
		for limit := int64(8 << 10); limit < int64(sized(300<<10)); limit += limit / 2 {
			l := newLedger(t, 1)
			r, err := engine.NewRestart(with(engine.Options{MaxBytes: limit}, l))
			if err != nil {
				wantErr(t, "NewRestart", err, engine.ErrLimit)
				continue
			}
			met := map[engine.ObjRef]engine.Ptr{}
			for i, failures := 1, 0; failures < 5 && i < 100_000; i++ {
				p := addr(i)
				if i%7 == 3 {
					p = wide(i)
				}
				ref := engine.ObjRef(uint32(i)*uint32(spread)) & math.MaxInt32
				err := r.Insert(ref, p, 1)
				if errors.Is(err, engine.ErrLimit) {
					failures++
				} else if err == nil {
					met[ref] = p
				} else if _, twice := met[ref]; !twice && ref != 0 {
					t.Fatalf("Insert(%d): %v", ref, err)
				}
				if b := r.Bytes(); b > limit {
					t.Fatalf("%d bytes after %d objects; limit is %d", b, i, limit)
				}
			}
			for ref, p := range met {
				if got, err := r.Fetch(ref, 1); got != p || err != nil {
					t.Errorf("Fetch(%d) = %#x, %v; want %#x", ref, got, err, p)
				}
			}
			if held := l.totals(); r.Len() != len(met) || held.grabs-held.drops != len(met) {
				t.Errorf("Len = %d, %d references held; want %d", r.Len(), held.grabs-held.drops, len(met))
			}
			closeQuietly(t, r)
			l.settled()
		}
	}
}

// G25: memory stays under MaxBytes, and per object under the documented figure.

func TestG25_checkpointMemoryPerObject(t *testing.T) {
	const objects, bytesMax = 1_000_000, 44
	random := rand.New(rand.NewPCG(25, 25))
	for _, shape := range []struct {
		name string
		at   func(i int) engine.Ptr
	}{
		{"slab", addr},
		{"pages", func(i int) engine.Ptr { return 0x7f00_0000_0000 + engine.Ptr(i)<<12 }},
		{"random", func(i int) engine.Ptr { return engine.Ptr(int64(random.Uint64()) >> 16) }},
	} {
		t.Run("addresses="+shape.name, func(t *testing.T) {
			if slow && shape.name != "slab" {
				t.Skip("one shape must do where everything is slow")
			}
			c := newCheckpoint(t, engine.Options{Kinds: []engine.KindOps{{Name: "file"}}, Seed: 1})
			d := newDumper(t, c)
			var ptrs [500]engine.Ptr
			var refs [500]engine.ObjRef
			for i := 0; i < objects; i += len(ptrs) {
				for j := range ptrs {
					ptrs[j] = shape.at(i + j)
				}
				if err := d.EncounterBatch(ptrs[:], 1, refs[:], nil); err != nil {
					t.Fatal(err)
				}
				// Not only at the end, where the tables may happen to be full.
				if done := i + len(ptrs); done >= objects/2 && done%(objects/20) == 0 {
					if s := c.Stats(); s.Bytes > int64(done)*bytesMax {
						t.Errorf("%d objects take %d bytes, %.1f each; want at most %d",
							done, s.Bytes, float64(s.Bytes)/float64(done), bytesMax)
					}
				}
			}
			s := c.Stats()
			if s.Objects != objects || s.RecordBytes+s.IndexBytes != s.Bytes || min(s.RecordBytes, s.IndexBytes) < objects*8 {
				t.Errorf("Stats = %+v; want %d objects, and bytes that add up", s, objects)
			}
		})
	}
}

// With the addresses of the canonical profiles an object takes less: see BenchmarkMemory for
// more sizes.
func TestG25_memoryOfMixedAddresses(t *testing.T) {
	if slow {
		t.Skip("sizes are those of usual builds")
	}
	const sizes, bytesMax, averageMax, toldMax = 8, 37.5, 30.5, 27.5
	ptrs := mixedAddresses(t, 2_000_000)
	grown, sum := newMemory(t, ptrs, 0), 0.0
	for i := range sizes {
		n := 1_000_000 + i*1_000_000/sizes
		grown.encounter(n)
		each := float64(grown.c.Stats().Bytes) / float64(n)
		if sum += each; each > bytesMax {
			t.Errorf("%d objects take %.1f bytes each; want at most %.1f", n, each, bytesMax)
		}
		if i%3 == 0 {
			told := newMemory(t, ptrs, n)
			told.encounter(n)
			if s := told.c.Stats(); float64(s.Bytes) > toldMax*float64(n) || s.Index.Growths+s.Index.Rehashes != 0 {
				t.Errorf("%d objects that were expected take %.1f bytes each, and %d tables were replaced; want at most %.1f bytes, and none",
					n, float64(s.Bytes)/float64(n), s.Index.Growths+s.Index.Rehashes, toldMax)
			}
			told.close()
		}
	}
	grown.close()
	if sum/sizes > averageMax {
		t.Errorf("%.1f bytes an object on average; want at most %.1f", sum/sizes, averageMax)
	}
}

// A context with few objects is small, by what it says and by what it takes from the Go
// heap in its whole life.
func TestG25_smallContexts(t *testing.T) {
	const objects, bytesMax, lives = 100, 64 << 10, 64
	for _, how := range []struct {
		name string
		live func(t testing.TB, objects int, look bool) (bytes int64)
	}{{"checkpoint", smallCheckpoint}, {"restart", smallRestart}} {
		if bytes := how.live(t, objects, true); bytes > bytesMax {
			t.Errorf("%s: %d objects take %d bytes; want at most %d", how.name, objects, bytes, bytesMax)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range lives {
			how.live(t, objects, false)
		}
		runtime.ReadMemStats(&after)
		// All that was ever allocated, garbage as well.
		if bytes := (after.TotalAlloc - before.TotalAlloc) / lives; bytes > bytesMax {
			t.Errorf("%s: %d objects allocate %d bytes; want at most %d", how.name, objects, bytes, bytesMax)
		}
	}
}

// Encounters that lose or fail leave no memory behind.
func TestG25_lostRacesTakeNoMemory(t *testing.T) {
	const objects = 500
	bytes := func(races bool) int64 {
		l := newLedger(t, 2)
		c := newCheckpoint(t, with(engine.Options{Shards: 1, Seed: 1}, l))
		loser, winner := newDumper(t, c), newDumper(t, c)
		if _, err := loser.Reserve(); err != nil { // takes its lease, race or none
			t.Fatal(err)
		}
		l.grabbing = func(a account) error {
			if a.k == 2 {
				_, _, err := winner.Encounter(a.p, 1)
				return err
			}
			return nil
		}
		for i := range objects {
			for _, p := range []engine.Ptr{wide(i), addr(i)} {
				if races {
					_, _, err := loser.Encounter(p, 2)
					var kind *engine.KindError
					if !errors.As(err, &kind) {
						t.Fatalf("loser: %v", err)
					}
				} else if _, _, err := winner.Encounter(p, 1); err != nil {
					t.Fatal(err)
				}
			}
		}
		return c.Stats().Bytes
	}
	if with, without := bytes(true), bytes(false); with != without {
		t.Errorf("%d objects take %d bytes after as many lost races; %d without", 2*objects, with, without)
	}
}

// The duplicate is made while Grab runs, so that the Insert gets as far as it can.
func TestG25_duplicatesTakeNoMemory(t *testing.T) {
	const objects = 500
	for _, spread := range []engine.ObjRef{1, 1_000_003} { // in arrays; beside them
		bytes := func(races bool) int64 {
			l := newLedger(t, 2)
			r := newRestart(t, with(engine.Options{}, l))
			ref := engine.ObjRef(0)
			l.grabbing = func(a account) error {
				if a.k == 2 {
					return r.Insert(ref, a.p, 1)
				}
				return nil
			}
			for i := range objects {
				ref += spread
				p := addr(i)
				if i%2 == 1 {
					p = wide(i)
				}
				if races {
					wantErr(t, "duplicate", r.Insert(ref, p, 2), engine.ErrExists)
				} else if err := r.Insert(ref, p, 1); err != nil {
					t.Fatal(err)
				}
			}
			return r.Bytes()
		}
		if with, without := bytes(true), bytes(false); with != without {
			t.Errorf("%d objects take %d bytes after as many duplicates; %d without", objects, with, without)
		}
	}
}
