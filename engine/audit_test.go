package engine_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/objhash/objhash/engine"
)

// A file that something outside of the two tasks holds as well, one that was closed
// while the tasks were walked, and one that was opened after.
func ExampleCheckpoint_Audit() {
	const shared, closing, opened = 0x1000, 0x2000, 0x3000
	references := map[engine.Ptr]int64{shared: 3, closing: 1, opened: 1}
	kinds := []engine.KindOps{{Name: "file", Users: func(p engine.Ptr) int64 { return references[p] }}}

	ckpt, err := engine.NewCheckpoint(engine.Options{Kinds: kinds, TrackHolders: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ckpt.Close()
	d := ckpt.Dumper()
	for _, task := range []uint64{100, 101} {
		d.SetHolder(task)
		for _, p := range []engine.Ptr{shared, closing} {
			if _, _, err := d.Encounter(p, file); err != nil {
				fmt.Println(err)
			}
		}
	}
	if err := ckpt.EndCollect(); err != nil {
		fmt.Println(err)
	}
	for _, p := range []engine.Ptr{shared, opened} {
		if _, err := d.Dump(p, file, func(engine.ObjRef) error { return nil }); err != nil {
			fmt.Println(err)
		}
	}
	d.Close()

	report := ckpt.Audit()
	fmt.Println(report.OK())
	fmt.Print(report)
	fmt.Print(report.Without(engine.Allow{Refs: []engine.ObjRef{1, 2, 3}}))
	// Output:
	// false
	// audit of 3 objects: 1 leaks out, 1 leaks in, 1 late, 1 not dumped
	//
	// leaks out: held from outside of the checkpoint as well
	//   file 0x1000, objref 1: 2 counted, 3 real
	//     holder 100: 1
	//     holder 101: 1
	//
	// leaks in: met more often than it is held
	//   file 0x2000, objref 2: 2 counted, 1 real
	//     holder 100: 1
	//     holder 101: 1
	//
	// late: first met after the collect pass
	//   file 0x3000, objref 3: 0 counted, 1 real
	//
	// not dumped: collected, but its state was not saved
	//   file 0x2000, objref 2: 2 counted, 1 real
	//     holder 100: 1
	//     holder 101: 1
	// audit of 3 objects: nothing found
}

// refsIn returns the objrefs of a list of entries.
func refsIn(entries []engine.Entry) []engine.ObjRef {
	refs := []engine.ObjRef{}
	for _, e := range entries {
		refs = append(refs, e.Ref)
	}
	return refs
}

func wantRefs(t testing.TB, what string, entries []engine.Entry, want ...engine.ObjRef) {
	t.Helper()
	if got := refsIn(entries); !slices.Equal(got, want) {
		t.Errorf("%s: objrefs %v; want %v", what, got, want)
	}
}

// auditOracle is a system whose references are known, with two kinds for each of:
// held by the context or not; audited or not.
type auditOracle struct {
	kinds   []engine.KindOps
	counted map[engine.Ptr]int64
	kindOf  map[engine.Ptr]engine.Kind
	leaks   map[engine.Ptr]int64 // real less counted
	late    map[engine.Ptr]bool
	dumped  map[engine.Ptr]bool
}

func newAuditOracle() *auditOracle {
	o := &auditOracle{
		counted: map[engine.Ptr]int64{}, kindOf: map[engine.Ptr]engine.Kind{}, leaks: map[engine.Ptr]int64{},
		late: map[engine.Ptr]bool{}, dumped: map[engine.Ptr]bool{},
	}
	for k := engine.Kind(1); k <= 4; k++ {
		ops := engine.KindOps{Name: name(k)}
		if o.grabbed(k) {
			ops.Grab = func(engine.Ptr) error { return nil }
		}
		if o.audited(k) {
			ops.Users = o.real
		}
		o.kinds = append(o.kinds, ops)
	}
	return o
}

func (o *auditOracle) grabbed(k engine.Kind) bool { return k%2 == 0 }
func (o *auditOracle) audited(k engine.Kind) bool { return k <= 2 }

// real is what the system says; it knows nothing of late objects' references.
func (o *auditOracle) real(p engine.Ptr) int64 {
	n := o.counted[p] + o.leaks[p]
	if o.grabbed(o.kindOf[p]) {
		n++
	}
	return n
}

// want checks that r says all that there is to be said, once.
func (o *auditOracle) want(t testing.TB, c *engine.Checkpoint, r *engine.AuditReport, passes bool) {
	t.Helper()
	var out, in, late, notDumped []engine.ObjRef
	for p, k := range o.kindOf {
		ref, ok := c.Lookup(p)
		switch {
		case !ok:
			t.Fatalf("%#x is lost", p)
		case o.late[p]:
			late = append(late, ref)
		case o.audited(k) && o.leaks[p] > 0:
			out = append(out, ref)
		case o.audited(k) && o.leaks[p] < 0:
			in = append(in, ref)
		}
		if passes && !o.late[p] && !o.dumped[p] {
			notDumped = append(notDumped, ref)
		}
	}
	for _, want := range []struct {
		what    string
		entries []engine.Entry
		refs    []engine.ObjRef
	}{{"out", r.LeaksOut, out}, {"in", r.LeaksIn, in}, {"late", r.Late, late}, {"not dumped", r.NotDumped, notDumped}} {
		slices.Sort(want.refs)
		wantRefs(t, want.what, want.entries, want.refs...)
		for _, e := range want.entries {
			audited := o.audited(o.kindOf[e.Ptr])
			real := int64(0)
			if audited {
				real = o.counted[e.Ptr] + o.leaks[e.Ptr]
			}
			if e.Kind != o.kindOf[e.Ptr] || e.KindName != name(e.Kind) || e.Audited != audited || e.Real != real ||
				e.Counted != o.counted[e.Ptr] || e.Key != nil {
				t.Errorf("%s: %+v; want kind %d, %d counted, %d real (%t)", want.what, e, o.kindOf[e.Ptr], o.counted[e.Ptr], real, audited)
			}
		}
	}
	if r.Objects != len(o.kindOf) || r.OK() != (len(out)+len(in)+len(late)+len(notDumped) == 0) {
		t.Errorf("%d objects, OK is %t; want %d objects", r.Objects, r.OK(), len(o.kindOf))
	}
}

// G21: counted users equal the oracle's, and so the audit finds exactly the leaks that
// were planted, in both directions, and exactly the objects that came late or were not
// dumped.
func TestG21_auditAgainstAnOracle(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		for round := range 4 {
			const workers = 3
			rng := rand.New(rand.NewPCG(21, uint64(round)))
			oracle := newAuditOracle()
			o.Kinds = oracle.kinds
			o.TrackHolders = round%2 == 1
			c := newCheckpoint(t, o)
			objects := sized(1_000)
			place := func(i int) (engine.Ptr, engine.Kind) {
				if i%5 == 0 {
					return wide(i), engine.Kind(i%4 + 1)
				}
				return addr(i), engine.Kind(i%4 + 1)
			}
			// Collect: everybody meets some objects; who meets what was decided before.
			var lists [workers][]int
			for w := range lists {
				for range objects * 2 {
					i := rng.IntN(objects)
					p, k := place(i)
					lists[w] = append(lists[w], i)
					oracle.counted[p]++
					oracle.kindOf[p] = k
				}
			}
			for p := range oracle.kindOf {
				if rng.IntN(10) == 0 {
					oracle.leaks[p] = max(rng.Int64N(9)-4, -oracle.counted[p])
				}
			}
			handles := make([]*engine.Dumper, workers)
			parallel(workers, func(w int) {
				d := c.Dumper()
				for n, i := range lists[w] {
					d.SetHolder(uint64(n % 10))
					p, k := place(i)
					if _, _, err := d.Encounter(p, k); err != nil {
						t.Error(err)
					}
				}
				if w == 0 {
					closeQuietly(t, d)
					d = c.Dumper()
				}
				handles[w] = d
			})
			if round >= 2 {
				// Dump: most of them, and some that nobody has met before.
				if err := c.EndCollect(); err != nil {
					t.Fatal(err)
				}
				seen := oracle.kindOf
				oracle.kindOf = map[engine.Ptr]engine.Kind{}
				var dumps [workers][]int
				for i := range objects + 200 {
					p, k := place(i)
					_, met := seen[p]
					if met || i >= objects {
						oracle.kindOf[p] = k
						oracle.late[p] = !met
					}
					if !met && i < objects || rng.IntN(4) == 0 && met {
						continue
					}
					oracle.dumped[p] = true
					for w := range dumps {
						if rng.IntN(2) == 0 || w == i%workers {
							dumps[w] = append(dumps[w], i)
						}
					}
				}
				parallel(workers, func(w int) {
					for _, i := range dumps[w] {
						p, k := place(i)
						if _, err := handles[w].Dump(p, k, dumpOK); err != nil {
							t.Error(err)
						}
					}
				})
			}
			for _, d := range handles {
				closeQuietly(t, d)
			}
			oracle.want(t, c, c.Audit(), round >= 2)
		}
	})
}

