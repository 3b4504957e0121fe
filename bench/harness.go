package bench

import (
	"sync/atomic"
	"time"

	"github.com/objhash/objhash/bench/target"
)

// noTarget is the worker of a target that does nothing but what each has to: it takes an
// address and answers an objref.
type noTarget struct{ target.Worker }

func (noTarget) Lookup(ptrs []uint64, refs []int32) (found int, err error) {
	refs = refs[:len(ptrs)]
	for i, p := range ptrs {
		refs[i] = int32(p)
	}
	return len(ptrs), nil
}

// harnessCost is what the harness itself adds to each operation, in nanoseconds: the
// handing over of blocks, and the loop in the worker. It is the least of several trials,
// for the rest is what interrupted them.
func harnessCost() float64 {
	const trials, ops = 20, 1 << 16
	w := noTarget{}
	th := thread{
		worker: worker{do: func(p part) (int, error) { return w.Lookup(p.ptrs, p.refs) }},
		part:   part{ptrs: make([]uint64, ops), refs: make([]int32, ops)},
	}
	var stop atomic.Bool
	least := time.Duration(1<<63 - 1)
	for range trials {
		start := time.Now()
		th.blocks(&stop)
		least = min(least, time.Since(start))
	}
	return float64(least.Nanoseconds()) / ops
}
