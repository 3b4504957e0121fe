package refcount

import (
	"sync/atomic"

	"github.com/objhash/objhash/internal/region"
)

// Log notes encounters in a short log of the handle's own, and adds them to shared
// counts, as [Atomic] has them, when the log is full: the encounter log with periodic
// compaction.
//
// Fast path: one plain store. A locked add keeps the processor from starting the loads
// of the next encounter; here 64 adds come together, after their cache lines have been
// asked for at once, and a hot object's line moves between threads once per log, not
// once per encounter. Exact once all handles are closed; each open handle holds back 64
// users at most. Memory: 4 bytes for each objref, 272 for each handle.
type Log struct{}

// Name implements [Strategy].
func (Log) Name() string { return "log" }

// New implements [Strategy]. The counter's handles are of type *[LogHandle].
func (Log) New(a *region.Arena) (Counter, error) {
	return &logCounter{AtomicCounter{words: region.NewArray[uint32](a)}}, nil
}

type logCounter struct{ AtomicCounter }

// Handle implements [Counter].
func (c *logCounter) Handle() Handle { return &LogHandle{counter: &c.AtomicCounter, limit: logLen} }

const logLen = 64

// LogHandle is a handle of [Log].
type LogHandle struct {
	counter *AtomicCounter
	n       uint
	limit   uint // flush when n is this
	refs    [logLen]int32
}

// Inc implements [Handle].
func (h *LogHandle) Inc(ref int32) {
	h.refs[h.n%logLen] = ref
	h.n++
	if h.n >= h.limit {
		h.flush()
	}
}

// Close implements [Handle]. What is counted later is added at once.
func (h *LogHandle) Close() {
	h.limit = 1
	h.flush()
}

func (h *LogHandle) flush() {
	refs := h.refs[:h.n]
	h.n = 0
	var words [logLen]*uint32
	for i, ref := range refs {
		words[i] = h.counter.words.Made(uint32(ref))
		// These loads do not wait for each other; the adds below would.
		atomic.LoadUint32(words[i])
	}
	for i := range refs {
		add(words[i])
	}
}
