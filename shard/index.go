package shard

import (
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"runtime"

	"github.com/objhash/objhash/internal/region"
)

// ErrInvalid reports an argument that no index accepts: address 0, a number that
// is not positive, slices of unequal length.
var ErrInvalid = errors.New("invalid argument")

// ErrLimit reports that the index needed more memory than its budget allows. All
// that was inserted before stays readable.
var ErrLimit = errors.New("index memory limit reached")

// ErrClosed reports an insert into a closed index.
var ErrClosed = errors.New("index closed")

// TagUnknown is returned as the tag of an entry that had no room for its tag: the
// caller must look where else it keeps it. Tags 0 to 254 are the caller's.
const TagUnknown = 255

// Index maps addresses to numbers, for any number of threads at once. All methods
// may be called from any thread at any time, Close included.
type Index interface {
	// Lookup returns the number and tag of ptr, or number 0 if it is absent; then the tag
	// means nothing. It never waits.
	Lookup(ptr uint64) (ref int32, tag uint8)

	// Insert gives ptr the number ref and the tag unless it has a number already,
	// and returns what it has afterwards. Numbers are positive and the caller never
	// offers one twice for different addresses, so got == ref tells that this call
	// was the one that inserted. Errors wrap ErrInvalid, ErrLimit or ErrClosed, and
	// change nothing.
	Insert(ptr uint64, ref int32, tag uint8) (got int32, gotTag uint8, err error)

	// LookupBatch looks all of ptrs up, overlapping their cache misses, writes their
	// numbers (0: absent) to refs and, unless tags is nil, their tags to tags, and
	// returns how many it found. refs, and tags if there, must be as long as ptrs.
	LookupBatch(ptrs []uint64, refs []int32, tags []uint8) (found int)

	// InsertBatch inserts each of ptrs that is absent under next, next+1, ... in
	// order, writes the number each has afterwards to refs, and returns how many
	// numbers it used. Element i was inserted by this call if refs[i] is next plus
	// the count of elements inserted before it. Elements that fail have refs 0; the
	// others are done all the same, and the joined errors name the indices.
	InsertBatch(ptrs []uint64, tag uint8, next int32, refs []int32) (used int, err error)

	// All yields every address with its number, shard by shard, in no useful order.
	// Entries inserted meanwhile may or may not be seen; no lock is held while the
	// loop body runs. It needs memory for the entries of one shard.
	All() iter.Seq2[uint64, int32]

	// Len counts the entries by looking at all slots: O(size).
	Len() int

	// Bytes returns the memory in use.
	Bytes() int64

	// Stats looks at all slots: O(size).
	Stats() Stats

	// Close releases the memory. Afterwards, and in operations under way, lookups
	// find nothing and inserts return ErrClosed. A second Close does nothing, and does not
	// wait for the first.
	Close() error
}

// Config describes an index. The zero value works.
type Config struct {
	// Expected is the number of entries to make room for at the start; 0 starts
	// small. The index grows past it.
	Expected int

	// Shards is the number of shards, rounded up to a power of two, at most 65536. 0 makes
	// as many as Expected needs, one to begin with, and more as the index grows.
	Shards int

	// Seed chooses among the vetted multipliers; equal seeds place equal addresses
	// equally until a shard must be hashed again.
	Seed uint64

	// Multiplier, if not 0, is used instead of the one that Seed chooses. It must be
	// odd. For experiments with hash quality; the probe bound holds for any.
	Multiplier uint64

	// Budget limits the memory of the tables, together with whatever else takes from
	// it. nil: no limit.
	Budget *region.Budget
}

const shardsMax = 1 << 16

// shardBits returns log2 of the shards to make; if they split, of those that are to be
// made early, lest inserters wait for each other.
func (c Config) shardBits() (uint, error) {
	n := c.Shards
	switch {
	case n < 0 || n > shardsMax:
		return 0, fmt.Errorf("%w: %d shards; want 0 to %d", ErrInvalid, n, shardsMax)
	case n == 0:
		n = min(max(16, 4*runtime.GOMAXPROCS(0)), shardsMax)
	}
	return uint(bits.Len(uint(n - 1))), nil
}

func (c Config) check() error {
	if c.Expected < 0 {
		return fmt.Errorf("%w: %d expected entries; want 0 or more", ErrInvalid, c.Expected)
	}
	if c.Multiplier != 0 && c.Multiplier&1 == 0 {
		return fmt.Errorf("%w: multiplier %#x is even; want an odd one", ErrInvalid, c.Multiplier)
	}
	return nil
}

// Stats describes an index at one moment. Counts of a busy index may be from
// slightly different moments.
type Stats struct {
	Objects  int                   // entries
	Wide     int                   // of these, entries beside the table: addresses outside 48 bits
	Slots    int                   // room in all tables
	Shards   int                   // number of shards at that moment
	Bytes    int64                 // memory in use
	Growths  int64                 // tables replaced by a larger one, or by two
	Rehashes int64                 // tables replaced because of their hash: a probe went past its bound
	Probes   [ProbeGroupsMax]int64 // entries by how many groups (cache lines) from home they are
}

// ProbeGroupsMax is the number of groups that a search looks at, at most.
const ProbeGroupsMax = 15

func checkInsert(ptr uint64, ref int32) error {
	if ptr == 0 {
		return fmt.Errorf("%w: address 0", ErrInvalid)
	}
	if ref <= 0 {
		return fmt.Errorf("%w: number %d for address %#x; want 1 to 2^31-1", ErrInvalid, ref, ptr)
	}
	return nil
}

func limitError(ptr uint64, err error) error {
	if errors.Is(err, region.ErrClosed) {
		return fmt.Errorf("%w: inserting address %#x", ErrClosed, ptr)
	}
	return fmt.Errorf("%w: inserting address %#x: %w", ErrLimit, ptr, err)
}

// batchErrors collects the errors of a batch, each with its index.
type batchErrors []error

func (b batchErrors) err() error { return errors.Join(b...) }

// insertEach inserts one address after the other, as InsertBatch says. offset is the
// index of ptrs[0] in the caller's batch.
func (b *batchErrors) insertEach(x Index, ptrs []uint64, tag uint8, next int32, refs []int32, offset int) (used int) {
	for i, ptr := range ptrs {
		ref := next + int32(used)
		got, _, err := x.Insert(ptr, ref, tag)
		if err != nil {
			*b = append(*b, fmt.Errorf("element %d: %w", offset+i, err))
		} else if got == ref {
			used++
		}
		refs[i] = got
	}
	return used
}

func checkLen(what string, got, want int) {
	if got != want {
		panic(fmt.Sprintf("objhash/shard: %s has %d elements, ptrs has %d", what, got, want))
	}
}
