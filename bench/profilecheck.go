package bench

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/objhash/objhash/bench/keys"
)

// profileCheck makes a profile of a document, and collects what is wrong with it.
type profileCheck struct {
	file     *profileSource // the one asked for
	from     map[string]*profileSource
	doc      document
	mistakes []*FileError
}

// The largest numbers that a profile can have, besides those of a run.
const (
	phasesMax    = 64
	perObjectMax = 1_000_000
	rateMax      = 1e9
	textMax      = 200
)

func (c *profileCheck) error() error {
	slices.SortStableFunc(c.mistakes, func(a, b *FileError) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(a.Message, b.Message))
	})
	errs := make([]error, len(c.mistakes))
	for i, m := range c.mistakes {
		errs[i] = m
	}
	return errors.Join(errs...)
}

// bad notes a mistake where the key was given. A person who inherits it from a canonical
// profile can only change their own file.
func (c *profileCheck) bad(key, format string, args ...any) {
	top := key
	if i := strings.IndexAny(key, ".["); i >= 0 {
		top = key[:i]
	}
	s, what := c.from[top], fmt.Sprintf(format, args...)
	switch {
	case s == nil:
		s = c.file
	case s.canonical && !c.file.canonical:
		what += fmt.Sprintf(" (inherited from %s)", s.path)
		at := c.file.index.at("inherits")
		c.mistakes = append(c.mistakes, &FileError{c.file.path, at.line, at.column, key + ": " + what})
		return
	}
	at := s.index.at(key)
	c.mistakes = append(c.mistakes, &FileError{s.path, at.line, at.column, key + ": " + what})
}

// or is what a key says, or what goes without saying.
func or[T any](given *T, otherwise T) T {
	if given == nil {
		return otherwise
	}
	return *given
}

func (c *profileCheck) profile() Profile {
	d := &c.doc
	p := Profile{
		Summary: or(d.Description, ""), Objects: or(d.Objects, 0), OneSize: or(d.FixedSize, false), Presized: or(d.Presized, false),
		Kinds: d.Kinds, KindShares: d.KindShares, Threads: d.Threads, Trials: or(d.Trials, 0), RatePerS: or(d.RatePerS, 0),
		Trace: or(d.Trace, ""),
	}
	c.text("description", p.Summary)
	c.seed(&p)
	c.phases(&p)
	c.objects(&p)
	c.kinds(&p)
	c.addresses(&p)
	c.threads(p.Threads)
	if d.Trials != nil && (p.Trials < 1 || p.Trials > TrialsMax) {
		c.bad("trials", "%d; want 1 to %s", p.Trials, grouped(TrialsMax))
	}
	if !(p.RatePerS >= 0 && p.RatePerS <= rateMax) {
		c.bad("rate_per_s", "%v; want 0, for a closed loop, or up to %s operations per second", p.RatePerS, grouped(int(rateMax)))
	}
	if d.Trace != nil && !p.recorded() {
		c.bad("trace", "no phase takes its operations from a trace; give one draw = %q, or leave the trace out", Recorded)
	}
	if d.Trace != nil && p.Trace == "" {
		c.bad("trace", "want a file's name; leave it out to have the embedded trace")
	}
	c.thresholds(&p)
	if len(c.mistakes) == 0 && !p.recorded() {
		if err := enoughMemory(p, p.Objects); err != nil {
			c.bad("objects", "%v; want fewer objects, or fewer operations in phases", err)
		}
	}
	return p
}

func (c *profileCheck) text(key, text string) {
	switch {
	case text == "":
		c.bad(key, "there is none; say in one line what is measured")
	case len(text) > textMax || strings.ContainsFunc(text, unicode.IsControl):
		c.bad(key, "want one line of at most %d bytes", textMax)
	}
}

func (c *profileCheck) seed(p *Profile) {
	const usual = 1
	seed := or(c.doc.Seed, usual)
	if seed < 0 {
		c.bad("seed", "%d; want 0 or more", seed)
	}
	p.Seed = uint64(max(seed, 0))
}

func (c *profileCheck) objects(p *Profile) {
	switch {
	case p.recorded():
		if c.doc.Objects != nil {
			c.bad("objects", "a replay has those of its trace; leave them out")
		}
		if p.OneSize {
			c.bad("fixed_size", "a replay has the size of its trace; leave it out")
		}
	case c.doc.Objects == nil:
		c.bad("objects", "there are none; want 1 to %s", grouped(ObjectsMax))
	case p.Objects < 1 || p.Objects > ObjectsMax:
		c.bad("objects", "%d; want 1 to %s", p.Objects, grouped(ObjectsMax))
	}
}

