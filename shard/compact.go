package shard

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/objhash/objhash/internal/invariants"
	"github.com/objhash/objhash/internal/region"
)

// Compact is the index proper: see the package doc. Make one with [NewCompact].
type Compact struct {
	asm kernelIndex

	mul     uint64
	dirTail uint       // 63 - log2 of the length of dir
	dir     []dirEntry // by the first bits of the hash
	wide    wideMap

	inverse  uint64
	stripes  int // as many shards are made before any is large; 1: none is ever split
	arena    *region.Arena
	closed   atomic.Bool
	growths  atomic.Int64
	rehashes atomic.Int64
}

// dirEntry is one entry of the directory: the table of the shard that it belongs to.
// A shard that has more than one entry has the same table in all of them.
type dirEntry struct{ tab atomic.Pointer[table] }

var _ Index = (*Compact)(nil)

// dirBits is log2 of the entries of a directory whose shards split: of as many shards as
// there can be.
const dirBits = 10

// NewCompact returns an empty index. Errors wrap [ErrInvalid] or [ErrLimit].
func NewCompact(c Config) (*Compact, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	shardBits, err := c.shardBits()
	if err != nil {
		return nil, err
	}
	entries := shardBits
	x := &Compact{mul: multiplierFor(c), stripes: 1}
	if c.Shards == 0 {
		x.stripes = 1 << min(shardBits, dirBits)
		entries, shardBits = dirBits, x.shardBitsFor(c.Expected)
	}
	x.dirTail = 63 - entries
	x.dir = make([]dirEntry, 1<<entries)
	x.inverse = inverse(x.mul)
	x.asm = newKernelIndex(x)
	x.arena = region.NewArena(c.Budget)
	if err := x.makeTables(shardBits, c.Expected); err != nil {
		x.arena.Close()
		return nil, fmt.Errorf("%w: room for %d expected entries: %w", ErrLimit, c.Expected, err)
	}
	return x, nil
}

// A shard that needs more groups than that is split, rather than given a larger table, so
// that inserters wait for a short copy only: as long as there are fewer shards than stripes,
// and afterwards.
const (
	splitGroupsFew = 32
	splitGroups    = 1 << 11

	// firstGroups is how many groups the first of shards that split has: to publish a
	// larger table takes as long as inserting a hundred objects, as it goes into all of the
	// directory.
	firstGroups = 16
)

// splits tells whether the shard of t is to be split, which needs so many groups.
func (x *Compact) splits(t *table, groups uint64) bool {
	switch {
	case x.stripes == 1 || t.count == 1:
		return false
	case 1<<t.depth < x.stripes:
		return groups > splitGroupsFew
	}
	return groups > splitGroups
}

// shardBitsFor returns log2 of the shards to begin with, where they split.
func (x *Compact) shardBitsFor(expected int) (n uint) {
	for ; n < dirBits; n++ {
		groups := groupsFor(float64(expected) / float64(int(1)<<n))
		if groups <= splitGroupsFew || 1<<n >= x.stripes && groups <= splitGroups {
			break
		}
	}
	return n
}

func (x *Compact) makeTables(shardBits uint, expected int) error {
	shards := 1 << shardBits
	fixed := unsafe.Sizeof(*x) + uintptr(len(x.dir))*unsafe.Sizeof(dirEntry{}) + uintptr(shards)*unsafe.Sizeof(table{})
	if err := x.arena.Charge(int64(fixed)); err != nil {
		return err
	}
	groups := groupsFor(float64(expected) / float64(shards))
	if x.stripes > 1 && shards == 1 {
		groups = max(groups, firstGroups)
	}
	each := len(x.dir) / shards
	for i := range shards {
		t, err := newTable(x.arena, span{shardBits, i * each, each}, groups, 0, mixer{})
		if err != nil {
			return err
		}
		// Nobody else has the index yet.
		fillPlain(x.dir[i*each:][:each], t)
	}
	return nil
}

// store makes t the table of s.
func (x *Compact) store(s span, t *table) {
	entries := x.dir[s.first : s.first+s.count]
	if storesOrdered {
		// Ordering: a store that is seen before what precedes it would show a table that is
		// not complete. The processor makes stores visible in order, and the compiler keeps
		// theirs. The last one, an atomic one, keeps the release of the old table, or the
		// end of Close, after all of them.
		fillPlain(entries[:len(entries)-1], t)
		entries = entries[len(entries)-1:]
	}
	for i := range entries {
		entries[i].tab.Store(t)
	}
}

