package target

import "github.com/puzpuzpuz/xsync/v4"

var xsync4 = Spec{
	Name:    "xsync4",
	Summary: "xsync v4's Map",
	New: func(o Options) (Target, error) {
		options := []func(*xsync.MapConfig){xsync.WithGrowOnly()}
		if o.Expected > 0 {
			options = append(options, xsync.WithPresize(o.Expected))
		}
		return &xsync4Target{m: xsync.NewMap[uint64, int32](options...)}, nil
	},
}

type xsync4Target struct {
	source source
	m      *xsync.Map[uint64, int32]
}

func (t *xsync4Target) Worker() (Worker, error) {
	return &xsync4Worker{t: t, lease: lease{from: &t.source}}, nil
}

func (t *xsync4Target) Lookup(ptr uint64) (int32, bool) { return t.m.Load(ptr) }
func (t *xsync4Target) Len() int                        { return t.m.Size() }
func (t *xsync4Target) Bytes() int64                    { return BytesUnknown }
func (t *xsync4Target) Close() error                    { return nil }

type xsync4Worker struct {
	t     *xsync4Target
	lease lease
}

// Encounter loads before it stores although LoadOrStore would do both: it is
// much faster on hits and as fast on new objects.
func (w *xsync4Worker) Encounter(ptrs []uint64, _ []uint16, refs []int32) (first int, err error) {
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

func (w *xsync4Worker) Lookup(ptrs []uint64, refs []int32) (found int, err error) {
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

func (w *xsync4Worker) Close() error { return nil }
