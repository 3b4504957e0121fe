// Package keys makes the addresses that synthetic load profiles use.
//
// # Terminology
//
// An area is a part of an address space in which addresses share a shape: the
// slab caches of a kernel, its page-aligned mappings, its per-CPU copies, the
// heaps of user processes. A [Model] says what share of the addresses comes
// from each area.
//
// # Structure
//
//	Model --weights--> areas --ascending walks--> addresses --shuffle--> Generate
//
// Each area is walked upwards from a base that the seed chooses, in steps
// that imitate its allocator, with holes where the allocator would have freed
// something. The ranges that the walks can reach are disjoint, so addresses
// are unique by construction.
//
//	area       range                      shape
//	Slab       ffff8880'00000000 + 64 TiB 32 KiB slabs, one stride of 64..4096 each, some slots free
//	Page       ffffc900'00000000 + 31 TiB pages, page pairs, kernel stacks with their guard page
//	PerCPU     ffffe800'00000000 +  1 TiB the same offset in 64 units that lie 256 KiB apart
//	User       00005500'00000000 +  1 TiB malloc chunks on a brk heap
//	           00007f00'00000000 +  1 TiB malloc chunks in arenas of 64 MiB
//	GoHeap     000000c0'00000000 + 64 TiB 8 KiB spans, one size class of 8..8192 each, some slots free
//
// # Guarantees
//
//   - The addresses of one call are unique and none is 0.
//   - All are canonical with 48 significant bits, sign-extended.
//   - The same model, seed and count give the same addresses in the same
//     order, on every machine.
//
// # Limits
//
// Up to [Max] addresses per call. The layout is synthetic: shares and strides
// follow what /proc/slabinfo and allocators show in general, not one machine.
package keys

import (
	"errors"
	"fmt"
	"math/rand/v2"
)

// Max is the largest number of addresses one call can make; all areas still
// fit into their ranges there.
const Max = 1 << 30

// Model is the mix of areas that addresses are drawn from. The fields are
// weights of any scale; the zero Model is not usable, start from [Mixed].
type Model struct {
	Slab   float64 // kernel objects in slab caches, see Strides
	Page   float64 // page-aligned kernel memory
	PerCPU float64 // per-CPU copies of one allocation
	User   float64 // malloc chunks in user address spaces, 48 bits
	GoHeap float64 // objects of size classes in spans, as Go's allocator has them

	// Strides are the object sizes of the slab caches in bytes, each a
	// multiple of 8 in 8..32768, used equally often by slabs.
	Strides []uint64
}

// Mixed is the model of the canonical profiles: mostly slab objects, as a
// kernel checkpointer meets them, and a good part of user heap.
func Mixed() Model {
	return Model{
		Slab: 0.55, Page: 0.10, PerCPU: 0.05, User: 0.30,
		Strides: []uint64{64, 96, 128, 192, 256, 384, 512, 640, 704, 1024, 1088, 2048, 4096},
	}
}

const (
	slabBase   = 0xffff_8880_0000_0000
	pageBase   = 0xffff_c900_0000_0000
	perCPUBase = 0xffff_e800_0000_0000
	goHeapBase = 0x0000_00c0_0000_0000
	brkBase    = 0x0000_5500_0000_0000
	arenaBase  = 0x0000_7f00_0000_0000

	pageSize   = 4 << 10
	slabSize   = 32 << 10
	spanSize   = 8 << 10
	arenaSize  = 64 << 20
	unitSize   = 256 << 10
	units      = 64
	baseSpread = 64 << 30 // how far above its range's start a walk may begin
)

// ErrModel is what Generate returns, wrapped, for a model it cannot use.
var ErrModel = errors.New("unusable address model")

// Generate returns n unique addresses of the model in random order.
func Generate(m Model, seed uint64, n int) ([]uint64, error) {
	if n < 0 || n > Max {
		return nil, fmt.Errorf("%w: %d addresses asked for, the limit is %d", ErrModel, n, Max)
	}
	if err := m.Check(); err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(seed, 0x6b657973)) // "keys"
	out := make([]uint64, 0, n)
	total := m.Slab + m.Page + m.PerCPU + m.User + m.GoHeap
	take := func(weight float64) int { return min(int(float64(n)*weight/total), n-len(out)) }

	out = slabs(out, rng, m.Strides, take(m.Slab))
	out = pages(out, rng, take(m.Page))
	out = perCPU(out, rng, take(m.PerCPU))
	rest := take(m.User)
	out = chunks(out, rng, brkBase, rest/2)
	out = chunks(out, rng, arenaBase, rest-rest/2)
	if n := take(m.GoHeap); n > 0 {
		out = walkGoHeap(out, rng, start(rng, goHeapBase, arenaSize), n)
	}
	out = m.remainder(out, rng, n-len(out))

	rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out, nil
}

