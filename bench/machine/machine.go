// Package machine tells what a measurement was made on, and how quiet it was
// there.
//
// It reads /proc, /sys and the Go runtime. What cannot be read is left empty:
// a machine that does not tell its governor has none that matters, or hides it
// in a hypervisor. Nothing here fails.
package machine

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/objhash/objhash/shard"
)

// Env is the environment of a measurement. Sizes are in bytes.
type Env struct {
	Go           string `json:"go"`
	OS           string `json:"os"`
	Arch         string `json:"arch"`
	GOMAXPROCS   int    `json:"gomaxprocs"`
	GOGC         int64  `json:"gogc"` // percent; -1: off
	GOMEMLIMIT   int64  `json:"gomemlimit,omitempty"`
	GOAMD64      string `json:"goamd64,omitempty"`
	GOEXPERIMENT string `json:"goexperiment,omitempty"`
	IndexKernel  string `json:"index_kernel"` // what lookups of the index run
	Revision     string `json:"revision"`     // of the code; "unknown" for a build without version control
	Dirty        bool   `json:"dirty"`        // the code had changes beyond the revision

	CPU         string     `json:"cpu"`
	Cores       int        `json:"cores"`
	Caches      []string   `json:"caches,omitempty"` // of the first CPU, like "L2 1024K"
	SMT         string     `json:"smt,omitempty"`
	Governor    string     `json:"governor,omitempty"`
	THP         string     `json:"thp,omitempty"` // transparent huge pages
	Kernel      string     `json:"kernel,omitempty"`
	Hypervisor  bool       `json:"hypervisor"`
	MemoryBytes int64      `json:"memory_bytes,omitempty"`
	CgroupBytes int64      `json:"cgroup_memory_limit_bytes,omitempty"` // 0: no limit
	LoadAverage [3]float64 `json:"load_average"`                        // over 1, 5, 15 minutes, before the first trial

	// StealPercent is the share of the machine's CPU time that its hypervisor
	// gave to others: since boot, or over the run where a run has been made.
	StealPercent float64 `json:"steal_percent"`
}

// Read returns the environment now.
func Read() Env {
	e := Env{}
	e.readRuntime()
	e.readBuild()
	e.readSystem("/")
	return e
}

func (e *Env) readRuntime() {
	e.Go = runtime.Version()
	e.OS, e.Arch = runtime.GOOS, runtime.GOARCH
	e.GOMAXPROCS = runtime.GOMAXPROCS(0)
	e.Cores = runtime.NumCPU()
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/gomemlimit:bytes"}}
	metrics.Read(s)
	var refused error
	if e.IndexKernel, refused = shard.Kernel(); refused != nil {
		e.IndexKernel += fmt.Sprintf(" (%v)", refused)
	}
	e.GOGC = int64(s[0].Value.Uint64()) // off is the largest value, which turns to -1
	if limit := s[1].Value.Uint64(); limit < 1<<62 {
		e.GOMEMLIMIT = int64(limit)
	}
}

func (e *Env) readBuild() {
	e.Revision = "unknown"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			e.Revision = s.Value
		case "vcs.modified":
			e.Dirty = s.Value == "true"
		case "GOAMD64":
			e.GOAMD64 = s.Value
		case "GOEXPERIMENT":
			e.GOEXPERIMENT = s.Value
		}
	}
}

