package model

import (
	"math"
	"slices"
	"testing"

	"github.com/objhash/objhash/refcount"
)

var (
	someMachine = Machine{Move: 100, MoveAmong: 40, Add: 5, ContendedAdd: 20, CASFailures: 0.1, CacheBytes: 1 << 20}
	oneCore     = Machine{Move: math.NaN(), MoveAmong: math.NaN(), Add: 5, ContendedAdd: math.NaN(), CASFailures: math.NaN(), CacheBytes: 1 << 20}
	someCosts   = Costs{Op: 6, OpOutgrown: 9, Handle: 50, Merge: 1, MergeTask: 2, Read: 3, ReadHandle: 0.5}
)

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Max(math.Abs(a), math.Abs(b)) }

func privateProfile() *Profile { return &Profile{Name: "private", Ops: 1 << 20, Private: 64} }
func hotProfile() *Profile     { return &Profile{Name: "hot", Ops: 1000, masses: []float64{1}} }
func taskProfile() *Profile {
	return &Profile{Name: "tasks", Ops: 1000, HandleOps: 10, masses: slices.Repeat([]float64{0.5}, 2)}
}

// named is a strategy with another's traits.
type named struct {
	refcount.Strategy
	name   string
	traits refcount.Traits
}

func (n named) Name() string            { return n.name }
func (n named) Traits() refcount.Traits { return n.traits }

func rowNamed(t *testing.T, name string, traits refcount.Traits) Row {
	t.Helper()
	row, ok := RowOf(named{refcount.Atomic{}, name, traits})
	if !ok {
		t.Fatalf("no row for %s", name)
	}
	return row
}

// TestRows: every strategy there is has a row.
func TestRows(t *testing.T) {
	for _, s := range refcount.All() {
		if row, ok := RowOf(s); !ok || row.Source != Table || row.PerLine < 1 {
			t.Errorf("%s: %+v, %v", s.Name(), row, ok)
		}
	}
	for _, name := range []string{"striped", "arrays", "sloppy", "refcache", "biased", "snzi"} {
		rowNamed(t, name, refcount.Traits{PerObject: 4})
	}
	if _, ok := RowOf(named{refcount.Atomic{}, "newcomer", refcount.Traits{}}); ok {
		t.Error("a row for a strategy that nobody knows")
	}
	for bytes, want := range map[float64]int{0: 64, 4: 16, 8: 8, 64: 1, 100: 1} {
		if got := perLine(bytes); got != want {
			t.Errorf("%v bytes: %d objects in a line, want %d", bytes, got, want)
		}
	}
}

func TestHold(t *testing.T) {
	// (100-5)/(20-5) = 19/3 adds in a stay of two threads.
	for processors, want := range map[int]float64{
		1: 20, 2: 20,
		4:   5 + 95/(1+(19.0/3-1)/3),
		256: 5 + 95/(1+(19.0/3-1)/255),
	} {
		if got := someMachine.hold(processors); !near(got, want) {
			t.Errorf("%d processors: %v, want %v", processors, got, want)
		}
	}
	if got := (Machine{Move: 4, Add: 5, ContendedAdd: 6}).hold(64); got != 6 {
		t.Errorf("a move that measured less than an add: %v, want the contended add", got)
	}
	if got := (Machine{Move: 10, Add: 5, ContendedAdd: 20}).hold(2); got != 20 {
		t.Errorf("a move that measured less than a contended add: %v, want the contended add", got)
	}
}

