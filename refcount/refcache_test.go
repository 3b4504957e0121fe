package refcount

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/objhash/objhash/internal/region"
)

// refcacheBench is a counter whose deaths are noted.
type refcacheBench struct {
	*refcacheCounter
	t    *testing.T
	told []int32
}

func newRefcacheBench(t *testing.T) *refcacheBench {
	t.Helper()
	b := &refcacheBench{t: t}
	a := region.NewArena(nil)
	t.Cleanup(a.Close)
	c, err := Refcache{}.New(Config{Arena: a, Zero: func(ref int32) { b.told = append(b.told, ref) }})
	if err == nil {
		err = c.Grow(1, 4*refcacheEntries)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.refcacheCounter = c.(*refcacheCounter)
	return b
}

func (b *refcacheBench) handles(n int) []*RefcacheHandle {
	hs := make([]*RefcacheHandle, n)
	for i := range hs {
		hs[i] = b.Handle().(*RefcacheHandle)
	}
	return hs
}

func (b *refcacheBench) wantTold(when string, refs ...int32) {
	b.t.Helper()
	if !slices.Equal(b.told, refs) {
		b.t.Fatalf("%s: told of %v; want %v", when, b.told, refs)
	}
}

func (b *refcacheBench) wantEpoch(when string, epoch uint64) {
	b.t.Helper()
	if got := b.epoch.Load(); got != epoch {
		b.t.Fatalf("%s: epoch %d; want %d", when, got, epoch)
	}
}

func flushAll(hs []*RefcacheHandle) {
	for _, h := range hs {
		h.Flush()
	}
}

// The interleaving of the comment at the word's layout.
func TestRefcache_entriesOfDelta0AreFlushed(t *testing.T) {
	b := newRefcacheBench(t)
	hs := b.handles(3)
	h2, h3, h4 := hs[0], hs[1], hs[2]
	h2.Inc(7)
	flushAll(hs)
	e := b.epoch.Load()
	b.wantEpoch("start", 1)

	h3.Flush()
	h3.Inc(7)
	h2.Dec(7)
	h2.Flush()
	if v := *b.words.At(7); refcacheCount(v) != 0 || v&refcacheReview == 0 {
		t.Fatalf("word %#x; want 0 in review", v)
	}
	h4.Flush()
	b.wantEpoch("H3, H2 and H4 flushed", e+1)

	h4.Flush()
	h4.Inc(7)
	h3.Dec(7)
	h3.Flush()
	h2.Flush()
	b.wantEpoch("H4, H3 and H2 flushed again", e+2)
	b.wantTold("H4 has a user")
	flushAll(hs)
	flushAll(hs)
	flushAll(hs)
	b.wantTold("H4 has a user")
	if got := b.Count(7); got != 1 {
		t.Errorf("Count = %d; want 1", got)
	}
	h4.Dec(7)
	flushAll(hs)
	b.wantTold("the last user gone for one round")
	flushAll(hs)
	flushAll(hs)
	b.wantTold("the last user gone for three rounds", 7)
}

// After the last Dec, three rounds of flushes tell the death, in whatever order the handles
// come in each, and wherever the epoch stood.
func TestRefcache_toldAfterThreeRounds(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(3, seed))
		b := newRefcacheBench(t)
		hs := b.handles(1 + rng.IntN(4))
		any := func() *RefcacheHandle { return hs[rng.IntN(len(hs))] }
		any().Inc(7)
		for users := 1; users > 0; {
			switch rng.IntN(5) {
			case 0:
				any().Inc(7)
				users++
			case 1, 2:
				any().Dec(7)
				users--
			default:
				any().Flush()
			}
		}
		b.wantTold("before", b.told...)
		for range 3 {
			rng.Shuffle(len(hs), func(i, j int) { hs[i], hs[j] = hs[j], hs[i] })
			flushAll(hs)
		}
		b.wantTold(fmt.Sprint("seed ", seed), 7)
	}
}

