package bench

import (
	"fmt"

	"github.com/objhash/objhash/bench/target"
)

// verifier checks one table from the objrefs it answered and from its state
// after the last phase. It keeps what it learns by objref, in arrays: objrefs
// are dense, so that costs little for the largest tables too.
//
// That each objref belongs to one address is checked operation by operation.
// Then one objref per address follows from counting: as many objrefs as there
// are addresses, and each address has at least one.
type verifier struct {
	w      *Workload
	counts []int // by phase: firsts or found, as the target counted them

	seen   []seen          // up to dense: by objref
	dense  int             // objrefs below it are indices of seen
	sparse map[int32]int32 // places in seen of all others
	refs   int             // distinct objrefs
}

// seen is what encounters told of the objref with that index.
type seen struct {
	ptr   uint64 // 0: none so far
	users uint32
	kind  uint16
}

func newVerifier(w *Workload) *verifier { return &verifier{w: w} }

func (v *verifier) verify(t target.Target) error {
	v.dense = 2*v.w.Distinct + target.LeaseSize*(v.w.Threads+1)
	v.seen = make([]seen, v.dense)
	v.sparse = map[int32]int32{}
	firsts, met := 0, false
	for i := range v.w.phases {
		ph := &v.w.phases[i]
		var err error
		switch ph.Op {
		case Encounter:
			err = v.encounters(ph)
			firsts += v.counts[i]
			met = true
		case Audit, Snapshot, Drop: // verified where they are done
		default:
			err = v.lookups(ph, v.counts[i])
		}
		if err != nil {
			return fmt.Errorf("phase %q: %w", ph.Name, err)
		}
	}
	if !met {
		return nil
	}
	if v.refs != v.w.Distinct {
		return v.twice()
	}
	if firsts != v.w.Distinct {
		return fmt.Errorf("%d encounters were first, of %d objects", firsts, v.w.Distinct)
	}
	return v.table(t)
}

// at returns the place of an objref, which may be one that was never seen.
func (v *verifier) at(ref int32) *seen {
	if ref > 0 && int(ref) < v.dense {
		return &v.seen[ref]
	}
	i, ok := v.sparse[ref]
	if !ok {
		i = int32(len(v.seen))
		v.seen = append(v.seen, seen{})
		v.sparse[ref] = i
	}
	return &v.seen[i]
}

func (v *verifier) encounters(ph *phaseOps) error {
	for _, p := range ph.parts {
		for i, ptr := range p.ptrs {
			ref := p.refs[i]
			if ref <= 0 {
				return fmt.Errorf("an encounter of %#x got objref %d", ptr, ref)
			}
			s := v.at(ref)
			switch s.ptr {
			case ptr:
			case 0:
				s.ptr, s.kind = ptr, p.kinds[i]
				v.refs++
			default:
				return fmt.Errorf("%#x and %#x both got objref %d", s.ptr, ptr, ref)
			}
			s.users++
		}
	}
	return nil
}

func (v *verifier) lookups(ph *phaseOps, count int) error {
	found, want := 0, 0
	for _, p := range ph.parts {
		if ph.Draw != Absent {
			want += len(p.ptrs)
		}
		for i, ptr := range p.ptrs {
			ref := p.refs[i]
			if ref != 0 {
				found++
			}
			switch {
			case ph.Draw == Absent && ref != 0:
				return fmt.Errorf("a lookup of %#x, which is absent, got objref %d", ptr, ref)
			case ph.Draw != Absent && ref == 0:
				return fmt.Errorf("a lookup did not find %#x", ptr)
			case ph.Draw != Absent && v.at(ref).ptr != ptr:
				return fmt.Errorf("a lookup of %#x got objref %d, which encounters of %#x got", ptr, ref, v.at(ref).ptr)
			}
		}
	}
	if count != want {
		return fmt.Errorf("lookups counted %d found, of %d", count, want)
	}
	return nil
}

// twice names an address with two objrefs. There is one, for there are more
// objrefs than addresses.
func (v *verifier) twice() error {
	refs := make(map[uint64]int32, v.w.Distinct)
	for i := range v.w.phases {
		ph := &v.w.phases[i]
		if ph.Op != Encounter {
			continue
		}
		for _, p := range ph.parts {
			for i, ptr := range p.ptrs {
				if old := refs[ptr]; old != 0 && old != p.refs[i] {
					return fmt.Errorf("%#x got objref %d and objref %d", ptr, old, p.refs[i])
				}
				refs[ptr] = p.refs[i]
			}
		}
	}
	return fmt.Errorf("%d objrefs for %d objects", v.refs, v.w.Distinct)
}

// table checks the state that the phases left.
func (v *verifier) table(t target.Target) error {
	if n := t.Len(); n != v.w.Distinct {
		return fmt.Errorf("the table counts %d objects, of %d", n, v.w.Distinct)
	}
	sparse := make(map[int32]int32, len(v.sparse)) // by place: the objref
	for ref, i := range v.sparse {
		sparse[i] = ref
	}
	recorder, _ := t.(target.Recorder)
	for i := range v.seen {
		s, ref := &v.seen[i], int32(i)
		if r, ok := sparse[ref]; ok {
			ref = r
		}
		if s.ptr == 0 {
			continue
		}
		if got, ok := t.Lookup(s.ptr); !ok || got != ref {
			return fmt.Errorf("at the end the table has objref %d (found: %v) for %#x; encounters got %d", got, ok, s.ptr, ref)
		}
		if recorder == nil {
			continue
		}
		ptr, kind, users, ok := recorder.Object(ref)
		if !ok || ptr != s.ptr || kind != s.kind || users != int64(s.users) {
			return fmt.Errorf("objref %d is recorded as %#x, kind %d, %d users (found: %v); encountered were %#x, kind %d, %d users",
				ref, ptr, kind, users, ok, s.ptr, s.kind, s.users)
		}
	}
	for _, ptr := range v.w.unmet {
		if ref, ok := t.Lookup(ptr); ok || ref != 0 {
			return fmt.Errorf("at the end the table has objref %d for %#x, which was never added", ref, ptr)
		}
	}
	return nil
}
