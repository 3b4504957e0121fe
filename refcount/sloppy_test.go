package refcount

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/objhash/objhash/internal/region"
)

// sparesOf returns how many spares of ref the handle has.
func (h *SloppyHandle) sparesOf(ref int32) uint32 {
	if ref > h.room {
		return 0
	}
	w, shift := h.spares.at(ref)
	return atomic.LoadUint32(w) >> shift & 0xff
}

func TestSloppy_sparesAreTakenAndReturned(t *testing.T) {
	counter, died := newMortal(t, Sloppy{}, 64)
	c := counter.(*sloppyCounter)
	h, other := c.Handle().(*SloppyHandle), c.Handle().(*SloppyHandle)
	want := func(central, spares, others uint32) {
		t.Helper()
		if v, n, o := atomic.LoadUint32(c.at(7)), h.sparesOf(7), other.sparesOf(7); v != central || n != spares || o != others {
			t.Errorf("central %d, spares %d and %d; want %d, %d and %d", v, n, o, central, spares, others)
		}
		if central <= countMax {
			wantCounted(t, c, 7, int64(central)-int64(spares)-int64(others))
		}
	}
	want(0, 0, 0)
	h.Inc(7)
	want(8, 7, 0)
	repeat(7, h.Inc, 7)
	want(8, 0, 0)
	h.Inc(7)
	want(16, 7, 0)
	repeat(8, other.Inc, 7)
	want(24, 7, 0)
	repeat(9, h.Dec, 7)
	want(24, 16, 0)
	h.Dec(7) // one more than it may keep
	want(16, 9, 0)
	other.Dec(7)
	want(16, 9, 1)
	h.Flush()
	want(7, 0, 1)
	repeat(6, other.Dec, 7)
	want(7, 0, 7)
	if !h.TryInc(7) { // no users, but spares: not dead yet
		t.Error("TryInc refuses what is not dead")
	}
	want(15, 7, 7)
	h.Dec(7)
	h.Close()
	died.want()
	other.Close()
	died.want(7)
	want(deadWord, 0, 0)
	for _, h := range []Handle{c.Handle(), h} {
		if h.TryInc(7) {
			t.Error("TryInc revives the dead")
		}
		h.Inc(7)
		h.Dec(7)
		h.Close()
		wantCounted(t, c, 7, 0)
	}
	died.want()
}

// A flush finds every spare, wherever the objref is, and none of the neighbours.
func TestSloppy_flushFindsAllSpares(t *testing.T) {
	const last = 40_000
	refs := []int32{1, 3, 4, 5, 127, 128, 4095, 4096, 4097, 8191, 8192, 12_345, last - 1, last}
	counter, died := newMortal(t, Sloppy{}, last)
	c := counter.(*sloppyCounter)
	h := c.Handle().(*SloppyHandle)
	for range 3 {
		for _, ref := range refs {
			h.Inc(ref)
		}
		h.Flush()
		for i := range uint32(h.room)/groupLen*groupWords + groupWords {
			if *h.spares.dirty.Made(i) != 0 {
				t.Fatalf("word %d of dirty is not 0 after a flush", i)
			}
		}
		for ref := range int32(last + 1) {
			if n := h.sparesOf(ref); n != 0 {
				t.Fatalf("%d spares of %d after a flush", n, ref)
			}
		}
	}
	for _, ref := range refs {
		if v := atomic.LoadUint32(c.at(ref)); v != 3 {
			t.Errorf("central word of %d: %d; want 3", ref, v)
		}
		repeat(3, h.Dec, ref)
	}
	died.want()
	h.Close()
	died.want(refs...)
}

// Handles that are open at the same time have spares of their own, however many there
// are, and later ones use those again.
func TestSloppy_sparesAreReused(t *testing.T) {
	counter, _ := newCounter(t, Sloppy{}, 0)
	c := counter.(*sloppyCounter)
	grow(t, c, 1, 64)
	var bytes int64
	for round := range 3 {
		of := map[*spares]bool{}
		var open []*SloppyHandle
		for range 20 {
			h := c.Handle().(*SloppyHandle)
			if h.spares != nil {
				t.Error("a handle has spares before it needs any")
			}
			h.Inc(5)
			if of[h.spares] {
				t.Error("two handles have the same spares")
			}
			of[h.spares] = true
			open = append(open, h)
		}
		if round == 0 {
			bytes = c.Bytes()
		}
		if got := c.Bytes(); got != bytes {
			t.Errorf("round %d: %d bytes; want %d", round, got, bytes)
		}
		for _, h := range open {
			h.Close()
		}
		wantCounted(t, c, 5, int64(20*(round+1)))
	}
	if got, want := c.Bytes(), bytes-20*sloppyHandleBytes; got != want {
		t.Errorf("%d bytes with all handles closed; want %d", got, want)
	}
}

