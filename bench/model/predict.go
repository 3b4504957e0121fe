package model

import (
	"math"
	"slices"
)

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
	op, closing := c.Op, row.Close
	merging := c.Merge * p.perHandle(threads)
	if p.outgrows {
		op = c.OpOutgrown
	}
	if p.HandleOps > 0 {
		merging, closing = c.MergeTask*float64(p.HandleOps), row.CloseTask
	}
	hold := m.hold(processors)
	share := p.exposure(m, row, threads, processors)

	var out Prediction
	out.Parallel = (op + times(share.exposed, m.MoveAmong)) / n
	out.Serial = times(share.hottest, hold)

	handles := float64(p.handles(threads))
	brought := p.brought(m, row, threads, processors)
	contended := 0.0
	if processors > 1 {
		contended = row.Handle + closing*brought.hottest
	}
	out.Merge = max(
		handles*(c.Handle+merging+
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

// stay is how many operations in a row a thread does on the hottest line when all want it.
func (m Machine) stay(processors int) float64 {
	if m.ContendedAdd <= m.Add || m.Move <= m.Add {
		return 1
	}
	stay := max(1, (m.Move-m.Add)/(m.ContendedAdd-m.Add))
	if processors > 2 {
		stay = 1 + (stay-1)/float64(processors-1)
	}
	return stay
}

// hold is how long the hottest line is taken for an operation when all want it.
func (m Machine) hold(processors int) float64 {
	if m.ContendedAdd <= m.Add || m.Move <= m.Add {
		return m.ContendedAdd
	}
	return max(m.ContendedAdd, m.Add+(m.Move-m.Add)/m.stay(processors))
}

// moves is how many moves an operation on a contended line takes.
func (row Row) moves(p *Profile, threads, processors int) float64 {
	if processors == 1 || p.HandleOps > 0 && row.CloseTask > 0 {
		return 0
	}
	n, t := float64(processors), row.Transfers
	if row.Owner {
		t *= others(p.owners(threads, processors))
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
	exposed float64 // moves of an operation
	hottest float64 // those of the hottest line, with what is tried again
}

// add adds lines, each with the share of the operations that come to it. A visit takes so many
// moves, if another changed the line last; chance is that of this.
func (e *exposure) add(m Machine, lines []float64, moves, chance float64, processors int) {
	if chance == 0 || moves == 0 {
		return
	}
	cached := int(m.CacheBytes / lineBytes)
	for i, visits := range lines {
		if i < cached {
			// After an operation on the same line that is here still, unless others want it.
			e.exposed += moves * visits * ((1-visits)*chance + visits*min(chance, 1/m.stay(processors)))
		}
		e.hottest = math.Max(e.hottest, moves*visits)
	}
}

func (p *Profile) exposure(m Machine, row Row, threads, processors int) (e exposure) {
	if processors == 1 {
		return e
	}
	chance := others(p.sharers(row, processors))
	visits, moves := p.visits(m, row, threads, processors)
	lines := func(visits []float64, perLine int) []float64 { return p.lines(row, visits, perLine, processors) }
	if row.Batch > 0 {
		// Who comes once in so many operations nearly always finds that others came meanwhile.
		again := p.visitsAgain(visits, threads)
		e.add(m, lines(again, row.PerLine), moves, 1, processors)
		for i := range visits {
			visits[i] -= again[i]
		}
	}
	e.add(m, lines(visits, row.PerLine), moves, chance, processors)
	e.hottest = times(e.hottest, row.attempts(m, processors))
	if p.Private > 0 {
		return e
	}
	if row.OwnerPerLine > 0 {
		own := float64(processors) / p.owners(threads, processors)
		hottest := e.hottest
		e.add(m, lines(scaled(p.masses, own), row.OwnerPerLine), 1, chance, processors)
		e.hottest = hottest // the owner does not wait for those who read
	}
	if inCell := float64(processors) / float64(max(1, row.Cells)); row.Inflates && inCell > 1 {
		cells := make([]float64, len(p.masses))
		for i, mass := range p.masses {
			cells[i] = mass - visits[i]
		}
		slices.SortFunc(cells, descending)
		var inflated exposure
		inflated.add(m, cells, 1, others(inCell), processors)
		e.exposed += inflated.exposed
		e.hottest = math.Max(e.hottest, inflated.hottest/float64(row.Cells))
	}
	return e
}

// visits returns how often an operation comes to the shared count of each object, and how
// many moves it takes when it does.
func (p *Profile) visits(m Machine, row Row, threads, processors int) (visits []float64, moves float64) {
	t := row.moves(p, threads, processors)
	if row.Batch > 0 {
		return p.visitsOfBatches(row.Batch, threads), 1
	}
	if row.Entries > 0 && (p.HandleOps == 0 || row.CloseTask == 0) {
		return p.visitsOfEntries(row.Entries, row.Period), 1
	}
	visits = scaled(p.masses, min(t, 1))
	if row.Inflates {
		squares := 0.0
		for _, mass := range p.masses {
			squares += mass * mass
		}
		for i, mass := range p.masses {
			visits[i] *= m.before(mass, squares, p.Ops, processors)
		}
	}
	return visits, max(t, 1)
}

// before is the share of an object's operations that come before a handle fails on it twice
// in a row, which comes after a random time. squares is the sum of all masses' squares, to
// which failures are proportional.
func (m Machine) before(mass, squares float64, ops, processors int) float64 {
	fails := min(1, m.CASFailures*mass*float64(processors-1))
	switch twice := float64(ops) * mass * fails * mass * mass / squares; {
	case twice > 0:
		return -math.Expm1(-twice) / twice
	case twice == 0:
		return 1
	default:
		return math.NaN()
	}
}

// brought is how a handle that closes meets the lines of all that it counted: how many of
// them another changed last, and its chance to meet the hottest.
func (p *Profile) brought(m Machine, row Row, threads, processors int) (e exposure) {
	chance := others(p.sharers(row, processors))
	if chance == 0 {
		return e
	}
	cached, perLine := int(m.CacheBytes/lineBytes), row.PerLine
	if row.CloseEach {
		cached, perLine = cached*row.PerLine, 1
	}
	for i, mass := range p.lines(row, p.masses, perLine, processors) {
		met := p.met(mass, threads)
		if i < cached {
			e.exposed += met * chance
		}
		e.hottest = math.Max(e.hottest, met)
	}
	return e
}
