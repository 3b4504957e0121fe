package refcount

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"
)

// wantBias checks the words of an objref.
func wantBias(t *testing.T, c *biasedCounter, ref int32, owner, local uint32, shared int32) {
	t.Helper()
	b, v := c.bias(ref), atomic.LoadUint32(c.shared.Made(uint32(ref)))
	if b.owner != owner || owner != merged && b.local != local || v != uint32(shared) {
		t.Errorf("objref %d: owner %#x, local %d, shared %#x; want %#x, %d, %#x", ref, b.owner, b.local, v, owner, local, uint32(shared))
	}
}

var deadShared = func() int32 { v := uint32(deadWord); return int32(v) }()

func newBiased(t *testing.T) (c *biasedCounter, died *deaths, owner, other *BiasedHandle) {
	counter, died := newMortal(t, Biased{}, 64)
	c = counter.(*biasedCounter)
	return c, died, c.Handle().(*BiasedHandle), c.Handle().(*BiasedHandle)
}

func TestBiased_ownerMergesWhenItHasNoUsers(t *testing.T) {
	c, died, owner, other := newBiased(t)
	repeat(2, owner.Inc, 7)
	wantBias(t, c, 7, owner.id, 2, 0)
	repeat(2, other.Inc, 7)
	wantBias(t, c, 7, owner.id, 2, 2)
	wantCounted(t, c, 7, 4)
	repeat(2, other.Dec, 7) // 0, but the owner has users
	wantBias(t, c, 7, owner.id, 2, 0)
	other.Inc(7)
	repeat(2, owner.Dec, 7)
	wantBias(t, c, 7, merged, 0, 1)
	wantCounted(t, c, 7, 1)
	owner.Inc(7) // like everybody else
	wantBias(t, c, 7, merged, 0, 2)
	other.Dec(7)
	died.want()
	owner.Dec(7)
	died.want(7)
	wantBias(t, c, 7, merged, 0, deadShared)

	owner.Inc(8)
	owner.Dec(8)
	died.want(8) // at once, for nobody else has counted it
	for _, h := range []Handle{owner, other} {
		if h.TryInc(7) || h.TryInc(8) {
			t.Error("TryInc revives the dead")
		}
		h.Inc(7)
		h.Dec(7)
		h.Dec(8)
		wantCounted(t, c, 7, 0)
		wantCounted(t, c, 8, 0)
	}
	died.want()
}

// Others drop the owner's users: the owner hears of that, and merges when it is flushed
// or closed, or the barrier does.
func TestBiased_sharedBelowZeroIsQueued(t *testing.T) {
	for how, merge := range map[string]func(Counter, Handle){
		"flush":   func(_ Counter, h Handle) { h.Flush() },
		"close":   func(_ Counter, h Handle) { h.Close() },
		"barrier": func(c Counter, _ Handle) { c.Barrier() },
	} {
		t.Run("by="+how, func(t *testing.T) {
			c, died, owner, other := newBiased(t)
			id := owner.id
			for ref := int32(1); ref <= 5; ref++ {
				repeat(3, owner.Inc, ref)
			}
			repeat(1, other.Dec, 1)
			repeat(3, other.Dec, 2)
			repeat(2, other.Dec, 3)
			other.Dec(4)
			other.Inc(4)
			wantBias(t, c, 1, queued, 3, -1)
			wantBias(t, c, 2, queued|1, 3, -3)
			wantBias(t, c, 3, queued|2, 3, -2)
			wantBias(t, c, 4, queued|3, 3, 0)
			wantBias(t, c, 5, owner.id, 3, 0)
			wantCounted(t, c, 1, 2)
			wantCounted(t, c, 2, 0)
			wantCounted(t, c, 3, 1)
			wantCounted(t, c, 4, 3)
			owner.Dec(3) // queued, so through the shared word
			wantBias(t, c, 3, queued|2, 3, -3)
			if !owner.TryInc(2) { // no users, but not told yet
				t.Error("TryInc refuses what is not dead")
			}
			owner.Dec(2)
			died.want()
			merge(c, owner)
			died.want(2, 3)
			wantBias(t, c, 1, merged, 0, 2)
			wantBias(t, c, 2, merged, 0, deadShared)
			wantBias(t, c, 4, merged, 0, 3)
			wantBias(t, c, 5, id, 3, 0)
			merge(c, owner) // nothing is left
			repeat(2, other.Dec, 1)
			died.want(1)
		})
	}
}

