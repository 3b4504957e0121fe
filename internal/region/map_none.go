//go:build !linux || race || !(amd64 || arm64 || riscv64 || s390x || ppc64le || loong64)

package region

import "unsafe"

const canMap = false

// mappings does not exist where every chunk is a Go object.
type mappings struct{}

func (*mappings) add(uintptr) (unsafe.Pointer, error)                             { panic("unreachable: nothing is mapped here") }
func (*mappings) charge(unsafe.Pointer, uintptr) (given uintptr)                  { return 0 }
func (*mappings) release(unsafe.Pointer, uintptr, unsafe.Pointer) (given uintptr) { return 0 }
func (*mappings) holds(unsafe.Pointer) bool                                       { return false }
func (*mappings) discardAll()                                                     {}
func (*mappings) unmap()                                                          {}
