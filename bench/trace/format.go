package trace

import (
	"encoding/binary"
	"fmt"

	"github.com/zeebo/xxh3"
)

const (
	magic   = "\x89OHTRC\r\n"
	version = 1

	prefixSize    = len(magic) + 4 // and the version
	frameHead     = 4 + 4          // count, length
	frameSum      = 8
	trailerSize   = 3 * 8
	blockMax      = 4096  // encounters
	encounterMin  = 2     // bytes: a tag and a number
	kindEntryMin  = 1 + 1 // bytes: shift and length of a name
	kindShiftMost = 63
)

// The tag byte of an encounter.
const (
	holderMask  = 3
	holderSame  = 0
	holderNext  = 1
	holderLater = 2
	holderOther = 3

	objectNew = 1 << 2

	kindPos  = 3
	kindMore = 31
)

// FormatError: bytes that are not a trace, or no longer the trace that was
// written.
type FormatError struct {
	Offset int64 // in bytes from the start, of what was found to be wrong
	What   string
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("trace: at byte %d: %s", e.Offset, e.What)
}

func formatError(offset int, format string, args ...any) error {
	return &FormatError{Offset: int64(offset), What: fmt.Sprintf(format, args...)}
}

// kindWalk is what both sides remember of a kind while they walk the encounters.
type kindWalk struct {
	shift   uint8
	objects []uint64 // ptrs, in order of first encounters
	last    int      // index in objects of the last known object met
}

// newest returns the units that the next new object is coded against.
func (k *kindWalk) newest() uint64 {
	if len(k.objects) == 0 {
		return 0
	}
	return k.objects[len(k.objects)-1] >> k.shift
}

// prefixChecksum seeds the chain of checksums.
func prefixChecksum(prefix []byte) uint64 { return xxh3.Hash(prefix) }

// appendFrame appends a frame to file and returns its checksum, the seed of the
// next.
func appendFrame(file []byte, count uint32, payload []byte, seed uint64) ([]byte, uint64) {
	start := len(file)
	file = binary.LittleEndian.AppendUint32(file, count)
	file = binary.LittleEndian.AppendUint32(file, uint32(len(payload)))
	file = append(file, payload...)
	sum := xxh3.HashSeed(file[start:], seed)
	return binary.LittleEndian.AppendUint64(file, sum), sum
}

// frame is a frame whose bytes are all there and match their checksum.
type frame struct {
	at      int // offset of its first byte
	count   uint32
	payload []byte
	sum     uint64
}

// payloadAt is the offset of the payload's byte i.
func (f *frame) payloadAt(i int) int { return f.at + frameHead + i }

// end is the offset of the first byte after the frame.
func (f *frame) end() int { return f.payloadAt(len(f.payload)) + frameSum }

// readFrame reads the frame at an offset of file.
func readFrame(file []byte, at int, seed uint64) (frame, error) {
	rest := file[at:]
	if len(rest) < frameHead {
		return frame{}, formatError(at, "truncated: %d bytes left, a frame begins with %d", len(rest), frameHead)
	}
	f := frame{at: at, count: binary.LittleEndian.Uint32(rest)}
	length := uint64(binary.LittleEndian.Uint32(rest[4:]))
	if left := uint64(len(rest) - frameHead); left < length+frameSum {
		return frame{}, formatError(at, "truncated or damaged: the frame needs %d more bytes, %d are left", length+frameSum, left)
	}
	checked := frameHead + int(length)
	f.payload = rest[frameHead:checked]
	f.sum = binary.LittleEndian.Uint64(rest[checked:])
	if got := xxh3.HashSeed(rest[:checked], seed); got != f.sum {
		return frame{}, formatError(at, "damaged: checksum of the frame is %#016x, its bytes give %#016x", f.sum, got)
	}
	return f, nil
}

func zigzag(d int64) uint64   { return uint64(d<<1) ^ uint64(d>>63) }
func unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }
