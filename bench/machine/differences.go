package machine

import (
	"fmt"
	"strings"
)

// Difference is a fact that two environments do not share.
type Difference struct {
	What string
	A, B string

	// Hardware says that it makes them different machines, on which figures cannot be
	// compared. Other facts are choices on one machine, such as the version of Go, which
	// may explain why figures differ.
	Hardware bool
}

func (d Difference) String() string {
	return fmt.Sprintf("%s: %s here, %s there", d.What, orUnknown(d.A), orUnknown(d.B))
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// Differences returns the facts that a and b do not share, of those that figures depend on.
// The revision of the code is not among them, nor is how busy the machine was.
func Differences(a, b Env) (differences []Difference) {
	add := func(hardware bool, what string, a, b any) {
		if a, b := fmt.Sprint(a), fmt.Sprint(b); a != b {
			differences = append(differences, Difference{What: what, A: a, B: b, Hardware: hardware})
		}
	}
	add(true, "CPU", a.CPU, b.CPU)
	add(true, "cores", a.Cores, b.Cores)
	add(true, "GOMAXPROCS", a.GOMAXPROCS, b.GOMAXPROCS)
	add(true, "caches", strings.Join(a.Caches, ", "), strings.Join(b.Caches, ", "))
	add(true, "SMT", a.SMT, b.SMT)
	add(true, "hypervisor", a.Hypervisor, b.Hypervisor)
	add(true, "operating system", a.OS, b.OS)
	add(true, "architecture", a.Arch, b.Arch)

	add(false, "Go", a.Go, b.Go)
	add(false, "GOAMD64", a.GOAMD64, b.GOAMD64)
	add(false, "GOEXPERIMENT", a.GOEXPERIMENT, b.GOEXPERIMENT)
	add(false, "GOGC", a.GOGC, b.GOGC)
	add(false, "GOMEMLIMIT", a.GOMEMLIMIT, b.GOMEMLIMIT)
	add(false, "index kernel", a.IndexKernel, b.IndexKernel)
	add(false, "kernel", a.Kernel, b.Kernel)
	add(false, "governor", a.Governor, b.Governor)
	add(false, "huge pages", a.THP, b.THP)
	add(false, "memory limit", a.CgroupBytes, b.CgroupBytes)
	return differences
}
