package bench

import (
	"runtime"
	"sync/atomic"
	"time"
)

// RateMax is the largest rate of an open loop, in operations per second: an operation each
// nanosecond.
const RateMax = 1e9

// openLoopMax bounds what an open loop takes: calls that were to begin later are done at
// once, and not timed. Those that were to begin earlier are all timed, however late they are.
const openLoopMax = 5 * time.Second

// openLoop is blocks with calls that begin at times of a Poisson process, as those of many
// people do who know nothing of each other. A call's time is from when it was to begin: a
// table that stops for a while makes all those late that were to begin meanwhile, and
// hiding that is called coordinated omission.
func (th *thread) openLoop(stop *atomic.Bool, spin bool) {
	n, ops, lo := len(th.part.refs), th.timing.ops, 0
	gap := float64(time.Second) / th.timing.rate
	due, now := 0.0, time.Duration(0)
	for ; lo < n; lo += ops {
		due += th.calls.rng.ExpFloat64() * gap
		if due > float64(openLoopMax) {
			break
		}
		begin := time.Duration(due)
		for now = time.Since(th.start); now < begin && !stop.Load(); now = time.Since(th.start) {
			if !spin {
				runtime.Gosched()
			}
		}
		ok := th.call(lo, min(lo+ops, n), stop)
		now = time.Since(th.start)
		th.calls.record(now - begin)
		if !ok {
			return
		}
	}
	th.calls.served += now
	th.rest(lo, n, stop)
}
