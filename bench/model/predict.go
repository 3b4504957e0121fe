package model

import "math"

// Machine is what moving lines costs. Times are in ns; NaN where there is one processor.
type Machine struct {
	Move         float64 // L
	MoveAmong    float64 // M
	Add          float64 // a
	ContendedAdd float64 // A
	CASFailures  float64 // f
	CacheBytes   int64   // of one core
}

// Costs are what a strategy costs one thread, in ns.
type Costs struct {
	Op         float64 // c
	OpOutgrown float64 // c'
	Handle     float64 // h
	Merge      float64 // m
	MergeTask  float64 // m'
	Read       float64 // r
	ReadHandle float64 // r'
}

// Prediction is ns/op and what it consists of; NaN where a cost is not known.
type Prediction struct {
	Total, Parallel, Serial, Merge float64
}

// Predict returns what threads on so many processors take for an operation.
func Predict(m Machine, c Costs, row Row, p *Profile, threads, processors int) Prediction {
	processors = min(threads, processors)
	n := float64(processors)
	op, perObject, closing := c.Op, c.Merge, row.Close
	if p.outgrows {
		op = c.OpOutgrown
	}
	t := row.moves(p, processors)
	if p.HandleOps > 0 {
		perObject, closing = c.MergeTask, row.CloseTask
		if closing > 0 {
			t = 0
		}
	}
	hold := m.hold(processors)
	share := p.exposure(m, row, op, processors)

	var out Prediction
	out.Parallel = (op + times(t*share.exposed, m.MoveAmong)) / n
	out.Serial = times(t*share.hottest, row.attempts(m, processors)*hold)

	handles := float64(p.handles(threads))
	brought := p.brought(m, row, threads, processors)
	contended := 0.0
	if processors > 1 {
		contended = row.Handle + closing*brought.hottest
	}
	out.Merge = max(
		handles*(c.Handle+perObject*p.perHandle(threads)+
			times(row.Handle*others(n), m.Move)+times(closing*brought.exposed, m.MoveAmong))/n,
		handles*times(contended, hold))
	reads := c.Read
	if row.ReadsAll {
		readers := threads
		if row.OwnMax > 0 {
			readers = min(readers, row.OwnMax)
		}
		reads += c.ReadHandle * float64(readers-1)
	}
	out.Merge = (out.Merge + reads*float64(p.objects(threads))) / float64(p.Ops)
	out.Total = max(out.Parallel, out.Serial) + out.Merge
	return out
}

// times is n*cost, and 0 for no times a cost that is not known.
func times(n, cost float64) float64 {
	if n == 0 {
		return 0
	}
	return n * cost
}

// others is the chance that what one of n changed last was changed by another.
func others(n float64) float64 { return (n - 1) / n }

// hold is how long the hottest line is taken for an operation when all want it.
func (m Machine) hold(processors int) float64 {
	if m.ContendedAdd <= m.Add || m.Move <= m.Add {
		return m.ContendedAdd
	}
	stay := max(1, (m.Move-m.Add)/(m.ContendedAdd-m.Add))
	if processors > 2 {
		stay = 1 + (stay-1)/float64(processors-1)
	}
	return max(m.ContendedAdd, m.Add+(m.Move-m.Add)/stay)
}

// moves is how many moves an operation on a contended line takes.
func (row Row) moves(p *Profile, processors int) float64 {
	if processors == 1 {
		return 0
	}
	n, t := float64(processors), row.Transfers
	if row.Owner {
		t *= others(max(n, float64(p.handles(processors))))
	}
	if row.Entries > 0 {
		t += p.spill(row.Entries)
	}
	if row.OwnMax > 0 && processors > row.OwnMax {
		without := 1 - float64(row.OwnMax)/n
		t = t*(1-without) + without
	}
	return t
}

// attempts is how many an operation takes where all want the line.
func (row Row) attempts(m Machine, processors int) float64 {
	if !row.Retries || processors == 1 {
		return 1
	}
	return 1 + m.CASFailures*float64(processors-1)
}

// exposure is how a profile's operations meet the lines of a strategy.
type exposure struct {
	exposed float64 // chance that an operation meets a line that another changed last
	hottest float64 // share of the operations that go to the hottest line
}

func (p *Profile) exposure(m Machine, row Row, op float64, processors int) (e exposure) {
	chance := others(p.sharers(row, processors))
	if chance == 0 {
		return e
	}
	n := float64(processors)
	cells := n
	if row.Cells > 0 {
		cells = float64(row.Cells)
	}
	inCell := max(1, n/cells)
	conflicts := float64(p.Ops) * n * m.hold(processors) / op // for each p(i)^2
	cached := int(m.CacheBytes / lineBytes)
	for i, mass := range p.lines(row, processors) {
		chance, mass, hottest := chance, mass, mass
		if row.Inflates && mass*mass*conflicts >= 1 {
			chance = others(inCell)
			hottest = mass / cells
			if inCell == 1 {
				hottest = 0
			}
		}
		if i < cached {
			e.exposed += mass * chance
		}
		e.hottest = math.Max(e.hottest, hottest)
	}
	return e
}

// brought is how a handle that closes meets the lines of all that it counted: how many of
// them another changed last, and its chance to meet the hottest.
func (p *Profile) brought(m Machine, row Row, threads, processors int) (e exposure) {
	chance := others(p.sharers(row, processors))
	if chance == 0 {
		return e
	}
	cached := int(m.CacheBytes / lineBytes)
	for i, mass := range p.lines(row, processors) {
		met := p.met(mass, threads)
		if i < cached {
			e.exposed += met * chance
		}
		e.hottest = math.Max(e.hottest, met)
	}
	return e
}