// In the dump pass nothing is counted and nobody noted, on any path; without it
// everything is.
func TestG21_dumpPassCountsNothing(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		for _, track := range []bool{false, true} {
			o.Kinds = auditable(300)
			o.TrackHolders = track
			c := newCheckpoint(t, o)
			d := newDumper(t, c)
			meetAll := func() {
				for _, k := range []engine.Kind{1, 300} {
					for _, p := range []engine.Ptr{addr(int(k)), wide(int(k))} {
						refs := make([]engine.ObjRef, 2)
						_, _, err := d.Encounter(p, k)
						_, errDump := d.Dump(p, k, dumpOK)
						errBatch := d.EncounterBatch([]engine.Ptr{p, p}, k, refs, nil)
						_, _, errKey := d.EncounterKey(fmt.Append(nil, "key", k), k)
						if err := errors.Join(err, errDump, errBatch, errKey); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			meetAll()
			if err := c.EndCollect(); err != nil {
				t.Fatal(err)
			}
			bytes := c.Stats().Bytes
			for range 10 {
				meetAll()
			}
			if after := c.Stats().Bytes; after != bytes {
				t.Errorf("%d bytes before the dump pass, %d after", bytes, after)
			}
			mustMeet(t, d, addr(1), 1, 1, false)
			_, _, err := d.Encounter(addr(1), 2)
			wantKindError(t, "other kind", err, engine.KindError{Ref: 1, Have: 1, Want: 2})
			closeQuietly(t, d)
			for ref, o := range c.All() {
				want := int64(4)
				if o.Flags&engine.Keyed != 0 {
					want = 2
				}
				if o.Users != want {
					t.Errorf("objref %d: %d users; want %d", ref, o.Users, want)
				}
			}
			if track {
				for _, h := range holdersOf(t, c) {
					if want := []engine.Holder{{ID: 0, Users: 4}}; !slices.Equal(h, want) {
						t.Errorf("holders %v; want %v", h, want)
					}
				}
			}
		}
	})
}

// An object is late exactly if it was first met after EndCollect, whether its objref
// was never given out, lay in an open handle's lease, or had been given back.
func TestAudit_late(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		o.Kinds = []engine.KindOps{{Name: "file"}}
		rng := rand.New(rand.NewPCG(3, 4))
		for range 20 {
			c := newCheckpoint(t, o)
			var open []*engine.Dumper
			n := 0
			meet := func(d *engine.Dumper) {
				var err error
				switch n++; rng.IntN(5) {
				case 0:
					_, _, err = d.EncounterKey(fmt.Append(nil, "key", n), 1)
				case 1:
					_, _, err = d.Encounter(wide(n), 1)
				case 2:
					_, err = d.Dump(addr(n), 1, dumpOK)
				default:
					_, _, err = d.Encounter(addr(n), 1)
				}
				if err != nil {
					t.Fatal(err)
				}
				if rng.IntN(20) == 0 {
					if _, err := d.Reserve(); err != nil {
						t.Fatal(err)
					}
				}
			}
			for range 10 {
				d := newDumper(t, c)
				for range rng.IntN(150) {
					meet(d)
				}
				if rng.IntN(2) == 0 {
					closeQuietly(t, d)
				} else {
					open = append(open, d)
				}
			}
			if r := c.Audit(); !r.OK() {
				t.Fatalf("before EndCollect:\n%v", r)
			}
			early := map[engine.ObjRef]bool{}
			for ref := range c.All() {
				early[ref] = true
			}
			if err := c.EndCollect(); err != nil {
				t.Fatal(err)
			}
			for range 300 {
				if i := rng.IntN(len(open) + 1); i < len(open) {
					meet(open[i])
				} else {
					open = append(open, newDumper(t, c))
				}
			}
			var want []engine.ObjRef
			for ref := range c.All() {
				if !early[ref] {
					want = append(want, ref)
				}
			}
			wantRefs(t, "late", c.Audit().Late, want...)
			for _, e := range c.Audit().Late {
				if o, _ := c.Object(e.Ref); e.Ptr != o.Ptr || !bytes.Equal(e.Key, o.Key) || e.Counted != 0 || e.KindName != "file" {
					t.Errorf("%+v; want what Object says: %+v", e, o)
				}
			}
		}
	})
}

