// Command gen writes the lookup kernels of package shard for amd64 to the standard
// output, or to the file that -out names: run go generate in package shard.
//
// # What a kernel may conclude
//
// A kernel does what lookupGo and lookupBatchGo do, in the same order. The comments
// there say why that is right; here is why it stays right with vectors.
//
// The eight slots of a group are compared at once. The vector load is eight loads, in no
// order, and the processor's manual does not even promise that each is whole. So a match
// says only where to look: the slot is loaded once more, as one word, and that word is
// compared again. It is this word, and nothing of the vector, that the answer is made
// of. The second comparison fails if the slot was an empty one, which matches a key of
// 0, and has become an entry since; the lookup then starts again in Go. If the word
// still is 0, the group has room and the entry would be before it: the address is
// absent, and 0 is the number to return.
//
// That nothing matches is as good an observation as the Go code's. A slot changes once
// in a table's life, from 0 to its word (or to frozen and back, which matches no key). An entry whose insert returned before the
// lookup began is there in whole, in whatever order and pieces it is read. If the entry
// is missed, it was not all there when its slot was read, so at that moment, which is
// within the lookup, the address was absent, or in a later group. The latter is
// excluded where the last slot, loaded after the others, is seen to hold no entry.
//
// Tables that have been replaced may show zeros or stray words. Hence each answer,
// "absent" included, is given only after the published table has been loaded again and
// is the one that was searched. x86 executes loads in order as far as anybody can tell,
// vectors included: the check comes after every load of the group.
//
// # Addresses that are not canonical, and tables with a mixer
//
// These are left to Go. In a table with a mixer no word matches, because the step that
// the kernels see is 0, and the second comparison, of one word, cannot be below that; so only
// a search that found nothing has to ask. A batch sends
// addresses that are not canonical to a directory entry whose table says that it has a mixer.
//
// # Why the garbage collector may be ignored
//
// A kernel has pointers that the collector does not see. It cannot stop a goroutine that
// runs assembly, and so cannot finish a cycle before the kernel is done; a table that is
// unlinked meanwhile was marked by the write barrier of whoever unlinked it, or is looked
// at in the next cycle only.
package main

import (
	"flag"
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"

	"github.com/mmcloughlin/avo/gotypes"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	flag.Parse()
	ConstraintExpr("amd64,!race,!purego,!objhash_invariants")
	single()
	batch("lookupBatchAVX512", avx512{}, hashAVX512{})
	batch("lookupBatchAVX2", avx2{}, hashBMI{})
	nearBatch("lookupNearAVX512")
	encounterSingle("insertKernel", false)
	encounterSingle("encounter", true)
	encounterBatch("encounterBatchAVX512", avx512{}, hashAVX512{})
	encounterBatch("encounterBatchAVX2", avx2{}, hashBMI{})
	Generate()
}

// What package shard asserts about its types, in kernel_asm.go.
const (
	indexMul   = 0
	indexDir   = 8
	indexOther = 16
	indexShift = 24

	entryTab  = 0
	entrySize = 8

	tableBase      = 0
	tableLast      = 8
	tableStep      = 16
	tableStepMask  = 24
	tableRefMask   = 32
	tableScale     = 40
	tableOrigin    = 48
	tableKeyShift  = 56
	tableRefBits   = 57
	tableTagFill   = 58
	tableMixed     = 59
	tableRoomMax   = 60
	tableFullLimit = 216
	tableFull      = 256

	groupSize    = 64
	groupSizeLog = 6
	lastSlot     = 56
	groupSlots   = 8

	kernelAVX2   = 1
	kernelAVX512 = 2

	probeGroupsMax = 15
)

// The registers that all kernels use alike.
var (
	key   = reg.RCX // of the address, first that or its hash
	hash  = reg.RDX // where MULX has it
	slot  = reg.RDX // number of the slot that matches, then scratch
	entry = reg.R8  // of the directory
	table = reg.R9
	group = reg.R10
	shift = reg.R11 // scratch
	word  = reg.R12
)

func field(base reg.Register, disp int) Mem { return Mem{Base: base, Disp: disp} }

func param(name string) Op  { return resolve(Param(name)) }
func result(name string) Op { return resolve(Return(name)) }

func resolve(c gotypes.Component) Op {
	b, err := c.Resolve()
	if err != nil {
		panic(err)
	}
	return b.Addr
}

