package refcount

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
)

// Each of the first handles has an array of its own, and handles that come and go do not make
// more.
func TestG21_openHandlesHaveArraysOfTheirOwn(t *testing.T) {
	c, _ := newCounter(t, Log{}, 0)
	arrays := Log{}.Traits().OwnMax
	grow(t, c, 1, 64)
	for round := range 3 {
		var open []*LogHandle
		of := map[*ownCells]int{}
		for range 2 * arrays {
			h := c.Handle().(*LogHandle)
			open = append(open, h)
			of[h.own]++
			for range logLen {
				h.Inc(7)
			}
		}
		if len(of) != arrays {
			t.Errorf("round %d: %d arrays; want %d", round, len(of), arrays)
		}
		for o, n := range of {
			if n != 2 || o.cells.Load() == nil {
				t.Errorf("round %d: %d of %d handles have one array; want 2 of each", round, n, len(open))
			}
		}
		for _, h := range open[:round] { // closed before the others
			h.Close()
			h.Close()
		}
		for _, h := range open {
			h.Close()
		}
		if got := c.Count(7); got != int64((round+1)*2*arrays*logLen) {
			t.Errorf("round %d: Count = %d", round, got)
		}
	}
	alone := c.Handle().(*LogHandle)
	if alone.own.handles != 1 {
		t.Errorf("with all others closed an array has %d handles", alone.own.handles)
	}
	alone.Close()
}

// A batch counts as many single increments do, however it lies across the log's end, and
// also through a closed handle.
func TestG21_batchesCountAsSingles(t *testing.T) {
	c, _ := newCounter(t, Log{}, 0)
	const objects = 300
	grow(t, c, 1, objects)
	r := rand.New(rand.NewPCG(1, 2))
	h := c.Handle().(*LogHandle)
	want := make([]int64, objects+1)
	for round := range 400 {
		if round == 300 {
			h.Close()
		}
		refs := make([]int32, r.IntN(3*logLen))
		for i := range refs {
			refs[i] = 1 + int32(r.IntN(objects))
			if r.IntN(4) == 0 && i > 0 {
				refs[i] = refs[i-1]
			}
			want[refs[i]]++
		}
		h.IncBatch(refs)
		if r.IntN(3) == 0 {
			h.Inc(7)
			want[7]++
		}
	}
	for ref := int32(1); ref <= objects; ref++ {
		if got := c.Count(ref); got != want[ref] {
			t.Errorf("Count(%d) = %d; want %d", ref, got, want[ref])
		}
	}
}

// A handle whose array is busy, because the thread of another one was stopped there, does
// not wait, and does not write there.
func TestG20_flushDoesNotWaitForABusyArray(t *testing.T) {
	c, _ := newCounter(t, Log{}, 0)
	grow(t, c, 1, 64)
	h := c.Handle().(*LogHandle)
	for range logLen {
		h.Inc(7)
	}
	cell := h.own.cells.Load().At(7)
	h.own.busy.Store(1)
	for range 10*logLen + 3 {
		h.Inc(7)
	}
	h.Dec(7)
	h.Flush()
	if got := loadCell(cell); got != logLen {
		t.Errorf("the busy array has %d users; want %d as before", got, logLen)
	}
	if got := c.Count(7); got != 11*logLen+2 {
		t.Errorf("Count = %d; want %d", got, 11*logLen+2)
	}
	h.own.busy.Store(0)
	h.Inc(7)
	h.Close()
	if got := atomic.LoadUint32(c.(*logCounter).shared.At(7)); got != 10*logLen+2 {
		t.Errorf("%d users in the shared count; want those of the time when the array was busy", got)
	}
	if got := c.Count(7); got != 11*logLen+3 {
		t.Errorf("Count = %d; want %d", got, 11*logLen+3)
	}
}
