package attribution

import "testing"

// hot are functions that profiles of all targets have many samples in.
var hot = []struct {
	name string
	want Category
}{
	{"shard.(*Compact).hash", Hash},
	{"shard.(*Compact).locate", Hash},
	{"shard.(*table).place", Hash},
	{"shard.(*mixer).mix", Hash},
	{"shard.(*Compact).Lookup", Search},
	{"shard.(*Compact).encounterAt", Search},
	{"shard.(*lockedTable).find", Search},
	{"shard.find", Search},
	{"shard.claim", Insert},
	{"shard.(*Locked).Insert", Insert},
	{"shard.(*Compact).insertBatch", Insert},
	{"shard.(*Compact).awaitReplacement", LockWait},
	{"shard.(*Compact).replace", Grow},
	{"shard.(*spreader).spread", Grow},
	{"shard.(*successors).put", Grow},
	{"shard.(*table).freezeGroup", Grow},
	{"shard.(*table).group", undecided},
	{"internal/region.locate", undecided},
	{"engine.(*Dumper).inc", Count},
	{"engine.(*Dumper).Encounter", Search},
	{"engine.(*Dumper).add", Insert},
	{"engine.(*Checkpoint).Lookup", Search},
	{"refcount.(*LogHandle).addUp", Count},
	{"refcount.bump", Count},
	{"bench.incAll", Count},
	{"bench/baseline.(*Table).bucket", Hash},
	{"bench/baseline.(*Table).LookupAdd", Search},
	{"bench/target.(*blcrBucket).insert", Insert},
	{"bench/target.(*blcrBucket).find", Search},
	{"bench/target.(*rwmutexMapTarget).shard", Hash},
	{"bench/target.floorPrefetch", Search},
	{"bench/target.(*lease).candidate", Insert},
	{"bench/target.(*xsync4Worker).Lookup", Harness},
	{"bench/target.mutexMapWorker.Encounter", Harness},
	{"bench.(*thread).blocks", Harness},
	{"bench.part.block", Harness},
	{"github.com/puzpuzpuz/xsync/v4.(*Map[go.shape.uint64,go.shape.int32]).Load", Search},
	{"github.com/puzpuzpuz/xsync/v4.(*Map[go.shape.uint64,go.shape.int32]).doCompute", Insert},
	{"github.com/puzpuzpuz/xsync/v4.(*Map[go.shape.uint64,go.shape.int32]).helpResize", Grow},
	{"github.com/puzpuzpuz/xsync/v4.transferBucketUnsafe[go.shape.uint64,go.shape.int32]", Grow},
	{"github.com/puzpuzpuz/xsync/v4.hashUint64", Hash},
	{"github.com/puzpuzpuz/xsync/v4.markZeroBytes", undecided},
	{"github.com/puzpuzpuz/xsync/v3.(*MapOf[go.shape.uint64,go.shape.int32]).Load", Search},
	{"github.com/puzpuzpuz/xsync/v3.appendToBucketOf", Grow},
	{"github.com/puzpuzpuz/xsync/v3.lockBucket", LockWait},
	{"internal/sync.(*HashTrieMap[go.shape.interface {},go.shape.interface {}]).Load", Search},
	{"internal/sync.(*HashTrieMap[go.shape.interface {},go.shape.interface {}]).expand", Grow},
	{"internal/sync.newEntryNode[go.shape.interface {},go.shape.interface {}]", Insert},
	{"internal/sync.(*Mutex).lockSlow", LockWait},
	{"sync.(*RWMutex).RLock", LockWait},
	{"runtime.futex", LockWait},
	{"runtime.lock2", LockWait},
	{"runtime.memhash64", Hash},
	{"aeshashbody", Hash},
	{"runtime.mapaccess2_fast64", Search},
	{"internal/runtime/maps.(*Map).getWithKey", Search},
	{"internal/runtime/maps.ctrlGroup.matchH2", undecided},
	{"runtime.mapassign_fast64", Insert},
	{"internal/runtime/maps.(*table).rehash", Grow},
	{"internal/runtime/maps.(*table).split", Grow},
	{"runtime.memmove", undecided},
	{"runtime.efaceeq", undecided},
	{"runtime.asyncPreempt", undecided},
	{"internal/runtime/atomic.(*Uint32).Load", undecided},
	{"sync/atomic.(*Int32).Add", undecided},
	{"runtime.mallocgc", Runtime},
	{"runtime.gcDrainN", Runtime},
	{"runtime.nextFreeFast", Runtime},
	{"internal/runtime/syscall/linux.Syscall6", Runtime},
	{"example.Strange", undecided},
}

func TestHotFunctions(t *testing.T) {
	for _, c := range hot {
		if got := classify(c.name); got != c.want {
			t.Errorf("%s is %q; want %q", c.name, got, c.want)
		}
	}
}
