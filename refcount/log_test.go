package refcount

import (
	"runtime"
	"testing"
	"time"
)

// Handles that are open at the same time have arrays of their own: an array has one
// writer, whose adds are not locked.
func TestG21_openHandlesHaveArraysOfTheirOwn(t *testing.T) {
	c, _ := newCounter(t, Log{}, 0)
	grow(t, c, 1, 64)
	var open []*LogHandle
	of := map[*ownCounts[ownCell]]int{}
	for i := range ownMax + 1 {
		h := c.Handle().(*LogHandle)
		open = append(open, h)
		for range logLen {
			h.Inc(7)
		}
		if has := h.own != nil; has != (i < ownMax) {
			t.Fatalf("handle %d has an array: %t; want %t: there are %d", i, has, i < ownMax, ownMax)
		}
		if other, taken := of[h.own]; taken {
			t.Fatalf("handles %d and %d have the same array", other, i)
		}
		of[h.own] = i
	}
	for _, h := range open {
		h.Close()
		if h.own != nil {
			t.Error("a closed handle has an array")
		}
	}
	if got := c.Count(7); got != (ownMax+1)*logLen {
		t.Errorf("Count = %d; want %d", got, (ownMax+1)*logLen)
	}
}

// A handle adds what it has noted before it gives its array back: the next handle may
// write there at once.
func TestG21_closeAddsBeforeItGivesTheArrayBack(t *testing.T) {
	counter, _ := newCounter(t, Log{}, 0)
	grow(t, counter, 1, 64)
	c := counter.(*logCounter)
	h := c.Handle().(*LogHandle)
	for range logLen + 1 { // one more than makes it take an array
		h.Inc(4)
	}
	cell := h.own.cells.At(4)
	closed := make(chan struct{})
	c.mu.Lock() // nothing can be given back
	go func() {
		defer close(closed)
		h.Close()
	}()
	for start := time.Now(); loadCell(cell) != logLen+1; runtime.Gosched() {
		if time.Since(start) > 30*time.Second {
			t.Errorf("%d counted in the array that is to be given back; want %d", loadCell(cell), logLen+1)
			break
		}
	}
	c.mu.Unlock()
	<-closed
	if got := c.Count(4); got != logLen+1 {
		t.Errorf("Count = %d; want %d", got, logLen+1)
	}
}
