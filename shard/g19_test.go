package shard

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/objhash/objhash/internal/region"
)

// Close while workers do everything that an index can do: each call completes as if
// there were no Close, or finds nothing, or returns ErrClosed. Afterwards the index is
// closed for everybody.
func TestG19_CloseWithOperationsUnderWay(t *testing.T) {
	oversubscribe(t)
	forEachSetup(t, func(t *testing.T, s setup) {
		for _, addresses := range []struct {
			name    string
			address func(int) uint64
		}{{"canonical", s.address}, {"wide", wideAddress}} {
			t.Run("addresses="+addresses.name, func(t *testing.T) {
				r := seeded(t)
				for range sized(10) {
					testCloseUnderWay(t, s, r, addresses.address)
				}
			})
		}
	})
}

func testCloseUnderWay(t *testing.T, s setup, r *rand.Rand, address func(int) uint64) {
	const workers, n = 5, 2000
	x := s.open(t)
	ptrs := make([]uint64, n)
	for i, j := range r.Perm(n) {
		ptrs[i] = address(j)
	}
	const before = 100
	for i, ptr := range ptrs[:before] {
		mustInsert(t, x, ptr, int32(i+1))
	}
	var (
		fails   = failures{t: t}
		closing atomic.Bool  // Close may have begun
		closed  atomic.Bool  // a Close has returned
		inserts atomic.Int64 // done by all
		closeAt = int64(r.IntN(n))
		seeds   = [workers]uint64{}
	)
	for w := range seeds {
		seeds[w] = r.Uint64()
	}
	// Number of address i: i+1, whoever inserts it.
	mustReturn(t, "operations beside Close", func() {
		together(workers, func(w int) {
			rng := rand.New(rand.NewPCG(seeds[w], 0))
			refs := make([]int32, 32)
			for i := range n {
				if fails.enough() {
					return
				}
				if w < 2 {
					if inserts.Add(1) == closeAt || closed.Load() {
						closing.Store(true)
						if err := x.Close(); err != nil {
							fails.errorf("Close: %v", err)
						}
						closed.Store(true)
					}
				}
				wasClosed := closed.Load()
				switch {
				case w < 3:
					ref := int32(i + 1)
					var got int32
					var tag uint8
					var err error
					if w < 2 {
						got, tag, err = x.Insert(ptrs[i], ref, tagOf(ref))
					} else {
						_, err = x.InsertBatch(ptrs[i:i+1], tagOf(ref), ref, refs[:1])
						got, tag = refs[0], tagOf(ref)
					}
					ok := err == nil && got == ref && rightTag(x, tag, tagOf(ref)) && !wasClosed ||
						errors.Is(err, ErrClosed) && got == 0 && closing.Load()
					if !ok {
						fails.errorf("Insert(%#x, %d) = %d, %d, %v; closing: %v, closed before: %v", ptrs[i], ref, got, tag, err, closing.Load(), wasClosed)
					}
				case w == 3:
					at := rng.IntN(n - len(refs))
					x.LookupBatch(ptrs[at:at+len(refs)], refs, nil)
					single, _ := x.Lookup(ptrs[at])
					for j, ref := range append(refs, single) {
						want := int32(at + j%len(refs) + 1)
						ok := ref == want && !wasClosed || ref == 0 && (closing.Load() || want > before)
						if !ok {
							fails.errorf("address %#x has %d; want %d; closing: %v, closed before: %v", ptrs[want-1], ref, want, closing.Load(), wasClosed)
						}
					}
					i += len(refs)
				default:
					switch i % 16 {
					case 0:
						seen := 0
						for ptr, ref := range x.All() {
							if ref < 1 || int(ref) > n || ptrs[ref-1] != ptr {
								fails.errorf("All yields %#x, %d", ptr, ref)
								break
							}
							seen++
						}
						if seen != 0 && wasClosed || seen < before && !closing.Load() {
							fails.errorf("All saw %d; closing: %v, closed before: %v", seen, closing.Load(), wasClosed)
						}
					case 1:
						if st := x.Stats(); st.Objects != 0 && wasClosed || st.Objects < before && !closing.Load() {
							fails.errorf("Stats() = %+v; closing: %v, closed before: %v", st, closing.Load(), wasClosed)
						}
					case 2:
						x.Bytes()
					}
				}
			}
		})
	})
	x.Close()
	if t.Failed() {
		t.FailNow()
	}
	mustBeClosed(t, x, ptrs)
}

// Whatever is in it, a closed index is closed.
func TestG19_AfterClose(t *testing.T) {
	forEachSetup(t, func(t *testing.T, s setup) {
		for _, n := range []int{0, 1, 5000} {
			x := s.open(t)
			ptrs := []uint64{1, ^uint64(0)} // never were in
			for i := range n {
				ptrs = append(ptrs, s.address(i+100))
				mustInsert(t, x, s.address(i+100), int32(i+1))
			}
			if err := x.Close(); err != nil {
				t.Fatal(err)
			}
			mustBeClosed(t, x, ptrs)
		}
	})
}

// What finds the index closed keeps no lock, at whatever point it does.
func TestG19_InsertsAfterCloseKeepNoLock(t *testing.T) {
	forEachSubject(t, func(t *testing.T, sub subject) {
		x := sub.open(t, Config{Shards: 1})
		x.Close()
		mustReturn(t, "operations after Close", func() {
			for range 2 {
				for _, ptr := range []uint64{heapAddress(1), wideAddress(1)} {
					if _, _, err := x.Insert(ptr, 1, 1); !errors.Is(err, ErrClosed) {
						t.Errorf("Insert(%#x): %v; want ErrClosed", ptr, err)
					}
				}
				if err := replaceTable(x); !errors.Is(err, region.ErrClosed) {
					t.Errorf("replacement: %v; want region.ErrClosed", err)
				}
			}
			x.Stats()
		})
	})
}

func TestG19_AfterCloseWide(t *testing.T) {
	forEachSubject(t, func(t *testing.T, sub subject) {
		x := sub.open(t, Config{})
		ptrs := make([]uint64, 100)
		for i := range ptrs {
			ptrs[i] = wideAddress(i)
			mustInsert(t, x, ptrs[i], int32(i+1))
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		mustBeClosed(t, x, append(ptrs, wideAddress(1000)))
	})
}

// Of several concurrent calls of Close each returns, and none before lookups find
// nothing.
func TestG19_CloseTwiceAtOnce(t *testing.T) {
	oversubscribe(t)
	forEachSetup(t, func(t *testing.T, s setup) {
		for range sized(20) {
			x := s.open(t)
			for i := range 100 {
				mustInsert(t, x, s.address(i), int32(i+1))
			}
			together(4, func(int) {
				if err := x.Close(); err != nil {
					t.Error(err)
				}
			})
			mustBeClosed(t, x, []uint64{s.address(0), s.address(99)})
		}
	})
}
