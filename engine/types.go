package engine

import (
	"fmt"

	"github.com/objhash/objhash/refcount"
)

// Ptr is an object's address in the checkpointed system: 64 bits of identity, never
// dereferenced, never 0. Any other value works; those whose bits 47 to 63 are equal
// are the fast ones.
type Ptr uint64

// ObjRef is an object's number in the image, 1 to 2^31-1, never used again within a
// context. 0 means none.
type ObjRef int32

// Kind says what sort of object: Kind(i+1) is Options.Kinds[i].
type Kind uint16

// KindsMax is the number of kinds a context can have.
const KindsMax = 1<<kindBits - 1

// KindOps describes a kind. Its functions are called from the goroutine that uses
// the handle (Drop also from those that Close starts), never under a lock of the
// engine: they may call any method of the same context. A panic or runtime.Goexit in
// one leaves the context as if the operation had failed, and travels on.
//
// They are about addresses: for an object met by key none of them is called.
type KindOps struct {
	// Name is used in errors and reports.
	Name string

	// Grab takes a reference that keeps the object from going away. It runs before
	// the object becomes visible in the context; an error ends the encounter, and no
	// trace of it is left. Two threads that meet a new object at once may both grab
	// it; the slower one drops its reference again. nil: nothing to hold.
	Grab func(Ptr) error

	// Drop releases one reference taken by Grab: when the context is closed, or when
	// everybody has let go of the object before that (Options.Holds), and when of two
	// that grabbed it at once one was slower. last tells that the context keeps no other
	// reference to the object. nil: nothing to release.
	Drop func(p Ptr, last bool)

	// Users returns the object's real reference count, for Audit, which calls it. If
	// there is a Grab, the count includes the reference that the context holds.
	// nil: not audited.
	Users func(Ptr) int64
}

// Options describe a context, a checkpoint or a restart. The zero value works, but
// has no kinds, so nothing can be encountered.
type Options struct {
	// Kinds are the sorts of objects, at most KindsMax. The slice is copied.
	Kinds []KindOps

	// ExpectedObjects presizes the tables; 0 starts small. It is a hint: more objects
	// only mean that the tables grow.
	ExpectedObjects int

	// MaxObjects is a hard limit on the number of objects, beyond which ErrLimit is
	// returned; 0 means 2^31-1. It costs one shared atomic add for each new object.
	MaxObjects int

	// MaxBytes is a hard limit in bytes on the memory of the tables, beyond which
	// ErrLimit is returned; 0 means none. A table that grows exists twice for a
	// moment, and both count.
	MaxBytes int64

	// Shards is the number of shards of the identity index, rounded up to a power of
	// two, at most 65536; 0 starts with as many as ExpectedObjects needs, and makes more.
	Shards int

	// Seed chooses the hash function among the vetted ones; 0 chooses at random.
	Seed uint64

	// MayCreate decides who creates an object on restart: it tells whether a thread
	// that restores for the given holder ([Restorer.SetHolder]) may create the object of
	// ref. A thread that may not waits until another one has. nil: whoever comes first.
	// It is called with no lock held, and more than once for an object.
	MayCreate func(ref ObjRef, k Kind, holder uint64) bool

	// Count is how users are counted; nil means the fastest strategy that is exact
	// once all handles are closed, refcount.Log. refcount.Atomic is exact at once.
	Count refcount.Strategy

	// Holds, if not nil, counts who still needs an object, so that its reference can be
	// dropped before Close: every successful encounter, in either pass, holds the object
	// once, until Dumper.Release lets go of it. nil: all references are held until
	// Close, and Release is ErrInvalid. It takes a strategy that tells of zeros before
	// the barrier: refcount.Rcuref tells at once, and refcount.SNZI as well, at less cost
	// for objects that many threads meet. It costs what the strategy does for each
	// encounter and object, and an eighth of a byte.
	Holds refcount.Strategy

	// TrackHolders notes with each encounter on whose behalf it is, as said by
	// Dumper.SetHolder: Audit then names holders, and Canonical becomes possible. It
	// costs 4 bytes for each encounter that is counted and each reserved objref, and 20
	// for each SetHolder that is followed by one; each handle has up to 64 KiB, and at
	// most as much as it has filled, in reserve. All of it counts for MaxBytes: an
	// encounter whose holder cannot be noted is an ErrLimit.
	TrackHolders bool
}

func (o Options) check() error {
	switch {
	case len(o.Kinds) > KindsMax:
		return fmt.Errorf("%w: %d kinds; at most %d", ErrInvalid, len(o.Kinds), KindsMax)
	case o.ExpectedObjects < 0 || o.ExpectedObjects > refMax:
		return fmt.Errorf("%w: ExpectedObjects %d; want 0 to %d", ErrInvalid, o.ExpectedObjects, refMax)
	case o.MaxObjects < 0 || o.MaxObjects > refMax:
		return fmt.Errorf("%w: MaxObjects %d; want 0 to %d", ErrInvalid, o.MaxObjects, refMax)
	case o.MaxBytes < 0:
		return fmt.Errorf("%w: MaxBytes %d; want 0 or more", ErrInvalid, o.MaxBytes)
	}
	return nil
}

// Flags are what is known about an object.
type Flags uint8

const (
	// Dumping: the callback of Dump is running.
	Dumping Flags = 1 << iota
	// Dumped: the callback of Dump has succeeded.
	Dumped
	// Keyed: the object was met by key and has no address.
	Keyed
	// Reserved: the objref has no object, see [Dumper.Reserve]. Only in snapshots.
	Reserved
	// Released: everybody has let go of the object, see [Dumper.Release]. Never in
	// snapshots.
	Released
)

// Object is what a context knows about an object.
type Object struct {
	Ptr   Ptr    // its address; 0 if it was met by key
	Key   []byte // its key, a copy; nil if it has an address
	Kind  Kind
	Flags Flags
	Users int64 // encounters before EndCollect, exact when all handles are closed; on restart 0
}

const refMax = 1<<31 - 1
