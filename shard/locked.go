package shard

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/objhash/objhash/internal/region"
)

// Locked is the plainer variant that [Compact] is judged by: slots of two words,
// the address and its number with its tag, four to a cache line; an insert holds
// its stripe's lock, lookups are lock-free. It takes any address as it is.
//
//	group: │ ptr │ tag<<32|ref │ ptr │ tag<<32|ref │ ... 4 slots, 64 bytes
//
// An inserter writes the second word, then the first: whoever sees the address sees
// its number. Nothing is ever removed or changed.
type Locked struct {
	shards    []lockedShard
	shardTail uint // 63 - log2 of the number of shards
	mul       uint64

	arena    *region.Arena
	closed   atomic.Bool
	growths  atomic.Int64
	rehashes atomic.Int64
}

type lockedShard struct {
	tab atomic.Pointer[lockedTable]
	_   [56]byte // lookups read tab; inserters write what follows

	mu    sync.Mutex
	count int
	_     [48]byte
}

type lockedTable struct {
	base      unsafe.Pointer
	groupMask uint64
	homeShift uint   // 64 - log2 of the number of groups
	mul       uint64 // a second multiplier, for home groups within the shard
}

type (
	lockedSlot  struct{ ptr, word uint64 }
	lockedGroup [4]lockedSlot
)

var _ Index = (*Locked)(nil)

const lockedGroupSlots = len(lockedGroup{})

var _ [groupBytes]byte = [unsafe.Sizeof(lockedGroup{})]byte{}

// NewLocked returns an empty index. Errors wrap [ErrInvalid] or [ErrLimit].
func NewLocked(c Config) (*Locked, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	shardBits, err := c.shardBits()
	if err != nil {
		return nil, err
	}
	x := &Locked{
		shards:    make([]lockedShard, 1<<shardBits),
		shardTail: 63 - shardBits,
		mul:       multiplierFor(c)<<addrPad | 1,
	}
	x.arena = region.NewArena(c.Budget)
	if err := x.makeTables(c.Expected); err != nil {
		x.arena.Close()
		return nil, fmt.Errorf("%w: room for %d expected entries: %w", ErrLimit, c.Expected, err)
	}
	return x, nil
}

func (x *Locked) makeTables(expected int) error {
	fixed := unsafe.Sizeof(*x) + uintptr(len(x.shards))*(unsafe.Sizeof(lockedShard{})+unsafe.Sizeof(lockedTable{}))
	if err := x.arena.Charge(int64(fixed)); err != nil {
		return err
	}
	perShard := uint64(expected+len(x.shards)-1) >> (63 - x.shardTail)
	slots := uint64(math.Ceil(float64(perShard) / fillAim))
	groupBits := max(log2ceil((slots+uint64(lockedGroupSlots)-1)/uint64(lockedGroupSlots)), 1)
	for i := range x.shards {
		t, err := x.newTable(groupBits, 1)
		if err != nil {
			return err
		}
		x.shards[i].tab.Store(t)
	}
	return nil
}

func (x *Locked) newTable(groupBits uint, mul uint64) (*lockedTable, error) {
	if err := checkTable(groupBits); err != nil {
		return nil, err
	}
	t := &lockedTable{groupMask: 1<<groupBits - 1, homeShift: 64 - groupBits, mul: mul}
	var err error
	t.base, err = x.arena.Alloc(t.bytes())
	return t, err
}

func (t *lockedTable) bytes() uintptr { return uintptr(t.groupMask+1) * groupBytes }

func (t *lockedTable) group(i uint64) *lockedGroup {
	// Same as: groups[i&mask]
	// Safety: base has groupMask+1 groups.
	return (*lockedGroup)(unsafe.Add(t.base, (i&t.groupMask)*groupBytes))
}

