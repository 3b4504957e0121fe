package engine_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/objhash/objhash/bench/keys"
	"github.com/objhash/objhash/engine"
)

// BenchmarkMemory is what an object takes, index, record and count, at 48 sizes from 10^6
// to 10^7 in equal ratios: the average of them, and the most. Besides, of the average, the
// part that is not the index's.
func BenchmarkMemory(b *testing.B) {
	const sizes, least, most = 48, 1e6, 1e7
	ptrs := mixedAddresses(b, most)
	for _, told := range []bool{false, true} {
		b.Run(fmt.Sprintf("expected=%t", told), func(b *testing.B) {
			for b.Loop() {
				var sum, worst, records float64
				m := newMemory(b, ptrs, 0)
				for i := range sizes {
					n := int(math.Round(least * math.Pow(most/least, float64(i)/(sizes-1))))
					if told {
						m.close()
						m = newMemory(b, ptrs, n)
					}
					m.encounter(n)
					s := m.c.Stats()
					each := float64(s.Bytes) / float64(n)
					sum += each
					records += float64(s.RecordBytes) / float64(n)
					worst = max(worst, each)
				}
				m.close()
				b.ReportMetric(sum/sizes, "B/object")
				b.ReportMetric(worst, "worst-B/object")
				b.ReportMetric(records/sizes, "records-B/object")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// mixedAddresses returns n addresses as the canonical load profiles have them.
func mixedAddresses(tb testing.TB, n int) []engine.Ptr {
	tb.Helper()
	generated, err := keys.Generate(keys.Mixed(), 1, n)
	if err != nil {
		tb.Fatal(err)
	}
	ptrs := make([]engine.Ptr, n)
	for i, p := range generated {
		ptrs[i] = engine.Ptr(p)
	}
	return ptrs
}

// memory is a checkpoint that one thread fills with ptrs, one after the other.
type memory struct {
	tb   testing.TB
	ptrs []engine.Ptr
	c    *engine.Checkpoint
	d    *engine.Dumper
	refs []engine.ObjRef
	n    int
}

func newMemory(tb testing.TB, ptrs []engine.Ptr, expected int) *memory {
	tb.Helper()
	c, err := engine.NewCheckpoint(engine.Options{Kinds: make([]engine.KindOps, 1), ExpectedObjects: expected, Seed: 1})
	if err != nil {
		tb.Fatal(err)
	}
	return &memory{tb: tb, ptrs: ptrs, c: c, d: c.Dumper(), refs: make([]engine.ObjRef, 1000)}
}

// encounter meets those of the first n objects that it has not met.
func (m *memory) encounter(n int) {
	m.tb.Helper()
	for m.n < n {
		next := min(n, m.n+len(m.refs))
		if err := m.d.EncounterBatch(m.ptrs[m.n:next], 1, m.refs[:next-m.n], nil); err != nil {
			m.tb.Fatal(err)
		}
		m.n = next
	}
}

func (m *memory) close() {
	closeQuietly(m.tb, m.d)
	closeQuietly(m.tb, m.c)
}
