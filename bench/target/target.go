// Package target holds everything that can do encounters and be measured: the
// project's own tables, the table of 2008, the maps that people use instead, and bare
// counters of users. One file per target.
//
// # Terminology
//
// A target is a table that gives each address one objref, or a counter that counts by
// objref. A worker is one thread's handle on a table. A block is a slice of operations handed over in one
// call, so that no target pays an interface call for every operation and each
// runs a loop of its own concrete code.
//
// A strategy (package refcount) is a way of counting users. A target that takes one is
// named after both, as counter/atomic and objhash/atomic are; by its plain name it counts
// as it does by itself, or, for a bare counter, stands for all of them.
//
// # Structure
//
//	Spec --New(Options)--> Target --Worker()--> Worker --Encounter(block)--> objrefs
//	Spec --NewCounter(Config)--> refcount.Counter --Handle()--> refcount.Handle --Inc, Dec--> counts
//
// # Protocols
//
// Targets whose name ends in -batch may use a block as a whole. All others do
// one operation after the other with their single-operation call.
//
// Maps that do not number objects themselves are used as a good user would:
// the worker looks the address up first, offers a candidate objref only for an
// absent one, and keeps the candidate if another worker was faster. Candidates
// come from blocks of [LeaseSize] numbers that a worker takes from one shared
// counter. Bare maps store the objref only; they know nothing of kinds.
//
// Each target has its best honest configuration: presized where the profile
// tells the number of objects, integer keys, grow-only where that can be said,
// the hash function its authors recommend.
//
// The target floor is no table: it reads one cache line for each lookup, as any table that
// is out of cache must, and does nothing else.
//
// Counters are used through the interface refcount.Handle, one call per operation. That
// is the same for all of them, and what the engine does too; only its default strategy
// it calls directly.
//
// # Limits
//
// A target serves at most 2^30 objects; the harness sees to it.
package target

import (
	"io"
	"sync/atomic"

	"github.com/objhash/objhash/refcount"
)

// Options is what a target may know before the first operation.
type Options struct {
	// Expected is the number of objects to make room for; 0: not known, the
	// target starts at its default size.
	Expected int

	// Objects is how many objects there will be, known or not. It is only for
	// a target that is defined by it, as baseline-sized is.
	Objects int

	// Kinds are the names of the kinds; kind k of an operation is Kinds[k-1].
	Kinds []string

	// Threads is the number of workers that will be used at a time.
	Threads int

	// Drop is called for each reference that the table drops; nil: kinds have no
	// Drop. Only targets whose [Spec] says Drops do it.
	Drop func(ptr uint64)

	// Users is an object's real reference count, for targets whose [Spec] says Audits.
	Users func(ptr uint64) int64

	// Seed is for hash functions that take one. It differs between trials and
	// is the same for all targets of a trial.
	Seed uint64
}

// Target is a table under test.
type Target interface {
	// Worker returns a handle for one thread. Not concurrent with operations.
	Worker() (Worker, error)

	// Lookup finds one address. It serves verification, with no worker open.
	Lookup(ptr uint64) (ref int32, ok bool)

	// Len counts the objects.
	Len() int

	// Bytes is the memory the target uses by its own exact account, or
	// BytesUnknown: then the growth of the Go heap is measured.
	Bytes() int64

	Close() error
}

// BytesUnknown is what Target.Bytes returns for tables that keep no account.
const BytesUnknown = -1

// Worker does blocks of operations for one thread.
type Worker interface {
	// Encounter looks up or adds each address, writes the objref it has
	// afterwards to refs, and returns how many this call added. kinds and refs
	// are as long as ptrs; kinds[i] is in 1..len(Options.Kinds).
	Encounter(ptrs []uint64, kinds []uint16, refs []int32) (first int, err error)

	// Lookup writes the objref of each address, or 0, to refs and returns how
	// many it found. It adds nothing.
	Lookup(ptrs []uint64, refs []int32) (found int, err error)

	// Close makes what the worker kept to itself, like counts, visible to all.
	Close() error
}

// Recorder is a Target that also keeps a record of each object. Where a target
// has it, verification compares the records with what was encountered.
type Recorder interface {
	// Object returns what is recorded for an objref; users is the number of
	// encounters, and kind is in 1..len(Options.Kinds).
	Object(ref int32) (ptr uint64, kind uint16, users int64, ok bool)
}

// Auditor is a Target that can compare users with real reference counts.
type Auditor interface {
	// Audit returns for how many objects they differ.
	Audit() (found int, err error)
}

// Snapshotter is a Target that can be written and read again.
type Snapshotter interface {
	WriteSnapshot(w io.Writer) error

	// ReadSnapshot returns how many objects it has read.
	ReadSnapshot(r io.Reader) (objects int, err error)
}

// Spec describes a target.
type Spec struct {
	Name    string
	Summary string // one line

	// MaxThreads is the number of threads it can serve at a time; 0: any.
	MaxThreads int

	// FixedSize says that the table never grows, so that its operations slow
	// down in proportion to the objects: it may be left out where that takes
	// too long.
	FixedSize bool

	// Batch says that it takes a block as a whole: to it, that is one call, and to the
	// others as many calls as there are operations.
	Batch bool

	// NoTable says that it stands beside the tables as a bound and finds nothing, so that
	// it does lookups alone, and there is nothing to verify. In phases that are not timed
	// its encounters do nothing.
	NoTable bool

	New func(Options) (Target, error)

	// NewRestart makes its restart side; nil: it has none.
	NewRestart func(Options, *Image) (Restart, error)

	// Drops says that it holds a reference to each object and drops it on Close.
	Drops bool

	// Audits and Snapshots say that its targets are an [Auditor], a [Snapshotter].
	Audits, Snapshots bool

	// Counts says that it is no table, but counts by objref. Then New is nil, and
	// NewCounter makes the counter, once it has a strategy.
	Counts     bool
	NewCounter func(refcount.Config) (refcount.Counter, error)

	// WithStrategy returns the target with another way to count users; nil: it takes
	// none, or has been given one.
	WithStrategy func(refcount.Strategy) Spec

	// Strategy is the name of the one that it was given; "": none.
	Strategy string

	// Inexact says that its strategy tells no more than whether there are users.
	Inexact bool
}

// LeaseSize is how many objrefs a worker takes from the shared counter at a
// time: often enough to stay dense, seldom enough that the counter's cache
// line does not travel with every new object.
const LeaseSize = 64

// source is the counter that objrefs come from. It has a cache line of its own.
type source struct {
	_    [64]byte
	last atomic.Int64
	_    [56]byte
}

// lease is a worker's private block of objrefs. The padding keeps other workers off
// its cache line, which every new object writes.
type lease struct {
	from      *source
	next, end int32
	_         [112]byte
}

// candidate returns the next unused objref, which stays unused until take.
func (l *lease) candidate() int32 {
	if l.next == l.end {
		l.renew(LeaseSize)
	}
	return l.next
}

func (l *lease) take() { l.next++ }

func (l *lease) renew(size int32) {
	l.end = int32(l.from.last.Add(int64(size))) + 1
	l.next = l.end - size
}
