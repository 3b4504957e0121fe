package model

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/zipf"
)

// Profile is which objects are counted, how often, and by how many handles.
type Profile struct {
	Name    string `json:"name"`
	Summary string `json:"summary"`
	Ops     int    `json:"ops"` // of all threads

	// HandleOps is how many operations a handle lives for; 0: each thread has one handle.
	HandleOps int `json:"handle_ops,omitempty"`

	// Private is how many objects each thread has for itself; 0: all share all.
	Private int `json:"private_objects,omitempty"`

	// masses are the shares of operations of the shared objects, by objref from firstRef on.
	masses []float64

	// draws are the shared objects in the order in which they are counted.
	draws []int32

	outgrows bool // the cache: an operation takes c'
}

// firstRef begins a cache line of counts, and so do the objects of each thread.
const firstRef = 64

// sizes are the sizes of the profiles.
type sizes struct {
	ops       int // of all threads, in rounds
	round     int // operations between two looks at the number of rounds; private objects
	zipf      int // objects
	zipfUsers int // operations for each
	tasks     int
	files     int
	taskFiles int // encounters of a task
}

func defaultSizes() sizes {
	return sizes{ops: 1 << 20, round: 64, zipf: 100_000, zipfUsers: 8, tasks: 10_000, files: 300, taskFiles: 32}
}

const theta = 0.99

// newProfiles makes the profiles and draws their operations, which the seed decides. Those
// with the name of a profile of package bench are the same workload.
func newProfiles(s sizes, seed uint64) ([]*Profile, error) {
	rng := rand.New(rand.NewPCG(seed, 0))
	popularity, popular, err := zipfDraws(rng, s.zipf, s.zipf*s.zipfUsers)
	if err != nil {
		return nil, err
	}
	ofFiles, files, err := zipfDraws(rng, s.files, s.tasks*s.taskFiles)
	if err != nil {
		return nil, err
	}
	n := bench.Grouped[int]
	return []*Profile{
		{Name: "private", Ops: s.ops, Private: s.round,
			Summary: fmt.Sprintf("each thread counts %d objects of its own, which stay in the cache; count-private has 100,000, which do not", s.round)},
		{Name: "count-hot", Ops: s.ops, masses: []float64{1}, draws: slices.Repeat([]int32{firstRef}, s.round),
			Summary: "all threads count one object; as crbench run's, with fewer operations"},
		{Name: "count-zipf", Ops: len(popular), masses: popularity, draws: popular, outgrows: true,
			Summary: fmt.Sprintf("%d users for each of %s objects, Zipf 0.99; as crbench run's", s.zipfUsers, n(s.zipf))},
		{Name: "tasks", Ops: len(files), HandleOps: s.taskFiles, masses: ofFiles, draws: files,
			Summary: fmt.Sprintf("%s tasks open a handle each, count %d of %d files, Zipf 0.99, and close it at once; count-10k-tasks keeps all handles open until the end",
				n(s.tasks), s.taskFiles, s.files)},
	}, nil
}

// zipfDraws returns the popularity of n objects, and draws some. Popular objects are no
// neighbours by number, as those first met need not be popular.
func zipfDraws(rng *rand.Rand, n, draws int) (masses []float64, refs []int32, err error) {
	order := rng.Perm(n)
	masses = make([]float64, n)
	for rank, mass := range zipfMasses(n, theta) {
		masses[order[rank]] = mass
	}
	ranks, err := zipf.New(rng, n, theta)
	if err != nil {
		return nil, nil, err
	}
	refs = make([]int32, draws)
	for i := range refs {
		refs[i] = firstRef + int32(order[ranks.Next()])
	}
	return masses, refs, nil
}

// zipfMasses returns the probabilities of n ranks.
func zipfMasses(n int, theta float64) []float64 {
	masses := make([]float64, n)
	sum := 0.0
	for i := range masses {
		masses[i] = math.Pow(float64(i+1), -theta)
		sum += masses[i]
	}
	for i := range masses {
		masses[i] /= sum
	}
	return masses
}

