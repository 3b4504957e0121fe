package target

import (
	"context"

	"github.com/objhash/objhash/bench/baseline"
	"github.com/objhash/objhash/engine"
)

// Image is what a restart restores: by objref - 1, where each object will be once it
// is created, its kind, and the objects that must exist before it does.
type Image struct {
	Ptrs  []uint64
	Kinds []uint16
	Needs [][2]int32 // 0: none; nil: no object needs another
}

// Restart is the restart side of a target.
type Restart interface {
	// Worker returns a handle for one thread. Not concurrent with operations.
	Worker() (RestartWorker, error)

	Len() int
	Bytes() int64
	Close() error
}

// RestartWorker does blocks of operations for one thread.
type RestartWorker interface {
	// Restore makes each of refs exist, after what it needs, writes its address to
	// ptrs, and returns how many objects this worker created. No object is created
	// twice, by whichever workers.
	Restore(refs []int32, ptrs []uint64) (created int, err error)

	// Fetch writes the address of each of refs, which exist, to ptrs, and returns how
	// many there are.
	Fetch(refs []int32, ptrs []uint64) (found int, err error)

	Close() error
}

type objhashRestart struct {
	r     *engine.Restart
	image *Image
}

func newObjhashRestart(o Options, image *Image) (Restart, error) {
	options := engine.Options{ExpectedObjects: o.Expected, Kinds: engineKinds(o)}
	r, err := engine.NewRestart(options)
	if err != nil {
		return nil, err
	}
	return &objhashRestart{r: r, image: image}, nil
}

func (t *objhashRestart) Len() int     { return t.r.Len() }
func (t *objhashRestart) Bytes() int64 { return t.r.Bytes() }
func (t *objhashRestart) Close() error { return t.r.Close() }

func (t *objhashRestart) Worker() (RestartWorker, error) {
	w := &objhashRestorer{r: t.r, h: t.r.Restorer(), image: t.image}
	w.create = w.createObject
	return w, nil
}

type objhashRestorer struct {
	r       *engine.Restart
	h       *engine.Restorer
	image   *Image
	create  func(*engine.Claim) (engine.Ptr, error)
	created int
	_       [64]byte // created is written by every new object
}

func (w *objhashRestorer) createObject(c *engine.Claim) (engine.Ptr, error) {
	i := c.Ref() - 1
	if w.image.Needs != nil {
		for _, need := range w.image.Needs[i] {
			if need == 0 {
				continue
			}
			if _, err := w.restore(engine.ObjRef(need)); err != nil {
				return 0, err
			}
		}
	}
	w.created++
	return engine.Ptr(w.image.Ptrs[i]), nil
}

func (w *objhashRestorer) restore(ref engine.ObjRef) (engine.Ptr, error) {
	return w.h.Restore(context.Background(), ref, engine.Kind(w.image.Kinds[ref-1]), w.create)
}

func (w *objhashRestorer) Restore(refs []int32, ptrs []uint64) (created int, err error) {
	before := w.created
	for i, ref := range refs {
		p, err := w.restore(engine.ObjRef(ref))
		if err != nil {
			return w.created - before, err
		}
		ptrs[i] = uint64(p)
	}
	return w.created - before, nil
}

func (w *objhashRestorer) Fetch(refs []int32, ptrs []uint64) (found int, err error) {
	for i, ref := range refs {
		p, err := w.r.Fetch(engine.ObjRef(ref), engine.Kind(w.image.Kinds[ref-1]))
		if err != nil {
			return i, err
		}
		ptrs[i] = uint64(p)
	}
	return len(refs), nil
}

func (w *objhashRestorer) Close() error { return w.h.Close() }

// baselineRestart is its own worker: there is only one.
type baselineRestart struct {
	t     *baseline.Table
	image *Image
}

func newBaselineRestart(c baseline.Config, o Options, image *Image) (Restart, error) {
	c.Kinds = baselineKinds(o)
	t, err := baseline.New(c)
	if err != nil {
		return nil, err
	}
	return &baselineRestart{t: t, image: image}, nil
}

func (t *baselineRestart) Worker() (RestartWorker, error) { return baselineRestorer{t}, nil }
func (t *baselineRestart) Len() int                       { return t.t.Len() }
func (t *baselineRestart) Bytes() int64                   { return t.t.Bytes() }

func (t *baselineRestart) Close() error {
	t.t.Close()
	return nil
}

type baselineRestorer struct{ *baselineRestart }

// restore looks the object up, creates what it needs and then it, and inserts it, as
// the restart of 2008 did.
func (t *baselineRestart) restore(ref int32) (ptr uint64, created int, err error) {
	i := ref - 1
	if ptr, err = t.t.TryFetch(ref, t.image.Kinds[i]); ptr != 0 || err != nil {
		return ptr, 0, err
	}
	if t.image.Needs != nil {
		for _, need := range t.image.Needs[i] {
			if need == 0 {
				continue
			}
			_, n, err := t.restore(need)
			created += n
			if err != nil {
				return 0, created, err
			}
		}
	}
	ptr = t.image.Ptrs[i]
	return ptr, created + 1, t.t.Insert(ref, ptr, t.image.Kinds[i])
}

func (w baselineRestorer) Restore(refs []int32, ptrs []uint64) (created int, err error) {
	for i, ref := range refs {
		p, n, err := w.restore(ref)
		created += n
		if err != nil {
			return created, err
		}
		ptrs[i] = p
	}
	return created, nil
}

func (w baselineRestorer) Fetch(refs []int32, ptrs []uint64) (found int, err error) {
	for i, ref := range refs {
		if ptrs[i], err = w.t.Fetch(ref, w.image.Kinds[ref-1]); err != nil {
			return i, err
		}
	}
	return len(refs), nil
}

func (w baselineRestorer) Close() error { return nil }