// Only a dump that has succeeded counts, in whichever pass.
func TestAudit_notDumped(t *testing.T) {
	c := newCheckpoint(t, engine.Options{Kinds: []engine.KindOps{{}}})
	d := newDumper(t, c)
	for i := range 5 {
		mustMeet(t, d, addr(i), 1, engine.ObjRef(i+1), true)
	}
	if _, _, err := d.EncounterKey([]byte("not for Dump"), 1); err != nil {
		t.Fatal(err)
	}
	dump := func(i int, f func(engine.ObjRef) error) ending {
		return ends(func() error {
			_, err := d.Dump(addr(i), 1, f)
			return err
		})
	}
	if e := dump(0, dumpOK); e.err != nil { // before the dump pass
		t.Fatal(e.err)
	}
	if r := c.Audit(); len(r.NotDumped) != 0 {
		t.Errorf("before EndCollect:\n%v", r)
	}
	if err := c.EndCollect(); err != nil {
		t.Fatal(err)
	}
	wantRefs(t, "not dumped", c.Audit().NotDumped, 2, 3, 4, 5)
	for _, f := range fates {
		f.wantFate(t, "Dump", dump(1, func(engine.ObjRef) error { return f.meet() }))
	}
	wantRefs(t, "after failures", c.Audit().NotDumped, 2, 3, 4, 5)
	dump(2, func(engine.ObjRef) error {
		wantRefs(t, "while it is dumped", c.Audit().NotDumped, 2, 3, 4, 5)
		return nil
	})
	wantRefs(t, "after success", c.Audit().NotDumped, 2, 4, 5)
	if got := c.Audit().NotDumped[0]; got.KindName != "kind 1" || got.Audited || got.Real != 0 || got.Counted != 0 {
		t.Errorf("entry of an unnamed kind that is not audited: %+v", got)
	}
	dump(1, dumpOK)
	dump(3, dumpOK)
	dump(4, dumpOK)
	dump(9, func(engine.ObjRef) error { return errSick })
	r := c.Audit()
	wantRefs(t, "in the end", r.NotDumped)
	wantRefs(t, "late, and not dumped", r.Late, 7)
}