// symbol is something of package shard.
func symbol(name string) Mem { return NewDataAddr(Symbol{Name: "·" + name}, 0) }

// comparer compares the slots of group with key.
type comparer interface {
	// match sets slot to the number of the first one that matches, or the carry flag.
	match()
	// search does so for those that hold entries, and sets free to the number of the first
	// one that holds none, 8 if all do. It loads the group twice.
	search()
	// done ends the use of vector registers.
	done()
}

// avx512 compares eight words at once. Registers from 16 on are those whose use costs
// the code after it nothing, without a VZEROUPPER; 17 to 24 are those of hashAVX512.
type avx512 struct{}

func (avx512) match() {
	VPBROADCASTQ(key, reg.Z16)
	VPXORQ(field(group, 0), reg.Z16, reg.Z16)
	// Same as: w^key < step, for each of the eight words
	VPCMPUQ_BCST(Imm(1), field(table, tableStep), reg.Z16, reg.K1)
	KMOVB(reg.K1, slot.As32())
	TZCNTL(slot.As32(), slot.As32())
}

func (avx512) search() {
	VMOVDQU64(field(group, 0), reg.Z16)
	VPTESTMQ_BCST(field(table, tableRefMask), reg.Z16, reg.K2)
	VPBROADCASTQ(key, reg.Z25)
	VPXORQ(field(group, 0), reg.Z25, reg.Z25)
	VPCMPUQ_BCST(Imm(1), field(table, tableStep), reg.Z25, reg.K2, reg.K1)
	KMOVB(reg.K2, free.As32())
	NOTL(free.As32())
	TZCNTL(free.As32(), free.As32())
	KMOVB(reg.K1, slot.As32())
	TZCNTL(slot.As32(), slot.As32())
}

func (avx512) done() {}

// avx2 compares twice four words.
type avx2 struct{}

func (avx2) match() {
	avx2Compare()
	TZCNTL(slot.As32(), slot.As32())
}

// avx2Compare sets a bit of slot for each slot that matches.
func avx2Compare() {
	VPBROADCASTQ(field(table, tableStepMask), reg.Y0)
	VMOVQ(key, reg.X1)
	VPBROADCASTQ(reg.X1, reg.Y1)
	// Same as: w^key < step: above the step, word and key are equal
	VPAND(field(group, 0), reg.Y0, reg.Y2)
	VPAND(field(group, 32), reg.Y0, reg.Y3)
	VPCMPEQQ(reg.Y1, reg.Y2, reg.Y2)
	VPCMPEQQ(reg.Y1, reg.Y3, reg.Y3)
	avx2Bits(slot)
}

// avx2Bits sets to to a bit for each slot, of the results of two comparisons.
func avx2Bits(to reg.GPPhysical) {
	VMOVMSKPD(reg.Y2, to.As32())
	VMOVMSKPD(reg.Y3, shift.As32())
	SHLL(Imm(4), shift.As32())
	ORL(shift.As32(), to.As32())
}

func (avx2) search() {
	VPBROADCASTQ(field(table, tableRefMask), reg.Y0)
	VPAND(field(group, 0), reg.Y0, reg.Y2)
	VPAND(field(group, 32), reg.Y0, reg.Y3)
	VPXOR(reg.Y1, reg.Y1, reg.Y1)
	VPCMPEQQ(reg.Y1, reg.Y2, reg.Y2)
	VPCMPEQQ(reg.Y1, reg.Y3, reg.Y3)
	avx2Bits(free)
	avx2Compare()
	// Same as: slot &^= free
	ANDNL(slot.As32(), free.As32(), slot.As32())
	BTSL(Imm(groupSlots), free.As32())
	TZCNTL(free.As32(), free.As32())
	TZCNTL(slot.As32(), slot.As32())
}

func (avx2) done() { VZEROUPPER() }

// load loads the word that may match and compares it again.
func load(differs string) {
	// Ordering: pairs with the CAS in claim, as in find: this one load is the entry.
	MOVQ(Mem{Base: group, Index: slot, Scale: 8}, word)
	XORQ(word, key)
	CMPQ(key, field(table, tableStep))
	JCC(LabelRef(differs))
}

