package shard

import "testing"

// useKernel makes k the kernel of all indexes until the test ends.
func useKernel(t testing.TB, k kernel) {
	old := kernelUsed
	t.Cleanup(func() { kernelUsed = old })
	kernelUsed = k
}
