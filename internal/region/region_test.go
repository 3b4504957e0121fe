package region

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"
)

// span is an allocated one, as words.
type span struct {
	p     unsafe.Pointer
	bytes uintptr
	words []uint64
}

func mustAlloc(t testing.TB, a *Arena, n uintptr) span {
	t.Helper()
	p, err := a.Alloc(n)
	if err != nil {
		t.Fatal(err)
	}
	return span{p, n, unsafe.Slice((*uint64)(p), n/8)}
}

func (s span) fill(v uint64) {
	for i := range s.words {
		s.words[i] = v
	}
}

// onlyHolds returns the first word that is none of values, and whether there is one.
func (s span) other(values ...uint64) (word uint64, found bool) {
	for i := range s.words {
		w := atomic.LoadUint64(&s.words[i])
		ok := false
		for _, v := range values {
			ok = ok || w == v
		}
		if !ok {
			return w, true
		}
	}
	return 0, false
}

// spanSizes are on both sides of every size at which an arena does something else. Where
// nothing is mapped everything is slow, and sizes make no difference beyond some KiB.
var spanSizes = func() []uintptr {
	sizes := []uintptr{8, 64, 72, 128, 1000, 1 << 10, ownSpanMin - 8, ownSpanMin, 5000, chunkMax - 64, chunkMax, chunkMax + 8, 64 << 10}
	if canMap {
		sizes = append(sizes, heapBytesMax, 300_000, 1<<20, blockBytes-64, blockBytes, blockBytes+64, 3*blockBytes+4096)
	}
	return sizes
}()

// Spans are zeroed and aligned, do not overlap, and stay as they were written.
func TestSpansAreZeroedAlignedAndApart(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	a := NewArena(nil)
	defer a.Close()
	var spans []span
	total := int64(0)
	for i := range 600 {
		n := spanSizes[r.IntN(len(spanSizes))]
		if i%4 > 0 {
			n = uintptr(8 + 8*r.IntN(400)) // mostly small
		}
		s := mustAlloc(t, a, n)
		if uintptr(s.p)&(Alignment-1) != 0 {
			t.Fatalf("span of %d at %p; want a multiple of %d", n, s.p, Alignment)
		}
		if w, found := s.other(0); found {
			t.Fatalf("span %d of %d bytes holds %#x; want zeros", i, n, w)
		}
		s.fill(uint64(i + 1))
		spans = append(spans, s)
		if total += int64(roundUp(n, Alignment)); a.Used() != total || a.Budget().Used() != total {
			t.Fatalf("after %d spans: %d bytes in use, %d of the budget; want %d", i+1, a.Used(), a.Budget().Used(), total)
		}
	}
	for i, s := range spans {
		if w, found := s.other(uint64(i + 1)); found {
			t.Fatalf("span %d of %d bytes holds %#x; want %#x, as written", i, s.bytes, w, i+1)
		}
	}
	runtime.KeepAlive(a)
}

// Random allocations and releases: what lives is never touched, new spans are zeroed,
// a released one reads as it was or as zeros, and the budget counts at least what lives.
func TestReleaseTouchesNobodyElse(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 3 {
		a := NewArena(nil)
		var live, dead []span
		var values, deadValues []uint64
		bytes := int64(0)
		for i := range 400 {
			if len(live) > 3 && r.IntN(5) < 2 {
				j := r.IntN(len(live))
				s := live[j]
				a.Release(s.p, s.bytes)
				bytes -= int64(roundUp(s.bytes, Alignment))
				dead, deadValues = append(dead, s), append(deadValues, values[j])
				live[j], values[j] = live[len(live)-1], values[len(values)-1]
				live, values = live[:len(live)-1], values[:len(values)-1]
			} else {
				s := mustAlloc(t, a, spanSizes[r.IntN(len(spanSizes))])
				if w, found := s.other(0); found {
					t.Fatalf("a span of %d bytes holds %#x; want zeros", s.bytes, w)
				}
				bytes += int64(roundUp(s.bytes, Alignment))
				s.fill(uint64(i + 1))
				live, values = append(live, s), append(values, uint64(i+1))
			}
			if used := a.Used(); used < bytes || used != a.Budget().Used() {
				t.Fatalf("%d bytes in use, %d of the budget, where %d live", used, a.Budget().Used(), bytes)
			}
		}
		for j, s := range live {
			if w, found := s.other(values[j]); found {
				t.Fatalf("a live span of %d bytes holds %#x; want %#x, as written", s.bytes, w, values[j])
			}
		}
		for j, s := range dead {
			if w, found := s.other(deadValues[j], 0); found {
				t.Fatalf("a released span of %d bytes holds %#x; want %#x, as written, or 0", s.bytes, w, deadValues[j])
			}
		}
		for _, s := range live {
			a.Release(s.p, s.bytes)
		}
		a.Close()
		if used := a.Budget().Used(); used != 0 {
			t.Fatalf("%d bytes in use after Close", used)
		}
		runtime.KeepAlive(a)
	}
}

