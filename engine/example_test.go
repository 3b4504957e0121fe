package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/objhash/objhash/engine"
)

const (
	file   engine.Kind = 1
	socket engine.Kind = 2
)

var kinds = []engine.KindOps{{Name: "file"}, {Name: "socket"}}

// Two threads walk the file tables of four tasks, which share open files. Each open
// file is dumped once, by whoever meets it first; all other encounters save its objref
// alone.
func Example() {
	fdTables := map[string][]engine.Ptr{
		"init":   {0xffff888101000100, 0xffff888101000100, 0xffff888101000100},
		"shell":  {0xffff888101000200, 0xffff888101000200, 0xffff888101000200, 0xffff888101000300},
		"editor": {0xffff888101000200, 0xffff888101000200, 0xffff888101000200, 0xffff888101000400},
		"daemon": {0xffff888101000100, 0xffff888101000100, 0xffff888101000300},
	}
	tasks := make(chan string)
	go func() {
		defer close(tasks)
		for _, task := range []string{"init", "shell", "editor", "daemon"} {
			tasks <- task
		}
	}()

	ckpt, err := engine.NewCheckpoint(engine.Options{Kinds: kinds})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ckpt.Close()
	var threads sync.WaitGroup
	for range 2 {
		threads.Go(func() {
			d := ckpt.Dumper()
			defer d.Close()
			for task := range tasks {
				for _, p := range fdTables[task] {
					ref, first, err := d.Encounter(p, file)
					switch {
					case err != nil:
						fmt.Println(task, err)
					case first:
						_ = ref // write the file's state, under ref
					default:
						_ = ref // write ref
					}
				}
			}
		})
	}
	threads.Wait()

	fmt.Println(ckpt.Len(), "open files")
	for _, p := range []engine.Ptr{0xffff888101000100, 0xffff888101000200, 0xffff888101000300, 0xffff888101000400} {
		ref, _ := ckpt.Lookup(p)
		o, _ := ckpt.Object(ref)
		fmt.Printf("%#x has %d users\n", o.Ptr, o.Users)
	}
	// Output:
	// 4 open files
	// 0xffff888101000100 has 5 users
	// 0xffff888101000200 has 6 users
	// 0xffff888101000300 has 2 users
	// 0xffff888101000400 has 1 users
}

// Two sockets that refer to each other: the mark is set before the dump runs, so the
// cycle ends with the objref of an object whose dump is not finished.
func ExampleDumper_Dump() {
	peer := map[engine.Ptr]engine.Ptr{0x1000: 0x2000, 0x2000: 0x1000}

	ckpt, err := engine.NewCheckpoint(engine.Options{Kinds: kinds})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ckpt.Close()
	d := ckpt.Dumper()
	defer d.Close()
	var dump func(p engine.Ptr) (engine.ObjRef, error)
	dump = func(p engine.Ptr) (engine.ObjRef, error) {
		return d.Dump(p, socket, func(ref engine.ObjRef) error {
			other, err := dump(peer[p])
			if err == nil {
				fmt.Printf("socket %d, peer %d\n", ref, other)
			}
			return err
		})
	}
	ref, err := dump(0x1000)
	fmt.Println("dumped", ref, err)
	// Output:
	// socket 2, peer 1
	// socket 1, peer 2
	// dumped 1 <nil>
}

// A whole file table at once, which is several times as fast as one at a time.
func ExampleDumper_EncounterBatch() {
	ckpt, err := engine.NewCheckpoint(engine.Options{Kinds: kinds})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ckpt.Close()
	d := ckpt.Dumper()
	defer d.Close()
	table := []engine.Ptr{0x1000, 0x1000, 0x2000, 0, 0x3000}
	refs, first := make([]engine.ObjRef, len(table)), make([]bool, len(table))
	err = d.EncounterBatch(table, file, refs, first)
	fmt.Println(refs)
	fmt.Println(first)
	fmt.Println(err)
	// Output:
	// [1 1 2 0 3]
	// [true false true false true]
	// element 3: invalid argument: address 0
}

// Where there are no addresses, an object is known by what identifies it.
func ExampleDumper_EncounterKey() {
	ckpt, err := engine.NewCheckpoint(engine.Options{Kinds: kinds})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ckpt.Close()
	d := ckpt.Dumper()
	defer d.Close()
	var key []byte
	for _, inode := range []struct{ dev, ino uint64 }{{8, 100}, {9, 100}, {8, 100}} {
		key = fmt.Appendf(key[:0], "%d:%d", inode.dev, inode.ino)
		fmt.Println(d.EncounterKey(key, file))
	}
	// Output:
	// 1 true <nil>
	// 2 true <nil>
	// 1 false <nil>
}

// A tool that only looks at a snapshot goes through it object by object.
func ExampleSnapshotReader() {
	ckpt, err := engine.NewCheckpoint(engine.Options{Kinds: kinds})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ckpt.Close()
	d := ckpt.Dumper()
	_, err1 := d.Dump(0x1000, file, func(engine.ObjRef) error { return nil })
	_, _, err2 := d.EncounterKey([]byte("8:100"), socket)
	if err := errors.Join(err1, err2, d.Close()); err != nil {
		fmt.Println(err)
	}
	var image bytes.Buffer
	if err := ckpt.WriteSnapshot(&image); err != nil {
		fmt.Println(err)
	}

	r, err := engine.NewSnapshotReader(&image)
	if err != nil {
		fmt.Println(err)
		return
	}
	for o, err := range r.All() {
		if err != nil {
			fmt.Println(err) // the objects before were not all
			return
		}
		fmt.Printf("%d: %s %#x %q, dumped: %t, users: %d\n",
			o.Ref, r.Kinds()[o.Kind-1], o.Ptr, o.Key, o.Flags&engine.Dumped != 0, o.Users)
	}
	// Output:
	// 1: file 0x1000 "", dumped: true, users: 1
	// 2: socket 0x0 "8:100", dumped: false, users: 1
}

