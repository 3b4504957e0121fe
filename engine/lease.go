package engine

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
)

// leaseRefs is how many objrefs a handle takes at a time: enough that the lock is
// rare, few enough that H handles leave at most 64 H holes.
const leaseRefs = 64

// leasePool gives objrefs out to handles in blocks, in order, and takes back what
// they did not use; that is given out again first.
type leasePool struct {
	mu      sync.Mutex
	closed  bool      // no more leases
	dropped bool      // Close has dropped all references
	next    uint32    // the smallest objref never given out
	free    []span    // given back, or left out by the snapshot the context was made from
	unused  int       // objrefs in free
	handles []*Dumper // open ones; handle d is number d.place - 1

	collected *collected // nil: the collect pass has not been ended

	// Objects and reserved objrefs in leases that have ended.
	objects, reserved int
}

func newLeasePool() leasePool { return leasePool{next: 1} }

// take ends d's lease, and gives it another one.
func (p *leasePool) take(d *Dumper) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	p.end(d)
	var s span
	if n := len(p.free); n > 0 {
		s = p.free[n-1]
		if s.last-s.first < leaseRefs {
			p.free = p.free[:n-1]
		} else {
			s.last = s.first + leaseRefs - 1
			p.free[n-1].first += leaseRefs
		}
		p.unused -= s.len()
	} else {
		if p.next > refMax {
			return fmt.Errorf("%w: all %d are in use or leased", ErrExhausted, refMax)
		}
		s = span{p.next, uint32(min(uint64(p.next)+leaseRefs-1, refMax))}
		p.next = s.last + 1
	}
	if err := d.c.makeRoom(s); err != nil {
		p.giveBack(s)
		return err
	}
	d.lease, d.next = s, s.first
	d.leased = true
	d.findCells()
	return nil
}

// giveBack notes objrefs that are free to be leased.
func (p *leasePool) giveBack(s span) {
	p.free = append(p.free, s)
	p.unused += s.len()
}

// end ends d's lease, if it has one, and keeps what is left of it.
func (p *leasePool) end(d *Dumper) {
	if !d.leased {
		return
	}
	d.leased = false
	if d.heldNext { // a hole: another handle's object must not inherit the hold
		d.heldNext = false
		d.next++
	}
	p.objects += int(d.objects)
	p.reserved += int(d.reserved)
	d.objects, d.reserved = 0, 0
	if d.next <= d.lease.last {
		p.giveBack(span{d.next, d.lease.last})
	}
	d.next = d.lease.last + 1
	d.cells, d.bare = nil, 0
}

// add registers a new handle, unless the context is closed.
func (p *leasePool) add(d *Dumper) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.handles = append(p.handles, d)
		d.place = int32(len(p.handles))
	}
}

// remove ends d's lease for good. It returns true if this was what the release of a
// closed context's memory waited for.
func (p *leasePool) remove(d *Dumper) (release bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end(d)
	if d.place == 0 {
		return false
	}
	end := len(p.handles) - 1
	last := p.handles[end]
	p.handles[d.place-1], last.place = last, d.place
	p.handles[end] = nil
	p.handles = p.handles[:end]
	d.place = 0
	return p.dropped && end == 0
}

// close refuses further leases and returns the largest objref ever given out.
func (p *leasePool) close() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return p.next - 1
}

// moving returns the largest objref ever given out, and, in order, the ranges in which
// handles may make, or take back, records from now on. All other records of objects, up
// to that objref, are of published ones: their leases have ended.
func (p *leasePool) moving() (last uint32, in []span) {
	p.mu.Lock()
	in = slices.Clone(p.free)
	for _, d := range p.handles {
		if d.leased {
			in = append(in, d.lease)
		}
	}
	last = p.next - 1
	p.mu.Unlock()
	slices.SortFunc(in, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	return last, in
}

// skip makes the pool of a new context leave out the objrefs in use, in order, and give
// out those between them first, the smallest ones before the others.
func (p *leasePool) skip(used []span) {
	for _, s := range used {
		if p.next < s.first {
			p.giveBack(span{p.next, s.first - 1})
		}
		p.next = s.last + 1
	}
	slices.Reverse(p.free)
}

// allDropped notes that Close has been through all records, and returns true if no
// handle is open: only handles can be in the midst of an encounter or a dump, which
// must find its record as it was.
func (p *leasePool) allDropped() (release bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dropped = true
	return len(p.handles) == 0
}

// usage is how the objrefs given out are used.
type usage struct {
	largest, objects, reserved, free, handles, expected int
}

// usage looks at the records of the leases that handles still hold, at most 64 each.
func (p *leasePool) usage(c *core) usage {
	p.mu.Lock()
	defer p.mu.Unlock()
	u := usage{largest: int(p.next - 1), objects: p.objects, reserved: p.reserved, free: p.unused, handles: len(p.handles)}
	for _, d := range p.handles {
		if !d.leased {
			continue
		}
		for ref := d.lease.first; ref <= d.lease.last; ref++ {
			switch r := load(c.cell(ObjRef(ref))); {
			case r.isObject():
				u.objects++
			case r.state() == reserved:
				u.reserved++
			}
		}
	}
	return u
}
