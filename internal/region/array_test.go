package region

import (
	"errors"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"
)

// Segments follow each other without gap or overlap, from element 0 to beyond the
// largest objref.
func TestSegmentsAreDense(t *testing.T) {
	next, number := uint64(0), 0
	for next <= math.MaxInt32 {
		i := uint32(next)
		first, last := Segment(i)
		if first != i || last < first {
			t.Fatalf("Segment(%d) = %d, %d", i, first, last)
		}
		for _, j := range []uint32{first, first + (last-first)/2, last} {
			if f, l := Segment(j); f != first || l != last || SegmentNumber(j) != number {
				t.Fatalf("element %d: segment %d, %d to %d; want %d, %d to %d", j, SegmentNumber(j), f, l, number, first, last)
			}
		}
		if size := last - first + 1; size != segmentLen(uint(number)) {
			t.Fatalf("segment %d has %d elements; want %d", number, size, segmentLen(uint(number)))
		}
		next = uint64(last) + 1
		number++
	}
	if number > Segments {
		t.Errorf("%d segments up to 2^31-1; there is room for %d", number, Segments)
	}
	for i := range uint32(1 << 16) {
		seg, off := locate(i)
		if first, _ := Segment(i); first+off != i || int(seg) != SegmentNumber(i) {
			t.Fatalf("locate(%d) = %d, %d", i, seg, off)
		}
	}
}

// A run ends where it should, or where its segment does, and is the elements themselves.
func TestRun(t *testing.T) {
	a := NewArena(nil)
	defer a.Close()
	x := NewArray[uint64](a)
	if err := x.Grow(0, 5000); err != nil {
		t.Fatal(err)
	}
	for first := uint32(1); first < 2000; first += 13 {
		for _, n := range []uint32{1, 2, 64, 127, 128, 129, 3000} {
			run := x.Run(first, first+n-1)
			_, last := Segment(first)
			if want := min(n, last-first+1); len(run) != int(want) || cap(run) != len(run) {
				t.Fatalf("Run(%d, %d) has %d elements, room for %d; want %d", first, first+n-1, len(run), cap(run), want)
			}
			for i := range run {
				if &run[i] != x.At(first+uint32(i)) {
					t.Fatalf("Run(%d, %d): element %d is another one", first, first+n-1, i)
				}
			}
		}
	}
}

// However many elements are in use, at most a ninth of the array is not, counting the
// 1024 that it is biased by.
func TestArrayWastesAtMostANinth(t *testing.T) {
	for n := uint64(1); n < math.MaxInt32; n += n/100 + 1 {
		_, last := Segment(uint32(n - 1))
		if room := uint64(last) + 1; (room-n)*9 > room+arrayBias {
			t.Errorf("%d elements: room for %d", n, room)
		}
	}
}

func testArray[T uint8 | uint32 | uint64](t *testing.T) {
	a := NewArena(nil)
	defer a.Close()
	x := NewArray[T](a)
	const n = 50_000
	for _, i := range []uint32{0, 1, 127, 128, n, math.MaxInt32} {
		if x.At(i) != nil {
			t.Fatalf("At(%d) of an empty array is not nil", i)
		}
	}
	where := make(map[*T]bool)
	for i := uint32(0); i < n; i++ {
		if p := x.At(i); p == nil {
			if first, _ := Segment(i); first != i {
				t.Fatalf("At(%d) is nil in the middle of a segment", i)
			}
			if err := x.Grow(i, i); err != nil {
				t.Fatal(err)
			}
		}
		p := x.At(i)
		if p == nil || *p != 0 || where[p] || p != x.Made(i) || uintptr(unsafe.Pointer(p))%unsafe.Sizeof(*p) != 0 {
			t.Fatalf("At(%d) = %p", i, p)
		}
		where[p] = true
		*p = T(i) + 1
	}
	if err := x.Grow(0, 2*n); err != nil { // made segments stay as they are
		t.Fatal(err)
	}
	for i := range uint32(n) {
		if p := x.At(i); !where[p] || *p != T(i)+1 {
			t.Fatalf("element %d moved or changed", i)
		}
	}
	if x.At(2*n) == nil {
		t.Errorf("At(%d) is nil after Grow", 2*n)
	}
	if x.At(1<<30) != nil {
		t.Error("At(2^30) is not nil")
	}
	runtime.KeepAlive(a)
}

func TestArray(t *testing.T) {
	t.Run("word=uint8", testArray[uint8])
	t.Run("word=uint32", testArray[uint32])
	t.Run("word=uint64", testArray[uint64])
}

// A sparse array costs the segments that are in use.
func TestArrayIsSparse(t *testing.T) {
	a := NewArena(nil)
	defer a.Close()
	x := NewArray[uint32](a)
	for _, i := range []uint32{1 << 20, 0} {
		if err := x.Grow(i, i); err != nil {
			t.Fatal(err)
		}
		*x.At(i) = i + 1
	}
	for _, i := range []uint32{1 << 20, 0} {
		if *x.At(i) != i+1 {
			t.Errorf("element %d = %d", i, *x.At(i))
		}
	}
	if x.At(1<<19) != nil || a.Used() > 2<<20 {
		t.Errorf("%d bytes for two elements far apart", a.Used())
	}
}

