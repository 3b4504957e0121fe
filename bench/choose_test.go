package bench_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/target"
)

func TestParseCounts(t *testing.T) {
	got, err := bench.ParseCounts("objects", []string{"1e6", "10k", "1_000_000", "2M", "7", "1.5e3"}, 1<<29)
	if want := []int{1e6, 1e4, 2e6, 7, 1500}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	_, err = bench.ParseCounts("threads", []string{"100000"}, bench.ThreadsMax)
	if !errors.Is(err, bench.ErrChoice) || !strings.Contains(err.Error(), "too large a number of threads; want at most 4,096") {
		t.Errorf("too many threads: %v", err)
	}
	for _, word := range []string{"", "0", "-1", "x", "k", "1.5", "1e99", "inf", "NaN", "0x10", "1 000", "10kk", "600M"} {
		_, err := bench.ParseCounts("objects", []string{word}, 1<<29)
		if !errors.Is(err, bench.ErrChoice) || !strings.Contains(err.Error(), "number of objects") {
			t.Errorf("%q: %v; want ErrChoice", word, err)
		}
	}
}

func TestChoose(t *testing.T) {
	got, err := bench.ChooseProfiles([]string{"grow", "first-pass", "grow"})
	if err != nil || len(got) != 2 || got[0].Name != "grow" || got[1].Name != "first-pass" {
		t.Errorf("got %v, %v", got, err)
	}
	all, err := bench.ChooseTargets([]string{"index", "all"})
	if err != nil || len(all) != len(target.All()) {
		t.Errorf("all: %d targets, %v; want %d", len(all), err, len(target.All()))
	}
	some, err := bench.ChooseTargets([]string{"counter/log", "counter", "counter/log", "objhash/atomic"})
	if err != nil || len(some) != 3 || some[0].Name != "counter/log" || some[1].Name != "counter" || some[2].Strategy != "atomic" {
		t.Errorf("with strategies: %v, %v", some, err)
	}
	_, err = bench.ChooseTargets([]string{"xsnyc4"})
	if !errors.Is(err, bench.ErrChoice) || !strings.Contains(err.Error(), `did you mean "xsync4"?`) ||
		!strings.Contains(err.Error(), "objhash-batch") {
		t.Errorf("misspelt target: %v; want the nearest name and the list", err)
	}
	_, err = bench.ChooseProfiles([]string{"quite-different"})
	if !errors.Is(err, bench.ErrChoice) || strings.Contains(err.Error(), "did you mean") {
		t.Errorf("unknown profile: %v; want ErrChoice without a guess", err)
	}
}