// Check says what is wrong with a model; the error wraps ErrModel.
func (m Model) Check() error {
	for _, w := range []float64{m.Slab, m.Page, m.PerCPU, m.User, m.GoHeap} {
		if !(w >= 0) || w > 1e9 {
			return fmt.Errorf("%w: weight %v is not in 0..1e9", ErrModel, w)
		}
	}
	if m.Slab+m.Page+m.PerCPU+m.User+m.GoHeap == 0 {
		return fmt.Errorf("%w: every weight is 0", ErrModel)
	}
	if m.Slab > 0 && len(m.Strides) == 0 {
		return fmt.Errorf("%w: slab addresses need at least one stride", ErrModel)
	}
	for _, s := range m.Strides {
		if s < 8 || s > slabSize || s%8 != 0 {
			return fmt.Errorf("%w: stride %d is not a multiple of 8 in 8..%d", ErrModel, s, slabSize)
		}
	}
	return nil
}

// remainder adds the few addresses that rounding the shares left over, from
// an area the model uses. They lie in a walk of their own half a range above
// the first one, out of its reach.
func (m Model) remainder(out []uint64, rng *rand.Rand, n int) []uint64 {
	switch {
	case n == 0:
		return out
	case m.Slab > 0:
		return walkSlabs(out, rng, slabBase+(32<<40), m.Strides, n)
	case m.User > 0:
		return walkChunks(out, rng, brkBase+(512<<30), n)
	case m.Page > 0:
		return walkPages(out, rng, pageBase+(16<<40), n)
	case m.PerCPU > 0:
		return walkPerCPU(out, rng, perCPUBase+(512<<30), n)
	default:
		return walkGoHeap(out, rng, goHeapBase+(32<<40), n)
	}
}

// start puts a walk at an aligned place near the start of its range.
func start(rng *rand.Rand, base, align uint64) uint64 {
	return base + rng.Uint64N(baseSpread)/align*align
}

func slabs(out []uint64, rng *rand.Rand, strides []uint64, n int) []uint64 {
	return walkSlabs(out, rng, start(rng, slabBase, slabSize), strides, n)
}

// walkSlabs fills slab after slab. Slabs of all caches lie mixed in memory,
// in runs, with other memory between them.
func walkSlabs(out []uint64, rng *rand.Rand, at uint64, strides []uint64, n int) []uint64 {
	for end := len(out) + n; len(out) < end; at += slabSize {
		if rng.Uint64N(4) == 0 {
			at += slabSize * rng.Uint64N(16)
		}
		stride := strides[rng.IntN(len(strides))]
		for slot := at; slot+stride <= at+slabSize && len(out) < end; slot += stride {
			if rng.Uint64N(8) != 0 {
				out = append(out, slot)
			}
		}
	}
	return out
}

func pages(out []uint64, rng *rand.Rand, n int) []uint64 {
	return walkPages(out, rng, start(rng, pageBase, pageSize), n)
}

func walkPages(out []uint64, rng *rand.Rand, at uint64, n int) []uint64 {
	sizes := [4]uint64{1, 1, 2, 5} // in pages; 5: a 16 KiB stack and its guard
	for range n {
		at += pageSize * rng.Uint64N(4)
		out = append(out, at)
		at += pageSize * sizes[rng.IntN(len(sizes))]
	}
	return out
}

func perCPU(out []uint64, rng *rand.Rand, n int) []uint64 {
	return walkPerCPU(out, rng, start(rng, perCPUBase, units*unitSize), n)
}

func walkPerCPU(out []uint64, rng *rand.Rand, chunk uint64, n int) []uint64 {
	offset := uint64(0)
	for end := len(out) + n; len(out) < end; {
		for cpu := uint64(0); cpu < units && len(out) < end; cpu++ {
			out = append(out, chunk+cpu*unitSize+offset)
		}
		offset += 64 * (1 + rng.Uint64N(4))
		if offset >= unitSize {
			offset = 0
			chunk += units * unitSize
		}
	}
	return out
}

func chunks(out []uint64, rng *rand.Rand, base uint64, n int) []uint64 {
	return walkChunks(out, rng, start(rng, base, arenaSize), n)
}

// walkChunks imitates malloc: chunks are multiples of 16 bytes, the user's
// part begins 16 bytes in, small ones are the most frequent, and each arena
// begins with its own header.
func walkChunks(out []uint64, rng *rand.Rand, at uint64, n int) []uint64 {
	const header = 0x8c0
	at += header
	for range n {
		out = append(out, at+16)
		size := 32 + 16*rng.Uint64N(8)
		if rng.Uint64N(16) == 0 {
			size += 16 * rng.Uint64N(128)
		}
		at += size
		if next := (at/arenaSize + 1) * arenaSize; at+4096 > next {
			at = next + header
		}
	}
	return out
}

// walkGoHeap fills span after span. Each has objects of one size class; small classes
// are the most frequent, and the spans of others lie between them.
func walkGoHeap(out []uint64, rng *rand.Rand, at uint64, n int) []uint64 {
	classes := [...]uint64{8, 16, 16, 24, 32, 32, 48, 48, 64, 64, 80, 96, 96, 112, 128, 144, 192, 208, 256, 320, 384, 512, 1024, 2048, 4096, 8192}
	for end := len(out) + n; len(out) < end; at += spanSize {
		at += spanSize * rng.Uint64N(3)
		size := classes[rng.IntN(len(classes))]
		for slot := at; slot+size <= at+spanSize && len(out) < end; slot += size {
			if rng.Uint64N(8) != 0 {
				out = append(out, slot)
			}
		}
	}
	return out
}
