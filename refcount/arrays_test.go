package refcount

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/objhash/objhash/internal/region"
)

func newTestArrays(t *testing.T, limit int64, last int32, zero func(int32)) *arraysCounter {
	t.Helper()
	a := region.NewArena(region.NewBudget(limit))
	t.Cleanup(a.Close)
	c, err := Arrays{}.New(Config{Arena: a, Zero: zero})
	if err == nil {
		err = c.Grow(1, last)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c.(*arraysCounter)
}

// parts returns what is in the shared word of ref, and in each array.
func (c *arraysCounter) parts(ref int32) []int32 {
	parts := []int32{int32(atomic.LoadUint32(c.shared.Made(uint32(ref))))}
	for _, o := range c.all() {
		v := int32(0)
		if w := o.cells.At(uint32(ref)); w != nil {
			v = int32(atomic.LoadUint32(w))
		}
		parts = append(parts, v)
	}
	return parts
}

func TestArrays_carry(t *testing.T) {
	const full = arraysCarry
	c := newTestArrays(t, 0, 64, nil)
	a, b, d := c.Handle(), c.Handle(), c.Handle()
	count := int64(0)
	step := func(h Handle, incs int, want ...int32) {
		t.Helper()
		for ; incs > 0; incs-- {
			h.Inc(7)
			count++
			if got := c.Count(7); got != count {
				t.Fatalf("Count = %d; want %d", got, count)
			}
		}
		for ; incs < 0; incs++ {
			h.Dec(7)
			count--
			if got := c.Count(7); got != count {
				t.Fatalf("Count = %d; want %d", got, count)
			}
		}
		if got := c.parts(7); !slices.Equal(got, want) {
			t.Fatalf("the shared word and the arrays have %v; want %v", got, want)
		}
	}
	step(a, full-1, 0, full-1)
	step(b, full-1, 0, full-1, full-1)
	step(d, 1-full, 0, full-1, full-1, 1-full)
	step(d, -1, -full, full-1, full-1, 0) // the shared word is below 0
	step(d, 2-full, -full, full-1, full-1, 2-full)
	step(a, 1, 0, 0, full-1, 2-full)
	step(a, full, full, 0, full-1, 2-full)
	step(a, -1, full, -1, full-1, 2-full)
	if got := c.Count(6) + c.Count(8); got != 0 {
		t.Errorf("the neighbours have %d users", got)
	}
	a.Dec(9)
	if got := c.Count(9); got != 0 {
		t.Errorf("Count = %d with more decrements than increments; want 0", got)
	}
}

func TestArrays_saturate(t *testing.T) {
	c := newTestArrays(t, 0, 64, nil)
	h := c.Handle()
	atomic.StoreUint32(c.shared.Made(7), countMax-2)
	for range arraysCarry + 1 {
		h.Inc(7)
		if got := c.Count(7); got < countMax-1 || got > countMax {
			t.Fatalf("Count = %d", got)
		}
	}
	for range 3 * arraysCarry {
		h.Dec(7)
	}
	if got := c.Count(7); got != countMax {
		t.Errorf("Count = %d; want it to stay at %d", got, countMax)
	}
	// The least that a shared word can be.
	atomic.StoreUint32(c.shared.Made(8), belowZeroMin+arraysCarry)
	addShared(c.shared.Made(8), -arraysCarry)
	if got := c.Count(8); got != 0 {
		t.Errorf("Count = %d; want 0", got)
	}
}

// An array goes to later handles with what is in it, and to one at a time.
func TestArrays_goFromHandleToHandle(t *testing.T) {
	const objects, handles = 300, 1_000
	c := newTestArrays(t, 0, objects, nil)
	for i := range int32(handles) {
		h := c.Handle()
		h.Inc(i%objects + 1)
		if i%2 == 0 {
			h.Inc(1)
		}
		h.Close()
		h.Close()
	}
	if n := len(c.all()); n != 1 {
		t.Errorf("%d arrays for handles that were open one after another; want 1", n)
	}
	if got := c.Count(1); got != handles/2+4 {
		t.Errorf("Count(1) = %d; want %d", got, handles/2+4)
	}
	if got := c.Count(2); got != 4 {
		t.Errorf("Count(2) = %d; want 4", got)
	}

	of := map[*ownCounts]bool{}
	var open []Handle
	for range 10 {
		c.Handle().Flush() // takes none
		h := c.Handle()
		open = append(open, h)
		h.Inc(2)
		if of[h.(*arraysHandle).own] {
			t.Fatal("two open handles have the same array")
		}
		of[h.(*arraysHandle).own] = true
	}
	for _, h := range open {
		h.Close()
		h.Inc(2) // at once, in the shared word
	}
	if got := c.parts(2)[0]; got != 10 {
		t.Errorf("closed handles added %d to the shared word; want 10", got)
	}
	if n, got := len(c.all()), c.Count(2); n != 10 || got != 24 {
		t.Errorf("%d arrays, Count = %d; want 10, 24", n, got)
	}
}

func TestArrays_memoryFollowsWhatIsTouched(t *testing.T) {
	const objects, handles = 300, 1_000
	if n := unsafe.Sizeof(arraysHandle{}); n > arraysHandleBytes || n <= 48 {
		t.Errorf("a handle takes %d bytes; want a cache line", n)
	}
	if n := unsafe.Sizeof(region.Array[uint32]{}) + unsafe.Sizeof(ownCounts{}); n > arrayHeadBytes {
		t.Errorf("an array takes %d bytes without segments; Bytes says %d", n, arrayHeadBytes)
	}
	c := newTestArrays(t, 0, 1_000_000, nil)
	before := c.Bytes()
	var open []Handle
	for range handles {
		h := c.Handle()
		open = append(open, h)
		for ref := int32(1); ref <= objects; ref++ {
			h.Inc(ref)
		}
	}
	each := int64(Arrays{}.Traits().PerHandle + (objects+128)*4)
	if got := (c.Bytes() - before) / handles; got > each {
		t.Errorf("%d bytes for each handle that counted %d of a million objects; want %d at most", got, objects, each)
	}
	full := c.Bytes()
	for _, h := range open {
		h.Close()
	}
	if got := full - c.Bytes(); got != handles*arraysHandleBytes {
		t.Errorf("%d bytes less with all handles closed; want %d", got, handles*arraysHandleBytes)
	}
	h := c.Handle()
	h.Inc(1_000_000)
	first, last := region.Segment(1_000_000)
	want := int64(last-first+1)*4 + arraysHandleBytes
	if got := c.Bytes() - (full - handles*arraysHandleBytes); got != want {
		t.Errorf("%d bytes for a handle that counted one more object; want %d: its segment", got, want)
	}
	if got := c.Count(objects); got != handles {
		t.Errorf("Count = %d; want %d", got, handles)
	}
}

func TestArrays_memoryRefused(t *testing.T) {
	const limit = 64 << 10
	c := newTestArrays(t, limit, 1_000, func(int32) {})
	a := c.shared.Arena()
	h := c.Handle()
	h.Inc(1)
	rest := limit - a.Used()
	if err := a.Charge(rest); err != nil {
		t.Fatal(err)
	}
	h.Inc(1_000)
	if allocs := testing.AllocsPerRun(99, func() {
		h.Inc(1) // has room
		h.Inc(1_000)
		h.TryInc(1_000)
		h.Dec(1_000)
	}); allocs != 0 {
		t.Errorf("%.1f allocations for each round", allocs)
	}
	if got := c.parts(1_000); !slices.Equal(got, []int32{101, 0}) {
		t.Errorf("the shared word and the array have %v; want 101, 0", got)
	}
	if got := c.parts(1); !slices.Equal(got, []int32{0, 101}) {
		t.Errorf("the shared word and the array have %v; want 0, 101", got)
	}
	other := c.Handle() // is refused an array
	other.Inc(2)
	if got := c.parts(2); !slices.Equal(got, []int32{1, 0}) {
		t.Errorf("the shared word and the array have %v; want 1, 0", got)
	}
	a.Discharge(rest)
	h.Flush()
	h.Inc(1_000)
	if got := c.parts(1_000); !slices.Equal(got, []int32{101, 1}) {
		t.Errorf("the shared word and the array have %v; want 101, 1", got)
	}
}

// Handles beyond the largest number of arrays add to the shared words.
func TestArrays_noneFree(t *testing.T) {
	c := newTestArrays(t, 0, 64, nil)
	c.most = 2
	var open []Handle
	for range 4 {
		h := c.Handle()
		open = append(open, h)
		h.Inc(7)
		h.Inc(7)
	}
	if got := c.parts(7); !slices.Equal(got, []int32{4, 2, 2}) {
		t.Errorf("the shared word and the arrays have %v; want 4, 2, 2", got)
	}
	open[0].Close()
	open[3].Flush()
	open[3].Inc(7)
	if got := c.parts(7); !slices.Equal(got, []int32{4, 3, 2}) {
		t.Errorf("the shared word and the arrays have %v; want 4, 3, 2", got)
	}
}

func TestArrays_manyThreads(t *testing.T) {
	const objects, threads, rounds = 100, 8, 50
	told := make([]atomic.Int32, objects+1)
	c := newTestArrays(t, 0, objects, func(ref int32) { told[ref].Add(1) })
	run := func(op func(Handle, int32)) {
		var wg sync.WaitGroup
		for range threads {
			wg.Go(func() {
				for range rounds {
					h := c.Handle()
					for ref := int32(1); ref <= objects; ref++ {
						op(h, ref)
						c.Count(ref)
					}
					h.Close()
				}
			})
		}
		wg.Wait()
		c.Barrier()
	}
	run(Handle.Inc)
	if n := len(c.all()); n > threads {
		t.Errorf("%d arrays for %d handles at a time", n, threads)
	}
	for ref := int32(1); ref <= objects; ref++ {
		if got := c.Count(ref); got != threads*rounds {
			t.Fatalf("Count(%d) = %d; want %d", ref, got, threads*rounds)
		}
	}
	run(func(h Handle, ref int32) {
		if ref != 50 {
			h.Dec(ref)
		}
	})
	c.Barrier()
	for ref := int32(1); ref <= objects; ref++ {
		if got, alive := told[ref].Load(), ref == 50; got == 1 == alive || got > 1 {
			t.Errorf("object %d was told dead %d times; it is alive: %t", ref, got, alive)
		}
	}
}

func TestArrays_deaths(t *testing.T) {
	var told []int32
	var c *arraysCounter
	c = newTestArrays(t, 0, 64, func(ref int32) {
		told = append(told, ref)
		if got := c.Count(ref); got != 0 || c.Handle().TryInc(ref) {
			t.Errorf("object %d is told dead with count %d, or may be used", ref, got)
		}
		if ref == 2 {
			panic(ref)
		}
	})
	h, other := c.Handle(), c.Handle()
	for ref := int32(1); ref <= 5; ref++ {
		h.Inc(ref)
	}
	for ref := int32(1); ref <= 4; ref++ {
		other.Dec(ref)
	}
	if !h.TryInc(4) || len(told) != 0 {
		t.Error("dead before the barrier")
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic of Zero is lost")
			}
		}()
		c.Barrier()
	}()
	for _, ref := range []int32{1, 2, 3} {
		h.Inc(ref)
		h.Dec(ref)
		other.Dec(ref)
		if got := c.Count(ref); got != 0 || h.TryInc(ref) {
			t.Errorf("dead object %d counts %d, or may be used", ref, got)
		}
	}
	c.Barrier()
	if want := []int32{1, 2, 3}; !slices.Equal(told, want) {
		t.Errorf("told %v; want %v", told, want)
	}
	if got := c.Count(4) + c.Count(5); got != 2 {
		t.Errorf("the live have %d users; want 2", got)
	}
}
