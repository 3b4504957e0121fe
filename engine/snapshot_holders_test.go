package engine_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/objhash/objhash/engine"
)

// G22: the holders of a context that tracks them are in its snapshot, by object and by
// holder, and reserved objrefs, which holders have as well, are in nobody's way.
func TestG22_snapshotHasTheHolders(t *testing.T) {
	rng := rand.New(rand.NewPCG(22, 1))
	c := newCheckpoint(t, engine.Options{Kinds: []engine.KindOps{{Name: "a"}}, TrackHolders: true})
	oracle := map[engine.ObjRef]map[uint64]int64{}
	for range 3 {
		d := newDumper(t, c)
		for range sized(40_000) {
			holder := rng.Uint64N(20)
			d.SetHolder(holder)
			if rng.IntN(50) == 0 {
				if _, err := d.Reserve(); err != nil {
					t.Fatal(err)
				}
				continue
			}
			var ref engine.ObjRef
			var err error
			switch i := rng.IntN(6_000); i % 7 {
			case 0:
				ref, _, err = d.EncounterKey([]byte{'k', byte(i), byte(i >> 8)}, 1)
			case 1:
				ref, _, err = d.Encounter(wide(i), 1)
			default:
				ref, _, err = d.Encounter(addr(i), 1)
			}
			if err != nil {
				t.Fatal(err)
			}
			if oracle[ref] == nil {
				oracle[ref] = map[uint64]int64{}
			}
			oracle[ref][holder]++
		}
		closeQuietly(t, d)
	}
	s := readSnapshot(t, writeSnapshot(t, c))
	objects := 0
	for _, o := range s.Objects {
		if o.Flags&engine.Reserved != 0 {
			if o.Holders != nil {
				t.Errorf("reserved objref %d has holders %v", o.Ref, o.Holders)
			}
			continue
		}
		objects++
		got := map[uint64]int64{}
		users := int64(0)
		for _, h := range o.Holders {
			got[h.ID] = h.Users
			users += h.Users
		}
		ascending := slices.IsSortedFunc(o.Holders, func(a, b engine.Holder) int { return int(a.ID) - int(b.ID) })
		if !ascending || users != o.Users || !reflect.DeepEqual(got, oracle[o.Ref]) {
			t.Fatalf("objref %d: %d users, holders %v; want %v", o.Ref, o.Users, o.Holders, oracle[o.Ref])
		}
	}
	if objects != len(oracle) {
		t.Errorf("%d objects; want %d", objects, len(oracle))
	}
}

// An object of the base that is first met in the dump pass is late, one that was met
// in the collect pass is not; its holders are those of this round.
func TestAudit_ofARound(t *testing.T) {
	o := engine.Options{Kinds: []engine.KindOps{{Name: "a", Users: func(engine.Ptr) int64 { return 1 }}}, TrackHolders: true}
	c := newCheckpoint(t, o)
	d := newDumper(t, c)
	for i := range 200 {
		mustMeet(t, d, addr(i), 1, engine.ObjRef(i+1), true)
	}
	closeQuietly(t, d)
	s := readSnapshot(t, writeSnapshot(t, c))
	next, err := engine.NewCheckpointFrom(o, s)
	if err != nil {
		t.Fatal(err)
	}
	defer closeQuietly(t, next)
	d = newDumper(t, next)
	d.SetHolder(7)
	for i := range 100 {
		mustMeet(t, d, addr(2*i), 1, engine.ObjRef(2*i+1), true)
	}
	mustMeet(t, d, addr(0), 1, 1, false)
	if err := next.EndCollect(); err != nil {
		t.Fatal(err)
	}
	mustMeet(t, d, addr(1), 1, 2, true)
	mustMeet(t, d, addr(999), 1, 201, true)
	closeQuietly(t, d)
	r := next.Audit()
	if len(r.Late) != 2 || r.Late[0].Ref != 2 || r.Late[1].Ref != 201 {
		t.Errorf("late: %+v", r.Late)
	}
	if len(r.LeaksIn) != 1 || r.LeaksIn[0].Ref != 1 || !slices.Equal(r.LeaksIn[0].Holders, []engine.Holder{{ID: 7, Users: 2}}) {
		t.Errorf("leaks in: %+v", r.LeaksIn)
	}
	if len(r.NotDumped) != 100 || len(r.LeaksOut) != 0 {
		t.Errorf("%d not dumped, %d leaks out", len(r.NotDumped), len(r.LeaksOut))
	}
}

