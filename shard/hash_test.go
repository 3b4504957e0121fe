package shard

import (
	"math/bits"
	"math/rand/v2"
	"testing"
)

// What the comment at multipliers states. Whoever changes the list changes the comment
// and these together.
const (
	vettedMeanMax    = 0.003 // share of entries that leave their home group, on average over strides and sizes
	vettedWorstMax   = 0.30  // the same, at worst
	vettedDistMax    = 3     // groups from home, at worst
	vettedFillNum    = 6     // of 10
	vettedFillDen    = 10
	vettedBitsMin    = 5 // log2 of the groups
	vettedBitsMax    = 20
	vettedBitsAlways = 15 // sizes up to this one are tried with all strides, beyond with some
)

// vettedStrides are 55 distances between neighbours, in bytes, as they occur.
var vettedStrides = []uint64{
	// Size classes of the Go allocator and of slabs.
	8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320, 352, 384, 416, 448, 480, 512,
	576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792, 2048, 2688, 3072, 3200, 4096, 4160, 4864, 5376, 6144,
	8192, 9472, 12288, 16384,
	// Larger pages, blocks, huge pages.
	64 << 10, 128 << 10, 1 << 20, 2 << 20, 2<<20 + 4096,
}

// placement tells how n addresses from base on, stride bytes apart, go into a table of
// 1<<groupBits groups by multiplier mul: how many leave their home group, and how far
// the furthest goes.
func placement(mul uint64, groupBits uint, base, stride uint64, n int, count []uint8) (left int, furthest int) {
	clear(count)
	mask := uint64(1)<<groupBits - 1
	x := &Compact{mul: mul, dirTail: 63, dir: make([]dirEntry, 1)}
	t := &table{groups: mask + 1, groupBits: groupBits}
	for i := range n {
		_, h := x.hash(base + uint64(i)*stride)
		home, _ := t.place(h)
		dist := 0
		for count[(home+uint64(dist))&mask] == groupSlots {
			dist++
		}
		count[(home+uint64(dist))&mask]++
		if dist > 0 {
			left++
			furthest = max(furthest, dist)
		}
	}
	return left, furthest
}

func TestMultipliersVetted(t *testing.T) {
	if len(vettedStrides) != 55 {
		t.Fatalf("%d strides; want 55", len(vettedStrides))
	}
	const base = 0x7f12_3456_7000
	count := make([]uint8, 1<<vettedBitsMax)
	seen := make(map[uint64]bool)
	for m, mul := range multipliers {
		if mul&1 == 0 || mul>>addrBits != 0 || seen[mul] {
			t.Errorf("multiplier %#x is even, has more than 48 bits, or occurs twice", mul)
		}
		seen[mul] = true
		sum, runs, worst, furthest := 0.0, 0, 0.0, 0
		for groupBits := uint(vettedBitsMin); groupBits <= vettedBitsMax; groupBits++ {
			groups := 1 << groupBits
			n := groups * groupSlots * vettedFillNum / vettedFillDen
			for s, stride := range vettedStrides {
				if groupBits > vettedBitsAlways && (slow || testing.Short() || (s+m+int(groupBits))%(1<<(groupBits-vettedBitsAlways)) != 0) {
					continue
				}
				if groupBits > vettedBitsMin+5 && slow && (s+m)%5 != 0 {
					continue
				}
				left, dist := placement(mul, groupBits, base, stride, n, count[:groups])
				share := float64(left) / float64(n)
				sum += share
				runs++
				worst = max(worst, share)
				furthest = max(furthest, dist)
				if share > vettedWorstMax || dist > vettedDistMax {
					t.Errorf("multiplier %#x, stride %d, %d groups: %.3f of the entries leave their home group, the furthest goes %d; want at most %.3f, %d",
						mul, stride, groups, share, dist, vettedWorstMax, vettedDistMax)
				}
			}
		}
		mean := sum / float64(runs)
		t.Logf("%#x: mean %.4f, worst %.3f, furthest %d", mul, mean, worst, furthest)
		if mean > vettedMeanMax {
			t.Errorf("multiplier %#x: %.4f of the entries leave their home group on average; want at most %.4f", mul, mean, vettedMeanMax)
		}
	}
}

// The comparison in the comment: the vetting tells good from textbook.
func TestMultipliersVettedAgainstThePhi(t *testing.T) {
	if testing.Short() {
		t.Skip("long for what it shows")
	}
	const phi = 0x9e3779b97f4b // 2^48 / golden ratio, made odd
	worst, furthest := 0.0, 0
	count := make([]uint8, 1<<14)
	for groupBits := uint(vettedBitsMin); groupBits <= 14; groupBits += 3 {
		groups := 1 << groupBits
		n := groups * groupSlots * vettedFillNum / vettedFillDen
		for _, stride := range vettedStrides {
			left, dist := placement(phi, groupBits, 0x7f3a_5c00_0000, stride, n, count[:groups])
			worst = max(worst, float64(left)/float64(n))
			furthest = max(furthest, dist)
		}
	}
	if worst < 2*vettedWorstMax || furthest < 3*vettedDistMax {
		t.Errorf("2^48/phi: at worst %.3f of the entries leave their home group, the furthest goes %d: vetting by these strides tells nothing", worst, furthest)
	}
}

func TestInverse(t *testing.T) {
	check := func(m uint64) {
		t.Helper()
		if got := m * inverse(m); got != 1 {
			t.Fatalf("%#x times its inverse is %#x; want 1", m, got)
		}
	}
	for _, m := range multipliers {
		check(m)
		check(m<<addrPad | 1)
	}
	for bit := range 64 {
		check(1<<bit | 1)
		check(^uint64(0)<<bit<<1>>1 | 1)
	}
	r := seeded(t)
	for range 10_000 {
		check(r.Uint64() | 1)
	}
}

