//go:build linux && !race && (amd64 || arm64 || riscv64 || s390x || ppc64le || loong64)

package region

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
)

// mapped tells whether the system has a mapping at address p.
func mapped(t *testing.T, p uintptr) bool {
	t.Helper()
	f, err := os.Open("/proc/self/maps")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var from, to uintptr
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x", &from, &to); err == nil && from <= p && p < to {
			return true
		}
	}
	return false
}

// resident returns how many KiB of the mapping at p are in memory.
func resident(t *testing.T, p uintptr) (kib int) {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	defer f.Close()
	here := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var from, to uintptr
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x ", &from, &to); err == nil && strings.Contains(lines.Text(), "-") && to > from {
			here = from <= p && p < to
		}
		if n := 0; here {
			if _, err := fmt.Sscanf(lines.Text(), "Rss: %d kB", &n); err == nil {
				return n
			}
		}
	}
	return 0
}

// large makes an arena whose next spans are mapped.
func large(t *testing.T, b *Budget) *Arena {
	t.Helper()
	a := NewArena(b)
	mustAlloc(t, a, heapBytesMax)
	return a
}

// An arena that is dropped, without Close or after it, is unmapped when the garbage
// collector finds it; not before.
func TestDroppedArenaIsUnmapped(t *testing.T) {
	for _, closed := range []bool{false, true} {
		a := large(t, nil)
		s := mustAlloc(t, a, 8*blockBytes)
		s.fill(1)
		p := uintptr(s.p)
		if closed {
			a.Close()
		}
		for range 3 {
			runtime.GC()
		}
		if !mapped(t, p) {
			t.Fatalf("closed %v: an arena in use is unmapped", closed)
		}
		runtime.KeepAlive(a)
		a = nil
		eventually(t, fmt.Sprintf("closed %v: unmapping a dropped arena", closed), func() bool { return !mapped(t, p) })
	}
}

// Released blocks and closed arenas give their pages back at once, and read as zeros.
func TestPagesAreGivenBack(t *testing.T) {
	a := large(t, nil)
	first, second, third := mustAlloc(t, a, 4*blockBytes), mustAlloc(t, a, 4*blockBytes), mustAlloc(t, a, blockBytes)
	for _, s := range []span{first, second, third} {
		s.fill(7)
	}
	before := resident(t, uintptr(first.p)) + resident(t, uintptr(second.p))
	used := a.Used()
	a.Release(first.p, first.bytes)
	if after := resident(t, uintptr(first.p)) + resident(t, uintptr(second.p)); after > before-3*blockBytes/1024 {
		t.Errorf("%d KiB resident before the release of 8192, %d after", before, after)
	}
	if w, found := first.other(0); found {
		t.Errorf("a released span of whole blocks holds %#x; want zeros", w)
	}
	if w, found := second.other(7); found {
		t.Errorf("its neighbour holds %#x; want 7", w)
	}
	if got, want := a.Used(), used-4*blockBytes; got != want {
		t.Errorf("%d bytes in use; want %d", got, want)
	}
	a.Close()
	for _, s := range []span{first, second, third} {
		if w, found := s.other(0); found {
			t.Errorf("a span of a closed arena holds %#x; want zeros", w)
		}
	}
	runtime.KeepAlive(a)
}

// A block that several spans share is given back with the last of them.
func TestBlockIsGivenBackWithItsLastSpan(t *testing.T) {
	a := large(t, nil)
	base := a.Used()
	const n = blockBytes / 4
	var spans []span
	for range 8 {
		s := mustAlloc(t, a, n)
		s.fill(3)
		spans = append(spans, s)
	}
	for i, s := range spans[:4] {
		if used := a.Used(); used != base+8*n {
			t.Fatalf("%d bytes in use after %d of 4 spans of a block were released; want %d", used-base, i, 8*n)
		}
		a.Release(s.p, s.bytes)
	}
	if used := a.Used(); used != base+4*n {
		t.Errorf("%d bytes in use after a block was released; want %d", used-base, 4*n)
	}
	for _, s := range spans[:4] {
		if w, found := s.other(0); found {
			t.Errorf("a released block holds %#x; want zeros", w)
		}
	}
	for _, s := range spans[4:] {
		if w, found := s.other(3); found {
			t.Errorf("the next block holds %#x; want 3", w)
		}
	}
	a.Close()
}

// So is one whose spans have all been released before the arena went on to another.
func TestBlockThatWasReleasedEarlyIsGivenBack(t *testing.T) {
	a := large(t, nil)
	base := a.Used()
	s := mustAlloc(t, a, blockBytes-4096)
	a.Release(s.p, s.bytes)
	other := mustAlloc(t, a, 8192) // needs another block
	if got, want := a.Used(), base+int64(other.bytes); got != want {
		t.Errorf("%d bytes in use; want %d: nothing in the first block is", got-base, want-base)
	}
	a.Close()
}

// Spans across blocks, of odd sizes: released in any order, in the end all is given back
// but what is left of the newest block.
func TestSpansAcrossBlocks(t *testing.T) {
	for order := range 3 {
		a := large(t, nil)
		base := a.Used()
		var spans []span
		for i := range 20 {
			s := mustAlloc(t, a, uintptr(blockBytes/3+i*4160))
			s.fill(uint64(i + 1))
			spans = append(spans, s)
		}
		released := make([]bool, len(spans))
		for k := range spans {
			i := k
			switch order {
			case 1:
				i = len(spans) - 1 - k
			case 2:
				i = k * 7 % len(spans)
			}
			a.Release(spans[i].p, spans[i].bytes)
			released[i] = true
			for j, s := range spans {
				if released[j] {
					if w, found := s.other(uint64(j+1), 0); found {
						t.Fatalf("released span %d holds %#x", j, w)
					}
				} else if w, found := s.other(uint64(j + 1)); found {
					t.Fatalf("live span %d holds %#x after the release of span %d", j, w, i)
				}
			}
		}
		if left := a.Used() - base; left > 4*blockBytes {
			t.Errorf("order %d: %d bytes in use where all has been released", order, left)
		}
		a.Close()
	}
}

// What the system refuses is an error, and counts nothing.
func TestSystemRefuses(t *testing.T) {
	a := large(t, nil)
	base := a.Used()
	if _, err := a.Alloc(1 << 60); err == nil || errors.Is(err, ErrBudget) || errors.Is(err, ErrClosed) {
		t.Errorf("2^60 bytes: %v", err)
	}
	if used := a.Used(); used != base || a.Budget().Used() != base {
		t.Errorf("%d bytes in use after a refusal; want %d", used, base)
	}
	s := mustAlloc(t, a, 4096)
	s.fill(1)
	a.Close()
}

// A small arena needs no system call: no mapping.
func TestSmallArenaMapsNothing(t *testing.T) {
	a := NewArena(nil)
	for range 100 {
		mustAlloc(t, a, 1<<10)
		mustAlloc(t, a, 1<<9)
	}
	if a.maps != nil {
		t.Errorf("an arena of %d bytes has mappings", a.Used())
	}
	a.Close()
}
