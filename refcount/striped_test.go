package refcount

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/objhash/objhash/internal/region"
)

func newTestStriped(t *testing.T, cells int, last int32, zero func(int32)) *stripedCounter {
	t.Helper()
	a := region.NewArena(nil)
	t.Cleanup(a.Close)
	c := newStriped(Config{Arena: a, Zero: zero}, cells)
	if err := c.Grow(1, last); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *stripedCounter) hasRow(ref int32) bool { return isInflated(atomic.LoadUint32(c.at(ref))) }

func TestStriped_cellsFollowThreads(t *testing.T) {
	for threads, want := range map[int]int{1: 2, 2: 2, 3: 4, 4: 4, 5: 8, 16: 16, 48: 64, 64: 64, 1_000: 64} {
		c := newTestStriped(t, threads, 1, nil)
		h := c.Handle()
		h.Inc(1)
		c.inflate(1, c.at(1))
		cells := map[*uint64]bool{}
		for range 2 * want {
			h := c.Handle().(*stripedHandle)
			cell := c.inRow(1, h.cell)
			if uintptr(unsafe.Pointer(cell))%64 != 0 {
				t.Fatalf("%d threads: cell at %p is not at the start of a cache line", threads, cell)
			}
			cells[cell] = true
		}
		if len(cells) != want {
			t.Errorf("%d threads: handles use %d cells; want %d", threads, len(cells), want)
		}
	}
	if n := unsafe.Sizeof(stripedHandle{}); n > stripedHandleBytes || n <= 48 {
		t.Errorf("a handle takes %d bytes; want a cache line", n)
	}
}

func TestStriped_rowHasTheCount(t *testing.T) {
	c := newTestStriped(t, 4, 64, nil)
	var handles []Handle
	for range 9 {
		handles = append(handles, c.Handle())
	}
	want := int64(0)
	count := func(h Handle, incs int) {
		t.Helper()
		for ; incs > 0; incs-- {
			h.Inc(7)
			want++
		}
		for ; incs < 0; incs++ {
			h.Dec(7)
			want--
		}
		if got := c.Count(7); got != want {
			t.Fatalf("Count = %d; want %d", got, want)
		}
	}
	count(handles[0], 5)
	c.inflate(7, c.at(7))
	count(handles[0], 0)
	if !c.hasRow(7) {
		t.Fatal("not inflated")
	}
	c.inflate(7, c.at(7)) // has one
	if c.made != 1 || c.free != 0 {
		t.Errorf("%d rows made, first free one is %d; want one, in use", c.made, c.free)
	}
	for i, h := range handles {
		count(h, 3*i)
		if !h.TryInc(7) {
			t.Fatal("TryInc refuses")
		}
		want++
	}
	count(handles[3], -100) // below 0 in its cell
	count(handles[2], int(3-want))
	count(handles[1], -3)
	handles[1].Dec(7) // one too many
	if got := c.Count(7); got != 0 {
		t.Errorf("Count = %d with more decrements than increments; want 0", got)
	}
	atomic.StoreUint64(c.inRow(1, 0), 1<<40)
	if got := c.Count(7); got != countMax {
		t.Errorf("Count = %d beyond the largest one", got)
	}
	for _, ref := range []int32{6, 8, 0, -7} {
		if got := c.Count(ref); got != 0 {
			t.Errorf("Count(%d) = %d; want 0", ref, got)
		}
	}
}

// An add that comes while an object is given its row is in the count.
func TestStriped_inflationLosesNothing(t *testing.T) {
	const objects, rounds, threads = 64, 100, 8
	for _, inflate := range []bool{false, true} {
		t.Run(fmt.Sprintf("inflate=%t", inflate), func(t *testing.T) {
			c := newTestStriped(t, 4, objects, nil)
			var wg sync.WaitGroup
			for range threads {
				wg.Go(func() {
					h := c.Handle()
					defer h.Close()
					for range rounds {
						for ref := int32(1); ref <= objects; ref++ {
							h.Inc(ref)
							h.TryInc(ref)
							h.Dec(ref)
						}
					}
				})
			}
			for ref := int32(1); ref <= objects && inflate; ref++ {
				for !c.hasRow(ref) {
					runtime.Gosched() // until it has users
					c.inflate(ref, c.at(ref))
				}
			}
			wg.Wait()
			for ref := int32(1); ref <= objects; ref++ {
				if got := c.Count(ref); got != threads*rounds {
					t.Fatalf("Count(%d) = %d; want %d", ref, got, threads*rounds)
				}
			}
		})
	}
}

