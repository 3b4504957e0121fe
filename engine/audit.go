package engine

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/objhash/objhash/refcount"
)

// AuditReport is what [Checkpoint.Audit] has found: everything, not the first of it.
// An object may be under more than one heading. In JSON names are lower-case, an
// address is a string in hexadecimal, a key is in base64, and a heading without
// entries is left out.
type AuditReport struct {
	Objects        int  `json:"objects"`         // that were looked at
	HoldersTracked bool `json:"holders_tracked"` // entries name their holders

	// LeaksOut: fewer users were counted than the object has references. Somebody
	// outside of what is being saved holds it.
	LeaksOut []Entry `json:"leaks_out,omitempty"`

	// LeaksIn: more users were counted than the object has references. A reference
	// went away meanwhile, or was met twice.
	LeaksIn []Entry `json:"leaks_in,omitempty"`

	// Late: the object was first met after EndCollect. Its users were not counted, so
	// it is under neither heading above.
	Late []Entry `json:"late,omitempty"`

	// NotDumped: the object was met before EndCollect, and no Dump of it has
	// succeeded yet. Objects met by key, which Dump does not take, are never here.
	NotDumped []Entry `json:"not_dumped,omitempty"`
}

// Entry is one object in a report.
type Entry struct {
	Ref      ObjRef   `json:"ref"`
	Ptr      Ptr      `json:"ptr,omitzero"`  // 0 if it was met by key
	Key      []byte   `json:"key,omitempty"` // nil if it has an address
	Kind     Kind     `json:"kind"`
	KindName string   `json:"kind_name"`
	Counted  int64    `json:"counted"`           // users: encounters in the collect pass
	Audited  bool     `json:"audited"`           // Real is known: the kind has Users, the object an address
	Real     int64    `json:"real"`              // references, less the context's own; 0 if not known
	Holders  []Holder `json:"holders,omitempty"` // who met it, by ID; none unless tracked
}

// Holder is one of those who met an object.
type Holder struct {
	ID    uint64 `json:"id"`    // as given to Dumper.SetHolder
	Users int64  `json:"users"` // its encounters with the object
}

// MarshalText returns p in hexadecimal: JSON's numbers are exact up to 2^53 only.
func (p Ptr) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%#x", uint64(p)), nil }

// UnmarshalText is the inverse of MarshalText.
func (p *Ptr) UnmarshalText(text []byte) error {
	v, err := strconv.ParseUint(string(text), 0, 64)
	if err != nil {
		return fmt.Errorf("%w: address %q", ErrInvalid, text)
	}
	*p = Ptr(v)
	return nil
}

// Audit compares, for each object whose kind has a Users function, the users that were
// counted with the references there really are, and reports all that differ. After
// [Checkpoint.EndCollect] it also reports objects that came late or were not dumped.
// With Options.TrackHolders each entry names the object's holders.
//
// The context's own reference, which Grab took, is not counted on either side. Objects
// met by key are not compared, nor are released ones; an object is held while its count is
// asked for. Counts, and holders, are exact once all handles that
// have met something are closed; what open ones have met lately may be missing.
//
// Users is called once for each object, from this goroutine and under no lock; a panic
// in it travels on. Time is proportional to the objects, and to all encounters if there
// are holders to name; memory to the report, and then to the number of SetHolder calls,
// about 80 bytes each. A closed context, or one that is closed meanwhile, has an empty
// report.
func (c *Checkpoint) Audit() *AuditReport {
	if c.isClosed() {
		return &AuditReport{}
	}
	r := &AuditReport{HoldersTracked: c.holders.tracked}
	a := auditor{c: c, r: r, pass: c.leases.pastCollect()}
	if c.holds.counter != nil {
		a.hold = c.holds.counter.Handle()
		defer a.hold.Close()
	}
	for ref, o := range c.All() {
		r.Objects++
		a.object(ref, o)
	}
	c.addHolders(r)
	if c.isClosed() {
		return &AuditReport{}
	}
	runtime.KeepAlive(c)
	return r
}

// auditor is an audit under way.
type auditor struct {
	c    *Checkpoint
	r    *AuditReport
	pass *collected      // nil: the collect pass has not been ended
	hold refcount.Handle // nil: references are held until Close
}

// users asks for an object's real reference count, with the object held meanwhile. It
// returns false if the object has been released.
func (a *auditor) users(ref ObjRef, p Ptr, users func(Ptr) int64) (int64, bool) {
	if a.hold != nil {
		if !a.hold.TryInc(int32(ref)) {
			return 0, false
		}
		defer a.hold.Dec(int32(ref))
	}
	return users(p), true
}

// object adds what is to be said about one object.
func (a *auditor) object(ref ObjRef, o Object) {
	c, r, pass := a.c, a.r, a.pass
	e := Entry{Ref: ref, Ptr: o.Ptr, Key: o.Key, Kind: o.Kind, Counted: o.Users}
	ops := &c.kinds[o.Kind-1]
	if ops.Users != nil && o.Ptr != 0 {
		e.Real, e.Audited = a.users(ref, o.Ptr, ops.Users)
	}
	if e.Audited && ops.Grab != nil {
		e.Real--
	}
	late := pass != nil && !pass.has(ref)
	add := func(heading *[]Entry) {
		e.KindName = c.kindName(o.Kind)
		*heading = append(*heading, e)
	}
	switch {
	case late:
		add(&r.Late)
	case e.Audited && e.Counted < e.Real:
		add(&r.LeaksOut)
	case e.Audited && e.Counted > e.Real:
		add(&r.LeaksIn)
	}
	if pass != nil && !late && o.Flags&(Dumped|Keyed) == 0 {
		add(&r.NotDumped)
	}
}

