package engine

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"

	"github.com/zeebo/xxh3"
)

// ReadSnapshot reads a snapshot to the end of r. Errors wrap [ErrSnapshot], with the
// byte at which something is wrong, or what r returned.
//
// What was changed, cut short or lengthened anywhere is refused. Beyond that, each object
// is sound by itself: its objref is larger than the one before, its kind is in the table
// of kinds, its flags fit each other. Whether two objects have one address or key is not
// looked at; [NewCheckpointFrom] does that. Memory is bounded by what was read of r, not
// by what that claims: 15 bytes for each byte, 100 for those of an audit.
func ReadSnapshot(r io.Reader) (*Snapshot, error) {
	sr, err := NewSnapshotReader(r)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{Kinds: sr.Kinds()}
	for o, err := range sr.All() {
		if err != nil {
			return nil, err
		}
		if len(s.Objects) == cap(s.Objects) {
			// By no less than twice: for large lists append alone grows by a quarter.
			s.Objects = slices.Grow(s.Objects, len(s.Objects)+1)
		}
		s.Objects = append(s.Objects, o)
	}
	s.Audit = sr.Audit()
	return s, nil
}

// SnapshotReader reads a snapshot object by object, a block of 4,096 in memory at a time.
// Not for concurrent use.
type SnapshotReader struct {
	r     io.Reader
	off   int64 // of the next byte of r
	kinds []string

	// The section read last.
	at   int64 // its offset
	buf  []byte
	head sectionHead

	ahead    bool   // it is still to be looked at
	sections uint64 // that were looked at
	sums     uint64 // of these

	// The block that is being put together.
	block   []SnapshotObject
	blockAt int64
	keyed   int // no entry before this one waits for its key
	held    int // no entry before this one can have holders

	audit    *AuditReport
	last     ObjRef
	objects  uint64
	reserved uint64
	ended    bool
}

type sectionHead struct {
	kind   sectionType
	flags  uint16
	count  uint32
	length uint64
}

// readChunk is how many bytes are asked for, and made room for, at a time.
const readChunk = 64 << 10

// NewSnapshotReader reads the beginning of a snapshot. Errors are those of
// [ReadSnapshot].
func NewSnapshotReader(r io.Reader) (*SnapshotReader, error) {
	s := &SnapshotReader{r: r}
	if err := s.prefix(); err != nil {
		return nil, err
	}
	if err := s.section(); err != nil {
		return nil, err
	}
	if s.head.kind != sectionKinds {
		return nil, s.wrong(s.at, "a section of type %d; the table of kinds, type %d, comes first", s.head.kind, sectionKinds)
	}
	if err := s.readKinds(); err != nil {
		return nil, err
	}
	return s, nil
}

// Kinds returns the names of the kinds: Kind(i+1) is Kinds()[i].
func (s *SnapshotReader) Kinds() []string { return s.kinds }

// Audit returns the report that is in the snapshot, nil if there is none. It comes after
// the objects: All must have been through them.
func (s *SnapshotReader) Audit() *AuditReport { return s.audit }

// All yields all objects and reserved objrefs, by objref, and checks the rest of the
// snapshot while it goes. At an error it yields that, and ends; only without one were
// these all objects. Errors are those of [ReadSnapshot]. It goes through the snapshot
// once.
func (s *SnapshotReader) All() iter.Seq2[SnapshotObject, error] {
	return func(yield func(SnapshotObject, error) bool) {
		for {
			block, err := s.nextBlock()
			if err != nil {
				s.ended = true
				yield(SnapshotObject{}, err)
				return
			}
			if len(block) == 0 {
				return
			}
			for i := range block {
				if !yield(block[i], nil) {
					return
				}
			}
		}
	}
}

func (s *SnapshotReader) wrong(at int64, format string, args ...any) error {
	return fmt.Errorf("%w: at byte %d: %s", ErrSnapshot, at, fmt.Sprintf(format, args...))
}

