package refcount

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/objhash/objhash/internal/region"
)

func TestCount_objrefWithoutRoom(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		for _, zero := range []func(int32){nil, func(ref int32) { t.Errorf("%d told dead", ref) }} {
			c, _ := newCounterWith(t, s, 0, zero)
			wantNone := func(refs ...int32) {
				t.Helper()
				for _, ref := range refs {
					func() {
						defer func() {
							if v := recover(); v != nil {
								t.Errorf("Count(%d) panics: %v", ref, v)
							}
						}()
						if got := c.Count(ref); got != 0 {
							t.Errorf("Count(%d) = %d; want 0", ref, got)
						}
					}()
				}
			}
			far := []int32{100_000, 1 << 20, math.MaxInt32 - 1, math.MaxInt32}
			outside := []int32{0, -1, -2, -31, -32, -33, -511, -512, -513, -100_000, math.MinInt32, math.MinInt32 + 1}
			wantNone(1, 2, 100, 10_000)
			wantNone(far...)
			wantNone(outside...)
			c.Barrier()
			grow(t, c, 1, 64)
			h := c.Handle()
			for range 500 { // enough that the handle has something of its own
				h.Inc(1)
			}
			h.Flush()
			wantNone(2, 64)
			wantNone(far...)
			wantNone(outside...)
			h.Close()
			c.Barrier()
			wantNone(far...)
			wantNone(outside...)
			wantCount(t, s, c, 1, 500)
		}
	})
}

// Room comes in pieces, with gaps between them, while there are counts.
func TestGrow_keepsCounts(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		u := newUsers(t, 200*613+64)
		c, _ := newCounterWith(t, s, 0, u.zero)
		h := c.Handle()
		counted := map[int32]bool{}
		for i := range int32(200) {
			i = i * 77 % 200 // neither upwards nor downwards
			first := i*613 + 1
			grow(t, c, first, first+63)
			grow(t, c, first, first+63) // again
			for ref := first; ref < first+64; ref += 9 {
				counted[ref] = true
				for range i%3 + 1 {
					u.inc(h, ref)
				}
				u.dec(h, ref) // each third dies
			}
		}
		h.Close()
		for range 2 {
			for ref := range counted {
				wantCount(t, s, c, ref, u.n[ref].Load())
			}
			c.Barrier()
		}
		u.wantDead("in the end", 1, 200*613+64, func(ref int32) bool { return counted[ref] && (ref-1)/613%3 == 0 })
	})
}

func TestGrow_byManyThreads(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		const threads, objects = 4, 20_000
		run := parallel
		if s.Traits().OneThread {
			run = inTurn
		}
		u := newUsers(t, objects+64)
		c, a := newCounterWith(t, s, 0, u.zero)
		run(threads, func(int) {
			h := c.Handle()
			defer h.Close()
			for first := int32(1); first < objects; first += 64 {
				if err := c.Grow(first, first+63); err != nil {
					t.Error(err)
				}
				u.inc(h, first)
				u.inc(h, first+63)
			}
		})
		c.Barrier()
		for first := int32(1); first < objects; first += 64 {
			wantCount(t, s, c, first, threads)
			wantCount(t, s, c, first+1, 0)
			wantCount(t, s, c, first+63, threads)
		}
		u.wantDead("all are used", 1, objects, none)
		if got, most := a.Used(), bytesMost(s, objects, threads, threads); got > most {
			t.Errorf("%d bytes for %d objrefs; want at most %d", got, objects, most)
		}
	})
}

// bytesMost is what Traits say that a counter takes, which tells of deaths.
func bytesMost(s Strategy, objects, counting, open int) int64 {
	traits := s.Traits()
	own := counting
	if traits.OwnMax != 0 {
		own = min(own, traits.OwnMax)
	}
	each := traits.PerObject + 0.25 + traits.PerObjectHandle*float64(own)
	return int64(1.125*each*float64(objects)) + int64(traits.PerHandle*open) + int64(64<<10+6<<10*counting)
}

