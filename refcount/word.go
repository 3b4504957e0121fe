package refcount

import (
	"sync/atomic"

	"github.com/objhash/objhash/internal/region"
)

// A word is a count that all threads write, layout version 1:
//
//	0x00000000             0, not dead: not born, or about to be told dead
//	0x00000001..7fffffff   live: the count
//	0x80000000..bfffffff   saturated: 2^31-1, for ever
//	0xc0000000..efffffff   dead
//	0xf0000000..ffffffff   below 0, a bug of the caller's: mended to 0
//
// Operations may add first and look afterwards, as in Linux's rcuref (lib/rcuref.c,
// 6.4), because the zones are wide: an add leads at most one out of a zone's middle,
// and who sees that it was not live puts the word back there. 2^28 threads would have
// to be between these two steps to cross a zone.
const (
	countMax      = 1<<31 - 1
	saturatedWord = 0xa000_0000
	deadMin       = 0xc000_0000
	deadWord      = 0xd800_0000
	belowZeroMin  = 0xf000_0000
)

// words are the words of all objrefs, and who is told of deaths.
type words struct {
	array *region.Array[uint32]
	zero  func(int32)
}

func newWords(c Config) words {
	return words{region.NewArray[uint32](c.arena()), c.Zero}
}

// Grow implements [Counter].
func (c *words) Grow(first, last int32) error { return c.array.Grow(uint32(first), uint32(last)) }

// Bytes implements [Counter].
func (c *words) Bytes() int64 { return c.array.Bytes() }

// Barrier implements [Counter]: deaths have been told at once.
func (c *words) Barrier() {}

// Count implements [Counter].
func (c *words) Count(ref int32) int64 {
	w := c.find(ref)
	if w == nil {
		return 0
	}
	return wordCount(atomic.LoadUint32(w))
}

// find returns the word of ref, any number, or nil if it has no room.
func (c *words) find(ref int32) *uint32 {
	if ref <= 0 {
		return nil
	}
	return c.array.At(uint32(ref))
}

// at returns the word of an objref that has room.
func (c *words) at(ref int32) *uint32 { return c.array.Made(uint32(ref)) }

// give takes n off the word of ref by compare-and-swap, so that nobody sees a 0 that is
// not dead, and returns true if that made ref dead.
//
// Ordering: the step that makes the word dead succeeds for one thread only. All that led
// there were operations on this word, so what their threads did before happened before.
func (c *words) give(ref int32, n uint32) bool {
	w := c.at(ref)
	for {
		v := atomic.LoadUint32(w)
		if !hasUsers(v) {
			return false // saturated or dead, for ever; or a decrement too many
		}
		next := v - min(v, n)
		if next == 0 && c.zero != nil {
			next = deadWord
		}
		if atomic.CompareAndSwapUint32(w, v, next) {
			return next == deadWord
		}
	}
}

// die makes ref dead, whose word w is 0, unless somebody has added to it, and tells zero,
// which may be nil.
//
// Ordering: this step, which succeeds for one thread only, is the death.
func die(zero func(int32), ref int32, w *uint32) {
	if zero != nil && atomic.CompareAndSwapUint32(w, 0, deadWord) {
		zero(ref)
	}
}

func wordCount(v uint32) int64 {
	switch {
	case v <= countMax:
		return int64(v)
	case v < deadMin:
		return countMax
	}
	return 0
}

// hasUsers tells whether a word is a count above 0.
func hasUsers(v uint32) bool { return v-1 < countMax }

func isDead(v uint32) bool { return v >= deadMin && v < belowZeroMin }

// mended returns what to put in the place of v, which is not live.
func mended(v uint32) uint32 {
	switch {
	case v < deadMin:
		return saturatedWord
	case v < belowZeroMin:
		return deadWord
	}
	return 0
}

// incPlain adds one to a word that no other thread uses now.
func incPlain(w *uint32) {
	if *w++; int32(*w) < 0 {
		*w = mended(*w)
	}
}

// decPlain takes one off such a word. It returns true if that made it dead, which it does
// only if objrefs die at all.
func decPlain(w *uint32, dies bool) (died bool) {
	switch *w--; {
	case int32(*w) < 0:
		*w = mended(*w)
	case *w == 0 && dies:
		*w = deadWord
		return true
	}
	return false
}

// incWord adds one, and returns false if the word is dead.
//
// Ordering: none is needed for the sum, which is read at a barrier of the caller's, or
// as an estimate.
func incWord(w *uint32) bool {
	v := atomic.AddUint32(w, 1)
	return int32(v) >= 0 || mendWord(w, v)
}

// mendWord undoes an operation on a word that led to v, which is not live, and returns
// false if the word is dead.
func mendWord(w *uint32, v uint32) bool {
	atomic.StoreUint32(w, mended(v))
	return v < deadMin
}

// decWord takes one off, and returns true if that made the word 0.
func decWord(w *uint32) bool {
	v := atomic.AddUint32(w, ^uint32(0))
	if int32(v) < 0 {
		mendWord(w, v)
	}
	return v == 0
}