func TestRefcache_idleHandleBlocksTheEpoch(t *testing.T) {
	b := newRefcacheBench(t)
	hs := b.handles(2)
	h, idle := hs[0], hs[1]
	flushAll(hs)
	for range 3 {
		h.Flush()
	}
	e := b.epoch.Load()
	h.Inc(7)
	h.Dec(7)
	for range 10 {
		h.Flush()
	}
	b.wantEpoch("one handle is idle", e)
	for range 3 * refcachePeriod {
		h.Inc(8) // flushes by itself
	}
	b.wantEpoch("one handle is idle", e)
	b.wantTold("one handle is idle")
	idle.Close()
	b.wantEpoch("the idle handle is closed", e+1)
	h.Flush()
	b.wantTold("the idle handle is closed, and the other flushed", 7)
}

// What an open handle holds back is bounded, whether or not the epoch moves on.
func TestRefcache_flushesByItself(t *testing.T) {
	b := newRefcacheBench(t)
	hs := b.handles(2)
	for n := range int64(3 * refcachePeriod) {
		hs[0].Inc(7)
		if behind := n + 1 - b.Count(7); behind >= (Refcache{}).Traits().Behind {
			t.Fatalf("%d users held back of %d", behind, n+1)
		}
	}
}

func TestRefcache_closeHandsTheReviewOver(t *testing.T) {
	b := newRefcacheBench(t)
	hs := b.handles(3)
	hs[0].Inc(7)
	hs[0].Dec(7)
	hs[0].Close()
	if b.queues.of(0).first != 7 {
		t.Fatalf("review queues of the counter: %v; want objref 7 there", b.queues)
	}
	hs[1].Close()
	b.wantTold("two handles closed")
	hs[2].Flush()
	b.wantTold("the last handle flushed", 7)

	hs[2].Inc(8)
	hs[2].Dec(8)
	hs[2].Close()
	b.wantTold("the last handle closed", 7, 8)
}

// Without open handles, and with closed ones, nothing is held back.
func TestRefcache_closedHandle(t *testing.T) {
	b := newRefcacheBench(t)
	h := b.handles(1)[0]
	h.Close()
	h.Inc(7)
	h.Inc(7)
	if got := b.Count(7); got != 2 {
		t.Errorf("Count = %d; want 2 at once", got)
	}
	h.Dec(7)
	b.wantTold("one user left")
	h.Dec(7)
	b.wantTold("no user left", 7)
	if h.TryInc(7) || !h.TryInc(8) {
		t.Error("TryInc refuses the living, or takes the dead")
	}

	other := b.handles(1)[0] // has the epoch wait again
	h.Dec(8)
	b.wantTold("another handle may have users", 7)
	other.Inc(8)
	for range 3 {
		other.Flush()
	}
	h.Dec(8)
	for range 3 {
		other.Flush()
	}
	b.wantTold("all gone", 7, 8)
}

// Touched in review, an objref is looked at again two epochs after that touch.
func TestRefcache_touchedAgain(t *testing.T) {
	b := newRefcacheBench(t)
	h := b.handles(1)[0] // each flush ends an epoch
	h.Inc(7)
	h.Dec(7)
	h.Flush()
	b.wantEpoch("flushed", 1)
	h.Inc(7)
	h.Dec(7)
	h.Flush()
	b.wantEpoch("two epochs after the first touch", 2)
	b.wantTold("two epochs after the first touch")
	h.Inc(7)
	h.Flush()
	if v := *b.words.At(7); v != 1<<refcacheCountShift {
		t.Errorf("word %#x after a review that found a user; want 1, not in review", v)
	}
	h.Dec(7)
	h.Flush()
	b.wantTold("just dropped")
	h.Flush()
	b.wantTold("two epochs after the last touch", 7)
}

