package model

import (
	"math"
	"math/rand/v2"
	"slices"

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
	tasks     int
	files     int
	taskFiles int // encounters of a task
}

func defaultSizes() sizes {
	return sizes{ops: 1 << 20, round: 64, zipf: 100_000, tasks: 10_000, files: 300, taskFiles: 30}
}

const theta = 0.99

// newProfiles makes the profiles and draws their operations, which the seed decides.
func newProfiles(s sizes, seed uint64) ([]*Profile, error) {
	rng := rand.New(rand.NewPCG(seed, 0))
	// Popular objects are no neighbours by number, as those first met need not be popular.
	order := rng.Perm(s.zipf)
	byRank := zipfMasses(s.zipf, theta)
	masses := make([]float64, s.zipf)
	for rank, at := range order {
		masses[at] = byRank[rank]
	}
	ranks, err := zipf.New(rng, s.zipf, theta)
	if err != nil {
		return nil, err
	}
	popular := make([]int32, s.ops)
	for i := range popular {
		popular[i] = firstRef + int32(order[ranks.Next()])
	}
	files := make([]int32, s.tasks*s.taskFiles)
	for i := range files {
		files[i] = firstRef + rng.Int32N(int32(s.files))
	}
	return []*Profile{
		{Name: "private", Summary: "each thread counts objects of its own", Ops: s.ops, Private: s.round},
		{Name: "hot", Summary: "all threads count one object", Ops: s.ops,
			masses: []float64{1}, draws: slices.Repeat([]int32{firstRef}, s.round)},
		{Name: "zipf", Summary: "popularity by Zipf's law, exponent 0.99", Ops: s.ops,
			masses: masses, draws: popular, outgrows: true},
		{Name: "tasks", Summary: "each task opens a handle, counts its files, all equally popular, and closes the handle",
			Ops: len(files), HandleOps: s.taskFiles, masses: slices.Repeat([]float64{1 / float64(s.files)}, s.files), draws: files},
	}, nil
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

// spill is the chance that the entry of an object, in a direct-mapped cache, has another.
func (p *Profile) spill(entries int) float64 {
	byEntry := make([]float64, entries)
	for i, mass := range p.masses {
		byEntry[i%entries] += mass
	}
	sum := 0.0
	for i, mass := range p.masses {
		if all := byEntry[i%entries]; all > mass {
			sum += mass * (1 - mass/all)
		}
	}
	return sum
}

// lines returns the shares of operations of the lines that threads share, largest first.
func (p *Profile) lines(row Row, processors int) []float64 {
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
		for i, mass := range p.masses {
			lines[(firstRef+i)%row.Locks] += mass
		}
	} else {
		lines = make([]float64, (len(p.masses)+row.PerLine-1)/row.PerLine)
		for i, mass := range p.masses {
			lines[i/row.PerLine] += mass
		}
	}
	slices.SortFunc(lines, func(a, b float64) int {
		switch {
		case a > b:
			return -1
		case a < b:
			return 1
		}
		return 0
	})
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
