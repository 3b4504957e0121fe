package bench

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/objhash/objhash/bench/target"
	"github.com/objhash/objhash/refcount"
)

// ErrChoice is what the functions of this file return, wrapped, for a name or
// number that a person got wrong. The message says what would be right.
var ErrChoice = errors.New("invalid choice")

// ChooseProfiles returns the profiles of those names, in that order: canonical ones, and
// those in files where [NamesFile] says so. What is wrong with a file is no wrong choice.
func ChooseProfiles(names []string) (chosen []Profile, err error) {
	all, nameOf := Profiles(), func(p Profile) string { return p.Name }
	if len(names) == 0 {
		return all, nil
	}
	for _, name := range names {
		var some []Profile
		if NamesFile(name) {
			p, err := LoadProfile(name)
			if err != nil {
				return nil, err
			}
			some = []Profile{p}
		} else if some, err = choose("profile", []string{name}, all, nameOf); err != nil {
			return nil, err
		}
		for _, p := range some {
			i := slices.IndexFunc(chosen, func(c Profile) bool { return c.Name == p.Name })
			if i < 0 {
				chosen = append(chosen, p)
			} else if chosen[i].Source != p.Source {
				return nil, fmt.Errorf("%w: two profiles are called %s; give a file another name, or run them apart", ErrChoice, p.Name)
			}
		}
	}
	return chosen, nil
}

// ChooseStrategies returns the ways of counting users of those names, in that order.
func ChooseStrategies(names []string) ([]refcount.Strategy, error) {
	return choose("strategy", names, refcount.All(), refcount.Strategy.Name)
}

// ChooseTargets returns the targets of those names, in that order. A name may have a
// strategy behind it, as in counter/atomic.
func ChooseTargets(names []string) (chosen []target.Spec, err error) {
	if len(names) == 0 {
		return target.All(), nil
	}
	for _, name := range names {
		specs, err := chooseTarget(name)
		if err != nil {
			return nil, err
		}
		for _, spec := range specs {
			if !slices.ContainsFunc(chosen, func(s target.Spec) bool { return s.Name == spec.Name }) {
				chosen = append(chosen, spec)
			}
		}
	}
	return chosen, nil
}

func chooseTarget(name string) ([]target.Spec, error) {
	plain, strategy, with := strings.Cut(name, "/")
	if slices.ContainsFunc(refcount.All(), func(s refcount.Strategy) bool { return s.Name() == name }) {
		return nil, fmt.Errorf("%w: %q is a strategy, no target; did you mean %q?", ErrChoice, name, "counter/"+name)
	}
	specs, err := choose("target", []string{plain}, target.All(), func(s target.Spec) string { return s.Name })
	if err != nil || !with {
		return specs, err
	}
	specs = slices.DeleteFunc(specs, func(s target.Spec) bool { return s.WithStrategy == nil })
	if len(specs) == 0 {
		return nil, fmt.Errorf("%w: target %q: %s takes no strategy; those that do are %s", ErrChoice, name, plain, takers())
	}
	strategies, err := ChooseStrategies([]string{strategy})
	if err != nil {
		return nil, err
	}
	var variants []target.Spec
	for _, s := range specs {
		variants = append(variants, s.Variants(strategies)...)
	}
	return variants, nil
}

// takers names the targets that take a strategy.
func takers() string {
	var names []string
	for _, s := range target.All() {
		if s.WithStrategy != nil {
			names = append(names, s.Name)
		}
	}
	return strings.Join(names, ", ")
}

// choose finds all names; "all" and no name at all stand for everything.
func choose[T any](what string, names []string, all []T, nameOf func(T) string) (chosen []T, err error) {
	known := make([]string, len(all))
	for i, t := range all {
		known[i] = nameOf(t)
	}
	if len(names) == 0 {
		return all, nil
	}
	for _, name := range names {
		if name == "all" {
			return all, nil
		}
		i := slices.Index(known, name)
		if i < 0 {
			return nil, unknown(what, name, known)
		}
		if !slices.ContainsFunc(chosen, func(t T) bool { return nameOf(t) == name }) {
			chosen = append(chosen, all[i])
		}
	}
	return chosen, nil
}

func unknown(what, name string, known []string) error {
	hint := ""
	if n := nearest(name, known); n != "" {
		hint = fmt.Sprintf("; did you mean %q?", n)
	}
	return fmt.Errorf("%w: unknown %s %q%s (there are: %s, or all)", ErrChoice, what, name, hint, strings.Join(known, ", "))
}

// unknownWord says what is wrong with a word of a file, and what would be right.
func unknownWord(what, name string, known []string) string {
	if n := nearest(name, known); n != "" {
		return fmt.Sprintf("unknown %s %q; did you mean %q?", what, name, n)
	}
	return fmt.Sprintf("unknown %s %q; there are: %s", what, name, strings.Join(known, ", "))
}

// nearest returns the known name that a few slips turn into name, or "".
func nearest(name string, known []string) string {
	best, at := 1+len(name)/3, ""
	for _, k := range known {
		if d := slips(name, k); d < best || d == best && at == "" {
			best, at = d, k
		}
	}
	return at
}

// slips is the least number of letters to insert, delete or replace
// (Levenshtein's distance).
func slips(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// ParseCounts reads numbers as people write them: 1000000, 1_000_000, 1e6,
// 10k, 1M. Each must be in 1..most. what names them in errors.
func ParseCounts(what string, words []string, most int) (counts []int, err error) {
	for _, word := range words {
		n, err := parseCount(word)
		if n > float64(most) {
			return nil, fmt.Errorf("%w: %q is too large a number of %s; want at most %s", ErrChoice, word, what, grouped(most))
		}
		if err != nil || n < 1 || n != math.Trunc(n) {
			return nil, fmt.Errorf("%w: %q is no number of %s; want a whole number from 1 to %s, like 1000000, 1_000_000, 1e6 or 10k",
				ErrChoice, word, what, grouped(most))
		}
		if !slices.Contains(counts, int(n)) {
			counts = append(counts, int(n))
		}
	}
	return counts, nil
}

func parseCount(word string) (float64, error) {
	scale := 1.0
	if n := len(word) - 1; n > 0 {
		switch word[n] {
		case 'k', 'K':
			scale, word = 1e3, word[:n]
		case 'm', 'M':
			scale, word = 1e6, word[:n]
		}
	}
	if strings.ContainsAny(word, "xXpP") { // ParseFloat knows hexadecimal
		return 0, strconv.ErrSyntax
	}
	n, err := strconv.ParseFloat(strings.ReplaceAll(word, "_", ""), 64)
	return n * scale, err
}

// The largest numbers a run accepts. Each thread may be one of the operating system's, where
// there are as many processors, and Go ends a program that has more than 10,000 of those.
const (
	ThreadsMax = 4096
	TrialsMax  = 10_000
)