// fill appends the next n bytes of r to buf. It makes room for bytes only as they come.
func (s *SnapshotReader) fill(n uint64) error {
	for n > 0 {
		part := int(min(n, readChunk))
		have := len(s.buf)
		s.buf = slices.Grow(s.buf, part)[:have+part]
		got, err := io.ReadFull(s.r, s.buf[have:])
		s.off += int64(got)
		switch {
		case err == io.EOF, err == io.ErrUnexpectedEOF:
			return s.wrong(s.off, "the snapshot ends here, where %d more bytes must come", n-uint64(got))
		case err != nil:
			return fmt.Errorf("reading a snapshot: at byte %d: %w", s.off, err)
		}
		n -= uint64(part)
	}
	return nil
}

func (s *SnapshotReader) prefix() error {
	err := s.fill(uint64(prefixBytes))
	begin := s.buf[:min(s.off, int64(len(snapshotMagic)))]
	switch {
	case err != nil && !errors.Is(err, ErrSnapshot):
		return err
	case string(begin) != snapshotMagic[:len(begin)]:
		return s.wrong(0, "it begins with %q; a snapshot with %q", begin, snapshotMagic)
	case err != nil:
		return err
	}
	if v := binary.LittleEndian.Uint32(s.buf[len(snapshotMagic):]); v != snapshotVersion {
		return s.wrong(int64(len(snapshotMagic)), "version %d; this program reads version %d", v, snapshotVersion)
	}
	if z := binary.LittleEndian.Uint32(s.buf[len(snapshotMagic)+4:]); z != 0 {
		return s.wrong(int64(len(snapshotMagic)+4), "%#x; want 0", z)
	}
	return nil
}

// section reads the next section, unless the last one is still to be looked at.
func (s *SnapshotReader) section() error {
	if s.ahead {
		s.ahead = false
		return nil
	}
	s.at = s.off
	s.buf = s.buf[:0]
	if err := s.fill(headBytes); err != nil {
		return err
	}
	s.head = sectionHead{
		kind:   sectionType(binary.LittleEndian.Uint16(s.buf[0:])),
		flags:  binary.LittleEndian.Uint16(s.buf[2:]),
		count:  binary.LittleEndian.Uint32(s.buf[4:]),
		length: binary.LittleEndian.Uint64(s.buf[8:]),
	}
	if what := s.head.foundWrong(); what != "" {
		return s.wrong(s.at, "%s", what)
	}
	if err := s.fill(s.head.length + sumBytes); err != nil {
		return err
	}
	end := len(s.buf) - sumBytes
	want, got := binary.LittleEndian.Uint64(s.buf[end:]), xxh3.Hash(s.buf[:end])
	if want != got {
		return s.wrong(s.at, "the checksum of the section is %#016x, its bytes give %#016x", want, got)
	}
	s.buf = s.buf[:end]
	if s.head.kind != sectionTrailer {
		s.sections++
		s.sums = chain(s.sums, got)
	}
	return nil
}

// foundWrong returns what is wrong with a head, as far as it can be told without the
// section's bytes; "" if nothing is.
func (h *sectionHead) foundWrong() string {
	known := h.kind >= sectionKinds && h.kind <= sectionAudit
	n := uint64(h.count)
	var atLeast uint64 // for what count says there is
	switch h.kind {
	case sectionKinds:
		atLeast = n * kindHeadBytes
	case sectionObjects:
		if n == 0 || n > blockEntries || h.length != n*entryBytes {
			return fmt.Sprintf("a block of %d objects in %d bytes; want 1 to %d of %d bytes", n, h.length, blockEntries, entryBytes)
		}
	case sectionKeys:
		atLeast = n * (keyHeadBytes + 1)
	case sectionHolders:
		atLeast = n * (holderHeadBytes + holderBytes)
	case sectionTrailer:
		if n != 0 || h.length != trailerBytes {
			return fmt.Sprintf("a trailer of %d entries in %d bytes; want 0 in %d", n, h.length, trailerBytes)
		}
	}
	switch {
	case known && h.flags != h.kind.flags():
		return fmt.Sprintf("a section of type %d with flags %#x; want %#x", h.kind, h.flags, h.kind.flags())
	case !known && h.flags != sectionOptional:
		return fmt.Sprintf("a section of the unknown type %d, with flags %#x", h.kind, h.flags)
	case h.kind == sectionKinds && n > KindsMax:
		return fmt.Sprintf("%d kinds; at most %d", n, KindsMax)
	case (h.kind == sectionKeys || h.kind == sectionHolders) && n == 0:
		return fmt.Sprintf("an empty section of type %d", h.kind)
	case h.length < atLeast:
		return fmt.Sprintf("a section of type %d with %d entries in %d bytes", h.kind, n, h.length)
	case h.length > math.MaxInt-headBytes-sumBytes-readChunk:
		return fmt.Sprintf("a section of %d bytes", h.length)
	}
	return ""
}