// fillPlain stores t in entries. An atomic store takes 20 cycles, and in an index of few
// objects there are more entries than objects.
func fillPlain(entries []dirEntry, t *table) {
	for i := range entries {
		// Same as: entries[i].tab.Store(t), but for the order of it and other stores
		// Safety: an atomic.Pointer is a pointer.
		*(**table)(unsafe.Pointer(&entries[i].tab)) = t
	}
}

// hash returns the hash of a canonical address, in the top 48 bits, and its entry of the
// directory.
func (x *Compact) hash(ptr uint64) (*dirEntry, uint64) {
	// (p<<16)*m mod 2^64 is (p*m mod 2^48)<<16.
	h := (ptr << addrPad) * x.mul
	return &x.dir[h>>1>>(x.dirTail&63)], h
}

// lookupGo is Lookup without a kernel.
func (x *Compact) lookupGo(ptr uint64) (ref int32, tag uint8) {
	if !canonical(ptr) {
		return x.wide.lookup(ptr)
	}
	s, h := x.hash(ptr)
	// Ordering: pairs with the Store in publish. A table is complete before it is
	// seen.
	t := s.tab.Load()
	home, key := t.place(h)
	w, last := find(t.group(home), key, t.step)
	// The common case: the entry is in its home group, or would be.
	//
	// Ordering: the table may have been replaced, and its pages given back or, by a
	// late inserter, written, while we looked. If it still is the published one, none
	// of that had begun; else what we saw may be stale. Pairs with publish: the grower
	// stores the new table before it releases the old one.
	if (w != 0 || last&t.refMask == 0) && s.tab.Load() == t {
		ref, tag = t.ref(w), t.tag(w)
	} else {
		ref, tag = s.lookup(h)
	}
	runtime.KeepAlive(x)
	return ref, tag
}

// lookup searches the whole probe sequence until it has done so in one table.
func (s *dirEntry) lookup(h uint64) (ref int32, tag uint8) {
	t := s.tab.Load()
	for {
		ref, tag = t.lookup(h)
		// Ordering: as in lookupGo.
		now := s.tab.Load()
		if now == t {
			return ref, tag
		}
		t = now
	}
}

// lookup searches one table.
func (t *table) lookup(h uint64) (ref int32, tag uint8) {
	home, key := t.place(h)
	for range ProbeGroupsMax {
		w, last := find(t.group(home), key, t.step)
		if w != 0 {
			return t.ref(w), t.tag(w)
		}
		if last&t.refMask == 0 {
			break // the group has room: no entry of this home went further
		}
		home = t.next(home)
		key += t.step
	}
	return 0, 0
}

// insertGo is Insert without a kernel.
func (x *Compact) insertGo(ptr uint64, ref int32, tag uint8) (got int32, gotTag uint8, err error) {
	if err := checkInsert(ptr, ref); err != nil {
		return 0, 0, err
	}
	if !canonical(ptr) {
		return x.wide.insert(x, ptr, ref, tag)
	}
	s, h := x.hash(ptr)
	got, gotTag, err = x.insert(s, h, ref, tag)
	if err != nil {
		err = limitError(ptr, err)
	}
	runtime.KeepAlive(x)
	return got, gotTag, err
}

func (x *Compact) insert(s *dirEntry, h uint64, ref int32, tag uint8) (int32, uint8, error) {
	for {
		t := s.tab.Load()
		res, w := t.insert(h, ref, tag)
		invariants.Step("insert: after the search")
		switch res {
		case claimed, claimedLast, claimFound:
			// Ordering: as in lookupGo. If the table has been replaced since, our entry
			// may or may not have been copied: look again in the new one. Numbers are
			// offered once, so finding ours there means it was copied.
			if s.tab.Load() != t {
				continue
			}
			if res == claimedLast {
				x.filled(s, t, ref)
			}
			return t.ref(w), t.tag(w), nil
		case claimFrozen:
			if err := x.awaitReplacement(t); err != nil {
				return 0, 0, err
			}
		case claimFull:
			why := displaced
			if !t.fits(ref) {
				why = unfit
			}
			if err := x.replace(s, t, ref, why); err != nil {
				return 0, 0, err
			}
		}
	}
}

// filled counts a group of t that has become full with the entry of ref, and replaces t if
// these are too many. The entry is in; no memory for a larger table is no error yet.
func (x *Compact) filled(s *dirEntry, t *table, ref int32) {
	if t.full.Add(1) >= t.fullLimit {
		_ = x.replace(s, t, ref, crowded)
	}
}

