// Package model predicts what counting users costs on machines with more cores than the
// one at hand, from costs that are measured there.
//
// # Terminology
//
//   - An operation is one Inc. ns/op is wall time divided by all operations of all threads,
//     as in package bench.
//   - T is the number of threads, P the number of processors they run on: T, unless fewer
//     are assumed.
//   - A line is a cache line that several threads change: of counts, or of a lock.
//   - A move is what happens when a thread changes a line that another changed last.
//   - A profile ([Profile]) is which objects are counted, how often, and by how many handles;
//     p(i) is the share of its operations that go to line i.
//
// # Structure
//
//	this machine --measure--> Machine, Costs --+
//	refcount.Strategy --RowOf--> Row ----------+--Predict--> ns/op for each T
//	sizes --newProfiles--> Profile ------------+
//	          \--trial--> ns/op for T up to the cores that exist, to compare with
//
// # Measured costs
//
// Of the machine:
//
//   - a: a locked add to a word that nobody else changes.
//   - L: a move that a thread waits for. Two threads take turns to add to a word, each
//     waiting for the other's turn; L is half a turn, since a turn moves the line twice: the
//     reading that notices it, and the change. An add does both in one.
//   - M: a move among others. Two threads add to 128 lines in random order, and each finds half
//     of them changed by the other; M is twice what that adds to the time of one thread. It
//     is much less than L where a processor fetches the next lines before it is done with
//     this one, as it does when it counts one object after the other.
//   - A: a locked add, wall time over all adds, when two threads add to one word as fast as
//     they can. It is less than L, as the core that has the line does several adds before
//     it goes.
//   - f: failed compare-and-swaps for each that succeeded, when two threads try.
//
// L, M, A and f are taken from those moments at which both threads ran. Where that never was
// for one of them, none is known.
//
// Of each strategy, with one thread, so without any moves, and with their names in the JSON
// report:
//
//   - c, op_ns: an operation, through one open handle, on 64 objects that stay in the cache.
//   - c', op_outgrown_ns: the same on the objects of the profile count-zipf, which do not all
//     stay there, from the first encounter of each on.
//   - h, handle_ns: opening and closing a handle that counted nothing.
//   - m, merge_object_ns: closing a handle that counted many objects, for each of them.
//   - m', merge_task_object_ns: what a handle of the profile tasks costs for each of its
//     operations beyond h and c. It is below 0 where a long handle does more for an operation.
//   - r, read_object_ns: telling the counts at the barrier, for each object.
//   - r', read_object_handle_ns: what another handle that counted adds to r, for strategies that
//     keep counts by handle.
//
// Those of the machine are add_ns (a), contended_add_ns (A), move_ns (L), move_among_ns (M),
// cas_failures_per_success (f).
//
// c and h are medians of many short pieces, so what disturbs some of these is not in there, as
// it is in the trials that the predictions are compared with; m' has the garbage collection of
// its handles in it. Their memory has been touched before: new memory costs a handle of 384
// bytes more than all else it does, and how much of it is new is for the garbage collector and
// the system to say.
//
// # Formulae
//
//	ns/op(T)  = max(parallel, serial) + merge
//
//	parallel  = (c + M*e) / P
//	serial    = hottest * hold
//	hold      = max(A, a + (L-a)/b),  b = 1 + (b2-1)/(P-1),  b2 = (L-a)/(A-a), at least 1
//	merge     = max(H*(h + m*k + g*L*(P-1)/P + z*l*M) / P,
//	                H*(g + z*met)*hold) / operations
//	          + objects*(r + r'*(handles-1)) / operations
//
// t is how many moves an operation on a contended line takes: the strategy's [Row]. With t, v is
// the share of the operations that come to a line, and e the sum over all lines of
//
//	moves * v * ((1-v)*(P-1)/P + v/b)
//
// for a visit whose thread was not there just before, and finds that another changed the line
// last, and for one that follows another of its thread, which finds the line moved only when
// its stay is over. Lines that no cache holds count 0, since they cost what c' has already; a
// core's cache holds its size in lines, those with the most visits. hottest is the largest
// moves*v. A parallel operation pays M, as the operations around it are on other lines; where
// they are not, the serial bound is larger. That bound has hold, the time the hottest line is
// taken for an operation when all want it. Two threads leave it to each other for b2 operations
// at a time; the more ask, the sooner it goes, so b falls to 1, and hold rises from A to L.
//
// H is the number of handles; k is how many objects each met, 1 - (1-p(i))^n of each with n
// operations, or n for m'; l is how many of the lines it met another changed last, and met the
// chance to meet the hottest; g are the moves that opening and closing a handle takes (the list
// of handles, and what is in one line with it), z those for each line, or object, of what it
// brings along. With one thread, e and serial are 0, and ns/op(1) is c + merge.
//
// What goes into v and t, beside a constant:
//
//   - Retries: in the serial bound, t*(1 + f*(P-1)); there each of the others spoils f attempts
//     for each success. That is the worst case: with many threads, those that fail are also
//     late to try again.
//   - Cells: an object is inflated when a handle fails on it twice in a row. An operation on it
//     fails with the chance f*p(i)*(P-1), at most 1, and it is the one that failed last with its
//     share of all failures, p(i)^2 of their sum. If that is expected n times during the run,
//     (1-exp(-n))/n of the operations come before. After it, the threads of one cell,
//     P/cells, share that.
//   - Owner: t times the share of those who are not the owner, and one move of the line with the
//     owner's count for each operation as long as the owner counts there too.
//   - Batch: a handle's first operation on an object, and each n-th one; these find a line that
//     others changed, as all come as often.
//   - Entries: an operation comes to the object whose delta is in the entry of a direct-mapped
//     cache, if that is another; and once in a period to all in the cache.
//   - OwnMax: only so many handles have counts of their own; the operations of the others
//     take 1 move.
//   - Handles of few operations do what they put off when they are closed: t is 0, and z counts;
//     but not for Batch.
//
// A strategy without a row gets t = (w - c/2) / (A - c/2), at least 0, from its time w with
// two threads on one hot object: fitted. With one processor, where that cannot be, t is 1:
// assumed.
//
// # What it leaves out
//
// Sockets: L is that between two cores here, and takes several times as long between two of
// different sockets. Queues for other lines than the hottest, and for the memory system. Cores
// that two processors share (threads of one core): where operations take few ns, two of these
// get little more done than one. Sleeping: a mutex's waiters that leave the processor, and
// their wake-up. Threads beyond the processors, which only share them. Runs: a handle that adds
// up many operations on one object at a time keeps the line longer, and needs it less often.
// What threads that open many handles share of the allocator and of garbage collection; memory
// that a handle is the first to touch. The upgrade of a line from read to write that a load
// before compare-and-swap causes.
//
// So whatever takes more processors than are at hand is extrapolation, and results say which
// figures are that. They tell which strategies scale and about where others stop, not the
// nanosecond.
//
// # Guarantees
//
//   - Measuring never waits long for a thread that does not run: with one processor, L, M, A,
//     and f are not measured, and what depends on them is not predicted.
//   - Every trial is verified: the counts add up to the operations.
//   - What was measured before an interruption is in the report, if one round was complete.
//
// # Prior art
//
// The laws of G. Amdahl and N. Gunther fit one or two parameters to a measured curve; here
// costs are measured one by one. D. Hackenberg, D. Molka and W. Nagel, "Comparing cache
// architectures and coherency protocols on x86-64 multicore SMP systems" (MICRO 2009), and
// T. David, R. Guerraoui and V. Trigonakis, "Everything you always wanted to know about
// synchronization but were afraid to ask" (SOSP 2013), measure moves and contended adds.
package model
