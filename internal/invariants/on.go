//go:build race || objhash_invariants

package invariants

import (
	"math/rand/v2"
	"runtime"
	"sync/atomic"
)

// Enabled tells whether this build checks invariants.
const Enabled = true

var hook atomic.Pointer[func(string)]

// Step marks a point between two steps of a lock-free protocol.
func Step(name string) {
	if h := hook.Load(); h != nil {
		(*h)(name)
	}
	if rand.Uint32()&31 == 0 {
		runtime.Gosched()
	}
}

// OnStep makes every Step call h with its name, until restore is called. For
// tests only; h may block, and runs on the goroutine that takes the step.
func OnStep(h func(name string)) (restore func()) {
	old := hook.Swap(&h)
	return func() { hook.Store(old) }
}
