package shard

import (
	"iter"
	"runtime"
	"sync/atomic"
)

// address is the inverse of hash.
func (x *Compact) address(h uint64) uint64 {
	return uint64(int64(h>>addrPad*x.inverse<<addrPad) >> addrPad)
}

// scan calls f for every entry of the shard whose first entry of the directory is i, with
// its group, under the stripe lock, so that the table is not replaced meanwhile. It returns
// the table.
func (x *Compact) scan(i int, f func(t *table, group, word uint64)) (t *table) {
	t = x.lockShard(i)
	defer t.mu.Unlock()
	for j := range t.groups {
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
	return t
}

// lockShard returns the table of entry i of the directory, with its lock held.
func (x *Compact) lockShard(i int) *table {
	for {
		t := x.dir[i].tab.Load()
		t.mu.Lock()
		if x.dir[i].tab.Load() == t {
			return t
		}
		t.mu.Unlock()
	}
}

// All implements [Index].
func (x *Compact) All() iter.Seq2[uint64, int32] {
	type pair struct {
		ptr uint64
		ref int32
	}
	return func(yield func(uint64, int32) bool) {
		var found []pair
		// Shards are split, never joined: where one ends, one begins, whatever happens.
		for i := 0; i < len(x.dir); {
			found = found[:0]
			t := x.scan(i, func(t *table, g, w uint64) {
				found = append(found, pair{x.address(t.unplace(g, w)), t.ref(w)})
			})
			i += t.count
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
		Bytes:    x.Bytes(),
		Growths:  x.growths.Load(),
		Rehashes: x.rehashes.Load(),
	}
	if !x.closed.Load() {
		st.Wide = int(x.wide.n.Load())
	}
	for i := 0; i < len(x.dir); {
		t := x.scan(i, func(t *table, _, w uint64) {
			st.Probes[t.dist(w)]++
			st.Objects++
		})
		st.Slots += int(t.groups) * groupSlots
		st.Shards++
		i += t.count
	}
	st.Objects += st.Wide
	return st
}
