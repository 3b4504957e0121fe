package trace

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

var update = flag.Bool("update", false, "write testdata/golden.trace anew")

var golden = filepath.Join("testdata", "golden.trace")

// goldenTrace spans two blocks.
func goldenTrace() *Trace { return walk(blockMax + 300) }

func encoded(t testing.TB, tr *Trace) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, tr); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func goldenFile(t testing.TB) []byte {
	t.Helper()
	file, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestRoundTrip_isTheIdentity(t *testing.T) {
	for _, n := range []int{3, 4, 100, blockMax - 1, blockMax, blockMax + 1, 2*blockMax + 7} {
		tr := walk(n)
		got, err := Read(bytes.NewReader(encoded(t, tr)))
		if err != nil {
			t.Fatalf("%d encounters: %v", n, err)
		}
		wantEqual(t, got, tr)
	}
	for _, tr := range []*Trace{{}, {Kinds: []string{"unused"}}, {Kinds: []string{"ü", strings.Repeat("x", 255)}, Encounters: []Encounter{{1<<64 - 1, 2, 1}, {0, 2, 1}}}} {
		got, err := Read(iotest.OneByteReader(bytes.NewReader(encoded(t, tr))))
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, got, tr)
	}
}

func TestRoundTrip_withAsManyKindsAsPossible(t *testing.T) {
	tr := &Trace{}
	for k := range 65535 {
		tr.Kinds = append(tr.Kinds, fmt.Sprintf("kind%d", k+1))
		tr.Encounters = append(tr.Encounters, Encounter{0, uint16(k + 1), uint64(k + 1)})
	}
	got, err := Read(bytes.NewReader(encoded(t, tr)))
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, got, tr)
}

