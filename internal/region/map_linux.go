//go:build linux && !race && (amd64 || arm64 || riscv64 || s390x || ppc64le || loong64)

package region

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const canMap = true

// mappings are the mapped chunks of one arena. A nil *mappings has none.
type mappings struct {
	chunks []*mapping
	newest *mapping // where the newest span ends
	last   uintptr  // its block there
}

type mapping struct {
	whole      unsafe.Pointer // as mapped
	wholeBytes uintptr
	base       unsafe.Pointer // the part that is used, aligned to blocks
	blocks     []block
}

// block is the account of one block, in bytes.
type block struct{ charged, live uintptr }

// add maps n zeroed bytes, a multiple of the block size.
func (m *mappings) add(n uintptr) (unsafe.Pointer, error) {
	// One block more, to have room for the alignment.
	whole, err := unix.MmapPtr(-1, 0, nil, n+blockBytes, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil, err
	}
	// Same as: the first block boundary in the mapping.
	// Safety: the mapping is one block longer than n.
	base := unsafe.Add(whole, -uintptr(whole)&(blockBytes-1))
	// Advice only: where huge pages are off, small ones serve.
	_ = advise(base, n, unix.MADV_HUGEPAGE)
	m.chunks = append(m.chunks, &mapping{whole, n + blockBytes, base, make([]block, n/blockBytes)})
	return base, nil
}

// find returns the chunk that p points into, or nil if it is not a mapped one.
func (m *mappings) find(p unsafe.Pointer) *mapping {
	if m == nil {
		return nil
	}
	for _, c := range m.chunks {
		if uintptr(p)-uintptr(c.base) < uintptr(len(c.blocks))*blockBytes {
			return c
		}
	}
	return nil
}

func (m *mappings) holds(p unsafe.Pointer) bool { return m.find(p) != nil }

// each calls f for every block that [p, p+n) has a part in, with the length of that.
func (c *mapping) each(p unsafe.Pointer, n uintptr, f func(i, part uintptr)) {
	for off := uintptr(p) - uintptr(c.base); n > 0; {
		part := min(n, blockBytes-off%blockBytes)
		f(off/blockBytes, part)
		off += part
		n -= part
	}
}

// charge notes that the span [p, p+n), the newest one, is in use. It gives the block
// before it back if all in there was released while it was the newest, and returns how
// many bytes had been charged in that.
func (m *mappings) charge(p unsafe.Pointer, n uintptr) (given uintptr) {
	c := m.find(p)
	if c == nil {
		return 0
	}
	c.each(p, n, func(i, part uintptr) {
		c.blocks[i].charged += part
		c.blocks[i].live += part
	})
	last := (uintptr(p) + n - 1 - uintptr(c.base)) / blockBytes
	if m.newest != nil && (m.newest != c || m.last != last) {
		given = m.newest.settle(m.last)
	}
	m.newest, m.last = c, last
	return given
}

// release notes that the span [p, p+n) is not in use any more, gives those blocks of
// it back that are not in use at all, and returns how many bytes had been charged in
// them. free is where the next span will start: its block is in use.
func (m *mappings) release(p unsafe.Pointer, n uintptr, free unsafe.Pointer) (given uintptr) {
	c := m.find(p)
	if c == nil {
		return 0
	}
	c.each(p, n, func(i, part uintptr) {
		c.blocks[i].live -= part
		if uintptr(free)-uintptr(c.start(i)) >= blockBytes {
			given += c.settle(i)
		}
	})
	return given
}

func (c *mapping) start(i uintptr) unsafe.Pointer {
	// Same as: base[i*blockBytes:]
	// Safety: i < len(blocks).
	return unsafe.Add(c.base, i*blockBytes)
}

// settle gives block i back if nothing in it is in use, and returns how many bytes had
// been charged in it.
func (c *mapping) settle(i uintptr) (given uintptr) {
	b := &c.blocks[i]
	if b.live != 0 || b.charged == 0 {
		return 0
	}
	_ = advise(c.start(i), blockBytes, unix.MADV_DONTNEED)
	given = b.charged
	b.charged = 0
	return given
}

func (m *mappings) discardAll() {
	if m == nil {
		return
	}
	for _, c := range m.chunks {
		_ = advise(c.base, uintptr(len(c.blocks))*blockBytes, unix.MADV_DONTNEED)
	}
}

func (m *mappings) unmap() {
	for _, c := range m.chunks {
		_ = unix.MunmapPtr(c.whole, c.wholeBytes)
	}
	m.chunks = nil
}

func advise(p unsafe.Pointer, n uintptr, advice int) error {
	// Same as: the n bytes at p.
	// Safety: the caller passes a range inside one mapping.
	return unix.Madvise(unsafe.Slice((*byte)(p), n), advice)
}