func TestStriped_saturates(t *testing.T) {
	c := newTestStriped(t, 2, 64, nil)
	h := c.Handle()
	for _, inc := range []func(int32){h.Inc, func(ref int32) { h.TryInc(ref) }} {
		atomic.StoreUint32(c.at(7), countMax-1)
		for _, op := range []func(int32){inc, inc, inc, h.Dec, h.Dec} {
			if op(7); c.Count(7) != countMax {
				t.Fatalf("Count = %d; want %d", c.Count(7), countMax)
			}
		}
	}
	if got := c.Count(100_000); got != 0 {
		t.Errorf("Count = %d without room", got)
	}
}

// What has no users, or no count, gets no row.
func TestStriped_whatIsNotInflated(t *testing.T) {
	c := newTestStriped(t, 2, 64, func(int32) {})
	h := c.Handle()
	h.Inc(2)
	h.Dec(2)
	atomic.StoreUint32(c.at(3), saturatedWord)
	for ref, want := range []int64{1: 0, 2: 0, 3: countMax} {
		c.inflate(int32(ref), c.at(int32(ref)))
		if got := c.Count(int32(ref)); got != want {
			t.Errorf("Count(%d) = %d; want %d", ref, got, want)
		}
	}
	if c.made != 0 {
		t.Errorf("%d rows; want none", c.made)
	}
	if !h.TryInc(1) || h.TryInc(2) || !h.TryInc(3) {
		t.Error("TryInc: want it to refuse the dead object alone")
	}
}

func TestStriped_onlyHotObjectsTakeMemory(t *testing.T) {
	const objects, threads = 10_000, 4
	c := newTestStriped(t, 16, objects, nil)
	before := c.Bytes()
	var wg sync.WaitGroup
	for w := range int32(threads) {
		wg.Go(func() {
			h := c.Handle()
			defer h.Close()
			for range 3 {
				for ref := w + 1; ref <= objects; ref += threads {
					h.Inc(ref)
				}
			}
		})
	}
	wg.Wait()
	if c.made != 0 || c.Bytes() != before {
		t.Errorf("%d rows, %d more bytes, but no two threads met", c.made, c.Bytes()-before)
	}
	const hot = 20
	for ref := int32(1); ref <= hot; ref++ {
		c.inflate(ref, c.at(ref))
	}
	if c.made != hot {
		t.Errorf("%d rows; want %d", c.made, hot)
	}
	if more, rows := c.Bytes()-before, int64(hot*16*64); more < rows || more > rows*3/2 {
		t.Errorf("%d bytes for rows of %d bytes", more, rows)
	}
	open := c.Bytes()
	h := c.Handle()
	if got := c.Bytes() - open; got != stripedHandleBytes {
		t.Errorf("a handle adds %d bytes", got)
	}
	h.Close()
	h.Close()
	if got := c.Bytes() - open; got != 0 {
		t.Errorf("a closed handle adds %d bytes", got)
	}
}