func (e *Env) readSystem(root string) {
	sys := system(root)
	for line := range strings.Lines(sys.text("proc/cpuinfo")) {
		key, value, _ := strings.Cut(line, ":")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch {
		case key == "model name" && e.CPU == "":
			e.CPU = value
		case key == "flags" && strings.Contains(" "+value+" ", " hypervisor "):
			e.Hypervisor = true
		}
	}
	e.Caches = sys.caches()
	e.SMT = sys.text("sys/devices/system/cpu/smt/control")
	e.Governor = sys.text("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
	e.THP = chosen(sys.text("sys/kernel/mm/transparent_hugepage/enabled"))
	e.Kernel = sys.text("proc/sys/kernel/osrelease")
	e.MemoryBytes = sys.memory()
	e.CgroupBytes = sys.cgroupLimit()
	for i, f := range strings.Fields(sys.text("proc/loadavg")) {
		if i < len(e.LoadAverage) {
			e.LoadAverage[i], _ = strconv.ParseFloat(f, 64)
		}
	}
	e.StealPercent = sys.cpuTime().stealPercent()
}

// system is the directory that /proc and /sys are in.
type system string

func (s system) text(path string) string {
	b, err := os.ReadFile(filepath.Join(string(s), path))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func (s system) caches() (caches []string) {
	dirs, _ := filepath.Glob(filepath.Join(string(s), "sys/devices/system/cpu/cpu0/cache/index*"))
	for _, d := range dirs {
		dir := system(d)
		name := "L" + dir.text("level")
		switch dir.text("type") {
		case "Data":
			name += "d"
		case "Instruction":
			name += "i"
		}
		caches = append(caches, name+" "+dir.text("size"))
	}
	return caches
}

func (s system) memory() int64 {
	for line := range strings.Lines(s.text("proc/meminfo")) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
			kib, _ := strconv.ParseInt(f[1], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// MemoryBytes is the memory that a program may use here: the machine's, or what
// the control group limits it to; 0: unknown.
func MemoryBytes() int64 {
	const root = system("/")
	have, limit := root.memory(), root.cgroupLimit()
	if limit > 0 && (have == 0 || limit < have) {
		return limit
	}
	return have
}

// ResidentBytes is the memory of this process that the system has given it; 0: unknown.
func ResidentBytes() int64 { return system("/").resident(int64(os.Getpagesize())) }

func (s system) resident(pageBytes int64) int64 {
	f := strings.Fields(s.text("proc/self/statm"))
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(f[1], 10, 64)
	return pages * pageBytes
}

// cgroupLimit reads the limit of version 2, then of version 1. Both are seen
// from inside the container: the root of its own hierarchy.
func (s system) cgroupLimit() int64 {
	for _, path := range []string{"sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		n, err := strconv.ParseInt(s.text(path), 10, 64)
		if err == nil && n < 1<<60 {
			return n
		}
	}
	return 0
}

// chosen returns the word in brackets of a line like "always [madvise] never".
func chosen(line string) string {
	_, rest, ok := strings.Cut(line, "[")
	if !ok {
		return line
	}
	word, _, _ := strings.Cut(rest, "]")
	return word
}

// Summary is the environment in a line.
func (e Env) Summary() string {
	cpu := e.CPU
	if cpu == "" {
		cpu = e.Arch
	}
	return fmt.Sprintf("%s, %d cores, GOMAXPROCS=%d, %s %s/%s", cpu, e.Cores, e.GOMAXPROCS, e.Go, e.OS, e.Arch)
}

// WriteText writes the environment for people, one line per fact.
func (e Env) WriteText(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, value string) {
		if value == "" {
			value = "unknown"
		}
		fmt.Fprintf(tw, "%s\t%s\n", name, value) // tw keeps the error for Flush
	}
	revision := e.Revision
	if e.Dirty {
		revision += " with changes"
	}
	line("go", strings.Join(strings.Fields(fmt.Sprintf("%s %s/%s %s", e.Go, e.OS, e.Arch, e.GOEXPERIMENT)), " "))
	line("revision", revision)
	line("index kernel", e.IndexKernel)
	line("GOMAXPROCS", strconv.Itoa(e.GOMAXPROCS))
	line("GOGC", strconv.FormatInt(e.GOGC, 10))
	if e.GOMEMLIMIT > 0 {
		line("GOMEMLIMIT", bytesText(e.GOMEMLIMIT))
	}
	if e.GOAMD64 != "" {
		line("GOAMD64", e.GOAMD64)
	}
	line("cpu", e.CPU)
	line("cores", strconv.Itoa(e.Cores))
	line("caches", strings.Join(e.Caches, ", "))
	line("smt", e.SMT)
	line("governor", e.Governor)
	line("huge pages", e.THP)
	line("kernel", e.Kernel)
	line("hypervisor", strconv.FormatBool(e.Hypervisor))
	line("memory", bytesText(e.MemoryBytes))
	limit := "none"
	if e.CgroupBytes > 0 {
		limit = bytesText(e.CgroupBytes)
	}
	line("cgroup limit", limit)
	line("load average", fmt.Sprintf("%.2f %.2f %.2f", e.LoadAverage[0], e.LoadAverage[1], e.LoadAverage[2]))
	line("steal", fmt.Sprintf("%.2f %% of CPU time since boot", e.StealPercent))
	return tw.Flush()
}

func bytesText(n int64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }
