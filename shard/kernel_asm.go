//go:build amd64 && !race && !purego && !objhash_invariants

package shard

import (
	"runtime"
	"unsafe"

	"github.com/objhash/objhash/internal/region"
	"golang.org/x/sys/cpu"
)

//go:generate go run ./internal/gen -out kernel_amd64.s

// kernelIndex is what the kernels read of an index.
type kernelIndex struct {
	mul   uint64         // Compact.mul << addrPad: hashes an address that is not shifted
	dir   unsafe.Pointer // Compact.dir
	other unsafe.Pointer // a dirEntry that leaves every lookup to Go
	shift uint64         // a hash to the offset of its entry of the directory
}

// kernelTable is what the kernels read of a table: its first cache line.
type kernelTable struct {
	base     unsafe.Pointer // the groups
	last     unsafe.Pointer // the last one
	step     uint64         // layout.step, or 0 if there is a mixer: then no word matches
	stepMask uint64         // -step: the bits of remainder and distance; 0 if there is a mixer
	refMask  uint64
	scale    uint64 // the groups there would be if all hashes had as many as those of the table
	origin   uint64 // where the first one of these would be
	keyShift uint8  // a hash to its key
	refBits  uint8
	tagFill  uint8 // what the bits where the tag may be are or-ed with: TagUnknown if it is not there
	mixed    bool  // there is a mixer: Go must do it
	roomMax  uint8 // a group has room if its slots that are taken, by bit, are less than that: never if there is a mixer
	_        [3]byte
}

// The generator knows the offsets.
var (
	_ [8]byte                = [unsafe.Sizeof(dirEntry{})]byte{}
	_ [64]byte               = [unsafe.Sizeof(kernelTable{})]byte{}
	_ [kernelAVX2]struct{}   = [1]struct{}{}
	_ [kernelAVX512]struct{} = [2]struct{}{}

	_ = [1]struct{}{}[unsafe.Offsetof(Compact{}.asm)]
	_ = [1]struct{}{}[unsafe.Offsetof(kernelIndex{}.mul)-0]
	_ = [1]struct{}{}[unsafe.Offsetof(kernelIndex{}.dir)-8]
	_ = [1]struct{}{}[unsafe.Offsetof(kernelIndex{}.other)-16]
	_ = [1]struct{}{}[unsafe.Offsetof(kernelIndex{}.shift)-24]

	_ = [1]struct{}{}[unsafe.Offsetof(dirEntry{}.tab)]

	_ = [1]struct{}{}[unsafe.Offsetof(table{}.asm)]
	_ = [1]struct{}{}[unsafe.Sizeof(table{})%64] // or asm would lie on two lines
	_ = [1]struct{}{}[unsafe.Offsetof(kernelTable{}.base)-0]
	_ = [1]struct{}{}[unsafe.Offsetof(kernelTable{}.last)-8]
	_ = [1]struct{}{}[unsafe.Offsetof(kernelTable{}.step)-16]
	_ = [1]struct{}{}[unsafe.Offsetof(kernelTable{}.stepMask)-24]
	_ = [1]struct{}{}[unsafe.Offsetof(kernelTable{}.refMask)-32]
	_ = [1]struct{}{}[unsafe.Offsetof(kernelTable{}.scale)-40]
	_ = [1]struct{}{}[unsafe.Offsetof(kernelTable{}.origin)-48]
	_ = [1]struct{}{}[unsafe.Offsetof(kernelTable{}.keyShift)-56]
	_ = [1]struct{}{}[unsafe.Offsetof(kernelTable{}.refBits)-57]
	_ = [1]struct{}{}[unsafe.Offsetof(kernelTable{}.tagFill)-58]
	_ = [1]struct{}{}[unsafe.Offsetof(kernelTable{}.mixed)-59]
	_ = [1]struct{}{}[unsafe.Offsetof(kernelTable{}.roomMax)-60]
	_ = [1]struct{}{}[kernelBatch-256]
	_ = [1]struct{}{}[unsafe.Offsetof(table{}.fullLimit)-216]
	_ = [1]struct{}{}[unsafe.Offsetof(table{}.full)-256]
)

// dirEntryLog is log2 of the size of a dirEntry.
const dirEntryLog = 3

func newKernelIndex(x *Compact) kernelIndex {
	return kernelIndex{
		mul: x.mul << addrPad,
		// Same as: &x.dir[0]
		// Safety: the kernels add to it the number that a hash has for its entry, which
		// is below len(dir), times the size of one.
		dir:   unsafe.Pointer(unsafe.SliceData(x.dir)),
		other: unsafe.Pointer(otherEntry),
		shift: uint64(x.dirTail) + 1 - dirEntryLog,
	}
}

func newKernelTable(t *table) kernelTable {
	k := kernelTable{
		base: t.base,
		// Same as: &groups[t.groups-1]
		// Safety: base has t.groups groups.
		last:     unsafe.Add(t.base, (t.groups-1)*groupBytes),
		step:     t.step,
		stepMask: -t.step,
		refMask:  t.refMask,
		scale:    t.groups << t.depth,
		origin:   uint64(uintptr(t.base)) - t.prefix()>>1>>(63-t.depth)*t.groups*groupBytes,
		keyShift: uint8(t.low - addrPad),
		refBits:  uint8(t.refBits),
		mixed:    t.mixer.on,
		roomMax:  1<<groupSlots - 1,
	}
	if t.mixer.on {
		k.step, k.stepMask, k.roomMax = 0, 0, 0
	}
	if t.tagBits == 0 {
		k.tagFill = TagUnknown
	}
	return k
}

