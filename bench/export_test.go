package bench

import (
	"io/fs"
	"reflect"
	"slices"
)

// ParseProfile loads a profile from its text; there are no files beside it.
func ParseProfile(path string, text []byte) (Profile, error) {
	l := &loader{read: func(p string) ([]byte, error) {
		if p == path {
			return text, nil
		}
		return nil, fs.ErrNotExist
	}}
	return l.load(path)
}

// Percent and Camel are how parts and names are written.
var (
	Percent = percent
	Camel   = camel
)

// ProfileWords are all words of the format.
func ProfileWords() []string {
	all := slices.Concat(keysOf(reflect.TypeFor[document]()), keysOf(reflect.TypeFor[addressesTable]()),
		keysOf(reflect.TypeFor[phaseTable]()), keysOf(reflect.TypeFor[limitTable]()), []string{string(Dealt)})
	for op, draws := range drawsOf {
		all = append(append(all, string(op)), words(draws)...)
	}
	return all
}
