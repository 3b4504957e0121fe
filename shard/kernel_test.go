package shard

import (
	"errors"
	"os"
	"testing"
)

// The environment chooses a kernel. One that is not here is refused, and the best taken.
func TestChooseKernel(t *testing.T) {
	supported := supportedKernels()
	best := supported[len(supported)-1]
	for k := range kernels {
		got, err := chooseKernel(k.String())
		if k.supported() && (got != k || err != nil) {
			t.Errorf("%s=%v chooses %v, %v", kernelEnv, k, got, err)
		}
		if !k.supported() && (got != best || !errors.Is(err, ErrInvalid)) {
			t.Errorf("%s=%v, which is not here, chooses %v, %v; want %v, ErrInvalid", kernelEnv, k, got, err, best)
		}
	}
	if got, err := chooseKernel(""); got != best || err != nil {
		t.Errorf("no %s chooses %v, %v; want %v", kernelEnv, got, err, best)
	}
	for _, name := range []string{"neon", "AVX2", "avx2 "} {
		if got, err := chooseKernel(name); got != best || !errors.Is(err, ErrInvalid) {
			t.Errorf("%s=%q chooses %v, %v; want %v, ErrInvalid", kernelEnv, name, got, err, best)
		}
	}
	os.Getenv(kernelEnv) // so that the go command takes no result of another kernel from its cache
	if name, _ := Kernel(); name != kernelUsed.String() {
		t.Errorf("Kernel() = %q; want %v", name, kernelUsed)
	}
}
