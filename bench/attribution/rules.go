package attribution

import "regexp"

// modulePrefix is cut off the names of this module's functions.
const modulePrefix = "github.com/objhash/objhash/"

// undecided leaves a sample to the frame further out.
const undecided Category = ""

// rule classifies functions whose whole name matches. Type arguments are [...] in names.
type rule struct {
	category Category
	pattern  string
}

// rules are tried in this order; the first that matches a function holds.
var rules = []rule{
	// The locks of all, and waiting. What is inlined of a lock is found by its own name.
	{LockWait, `(internal/)?sync\.\(\*(Mutex|RWMutex|Cond|Once)\)\..*`},
	{LockWait, `(internal/)?sync\.runtime_.*`},
	{LockWait, `runtime\.(un)?lock(2|WithRank)?`},
	{LockWait, `runtime\.(procyield|procyieldAsm|osyield|usleep|futex|futexsleep|futexwakeup|Gosched|gosched.*)`},
	{LockWait, `runtime\.(\(\*semaRoot\)\..*|sem(acquire|release).*|cansemacquire|readyWithTime|goready.*|gopark.*|ready|wakep)`},
	{LockWait, `runtime\.(mcall|park_m|schedule|findRunnable|stopm|startm|mPark|note(sleep|wakeup|clear)|stoplockedm|startlockedm|handoffp|runqgrab|runqsteal|stealWork|resetspinning|execute|goschedImpl)`},
	{LockWait, `runtime\.\((\*mLockProfile|\*lockTimer|lockTimer)\)\..*`},
	{LockWait, `.*/xsync/v\d\.(un)?lockBucket`},
	{LockWait, `.*/xsync/v\d\.\(.*\)\.waitForResize`},
	{LockWait, `shard\.\(\*Compact\)\.awaitReplacement`},

	// Helpers of several: the one who uses them decides.
	{undecided, `shard\.(one|\(\*table\)\.(group|home|next|prefix|bytes)|\(\*layout\)\.(ref|tag|dist|fits))`},
	{undecided, `engine\.(load|record\..*|\(\*core\)\.cell|as(Uint64|Int32))`},
	{undecided, `runtime\.(efaceeq|ifaceeq|(nil)?interequal|typedmemmove|bulkBarrierPreWrite)|type:\.eq\..*`},

	// Hash functions.
	{Hash, `runtime\.(mem|str|nilinter|inter|f64|c128)hash.*|runtime\.aeshash.*|aeshashbody|runtime\.typehash`},
	{Hash, `internal/runtime/maps\.(rand|h1|h2|ctrlGroup\.hash)`},
	{Hash, `hash/maphash\..*`},
	{Hash, `.*/xxh3\..*`},
	{Hash, `.*/xsync/v\d\.(hashUint64|hashString|toUint64|h1|h2|defaultHasher.*|runtime_.*hash.*|NewMap.*\.func.*|NewMapOf.*\.func.*)`},
	{Hash, `shard\.\(\*(Compact|Locked)\)\.(hash|locate)`},
	{Hash, `shard\.\(\*lockedTable\)\.home`},
	{Hash, `shard\.\(\*table\)\.(place|start|startOf)`},
	{Hash, `shard\.(\(\*mixer\)\.mix|canonical)`},
	{Hash, `bench/baseline\.(hash.*|\(\*Table\)\.bucket)`},
	{Hash, `bench/target\.(\(\*rwmutexMapTarget\)\.shard|\(\*blcrTarget\)\.bucket|floorOffsets?|.*[hH]ash64)`},

	// Growth.
	{Grow, `internal/runtime/maps\.\(\*(Map|table)\)\.(growTo.*|grow|rehash|split|uncheckedPutSlot|installTableSplit|replaceTable)`},
	{Grow, `internal/runtime/maps\.(newTable|newarray|newobject)`},
	{Grow, `.*/xsync/v\d\.\(.*\)\.(resize|helpResize|transfer|transfer\.func.*|resize\.func.*)`},
	{Grow, `.*/xsync/v\d\.(transferBucket.*|copyBucket.*|appendToBucket.*|newMap.*Table.*)`},
	{Grow, `internal/sync\.\(\*HashTrieMap\[.*\]\)\.expand`},
	{Grow, `shard\.\(\*Compact\)\.(replace|filled|successors|abandon|count|publish|makeTables|newTable)`},
	{Grow, `shard\.\(\*successors\)\..*|shard\.\(\*spreader\)\..*|shard\.newTable`},
	{Grow, `shard\.\(\*table\)\.(sparse|clustered|freeze|freezeGroup|occupied|thaw|moveTo|moveInOrder|halves|largestRef|countFull|mixed|unplace)`},
	{Grow, `shard\.\(\*Locked\)\.(grow|moveTo|newTable)`},
	{Grow, `internal/region\.\(\*(Array\[.*\]|Arena|mappings|mapping)\)\.(Grow.*|make.*|add.*|Alloc|cut|Release|charge|release|own)`},
	{Grow, `internal/region\.advise`},
	{Grow, `engine\.\(\*Checkpoint\)\.makeRoom`},

	// Counts of users.
	{Count, `refcount\..*`},
	{Count, `engine\.\(\*Dumper\)\.(inc|tally|use|useNext)`},
	{Count, `engine\.\(\*(holds|holderLog|holderBook)\)\..*`},
	{Count, `bench\.(incAll|decAll|\(\*deaths\)\..*|\(\*counting\)\.differing)`},
	{Count, `bench/baseline\.\(\*Table\)\.Users`},

	// Inserts.
	{Insert, `runtime\.mapassign.*`},
	{Insert, `internal/runtime/maps\.\(\*(Map|table)\)\.(Put.*|put.*)`},
	{Insert, `.*/xsync/v\d\.\(.*\)\.(Store|LoadOrStore|LoadAndStore|Compute|LoadOrCompute|doCompute|addSize|addSizePlain)`},
	{Insert, `.*/xsync/v\d\.(setByte|storeTopHash|newerTableExists)`},
	{Insert, `internal/sync\.\(\*HashTrieMap\[.*\]\)\.(LoadOrStore|Store|Swap)`},
	{Insert, `internal/sync\.(newEntryNode|newIndirectNode|\(\*entry\[.*\]\)\.swap).*`},
	{Insert, `shard\.(claim|checkInsert)`},
	{Insert, `shard\.\(\*Compact\)\.(Insert|InsertBatch|insert.*|claimHome)`},
	{Insert, `shard\.\(\*(table|Locked|wideMap)\)\.(insert|Insert|InsertBatch)`},
	{Insert, `shard\.\(\*layout\)\.entry|shard\.\(\*batchErrors\)\..*`},
	{Insert, `engine\.\(\*Dumper\)\.(add|added|record|abandon|takeBack|lose|ensure.*|findCells)`},
	{Insert, `engine\.\(\*(Checkpoint|core)\)\.(publish|enter|admit|hold|grab)`},
	{Insert, `engine\.\(\*(leasePool|batch)\)\..*|engine\.(newRecord|store|swap)`},
	{Insert, `engine\.\(\*Restart\)\.(Insert|place.*|put.*)`},
	{Insert, `engine\.\(\*(Claim|claims)\)\..*|engine\.\(\*Restorer\)\.(claim|newClaim)`},
	{Insert, `bench/baseline\.\(\*Table\)\.(Insert|grab)`},
	{Insert, `bench/target\.\(\*blcrBucket\)\.insert`},
	{Insert, `bench/target\.\(\*(lease|source)\)\..*`},

	// Lookups, and what cannot be told from them.
	{Search, `runtime\.mapaccess.*`},
	{Search, `internal/runtime/maps\.\(\*(Map|table)\)\.(get.*|Get.*|directoryIndex|directoryAt)`},
	{Search, `.*/xsync/v\d\.\(.*\)\.(Load|Size|sumSize)`},
	{Search, `internal/sync\.\(\*HashTrieMap\[.*\]\)\..*|internal/sync\.\(\*(entry|indirect|node)\[.*\]\)\..*`},
	{Search, `sync\.\(\*Map\)\..*`},
	{Search, `shard\..*`},
	{Search, `engine\..*`},
	{Search, `bench/baseline\..*`},
	{Search, `bench/target\.\(\*blcrBucket\)\.find`},
	{Search, `bench/target\.(floorPrefetch|\(\*floor.*)`},

	// The loops of workers and threads.
	{Harness, `bench/target\..*`},
	{Harness, `bench\..*|sync\.\(\*WaitGroup\)\.(Add|Done|Go).*`},
	{Harness, `runtime/pprof\..*|context\..*`},
	{Harness, `time\..*|runtime\.(nanotime.*|walltime.*|time_now.*)|vdso.*|runtime\.vdso.*`},

	// Found in all: the one who uses them decides.
	{undecided, `runtime\.(memmove|memclr.*|memequal.*|duff.*)|memeqbody|internal/runtime/(atomic|math|sys)\..*`},
	{undecided, `internal/runtime/maps\..*`},
	{undecided, `sync/atomic\..*|math/bits\..*|slices\..*|iter\..*|internal/(abi|race|bytealg|goarch)\..*`},
	{undecided, `internal/(invariants|region)\..*`},
	{undecided, `runtime\.(add|publicationBarrier|getg|systemstack.*|goexit.*|asyncPreempt.*|morestack.*|newstack)`},

	// What is left of the runtime.
	{Runtime, `runtime\..*|internal/runtime/.*|gcWriteBarrier.*|type:.*`},
	{Runtime, `syscall\..*|internal/syscall/.*|internal/poll\..*`},
}

// compiled are the rules' patterns.
var compiled = func() []*regexp.Regexp {
	all := make([]*regexp.Regexp, len(rules))
	for i, r := range rules {
		all[i] = regexp.MustCompile(`^(?:` + r.pattern + `)$`)
	}
	return all
}()

// classify returns the category of a function of that name, without the module's prefix.
func classify(name string) Category {
	for i, r := range rules {
		if compiled[i].MatchString(name) {
			return r.category
		}
	}
	return undecided
}
