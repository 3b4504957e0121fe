package target

import (
	"io"

	"github.com/objhash/objhash/engine"
	"github.com/objhash/objhash/refcount"
)

// OwnStrategy is the name of the strategy that the engine counts users with unless it is
// given another.
const OwnStrategy = "log"

var objhash = Spec{
	Name:    "objhash",
	Summary: "our engine (engine.Checkpoint): kinds checked, records kept, users counted (default strategy: " + OwnStrategy + "); one call per operation",
	New:     func(o Options) (Target, error) { return newObjhash(o, nil) },

	NewRestart: newObjhashRestart,
	Drops:      true,
	Audits:     true,
	Snapshots:  true,

	WithStrategy: objhashOf,
}

func objhashOf(s refcount.Strategy) Spec {
	spec := Spec{
		Name:      "objhash",
		Summary:   "our engine, one call per operation; users: " + s.Traits().Summary,
		New:       func(o Options) (Target, error) { return newObjhash(o, s) },
		Drops:     true,
		Audits:    true,
		Snapshots: true,
	}
	return spec.with(s)
}

type objhashTarget struct{ c *engine.Checkpoint }

// newObjhash returns a checkpoint that counts users as told; nil: as it does by itself.
func newObjhash(o Options, count refcount.Strategy) (*objhashTarget, error) {
	options := engine.Options{ExpectedObjects: o.Expected, Seed: o.Seed, Kinds: engineKinds(o), Count: count}
	c, err := engine.NewCheckpoint(options)
	if err != nil {
		return nil, err
	}
	return &objhashTarget{c: c}, nil
}

func engineKinds(o Options) (kinds []engine.KindOps) {
	var drop func(engine.Ptr, bool)
	if o.Drop != nil {
		drop = func(p engine.Ptr, _ bool) { o.Drop(uint64(p)) }
	}
	var users func(engine.Ptr) int64
	if o.Users != nil {
		users = func(p engine.Ptr) int64 { return o.Users(uint64(p)) }
	}
	for _, name := range o.Kinds {
		kinds = append(kinds, engine.KindOps{Name: name, Drop: drop, Users: users})
	}
	return kinds
}

// Audit makes the target an Auditor.
func (t *objhashTarget) Audit() (found int, err error) {
	r := t.c.Audit()
	return len(r.LeaksOut) + len(r.LeaksIn), nil
}

// WriteSnapshot and ReadSnapshot make the target a Snapshotter.
func (t *objhashTarget) WriteSnapshot(w io.Writer) error { return t.c.WriteSnapshot(w) }

func (t *objhashTarget) ReadSnapshot(r io.Reader) (objects int, err error) {
	sr, err := engine.NewSnapshotReader(r)
	if err != nil {
		return 0, err
	}
	for o, err := range sr.All() {
		if err != nil {
			return objects, err
		}
		if o.Ptr != 0 {
			objects++
		}
	}
	return objects, nil
}

func (t *objhashTarget) Worker() (Worker, error) {
	return &objhashWorker{c: t.c, d: t.c.Dumper()}, nil
}

func (t *objhashTarget) Lookup(ptr uint64) (int32, bool) {
	ref, ok := t.c.Lookup(engine.Ptr(ptr))
	return int32(ref), ok
}

func (t *objhashTarget) Len() int     { return t.c.Len() }
func (t *objhashTarget) Bytes() int64 { return t.c.Stats().Bytes }
func (t *objhashTarget) Close() error { return t.c.Close() }

// Object makes the target a Recorder.
func (t *objhashTarget) Object(ref int32) (ptr uint64, kind uint16, users int64, ok bool) {
	o, ok := t.c.Object(engine.ObjRef(ref))
	return uint64(o.Ptr), uint16(o.Kind), o.Users, ok
}

type objhashWorker struct {
	c *engine.Checkpoint
	d *engine.Dumper
}

func (w *objhashWorker) Encounter(ptrs []uint64, kinds []uint16, refs []int32) (first int, err error) {
	for i, p := range ptrs {
		ref, added, err := w.d.Encounter(engine.Ptr(p), engine.Kind(kinds[i]))
		if err != nil {
			return first, err
		}
		if added {
			first++
		}
		refs[i] = int32(ref)
	}
	return first, nil
}

func (w *objhashWorker) Lookup(ptrs []uint64, refs []int32) (found int, err error) {
	for i, p := range ptrs {
		ref, ok := w.c.Lookup(engine.Ptr(p))
		if ok {
			found++
		}
		refs[i] = int32(ref)
	}
	return found, nil
}

func (w *objhashWorker) Close() error { return w.d.Close() }
