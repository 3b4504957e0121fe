// Package trace holds recorded encounter streams: who met which object, in the
// order of a real walk. A trace is a workload as it happened, with its sharing,
// its order and its addresses; synthetic profiles only imitate these.
//
// # Terminology
//
// An encounter is a holder that meets an object: the holder is a number (the
// address of the referring object, a task id), 0 for the roots of a walk, which
// nobody refers to. The object is its address, ptr, and has one kind. The first
// encounter of an object is the one with which it becomes known.
//
// # Structure
//
// A file is a sequence of frames. Integers are little-endian.
//
//	magic    8 bytes  89 'O' 'H' 'T' 'R' 'C' 0d 0a
//	version  u32      1
//	frame    kinds    per kind: u8 shift, u8 length of name (1 to 255), name
//	frame    block    1 to 4096 encounters; any number of such frames
//	frame    trailer  u64 encounters, u64 objects, u64 holders; count is 0
//
//	frame:   count u32 | length u32 | payload (length bytes) | checksum u64
//
// The checksum is XXH3-64 over count, length and payload, seeded with the
// checksum of the frame before (that of magic and version for the first), so
// that frames cannot be exchanged, doubled or left out.
//
// An encounter in a block is a tag byte and what the tag calls for, in this
// order. Numbers are unsigned varints (7 bits a byte, low first), signed ones
// zigzag-folded.
//
//	tag bits 0-1  holder   0  as before (0 at first)
//	                       1  the next object: in order of first encounters, the
//	                          one after the last holder so coded
//	                       2  a later object: number follows, objects skipped - 1
//	                       3  other: signed number follows, holder - holder before
//	tag bit  2    object   0  known: signed number follows, its index among the
//	                          known objects of its kind - the index last so coded
//	                       1  new: signed number follows, units - units of the
//	                          kind's newest object (0 at first)
//	tag bits 3-7  kind     0..30 kind 1..31; 31: number follows, kind - 32; it
//	                          comes before the other two
//
// Units are ptr >> shift, where shift is the number of low zero bits common to
// all ptrs of the kind.
//
// Why so: in a breadth-first walk the objects become holders in the order in
// which they were first met, so nine holders in ten cost nothing beyond the tag.
// Allocators keep a kind's objects together and aligned, so neighbours in a
// kind are near in address, and a re-encounter mostly goes near the last one of
// its kind. A live Go heap takes 3.1 bytes an encounter, where the same heap as
// text under gzip takes 4.9 and has to be decompressed and parsed.
//
// # Guarantees
//
//	A  Read(Write(t)) equals t, on every architecture.
//	B  Every truncation, every changed byte and every added byte is an error,
//	   which names the offset.
//	C  Read needs memory in proportion to the bytes that are there (100 bytes a
//	   byte at worst, 12 for a heap): no count or length is believed before the
//	   bytes it speaks of were seen.
//	D  Read and Write work in time linear in the trace, also for chosen addresses.
//	E  A trace that was read has no ptr 0, no kind outside its table and no
//	   object with two kinds.
//
// # Progress
//
// Functions here run to their end or an error; none starts a goroutine. A Trace
// may be read by any number of goroutines while none writes it.
//
// # Limits
//
// 65535 kinds, with names of 1 to 255 bytes of UTF-8 without control characters.
// A trace is held in memory whole: 24 bytes an encounter.
//
// # Prior art
//
// PNG for a magic that text transfers break; RocksDB and LevelDB logs for blocks
// with their own checksums; WebGraph for coding references relative to the
// order of a breadth-first walk.
package trace
