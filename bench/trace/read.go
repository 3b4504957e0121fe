package trace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// ReadFile reads the trace in a file; see Read. Errors name the path.
func ReadFile(path string) (*Trace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	defer f.Close()
	t, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// Read reads a trace that Write wrote, to the end of r. It fails with a
// *FormatError if the bytes are not exactly a trace, or with the error of r.
// What does not begin as a trace is refused after a few bytes; else r is held
// whole while it is decoded.
func Read(r io.Reader) (*Trace, error) {
	var start [len(magic)]byte
	n, err := io.ReadFull(r, start[:])
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, fmt.Errorf("trace: read: %w", err)
	}
	if got := start[:n]; string(got) != magic[:n] {
		return nil, formatError(0, "not a trace: begins with %q, want %q", got, magic)
	}
	var file bytes.Buffer
	file.Write(start[:n])
	if _, err := file.ReadFrom(r); err != nil {
		return nil, fmt.Errorf("trace: read: %w", err)
	}
	return decode(file.Bytes())
}

// decode reads the bytes of a whole file, in two passes: over the frames, after
// which counts are known to stand for bytes that are there, then over the
// encounters.
func decode(file []byte) (*Trace, error) {
	kinds, blocks, trailer, err := readFrames(file)
	if err != nil {
		return nil, err
	}
	t := &Trace{}
	var walks []kindWalk
	if t.Kinds, walks, err = readKinds(kinds); err != nil {
		return nil, err
	}

	encounters := 0
	for i := range blocks {
		encounters += int(blocks[i].count)
	}
	total := func(i int) uint64 { return binary.LittleEndian.Uint64(trailer.payload[8*i:]) }
	if total(0) != uint64(encounters) {
		return nil, formatError(trailer.payloadAt(0), "the trailer counts %d encounters, the blocks %d", total(0), encounters)
	}
	if total(1) > uint64(encounters) || total(2) > uint64(encounters) {
		return nil, formatError(trailer.payloadAt(8), "the trailer counts %d objects and %d holders in %d encounters", total(1), total(2), encounters)
	}

	t.Encounters = make([]Encounter, 0, encounters)
	dec := newDecoder(walks, int(total(1)))
	for i := range blocks {
		if t.Encounters, err = dec.block(t.Encounters, &blocks[i]); err != nil {
			return nil, err
		}
	}
	if total(1) != uint64(len(dec.objects)) {
		return nil, formatError(trailer.payloadAt(8), "the trailer counts %d objects, the blocks have %d", total(1), len(dec.objects))
	}
	if holders := dec.countHolders(); total(2) != uint64(holders) {
		return nil, formatError(trailer.payloadAt(16), "the trailer counts %d holders, the blocks have %d", total(2), holders)
	}
	return t, nil
}

// readFrames finds all frames of a file and checks that there is nothing else.
func readFrames(file []byte) (kinds frame, blocks []frame, trailer frame, err error) {
	fail := func(at int, format string, args ...any) (frame, []frame, frame, error) {
		return frame{}, nil, frame{}, formatError(at, format, args...)
	}
	if len(file) < prefixSize {
		return fail(0, "truncated: %d bytes, a trace begins with %d", len(file), prefixSize)
	}
	if v := binary.LittleEndian.Uint32(file[len(magic):]); v != version {
		return fail(len(magic), "version %d of the format, this program reads version %d", v, version)
	}
	if kinds, err = readFrame(file, prefixSize, prefixChecksum(file[:prefixSize])); err != nil {
		return frame{}, nil, frame{}, err
	}
	for last := kinds; ; {
		f, err := readFrame(file, last.end(), last.sum)
		if err != nil {
			return frame{}, nil, frame{}, err
		}
		if f.count == 0 {
			trailer = f
			break
		}
		if f.count > blockMax {
			return fail(f.at, "a block of %d encounters, at most %d are possible", f.count, blockMax)
		}
		if uint64(f.count)*encounterMin > uint64(len(f.payload)) {
			return fail(f.at, "a block of %d encounters in %d bytes", f.count, len(f.payload))
		}
		blocks = append(blocks, f)
		last = f
	}
	if len(trailer.payload) != trailerSize {
		return fail(trailer.at, "a trailer of %d bytes, want %d", len(trailer.payload), trailerSize)
	}
	if extra := len(file) - trailer.end(); extra != 0 {
		return fail(trailer.end(), "%d bytes after the trailer", extra)
	}
	return kinds, blocks, trailer, nil
}

// readKinds reads the kind table.
func readKinds(f frame) ([]string, []kindWalk, error) {
	if uint64(f.count)*kindEntryMin > uint64(len(f.payload)) {
		return nil, nil, formatError(f.at, "a table of %d kinds in %d bytes", f.count, len(f.payload))
	}
	names := make([]string, 0, f.count)
	walks := make([]kindWalk, 0, f.count)
	at := 0
	for range f.count {
		rest := f.payload[at:]
		if len(rest) < kindEntryMin || len(rest) < kindEntryMin+int(rest[1]) {
			return nil, nil, formatError(f.payloadAt(at), "kind %d exceeds the kind table", len(names)+1)
		}
		if rest[0] > kindShiftMost {
			return nil, nil, formatError(f.payloadAt(at), "shift of kind %d is %d, want 0 to %d", len(names)+1, rest[0], kindShiftMost)
		}
		names = append(names, string(rest[kindEntryMin:kindEntryMin+int(rest[1])]))
		walks = append(walks, kindWalk{shift: rest[0]})
		at += kindEntryMin + int(rest[1])
	}
	if at != len(f.payload) {
		return nil, nil, formatError(f.payloadAt(at), "%d bytes after the last kind", len(f.payload)-at)
	}
	if what := checkKinds(names); what != "" {
		return nil, nil, formatError(f.payloadAt(0), "%s", what)
	}
	return names, walks, nil
}

