package engine

// SetNextObjRef makes ref the smallest objref never given out. Call it before any
// handle has taken a lease.
func (c *Checkpoint) SetNextObjRef(ref ObjRef) {
	c.leases.mu.Lock()
	defer c.leases.mu.Unlock()
	c.leases.next = uint32(ref)
}
