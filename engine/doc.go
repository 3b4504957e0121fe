// Package engine is what checkpoint/restart tools embed: it answers, for many threads
// at once, whether an object has been met before, and what its number is.
//
// # Terminology
//
//   - An object is a thing with identity in the checkpointed system. Its state is saved
//     once. Its [Ptr] is its address there; a key is an identity where no address exists.
//   - Its [Kind] selects the operations that hold and release it ([KindOps]).
//   - Its [ObjRef] is its number in the image.
//   - An encounter is one lookup-or-add during checkpoint. It is first for exactly one
//     caller per object. Users counts an object's encounters.
//   - With Options.Holds an encounter holds the object until [Dumper.Release] lets go of
//     it; an object that nobody holds any more is released: its reference is dropped, and
//     it cannot be encountered again.
//   - A holder is on whose behalf encounters are: a task, say. Any number names it.
//   - The collect pass meets and counts everything, before the dump pass saves it. A
//     context may also do with one pass.
//   - A context is one [Checkpoint] or one [Restart]; a [Dumper] is one thread's handle
//     on the former, a [Restorer] on the latter.
//   - A [Claim] is the right, and the duty, of one thread to create an object on restart.
//     Whoever else asks for the object waits until the claim ends or declares where the
//     object is.
//   - A [Snapshot] is a checkpoint's table, as bytes or in memory. A round is a checkpoint
//     that goes on from a snapshot, its base ([NewCheckpointFrom]).
//
// # Structure
//
//	       Dumper (leased objrefs)
//	          │ ptr, kind
//	          ▼
//	    shard.Compact ──── objref ────▶ record: address, kind, state   8 bytes (record.go)
//	ptr ▶ objref, one line          └─▶ counter: users                 4 bytes (refcount)
//	                                └─▶ log: holder, objrefs           4 bytes for each
//	                                    if asked for                   encounter (holders.go)
//
// A [Restart] has records alone: objrefs are small numbers, and a record is one load
// away. Keys, and addresses outside 48 bits, are kept in side tables by objref. Who waits
// for what is kept apart (waits.go), and costs those nothing who do not wait.
//
// A round has the records of its base from the start, and an index of their addresses
// beside its own, which it asks where its own has nothing.
//
// # Protocols
//
// An encounter of an object that is not in the index: grab a reference; write the
// record under an objref of this handle's lease; publish the objref in the index, in
// one step that one thread wins. The loser clears its record, drops its reference, and
// keeps the objref for its next object.
//
// A reference is dropped by whoever makes the record's last transition (record.go).
// That is Close, or the operation that finds that nobody holds the object (release.go); it
// is held before it is published, so what is found there is true.
// Close marks the context closed, then goes through all records; an encounter publishes,
// then looks whether the context is closed. One of them, and only one, drops.
//
// An encounter that is to be counted and noted makes sure of room for that before it
// changes anything. Notes are published a run at a time: at the next SetHolder, when the
// handle is closed, or when its chunk of memory is full; a published word never changes.
// [Checkpoint.Audit] and [Checkpoint.Canonical] read what is published, and stop nobody.
//
// The collect pass ends with one store; which objrefs were in use then is looked up
// after it (passes.go). Objects under the others are late. Records have no bit for it.
//
// An object of the base is met by one transition of its record, with the reference
// grabbed before; it is entered in the round's own index afterwards, to be found faster.
//
// A restoration: place a record that says which Restorer claims the objref, in one step
// that one thread wins; create, with no lock held; grab a reference; write the address
// into the record, in one step that publishes the object. Declare makes the last two steps
// early. Whatever else create does, panic and Goexit included, makes the record say that
// the object has failed, for good. Either way those who wait are woken after that step.
//
// Who is about to wait registers, then looks at the record again; who changes a record
// looks for waiters after that. One of them sees the other. A thread waits for one object,
// and a claim says whose it is, so from each wait there is one way to go: whoever
// registers goes it, and if it comes back to him he gets a [CycleError] and does not wait.
// When every open Restorer waits, all get a [StallError].
//
// The memory of a checkpoint stays until the context and all its handles are closed, so
// that what is under way finds its records; readers without a handle may then see zeros,
// which means absent.
//
// # Guarantees
//
// The letters are those of DESIGN.md.
//
//   - G1, G2: exactly one encounter of an object is first, all get the same objref; objrefs
//     are positive and never used for two objects.
//   - G3: one handle numbers densely from 1; with H handles the largest objref is at most
//     objects + reserved + 64 H. A closed handle's unused objrefs are used first. Canonical
//     is dense, and what one thread alone would have numbered.
//   - G4, G25: at a limit the answer is an error, and all that was accepted stays readable.
//   - G9: an object under another kind is a KindError and changes nothing.
//   - G10: a duplicate objref on restart is an error before anything is created or grabbed.
//   - G11: grabs minus drops is zero for each object after Close and the operations it
//     overtook.
//   - G12: a failing grab leaves no object behind, and nobody waiting.
//   - G13: no callback runs under a lock.
//   - G14: a dump succeeds at most once for each object, and an object whose dump failed
//     is not marked dumped.
//   - G15: every wait ends at once when the object is there, has failed, or never can be,
//     when it would close a cycle, and when the waiter is cancelled or the context closed.
//   - G16: a panic or Goexit in a create callback ends its claim, and travels on; those who
//     wait get the cause.
//   - G17: a cycle of waits gives one CycleError, with all its members in order; graphs
//     without cycles, and those whose objects are declared first, give none.
//   - G18: cancelling one waiter disturbs nobody else and leaves nothing behind.
//   - G19: operations under way during Close complete or return ErrClosed.
//   - G21: users, and the holders that account for them, are exact once all handles are
//     closed, in any interleaving.
//   - G22: reading a snapshot takes memory and work in proportion to its bytes; each
//     changed, missing or added byte is an error; what is read is what was written.
//
// # Progress
//
// Lookups, and encounters of known objects, wait for nobody. New objects wait while their
// shard of the index is moved to a larger table, and for a short lock once in 64. Where
// holders are tracked, encounters of known objects take such a lock as well, more rarely.
// On restart only those wait who ask for an object that another thread is creating, or
// that only another one may; Fetch waits for nobody.
//
// # Limits
//
// 2^31-1 objrefs; 4,095 kinds; keys as long as memory allows, in a snapshot 2^32-1 bytes;
// [NestedMax] objects being created by a thread, each from within the one before. An audit
// or a renumbering may miss the last 16,384 encounters of each open handle. No goroutines
// but those that Close and Canonical wait for, no logging, no globals.
//
// # Prior art
//
// The 2008 Linux checkpoint/restart patches (Oren Laadan; objhash), from v5, with one
// table and no locks, to linux-cr v21, with per-kind operations, users and leak detection:
// its ckpt_obj_contained stops at the first leak, and does not know whose it is. BLCR's
// cr_objects.c is the one ancestor with locks.
package engine
