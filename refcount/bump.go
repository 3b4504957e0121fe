//go:build !race

package refcount

// bump adds one to the byte of *w that is shift bits up, which this thread alone
// writes, and others may read. It returns true if the byte was full and is 0 now.
//
// Ordering: none; whoever wants the exact sum reads it after the writer has closed its
// handle, which hands the word over under a lock. Readers before that see some value
// it had: words of 32 bits are not torn.
func bump(w *uint32, shift uint) (carry bool) {
	if *w>>(shift&31)&ownFull == ownFull {
		*w -= ownFull << (shift & 31)
		return true
	}
	*w += 1 << (shift & 31)
	return false
}