// Under a byte limit there is room for as many as Traits say; then Grow says why not, and
// what has room works as before, without memory for anything more.
func TestGrow_underALimit(t *testing.T) {
	const limit, handles, each = 256 << 10, 3, 100
	eachStrategy(t, func(t *testing.T, s Strategy) {
		u := newUsers(t, 1<<20)
		c, a := newCounterWith(t, s, limit, u.zero)
		var err error
		last := int32(0)
		for last < 1<<20-64 {
			if err = c.Grow(last+1, last+64); err != nil {
				break
			}
			last += 64
		}
		if !errors.Is(err, region.ErrBudget) || bytesMost(s, int(last)+64, 0, 0) < limit {
			t.Fatalf("room for %d objrefs, then: %v; want the arena's error, and %d bytes for those at most",
				last, err, bytesMost(s, int(last)+64, 0, 0))
		}
		open := handlesOf(c, handles)
		for range each {
			for i, h := range open {
				for ref := int32(1 + i); ref <= last; ref += 97 {
					u.inc(h, ref)
				}
			}
		}
		if err := c.Grow(last+1, math.MaxInt32/2); !errors.Is(err, region.ErrBudget) {
			t.Errorf("Grow far beyond the limit: %v", err)
		}
		runUntil(AtBarrier, c, open, directly)
		check := func() {
			t.Helper()
			for ref := int32(1); ref <= last; ref++ {
				wantCount(t, s, c, ref, u.n[ref].Load())
			}
			if used := a.Budget().Used(); used > limit {
				t.Errorf("%d bytes; limit is %d", used, limit)
			}
		}
		check()
		for n := range each {
			for i, h := range open[1:] {
				for ref := int32(2 + i); ref <= last; ref += 97 {
					if i == 0 || n > 0 {
						u.dec(h, ref)
					}
				}
			}
		}
		runUntil(s.Traits().Zero, c, open, directly)
		u.wantDead("some are dropped", 1, last, func(ref int32) bool { return ref%97 == 2 })
		check()
		a.Close()
		if err := c.Grow(last+1, last+1<<16); err == nil {
			t.Error("Grow works on a closed arena")
		}
	})
}

// Too little memory to begin with is an error, of the arena's, and no more.
func TestNew_underALimit(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		for _, limit := range []int64{1, 64, 1 << 10, 17 << 10} {
			a := region.NewArena(region.NewBudget(limit))
			c, err := s.New(Config{Arena: a})
			if err == nil {
				err = c.Grow(1, 1<<20)
			}
			if !errors.Is(err, region.ErrBudget) {
				t.Errorf("%d bytes for %d objrefs: %v", limit, 1<<20, err)
			}
			a.Close()
			if c, err := s.New(Config{Arena: a}); err == nil && c.Grow(1, 1) == nil {
				t.Error("Grow works on a closed arena")
			}
		}
	})
}

// A Config may be empty.
func TestNew_withoutAnArena(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		c, err := s.New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		grow(t, c, 1, 64)
		h := c.Handle()
		h.Inc(7)
		h.Close()
		wantCount(t, s, c, 7, 1)
	})
}

// Memory is what Traits say, and what the arena knows of.
func TestBytes(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		for _, shape := range []struct{ objects, handles, step int }{
			{1_000_000, 1, 5}, {100_000, 8, 3}, {300, 1_000, 1}, {64, 1, 1}, {1, 3, 1},
		} {
			if underRace {
				shape.objects, shape.handles = min(shape.objects, 50_000), min(shape.handles, 100)
			}
			for _, dies := range []bool{false, true} {
				t.Run(fmt.Sprintf("objects=%d/handles=%d/dies=%t", shape.objects, shape.handles, dies), func(t *testing.T) {
					var zero func(int32)
					if dies {
						zero = func(ref int32) { t.Errorf("%d told dead", ref) }
					}
					c, a := newCounterWith(t, s, 0, zero)
					grow(t, c, 1, int32(shape.objects))
					open := handlesOf(c, shape.handles)
					for _, h := range open {
						for ref := 1; ref <= shape.objects; ref += shape.step {
							h.Inc(int32(ref))
							if ref%64 == 1 {
								h.Inc(int32(ref))
								h.Dec(int32(ref))
							}
						}
						for range 300 { // more than notes hold
							h.Inc(int32(shape.objects))
						}
						h.Flush()
					}
					check := func(open int) {
						t.Helper()
						got, most := c.Bytes(), bytesMost(s, shape.objects, shape.handles, open)
						if got > most {
							t.Errorf("%d bytes with %d handles open; want at most %d", got, open, most)
						}
						// The arena may round up, and need not know of handles, nor of what is
						// kept for the next one.
						own := int64(s.Traits().PerHandle*open + 4<<10*shape.handles)
						if used := a.Used(); got < used-4<<10 || got > used+own {
							t.Errorf("Bytes() = %d with %d handles open; %d of the arena's are used", got, open, used)
						}
					}
					check(shape.handles)
					for _, h := range open {
						h.Close()
						h.Close()
					}
					c.Barrier()
					check(0)
					want := shape.handles
					if shape.objects == 1 {
						want *= 1 + 300
					}
					wantCount(t, s, c, 1, int64(want))
				})
			}
		}
	})
}

