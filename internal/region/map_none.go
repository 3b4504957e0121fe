//go:build !linux || race || !(amd64 || arm64 || riscv64 || s390x || ppc64le || loong64)

package region

import "unsafe"

const canMap = false

// mappings does not exist where every chunk is a Go object.
type mappings struct{}

func (*mappings) add(uintptr) (unsafe.Pointer, uintptr, error) {
	panic("unreachable: no mappings here")
}
func (*mappings) discard(unsafe.Pointer, uintptr) {}
func (*mappings) discardAll()                     {}
func (*mappings) unmap()                          {}
