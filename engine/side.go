package engine

import (
	"sync"

	"github.com/objhash/objhash/internal/region"
)

// identity is what an object is known by: an address, or a key.
type identity struct {
	ptr Ptr
	key string
}

// sideTable keeps, by objref, the identities that do not fit a record: keys and
// addresses outside 48 bits. An identity is put here before its record is written,
// and taken away only after the record is absent again.
type sideTable struct {
	arena *region.Arena

	mu sync.RWMutex
	m  map[ObjRef]identity
}

// sideBytes is what one identity is charged, beside the length of its key: its
// share of a Go map that is about to grow.
const sideBytes = 96

func (t *sideTable) put(ref ObjRef, id identity) error {
	if err := t.arena.Charge(sideBytes + int64(len(id.key))); err != nil {
		return translate(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = make(map[ObjRef]identity)
	}
	t.m[ref] = id
	return nil
}

func (t *sideTable) remove(ref ObjRef) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if id, ok := t.m[ref]; ok {
		delete(t.m, ref)
		t.arena.Discharge(sideBytes + int64(len(id.key)))
	}
}

func (t *sideTable) get(ref ObjRef) (identity, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	id, ok := t.m[ref]
	return id, ok
}

func (t *sideTable) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.m = nil
}
