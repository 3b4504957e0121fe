package shard_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/objhash/objhash/internal/region"
	"github.com/objhash/objhash/shard"
)

// Addresses get numbers; whoever comes second learns the first one's.
func Example() {
	x, err := shard.NewCompact(shard.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer x.Close()

	const file, socket = 1, 2 // tags
	for ref, ptr := range []uint64{0x7f10, 0x7f20, 0x7f10} {
		got, tag, err := x.Insert(ptr, int32(ref+1), file)
		fmt.Printf("%#x has number %d, tag %d; inserted now: %v; error: %v\n", ptr, got, tag, got == int32(ref+1), err)
	}
	ref, tag := x.Lookup(0x7f20)
	fmt.Println("known:", ref, tag == file, tag == socket)
	ref, _ = x.Lookup(0x7f30)
	fmt.Println("absent:", ref)

	// Output:
	// 0x7f10 has number 1, tag 1; inserted now: true; error: <nil>
	// 0x7f20 has number 2, tag 1; inserted now: true; error: <nil>
	// 0x7f10 has number 1, tag 1; inserted now: false; error: <nil>
	// known: 2 true false
	// absent: 0
}

// Of many threads that meet one object, exactly one is first.
func ExampleCompact_Insert() {
	x, err := shard.NewCompact(shard.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer x.Close()

	var wg sync.WaitGroup
	first := make([]bool, 8)
	for thread := range first {
		wg.Go(func() {
			offered := int32(100 + thread)
			got, _, err := x.Insert(0xffff888012345678, offered, 0)
			first[thread] = err == nil && got == offered
		})
	}
	wg.Wait()
	n := 0
	for _, f := range first {
		if f {
			n++
		}
	}
	fmt.Println("first:", n)

	// Output:
	// first: 1
}

// A whole page of pointers at once: numbers go to those that are new, in order.
func ExampleCompact_InsertBatch() {
	x, err := shard.NewCompact(shard.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer x.Close()
	if _, _, err := x.Insert(0x2000, 7, 0); err != nil {
		fmt.Println(err)
	}

	ptrs := []uint64{0x1000, 0x2000, 0x3000, 0x1000}
	refs := make([]int32, len(ptrs))
	next := int32(100)
	used, err := x.InsertBatch(ptrs, 0, next, refs)
	fmt.Println(refs, "used:", used, "error:", err)
	for i, ref := range refs {
		if ref == next {
			fmt.Printf("%#x is new\n", ptrs[i])
			next++
		}
	}

	// Output:
	// [100 7 101 100] used: 2 error: <nil>
	// 0x1000 is new
	// 0x3000 is new
}

func ExampleCompact_LookupBatch() {
	x, err := shard.NewCompact(shard.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer x.Close()
	for i := range uint64(3) {
		if _, _, err := x.Insert(0x1000*(i+1), int32(i+1), uint8(10*i)); err != nil {
			fmt.Println(err)
		}
	}

	ptrs := []uint64{0x3000, 0x9000, 0x1000}
	refs, tags := make([]int32, len(ptrs)), make([]uint8, len(ptrs))
	found := x.LookupBatch(ptrs, refs, tags)
	fmt.Println(found, refs, tags[0], tags[2])

	// Output:
	// 2 [3 0 1] 20 0
}

// The other direction, and everything that is in: in no order.
func ExampleCompact_All() {
	x, err := shard.NewCompact(shard.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer x.Close()
	for i := range uint64(3) {
		if _, _, err := x.Insert(0x1000*(i+1), int32(i+1), 0); err != nil {
			fmt.Println(err)
		}
	}

	all := maps.Collect(x.All())
	for _, ptr := range slices.Sorted(maps.Keys(all)) {
		fmt.Printf("%#x: %d\n", ptr, all[ptr])
	}

	// Output:
	// 0x1000: 1
	// 0x2000: 2
	// 0x3000: 3
}

// A budget limits the memory of the tables. At the limit inserts fail, and what is in
// stays readable.
func ExampleConfig_budget() {
	budget := region.NewBudget(1 << 20)
	x, err := shard.NewCompact(shard.Config{Budget: budget})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer x.Close()

	ref := int32(1)
	for ; err == nil; ref++ {
		_, _, err = x.Insert(0x7f0000000000+uint64(ref)*64, ref, 0)
	}
	fmt.Println("limit reached:", errors.Is(err, shard.ErrLimit))
	fmt.Println("within it:", budget.Used() <= 1<<20)
	first, _ := x.Lookup(0x7f0000000000 + 64)
	fmt.Println("still there:", first)

	// Output:
	// limit reached: true
	// within it: true
	// still there: 1
}

func ExampleStats() {
	x, err := shard.NewCompact(shard.Config{Expected: 1000, Shards: 4})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer x.Close()
	for i := range 1000 {
		if _, _, err := x.Insert(0x7f0000000000+uint64(i)*64, int32(i+1), 0); err != nil {
			fmt.Println(err)
		}
	}

	st := x.Stats()
	fmt.Println(st.Objects, "objects in", st.Shards, "shards,", st.Growths, "growths")
	fmt.Println("at home:", st.Probes[0]*100 >= 95*int64(st.Objects))

	// Output:
	// 1000 objects in 4 shards, 0 growths
	// at home: true
}
