package engine

import (
	"fmt"
	"iter"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// Renumbering gives each objref of a context a new one, see [Checkpoint.Canonical].
// It does not change, and does not need the context any more.
type Renumbering struct {
	news []ObjRef // by old objref
	olds []ObjRef // by new objref - 1
}

// New returns the new objref of old, 0 if it has none.
func (r *Renumbering) New(old ObjRef) ObjRef {
	if old < 0 || int(old) >= len(r.news) {
		return 0
	}
	return r.news[old]
}

// Len returns how many objrefs there are. The new ones are 1 to Len.
func (r *Renumbering) Len() int { return len(r.olds) }

// All yields each old objref with its new one, in the order of the new ones.
func (r *Renumbering) All() iter.Seq2[ObjRef, ObjRef] {
	return func(yield func(old, renamed ObjRef) bool) {
		for i, old := range r.olds {
			if !yield(old, ObjRef(i+1)) {
				return
			}
		}
	}
}

// Canonical returns numbers for all objects, and all reserved objrefs, that do not
// depend on which thread met what first: 1 to N without holes, in the order in which
// one thread would have met them, had it walked the holders one after the other.
// order is the order in which it would have; holders that are not in there follow,
// in ascending order. nil stands for no holders: all are in ascending order.
//
// The numbers depend on objects and holders alone if each holder's objects are met in
// the same order each time, by one thread at a time. They are final once all handles
// that have met something are closed; what open ones have met lately may be missing.
// So are late objects, see [Checkpoint.EndCollect]; objrefs reserved late are not.
//
// It takes time proportional to all encounters, on as many goroutines as there are
// processors. The result takes about 8 bytes for each objref, and making it 12 more
// for each and about 80 for each SetHolder call; this is the caller's memory, not charged
// to the context.
//
// Errors: [ErrInvalid] without Options.TrackHolders, or for a holder that order names
// twice; [ErrClosed].
func (c *Checkpoint) Canonical(order iter.Seq[uint64]) (*Renumbering, error) {
	if c.isClosed() {
		return nil, ErrClosed
	}
	if !c.holders.tracked {
		return nil, fmt.Errorf("%w: a canonical order needs Options.TrackHolders", ErrInvalid)
	}
	ranks, err := rank(order)
	if err != nil {
		return nil, err
	}
	w := c.newWalk(ranks)
	r := w.renumber()
	if c.isClosed() {
		return nil, ErrClosed // what was read may not have been there any more
	}
	runtime.KeepAlive(c)
	return r, nil
}

// rank returns the place of each holder in order.
func rank(order iter.Seq[uint64]) (map[uint64]int, error) {
	ranks := map[uint64]int{}
	if order == nil {
		return ranks, nil
	}
	for holder := range order {
		if first, twice := ranks[holder]; twice {
			return nil, fmt.Errorf("%w: holder %d is number %d and number %d of the order", ErrInvalid, holder, first+1, len(ranks)+1)
		}
		ranks[holder] = len(ranks)
	}
	return ranks, nil
}

// walk is all encounters in the order of one thread. An encounter's number in there is
// its position.
type walk struct {
	pieces []piece
	end    uint32 // all objrefs are below
}

// piece is a part of a walk for one worker.
type piece struct {
	runs     []run
	position uint64 // of the first encounter
}

// pieceLen is how many encounters a piece has, at least.
const pieceLen = 32 << 10

func (c *Checkpoint) newWalk(ranks map[uint64]int) walk {
	runs := c.holders.walk(ranks)
	// An objref is given out before it is noted, so it is below what is read now.
	c.leases.mu.Lock()
	w := walk{end: c.leases.next}
	c.leases.mu.Unlock()
	var p piece
	first, encounters := 0, 0
	for i, r := range runs {
		encounters += len(r.refs)
		if encounters >= pieceLen || i == len(runs)-1 {
			p.runs = runs[first : i+1]
			w.pieces = append(w.pieces, p)
			p.position += uint64(encounters)
			first, encounters = i+1, 0
		}
	}
	return w
}

// renumber goes through all encounters twice: to find the first one of each objref,
// and to collect those.
func (w *walk) renumber() *Renumbering {
	// By objref, the complement of the first position: 0 is none, and greater is earlier.
	firsts := make([]uint64, w.end)
	w.inParallel(func(i int) {
		w.encounters(i, func(position uint64, ref uint32) { putMax(&firsts[ref], ^position) })
	})
	found := make([][]ObjRef, len(w.pieces))
	w.inParallel(func(i int) {
		var here []ObjRef
		w.encounters(i, func(position uint64, ref uint32) {
			if firsts[ref] == ^position {
				here = append(here, ObjRef(ref))
			}
		})
		found[i] = here
	})
	r := &Renumbering{news: make([]ObjRef, w.end), olds: slices.Concat(found...)}
	for i, old := range r.olds {
		r.news[old] = ObjRef(i + 1)
	}
	return r
}

// inParallel calls f for every piece, on as many goroutines as there are processors.
func (w *walk) inParallel(f func(piece int)) {
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(w.pieces)) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(w.pieces); i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	workers.Wait()
}

// encounters calls f for every encounter in a piece, in order.
func (w *walk) encounters(piece int, f func(position uint64, ref uint32)) {
	position := w.pieces[piece].position
	for _, r := range w.pieces[piece].runs {
		for _, ref := range r.refs {
			if 0 < ref && ref < w.end { // else the context is being closed
				f(position, ref)
			}
			position++
		}
	}
}

// putMax makes *to at least v.
//
// Ordering: none is needed; the workers are waited for before it is read.
func putMax(to *uint64, v uint64) {
	for old := atomic.LoadUint64(to); old < v; old = atomic.LoadUint64(to) {
		if atomic.CompareAndSwapUint64(to, old, v) {
			return
		}
	}
}
