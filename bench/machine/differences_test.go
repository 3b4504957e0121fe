package machine_test

import (
	"testing"

	"github.com/objhash/objhash/bench/machine"
)

func TestDifferences(t *testing.T) {
	a := machine.Env{CPU: "one", Cores: 2, Go: "go1.26.1", Revision: "a", LoadAverage: [3]float64{1}}
	b := a
	b.Revision, b.Dirty, b.LoadAverage, b.StealPercent = "b", true, [3]float64{2}, 3
	if d := machine.Differences(a, b); len(d) != 0 {
		t.Errorf("one machine at two times differs in %v", d)
	}
	b.CPU, b.Go = "another", "go1.26.2"
	d := machine.Differences(a, b)
	if len(d) != 2 || !d[0].Hardware || d[1].Hardware {
		t.Fatalf("differences: %+v", d)
	}
	if got, want := d[0].String(), "CPU: one here, another there"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
