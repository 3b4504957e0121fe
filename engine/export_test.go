package engine

import (
	"io"
	"iter"
)

// SetNextObjRef makes ref the smallest objref never given out. Call it before any
// handle has taken a lease.
func (c *Checkpoint) SetNextObjRef(ref ObjRef) {
	c.leases.mu.Lock()
	defer c.leases.mu.Unlock()
	c.leases.next = uint32(ref)
}

// Waiting returns how many waiters there are, by both counts of them.
func (r *Restart) Waiting() (registered, counted int) {
	for i := range r.waitedFor {
		counted += int(r.waitedFor[i].n.Load())
	}
	r.waits.mu.Lock()
	defer r.waits.mu.Unlock()
	for _, list := range r.waits.waiters {
		registered += len(list)
	}
	if registered != r.waits.waiting {
		registered = -1
	}
	return registered, counted
}

// WriteSnapshotWith is WriteSnapshot of a context that knows holders.
func (c *Checkpoint) WriteSnapshotWith(w io.Writer, holders func(ObjRef) []Holder) error {
	return c.writeSnapshot(w, func(first, last ObjRef) iter.Seq2[ObjRef, []Holder] {
		return func(yield func(ObjRef, []Holder) bool) {
			for ref := first; ref <= last; ref++ {
				if h := holders(ref); len(h) > 0 && !yield(ref, h) {
					return
				}
			}
		}
	}, nil)
}

// EncodeSnapshot writes s, sound or not, as a context with these objects would.
func EncodeSnapshot(w io.Writer, s *Snapshot) error {
	objects := s.Objects
	e := newSnapshotEncoder(w, func(first, last ObjRef) iter.Seq2[ObjRef, []Holder] {
		return func(yield func(ObjRef, []Holder) bool) {
			for ; len(objects) > 0 && objects[0].Ref <= last; objects = objects[1:] {
				if o := &objects[0]; len(o.Holders) > 0 && !yield(o.Ref, o.Holders) {
					return
				}
			}
		}
	})
	err := e.start(s.Kinds)
	for i := range s.Objects {
		o := &s.Objects[i]
		if err == nil && o.Flags&Keyed != 0 {
			err = e.key(o.Ref, o.Key)
		}
		if err == nil {
			err = e.object(o.Ref, o.Ptr, o.Kind, o.Flags, o.Users)
		}
	}
	if err == nil {
		err = e.finishBlock()
	}
	if err == nil {
		err = e.trailer()
	}
	return err
}
