package shard

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"
)

// ways are all that gives addresses numbers. Each does some of ptrs, from the first one on,
// with numbers from next on, and returns how many it has done and how many numbers it has
// used. Those that say that they record have the record of an address written before
// others can find it.
var ways = []struct {
	name    string
	records bool
	do      func(c *encounterRace, ptrs []uint64, next int32, refs []int32) (done, used int)
}{
	{"Encounter", true, func(c *encounterRace, ptrs []uint64, next int32, refs []int32) (done, used int) {
		return c.encountered(c.x.Encounter(ptrs[0], 5, next, &c.records[next], testLow), next, refs)
	}},
	{"EncounterBatch", true, func(c *encounterRace, ptrs []uint64, next int32, refs []int32) (done, used int) {
		return c.x.EncounterBatch(ptrs, 5, next, c.records[next:int(next)+len(ptrs)], testLow, refs)
	}},
	{"Insert", true, func(c *encounterRace, ptrs []uint64, next int32, refs []int32) (done, used int) {
		return 1, c.insertedBy(c.x.Insert, ptrs[0], next, refs)
	}},
	{"InsertBatch", false, func(c *encounterRace, ptrs []uint64, next int32, refs []int32) (done, used int) {
		return len(ptrs), c.insertedTogether(c.x.InsertBatch, ptrs, next, refs)
	}},
	{"encounterGo", true, func(c *encounterRace, ptrs []uint64, next int32, refs []int32) (done, used int) {
		return c.encountered(c.x.encounterGo(ptrs[0], 5, next, &c.records[next], testLow), next, refs)
	}},
	{"insertGo", true, func(c *encounterRace, ptrs []uint64, next int32, refs []int32) (done, used int) {
		return 1, c.insertedBy(c.x.insertGo, ptrs[0], next, refs)
	}},
	{"insertBatchGo", false, func(c *encounterRace, ptrs []uint64, next int32, refs []int32) (done, used int) {
		return len(ptrs), c.insertedTogether(c.x.insertBatchGo, ptrs, next, refs)
	}},
}

func (c *encounterRace) insertedTogether(insert func([]uint64, uint8, int32, []int32) (int, error), ptrs []uint64, next int32, refs []int32) (used int) {
	used, err := insert(ptrs, 5, next, refs)
	if err != nil {
		c.fails.errorf("inserting %d addresses from number %d on: %v", len(ptrs), next, err)
	}
	return used
}

func (c *encounterRace) encountered(ref, next int32, refs []int32) (done, used int) {
	refs[0] = ref
	switch ref {
	case 0:
		return 0, 0
	case next:
		return 1, 1
	}
	return 1, 0
}

func (c *encounterRace) insertedBy(insert func(uint64, int32, uint8) (int32, uint8, error), ptr uint64, next int32, refs []int32) (used int) {
	atomic.StoreUint64(&c.records[next], wantRecord(ptr))
	got, _, err := insert(ptr, next, 5)
	if err != nil {
		c.fails.errorf("Insert(%#x): %v", ptr, err)
	}
	if refs[0] = got; got == next {
		return 1
	}
	return 0
}

// mixed numbers all addresses in the given order, in the given ways, which all write
// records or none. It returns the first number that was not used.
func (c *encounterRace) mixed(r *rand.Rand, which []int, recorded func(ref int32) bool, next int32, order, got []int32) int32 {
	var ptrs [80]uint64
	var refs [80]int32
	for len(order) > 0 && !c.fails.enough() {
		n := min(1+r.IntN(len(ptrs)), len(order))
		for i, j := range order[:n] {
			ptrs[i] = c.ptrs[j]
		}
		way := ways[which[r.IntN(len(which))]]
		done, used := way.do(c, ptrs[:n], next, refs[:n])
		next += int32(used)
		if done == 0 || done < n && r.IntN(2) == 0 {
			refs[done] = c.slowly(ptrs[done], &next)
			done++
		}
		for i, j := range order[:done] {
			got[j] = refs[i]
			if w := atomic.LoadUint64(&c.records[refs[i]]); recorded(refs[i]) && w != wantRecord(ptrs[i]) {
				c.fails.errorf("%s: %#x has number %d, whose record is %#x", way.name, ptrs[i], refs[i], w)
			}
		}
		order = order[done:]
	}
	return next
}

