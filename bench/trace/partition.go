package trace

import (
	"cmp"
	"container/heap"
	"slices"
)

// Partition deals the encounters out to parts walkers, so that several threads
// can replay one trace: every encounter goes to exactly one part, each part
// keeps the order of the walk, and all encounters of a holder are in one part,
// as a real holder is walked by one thread.
//
// The roots, holder 0, are no holder: nobody walks them together. Theirs are
// dealt out one by one, to level what the holders left.
//
// Parts are balanced by the longest-first rule: the holders, largest first, then
// the roots, each go to the part with the fewest encounters so far. A part then
// exceeds another by no more than the largest holder, and where enough holders
// are small, as in a heap, by one encounter. Holders of equal size are dealt in
// order of appearance, so all parts are at about the same point of the walk at
// the same time. The result depends on the trace and parts alone.
//
// It returns nil if parts is below 1. There may be empty parts. The parts do not
// share memory with t.
func (t *Trace) Partition(parts int) [][]Encounter {
	if parts < 1 {
		return nil
	}
	groups, members := t.groups()

	order := make([]int, len(members))
	for g := range order {
		order[g] = g
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(members[b], members[a]) })

	loads := make(partLoads, parts)
	for i := range loads {
		loads[i].part = i
	}
	partOf := make([]int, len(members))
	for _, g := range order {
		partOf[g] = loads.give(members[g])
	}
	rootParts := make([]int, 0)
	for _, g := range groups {
		if g < 0 {
			rootParts = append(rootParts, loads.give(1))
		}
	}

	split := make([][]Encounter, parts)
	for _, l := range loads {
		split[l.part] = make([]Encounter, 0, l.encounters)
	}
	for i, g := range groups {
		var part int
		if g < 0 {
			part, rootParts = rootParts[0], rootParts[1:]
		} else {
			part = partOf[g]
		}
		split[part] = append(split[part], t.Encounters[i])
	}
	return split
}

// groups numbers the holders in order of appearance. It returns the number for
// each encounter, -1 for roots, and how many encounters each holder has.
func (t *Trace) groups() (groups, members []int) {
	groups = make([]int, len(t.Encounters))
	numbers := make(map[uint64]int)
	for i := range t.Encounters {
		h := t.Encounters[i].Holder
		if h == 0 {
			groups[i] = -1
			continue
		}
		g, known := numbers[h]
		if !known {
			g = len(members)
			numbers[h] = g
			members = append(members, 0)
		}
		groups[i] = g
		members[g]++
	}
	return groups, members
}

// partLoads is a heap of the parts, the one with the fewest encounters on top;
// among equals the first, so that the result is reproducible.
type partLoads []struct{ part, encounters int }

// give adds n encounters to the part with the fewest, and returns that part.
func (l partLoads) give(n int) (part int) {
	part = l[0].part
	l[0].encounters += n
	heap.Fix(&l, 0)
	return part
}

func (l partLoads) Len() int { return len(l) }
func (l partLoads) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(l[i].encounters, l[j].encounters), cmp.Compare(l[i].part, l[j].part)) < 0
}
func (l partLoads) Swap(i, j int) { l[i], l[j] = l[j], l[i] }
func (l partLoads) Push(any)      { panic("trace: parts are never added") }
func (l partLoads) Pop() any      { panic("trace: parts are never removed") }
