package trace_test

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/objhash/objhash/bench/trace"
)

// Text is imported, written as a trace, read back and dealt to two walkers.
func Example() {
	text := "0\tfile\t100\n0\tfile\t200\n100\tsocket\t300\n200\tsocket\t300\n"
	t, err := trace.ImportTSV(strings.NewReader(text))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(t.Kinds, len(t.Encounters), "encounters of", t.Objects(), "objects by", t.Holders(), "holders")

	var file bytes.Buffer
	if err := trace.Write(&file, t); err != nil {
		fmt.Println(err)
		return
	}
	if t, err = trace.Read(&file); err != nil {
		fmt.Println(err)
		return
	}
	for i, part := range t.Partition(2) {
		for _, e := range part {
			fmt.Printf("walker %d: %x meets %s %x\n", i, e.Holder, t.Kinds[e.Kind-1], e.Ptr)
		}
	}

	// Output:
	// [file socket] 4 encounters of 3 objects by 2 holders
	// walker 0: 0 meets file 100
	// walker 0: 100 meets socket 300
	// walker 1: 0 meets file 200
	// walker 1: 200 meets socket 300
}

// A line that is not an encounter is named.
func ExampleImportTSV() {
	_, err := trace.ImportTSV(strings.NewReader("0\tfile\t100\n0\tsocket\t100\n"))
	fmt.Println(err)
	// Output:
	// trace: line 2: ptr 100 is "socket" here and "file" in line 1, want one kind per object
}