// Counting allocates nothing, once a handle has what it needs.
func TestHandle_allocatesNothing(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		for _, zero := range []func(int32){nil, func(ref int32) {}} {
			const objects = 100
			c, _ := newCounterWith(t, s, 0, zero)
			grow(t, c, 1, objects)
			h := c.Handle()
			defer h.Close()
			for ref := int32(1); ref <= objects; ref++ {
				h.Inc(ref)
			}
			count := func() {
				for n := range int32(1_000) {
					ref := 1 + n%objects
					h.Inc(ref)
					h.TryInc(ref)
					h.Dec(ref)
					h.Dec(ref)
				}
			}
			count()
			h.Flush()
			count()
			if allocs := testing.AllocsPerRun(10, count); allocs != 0 {
				t.Errorf("%g allocations by 4,000 operations; want none", allocs)
			}
		}
	})
}

// Traits and names are for people, who want to tell strategies apart.
func TestStrategies_areTold(t *testing.T) {
	names := map[string]bool{}
	for _, s := range strategies {
		name, traits := s.Name(), s.Traits()
		if name == "" || names[name] || strings.ContainsAny(name, " \t\n/=") || strings.ToLower(name) != name {
			t.Errorf("%T has no name of its own that is a short word: %q", s, name)
		}
		names[name] = true
		if traits.Summary == "" || strings.ContainsAny(traits.Summary, "\n\r") {
			t.Errorf("%s: Summary is not one line: %q", name, traits.Summary)
		}
		if traits.Exact != AtOnce && traits.Exact != AtFlush && traits.Exact != Never || traits.Zero >= Never {
			t.Errorf("%s: counts are exact %v, deaths are told %v", name, traits.Exact, traits.Zero)
		}
		if traits.Behind < 0 || traits.Exact == AtOnce && traits.Behind != 0 || traits.Exact == AtFlush && traits.Behind == 0 {
			t.Errorf("%s: counts are exact %v, and an open handle holds back %d", name, traits.Exact, traits.Behind)
		}
		if presets[name] == nil {
			t.Errorf("no hook for %s: see presets", name)
		}
	}
	for name := range presets {
		if !names[name] {
			t.Errorf("there is a preset for %q, which is no strategy", name)
		}
	}
	if name := strategies[0].Name(); name != "plain" {
		t.Errorf("the first strategy is %s; want the oracle", name)
	}
	words := map[string]bool{}
	for w := AtOnce; w <= Never; w++ {
		words[w.String()] = true
	}
	if len(words) != int(Never)+1 || words[""] {
		t.Errorf("moments are told as %v", words)
	}
}

// Two handles never write to one cache line.
func TestHandle_hasCacheLinesOfItsOwn(t *testing.T) {
	eachStrategy(t, func(t *testing.T, s Strategy) {
		c, _ := newCounter(t, s, 0)
		open := handlesOf(c, 2)
		one := reflect.ValueOf(open[0])
		if one.Kind() != reflect.Pointer {
			if one.Type().Size() > 0 && s.Traits().PerHandle == 0 {
				t.Errorf("a handle is a %v, and takes no bytes", one.Type())
			}
			return
		}
		size, per := one.Type().Elem().Size(), uintptr(s.Traits().PerHandle)
		if open[0] == open[1] {
			if per != 0 {
				t.Errorf("all handles are one, and each takes %d bytes", per)
			}
			return
		}
		if size%64 != 0 && math.MaxInt > math.MaxInt32 || size > per {
			t.Errorf("a handle's struct has %d bytes; want a multiple of 64, on 64-bit, and at most the %d of Traits", size, per)
		}
	})
}
