package bench_test

import (
	"testing"

	"github.com/objhash/objhash/bench"
)

// TestRateOfProfile runs a profile that has a rate, without anybody asking for latencies.
func TestRateOfProfile(t *testing.T) {
	o := bench.RunOptions{
		Profiles: []string{"open-loop"}, Targets: []string{"index", "xsync4"}, Objects: []string{"1000"}, Threads: []string{"1"}, Trials: 1, Seed: 1,
	}
	for _, c := range []struct{ asked, want float64 }{{0, 1e6}, {2e6, 2e6}} {
		o.RatePerS = c.asked
		r, err := o.Run(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Results) != 2 || len(r.Controls) != 1 || r.ClockNs == 0 {
			t.Fatalf("%d results, %d controls, a reading of the clock of %g ns", len(r.Results), len(r.Controls), r.ClockNs)
		}
		latencies := []*bench.Latency{&r.Controls[0].Latency}
		for _, res := range r.Results {
			latencies = append(latencies, res.Latency)
		}
		for i, l := range latencies {
			if l == nil || !l.Corrected || l.RatePerS < 0.999*c.want || l.RatePerS > 1.001*c.want || l.Calls != 8000 {
				t.Errorf("asked for %g, latency %d: %+v", c.asked, i, l)
			}
		}
	}
}
