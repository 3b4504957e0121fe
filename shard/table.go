package shard

import (
	"errors"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/objhash/objhash/internal/region"
)

// table is one generation of a shard: groups of slots, and how to find one's way
// in them. All but full is constant once the table is published.
type table struct {
	asm kernelTable
	layout
	base      unsafe.Pointer // the groups
	groups    uint64         // how many, 2 or more
	groupBits uint           // log2 of that, rounded down
	span
	mixer     mixer
	fullLimit int64 // grow when this many groups are full

	_ [32]byte // keeps what inserters write off the lines that lookups read

	// full counts the groups that have become full. It stands in for a count of
	// entries: one insert in about 28 writes it, where a count would make every
	// insert fight for its line.
	full atomic.Int64

	// mu is the stripe lock: held by whoever replaces this table.
	mu sync.Mutex
	_  [48]byte
}

// span says which addresses are a shard's: those whose hash begins with the depth bits
// that are the shard's, which are count entries of the directory, from first on.
type span struct {
	depth        uint
	first, count int
}

// half returns the half of s whose next bit of the hash is bit.
func (s span) half(bit int) span {
	n := s.count / 2
	return span{s.depth + 1, s.first + bit*n, n}
}

const (
	groupsMin    = 2 // shifts stay below 64
	groupBitsMax = 31 - 3
)

// newTable makes a table of so many groups whose words have room for number
// ref: without tags if need be, with more groups if that is not enough. The latter
// needs a number 256 times as large as the table, so memory stays within 1/32 byte
// for each number given out.
func newTable(a *region.Arena, s span, groups uint64, ref int32, m mixer) (*table, error) {
	t := &table{mixer: m, span: s}
	for tagged := true; ; {
		t.groupBits = uint(bits.Len64(groups) - 1)
		t.layout = newLayout(s.depth, t.groupBits, tagged)
		if t.fits(ref) {
			break
		}
		if tagged {
			tagged = false
		} else {
			groups *= 2
		}
	}
	if err := checkTable(t.groupBits); err != nil {
		return nil, err
	}
	t.groups = groups
	t.fullLimit = fullLimit(groups)
	var err error
	if t.base, err = a.Alloc(t.bytes()); err != nil {
		return nil, err
	}
	t.asm = newKernelTable(t)
	return t, nil
}

var errTooLarge = errors.New("a shard cannot have 2^29 groups, or 2^25 on 32-bit")

// checkTable refuses tables whose size in bytes cannot be said, or hoped for.
func checkTable(groupBits uint) error {
	if groupBits > groupBitsMax || bits.UintSize == 32 && groupBits > 24 {
		return errTooLarge
	}
	return nil
}

func (t *table) bytes() uintptr { return uintptr(t.groups) * groupBytes }

// group returns group i, which is below t.groups.
func (t *table) group(i uint64) *group {
	// Same as: groups[i]
	// Safety: base has t.groups groups.
	return (*group)(unsafe.Add(t.base, i*groupBytes))
}

// next returns the group after group i: the first one after the last.
func (t *table) next(i uint64) uint64 {
	if i++; i == t.groups {
		return 0
	}
	return i
}

// place returns the home group of an address, by its hash, and its key there. Home
// groups divide the hashes into ranges of equal length. A range is no longer than
// 2^-groupBits of all, so in it the bits below the first groupBits tell hashes apart.
func (t *table) place(h uint64) (home, key uint64) {
	h <<= t.depth & 63
	if t.mixer.on {
		h = t.mixer.mix(h)
	}
	home, _ = bits.Mul64(h, t.groups)
	return home, h << (t.groupBits & 63)
}

// home returns where the search began for the word w found in group i.
func (t *table) home(i, w uint64) uint64 {
	d := t.dist(w)
	for d > i { // more than once in tables of fewer groups than the bound
		i += t.groups
	}
	return i - d
}

// start returns the first of the mixed hashes whose home is the group home.
func (t *table) start(home uint64) uint64 {
	if t.groups&(t.groups-1) == 0 {
		return home << (64 - t.groupBits)
	}
	h, rest := bits.Div64(home, 0, t.groups)
	return t.firstFrom(h, rest)
}

// firstFrom returns the first hash that is not below at, or not at if there is a rest.
func (t *table) firstFrom(at, rest uint64) uint64 {
	unit := uint64(1) << ((addrPad + t.depth) & 63)
	if rest != 0 {
		at++
	}
	return (at + unit - 1) &^ (unit - 1)
}

// bounds are the last hashes whose homes are the groups of a table, one after the other, as
// they are in the table before: moved down by down bits, and of the half that is in prefix.
type bounds struct {
	t                          *table
	at, rest, each, eachOfRest uint64
	down                       uint
	prefix                     uint64
}

// bounds returns those from group i on.
func (t *table) bounds(i uint64, down uint, prefix uint64) bounds {
	b := bounds{t: t, down: down & 63, prefix: prefix}
	b.at, b.rest = bits.Div64(i, 0, t.groups)
	b.each, b.eachOfRest = bits.Div64(1, 0, t.groups)
	return b
}

func (b *bounds) next() uint64 {
	b.at += b.each
	if b.rest += b.eachOfRest; b.rest >= b.t.groups {
		b.rest -= b.t.groups
		b.at++
	}
	return (b.t.firstFrom(b.at, b.rest)-1)>>b.down | b.prefix
}

// mixed returns what place split into a home and the key of w. start is that of the home.
func (t *table) mixed(start, w uint64) uint64 {
	remainder := w &^ t.lowMask >> t.groupBits
	return start + (remainder-start)<<t.groupBits>>t.groupBits
}

// unplace is the inverse of place, for the word w found in group i.
func (t *table) unplace(i, w uint64) (h uint64) {
	h = t.mixed(t.start(t.home(i, w)), w)
	if t.mixer.on {
		h = t.mixer.unmix(h)
	}
	return t.prefix() | h>>t.depth
}

// prefix returns the bits that the hashes of t begin with.
func (t *table) prefix() uint64 {
	if t.depth == 0 {
		return 0
	}
	return uint64(t.first/t.count) << (64 - t.depth)
}

// fullLimit is the number of full groups at which a table grows. With well-mixed
// addresses a fraction of fullShare is full when fillMax of the slots are taken;
// addresses that spread more evenly fill fewer groups, probe less, and may fill the
// table further.
func fullLimit(groups uint64) int64 {
	return max(1, int64(groups*fullShareNum/fullShareDen))
}

const (
	fullShareNum = 4
	fullShareDen = 16
	fillMax      = 0.70
	fillAim      = 0.66 // of a table that is made for a number of entries
)

// largerThan returns how many groups the table has that follows one of so many: a half or a
// third more, so that two steps double a power of two. Small ones double: they take little
// memory, and to publish the first of them takes longer than to fill them.
func largerThan(groups uint64) uint64 {
	switch {
	case groups < smallGroups:
		return 2 * groups
	case groups>>(bits.Len64(groups)-2) == 2:
		return groups + groups/2
	}
	return groups + groups/3
}

const smallGroups = 1 << 10

// groupsFor returns how many groups a table needs for n entries, give or take what
// chance gives one of many tables: four standard deviations.
func groupsFor(n float64) uint64 {
	slots := max(n/fillAim, (n+4*math.Sqrt(n))/fillMax)
	return min(max(uint64(math.Ceil(slots/groupSlots)), groupsMin), 1<<groupBitsMax)
}
