package shard

import (
	"errors"
	"math/bits"
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
	groupMask uint64         // number of groups - 1
	homeShift uint           // 64 - g
	groupBits uint           // g
	mixer     mixer
	fullLimit int64 // grow when this many groups are full

	_ [48]byte // keeps full, which inserters write, off the line that lookups read

	// full counts the groups that have become full. It stands in for a count of
	// entries: one insert in about 28 writes it, where a count would make every
	// insert fight for its line.
	full atomic.Int64

	_ [56]byte
}

const (
	groupBitsMin = 1 // two groups: shifts stay below 64
	groupBitsMax = 31 - 3
)

// newTable makes a table of 1<<groupBits groups whose words have room for number
// ref: without tags if need be, with more groups if that is not enough. The latter
// needs a number 256 times as large as the table, so memory stays within 1/32 byte
// for each number given out.
func newTable(a *region.Arena, shardBits, groupBits uint, ref int32, m mixer) (*table, error) {
	t := &table{mixer: m}
	for tagged := true; ; {
		t.layout = newLayout(shardBits, groupBits, tagged)
		if t.fits(ref) {
			break
		}
		if tagged {
			tagged = false
		} else {
			groupBits++
		}
	}
	if err := checkTable(groupBits); err != nil {
		return nil, err
	}
	groups := uint64(1) << groupBits
	t.groupBits = groupBits
	t.groupMask = groups - 1
	t.homeShift = 64 - groupBits
	t.fullLimit = fullLimit(groups)
	var err error
	t.base, err = a.Alloc(uintptr(groups) * groupBytes)
	t.asm = newKernelTable(t)
	return t, err
}

var errTooLarge = errors.New("a shard cannot have more than 2^28 groups, or 2^24 on 32-bit")

// checkTable refuses tables whose size in bytes cannot be said, or hoped for.
func checkTable(groupBits uint) error {
	if groupBits > groupBitsMax || bits.UintSize == 32 && groupBits > 24 {
		return errTooLarge
	}
	return nil
}

func (t *table) bytes() uintptr { return uintptr(t.groupMask+1) * groupBytes }

// group returns group i modulo the number of groups.
func (t *table) group(i uint64) *group {
	// Same as: groups[i&mask]
	// Safety: base has groupMask+1 groups.
	return (*group)(unsafe.Add(t.base, (i&t.groupMask)*groupBytes))
}

// place returns the home group of an address and its key there. h is the hash of
// the address with the bits that chose the shard shifted out.
func (t *table) place(h uint64) (home, key uint64) {
	if t.mixer.on {
		h = t.mixer.mix(h)
	}
	return h >> (t.homeShift & 63), h << (t.groupBits & 63)
}

// mixed returns what place split into home and key, for the word w found in group i.
func (t *table) mixed(i, w uint64) uint64 {
	home := (i - t.dist(w)) & t.groupMask
	return home<<(t.homeShift&63) | w&^t.lowMask>>t.groupBits
}

// unplace is the inverse of place, for the word w found in group i.
func (t *table) unplace(i, w uint64) (h uint64) {
	h = t.mixed(i, w)
	if t.mixer.on {
		h = t.mixer.unmix(h)
	}
	return h
}

// fullLimit is the number of full groups at which a table grows. With well-mixed
// addresses a fraction of fullShare is full when fillAim of the slots are taken;
// addresses that spread more evenly fill fewer groups, probe less, and may fill the
// table further.
func fullLimit(groups uint64) int64 {
	return max(1, int64(groups*fullShareNum/fullShareDen))
}

const (
	fullShareNum = 4
	fullShareDen = 16
	fillAimNum   = 13
	fillAimDen   = 20
)

// groupBitsFor returns log2 of the groups a table needs for n entries.
func groupBitsFor(n int) uint {
	slots := (uint64(n)*fillAimDen + fillAimNum - 1) / fillAimNum
	return min(max(log2ceil((slots+groupSlots-1)/groupSlots), groupBitsMin), groupBitsMax)
}
