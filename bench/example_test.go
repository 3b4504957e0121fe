package bench_test

import (
	"context"
	"fmt"

	"github.com/objhash/objhash/bench"
)

func ExampleRun() {
	profiles, err := bench.ChooseProfiles([]string{"first-pass"})
	if err != nil {
		fmt.Println(err)
		return
	}
	targets, err := bench.ChooseTargets([]string{"mutex-map", "xsync4"})
	if err != nil {
		fmt.Println(err)
		return
	}
	report, err := bench.Run(context.Background(), bench.Config{
		Profiles: profiles, Targets: targets, Objects: []int{1000}, Threads: []int{1}, Trials: 3, Seed: 1,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range report.Results {
		fmt.Println(r.Profile, r.Target, r.Trials, "trials, verified:", r.Verified)
	}
	// Output:
	// first-pass mutex-map 3 trials, verified: true
	// first-pass xsync4 3 trials, verified: true
}