// G22: a report that is written with a snapshot is read back as it was, and one that is
// not sound is refused.
func TestG22_snapshotWithAnAudit(t *testing.T) {
	o := engine.Options{TrackHolders: true, Kinds: []engine.KindOps{{Name: "a", Users: func(p engine.Ptr) int64 { return int64(p) / 64 % 3 }}}}
	c := newCheckpoint(t, o)
	for w := range 3 {
		d := newDumper(t, c)
		d.SetHolder(uint64(w))
		for i := range 5_000 {
			if _, _, err := d.Encounter(addr(i), 1); err != nil {
				t.Fatal(err)
			}
			if _, _, err := d.EncounterKey([]byte{1, byte(i), byte(i >> 8)}, 1); err != nil {
				t.Fatal(err)
			}
		}
		closeQuietly(t, d)
	}
	report := c.Audit()
	if report.OK() {
		t.Fatal("nothing leaks")
	}
	for _, want := range []*engine.AuditReport{nil, {}, report, report.Without(engine.Allow{Kinds: []engine.Kind{1}})} {
		var b bytes.Buffer
		if err := c.WriteSnapshotAndAudit(&b, want); err != nil {
			t.Fatal(err)
		}
		whole := bytes.Clone(b.Bytes())
		s, err := engine.ReadSnapshot(&b)
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(s.Audit)
		if err != nil {
			t.Fatal(err)
		}
		if text, _ := json.Marshal(want); !bytes.Equal(got, text) || len(s.Objects) != 10_000 {
			t.Errorf("%d objects; audit %s; want %s", len(s.Objects), got, text)
		}
		rng := rand.New(rand.NewPCG(22, 2))
		for range 200 {
			i := len(whole) - 1 - rng.IntN(min(len(whole), 4_000)) // the audit is at the end
			bit := byte(1) << rng.IntN(8)
			whole[i] ^= bit
			_, err := engine.ReadSnapshot(bytes.NewReader(whole))
			wantErr(t, "a changed snapshot", err, engine.ErrSnapshot)
			whole[i] ^= bit
		}
	}
	closeQuietly(t, c)
	if err := c.WriteSnapshotAndAudit(&bytes.Buffer{}, report); err == nil {
		t.Error("a closed context has been written")
	}
}

// The base of a round may have gaps that nobody made records for.
func TestG22_snapshotOfAHolderWithGaps(t *testing.T) {
	o := engine.Options{TrackHolders: true, Kinds: []engine.KindOps{{}}}
	base := &engine.Snapshot{Kinds: []string{""}}
	for i, ref := range []engine.ObjRef{1, 5_000, 60_000} {
		base.Objects = append(base.Objects, engine.SnapshotObject{Ref: ref, Object: engine.Object{Ptr: addr(i), Kind: 1}})
	}
	c, err := engine.NewCheckpointFrom(o, base)
	if err != nil {
		t.Fatal(err)
	}
	defer closeQuietly(t, c)
	d := newDumper(t, c)
	d.SetHolder(7)
	mustMeet(t, d, addr(0), 1, 1, true)
	mustMeet(t, d, addr(2), 1, 60_000, true)
	closeQuietly(t, d)
	s := readSnapshot(t, writeSnapshot(t, c))
	if len(s.Objects) != 2 || s.Objects[1].Ref != 60_000 || !slices.Equal(s.Objects[1].Holders, []engine.Holder{{ID: 7, Users: 1}}) {
		t.Errorf("objects: %+v", s.Objects)
	}
}