func TestRefcache_barrierTellsEverything(t *testing.T) {
	b := newRefcacheBench(t)
	hs := b.handles(3)
	for ref := int32(1); ref <= 1_000; ref++ {
		hs[ref%3].Inc(ref)
		if ref%10 != 0 {
			hs[ref%2].Dec(ref)
		}
	}
	flushAll(hs)
	hs[2].Close()
	b.Barrier()
	slices.Sort(b.told)
	var want []int32
	for ref := int32(1); ref <= 1_000; ref++ {
		if ref%10 != 0 {
			want = append(want, ref)
		}
		if got := b.Count(ref); got != int64(btoi(ref%10 == 0)) {
			t.Fatalf("Count(%d) = %d", ref, got)
		}
	}
	b.wantTold("barrier", want...)
	b.Barrier()
	hs[0].Dec(10)
	hs[0].Flush()
	b.Barrier()
	b.wantTold("third barrier", append(want, 10)...)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Both orders of TryInc and the reviewer's compare-and-swap.
func TestRefcache_tryIncAgainstTheReview(t *testing.T) {
	// due has an objref that a review would find dead, and a handle flushed in the epoch.
	due := func(b *refcacheBench) (h *RefcacheHandle, l refcacheList) {
		hs := b.handles(2)
		hs[0].Inc(7)
		hs[0].Dec(7)
		flushAll(hs)
		hs[1].Flush()
		hs[0].evictAll()
		b.mu.Lock()
		defer b.mu.Unlock()
		hs[0].flushed++
		b.waiting--
		b.advance()
		b.join(&l, b.queues.of(0))
		if l.first != 7 || refcacheAge(b.epoch.Load(), *b.words.At(7)) != 2 {
			t.Fatalf("objref %d is due in epoch %d, word %#x", l.first, b.epoch.Load(), *b.words.At(7))
		}
		return hs[1], l
	}
	t.Run("first=TryInc", func(t *testing.T) {
		b := newRefcacheBench(t)
		h, l := due(b)
		if !h.TryInc(7) {
			t.Fatal("refused before the review")
		}
		var young refcacheQueues
		if died := b.judge(&l, &young); died.first != 0 || young.of(b.epoch.Load()).first != 7 {
			t.Fatalf("died: %d; to be reviewed again: %v", died.first, young)
		}
	})
	t.Run("first=review", func(t *testing.T) {
		b := newRefcacheBench(t)
		h, l := due(b)
		var young refcacheQueues
		if died := b.judge(&l, &young); died.first != 7 || died.last != 7 {
			t.Fatalf("died: %v; want 7", died)
		}
		if h.TryInc(7) {
			t.Fatal("not refused after the review")
		}
		h.Inc(7)
		h.Dec(7)
		h.Dec(7)
		h.Flush()
		if got, v := b.Count(7), *b.words.At(7); got != 0 || v != refcacheDead {
			t.Errorf("Count = %d, word %#x of a dead objref", got, v)
		}
	})
	t.Run("first=none", func(t *testing.T) { // the review comes after a flush of h
		b := newRefcacheBench(t)
		hs := b.handles(1)
		hs[0].Inc(7)
		hs[0].Dec(7)
		hs[0].Flush()
		if !hs[0].TryInc(7) {
			t.Fatal("refused in the epoch of the touch")
		}
		for range 4 {
			hs[0].Flush()
		}
		b.wantTold("TryInc has a user")
		hs[0].Dec(7)
		hs[0].Flush()
		hs[0].Flush()
		b.wantTold("no user", 7)
	})
}

// A word tells counts beyond 2^31-1 as that, and below 0 as 0.
func TestRefcache_countIsClamped(t *testing.T) {
	b := newRefcacheBench(t)
	for _, c := range []struct{ count, want int64 }{
		{0, 0}, {1, 1}, {-1, 0}, {-1 << 40, 0}, {math.MaxInt32, math.MaxInt32}, {1 << 31, math.MaxInt32}, {1 << 46, math.MaxInt32},
	} {
		*b.words.At(7) = uint64(c.count) << refcacheCountShift
		if got := b.Count(7); got != c.want {
			t.Errorf("Count = %d with %d in the word; want %d", got, c.count, c.want)
		}
	}
}

// One thread plays many, in an order that a seed gives: no objref dies that has a user, each
// dies once, and what died is what TryInc refuses.
func TestRefcache_anyOrder(t *testing.T) {
	seeds := uint64(200)
	if testing.Short() {
		seeds = 20
	}
	refs := []int32{1, 2, 3, 1 + refcacheEntries, 2 + refcacheEntries, 1 + 2*refcacheEntries}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(9, seed))
		users, born, dead := map[int32]int64{}, map[int32]bool{}, map[int32]bool{}
		b := newRefcacheBench(t)
		b.zero = func(ref int32) {
			if users[ref] != 0 || !born[ref] || dead[ref] {
				t.Fatalf("seed %d: told of %d: users %d, born %t, told before %t", seed, ref, users[ref], born[ref], dead[ref])
			}
			dead[ref] = true
		}
		hs := b.handles(4)
		for range 400 {
			i, ref := rng.IntN(len(hs)), refs[rng.IntN(len(refs))]
			h := hs[i]
			switch op := rng.IntN(20); {
			case op < 5 && (users[ref] > 0 || !born[ref]):
				users[ref]++
				born[ref] = true
				h.Inc(ref)
			case op < 12 && users[ref] > 0:
				users[ref]--
				h.Dec(ref)
			case op < 14:
				users[ref]++ // before it can die
				was := dead[ref]
				if ok := h.TryInc(ref); ok == was {
					t.Fatalf("seed %d: TryInc(%d) = %t; dead %t", seed, ref, ok, was)
				} else if was {
					users[ref]--
				}
				born[ref] = true
			case op < 18:
				h.Flush()
			case op == 18:
				h.Close() // and may be used again
				if rng.IntN(3) > 0 {
					hs[i] = b.Handle().(*RefcacheHandle)
				}
			case rng.IntN(10) == 0:
				flushAll(hs)
				b.Barrier()
				for _, ref := range refs {
					if got := b.Count(ref); got != users[ref] || born[ref] && !dead[ref] && got == 0 {
						t.Fatalf("seed %d: Count(%d) = %d at a barrier; want %d; dead %t", seed, ref, got, users[ref], dead[ref])
					}
				}
			}
		}
		for _, h := range hs {
			h.Close()
		}
		for _, ref := range refs {
			if born[ref] && users[ref] == 0 && !dead[ref] {
				t.Fatalf("seed %d: %d is not told dead with all handles closed", seed, ref)
			}
		}
	}
}

