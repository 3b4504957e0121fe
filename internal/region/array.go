package region

import (
	"fmt"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Element is what arrays are of.
type Element interface{ uint8 | uint32 | uint64 | Line }

// Line is a cache line: for words that must not share one.
type Line [16]uint32

// Array is a growing array of fixed-width elements, addressed by a dense number
// (an objref), whose elements never move. Safe for concurrent use.
//
// It consists of segments, eight per doubling, so that at most a ninth of it is not
// yet in use:
//
//	element + 1024 = 1 a b c x x x ... x      1abc: which eighth of the doubling
//	                         └ shift bits┘    segment 8*shift + 1abc - 64, offset x...x
//
// An element is two loads away: the segment's address, then the element.
type Array[T Element] struct {
	arena *Arena
	grow  sync.Mutex
	seg   [1 << segmentBits]atomic.Pointer[T]
}

const (
	arrayBias   = 1024
	shiftMin    = 7 // of element 0
	segmentBits = 8 // room for Segments, without a bounds check
)

// Segments is the number of segments an array can have.
const Segments = 8 * (29 - shiftMin)

// NewArray returns an empty array whose segments come from a.
func NewArray[T Element](a *Arena) *Array[T] { return &Array[T]{arena: a} }

func locate(i uint32) (seg uint, off uint32) {
	j := i + arrayBias
	shift := uint(bits.Len32(j)-4) & 31
	k := j >> shift
	return 8*shift + uint(k) - 64, j - k<<shift
}

// segmentLen returns the number of elements in segment s.
func segmentLen(s uint) uint32 { return 1 << (s/8 + shiftMin) }

// At returns element i, or nil if its segment has not been made by [Array.Grow].
func (a *Array[T]) At(i uint32) *T {
	s, off := locate(i)
	// Ordering: as in Made.
	base := a.seg[s%(1<<segmentBits)].Load()
	if base == nil {
		return nil
	}
	// Same as: &segment[s][off]
	// Safety: as in Made.
	return (*T)(unsafe.Add(unsafe.Pointer(base), uintptr(off)*unsafe.Sizeof(*base)))
}

// Made returns element i, whose segment has been made. It is At in a form small
// enough to be inlined.
func (a *Array[T]) Made(i uint32) *T {
	s, off := locate(i)
	// Ordering: pairs with the Store in makeSegment; a segment is zeroed before it
	// is seen.
	base := a.seg[s%(1<<segmentBits)].Load()
	// Same as: &segment[s][off]
	// Safety: off < segmentLen(s) by construction.
	return (*T)(unsafe.Add(unsafe.Pointer(base), uintptr(off)*unsafe.Sizeof(*base)))
}

// Run returns elements first to last, or as many of them as lie in one segment with first,
// which has been made.
func (a *Array[T]) Run(first, last uint32) []T {
	s, off := locate(first)
	// Same as: segment[off : off+n]
	// Safety: off+n <= segmentLen(s).
	return unsafe.Slice(a.Made(first), min(last-first+1, segmentLen(s)-off))
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

func (a *Array[T]) makeSegment(s uint, fill func(at func(uint32) *T)) error {
	if a.seg[s].Load() != nil {
		return nil
	}
	a.grow.Lock()
	defer a.grow.Unlock()
	if a.seg[s].Load() != nil {
		return nil
	}
	var t T
	size := uint64(segmentLen(s)) * uint64(unsafe.Sizeof(t))
	if size > math.MaxInt {
		return fmt.Errorf("%w: a segment of %d bytes does not fit the address space", ErrBudget, size)
	}
	p, err := a.arena.Alloc(uintptr(size))
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
func element[T Element](base *T, i uint32) *T {
	_, off := locate(i)
	// Same as: segment[off]
	// Safety: off < segmentLen by construction.
	return (*T)(unsafe.Add(unsafe.Pointer(base), uintptr(off)*unsafe.Sizeof(*base)))
}

// Arena returns where the segments come from.
func (a *Array[T]) Arena() *Arena { return a.arena }

// Bytes returns the memory of the segments that have been made.
func (a *Array[T]) Bytes() int64 {
	var t T
	var n int64
	for s := range uint(Segments) {
		if a.seg[s].Load() != nil {
			n += int64(segmentLen(s)) * int64(unsafe.Sizeof(t))
		}
	}
	return n
}

// Segment returns the first and last element of the segment that holds element i:
// what GrowFilled makes at once.
func Segment(i uint32) (first, last uint32) {
	s, off := locate(i)
	first = i - off
	return first, first + segmentLen(s) - 1
}

// SegmentNumber returns which segment holds element i, below [Segments].
func SegmentNumber(i uint32) int {
	s, _ := locate(i)
	return int(s)
}