// otherEntry has an empty table that says that it mixes addresses, which the kernels
// leave to Go.
var otherEntry = newOtherEntry()

func newOtherEntry() *dirEntry {
	t, err := newTable(region.NewArena(nil), span{count: 1}, groupsMin, 0, newMixer(addrBits))
	if err != nil {
		panic(err) // two groups, no budget
	}
	s := new(dirEntry)
	s.tab.Store(t)
	return s
}

func (k kernel) supported() bool {
	x := &cpu.X86
	vex := x.HasBMI1 && x.HasBMI2
	switch k {
	case kernelAVX512:
		return vex && x.HasAVX512F && x.HasAVX512DQ && x.HasAVX512VL
	case kernelAVX2:
		return vex && x.HasAVX2
	}
	return true
}

// Lookup implements [Index].
func (x *Compact) Lookup(ptr uint64) (ref int32, tag uint8) { return lookupKernel(x, ptr) }

// lookupKernel runs the kernel that kernelUsed says. What is not the common case it
// leaves to lookupKernelGo.
//
//go:noescape
func lookupKernel(x *Compact, ptr uint64) (ref int32, tag uint8)

//lint:ignore U1000 the assembly goes on there
func lookupKernelGo(x *Compact, ptr uint64) (ref int32, tag uint8) { return x.lookupGo(ptr) }

// lookupBatchAVX512 looks up the n addresses at ptrs, 1 or more, and writes their numbers to refs
// and, unless tags is nil, their tags to tags. It returns how many it found, and whether
// there are some that it leaves to Go; those have the number -1.
//
//go:noescape
func lookupBatchAVX512(x *Compact, ptrs *uint64, refs *int32, tags *uint8, n int) (found int, left bool)

// lookupBatchAVX2 is lookupBatchAVX512 for less of a processor.
//
//go:noescape
func lookupBatchAVX2(x *Compact, ptrs *uint64, refs *int32, tags *uint8, n int) (found int, left bool)

// lookupNearAVX512 is lookupBatchAVX512 for an index that is in cache, without tags. It asks
// for no line ahead: see nearBytesMax.
//
//go:noescape
func lookupNearAVX512(x *Compact, ptrs *uint64, refs *int32, n int) (found int, left bool)

// nearBytesMax is the memory of an index, at most, that is taken to be in cache, if not in the
// first or second: with a second cache of 1 MiB and nothing else in the third, lookups that
// ask for no line ahead take less time up to 6 MiB, and half as long again at 16 MiB.
// It is a variable for tests.
var nearBytesMax int64 = 2 << 20

// storesOrdered tells whether plain stores are seen in order: x86 promises that.
const storesOrdered = true

// kernelBatch is how many lookups one call of a batch kernel does. The scheduler cannot stop
// it meanwhile, so a garbage collection that begins waits for as many page faults at worst.
const kernelBatch = 256

func (x *Compact) lookupBatch(ptrs []uint64, refs []int32, tags []uint8) (found int) {
	if kernelUsed == kernelGo {
		return x.lookupBatchGo(ptrs, refs, tags)
	}
	for start := 0; start < len(ptrs); start += kernelBatch {
		end := min(start+kernelBatch, len(ptrs))
		var partTags []uint8
		if tags != nil {
			partTags = tags[start:end]
		}
		found += x.lookupPart(ptrs[start:end], refs[start:end], partTags)
	}
	runtime.KeepAlive(x)
	return found
}

// lookupPart is lookupBatch for at most kernelBatch addresses.
func (x *Compact) lookupPart(ptrs []uint64, refs []int32, tags []uint8) (found int) {
	var left bool
	// Safety: the kernels read and write n elements, and all three have len(ptrs).
	p, r, t, n := unsafe.SliceData(ptrs), unsafe.SliceData(refs), unsafe.SliceData(tags), len(ptrs)
	if kernelUsed == kernelAVX512 && tags == nil && x.arena.Used() <= nearBytesMax {
		found, left = lookupNearAVX512(x, p, r, n)
	} else if kernelUsed == kernelAVX512 {
		found, left = lookupBatchAVX512(x, p, r, t, n)
	} else {
		found, left = lookupBatchAVX2(x, p, r, t, n)
	}
	if !left {
		return found
	}
	n = 0
	for _, ref := range refs {
		if ref < 0 {
			n++
		}
	}
	if n > len(refs)/4 { // so many have a mixer, say: together their misses overlap
		return x.lookupBatchGo(ptrs, refs, tags)
	}
	for i := range refs {
		if refs[i] < 0 {
			found += x.lookupLeft(ptrs, refs, tags, i)
		}
	}
	return found
}

// lookupLeft looks up element i of a batch, and returns 1 if it is there.
func (x *Compact) lookupLeft(ptrs []uint64, refs []int32, tags []uint8, i int) int {
	ref, tag := x.lookupGo(ptrs[i])
	refs[i] = ref
	if tags != nil {
		tags[i] = tag
	}
	if ref == 0 {
		return 0
	}
	return 1
}
