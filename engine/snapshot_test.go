package engine_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"github.com/zeebo/xxh3"

	"github.com/objhash/objhash/engine"
	"github.com/objhash/objhash/refcount"
)

// G22: decoding a snapshot needs memory bounded by its length, and work linear in it;
// every truncation and every changed byte of a golden file is rejected; decode(encode(x))
// is x.

var update = flag.Bool("update", false, "write testdata/golden.snapshot anew")

var goldenPath = filepath.Join("testdata", "golden.snapshot")

// goldenSnapshot returns the bytes of a context with all there is: every flag, addresses
// in and outside 48 bits, keys, reserved objrefs, holes, holders, and a kind without a
// name.
func goldenSnapshot(t testing.TB) []byte {
	c := newCheckpoint(t, engine.Options{
		Kinds: []engine.KindOps{{Name: "file"}, {Name: "socket"}, {}},
		Count: refcount.Atomic{},
	})
	hole, d := newDumper(t, c), newDumper(t, c)
	if _, err := hole.Reserve(); err != nil { // the objrefs after it are a hole
		t.Fatal(err)
	}
	for i := range 20 {
		var ref engine.ObjRef
		var err error
		switch i % 5 {
		case 0:
			ref, err = d.Reserve()
		case 1:
			ref, _, err = d.Encounter(wide(i), 2)
		case 2:
			ref, _, err = d.EncounterKey(fmt.Appendf(nil, "8:%d", i), 3)
		case 3:
			ref, err = d.Dump(addr(i), 1, dumpOK)
		case 4:
			ref, _, err = d.Encounter(oddAddresses[i], engine.Kind(i%3+1))
			for range i {
				if _, _, err := d.Encounter(oddAddresses[i], engine.Kind(i%3+1)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if ref == 0 || err != nil {
			t.Fatal(ref, err)
		}
	}
	var b bytes.Buffer
	_, err := d.Dump(addr(100), 1, func(engine.ObjRef) error {
		return c.WriteSnapshotWith(&b, func(ref engine.ObjRef) []engine.Holder {
			o, ok := c.Object(ref)
			if !ok || ref%2 == 0 {
				return nil
			}
			return []engine.Holder{{ID: 1, Users: o.Users}, {ID: -uint64(ref), Users: 0}}
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func goldenFile(t testing.TB) []byte {
	t.Helper()
	file, err := os.ReadFile(goldenPath)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func encodeSnapshot(t testing.TB, s *engine.Snapshot) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := engine.EncodeSnapshot(&b, s); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func writeSnapshot(t testing.TB, c *engine.Checkpoint) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := c.WriteSnapshot(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readSnapshot(t testing.TB, file []byte) *engine.Snapshot {
	t.Helper()
	s, err := engine.ReadSnapshot(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var atByte = regexp.MustCompile(`at byte (\d+): .`)

// wantSnapshotError checks that a snapshot of size bytes is refused, and that the error
// says at which byte.
func wantSnapshotError(t testing.TB, err error, size int, what string, args ...any) {
	t.Helper()
	if !errors.Is(err, engine.ErrSnapshot) {
		t.Fatalf(what+": error is %v; want one that wraps ErrSnapshot", append(args, err)...)
	}
	m := atByte.FindStringSubmatch(err.Error())
	if m == nil {
		t.Fatalf(what+": error %q does not say at which byte", append(args, err)...)
	}
	if at, _ := strconv.Atoi(m[1]); at > size {
		t.Fatalf(what+": error %q, of %d bytes", append(args, err, size)...)
	}
}

func refused(file []byte) error {
	_, err := engine.ReadSnapshot(bytes.NewReader(file))
	return err
}

func TestG22_snapshotGolden(t *testing.T) {
	want := goldenSnapshot(t)
	if *update {
		if err := os.WriteFile(goldenPath, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file := goldenFile(t)
	if !bytes.Equal(file, want) {
		t.Errorf("%s is not what WriteSnapshot gives for the same context: a change of the format needs another version", goldenPath)
	}
	s := readSnapshot(t, file)
	var all engine.Flags
	holders := 0
	for _, o := range s.Objects {
		all |= o.Flags
		holders += len(o.Holders)
	}
	if all != engine.Dumping|engine.Dumped|engine.Keyed|engine.Reserved || holders != 18 {
		t.Errorf("flags %b, %d holders", all, holders)
	}
	if again := encodeSnapshot(t, s); !bytes.Equal(again, file) {
		t.Error("what was read is not what is written again")
	}
}

func TestG22_everyChangedByteOfASnapshotIsRefused(t *testing.T) {
	file := goldenFile(t)
	step := 1
	if slow {
		step = 37
	}
	for i := range file {
		for change := 1; change < 256; change += step {
			file[i] ^= byte(change)
			wantSnapshotError(t, refused(file), len(file), "byte %d ^ %#x", i, change)
			file[i] ^= byte(change)
		}
	}
	readSnapshot(t, file)
}

func TestG22_everyTruncatedSnapshotIsRefused(t *testing.T) {
	file := goldenFile(t)
	for n := range file {
		wantSnapshotError(t, refused(file[:n]), n, "%d of %d bytes", n, len(file))
	}
	for _, tail := range [][]byte{{0}, {'\n'}, file} {
		wantSnapshotError(t, refused(slices.Concat(file, tail)), len(file), "%d bytes more", len(tail))
	}
}

// wantSame checks that a snapshot has what its context has.
func wantSame(t testing.TB, c *engine.Checkpoint, s *engine.Snapshot) {
	t.Helper()
	objects, reserved := 0, 0
	for _, o := range s.Objects {
		if o.Flags == engine.Reserved {
			if _, ok := c.Object(o.Ref); ok {
				t.Fatalf("objref %d is reserved in the snapshot, an object in the context", o.Ref)
			}
			reserved++
			continue
		}
		objects++
		if want, ok := c.Object(o.Ref); !ok || !reflect.DeepEqual(o.Object, want) {
			t.Fatalf("objref %d is %+v in the snapshot, %+v, %t, in the context", o.Ref, o.Object, want, ok)
		}
	}
	if st := c.Stats(); objects != st.Objects || reserved != st.Reserved {
		t.Errorf("the snapshot has %d objects and %d reserved objrefs; the context %d, %d", objects, reserved, st.Objects, st.Reserved)
	}
}

// populate encounters n objects at random, with several handles, some of which stay open.
func populate(t testing.TB, c *engine.Checkpoint, n int, rnd *rand.Rand) {
	t.Helper()
	handles := make([]*engine.Dumper, 5)
	for i := range handles {
		handles[i] = newDumper(t, c)
	}
	kinds := 3
	for range n {
		d := handles[rnd.IntN(len(handles))]
		i := rnd.IntN(n)
		k := engine.Kind(i%kinds + 1)
		var err error
		switch rnd.IntN(20) {
		case 0:
			_, err = d.Reserve()
		case 1:
			_, _, err = d.EncounterKey(bytes.Repeat(fmt.Append(nil, i), 1+i%9), k)
		case 2:
			_, _, err = d.Encounter(wide(i), k)
		case 3, 4, 5:
			_, err = d.Dump(addr(i), k, dumpOK)
		default:
			_, _, err = d.Encounter(addr(i), k)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range handles[:3] {
		closeQuietly(t, d)
	}
}

func TestG22_snapshotRoundTrip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 63, 64, 65, 1_000, sized(30_000)} {
		forEachSetting(t, func(t *testing.T, o engine.Options) {
			o.Kinds = []engine.KindOps{{Name: "a"}, {Name: ""}, {Name: strings.Repeat("long", 50_000)}}
			c := newCheckpoint(t, o)
			populate(t, c, n, rnd)
			file := writeSnapshot(t, c)
			s := readSnapshot(t, file)
			wantSame(t, c, s)
			if len(s.Kinds) != 3 || s.Kinds[0] != "a" || s.Kinds[1] != "" || s.Kinds[2] != o.Kinds[2].Name {
				t.Errorf("kinds %.100q", s.Kinds)
			}
			slowly, err := engine.ReadSnapshot(iotest.HalfReader(bytes.NewReader(file)))
			if err != nil || !reflect.DeepEqual(s, slowly) {
				t.Errorf("read in small pieces it is another one; %v", err)
			}
			if again := encodeSnapshot(t, s); !bytes.Equal(again, file) {
				t.Error("what was read is not what is written again")
			}
		})
	}
}

// Blocks that are full to the last entry, and keys and holders beyond one section.
func TestG22_snapshotBlocks(t *testing.T) {
	for _, n := range []int{4095, 4096, 4097, 8192} {
		s := &engine.Snapshot{Kinds: []string{"k"}}
		for i := range n {
			o := engine.SnapshotObject{Ref: engine.ObjRef(i + 1), Object: engine.Object{Kind: 1, Users: int64(i)}}
			if i%3 == 0 {
				o.Flags, o.Key = engine.Keyed, bytes.Repeat([]byte{byte(i)}, 100)
			} else {
				o.Ptr = addr(i)
			}
			for h := range uint64(i % 4) {
				o.Holders = append(o.Holders, engine.Holder{ID: h, Users: int64(h)})
			}
			s.Objects = append(s.Objects, o)
		}
		s.Objects[3].Key = make([]byte, 300<<10)
		if got := readSnapshot(t, encodeSnapshot(t, s)); !reflect.DeepEqual(got, s) {
			t.Errorf("%d objects: another snapshot is read", n)
		}
	}
}

// A section as bytes.
type section struct {
	kind, flags uint16
	count       uint32
	payload     []byte
	length      int64 // added to that of the payload, for a head that lies
}

const prefix = "\x89OHSNP\r\n\x01\x00\x00\x00\x00\x00\x00\x00"

// forge makes a file of sections whose checksums are right, whatever their content. A
// trailer that fits is added unless there is one.
func forge(objects, reserved uint64, sections ...section) []byte {
	file := []byte(prefix)
	sums, seed := uint64(0), func(sum, sums uint64) uint64 {
		return xxh3.HashSeed(binary.LittleEndian.AppendUint64(nil, sum), sums)
	}
	add := func(s section) {
		start := len(file)
		file = binary.LittleEndian.AppendUint16(file, s.kind)
		file = binary.LittleEndian.AppendUint16(file, s.flags)
		file = binary.LittleEndian.AppendUint32(file, s.count)
		file = binary.LittleEndian.AppendUint64(file, uint64(int64(len(s.payload))+s.length))
		file = append(file, s.payload...)
		sum := xxh3.Hash(file[start:])
		file = binary.LittleEndian.AppendUint64(file, sum)
		sums = seed(sum, sums)
	}
	for _, s := range sections {
		add(s)
	}
	if len(sections) == 0 || sections[len(sections)-1].kind != 5 {
		add(section{kind: 5, payload: words(objects, reserved, uint64(len(sections)), sums)})
	}
	return file
}

func words(all ...uint64) (b []byte) {
	for _, w := range all {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// entry is an object's entry, its first word apart.
func entry(ref, kind, flags uint64, ptr, users uint64) []byte {
	return words(ref|kind<<32|flags<<48, ptr, users)
}

func halves(all ...uint32) (b []byte) {
	for _, w := range all {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

func TestG22_whatChecksumsCannotSeeIsRefused(t *testing.T) {
	const keyed, reserved = 4, 8
	kinds := section{kind: 1, count: 1, payload: append(halves(1), 'k')}
	block := func(entries ...[]byte) section {
		return section{kind: 2, count: uint32(len(entries)), payload: slices.Concat(entries...)}
	}
	one := block(entry(1, 1, 0, 0x1000, 1))
	two := block(entry(1, 1, keyed, 0, 1), entry(3, 1, 0, 0x3000, 1), entry(4, 0, reserved, 0, 0))
	keys := section{kind: 3, count: 1, payload: append(halves(1, 3), "abc"...)}
	holders := func(count uint32, payload ...[]byte) section {
		return section{kind: 4, flags: 1, count: count, payload: slices.Concat(payload...)}
	}
	sound := [][]byte{
		forge(0, 0, kinds),
		forge(0, 0, section{kind: 1}),
		forge(2, 1, kinds, two, keys),
		forge(2, 1, kinds, two, keys, holders(2, halves(1, 1), words(7, 1), halves(3, 2), words(7, 1, 8, 1))),
		forge(2, 1, kinds, section{kind: 77, flags: 1, count: 5, payload: []byte("later")}, two, section{kind: 1000, flags: 1}, keys),
	}
	for i, file := range sound {
		if err := refused(file); err != nil {
			t.Errorf("sound file %d: %v", i, err)
		}
	}
	for name, c := range map[string]struct {
		file []byte
		what string
	}{
		"version":                  {[]byte(prefix[:8] + "\x02\x00\x00\x00\x00\x00\x00\x00"), "version 2"},
		"prefix not zero":          {[]byte(prefix[:12] + "\x00\x00\x00\x01"), "want 0"},
		"no kinds":                 {forge(1, 0, one), "the table of kinds, type 1, comes first"},
		"no audit":                 {forge(0, 0, kinds, section{kind: 6, flags: 1, payload: []byte("[]")}), "the audit: "},
		"not an audit":             {forge(0, 0, kinds, section{kind: 6, flags: 1, payload: []byte(`{"other":1}`)}), "the audit: "},
		"more":                     {forge(0, 0, kinds, section{kind: 6, flags: 1, payload: []byte(`{} {}`)}), "3 bytes after the audit"},
		"not so many":              {forge(0, 0, kinds, section{kind: 6, flags: 1, count: 1, payload: []byte(`{}`)}), "an audit with 1 findings; there are 0"},
		"two audits":               {forge(0, 0, kinds, section{kind: 6, flags: 1, payload: []byte(`{}`)}, section{kind: 6, flags: 1, payload: []byte(`{}`)}), "a second audit"},
		"kinds twice":              {forge(0, 0, kinds, kinds), "second table of kinds"},
		"too many kinds":           {forge(0, 0, section{kind: 1, count: 4096, payload: make([]byte, 4*4096)}), "4096 kinds"},
		"kinds too short":          {forge(0, 0, section{kind: 1, count: 2, payload: halves(0)}), "2 entries in 4 bytes"},
		"kind's head cut":          {forge(0, 0, section{kind: 1, count: 2, payload: append(halves(3), "abcd"...)}), "kind 2 goes beyond"},
		"kind's name cut":          {forge(0, 0, section{kind: 1, count: 1, payload: halves(1)}), "name of 1 bytes, goes beyond"},
		"more after the kinds":     {forge(0, 0, section{kind: 1, count: 1, payload: halves(0, 0)}), "4 bytes after the last entry"},
		"unknown type":             {forge(0, 0, kinds, section{kind: 9}), "unknown type 9"},
		"unknown type and flag":    {forge(0, 0, kinds, section{kind: 9, flags: 3}), "unknown type 9, with flags 0x3"},
		"type 0":                   {forge(0, 0, kinds, section{}), "unknown type 0"},
		"flags of a known type":    {forge(1, 0, kinds, section{kind: 2, flags: 1, count: 1, payload: one.payload}), "with flags 0x1; want 0"},
		"holders must be optional": {forge(1, 0, kinds, one, section{kind: 4, count: 1, payload: slices.Concat(halves(1, 1), words(7, 1))}), "flags 0x0; want 0x1"},
		"no objects":               {forge(0, 0, kinds, block()), "a block of 0 objects"},
		"count of objects":         {forge(1, 0, kinds, section{kind: 2, count: 2, payload: one.payload}), "a block of 2 objects in 24 bytes"},
		"too many objects":         {forge(0, 0, kinds, section{kind: 2, count: 4097, payload: make([]byte, 24*4097)}), "4097 objects"},
		"objref 0":                 {forge(1, 0, kinds, block(entry(0, 1, 0, 1, 1))), "objref 0"},
		"objref negative":          {forge(1, 0, kinds, block(entry(1<<31, 1, 0, 1, 1))), "objref -2147483648"},
		"objref twice":             {forge(2, 0, kinds, block(entry(1, 1, 0, 1, 1), entry(1, 1, 0, 2, 1))), "at byte 85: objref 1 after 1"},
		"objref descends":          {forge(2, 0, kinds, block(entry(2, 1, 0, 1, 1), entry(1, 1, 0, 2, 1))), "objref 1 after 2"},
		"block descends":           {forge(2, 0, kinds, block(entry(2, 1, 0, 1, 1)), one), "objref 1 after 2"},
		"kind 0":                   {forge(1, 0, kinds, block(entry(1, 0, 0, 1, 1))), "unknown kind 0"},
		"kind not in the table":    {forge(1, 0, kinds, block(entry(1, 2, 0, 1, 1))), "unknown kind 2"},
		"unknown flag":             {forge(1, 0, kinds, block(entry(1, 1, 16, 1, 1))), "unknown flags 0x10"},
		"dumping and dumped":       {forge(1, 0, kinds, block(entry(1, 1, 3, 1, 1))), "both"},
		"padding":                  {forge(1, 0, kinds, block(entry(1, 1, 1<<8, 1, 1))), "0x1; want 0"},
		"users negative":           {forge(1, 0, kinds, block(entry(1, 1, 0, 1, 1<<63))), "-9223372036854775808 users"},
		"address 0":                {forge(1, 0, kinds, block(entry(1, 1, 0, 0, 1))), "address 0"},
		"keyed with an address":    {forge(1, 0, kinds, block(entry(1, 1, keyed, 1, 1))), "keyed, but has address"},
		"reserved with an address": {forge(0, 1, kinds, block(entry(1, 0, reserved, 1, 0))), "reserved, but"},
		"reserved with a kind":     {forge(0, 1, kinds, block(entry(1, 1, reserved, 0, 0))), "reserved, but"},
		"reserved with users":      {forge(0, 1, kinds, block(entry(1, 0, reserved, 0, 1))), "reserved, but"},
		"reserved and keyed":       {forge(0, 1, kinds, block(entry(1, 0, reserved|keyed, 0, 0))), "reserved, but"},
		"key missing":              {forge(2, 1, kinds, two), "its key does not follow"},
		"key missing, then more":   {forge(3, 1, kinds, two, block(entry(9, 1, 0, 1, 1)), keys), "its key does not follow"},
		"key twice":                {forge(2, 1, kinds, two, keys, keys), "does not wait"},
		"key of no object":         {forge(2, 1, kinds, two, section{kind: 3, count: 1, payload: append(halves(2, 3), "abc"...)}), "objref 2, which does not wait"},
		"key of an address":        {forge(1, 0, kinds, one, keys), "does not wait"},
		"key before all":           {forge(0, 0, kinds, keys), "does not wait"},
		"key empty":                {forge(2, 1, kinds, two, section{kind: 3, count: 1, payload: append(halves(1, 0), "abc"...)}), "a key of 0 bytes"},
		"key cut":                  {forge(2, 1, kinds, two, section{kind: 3, count: 1, payload: append(halves(1, 4), "abc"...)}), "a key of 4 bytes, with 3 left"},
		"keys' heads cut":          {forge(2, 1, kinds, two, section{kind: 3, count: 2, payload: append(halves(1, 12), "abcabcabcabc"...)}), "goes beyond"},
		"more after the keys":      {forge(2, 1, kinds, two, section{kind: 3, count: 1, payload: append(halves(1, 3), "abcd"...)}), "1 bytes after"},
		"no keys":                  {forge(2, 1, kinds, two, section{kind: 3}), "empty section"},
		"no holders":               {forge(1, 0, kinds, one, holders(0)), "empty section"},
		"holders of no object":     {forge(1, 0, kinds, one, holders(1, halves(2, 1), words(7, 1))), "no object of the block"},
		"holders of a reserved":    {forge(2, 1, kinds, two, keys, holders(1, halves(4, 1), words(7, 1))), "no object of the block"},
		"holders twice":            {forge(1, 0, kinds, one, holders(2, halves(1, 1), words(7, 1), halves(1, 1), words(7, 1))), "had its own"},
		"holders before all":       {forge(0, 0, kinds, holders(1, halves(1, 1), words(7, 1))), "no object of the block"},
		"holders descend":          {forge(1, 0, kinds, one, holders(1, halves(1, 2), words(7, 1, 7, 1))), "want ascending holders"},
		"holder's users negative":  {forge(1, 0, kinds, one, holders(1, halves(1, 1), words(7, 1<<63))), "users"},
		"holders none of one":      {forge(1, 0, kinds, one, holders(1, halves(1, 0), words(7, 1))), "0 holders"},
		"holders cut":              {forge(1, 0, kinds, one, holders(1, halves(1, 2), words(7, 1))), "2 holders, with 16 bytes left"},
		"holders' head cut":        {forge(1, 0, kinds, one, holders(2, halves(1, 3), words(7, 1, 8, 1, 9, 1), words(0)[:4])), "go beyond"},
		"more after the holders":   {forge(1, 0, kinds, one, holders(1, halves(1, 1), words(7, 1, 8))), "8 bytes after"},
		"objects miscounted":       {forge(2, 0, kinds, one), "the trailer says 2 objects"},
		"reserved miscounted":      {forge(1, 1, kinds, one), "the trailer says 1 reserved"},
		"sections miscounted":      {forge(1, 0, kinds, one, section{kind: 5, payload: words(1, 0, 3, 0)}), "the trailer says 3 sections"},
		"wrong sum":                {forge(1, 0, kinds, one, section{kind: 5, payload: words(1, 0, 2, 0)}), "checksum of all sections"},
		"trailer too short":        {forge(1, 0, kinds, one, section{kind: 5, payload: words(1, 0, 2)}), "a trailer of 0 entries in 24 bytes"},
		"trailer with a count":     {forge(1, 0, kinds, one, section{kind: 5, count: 1, payload: words(1, 0, 2, 0)}), "a trailer of 1 entries"},
		"no trailer":               {[]byte(prefix), "ends here"},
		"two trailers":             {append(forge(0, 0, kinds), forge(0, 0)[len(prefix):]...), "more bytes after the trailer"},
	} {
		err := refused(c.file)
		wantSnapshotError(t, err, len(c.file), "%s", name)
		wantMessage(t, err, c.what)
	}
}

// allocated returns how many bytes f allocates, the least of a few runs, as other
// goroutines of the test binary may allocate as well.
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

func TestG22_snapshotMemoryIsBoundedByWhatIsThere(t *testing.T) {
	kinds := section{kind: 1, count: 1, payload: append(halves(1), 'k')}
	lie := func(s section) []byte {
		s.length = 1<<40 - int64(len(s.payload))
		return forge(0, 0, kinds, s)
	}
	many := &engine.Snapshot{Kinds: []string{"k"}}
	for i := range 50_000 {
		many.Objects = append(many.Objects, engine.SnapshotObject{Ref: engine.ObjRef(i + 1), Object: engine.Object{Ptr: addr(i), Kind: 1}})
	}
	for name, file := range map[string][]byte{
		"length of kinds":      forge(0, 0, section{kind: 1, length: 1 << 40}),
		"length of objects":    lie(section{kind: 2, count: 4096}),
		"length of keys":       lie(section{kind: 3, count: 1<<32 - 1}),
		"length of holders":    lie(section{kind: 4, flags: 1, count: 1<<32 - 1}),
		"length of a stranger": lie(section{kind: 9, flags: 1}),
		"greatest length":      forge(0, 0, kinds, section{kind: 9, flags: 1, length: 1<<63 - 1}),
		"negative length":      forge(0, 0, kinds, section{kind: 9, flags: 1, length: -1}),
		"length of a key":      forge(1, 0, kinds, section{kind: 2, count: 1, payload: entry(1, 1, 4, 0, 1)}, section{kind: 3, count: 1, payload: append(halves(1, 1<<32-1), "abc"...)}),
		"number of holders":    forge(1, 0, kinds, section{kind: 2, count: 1, payload: entry(1, 1, 0, 1, 1)}, section{kind: 4, flags: 1, count: 1, payload: slices.Concat(halves(1, 1<<32-1), words(7, 1))}),
		"length of a name":     forge(0, 0, section{kind: 1, count: 1, payload: halves(1<<32 - 1)}),
		"cut":                  encodeSnapshot(t, many)[:200_000],
		"many":                 encodeSnapshot(t, many),
		"golden":               goldenFile(t),
	} {
		got := allocated(func() { _ = refused(file) })
		// An entry of 24 bytes becomes 88, in a list that has been copied as it grew.
		if limit := uint64(20*len(file) + 200<<10); got > limit {
			t.Errorf("%s: %d bytes allocated for a snapshot of %d; want %d at most", name, got, len(file), limit)
		}
	}
	// Object by object, it is a block.
	file := encodeSnapshot(t, many)
	got := allocated(func() {
		s, err := engine.NewSnapshotReader(bytes.NewReader(file))
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, err := range s.All() {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != len(many.Objects) {
			t.Errorf("%d objects", n)
		}
	})
	limit := uint64(4096*100 + 300<<10)
	if raceEnabled {
		limit *= 2 // slices.Grow allocates what it appends there
	}
	if got > limit {
		t.Errorf("%d bytes allocated to read %d objects one by one; want %d at most", got, len(many.Objects), limit)
	}
}

type failingWriter struct{ left int }

func (w *failingWriter) Write(b []byte) (int, error) {
	if w.left--; w.left < 0 {
		return 0, errSick
	}
	return len(b), nil
}

func TestSnapshotPassesErrorsOn(t *testing.T) {
	c := newCheckpoint(t, engine.Options{Kinds: []engine.KindOps{{}}})
	d := newDumper(t, c)
	for i := range 5_000 {
		if _, _, err := d.Encounter(addr(i), 1); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := d.EncounterKey([]byte("key"), 1); err != nil {
		t.Fatal(err)
	}
	for n := range 6 { // prefix, kinds, two blocks, keys, trailer
		wantErr(t, fmt.Sprintf("write %d fails", n), c.WriteSnapshot(&failingWriter{n}), errSick)
	}
	if err := c.WriteSnapshot(&failingWriter{6}); err != nil {
		t.Error(err)
	}
	file := writeSnapshot(t, c)
	for _, n := range []int{0, 4, 16, 30, 1000, len(file)} {
		_, err := engine.ReadSnapshot(io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(errSick)))
		wantErr(t, fmt.Sprintf("the reader fails after %d bytes", n), err, errSick)
		if errors.Is(err, engine.ErrSnapshot) {
			t.Errorf("the reader fails after %d bytes: %v", n, err)
		}
	}
	// Close while it is being written: the end is missing, and an error says so.
	var b bytes.Buffer
	closes := writerFunc(func(p []byte) (int, error) {
		closeQuietly(t, c)
		return b.Write(p)
	})
	wantErr(t, "closed meanwhile", c.WriteSnapshot(closes), engine.ErrClosed)
	wantSnapshotError(t, refused(b.Bytes()), b.Len(), "a snapshot of a context closed meanwhile")
	wantErr(t, "closed", c.WriteSnapshot(io.Discard), engine.ErrClosed)
	wantErr(t, "nil", (*engine.Checkpoint)(nil).WriteSnapshot(io.Discard), engine.ErrClosed)
	wantSnapshotError(t, refused(nil), 0, "nothing")
	wantMessage(t, refused([]byte("\x1f\x8b\x08\x00 and so on")), "at byte 0", "begins with", `a snapshot with "\x89OHSNP\r\n"`)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// A snapshot taken while objects are met has only what was met, whole.
func TestG6_snapshotWhileObjectsAreMet(t *testing.T) {
	c := newCheckpoint(t, engine.Options{Kinds: []engine.KindOps{{}, {}, {}}, Shards: 2})
	const workers = 3
	objects := sized(20_000)
	var met atomic.Int64
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		parallel(workers, func(w int) {
			d := c.Dumper()
			defer d.Close()
			rnd := rand.New(rand.NewPCG(7, uint64(w)))
			for range objects {
				i := rnd.IntN(objects)
				var first bool
				var err error
				switch k := engine.Kind(i%3 + 1); i % 10 {
				case 0:
					_, first, err = d.Encounter(wide(i), k)
				case 1:
					_, first, err = d.EncounterKey(fmt.Append(nil, i), k)
				default:
					_, first, err = d.Encounter(addr(i), k)
				}
				if err != nil {
					t.Error(err)
				}
				if first {
					met.Add(1)
				}
			}
		})
	}()
	for running := true; running; {
		select {
		case <-stop:
			running = false
		default:
		}
		before := met.Load()
		s := readSnapshot(t, writeSnapshot(t, c))
		if int64(len(s.Objects)) < before {
			t.Fatalf("%d objects in a snapshot; there were %d before", len(s.Objects), before)
		}
		for _, o := range s.Objects {
			now, ok := c.Object(o.Ref)
			if !ok || now.Ptr != o.Ptr || now.Kind != o.Kind || string(now.Key) != string(o.Key) {
				t.Fatalf("objref %d is %+v in the snapshot, %+v, %t, in the context", o.Ref, o, now, ok)
			}
		}
	}
	wantSame(t, c, readSnapshot(t, writeSnapshot(t, c)))
}

// resum makes the checksums right, as far as there are whole sections.
func resum(file []byte) {
	sums := uint64(0)
	for at := len(prefix); at+16+8 <= len(file); {
		length := binary.LittleEndian.Uint64(file[at+8:])
		if length > uint64(len(file)-at-16-8) {
			return
		}
		end := at + 16 + int(length)
		if file[at] == 5 && length == 32 {
			binary.LittleEndian.PutUint64(file[end-8:], sums)
		}
		sum := xxh3.Hash(file[at:end])
		binary.LittleEndian.PutUint64(file[end:], sum)
		sums = xxh3.HashSeed(file[end:end+8], sums)
		at = end + 8
	}
}

func FuzzSnapshot(f *testing.F) {
	golden := goldenFile(f)
	f.Add(golden, false)
	f.Add(golden, true)
	f.Add(golden[:len(golden)/2], true)
	f.Add(forge(0, 0, section{kind: 1}), true)
	f.Add([]byte(prefix), false)
	f.Fuzz(func(t *testing.T, file []byte, sum bool) {
		if sum { // else few inputs come further than to a checksum
			file = slices.Clone(file)
			resum(file)
		}
		s, err := engine.ReadSnapshot(bytes.NewReader(file))
		if err != nil {
			wantSnapshotError(t, err, len(file), "input")
			return
		}
		again := readSnapshot(t, encodeSnapshot(t, s))
		if !reflect.DeepEqual(s, again) {
			t.Fatalf("%+v, encoded and read again, is %+v", s, again)
		}
		c, err := engine.NewCheckpointFrom(engine.Options{Kinds: kindsOf(s), MaxBytes: 4 << 20}, s)
		if err != nil {
			if !errors.Is(err, engine.ErrInvalid) && !errors.Is(err, engine.ErrLimit) {
				t.Fatal(err)
			}
			return
		}
		defer closeQuietly(t, c)
		d := c.Dumper()
		defer closeQuietly(t, d)
		meetAll(t, d, s)
	})
}

func kindsOf(s *engine.Snapshot) (kinds []engine.KindOps) {
	for _, name := range s.Kinds {
		kinds = append(kinds, engine.KindOps{Name: name})
	}
	return kinds
}

func BenchmarkSnapshot(b *testing.B) {
	const objects = 100_000
	c := newCheckpoint(b, engine.Options{Kinds: []engine.KindOps{{}}, ExpectedObjects: objects})
	d := newDumper(b, c)
	for i := range objects {
		if _, _, err := d.Encounter(addr(i), 1); err != nil {
			b.Fatal(err)
		}
	}
	file := writeSnapshot(b, c)
	b.Run("op=write", func(b *testing.B) {
		b.SetBytes(int64(len(file)))
		for b.Loop() {
			if err := c.WriteSnapshot(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("op=stream", func(b *testing.B) {
		b.SetBytes(int64(len(file)))
		for b.Loop() {
			s, err := engine.NewSnapshotReader(bytes.NewReader(file))
			if err != nil {
				b.Fatal(err)
			}
			for _, err := range s.All() {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("op=read", func(b *testing.B) {
		b.SetBytes(int64(len(file)))
		for b.Loop() {
			if _, err := engine.ReadSnapshot(bytes.NewReader(file)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
