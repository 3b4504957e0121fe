package refcount_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/objhash/objhash/refcount"
)

// BenchmarkInc counts on each of b's goroutines: one object, or objects in random order.
func BenchmarkInc(b *testing.B) {
	for _, s := range refcount.All() {
		for _, objects := range []int{1, 10_000, 1_000_000} {
			b.Run(fmt.Sprintf("strategy=%s/objects=%d", s.Name(), objects), func(b *testing.B) {
				c, err := s.New(refcount.Config{})
				if err == nil {
					err = c.Grow(1, int32(objects))
				}
				if err != nil {
					b.Fatal(err)
				}
				if s.Traits().OneThread {
					h := c.Handle()
					refs := randomRefs(objects)
					for i := 0; b.Loop(); i++ {
						h.Inc(refs[i%len(refs)])
					}
					h.Close()
					return
				}
				b.RunParallel(func(pb *testing.PB) {
					h := c.Handle()
					refs := randomRefs(objects)
					for i := 0; pb.Next(); i++ {
						h.Inc(refs[i%len(refs)])
					}
					h.Close()
				})
			})
		}
	}
}

func randomRefs(objects int) []int32 {
	rng := rand.New(rand.NewPCG(1, rand.Uint64()))
	refs := make([]int32, 1<<16)
	for i := range refs {
		refs[i] = 1 + rng.Int32N(int32(objects))
	}
	return refs
}