func TestAudit_endCollectErrors(t *testing.T) {
	wantErr(t, "nil context", (*engine.Checkpoint)(nil).EndCollect(), engine.ErrClosed)
	c := newCheckpoint(t, engine.Options{})
	if err := c.EndCollect(); err != nil {
		t.Fatal(err)
	}
	err := c.EndCollect()
	wantErr(t, "second call", err, engine.ErrInvalid)
	wantMessage(t, err, "collect", "before")
	closeQuietly(t, c)
	wantErr(t, "closed context", c.EndCollect(), engine.ErrClosed)
	never := newCheckpoint(t, engine.Options{})
	closeQuietly(t, never)
	wantErr(t, "closed context", never.EndCollect(), engine.ErrClosed)
}

// An empty report, not an error, and not a crash.
func TestAudit_closed(t *testing.T) {
	want := &engine.AuditReport{}
	if r := (*engine.Checkpoint)(nil).Audit(); !reflect.DeepEqual(r, want) || !r.OK() {
		t.Errorf("nil context: %+v", r)
	}
	var c *engine.Checkpoint
	kinds := auditable(1)
	c = newCheckpoint(t, tracking(engine.Options{Kinds: kinds}))
	d := newDumper(t, c)
	mustMeet(t, d, addr(1), 1, 1, true)
	if r := c.Audit(); len(r.LeaksOut) != 1 {
		t.Errorf("open context: %+v", r)
	}
	closeQuietly(t, c)
	if r := c.Audit(); !reflect.DeepEqual(r, want) {
		t.Errorf("closed context: %+v", r)
	}

	kinds[0].Users = func(engine.Ptr) int64 { closeQuietly(t, c); return 0 }
	c = newCheckpoint(t, tracking(engine.Options{Kinds: kinds}))
	d = newDumper(t, c)
	for i := range 10 {
		mustMeet(t, d, addr(i), 1, engine.ObjRef(i+1), true)
	}
	closeQuietly(t, d)
	if r := c.Audit(); !reflect.DeepEqual(r, want) {
		t.Errorf("context closed by Users: %+v", r)
	}
}