// decoder is the reading side's state while it walks the encounters.
type decoder struct {
	kinds   []kindWalk
	known   map[uint64]struct{}
	objects []object // in order of first encounters
	holder  uint64   // of the encounter before
	walked  int      // index in objects of the last holder coded as an object

	// Holders coded as objects are marked there, which is far cheaper than a
	// set; only the others need one.
	others map[uint64]struct{}
}

// object is what the decoder remembers of an object.
type object struct {
	ptr   uint64
	holds bool // was coded as a holder
}

func newDecoder(kinds []kindWalk, objects int) *decoder {
	return &decoder{
		kinds:   kinds,
		known:   make(map[uint64]struct{}, objects),
		objects: make([]object, 0, objects),
		walked:  -1,
		others:  make(map[uint64]struct{}),
	}
}

// countHolders counts the distinct holders. One may have been coded both ways.
func (dec *decoder) countHolders() int {
	holders := len(dec.others)
	for i := range dec.objects {
		if o := &dec.objects[i]; o.holds {
			if _, counted := dec.others[o.ptr]; !counted {
				holders++
			}
		}
	}
	return holders
}

// block appends the encounters of a block.
func (dec *decoder) block(encounters []Encounter, f *frame) ([]Encounter, error) {
	p := numbers{bytes: f.payload}
	for range f.count {
		start := p.at
		e, what := dec.encounter(&p)
		if p.short {
			what = "an encounter exceeds its block, or a number in it 64 bits"
		}
		if what != "" {
			return nil, formatError(f.payloadAt(start), "encounter %d: %s", len(encounters), what)
		}
		encounters = append(encounters, e)
	}
	if p.at != len(p.bytes) {
		return nil, formatError(f.payloadAt(p.at), "%d bytes after the last encounter of a block", len(p.bytes)-p.at)
	}
	return encounters, nil
}

// encounter reads one encounter, in the order of append. It says what is wrong
// with it, or ""; if p ran short, what it returns means nothing.
func (dec *decoder) encounter(p *numbers) (e Encounter, what string) {
	tag := p.byte()
	kind := uint64(tag >> kindPos)
	if kind == kindMore {
		kind += min(p.uvarint(), uint64(len(dec.kinds)))
	}
	if kind >= uint64(len(dec.kinds)) {
		return e, fmt.Sprintf("kind %d, want 1 to %d", kind+1, len(dec.kinds))
	}
	e.Kind = uint16(kind + 1)

	switch tag & holderMask {
	case holderSame:
	case holderOther:
		dec.holder += uint64(unzigzag(p.uvarint()))
		if dec.holder != 0 {
			dec.others[dec.holder] = struct{}{}
		}
	default:
		skip := uint64(0)
		if tag&holderMask == holderLater {
			skip = min(p.uvarint(), uint64(len(dec.objects))) + 1
		}
		next := uint64(dec.walked+1) + skip
		if next >= uint64(len(dec.objects)) {
			return e, fmt.Sprintf("its holder is object %d of %d", next, len(dec.objects))
		}
		dec.walked = int(next)
		by := &dec.objects[next]
		by.holds = true
		dec.holder = by.ptr
	}
	e.Holder = dec.holder

	k := &dec.kinds[kind]
	delta := unzigzag(p.uvarint())
	if tag&objectNew == 0 {
		index := uint64(int64(k.last) + delta)
		if index >= uint64(len(k.objects)) {
			return e, fmt.Sprintf("it is object %d of %d of its kind", int64(index), len(k.objects))
		}
		k.last = int(index)
		e.Ptr = k.objects[index]
		return e, ""
	}
	units := k.newest() + uint64(delta)
	e.Ptr = units << k.shift
	if e.Ptr == 0 || e.Ptr>>k.shift != units {
		return e, fmt.Sprintf("ptr is %#x << %d, want 64 bits that are not all 0", units, k.shift)
	}
	dec.known[e.Ptr] = struct{}{}
	if len(dec.known) == len(dec.objects) {
		return e, fmt.Sprintf("ptr %#x is coded as new, but was met before", e.Ptr)
	}
	dec.objects = append(dec.objects, object{ptr: e.Ptr})
	k.objects = append(k.objects, e.Ptr)
	return e, ""
}

// numbers reads the bytes of a block; short is set, for good, when one was
// missing.
type numbers struct {
	bytes []byte
	at    int
	short bool
}

func (p *numbers) byte() byte {
	if p.at >= len(p.bytes) {
		p.short = true
		return 0
	}
	p.at++
	return p.bytes[p.at-1]
}

func (p *numbers) uvarint() uint64 {
	if p.at < len(p.bytes) && p.bytes[p.at] < 0x80 {
		p.at++
		return uint64(p.bytes[p.at-1])
	}
	v, n := binary.Uvarint(p.bytes[p.at:])
	if n <= 0 {
		p.short = true
		return 0
	}
	p.at += n
	return v
}