// refOfWord sets slot to the number of word, and shift to where the tag is.
func refOfWord() {
	MOVBLZX(field(table, tableRefBits), shift.As32())
	BZHIQ(shift, word, slot)
}

// tagOfWord comes after it, and makes the tag of word.
func tagOfWord() {
	SHRXQ(shift, word, word)
	ORB(field(table, tableTagFill), word.As8())
}

// recheck goes to replaced unless table still is the published one.
func recheck(replaced string) {
	// Ordering: as in lookupGo.
	CMPQ(table, field(entry, entryTab))
	JNE(LabelRef(replaced))
}

// probe continues a search from a home group that has no match, and ends it at found,
// absent or other. found is where load comes next. p tells its label from others.
func probe(c comparer, p, found, absent, other string) {
	count := word
	CMPB(field(table, tableMixed), Imm(0))
	JNE(LabelRef(other))
	MOVQ(field(group, lastSlot), slot)
	TESTQ(slot, field(table, tableRefMask))
	JZ(LabelRef(absent))
	// The group is full: one of this home may be in the next.
	MOVL(U32(probeGroupsMax-1), count.As32())
	Label(p + "next")
	ADDQ(field(table, tableStep), key)
	nextGroup()
	c.match()
	JCC(LabelRef(found))
	MOVQ(field(group, lastSlot), slot)
	TESTQ(slot, field(table, tableRefMask))
	JZ(LabelRef(absent))
	DECL(count.As32())
	JNZ(LabelRef(p + "next"))
	JMP(LabelRef(absent))
}

// label tells apart the paths of kernels that are written twice into one function.
type label string

func (p label) of(name string) string { return string(p) + name }

// noSplit is the flag of functions that need no check of the stack.
const noSplit = 4

// dispatch writes a kernel for one address twice and runs the one that kernelUsed says, or
// neither: what comes next is at other.
func dispatch(kernel func(label, comparer)) {
	CMPB(symbol("kernelUsed"), Imm(kernelAVX512))
	JNE(LabelRef("not_avx512"))
	kernel("avx512_", avx512{})
	Label("not_avx512")
	CMPB(symbol("kernelUsed"), Imm(kernelAVX2))
	JNE(LabelRef("other"))
	kernel("avx2_", avx2{})
	Label("other")
}

func single() {
	TEXT("lookupKernel", noSplit, "func(x *byte, ptr uint64) (ref int32, tag uint8)")
	Doc("lookupKernel is the kernel that kernelUsed says.")
	dispatch(label.single)
	leave("lookupKernelGo")
}

func (p label) single(c comparer) {
	hashSingle("other")
	c.match()
	JCS(LabelRef(p.of("probe")))
	Label(p.of("found"))
	c.done()
	load("other")
	recheck("other")
	refOfWord()
	Store(slot.As32(), Return("ref"))
	tagOfWord()
	Store(word.As8(), Return("tag"))
	RET()

	Label(p.of("probe"))
	probe(c, string(p), p.of("found"), p.of("absent"), p.of("left"))
	Label(p.of("absent"))
	c.done()
	recheck("other")
	XORL(slot.As32(), slot.As32())
	Store(slot.As32(), Return("ref"))
	Store(slot.As8(), Return("tag"))
	RET()
	Label(p.of("left"))
	c.done()
	leave("lookupKernelGo")
}

// hashSingle sets entry, table, group and key for the address ptr, and goes to other if that
// is not canonical.
func hashSingle(other string) {
	Load(Param("x"), index)
	Load(Param("ptr"), key)
	hashOne(other)
}

// hashOne is hashSingle for the address in key.
func hashOne(other string) {
	// Same as: canonical(ptr)
	MOVQ(U64(1<<47), slot)
	ADDQ(key, slot)
	SHRQ(Imm(48), slot)
	JNZ(LabelRef(other))

	MOVQ(key, hash)
	IMULQ(field(index, indexMul), hash)
	MOVQ(field(index, indexShift), shift)
	SHRXQ(shift, hash, entry)
	ANDQ(I8(-entrySize), entry)
	ADDQ(field(index, indexDir), entry)
	// Ordering: pairs with the Store in publish, as in lookupGo.
	MOVQ(field(entry, entryTab), table)
	locate()
	MOVBLZX(field(table, tableKeyShift), shift.As32())
	SHLXQ(shift, hash, key)
}

