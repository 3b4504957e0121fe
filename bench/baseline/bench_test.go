package baseline

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// slabPtrs returns the addresses of n objects of 256 bytes, 16 to a page, in
// shuffled order: what a walk of tasks meets, and the same on every run.
func slabPtrs(n int) []uint64 {
	ptrs := make([]uint64, n)
	for i := range ptrs {
		ptrs[i] = 0xffff888100000000 + uint64(i)<<8
	}
	rng := rand.New(rand.NewPCG(0x2008, 0x2016))
	rng.Shuffle(n, func(i, j int) { ptrs[i], ptrs[j] = ptrs[j], ptrs[i] })
	return ptrs
}

// forEachTable runs f for both hashes, with the seed's buckets and with as many
// buckets as objects. Long chains set the sizes: the constant of 2008 maps slab
// addresses to so few buckets that a table fills in quadratic time whatever its
// size, so 10^4 objects must do; that of 2016 with 1024 buckets ends at 10^5.
func forEachTable(b *testing.B, f func(b *testing.B, c Config, ptrs []uint64)) {
	for _, run := range []struct {
		year, bits, objects int
	}{
		{2008, defaultBits, 10_000},
		{2008, BitsFor(10_000), 10_000},
		{2016, defaultBits, 10_000},
		{2016, BitsFor(10_000), 10_000},
		{2016, defaultBits, 100_000},
		{2016, BitsFor(100_000), 100_000},
		{2016, BitsFor(1_000_000), 1_000_000},
	} {
		hash := map[int]Hash{2008: Hash2008, 2016: Hash2016}[run.year]
		b.Run(fmt.Sprintf("buckets=%d/hash=%d/objects=%d", 1<<run.bits, run.year, run.objects), func(b *testing.B) {
			b.ReportAllocs()
			f(b, Config{Bits: run.bits, Hash: hash}, slabPtrs(run.objects))
		})
	}
}

// BenchmarkLookupAdd is encounters of known objects: one operation is one
// encounter.
func BenchmarkLookupAdd(b *testing.B) {
	forEachTable(b, func(b *testing.B, c Config, ptrs []uint64) {
		table := newTable(b, c)
		for _, p := range ptrs {
			table.LookupAdd(p, 1)
		}
		i := 0
		for b.Loop() {
			if _, _, err := table.LookupAdd(ptrs[i], 1); err != nil {
				b.Fatal(err)
			}
			if i++; i == len(ptrs) {
				i = 0
			}
		}
		b.ReportMetric(float64(table.Bytes())/float64(table.Len()), "B/object")
	})
}

// BenchmarkFill is a first pass: one operation makes a table and adds every
// object to it.
func BenchmarkFill(b *testing.B) {
	forEachTable(b, func(b *testing.B, c Config, ptrs []uint64) {
		for b.Loop() {
			table := newTable(b, c)
			for _, p := range ptrs {
				if _, _, err := table.LookupAdd(p, 1); err != nil {
					b.Fatal(err)
				}
			}
			table.Close()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(ptrs)), "ns/object")
	})
}

// BenchmarkFetch is restart: one operation is one fetch, in image order.
func BenchmarkFetch(b *testing.B) {
	forEachTable(b, func(b *testing.B, c Config, ptrs []uint64) {
		table := newTable(b, c)
		for i, p := range ptrs {
			if err := table.Insert(int32(i+1), p, 1); err != nil {
				b.Fatal(err)
			}
		}
		i := 0
		for b.Loop() {
			if _, err := table.Fetch(int32(i+1), 1); err != nil {
				b.Fatal(err)
			}
			if i++; i == len(ptrs) {
				i = 0
			}
		}
	})
}
