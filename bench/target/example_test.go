package target_test

import (
	"fmt"

	"github.com/objhash/objhash/bench/target"
)

func Example() {
	spec, _ := target.Find("mutex-map")
	table, err := spec.New(target.Options{Kinds: []string{"file"}, Threads: 1})
	if err != nil {
		fmt.Println(err)
		return
	}
	worker, err := table.Worker()
	if err != nil {
		fmt.Println(err)
		return
	}
	refs := make([]int32, 3)
	first, err := worker.Encounter([]uint64{0x1000, 0x2000, 0x1000}, []uint16{1, 1, 1}, refs)
	fmt.Println(refs, first, err)
	// Output: [1 2 1] 2 <nil>
}