// locate sets group to the home of hash.
func locate() {
	// Same as: bits.Mul64(h<<t.depth, t.groups), and as many groups as there are of all
	// hashes that begin with less than what those of t begin with.
	MULXQ(field(table, tableScale), shift, group)
	SHLQ(Imm(groupSizeLog), group)
	ADDQ(field(table, tableOrigin), group)
}

// nextGroup sets group to the one after it, the first one after the last.
func nextGroup() {
	MOVQ(group, shift)
	ADDQ(Imm(groupSize), group)
	CMPQ(shift, field(table, tableLast))
	CMOVQEQ(field(table, tableBase), group)
}

// leave goes on in Go. It has the same arguments and results, in the same place.
func leave(to string) {
	Instruction(&ir.Instruction{Opcode: "JMP", Operands: []Op{symbol(to)}, IsTerminal: true})
}

// A batch takes each address through two passes: the first hashes it and asks for its
// home, the second searches there. Between the two it lies in a ring on the stack. With
// room for 16 or 32 instead of 64 a batch takes 1.6 or 1.15 times as long out of cache,
// and not less in it.
const (
	lanes    = 1 << lanesLog // addresses in a turn of a pass
	lanesLog = 3
	ring     = 64
	ahead    = ring - lanes // of them between their passes, while there are enough
)

// The registers of a batch, beside those that all kernels use.
var (
	index   = reg.RAX // only to begin with
	at      = reg.RAX // where in the ring
	tags    = reg.RBX
	pending = reg.RSI // lanes of the second pass, by bit
	refs    = reg.RDI
	first   = reg.R13 // the next for the first pass
	found   = reg.R14
	second  = reg.R15 // the next for the second pass
)

// between is what the ring keeps.
type between struct{ hashes, entries, tables, groups Mem }

func newBetween() between {
	return between{AllocLocal(8 * ring), AllocLocal(8 * ring), AllocLocal(8 * ring), AllocLocal(8 * ring)}
}

// hasher does the first pass.
type hasher interface {
	// begin loads what stays the same.
	begin()
	// pass takes the next lanes addresses, or as many as there are, through the first
	// pass.
	pass(b between)
}

// hashAVX512 hashes all lanes at once.
type hashAVX512 struct{}

func (hashAVX512) begin() {
	VPBROADCASTQ(field(index, indexMul), reg.Z17)
	VPBROADCASTQ(field(index, indexDir), reg.Z18)
	VPBROADCASTQ(field(index, indexOther), reg.Z19)
	VMOVQ(field(index, indexShift), reg.X20)
	MOVQ(I32(-entrySize), slot)
	VPBROADCASTQ(slot, reg.Z21)
	MOVQ(U64(1<<47), slot)
	VPBROADCASTQ(slot, reg.Z22)
}

func (hashAVX512) pass(b between) {
	// Lanes beyond the end read as address 0, whose home is as good to ask for as any.
	MOVL(U32(1<<lanes-1), slot.As32())
	n := Load(Param("n"), key)
	SUBQ(first, n)
	CMPQ(n, Imm(lanes))
	JGE(LabelRef("whole"))
	BZHIL(key.As32(), slot.As32(), slot.As32())
	Label("whole")
	KMOVB(slot.As32(), reg.K2)
	ptrs := Load(Param("ptrs"), key)
	VMOVDQU64_Z(Mem{Base: ptrs, Index: first, Scale: 8}, reg.K2, reg.Z23)
	stream(ptrs)
	// Same as: canonical(ptr)
	VPADDQ(reg.Z22, reg.Z23, reg.Z24)
	VPSRLQ(Imm(48), reg.Z24, reg.Z24)
	VPTESTMQ(reg.Z24, reg.Z24, reg.K3)
	VPMULLQ(reg.Z17, reg.Z23, reg.Z23)
	VMOVDQU64(reg.Z23, b.hashes.Idx(at, 8))
	VPSRLQ(reg.X20, reg.Z23, reg.Z23)
	VPANDQ(reg.Z21, reg.Z23, reg.Z23)
	VPADDQ(reg.Z18, reg.Z23, reg.Z23)
	VMOVDQA64(reg.Z19, reg.K3, reg.Z23)
	VMOVDQU64(reg.Z23, b.entries.Idx(at, 8))
	for lane := range lanes {
		MOVQ(b.entries.Offset(8*lane).Idx(at, 8), entry)
		touch(b, b.hashes.Offset(8*lane).Idx(at, 8), lane)
	}
	ADDQ(Imm(lanes), first)
}

