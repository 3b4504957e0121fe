//go:build !race

package refcount

// bump adds one to a word that this thread alone writes, and others may read.
//
// Ordering: none; whoever wants the exact sum reads it after the writer has closed its
// handle, which hands the word over under a lock. Readers before that see some value
// it had: words of 32 bits are not torn.
func bump(w *uint32) {
	if *w != saturated {
		*w++
	}
}
