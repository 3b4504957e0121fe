//go:build race

package refcount

import "sync/atomic"

// As without the race detector, in the way that the race detector understands.

func storeOwn(w *uint32, v uint32) { atomic.StoreUint32(w, v) }