func TestPredictHot(t *testing.T) {
	const merge = (50 + 1 + 3) / 1000.0
	const stay2, stay4 = 19.0 / 3, 1 + (19.0/3-1)/3
	hold4 := 5 + 95/stay4
	words := refcount.Traits{PerObject: 4}
	// after is the chance that one of four threads finds the line moved, if it comes there with
	// so many of its operations.
	after := func(visits float64) float64 { return (1-visits)*0.75 + visits/stay4 }
	closing := func(moves, lines, hottest float64) float64 {
		return (max(50+1+moves*100*0.75+lines*40*0.75, 4*(moves+hottest)*hold4) + 3) / 1000
	}
	again := (1000.0/4/8+7.0/16)/(1000.0/4) - 0.004
	before := -math.Expm1(-300) / 300 // of 1,000 operations 300 fail, each where the one before did
	for _, c := range []struct {
		name     string
		traits   refcount.Traits
		threads  int
		parallel float64
		serial   float64
		merge    float64
	}{
		{"atomic", words, 1, 6, 0, merge},
		{"atomic", words, 2, (6 + 40/stay2) / 2, 20, merge},
		{"atomic", words, 4, (6 + 40/stay4) / 4, hold4, merge},
		{"cas", words, 4, (6 + 40/stay4) / 4, 1.3 * hold4, merge},
		{"mutex", words, 4, (6 + 3*40/stay4) / 4, 3 * hold4, merge},
		{"striped", words, 4, (6 + before*40*after(before)) / 4, before * 1.3 * hold4, closing(4, 0, 0)},
		{"biased", words, 4, (6 + 40*(0.75*after(0.75)+after(1))) / 4, 0.75 * hold4, closing(5, 0, 0)},
		{"sloppy", words, 4, (6 + 40*(again*((1-again)+again/stay4)+0.004*after(0.004))) / 4, again * hold4, closing(5, 1, 1)},
		{"snzi", words, 4, (6 + 40*after(0.004)*0.004) / 4, 0.004 * hold4, closing(5, 1, 1)},
		{"log", refcount.Traits{PerObject: 4, PerObjectHandle: 1, OwnMax: 2}, 4,
			(6 + (0.5/256+0.5)*40*after(0.5/256+0.5)) / 4, (0.5/256 + 0.5) * hold4, closing(2, 0, 0) + 0.5/1000},
	} {
		row := rowNamed(t, c.name, c.traits)
		if c.traits.OwnMax > 0 {
			row.OwnMax = c.traits.OwnMax
		}
		got := Predict(someMachine, someCosts, row, hotProfile(), c.threads, c.threads)
		want := Prediction{Total: max(c.parallel, c.serial) + c.merge, Parallel: c.parallel, Serial: c.serial, Merge: c.merge}
		if !near(got.Parallel, want.Parallel) || !near(got.Serial, want.Serial) || !near(got.Merge, want.Merge) || !near(got.Total, want.Total) {
			t.Errorf("%s, %d threads: %+v, want %+v", c.name, c.threads, got, want)
		}
	}
}

func TestPredictTasks(t *testing.T) {
	// 100 handles of 10 operations, on two objects in one line.
	row := rowNamed(t, "log", refcount.Traits{PerObject: 4, OwnMax: 8})
	got := Predict(someMachine, someCosts, row, taskProfile(), 2, 2)
	parallel := 100 * (50 + 2*10 + 2*100*0.5 + 40*0.5) / 2
	serial := 100.0 * (2 + 1) * 20
	if want := (max(parallel, serial) + 2*3) / 1000; !near(got.Merge, want) {
		t.Errorf("merge %v, want %v", got.Merge, want)
	}
	if !near(got.Parallel, 6.0/2) || got.Serial != 0 {
		t.Errorf("%+v, want no moves before a handle is closed", got)
	}
	sloppy := rowNamed(t, "sloppy", refcount.Traits{PerObject: 4})
	if got := Predict(someMachine, someCosts, sloppy, taskProfile(), 2, 2); got.Serial == 0 {
		t.Errorf("%+v, want moves for the first operation on each object", got)
	}
}

// TestVisits: what is visited once in a while, by long and short handles.
func TestVisits(t *testing.T) {
	p := &Profile{Ops: 1000, masses: []float64{0.9, 0.1}}
	long, short := p.visitsOfBatches(8, 1), (&Profile{Ops: 1000, HandleOps: 1, masses: p.masses}).visitsOfBatches(8, 1)
	if !near(long[0], (900.0/8+7.0/16)/1000) || !near(short[0], 0.9) || !near(short[1], 0.1) {
		t.Errorf("a handle of 1000 operations %v, of one %v", long, short)
	}
	met := 1 - math.Pow(0.9, 1000)
	if once := p.visitsOfBatches(first, 1); math.Abs(once[1]-met/1000) > 1e-6 {
		t.Errorf("first operations %v, want %v", once[1], met/1000)
	}
	// One entry: each is put out when the other comes, and both, in turn, when it is emptied.
	if one := p.visitsOfEntries(1, 4096); !near(one[0], 0.9*0.1+0.9/4096) {
		t.Errorf("one entry: %v", one)
	}
	if two := p.visitsOfEntries(2, 10); !near(two[1], (1-math.Pow(0.9, 10))/10) {
		t.Errorf("two entries: %v", two)
	}
}