// Threads give the same addresses numbers in all ways at once, kernels and Go mixed, while
// tables are split and replaced all the time: each address gets one number, which all
// learn and one has offered; who finds it finds its record; and all is counted.
func TestG1_allWaysWhileTablesAreReplaced(t *testing.T) {
	oversubscribe(t)
	forEachKernel(t, func(t *testing.T) {
		r := seeded(t)
		stop := time.Now().Add(time.Duration(sized(1500)) * time.Millisecond)
		for round := 0; round == 0 || time.Now().Before(stop) && !t.Failed(); round++ {
			config := Config{Expected: []int{0, 0, 3000}[round%3], Shards: []int{0, 0, 0, 1, 4}[round%5]}
			testAllWays(t, r, config, 300+r.IntN(3000))
		}
	})
}

func testAllWays(t *testing.T, r *rand.Rand, config Config, n int) {
	const workers = 4
	x := compactSubject.open(t, config).(*Compact)
	defer x.Close()
	c := &encounterRace{x: x, ptrs: setup{quality: qualities[0]}.addresses(r, n), fails: failures{t: t}}
	c.records = make([]uint64, workers*n+1+100)
	var with, without []int
	for i, way := range ways {
		if way.records {
			with = append(with, i)
		} else {
			without = append(without, i)
		}
	}
	recorded := func(ref int32) bool { return int(ref-1)/n != workers-1 }
	var orders, got [workers][]int32
	var rngs [workers + 1]*rand.Rand
	for w := range rngs {
		rngs[w] = rand.New(rand.NewPCG(r.Uint64(), 0))
	}
	same := r.Perm(n)
	for w := range workers {
		got[w] = make([]int32, n)
		for i, j := range r.Perm(n) {
			if w < 2 { // these meet at the same addresses
				j = same[i]
			}
			orders[w] = append(orders[w], int32(j))
		}
	}
	var won, working atomic.Int64
	working.Store(workers)
	together(workers+1, func(w int) {
		if w == workers {
			for working.Load() > 0 {
				s := &x.dir[rngs[w].IntN(len(x.dir))]
				tab, why := s.tab.Load(), unfit
				if x.splits(tab, largerThan(tab.groups)) && tab.full.Load() > 0 && !tab.sparse() {
					why = crowded
				}
				if err := x.replace(s, tab, 1, why); err != nil {
					c.fails.errorf("replace: %v", err)
				} else if s.tab.Load() != tab {
					tab.forget()
				}
			}
			return
		}
		defer working.Add(-1)
		which, first := with, int32(w*n+1)
		if w == workers-1 {
			which = without
		}
		won.Add(int64(c.mixed(rngs[w], which, recorded, first, orders[w], got[w]) - first))
	})
	if t.Failed() {
		return
	}
	want := make(map[uint64]stored, n)
	for i, ptr := range c.ptrs {
		for w := range workers {
			if got[w][i] != got[0][i] {
				t.Fatalf("%#x: worker 0 got %d, worker %d got %d", ptr, got[0][i], w, got[w][i])
			}
		}
		want[ptr] = stored{got[0][i], 5}
	}
	if int(won.Load()) != n {
		t.Errorf("%d numbers used for %d addresses", won.Load(), n)
	}
	mustBeDirectory(t, x)
	mustHold(t, x, want)
	mustCountFull(t, x)
}

// forget makes a table that has been replaced read as zeros, as its pages do once they have
// been given back: a late inserter finds room there.
func (t *table) forget() {
	for i := range t.groups {
		g := t.group(i)
		for j := range g {
			atomic.StoreUint64(&g[j], 0)
		}
	}
}

// mustCountFull checks that every table of x, which nobody writes to, counts its full groups.
func mustCountFull(t *testing.T, x *Compact) {
	t.Helper()
	for i := range x.dir {
		tab, full := x.dir[i].tab.Load(), int64(0)
		for j := range tab.groups {
			if tab.group(j)[groupSlots-1]&tab.refMask != 0 {
				full++
			}
		}
		if got := tab.full.Load(); got != full {
			t.Fatalf("the table of entry %d counts %d full groups; it has %d", i, got, full)
		}
	}
}
