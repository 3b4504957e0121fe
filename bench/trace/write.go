package trace

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
)

// Write writes t in the format of the package doc. It fails with ErrInvalid,
// wrapped with what is wrong, and then has written nothing, or with the error of
// w. It needs memory for the encoded trace and an index of its objects.
func Write(w io.Writer, t *Trace) error {
	file, err := encode(t)
	if err != nil {
		return err
	}
	if _, err := w.Write(file); err != nil {
		return fmt.Errorf("trace: write: %w", err)
	}
	return nil
}

// objectID is where an object is known by the coding.
type objectID struct {
	number int // in order of first encounters
	index  int // the same among its kind
	kind   uint16
}

// encoder is the writing side's state while it walks the encounters.
type encoder struct {
	kinds   []kindWalk
	ids     map[uint64]objectID
	holder  uint64 // of the encounter before
	walked  int    // number of the last holder coded as an object
	holders map[uint64]struct{}
}

func encode(t *Trace) ([]byte, error) {
	kinds, err := kindShifts(t)
	if err != nil {
		return nil, err
	}
	file := append([]byte(nil), magic...)
	file = binary.LittleEndian.AppendUint32(file, version)
	sum := prefixChecksum(file)

	var payload []byte
	for i, name := range t.Kinds {
		payload = append(payload, kinds[i].shift, byte(len(name)))
		payload = append(payload, name...)
	}
	file, sum = appendFrame(file, uint32(len(t.Kinds)), payload, sum)

	enc := &encoder{kinds: kinds, ids: make(map[uint64]objectID), walked: -1, holders: make(map[uint64]struct{})}
	for start := 0; start < len(t.Encounters); start += blockMax {
		block := t.Encounters[start:min(start+blockMax, len(t.Encounters))]
		payload = payload[:0]
		for i := range block {
			if payload, err = enc.append(payload, &block[i]); err != nil {
				return nil, fmt.Errorf("%w: encounter %d: %s", ErrInvalid, start+i, err)
			}
		}
		file, sum = appendFrame(file, uint32(len(block)), payload, sum)
	}

	payload = payload[:0]
	for _, total := range []int{len(t.Encounters), len(enc.ids), len(enc.holders)} {
		payload = binary.LittleEndian.AppendUint64(payload, uint64(total))
	}
	file, _ = appendFrame(file, 0, payload, sum)
	return file, nil
}

// kindShifts checks the kind table and what can be checked of an encounter
// alone, and finds how far each kind's ptrs can be shifted.
func kindShifts(t *Trace) ([]kindWalk, error) {
	if what := checkKinds(t.Kinds); what != "" {
		return nil, fmt.Errorf("%w: %s", ErrInvalid, what)
	}
	union := make([]uint64, len(t.Kinds))
	for i := range t.Encounters {
		e := &t.Encounters[i]
		if e.Ptr == 0 {
			return nil, fmt.Errorf("%w: encounter %d: ptr is 0", ErrInvalid, i)
		}
		if e.Kind == 0 || int(e.Kind) > len(t.Kinds) {
			return nil, fmt.Errorf("%w: encounter %d: kind %d, want 1 to %d", ErrInvalid, i, e.Kind, len(t.Kinds))
		}
		union[e.Kind-1] |= e.Ptr
	}
	kinds := make([]kindWalk, len(t.Kinds))
	for i, u := range union {
		if u != 0 {
			kinds[i].shift = uint8(bits.TrailingZeros64(u))
		}
	}
	return kinds, nil
}

// append codes one encounter. The holder is coded against the objects known
// before the encounter, so the object is learned last.
func (enc *encoder) append(b []byte, e *Encounter) ([]byte, error) {
	kind := &enc.kinds[e.Kind-1]
	id, known := enc.ids[e.Ptr]
	if known && id.kind != e.Kind {
		return nil, fmt.Errorf("ptr %#x has kind %d, was met with kind %d", e.Ptr, e.Kind, id.kind)
	}

	tagAt := len(b)
	tag := byte(min(int(e.Kind)-1, kindMore)) << kindPos
	b = append(b, 0)
	if tag>>kindPos == kindMore {
		b = binary.AppendUvarint(b, uint64(e.Kind)-kindMore-1)
	}

	if e.Holder != enc.holder {
		if e.Holder != 0 {
			enc.holders[e.Holder] = struct{}{}
		}
		switch by, isObject := enc.ids[e.Holder]; {
		case isObject && by.number == enc.walked+1:
			tag |= holderNext
			enc.walked = by.number
		case isObject && by.number > enc.walked:
			tag |= holderLater
			b = binary.AppendUvarint(b, uint64(by.number-enc.walked-2))
			enc.walked = by.number
		default:
			tag |= holderOther
			b = binary.AppendUvarint(b, zigzag(int64(e.Holder-enc.holder)))
		}
		enc.holder = e.Holder
	}

	if known {
		b = binary.AppendUvarint(b, zigzag(int64(id.index-kind.last)))
		kind.last = id.index
	} else {
		tag |= objectNew
		b = binary.AppendUvarint(b, zigzag(int64(e.Ptr>>kind.shift-kind.newest())))
		enc.ids[e.Ptr] = objectID{number: len(enc.ids), index: len(kind.objects), kind: e.Kind}
		kind.objects = append(kind.objects, e.Ptr)
	}
	b[tagAt] = tag
	return b, nil
}
