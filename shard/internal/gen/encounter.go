package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"

	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/reg"
)

// # What a kernel may insert
//
// An inserter may take a slot only if none before it has its address: so it must have seen
// all of those whole. The first load of a group tells which slots hold entries: a slot's
// word is written once, so of one of which any part is seen the whole is there for every
// later load. The second load is what is compared; what was no entry in the first one does
// not count. So slots up to the first free one were seen whole and hold other addresses,
// and the compare-and-swap of the free one fails if it has been taken, or frozen, since. A
// group of which all slots hold entries in the first load is full for ever.
//
// All else is left to Go, which starts again with the same number. That is right at any
// point, even where the entry is in and the table is found to have been replaced: the
// number is the caller's own, so if the entry was copied it is found under it.

// The registers of kernels that insert, beside those that all kernels use.
var (
	free   = reg.RBX // number of the first slot without an entry
	ref    = reg.RSI // what a new address gets
	probes = reg.R14 // groups left to look at
)

// probeFrom goes on with a search where the home group has no match: to absent if it has
// a free slot, or one of the next groups has, to found, or to other.
func (p label) probeFrom(c comparer) {
	CMPB(field(table, tableMixed), Imm(0))
	JNE(LabelRef(p.of("other")))
	CMPL(free.As32(), Imm(groupSlots))
	JNE(LabelRef(p.of("absent")))
	MOVL(U32(probeGroupsMax-1), probes.As32())
	Label(p.of("next"))
	ADDQ(field(table, tableStep), key)
	nextGroup()
	c.search()
	JCC(LabelRef(p.of("found")))
	CMPL(free.As32(), Imm(groupSlots))
	JNE(LabelRef(p.of("absent")))
	DECL(probes.As32())
	JNZ(LabelRef(p.of("next")))
	JMP(LabelRef(p.of("other")))
}

// pack sets word to the entry of ref.
func pack() {
	Load(Param("tag"), word.As32())
	MOVBLZX(field(table, tableTagFill), shift.As32())
	ANDNL(word.As32(), shift.As32(), word.As32())
	MOVBLZX(field(table, tableRefBits), shift.As32())
	SHLXQ(shift, word, word)
	ORQ(key, word)
	ORQ(ref, word)
}

// claim puts word into the free slot, if it still is free and the table is published.
func claim(other string) {
	XORL(reg.EAX, reg.EAX)
	// Ordering: as in claim of the Go code: after the record, if there is one, which was
	// stored before.
	lock()
	CMPXCHGQ(word, Mem{Base: group, Index: free, Scale: 8})
	JNE(LabelRef(other))
	recheck(other)
}

// lock makes the next instruction atomic.
func lock() { Instruction(&ir.Instruction{Opcode: "LOCK"}) }

// encounterSingle writes a kernel that looks an address up and inserts it if it is absent. What
// it leaves to Go it goes on with there, or returns 0 for.
func encounterSingle(name string, record bool) {
	if record {
		TEXT(name, noSplit, "func(x *byte, ptr uint64, tag uint8, next int32, record *uint64, low uint64) (ref int32)")
	} else {
		TEXT(name, noSplit, "func(x *byte, ptr uint64, next int32, tag uint8) (ref int32, gotTag uint8)")
	}
	dispatch(func(p label, c comparer) { p.encounterSingle(c, record) })
	if record {
		leave("encounterLeft")
		return
	}
	MOVL(U32(0), result("ref"))
	RET()
}

