package refcount

import (
	"math"
	"sync/atomic"
	"testing"
)

// Operations lead no word out of its zone, from anywhere in it: not from the middle, nor
// from where an operation on its way would have moved it.
func TestG4_wordsStayInTheirZones(t *testing.T) {
	for _, zone := range []struct {
		name        string
		first, last uint32
		count       int64
		dead        bool
	}{
		{"saturated", 0x8000_0000, deadMin - 1, math.MaxInt32, false},
		{"dead", deadMin, belowZeroMin - 1, 0, true},
	} {
		for _, at := range []uint32{zone.first, zone.first + 1, zone.first/2 + zone.last/2, zone.last - 1, zone.last} {
			if got := wordCount(at); got != zone.count || isDead(at) != zone.dead {
				t.Errorf("%s word %#x: count %d, dead: %t", zone.name, at, got, isDead(at))
			}
			if got := mended(at); got < zone.first+1<<28 || got > zone.last-1<<28+1 {
				t.Errorf("%s word %#x is mended to %#x, near an end of its zone", zone.name, at, got)
			}
		}
		for name, do := range map[string]func(w *uint32) bool{
			"incWord":   incWord,
			"tryIncCAS": tryIncCAS,
			"decWord":   func(w *uint32) bool { return !decWord(w) != zone.dead },
		} {
			w := zone.first/2 + zone.last/2
			for range 3 {
				if got := do(&w); got == zone.dead {
					t.Errorf("%s of a %s word returns %t", name, zone.name, got)
				}
				if v := atomic.LoadUint32(&w); v < zone.first || v > zone.last {
					t.Errorf("%s of a %s word leads to %#x", name, zone.name, v)
				}
			}
		}
	}
	for _, at := range []uint32{belowZeroMin, 0xffff_fffe, 0xffff_ffff} {
		if wordCount(at) != 0 || isDead(at) || mended(at) != 0 {
			t.Errorf("word %#x below 0: count %d, dead: %t, mended to %#x", at, wordCount(at), isDead(at), mended(at))
		}
	}
	for _, at := range []uint32{0, 1, countMax} {
		if wordCount(at) != int64(at) || isDead(at) {
			t.Errorf("word %#x: count %d, dead: %t", at, wordCount(at), isDead(at))
		}
	}
}

// The same through each strategy that has such words, from next to the end of a zone: an
// operation goes back to the middle, so that no number of them crosses it.
func TestG4_operationsDoNotLeaveAZone(t *testing.T) {
	const near = 3
	for _, s := range strategies {
		deadAt := []uint32{deadMin + near, belowZeroMin - 1 - near}
		saturatedAt := uint32(deadMin - 1 - near)
		switch s.(type) {
		case Plain, Mutex, Atomic, Padded, CAS, Rcuref:
		case Log:
			// What is dead is noted elsewhere; and a carry is a longer step.
			deadAt, saturatedAt = nil, belowZeroMin-1-near-(ownFull+1)
		default:
			continue
		}
		t.Run("strategy="+s.Name(), func(t *testing.T) {
			c, _ := newCounterWith(t, s, 0, func(ref int32) { t.Errorf("%d told dead", ref) })
			grow(t, c, 1, 64)
			h := c.Handle()
			for _, change := range []func(ref int32) bool{
				func(ref int32) bool { h.Inc(ref); return true },
				h.TryInc,
			} {
				presets[s.Name()](c, 7, saturatedAt)
				for range 1_000 {
					if !change(7) {
						t.Error("TryInc of a saturated objref returns false")
					}
				}
				h.Flush()
				wantCount(t, s, c, 7, math.MaxInt32)
			}
			for _, at := range deadAt {
				presets[s.Name()](c, 7, at)
				for range 10 * near {
					h.Inc(7)
				}
				presets[s.Name()](c, 8, at)
				for range 10 * near {
					h.Dec(8)
				}
				for _, ref := range []int32{7, 8} {
					wantCount(t, s, c, ref, 0)
					if h.TryInc(ref) {
						t.Errorf("TryInc of a dead objref, %#x at first, returns true", at)
					}
				}
			}
			h.Close()
		})
	}
}

// Between the decrement that made a word 0 and the step that makes it dead, others may
// have raised it, or have been faster.
func TestZero_thatComesTooLate(t *testing.T) {
	u := newUsers(t, 64)
	c, _ := newCounterWith(t, Atomic{}, 0, u.zero)
	grow(t, c, 1, 64)
	a := c.(*AtomicCounter)
	w := a.at(7)
	*w = 1 // raised
	die(a.zero, 7, w)
	wantCount(t, Atomic{}, c, 7, 1)
	u.wantDead("raised", 7, 7, none)
	*w = 0
	die(a.zero, 7, w)
	die(a.zero, 7, w) // somebody raised it, and dropped it again
	u.wantDead("dropped", 7, 7, every)
	if a.TryInc(7) {
		t.Error("TryInc of a dead objref returns true")
	}
}