func TestStriped_memoryRefused(t *testing.T) {
	const limit = 64 << 10
	a := region.NewArena(region.NewBudget(limit))
	defer a.Close()
	c := newStriped(Config{Arena: a}, 2)
	if err := c.Grow(1, 64); err != nil {
		t.Fatal(err)
	}
	h := c.Handle()
	h.Inc(1)
	rest := limit - a.Used()
	if err := a.Charge(rest); err != nil {
		t.Fatal(err)
	}
	c.inflate(1, c.at(1))
	if allocs := testing.AllocsPerRun(100, func() {
		c.inflate(1, c.at(1))
		h.Inc(1)
	}); allocs != 0 {
		t.Errorf("%.1f allocations for each refusal", allocs)
	}
	a.Discharge(rest)
	c.inflate(1, c.at(1))
	if c.hasRow(1) {
		t.Error("memory was asked for again before the barrier")
	}
	if got := c.Count(1); got != 102 {
		t.Errorf("Count = %d; want 102", got)
	}
	c.Barrier()
	c.inflate(1, c.at(1))
	if got := c.Count(1); got != 102 || !c.hasRow(1) {
		t.Errorf("Count = %d, inflated: %t; want 102, true", got, c.hasRow(1))
	}
	if allocs := testing.AllocsPerRun(100, func() {
		h.Inc(1)
		h.TryInc(1)
		h.Dec(1)
	}); allocs != 0 {
		t.Errorf("%.1f allocations for each round", allocs)
	}

	c.made = rowWordsMax>>c.rowShift - 1
	h.Inc(2)
	c.inflate(2, c.at(2))
	if c.hasRow(2) {
		t.Error("there are more rows than numbers")
	}
}

// Nobody waits for a thread that is stopped while it gives out a row.
func TestStriped_inflationDoesNotWait(t *testing.T) {
	c := newTestStriped(t, 2, 64, nil)
	h := c.Handle()
	h.Inc(1)
	c.mu.Lock()
	c.inflate(1, c.at(1))
	h.Inc(1)
	c.mu.Unlock()
	if got := c.Count(1); got != 2 || c.hasRow(1) {
		t.Errorf("Count = %d, inflated: %t; want 2, false", got, c.hasRow(1))
	}
}

func TestStriped_deaths(t *testing.T) {
	var told []int32
	var c *stripedCounter
	c = newTestStriped(t, 4, 64, func(ref int32) {
		told = append(told, ref)
		if got := c.Count(ref); got != 0 || c.Handle().TryInc(ref) {
			t.Errorf("object %d is told dead with count %d, or may be used", ref, got)
		}
		if ref == 5 {
			panic(ref)
		}
	})
	h, other := c.Handle(), c.Handle()
	for ref := int32(1); ref <= 8; ref++ {
		h.Inc(ref)
		h.Inc(ref)
		if ref > 3 {
			c.inflate(ref, c.at(ref))
		}
	}
	for ref := int32(1); ref <= 7; ref++ { // 8 stays
		other.Dec(ref)
		h.Dec(ref)
	}
	if want := []int32{1, 2, 3}; !slices.Equal(told, want) {
		t.Errorf("told %v at once; want %v", told, want)
	}
	if !h.TryInc(7) { // not dead yet
		t.Error("TryInc refuses an object that is not dead")
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic of Zero is lost")
			}
		}()
		c.Barrier()
	}()
	c.Barrier()
	if want := []int32{1, 2, 3, 4, 5, 6}; !slices.Equal(told, want) {
		t.Errorf("told %v; want %v", told, want)
	}
	for _, ref := range told {
		h.Inc(ref)
		h.Dec(ref)
		h.Dec(ref)
		if got := c.Count(ref); got != 0 || h.TryInc(ref) {
			t.Errorf("dead object %d counts %d, or may be used", ref, got)
		}
	}

	// The rows of the dead go to others, empty.
	for ref := int32(11); ref <= 14; ref++ {
		h.Inc(ref)
		c.inflate(ref, c.at(ref))
		if got := c.Count(ref); got != 1 || !c.hasRow(ref) {
			t.Errorf("Count(%d) = %d, inflated: %t; want 1, true", ref, got, c.hasRow(ref))
		}
	}
	if c.made != 6 {
		t.Errorf("%d rows; want 6: 5 at first, 3 of them used again, and one more", c.made)
	}
	h.Dec(7)
	h.Dec(14)
	c.Barrier()
	if want := []int32{1, 2, 3, 4, 5, 6}; !slices.Equal(told[:6], want) || len(told) != 8 {
		t.Errorf("told %v; want %v, then 7 and 14", told, want)
	}
	if got := c.Count(8) + c.Count(11) + c.Count(12) + c.Count(13); got != 5 {
		t.Errorf("the live have %d users; want 5", got)
	}
}