func (p label) encounterSingle(c comparer, record bool) {
	hashSingle("other")
	c.search()
	JCS(LabelRef(p.of("probe")))
	Label(p.of("found"))
	c.done()
	load("other")
	recheck("other")
	refOfWord()
	tagOfWord()
	if record {
		// TagUnknown, which is 255, is no tag.
		CMPB(word.As8(), param("tag"))
		JNE(LabelRef("other"))
		CMPB(word.As8(), I8(-1))
		JEQ(LabelRef("other"))
	} else {
		Store(word.As8(), Return("gotTag"))
	}
	Store(slot.As32(), Return("ref"))
	RET()

	Label(p.of("probe"))
	p.probeFrom(c)
	Label(p.of("other"))
	c.done()
	JMP(LabelRef("other"))

	Label(p.of("absent"))
	c.done()
	// The last slot makes the group a full one, which has to be counted.
	CMPL(free.As32(), Imm(groupSlots-1))
	JEQ(LabelRef("other"))
	Load(Param("next"), ref.As32())
	TESTL(ref.As32(), ref.As32())
	JLE(LabelRef("other"))
	CMPQ(ref, field(table, tableRefMask))
	JHI(LabelRef("other"))
	Load(Param("ptr"), word)
	TESTQ(word, word)
	JZ(LabelRef("other"))
	if record {
		CMPB(param("tag"), I8(-1))
		JEQ(LabelRef("other"))
		SHLQ(Imm(16), word)
		ORQ(param("low"), word)
		to := Load(Param("record"), slot)
		MOVQ(word, Mem{Base: to})
	}
	pack()
	claim("other")
	if !record {
		Load(Param("tag"), word.As8())
		ORB(field(table, tableTagFill), word.As8())
		Store(word.As8(), Return("gotTag"))
	}
	Store(ref.As32(), Return("ref"))
	RET()
}

// encounterBatch writes a kernel that does so for many addresses. It hashes them ahead as
// the lookups do; unlike these it searches one after the other, and ends where Go must do one.
func encounterBatch(name string, c comparer, h hasher) {
	TEXT(name, 0, "func(x *byte, ptrs *uint64, refs *int32, n int, tag uint8, next int32, limit uint32, records *uint64, low uint64) (done int, after int32, crowded bool)")
	b := newBetween()
	record := AllocLocal(8) // of the next number
	Load(Param("records"), word)
	MOVQ(word, record)
	Load(Param("x"), index)
	Load(Param("refs"), refs)
	Load(Param("next"), ref.As32())
	XORL(first.As32(), first.As32())
	XORL(second.As32(), second.As32())
	h.begin()

	n := param("n")
	fillRing(b, h, "each")

	Label("each")
	turn(second)
	begin(b, 0)
	c.search()
	JCS(LabelRef("probe"))
	Label("found")
	load("other")
	recheckOf(b, 0, "other")
	refOfWord()
	CMPQ(record, Imm(0))
	JEQ(LabelRef("known"))
	tagOfWord()
	CMPB(word.As8(), param("tag"))
	JNE(LabelRef("other"))
	Label("known")
	MOVL(slot.As32(), refOf(0))
	INCQ(second)
	Label("done")
	CMPQ(second, n)
	JGE(LabelRef("other"))
	TESTQ(I32(lanes-1), second)
	JNZ(LabelRef("each"))
	JMP(LabelRef("more"))

	Label("probe")
	label("").probeFrom(c)

	Label("absent")
	CMPL(ref.As32(), param("limit"))
	JEQ(LabelRef("other"))
	CMPQ(ref, field(table, tableRefMask))
	JHI(LabelRef("other"))
	Load(Param("ptrs"), word)
	MOVQ(Mem{Base: word, Index: second, Scale: 8}, word)
	TESTQ(word, word)
	JZ(LabelRef("other"))
	MOVQ(record, slot)
	TESTQ(slot, slot)
	JZ(LabelRef("recorded"))
	SHLQ(Imm(16), word)
	ORQ(param("low"), word)
	MOVQ(word, Mem{Base: slot})
	Label("recorded")
	MOVQ(b.entries.Idx(at, 8), entry)
	pack()
	claim("other")
	MOVL(ref.As32(), refOf(0))
	INCQ(second)
	INCL(ref.As32())
	CMPQ(record, Imm(0))
	JEQ(LabelRef("inserted"))
	ADDQ(Imm(8), record)
	Label("inserted")
	CMPL(free.As32(), Imm(groupSlots-1))
	JNE(LabelRef("done"))
	// Same as: t.full.Add(1) >= t.fullLimit
	MOVL(U32(1), shift.As32())
	lock()
	XADDQ(shift, field(table, tableFull))
	INCQ(shift)
	CMPQ(shift, field(table, tableFullLimit))
	JLT(LabelRef("done"))
	MOVB(Imm(1), result("crowded"))
	JMP(LabelRef("end"))

	Label("other")
	MOVB(Imm(0), result("crowded"))
	Label("end")
	c.done()
	MOVQ(second, result("done"))
	Store(ref.As32(), Return("after"))
	RET()
}