// nextBlock returns the next block with all that belongs to it; none at the end.
func (s *SnapshotReader) nextBlock() ([]SnapshotObject, error) {
	s.block = s.block[:0]
	for !s.ended {
		if err := s.section(); err != nil {
			return nil, err
		}
		var err error
		switch s.head.kind {
		case sectionKinds:
			err = s.wrong(s.at, "a second table of kinds")
		case sectionObjects:
			if len(s.block) > 0 {
				s.ahead = true
				return s.block, s.complete()
			}
			err = s.readObjects()
		case sectionKeys:
			err = s.readKeys()
		case sectionHolders:
			err = s.readHolders()
		case sectionAudit:
			err = s.readAudit()
		case sectionTrailer:
			if err = s.complete(); err == nil {
				err = s.readTrailer()
			}
			s.ended = true
		}
		if err != nil {
			return nil, err
		}
	}
	return s.block, nil
}

// payload returns a cursor on the payload of the section read last.
func (s *SnapshotReader) payload() cursor {
	return cursor{b: s.buf[headBytes:], at: s.at + headBytes}
}

// cursor goes through a payload.
type cursor struct {
	b  []byte // what is left
	at int64  // offset of that
}

// take returns the next n bytes; nil if there are fewer.
func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		return nil
	}
	b := c.b[:n]
	c.b = c.b[n:]
	c.at += int64(n)
	return b
}

// rest returns an error if there is something left.
func (s *SnapshotReader) rest(c *cursor) error {
	if len(c.b) > 0 {
		return s.wrong(c.at, "%d bytes after the last entry of the section", len(c.b))
	}
	return nil
}

func (s *SnapshotReader) readKinds() error {
	c := s.payload()
	for i := range s.head.count {
		at := c.at
		head := c.take(kindHeadBytes)
		if head == nil {
			return s.wrong(at, "kind %d goes beyond its section", i+1)
		}
		length := binary.LittleEndian.Uint32(head)
		name := c.take(uint64(length))
		if name == nil && length > 0 {
			return s.wrong(at, "kind %d, with a name of %d bytes, goes beyond its section", i+1, length)
		}
		s.kinds = append(s.kinds, string(name))
	}
	return s.rest(&c)
}

// readObjects reads a block.
func (s *SnapshotReader) readObjects() error {
	s.blockAt = s.at
	s.keyed, s.held = 0, 0
	s.block = slices.Grow(s.block, int(s.head.count))[:s.head.count]
	b := s.buf[headBytes:]
	for i := range s.block {
		e := b[i*entryBytes : (i+1)*entryBytes : (i+1)*entryBytes]
		w := binary.LittleEndian.Uint64(e)
		o := &s.block[i]
		*o = SnapshotObject{Ref: ObjRef(uint32(w)), Object: Object{
			Ptr:   Ptr(binary.LittleEndian.Uint64(e[8:])),
			Kind:  Kind(w >> 32),
			Flags: Flags(w >> 48),
			Users: int64(binary.LittleEndian.Uint64(e[16:])),
		}}
		what := o.foundWrong(s.last, len(s.kinds))
		if what == "" && w>>56 != 0 {
			what = fmt.Sprintf("objref %d: %#x; want 0", o.Ref, w>>56)
		}
		if what != "" {
			return s.wrong(s.entryAt(i), "%s", what)
		}
		s.last = o.Ref
		if o.Flags&Reserved != 0 {
			s.reserved++
		} else {
			s.objects++
		}
	}
	return nil
}

func (s *SnapshotReader) entryAt(i int) int64 {
	return s.blockAt + headBytes + int64(i)*entryBytes
}

// waiting returns the next entry of the block that waits for its key; nil if none does.
func (s *SnapshotReader) waiting() *SnapshotObject {
	for ; s.keyed < len(s.block); s.keyed++ {
		if s.block[s.keyed].Flags&Keyed != 0 {
			return &s.block[s.keyed]
		}
	}
	return nil
}

