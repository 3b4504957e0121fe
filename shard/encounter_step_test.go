//go:build race || objhash_invariants

package shard

import "testing"

// In a table of this size the number fits, and a few thousand others make it grow.
const stepNumber = 8_000

var stepConfig = Config{Shards: 1, Expected: 2_000}

// An encounter is stopped right after its entry is in, and the table is replaced, once or
// more: whether its entry was copied or not, it is the one that inserted.
func TestEncounter_tableReplacedAfterTheCAS(t *testing.T) {
	for _, batch := range []bool{false, true} {
		for _, step := range []string{"encounter: before publishing", "insert: before the CAS", "insert: after the search"} {
			for _, grown := range []int{100, 7_000} {
				x := compactSubject.open(t, stepConfig).(*Compact)
				var record [1]uint64
				reached, resume := stop(t, step)
				got := make(chan int32)
				ptr := heapAddress(0)
				go func() {
					var refs [1]int32
					if batch {
						x.EncounterBatch([]uint64{ptr}, 3, stepNumber, record[:], testLow, refs[:])
					} else {
						refs[0] = x.Encounter(ptr, 3, stepNumber, &record[0], testLow)
					}
					got <- refs[0]
				}()
				<-reached
				old := x.dir[0].tab.Load()
				if record[0] != wantRecord(ptr) {
					t.Errorf("stopped at %q: the record is %#x; want %#x", step, record[0], wantRecord(ptr))
				}
				for i := range grown {
					mustInsert(t, x, heapAddress(i+1), int32(i+1))
				}
				if x.dir[0].tab.Load() != old {
					old.forget()
				}
				resume()
				if ref := <-got; ref != stepNumber {
					t.Errorf("stopped at %q, %d inserts meanwhile: Encounter = %d; want %d", step, grown, ref, stepNumber)
				}
				if ref, _ := x.Lookup(ptr); ref != stepNumber || x.Len() != grown+1 {
					t.Errorf("stopped at %q: Lookup = %d, %d entries; want %d and %d", step, ref, x.Len(), stepNumber, grown+1)
				}
			}
		}
	}
}

// An encounter that loses a race returns 0, and has written the record.
func TestEncounter_lostRace(t *testing.T) {
	for _, step := range []string{"encounter: before publishing", "insert: before the CAS"} {
		for _, grown := range []int{0, 5_000} {
			x := compactSubject.open(t, stepConfig).(*Compact)
			var record uint64
			reached, resume := stop(t, step)
			got := make(chan int32)
			ptr := heapAddress(0)
			go func() { got <- x.Encounter(ptr, 3, stepNumber, &record, testLow) }()
			<-reached
			old := x.dir[0].tab.Load()
			mustInsert(t, x, ptr, 1)
			for i := range grown {
				mustInsert(t, x, heapAddress(i+1), int32(i+2))
			}
			if x.dir[0].tab.Load() != old {
				old.forget()
			}
			resume()
			if ref := <-got; ref != 0 || record != wantRecord(ptr) {
				t.Errorf("stopped at %q: Encounter = %d, record %#x; want 0 and %#x", step, ref, record, wantRecord(ptr))
			}
			mustFind(t, x, ptr, stored{1, tagOf(1)})
			if x.Len() != grown+1 {
				t.Errorf("%d entries; want %d", x.Len(), grown+1)
			}
		}
	}
}