// hashBMI hashes one address after the other: AVX2 has no multiplication for it.
type hashBMI struct{}

func (hashBMI) begin() {}

func (hashBMI) pass(b between) {
	index, ptr := group, word
	Load(Param("ptrs"), ptr)
	stream(ptr)
	for lane := range lanes {
		Load(Param("ptrs"), ptr)
		MOVQ(Mem{Base: ptr, Index: first, Scale: 8}, ptr)
		Load(Param("x"), index)
		MOVQ(ptr, key)
		IMULQ(field(index, indexMul), key)
		MOVQ(field(index, indexShift), shift)
		SHRXQ(shift, key, entry)
		ANDQ(I8(-entrySize), entry)
		ADDQ(field(index, indexDir), entry)
		// Same as: canonical(ptr)
		MOVQ(U64(1<<47), slot)
		ADDQ(ptr, slot)
		SHRQ(Imm(48), slot)
		CMOVQNE(field(index, indexOther), entry)
		MOVQ(key, b.hashes.Offset(8*lane).Idx(at, 8))
		MOVQ(entry, b.entries.Offset(8*lane).Idx(at, 8))
		touch(b, key, lane)
		INCQ(first)
		CMPQ(first, param("n"))
		JGE(LabelRef("hashed"))
	}
	Label("hashed")
}

// stream asks for the addresses and numbers of a later turn: the processor's own
// prefetching of the two arrays is too late where they are not in cache. That may be
// beyond their ends, which harms nobody.
func stream(ptrs reg.Register) {
	const turns = 16
	PREFETCHT0(Mem{Base: ptrs, Index: first, Scale: 8, Disp: turns * lanes * 8})
	PREFETCHT0(Mem{Base: refs, Index: first, Scale: 4, Disp: turns * lanes * 4})
}

// touch asks for the home of a hash and keeps where that is, with its table.
func touch(b between, from Op, lane int) {
	// Ordering: pairs with the Store in publish, as in locate.
	MOVQ(field(entry, entryTab), table)
	MOVQ(table, b.tables.Offset(8*lane).Idx(at, 8))
	MOVQ(from, hash)
	locate()
	PREFETCHT0(field(group, 0))
	MOVQ(group, b.groups.Offset(8*lane).Idx(at, 8))
}

// turn sets at to where in the ring element i is.
func turn(i reg.GPPhysical) {
	MOVQ(i, at)
	ANDQ(I32(ring-1), at)
}

// fillRing is where a turn of a batch begins, at more: it takes addresses through the first
// pass until the ring is full or there are no more. Then it goes to search, which follows.
func fillRing(b between, h hasher, search string) {
	Label("more")
	CMPQ(first, param("n"))
	JGE(LabelRef(search))
	turn(first)
	h.pass(b)
	MOVQ(first, slot)
	SUBQ(second, slot)
	CMPQ(slot, I32(ahead+lanes))
	JLT(LabelRef("more"))
}

