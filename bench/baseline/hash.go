package baseline

import "math/bits"

// Hash is the multiplier of hash_64: a key's bucket is key * Hash >> (64 - bits).
type Hash uint64

const (
	// Hash2008 is GOLDEN_RATIO_PRIME_64 as the seed's kernel had it. hash_64
	// computed the product by six shifts, additions and subtractions, one per
	// bit of the constant in signed form; the multiplication gives the same
	// result and is what a compiler of today would be given. Because the
	// constant is so sparse, address bits 13 to about 35 hardly reach the top of
	// the product: objects at the same offset in different pages share a few
	// buckets, and more buckets do not help.
	Hash2008 Hash = 0x9e37fffffffc0001

	// Hash2016 is GOLDEN_RATIO_64, which replaced it in Linux 4.7.
	Hash2016 Hash = 0x61C8864680B583EB
)

const (
	// defaultBits is the seed's CR_OBJHASH_NBITS.
	defaultBits = 10

	// maxBits allows a bucket per possible objref on 64-bit machines, and an
	// array of half the address space at most on the others.
	maxBits = 28 + 3*(bits.UintSize/64)
)

// BitsFor returns the Config.Bits that give at least as many buckets as there
// are objects: the seed's table as its author would have sized it, had he known.
// It is at least 1, and at most the limit that New accepts.
func BitsFor(objects int) int {
	if objects <= 2 {
		return 1
	}
	return min(bits.Len(uint(objects-1)), maxBits)
}
