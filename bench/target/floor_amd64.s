//go:build amd64 && !race && !purego

#include "textflag.h"

// func floorPrefetch(memory unsafe.Pointer, lines uint64, ptrs, offsets *uint64, n int)
TEXT ·floorPrefetch(SB), NOSPLIT, $0-40
	MOVQ memory+0(FP), R8
	MOVQ lines+8(FP), R9
	MOVQ ptrs+16(FP), SI
	MOVQ offsets+24(FP), DI
	MOVQ n+32(FP), CX
	MOVQ $0x9e3779b97f4a7c15, R10 // floorMul

next:
	MOVQ       (SI), AX
	IMULQ      R10, AX
	MULQ       R9 // the high half, in DX, is below lines
	SHLQ       $6, DX
	PREFETCHT0 (R8)(DX*1)
	MOVQ       DX, (DI)
	ADDQ       $8, SI
	ADDQ       $8, DI
	DECQ       CX
	JNZ        next
	RET
