package engine_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/objhash/objhash/engine"
)

// tracking returns o with TrackHolders.
func tracking(o engine.Options) engine.Options {
	o.TrackHolders = true
	return o
}

// auditable makes kinds whose real counts are far from all users, so that an audit
// reports every object, with its holders.
func auditable(kinds int) []engine.KindOps {
	var all []engine.KindOps
	for i := range kinds {
		all = append(all, engine.KindOps{
			Name:  name(engine.Kind(i + 1)),
			Users: func(engine.Ptr) int64 { return 1 << 40 },
		})
	}
	return all
}

// holdersOf returns the holders of all objects that a context of auditable kinds has,
// by objref, and checks that they account for all users.
func holdersOf(t testing.TB, c *engine.Checkpoint) map[engine.ObjRef][]engine.Holder {
	t.Helper()
	r := c.Audit()
	if !r.HoldersTracked {
		t.Error("the report says that holders are not tracked")
	}
	all := map[engine.ObjRef][]engine.Holder{}
	for _, e := range r.LeaksOut {
		all[e.Ref] = e.Holders
		sum := int64(0)
		for i, h := range e.Holders {
			sum += h.Users
			if h.Users <= 0 || i > 0 && e.Holders[i-1].ID >= h.ID {
				t.Errorf("objref %d: holders %v are not in order", e.Ref, e.Holders)
			}
		}
		if sum != e.Counted {
			t.Errorf("objref %d: %d users counted, holders %v", e.Ref, e.Counted, e.Holders)
		}
	}
	return all
}

func wantHolders(t testing.TB, c *engine.Checkpoint, ref engine.ObjRef, want ...engine.Holder) {
	t.Helper()
	if got := holdersOf(t, c)[ref]; !slices.Equal(got, want) {
		t.Errorf("objref %d: holders %v; want %v", ref, got, want)
	}
}