// EachEntry calls f for every entry, which it may change.
func (r *AuditReport) EachEntry(f func(*Entry)) {
	for _, h := range r.headings() {
		for i := range *h.entries {
			f(&(*h.entries)[i])
		}
	}
}

// findings returns the number of entries under all headings.
func (r *AuditReport) findings() (n int) {
	for _, h := range r.headings() {
		n += len(*h.entries)
	}
	return n
}

// headings returns the lists of entries with what they mean.
func (r *AuditReport) headings() []heading {
	return []heading{
		{"leaks out: held from outside of the checkpoint as well", &r.LeaksOut},
		{"leaks in: met more often than it is held", &r.LeaksIn},
		{"late: first met after the collect pass", &r.Late},
		{"not dumped: collected, but its state was not saved", &r.NotDumped},
	}
}

type heading struct {
	title   string
	entries *[]Entry
}

// addHolders names the holders of all objects in r.
func (c *Checkpoint) addHolders(r *AuditReport) {
	reported := map[ObjRef]int{}
	for _, h := range r.headings() {
		for _, e := range *h.entries {
			if _, twice := reported[e.Ref]; !twice {
				reported[e.Ref] = len(reported)
			}
		}
	}
	if !r.HoldersTracked || len(reported) == 0 {
		return
	}
	holders := make([][]Holder, len(reported))
	for _, run := range c.holders.walk(map[uint64]int{}) {
		for _, ref := range run.refs {
			if i, ok := reported[ObjRef(ref)]; ok {
				holders[i] = addUser(holders[i], run.holder)
			}
		}
	}
	for _, h := range r.headings() {
		for i := range *h.entries {
			e := &(*h.entries)[i]
			e.Holders = holders[reported[e.Ref]]
		}
	}
}

// addUser adds one user to the last of holders, or to a new one that comes after it.
func addUser(holders []Holder, id uint64) []Holder {
	if n := len(holders); n > 0 && holders[n-1].ID == id {
		holders[n-1].Users++
		return holders
	}
	return append(holders, Holder{id, 1})
}

// OK tells whether nothing was found.
func (r *AuditReport) OK() bool {
	return !slices.ContainsFunc(r.headings(), func(h heading) bool { return len(*h.entries) > 0 })
}

// Allow says which objects need not be reported: those that are known to be shared
// with the rest of the system.
type Allow struct {
	Kinds []Kind
	Refs  []ObjRef
}

// Without returns a copy of r without the entries of objects that a allows.
func (r *AuditReport) Without(a Allow) *AuditReport {
	allowed := func(e Entry) bool { return slices.Contains(a.Kinds, e.Kind) }
	if len(a.Refs) > 0 {
		refs := make(map[ObjRef]bool, len(a.Refs))
		for _, ref := range a.Refs {
			refs[ref] = true
		}
		allowed = func(e Entry) bool { return refs[e.Ref] || slices.Contains(a.Kinds, e.Kind) }
	}
	left := *r
	for _, h := range left.headings() {
		*h.entries = slices.DeleteFunc(slices.Clone(*h.entries), allowed)
	}
	return &left
}

// String returns what WriteText writes.
func (r *AuditReport) String() string {
	var b strings.Builder
	_ = r.WriteText(&b) // a Builder takes everything
	return b.String()
}

// WriteText writes r for a person to read: one paragraph for each heading that has
// entries, in which each object is followed by all of its holders. Errors are w's.
func (r *AuditReport) WriteText(w io.Writer) error {
	text := fmt.Appendf(nil, "audit of %d objects: ", r.Objects)
	if r.OK() {
		text = append(text, "nothing found\n"...)
	} else {
		text = fmt.Appendf(text, "%d leaks out, %d leaks in, %d late, %d not dumped\n",
			len(r.LeaksOut), len(r.LeaksIn), len(r.Late), len(r.NotDumped))
	}
	for _, h := range r.headings() {
		if len(*h.entries) == 0 {
			continue
		}
		text = fmt.Appendf(text, "\n%s\n", h.title)
		for _, e := range *h.entries {
			text = e.appendText(text)
			if _, err := w.Write(text); err != nil {
				return err
			}
			text = text[:0]
		}
	}
	_, err := w.Write(text)
	return err
}

func (e *Entry) appendText(text []byte) []byte {
	text = fmt.Appendf(text, "  %s ", e.KindName)
	if e.Ptr != 0 {
		text = fmt.Appendf(text, "%#x", uint64(e.Ptr))
	} else {
		text = fmt.Appendf(text, "key %q", e.Key)
	}
	text = fmt.Appendf(text, ", objref %d: %d counted", e.Ref, e.Counted)
	if e.Audited {
		text = fmt.Appendf(text, ", %d real", e.Real)
	}
	text = append(text, '\n')
	for _, h := range e.Holders {
		text = fmt.Appendf(text, "    holder %d: %d\n", h.ID, h.Users)
	}
	return text
}