// Late readers and writers of released spans, and of a closed arena, see what was there
// or zeros or what they wrote, and never fault.
func TestLateReadersDoNotFault(t *testing.T) {
	const old, late = 0x1111111111111111, 0x2222222222222222
	a := NewArena(nil)
	var spans []span
	for _, n := range spanSizes {
		s := mustAlloc(t, a, n)
		s.fill(old)
		spans = append(spans, s)
	}
	var done atomic.Bool
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for first := true; first || !done.Load(); first = false {
				for _, s := range spans {
					if v, found := s.other(old, late, 0); found {
						t.Errorf("a released span of %d bytes reads as %#x", s.bytes, v)
						return
					}
					if w == 0 { // like a late inserter's CAS
						atomic.CompareAndSwapUint64(&s.words[len(s.words)-1], 0, late)
					}
				}
			}
		})
	}
	for i := range spans {
		s := spans[(i*7)%len(spans)] // 7 and the number of spans have no common divisor
		a.Release(s.p, s.bytes)
		runtime.Gosched()
	}
	a.Close()
	done.Store(true)
	wg.Wait()
	runtime.KeepAlive(a)
}

// A budget is a limit, at every moment, for all arenas that share it together.
func TestBudgetIsNeverExceeded(t *testing.T) {
	limit := int64(3 << 20)
	if !canMap {
		limit = 300 << 10
	}
	b := NewBudget(limit)
	arenas := []*Arena{NewArena(b), NewArena(b)}
	var over, refused, done atomic.Int64
	var wg sync.WaitGroup
	const workers = 4
	for w := range workers {
		wg.Go(func() {
			defer done.Add(1)
			r := rand.New(rand.NewPCG(uint64(w), 9))
			var mine []span
			for range 400 {
				if r.IntN(2) == 0 && len(mine) > 0 {
					s := mine[len(mine)-1]
					mine = mine[:len(mine)-1]
					arenas[w%2].Release(s.p, s.bytes)
					continue
				}
				n := spanSizes[r.IntN(len(spanSizes))]
				p, err := arenas[w%2].Alloc(n)
				if err != nil {
					if !errors.Is(err, ErrBudget) {
						t.Error(err)
					}
					refused.Add(1)
					continue
				}
				mine = append(mine, span{p: p, bytes: n})
			}
		})
	}
	for done.Load() < workers {
		if used := b.Used(); used > limit || used < 0 {
			over.Store(used)
		}
		runtime.Gosched()
	}
	wg.Wait()
	if over.Load() != 0 {
		t.Errorf("%d bytes in use; limit %d", over.Load(), limit)
	}
	if refused.Load() == 0 {
		t.Error("nobody ran into the limit")
	}
	if sum := arenas[0].Used() + arenas[1].Used(); sum != b.Used() {
		t.Errorf("the arenas use %d bytes, of the budget are used %d", sum, b.Used())
	}
	for _, a := range arenas {
		a.Close()
	}
	if used := b.Used(); used != 0 {
		t.Errorf("%d bytes in use after Close of all arenas", used)
	}
}

// Take and Give by many threads: never more than the limit, and in the end nothing.
func TestBudgetAlone(t *testing.T) {
	old := runtime.GOMAXPROCS(4 * runtime.NumCPU())
	defer runtime.GOMAXPROCS(old)
	const limit, workers = 3, 8
	iterations := 600_000
	if testing.Short() || !canMap {
		iterations = 50_000
	}
	b := NewBudget(limit)
	var wg sync.WaitGroup
	var taken atomic.Int64
	for w := range int64(workers) {
		wg.Go(func() {
			for i := range int64(iterations) {
				n := 1 + (i+w)%2
				if err := b.Take(n); err != nil {
					if !errors.Is(err, ErrBudget) {
						t.Error(err)
					}
					continue
				}
				taken.Add(1)
				used := b.Used()
				b.Give(n)
				if used > limit || used < n {
					t.Errorf("%d in use where %d were taken; limit %d", used, n, limit)
					return
				}
			}
		})
	}
	wg.Wait()
	if b.Used() != 0 || taken.Load() == 0 {
		t.Errorf("%d in use after all was given back %d times", b.Used(), taken.Load())
	}
}

func TestBudgetLimits(t *testing.T) {
	b := NewBudget(100)
	for _, step := range []struct {
		take int64
		ok   bool
	}{{101, false}, {100, true}, {1, false}, {0, true}, {1 << 62, false}, {1<<63 - 1, false}} {
		if err := b.Take(step.take); (err == nil) != step.ok {
			t.Errorf("Take(%d) with %d in use: %v", step.take, b.Used(), err)
		}
	}
	if b.Used() != 100 {
		t.Errorf("%d in use; want 100", b.Used())
	}
	free := NewBudget(0)
	if err := free.Take(1 << 60); err != nil {
		t.Errorf("without a limit: %v", err)
	}
	if NewArena(nil).Budget().Take(1<<60) != nil {
		t.Error("an arena without a budget has a limit")
	}
}