// Where there is no memory for spares, the central words do.
func TestSloppy_withoutMemoryForSpares(t *testing.T) {
	budget := region.NewBudget(0)
	a := region.NewArena(budget)
	defer a.Close()
	died := &deaths{t: t, told: map[int32]int{}}
	c, err := Sloppy{}.New(Config{Arena: a, Zero: died.zero})
	if err != nil {
		t.Fatal(err)
	}
	grow(t, c, 1, 10_000)
	h := c.Handle().(*SloppyHandle)
	h.Inc(1)
	if h.sparesOf(1) != batch-1 {
		t.Fatal("no spares with memory for them")
	}
	a.Close() // no more memory
	for range 3 {
		h.Inc(9_999)
		if !h.TryInc(9_999) || !h.refused {
			t.Error("TryInc refuses what is not dead")
		}
		h.Dec(9_999)
		h.Inc(1)
	}
	wantCounted(t, c, 9_999, 3)
	wantCounted(t, c, 1, 4)
	h.Flush()
	repeat(3, h.Dec, 9_999)
	died.want(9_999) // at once
	other := c.Handle()
	repeat(4, other.Dec, 1)
	other.Flush() // has nothing to flush
	h.Close()
	other.Close()
	died.want(1)
}

func TestSloppy_saturatesForEver(t *testing.T) {
	counter, died := newMortal(t, Sloppy{}, 64)
	c := counter.(*sloppyCounter)
	h, other := c.Handle().(*SloppyHandle), c.Handle().(*SloppyHandle)
	repeat(3, other.Inc, 7) // 5 spares
	atomic.StoreUint32(c.at(7), batchMax-1)
	h.Inc(7) // the last batch
	wantCounted(t, c, 7, batchMax-1+1-5)
	repeat(7, h.Inc, 7)
	h.Inc(7) // from here on one by one
	if n := h.sparesOf(7); n != 0 {
		t.Errorf("%d spares near the end", n)
	}
	wantCounted(t, c, 7, batchMax+8-5)

	atomic.StoreUint32(c.at(7), countMax-2)
	repeat(2, h.Inc, 7)
	wantCounted(t, c, 7, countMax-5)
	repeat(5, other.Inc, 7)
	wantCounted(t, c, 7, countMax)
	repeat(3, other.Dec, 7)
	wantCounted(t, c, 7, countMax-3)
	repeat(4, h.Inc, 7)
	for _, h := range []*SloppyHandle{other, h, c.Handle().(*SloppyHandle)} {
		for range 3 {
			if !h.TryInc(7) {
				t.Error("TryInc refuses what is saturated")
			}
			repeat(100, h.Inc, 7)
			repeat(200, h.Dec, 7)
			h.Flush()
			wantCounted(t, c, 7, math.MaxInt32)
		}
		h.Close()
		wantCounted(t, c, 7, math.MaxInt32)
	}
	died.want()

	// Whatever a batch leads to is mended.
	for v, want := range map[uint32]uint32{
		batchMax: batchMax + 1, countMax: saturatedWord, 1 << 31: saturatedWord,
		saturatedWord: saturatedWord, deadWord: deadWord, deadWord - 1000: deadWord,
	} {
		atomic.StoreUint32(c.at(8), v)
		extra, ok := c.take(8)
		if got := atomic.LoadUint32(c.at(8)); got != want || extra != 0 || ok != (want != deadWord) {
			t.Errorf("take at %#x: %d spares, %t, leads to %#x; want %#x", v, extra, ok, got, want)
		}
	}
}

// More decrements than increments make a count 0, which is death, once.
func TestSloppy_decrementsTooMany(t *testing.T) {
	c, died := newMortal(t, Sloppy{}, 64)
	h, other := c.Handle(), c.Handle()
	h.Dec(7) // not born
	h.Flush()
	wantCounted(t, c, 7, 0)
	died.want()
	h.Inc(7)
	repeat(3, other.Dec, 7)
	wantCounted(t, c, 7, 0)
	other.Flush()
	h.Flush()
	wantCounted(t, c, 7, 0)
	died.want(7)
	other.Dec(7)
	if other.TryInc(7) {
		t.Error("TryInc revives the dead")
	}
}

func TestSloppy_hotObjectOfManyThreads(t *testing.T) {
	const threads, each = 8, 5_000
	c, died := newMortal(t, Sloppy{}, 64)
	keep := c.Handle()
	keep.Inc(7)
	var wg sync.WaitGroup
	for range threads {
		wg.Go(func() {
			h := c.Handle()
			defer h.Close()
			for range each {
				repeat(3, h.Inc, 7)
				repeat(2, h.Dec, 7)
			}
		})
	}
	wg.Wait()
	wantCounted(t, c, 7, threads*each+1)
	repeat(threads*each+1, keep.Dec, 7)
	died.want()
	keep.Flush()
	died.want(7)
}

func TestSloppy_handleSize(t *testing.T) {
	if n := unsafe.Sizeof(SloppyHandle{}); n != sloppyHandleBytes {
		t.Errorf("a handle has %d bytes; want %d", n, sloppyHandleBytes)
	}
}
