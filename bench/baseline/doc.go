// Package baseline is the object table of the 2008 Linux checkpoint/restart
// patch ("[RFC v5][PATCH 7/8] Infrastructure for shared objects"), kept as it
// was: chained buckets, one heap allocation per object, one thread.
//
// It has two uses. It is the yardstick: what a faster table is faster than. And
// it is the oracle: it is short enough to be read and believed, so other tables
// are checked against it.
//
// # Terminology
//
// An object is a thing with identity in the checkpointed system; its ptr is its
// address there, a number that is never dereferenced and never 0. Its objref is
// its number in the image, 1 to 2^31-1. An encounter is one lookup-or-add; first
// is true for the encounter that added. Users are how many encounters an object
// had. A kind says how an object is held (grab) and let go (drop).
//
// # Structure
//
//	buckets (2^bits)          entries, newest first
//	+---+
//	| 0 | ---> {ptr objref kind flags users next} ---> {...} ---> nil
//	+---+
//	| 1 | ---> nil
//	+---+
//	  :          bucket of a key = key * Hash >> (64 - bits)
//
// # Protocols
//
// A table runs in one direction, which its first operation settles:
//
//   - checkpoint, [Table.LookupAdd]: the key is the ptr; a ptr that is not found
//     is grabbed, given the next objref and put at the head of its bucket's chain.
//   - restart, [Table.Insert] and [Table.Fetch]: the key is the objref, which the
//     caller read from the image.
//
// What is kept of the seed:
//
//   - the hash (hash_64 with the constant of 2008; the one that replaced it in
//     2016 is there to compare with), the 2^10 buckets, the insertion at the head;
//   - the counter that starts at 1 and is read, then incremented;
//   - the fields of an entry, each entry its own allocation;
//   - a reference per object for as long as the table lives; nothing is removed
//     before [Table.Close].
//
// What differs from the C:
//
//   - The seed has one function for both directions and switches on
//     `if (objref)`, so that 0 is a mode as well as "no objref". Here each
//     direction has its methods, and an objref of 0 is an error.
//   - The seed's add does not look for a duplicate; its callers look up first.
//     LookupAdd is those two steps with one walk of the chain, and Insert reports
//     a duplicate objref before it grabs.
//   - Grab may fail, and runs before the entry is linked and the counter read:
//     a failed grab leaves nothing. The seed links first; its grab cannot fail.
//   - A wrong kind is an error, where the seed has BUG(). The counter ends
//     with an error, where the seed's int overflows.
//   - An entry counts its users and has no back link (hlist's pprev serves
//     removal alone). Fields are ordered so that an entry has 32 bytes, not the
//     C's 40 in a slab slot of 64: where there was a choice, the yardstick got
//     the faster side.
//   - The number of buckets can be chosen ([BitsFor]).
//
// # Guarantees
//
//	A  One objref per ptr; exactly one of its encounters is first.
//	B  Objrefs of a checkpoint are 1, 2, 3 ... without holes, also after errors.
//	C  A failed call leaves nothing: no entry, no objref, no user, no reference.
//	D  Each object is grabbed once, and dropped once, by Close.
//	E  The same ptr (checkpoint) or objref (restart) with another kind is ErrKind.
//	F  When the last objref is given out, known objects are still found.
//
// # Progress
//
// None to speak of: a table belongs to one goroutine at a time, and Grab and
// Drop must not call the table they are called by. Operations take time in
// proportion to the chain, objects / 2^bits for a hash that spreads well; the
// table never grows its buckets.
//
// # Limits
//
// 2^31-1 objects; 2^31 buckets (2^28 where a pointer has 32 bits). A restart
// finds by objref alone: one ptr under two objrefs is not noticed, as in the
// seed.
//
// # Prior art
//
// Oren Laadan's patch of September 2008 and its review; hash_64 of
// include/linux/hash.h in Linux 2.6.27 and 4.7.
package baseline
