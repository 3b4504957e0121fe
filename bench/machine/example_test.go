package machine_test

import (
	"fmt"
	"runtime"

	"github.com/objhash/objhash/bench/machine"
)

func ExampleRead() {
	e := machine.Read()
	fmt.Println(e.Go == runtime.Version(), e.Cores > 0)
	// Output: true true
}