// Users may do with the context what it likes.
func TestG13_usersRunsUnderNoLock(t *testing.T) {
	forEachSetting(t, func(t *testing.T, o engine.Options) {
		var c *engine.Checkpoint
		var d *engine.Dumper
		calls, depth := 0, 0
		kinds := auditable(2)
		kinds[0].Users = func(p engine.Ptr) int64 {
			calls++
			if depth > 0 {
				return 1
			}
			depth++
			defer func() { depth-- }()
			d.SetHolder(uint64(calls))
			if _, _, err := d.Encounter(p, 1); err != nil {
				t.Error(err)
			}
			if _, _, err := d.Encounter(addr(10_000+calls), 2); err != nil {
				t.Error(err)
			}
			if _, err := d.Reserve(); err != nil {
				t.Error(err)
			}
			other := c.Dumper()
			if _, _, err := other.EncounterKey([]byte{1}, 2); err != nil {
				t.Error(err)
			}
			closeQuietly(t, other)
			c.Stats()
			c.Len()
			c.Audit()
			if _, err := c.Canonical(nil); err != nil {
				t.Error(err)
			}
			if calls > 1000 {
				_ = c.EndCollect()
			}
			return 1
		}
		o.Kinds = kinds
		c = newCheckpoint(t, tracking(o))
		d = newDumper(t, c)
		const objects = 20
		for i := range objects {
			mustMeet(t, d, addr(i), 1, engine.ObjRef(i+1), true)
		}
		if r := c.Audit(); r.Objects < objects || calls != objects+objects*objects {
			t.Errorf("%d objects, %d calls of Users", r.Objects, calls)
		}
	})
}

// What Users does in place of answering travels on, and leaves the context in order.
func TestAudit_panicTravelsOn(t *testing.T) {
	for _, f := range fates[1:] {
		sick := true
		kinds := auditable(1)
		kinds[0].Users = func(engine.Ptr) int64 {
			if sick {
				_ = f.meet()
			}
			return 1
		}
		c := newCheckpoint(t, engine.Options{Kinds: kinds})
		d := newDumper(t, c)
		mustMeet(t, d, addr(1), 1, 1, true)
		closeQuietly(t, d)
		f.wantFate(t, "Audit", ends(func() error { c.Audit(); return nil }))
		sick = false
		if r := c.Audit(); !r.OK() || r.Objects != 1 {
			t.Errorf("the audit after: %v", r)
		}
	}
}