// TestBefore: an object that is contended much is inflated soon, one that is not, never.
func TestBefore(t *testing.T) {
	m := Machine{CASFailures: 0.01}
	if hot, cold := m.before(1, 1, 1<<20, 2), m.before(1e-6, 1e-6, 1<<20, 2); !near(hot, 1/(0.01*(1<<20))) || cold < 0.999999 {
		t.Errorf("hot %v, cold %v", hot, cold)
	}
	if never := (Machine{}).before(1, 1, 1<<20, 2); never != 1 {
		t.Errorf("nothing fails: %v", never)
	}
}

// TestCells: beyond as many processors as there are cells, threads share them.
func TestCells(t *testing.T) {
	row := rowNamed(t, "striped", refcount.Traits{PerObject: 4})
	m := someMachine
	m.CASFailures = 1 // inflated at once
	p := hotProfile()
	p.Ops = 1 << 20
	few, many := Predict(m, someCosts, row, p, 64, 64), Predict(m, someCosts, row, p, 256, 256)
	if few.Serial > 0.01 || math.Abs(many.Serial-m.hold(256)/64) > 0.01 || many.Parallel*256 < 6+20 {
		t.Errorf("64 threads %+v, 256 threads %+v", few, many)
	}
}

func TestPredictZipf(t *testing.T) {
	p := &Profile{Name: "zipf", Ops: 1000, masses: zipfMasses(64, theta), outgrows: true}
	row := rowNamed(t, "padded", refcount.Traits{PerObject: 64})
	m := someMachine
	m.CacheBytes = 2 * lineBytes // the two most popular objects
	got := Predict(m, someCosts, row, p, 2, 2)
	const stay = 19.0 / 3
	exposed := 0.0
	for _, mass := range p.masses[:2] {
		exposed += mass * ((1-mass)/2 + mass/stay)
	}
	if want := (9 + 40*exposed) / 2; !near(got.Parallel, want) {
		t.Errorf("parallel %v, want %v", got.Parallel, want)
	}
	if want := p.masses[0] * 20; !near(got.Serial, want) {
		t.Errorf("serial %v, want %v", got.Serial, want)
	}
}

// TestOneThread: what one thread takes is an operation and its share of the merge, whatever
// lines cost, known or not.
func TestOneThread(t *testing.T) {
	for _, m := range []Machine{someMachine, oneCore} {
		for _, p := range everyProfile(t) {
			for _, row := range everyRow(t) {
				got := Predict(m, someCosts, row, p, 1, 1)
				op := someCosts.Op
				if p.outgrows {
					op = someCosts.OpOutgrown
				}
				if got.Parallel != op || got.Serial != 0 || got.Total != op+got.Merge || !(got.Merge > 0) {
					t.Errorf("%s, %+v: %+v, want %v and the merge", p.Name, row, got, op)
				}
			}
		}
	}
}

