package engine

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
