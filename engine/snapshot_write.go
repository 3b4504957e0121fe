package engine

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"math"
	"runtime"
	"slices"

	"github.com/zeebo/xxh3"
)

// WriteSnapshot writes the table of all objects: objref, address or key, kind, flags,
// users, and the objrefs that are reserved. [ReadSnapshot] reads it, and a later
// checkpoint can go on from it ([NewCheckpointFrom]).
//
// Any thread may call it at any time, also a callback of the context. Objects met, and
// users counted, meanwhile may or may not be in it; users are exact once all handles are
// closed. It needs memory for one block of objects, about 100 KiB, and where holders are
// tracked for 8 bytes for each encounter and 8 for each objref, nothing of it from the
// context's budget. w gets about 100 KB with each call of Write.
//
// Errors: [ErrClosed], also if the context is closed meanwhile; [ErrLimit] for a key that
// is longer than 2^32-1 bytes; or what w returned. After an error what was written is no
// snapshot, and is refused by who reads it.
func (c *Checkpoint) WriteSnapshot(w io.Writer) error {
	if c.isClosed() {
		return ErrClosed
	}
	return c.writeSnapshot(w, c.holdersByObject(), nil)
}

// WriteSnapshotAndAudit is WriteSnapshot with what an audit of c has found in it, for
// whoever wants to know later which objects leaked and who held them. r may be less than
// [Checkpoint.Audit] returned ([AuditReport.Without]); nil is none.
func (c *Checkpoint) WriteSnapshotAndAudit(w io.Writer, r *AuditReport) error {
	if c.isClosed() {
		return ErrClosed
	}
	return c.writeSnapshot(w, c.holdersByObject(), r)
}