// TestLimits: shared words never get faster than the bound of the hottest line, private
// objects scale, and everything is known up to 256 threads.
func TestLimits(t *testing.T) {
	atomic, plain := rowNamed(t, "atomic", refcount.Traits{PerObject: 4}), rowNamed(t, "plain", refcount.Traits{PerObject: 4})
	last, lastPrivate := 0.0, math.Inf(1)
	for threads := 2; threads <= 256; threads *= 2 {
		hot := Predict(someMachine, someCosts, atomic, hotProfile(), threads, threads)
		if hot.Total < last || hot.Total < someMachine.ContendedAdd || hot.Total < someMachine.hold(threads) {
			t.Errorf("hot, %d threads: %+v after %v", threads, hot, last)
		}
		private := Predict(someMachine, someCosts, atomic, privateProfile(), threads, threads)
		if !near(private.Parallel, 6/float64(threads)) || private.Serial != 0 || private.Parallel >= lastPrivate {
			t.Errorf("private, %d threads: %+v after %v", threads, private, lastPrivate)
		}
		last, lastPrivate = hot.Total, private.Parallel
		for _, p := range everyProfile(t) {
			for _, row := range everyRow(t) {
				if x := Predict(someMachine, someCosts, row, p, threads, threads); !(x.Total > 0) || math.IsInf(x.Total, 0) {
					t.Errorf("%s, %d threads, %+v: %+v", p.Name, threads, row, x)
				}
			}
		}
	}
	if x := Predict(oneCore, someCosts, atomic, hotProfile(), 2, 2); !math.IsNaN(x.Total) {
		t.Errorf("a contended line whose moves are not known: %+v", x)
	}
	if x := Predict(oneCore, someCosts, plain, privateProfile(), 2, 2); !(x.Total > 0) {
		t.Errorf("private objects need no moves: %+v", x)
	}
}

// TestProcessors: threads beyond the processors share them.
func TestProcessors(t *testing.T) {
	row := rowNamed(t, "atomic", refcount.Traits{PerObject: 4})
	few, many := Predict(someMachine, someCosts, row, hotProfile(), 4, 4), Predict(someMachine, someCosts, row, hotProfile(), 64, 4)
	if few.Parallel != many.Parallel || few.Serial != many.Serial || many.Merge <= few.Merge {
		t.Errorf("4 threads %+v, 64 threads %+v on 4 processors", few, many)
	}
}

// TestSharedLocks: private objects share locks when there are more objects than locks.
func TestSharedLocks(t *testing.T) {
	row := rowNamed(t, "mutex", refcount.Traits{PerObject: 4})
	if got := Predict(someMachine, someCosts, row, privateProfile(), 4, 4); got.Serial != 0 || got.Parallel != 6.0/4 {
		t.Errorf("4 threads: %+v, want no moves", got)
	}
	got := Predict(someMachine, someCosts, row, privateProfile(), 8, 8)
	stay8 := 1 + (19.0/3-1)/7
	moved := 255.0/256/2 + 1/stay8/256
	if min(0.5, 1/stay8) < 1/stay8 {
		moved = 0.5
	}
	if want := (6 + 3*40*moved) / 8; !near(got.Parallel, want) || !near(got.Serial, 3*someMachine.hold(8)/256) {
		t.Errorf("8 threads: %+v, want parallel %v", got, want)
	}
}

func TestFit(t *testing.T) {
	for _, c := range []struct {
		two, want float64
		source    string
	}{
		{20, 1, Fitted},
		{3, 0, Fitted},
		{1, 0, Fitted},
		{37, 2, Fitted},
		{math.NaN(), 1, Assumed},
	} {
		row := Row{PerLine: 16}.fit(someMachine, 6, c.two)
		if !near(row.Transfers, c.want) || row.Source != c.source {
			t.Errorf("two threads take %v: %+v, want %v, %s", c.two, row, c.want, c.source)
		}
	}
	if row := (Row{}).fit(someMachine, 100, 60); row.Source != Assumed {
		t.Errorf("an operation slower than a contended add: %+v", row)
	}
	if row := (Row{}).fit(oneCore, 6, 20); row.Source != Assumed {
		t.Errorf("no contended add: %+v", row)
	}
}

func everyProfile(t *testing.T) []*Profile {
	t.Helper()
	profiles, err := newProfiles(tinySizes, 1)
	if err != nil {
		t.Fatal(err)
	}
	return profiles
}

func everyRow(t *testing.T) (rows []Row) {
	t.Helper()
	for _, name := range []string{"plain", "mutex", "atomic", "padded", "cas", "rcuref", "log", "striped", "arrays", "sloppy", "refcache", "biased", "snzi"} {
		rows = append(rows, rowNamed(t, name, refcount.Traits{PerObject: 4, PerObjectHandle: 1, OwnMax: 8, PerHandle: 4096, Behind: 64}))
	}
	return append(rows, Row{PerLine: 16}.fit(someMachine, 6, 15))
}