// Two rounds of an incremental checkpoint. Between them an object has gone and another
// one has come; what stayed has the objref that it had.
func ExampleNewCheckpointFrom() {
	walk := func(ckpt *engine.Checkpoint, files ...engine.Ptr) {
		d := ckpt.Dumper()
		defer d.Close()
		for _, p := range files {
			if _, _, err := d.Encounter(p, file); err != nil {
				fmt.Println(err)
			}
		}
	}
	options := engine.Options{Kinds: kinds}
	one, err := engine.NewCheckpoint(options)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer one.Close()
	walk(one, 0x1000, 0x2000, 0x3000)
	var image bytes.Buffer
	if err := one.WriteSnapshot(&image); err != nil {
		fmt.Println(err)
	}

	base, err := engine.ReadSnapshot(&image)
	if err != nil {
		fmt.Println(err)
		return
	}
	two, err := engine.NewCheckpointFrom(options, base)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer two.Close()
	walk(two, 0x4000, 0x3000, 0x1000)
	for d := range two.Diff() {
		fmt.Printf("%d: %#x %v\n", d.Ref, d.Object.Ptr, d.Change)
	}
	// Output:
	// 1: 0x1000 again
	// 2: 0x2000 gone
	// 3: 0x3000 again
	// 4: 0x4000 new
}

// On restart objects exist again, at other addresses, and are found by objref.
func ExampleRestart() {
	restart, err := engine.NewRestart(engine.Options{Kinds: kinds, ExpectedObjects: 100})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer restart.Close()
	if err := restart.Insert(7, 0xc000012340, file); err != nil {
		fmt.Println(err)
	}
	p, err := restart.Fetch(7, file)
	fmt.Printf("%#x %v\n", p, err)

	// What a damaged image may ask for:
	fmt.Println(restart.Insert(7, 0xc000056780, file))
	_, err = restart.Fetch(7, socket)
	var kind *engine.KindError
	fmt.Println(err, errors.As(err, &kind))
	_, err = restart.Fetch(8, file)
	fmt.Println(err)
	fmt.Println(restart.Insert(-1, 0xc000056780, file))
	// Output:
	// 0xc000012340 <nil>
	// objref in use already: objref 7 is the file at 0xc000012340
	// object 7 is of kind 1, not 2 true
	// no such object: objref 8
	// invalid argument: objref -1; want 1 to 2147483647
}

// Two threads restore sockets that refer to each other. Each says where its socket is
// before it asks for the peer, so neither waits for the other to be complete.
func ExampleRestorer() {
	type sock struct {
		addr engine.Ptr
		peer engine.ObjRef
	}
	image := map[engine.ObjRef]sock{1: {0xc000001000, 2}, 2: {0xc000002000, 1}}

	restart, err := engine.NewRestart(engine.Options{Kinds: kinds})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer restart.Close()
	var created, connected atomic.Int32
	restore := func(h *engine.Restorer, ref engine.ObjRef) (engine.Ptr, error) {
		var create func(*engine.Claim) (engine.Ptr, error)
		create = func(c *engine.Claim) (engine.Ptr, error) {
			s := image[c.Ref()]
			created.Add(1) // make an empty socket, at s.addr
			if err := c.Declare(s.addr); err != nil {
				return 0, err
			}
			if _, err := h.Restore(context.Background(), s.peer, socket, create); err != nil {
				return 0, err
			}
			connected.Add(1) // fill it in: connect it to the peer
			return s.addr, nil
		}
		return h.Restore(context.Background(), ref, socket, create)
	}

	handles := []*engine.Restorer{restart.Restorer(), restart.Restorer()}
	found := make([]engine.Ptr, len(handles))
	var threads sync.WaitGroup
	for i, h := range handles {
		threads.Go(func() {
			defer h.Close()
			p, err := restore(h, engine.ObjRef(i+1))
			if err != nil {
				fmt.Println(err)
			}
			found[i] = p
		})
	}
	threads.Wait()
	fmt.Printf("%#x %#x\n", found[0], found[1])
	fmt.Println(created.Load(), "created,", connected.Load(), "connected")
	// Output:
	// 0xc000001000 0xc000002000
	// 2 created, 2 connected
}

// Without Declare, objects that need each other to be complete cannot be restored: the
// thread that would close the cycle hears of it at once.
func ExampleCycleError() {
	needs := map[engine.ObjRef]engine.ObjRef{1: 2, 2: 3, 3: 1}

	restart, err := engine.NewRestart(engine.Options{Kinds: kinds})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer restart.Close()
	h := restart.Restorer()
	defer h.Close()
	var create func(*engine.Claim) (engine.Ptr, error)
	create = func(c *engine.Claim) (engine.Ptr, error) {
		return h.Restore(context.Background(), needs[c.Ref()], file, create)
	}
	_, err = h.Restore(context.Background(), 1, file, create)
	var cycle engine.CycleError
	fmt.Println(errors.As(err, &cycle), cycle.Path)
	fmt.Println(errors.Is(err, engine.ErrFailed))
	// Output:
	// true [1 2 3]
	// true
}
