package trace

import (
	"errors"
	"fmt"
	"math"
	"unicode"
	"unicode/utf8"
)

// ErrInvalid: a Trace that cannot be written, because a ptr is 0, a kind is not
// in the table or has an unusable name, or one object has two kinds.
var ErrInvalid = errors.New("trace: invalid trace")

// maxKindName is the longest kind name, in bytes.
const maxKindName = 255

// Encounter is one meeting of a holder and an object.
type Encounter struct {
	Holder uint64 // who met it; 0: a root of the walk
	Kind   uint16 // of the object; kind k is Trace.Kinds[k-1]
	Ptr    uint64 // the object's address, not 0
}

// Trace is a recorded stream of encounters, in the order of the walk.
type Trace struct {
	Kinds      []string
	Encounters []Encounter
}

// Objects counts the distinct objects. It takes time linear in the trace.
func (t *Trace) Objects() int {
	seen := make(map[uint64]struct{})
	for i := range t.Encounters {
		seen[t.Encounters[i].Ptr] = struct{}{}
	}
	return len(seen)
}

// Holders counts the distinct holders; 0, the roots', is none. It takes time
// linear in the trace.
func (t *Trace) Holders() int {
	seen := make(map[uint64]struct{})
	var last uint64
	for i := range t.Encounters {
		if h := t.Encounters[i].Holder; h != last {
			last = h
			if h != 0 {
				seen[h] = struct{}{}
			}
		}
	}
	return len(seen)
}

// Head returns a copy of the first n encounters (all, if there are fewer; none
// for an n below 1), with the kinds that occur in them, in the order of t.Kinds.
// A kind that is not in t.Kinds becomes 0, which is as invalid.
func (t *Trace) Head(n int) *Trace {
	n = min(max(n, 0), len(t.Encounters))
	head := &Trace{Encounters: make([]Encounter, n)}
	copy(head.Encounters, t.Encounters)

	var used [math.MaxUint16 + 1]bool
	for i := range head.Encounters {
		used[head.Encounters[i].Kind] = true
	}
	var renumbered [math.MaxUint16 + 1]uint16
	for k, name := range t.Kinds {
		if k < math.MaxUint16 && used[k+1] {
			head.Kinds = append(head.Kinds, name)
			renumbered[k+1] = uint16(len(head.Kinds))
		}
	}
	for i := range head.Encounters {
		e := &head.Encounters[i]
		e.Kind = renumbered[e.Kind]
	}
	return head
}

// checkKinds says what is wrong with a kind table, or "".
func checkKinds(kinds []string) string {
	if len(kinds) > math.MaxUint16 {
		return fmt.Sprintf("%d kinds, at most %d are possible", len(kinds), math.MaxUint16)
	}
	seen := make(map[string]struct{}, len(kinds))
	for i, name := range kinds {
		if what := checkKindName(name); what != "" {
			return fmt.Sprintf("name of kind %d: %s", i+1, what)
		}
		if _, dup := seen[name]; dup {
			return fmt.Sprintf("name of kind %d: %q is another kind's as well", i+1, name)
		}
		seen[name] = struct{}{}
	}
	return ""
}

// checkKindName says what is wrong with a name, or "".
func checkKindName(name string) string {
	switch {
	case name == "":
		return "empty, want 1 to 255 bytes"
	case len(name) > maxKindName:
		return fmt.Sprintf("%d bytes, want 1 to 255", len(name))
	case !utf8.ValidString(name):
		return fmt.Sprintf("%q is not UTF-8", name)
	}
	for _, r := range name {
		if unicode.IsControl(r) {
			return fmt.Sprintf("%q has a control character", name)
		}
	}
	return ""
}
