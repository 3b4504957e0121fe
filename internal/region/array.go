package region

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Array is a growing array of fixed-width words, addressed by a dense number
// (an objref), whose elements never move. Safe for concurrent use.
//
// It consists of segments, four per doubling, so that at most a fifth of it is
// not yet in use:
//
//	element + 512 = 1 a b x x x ... x      a, b: which quarter of the doubling
//	                └n bits┘               segment 4*(n-10) + ab, offset x...x
//
// An element is two loads away: the segment's address, then the element.
type Array[T uint32 | uint64] struct {
	arena *Arena
	grow  sync.Mutex
	seg   [segments]atomic.Pointer[T]
}

const (
	arrayBias   = 512
	arrayMinLen = 10                         // bits.Len of the smallest biased number
	segments    = 4 * (32 - arrayMinLen + 1) // every biased number below 1<<32
)

// NewArray returns an empty array whose segments come from a.
func NewArray[T uint32 | uint64](a *Arena) *Array[T] { return &Array[T]{arena: a} }

func locate(i uint32) (seg int, off uintptr) {
	j := i + arrayBias
	n := bits.Len32(j)
	shift := uint(n-3) & 31
	return (n-arrayMinLen)<<2 | int(j>>shift&3), uintptr(j & (1<<shift - 1))
}

// segmentLen returns the number of elements in segment s.
func segmentLen(s int) int { return 1 << (s>>2 + arrayMinLen - 3) }

// At returns element i, or nil if its segment has not been made by [Array.Grow].
func (a *Array[T]) At(i uint32) *T {
	s, off := locate(i)
	// Ordering: pairs with the Store in makeSegment; a segment is zeroed before it
	// is seen. Not seen yet is the same as not made yet.
	base := a.seg[s].Load()
	if base == nil {
		return nil
	}
	// Same as: segment[s][off]
	// Safety: off < segmentLen(s) by construction.
	return (*T)(unsafe.Add(unsafe.Pointer(base), off*unsafe.Sizeof(*base)))
}

// Grow makes the segments of elements first to last. On an error those made so
// far stay.
func (a *Array[T]) Grow(first, last uint32) error {
	lo, _ := locate(first)
	hi, _ := locate(last)
	for s := lo; s <= hi; s++ {
		if err := a.makeSegment(s, nil); err != nil {
			return err
		}
	}
	return nil
}

// GrowFilled makes the segment that holds element i, if it is not there yet. Before
// anyone sees the segment, fill may write to its elements, which it reaches with at.
func (a *Array[T]) GrowFilled(i uint32, fill func(at func(uint32) *T)) error {
	s, _ := locate(i)
	return a.makeSegment(s, fill)
}

func (a *Array[T]) makeSegment(s int, fill func(at func(uint32) *T)) error {
	if a.seg[s].Load() != nil {
		return nil
	}
	a.grow.Lock()
	defer a.grow.Unlock()
	if a.seg[s].Load() != nil {
		return nil
	}
	var t T
	p, err := a.arena.Alloc(uintptr(segmentLen(s)) * unsafe.Sizeof(t))
	if err != nil {
		return err
	}
	if fill != nil {
		fill(func(i uint32) *T { return element((*T)(p), i) })
	}
	// Ordering: pairs with the Load in At: the segment is zeroed and filled before
	// it is seen.
	a.seg[s].Store((*T)(p))
	return nil
}

// element returns element i of the array, in the segment at base that holds it.
func element[T uint32 | uint64](base *T, i uint32) *T {
	_, off := locate(i)
	// Same as: segment[off]
	// Safety: off < segmentLen by construction.
	return (*T)(unsafe.Add(unsafe.Pointer(base), off*unsafe.Sizeof(*base)))
}

// Segment returns the first and last element of the segment that holds element i:
// what GrowFilled makes at once.
func Segment(i uint32) (first, last uint32) {
	s, off := locate(i)
	first = i - uint32(off)
	return first, first + uint32(segmentLen(s)) - 1
}

// SegmentNumber returns which segment holds element i, below [Segments].
func SegmentNumber(i uint32) int {
	s, _ := locate(i)
	return s
}

// Segments is the number of segments an array can have.
const Segments = segments
