package keys_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/zeebo/xxh3"

	"github.com/objhash/objhash/bench/keys"
)

func TestUniqueAndShaped(t *testing.T) {
	models := map[string]keys.Model{
		"mixed":  keys.Mixed(),
		"slab":   {Slab: 1, Strides: []uint64{64}},
		"page":   {Page: 1},
		"percpu": {PerCPU: 1},
		"user":   {User: 1},
		"goheap": {GoHeap: 1},
		"all":    {Slab: 1, Page: 1, PerCPU: 1, User: 1, GoHeap: 1, Strides: []uint64{4096}},
	}
	for name, m := range models {
		t.Run("model="+name, func(t *testing.T) {
			for _, n := range []int{0, 1, 2, 3, 100, 300_000} {
				got, err := keys.Generate(m, 7, n)
				if err != nil {
					t.Fatal(err)
				}
				if len(got) != n {
					t.Fatalf("%d addresses, want %d", len(got), n)
				}
				for _, p := range got {
					if area(p) == "" {
						t.Fatalf("%#x lies in no documented range", p)
					}
				}
				slices.Sort(got)
				if len(slices.Compact(got)) != n {
					t.Fatalf("%d addresses are not unique", n)
				}
			}
		})
	}
}

// TestShares checks that each area gives what the model says, in the shape
// that the package doc says.
func TestShares(t *testing.T) {
	const n = 200_000
	got, err := keys.Generate(keys.Mixed(), 1, n)
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	aligned := map[string]int{"slab": 32, "page": 4096, "percpu": 64, "user": 16}
	for _, p := range got {
		a := area(p)
		count[a]++
		if p%uint64(aligned[a]) != 0 {
			t.Fatalf("%#x in %s is not a multiple of %d", p, a, aligned[a])
		}
	}
	for a, want := range map[string]float64{"slab": 0.55, "page": 0.10, "percpu": 0.05, "user": 0.30} {
		if share := float64(count[a]) / n; math.Abs(share-want) > 0.01 {
			t.Errorf("share of %s: %.3f, want %.2f", a, share, want)
		}
	}
}

// TestGoHeap checks that a span has objects of one size class.
func TestGoHeap(t *testing.T) {
	got, err := keys.Generate(keys.Model{GoHeap: 1}, 1, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	offsets := map[uint64]uint64{} // by span: what divides all offsets
	for _, p := range got {
		offsets[p>>13] = gcd(offsets[p>>13], p%(8<<10))
	}
	small, big := 0, 0
	for _, d := range offsets {
		switch {
		case d > 0 && d <= 32:
			small++
		case d == 0 || d >= 512: // 0: one object, at the start
			big++
		}
	}
	if small < len(offsets)/8 || big < len(offsets)/16 || len(offsets) < 500 {
		t.Errorf("%d spans, of which %d have small objects and %d big ones", len(offsets), small, big)
	}
}

func gcd(a, b uint64) uint64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// TestReproducible pins the addresses: results of different days are
// comparable only while the same seed means the same keys.
func TestReproducible(t *testing.T) {
	a, _ := keys.Generate(keys.Mixed(), 42, 1000)
	b, _ := keys.Generate(keys.Mixed(), 42, 1000)
	c, _ := keys.Generate(keys.Mixed(), 43, 1000)
	if !slices.Equal(a, b) {
		t.Error("the same seed gave different addresses")
	}
	if slices.Equal(a, c) {
		t.Error("another seed gave the same addresses")
	}
	var bytes []byte
	for _, p := range a {
		bytes = fmt.Appendf(bytes, "%x\n", p)
	}
	const want = 0x8ea87a1c64cec9ef
	if got := xxh3.Hash(bytes); got != want {
		t.Errorf("checksum of 1000 addresses of seed 42 is %#x, want %#x: the keys changed, and with them every result", got, uint64(want))
	}
}

func TestBadModels(t *testing.T) {
	for _, m := range []keys.Model{
		{},
		{Slab: 1},
		{Slab: -1, User: 2},
		{User: math.NaN()},
		{Slab: 1, Strides: []uint64{0}},
		{Slab: 1, Strides: []uint64{12}},
		{Slab: 1, Strides: []uint64{1 << 20}},
	} {
		if _, err := keys.Generate(m, 1, 10); !errors.Is(err, keys.ErrModel) {
			t.Errorf("model %+v: %v, want ErrModel", m, err)
		}
	}
	for _, n := range []int{-1, keys.Max + 1} {
		if _, err := keys.Generate(keys.Mixed(), 1, n); !errors.Is(err, keys.ErrModel) {
			t.Errorf("%d addresses: %v, want ErrModel", n, err)
		}
	}
}

func area(p uint64) string {
	switch {
	case p >= 0xffff_8880_0000_0000 && p < 0xffff_c880_0000_0000:
		return "slab"
	case p >= 0xffff_c900_0000_0000 && p < 0xffff_e800_0000_0000:
		return "page"
	case p >= 0xffff_e800_0000_0000 && p < 0xffff_e900_0000_0000:
		return "percpu"
	case p >= 0x5500_0000_0000 && p < 0x5600_0000_0000,
		p >= 0x7f00_0000_0000 && p < 0x8000_0000_0000:
		return "user"
	case p >= 0x00c0_0000_0000 && p < 0x4000_00c0_0000_0000:
		return "goheap"
	default:
		return ""
	}
}

func ExampleGenerate() {
	addresses, err := keys.Generate(keys.Model{PerCPU: 1}, 1, 3)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, p := range addresses {
		fmt.Printf("offset in its 256 KiB unit: %#x\n", p%(256<<10))
	}
	// Output:
	// offset in its 256 KiB unit: 0x0
	// offset in its 256 KiB unit: 0x0
	// offset in its 256 KiB unit: 0x0
}
