//go:build race || objhash_invariants

package shard

import "testing"

// G1: an inserter that has looked at the first slots of a group stops there. Its address is
// put into one of them by another thread, and others fill the group. It must not take the
// address for absent and go on to the next group.
func TestG1_SearchOvertakenByInserts(t *testing.T) {
	x, err := NewCompact(Config{Shards: 1, Expected: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	home := func(ptr uint64) uint64 {
		s, h := x.hash(ptr)
		home, _ := s.tab.Load().place(h)
		return home
	}
	group := []uint64{0xffff888000001000}
	for ptr := group[0] + 64; len(group) < groupSlots; ptr += 64 {
		if home(ptr) == home(group[0]) {
			group = append(group, ptr)
		}
	}

	reached, resume := stop(t, "find: between the halves")
	got := make(chan int32)
	go func() {
		ref, _, err := x.Insert(group[0], 1_000, 0)
		if err != nil {
			t.Error(err)
		}
		got <- ref
	}()
	<-reached
	for i, ptr := range group {
		if ref, _, err := x.Insert(ptr, int32(i+1), 0); ref != int32(i+1) || err != nil {
			t.Errorf("Insert(%#x) = %d, %v; want %d", ptr, ref, err, i+1)
		}
	}
	resume()
	if ref := <-got; ref != 1 {
		t.Errorf("the stopped Insert got %d; want 1, which the address had by then", ref)
	}
	seen := 0
	for ptr := range x.All() {
		if ptr == group[0] {
			seen++
		}
	}
	if n := x.Len(); n != groupSlots || seen != 1 {
		t.Errorf("%d entries, %d of them for one address; want %d and 1", n, seen, groupSlots)
	}
}