func TestG22_golden_file_has_not_changed(t *testing.T) {
	want := encoded(t, goldenTrace())
	if *update {
		if err := os.WriteFile(golden, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(goldenFile(t), want) {
		t.Errorf("%s is not what Write gives for the same trace: a change of the format needs another version", golden)
	}
	got, err := ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, got, goldenTrace())
}

// wantFormatError fails unless err is a FormatError with an offset in the file.
func wantFormatError(t *testing.T, err error, size int, what string, args ...any) {
	t.Helper()
	var f *FormatError
	if !errors.As(err, &f) || f.Offset < 0 || f.Offset > int64(size) || f.What == "" {
		t.Fatalf(what+": error %v, want a FormatError with an offset up to %d", append(args, err, size)...)
	}
}

// tryRead returns the error of Read. It spares Read's copy of a file that has
// the magic, which is most of the time of ten thousand attempts.
func tryRead(file []byte) error {
	if !bytes.HasPrefix(file, []byte(magic)) {
		_, err := Read(bytes.NewReader(file))
		return err
	}
	_, err := decode(file)
	return err
}

func TestG22_every_changed_byte_is_rejected(t *testing.T) {
	file := goldenFile(t)
	for i := range file {
		for _, flip := range []byte{1, 16, 128, 255} {
			file[i] ^= flip
			wantFormatError(t, tryRead(file), len(file), "byte %d ^ %#x", i, flip)
			file[i] ^= flip
		}
	}
	if err := tryRead(file); err != nil {
		t.Fatal(err)
	}
}

func TestG22_every_truncation_is_rejected(t *testing.T) {
	file := goldenFile(t)
	for n := range file {
		wantFormatError(t, tryRead(file[:n]), n, "%d of %d bytes", n, len(file))
	}
}

func TestG22_trailing_bytes_are_rejected(t *testing.T) {
	file := goldenFile(t)
	for _, tail := range [][]byte{{0}, {'\n'}, make([]byte, frameHead), file} {
		_, err := Read(bytes.NewReader(slices.Concat(file, tail)))
		wantFormatError(t, err, len(file), "%d bytes more", len(tail))
	}
}

func TestG22_frames_cannot_be_exchanged_doubled_or_left_out(t *testing.T) {
	file := goldenFile(t)
	kinds, blocks, trailer, err := readFrames(file)
	if err != nil || len(blocks) != 2 {
		t.Fatalf("%d blocks, %v, want 2", len(blocks), err)
	}
	cut := func(f frame) []byte { return file[f.at:f.end()] }
	start := file[:kinds.end()]
	for name, frames := range map[string][][]byte{
		"exchanged": {start, cut(blocks[1]), cut(blocks[0]), cut(trailer)},
		"doubled":   {start, cut(blocks[0]), cut(blocks[0]), cut(blocks[1]), cut(trailer)},
		"left out":  {start, cut(blocks[0]), cut(trailer)},
	} {
		_, err := decode(slices.Concat(frames...))
		wantFormatError(t, err, len(file)*2, "%s", name)
	}
}

// forged is a frame whose checksum will be right, whatever its content.
type forged struct {
	count   uint32
	payload []byte
}

// forge makes a file of frames that only a decoder that looks at their content
// can reject.
func forge(frames ...forged) []byte {
	file := binary.LittleEndian.AppendUint32([]byte(magic), version)
	sum := prefixChecksum(file)
	for _, f := range frames {
		file, sum = appendFrame(file, f.count, f.payload, sum)
	}
	return file
}

func totals(encounters, objects, holders uint64) forged {
	b := binary.LittleEndian.AppendUint64(nil, encounters)
	b = binary.LittleEndian.AppendUint64(b, objects)
	return forged{0, binary.LittleEndian.AppendUint64(b, holders)}
}

// Tags of the one kind of the forged files.
const (
	known = 0
	fresh = objectNew
)

func TestG22_what_checksums_cannot_see_is_rejected(t *testing.T) {
	one := forged{1, []byte{0, 1, 'k'}}
	shifted := forged{1, []byte{63, 1, 'k'}}
	block := func(count uint32, b ...byte) forged { return forged{count, b} }
	for name, c := range map[string]struct {
		file []byte
		what string
	}{
		"kind table too short":      {forge(forged{1, nil}, totals(0, 0, 0)), "table of 1 kinds in 0 bytes"},
		"kind name too short":       {forge(forged{1, []byte{0, 2, 'k'}}, totals(0, 0, 0)), "exceeds the kind table"},
		"kind name empty":           {forge(forged{1, []byte{0, 0}}, totals(0, 0, 0)), "empty"},
		"kind name not UTF-8":       {forge(forged{1, []byte{0, 1, 0xff}}, totals(0, 0, 0)), "not UTF-8"},
		"kind name with a tab":      {forge(forged{1, []byte{0, 1, '\t'}}, totals(0, 0, 0)), "control character"},
		"kind twice":                {forge(forged{2, []byte{0, 1, 'k', 0, 1, 'k'}}, totals(0, 0, 0)), "another kind's"},
		"kind shift":                {forge(forged{1, []byte{64, 1, 'k'}}, totals(0, 0, 0)), "shift"},
		"more after the kinds":      {forge(forged{1, []byte{0, 1, 'k', 0}}, totals(0, 0, 0)), "after the last kind"},
		"block too large":           {forge(one, block(blockMax+1, make([]byte, 3*blockMax)...), totals(0, 0, 0)), "at most 4096"},
		"block too short":           {forge(one, block(2, fresh, 2, 0), totals(2, 1, 0)), "2 encounters in 3 bytes"},
		"encounter cut":             {forge(one, block(1, fresh, 0x80), totals(1, 1, 0)), "exceeds its block"},
		"number too long":           {forge(one, block(1, append([]byte{fresh}, bytes.Repeat([]byte{0xff}, 11)...)...), totals(1, 1, 0)), "exceeds its block"},
		"more after the encounters": {forge(one, block(1, fresh, 2, 0), totals(1, 1, 0)), "after the last encounter"},
		"kind not in the table":     {forge(one, block(1, 1<<kindPos|fresh, 2), totals(1, 1, 0)), "kind 2, want 1 to 1"},
		"kind far off":              {forge(one, block(1, kindMore<<kindPos|fresh, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2), totals(1, 1, 0)), "want 1 to 1"},
		"ptr 0":                     {forge(one, block(1, fresh, 0), totals(1, 1, 0)), "not all 0"},
		"ptr over 64 bits":          {forge(shifted, block(1, fresh, 4), totals(1, 1, 0)), "64 bits"},
		"new object twice":          {forge(one, block(2, fresh, 2, fresh, 0), totals(2, 1, 0)), "met before"},
		"known object of none":      {forge(one, block(1, known, 0), totals(1, 0, 0)), "object 0 of 0"},
		"known object before first": {forge(one, block(2, fresh, 2, known, 1), totals(2, 1, 0)), "object -1 of 1"},
		"known object after last":   {forge(one, block(2, fresh, 2, known, 2), totals(2, 1, 0)), "object 1 of 1"},
		"next holder of none":       {forge(one, block(1, fresh|holderNext, 2), totals(1, 1, 1)), "object 0 of 0"},
		"later holder of one":       {forge(one, block(2, fresh, 2, known|holderLater, 0, 0), totals(2, 1, 1)), "object 1 of 1"},
		"later holder far off":      {forge(one, block(1, fresh|holderLater, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2), totals(1, 1, 1)), "its holder"},
		"no trailer":                {forge(one, block(1, fresh, 2)), "truncated"},
		"trailer too short":         {forge(one, forged{0, make([]byte, 23)}), "trailer of 23 bytes"},
		"two trailers":              {forge(one, totals(0, 0, 0), totals(0, 0, 0)), "after the trailer"},
		"encounters miscounted":     {forge(one, block(1, fresh, 2), totals(2, 1, 0)), "counts 2 encounters, the blocks 1"},
		"objects miscounted":        {forge(one, block(2, fresh, 2, fresh, 2), totals(2, 1, 0)), "counts 1 objects, the blocks have 2"},
		"objects impossible":        {forge(one, block(1, fresh, 2), totals(1, 1<<60, 0)), "objects"},
		"holders miscounted":        {forge(one, block(1, fresh, 2), totals(1, 1, 1)), "counts 1 holders, the blocks have 0"},
		"holders impossible":        {forge(one, block(1, fresh, 2), totals(1, 1, 1<<60)), "holders"},
	} {
		_, err := Read(bytes.NewReader(c.file))
		wantFormatError(t, err, len(c.file), "%s", name)
		if !strings.Contains(err.Error(), c.what) {
			t.Errorf("%s: error %q, want it to say %q", name, err, c.what)
		}
	}
	if _, err := Read(bytes.NewReader(forge(one, block(2, fresh, 2, known|holderNext, 0), totals(2, 1, 1)))); err != nil {
		t.Errorf("a sound forged file: %v", err)
	}
}

// allocated returns how many bytes f allocates, the least of a few runs, as
// other goroutines of the test binary may allocate as well.
func allocated(f func()) uint64 {
	least := ^uint64(0)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return least
}

func TestG22_memory_is_bounded_by_the_length(t *testing.T) {
	huge := func(file []byte, at int) []byte {
		file = slices.Clone(file)
		binary.LittleEndian.PutUint32(file[at:], 1<<32-1)
		return file
	}
	one := forged{1, []byte{0, 1, 'k'}}
	all := make([]byte, 0, 2*blockMax)
	for range blockMax {
		all = append(all, fresh, 2)
	}
	blocks := []forged{one}
	for range 16 {
		blocks = append(blocks, forged{blockMax, all})
	}
	small := forge(one, forged{1, []byte{fresh, 2}}, totals(1, 1, 0))
	blockAt := len(forge(one))
	for name, file := range map[string][]byte{
		"count of kinds":       huge(small, prefixSize),
		"length of kinds":      huge(small, prefixSize+4),
		"count of block":       huge(small, blockAt),
		"length of block":      huge(small, blockAt+4),
		"checked count, kinds": forge(forged{1<<32 - 1, []byte{0, 1, 'k'}}, totals(0, 0, 0)),
		"checked count, block": forge(one, forged{1<<32 - 1, []byte{fresh, 2}}, totals(0, 0, 0)),
		"checked totals":       forge(one, forged{1, []byte{fresh, 2}}, totals(1<<60, 1<<60, 1<<60)),
		"densest, many new":    forge(append(blocks, totals(16*blockMax, 16*blockMax, 0))...),
		"densest, miscounted":  forge(append(blocks, totals(16*blockMax, 16*blockMax, 16*blockMax))...),
		"golden":               goldenFile(t),
	} {
		got := allocated(func() { _, _ = Read(bytes.NewReader(file)) })
		// 100 bytes a byte: 24 an encounter of 2 bytes, the rest for indexing its
		// object and its holder and for what is left behind as lists grow.
		if limit := uint64(100*len(file) + 16<<10); got > limit {
			t.Errorf("%s: %d bytes allocated for a file of %d, want %d at most", name, got, len(file), limit)
		}
	}
}

func TestRead_saysWhatIsNoTrace(t *testing.T) {
	for input, what := range map[string]string{
		"":                                "truncated",
		"\x1f\x8b\x08\x00 and so on":      "not a trace",
		"0\tobj8\t20521bf18018\n":         "not a trace",
		magic + "\x02\x00\x00\x00 future": "version 2",
	} {
		_, err := Read(strings.NewReader(input))
		wantFormatError(t, err, len(input), "%q", input)
		if !strings.Contains(err.Error(), what) {
			t.Errorf("%q: error %q, want it to say %q", input, err, what)
		}
	}
}

func TestRead_passesTheReadersErrorOn(t *testing.T) {
	sick := errors.New("sick")
	file := goldenFile(t)
	for _, n := range []int{0, 4, len(magic), 1000} {
		_, err := Read(io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(sick)))
		if !errors.Is(err, sick) {
			t.Errorf("after %d bytes: error %v, want the reader's", n, err)
		}
	}
	if _, err := ReadFile(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("ReadFile of no file: error %v", err)
	}
	if _, err := ReadFile("format_test.go"); err == nil || !strings.Contains(err.Error(), "format_test.go") {
		t.Errorf("ReadFile of another file: error %v, want it to name the path", err)
	}
}