// complete returns an error if an object of the block has no key that should have one.
func (s *SnapshotReader) complete() error {
	if o := s.waiting(); o != nil {
		return s.wrong(s.entryAt(s.keyed), "objref %d is keyed, and its key does not follow", o.Ref)
	}
	return nil
}

func (s *SnapshotReader) readKeys() error {
	c := s.payload()
	for range s.head.count {
		at := c.at
		head := c.take(keyHeadBytes)
		if head == nil {
			return s.wrong(at, "a key goes beyond its section")
		}
		ref, length := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[4:])
		key := c.take(uint64(length))
		if len(key) == 0 {
			return s.wrong(at, "objref %d: a key of %d bytes, with %d left in the section", ref, length, len(c.b))
		}
		o := s.waiting()
		if o == nil || uint32(o.Ref) != ref {
			return s.wrong(at, "a key of objref %d, which does not wait for one now", ref)
		}
		o.Key = bytes.Clone(key)
		s.keyed++
	}
	return s.rest(&c)
}

func (s *SnapshotReader) readHolders() error {
	c := s.payload()
	for range s.head.count {
		at := c.at
		head := c.take(holderHeadBytes)
		if head == nil {
			return s.wrong(at, "an object's holders go beyond their section")
		}
		ref, n := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[4:])
		list := c.take(uint64(n) * holderBytes)
		if len(list) == 0 {
			return s.wrong(at, "objref %d: %d holders, with %d bytes left in the section", ref, n, len(c.b))
		}
		for s.held < len(s.block) && uint32(s.block[s.held].Ref) < ref {
			s.held++
		}
		if s.held == len(s.block) || uint32(s.block[s.held].Ref) != ref || s.block[s.held].Flags&Reserved != 0 {
			return s.wrong(at, "holders of objref %d, which is no object of the block, or has had its own", ref)
		}
		holders := make([]Holder, n)
		for i := range holders {
			h := list[i*holderBytes:]
			holders[i] = Holder{ID: binary.LittleEndian.Uint64(h), Users: int64(binary.LittleEndian.Uint64(h[8:]))}
			if holders[i].Users < 0 || i > 0 && holders[i].ID <= holders[i-1].ID {
				return s.wrong(at+holderHeadBytes+int64(i)*holderBytes, "objref %d: holder %#x with %d users; want ascending holders", ref, holders[i].ID, holders[i].Users)
			}
		}
		s.block[s.held].Holders = holders
		s.held++
	}
	return s.rest(&c)
}

func (s *SnapshotReader) readAudit() error {
	if s.audit != nil {
		return s.wrong(s.at, "a second audit")
	}
	c := s.payload()
	r := &AuditReport{}
	d := json.NewDecoder(bytes.NewReader(c.b))
	d.DisallowUnknownFields()
	err := d.Decode(r)
	switch {
	case err != nil:
		return s.wrong(c.at+d.InputOffset(), "the audit: %v", err)
	case d.InputOffset() != int64(len(c.b)):
		return s.wrong(c.at+d.InputOffset(), "%d bytes after the audit", int64(len(c.b))-d.InputOffset())
	case r.findings() != int(s.head.count):
		return s.wrong(s.at, "an audit with %d findings; there are %d", s.head.count, r.findings())
	}
	s.audit = r
	return nil
}

// readTrailer reads the end.
func (s *SnapshotReader) readTrailer() error {
	c := s.payload()
	for _, x := range []struct {
		what string
		want uint64
	}{{"objects", s.objects}, {"reserved objrefs", s.reserved}, {"sections", s.sections}, {"as checksum of all sections", s.sums}} {
		at := c.at
		if got := binary.LittleEndian.Uint64(c.take(8)); got != x.want {
			return s.wrong(at, "the trailer says %d %s; there are, or it is, %d", got, x.what, x.want)
		}
	}
	s.buf = s.buf[:1]
	n, err := io.ReadFull(s.r, s.buf)
	switch {
	case n > 0:
		return s.wrong(s.off, "more bytes after the trailer")
	case err != io.EOF:
		return fmt.Errorf("reading a snapshot: at byte %d: %w", s.off, err)
	}
	return nil
}
