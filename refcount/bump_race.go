//go:build race

package refcount

import "sync/atomic"

// bump does what it does without the race detector, in the way that the race detector
// understands.
func bump(w *uint32, shift uint) (carry bool) {
	v := atomic.LoadUint32(w)
	if v>>shift&ownFull == ownFull {
		atomic.StoreUint32(w, v-ownFull<<shift)
		return true
	}
	atomic.StoreUint32(w, v+1<<shift)
	return false
}
