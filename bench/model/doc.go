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
// L, M, A and f are taken from those moments at which both threads ran, and are not known where
// that never was.
//
// Of each strategy, with one thread, so without any moves:
//
//   - c: an operation, through one open handle, on 64 objects that stay in the cache.
//   - c': the same on the objects of the profile zipf, which do not all stay there, from
//     the first encounter of each on.
//   - h: opening and closing a handle that counted nothing.
//   - m: closing a handle that counted many objects, for each of them; and m', what a handle
//     of 30 operations costs for each of them beyond h and c.
//   - r: telling the counts at the barrier, for each object; and r', what another handle
//     that counted adds to this, for strategies that keep counts by handle.
//
// # Formulae
//
//	ns/op(T)  = max(parallel, serial) + merge
//
//	parallel  = (c + t*M*e) / P
//	serial    = t * hottest * hold
//	hold      = max(A, a + (L-a)/b),  b = 1 + (b2-1)/(P-1),  b2 = (L-a)/(A-a), at least 1
//	merge     = max(H*(h + m*k + g*L*(P-1)/P + z*l*e*M) / P,
//	                H*(g + z*met)*hold) / operations
//	          + objects*(r + r'*(handles-1)) / operations
//
// t is how many moves an operation on a contended line takes: the strategy's [Row]. e, for
// exposure, is the chance that an operation meets a line that another thread changed last:
// (P-1)/P for each line that caches hold, and 0 for the others, which are not in any cache
// and cost what c' has already. A core's cache holds its size in lines, the most popular
// ones. hottest is the largest p(i). A parallel operation pays M, as the operations around
// it are on other lines; where they are not, the serial bound is larger. That bound has hold,
// the time the hottest line is taken for an operation when all want it. Two threads leave it
// to each other for b2 operations at a time; the more ask, the sooner it goes, so b falls to
// 1, and hold rises from A to L.
//
// H is the number of handles; k and l are how many objects and lines each met, 1 - (1-p(i))^n
// of each with n operations, and met is that of the hottest; g are the moves that opening
// and closing a handle takes (the list of handles), z those for each line of what it brings
// along. With one thread, e and serial are 0, and ns/op(1) is c + merge.
//
// What goes into t, beside a constant:
//
//   - Retries: in the serial bound, t*(1 + f*(P-1)); there each of the others spoils f attempts
//     for each success. That is the worst case: with many threads, those that fail are also
//     late to try again.
//   - Cells: a line is inflated when it expects a conflict during the run,
//     p(i)^2 * operations * P * hold/c >= 1; then the threads of one cell, P/cells, share it.
//   - Owner: t times the share of those who are not the owner. The owner's part is taken to
//     be in the same line.
//   - Entries: t + the chance that a direct-mapped cache of deltas has another object where
//     this one belongs: the sum of p(i)*(1 - p(i)/p(entry of i)).
//   - OwnMax: only so many handles have counts of their own; the operations of the others
//     take 1 move.
//   - Handles of 30 operations do what they put off when they are closed: t is 0, and z counts.
//
// A strategy without a row gets t = (w - c/2) / (A - c/2), at least 0, from its time w with
// two threads on one hot object: fitted. With one processor, where that cannot be, t is 1:
// assumed.
//
// # What it leaves out
//
// Sockets: L is that between two cores here, and takes several times as long between two of
// different sockets. Queues for other lines than the hottest, and for the memory system.
// Sleeping: a mutex's waiters that leave the processor, and their wake-up. Threads beyond the
// processors, which only share them. Runs: a handle that adds up many operations on one
// object at a time keeps the line longer, and needs it less often. Garbage collection, and
// what the allocator shares, where many handles are opened. The upgrade of a line from read
// to write that a load before compare-and-swap causes.
//
// So whatever takes more processors than are at hand is extrapolation, and results say which
// figures are that. They tell which strategies scale and about where others stop, not the
// nanosecond.
//
// # Guarantees
//
//   - Measuring never waits long for a thread that does not run: with one processor, L, M, A
//     and f are not measured, and what depends on them is not predicted.
//   - Every trial is verified: the counts add up to the operations.
//   - What was measured before an interruption is in the report.
//
// # Prior art
//
// The laws of G. Amdahl and N. Gunther fit one or two parameters to a measured curve; here
// costs are measured one by one. D. Hackenberg, D. Molka and W. Nagel, "Comparing cache
// architectures and coherency protocols on x86-64 multicore SMP systems" (MICRO 2009), and
// T. David, R. Guerraoui and V. Trigonakis, "Everything you always wanted to know about
// synchronization but were afraid to ask" (SOSP 2013), measure moves and contended adds.
package model