// hash returns the shard of ptr and its hash without the bits that chose it. mul is
// the 48-bit multiplier, moved up: for an address of 48 bits, the top of the product
// is what Compact takes, and no bit of a wider one is lost.
func (x *Locked) hash(ptr uint64) (*lockedShard, uint64) {
	h := ptr * x.mul
	return &x.shards[h>>1>>(x.shardTail&63)], h << ((63 - x.shardTail) & 63)
}

func (t *lockedTable) home(h uint64) uint64 { return h * t.mul >> (t.homeShift & 63) }

func lockedEntry(w uint64) (int32, uint8) { return int32(uint32(w)), uint8(w >> 32) }

// find returns the word of ptr or 0, and, where it is absent, the slot that it
// would take (nil: none within the probe bound).
func (t *lockedTable) find(ptr, h uint64) (word uint64, free *lockedSlot) {
	home := t.home(h)
	for range ProbeGroupsMax {
		g := t.group(home)
		for i := range g {
			// Ordering: pairs with the Store of ptr in Insert.
			p := atomic.LoadUint64(&g[i].ptr)
			if p == ptr {
				return atomic.LoadUint64(&g[i].word), nil
			}
			if p == 0 {
				return 0, &g[i]
			}
		}
		home++
	}
	return 0, nil
}

// Lookup implements [Index].
func (x *Locked) Lookup(ptr uint64) (ref int32, tag uint8) {
	if ptr == 0 {
		return 0, 0
	}
	s, h := x.hash(ptr)
	for {
		t := s.tab.Load()
		word, _ := t.find(ptr, h)
		// Ordering: a table that has been replaced may read as empty, or a word of it
		// as 0; if it still is the published one, it was whole. Pairs with the Store
		// in grow, which comes before the release of the old table.
		if s.tab.Load() == t {
			runtime.KeepAlive(x)
			return lockedEntry(word)
		}
	}
}

// Insert implements [Index].
func (x *Locked) Insert(ptr uint64, ref int32, tag uint8) (got int32, gotTag uint8, err error) {
	if err := checkInsert(ptr, ref); err != nil {
		return 0, 0, err
	}
	if got, gotTag = x.Lookup(ptr); got != 0 {
		return got, gotTag, nil
	}
	s, h := x.hash(ptr)
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if x.closed.Load() {
			return 0, 0, limitError(ptr, region.ErrClosed)
		}
		t := s.tab.Load()
		word, free := t.find(ptr, h)
		if word != 0 {
			got, gotTag = lockedEntry(word)
			return got, gotTag, nil
		}
		slots := int(t.groupMask+1) * lockedGroupSlots
		if free == nil || s.count*10 >= slots*7 && slots < 1<<groupBitsMax {
			err := x.grow(s, t)
			if err == nil {
				continue
			}
			if free == nil {
				return 0, 0, limitError(ptr, err)
			}
		}
		// Ordering: the address comes last, so whoever sees it sees the number.
		atomic.StoreUint64(&free.word, uint64(tag)<<32|uint64(ref))
		atomic.StoreUint64(&free.ptr, ptr)
		s.count++
		return ref, tag, nil
	}
}

// grow replaces table t of s, whose lock is held: by one twice as large if it is
// well filled, else by one with another hash.
func (x *Locked) grow(s *lockedShard, t *lockedTable) error {
	groupBits, mul := 64-t.homeShift, t.mul
	crowded := s.count*2 >= int(t.groupMask+1)*lockedGroupSlots
	for fresh := false; ; fresh = true {
		if crowded || fresh {
			groupBits++
		}
		if !crowded || fresh {
			mul = rand.Uint64() | 1
		}
		to, err := x.newTable(groupBits, mul)
		if err != nil {
			return err
		}
		if !x.moveTo(t, to) {
			x.arena.Release(to.base, to.bytes())
			continue
		}
		if mul != t.mul {
			x.rehashes.Add(1)
		}
		if to.groupMask > t.groupMask {
			x.growths.Add(1)
		}
		// Ordering: published whole, and before the old one is released.
		s.tab.Store(to)
		x.arena.Release(t.base, t.bytes())
		return nil
	}
}

