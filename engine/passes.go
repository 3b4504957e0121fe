package engine

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"sort"
)

// EndCollect ends the collect pass, in which all objects are met and their users
// counted, and begins the dump pass, in which they are met again and dumped. From
// here on encounters of every kind, those of [Dumper.Dump] included, do not count
// users or note holders any more, and an object that was not met before is a late
// one. [Checkpoint.Audit] tells which those are, and which were collected but not
// dumped. A context on which it is never called has one pass, where an object may be
// dumped as soon as it is met.
//
// It is a barrier between the passes: no encounter should be under way; one that is
// belongs to either pass, its object too. Handles may stay open.
//
// Errors: [ErrInvalid] if the pass has been ended before; [ErrClosed].
func (c *Checkpoint) EndCollect() error {
	if c == nil {
		return ErrClosed
	}
	err := c.leases.endCollect(c)
	runtime.KeepAlive(c)
	return err
}

// collected is which objrefs were in use when the collect pass ended. Objects under
// the others, which are given out later, are late.
type collected struct {
	end    uint32 // the smallest objref never given out
	unused []span // of those below, by objref
}

func (p *leasePool) endCollect(c *Checkpoint) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case c.isClosed():
		return ErrClosed
	case p.collected != nil:
		return fmt.Errorf("%w: the collect pass has been ended before", ErrInvalid)
	}
	// Ordering: past is stored before records are looked at; the encounter of a new
	// object writes its record before it loads past. So if that encounter counts, its
	// object is not late, even where this is no barrier.
	c.past.Store(true)
	p.collected = &collected{p.next, p.notInUse(c)}
	return nil
}

// notInUse returns all objrefs that have been given out, or belong to the base, and have
// neither an object nor been reserved. The lock is held.
func (p *leasePool) notInUse(c *Checkpoint) []span {
	spans := append(c.notMet(), p.free...)
	for _, d := range p.handles {
		if !d.leased {
			continue
		}
		for ref := d.lease.first; ref <= d.lease.last; ref++ {
			if load(c.cell(ObjRef(ref))).state() != absent {
				continue
			}
			spans = appendRef(spans, ObjRef(ref))
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	return spans
}

// pastCollect returns what is known of the collect pass, nil if it has not been ended.
func (p *leasePool) pastCollect() *collected {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.collected
}

// has tells whether the object of ref was met in the collect pass.
func (p *collected) has(ref ObjRef) bool {
	r := uint32(ref)
	i := sort.Search(len(p.unused), func(i int) bool { return p.unused[i].last >= r })
	return r < p.end && (i == len(p.unused) || p.unused[i].first > r)
}
