package bench

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// anyCPU is where a thread runs that is not pinned.
const anyCPU = -1

// allowedCPUs are those that the system lets this process run on.
func allowedCPUs() (cpus []int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("pinning: the processors of this process: %w", err)
	}
	for cpu := 0; len(cpus) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus, nil
}

// pinThread keeps the calling thread, which must be locked, on one processor until unpin.
func pinThread(cpu int) (unpin func(), err error) {
	if cpu == anyCPU {
		return func() {}, nil
	}
	var before, only unix.CPUSet
	only.Set(cpu)
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return nil, fmt.Errorf("pinning: the processors of a thread: %w", err)
	}
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return nil, fmt.Errorf("pinning a thread to processor %d: %w", cpu, err)
	}
	// Not fatal: a thread that stays pinned still does what Go gives it.
	return func() { _ = unix.SchedSetaffinity(0, &before) }, nil
}