// objects returns how many there are.
func (p *Profile) objects(threads int) int {
	if p.Private > 0 {
		return p.Private * threads
	}
	return len(p.masses)
}

// handles returns how many are opened in all.
func (p *Profile) handles(threads int) int {
	if p.HandleOps > 0 {
		return p.Ops / p.HandleOps
	}
	return threads
}

// perHandle returns how many objects a handle is expected to count.
func (p *Profile) perHandle(threads int) float64 {
	if p.Private > 0 {
		return float64(p.Private)
	}
	sum := 0.0
	for _, mass := range p.masses {
		sum += p.met(mass, threads)
	}
	return sum
}

// met is the chance that a handle meets what has this share of the operations.
func (p *Profile) met(mass float64, threads int) float64 {
	n := float64(p.Ops) / float64(p.handles(threads))
	return -math.Expm1(n * math.Log1p(-min(mass, 1))) // 1 - (1-mass)^n
}

// owners is how many handles an object may have as its owner.
func (p *Profile) owners(threads, processors int) float64 {
	return max(float64(processors), float64(p.handles(threads)))
}

// visitsOfBatches is how often an operation comes to the shared count of each object, if a
// handle does so with the first and then with each so-many-th of an object.
func (p *Profile) visitsOfBatches(batch, threads int) []float64 {
	visits := make([]float64, len(p.masses))
	ops := float64(p.Ops) / float64(p.handles(threads))
	b := float64(batch)
	for i, mass := range p.masses {
		// Half of a batch is left in the mean, of an object with many operations.
		met := p.met(mass, threads)
		visits[i] = max(met, mass*ops/b+met*(b-1)/(2*b)) / ops
	}
	return visits
}

// visitsAgain are those of visitsOfBatches that are not a handle's first of an object.
func (p *Profile) visitsAgain(visits []float64, threads int) []float64 {
	again := make([]float64, len(visits))
	ops := float64(p.Ops) / float64(p.handles(threads))
	for i, mass := range p.masses {
		again[i] = max(0, visits[i]-p.met(mass, threads)/ops)
	}
	return again
}

// visitsOfEntries is the same for handles with a direct-mapped cache of deltas: an operation
// comes to the object that had the entry before, and each period to all in the cache.
func (p *Profile) visitsOfEntries(entries, period int) []float64 {
	byEntry := make([]float64, entries)
	for i, mass := range p.masses {
		byEntry[i%entries] += mass
	}
	visits := make([]float64, len(p.masses))
	for i, mass := range p.masses {
		if all := byEntry[i%entries]; all > 0 {
			full := -math.Expm1(float64(period) * math.Log1p(-min(all, 1)))
			visits[i] = mass * (max(0, 1-mass/all) + full/(all*float64(period)))
		}
	}
	return visits
}

func scaled(xs []float64, by float64) []float64 {
	ys := make([]float64, len(xs))
	for i, x := range xs {
		ys[i] = x * by
	}
	return ys
}

func descending(a, b float64) int { return cmp.Compare(b, a) }

// lines returns the visits to the lines that threads share, by those to each object, most
// visited first.
func (p *Profile) lines(row Row, visits []float64, perLine, processors int) []float64 {
	if p.Private > 0 {
		if row.Locks == 0 {
			return nil
		}
		n := min(row.Locks, p.Private*processors)
		return slices.Repeat([]float64{1 / float64(n)}, n)
	}
	var lines []float64
	if row.Locks > 0 {
		lines = make([]float64, row.Locks)
		for i, v := range visits {
			lines[(firstRef+i)%row.Locks] += v
		}
	} else {
		lines = make([]float64, (len(visits)+perLine-1)/perLine)
		for i, v := range visits {
			lines[i/perLine] += v
		}
	}
	slices.SortFunc(lines, descending)
	return lines
}

// sharers is how many processors change a line.
func (p *Profile) sharers(row Row, processors int) float64 {
	if p.Private == 0 {
		return float64(processors)
	}
	if row.Locks == 0 {
		return 1
	}
	return max(1, float64(p.Private*processors)/float64(row.Locks))
}