func (x *Locked) moveTo(t, to *lockedTable) bool {
	for i := range t.groupMask + 1 {
		for _, slot := range t.group(i) {
			if slot.ptr == 0 {
				break
			}
			_, h := x.hash(slot.ptr)
			_, free := to.find(slot.ptr, h)
			if free == nil {
				return false
			}
			*free = slot
		}
	}
	return true
}

// LookupBatch implements [Index]. The loop's misses overlap as far as the
// processor looks ahead.
func (x *Locked) LookupBatch(ptrs []uint64, refs []int32, tags []uint8) (found int) {
	checkLen("refs", len(refs), len(ptrs))
	if tags != nil {
		checkLen("tags", len(tags), len(ptrs))
	}
	for i, ptr := range ptrs {
		ref, tag := x.Lookup(ptr)
		refs[i] = ref
		if tags != nil {
			tags[i] = tag
		}
		if ref != 0 {
			found++
		}
	}
	return found
}

// InsertBatch implements [Index].
func (x *Locked) InsertBatch(ptrs []uint64, tag uint8, next int32, refs []int32) (used int, err error) {
	checkLen("refs", len(refs), len(ptrs))
	var failed batchErrors
	used = failed.insertEach(x, ptrs, tag, next, refs, 0)
	return used, failed.err()
}

// scan calls f for every entry of shard i, under the stripe lock.
func (x *Locked) scan(i int, f func(t *lockedTable, group uint64, slot *lockedSlot)) {
	s := &x.shards[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tab.Load()
	for j := range t.groupMask + 1 {
		g := t.group(j)
		for k := range g {
			if g[k].ptr == 0 {
				break
			}
			f(t, j, &g[k])
		}
	}
	runtime.KeepAlive(x)
}

// All implements [Index].
func (x *Locked) All() iter.Seq2[uint64, int32] {
	return func(yield func(uint64, int32) bool) {
		var found []lockedSlot
		for i := range x.shards {
			found = found[:0]
			x.scan(i, func(_ *lockedTable, _ uint64, slot *lockedSlot) { found = append(found, *slot) })
			for _, slot := range found {
				ref, _ := lockedEntry(slot.word)
				if !yield(slot.ptr, ref) {
					return
				}
			}
		}
	}
}

// Len implements [Index].
func (x *Locked) Len() (n int) {
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		n += s.count
		s.mu.Unlock()
	}
	return n
}

// Bytes implements [Index].
func (x *Locked) Bytes() int64 { return x.arena.Used() }

// Stats implements [Index].
func (x *Locked) Stats() Stats {
	st := Stats{
		Objects:  x.Len(),
		Shards:   len(x.shards),
		Bytes:    x.Bytes(),
		Growths:  x.growths.Load(),
		Rehashes: x.rehashes.Load(),
	}
	for i := range x.shards {
		st.Slots += int(x.shards[i].tab.Load().groupMask+1) * lockedGroupSlots
		x.scan(i, func(t *lockedTable, group uint64, slot *lockedSlot) {
			_, h := x.hash(slot.ptr)
			st.Probes[(group-t.home(h))&t.groupMask]++
		})
	}
	return st
}

// Close implements [Index].
func (x *Locked) Close() error {
	if x.closed.Swap(true) {
		return nil
	}
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		s.tab.Store(closedLockedTable)
		s.count = 0
		s.mu.Unlock()
	}
	x.arena.Close()
	return nil
}

// closedLockedTable is what every shard of a closed index publishes: empty, and
// never written, since an inserter checks closed under the lock.
var closedLockedTable = &lockedTable{
	base:      unsafe.Pointer(new([2]lockedGroup)),
	groupMask: 1,
	homeShift: 63,
	mul:       1,
}