// batch writes a batch kernel. It is long because the paths of a lane meet in its labels.
func batch(name string, c comparer, h hasher) {
	TEXT(name, 0, "func(x *byte, ptrs *uint64, refs *int32, tags *uint8, n int) (found int, left bool)")
	b := newBetween()
	lane := AllocLocal(8) // the one that is done by itself
	left := result("left")
	MOVB(Imm(0), left)
	Load(Param("x"), index)
	Load(Param("refs"), refs)
	Load(Param("tags"), tags)
	XORL(first.As32(), first.As32())
	XORL(second.As32(), second.As32())
	XORL(found.As32(), found.As32())
	h.begin()

	n := param("n")
	fillRing(b, h, "search")

	// All lanes, as if there were nothing but what is usual. A lane for which that is
	// not so sets its bit in pending.
	Label("search")
	turn(second)
	XORL(pending.As32(), pending.As32())
	MOVQ(n, slot)
	SUBQ(second, slot)
	CMPQ(slot, Imm(lanes))
	JLT(LabelRef("rest"))
	ADDQ(Imm(lanes), found)
	for lane := range lanes {
		p := fmt.Sprintf("lane%d", lane)
		next := LabelRef(fmt.Sprintf("lane%d", lane+1))
		Label(p)
		begin(b, lane)
		c.match()
		JCS(LabelRef(p + "_absent"))
		load(p + "_pending")
		recheckOf(b, lane, p+"_pending")
		refOfWord()
		JZ(LabelRef(p + "_pending"))
		MOVL(slot.As32(), refOf(lane))
		TESTQ(tags, tags)
		JZ(next)
		tagOfWord()
		MOVB(word.As8(), tagOf(lane))
	}
	Label(fmt.Sprintf("lane%d", lanes))
	TESTL(pending.As32(), pending.As32())
	JNZ(LabelRef("each"))
	Label("next")
	ADDQ(Imm(lanes), second)
	CMPQ(second, n)
	JLT(LabelRef("more"))
	c.done()
	MOVQ(found, result("found"))
	RET()

	for lane := range lanes {
		p := fmt.Sprintf("lane%d", lane)
		next := LabelRef(fmt.Sprintf("lane%d", lane+1))
		Label(p + "_absent")
		CMPB(field(table, tableMixed), Imm(0))
		JNE(LabelRef(p + "_pending"))
		MOVQ(field(group, lastSlot), slot)
		TESTQ(slot, field(table, tableRefMask))
		JNZ(LabelRef(p + "_pending"))
		recheckOf(b, lane, p+"_pending")
		DECQ(found)
		MOVL(U32(0), refOf(lane))
		TESTQ(tags, tags)
		JZ(next)
		MOVB(Imm(0), tagOf(lane))
		JMP(next)
		Label(p + "_pending")
		DECQ(found)
		ORL(U32(1<<lane), pending.As32())
		JMP(next)
	}

	// The lanes that are pending, one after the other.
	Label("rest")
	BTSL(slot.As32(), pending.As32())
	DECL(pending.As32())
	Label("each")
	TZCNTL(pending.As32(), slot.As32())
	MOVQ(slot, lane)
	ADDQ(slot, at)
	ADDQ(slot, second)
	begin(b, 0)
	c.match()
	JCS(LabelRef("probe"))
	Label("found")
	load("other")
	recheckOf(b, 0, "other")
	refOfWord()
	MOVL(slot.As32(), refOf(0))
	// Same as: if ref != 0 { found++ }
	CMPL(slot.As32(), Imm(1))
	SBBQ(I8(-1), found)
	TESTQ(tags, tags)
	JZ(LabelRef("done"))
	tagOfWord()
	MOVB(word.As8(), tagOf(0))
	Label("done")
	SUBQ(lane, at)
	SUBQ(lane, second)
	// Same as: pending &= pending - 1
	LEAL(field(pending, -1), slot.As32())
	ANDL(slot.As32(), pending.As32())
	JNZ(LabelRef("each"))
	JMP(LabelRef("next"))

	Label("probe")
	probe(c, "probe_", "found", "absent", "other")
	Label("absent")
	recheckOf(b, 0, "other")
	MOVL(U32(0), refOf(0))
	TESTQ(tags, tags)
	JZ(LabelRef("done"))
	MOVB(Imm(0), tagOf(0))
	JMP(LabelRef("done"))
	Label("other")
	MOVL(I32(-1), refOf(0))
	MOVB(Imm(1), left)
	JMP(LabelRef("done"))
}

// begin sets table, group and key to those of a lane.
func begin(b between, lane int) {
	MOVQ(b.tables.Offset(8*lane).Idx(at, 8), table)
	MOVQ(b.groups.Offset(8*lane).Idx(at, 8), group)
	MOVBLZX(field(table, tableKeyShift), shift.As32())
	SHLXQ(shift, b.hashes.Offset(8*lane).Idx(at, 8), key)
}

// recheckOf is recheck for a lane.
func recheckOf(b between, lane int, replaced string) {
	MOVQ(b.entries.Offset(8*lane).Idx(at, 8), entry)
	recheck(replaced)
}

// refOf and tagOf are the results of a lane.
func refOf(lane int) Mem { return Mem{Base: refs, Disp: 4 * lane, Index: second, Scale: 4} }
func tagOf(lane int) Mem { return Mem{Base: tags, Disp: lane, Index: second, Scale: 1} }