// What is refused leaves nothing behind.
func TestRefusedAllocLeavesNothing(t *testing.T) {
	b := NewBudget(1 << 20)
	a := NewArena(b)
	for range 1000 {
		if _, err := a.Alloc(2 << 20); !errors.Is(err, ErrBudget) {
			t.Fatalf("2 MiB of 1: %v", err)
		}
	}
	if b.Used() != 0 || a.Used() != 0 {
		t.Fatalf("%d bytes in use", b.Used())
	}
	mustAlloc(t, a, 1<<20)
	if _, err := a.Alloc(64); !errors.Is(err, ErrBudget) {
		t.Errorf("one line more than the limit: %v", err)
	}
	a.Close()
	for range 1000 {
		if _, err := a.Alloc(64); !errors.Is(err, ErrClosed) {
			t.Fatalf("Alloc after Close: %v", err)
		}
	}
	if b.Used() != 0 || a.Used() != 0 {
		t.Errorf("%d bytes in use after Close and refused spans", b.Used())
	}
	a.Close()
	a.Release(unsafe.Pointer(new([64]byte)), 64)
	if b.Used() != 0 {
		t.Errorf("%d bytes in use after a second Close", b.Used())
	}
}

// What a caller charges counts like a span, to the arena and its budget, and goes with
// them on Close.
func TestCharge(t *testing.T) {
	b := NewBudget(1000)
	a := NewArena(b)
	other := NewArena(b)
	for _, step := range []struct {
		charge, used int64
		ok           bool
	}{{400, 400, true}, {700, 400, false}, {600, 1000, true}, {1, 1000, false}} {
		err := a.Charge(step.charge)
		if (err == nil) != step.ok || err != nil && !errors.Is(err, ErrBudget) || a.Used() != step.used || b.Used() != step.used {
			t.Fatalf("Charge(%d): %v; %d in use, %d of the budget; want %d", step.charge, err, a.Used(), b.Used(), step.used)
		}
	}
	if _, err := a.Alloc(64); !errors.Is(err, ErrBudget) {
		t.Errorf("Alloc where all is charged: %v", err)
	}
	a.Discharge(600)
	if _, err := a.Alloc(128); err != nil || b.Used() != 528 {
		t.Errorf("Alloc of 128 after a discharge: %v; %d in use; want 528", err, b.Used())
	}
	if err := other.Charge(100); err != nil {
		t.Error(err)
	}
	a.Close()
	if err := a.Charge(1); !errors.Is(err, ErrClosed) {
		t.Errorf("Charge after Close: %v", err)
	}
	a.Discharge(400) // late
	if a.Used() != 0 || b.Used() != 100 {
		t.Errorf("%d in use, %d of the budget after Close; want 0, and 100 by others", a.Used(), b.Used())
	}
}

// Close beside Alloc and Release: each is before it or after it, and in the end the
// budget has everything back.
func TestCloseBesideAlloc(t *testing.T) {
	rounds := 200
	if testing.Short() || !canMap {
		rounds = 60
	}
	old := runtime.GOMAXPROCS(4 * runtime.NumCPU())
	defer runtime.GOMAXPROCS(old)
	b := NewBudget(0)
	for round := range rounds {
		a := NewArena(b)
		var wg sync.WaitGroup
		for w := range 3 {
			wg.Go(func() {
				for i := 0; ; i++ {
					n := uintptr(64 * (1 + (i+w)%8))
					p, err := a.Alloc(n)
					if err != nil {
						if !errors.Is(err, ErrClosed) {
							t.Error(err)
						}
						return
					}
					if i%3 == 0 {
						a.Release(p, n)
					}
					if err := a.Charge(10); err == nil && i%2 == 0 {
						a.Discharge(10)
					}
				}
			})
		}
		for range round % 50 {
			runtime.Gosched()
		}
		a.Close()
		wg.Wait()
		if used := b.Used(); used != 0 {
			t.Fatalf("round %d: %d bytes in use after Close", round, used)
		}
	}
}

// An arena that is used by many threads hands each byte out once.
func TestArenaConcurrently(t *testing.T) {
	const workers = 4
	a := NewArena(nil)
	defer a.Close()
	var all [workers][]span
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 7))
			for i := range 300 {
				n := spanSizes[r.IntN(min(len(spanSizes), 14))]
				p, err := a.Alloc(n)
				if err != nil {
					t.Error(err)
					return
				}
				s := span{p, n, unsafe.Slice((*uint64)(p), n/8)}
				if v, found := s.other(0); found {
					t.Errorf("a span of %d bytes holds %#x; want zeros", n, v)
				}
				s.fill(uint64(w*1000 + i + 1))
				all[w] = append(all[w], s)
			}
		})
	}
	wg.Wait()
	for w, spans := range all {
		for i, s := range spans {
			if v, found := s.other(uint64(w*1000 + i + 1)); found {
				t.Fatalf("span %d of worker %d holds %#x", i, w, v)
			}
		}
	}
}

// eventually waits until ok, which the garbage collector makes come true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after 20 s of garbage collection", what)
		}
		runtime.GC()
	}
}
