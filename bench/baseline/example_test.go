package baseline_test

import (
	"fmt"

	"github.com/objhash/objhash/bench/baseline"
)

// Three encounters of two open files during checkpoint, then their restart.
func Example() {
	dump, err := baseline.New(baseline.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer dump.Close()
	const file = 1
	for _, ptr := range []uint64{0xffff888101234500, 0xffff888101234600, 0xffff888101234500} {
		objref, first, err := dump.LookupAdd(ptr, file)
		fmt.Println(objref, first, err)
	}
	fmt.Println("users:", dump.Users(0xffff888101234500))

	restore, err := baseline.New(baseline.Config{Bits: baseline.BitsFor(dump.Len())})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer restore.Close()
	fmt.Println(restore.Insert(2, 0xffff888200000040, file))
	ptr, err := restore.Fetch(2, file)
	fmt.Printf("%#x %v\n", ptr, err)

	// Output:
	// 1 true <nil>
	// 2 true <nil>
	// 1 false <nil>
	// users: 2
	// <nil>
	// 0xffff888200000040 <nil>
}