// What a closed handle owns is counted in the shared word, and merged by whoever makes
// that fall below 0.
func TestBiased_closedOwner(t *testing.T) {
	c, died, owner, other := newBiased(t)
	id := owner.id
	repeat(3, owner.Inc, 7)
	repeat(1, owner.Inc, 8)
	owner.Close()
	wantCounted(t, c, 7, 3)
	other.Inc(7)
	wantBias(t, c, 7, id, 3, 1)
	owner.Inc(7) // closed, so as anybody else
	wantBias(t, c, 7, id, 3, 2)
	repeat(2, other.Dec, 7)
	wantBias(t, c, 7, id, 3, 0)
	wantCounted(t, c, 7, 3)
	other.Dec(7)
	wantBias(t, c, 7, merged, 0, 2)
	other.Dec(7)
	owner.Dec(8) // the first and last
	died.want(8)
	owner.Dec(7)
	died.want(7)

	// A closed handle owns nothing new.
	owner.Inc(9)
	wantBias(t, c, 9, merged, 0, 1)
	wantCounted(t, c, 9, 1)
	other.Dec(9)
	died.want(9)

	// Nor does a later handle own what an earlier one did.
	if h := c.Handle().(*BiasedHandle); h.id == id {
		t.Errorf("id %d is used again", id)
	}
}

// Handles beyond the last id count like closed ones.
func TestBiased_withoutAnId(t *testing.T) {
	c, died, owner, _ := newBiased(t)
	c.ids.Store(idMax - 1)
	last, late := c.Handle().(*BiasedHandle), c.Handle().(*BiasedHandle)
	if last.id != idMax || late.id != closedID {
		t.Fatalf("ids %d and %d", last.id, late.id)
	}
	last.Inc(1)
	wantBias(t, c, 1, idMax, 1, 0)
	late.Dec(1)
	wantBias(t, c, 1, queued, 1, -1)
	late.Inc(2)
	wantBias(t, c, 2, merged, 0, 1)
	if !owner.TryInc(2) {
		t.Error("TryInc refuses what is not dead")
	}
	late.Dec(2)
	late.Flush()
	owner.Dec(2)
	last.Close()
	late.Close()
	late.Close()
	died.want(1, 2)
	if n := c.open.Load(); n != 2 {
		t.Errorf("%d handles open; want 2", n)
	}
}

func TestBiased_saturates(t *testing.T) {
	c, died, owner, other := newBiased(t)
	const ref = 7
	set := func(local, shared uint32) {
		c.bias(ref).local = local
		atomic.StoreUint32(c.shared.Made(ref), shared)
	}
	owner.Inc(ref)
	// The owner's count is carried before it gets too large.
	set(localMax-2, 5)
	owner.Inc(ref)
	wantBias(t, c, ref, owner.id, localMax-1, 5)
	owner.Inc(ref)
	wantBias(t, c, ref, owner.id, localMax/2, 5+localMax/2)
	wantCounted(t, c, ref, localMax+5)
	// The sum is not seen beyond the end.
	set(localMax-2, countMax-3)
	wantCounted(t, c, ref, countMax)
	owner.Inc(ref)
	wantCounted(t, c, ref, countMax)
	// The carry saturates, for ever.
	owner.Inc(ref)
	if v := atomic.LoadUint32(c.shared.Made(ref)); v != saturatedWord {
		t.Errorf("shared %#x; want %#x", v, uint32(saturatedWord))
	}
	for range 3 {
		repeat(50, other.Dec, ref)
		repeat(50, owner.Dec, ref)
		repeat(20, other.Inc, ref)
		wantCounted(t, c, ref, math.MaxInt32)
	}
	set(2, saturatedWord)
	repeat(2, owner.Dec, ref)
	wantCounted(t, c, ref, math.MaxInt32)
	repeat(2, owner.Dec, ref)
	if !other.TryInc(ref) {
		t.Error("TryInc refuses what is saturated")
	}

	// A carry or an increment near the end makes the owner merge, which saturates.
	owner.Inc(10)
	c.bias(10).local = localMax - 1
	atomic.StoreUint32(c.shared.Made(10), sharedMax-localMax/2+1)
	owner.Inc(10)
	wantBias(t, c, 10, queued, localMax/2, sharedMax+1)
	owner.Flush()
	wantBias(t, c, 10, merged, 0, sharedMax+1+localMax/2)
	wantCounted(t, c, 10, sharedMax+1+localMax/2)
	owner.Inc(8)
	atomic.StoreUint32(c.shared.Made(8), countMax-1)
	other.Inc(8)
	wantCounted(t, c, 8, countMax)
	wantBias(t, c, 8, queued, 1, countMax)
	repeat(9, owner.Inc, 9)
	other.Dec(9)
	atomic.StoreUint32(c.shared.Made(9), countMax-2)
	owner.Close()
	wantCounted(t, c, 9, countMax)
	for _, ref := range []uint32{8, 9} {
		if v := atomic.LoadUint32(c.shared.Made(ref)); v != saturatedWord {
			t.Errorf("shared %#x after the merge; want %#x", v, uint32(saturatedWord))
		}
	}
	died.want()
}

