package invariants

import (
	"strings"
	"testing"
)

// A broken invariant panics in a build that checks, and does nothing in another.
func TestCheck(t *testing.T) {
	Check(true, "holds")
	defer func() {
		switch message, _ := recover().(string); {
		case Enabled && !strings.Contains(message, "the reason"):
			t.Errorf("panic %q does not mention the reason", message)
		case !Enabled && message != "":
			t.Errorf("panic %q in a build that does not check", message)
		}
	}()
	Check(false, "the reason")
	if Enabled {
		t.Error("no panic")
	}
}

func TestStepAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(1000, func() { Step("a step") }); n != 0 {
		t.Errorf("%v allocations for a step", n)
	}
}
