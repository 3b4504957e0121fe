package shard

import (
	"errors"
	"math"
	"testing"
)

// program is a sequence of operations, encoded as bytes: whatever the bytes, it is one.
type program struct{ code []byte }

func (p *program) byte() int {
	if len(p.code) == 0 {
		return 0
	}
	b := p.code[0]
	p.code = p.code[1:]
	return int(b)
}

// programSetups are the setups that the first byte of a program chooses from.
var programSetups = func() (list []setup) {
	for _, q := range qualities {
		for _, z := range sizes {
			list = append(list, setup{quality: q, size: z})
		}
	}
	return append(list, setup{quality: qualities[0], size: size{"2shards", Config{Shards: 2}}})
}()

// programPrefix makes a program that runs with a certain setup.
func programPrefix(i int) byte { return byte(i) }

// runProgram runs p on both variants, the lookups with every kernel, and on a built-in
// map, and compares what they say.
func runProgram(t testing.TB, p program) {
	useKernel(t, kernelUsed)
	s := programSetups[p.byte()%len(programSetups)]
	var xs []Index
	for _, sub := range subjects {
		s.subject = sub
		x := s.open(t)
		defer x.Close()
		xs = append(xs, x)
	}
	m := &model{t: t, s: s, xs: xs, want: make(map[uint64]stored), taken: map[int32]bool{0: true}, next: 1}
	for len(p.code) > 0 {
		m.step(&p)
	}
	for _, x := range xs {
		mustHold(t, x, m.want)
		x.Close()
		mustBeClosed(t, x, m.addresses)
	}
}

// model is what indexes are compared with.
type model struct {
	t         testing.TB
	s         setup
	xs        []Index
	want      map[uint64]stored
	addresses []uint64 // that occurred
	taken     map[int32]bool
	next      int32 // the number to offer next: not taken
	looks     int   // at everything, so far
}

// address decodes an address: one that occurred already, or one of some sort.
func (m *model) address(p *program) uint64 {
	sort, i := p.byte(), p.byte()
	ptr := uint64(0)
	switch sort % 16 {
	case 0, 1, 2, 3, 4:
		ptr = m.s.address(i)
	case 5, 6:
		ptr = m.s.address(i | p.byte()<<8)
	case 7:
		ptr = heapAddress(i | p.byte()<<8)
	case 8, 9:
		ptr = wideAddress(i)
	case 10:
		ptr = 1 << (i % 64)
	case 11:
		ptr = ^uint64(0) << (i % 64)
	case 12:
		// A neighbour of one that occurred: one bit apart.
		if n := len(m.addresses); n > 0 {
			ptr = m.addresses[i%n] ^ 1<<(p.byte()%64)
		}
	case 13:
		// Hashes that are equal in their top bits.
		ptr = colliding(multiplierFor(Config{Multiplier: m.s.multiplier}), addrBits, 0x77<<40, i+1)[i]
	case 14:
		ptr = uint64(i) * 4096
	case 15:
		ptr = 0
		if i&7 != 0 {
			ptr = uint64(i)<<56 | uint64(p.byte())<<48 | uint64(p.byte())
		}
	}
	if ptr != 0 {
		m.addresses = append(m.addresses, ptr)
	}
	return ptr
}

// jump sets the next number: far ahead, far back, or the next one that is free.
func (m *model) jump(p *program) {
	b := p.byte()
	switch {
	case b < 128:
		m.next++
	case b < 192:
		m.next += 1 << (b % 32 * 2 / 3)
	default:
		m.next = int32(1 + b%64)
	}
	if m.next <= 0 || m.next > 1<<24 { // where tables become large, and all slow
		m.next = 1
	}
	m.skipTaken(1)
}

// skipTaken moves on to numbers of which the next n are free.
func (m *model) skipTaken(n int) {
	for i := 0; i < n; i++ {
		if m.next > math.MaxInt32-int32(n) {
			m.next = 1
			i = -1
		} else if m.taken[m.next+int32(i)] {
			m.next += int32(i) + 1
			i = -1
		}
	}
}