func (c *profileCheck) kinds(p *Profile) {
	if p.counts() || p.recorded() {
		for key, given := range map[string]bool{"kinds": c.doc.Kinds != nil, "kind_shares": c.doc.KindShares != nil} {
			if given {
				c.bad(key, "what is counted, or recorded, has none of the profile's; leave them out")
			}
		}
		return
	}
	if len(p.Kinds) < 1 || len(p.Kinds) > math.MaxUint16 {
		c.bad("kinds", "%d of them; want 1 to %s", len(p.Kinds), grouped(math.MaxUint16))
	}
	met := map[string]bool{}
	for _, name := range p.Kinds {
		if name == "" || len(name) > textMax || strings.ContainsFunc(name, unicode.IsControl) {
			c.bad("kinds", "%q; want names of 1 to %d bytes, without control characters", name, textMax)
		}
		if met[name] {
			c.bad("kinds", "%q is there twice", name)
		}
		met[name] = true
	}
	if c.doc.KindShares == nil {
		return
	}
	if len(p.KindShares) != len(p.Kinds) {
		c.bad("kind_shares", "%d of them, for %s; want one for each", len(p.KindShares), plural(len(p.Kinds), "kind"))
	}
	for _, share := range p.KindShares {
		if !(share > 0 && share <= 1e9) {
			c.bad("kind_shares", "%v; want numbers above 0, up to 1e9", share)
		}
	}
	for _, ph := range p.Phases {
		if ph.Draw == Tasks {
			c.bad("kind_shares", "with draw = %q, shared objects have the first kind and others the last; leave the shares out", Tasks)
		}
	}
}

func (c *profileCheck) addresses(p *Profile) {
	a := c.doc.Addresses
	switch {
	case p.counts() || p.recorded():
		if a != nil {
			c.bad("addresses", "what is counted by objref, or recorded, has none of the profile's; leave them out")
		}
		return
	case a == nil:
		p.Keys = keys.Mixed()
		return
	}
	p.Keys = keys.Model{Slab: a.Slab, Page: a.Page, PerCPU: a.PerCPU, User: a.User, GoHeap: a.GoHeap}
	for _, s := range a.Strides {
		if s < 0 {
			c.bad("addresses.strides", "%d; want multiples of 8", s)
		}
		p.Keys.Strides = append(p.Keys.Strides, uint64(s))
	}
	if err := p.Keys.Check(); err != nil {
		c.bad("addresses", "%v", err)
	}
	if a.Slab == 0 && a.Strides != nil {
		c.bad("addresses.strides", "slab addresses alone have strides, and slab is 0; leave them out")
	}
}

func (c *profileCheck) threads(threads []int) {
	met := map[int]bool{}
	for _, n := range threads {
		if n < 1 || n > ThreadsMax {
			c.bad("threads", "%d; want 1 to %s", n, grouped(ThreadsMax))
		}
		if met[n] {
			c.bad("threads", "%d is there twice", n)
		}
		met[n] = true
	}
}

func (c *profileCheck) thresholds(p *Profile) {
	figures := []Figure{NsPerOp, BytesPerObject, RSSBytesPerObject, P50Ns, P90Ns, P99Ns, P999Ns, P9999Ns, MaxNs, TimesFaster}
	for i, d := range c.doc.Thresholds {
		at := fmt.Sprintf("threshold[%d]", i)
		t := Threshold{
			Target: d.Target, Objects: or(d.Objects, 0), Threads: or(d.Threads, 0), What: Figure(d.What), Against: or(d.Against, ""),
			Min: d.Min, Max: d.Max,
		}
		p.Thresholds = append(p.Thresholds, t)
		c.target(at+".target", t.Target)
		if !slices.Contains(figures, t.What) {
			c.bad(at+".what", "%s", unknownWord("figure", d.What, words(figures)))
		}
		switch {
		case t.What == TimesFaster:
			c.target(at+".against", t.Against)
		case d.Against != nil:
			c.bad(at+".against", "for %s alone; leave it out", TimesFaster)
		}
		if d.Objects != nil && (t.Objects < 1 || t.Objects > ObjectsMax) {
			c.bad(at+".objects", "%d; want 1 to %s, or none for all sizes", t.Objects, grouped(ObjectsMax))
		}
		if d.Threads != nil && (t.Threads < 1 || t.Threads > ThreadsMax) {
			c.bad(at+".threads", "%d; want 1 to %s, or none for all", t.Threads, grouped(ThreadsMax))
		}
		c.limits(at, t)
	}
}

func (c *profileCheck) target(key, name string) {
	if name == "" {
		c.bad(key, "there is none; name a target, as crbench list does")
		return
	}
	specs, err := ChooseTargets([]string{name})
	switch {
	case err != nil:
		c.bad(key, "%s", strings.TrimPrefix(err.Error(), ErrChoice.Error()+": "))
	case len(specs) != 1 || specs[0].Counts && specs[0].Strategy == "":
		c.bad(key, "%q stands for several; name one, like %s", name, counterAgainst)
	}
}

func (c *profileCheck) limits(at string, t Threshold) {
	if t.Min == nil && t.Max == nil {
		c.bad(at, "it has no limit; give it a min or a max")
	}
	for key, limit := range map[string]*float64{".min": t.Min, ".max": t.Max} {
		if limit != nil && !(*limit >= 0 && *limit <= math.MaxFloat64) {
			c.bad(at+key, "%v; want a number from 0 on", *limit)
		}
	}
	if t.Min != nil && t.Max != nil && *t.Min > *t.Max {
		c.bad(at+".min", "%v is above max, %v", *t.Min, *t.Max)
	}
}

func words[T ~string](all []T) []string {
	out := make([]string, len(all))
	for i, w := range all {
		out[i] = string(w)
	}
	return out
}
