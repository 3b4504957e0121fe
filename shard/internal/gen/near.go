package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"

	"github.com/mmcloughlin/avo/reg"
)

// # Tables that are in cache
//
// Where lines do not have to be asked for, what bounds a batch is how many instructions a
// lookup has, how long each waits for the one before, and each branch that is mispredicted.
// So there is no ring, and the search is for an entry at home only: its number is what
// is left of the one word that matches, and 0 if none does. A second pass counts, and
// searches again, step by step, for those that got 0 from a group without room.
//
// The number is made of the vector. That is right because the group is loaded twice, as by
// kernels that insert: a slot of which the first load sees any part is whole in the second.
//
// A slot that the first load sees empty is room, although others were loaded after it. When
// it was empty, no entry of this home was in a later group. One that was in this group by
// then was seen by the second load, or its own slot was empty when the first one read it;
// then the address was absent at that moment.

// The registers of nearBatch, beside those that all kernels use.
var (
	nearMul   = reg.RBX // kernelIndex.mul
	nearDir   = reg.RAX // kernelIndex.dir
	nearShift = reg.R14 // kernelIndex.shift
	nearPtrs  = reg.RSI
	nearAt    = reg.R13 // the next address
	nearFound = reg.RBX // in the second pass
	nearFrom  = reg.R14 // in the second pass: the first of those it looks at together
	nearZeros = reg.R15 // of these, by bit, those to search for
	nearRoom  = reg.R15 // in the first pass: the lanes, by bit, whose group has room
)

// nearMost is kernelBatch of package shard.
const nearMost = 256

