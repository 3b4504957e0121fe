package engine_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/objhash/objhash/engine"
)

// BenchmarkFetch compares Fetch of ready objects in random order with reads of a slice
// of as many addresses, bounds checked.
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
		b.Run(fmt.Sprintf("how=slice/objects=%d", objects), func(b *testing.B) {
			var sum engine.Ptr
			for n := 0; b.Loop(); n++ {
				sum += slice[order[n&(len(order)-1)]]
			}
			if sum == 1 {
				b.Log(sum)
			}
		})
		b.Run(fmt.Sprintf("how=fetch/objects=%d", objects), func(b *testing.B) {
			var sum engine.Ptr
			for n := 0; b.Loop(); n++ {
				p, err := r.Fetch(order[n&(len(order)-1)], 1)
				if err != nil {
					b.Fatal(err)
				}
				sum += p
			}
			if sum == 1 {
				b.Log(sum)
			}
		})
	}
}
