package shard

import (
	"iter"
	"runtime"
	"sync/atomic"
)

// address is the inverse of hash.
func (x *Compact) address(shard int, h uint64) uint64 {
	full := (uint64(shard)<<(x.shardTail&63)<<1 | h>>(x.shardBits&63)) >> addrPad
	return uint64(int64(full*x.inverse<<addrPad) >> addrPad)
}

// scan calls f for every entry of shard i with its group, under the stripe lock, so
// that the table is not replaced meanwhile.
func (x *Compact) scan(i int, f func(t *table, group, word uint64)) {
	s := &x.shards[i]
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tab.Load()
	for j := range t.groupMask + 1 {
		g := t.group(j)
		for k := range g {
			w := atomic.LoadUint64(&g[k])
			if w&t.refMask == 0 {
				break
			}
			f(t, j, w)
		}
	}
	runtime.KeepAlive(x)
}

// All implements [Index].
func (x *Compact) All() iter.Seq2[uint64, int32] {
	type pair struct {
		ptr uint64
		ref int32
	}
	return func(yield func(uint64, int32) bool) {
		var found []pair
		for i := range x.shards {
			found = found[:0]
			x.scan(i, func(t *table, g, w uint64) {
				found = append(found, pair{x.address(i, t.unplace(g, w)), t.ref(w)})
			})
			for _, p := range found {
				if !yield(p.ptr, p.ref) {
					return
				}
			}
		}
		if m := x.wide.m.Load(); m != nil {
			m.Range(func(ptr uint64, e wideEntry) bool { return yield(ptr, e.ref) })
		}
	}
}

// Len implements [Index].
func (x *Compact) Len() int { return x.Stats().Objects }

// Stats implements [Index].
func (x *Compact) Stats() Stats {
	st := Stats{
		Shards:   len(x.shards),
		Bytes:    x.Bytes(),
		Growths:  x.growths.Load(),
		Rehashes: x.rehashes.Load(),
	}
	if !x.closed.Load() {
		st.Wide = int(x.wide.n.Load())
	}
	for i := range x.shards {
		st.Slots += int(x.shards[i].tab.Load().groupMask+1) * groupSlots
		x.scan(i, func(t *table, _, w uint64) {
			st.Probes[t.dist(w)]++
			st.Objects++
		})
	}
	st.Objects += st.Wide
	return st
}
