//go:build race || objhash_invariants

package invariants

import (
	"sync"
	"sync/atomic"
	"testing"
)

// The hook sees every step, on the goroutine that takes it, until it is removed; an
// earlier one is back then.
func TestOnStep(t *testing.T) {
	var outer, inner []string
	restoreOuter := OnStep(func(name string) { outer = append(outer, name) })
	Step("1")
	restoreInner := OnStep(func(name string) { inner = append(inner, name) })
	Step("2")
	restoreInner()
	Step("3")
	restoreOuter()
	Step("4")
	if len(outer) != 2 || outer[0] != "1" || outer[1] != "3" || len(inner) != 1 || inner[0] != "2" {
		t.Errorf("hooks saw %v and %v; want [1 3] and [2]", outer, inner)
	}
}

// A hook may block: it stops the goroutine whose step it is, and no other.
func TestOnStepMayBlock(t *testing.T) {
	reached, resume := make(chan struct{}), make(chan struct{})
	defer OnStep(func(name string) {
		if name == "stop here" {
			close(reached)
			<-resume
		}
	})()
	var passed atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		Step("stop here")
		passed.Store(true)
	})
	<-reached
	for range 1000 {
		Step("elsewhere")
	}
	if passed.Load() {
		t.Error("the step did not stop")
	}
	close(resume)
	wg.Wait()
}
