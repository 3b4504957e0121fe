//go:build race

package refcount

import "sync/atomic"

// As without the race detector, in the way that the race detector understands.

func storeOwn(w *uint32, v uint32) { atomic.StoreUint32(w, v) }

type ownCell = uint32 // there are no atomic bytes

func storeCell(c *ownCell, v ownCell) { atomic.StoreUint32(c, v) }

func loadCell(c *ownCell) ownCell { return atomic.LoadUint32(c) }
