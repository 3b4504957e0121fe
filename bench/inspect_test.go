package bench_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/engine"
)

// snapshotFile writes the snapshot of a context in which object i of n has i users, and
// returns its path.
func snapshotFile(t *testing.T, kinds []string, n int) string {
	t.Helper()
	var ops []engine.KindOps
	for _, name := range kinds {
		ops = append(ops, engine.KindOps{Name: name})
	}
	c, err := engine.NewCheckpoint(engine.Options{Kinds: ops})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d := c.Dumper()
	for i := range n {
		for range i + 1 {
			if _, _, err := d.Encounter(engine.Ptr(i+1)<<12, engine.Kind(i%len(kinds)+1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, _, err := d.EncounterKey([]byte("8:1"), 1); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := c.WriteSnapshot(&b); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.snapshot")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestInspectFile(t *testing.T) {
	path := snapshotFile(t, []string{"file", "\x1b[2Jsocket", "", strings.Repeat("long", 1_000)}, 100)
	var out bytes.Buffer
	if err := bench.InspectFile(&out, path, true); err != nil {
		t.Fatal(err)
	}
	var in bench.Inspection
	if err := json.Unmarshal(out.Bytes(), &in); err != nil {
		t.Fatal(err)
	}
	if want := (bench.Tally{Objects: 101, Users: 5051, Keyed: 1}); in.Total != want || in.Largest != 101 || len(in.Kinds) != 4 {
		t.Errorf("total %+v, largest objref %d, %d kinds; want %+v, 101, 4", in.Total, in.Largest, len(in.Kinds), want)
	}
	if k := in.Kinds[0]; k.Objects != 26 || k.Keyed != 1 || k.Number != 1 || k.Name != "file" {
		t.Errorf("kind 1 is %+v", k)
	}
	if len(in.MostShared) != 10 {
		t.Fatalf("%d objects are named; want 10", len(in.MostShared))
	}
	for i, o := range in.MostShared {
		if o.Users != int64(100-i) || int(o.Ref) != 100-i {
			t.Errorf("object %d of those shared most is %+v", i, o)
		}
	}
	out.Reset()
	if err := bench.InspectFile(&out, path, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"101 objects, 5,051 users", `"\x1b[2Jsocket"`, "kind 3", "longlong...", "0x64000"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") || strings.Contains(out.String(), "holder") {
		t.Errorf("what is not fit to print, or not there:\n%q", out.String())
	}
}

func TestInspectFileRefuses(t *testing.T) {
	path := snapshotFile(t, []string{"file"}, 3)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, file[:len(file)-1], 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = bench.InspectFile(&out, path, false)
	if !errors.Is(err, engine.ErrSnapshot) || !strings.Contains(err.Error(), path) || out.Len() > 0 {
		t.Errorf("a truncated file: %v, and %q", err, out.String())
	}
	if err := bench.InspectFile(&out, path+"x", false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// What an audit found is told, if the snapshot was written with one.
func TestInspectFileWithLeaks(t *testing.T) {
	kinds := []engine.KindOps{{Name: "\x1bfile", Users: func(p engine.Ptr) int64 { return int64(p/4096) % 3 }}}
	c, err := engine.NewCheckpoint(engine.Options{Kinds: kinds, TrackHolders: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	d := c.Dumper()
	d.SetHolder(77)
	for i := range 9 {
		if _, _, err := d.Encounter(engine.Ptr(i+1)*4096, 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	var b, out bytes.Buffer
	if err := c.WriteSnapshotAndAudit(&b, c.Audit()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.snapshot")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := bench.InspectFile(&out, path, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"3 leaks out, 3 leaks in", "0x2000", "0x3000", "77"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("what is not fit to print:\n%q", out.String())
	}
	out.Reset()
	if err := bench.InspectFile(&out, path, true); err != nil {
		t.Fatal(err)
	}
	var in bench.Inspection
	if err := json.Unmarshal(out.Bytes(), &in); err != nil || in.Audit == nil || len(in.Audit.LeaksOut) != 3 {
		t.Errorf("%v; audit %+v", err, in.Audit)
	}
}