// A callback uses the handle that it is called from, and closes it; one that panics loses
// nothing.
func TestRefcache_callbacks(t *testing.T) {
	b := newRefcacheBench(t)
	h := b.handles(1)[0]
	told := map[int32]int{}
	b.zero = func(ref int32) {
		told[ref]++
		if ref > 1_000 {
			return
		}
		h.Inc(ref + 1_000)
		h.Dec(ref + 1_000)
		h.Flush()
		switch {
		case ref == 50:
			h.Close()
		case ref%7 == 0:
			panic(ref)
		}
	}
	if err := b.Grow(1, 4_000); err != nil {
		t.Fatal(err)
	}
	for ref := int32(1); ref <= 100; ref++ {
		h.Inc(ref)
		h.Dec(ref)
	}
	flush := func() (panicked bool) {
		defer func() { panicked = recover() != nil }()
		h.Flush()
		return
	}
	panicked := false
	for range 4 {
		panicked = flush() || panicked
	}
	if !panicked {
		t.Error("no panic has travelled on")
	}
	b.zero = func(ref int32) { told[ref]++ }
	h.Close()
	b.Barrier()
	for ref := int32(1); ref <= 100; ref++ {
		if told[ref] != 1 || told[ref+1_000] != 1 {
			t.Errorf("told %d times of %d, %d times of %d", told[ref], ref, told[ref+1_000], ref+1_000)
		}
	}
}

