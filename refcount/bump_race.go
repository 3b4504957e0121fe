//go:build race

package refcount

import "sync/atomic"

// bump adds one to a word that this thread alone writes, and others may read, in the
// way that the race detector understands.
func bump(w *uint32) {
	if v := atomic.LoadUint32(w); v != saturated {
		atomic.StoreUint32(w, v+1)
	}
}
