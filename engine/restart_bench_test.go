package engine_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/objhash/objhash/engine"
)

// BenchmarkFetch compares Fetch of ready objects in random order with reads of a slice
// of as many addresses, bounds checked. In a chain, as of references that are followed,
// each read waits for the one before, and costs a cache miss; reads that do not depend
// on each other overlap, the more the fewer instructions there are between them.
func BenchmarkFetch(b *testing.B) {
	for _, objects := range []int{10_000, 1_000_000} {
		r := newRestart(b, engine.Options{Kinds: []engine.KindOps{{}}, ExpectedObjects: objects})
		slice := make([]engine.Ptr, objects+1)
		order := make([]engine.ObjRef, 1<<20)
		for i := 1; i <= objects; i++ {
			slice[i] = addr(i)
			if err := r.Insert(engine.ObjRef(i), addr(i), 1); err != nil {
				b.Fatal(err)
			}
		}
		for i := range order {
			order[i] = engine.ObjRef(1 + rand.IntN(objects))
		}
		for _, chain := range []bool{true, false} {
			mask := engine.Ptr(0) // of what the next place depends on
			if chain {
				mask = 1 // addresses are even, which the processor does not know
			}
			b.Run(fmt.Sprintf("how=slice/chain=%t/objects=%d", chain, objects), func(b *testing.B) {
				p := engine.Ptr(0)
				for n := 0; b.Loop(); n++ {
					p = slice[order[(n+int(p&mask))&(len(order)-1)]]
				}
			})
			b.Run(fmt.Sprintf("how=fetch/chain=%t/objects=%d", chain, objects), func(b *testing.B) {
				p := engine.Ptr(0)
				for n := 0; b.Loop(); n++ {
					var err error
					if p, err = r.Fetch(order[(n+int(p&mask))&(len(order)-1)], 1); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkCanonical renumbers 10^6 objects that 8,000 holders met 8 times each.
func BenchmarkCanonical(b *testing.B) {
	const objects, encounters, holders = 1_000_000, 8_000_000, 8_000
	c := newCheckpoint(b, engine.Options{Kinds: []engine.KindOps{{}}, TrackHolders: true})
	parallel(2, func(w int) {
		d := c.Dumper()
		defer d.Close()
		for holder := w; holder < holders; holder += 2 {
			d.SetHolder(uint64(holder))
			for i := range encounters / holders {
				if _, _, err := d.Encounter(addr((holder*997+i*31)%objects), 1); err != nil {
					b.Error(err)
					return
				}
			}
		}
	})
	for b.Loop() {
		if _, err := c.Canonical(nil); err != nil {
			b.Fatal(err)
		}
	}
}