// Threads hand references to each other, drop and look up; whoever has one has an objref
// that is not dead, and each dies once.
func TestRefcache_manyThreads(t *testing.T) {
	const threads, objects = 8, 600 // more than the entries of a cache
	ops := 20_000
	if testing.Short() {
		ops = 4_000
	}
	var told [objects + 1]atomic.Int32
	c, err := Refcache{}.New(Config{Zero: func(ref int32) { told[ref].Add(1) }})
	if err == nil {
		err = c.Grow(1, objects)
	}
	if err != nil {
		t.Fatal(err)
	}
	var born [objects + 1]atomic.Bool
	mail := make(chan int32, 1_000)
	drop := func(h Handle, ref int32) {
		if n := told[ref].Load(); n != 0 {
			t.Errorf("told %d times that %d died, which has a user", n, ref)
		}
		h.Dec(ref)
	}
	var wg sync.WaitGroup
	for w := range threads {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(5, uint64(w)))
			h := c.Handle()
			var mine []int32
			for range ops {
				switch ref := 1 + rng.Int32N(objects); rng.IntN(8) {
				case 0, 1:
					if h.TryInc(ref) {
						born[ref].Store(true)
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
					case ref := <-mail:
						mine = append(mine, ref)
					default:
					}
				default:
					if len(mine) == 0 {
						continue
					}
					i := rng.IntN(len(mine))
					ref, mine[i] = mine[i], mine[len(mine)-1]
					mine = mine[:len(mine)-1]
					if rng.IntN(3) == 0 {
						select {
						case mail <- ref:
							continue
						default:
						}
					}
					drop(h, ref)
				}
				switch rng.IntN(200) {
				case 0:
					h.Flush()
				case 1:
					h.Close()
					h = c.Handle()
				}
			}
			for _, ref := range mine {
				drop(h, ref)
			}
			h.Close()
		})
	}
	wg.Wait()
	close(mail)
	h := c.Handle()
	for ref := range mail {
		drop(h, ref)
	}
	h.Close()
	c.Barrier()
	for ref := range born {
		if n := told[ref].Load(); n != int32(btoi(born[ref].Load())) {
			t.Errorf("told %d times of %d, born: %t", n, ref, born[ref].Load())
		}
	}
}

func TestRefcache_memory(t *testing.T) {
	if n := unsafe.Sizeof(RefcacheHandle{}); n > refcacheHandleBytes || math.MaxInt > math.MaxInt32 && n%64 != 0 {
		t.Errorf("a handle takes %d bytes", n)
	}
	b := newRefcacheBench(t)
	before := b.Bytes()
	hs := b.handles(2)
	hs[0].Inc(1)
	if got := b.Bytes() - before; got != 2*refcacheHandleBytes+refcacheCacheBytes {
		t.Errorf("%d bytes for two handles, one used", got)
	}
	flushAll(hs)
	hs[0].Dec(1)
	ref := int32(0)
	b.zero = func(int32) {}
	allocs := testing.AllocsPerRun(3*refcachePeriod, func() {
		ref = ref%(2*refcacheEntries) + 1
		hs[0].TryInc(ref)
		hs[0].Inc(ref)
		hs[0].Dec(ref)
		hs[0].Dec(ref)
		if ref%100 == 0 {
			flushAll(hs)
		}
	})
	if allocs != 0 {
		t.Errorf("%.2f allocations for each round", allocs)
	}
	for _, h := range hs {
		h.Close()
	}
	if got := b.Bytes(); got != before {
		t.Errorf("%d bytes more with all handles closed", got-before)
	}
}
