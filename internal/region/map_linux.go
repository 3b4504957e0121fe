//go:build linux && !race && (amd64 || arm64 || riscv64 || s390x || ppc64le || loong64)

package region

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const canMap = true

// mappings are the anonymous mappings of one arena.
type mappings struct{ spans []mapping }

type mapping struct {
	base  unsafe.Pointer
	bytes uintptr
}

// add maps at least n zeroed bytes and returns the part to hand out.
func (m *mappings) add(n uintptr) (unsafe.Pointer, uintptr, error) {
	huge := n >= hugeChunkMin
	n = roundUp(n, pageBytes)
	whole := n
	if huge {
		n = roundUp(n, hugeBytes)
		whole = n + hugeBytes
	}
	base, err := unix.MmapPtr(-1, 0, nil, whole, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, 0, err
	}
	m.spans = append(m.spans, mapping{base, whole})
	if huge {
		// Same as: the first huge-page boundary in the mapping.
		// Safety: the mapping is one huge page longer than n.
		base = unsafe.Add(base, -uintptr(base)&(hugeBytes-1))
		// Advice only: where huge pages are off, small ones serve.
		_ = advise(base, n, unix.MADV_HUGEPAGE)
	}
	return base, n, nil
}

// discard gives back the whole pages within [p, p+n) if a mapping of ours holds
// them; p may also point into the Go heap, where there is nothing to do.
func (m *mappings) discard(p unsafe.Pointer, n uintptr) {
	lead := -uintptr(p) & (pageBytes - 1)
	if n < lead+pageBytes || !m.holds(p) {
		return
	}
	// Same as: the whole pages of p[:n].
	// Safety: lead and the rounded length stay within n.
	_ = advise(unsafe.Add(p, lead), (n-lead)&^(pageBytes-1), unix.MADV_DONTNEED)
}

func (m *mappings) holds(p unsafe.Pointer) bool {
	for _, s := range m.spans {
		if uintptr(p)-uintptr(s.base) < s.bytes {
			return true
		}
	}
	return false
}

func (m *mappings) discardAll() {
	for _, s := range m.spans {
		_ = advise(s.base, s.bytes, unix.MADV_DONTNEED)
	}
}

func (m *mappings) unmap() {
	for _, s := range m.spans {
		_ = unix.MunmapPtr(s.base, s.bytes)
	}
	m.spans = nil
}

func advise(p unsafe.Pointer, n uintptr, advice int) error {
	// Same as: the n bytes at p.
	// Safety: the caller passes a range inside one mapping.
	return unix.Madvise(unsafe.Slice((*byte)(p), n), advice)
}

var pageBytes = uintptr(os.Getpagesize())
