// Package attribution says what the processor time of a target went into, from a CPU
// profile.
//
// # Terminology
//
//   - A sample is where a thread was when the profiler looked: a stack. It looks 100 times
//     per second of processor time.
//   - A timed sample carries the label [PhaseLabel], which the harness gives to its threads
//     while a timed phase runs. Only these count: making the workload, making the table and
//     verification are not in the shares.
//   - A share is the part of the timed samples that belongs to a [Category].
//
// # How a sample is classified
//
// The walk goes up the stack from the innermost frame, through inlined frames too, and the
// first frame decides that has a rule with a category (rules.go); frames like memmove or an
// atomic operation are passed by. A sample that no frame decides is of Other.
//
// # Limits
//
// The kernels in assembly hash, search and insert in one function. They are split by the
// line of the assembly (kernels.go, generated from its labels). Hash there is all up to the
// first look at the home group: the product, the entry of the directory, and asking for the
// group's cache line. A processor that waits for memory is seen at the instruction that
// needs the value, or at one shortly after, so a boundary is no sharper than that. Go code
// is split by functions; what a compiler mixes of two inlined ones is split as mixed.
//
// The operating system's work on a page fault is seen at the instruction that touched the
// page: first touches of a table's memory are in Insert or Grow, not in Runtime. The
// collector's own workers and what the scheduler does between goroutines have no label and
// are left out; a profile of contention tells how long threads waited.
package attribution

import (
	"slices"
	"strings"

	"github.com/google/pprof/profile"
)

// Category is what time went into.
type Category string

// The categories, in the order in which people are shown them.
const (
	Hash     Category = "hash"      // from an address to where the search begins
	Search   Category = "search"    // looking for an entry
	Insert   Category = "insert"    // adding one, and its record
	LockWait Category = "lock wait" // taking locks, giving them back, and waiting
	Count    Category = "count"     // users: counts and logs
	Grow     Category = "grow"      // replacing tables
	Harness  Category = "harness"   // the loop around the target, the same for all
	Runtime  Category = "runtime"   // Go's: allocation, collection, stacks
	Other    Category = "other"
)

// Categories returns all categories in the order in which people are shown them.
func Categories() []Category {
	return []Category{Hash, Search, Insert, LockWait, Count, Grow, Harness, Runtime, Other}
}

// PhaseLabel is the label of timed samples; its value is the name of the phase.
const PhaseLabel = "phase"

// Timed returns a copy of p that has its timed samples only.
func Timed(p *profile.Profile) *profile.Profile { return Only(p, timed) }

// Only returns a copy of p that has only the samples that keep says.
func Only(p *profile.Profile, keep func(*profile.Sample) bool) *profile.Profile {
	q := p.Copy()
	q.Sample = slices.DeleteFunc(q.Sample, func(s *profile.Sample) bool { return !keep(s) })
	return q.Compact()
}

func timed(s *profile.Sample) bool { return len(s.Label[PhaseLabel]) > 0 }

// Shares returns how many timed samples a CPU profile has, and the share of each category
// in them; those without any are absent.
func Shares(p *profile.Profile) (samples int64, shares map[Category]float64) {
	counts := map[Category]int64{}
	c := classifier{}
	for _, s := range p.Sample {
		if !timed(s) || len(s.Value) == 0 {
			continue
		}
		n := s.Value[0]
		category, _ := c.sample(s)
		counts[category] += n
		samples += n
	}
	if samples == 0 {
		return 0, map[Category]float64{}
	}
	shares = map[Category]float64{}
	for category, n := range counts {
		shares[category] = float64(n) / float64(samples)
	}
	return samples, shares
}

// Undecided returns the stacks of the timed samples that no rule decides, innermost frame
// first, with their numbers of samples: what rules.go lacks.
func Undecided(p *profile.Profile) map[string]int64 {
	stacks := map[string]int64{}
	c := classifier{}
	for _, s := range p.Sample {
		if category, names := c.sample(s); timed(s) && category == Other {
			stacks[strings.Join(names, " < ")] += s.Value[0]
		}
	}
	return stacks
}

// classifier remembers what the rules say of a function.
type classifier map[string]Category

// sample returns the category of a sample, and the functions up to the one that decides.
func (c classifier) sample(s *profile.Sample) (category Category, names []string) {
	for _, location := range s.Location {
		for _, line := range location.Line {
			if line.Function == nil {
				continue
			}
			name := strings.TrimPrefix(line.Function.Name, modulePrefix)
			names = append(names, name)
			// Where there is no assembly, functions of these names are written in Go.
			if parts, ok := kernels[name]; ok && strings.HasSuffix(line.Function.Filename, ".s") {
				return kernelCategory(parts, line.Line), names
			}
			category, ok := c[name]
			if !ok {
				category = classify(name)
				c[name] = category
			}
			if category != undecided {
				return category, names
			}
		}
	}
	return Other, names
}

// kernelPart is a part of a kernel, from a line on.
type kernelPart struct {
	line     int64
	category Category
}

//go:generate go run ./internal/gen

func kernelCategory(parts []kernelPart, line int64) Category {
	category := parts[0].category
	for _, p := range parts {
		if p.line > line {
			break
		}
		category = p.category
	}
	return category
}