func TestWrite_refusesAnInvalidTraceAndWritesNothing(t *testing.T) {
	for name, tr := range map[string]*Trace{
		"ptr 0":             {Kinds: []string{"a"}, Encounters: []Encounter{{0, 1, 1}, {0, 1, 0}}},
		"kind 0":            {Kinds: []string{"a"}, Encounters: []Encounter{{0, 0, 1}}},
		"kind not in table": {Kinds: []string{"a"}, Encounters: []Encounter{{0, 2, 1}}},
		"two kinds":         {Kinds: []string{"a", "b"}, Encounters: []Encounter{{0, 1, 1}, {0, 2, 1}}},
		"empty name":        {Kinds: []string{""}},
		"long name":         {Kinds: []string{strings.Repeat("x", 256)}},
		"name twice":        {Kinds: []string{"a", "a"}},
		"name with newline": {Kinds: []string{"a\n"}},
		"too many kinds":    {Kinds: make([]string, 1<<16)},
	} {
		var b bytes.Buffer
		if err := Write(&b, tr); !errors.Is(err, ErrInvalid) || b.Len() != 0 {
			t.Errorf("%s: error %v and %d bytes written, want ErrInvalid and none", name, err, b.Len())
		}
	}
	sick := errors.New("sick")
	if err := Write(failingWriter{sick}, &Trace{}); !errors.Is(err, sick) {
		t.Errorf("error %v, want the writer's", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func FuzzRead(f *testing.F) {
	f.Add(goldenFile(f))
	f.Add(encoded(f, &Trace{}))
	f.Add(encoded(f, walk(40)))
	f.Add(encoded(f, walk(40))[:100])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, file []byte) {
		tr, err := Read(bytes.NewReader(file))
		if err != nil {
			wantFormatError(t, err, len(file), "input")
			return
		}
		again, err := Read(bytes.NewReader(encoded(t, tr)))
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, again, tr)
	})
}

