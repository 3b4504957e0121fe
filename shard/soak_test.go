//go:build soak

package shard

import (
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
)

// A thousand scenarios, ten thousand histories each: no violation, none left open.
func TestSoakLinearizable(t *testing.T) { testLinearizable(t, 1000, 10_000) }

// A hundred million operations of all kinds on one index of each variant, each result
// checked, while it grows from nothing to millions of entries; everything is verified
// after each tenth, and once it is done.
func TestSoakMixedOperations(t *testing.T) {
	forEachSubject(t, func(t *testing.T, sub subject) {
		r := seeded(t)
		testMixedOperations(t, sub, r, 100_000_000, 4_000_000)
	})
}

// The same at the speed of a short test: for the test itself.
func TestSoakMixedOperationsShort(t *testing.T) {
	forEachSubject(t, func(t *testing.T, sub subject) {
		r := seeded(t)
		testMixedOperations(t, sub, r, 1_000_000, 50_000)
	})
}

// testMixedOperations lets workers do so many operations on addresses 0 to objects-1. The
// addresses that occur are the first so many at any time, ever more. Address i is offered
// by whoever comes under any free number; the number it gets is kept, and every later
// answer must be the same.
func testMixedOperations(t *testing.T, sub subject, r *rand.Rand, operations, objects int) {
	oversubscribe(t)
	x := sub.open(t, Config{})
	address := func(i int) uint64 {
		switch i % 64 {
		case 63:
			return wideAddress(i)
		case 62:
			return uint64(i) << 12 // pages
		}
		return heapAddress(i)
	}
	const phases = 10
	workers := 2 * runtime.NumCPU()
	var (
		fails = failures{t: t}
		known = make([]atomic.Int32, objects) // number of address i, 0: not inserted yet
		lease atomic.Int32                    // numbers are given out in blocks of 64
		wins  atomic.Int64
		seeds = make([]uint64, workers)
	)
	type allowance struct{ next, last int32 }
	leases := make([]allowance, workers)
	take := func(w, n int) int32 {
		l := &leases[w]
		if l.next == 0 || int(l.last-l.next)+1 < n {
			last := lease.Add(64)
			l.next, l.last = last-63, last
		}
		return l.next
	}
	// learn checks number ref of address i against what is known, at the latest before the
	// operation, and keeps it.
	learn := func(how string, i int, before, ref int32, tag uint8) {
		switch {
		case ref == 0 && before == 0:
			return
		case ref <= 0 || before != 0 && ref != before || !rightTag(x, tag, tagOf(int32(i))):
			fails.errorf("%s(%#x) = %d, tag %d; was %d before, tag %d", how, address(i), ref, tag, before, tagOf(int32(i)))
		case before == 0 && !known[i].CompareAndSwap(0, ref) && known[i].Load() != ref:
			fails.errorf("%s(%#x) = %d; somebody else got %d", how, address(i), ref, known[i].Load())
		}
	}
	for phase := range phases {
		for w := range seeds {
			seeds[w] = r.Uint64()
		}
		together(workers, func(w int) {
			rng := rand.New(rand.NewPCG(seeds[w], 0))
			at := make([]int, 62)
			keys, befores := make([]uint64, 62), make([]int32, 62)
			refs, tags := make([]int32, 62), make([]uint8, 62)
			todo := operations / phases / workers
			for done := 0; done < todo && !fails.enough(); {
				// Ever more addresses, and recent ones more often.
				reach := max(1, objects/phases*phase+(objects/phases)*done/todo)
				pick := func() int {
					if rng.IntN(4) == 0 {
						return reach - 1 - rng.IntN(min(reach, 1000))
					}
					return rng.IntN(reach)
				}
				switch op := rng.IntN(16); {
				case op < 5:
					i := pick()
					before := known[i].Load()
					ref, tag := x.Lookup(address(i))
					learn("Lookup", i, before, ref, tag)
					done++
				case op < 11:
					i := pick()
					before := known[i].Load()
					offered := take(w, 1)
					ref, tag, err := x.Insert(address(i), offered, tagOf(int32(i)))
					if err != nil || ref == 0 {
						fails.errorf("Insert(%#x) = %d, %v", address(i), ref, err)
					}
					learn("Insert", i, before, ref, tag)
					if ref == offered {
						leases[w].next++
						wins.Add(1)
					}
					done++
				case op < 15 || phase%2 == 0:
					n := 1 + rng.IntN(len(at))
					for j := range n {
						at[j] = pick()
						keys[j], befores[j] = address(at[j]), known[at[j]].Load()
					}
					found := x.LookupBatch(keys[:n], refs[:n], tags[:n])
					for j := range n {
						learn("LookupBatch", at[j], befores[j], refs[j], tags[j])
						if refs[j] != 0 {
							found--
						}
					}
					if found != 0 {
						fails.errorf("LookupBatch: the count is off by %d", found)
					}
					done += n
				default:
					// The tag belongs to the address, so a batch has addresses of one tag.
					n := 1 + rng.IntN(len(at))
					first := pick()
					tag := tagOf(int32(first))
					for j := range n {
						at[j] = (first + j*251) % reach
						if tagOf(int32(at[j])) != tag {
							at[j] = first
						}
						keys[j], befores[j] = address(at[j]), known[at[j]].Load()
					}
					next := take(w, n)
					used, err := x.InsertBatch(keys[:n], tag, next, refs[:n])
					if err != nil {
						fails.errorf("InsertBatch: %v", err)
					}
					for j := range n {
						learn("InsertBatch", at[j], befores[j], refs[j], tag)
					}
					leases[w].next += int32(used)
					wins.Add(int64(used))
					done += n
				}
			}
		})
		if t.Failed() {
			t.FailNow()
		}
		want := make(map[uint64]stored)
		for i := range known {
			ref := known[i].Load()
			if ref != 0 {
				want[address(i)] = stored{ref, tagOf(int32(i))}
			} else if got, tag := x.Lookup(address(i)); got != 0 {
				// Inserted by a batch or lost by its winner: nobody was told.
				t.Fatalf("address %#x has %d, tag %d, but no insert said so", address(i), got, tag)
			}
		}
		mustHold(t, x, want)
		if int64(len(want)) != wins.Load() {
			t.Fatalf("%d entries; %d inserts won", len(want), wins.Load())
		}
		t.Logf("phase %d: %d entries, %.1f bytes each, %d growths", phase, len(want), float64(x.Bytes())/float64(len(want)), x.Stats().Growths)
	}
}
