package refcount

import (
	"slices"
	"sync"
	"testing"
)

// deaths notes how often each objref was told dead.
type deaths struct {
	t    testing.TB
	mu   sync.Mutex
	told map[int32]int
}

func (d *deaths) zero(ref int32) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told[ref]++
}

// want checks that these died, each once, since the last call.
func (d *deaths) want(refs ...int32) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	var got []int32
	for ref, n := range d.told {
		if n != 1 {
			d.t.Errorf("objref %d was told dead %d times", ref, n)
		}
		got = append(got, ref)
	}
	slices.Sort(got)
	if !slices.Equal(got, refs) {
		d.t.Errorf("%v died; want %v", got, refs)
	}
	clear(d.told)
}

// newMortal returns a counter with room for objrefs up to last, that tells deaths.
func newMortal(t testing.TB, s Strategy, last int32) (Counter, *deaths) {
	t.Helper()
	d := &deaths{t: t, told: map[int32]int{}}
	c, err := s.New(Config{Zero: d.zero})
	if err != nil {
		t.Fatal(err)
	}
	grow(t, c, 1, last)
	return c, d
}

func wantCounted(t testing.TB, c Counter, ref int32, want int64) {
	t.Helper()
	if got := c.Count(ref); got != want {
		t.Errorf("Count(%d) = %d; want %d", ref, got, want)
	}
}

func repeat(n int, f func(int32), ref int32) {
	for range n {
		f(ref)
	}
}
