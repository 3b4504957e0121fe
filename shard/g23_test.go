package shard

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

// oddAddresses are addresses that a table may stumble over: at the ends of every
// range, one bit apart, equal in their high or their low bits, not canonical, a
// sentinel somewhere, a multiple of a page.
func oddAddresses() []uint64 {
	set := map[uint64]bool{0: true}
	var ptrs []uint64
	add := func(list ...uint64) {
		for _, ptr := range list {
			if !set[ptr] {
				set[ptr] = true
				ptrs = append(ptrs, ptr)
			}
		}
	}
	for bit := range 64 {
		p := uint64(1) << bit
		add(p, p-1, p+1, ^p, -p, -p-1)
	}
	for _, base := range []uint64{0x7fff_ffff_f000, 0xffff_8000_0000_0000, 0x0000_8000_0000_0000, 0xffff_7fff_ffff_ffff, 0xdead_beef_dead_beef, 0x0101_0101_0101_0101} {
		for bit := range 64 {
			add(base ^ 1<<bit)
		}
		for i := range uint64(70) {
			add(base+i*4096, base+i<<21, base+i<<40, base+i)
		}
	}
	// Hashes whose remainder, distance or home are all zeros or all ones.
	for _, m := range multipliers {
		inv := inverse(m)
		for bit := range addrBits {
			add(uint64(int64(inv<<bit<<addrPad)>>addrPad), uint64(int64(-inv<<bit<<addrPad)>>addrPad))
		}
	}
	return ptrs
}

func TestG23_AnyAddressButZeroWorks(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		ptrs := oddAddresses()
		t.Run("insert=single", func(t *testing.T) {
			x := s.open(t)
			want := make(map[uint64]stored, len(ptrs))
			for i, ptr := range ptrs {
				if ref, _ := x.Lookup(ptr); ref != 0 {
					t.Fatalf("Lookup(%#x) = %d before it was inserted", ptr, ref)
				}
				mustInsert(t, x, ptr, int32(i+1))
				want[ptr] = stored{int32(i + 1), tagOf(int32(i + 1))}
			}
			mustHold(t, x, want)
			for i, ptr := range ptrs {
				got, _, err := x.Insert(ptr, int32(len(ptrs)+1), 1)
				if err != nil || got != int32(i+1) {
					t.Fatalf("Insert(%#x) again = %d, %v; want %d", ptr, got, err, i+1)
				}
			}
			mustHold(t, x, want)
		})
		t.Run("insert=batch", func(t *testing.T) {
			x := s.open(t)
			refs := make([]int32, len(ptrs))
			if found := x.LookupBatch(ptrs, refs, nil); found != 0 {
				t.Fatalf("LookupBatch finds %d in an empty index", found)
			}
			used, err := x.InsertBatch(ptrs, 77, 1, refs)
			if used != len(ptrs) || err != nil {
				t.Fatalf("InsertBatch = %d, %v; want %d", used, err, len(ptrs))
			}
			want := make(map[uint64]stored, len(ptrs))
			for i, ptr := range ptrs {
				want[ptr] = stored{int32(i + 1), 77}
			}
			mustHold(t, x, want)
		})
		t.Run("insert=alone", func(t *testing.T) {
			for i := range ptrs {
				if i%5 != 0 {
					continue
				}
				x := s.open(t)
				mustInsert(t, x, ptrs[i], 1)
				if again := ptrs[(i+1)%len(ptrs)]; again != ptrs[i] {
					if ref, _ := x.Lookup(again); ref != 0 {
						t.Fatalf("with %#x in it alone, Lookup(%#x) = %d", ptrs[i], again, ref)
					}
				}
				mustHold(t, x, map[uint64]stored{ptrs[i]: {1, tagOf(1)}})
				x.Close()
			}
		})
	})
}

// Strides of every power of two, and between: slabs, pages, huge pages, arrays.
func TestG23_Strides(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		n := uint64(sized(800))
		for shift := range uint(52) {
			for _, stride := range []uint64{1 << shift, 3 << shift} {
				if stride*n/n != stride {
					continue
				}
				x := s.open(t)
				want := make(map[uint64]stored, n)
				for i := range n {
					ptr := 0x5500_0000_1000 + i*stride
					mustInsert(t, x, ptr, int32(i+1))
					want[ptr] = stored{int32(i + 1), tagOf(int32(i + 1))}
				}
				for ptr, w := range want {
					mustFind(t, x, ptr, w)
				}
				if got := x.Len(); got != len(want) {
					t.Fatalf("stride %#x: Len() = %d; want %d", stride, got, len(want))
				}
				x.Close()
			}
		}
	})
}

