package engine

import (
	"encoding/binary"
	"fmt"

	"github.com/zeebo/xxh3"
)

// A snapshot is the object table of a checkpoint as bytes, format version 1. Integers
// are little-endian; what is said to be zero must be.
//
//	prefix    magic    8 bytes   89 'O' 'H' 'S' 'N' 'P' 0d 0a
//	          version  u32       1
//	          zero     u32
//	section   kinds
//	  section   objects          one block, and what belongs to its objects:
//	  section   keys             any number
//	  section   holders          any number
//	  ...                        any number of blocks
//	section   trailer            nothing follows
//
// A section is a head, a payload and a checksum, XXH3-64 over head and payload:
//
//	 0          2          4             8                  16          16+length
//	┌──────────┬──────────┬─────────────┬──────────────────┬───────────┬──────────────┐
//	│ type u16 │ flags u16│  count u32  │    length u64    │  payload  │ checksum u64 │
//	└──────────┴──────────┴─────────────┴──────────────────┴───────────┴──────────────┘
//
// Flag bit 0, optional: who does not know the type may skip the section; it may stand
// anywhere after the kinds. There are no other flags, and a section of an unknown type
// that is not optional makes the snapshot unreadable.
//
//	type  section        count     payload
//	1     kinds          kinds     for each: length u32, name
//	2     objects        1..4096   for each, by ascending objref, 24 bytes:
//
//	      0            4         6         7        8          16            24
//	     ┌────────────┬─────────┬─────────┬────────┬──────────┬─────────────┐
//	     │ objref u32 │ kind u16│ flags u8│ zero u8│  ptr u64 │  users u64  │
//	     └────────────┴─────────┴─────────┴────────┴──────────┴─────────────┘
//
//	3     keys           keys      for each: objref u32, length u32, key (1 byte or more)
//	4     holders,       objects   for each: objref u32, n u32 (1 or more), then n times
//	      optional                 holder u64, users u64, by ascending holder
//	6     audit,         findings  an [AuditReport] in JSON; at most one
//	      optional
//	5     trailer        0         objects u64, reserved objrefs u64, sections u64, and a
//	                               checksum u64 over the checksums of those sections
//
// Flags of an object are [Flags]. Ptr is 0 for a keyed object, and each of these has one
// key in the keys sections of its block, which are, like the holders, by ascending
// objref. A reserved objref has no kind, ptr or users. The checksum of the trailer is
// s(n), where s(0) = 0 and s(i) is XXH3-64 of the checksum of section i, as 8 bytes,
// with the seed s(i-1): no section can be left out, doubled or exchanged.
//
// Entries have one width and no pointers, so that a block is filled as fast as memory is
// copied; a block, with what belongs to it, is all that has to be in memory at once, and
// blocks can be encoded and checked by many threads.
const (
	snapshotMagic   = "\x89OHSNP\r\n"
	snapshotVersion = 1

	prefixBytes  = len(snapshotMagic) + 4 + 4
	headBytes    = 2 + 2 + 4 + 8
	sumBytes     = 8
	entryBytes   = 24
	blockEntries = 4096 // objects
	trailerBytes = 4 * 8

	kindHeadBytes   = 4     // of a kind's entry: length
	keyHeadBytes    = 4 + 4 // objref, length
	holderHeadBytes = 4 + 4 // objref, number of holders
	holderBytes     = 8 + 8

	// A section of keys or holders ends when it is at least so long.
	sectionBytesAim = 64 << 10
)

type sectionType uint16

const (
	sectionKinds sectionType = 1 + iota
	sectionObjects
	sectionKeys
	sectionHolders
	sectionTrailer
	sectionAudit
)

// sectionOptional is the flag of sections that may be skipped.
const sectionOptional = 1

// flags returns the flags of a section of a known type.
func (t sectionType) flags() uint16 {
	if t == sectionHolders || t == sectionAudit {
		return sectionOptional
	}
	return 0
}

var _ [1]struct{} = [len(snapshotMagic) - 7]struct{}{}

// Snapshot is the object table of a checkpoint, in memory. [Checkpoint.WriteSnapshot]
// writes one and [ReadSnapshot] reads it.
type Snapshot struct {
	Kinds   []string         // names: Kind(i+1) is Kinds[i]
	Objects []SnapshotObject // by ascending objref
	Audit   *AuditReport     // nil: it was written without one
}

// SnapshotObject is one object of a snapshot, or, with [Reserved] among its flags, an
// objref without one.
type SnapshotObject struct {
	Ref ObjRef
	Object
	Holders []Holder // who met it, by ascending ID; nil if that was not tracked
}

// foundWrong returns what is wrong with an entry of a snapshot that has the given number
// of kinds, after one of the objref last; "" if nothing is.
func (o *SnapshotObject) foundWrong(last ObjRef, kinds int) string {
	const known = Dumping | Dumped | Keyed | Reserved
	switch f := o.Flags; {
	case o.Ref <= 0:
		return fmt.Sprintf("objref %d; want 1 to %d", o.Ref, refMax)
	case o.Ref <= last:
		return fmt.Sprintf("objref %d after %d; want ascending ones", o.Ref, last)
	case f&^known != 0:
		return fmt.Sprintf("objref %d: unknown flags %#x", o.Ref, uint8(f&^known))
	case o.Users < 0:
		return fmt.Sprintf("objref %d: %d users", o.Ref, o.Users)
	case f&Reserved != 0:
		if f != Reserved || o.Kind != 0 || o.Ptr != 0 || o.Users != 0 {
			return fmt.Sprintf("objref %d is reserved, but has flags %#x, kind %d, address %#x, %d users", o.Ref, uint8(f), o.Kind, uint64(o.Ptr), o.Users)
		}
	case f&Dumping != 0 && f&Dumped != 0:
		return fmt.Sprintf("objref %d is both being dumped and dumped", o.Ref)
	case o.Kind == 0 || int(o.Kind) > kinds:
		return fmt.Sprintf("objref %d: unknown kind %d; want 1 to %d", o.Ref, o.Kind, kinds)
	case f&Keyed != 0 && o.Ptr != 0:
		return fmt.Sprintf("objref %d is keyed, but has address %#x", o.Ref, uint64(o.Ptr))
	case f&Keyed == 0 && o.Ptr == 0:
		return fmt.Sprintf("objref %d: address 0", o.Ref)
	}
	return ""
}

// chain adds one section's checksum to the checksum over all before it.
func chain(sums, sum uint64) uint64 {
	var b [sumBytes]byte
	binary.LittleEndian.PutUint64(b[:], sum)
	return xxh3.HashSeed(b[:], sums)
}