// nearBatch writes a batch kernel for tables in cache, without tags.
func nearBatch(name string) {
	TEXT(name, noSplit, "func(x *byte, ptrs *uint64, refs *int32, n int) (found int, left bool)")
	var (
		c    avx512
		n    = param("n")
		left = result("left")
		room = AllocLocal(nearMost / lanes) // nearRoom of every turn
		ref  = func(lane int) Mem { return Mem{Base: refs, Disp: 4 * lane, Index: nearAt, Scale: 4} }
	)
	MOVB(Imm(0), left)
	VPXORQ(reg.Y16, reg.Y16, reg.Y16)
	VMOVDQU64(reg.Y16, room)
	Load(Param("x"), index)
	Load(Param("ptrs"), nearPtrs)
	Load(Param("refs"), refs)
	XORL(nearAt.As32(), nearAt.As32())
	MOVQ(U64(1<<47), slot)
	VPBROADCASTQ(slot, reg.Z22)
	VPTERNLOGQ(U8(0xff), reg.Z26, reg.Z26, reg.Z26)
	MOVQ(field(index, indexMul), nearMul)
	MOVQ(field(index, indexShift), nearShift)
	MOVQ(field(index, indexDir), nearDir)

	Label("turn")
	LEAQ(Mem{Base: nearAt, Disp: lanes}, slot)
	CMPQ(slot, n)
	JG(LabelRef("rest"))
	Label("again")
	VMOVDQU64(Mem{Base: nearPtrs, Index: nearAt, Scale: 8}, reg.Z23)
	PREFETCHT0(Mem{Base: nearPtrs, Index: nearAt, Scale: 8, Disp: 16 * lanes * 8})
	PREFETCHT0(Mem{Base: refs, Index: nearAt, Scale: 4, Disp: 16 * lanes * 4})
	// Same as: canonical(ptr), of all
	VPADDQ(reg.Z22, reg.Z23, reg.Z24)
	VPSRLQ(Imm(48), reg.Z24, reg.Z24)
	VPTESTMQ(reg.Z24, reg.Z24, reg.K3)
	KORTESTB(reg.K3, reg.K3)
	JNE(LabelRef("rest"))
	XORL(nearRoom.As32(), nearRoom.As32())
	for lane := lanes - 1; lane >= 0; lane-- { // the last one is shifted most
		MOVQ(nearMul, hash)
		IMULQ(Mem{Base: nearPtrs, Index: nearAt, Scale: 8, Disp: 8 * lane}, hash)
		SHRXQ(nearShift, hash, entry)
		ANDQ(I8(-entrySize), entry)
		ADDQ(nearDir, entry)
		// Ordering: pairs with the Store in publish, as in lookupGo.
		MOVQ(field(entry, entryTab), table)
		locate()
		MOVBLZX(field(table, tableKeyShift), shift.As32())
		SHLXQ(shift, hash, key)
		// Ordering: before the load that is compared, lest half a word be taken for one.
		VPTESTMQ(field(group, 0), reg.Z26, reg.K2)
		KMOVB(reg.K2, word.As32())
		VPBROADCASTQ(key, reg.Z16)
		VPXORQ(field(group, 0), reg.Z16, reg.Z16)
		VPCMPUQ_BCST(Imm(1), field(table, tableStep), reg.Z16, reg.K2, reg.K1)
		VPCOMPRESSQ_Z(reg.Z16, reg.K1, reg.Z16)
		VPANDQ(field(table, tableRefMask), reg.X16, reg.X16)
		recheck("again")
		VMOVD(reg.X16, ref(lane))
		// Same as: room = room<<1 | (word < roomMax)
		CMPB(word.As8(), field(table, tableRoomMax))
		ADCL(nearRoom.As32(), nearRoom.As32())
	}
	MOVQ(nearAt, slot)
	SHRQ(Imm(lanesLog), slot)
	MOVB(nearRoom.As8(), room.Idx(slot, 1))
	ADDQ(Imm(lanes), nearAt)
	JMP(LabelRef("turn"))

	// Fewer than a turn, or from an address on that is not canonical: all to the second pass.
	Label("rest")
	CMPQ(nearAt, n)
	JGE(LabelRef("second"))
	MOVL(U32(0), ref(0))
	INCQ(nearAt)
	JMP(LabelRef("rest"))

	Label("second")
	XORL(nearFound.As32(), nearFound.As32())
	XORL(nearFrom.As32(), nearFrom.As32())
	Label("count")
	MOVQ(n, shift)
	SUBQ(nearFrom, shift)
	// BZHI looks at 8 bits of the number of bits only, and 256 are as good as 255.
	MOVL(U32(255), word.As32())
	CMPQ(shift, word)
	CMOVQHI(word, shift)
	MOVL(I32(-1), word.As32())
	BZHIL(shift.As32(), word.As32(), word.As32())
	KMOVW(word.As32(), reg.K1)
	VMOVDQU32_Z(Mem{Base: refs, Index: nearFrom, Scale: 4}, reg.K1, reg.Z23)
	VPTESTMD(reg.Z23, reg.Z23, reg.K2)
	KANDNW(reg.K1, reg.K2, reg.K1)
	KMOVW(reg.K2, word.As32())
	POPCNTL(word.As32(), word.As32())
	ADDQ(word, nearFound)
	KMOVW(reg.K1, nearZeros.As32())
	// Same as: zeros &^= room
	MOVQ(nearFrom, slot)
	SHRQ(Imm(lanesLog), slot)
	MOVWLZX(room.Idx(slot, 1), slot.As32())
	ANDNL(nearZeros.As32(), slot.As32(), nearZeros.As32())
	TESTL(nearZeros.As32(), nearZeros.As32())
	JNZ(LabelRef("each"))
	Label("next")
	ADDQ(Imm(16), nearFrom)
	CMPQ(nearFrom, n)
	JLT(LabelRef("count"))
	MOVQ(nearFound, result("found"))
	RET()

	Label("each")
	TZCNTL(nearZeros.As32(), nearAt.As32())
	ADDQ(nearFrom, nearAt)
	MOVQ(Mem{Base: nearPtrs, Index: nearAt, Scale: 8}, key)
	Load(Param("x"), index)
	hashOne("other")
	c.match()
	JCS(LabelRef("probe"))
	Label("found")
	load("other")
	recheck("other")
	refOfWord()
	MOVL(slot.As32(), ref(0))
	// Same as: if ref != 0 { found++ }
	CMPL(slot.As32(), Imm(1))
	SBBQ(I8(-1), nearFound)
	Label("done")
	// Same as: zeros &= zeros - 1
	LEAL(field(nearZeros, -1), slot.As32())
	ANDL(slot.As32(), nearZeros.As32())
	JNZ(LabelRef("each"))
	JMP(LabelRef("next"))

	Label("probe")
	probe(c, "probe_", "found", "absent", "other")
	Label("absent")
	recheck("other")
	JMP(LabelRef("done"))
	Label("other")
	MOVL(I32(-1), ref(0))
	MOVB(Imm(1), left)
	JMP(LabelRef("done"))
}
