// Package refcount counts the users of objects: how many encounters each had.
//
// # Terminology
//
//   - A [Strategy] is a way of counting; a value that makes counters.
//   - A [Counter] belongs to one context and counts every object in it, by objref.
//   - A [Handle] belongs to one thread of that context.
//
// # Guarantees
//
//   - Once every handle is closed, [Counter.Count] is exact.
//   - Counts saturate at 2^31-1 instead of wrapping.
//
// # Limits
//
// Objrefs are 1 to 2^31-1. A counter makes room by objref ([Counter.Grow]), so its
// memory follows the largest objref given out.
package refcount

import "github.com/objhash/objhash/internal/region"

// Strategy makes counters.
type Strategy interface {
	// Name is a short word for tables and command lines.
	Name() string

	// New returns an empty counter that takes its memory from a.
	New(a *region.Arena) (Counter, error)
}

// Counter counts the users of the objects of one context. Safe for concurrent use.
type Counter interface {
	// Grow makes room for objrefs first to last. An objref must have room before it
	// is counted. Errors are those of the arena.
	Grow(first, last int32) error

	// Handle returns a new handle for one thread.
	Handle() Handle

	// Count returns the users of ref: exact for increments that happened before,
	// as far as the strategy promises; 0 for an objref without room.
	Count(ref int32) int64
}

// Handle counts for one thread; not for concurrent use.
type Handle interface {
	// Inc adds one user to ref.
	Inc(ref int32)

	// Close makes everything counted here visible to Count.
	Close()
}
