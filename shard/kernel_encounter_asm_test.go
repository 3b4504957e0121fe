//go:build amd64 && !race && !purego && !objhash_invariants

package shard

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"unsafe"
)

// arrangeTwice makes two indexes whose tables are arranged alike, with few tags, so that
// encounters agree with them, and full groups counted, sometimes up to the limit.
func arrangeTwice(t *testing.T, r *rand.Rand, shardBits uint) (a arranged, b *Compact) {
	t.Helper()
	a = arrange(t, r, shardBits)
	b, err := NewCompact(Config{Shards: 1 << shardBits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	for i := range a.dir {
		from := a.dir[i].tab.Load()
		full := int64(0)
		for j := range from.groups {
			g := from.group(j)
			if r.IntN(4) == 0 && g[groupSlots-1]&from.refMask != 0 {
				g[groupSlots-1] = 0 // the last slot is the only free one
			}
			if g[groupSlots-1]&from.refMask != 0 {
				full++
			}
			for k, w := range g {
				if w&from.refMask != 0 && from.tagBits != 0 {
					g[k] = w&^(0xff<<from.refBits) | uint64(fewTags[r.IntN(len(fewTags))])<<from.refBits
				}
			}
		}
		if r.IntN(2) == 0 {
			full = from.fullLimit - 1 - r.Int64N(3)
		}
		from.full.Store(full)
		to, err := newTable(b.arena, from.span, from.groups, int32(min(from.refMask, math.MaxInt32)), from.mixer)
		if err != nil {
			t.Fatal(err)
		}
		if to.layout != from.layout || to.groups != from.groups {
			t.Fatalf("a copy of a table of %d groups has %d, layout %+v; want %+v", from.groups, to.groups, to.layout, from.layout)
		}
		for j := range to.groups {
			*to.group(j) = *from.group(j)
		}
		to.full.Store(full)
		b.dir[i].tab.Store(to)
	}
	return a, b
}

var fewTags = [...]uint8{0, 3, 254}

// mustBeAlike checks that all tables of a and b hold the same words, and count alike.
func mustBeAlike(t *testing.T, a, b *Compact) {
	t.Helper()
	for i := range a.dir {
		ta, tb := a.dir[i].tab.Load(), b.dir[i].tab.Load()
		if ta.groups != tb.groups || ta.span != tb.span || ta.layout != tb.layout {
			t.Fatalf("the tables of entry %d are %+v, %d groups, and %+v, %d groups", i, ta.span, ta.groups, tb.span, tb.groups)
		}
		if ta.full.Load() != tb.full.Load() {
			t.Fatalf("the table of entry %d counts %d full groups; Go counts %d", i, ta.full.Load(), tb.full.Load())
		}
		for j := range ta.groups {
			if *ta.group(j) != *tb.group(j) {
				t.Fatalf("group %d of %d of entry %d, step %#x, is\n%#x; Go makes it\n%#x", j, ta.groups, i, ta.step, *ta.group(j), *tb.group(j))
			}
		}
	}
}

// arrival is an address that arrives at a kernel that inserts, and what it is to do.
type arrival struct {
	ptr    uint64
	tag    uint8
	next   int64 // 1<<31: there is no number left
	insert bool  // as Insert does: whatever the tag of a known address
	single bool  // the last slot of a group is left to Go
}

// outcome is what becomes of an arrival.
type outcome struct {
	ref     int32
	tag     uint8
	left    bool // to Go
	crowded bool
	isNew   bool // it was inserted
}

// arrive does in Go what a kernel should do: what is usual, and only that. Where a kernel
// leaves an address to Go, nothing changes.
func (x *Compact) arrive(t *testing.T, a arrival) outcome {
	t.Helper()
	left := outcome{left: true}
	if !canonical(a.ptr) {
		return left
	}
	s, h := x.hash(a.ptr)
	tab := s.tab.Load()
	if tab.mixer.on {
		return left
	}
	if ref, tag := tab.lookup(h); ref != 0 {
		if !a.insert && tag != a.tag {
			return left
		}
		return outcome{ref: ref, tag: tag}
	}
	if a.ptr == 0 || a.next <= 0 || a.next > min(math.MaxInt32, int64(tab.refMask)) {
		return left
	}
	home, _ := tab.place(h)
	free := groupSlots
	for range ProbeGroupsMax {
		g := tab.group(home)
		for free = 0; free < groupSlots && g[free]&tab.refMask != 0; free++ {
		}
		if free < groupSlots {
			if g[free] != 0 || a.single && free == groupSlots-1 {
				return left
			}
			break
		}
		home = tab.next(home)
	}
	if free == groupSlots {
		return left
	}
	res, w := tab.insert(h, int32(a.next), a.tag)
	if res != claimed && res != claimedLast || (res == claimedLast) != (free == groupSlots-1) || tab.ref(w) != int32(a.next) {
		t.Fatalf("insert of %#x into slot %d: %d, %#x", a.ptr, free, res, w)
	}
	return outcome{tab.ref(w), tab.tag(w), false, res == claimedLast && tab.full.Add(1) >= tab.fullLimit, true}
}

// someNumber returns a number to offer: small ones, those about the largest that a table
// has room for, and the largest.
func (a *arranged) someNumber(r *rand.Rand, span int) int64 {
	n := int64(1 + r.IntN(100))
	switch r.IntN(4) {
	case 0:
		n = int64(a.dir[r.IntN(len(a.dir))].tab.Load().refMask) + 1 - r.Int64N(int64(span)+1)
	case 1:
		n = math.MaxInt32 - r.Int64N(int64(span)+1)
	}
	return max(1, min(n, math.MaxInt32))
}

// The kernels that insert one address do what Go does, and leave to Go what is not usual,
// nothing more; that is left as it was.
func TestInsertKernelsAgainstGo(t *testing.T) {
	r := seeded(t)
	for _, k := range vectorKernels(t) {
		t.Run("kernel="+k.String(), func(t *testing.T) {
			useKernel(t, k)
			var inserted, known, left int
			for round := range sized(400) {
				a, b := arrangeTwice(t, r, uint(round%5))
				for i, ptr := range a.ptrs {
					v := arrival{ptr, fewTags[r.IntN(len(fewTags))], a.someNumber(r, 1), i&1 == 0, true}
					if r.IntN(20) == 0 {
						v.next = -r.Int64N(2) << 30
					}
					if v.insert && r.IntN(4) == 0 {
						v.tag = uint8(r.UintN(256))
					}
					want := b.arrive(t, v)
					const guard = 0x5555
					record, low := [3]uint64{guard, guard, guard}, uint64(r.UintN(1<<16))
					var got outcome
					if v.insert {
						got.ref, got.tag = insertKernel(a.Compact, ptr, int32(v.next), v.tag)
					} else if want.left {
						continue // Go would do it, or wait for a replacement that never comes
					} else {
						got.ref, got.tag = encounter(a.Compact, ptr, v.tag, int32(v.next), &record[1], low), v.tag
					}
					if got.left = got.ref == 0; got.left {
						got.tag = 0
						left++
					}
					isNew := want.isNew
					want.isNew = false
					if !v.insert && isNew {
						want.tag = v.tag
						if record[1] != ptr<<addrPad|low {
							t.Fatalf("the record of %#x is %#x", ptr, record[1])
						}
					}
					if got != want {
						s, h := a.hash(ptr)
						home, key := s.tab.Load().place(h)
						t.Fatalf("%+v: %+v; Go says %+v; home %#x, key %#x", v, got, want, *s.tab.Load().group(home), key)
					}
					if record[0] != guard || record[2] != guard || record[1] != guard && record[1] != ptr<<addrPad|low {
						t.Fatalf("%+v: records are %#x", v, record)
					}
					if !want.left && !isNew && record[1] != guard {
						t.Fatalf("%+v, which is known as %d, has its record written", v, want.ref)
					}
					if isNew {
						inserted++
					} else if !want.left {
						known++
					}
				}
				mustBeAlike(t, a.Compact, b)
				a.Close()
				b.Close()
			}
			t.Logf("%d inserted, %d known, %d left to Go", inserted, known, left)
			if inserted == 0 || known == 0 || left == 0 {
				t.Error("not every case has occurred")
			}
		})
	}
}

type encounterBatchKernel func(x *Compact, ptrs *uint64, refs *int32, n int, tag uint8, next int32, limit uint32, records *uint64, low uint64) (done int, after int32, crowded bool)

func encounterBatchOf(k kernel) encounterBatchKernel {
	if k == kernelAVX512 {
		return encounterBatchAVX512
	}
	return encounterBatchAVX2
}

// The batch kernels that insert do what Go does, one address after the other, for batches
// of all lengths, with duplicates; they end where an address is left to Go, which is where
// one is not usual, and where a table becomes too full.
func TestEncounterBatchKernelsAgainstGo(t *testing.T) {
	r := seeded(t)
	for _, k := range vectorKernels(t) {
		t.Run("kernel="+k.String(), func(t *testing.T) {
			useKernel(t, k)
			c := batchComparison{run: encounterBatchOf(k)}
			for round := range sized(400) {
				a, b := arrangeTwice(t, r, uint(round%5))
				for range 6 {
					ptrs := make([]uint64, 1+r.IntN(300))
					for i := range ptrs {
						ptrs[i] = a.ptrs[r.IntN(len(a.ptrs))]
						if i > 0 && r.IntN(5) == 0 {
							ptrs[i] = ptrs[r.IntN(i)]
						}
					}
					c.compare(t, r, &a, b, ptrs)
				}
				mustBeAlike(t, a.Compact, b)
				a.Close()
				b.Close()
			}
			for n := 1; n <= 300; n++ { // in one go, where little stops it
				c.whole(t, n)
			}
			t.Logf("%d inserted, %d known, %d left to Go, %d at a limit, %d crowded", c.inserted, c.known, c.left, c.limited, c.crowded)
			if c.inserted == 0 || c.known == 0 || c.left == 0 || c.limited == 0 || c.crowded == 0 {
				t.Error("not every case has occurred")
			}
		})
	}
}

type batchComparison struct {
	run                                     encounterBatchKernel
	inserted, known, left, limited, crowded int
}

// compare takes ptrs through the kernel, in several calls if it ends early, and through arrive.
func (c *batchComparison) compare(t *testing.T, r *rand.Rand, a *arranged, b *Compact, ptrs []uint64) {
	t.Helper()
	insert := r.IntN(2) == 0
	tag := fewTags[r.IntN(len(fewTags))]
	if insert && r.IntN(4) == 0 {
		tag = uint8(r.UintN(256))
	}
	for len(ptrs) > 0 {
		next := a.someNumber(r, len(ptrs))
		numbers := r.IntN(len(ptrs) + 1)
		if r.IntN(2) == 0 {
			numbers = len(ptrs)
		}
		limit := min(next+int64(numbers), numbersEnd)
		done, stopped := c.call(t, a.Compact, b, ptrs, arrival{tag: tag, next: next, insert: insert}, limit)
		ptrs = ptrs[done:]
		if stopped && len(ptrs) > 0 {
			ptrs = ptrs[1:]
		}
	}
}

// call calls the kernel once. It returns how many elements are done, and whether it has
// left the next one to Go.
func (c *batchComparison) call(t *testing.T, a, b *Compact, ptrs []uint64, v arrival, limit int64) (done int, left bool) {
	t.Helper()
	const guard, low, margin = 0x55555555, 0xbeef, 20
	n, numbers := len(ptrs), int(limit-v.next)
	refs := make([]int32, margin+n+margin)
	for i := range refs {
		refs[i] = guard
	}
	records := make([]uint64, margin+numbers+margin)
	for i := range records {
		records[i] = guard
	}
	first := &records[margin]
	if v.insert {
		first = nil
	}
	done, after, crowded := c.run(a, unsafe.SliceData(ptrs), &refs[margin], n, v.tag, int32(v.next), uint32(limit), first, low)

	next, want := v.next, outcome{}
	wantRecords := make([]uint64, len(records))
	for i := range wantRecords {
		wantRecords[i] = guard
	}
	i := 0
	for ; i < n && !want.crowded; i++ {
		v.ptr, v.next = ptrs[i], next
		if next == limit {
			v.next = numbersEnd
		}
		if want = b.arrive(t, v); want.left {
			if next == limit {
				c.limited++
			}
			break
		}
		if i >= done || refs[margin+i] != want.ref {
			t.Fatalf("batch of %d, %d done: element %d, %+v, has %#x; Go says %+v", n, done, i, v, refs[margin+i], want)
		}
		if want.isNew {
			if !v.insert {
				wantRecords[margin+next-(limit-int64(numbers))] = v.ptr<<addrPad | low
			}
			next++
			c.inserted++
		} else {
			c.known++
		}
	}
	if i != done || crowded != want.crowded || int32(next) != after {
		t.Fatalf("batch of %d, limit %d: done %d, next number %d, crowded %v; Go says %d, %d, %v; %+v", n, limit, done, after, crowded, i, next, want.crowded, v)
	}
	for i, ref := range refs {
		if (i < margin || i >= margin+done) && ref != guard {
			t.Fatalf("batch of %d, %d done: wrote %#x for element %d", n, done, ref, i-margin)
		}
	}
	at := margin + int(next-(limit-int64(numbers)))
	for i, w := range records {
		undone := i == at && next < limit && want.left && !v.insert && w == v.ptr<<addrPad|low
		if w != wantRecords[i] && !undone {
			t.Fatalf("batch of %d, %d done: record %d is %#x; want %#x", n, done, i-margin, w, wantRecords[i])
		}
	}
	if crowded {
		c.crowded++
	}
	if want.left {
		c.left++
	}
	return done, want.left
}

// whole takes n addresses through the kernel where all is usual: in one call, new ones and
// then known ones.
func (c *batchComparison) whole(t *testing.T, n int) {
	t.Helper()
	config := Config{Shards: 1 << (n % 3), Expected: 4000}
	a, b := compactSubject.open(t, config).(*Compact), compactSubject.open(t, config).(*Compact)
	defer a.Close()
	defer b.Close()
	ptrs := make([]uint64, n)
	for i := range ptrs {
		ptrs[i] = heapAddress(i * 7)
	}
	for _, insert := range []bool{n&1 == 0, n&1 == 1} {
		for _, limit := range []int64{1 + int64(n), 1} {
			if done, left := c.call(t, a, b, ptrs, arrival{tag: 9, next: 1, insert: insert}, limit); done != n || left {
				t.Fatalf("%d usual addresses, %d numbers: %d done", n, limit-1, done)
			}
		}
	}
	mustBeAlike(t, a, b)
}

// In kernels that insert, the load that tells which slots hold entries comes before the one
// whose words are compared: else an entry that comes between the two counts as another
// address, and this one is inserted twice. That takes a few nanoseconds at the right
// moment, so it is the code that is looked at here.
func TestInsertKernelsLoadEntriesFirst(t *testing.T) {
	text, err := os.ReadFile("kernel_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	searches, near := 0, 0
	for _, function := range strings.Split(string(text), "\nTEXT ·")[1:] {
		isNear := strings.HasPrefix(function, "lookupNear")
		if strings.HasPrefix(function, "lookup") && !isNear {
			continue
		}
		var loads []string // of groups, since the last jump or label
		mask := ""
		for i, line := range strings.Split(function, "\n") {
			fields := strings.Fields(line)
			switch {
			case len(fields) == 0 || fields[0] == "//" || fields[0] == "VZEROUPPER":
			case strings.HasSuffix(line, ":") || fields[0][0] == 'J' || fields[0] == "RET":
				if len(loads) == 0 {
					break
				}
				switch list := fmt.Sprint(loads); {
				case isNear && list == "[VPTESTMQ VPXORQ]":
					near++
				case isNear && list == "[VPXORQ]": // the second pass, which loads the word by itself
				case !isNear && (list == "[VMOVDQU64 VPXORQ]" || list == "[32(R9) 32(R9) 24(R9) 24(R9)]"):
					searches++
				default:
					t.Errorf("line %d of %.20s: groups are loaded by %v", i, function, loads)
				}
				loads = nil
			case fields[0] == "VPBROADCASTQ" && strings.HasSuffix(fields[2], "Y0"):
				mask = strings.Trim(fields[1], ",")
			case fields[0] == "VPAND" && strings.Contains(fields[1], "(R10)"):
				loads = append(loads, mask)
			case fields[0][0] == 'V' && strings.Contains(fields[1], "(R10)"):
				loads = append(loads, fields[0])
			}
		}
	}
	if searches != 12 {
		t.Errorf("%d searches of a group; want 2 in each of 6 kernels", searches)
	}
	if near != 8 {
		t.Errorf("%d searches of a group in the lookups near by; want 8", near)
	}
}
