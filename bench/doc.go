// Package bench measures targets under load profiles, and shows that what it
// measured was right.
//
// # Terminology
//
//   - A target (package target) is a table that gives each address one objref, or a bare
//     counter that counts the users of objrefs.
//   - A bound (the target floor) is no table: it does less than any table must, and finds
//     nothing.
//   - A strategy (package refcount) is a way of counting users. A target that can count
//     in several ways has an entrant for each strategy asked for.
//   - A profile is a described, seeded, reproducible workload: [Profile]. It is read from
//     a file, whose format is [ProfileFormat]; canonical ones are embedded.
//   - A workload is a profile with its size: every operation of every thread,
//     made before anything is timed, the same for all targets.
//   - A trial is one target doing one workload once. A workload that is over
//     too soon to be timed is done on several fresh tables in a row.
//   - A block is the slice of operations a target gets in one call: [BlockOps].
//   - ns/op is the wall time from the common start of all threads to the end of
//     the last, divided by all operations of all threads. Two threads without a
//     conflict halve it.
//
// # Structure
//
//	Profile -> Workload -> trial(target) -> verification -> samples -> Report
//	                          ^                                |
//	                          +--- next target, random order --+
//
// [Run] visits the cells (profile, objects, threads) in turns. On each visit it makes the
// workload, always the same for a cell, and does a round: every target has one trial, in an
// order that the seed shuffles anew. So the trials of a target are spread over the run.
// Where making the workload takes longer than a round, a visit has more of them.
//
// The first visit begins with rounds of warm-up, two to five: until no target is more than
// 5 % faster than it was before. They are not counted; the very first verifies more. A
// target that still gets faster after the last is marked as unsteady, as is one whose
// counted trials rise or fall (Kendall's test, 1 %).
//
// A trial collects garbage, makes the table, does the phases, closes it; the harness times
// the phases that the profile says are timed. What is excluded: making the workload, making
// and closing the table, the phases that prepare, opening the workers, pinning threads to
// processors, verification. What is included: closing the workers, since that makes visible
// what they kept back.
//
// The harness takes part of each operation: the handing over of blocks, and the loop that
// reads an address and writes an objref. Each run measures it and prints it; it is below
// 1 ns.
//
// # Counting
//
// The profiles whose name begins with count- are for counters alone, as all others are
// for tables alone. A counter has room for all objects before anything is timed. Its
// workers are handles: one per thread, or one per task in count-10k-tasks, where opening
// them is part of the time. Handles stay open from phase to phase until one closes them,
// which is timed too; memory is read before that. The thread that gives a user back is
// the one that counted it, through the same handle, for some strategies want that.
//
// The loops are the harness's, the same for all strategies, and concrete but for one
// thing: each operation is a call through the interface refcount.Handle. That cannot be
// avoided where the strategy is a choice; it is part of every figure, and the same for
// all.
//
// Deaths are told to an array of atomic counts, one per death: that, too, is part of the
// time of count-drop, for all alike. In the other profiles counters are made without
// anybody to tell, as the engine makes its own.
//
// # Guarantees
//
//   - Every target of a cell does the same operations on the same addresses.
//   - The same seed gives the same workload, on every machine, whatever the
//     number of threads; that number only says how it is cut. (A trace is cut
//     by holder, objects that threads do not share by thread, so there the
//     order differs.)
//   - Every trial is verified from its own results, the warm-up too: each
//     object met is found, has one objref, shares it with no other; objrefs are
//     above 0; as many encounters were first as there are objects; lookups
//     found all that is there and nothing else; records, where the target
//     keeps them, say what was encountered. Of a counter: each objref has the
//     users that the workload leaves it, and in count-drop had them before the
//     decrements, too; there each death is told once, and none while nothing was
//     decremented; the warm-up checks, too, that none is told before all decrements
//     of its object have begun. A target that fails is reported as failed, has no
//     times, and takes no part in later rounds of the cell. A bound cannot be verified;
//     tables and reports mark it.
//   - What was measured before an interruption is in the report.
//
// # Latencies
//
// A run that was asked for them gives each target of a cell one more trial, on one table,
// in which calls of the timed phases are timed. A call is one operation. For targets
// that take a block as a whole ([target.Spec]) it is a block, and in count-10k-tasks what
// one task does. What the table does as a whole, as in audit or drop-all, is not among
// them. Each thread keeps a histogram (HDR, 1 ns to 10 s, three digits; 200 KiB a thread,
// made and touched beforehand), and these are merged.
//
// A reading of the clock costs more than a fast operation, so of single operations one in
// 64 is timed, at random distances, and those between are done in blocks. That shows what
// calls usually take. What is rare, as the pause of a table that grows, is seen for
// certain only if all are timed: then the threads read the clock once between two calls.
//
// These loops are closed: a thread begins a call when the one before has ended, so a pause
// is one slow call, however many would have come meanwhile. With a rate the loop is open:
// calls begin at times of a Poisson process, and their times are from then, waiting
// included. All are timed that are to begin within 5 s, however late they are; the rest of
// the operations is done at once, and verified with the others.
//
// Reports say what a reading of the clock costs, and have a
// control: as many calls on as many threads that do nothing. It shows what the machine
// does to a thread, as when another takes its processor. That comes with time, and the
// control takes less of it than a table does, so a pause is the table's if it is there
// in every run. These trials are no part of ns/op.
//
// # Profilers
//
// A run that was given a folder for profiles gives each target of a cell further trials
// after all others. In some, a profiler looks at the threads 100 times per second of
// processor time; they have labels, set once per phase, that say of what target and phase a
// sample is. Only samples of timed phases are kept, and classified (package attribution).
// With more than one thread there is one more trial, in which each wait for a mutex, a
// channel or the like is recorded while a timed phase runs. That costs time itself, and
// waiting without sleep, as in a spin lock, is not among it: that is processor time. These
// trials are verified, and no part of ns/op.
//
// # Statistics
//
// The figure is the median of the trials, with a 95 % interval of the median
// that assumes nothing of the distribution (golang.org/x/perf/benchmath). That
// takes 6 trials; with fewer, the interval is the smallest and the largest
// value and says so. With a budget of time, rounds are added until every target's interval
// is narrow enough.
//
// Targets are compared by round: the ratio to the reference in each, the median of the
// ratios, its interval, and a sign test. What lasts for a round is in both times. Outliers
// (Tukey: 1.5 times the distance of the quartiles beyond them) are reported, and count like
// all others.
//
// Trials of two runs differ by more than those of one: other programs, and the memory a
// table happens to get, change within seconds to minutes. Spreading trials over the run is
// what makes intervals cover that, but many trials within seconds are not as many
// independent ones. Compare runs of a minute or more, by package compare, which takes
// blocks of rounds, and what a target took in them beside the others of its cell.
//
// # Memory
//
// bytes_per_object is the target's own exact account where it keeps one
// ([target.Target.Bytes]), divided by the objects in it. For the others it is
// the growth of the live Go heap from before the table was made to after the
// timed part, garbage collected both times. Results say which it is.
//
// rss_bytes_per_object is by how much the resident memory of a process grows that does
// nothing but this one trial ([FreshTrial]), garbage given back to the system before and
// after. It has what accounts leave out: pages that are used in part, what was freed and
// not given back, the runtime's own. It is not measured below 10,000 objects.
//
// # Limits
//
// The harness keeps a workload in memory: 14 bytes per operation, 4 where
// operations are by objref alone. Its slices
// are part of the Go heap, so the garbage collector runs less often during a
// trial than in a program that has nothing but the table: that favours targets
// that allocate.
//
// So does the heap itself: between trials it is collected but not given back
// to the system, so after the warm-up a target that allocates from it gets
// memory that has been touched before, as in a program that has run for a
// while; a target that maps its memory gets untouched pages each time and pays
// for the faults.
//
// While there is a processor for each thread of a trial, each is one of the operating
// system's. With more of them, at most [ThreadsMax], they are goroutines, which Go gives
// the processors in turn, as it does in a program: as threads of the system each would
// have to be woken before it can begin, which takes as long as the operations of a
// short trial do. What one does within Go's time slice of 10 ms it does without
// interruption, so a trial that is to show what an interruption costs must be longer than
// that for each thread. The end of a phase is that of the last one. count-verdict is on one thread
// once the users are counted.
//
// Trials of different cells are seconds apart, though cells take turns, so what a machine
// does meanwhile is part of the difference between two numbers of threads, and no ratio by
// round takes it out.
//
// What a trial writes beside the table, one objref per operation, passes
// through the caches in order and is part of the time of every target alike.
//
// # Prior art
//
// fio and YCSB for profiles, google/benchmark for interleaved trials,
// golang.org/x/perf for the statistics, wrk2 for open loops.
package bench
