//go:build soak

package engine_test

import (
	"math"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/objhash/objhash/engine"
)

// The long jobs, run by `make soak`.

// share returns when a test must be done that may take a part of what is left until
// the deadline of go test -timeout.
func share(t *testing.T, part float64) time.Time {
	deadline, ok := t.Deadline()
	if !ok {
		return time.Time{}
	}
	return time.Now().Add(time.Duration(float64(time.Until(deadline)) * part))
}

const soakScenarios, soakRuns = 1_000, 10_000

func TestSoak_linearizableCheckpoint(t *testing.T) {
	linearize(t, soakScenarios, soakRuns, share(t, 0.3), func(seed uint64, n int) []porcupine.Operation {
		return newScenario(seed).run(t, n)
	})
}

func TestSoak_linearizableRestart(t *testing.T) {
	linearize(t, soakScenarios, soakRuns, share(t, 0.3), func(seed uint64, n int) []porcupine.Operation {
		return restartRun(t, seed, n)
	})
}

// 10^8 mixed operations, all answers verified.
func TestSoak_hundredMillionOperations(t *testing.T) {
	const ops, objects, workers = 100_000_000, 2_000_000, 4
	l := newLedger(t, 3)
	c := newCheckpoint(t, with(engine.Options{}, l))
	refs := make([]atomic.Int32, objects)
	users := make([]atomic.Int64, objects)
	agree := func(i int, ref engine.ObjRef) {
		if old := refs[i].Load(); old != int32(ref) && (old != 0 || !refs[i].CompareAndSwap(0, int32(ref)) && refs[i].Load() != int32(ref)) {
			t.Errorf("object %d has objrefs %d and %d", i, old, ref)
		}
	}
	parallel(workers, func(w int) {
		rng := rand.New(rand.NewPCG(100, uint64(w)))
		d := c.Dumper()
		defer func() { closeQuietly(t, d) }()
		const batch = 32
		var ptrs [batch]engine.Ptr
		var got [batch]engine.ObjRef
		pick := func() int {
			u := rng.Float64()
			return int(u * u * objects)
		}
		for n := 0; n < ops/workers && !t.Failed(); {
			i := pick()
			p, k := object(i)
			switch rng.IntN(16) {
			case 0, 1, 2, 3: // neighbours of one kind
				is := make([]int, 0, batch)
				for j := i; j < objects && len(is) < batch; j++ {
					if q, kq := object(j); kq == k {
						ptrs[len(is)] = q
						is = append(is, j)
					}
				}
				if err := d.EncounterBatch(ptrs[:len(is)], k, got[:len(is)], nil); err != nil {
					t.Error(err)
				}
				for j, i := range is {
					agree(i, got[j])
					users[i].Add(1)
				}
				n += len(is)
			case 4:
				known := refs[i].Load()
				ref, ok := c.Lookup(p)
				if known != 0 && (!ok || int32(ref) != known) {
					t.Errorf("Lookup(%#x) = %d, %t; want %d", p, ref, ok, known)
				}
				n++
			case 5:
				if known := engine.ObjRef(refs[i].Load()); known != 0 {
					if o, ok := c.Object(known); !ok || o.Ptr != p || o.Kind != k {
						t.Errorf("Object(%d) = %+v, %t; want %#x", known, o, ok, p)
					}
					_, _, err := d.Encounter(p, k%3+1)
					wantKindError(t, "other kind", err, engine.KindError{Ref: known, Have: k, Want: k%3 + 1})
				}
				n++
			case 6:
				if rng.IntN(1_000) == 0 {
					closeQuietly(t, d)
					d = c.Dumper()
				}
				n++
			case 7:
				ref, err := d.Dump(p, k, dumpOK)
				if err != nil {
					t.Error(err)
				}
				agree(i, ref)
				users[i].Add(1)
				n++
			default:
				ref, _, err := d.Encounter(p, k)
				if err != nil {
					t.Error(err)
				}
				agree(i, ref)
				users[i].Add(1)
				n++
			}
		}
	})
	found := wantInOrder(t, c)
	met := 0
	for i := range objects {
		ref := engine.ObjRef(refs[i].Load())
		if ref == 0 {
			continue
		}
		met++
		p, k := object(i)
		if o := found[ref]; o.Ptr != p || o.Kind != k || o.Users != users[i].Load() {
			t.Fatalf("object %d, objref %d: %+v; want %d users", i, ref, o, users[i].Load())
		}
	}
	if met != len(found) {
		t.Errorf("%d objects; want %d", len(found), met)
	}
	closeQuietly(t, c)
	l.settled()
}

func TestSoak_closeInFlight(t *testing.T) {
	for round := range uint64(20_000) {
		closeInFlight(t, settings[round%uint64(len(settings))].options, round)
		closeRestartInFlight(t, round)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
}

func TestSoak_everythingFails(t *testing.T) {
	for round := range uint64(20_000) {
		failUnderLoad(t, settings[round%uint64(len(settings))].options, round)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
}

func TestSoak_insertsOfOneObjref(t *testing.T) {
	for round := range 200_000 {
		insertTogether(t, round)
	}
}

func TestSoak_identityAndKind(t *testing.T) {
	for _, place := range []func(int) engine.Ptr{addr, wide} {
		takeObjrefsInTurn(t, place, 1_000_000)
	}
}

// Differential tests over many seeds.
func TestSoak_fuzzFromSeeds(t *testing.T) {
	for seed := range uint64(50_000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		data := make([]byte, 50+rng.IntN(1500))
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		fuzzCheckpoint(t, data)
		fuzzRestart(t, data)
		if t.Failed() {
			t.Fatalf("with seed %d", seed)
		}
	}
}

// A context of which every objref has been given out is closed, and walked, in time.
func TestSoak_wayThroughAllObjrefs(t *testing.T) {
	if slow {
		t.Skip("takes 3 GiB of address space")
	}
	l := newLedger(t, 1)
	c := newCheckpoint(t, with(engine.Options{}, l))
	c.SetNextObjRef(math.MaxInt32 - 99)
	d := newDumper(t, c)
	for i := range 100 {
		mustMeet(t, d, addr(i), 1, engine.ObjRef(math.MaxInt32-99+i), true)
	}
	start := time.Now()
	n := 0
	for range c.All() {
		n++
	}
	t.Log("All:", time.Since(start))
	if n != 100 {
		t.Errorf("All yields %d objects; want 100", n)
	}
	start = time.Now()
	closeQuietly(t, c)
	t.Log("Close:", time.Since(start))
	closeQuietly(t, d)
	l.settled()
}
