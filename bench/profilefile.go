package bench

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/pelletier/go-toml/v2"

	"github.com/objhash/objhash/bench/keys"
)

// ProfileFormat describes the files that profiles are read from, key by key.
//
//go:embed profiles/FORMAT.txt
var ProfileFormat string

//go:embed profiles/*.toml
var canonicalFiles embed.FS

// canonicalNames are the canonical profiles in the order of lists.
var canonicalNames = []string{
	"lookup-hit", "lookup-miss", "first-pass", "grow", "re-walk", "checkpoint-zipf", "hot-object", "container", "fork-storm",
	"restart-in-order", "restart-parallel", "restart-fetch", "audit", "snapshot", "drop-all",
	"count-private", "count-hot", "count-zipf", "count-10k-tasks", "count-verdict", "count-drop", "replay", "open-loop",
}

const profileSuffix = ".toml"

// The largest numbers that the loader accepts.
const (
	profileBytesMax = 64 << 10
	inheritsMax     = 8 // files that inherit from each other
)

// FileError is one mistake in the file of a profile. It wraps [ErrProfile].
type FileError struct {
	File         string
	Line, Column int // from 1
	Message      string
}

func (e *FileError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

func (e *FileError) Unwrap() error { return ErrProfile }

// Profiles returns the canonical profiles.
func Profiles() []Profile {
	all := slices.Clone(readCanonical())
	for i := range all {
		all[i].Phases = slices.Clone(all[i].Phases) // callers make them smaller
	}
	return all
}

// readCanonical panics if one of the embedded files is wrong, which tests would find.
var readCanonical = sync.OnceValue(func() (all []Profile) {
	for _, name := range canonicalNames {
		p, err := newLoader().canonical(name)
		if err != nil {
			panic(err)
		}
		all = append(all, p)
	}
	return all
})

// FindProfile returns the canonical profile of that name.
func FindProfile(name string) (Profile, bool) {
	i := slices.Index(canonicalNames, name)
	if i < 0 {
		return Profile{}, false
	}
	return Profiles()[i], true
}

// LoadProfile reads a profile from a file, see [ProfileFormat]. The error has a
// [FileError] for each mistake in it, or in what it inherits from.
func LoadProfile(path string) (Profile, error) {
	return newLoader().load(path)
}

// NamesFile says whether a person who writes this where a profile is wanted means a file,
// and no canonical profile.
func NamesFile(profile string) bool {
	return strings.HasSuffix(profile, profileSuffix) || strings.ContainsRune(profile, '/') || strings.ContainsRune(profile, os.PathSeparator)
}

// document is what a file says; a field is nil if it says nothing of it.
type document struct {
	Inherits    *string         `toml:"inherits,omitempty"`
	Description *string         `toml:"description,omitempty"`
	Objects     *int            `toml:"objects,omitempty"`
	FixedSize   *bool           `toml:"fixed_size,omitempty"`
	Presized    *bool           `toml:"presized,omitempty"`
	Kinds       []string        `toml:"kinds,omitempty"`
	KindShares  []float64       `toml:"kind_shares,omitempty"`
	Threads     []int           `toml:"threads,omitempty"`
	Trials      *int            `toml:"trials,omitempty"`
	Seed        *int64          `toml:"seed,omitempty"`
	RatePerS    *float64        `toml:"rate_per_s,omitempty"`
	Trace       *string         `toml:"trace,omitempty"`
	Addresses   *addressesTable `toml:"addresses,omitempty"`
	Phases      []phaseTable    `toml:"phase,omitempty"`
	Thresholds  []limitTable    `toml:"threshold,omitempty"`
}

type addressesTable struct {
	Slab    float64 `toml:"slab,omitempty"`
	Page    float64 `toml:"page,omitempty"`
	PerCPU  float64 `toml:"per_cpu,omitempty"`
	User    float64 `toml:"user,omitempty"`
	GoHeap  float64 `toml:"go_heap,omitempty"`
	Strides []int64 `toml:"strides,omitempty"`
}

type phaseTable struct {
	Name       string   `toml:"name"`
	Op         string   `toml:"op"`
	Draw       string   `toml:"draw,omitempty"`
	PerObject  *int     `toml:"per_object,omitempty"`
	Operations *int     `toml:"operations,omitempty"`
	AtLeast    *int     `toml:"at_least,omitempty"`
	Tasks      *int     `toml:"tasks,omitempty"`
	PerTask    *int     `toml:"per_task,omitempty"`
	Spread     *string  `toml:"spread,omitempty"`
	Theta      *float64 `toml:"theta,omitempty"`
	HotObjects *float64 `toml:"hot_objects,omitempty"`
	HotDraws   *float64 `toml:"hot_draws,omitempty"`
	Shared     *int     `toml:"shared,omitempty"`
	Needs      *bool    `toml:"needs,omitempty"`
	Timed      bool     `toml:"timed,omitempty"`
}

type limitTable struct {
	Target  string   `toml:"target"`
	Objects *int     `toml:"objects,omitempty"`
	Threads *int     `toml:"threads,omitempty"`
	What    string   `toml:"what"`
	Against *string  `toml:"against,omitempty"`
	Min     *float64 `toml:"min,omitempty"`
	Max     *float64 `toml:"max,omitempty"`
}

// loader reads one profile and what it inherits from.
type loader struct {
	read  func(path string) ([]byte, error) // a person's file
	chain []*profileSource                  // the file asked for, what it inherits from, and so on
}

// profileSource is one file.
type profileSource struct {
	path      string // as errors have it
	canonical bool
	doc       document
	index     keyIndex
}

func newLoader() *loader { return &loader{read: readProfileFile} }

// readProfileFile reads no more than a profile can be, and nothing that may never end.
func readProfileFile(path string) ([]byte, error) {
	info, err := os.Stat(path) // before it is opened, which can block
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("it is no regular file")}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // was only read
	b, err := io.ReadAll(io.LimitReader(f, profileBytesMax+1))
	if err == nil && len(b) > profileBytesMax {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("more than %s bytes are no profile", grouped(profileBytesMax))}
	}
	return b, err
}

