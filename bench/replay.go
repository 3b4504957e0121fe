package bench

import "fmt"

// newReplay makes the workload of a trace: its encounters in its order, cut by
// holder so that each thread walks what whole holders hold.
func newReplay(p Profile, s Size) (*Workload, error) {
	if s.Trace == nil {
		return nil, fmt.Errorf("%w %q: it replays a trace, and there is none", ErrProfile, p.Name)
	}
	if len(p.Phases) != 1 || p.Phases[0].Op != Encounter {
		return nil, fmt.Errorf("%w %q: a replay is one phase of encounters", ErrProfile, p.Name)
	}
	if len(s.Trace.Encounters) == 0 {
		return nil, fmt.Errorf("%w %q: the trace has no encounters", ErrProfile, p.Name)
	}
	ph := phaseOps{Phase: p.Phases[0]}
	for _, encounters := range s.Trace.Partition(s.Threads) {
		n := len(encounters)
		cut := part{ptrs: make([]uint64, n), kinds: make([]uint16, n), refs: make([]int32, n)}
		for i, e := range encounters {
			cut.ptrs[i], cut.kinds[i] = e.Ptr, e.Kind
		}
		ph.parts = append(ph.parts, cut)
	}
	objects := s.Trace.Objects()
	return &Workload{
		Profile: p, Objects: objects, Distinct: objects, Threads: s.Threads,
		Kinds: s.Trace.Kinds, phases: []phaseOps{ph},
	}, nil
}
