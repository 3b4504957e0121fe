package traces_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/objhash/objhash/bench/trace"
	"github.com/objhash/objhash/bench/traces"
)

func ExampleGoHeapSmall() {
	t, err := traces.GoHeapSmall()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(t.Encounters), "encounters of", t.Objects(), "objects by", t.Holders(), "holders")
	first := t.Encounters[0]
	fmt.Printf("the first: %x meets %s %x\n", first.Holder, t.Kinds[first.Kind-1], first.Ptr)
	// Output:
	// 60000 encounters of 35728 objects by 14212 holders
	// the first: 0 meets obj8 20521bf18018
}

func TestGoHeapSmall_isABreadthFirstWalk(t *testing.T) {
	tr, err := traces.GoHeapSmall()
	if err != nil {
		t.Fatal(err)
	}
	met := map[uint64]bool{}
	roots, unmet := 0, 0
	for _, e := range tr.Encounters {
		switch {
		case e.Holder == 0:
			roots++
		case !met[e.Holder]:
			unmet++
		}
		met[e.Ptr] = true
	}
	if roots == 0 || unmet != 0 {
		t.Errorf("%d encounters by roots, %d by holders that were not met themselves, want some and none", roots, unmet)
	}
}

func TestGoHeapSmall_isSmall(t *testing.T) {
	info, err := os.Stat("goheap-small.trace")
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 300_000 {
		t.Errorf("%d bytes, want 300,000 at most", info.Size())
	}
}

func BenchmarkGoHeapSmall(b *testing.B) {
	var t *trace.Trace
	for b.Loop() {
		var err error
		if t, err = traces.GoHeapSmall(); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(len(t.Encounters)) * 24)
}
