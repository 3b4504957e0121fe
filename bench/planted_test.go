package bench_test

import (
	"errors"
	"fmt"
	"regexp"
	"sync"
	"testing"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/target"
)

// planted is a correct table with one fault that happens once in a million operations, or
// at the one moment at which its table grows. Unlike faulty it does not answer wrongly when
// it is asked at the end: what it keeps is wrong.
type planted struct {
	fault plantedFault

	mu        sync.Mutex
	refs      map[uint64]int32
	records   []record // by objref
	inserted  int
	hits      int
	encounter int
	stale     bool // the next hit reads the table before it grew
}

type plantedFault string

const (
	plantedNone    plantedFault = ""
	loses          plantedFault = "loses one insert in a million"
	twoRefs        plantedFault = "gives an object two objrefs once"
	sharedRef      plantedFault = "gives two objects one objref once"
	wrongKind      plantedFault = "records a wrong kind once"
	wrongUsers     plantedFault = "counts a user too few once"
	staleInGrowth  plantedFault = "returns a stale objref while it grows"
	plantedObjects              = 1_000_000
	plantedAt                   = plantedObjects - 1000 // the operation at which it happens
	plantedZipf                 = 150_000               // objects that are met a million times and more
	plantedGrows                = 1 << 16               // objects at which it grows
)

func (f plantedFault) spec() target.Spec {
	return target.Spec{Name: "planted", New: func(o target.Options) (target.Target, error) {
		return &planted{fault: f, refs: make(map[uint64]int32, o.Objects), records: make([]record, 1, o.Objects+2)}, nil
	}}
}

func (t *planted) Worker() (target.Worker, error) { return plantedWorker{t}, nil }
func (t *planted) Len() int                       { return len(t.refs) }
func (t *planted) Bytes() int64                   { return target.BytesUnknown }
func (t *planted) Close() error                   { return nil }

func (t *planted) Lookup(ptr uint64) (int32, bool) {
	ref, ok := t.refs[ptr]
	return ref, ok
}

func (t *planted) Object(ref int32) (ptr uint64, kind uint16, users int64, ok bool) {
	if ref < 1 || int(ref) >= len(t.records) {
		return 0, 0, 0, false
	}
	r := t.records[ref]
	return r.ptr, r.kind, r.users, true
}

type plantedWorker struct{ t *planted }

func (w plantedWorker) Close() error { return nil }

func (w plantedWorker) Lookup([]uint64, []int32) (int, error) {
	return 0, errors.New("no profile of these tests looks up")
}

func (w plantedWorker) Encounter(ptrs []uint64, kinds []uint16, refs []int32) (first int, err error) {
	t := w.t
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, p := range ptrs {
		ref, ok := t.refs[p]
		if ok {
			ref = t.hit(ref)
		} else {
			first++
			ref = t.insert(p, kinds[i])
		}
		if t.encounter++; t.fault != wrongUsers || t.encounter != plantedAt {
			t.records[ref].users++
		}
		refs[i] = ref
	}
	return first, nil
}

// hit answers the objref of an object that is there.
func (t *planted) hit(ref int32) int32 {
	t.hits++
	switch {
	case t.fault == twoRefs && t.hits == plantedAt:
		return t.number(t.records[ref].ptr, t.records[ref].kind)
	case t.stale:
		// The object's slot in the old table, which has another object now.
		t.stale = false
		return ref%plantedGrows + 1
	}
	return ref
}

func (t *planted) insert(p uint64, kind uint16) int32 {
	t.inserted++
	if t.fault == wrongKind && t.inserted == plantedAt {
		kind++
	}
	var ref int32
	if t.fault == sharedRef && t.inserted == plantedAt {
		ref = int32(len(t.records) - 1)
	} else {
		ref = t.number(p, kind)
	}
	if t.fault != loses || t.inserted != plantedAt {
		t.refs[p] = ref
	}
	t.stale = t.stale || t.fault == staleInGrowth && t.inserted == plantedGrows
	return ref
}

func (t *planted) number(p uint64, kind uint16) int32 {
	t.records = append(t.records, record{ptr: p, kind: kind})
	return int32(len(t.records) - 1)
}

// TestVerificationCatchesOneInAMillion plants faults that are as rare as one in a million,
// and gives them a run of their own: crbench reports the target as failed, with no times.
func TestVerificationCatchesOneInAMillion(t *testing.T) {
	for _, c := range []struct {
		fault   plantedFault
		profile string
		objects int
		message string // a regular expression; "": it is right
	}{
		{plantedNone, "first-pass", plantedObjects, ""},
		{plantedNone, "checkpoint-zipf", plantedZipf, ""},
		{loses, "first-pass", plantedObjects, "the table counts 999999 objects, of 1000000"},
		{sharedRef, "first-pass", plantedObjects, "both got objref 998999"},
		{wrongKind, "first-pass", plantedObjects, `is recorded as 0x[0-9a-f]+, kind \d`},
		{twoRefs, "checkpoint-zipf", plantedZipf, `got objref \d+ and objref \d+`},
		{wrongUsers, "checkpoint-zipf", plantedZipf, `is recorded as 0x[0-9a-f]+, kind \d, \d+ users .*; encountered were .* \d+ users`},
		{staleInGrowth, "checkpoint-zipf", plantedZipf, `both got objref \d+`},
	} {
		t.Run(fmt.Sprintf("profile=%s/fault=%s", c.profile, regexp.MustCompile(" +").ReplaceAllString(string(c.fault), "-")), func(t *testing.T) {
			_, err := workload(t, c.profile, c.objects, 2).Trial(t.Context(), c.fault.spec(), 1, 1)
			switch {
			case c.message == "" && err != nil:
				t.Errorf("a right table fails: %v", err)
			case c.message != "" && err == nil:
				t.Error("verification did not notice")
			case c.message != "" && !regexp.MustCompile(c.message).MatchString(err.Error()):
				t.Errorf("error is %q; want it to say %q", err, c.message)
			}
		})
	}
}

// TestPlantedFaultFailsTheRun shows it to the person who asked.
func TestPlantedFaultFailsTheRun(t *testing.T) {
	c := small(t, []string{"first-pass"}, []string{"mutex-map"})
	c.Targets = append(c.Targets, loses.spec())
	c.Objects, c.Trials = []int{plantedObjects}, 1
	c.Targets = c.Targets[1:] // a run with nothing that is right
	r, err := bench.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	failed := r.Failed()
	if len(failed) != 1 || failed[0].Target != "planted" || failed[0].NsPerOp != nil || failed[0].Verified {
		t.Errorf("failed %+v", failed)
	}
}
