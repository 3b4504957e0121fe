package engine

import (
	"errors"
	"fmt"

	"github.com/objhash/objhash/shard"
)

// encounterBlock is how many objects a batch looks up at a time.
const encounterBlock = 256

// batch is the arguments of EncounterBatch, and what has failed so far.
type batch struct {
	ptrs   []Ptr
	k      Kind
	refs   []ObjRef
	first  []bool // or nil
	failed []error
}

func (b *batch) isFirst(i int) {
	if b.first != nil {
		b.first[i] = true
	}
}

func (b *batch) fail(i int, err error) {
	b.refs[i] = 0
	if b.first != nil {
		b.first[i] = false
	}
	b.failed = append(b.failed, fmt.Errorf("element %d: %w", i, err))
}

// EncounterBatch does what [Dumper.Encounter] does for all of ptrs, which are of one
// kind, overlapping their cache misses. It fills refs and, unless it is nil, first
// for every element; refs and first must be as long as ptrs. An element that fails
// has refs 0, the others are done all the same, and the returned error joins the
// elements' errors, each with its index.
func (d *Dumper) EncounterBatch(ptrs []Ptr, k Kind, refs []ObjRef, first []bool) error {
	if len(refs) != len(ptrs) || first != nil && len(first) != len(ptrs) {
		return fmt.Errorf("%w: %d ptrs, %d refs, %d first; want equal lengths", ErrInvalid, len(ptrs), len(refs), len(first))
	}
	clear(first)
	if err := d.check(k); err != nil {
		clear(refs)
		return err
	}
	b := &batch{ptrs: ptrs, k: k, refs: refs, first: first}
	undone := 1 // how many go the other way where the short one stops
	for start := 0; start < len(ptrs); {
		end := min(start+encounterBlock, len(ptrs))
		if d.goesShort(k) {
			done := d.encounterRun(b, start, end)
			if start += done; start == end {
				continue
			}
			if len(d.cells) == 0 && d.ensureLease() == nil {
				continue // most likely that was all
			}
			// Where it stops at once again and again, as at addresses outside 48 bits, more
			// and more go the other way together.
			if undone = min(2*undone, encounterBlock); done > 0 {
				undone = 1
			}
			end = min(start+undone, end)
		}
		d.encounterOther(b, start, end)
		start = end
	}
	return errors.Join(b.failed...)
}

// encounterOther encounters elements start to end of b, at most encounterBlock, the other way.
func (d *Dumper) encounterOther(b *batch, start, end int) {
	simple := d.holders == nil && d.hold == nil && !d.c.past.Load()
	want := kindTag(b.k)
	block := asInt32(b.refs[start:end])
	var tags [encounterBlock]uint8
	d.c.index.LookupBatch(asUint64(b.ptrs[start:end]), block, tags[:end-start])
	for i, got := range block {
		// A callback of an element before may have closed the handle.
		known := got != 0 && tags[i] == want && want != shard.TagUnknown && !d.closed
		if known && simple {
			d.inc(got)
			continue
		}
		i += start
		var isFirst bool
		var err error
		if known {
			b.refs[i], _, err = d.meet(ObjRef(got), b.k, b.k)
		} else {
			b.refs[i], isFirst, err = d.Encounter(b.ptrs[i], b.k)
		}
		if isFirst {
			b.isFirst(i)
		}
		if err != nil {
			b.fail(i, err)
		}
	}
}
