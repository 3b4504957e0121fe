package refcount_test

import (
	"fmt"

	"github.com/objhash/objhash/refcount"
)

// Two threads' handles count one object; the count is exact when both are closed.
func ExampleStrategy() {
	for _, s := range []refcount.Strategy{refcount.Atomic{}, refcount.Log{}} {
		c, err := s.New(refcount.Config{})
		if err != nil {
			fmt.Println(err)
			return
		}
		if err := c.Grow(1, 64); err != nil {
			fmt.Println(err)
			return
		}
		a, b := c.Handle(), c.Handle()
		a.Inc(7)
		b.Inc(7)
		a.Inc(8)
		a.Close()
		b.Close()
		fmt.Println(s.Name(), c.Count(7), c.Count(8), c.Count(9))
	}
	// Output:
	// atomic 2 1 0
	// log 2 1 0
}
