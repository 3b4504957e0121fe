package shard

import (
	"sync"
	"sync/atomic"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/objhash/objhash/internal/region"
)

// wideMap holds the addresses that do not fit a slot: those outside 48 bits, as of
// 57-bit kernels and tagged pointers. The map is made when the first one comes, and
// taken away by Close; who still has it then may finish.
type wideMap struct {
	m  atomic.Pointer[xsync.MapOf[uint64, wideEntry]]
	n  atomic.Int64
	mu sync.Mutex // held to make the map, and to take it away
}

type wideEntry struct {
	ref int32
	tag uint8
}

// wideEntryBytes is what one entry is charged to the budget: two words in a bucket
// of a map that is between half and three quarters full, and the entry's object.
const wideEntryBytes = 96

func (w *wideMap) lookup(ptr uint64) (int32, uint8) {
	m := w.m.Load()
	if m == nil {
		return 0, 0
	}
	e, _ := m.Load(ptr)
	return e.ref, e.tag
}

func (w *wideMap) insert(x *Compact, ptr uint64, ref int32, tag uint8) (int32, uint8, error) {
	m := w.m.Load()
	if m == nil {
		if m = w.make(x); m == nil {
			return 0, 0, limitError(ptr, region.ErrClosed)
		}
	}
	if e, ok := m.Load(ptr); ok {
		return e.ref, e.tag, nil
	}
	if err := x.arena.Charge(wideEntryBytes); err != nil {
		return 0, 0, limitError(ptr, err)
	}
	e, found := m.LoadOrStore(ptr, wideEntry{ref, tag})
	if found {
		x.arena.Discharge(wideEntryBytes)
	} else {
		w.n.Add(1)
	}
	return e.ref, e.tag, nil
}

// make returns the map, nil if the index is closed.
func (w *wideMap) make(x *Compact) *xsync.MapOf[uint64, wideEntry] {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.m.Load() == nil && !x.closed.Load() {
		w.m.Store(xsync.NewMapOf[uint64, wideEntry]())
	}
	return w.m.Load()
}

func (w *wideMap) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.m.Store(nil)
	w.n.Store(0)
}
