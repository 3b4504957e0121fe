package trace

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
)

func zipped(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const twoFiles = "0\tfile\tffff888101234500\n7\tmm\tA0\n7\tfile\tffff888101234500\n"

func TestImportTSV_readsTextAndGzipAlike(t *testing.T) {
	want := &Trace{Kinds: []string{"file", "mm"}, Encounters: []Encounter{
		{0, 1, 0xffff888101234500}, {7, 2, 0xa0}, {7, 1, 0xffff888101234500},
	}}
	for name, input := range map[string][]byte{
		"text":                 []byte(twoFiles),
		"no newline at end":    []byte(strings.TrimSuffix(twoFiles, "\n")),
		"gzip":                 zipped(t, twoFiles),
		"gzip of two members":  append(zipped(t, twoFiles[:10]), zipped(t, twoFiles[10:])...),
		"gzip, no end newline": zipped(t, strings.TrimSuffix(twoFiles, "\n")),
	} {
		got, err := ImportTSV(iotest.OneByteReader(bytes.NewReader(input)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Run(name, func(t *testing.T) { wantEqual(t, got, want) })
	}
	got, err := ImportTSV(strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, got, &Trace{})
}

func TestImportTSV_keepsOrderOverManyChunks(t *testing.T) {
	const n = 2*tsvChunk + 3
	var text bytes.Buffer
	for i := range n {
		fmt.Fprintf(&text, "%x\tk%d\t%x\n", i/3, i%7, i+1)
	}
	got, err := ImportTSV(&text)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Encounters) != n {
		t.Fatalf("%d encounters, want %d", len(got.Encounters), n)
	}
	for i, e := range got.Encounters {
		if e != (Encounter{uint64(i / 3), uint16(i%7 + 1), uint64(i + 1)}) {
			t.Fatalf("encounter %d is %+v", i, e)
		}
	}
}

func TestImportTSV_namesTheLineAndWhatIsWrong(t *testing.T) {
	for input, want := range map[string]string{
		"\n":                                     `line 1: 1 fields, want 3`,
		"0\tk\t1\n\n":                            `line 2: 1 fields`,
		"0\tk\n":                                 `line 1: 2 fields`,
		"0\tk\t1\t\n":                            `line 1: 4 fields`,
		"0 k 1\n":                                `line 1: 1 fields`,
		"0\tk\t1\ng\tk\t1\n":                     `line 2: holder is "g", want 1 to 16 hexadecimal digits`,
		"\tk\t1\n":                               `line 1: holder is ""`,
		"0x1\tk\t1\n":                            `line 1: holder is "0x1"`,
		"0\tk\t1\r\n":                            `line 1: ptr is "1\r"`,
		"0\tk\t11112222333344445\n":              `line 1: ptr is "11112222333344445"`,
		"0\tk\t1_0\n":                            `line 1: ptr is "1_0"`,
		"0\tk\t0\n":                              `line 1: ptr is 0`,
		"0\tk\t0000000000000000\n":               `line 1: ptr is 0`,
		"0\t\t1\n":                               `line 1: kind: empty`,
		"0\t\xff\t1\n":                           `line 1: kind: "\xff" is not UTF-8`,
		"0\ta\vb\t1\n":                           `line 1: kind: "a\vb" has a control character`,
		"0\t" + strings.Repeat("k", 256) + "\t1": `line 1: kind: 256 bytes`,
		"0\ta\tab\n1\tb\t1\n2\tb\tAB\n":          `line 3: ptr ab is "b" here and "a" in line 1`,
		"0\tk\t1\n" + strings.Repeat("0", 1<<17): `line 2: longer than 65536 bytes`,
	} {
		for _, in := range [][]byte{[]byte(input), zipped(t, input)} {
			_, err := ImportTSV(bytes.NewReader(in))
			var line *LineError
			if !errors.As(err, &line) || !strings.Contains(err.Error(), want) {
				t.Errorf("%.60q: error %v, want a LineError that says %s", input, err, want)
			}
		}
	}
}

func TestImportTSV_refusesOneKindTooMany(t *testing.T) {
	var text bytes.Buffer
	for i := range 1 << 16 {
		fmt.Fprintf(&text, "0\tk%d\t%x\n", i, i+1)
	}
	_, err := ImportTSV(&text)
	var line *LineError
	if !errors.As(err, &line) || line.Line != 1<<16 {
		t.Errorf("error %v, want a LineError of line 65536", err)
	}
}

func TestImportTSV_passesReadErrorsOn(t *testing.T) {
	sick := errors.New("sick")
	if _, err := ImportTSV(iotest.ErrReader(sick)); !errors.Is(err, sick) {
		t.Errorf("error %v, want the reader's", err)
	}
	z := zipped(t, strings.Repeat(twoFiles, 100))
	for n := 2; n < len(z); n++ {
		if _, err := ImportTSV(bytes.NewReader(z[:n])); err == nil {
			t.Errorf("%d of %d bytes of gzip are accepted", n, len(z))
		}
	}
	z[len(z)-5] ^= 1
	if _, err := ImportTSV(bytes.NewReader(z)); !errors.Is(err, gzip.ErrChecksum) {
		t.Errorf("error %v, want a wrong checksum", err)
	}
}

func FuzzImportTSV(f *testing.F) {
	f.Add([]byte(twoFiles))
	f.Add(zipped(f, twoFiles))
	f.Add([]byte("0\ta\t1\n0\tb\t1\n"))
	f.Add([]byte("0\ta\t0\n"))
	f.Add([]byte("\x1f\x8b"))
	f.Fuzz(func(t *testing.T, text []byte) {
		tr, err := ImportTSV(bytes.NewReader(text))
		if err != nil {
			return
		}
		got, err := Read(bytes.NewReader(encoded(t, tr)))
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, got, tr)
	})
}

func BenchmarkImportTSV(b *testing.B) {
	b.Run("encounters=100000", func(b *testing.B) {
		var text bytes.Buffer
		for _, e := range heapLike(100_000).Encounters {
			fmt.Fprintf(&text, "%x\tobj48\t%x\n", e.Holder, e.Ptr)
		}
		b.SetBytes(int64(text.Len()))
		for b.Loop() {
			if _, err := ImportTSV(bytes.NewReader(text.Bytes())); err != nil {
				b.Fatal(err)
			}
		}
	})
}
