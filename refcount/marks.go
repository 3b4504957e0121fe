package refcount

import (
	"math/bits"
	"sync/atomic"

	"github.com/objhash/objhash/internal/region"
)

// marks are for strategies that learn of zeros at a barrier: which objrefs have had a
// decrement since the last one, for only those can have died, and which are dead. They
// are two bits for each objref, if deaths are told, and nothing otherwise.
type marks struct {
	zero      func(int32)
	dec, dead *region.Array[uint32] // objref r is bit r%32 of word r/32
	last      atomic.Uint32         // objrefs up to here have room
}

func newMarks(a *region.Arena, zero func(int32)) *marks {
	if zero == nil {
		return &marks{}
	}
	return &marks{zero: zero, dec: region.NewArray[uint32](a), dead: region.NewArray[uint32](a)}
}

func (m *marks) grow(first, last int32) error {
	if m.zero == nil {
		return nil
	}
	err := m.dec.Grow(uint32(first)/32, uint32(last)/32)
	if err == nil {
		err = m.dead.Grow(uint32(first)/32, uint32(last)/32)
	}
	if err != nil {
		return err
	}
	for {
		had := m.last.Load()
		if uint32(last) <= had || m.last.CompareAndSwap(had, uint32(last)) {
			return nil
		}
	}
}

// decremented notes that ref, which has room, has been decremented.
//
// Ordering: reap looks at a barrier, so this happened before.
func (m *marks) decremented(ref int32) {
	if m.zero == nil {
		return
	}
	w, bit := m.dec.Made(uint32(ref)/32), uint32(1)<<(ref%32)
	if atomic.LoadUint32(w)&bit == 0 {
		atomic.OrUint32(w, bit)
	}
}

// isDead tells whether ref, any number, is dead.
func (m *marks) isDead(ref int32) bool {
	if m.zero == nil || ref <= 0 {
		return false
	}
	w := m.dead.At(uint32(ref) / 32)
	return w != nil && atomic.LoadUint32(w)&(1<<(ref%32)) != 0
}

// reap makes dead, and tells, what has been decremented and has no users by count. It
// must be called at a barrier.
func (m *marks) reap(count func(ref int32) int64) {
	if m.zero == nil {
		return
	}
	var died []int32
	for i := range m.last.Load()/32 + 1 {
		w := m.dec.At(i)
		if w == nil {
			continue
		}
		for set := atomic.SwapUint32(w, 0); set != 0; set &= set - 1 {
			bit := bits.TrailingZeros32(set)
			ref := int32(i)*32 + int32(bit)
			if m.isDead(ref) || count(ref) > 0 {
				continue
			}
			atomic.OrUint32(m.dead.Made(i), 1<<bit)
			died = append(died, ref)
		}
	}
	tell(m.zero, died...)
}

func (m *marks) bytes() int64 {
	if m.zero == nil {
		return 0
	}
	return m.dec.Bytes() + m.dead.Bytes()
}
