// Package region hands out zeroed memory that holds no Go pointers, under a
// byte budget.
//
// # Terminology
//
//   - A span is what a caller asks for: zeroed, 64-byte aligned, never moved.
//   - A chunk is what the system is asked for; spans are cut from chunks in order.
//   - A block is 2 MiB of a mapped chunk, one huge page where there are any.
//   - A [Budget] is a hard limit in bytes, shared by everything in one context.
//
// # Structure
//
//	Arena ── chunk 1 KiB │span│.. ── 2 KiB │span│.. ── span  span ── 2 MiB │span│.. ── 4 MiB │block│block│ ── ...
//	         Go heap                                   Go objects    mapped
//
// The first 256 KiB come from the Go heap, so a small context makes no system call:
// spans below 2 KiB from chunks of 1 to 8 KiB, larger ones each as an object. From there on, chunks are
// anonymous mappings on 64-bit Linux, aligned to huge pages and advised to use them: the
// garbage collector neither scans nor counts them, and a page fault, which costs more
// than 10 us in some virtual machines, comes once in 2 MiB. A chunk is as large as
// everything handed out before, so an arena of n bytes has O(log n) of them. Under -race
// (the detector does not see foreign memory), on 32-bit and off Linux all memory is
// pointer-free Go objects, kept alive by whoever points into them.
//
// A released span is not given back by itself: to take a piece out of a huge page breaks
// the page up, and costs more than the piece is worth. A block is given back when all
// spans in it have been released. Tables that grow together die together, so few blocks
// stay; keep what lives long in an arena of its own.
//
// # Guarantees
//
//   - A released span reads either as it was or as zeros, word by word, and
//     reading or writing it never faults, for as long as the arena is reachable:
//     pages are given back at once, the address range when the arena is garbage.
//     That is what lets lock-free readers be late.
//   - [Arena.Close] gives all pages back at once. An arena dropped without Close
//     gives them back when the garbage collector finds it.
//   - A Budget is never exceeded, not even for a moment, and counts what has not been
//     given back.
//
// # Limits
//
// Spans count with their size rounded up to 64 bytes; the unused rest of a chunk
// is address space that was never touched and does not count.
package region

import (
	"errors"
	"fmt"
	"math/bits"
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
	chunkMin     = 1 << 10 // of the Go heap
	chunkMax     = 8 << 10 // the same
	ownSpanMin   = 2 << 10
	heapBytesMax = 256 << 10 // what an arena takes from the Go heap, where it can map
	mapBytesMax  = 64 << 20  // for one chunk of more than one span
	blockBytes   = 2 << 20
)

// Arena hands out spans. Safe for concurrent use.
type Arena struct {
	budget *Budget
	used   atomic.Int64 // this arena's part of the budget

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
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.charge(int64(n)); err != nil {
		return nil, err
	}
	p, err := a.cut(n)
	if err != nil {
		a.give(int64(n))
	}
	return p, err
}

// Charge counts n bytes that the caller has from elsewhere, an object of the Go heap
// say, as if they came from the arena. Errors wrap [ErrBudget] or [ErrClosed].
func (a *Arena) Charge(n int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.charge(n)
}

// Discharge undoes Charge.
func (a *Arena) Discharge(n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.give(n)
	}
}

func (a *Arena) charge(n int64) error {
	if a.closed {
		return ErrClosed
	}
	if err := a.budget.Take(n); err != nil {
		return err
	}
	a.used.Add(n)
	return nil
}

func (a *Arena) give(n int64) {
	a.used.Add(-n)
	a.budget.Give(n)
}

// Used returns the bytes that the arena has taken from the budget and not given back.
func (a *Arena) Used() int64 { return a.used.Load() }

func (a *Arena) cut(n uintptr) (unsafe.Pointer, error) {
	if a.own(n) {
		a.total += n
		return heapSpan(n), nil
	}
	if n > a.left {
		if err := a.addChunk(n); err != nil {
			return nil, err
		}
	}
	p := a.free
	a.left -= n
	a.total += n
	a.free = nil // a span of the next chunk comes next
	if a.left > 0 {
		// Same as: p[n:]
		// Safety: n < the bytes left of the chunk that p points into.
		a.free = unsafe.Add(p, n)
	}
	a.give(int64(a.maps.charge(p, n)))
	return p, nil
}

// own tells whether a span becomes a Go object of its own, which the garbage
// collector takes back when it is released.
func (a *Arena) own(n uintptr) bool {
	return n >= ownSpanMin && (!canMap || a.total+n <= heapBytesMax)
}

// addChunk makes a chunk for at least n bytes the newest one.
func (a *Arena) addChunk(n uintptr) error {
	if chunk := a.heapChunk(n); n < ownSpanMin && (!canMap || a.total+chunk <= heapBytesMax) {
		a.free, a.left = heapSpan(chunk), chunk
		return nil
	}
	if a.maps == nil {
		a.maps = new(mappings)
		// The mappings outlive Close: late readers may still look at them.
		// They go when nobody can reach the arena any more.
		runtime.AddCleanup(a, (*mappings).unmap, a.maps)
	}
	n = roundUp(max(n, min(a.total, mapBytesMax)), blockBytes)
	p, err := a.maps.add(n)
	if err != nil {
		return fmt.Errorf("mapping %d bytes: %w", n, err)
	}
	a.free, a.left = p, n
	return nil
}

// heapChunk returns how large the next chunk of the Go heap should be that has room for n
// bytes: as large as all before, so that a small arena is small, and a power of two, of
// which the heap wastes nothing.
func (a *Arena) heapChunk(n uintptr) uintptr {
	like := min(max(a.total, n, chunkMin), chunkMax)
	chunk := uintptr(1) << (bits.Len64(uint64(like)) - 1)
	if chunk < n {
		chunk *= 2
	}
	return chunk
}

// heapSpan returns n zeroed bytes of the Go heap.
func heapSpan(n uintptr) unsafe.Pointer {
	words := make([]uint64, n/8)
	p := unsafe.Pointer(unsafe.SliceData(words))
	if uintptr(p)&(Alignment-1) == 0 {
		return p // as all are from 1 KiB on, but that is not promised
	}
	words = make([]uint64, (n+Alignment)/8)
	p = unsafe.Pointer(unsafe.SliceData(words))
	// Same as: the first 64-byte boundary in words.
	// Safety: words is one alignment longer than n.
	return unsafe.Add(p, -uintptr(p)&(Alignment-1))
}

// Release says that a span is not needed any more; see the package doc for when it
// is given back to the system and the budget. The caller must have been given p by
// Alloc(n), and must not release it twice.
func (a *Arena) Release(p unsafe.Pointer, n uintptr) {
	n = roundUp(n, Alignment)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	if n >= ownSpanMin && !a.maps.holds(p) {
		a.give(int64(n)) // the garbage collector has it
	} else {
		a.give(int64(a.maps.release(p, n, a.free)))
	}
}

// Close gives everything back, to the system and the budget. The caller sees to it that nobody relies on the
// contents any more. A second Close does nothing.
func (a *Arena) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	a.closed = true
	a.give(a.used.Load())
	a.free, a.left = nil, 0
	a.maps.discardAll()
}

func roundUp(n, to uintptr) uintptr { return (n + to - 1) &^ (to - 1) }
