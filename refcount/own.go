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

// ownCell is a small count of the same sort. Readers load bytes plainly: a
// byte cannot be torn, and a loop that waits for one to change is not for counts.
type ownCell = uint8

func storeCell(c *ownCell, v ownCell) { *c = v }

func loadCell(c *ownCell) ownCell { return *c }
