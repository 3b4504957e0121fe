package shard

import "testing"

// Lookups, and inserts of known addresses, take no lock: they go on while somebody holds
// them all. Nor do inserts of new addresses of the variant whose inserts are lock-free,
// as long as tables have room.
func TestG20_NoLocksButForNewEntries(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		x := s.open(t, func(c *Config) { c.Expected = 5000 }, fewShards)
		const n = 100
		ptrs := make([]uint64, 0, n)
		for i := range n {
			ptr := s.address(i)
			if i%10 == 3 {
				ptr = wideAddress(i)
			}
			ptrs = append(ptrs, ptr)
			mustInsert(t, x, ptr, int32(i+1))
		}
		compact, lockFree := x.(*Compact)
		if lockFree {
			for i := 0; i < len(compact.dir); {
				tab := compact.lockShard(i)
				defer tab.mu.Unlock()
				i += tab.count
			}
		} else {
			shards := x.(*Locked).shards
			for i := range shards {
				shards[i].mu.Lock()
				defer shards[i].mu.Unlock()
			}
		}
		mustReturn(t, "operations while all locks are held", func() {
			for i, ptr := range ptrs {
				if ref, _ := x.Lookup(ptr); ref != int32(i+1) {
					t.Errorf("Lookup(%#x) = %d; want %d", ptr, ref, i+1)
				}
				if ref, _ := x.Lookup(ptr ^ 1<<40); ref != 0 {
					t.Errorf("Lookup(%#x) = %d; want 0", ptr^1<<40, ref)
				}
				if got, _, err := x.Insert(ptr, 1<<20, 1); got != int32(i+1) || err != nil {
					t.Errorf("Insert(%#x) of a known address = %d, %v; want %d", ptr, got, err, i+1)
				}
			}
			refs := make([]int32, n)
			if found := x.LookupBatch(ptrs, refs, nil); found != n {
				t.Errorf("LookupBatch found %d of %d", found, n)
			}
			if used, err := x.InsertBatch(ptrs, 1, 1<<20, refs); used != 0 || err != nil {
				t.Errorf("InsertBatch of known addresses = %d, %v", used, err)
			}
			for i := n; lockFree && i < n+20; i++ {
				if got, _, err := x.Insert(s.address(i), int32(i+1), 1); got != int32(i+1) || err != nil {
					t.Errorf("Insert(%#x, %d) = %d, %v", s.address(i), i+1, got, err)
				}
			}
		})
	})
}
