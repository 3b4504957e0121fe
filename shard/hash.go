package shard

import (
	"math/bits"
	"math/rand/v2"
)

// Addresses are canonical if bits 47 to 63 are equal: every address of x86-64
// with four-level page tables, and those of arm64 with 48 bits.
const (
	addrBits = 48
	addrPad  = 64 - addrBits
)

func canonical(ptr uint64) bool { return uint64(int64(ptr<<addrPad)>>addrPad) == ptr }

// multipliers are odd 48-bit numbers. Multiplication by one is a bijection modulo
// 2^48, so the product *is* the address; how well its top bits spread the addresses
// that occur is another matter. These are the best of 400,000 random ones on 55
// strides from 8 bytes to 2 MiB (size classes of slab and Go allocators, pages, huge
// pages) in tables of 2^5 to 2^20 groups, filled to 0.6: on average at most 0.3 % of
// the entries leave their home group, never more than 30 %, and none goes further than
// 3 groups. 2^48/phi, the textbook's choice (Knuth, TAOCP 3, 6.4), does it for 5.6 %,
// at worst 82 %, as far as 21: some strides are close to a Fibonacci number of slots.
// TestMultipliersVetted holds them to it.
var multipliers = [...]uint64{
	0x833cc13e3f6b, 0xbd86a4d1da55, 0xc4a11322e6f1, 0x94f635a6bb63,
	0x96b922f721dd, 0xaadd8543d9d7, 0x8c1915d5389b, 0xc08df981a1ad,
}

func multiplierFor(c Config) uint64 {
	if c.Multiplier != 0 {
		return c.Multiplier
	}
	return multipliers[c.Seed%uint64(len(multipliers))]
}

// inverse returns the inverse of odd m modulo 2^64, by Newton's iteration: each
// step doubles the number of right bits, starting from 3.
func inverse(m uint64) uint64 {
	x := m
	for range 5 {
		x *= 2 - m*x
	}
	return x
}

// mixer is a bijection on the n-bit numbers: xorshift, multiply, xorshift,
// multiply. A shard whose addresses defeat the multiplier gets one, with random
// multipliers that nobody can predict, whatever the seed.
type mixer struct {
	on       bool
	bits     uint // n
	mul, inv [2]uint64
}

func newMixer(n uint) mixer {
	m := mixer{on: true, bits: n}
	for i := range m.mul {
		m.mul[i] = rand.Uint64() | 1
		m.inv[i] = inverse(m.mul[i])
	}
	return m
}

// mix maps y, an n-bit number in the top bits, to another.
func (m *mixer) mix(y uint64) uint64 {
	pad, half := 64-m.bits, (m.bits+1)/2
	z := y >> pad
	for _, mul := range m.mul {
		z ^= z >> half
		z = z * mul << pad >> pad
	}
	z ^= z >> half
	return z << pad
}

// unmix undoes mix: a xorshift by half of the bits or more is its own inverse.
func (m *mixer) unmix(y uint64) uint64 {
	pad, half := 64-m.bits, (m.bits+1)/2
	z := y >> pad
	z ^= z >> half
	for i := len(m.inv) - 1; i >= 0; i-- {
		z = z * m.inv[i] << pad >> pad
		z ^= z >> half
	}
	return z << pad
}

func log2ceil(n uint64) uint {
	if n <= 1 {
		return 0
	}
	return uint(bits.Len64(n - 1))
}