// mix is a bijection on the n-bit numbers, for every n that occurs and, where one can
// try all numbers, for small ones; unmix undoes it.
func TestMixerIsABijection(t *testing.T) {
	r := seeded(t)
	for n := uint(1); n <= 16; n++ {
		m := newMixer(n)
		seen := make([]bool, 1<<n)
		for v := range uint64(1) << n {
			y := m.mix(v << (64 - n))
			if y<<n != 0 {
				t.Fatalf("%d bits: mix(%#x) = %#x has bits below", n, v<<(64-n), y)
			}
			if seen[y>>(64-n)] {
				t.Fatalf("%d bits: mix takes two numbers to %#x", n, y)
			}
			seen[y>>(64-n)] = true
			if back := m.unmix(y); back != v<<(64-n) {
				t.Fatalf("%d bits: unmix(mix(%#x)) = %#x", n, v<<(64-n), back)
			}
		}
	}
	for shardBits := range uint(17) {
		n := addrBits - shardBits
		for range 50 {
			m := newMixer(n)
			pad := 64 - n
			for i := range uint64(200) {
				v := r.Uint64() >> pad << pad
				if i < 64 {
					v = uint64(1) << i >> pad << pad
				}
				if back := m.unmix(m.mix(v)); back != v {
					t.Fatalf("%d bits: unmix(mix(%#x)) = %#x; %+v", n, v, back, m)
				}
				if back := m.mix(m.unmix(v)); back != v {
					t.Fatalf("%d bits: mix(unmix(%#x)) = %#x; %+v", n, v, back, m)
				}
			}
		}
	}
}

// A mixer is there for hashes that are equal at the top: it spreads them over all
// groups about as evenly as chance does, whichever bits they differ in.
func TestMixerSpreads(t *testing.T) {
	const groupBits, n, groups = 10, 5000, 1 << 10
	for shift := uint(0); shift <= 28; shift += 4 {
		good := 0
		for range 20 {
			m := newMixer(addrBits)
			var count [groups]int
			for i := range uint64(n) {
				count[m.mix(i<<shift<<addrPad)>>(64-groupBits)]++
			}
			over := 0
			for _, c := range count {
				over += max(0, c-groupSlots)
			}
			// By chance, 2.7 % of the entries find their group of 8 full, at 4.9 each.
			if over < n/10 {
				good++
			}
		}
		if good < 18 {
			t.Errorf("hashes that differ from bit %d on: %d of 20 mixers spread them well; want 18", addrPad+shift, good)
		}
	}
}

// Two mixers differ: nobody can choose addresses for the next one.
func TestMixersAreRandom(t *testing.T) {
	a, b := newMixer(addrBits), newMixer(addrBits)
	if a == b || a.mul[0] == a.mul[1] {
		t.Errorf("mixers %+v and %+v", a, b)
	}
	if got := bits.OnesCount64(a.mul[0] ^ b.mul[0]); got < 8 {
		t.Errorf("multipliers %#x and %#x differ in %d bits", a.mul[0], b.mul[0], got)
	}
}

// The hash gives the address back, for all that are canonical, and its first bits are the
// entry of a directory of any size.
func TestAddressIsTheInverseOfHash(t *testing.T) {
	r := seeded(t)
	for entryBits := range uint(17) {
		for _, mul := range []uint64{multipliers[0], 1, r.Uint64() | 1, ^uint64(0)} {
			x := &Compact{mul: mul, inverse: inverse(mul), dirTail: 63 - entryBits, dir: make([]dirEntry, 1<<entryBits)}
			for i := range 300 {
				ptr := r.Uint64()
				if i < addrBits {
					ptr = 1 << i
				}
				ptr = uint64(int64(ptr<<addrPad) >> addrPad)
				s, h := x.hash(ptr)
				if back := x.address(h); back != ptr {
					t.Fatalf("multiplier %#x: address(hash(%#x)) = %#x", mul, ptr, back)
				}
				if low := h << addrBits; low != 0 {
					t.Fatalf("hash %#x of %#x has bits below the 48", h, ptr)
				}
				if entry := h >> 1 >> (63 - entryBits); s != &x.dir[entry] {
					t.Fatalf("a directory of %d bits: hash %#x is not of entry %d", entryBits, h, entry)
				}
			}
		}
	}
}

func TestCanonical(t *testing.T) {
	for ptr, want := range map[uint64]bool{
		0: true, 1: true, 1<<47 - 1: true, 1 << 47: false, 1 << 48: false, 1 << 63: false,
		^uint64(0): true, ^uint64(1<<47 - 1): true, ^uint64(1<<48 - 1): false, ^uint64(1 << 47): false, ^uint64(1 << 63): false,
	} {
		if got := canonical(ptr); got != want {
			t.Errorf("canonical(%#x) = %v", ptr, got)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		ptr := r.Uint64() << r.UintN(64) >> r.UintN(64)
		top := ptr >> (addrBits - 1)
		if got, want := canonical(ptr), top == 0 || top == 1<<(addrPad+1)-1; got != want {
			t.Fatalf("canonical(%#x) = %v", ptr, got)
		}
	}
}

func TestLog2Ceil(t *testing.T) {
	for n, want := range map[uint64]uint{0: 0, 1: 0, 2: 1, 3: 2, 4: 2, 5: 3, 8: 3, 9: 4, 1 << 40: 40, 1<<40 + 1: 41} {
		if got := log2ceil(n); got != want {
			t.Errorf("log2ceil(%d) = %d; want %d", n, got, want)
		}
	}
}