// A report of one object under each heading, and two under one.
func someReport(t *testing.T) *engine.AuditReport {
	kinds := []engine.KindOps{
		{Name: "file", Users: func(p engine.Ptr) int64 { return int64(p) >> 60 & 7 }},
		{Name: "pipe"},
	}
	c := newCheckpoint(t, tracking(engine.Options{Kinds: kinds}))
	d := newDumper(t, c)
	d.SetHolder(1<<64 - 1)
	mustMeet(t, d, 0x7fff_ffff_ffff_ffff, 1, 1, true)
	mustMeet(t, d, 0x1fff_ffff_ffff_ffff, 1, 2, true)
	mustMeet(t, d, 0x0fff_ffff_ffff_ffff, 1, 3, true)
	d.SetHolder(2)
	mustMeet(t, d, 0x0fff_ffff_ffff_ffff, 1, 3, false)
	mustMeet(t, d, 0x4000, 2, 4, true)
	if err := c.EndCollect(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []engine.Ptr{0x7fff_ffff_ffff_ffff, 0x1fff_ffff_ffff_ffff, 0x0fff_ffff_ffff_ffff} {
		if _, err := d.Dump(p, 1, dumpOK); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := d.EncounterKey([]byte("8:100"), 2); err != nil {
		t.Fatal(err)
	}
	closeQuietly(t, d)
	return c.Audit()
}

func TestAudit_text(t *testing.T) {
	const want = `audit of 5 objects: 1 leaks out, 1 leaks in, 1 late, 1 not dumped

leaks out: held from outside of the checkpoint as well
  file 0x7fffffffffffffff, objref 1: 1 counted, 7 real
    holder 18446744073709551615: 1

leaks in: met more often than it is held
  file 0xfffffffffffffff, objref 3: 2 counted, 0 real
    holder 2: 1
    holder 18446744073709551615: 1

late: first met after the collect pass
  pipe key "8:100", objref 5: 0 counted

not dumped: collected, but its state was not saved
  pipe 0x4000, objref 4: 1 counted
    holder 2: 1
`
	r := someReport(t)
	if got := r.String(); got != want {
		t.Errorf("the report reads\n%s\nwant\n%s", got, want)
	}
	for after := range len(want) / 16 {
		w := &failing{after: after}
		if err := r.WriteText(w); after < w.writes && !errors.Is(err, errSick) {
			t.Errorf("a writer that fails after %d writes: %v", after, err)
		}
	}
	if got := (&engine.AuditReport{}).String(); got != "audit of 0 objects: nothing found\n" {
		t.Errorf("an empty report reads %q", got)
	}
}

// failing is a writer that fails after a number of writes.
type failing struct{ after, writes int }

func (f *failing) Write(p []byte) (int, error) {
	if f.writes++; f.writes > f.after {
		return 0, errSick
	}
	return len(p), nil
}

func TestAudit_json(t *testing.T) {
	r := someReport(t)
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{
		`{"objects":5,"holders_tracked":true,"leaks_out":[{"ref":1,"ptr":"0x7fffffffffffffff","kind":1,"kind_name":"file","counted":1,"audited":true,"real":7,"holders":[{"id":18446744073709551615,"users":1}]}]`,
		`"late":[{"ref":5,"key":"ODoxMDA=","kind":2,"kind_name":"pipe","counted":0,"audited":false,"real":0}]`,
	} {
		if !strings.Contains(string(text), part) {
			t.Errorf("%s\ndoes not contain\n%s", text, part)
		}
	}
	var again engine.AuditReport
	if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(r, &again) {
		t.Errorf("read again: %v, %+v; want %+v", err, again, r)
	}
	for _, bad := range []string{`""`, `"0x"`, `"-1"`, `"0x1ffffffffffffffff"`, `12`} {
		var p engine.Ptr
		if err := json.Unmarshal([]byte(bad), &p); err == nil {
			t.Errorf("%s is taken for address %#x", bad, p)
		}
	}
}

func TestAudit_without(t *testing.T) {
	r := someReport(t)
	whole := r.String()
	if got := r.Without(engine.Allow{}); !reflect.DeepEqual(got, r) {
		t.Errorf("without nothing: %v", got)
	}
	noFiles := r.Without(engine.Allow{Kinds: []engine.Kind{1}})
	wantRefs(t, "out", noFiles.LeaksOut)
	wantRefs(t, "in", noFiles.LeaksIn)
	wantRefs(t, "late", noFiles.Late, 5)
	wantRefs(t, "not dumped", noFiles.NotDumped, 4)
	some := r.Without(engine.Allow{Refs: []engine.ObjRef{1, 5, 77}})
	wantRefs(t, "out", some.LeaksOut)
	wantRefs(t, "in", some.LeaksIn, 3)
	wantRefs(t, "late", some.Late)
	wantRefs(t, "not dumped", some.NotDumped, 4)
	none := noFiles.Without(engine.Allow{Kinds: []engine.Kind{2}, Refs: []engine.ObjRef{1}})
	if !none.OK() || none.Objects != 5 || noFiles.OK() {
		t.Errorf("without all: %v", none)
	}
	if r.String() != whole {
		t.Errorf("Without has changed the report it was asked of:\n%v", r)
	}
}

// EndCollect and Audit disturb nobody, at any moment. Of each handle no more than the
// encounter that was under way then counts for the pass before.
func TestAudit_whileOthersMeet(t *testing.T) {
	for _, track := range []bool{false, true} {
		for round := range sized(100) {
			kinds := auditable(1)
			kinds[0].Grab = func(engine.Ptr) error { runtime.Gosched(); return nil }
			c := newCheckpoint(t, engine.Options{Kinds: kinds, TrackHolders: track})
			const workers, objects = 3, 300
			parallel(workers+1, func(w int) {
				if w == workers {
					for range round % 10 {
						runtime.Gosched()
					}
					if err := c.EndCollect(); err != nil {
						t.Error(err)
					}
					c.Audit()
					return
				}
				d := c.Dumper()
				defer d.Close()
				for i := range objects {
					d.SetHolder(uint64(w))
					if _, err := d.Dump(addr(i), 1, dumpOK); err != nil {
						t.Error(err)
					}
				}
			})
			r := c.Audit()
			for _, e := range r.Late {
				if e.Counted > workers {
					t.Errorf("late, but counted: %+v", e)
				}
			}
			if r.Objects != objects || len(r.NotDumped) != 0 || len(r.LeaksOut)+len(r.Late) != objects {
				t.Errorf("%d objects: %d early, %d late, %d not dumped", r.Objects, len(r.LeaksOut), len(r.Late), len(r.NotDumped))
			}
		}
	}
}

// Close at any moment of an audit or a renumbering.
func TestG19_auditWhileClosing(t *testing.T) {
	for range sized(100) {
		c, err := engine.NewCheckpoint(tracking(engine.Options{Kinds: auditable(1)}))
		if err != nil {
			t.Fatal(err)
		}
		d := c.Dumper()
		for i := range 3_000 {
			d.SetHolder(uint64(i / 100))
			if _, _, err := d.Encounter(addr(i%1000), 1); err != nil {
				t.Fatal(err)
			}
		}
		closeQuietly(t, d)
		parallel(3, func(w int) {
			switch w {
			case 0:
				if r := c.Audit(); r.Objects != 1000 && r.Objects != 0 || len(r.LeaksOut) != r.Objects {
					t.Errorf("a report of %d objects, %d of them leaks", r.Objects, len(r.LeaksOut))
				}
			case 1:
				if r, err := c.Canonical(nil); err != nil {
					wantErr(t, "Canonical", err, engine.ErrClosed)
				} else if r.Len() != 1000 {
					t.Errorf("%d canonical numbers", r.Len())
				}
			default:
				runtime.Gosched()
				closeQuietly(t, c)
			}
		})
	}
}