var profileName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

func (l *loader) load(path string) (Profile, error) {
	name := strings.TrimSuffix(filepath.Base(path), profileSuffix)
	data, err := l.read(path)
	if err != nil {
		return Profile{}, fmt.Errorf("profile: %w", err)
	}
	if !profileName.MatchString(name) {
		return Profile{}, &FileError{path, 1, 1, fmt.Sprintf("results would be called %q; give the file a name of letters, digits, - _ and .", name)}
	}
	if err := l.open(path, false, data); err != nil {
		return Profile{}, err
	}
	p, err := l.resolve()
	p.Name, p.Source = name, path
	return p, err
}

func (l *loader) canonical(name string) (Profile, error) {
	if err := l.openCanonical(name); err != nil {
		return Profile{}, err
	}
	p, err := l.resolve()
	p.Name = name
	return p, err
}

func (l *loader) openCanonical(name string) error {
	data, err := canonicalFiles.ReadFile("profiles/" + name + profileSuffix)
	if err != nil {
		return err
	}
	return l.open(name, true, data)
}

// open adds a file to the chain, and then what it inherits from.
func (l *loader) open(path string, canonical bool, data []byte) error {
	s := &profileSource{path: path, canonical: canonical}
	var mistakes []error
	s.index, mistakes = indexKeys(path, data)
	if len(mistakes) > 0 {
		return errors.Join(mistakes...)
	}
	if err := toml.Unmarshal(data, &s.doc); err != nil {
		return s.decodeError(err)
	}
	l.chain = append(l.chain, s)
	if s.doc.Inherits == nil {
		return nil
	}
	from := *s.doc.Inherits
	if len(l.chain) == inheritsMax {
		return s.bad("inherits", "the %dth file that inherits from another; want at most %d files in a chain", inheritsMax, inheritsMax)
	}
	if !NamesFile(from) {
		if !slices.Contains(canonicalNames, from) {
			return s.bad("inherits", "%s (the name of a file ends in %s)", unknownWord("profile", from, canonicalNames), profileSuffix)
		}
		if l.contains(from, true) {
			return s.bad("inherits", "%s inherits from itself", from)
		}
		return l.openCanonical(from)
	}
	if canonical {
		return s.bad("inherits", "a canonical profile inherits from canonical ones alone")
	}
	if !filepath.IsAbs(from) {
		from = filepath.Join(filepath.Dir(path), from)
	}
	if l.contains(from, false) {
		return s.bad("inherits", "%s inherits from itself", from)
	}
	base, err := l.read(from)
	if err != nil {
		return s.bad("inherits", "%v", err)
	}
	return l.open(from, false, base)
}

func (l *loader) contains(path string, canonical bool) bool {
	return slices.ContainsFunc(l.chain, func(s *profileSource) bool {
		return s.canonical == canonical && absolute(s.path) == absolute(path)
	})
}

// absolute leaves a path as it is where the system does not tell where it is.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return filepath.Clean(path)
}

func (s *profileSource) bad(key, format string, args ...any) error {
	at := s.index.at(key)
	return &FileError{s.path, at.line, at.column, key + ": " + fmt.Sprintf(format, args...)}
}

// decodeError says what the library found in the words of the format.
func (s *profileSource) decodeError(err error) error {
	e := new(toml.DecodeError)
	if !errors.As(err, &e) {
		return &FileError{s.path, 1, 1, err.Error()}
	}
	line, column := e.Position()
	what := strings.TrimPrefix(e.Error(), "toml: ")
	if want := wantedOf(e.Key()); want != "" && !strings.Contains(what, "already") {
		what = strings.Join(e.Key(), ".") + ": want " + want
	}
	return &FileError{s.path, line, column, what}
}

