package engine

import (
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/puzpuzpuz/xsync/v3"

	"github.com/objhash/objhash/internal/region"
)

// keyTable maps keys to objrefs and kinds. It is made when the first key comes.
type keyTable struct {
	arena *region.Arena
	once  sync.Once
	m     atomic.Pointer[keyMap]
}

type keyMap = xsync.MapOf[string, keyEntry]

type keyEntry struct {
	ref  ObjRef
	kind Kind
}

// keyBytes is what a key is charged here; its bytes are shared with the side table
// and charged there.
const keyBytes = 96

func (t *keyTable) lookup(key string) (ObjRef, Kind) {
	m := t.m.Load()
	if m == nil {
		return 0, 0
	}
	e, _ := m.Load(key)
	return e.ref, e.kind
}

// insert maps key to ref unless it is mapped already, and returns what it is mapped
// to.
func (t *keyTable) insert(key string, ref ObjRef, k Kind) (ObjRef, Kind, error) {
	t.once.Do(func() { t.m.Store(xsync.NewMapOf[string, keyEntry]()) })
	m := t.m.Load()
	if m == nil { // cleared by Close
		return 0, 0, ErrClosed
	}
	if err := t.arena.Charge(keyBytes); err != nil {
		return 0, 0, translate(err)
	}
	e, found := m.LoadOrStore(key, keyEntry{ref, k})
	if found {
		t.arena.Discharge(keyBytes)
	}
	return e.ref, e.kind, nil
}

func (t *keyTable) clear() { t.m.Store(nil) }

// EncounterKey is [Dumper.Encounter] for an object that has a composite identity, of
// device, inode, mount and generation say, instead of an address. The key is
// compared byte by byte; it must not be empty, and is copied if it is new. Keys of
// all kinds share one name space: the same key under another kind is a [KindError].
// The kind's Grab, Drop and Users are not called.
func (d *Dumper) EncounterKey(key []byte, k Kind) (ref ObjRef, first bool, err error) {
	if err := d.check(k); err != nil {
		return 0, false, err
	}
	if len(key) == 0 {
		return 0, false, fmt.Errorf("%w: empty key", ErrInvalid)
	}
	c := d.c
	// Same as: string(key), without the copy.
	// Safety: lookup keeps no reference, and the caller does not write to key meanwhile.
	ref, have := c.keys.lookup(unsafe.String(unsafe.SliceData(key), len(key)))
	if ref == 0 {
		return d.add(identity{key: string(key)}, k)
	}
	return d.meet(ref, have, k)
}
