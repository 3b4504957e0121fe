//go:build linux

// Sharedfiles walks the processes of this machine, on several threads at once, and
// prints the files that most descriptors share: the first half of what a checkpoint
// tool does with open files.
//
// A file is identified by device and inode, a key; the processes' descriptors are its
// encounters. Only what this user may read is seen. Linux only.
package main

import (
	"cmp"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"text/tabwriter"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/objhash/objhash/engine"
)

// Kinds of open files, in the order of the engine's options.
const (
	regular engine.Kind = iota + 1
	directory
	device
	pipe
	socket
	other
)

var kinds = []engine.KindOps{
	regular - 1:   {Name: "file"},
	directory - 1: {Name: "directory"},
	device - 1:    {Name: "device"},
	pipe - 1:      {Name: "pipe"},
	socket - 1:    {Name: "socket"},
	other - 1:     {Name: "other"},
}

func main() {
	threads := flag.Int("threads", 4, "threads that walk processes")
	top := flag.Int("top", 10, "files to print")
	flag.Parse()
	if err := run(*threads, *top); err != nil {
		fmt.Fprintln(os.Stderr, "sharedfiles:", err)
		os.Exit(1)
	}
}

func run(threads, top int) error {
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	checkpoint, err := engine.NewCheckpoint(engine.Options{Kinds: kinds})
	if err != nil {
		return err
	}
	defer checkpoint.Close()

	var names sync.Map // objref -> what the first descriptor called it
	work := make(chan string)
	var g errgroup.Group
	for range max(threads, 1) {
		g.Go(func() error {
			d := checkpoint.Dumper()
			defer d.Close()
			var failed error
			for process := range work {
				if err := walk(d, process, &names); err != nil && failed == nil {
					failed = err
				}
			}
			return failed
		})
	}
	for _, p := range processes {
		work <- p
	}
	close(work)
	if err := g.Wait(); err != nil {
		return err
	}
	return report(checkpoint, &names, len(processes), top)
}

// walk encounters every open file of one process. A process that ends meanwhile, or
// belongs to someone else, is passed over.
func walk(d *engine.Dumper, process string, names *sync.Map) error {
	descriptors, err := os.ReadDir(filepath.Join(process, "fd"))
	if err != nil {
		return nil
	}
	for _, entry := range descriptors {
		path := filepath.Join(process, "fd", entry.Name())
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil {
			continue
		}
		key := binary.LittleEndian.AppendUint64(nil, uint64(st.Dev))
		key = binary.LittleEndian.AppendUint64(key, st.Ino)
		ref, first, err := d.EncounterKey(key, kindOf(uint32(st.Mode)))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if first {
			name, _ := os.Readlink(path)
			names.Store(ref, name)
		}
	}
	return nil
}

func kindOf(mode uint32) engine.Kind {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return regular
	case unix.S_IFDIR:
		return directory
	case unix.S_IFCHR, unix.S_IFBLK:
		return device
	case unix.S_IFIFO:
		return pipe
	case unix.S_IFSOCK:
		return socket
	}
	return other
}

func report(c *engine.Checkpoint, names *sync.Map, processes, top int) error {
	type row struct {
		ref    engine.ObjRef
		object engine.Object
	}
	var rows []row
	encounters := int64(0)
	for ref, o := range c.All() {
		rows = append(rows, row{ref, o})
		encounters += o.Users
	}
	slices.SortFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(b.object.Users, a.object.Users), cmp.Compare(a.ref, b.ref))
	})
	fmt.Printf("%d processes, %d descriptors, %d files\n", processes, encounters, len(rows))
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "descriptors\tobjref\tkind\tname")
	for _, r := range rows[:min(top, len(rows))] {
		name, _ := names.Load(r.ref)
		fmt.Fprintf(w, "%d\t%d\t%s\t%v\n", r.object.Users, r.ref, kinds[r.object.Kind-1].Name, name)
	}
	return w.Flush()
}
