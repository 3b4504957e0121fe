package refcount

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/objhash/objhash/internal/region"
)

func newSNZI(t *testing.T, zero func(int32)) *snziCounter {
	t.Helper()
	a := region.NewArena(nil)
	t.Cleanup(a.Close)
	c, err := SNZI{}.New(Config{Arena: a, Zero: zero})
	if err == nil {
		err = c.Grow(1, 1_000)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c.(*snziCounter)
}

func snziHandle(c *snziCounter) *SNZIHandle { return c.Handle().(*SNZIHandle) }

// Users of a handle are one at the root, and the last Dec tells at once.
func TestSNZI_leafAndRoot(t *testing.T) {
	var told []int32
	c := newSNZI(t, func(ref int32) { told = append(told, ref) })
	h, other := snziHandle(c), snziHandle(c)
	for range 5 {
		h.Inc(7)
	}
	for range 2 {
		if !other.TryInc(7) {
			t.Error("TryInc refuses the living")
		}
	}
	if got := c.Count(7); got != 2 {
		t.Errorf("%d at the root; want one for each handle", got)
	}
	for range 5 {
		h.Dec(7)
	}
	other.Dec(7)
	if got := c.Count(7); got != 1 || len(told) != 0 {
		t.Errorf("%d at the root, told of %v; want 1 and nothing", got, told)
	}
	other.Dec(7)
	if got := c.Count(7); got != 0 || !slices.Equal(told, []int32{7}) {
		t.Errorf("%d at the root, told of %v; want 0 and 7", got, told)
	}
	h.Inc(7)
	h.Dec(7)
	h.Dec(7)
	if h.TryInc(7) || c.Count(7) != 0 || len(told) != 1 {
		t.Errorf("operations on a dead objref change it: Count = %d, told of %v", c.Count(7), told)
	}
}

// What a closed handle leaves is dropped by others, through leaves and past them.
func TestSNZI_closeMovesTheLeaves(t *testing.T) {
	var told []int32
	c := newSNZI(t, func(ref int32) { told = append(told, ref) })
	h, other := snziHandle(c), snziHandle(c)
	for range 5 {
		h.Inc(7)
		h.Inc(8)
	}
	h.Inc(9)
	h.Dec(9)
	other.Inc(7)
	h.Close()
	h.Close()
	if seven, eight := c.Count(7), c.Count(8); seven != 6 || eight != 5 {
		t.Fatalf("Count = %d, %d; want 6, 5", seven, eight)
	}
	third := snziHandle(c)
	third.Inc(1) // takes the leaves that h gave back
	if len(c.all) != 2 || c.Count(1) != 1 {
		t.Errorf("%d arrays of leaves for two handles at a time", len(c.all))
	}
	for range 3 {
		other.Dec(7)
		third.Dec(7)
	}
	h.Inc(8) // at the root
	for range 5 {
		h.Dec(8)
	}
	if !slices.Equal(told, []int32{9, 7}) {
		t.Fatalf("told of %v; want 9, 7", told)
	}
	third.Dec(8)
	if !slices.Equal(told, []int32{9, 7, 8}) {
		t.Fatalf("told of %v; want 9, 7, 8", told)
	}
	for ref := range uint32(third.room) {
		if leaf := *third.leaves.At(ref); leaf != 0 && ref != 1 {
			t.Errorf("leaf of %d is %d in reused leaves", ref, leaf)
		}
	}
}

// An objref is listed once, however often its leaf comes and goes.
func TestSNZI_listIsBounded(t *testing.T) {
	c := newSNZI(t, nil)
	h := snziHandle(c)
	for n := range int32(10_000) {
		h.Inc(1 + n%300)
		h.Dec(1 + n%300)
	}
	if h.own.n != 300 {
		t.Errorf("%d listed; want 300", h.own.n)
	}
	if allocs := testing.AllocsPerRun(1_000, func() { h.Inc(1); h.TryInc(2); h.Dec(2); h.Dec(1) }); allocs != 0 {
		t.Errorf("%.1f allocations", allocs)
	}
	if n := unsafe.Sizeof(*h); n > snziHandleBytes || math.MaxInt > math.MaxInt32 && n != snziHandleBytes {
		t.Errorf("a handle takes %d bytes", n)
	}
}

// A leaf that is full leaves its arrivals at the root.
func TestSNZI_fullLeaf(t *testing.T) {
	told := 0
	c := newSNZI(t, func(int32) { told++ })
	h := snziHandle(c)
	h.Inc(7)
	leaf := h.leaves.Made(7)
	*leaf = leafFull - leafOne | leafListed // one below
	h.Inc(7)
	if *leaf != leafFull|leafListed || c.Count(7) != 1 {
		t.Fatalf("leaf %#x, %d at the root; want a full one, and 1", *leaf, c.Count(7))
	}
	h.Inc(7)
	h.TryInc(7)
	if *leaf != leafFull|leafListed || c.Count(7) != 3 {
		t.Fatalf("leaf %#x, %d at the root; want a full one, and 3", *leaf, c.Count(7))
	}
	*leaf = leafOne | leafListed // all but one Dec of those
	h.Dec(7)
	h.Dec(7)
	if got := c.Count(7); got != 1 || told != 0 {
		t.Fatalf("%d at the root, told %d times", got, told)
	}
	h.Dec(7)
	if got := c.Count(7); got != 0 || told != 1 {
		t.Fatalf("%d at the root, told %d times; want it dead", got, told)
	}

	h.Inc(8)
	h.Inc(8)
	*h.leaves.Made(8) = leafFull | leafListed
	other := snziHandle(c)
	other.Inc(8)
	other.Inc(8)
	other.Close()
	h.Close()
	if got := c.Count(8); got != countMax {
		t.Errorf("Count = %d; want it saturated", got)
	}
}

// Without memory for leaves everything is counted at the root.
func TestSNZI_noMemoryForLeaves(t *testing.T) {
	told := 0
	c := newSNZI(t, func(int32) { told++ })
	c.array.Arena().Close() // what is there stays
	h := snziHandle(c)
	h.Inc(7)
	h.Inc(7)
	if !h.TryInc(7) || c.Count(7) != 3 {
		t.Errorf("Count = %d; want 3", c.Count(7))
	}
	for range 3 {
		h.Dec(7)
	}
	if told != 1 || h.TryInc(7) {
		t.Errorf("told %d times; want once", told)
	}
	h.Close()
}

// Threads look up, drop, and leave users to each other by closing handles: whoever has one
// has an objref that is not dead, and each dies once.
func TestSNZI_manyThreads(t *testing.T) {
	const threads, objects = 8, 200
	ops := 20_000
	if testing.Short() {
		ops = 4_000
	}
	var told, born [objects + 1]atomic.Int32
	c := newSNZI(t, func(ref int32) { told[ref].Add(1) })
	mail := make(chan int32, 1_000)
	var wg sync.WaitGroup
	for w := range threads {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(5, uint64(w)))
			h := c.Handle()
			drop := func(ref int32) {
				if n := told[ref].Load(); n != 0 {
					t.Errorf("told %d times that %d died, which has a user", n, ref)
				}
				h.Dec(ref)
			}
			var mine []int32
			for range ops {
				switch ref := 1 + rng.Int32N(objects); rng.IntN(8) {
				case 0, 1:
					if h.TryInc(ref) {
						born[ref].Store(1)
						mine = append(mine, ref)
					}
				case 2:
					if len(mine) > 0 {
						ref = mine[rng.IntN(len(mine))]
						h.Inc(ref)
						mine = append(mine, ref)
					}
				case 3:
					select {
					case ref := <-mail: // of a closed handle
						drop(ref)
					default:
					}
				default:
					if len(mine) > 0 {
						i := rng.IntN(len(mine))
						ref, mine[i] = mine[i], mine[len(mine)-1]
						mine = mine[:len(mine)-1]
						drop(ref)
					}
				}
				if rng.IntN(200) == 0 {
					h.Close()
					h = c.Handle()
					for len(mine) > 0 {
						select {
						case mail <- mine[0]:
						default:
							drop(mine[0])
						}
						mine = mine[1:]
					}
				}
			}
			for _, ref := range mine {
				drop(ref)
			}
			h.Close()
		})
	}
	wg.Wait()
	close(mail)
	h := c.Handle()
	for ref := range mail {
		h.Dec(ref)
	}
	h.Close()
	for ref := range born {
		if n := told[ref].Load(); n != born[ref].Load() {
			t.Errorf("told %d times of %d, born: %d", n, ref, born[ref].Load())
		}
	}
}
