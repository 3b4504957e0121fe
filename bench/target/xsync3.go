package target

import "github.com/puzpuzpuz/xsync/v3"

var xsync3 = Spec{
	Name:    "xsync3",
	Summary: "xsync v3's MapOf",
	New: func(o Options) (Target, error) {
		options := []func(*xsync.MapConfig){xsync.WithGrowOnly()}
		if o.Expected > 0 {
			options = append(options, xsync.WithPresize(o.Expected))
		}
		return &xsync3Target{m: xsync.NewMapOf[uint64, int32](options...)}, nil
	},
}

type xsync3Target struct {
	source source
	m      *xsync.MapOf[uint64, int32]
}

func (t *xsync3Target) Worker() (Worker, error) {
	return &xsync3Worker{t: t, lease: lease{from: &t.source}}, nil
}

func (t *xsync3Target) Lookup(ptr uint64) (int32, bool) { return t.m.Load(ptr) }
func (t *xsync3Target) Len() int                        { return t.m.Size() }
func (t *xsync3Target) Bytes() int64                    { return BytesUnknown }
func (t *xsync3Target) Close() error                    { return nil }

type xsync3Worker struct {
	t     *xsync3Target
	lease lease
}

// Encounter loads before it stores although LoadOrStore would do both: it is
// much faster on hits and as fast on new objects.
func (w *xsync3Worker) Encounter(ptrs []uint64, _ []uint16, refs []int32) (first int, err error) {
	m := w.t.m
	for i, p := range ptrs {
		ref, ok := m.Load(p)
		if !ok {
			if ref, ok = m.LoadOrStore(p, w.lease.candidate()); !ok {
				w.lease.take()
				first++
			}
		}
		refs[i] = ref
	}
	return first, nil
}

func (w *xsync3Worker) Lookup(ptrs []uint64, refs []int32) (found int, err error) {
	m := w.t.m
	for i, p := range ptrs {
		ref, ok := m.Load(p)
		if ok {
			found++
		}
		refs[i] = ref
	}
	return found, nil
}

func (w *xsync3Worker) Close() error { return nil }