// More decrements than increments make a count 0, which is death, once.
func TestBiased_decrementsTooMany(t *testing.T) {
	c, died, owner, other := newBiased(t)
	other.Dec(1) // not born
	wantBias(t, c, 1, nobody, 0, 0)
	died.want()
	owner.Inc(1)
	wantCounted(t, c, 1, 1)
	repeat(5, other.Dec, 1)
	wantCounted(t, c, 1, 0)
	owner.Flush()
	died.want(1)

	owner.Inc(2)
	repeat(2, other.Dec, 2)
	owner.Dec(2)
	owner.Flush()
	died.want(2)
	wantCounted(t, c, 2, 0)

	owner.Inc(3)
	other.Dec(3)
	var low uint32 = localMax
	atomic.StoreUint32(c.shared.Made(3), -low)
	repeat(5, other.Dec, 3)
	wantBias(t, c, 3, queued, 1, -localMax)
	owner.Close()
	died.want(3)
	if other.TryInc(1) || other.TryInc(2) || other.TryInc(3) {
		t.Error("TryInc revives the dead")
	}
}

// An owner closes while others queue what it owns: whoever comes second merges.
func TestBiased_closeWhileOthersQueue(t *testing.T) {
	const rounds, others, objects = 200, 3, 30
	c, died := newMortal(t, Biased{}, objects*rounds)
	for round := range int32(rounds) {
		owner := c.Handle()
		for ref := round*objects + 1; ref <= (round+1)*objects; ref++ {
			repeat(others, owner.Inc, ref)
		}
		var wg sync.WaitGroup
		for range others {
			wg.Go(func() {
				h := c.Handle()
				defer h.Close()
				for ref := round*objects + 1; ref <= (round+1)*objects; ref++ {
					h.Dec(ref)
				}
			})
		}
		if round%2 == 0 {
			owner.Flush()
		}
		owner.Close()
		wg.Wait()
	}
	for ref, n := range died.told {
		if n != 1 {
			t.Errorf("objref %d was told dead %d times", ref, n)
		}
	}
	if n := len(died.told); n != objects*rounds {
		t.Errorf("%d of %d died, without a barrier", n, objects*rounds)
	}
}

// The owner drops its last user while others drop theirs: one of them finds it dead.
func TestBiased_dropWhileOthersDrop(t *testing.T) {
	const rounds, objects = 100, 40
	for range rounds {
		c, died := newMortal(t, Biased{}, objects)
		owner, other := c.Handle(), c.Handle()
		for ref := int32(1); ref <= objects; ref++ {
			owner.Inc(ref)
			other.Inc(ref)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for ref := int32(1); ref <= objects; ref++ {
				other.Dec(ref)
			}
		})
		for ref := int32(1); ref <= objects; ref++ {
			owner.Dec(ref)
		}
		wg.Wait()
		if n := len(died.told); n != objects {
			t.Fatalf("%d of %d died", n, objects)
		}
		for ref, n := range died.told {
			if n != 1 {
				t.Errorf("objref %d was told dead %d times", ref, n)
			}
		}
	}
}

func TestBiased_sizes(t *testing.T) {
	if n := unsafe.Sizeof(BiasedHandle{}); n != biasedHandleBytes {
		t.Errorf("a handle has %d bytes; want %d", n, biasedHandleBytes)
	}
	if n := unsafe.Sizeof(biasedCounter{}.mail); n != mailboxesBytes {
		t.Errorf("the mailboxes have %d bytes; want %d", n, mailboxesBytes)
	}
	if n := unsafe.Sizeof(bias{}); n != 8 {
		t.Errorf("a bias has %d bytes", n)
	}
}
