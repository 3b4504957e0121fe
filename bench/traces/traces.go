// Package traces holds the recorded encounter streams that are shipped inside
// the binary, so that a replay needs no download.
//
// # Terminology
//
// As in package trace.
//
// # Structure
//
// One file per stream, in trace's format, embedded; one function per file.
//
// # Limits
//
// A shipped stream is a sample of at most 300 KB. Longer ones are made from
// their source with `crbench import`.
package traces

import (
	"bytes"
	_ "embed"
	"fmt"

	"github.com/objhash/objhash/bench/trace"
)

//go:embed goheap-small.trace
var goHeapSmall []byte

// GoHeapSmall returns the start of a walk over a live Go heap: 60,000 encounters
// of 35,728 objects by 14,212 holders and the roots. Each call decodes it anew,
// and the result is the caller's own.
//
// Its origin is a program that had type-checked and built SSA for package
// strings and all that it imports. Its heap was dumped with
// debug.WriteHeapDump, and the dump's graph was walked breadth-first from the
// roots: one encounter per reference. The holder is the referring object's
// address, 0 for a root; the ptr is the object's address in that process; the
// kind is the object's size class ("obj48": 48 bytes).
//
// The whole walk has 3,850,432 encounters of 1,585,828 objects. The file was
// made of its text form by
//
//	crbench import tsv goheap-strings.tsv.gz --head 60000 -o goheap-small.trace
func GoHeapSmall() (*trace.Trace, error) {
	t, err := trace.Read(bytes.NewReader(goHeapSmall))
	if err != nil {
		return nil, fmt.Errorf("traces: goheap-small.trace: %w", err)
	}
	return t, nil
}