func ExampleDumper_SetHolder() {
	kinds := []engine.KindOps{{Name: "file", Users: func(engine.Ptr) int64 { return 3 }}}
	ckpt, err := engine.NewCheckpoint(engine.Options{Kinds: kinds, TrackHolders: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ckpt.Close()
	d := ckpt.Dumper()
	for _, task := range []uint64{100, 101} {
		d.SetHolder(task)
		if _, _, err := d.Encounter(0xffff888101000100, file); err != nil {
			fmt.Println(err)
		}
	}
	d.Close()
	fmt.Print(ckpt.Audit())
	// Output:
	// audit of 1 objects: 1 leaks out, 0 leaks in, 0 late, 0 not dumped
	//
	// leaks out: held from outside of the checkpoint as well
	//   file 0xffff888101000100, objref 1: 2 counted, 3 real
	//     holder 100: 1
	//     holder 101: 1
}

// Every way to meet an object notes who met it, whether it is the first to do so or
// not, and whatever kind and address the object has.
func TestHolders_everyPath(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		o.Kinds = auditable(300)
		c := newCheckpoint(t, tracking(o))
		d := newDumper(t, c)
		want := map[engine.ObjRef][]engine.Holder{}
		const holders = 3
		for i, p := range []engine.Ptr{addr(1), wide(1)} {
			for _, k := range []engine.Kind{1, 254, 300} {
				p += engine.Ptr(k) << 16
				batch := []engine.Ptr{p + 8, p, p + 8, 0, p}
				refs := make([]engine.ObjRef, len(batch))
				for h := range uint64(holders) {
					d.SetHolder(h)
					ref, _, err := d.Encounter(p, k)
					if err != nil {
						t.Fatal(err)
					}
					if ref2, err := d.Dump(p, k, dumpOK); ref2 != ref || err != nil {
						t.Fatalf("Dump = %d, %v; want %d", ref2, err, ref)
					}
					wantErr(t, "batch with address 0", d.EncounterBatch(batch, k, refs, nil), engine.ErrInvalid)
					if _, _, err := d.Encounter(p, k%300+1); err == nil {
						t.Error("met under another kind")
					}
					want[ref] = append(want[ref], engine.Holder{ID: h, Users: 4})
					want[refs[0]] = append(want[refs[0]], engine.Holder{ID: h, Users: 2})
					key := fmt.Appendf(nil, "%d:%d", i, k)
					for range 2 {
						if _, _, err := d.EncounterKey(key, k); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
		}
		closeQuietly(t, d)
		got := holdersOf(t, c)
		if len(got) != len(want) {
			t.Errorf("%d objects have holders; want %d", len(got), len(want))
		}
		for ref, holders := range want {
			if !slices.Equal(got[ref], holders) {
				t.Errorf("objref %d: holders %v; want %v", ref, got[ref], holders)
			}
		}
	})
}

// Until the first SetHolder the holder is 0; a batch, and objects that Grab meets, have
// the holder that is set when they are met; SetHolder makes all before it visible.
func TestHolders_setHolder(t *testing.T) {
	kinds := auditable(2)
	c := newCheckpoint(t, tracking(engine.Options{Kinds: kinds}))
	d := newDumper(t, c)
	mustMeet(t, d, addr(1), 1, 1, true)
	d.SetHolder(1 << 63)
	wantMet := func(users int64) {
		t.Helper()
		for _, e := range c.Audit().LeaksOut {
			if want := []engine.Holder{{ID: 0, Users: users}}; !slices.Equal(e.Holders, want) {
				t.Errorf("holders %v; want %v", e.Holders, want)
			}
		}
	}
	wantMet(1)
	d.SetHolder(0) // a holder can be set again
	mustMeet(t, d, addr(1), 1, 1, false)
	d.SetHolder(0)
	wantMet(2)
	d.SetHolder(^uint64(0))
	mustMeet(t, d, addr(1), 1, 1, false)
	closeQuietly(t, d)
	wantHolders(t, c, 1, engine.Holder{ID: 0, Users: 2}, engine.Holder{ID: ^uint64(0), Users: 1})
}

func TestHolders_setHolderWithoutEffect(t *testing.T) {
	var none *engine.Dumper
	none.SetHolder(1)
	(*engine.Checkpoint)(nil).Dumper().SetHolder(1)
	c := newCheckpoint(t, engine.Options{Kinds: auditable(1)})
	d := newDumper(t, c)
	d.SetHolder(1)
	mustMeet(t, d, addr(1), 1, 1, true)
	closeQuietly(t, d)
	d.SetHolder(2)
	if r := c.Audit(); r.HoldersTracked || len(r.LeaksOut) != 1 || r.LeaksOut[0].Holders != nil {
		t.Errorf("holders are not tracked, but: %+v", r)
	}
	tracked := newCheckpoint(t, tracking(engine.Options{Kinds: auditable(1)}))
	d = newDumper(t, tracked)
	closeQuietly(t, d)
	d.SetHolder(1)
	closeQuietly(t, tracked)
	d.SetHolder(2)
}

// Runs of all lengths around those of a chunk.
func TestHolders_runsOfAllLengths(t *testing.T) {
	c := newCheckpoint(t, tracking(engine.Options{Kinds: auditable(1)}))
	lengths := []int{16_379, 1, 16_378, 2, 16_380, 16_384, 40_000}
	for n := range 140 {
		lengths = append(lengths, n)
	}
	want := []engine.Holder{}
	d := newDumper(t, c)
	for h, n := range lengths {
		if h%7 == 0 {
			closeQuietly(t, d)
			d = newDumper(t, c)
		}
		d.SetHolder(uint64(h))
		for range n {
			mustMeet(t, d, addr(0), 1, 1, c.Len() == 0)
		}
		if n > 0 {
			want = append(want, engine.Holder{ID: uint64(h), Users: int64(n)})
		}
	}
	closeQuietly(t, d)
	wantHolders(t, c, 1, want...)
}

// A handle goes on where one that is closed has stopped, however little room it left.
func TestHolders_chunksOfClosedHandles(t *testing.T) {
	for first := range 70 {
		c := newCheckpoint(t, tracking(engine.Options{Kinds: auditable(1)}))
		for _, n := range []int{first, 1, 2, 70} {
			d := newDumper(t, c)
			for range n {
				mustMeet(t, d, addr(0), 1, 1, c.Len() == 0)
			}
			closeQuietly(t, d)
		}
		wantHolders(t, c, 1, engine.Holder{ID: 0, Users: int64(first) + 73})
	}
}

// A Grab that uses the handle it is called for, and a Drop that closes it.
func TestHolders_callbacksUseTheHandle(t *testing.T) {
	for _, inner := range []int{1, 53, 54, 55, 57, 58, 59, 60, 64, 500} {
		var d *engine.Dumper
		kinds := auditable(2)
		kinds[0].Grab = func(engine.Ptr) error {
			d.SetHolder(7)
			for range inner {
				if _, _, err := d.Encounter(addr(1000), 2); err != nil {
					return err
				}
			}
			d.SetHolder(8)
			return nil
		}
		c := newCheckpoint(t, tracking(engine.Options{Kinds: kinds}))
		d = newDumper(t, c)
		for i := range 10 {
			if _, first, err := d.Encounter(addr(i), 1); !first || err != nil {
				t.Fatalf("Encounter: %t, %v", first, err)
			}
		}
		closeQuietly(t, d)
		ref, _ := c.Lookup(addr(1000))
		wantHolders(t, c, ref, engine.Holder{ID: 7, Users: int64(10 * inner)})
		ref, _ = c.Lookup(addr(3))
		wantHolders(t, c, ref, engine.Holder{ID: 8, Users: 1})
	}

	// Another handle wins the race while this one grabs; the Drop of the loser closes it.
	var d, winner *engine.Dumper
	kinds := auditable(1)
	depth := 0
	kinds[0].Grab = func(p engine.Ptr) error {
		if depth++; depth == 1 {
			_, _, err := winner.Encounter(p, 1)
			return err
		}
		return nil
	}
	kinds[0].Drop = func(engine.Ptr, bool) { _ = d.Close() }
	c := newCheckpoint(t, tracking(engine.Options{Kinds: kinds}))
	d, winner = newDumper(t, c), newDumper(t, c)
	_, _, err := d.Encounter(addr(1), 1)
	wantErr(t, "handle closed by its own Drop", err, engine.ErrClosed)
	closeQuietly(t, winner)
	ref, _ := c.Lookup(addr(1))
	wantHolders(t, c, ref, engine.Holder{ID: 0, Users: 1})
}

// G21 for holders: in any interleaving, the users of each object and holder are those
// of an oracle once handles are closed.
func TestG21_holdersAgainstAnOracle(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		const workers, objects, holders = 4, 300, 20
		o.Kinds = auditable(1)
		c := newCheckpoint(t, tracking(o))
		type met struct {
			p      engine.Ptr
			holder uint64
		}
		var oracles [workers]map[met]int64
		parallel(workers, func(w int) {
			rng := rand.New(rand.NewPCG(21, uint64(w)))
			oracle := map[met]int64{}
			oracles[w] = oracle
			d := c.Dumper()
			defer func() { _ = d.Close() }()
			holder := uint64(0)
			for range sized(20_000) {
				switch p := addr(rng.IntN(objects)); rng.IntN(200) {
				case 0:
					_ = d.Close()
					d = c.Dumper()
					holder = 0
				case 1, 2, 3:
					holder = rng.Uint64N(holders)
					d.SetHolder(holder)
				case 4:
					refs := make([]engine.ObjRef, 10)
					batch := make([]engine.Ptr, len(refs))
					for i := range batch {
						batch[i] = addr(rng.IntN(objects))
						oracle[met{batch[i], holder}]++
					}
					if err := d.EncounterBatch(batch, 1, refs, nil); err != nil {
						t.Error(err)
					}
				case 5:
					if rng.IntN(10) == 0 {
						c.Audit() // sees something, disturbs nobody
					}
				default:
					if _, _, err := d.Encounter(p, 1); err != nil {
						t.Error(err)
					}
					oracle[met{p, holder}]++
				}
			}
		})
		want := map[met]int64{}
		for _, oracle := range oracles {
			for m, n := range oracle {
				want[m] += n
			}
		}
		got := holdersOf(t, c)
		for m, n := range want {
			ref, _ := c.Lookup(m.p)
			if !slices.Contains(got[ref], engine.Holder{ID: m.holder, Users: n}) {
				t.Errorf("objref %d: holders %v; want %d with %d users", ref, got[ref], m.holder, n)
			}
		}
		for _, holders := range got {
			for _, h := range holders {
				want[met{0, h.ID}] -= h.Users
			}
		}
		for m, n := range want {
			if m.p != 0 {
				want[met{0, m.holder}] += n
			}
		}
		for m, n := range want {
			if m.p == 0 && n != 0 {
				t.Errorf("holder %d: %d users too few", m.holder, n)
			}
		}
	})
}

// An encounter whose holder cannot be noted is an ErrLimit that has changed nothing,
// wherever the limit strikes; what was accepted is all there.
func TestG4_noRoomForAHolderChangesNothing(t *testing.T) {
	strikes := 0 // by a known object, of which only the holder needs room
	for limit := int64(14_000); limit < int64(sized(120_000))+20_000; limit += 1_111 {
		l := newLedger(t, 1)
		real := map[engine.Ptr]int64{}
		l.kinds[0].Users = func(p engine.Ptr) int64 { return real[p] + 1 }
		o := tracking(with(engine.Options{Shards: 1, MaxBytes: limit, Seed: 3}, l))
		c, err := engine.NewCheckpoint(o)
		if err != nil {
			wantErr(t, "NewCheckpoint", err, engine.ErrLimit)
			continue
		}
		ds := [2]*engine.Dumper{c.Dumper(), c.Dumper()}
		var holders [2]map[engine.Ptr]int64
		holders[0], holders[1] = map[engine.Ptr]int64{}, map[engine.Ptr]int64{}
		rng := rand.New(rand.NewPCG(4, uint64(limit)))
		for failures, i := 0, 0; failures < 20; i++ {
			h := rng.IntN(2)
			d := ds[h]
			d.SetHolder(uint64(h))
			p := addr(rng.IntN(i/8 + 1))
			known, _ := c.Lookup(p)
			before := c.Len()
			var ref engine.ObjRef
			switch i % 4 {
			case 0:
				var refs [1]engine.ObjRef
				err = d.EncounterBatch([]engine.Ptr{p}, 1, refs[:], nil)
				ref = refs[0]
			case 1:
				ref, err = d.Dump(p, 1, dumpOK)
			default:
				ref, _, err = d.Encounter(p, 1)
			}
			if err == nil {
				real[p]++
				holders[h][p]++
				continue
			}
			failures++
			wantErr(t, "no room", err, engine.ErrLimit)
			if known != 0 {
				strikes++
				wantMessage(t, err, "holder", fmt.Sprint(h))
				bytes := c.Stats().Bytes
				_, _, err := d.Encounter(p, 1)
				wantErr(t, "still no room", err, engine.ErrLimit)
				if after := c.Stats().Bytes; after != bytes {
					t.Errorf("%d bytes in use, %d after an encounter that failed", bytes, after)
				}
			}
			if b := l.of(p, 1); ref != 0 || c.Len() != before || b.grabs-b.drops != min(int(real[p]), 1) {
				t.Fatalf("failed, but returns %d; %d objects after %d; %+v", ref, c.Len(), before, b)
			}
			if _, err := d.Reserve(); err != nil {
				wantErr(t, "Reserve", err, engine.ErrLimit)
			}
			if b := c.Stats().Bytes; b > limit {
				t.Fatalf("%d bytes in use, of %d", b, limit)
			}
		}
		for _, d := range ds {
			closeQuietly(t, d)
		}
		if r := c.Audit(); !r.OK() || r.Objects != len(real) {
			t.Fatalf("MaxBytes %d: %d objects; want %d\n%v", limit, r.Objects, len(real), r)
		}
		for p := range real {
			real[p] += 1 << 40
		}
		for _, e := range c.Audit().LeaksOut {
			var want []engine.Holder
			for h := range holders {
				if n := holders[h][e.Ptr]; n > 0 {
					want = append(want, engine.Holder{ID: uint64(h), Users: n})
				}
			}
			if !slices.Equal(e.Holders, want) {
				t.Fatalf("MaxBytes %d: objref %d has holders %v; want %v", limit, e.Ref, e.Holders, want)
			}
		}
		closeQuietly(t, c)
		l.settled()
	}
	if strikes == 0 {
		t.Error("no limit was reached by a known object")
	}
}

// A batch and a Reserve fail alike, and go on when there is room, as by another
// handle's chunk.
func TestG4_noRoomForAReservedObjrefOrABatch(t *testing.T) {
	for limit := int64(16_000); limit < 60_000; limit += 2_000 {
		c := newCheckpoint(t, tracking(engine.Options{Kinds: auditable(1), Shards: 1, MaxBytes: limit}))
		d, other := newDumper(t, c), newDumper(t, c)
		accepted, refs := 0, make([]engine.ObjRef, 50)
		if _, _, err := other.Encounter(addr(0), 1); err != nil {
			continue
		}
		batch := slices.Repeat([]engine.Ptr{addr(0)}, len(refs))
		for done := false; !done; {
			err := d.EncounterBatch(batch, 1, refs, nil)
			for _, ref := range refs {
				if ref != 0 {
					accepted++
				}
			}
			done = err != nil
			if done {
				wantErr(t, "batch", err, engine.ErrLimit)
			}
		}
		before := c.Stats()
		if ref, err := d.Reserve(); err == nil || ref != 0 {
			t.Errorf("MaxBytes %d: Reserve = %d, %v; there was no room", limit, ref, err)
		}
		if after := c.Stats(); after.Reserved != 0 || after.Objects != before.Objects {
			t.Errorf("MaxBytes %d: %+v after a Reserve that failed", limit, after)
		}
		closeQuietly(t, other) // leaves its chunk
		mustMeet(t, d, addr(0), 1, 1, false)
		closeQuietly(t, d)
		wantHolders(t, c, 1, engine.Holder{ID: 0, Users: int64(accepted) + 2})
	}
}

func TestG25_holdersTakeWhatIsDocumented(t *testing.T) {
	measure := func(o engine.Options, handles, setHolders, encounters int) int64 {
		o.Kinds, o.Seed = auditable(1), 1 // one hash function: indexes of one size
		c := newCheckpoint(t, o)
		for range handles {
			d := c.Dumper()
			for h := range setHolders {
				d.SetHolder(uint64(h))
				for i := range encounters {
					if _, _, err := d.Encounter(addr(i%64), 1); err != nil {
						t.Fatal(err)
					}
				}
			}
			closeQuietly(t, d)
		}
		return c.Stats().Bytes
	}
	for _, m := range []struct{ handles, setHolders, encounters int }{
		{1, 1, 1}, {1, 1, 1_000}, {1, 1, sized(300_000)}, {1, 1_000, 1}, {1, sized(10_000), 7}, {1_000, 1, 1}, {300, 3, 20},
	} {
		plain := measure(engine.Options{}, m.handles, m.setHolders, m.encounters)
		tracked := measure(engine.Options{TrackHolders: true}, m.handles, m.setHolders, m.encounters)
		runs := m.handles * m.setHolders
		documented := int64(4*runs*m.encounters + 20*runs)
		reserve := 64<<10 + documented/8 // ends of chunks, and what is charged beside them
		reserve = min(reserve, documented+512)
		if cost := tracked - plain; cost < documented || cost > documented+reserve {
			t.Errorf("%+v: %d bytes for holders; want %d, and at most %d in reserve", m, cost, documented, reserve)
		}
	}
}