// FuzzBlock reaches what checksums keep FuzzRead from: the coding itself.
func FuzzBlock(f *testing.F) {
	file := encoded(f, walk(60))
	_, blocks, _, err := readFrames(file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(60), blocks[0].payload)
	f.Add(uint16(2), []byte{fresh, 2, known | holderNext, 0})
	f.Add(uint16(1), []byte{fresh | holderOther, 0xff, 0xff, 1, 2})
	kinds := forged{count: 40}
	for k := range kinds.count {
		kinds.payload = append(kinds.payload, byte(k%12), 1, byte('A'+k))
	}
	f.Fuzz(func(t *testing.T, count uint16, payload []byte) {
		count = min(max(count, 1), blockMax)
		kindFrame := forge(kinds)
		kf, err := readFrame(kindFrame, prefixSize, prefixChecksum(kindFrame[:prefixSize]))
		if err != nil {
			t.Fatal(err)
		}
		names, walks, err := readKinds(kf)
		if err != nil {
			t.Fatal(err)
		}
		dec := newDecoder(walks, 0)
		encounters, err := dec.block(nil, &frame{count: uint32(count), payload: payload})
		if err != nil {
			return
		}
		tr := &Trace{Kinds: names, Encounters: encounters}
		if tr.Objects() != len(dec.objects) || tr.Holders() != dec.countHolders() {
			t.Fatalf("decoded %d objects, %d holders, the trace has %d, %d", len(dec.objects), dec.countHolders(), tr.Objects(), tr.Holders())
		}
		again, err := Read(bytes.NewReader(encoded(t, tr)))
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, again, tr)
	})
}

func BenchmarkRead(b *testing.B) {
	b.Run("encounters=100000", func(b *testing.B) {
		tr := heapLike(100_000)
		file := encoded(b, tr)
		b.SetBytes(int64(len(tr.Encounters)) * 24)
		for b.Loop() {
			if _, err := Read(bytes.NewReader(file)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(file))/float64(len(tr.Encounters)), "B/encounter")
	})
}

func BenchmarkWrite(b *testing.B) {
	b.Run("encounters=100000", func(b *testing.B) {
		tr := heapLike(100_000)
		b.SetBytes(int64(len(tr.Encounters)) * 24)
		for b.Loop() {
			if err := Write(io.Discard, tr); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// heapLike is a breadth-first walk: each object holds two new ones and meets an
// earlier one.
func heapLike(encounters int) *Trace {
	tr := &Trace{Kinds: []string{"obj48"}, Encounters: []Encounter{{0, 1, 48}}}
	for i := uint64(1); len(tr.Encounters) < encounters; i++ {
		tr.Encounters = append(tr.Encounters,
			Encounter{48 * i, 1, 48 * 2 * i}, Encounter{48 * i, 1, 48 * (2*i + 1)}, Encounter{48 * i, 1, 48 * (i/2 + 1)})
	}
	return tr
}
