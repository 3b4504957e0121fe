package shard

import (
	"fmt"
	"os"
)

// kernel is an implementation of the lookups and inserts of Compact.
type kernel uint8

// The assembly knows these numbers.
const (
	kernelGo     kernel = iota // lookupGo and lookupBatchGo: the reference, and what runs everywhere
	kernelAVX2                 // kernel_amd64.s
	kernelAVX512               // kernel_amd64.s
	kernels
)

func (k kernel) String() string { return [kernels]string{"purego", "avx2", "avx512"}[k] }

// kernelEnv is the environment variable that chooses a kernel.
const kernelEnv = "OBJHASH_KERNEL"

// kernelUsed is the kernel of every index. It is set once, before main; tests may set
// it while no index is in use.
var kernelUsed, errKernel = chooseKernel(os.Getenv(kernelEnv))

// Kernel returns the name of the code that lookups run: "avx512", "avx2" or "purego",
// the best that this processor and this build have, or the one that the environment
// variable OBJHASH_KERNEL names. The error tells that it names one they do not have, and
// that the best is used instead.
func Kernel() (name string, err error) { return kernelUsed.String(), errKernel }

// chooseKernel returns the kernel of that name, or the best one.
func chooseKernel(name string) (kernel, error) {
	best := kernelGo
	for k := range kernels {
		if !k.supported() {
			continue
		}
		best = k
		if name == k.String() {
			return k, nil
		}
	}
	if name == "" {
		return best, nil
	}
	return best, fmt.Errorf("%w: %s=%s: no such kernel here; using %v", ErrInvalid, kernelEnv, name, best)
}
