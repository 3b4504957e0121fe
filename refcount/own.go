//go:build !race

package refcount

// Words that one thread at a time writes, and others may read: a handle's own counts. The
// writer loads them plainly, for nobody else changes them; readers load them atomically,
// and see some value the word had.
//
// Ordering of the stores: none; whoever wants the exact sum reads it after the writer has
// flushed or closed its handle, and the caller's barrier orders the two. Words go from
// handle to handle under a lock. Words of 32 bits are not torn.

func storeOwn(w *uint32, v uint32) { *w = v }