func TestG23_ZeroIsInvalid(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		x := s.open(t)
		want := make(map[uint64]stored)
		for i := range 500 {
			got, _, err := x.Insert(0, int32(i+1), 1)
			if got != 0 || !errors.Is(err, ErrInvalid) {
				t.Fatalf("Insert(0) = %d, %v; want 0, ErrInvalid", got, err)
			}
			if ref, _ := x.Lookup(0); ref != 0 {
				t.Fatalf("Lookup(0) = %d", ref)
			}
			refs := []int32{7, 7}
			if found := x.LookupBatch([]uint64{0, 0}, refs, nil); found != 0 || refs[0] != 0 || refs[1] != 0 {
				t.Fatalf("LookupBatch of zeros found %d: %v", found, refs)
			}
			mustInsert(t, x, s.address(i), int32(i+1))
			want[s.address(i)] = stored{int32(i + 1), tagOf(int32(i + 1))}
		}
		mustHold(t, x, want)
	})
}

// Numbers below 1 are refused, one by one and in batches, and change nothing.
func TestG23_NumbersBelowOneAreInvalid(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		x := s.open(t)
		mustInsert(t, x, s.address(0), 1)
		want := map[uint64]stored{s.address(0): {1, tagOf(1)}}
		for _, ptr := range []uint64{s.address(0), s.address(1), wideAddress(1)} {
			for _, ref := range []int32{0, -1, math.MinInt32} {
				if got, _, err := x.Insert(ptr, ref, 1); got != 0 || !errors.Is(err, ErrInvalid) {
					t.Errorf("Insert(%#x, %d) = %d, %v; want 0, ErrInvalid", ptr, ref, got, err)
				}
			}
		}
		for _, next := range []int32{-1, math.MinInt32} {
			refs := []int32{7, 7}
			used, err := x.InsertBatch([]uint64{s.address(1), s.address(2)}, 1, next, refs)
			if used != 0 || !errors.Is(err, ErrInvalid) || refs[0] != 0 || refs[1] != 0 {
				t.Errorf("InsertBatch from number %d = %d, %v, numbers %v; want 0, ErrInvalid, zeros", next, used, err, refs)
			}
		}
		mustHold(t, x, want)
	})
}

// A batch from number 0 must not tell that its first element was inserted: it has
// nothing that tells 0, "not inserted", from 0, the number.
func TestG23_BatchFromNumberZero(t *testing.T) {
	forEachSubject(t, func(t *testing.T, sub subject) {
		x := sub.open(t, Config{})
		ptrs := []uint64{heapAddress(1), heapAddress(2), heapAddress(3)}
		refs := make([]int32, len(ptrs))
		used, err := x.InsertBatch(ptrs, 1, 0, refs)
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("error %v; want ErrInvalid", err)
		}
		if n := x.Len(); used != n {
			t.Errorf("%d numbers used for %d entries; numbers %v", used, n, refs)
		}
	})
}

// The last numbers there are, and the one behind them.
func TestG4_NumbersEndAtMax(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		x := s.open(t)
		ptrs := []uint64{s.address(0), s.address(1), s.address(2), s.address(3)}
		refs := make([]int32, len(ptrs))
		used, err := x.InsertBatch(ptrs, 3, math.MaxInt32-1, refs)
		if used != 2 || !errors.Is(err, ErrInvalid) {
			t.Fatalf("InsertBatch = %d, %v; want 2 and ErrInvalid for the elements behind 2^31-1", used, err)
		}
		for i, want := range []int32{math.MaxInt32 - 1, math.MaxInt32, 0, 0} {
			if refs[i] != want {
				t.Errorf("element %d has number %d; want %d", i, refs[i], want)
			}
		}
		mustHold(t, x, map[uint64]stored{ptrs[0]: {math.MaxInt32 - 1, 3}, ptrs[1]: {math.MaxInt32, 3}})
	})
}

// Errors tell which address, and in batches which element, so that a user can act.
func TestErrorsNameTheCulprit(t *testing.T) {
	forEachSubject(t, func(t *testing.T, sub subject) {
		x := sub.open(t, Config{})
		_, _, err := x.Insert(0x1234, -5, 1)
		mustMention(t, err, "0x1234", "-5")
		_, err = x.InsertBatch([]uint64{1, 2, 0, 3, 0}, 1, 1, make([]int32, 5))
		mustMention(t, err, "element 2", "element 4", "address 0")
		long := make([]uint64, 3*batchBlock)
		for i := range long {
			long[i] = heapAddress(i)
		}
		long[2*batchBlock+1] = 0
		_, err = x.InsertBatch(long, 1, 100, make([]int32, len(long)))
		mustMention(t, err, fmt.Sprintf("element %d:", 2*batchBlock+1))
		x.Close()
		_, _, err = x.Insert(0x1234, 5, 1)
		mustMention(t, err, "0x1234", "closed")
	})
}

func mustMention(t *testing.T, err error, words ...string) {
	t.Helper()
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("error %q does not mention %q", err, word)
		}
	}
}
