//go:build !linux

package bench

import "fmt"

// anyCPU is where a thread runs that is not pinned.
const anyCPU = -1

func allowedCPUs() ([]int, error) {
	return nil, fmt.Errorf("%w: threads can be pinned on Linux alone", ErrChoice)
}

func pinThread(int) (unpin func(), err error) { return func() {}, nil }
