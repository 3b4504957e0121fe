package bench_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/objhash/objhash/bench"
)

func workload(t testing.TB, profile string, objects, threads int) *bench.Workload {
	t.Helper()
	p, ok := bench.FindProfile(profile)
	if !ok {
		t.Fatalf("no profile %q", profile)
	}
	w, err := bench.NewWorkload(p, bench.Size{Objects: objects, Threads: threads, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestVerificationCatches plants one fault after the other into a correct
// table. Each fault happens once in thousands of operations.
func TestVerificationCatches(t *testing.T) {
	for _, c := range []struct {
		fault   fault
		profile string
		message string // a regular expression
	}{
		{faultLoses, "first-pass", "the table counts 1999 objects, of 2000"},
		// The object may or may not be met again; which it is depends on the threads.
		{faultLoses, "checkpoint-zipf", `got objref|the table counts \d+ objects, of`},
		{faultTwoRefs, "checkpoint-zipf", "got objref"},
		{faultSharedRef, "first-pass", "both got objref 699"},
		{faultZeroRef, "first-pass", "got objref 0"},
		{faultNegativeRef, "first-pass", "got objref -5"},
		{faultExtraFirst, "first-pass", "2001 encounters were first, of 2000 objects"},
		{faultExtraFirst, "lookup-hit", "2001 encounters were first, of 2000 objects"},
		{faultHitForMiss, "lookup-miss", "which is absent, got objref 1"},
		{faultMissForHit, "lookup-hit", "a lookup did not find"},
		{faultWrongRef, "lookup-hit", "which encounters of"},
		{faultFoundCount, "lookup-hit", "lookups counted"},
		{faultLen, "first-pass", "the table counts 2001 objects, of 2000"},
		{faultForgets, "first-pass", "at the end the table has objref 0"},
		{faultPhantom, "first-pass", "which was never added"},
		{faultUsers, "checkpoint-zipf", "is recorded as"},
		{faultKind, "checkpoint-zipf", "is recorded as"},
		{faultError, "first-pass", "planted error"},
		{faultPanic, "first-pass", "planted panic"},
		{faultClose, "first-pass", "planted error"},
	} {
		for _, threads := range []int{1, 2} {
			name := fmt.Sprintf("fault=%s/profile=%s/threads=%d", strings.ReplaceAll(string(c.fault), " ", "-"), c.profile, threads)
			t.Run(name, func(t *testing.T) {
				_, err := workload(t, c.profile, 2000, threads).Trial(t.Context(), c.fault.spec(), 1, 1)
				if err == nil {
					t.Fatal("verification did not notice")
				}
				if !regexp.MustCompile(c.message).MatchString(err.Error()) {
					t.Errorf("error is %q; want it to say %q", err, c.message)
				}
			})
		}
	}
}

// TestVerificationPasses runs the same table without a fault.
func TestVerificationPasses(t *testing.T) {
	for _, profile := range []string{"first-pass", "lookup-hit", "lookup-miss", "checkpoint-zipf", "fork-storm"} {
		if _, err := workload(t, profile, 2000, 2).Trial(t.Context(), faultNone.spec(), 2, 1); err != nil {
			t.Errorf("%s: %v", profile, err)
		}
	}
}
