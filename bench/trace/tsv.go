package trace

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"slices"
)

const (
	lineMax  = 64 << 10 // bytes; a proper line has 290 at most
	hexMax   = 16       // digits
	tsvChunk = 64 << 10 // encounters
)

// LineError: a line that is not an encounter.
type LineError struct {
	Line int64 // from 1
	What string
}

func (e *LineError) Error() string { return fmt.Sprintf("trace: line %d: %s", e.Line, e.What) }

// ImportTSV reads a trace from text, one encounter a line, in the order of the
// walk:
//
//	holder <tab> kind <tab> ptr
//
// holder and ptr are 1 to 16 hexadecimal digits without 0x; kind is a name.
// Kinds are numbered in order of appearance. Text that was compressed with gzip
// is recognised by its first two bytes.
//
// It fails with a *LineError for a line that is not so, for a ptr of 0 and for an
// object with two kinds, or with the error of r or of its decompression. Memory
// is in proportion to the text, which for gzip may be a thousand times as long
// as r: import text from a source that is trusted.
func ImportTSV(r io.Reader) (*Trace, error) {
	in := bufio.NewReaderSize(r, lineMax)
	// Fewer than two bytes are no gzip, and whatever else they are the line
	// reader will say.
	if start, _ := in.Peek(2); bytes.Equal(start, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("trace: gzip: %w", err)
		}
		defer z.Close()
		in = bufio.NewReaderSize(z, lineMax)
	}

	imp := &importer{kinds: make(map[string]uint16), first: make(map[uint64]int64)}
	// Fixed chunks and one copy at the end: a slice grown to this size would
	// leave several times the trace behind as garbage.
	var chunks [][]Encounter
	for line := int64(1); ; line++ {
		text, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, &LineError{line, fmt.Sprintf("longer than %d bytes, want holder, kind and ptr", lineMax)}
		case errors.Is(err, io.EOF) && len(text) == 0:
			return &Trace{Kinds: imp.names, Encounters: slices.Concat(chunks...)}, nil
		case err != nil && !errors.Is(err, io.EOF):
			return nil, fmt.Errorf("trace: read line %d: %w", line, err)
		}
		e, what := imp.parse(bytes.TrimSuffix(text, []byte("\n")), line)
		if what != "" {
			return nil, &LineError{line, what}
		}
		if len(chunks) == 0 || len(chunks[len(chunks)-1]) == tsvChunk {
			chunks = append(chunks, make([]Encounter, 0, tsvChunk))
		}
		last := &chunks[len(chunks)-1]
		*last = append(*last, e)
	}
}

// importer is what is known of the lines so far.
type importer struct {
	names []string
	kinds map[string]uint16
	first map[uint64]int64 // ptr -> its first line << kindBits | its kind
}

// kindBits is the width of a kind in importer.first, which leaves 47 bits to the
// line.
const kindBits = 16

// parse reads a line. It says what is wrong with it, or "".
func (imp *importer) parse(line []byte, number int64) (e Encounter, what string) {
	holder, rest, ok1 := bytes.Cut(line, []byte("\t"))
	name, ptr, ok2 := bytes.Cut(rest, []byte("\t"))
	if !ok1 || !ok2 || bytes.IndexByte(ptr, '\t') >= 0 {
		return e, fmt.Sprintf("%d fields, want 3: holder, kind and ptr, with tabs between", bytes.Count(line, []byte("\t"))+1)
	}
	var ok bool
	if e.Holder, ok = parseHex(holder); !ok {
		return e, fmt.Sprintf("holder is %.40q, want 1 to %d hexadecimal digits", holder, hexMax)
	}
	if e.Ptr, ok = parseHex(ptr); !ok {
		return e, fmt.Sprintf("ptr is %.40q, want 1 to %d hexadecimal digits", ptr, hexMax)
	}
	if e.Ptr == 0 {
		return e, "ptr is 0, want an object's address"
	}
	if e.Kind, ok = imp.kinds[string(name)]; !ok {
		if what := imp.learn(string(name)); what != "" {
			return e, what
		}
		e.Kind = uint16(len(imp.names))
	}
	if first, met := imp.first[e.Ptr]; !met {
		imp.first[e.Ptr] = number<<kindBits | int64(e.Kind)
	} else if was := uint16(first); was != e.Kind {
		return e, fmt.Sprintf("ptr %x is %q here and %q in line %d, want one kind per object",
			e.Ptr, name, imp.names[was-1], first>>kindBits)
	}
	return e, ""
}

// learn gives a new kind name the next number.
func (imp *importer) learn(name string) (what string) {
	if what := checkKindName(name); what != "" {
		return "kind: " + what
	}
	if len(imp.names) == 1<<kindBits-1 {
		return fmt.Sprintf("kind %q is one too many, at most %d are possible", name, len(imp.names))
	}
	imp.names = append(imp.names, name)
	imp.kinds[name] = uint16(len(imp.names))
	return ""
}

// parseHex reads up to 16 hexadecimal digits. strconv would want a string, and
// accept signs and underscores.
func parseHex(digits []byte) (v uint64, ok bool) {
	if len(digits) == 0 || len(digits) > hexMax {
		return 0, false
	}
	for _, c := range digits {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		v = v<<4 | uint64(c)
	}
	return v, true
}
