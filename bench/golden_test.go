package bench

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/objhash/objhash/bench/traces"
)

const goldenOperations = "testdata/operations.txt"

// TestCanonicalOperations holds the workloads of the canonical profiles to what they
// were when results that people have were measured: bit by bit.
func TestCanonicalOperations(t *testing.T) {
	var got strings.Builder
	for _, p := range Profiles() {
		for _, s := range []Size{{Objects: 500, Threads: 1, Seed: 1}, {Objects: 500, Threads: 3, Seed: 7}} {
			if p.recorded() {
				var err error
				if s.Trace, err = traces.GoHeapSmall(); err != nil {
					t.Fatal(err)
				}
			}
			w, err := NewWorkload(p, s)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&got, "%s %d %s\n", p.Name, s.Threads, w.fingerprint())
		}
	}
	if flag.Lookup("update").Value.String() == "true" { // it is the other test package's
		if err := os.WriteFile(goldenOperations, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenOperations)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("the operations of canonical profiles have changed:\n%swere:\n%s", got.String(), want)
	}
}

// fingerprint is a hash of every operation of every thread.
func (w *Workload) fingerprint() string {
	h := sha256.New()
	put := func(data any) { _ = binary.Write(h, binary.LittleEndian, data) } // a hash takes all
	put([]int64{int64(w.Objects), int64(w.Distinct), int64(w.Ops())})
	put(w.users)
	put(w.unmet)
	if w.image != nil {
		put(w.image.Ptrs)
		put(w.image.Kinds)
		put(w.image.Needs)
	}
	fmt.Fprintln(h, w.Kinds)
	for _, ph := range w.phases {
		fmt.Fprintln(h, ph.Name, ph.Op, ph.Timed, ph.whole)
		put(ph.users)
		for _, p := range ph.parts {
			put(int64(len(p.refs)))
			put(p.ptrs)
			put(p.kinds)
			put(p.refs)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