func (c *Checkpoint) writeSnapshot(w io.Writer, holders holdersOf, audit *AuditReport) error {
	names := make([]string, len(c.kinds))
	for i, k := range c.kinds {
		names[i] = k.Name
	}
	e := newSnapshotEncoder(w, holders)
	err := e.start(names)
	for ref, r := range c.recorded() {
		if err == nil {
			err = c.encode(e, ref, r)
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		err = e.finishBlock()
	}
	if err == nil && audit != nil {
		err = e.audit(audit)
	}
	// Close takes records away only after it has said so: if it has not, all were there.
	if err == nil && c.isClosed() {
		err = ErrClosed
	}
	if err == nil {
		err = e.trailer()
	}
	runtime.KeepAlive(c)
	if err != nil {
		return fmt.Errorf("writing a snapshot: %w", err)
	}
	return nil
}

// encode encodes what ref, whose record is r, stands for, if anything.
func (c *Checkpoint) encode(e *snapshotEncoder, ref ObjRef, r recordFound) error {
	switch {
	case r.state() == reserved:
		return e.object(ref, 0, 0, Reserved, 0)
	case !r.isObject():
		return nil
	case r.settled && !r.beside():
		return e.object(ref, r.ptr(), r.kind(), c.flagsOf(ref, r.record)&^Released, c.counts.Count(int32(ref)))
	}
	o, ok := c.Object(ref)
	if !ok {
		return nil
	}
	if o.Flags&Keyed != 0 {
		if err := e.key(ref, o.Key); err != nil {
			return err
		}
	}
	return e.object(ref, o.Ptr, o.Kind, o.Flags&^Released, o.Users)
}

// holdersOf yields, by ascending objref, the holders of those objects in a range that
// have some.
type holdersOf func(first, last ObjRef) iter.Seq2[ObjRef, []Holder]

// snapshotEncoder writes a snapshot, section by section, from one buffer.
type snapshotEncoder struct {
	w       io.Writer
	holders holdersOf

	buf      []byte // the section that is being made, its head left open
	sections uint64 // written
	sums     uint64 // of these

	first, last  ObjRef // of the block that is being made
	entries      int    // in it
	keys         []snapshotKey
	objects      uint64 // in all blocks
	reservedRefs uint64
}

type snapshotKey struct {
	ref ObjRef
	key []byte
}

func newSnapshotEncoder(w io.Writer, holders holdersOf) *snapshotEncoder {
	return &snapshotEncoder{w: w, holders: holders}
}

// start writes the prefix and the kinds.
func (e *snapshotEncoder) start(kinds []string) error {
	b := append(e.buf, snapshotMagic...)
	b = binary.LittleEndian.AppendUint32(b, snapshotVersion)
	b = binary.LittleEndian.AppendUint32(b, 0)
	if _, err := e.w.Write(b); err != nil {
		return err
	}
	e.open()
	for _, name := range kinds {
		e.buf = binary.LittleEndian.AppendUint32(e.buf, uint32(len(name)))
		e.buf = append(e.buf, name...)
	}
	err := e.write(sectionKinds, len(kinds))
	e.open()
	return err
}

// open starts a section.
func (e *snapshotEncoder) open() {
	const block = headBytes + blockEntries*entryBytes + sumBytes
	e.buf = slices.Grow(e.buf[:0], block)[:headBytes]
}

// write ends a section, and writes it.
func (e *snapshotEncoder) write(t sectionType, count int) error {
	head := e.buf[:headBytes]
	binary.LittleEndian.PutUint16(head[0:], uint16(t))
	binary.LittleEndian.PutUint16(head[2:], t.flags())
	binary.LittleEndian.PutUint32(head[4:], uint32(count))
	binary.LittleEndian.PutUint64(head[8:], uint64(len(e.buf)-headBytes))
	sum := xxh3.Hash(e.buf)
	e.buf = binary.LittleEndian.AppendUint64(e.buf, sum)
	e.sums = chain(e.sums, sum)
	e.sections++
	_, err := e.w.Write(e.buf)
	return err
}

// object adds an entry. Objrefs must ascend.
func (e *snapshotEncoder) object(ref ObjRef, p Ptr, k Kind, f Flags, users int64) error {
	if e.entries == 0 {
		e.first = ref
	}
	n := len(e.buf)
	e.buf = e.buf[:n+entryBytes] // open has made room for a block
	b := e.buf[n:]
	binary.LittleEndian.PutUint64(b[0:], uint64(ref)|uint64(k)<<32|uint64(f)<<48)
	binary.LittleEndian.PutUint64(b[8:], uint64(p))
	binary.LittleEndian.PutUint64(b[16:], uint64(users))
	e.last = ref
	if f&Reserved != 0 {
		e.reservedRefs++
	} else {
		e.objects++
	}
	if e.entries++; e.entries == blockEntries {
		return e.finishBlock()
	}
	return nil
}

// key notes the key of the object that is added next.
func (e *snapshotEncoder) key(ref ObjRef, key []byte) error {
	if uint64(len(key)) > math.MaxUint32 {
		return fmt.Errorf("%w: the key of objref %d has %d bytes; a snapshot takes %d", ErrLimit, ref, len(key), uint32(math.MaxUint32))
	}
	e.keys = append(e.keys, snapshotKey{ref, key})
	return nil
}

// finishBlock writes the block that is being made, with its keys and holders.
func (e *snapshotEncoder) finishBlock() error {
	if e.entries == 0 {
		return nil
	}
	err := e.write(sectionObjects, e.entries)
	e.entries = 0
	if err == nil {
		err = e.writeKeys()
	}
	if err == nil {
		err = e.writeHolders()
	}
	e.open()
	return err
}

func (e *snapshotEncoder) writeKeys() error {
	l := e.list(sectionKeys)
	for _, k := range e.keys {
		e.buf = binary.LittleEndian.AppendUint32(e.buf, uint32(k.ref))
		e.buf = binary.LittleEndian.AppendUint32(e.buf, uint32(len(k.key)))
		e.buf = append(e.buf, k.key...)
		l.added()
	}
	clear(e.keys) // the keys themselves are not ours to keep
	e.keys = e.keys[:0]
	return l.end()
}

func (e *snapshotEncoder) writeHolders() error {
	l := e.list(sectionHolders)
	for ref, holders := range e.holders(e.first, e.last) {
		e.buf = binary.LittleEndian.AppendUint32(e.buf, uint32(ref))
		e.buf = binary.LittleEndian.AppendUint32(e.buf, uint32(len(holders)))
		for _, h := range holders {
			e.buf = binary.LittleEndian.AppendUint64(e.buf, h.ID)
			e.buf = binary.LittleEndian.AppendUint64(e.buf, uint64(h.Users))
		}
		if !l.added() {
			break
		}
	}
	return l.end()
}

// sectionList cuts a list of entries into sections of sectionBytesAim.
type sectionList struct {
	e     *snapshotEncoder
	t     sectionType
	count int
	err   error
}

func (e *snapshotEncoder) list(t sectionType) *sectionList {
	e.open()
	return &sectionList{e: e, t: t}
}

// added counts an entry; it returns false after an error.
func (l *sectionList) added() bool {
	if l.count++; len(l.e.buf) >= sectionBytesAim {
		l.flush()
	}
	return l.err == nil
}

func (l *sectionList) flush() {
	if l.err == nil && l.count > 0 {
		l.err = l.e.write(l.t, l.count)
	}
	l.count = 0
	l.e.open()
}

func (l *sectionList) end() error {
	l.flush()
	return l.err
}

// audit writes a report.
func (e *snapshotEncoder) audit(r *AuditReport) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	e.open()
	e.buf = append(e.buf, text...)
	return e.write(sectionAudit, r.findings())
}

// trailer ends the snapshot.
func (e *snapshotEncoder) trailer() error {
	e.open()
	for _, x := range []uint64{e.objects, e.reservedRefs, e.sections, e.sums} {
		e.buf = binary.LittleEndian.AppendUint64(e.buf, x)
	}
	return e.write(sectionTrailer, 0)
}