func (m *model) step(p *program) {
	t := m.t
	switch op := p.byte(); op % 16 {
	case 0, 1, 2, 3, 4:
		ptr := m.address(p)
		ref := m.next
		tag := tagOf(ref)
		want, known := m.want[ptr]
		if !known {
			want = stored{ref, tag}
		}
		for i, x := range m.xs {
			got, gotTag, err := x.Insert(ptr, ref, tag)
			if ptr == 0 {
				if got != 0 || !errors.Is(err, ErrInvalid) {
					t.Fatalf("%s: Insert(0) = %d, %v", subjects[i].name, got, err)
				}
				continue
			}
			if err != nil || got != want.ref || !rightTag(x, gotTag, want.tag) {
				t.Fatalf("%s: Insert(%#x, %d, %d) = %d, tag %d, %v; want %d, tag %d", subjects[i].name, ptr, ref, tag, got, gotTag, err, want.ref, want.tag)
			}
		}
		if ptr != 0 && !known {
			m.want[ptr] = want
			m.taken[ref] = true
			m.skipTaken(1)
		}
	case 5, 6:
		m.insertBatch(p)
	case 7, 8, 9:
		ptr := m.address(p)
		want := m.want[ptr]
		for i, x := range m.xs {
			for _, k := range supportedKernels() {
				kernelUsed = k
				if ref, tag := x.Lookup(ptr); ref != want.ref || want.ref != 0 && !rightTag(x, tag, want.tag) {
					t.Fatalf("%s, %v: Lookup(%#x) = %d, tag %d; want %d, tag %d", subjects[i].name, k, ptr, ref, tag, want.ref, want.tag)
				}
			}
		}
	case 10, 11:
		m.lookupBatch(p)
	case 12, 13:
		m.jump(p)
	case 14, 15:
		if m.looks++; m.looks > 16 {
			break
		}
		for _, x := range m.xs {
			mustBeConsistent(t, x, len(m.want))
			if op%16 == 15 {
				mustHold(t, x, m.want)
			}
		}
	}
}

// batch decodes the addresses of a batch, often with duplicates.
func (m *model) batch(p *program) []uint64 {
	b := p.byte()
	ptrs := make([]uint64, 0, 2*b)
	for range b%80 + 1 {
		if n := len(ptrs); b&1 == 1 && n > 0 && p.byte()%4 == 0 {
			ptrs = append(ptrs, ptrs[p.byte()%n])
		}
		ptrs = append(ptrs, m.address(p))
	}
	return ptrs
}

func (m *model) insertBatch(p *program) {
	ptrs := m.batch(p)
	m.skipTaken(len(ptrs))
	tag := tagOf(m.next)
	want := make([]int32, len(ptrs))
	used := int32(0)
	zero := false
	added := make(map[uint64]stored)
	for i, ptr := range ptrs {
		w, known := m.want[ptr]
		if !known {
			w, known = added[ptr]
		}
		switch {
		case ptr == 0:
			zero = true
		case known:
			want[i] = w.ref
		default:
			want[i] = m.next + used
			added[ptr] = stored{want[i], tag}
			used++
		}
	}
	for i, x := range m.xs {
		refs := make([]int32, len(ptrs))
		got, err := x.InsertBatch(ptrs, tag, m.next, refs)
		if got != int(used) || zero != errors.Is(err, ErrInvalid) || !zero && err != nil {
			m.t.Fatalf("%s: InsertBatch of %d = %d, %v; want %d; a zero among them: %v", subjects[i].name, len(ptrs), got, err, used, zero)
		}
		for j := range ptrs {
			if refs[j] != want[j] {
				m.t.Fatalf("%s: InsertBatch from number %d: element %d, address %#x, has %d; want %d", subjects[i].name, m.next, j, ptrs[j], refs[j], want[j])
			}
		}
	}
	for ptr, w := range added {
		m.want[ptr] = w
		m.taken[w.ref] = true
	}
	m.skipTaken(1)
}

func (m *model) lookupBatch(p *program) {
	ptrs := m.batch(p)
	found := 0
	for _, ptr := range ptrs {
		if _, known := m.want[ptr]; known {
			found++
		}
	}
	for i, x := range m.xs {
		for _, k := range supportedKernels() {
			kernelUsed = k
			refs, tags := make([]int32, len(ptrs)), make([]uint8, len(ptrs))
			if len(ptrs)%2 == 0 {
				tags = nil
			}
			if got := x.LookupBatch(ptrs, refs, tags); got != found {
				m.t.Fatalf("%s, %v: LookupBatch of %d = %d; want %d", subjects[i].name, k, len(ptrs), got, found)
			}
			for j, ptr := range ptrs {
				want := m.want[ptr]
				if refs[j] != want.ref || tags != nil && want.ref != 0 && !rightTag(x, tags[j], want.tag) {
					m.t.Fatalf("%s, %v: LookupBatch: element %d, address %#x, has %d; want %d, tag %d; tags %v", subjects[i].name, k, j, ptr, refs[j], want.ref, want.tag, tags)
				}
			}
		}
	}
}

// Random programs, compared with a built-in map.
func TestAgainstAMap(t *testing.T) {
	r := seeded(t)
	for i := range sized(400) {
		code := make([]byte, 1+r.IntN(1<<(4+i%9)))
		for j := range code {
			code[j] = byte(r.Uint32())
		}
		code[0] = programPrefix(i)
		runProgram(t, program{code})
	}
}

func FuzzIndex(f *testing.F) {
	for i := range programSetups {
		f.Add([]byte{programPrefix(i)})
		// A few of everything.
		code := []byte{programPrefix(i)}
		for op := range byte(16) {
			code = append(code, op, op*16, op, 3, 7, op, 200, 1, 9)
		}
		f.Add(code)
	}
	f.Fuzz(func(t *testing.T, code []byte) {
		if len(code) > 1<<12 {
			t.Skip("longer than it is worth")
		}
		runProgram(t, program{code})
	})
}