// insert searches one table and claims a slot if the address is absent. claimFull
// says that the table has no room for this entry.
func (t *table) insert(h uint64, ref int32, tag uint8) (claimResult, uint64) {
	home, key := t.place(h)
	for range ProbeGroupsMax {
		g := t.group(home)
		w, last := find(g, key, t.step)
		if w != 0 {
			return claimFound, w
		}
		if last&t.refMask == 0 {
			if !t.fits(ref) {
				return claimFull, 0
			}
			res, w := claim(g, key|t.entry(ref, tag), &t.layout)
			if res != claimFull {
				return res, w
			}
		}
		home = t.next(home)
		key += t.step
	}
	return claimFull, 0
}

// batchBlock is how many operations of a batch overlap: as many cache misses as
// a core has in flight, and few enough for the stack.
const batchBlock = 32

// located is one operation of a batch between its two passes.
type located struct {
	s   *dirEntry
	t   *table
	g   *group // home
	key uint64
}

// locate hashes a block of addresses and touches the cache line of each one's home
// group. The loads do not depend on each other, so their misses overlap. Those
// outside 48 bits have s == nil.
func (x *Compact) locate(ptrs []uint64, at *[batchBlock]located) {
	for i, ptr := range ptrs {
		l := &at[i&(batchBlock-1)]
		if !canonical(ptr) {
			l.s = nil
			continue
		}
		s, h := x.hash(ptr)
		t := s.tab.Load()
		home, key := t.place(h)
		g := t.group(home)
		l.s, l.t, l.g, l.key = s, t, g, key
		atomic.LoadUint64(&g[0])
	}
}

// LookupBatch implements [Index].
func (x *Compact) LookupBatch(ptrs []uint64, refs []int32, tags []uint8) (found int) {
	checkLen("refs", len(refs), len(ptrs))
	if tags != nil {
		checkLen("tags", len(tags), len(ptrs))
	}
	return x.lookupBatch(ptrs, refs, tags)
}

// lookupBatchGo is LookupBatch without a kernel.
func (x *Compact) lookupBatchGo(ptrs []uint64, refs []int32, tags []uint8) (found int) {
	var at [batchBlock]located
	for start := 0; start < len(ptrs); start += batchBlock {
		block := ptrs[start:min(start+batchBlock, len(ptrs))]
		x.locate(block, &at)
		for i, ptr := range block {
			l := &at[i&(batchBlock-1)]
			var ref int32
			var tag uint8
			if l.s == nil {
				ref, tag = x.wide.lookup(ptr)
			} else {
				// The common case: the entry is in its home group.
				t := l.t
				w, last := find(l.g, l.key, t.step)
				// Ordering: as in lookupGo.
				if (w != 0 || last&t.refMask == 0) && l.s.tab.Load() == t {
					ref, tag = t.ref(w), t.tag(w)
				} else {
					s, h := x.hash(ptr)
					ref, tag = s.lookup(h)
				}
			}
			refs[start+i] = ref
			if tags != nil {
				tags[start+i] = tag
			}
			if ref != 0 {
				found++
			}
		}
	}
	runtime.KeepAlive(x)
	return found
}

// InsertBatch implements [Index].
func (x *Compact) InsertBatch(ptrs []uint64, tag uint8, next int32, refs []int32) (used int, err error) {
	checkLen("refs", len(refs), len(ptrs))
	return x.insertBatch(ptrs, tag, next, refs)
}

// insertBatchGo is InsertBatch without a kernel.
func (x *Compact) insertBatchGo(ptrs []uint64, tag uint8, next int32, refs []int32) (used int, err error) {
	var failed batchErrors
	var at [batchBlock]located
	for start := 0; start < len(ptrs); start += batchBlock {
		end := min(start+batchBlock, len(ptrs))
		x.locate(ptrs[start:end], &at)
		used += failed.insertEach(x, ptrs[start:end], tag, next+int32(used), refs[start:end], start)
	}
	return used, failed.err()
}

// Bytes implements [Index].
func (x *Compact) Bytes() int64 { return x.arena.Used() }

// Close implements [Index].
func (x *Compact) Close() error {
	if x.closed.Swap(true) {
		return nil
	}
	for i := range x.dir {
		x.closeEntry(&x.dir[i])
	}
	x.wide.close()
	x.arena.Close()
	return nil
}

// closeEntry makes closedTable the table of the shard of s. closed is set, so no table is
// replaced any more whose lock is taken after that.
func (x *Compact) closeEntry(s *dirEntry) {
	for t := s.tab.Load(); t != closedTable; t = s.tab.Load() {
		t.mu.Lock()
		if s.tab.Load() == t {
			// Ordering: pairs with the second load of tab in lookupGo and insert, which
			// therefore never take what a released table shows for true.
			x.store(t.span, closedTable)
		}
		t.mu.Unlock()
	}
}