// wantedOf says what value a key has; "": there is no such key.
func wantedOf(path []string) string {
	if len(path) == 0 {
		return ""
	}
	t := reflect.TypeFor[document]()
	for _, key := range path {
		for t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return ""
		}
		f, ok := fieldOf(t, key)
		if !ok {
			return ""
		}
		t = f.Type
	}
	words := map[reflect.Kind]string{
		reflect.String: "a string", reflect.Int: "a whole number", reflect.Int64: "a whole number", reflect.Float64: "a number",
		reflect.Bool: "true or false", reflect.Struct: "a table",
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Slice {
		return words[t.Kind()]
	}
	return "a list, each of it " + words[t.Elem().Kind()]
}

// fieldOf finds the field that a key fills.
func fieldOf(t reflect.Type, key string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if keyOf(t.Field(i)) == key {
			return t.Field(i), true
		}
	}
	return reflect.StructField{}, false
}

func keyOf(f reflect.StructField) string {
	key, _, _ := strings.Cut(f.Tag.Get("toml"), ",")
	return key
}

// keysOf are the keys of a table.
func keysOf(t reflect.Type) (all []string) {
	for i := range t.NumField() {
		all = append(all, keyOf(t.Field(i)))
	}
	return all
}

// resolve lets each file replace what it inherits, key by key of the top level, and
// checks what comes of it.
func (l *loader) resolve() (Profile, error) {
	c := &profileCheck{file: l.chain[0], from: map[string]*profileSource{}}
	resolved := reflect.ValueOf(&c.doc).Elem()
	for _, s := range slices.Backward(l.chain) {
		given := reflect.ValueOf(&s.doc).Elem()
		for i := range given.NumField() {
			if !given.Field(i).IsNil() {
				resolved.Field(i).Set(given.Field(i))
				c.from[keyOf(given.Type().Field(i))] = s
			}
		}
	}
	// What it is for is not what its base is for.
	c.doc.Description = l.chain[0].doc.Description
	c.from["description"] = l.chain[0]
	p := c.profile()
	if p.Trace != "" && !filepath.IsAbs(p.Trace) {
		p.Trace = absolute(filepath.Join(filepath.Dir(c.from["trace"].path), p.Trace))
	}
	return p, c.error()
}

// TOML writes the profile as a file that inherits nothing. [LoadProfile] reads the same
// profile from it, but for the name, which is the file's.
func (p Profile) TOML() []byte {
	d := document{
		Description: &p.Summary, Objects: given(p.Objects), FixedSize: given(p.OneSize), Presized: given(p.Presized),
		Kinds: p.Kinds, KindShares: p.KindShares, Threads: p.Threads, Trials: given(p.Trials), RatePerS: given(p.RatePerS),
		Trace: given(p.Trace), Addresses: addressesOf(p.Keys),
	}
	seed := int64(p.Seed)
	d.Seed = &seed
	for _, ph := range p.Phases {
		d.Phases = append(d.Phases, ph.table())
	}
	for _, t := range p.Thresholds {
		d.Thresholds = append(d.Thresholds, limitTable{
			Target: t.Target, Objects: given(t.Objects), Threads: given(t.Threads), What: string(t.What), Against: given(t.Against),
			Min: t.Min, Max: t.Max,
		})
	}
	b, err := toml.Marshal(d)
	if err != nil {
		panic(fmt.Sprintf("bench: a profile cannot be written: %v", err)) // it has plain fields only
	}
	return b
}

// given is nil for what a file leaves out.
func given[T comparable](x T) *T {
	if x == *new(T) {
		return nil
	}
	return &x
}

func addressesOf(m keys.Model) *addressesTable {
	if m.Slab+m.Page+m.PerCPU+m.User+m.GoHeap == 0 {
		return nil // counted objects have none
	}
	t := &addressesTable{Slab: m.Slab, Page: m.Page, PerCPU: m.PerCPU, User: m.User, GoHeap: m.GoHeap}
	for _, s := range m.Strides {
		t.Strides = append(t.Strides, int64(s))
	}
	return t
}

func (ph Phase) table() phaseTable {
	t := phaseTable{
		Name: ph.Name, Op: string(ph.Op), Draw: string(ph.Draw), PerObject: given(ph.PerObject), Operations: given(ph.Operations),
		AtLeast: given(ph.AtLeast), Tasks: given(ph.Tasks), PerTask: given(ph.PerTask), Spread: given(string(ph.Spread)),
		Shared: given(ph.Shared), Needs: given(ph.Needs), Timed: ph.Timed,
	}
	switch ph.distribution() {
	case Zipf:
		t.Theta = &ph.Theta
	case Hot:
		t.HotObjects, t.HotDraws = &ph.HotObjects, &ph.HotDraws
	}
	return t
}

// Hash is the SHA-256, in hexadecimal, of what [Profile.TOML] writes, where a trace stands
// without its folder. It is the same on every machine.
func (p Profile) Hash() string {
	if p.Trace != "" {
		p.Trace = filepath.Base(p.Trace)
	}
	sum := sha256.Sum256(p.TOML())
	return hex.EncodeToString(sum[:])
}
