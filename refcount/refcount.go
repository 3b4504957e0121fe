// Package refcount counts the users of objects: how many encounters each had, or how
// many still need it.
//
// # Terminology
//
//   - A [Strategy] is a way of counting; a value that makes counters.
//   - A [Counter] belongs to one context and counts every object in it, by objref.
//   - A [Handle] belongs to one thread of that context.
//   - The true count of an objref is its increments less its decrements, on all handles.
//   - A barrier is a moment at which every handle has been closed, or flushed after its
//     last operation, and none is being used; the caller sees to it, and that all of
//     this happened before, in the sense of Go's memory model.
//   - An objref is born with its first increment, and dies when its count has gone back
//     to 0 and [Config].Zero has been told; only with a Zero do objrefs die.
//
// # Structure
//
//	Strategy --New(Config)--> Counter --Handle()--> Handle --Inc, TryInc, Dec--> counts
//
// One file for each strategy; [All] lists them. What they share: the words of those that
// count in a word which all threads write (word.go), the sums of those that split counts
// between such a word and arrays of the handles' own (split.go), the notes of those that
// learn of zeros late (marks.go), and the order in which zeros are told (zero.go).
//
// # Guarantees
//
//   - At a barrier [Counter.Count] is the true count, whatever the interleaving
//     before, whichever handles the operations came through, and in whatever order
//     those were closed.
//   - At any other time it is an estimate, between 0 and 2^31-1, that misses no more
//     than what open handles hold back: [Traits].Behind.
//   - Counts saturate at 2^31-1 instead of wrapping; more decrements than increments
//     are a bug of the caller's, and make a count 0.
//   - Zero is told each objref that dies exactly once: at the moment that [Traits].Zero
//     documents, and after [Counter.Barrier] at the latest. A dead objref counts 0 for
//     ever; TryInc refuses it, Inc and Dec do nothing to it.
//   - No callback runs under a lock.
//
// # Progress
//
// No operation waits for another thread, but for those of [Mutex], and for the short
// locks with which some strategies open, flush and close handles, make room in what a
// handle has for itself, or hand an objref to its owner; each says so.
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

	// Traits describes its counters.
	Traits() Traits

	// New returns an empty counter. Errors are those of the arena.
	New(Config) (Counter, error)
}

// Config is what a counter is made with. The zero value works.
type Config struct {
	// Arena is where the counter's memory comes from; nil: one of its own, without a
	// limit, whose memory goes when the counter is garbage: keep the counter reachable
	// until the last operation of its handles has returned.
	Arena *region.Arena

	// Zero is told each objref that dies, on the goroutine whose Dec, Flush, Close or
	// Barrier found it dead, when that is done: it may use the same handle, or any method
	// of the counter. Inc and TryInc never call it. A panic in it travels on; whatever else died is told before. nil:
	// objrefs do not die, and a count that is 0 may rise again.
	Zero func(ref int32)
}

func (c Config) arena() *region.Arena {
	if c.Arena == nil {
		return region.NewArena(nil)
	}
	return c.Arena
}

// When is a moment at which something a strategy promises has come true.
type When uint8

// The moments, each later than the one before.
const (
	// AtOnce: when the operation returns.
	AtOnce When = iota
	// AtFlush: when every handle through which the objref was counted has been flushed
	// or closed; for a death, since the last operation on the objref.
	AtFlush
	// AtEpoch: after three rounds, in each of which every open handle has been flushed,
	// idle ones too.
	AtEpoch
	// AtBarrier: when [Counter.Barrier] returns.
	AtBarrier
	// Never.
	Never
)

// String returns the words used in lists and tables.
func (w When) String() string {
	return [...]string{"at once", "at flush", "after three flushes of each handle", "at the barrier", "never"}[w]
}

// Traits are what a strategy is like.
type Traits struct {
	Summary string // one line, for lists

	Exact When // Count is exact: AtOnce, AtFlush or Never
	Zero  When // a death is told

	// Behind is how many users of one objref an open handle may hold back, at most.
	Behind int64

	// Bytes: for each objref with room; for each of those and each handle that counts
	// it (at most OwnMax handles, if that is not 0); for each handle. Segments that are
	// not yet in use add up to an eighth.
	PerObject       float64
	PerObjectHandle float64
	OwnMax          int
	PerHandle       int

	// OneThread says that there is no more than one thread, for all handles.
	OneThread bool

	// OwnDec says that a Dec must come through the handle of the Inc that it undoes, as
	// long as that handle is open.
	OwnDec bool
}

// Counter counts the users of the objects of one context. Safe for concurrent use, but
// for [Counter.Barrier]. Its memory is that of its arena.
type Counter interface {
	// Grow makes room for objrefs first to last. An objref must have room before it
	// is counted. Errors are those of the arena; what has room keeps it.
	Grow(first, last int32) error

	// Handle returns a new handle for one thread.
	Handle() Handle

	// Count returns the users of ref: exact at a barrier, otherwise an estimate; 0 for
	// an objref without room, whatever its value.
	Count(ref int32) int64

	// Barrier tells of the deaths that have not been told yet. It must be called at a
	// barrier; afterwards handles may be used again. Time is proportional to the
	// objrefs with room at most.
	Barrier()

	// Bytes returns the memory in use, open handles included.
	Bytes() int64
}

// Handle counts for one thread; not for concurrent use. After Close it may still be
// used, but then each operation is flushed at once.
type Handle interface {
	// Inc adds one user to ref, which is new or has a user that will not go before Inc
	// returns.
	Inc(ref int32)

	// TryInc adds one user unless ref is dead, and tells whether it did. ref need not
	// have a user.
	TryInc(ref int32) bool

	// Dec takes one user off ref.
	Dec(ref int32)

	// Flush makes everything counted here visible to Count.
	Flush()

	// Close flushes, and gives back what the handle has for itself. A second Close is
	// a flush.
	Close()
}

// All returns every strategy, the oracle first.
func All() []Strategy {
	return []Strategy{
		Plain{},
		Mutex{}, Atomic{}, Padded{}, CAS{}, Rcuref{},
		Striped{}, Sloppy{}, Refcache{}, Biased{},
		Arrays{}, Log{},
		SNZI{},
	}
}
