// Package shard is the identity index: a map from addresses to numbers that many
// threads share, whose lookups take no lock and wait for nobody.
//
// # Terminology
//
//   - An address (ptr) is 64 bits of identity, never 0. It is canonical if its bits 47
//     to 63 are equal, and wide otherwise.
//   - A number (ref) is what an address is mapped to, 1 to 2^31-1. The caller makes
//     them up and never offers one for two addresses.
//   - A tag is 8 bits that come back with the number where there is room for them.
//   - A slot holds one entry; eight slots are a group, one cache line; groups are a
//     table. A shard is the addresses whose hashes begin with the same bits; it has one
//     table at a time, which has the stripe lock.
//   - The directory has the tables, by the first bits of the hash.
//   - The home of an address is the group where its search starts.
//
// # Structure
//
// [Compact] keeps a whole entry in one 64-bit word. For that it relies on a
// multiplication by an odd number being a bijection modulo 2^48 (quotienting):
//
//	hash = address * multiplier mod 2^48
//
//	 47                                                       0
//	┌───────────┬───────────────┬──────────────────────────────┐
//	│ shard   s │ home group  g │ remainder           48-s-g   │  of the hash
//	└───────────┴───────────────┴──────────────────────────────┘
//	                     └─ if the groups are no power of two: of the rest, times groups
//	                                │ kept in the slot
//	┌──────────────────────────────┬──────────┬─────┬──────────┐
//	│ remainder                    │ distance │ tag │ number   │  the slot, see slot.go
//	└──────────────────────────────┴──────────┴─────┴──────────┘
//
// Where the word stands, and the distance it has from home, give the home group;
// home and remainder give the hash, and the hash the address: the entry is exact, and
// growth and iteration need nothing else. When a table doubles, the remainder loses a
// bit and the number gains one. A table may have any number of groups from 2^g to 2^(g+1):
// groups are ranges of equal length of the hashes, and bits below the first g tell the
// hashes of a range apart.
//
// A directory entry has a hash's first bits for its number. As long as there are few
// objects, many entries have the same table. A shard that outgrows its table gets one
// twice as large, and from 1,024 groups on by a half or a third larger, in turn. When that
// would be more than 2,048 groups (32, if there are fewer shards than four for each
// processor), it is split in two, by the next bit of the hash, so that what is copied at
// once stays small (extendible hashing). The directory never changes its size: beyond 1,024
// shards tables just grow. An index with a given number of shards keeps that.
//
// Search is linear over groups, at most [ProbeGroupsMax] of them. Slots of a group
// are filled in order, so the first group with room ends a search.
//
// Wide addresses live beside the tables in an xsync map.
//
// [Locked] is the variant to compare with: address and number in two words, an insert
// under the stripe's lock.
//
// # Protocols
//
// Insert: search; if the address is absent, one compare-and-swap of the first empty
// slot from 0 to the entry. Two inserters of one address try the same slot, because
// both go for the first empty one of the same sequence; the loser sees the winner's
// entry there.
//
// Growth, under the stripe lock: make the new table, or the two of the halves; group by
// group, freeze the first empty slot (a compare-and-swap from 0, which competes with
// inserters) and copy the entries; lock and publish the new tables, entry by entry of the
// directory; release the old one, whose pages then read as zeros.
//
// Lookup: load the table, search, load the table again, from the same entry; if it is
// another one now, search again. So an answer comes from a table that was published when
// it was read. An inserter does the same after its compare-and-swap: if the table has
// changed, it looks whether its entry was copied, and if not inserts it again. (The number
// is its own, so it can tell.)
//
// A table is replaced when a quarter of its groups is full, when an entry finds no
// room within the probe bound, or when a number has more bits than its words have room
// for. If it is much emptier than well-mixed addresses would have left it, they defeat
// the multiplier: the new table is as large, and mixes addresses by a random bijection
// instead. So chosen addresses cost one copy, not a doubling each. A shard that mixes is not
// split; when it grows and its addresses look evenly spread without, it stops mixing.
//
// # Kernels
//
// On amd64 lookups and inserts run in assembly that compares the eight slots of a group at once, with
// AVX-512 or AVX2, and leaves to Go what is not usual. Batches keep the next 64 lookups'
// lines under way. [Kernel] says what was chosen; OBJHASH_KERNEL=purego, avx2 or avx512
// chooses. internal/gen writes the assembly and says why its answers are those of the Go
// code, which is the reference, and all that there is on other processors, with -race,
// and with the build tags purego and objhash_invariants.
//
// # Guarantees
//
// The letters are those of DESIGN.md.
//
//   - G1: of any number of concurrent inserts of one address exactly one inserts; all
//     return the same number.
//   - G5: a lookup that starts after an insert returned finds it, also while the shard
//     grows.
//   - G6: an entry is seen whole or not at all.
//   - G8: nothing disappears before Close.
//   - G19: operations under way during Close complete, find nothing, or return ErrClosed.
//   - G23: any address but 0 works.
//   - G24: a search looks at ProbeGroupsMax groups at most, whatever the addresses.
//   - G25: tables take 8 bytes for each slot. With well-mixed addresses 0.47 to 0.70 of
//     the slots are used: 11 to 17 bytes for each object, 14 on average, once tables have
//     1,024 groups; 0.35 to 0.70 in smaller tables, up to 23 bytes; 13 where the number of
//     objects was told beforehand. To these come the new table beside the old one during growth;
//     tables that have been replaced, as long as they share a block of 2 MiB with one that
//     has not (below 256 KiB, replaced tables of up to 1 KiB); and a fixed 320 bytes for
//     each shard, and 8 for each entry of the directory.
//
// # Progress
//
// Lookups are lock-free, and wait-free but for a table that is replaced during each
// try. On amd64 a batch holds a stop of the world up for 256 addresses at most. Inserts are
// lock-free while their shard is not being replaced, and wait for that otherwise; a thread stopped during a replacement delays inserts of new addresses into
// this one shard, and nothing else (G20).
//
// # Limits
//
// 2^31-1 entries; 65,536 shards; fewer than 2^29 groups in a shard. Wide addresses are charged 96
// bytes each.
//
// # Prior art
//
// Quotienting: J. G. Cleary, Compact hash tables using bidirectional linear probing,
// IEEE Trans. Computers 33 (1984). Multiplicative hashing: M. Dietzfelbinger, T.
// Hagerup, J. Katajainen, M. Penttonen, A reliable randomized algorithm for the
// closest-pair problem, J. Algorithms 25 (1997). Groups of slots of one cache line:
// CLHT (T. David, R. Guerraoui, V. Trigonakis, ASPLOS 2015) and abseil's Swiss tables.
// Splitting tables under a directory: R. Fagin, J. Nievergelt, N. Pippenger, H. R. Strong,
// Extendible hashing, ACM TODS 4 (1979). Ranges of hashes instead of a modulus: D. Lemire,
// Fast random integer generation in an interval, ACM TOMACS 29 (2019).
// Growth by marking slots: T. Maier, P. Sanders, R. Dementiev, Concurrent hash tables:
// fast and general(?)!, PPoPP 2016 (growt).
package shard
