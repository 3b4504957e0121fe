// Package invariants holds checks and scheduling points that cost nothing
// unless the program is built with -race or -tags objhash_invariants.
//
// # Use
//
// Guard every check with the constant, so that the compiler removes the whole
// statement, arguments included, from a normal build:
//
//	if invariants.Enabled {
//		invariants.Check(ref > 0, "objref not positive")
//	}
//
// [Step] marks a point between two steps of a lock-free protocol. In a checking
// build it yields the processor now and then, so that ordinary tests see many
// more interleavings, and it calls the hook of [OnStep], with which a test can
// stop a thread at exactly that point.
package invariants

// Check panics with msg if ok is false and the build checks invariants.
func Check(ok bool, msg string) {
	if Enabled && !ok {
		panic("objhash: broken invariant: " + msg)
	}
}
