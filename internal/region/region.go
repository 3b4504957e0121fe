// Package region hands out zeroed memory that holds no Go pointers, under a
// byte budget.
//
// # Terminology
//
//   - A span is what a caller asks for: zeroed, 64-byte aligned, never moved.
//   - A chunk is what the system is asked for; spans are cut from chunks in order.
//   - A [Budget] is a hard limit in bytes, shared by everything in one context.
//
// # Structure
//
//	Arena ── chunk 8 KiB (Go heap) ── chunk 16 KiB (Go heap) ── ... ── chunk 64 KiB.. (mmap)
//	          │span│span│...│
//
// A new chunk is as large as everything handed out before, so an arena of n
// bytes has O(log n) chunks, and a small context costs no system call. From 64
// KiB on, chunks are anonymous mappings on 64-bit Linux: the garbage collector
// neither scans nor counts them, and pages can be given back one span at a time.
// Chunks of 4 MiB and more are aligned to, and ask for, huge pages. Under -race
// (the detector does not see foreign memory), on 32-bit and off Linux every chunk
// is a pointer-free Go object, and its spans are kept alive by whoever points
// into them.
//
// # Guarantees
//
//   - A released span reads either as it was or as zeros, word by word, and
//     reading or writing it never faults, for as long as the arena is reachable:
//     pages are given back at once, the address range when the arena is garbage.
//     That is what lets lock-free readers be late.
//   - [Arena.Close] gives all pages back at once. An arena dropped without Close
//     gives them back when the garbage collector finds it.
//   - A Budget is never exceeded, not even for a moment.
//
// # Limits
//
// Spans count with their size rounded up to 64 bytes; the unused rest of a chunk
// is address space that was never touched and does not count.
package region

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"
)

// ErrBudget reports that memory was refused because it would exceed the budget.
var ErrBudget = errors.New("memory budget exhausted")

// ErrClosed reports the use of a closed arena.
var ErrClosed = errors.New("memory arena closed")

// Budget is a limit in bytes on memory in use. Safe for concurrent use.
type Budget struct {
	max  int64
	used atomic.Int64
}

// NewBudget returns a budget of limit bytes; 0 means no limit.
func NewBudget(limit int64) *Budget { return &Budget{max: limit} }

// Take adds n bytes to the use, or returns [ErrBudget] and adds nothing.
func (b *Budget) Take(n int64) error {
	for {
		used := b.used.Load()
		if b.max > 0 && n > b.max-used {
			return fmt.Errorf("%w: %d bytes in use, %d more needed, limit %d", ErrBudget, used, n, b.max)
		}
		if b.used.CompareAndSwap(used, used+n) {
			return nil
		}
	}
}

// Give takes n bytes off the use.
func (b *Budget) Give(n int64) { b.used.Add(-n) }

// Used returns the bytes in use now.
func (b *Budget) Used() int64 { return b.used.Load() }

// Alignment of every span, in bytes: one cache line.
const Alignment = 64

const (
	chunkBytesMin = 8 << 10
	chunkBytesMax = 64 << 20
	mapBytesMin   = 64 << 10 // smaller chunks come from the Go heap
	hugeBytes     = 2 << 20
	hugeChunkMin  = 4 << 20 // a chunk half of which might stay empty is not worth huge pages below this
)

// Arena hands out spans. Safe for concurrent use.
type Arena struct {
	budget *Budget

	mu     sync.Mutex
	closed bool
	free   unsafe.Pointer // start of the unused rest of the newest chunk
	left   uintptr        // its bytes
	total  uintptr        // bytes handed out so far
	maps   *mappings
}

// NewArena returns an empty arena that takes its memory from b; nil means
// a budget of its own, without limit.
func NewArena(b *Budget) *Arena {
	if b == nil {
		b = NewBudget(0)
	}
	return &Arena{budget: b}
}

// Budget returns the budget the arena takes from.
func (a *Arena) Budget() *Budget { return a.budget }

// Alloc returns a zeroed span of n bytes, or an error that wraps [ErrBudget],
// [ErrClosed] or the system's own.
func (a *Arena) Alloc(n uintptr) (unsafe.Pointer, error) {
	n = roundUp(n, Alignment)
	if err := a.budget.Take(int64(n)); err != nil {
		return nil, err
	}
	p, err := a.cut(n)
	if err != nil {
		a.budget.Give(int64(n))
		return nil, err
	}
	return p, nil
}

func (a *Arena) cut(n uintptr) (unsafe.Pointer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return nil, ErrClosed
	}
	if n > a.left {
		size := min(max(a.total, chunkBytesMin), chunkBytesMax)
		if err := a.addChunk(max(n, size)); err != nil {
			return nil, err
		}
	}
	p := a.free
	a.left -= n
	a.total += n
	if a.left > 0 {
		// Same as: p[n:]
		// Safety: n < the bytes left of the chunk that p points into.
		a.free = unsafe.Add(p, n)
	}
	return p, nil
}

func (a *Arena) addChunk(n uintptr) error {
	if canMap && n >= mapBytesMin {
		if a.maps == nil {
			a.maps = new(mappings)
			// The mappings outlive Close: late readers may still look at them.
			// They go when nobody can reach the arena any more.
			runtime.AddCleanup(a, (*mappings).unmap, a.maps)
		}
		p, got, err := a.maps.add(n)
		if err != nil {
			return fmt.Errorf("mapping %d bytes: %w", n, err)
		}
		a.free, a.left = p, got
		return nil
	}
	n = roundUp(n, Alignment)
	words := make([]uint64, (n+Alignment)/8)
	p := unsafe.Pointer(unsafe.SliceData(words))
	// Same as: the first 64-byte boundary in words.
	// Safety: words is one alignment longer than n.
	a.free = unsafe.Add(p, -uintptr(p)&(Alignment-1))
	a.left = n
	return nil
}

// Release gives the pages of a span back and its bytes to the budget. The caller
// must have been given p by Alloc(n), and must not release it twice; see the
// package doc for what late readers see.
func (a *Arena) Release(p unsafe.Pointer, n uintptr) {
	n = roundUp(n, Alignment)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	a.budget.Give(int64(n))
	if a.maps != nil {
		a.maps.discard(p, n)
	}
}

// Close gives everything back. The caller sees to it that nobody relies on the
// contents any more. A second Close does nothing.
func (a *Arena) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	a.closed = true
	a.free, a.left = nil, 0
	if a.maps != nil {
		a.maps.discardAll()
	}
}

func roundUp(n, to uintptr) uintptr { return (n + to - 1) &^ (to - 1) }