// On an error the segments made so far stay, and the array can grow on when there is
// memory again.
func TestArrayBeyondTheBudget(t *testing.T) {
	b := NewBudget(64 << 10)
	a := NewArena(b)
	defer a.Close()
	x := NewArray[uint64](a)
	if err := x.Grow(0, 1<<20); !errors.Is(err, ErrBudget) {
		t.Fatalf("2^20 elements in 64 KiB: %v", err)
	}
	made := uint32(0)
	for x.At(made) != nil {
		*x.At(made) = uint64(made)
		made++
	}
	if made < 4000 {
		t.Errorf("%d elements in 64 KiB", made)
	}
	if err := x.Grow(0, made-1); err != nil {
		t.Errorf("elements that are there: %v", err)
	}
	for i := range made {
		if *x.At(i) != uint64(i) {
			t.Fatalf("element %d = %d", i, *x.At(i))
		}
	}
	a.Close()
	if err := NewArray[uint64](a).Grow(0, 0); !errors.Is(err, ErrClosed) {
		t.Errorf("Grow in a closed arena: %v", err)
	}
}

// The last element that can be an objref, where its segment alone is larger than a
// 32-bit machine's memory.
func TestArrayOfTheLargestObjref(t *testing.T) {
	for _, i := range []uint32{math.MaxInt32, math.MaxInt32 - 511, 1 << 30} {
		b := NewBudget(1 << 20)
		x := NewArray[uint64](NewArena(b))
		if err := x.Grow(i, i); !errors.Is(err, ErrBudget) {
			t.Errorf("element %d in 1 MiB: %v; want ErrBudget", i, err)
		}
		if x.At(i) != nil || b.Used() != 0 {
			t.Errorf("element %d: there, with %d bytes in use", i, b.Used())
		}
	}
}

// Whoever sees a segment sees it filled.
func TestGrowFilled(t *testing.T) {
	a := NewArena(nil)
	defer a.Close()
	x := NewArray[uint64](a)
	fills := 0
	for _, i := range []uint32{500, 300, 600, 90, 100_000} {
		first, last := Segment(i)
		err := x.GrowFilled(i, func(at func(uint32) *uint64) {
			fills++
			for j := first; j <= last; j++ {
				if *at(j) != 0 {
					t.Errorf("element %d = %d before it is filled", j, *at(j))
				}
				*at(j) = uint64(j) + 7
			}
			if x.At(i) != nil {
				t.Errorf("segment of element %d is seen before it is filled", i)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		for j := first; j <= last; j++ {
			if *x.At(j) != uint64(j)+7 {
				t.Fatalf("element %d = %d", j, *x.At(j))
			}
		}
		if err := x.GrowFilled(i, func(func(uint32) *uint64) { t.Errorf("segment of element %d is filled twice", i) }); err != nil {
			t.Fatal(err)
		}
	}
	if fills != 5 {
		t.Errorf("%d segments filled; want 5", fills)
	}
}

// Threads grow an array together: each segment is made once, nobody sees it before it is
// filled, and no element is lost.
func TestArrayConcurrently(t *testing.T) {
	old := runtime.GOMAXPROCS(4 * runtime.NumCPU())
	defer runtime.GOMAXPROCS(old)
	const workers, n, filled = 4, 30_000, 1 << 40
	rounds := 20
	if testing.Short() || !canMap {
		rounds = 3
	}
	for range rounds {
		a := NewArena(nil)
		x := NewArray[uint64](a)
		var wg sync.WaitGroup
		var fills [Segments]atomic.Int32
		for w := range uint32(workers) {
			wg.Go(func() {
				for i := w; i < n; i += 1 + w%2 {
					if p := x.At(i); p != nil && atomic.LoadUint64(p) < filled {
						t.Errorf("element %d is seen before its segment is filled", i)
						return
					}
					err := x.GrowFilled(i, func(at func(uint32) *uint64) {
						fills[SegmentNumber(i)].Add(1)
						first, last := Segment(i)
						for j := first; j <= last; j++ {
							*at(j) = filled
						}
					})
					if err != nil {
						t.Error(err)
						return
					}
					atomic.AddUint64(x.At(i), 1)
				}
			})
		}
		wg.Wait()
		for i := range uint32(n) {
			want := uint64(filled)
			for w := range uint32(workers) {
				if i >= w && (i-w)%(1+w%2) == 0 {
					want++
				}
			}
			if got := *x.At(i); got != want {
				t.Fatalf("element %d = %#x; want %#x", i, got, want)
			}
		}
		for s := range fills {
			if k := fills[s].Load(); k > 1 {
				t.Fatalf("segment %d was made %d times", s, k)
			}
		}
		a.Close()
	}
}
