//go:build linux && !race && (amd64 || arm64 || riscv64 || s390x || ppc64le || loong64)

// Where large tables are mapped, the system tells whether they have been given back.

package engine_test

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/objhash/objhash/engine"
)

// residentBytes returns the memory that this process has.
func residentBytes(t *testing.T) int64 {
	t.Helper()
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc here: ", err)
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(data), &size, &resident); err != nil {
		t.Fatal(err)
	}
	return resident * int64(os.Getpagesize())
}

// fillUp makes a context of a million objects, of about 30 MB.
func fillUp(t *testing.T) (*engine.Checkpoint, *engine.Dumper) {
	c, err := engine.NewCheckpoint(engine.Options{Kinds: []engine.KindOps{{}}, ExpectedObjects: 1_000_000})
	if err != nil {
		t.Fatal(err)
	}
	d := c.Dumper()
	ptrs, refs := make([]engine.Ptr, 1_000), make([]engine.ObjRef, 1_000)
	for i := 0; i < 1_000_000; i += len(ptrs) {
		for j := range ptrs {
			ptrs[j] = addr(i + j)
		}
		if err := d.EncounterBatch(ptrs, 1, refs, nil); err != nil {
			t.Fatal(err)
		}
	}
	return c, d
}

func TestG25_closeGivesMemoryBackAtOnce(t *testing.T) {
	for _, contextFirst := range []bool{true, false} {
		c, d := fillUp(t)
		bytes := c.Stats().Bytes
		before := residentBytes(t)
		if contextFirst {
			closeQuietly(t, c)
			closeQuietly(t, d)
		} else {
			closeQuietly(t, d)
			closeQuietly(t, c)
		}
		if given := before - residentBytes(t); given < bytes/2 {
			t.Errorf("of %d bytes Close gave back %d", bytes, given)
		}
	}
}

func TestG25_droppedContextGivesItsMemoryBack(t *testing.T) {
	debug.FreeOSMemory() // what others left must not hide what we leave
	before := residentBytes(t)
	var bytes int64
	for range 4 {
		c, _ := fillUp(t) // lost without Close, and its handle as well
		bytes += c.Stats().Bytes
	}
	left := bytes
	for range 1_000 {
		runtime.GC()
		if left = residentBytes(t) - before; left < bytes/4 {
			return
		}
	}
	t.Errorf("contexts of %d bytes that nobody can reach still take %d", bytes, left)
}
