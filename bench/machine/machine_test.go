package machine

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// fake makes a /proc and /sys of those files.
func fake(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for path, content := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestReadSystem(t *testing.T) {
	root := fake(t, map[string]string{
		"proc/cpuinfo":              "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nflags\t\t: fpu hypervisor avx2\nmodel name\t: Another\n",
		"proc/loadavg":              "0.50 0.25 0.10 1/100 1234\n",
		"proc/meminfo":              "MemTotal:        2048 kB\nMemFree: 1 kB\n",
		"proc/stat":                 "cpu  80 0 10 900 0 0 0 10 50 0\ncpu0 1 2 3\n",
		"proc/sys/kernel/osrelease": "6.1.0\n",
		"sys/kernel/mm/transparent_hugepage/enabled":           "always [madvise] never\n",
		"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
		"sys/devices/system/cpu/cpu0/cache/index0/level":       "1\n",
		"sys/devices/system/cpu/cpu0/cache/index0/type":        "Data\n",
		"sys/devices/system/cpu/cpu0/cache/index0/size":        "32K\n",
		"sys/devices/system/cpu/cpu0/cache/index2/level":       "2\n",
		"sys/devices/system/cpu/cpu0/cache/index2/type":        "Unified\n",
		"sys/devices/system/cpu/cpu0/cache/index2/size":        "1024K\n",
		"sys/fs/cgroup/memory.max":                             "1048576\n",
	})
	var e Env
	e.readSystem(root)
	if e.CPU != "Some CPU @ 3 GHz" || !e.Hypervisor || e.LoadAverage != [3]float64{0.5, 0.25, 0.1} || e.MemoryBytes != 2<<20 ||
		e.StealPercent != 1 || e.Kernel != "6.1.0" || e.THP != "madvise" || e.Governor != "performance" ||
		!slices.Equal(e.Caches, []string{"L1d 32K", "L2 1024K"}) || e.CgroupBytes != 1<<20 {
		t.Errorf("%+v", e)
	}
}

// TestReadNothing: on a system without these files nothing is known and
// nothing fails.
func TestReadNothing(t *testing.T) {
	var e Env
	e.readSystem(t.TempDir())
	if e.CPU != "" || e.Hypervisor || e.MemoryBytes != 0 || e.CgroupBytes != 0 || e.StealPercent != 0 || e.Caches != nil {
		t.Errorf("%+v", e)
	}
}

func TestCgroupWithoutLimit(t *testing.T) {
	for _, files := range []map[string]string{
		{"sys/fs/cgroup/memory.max": "max\n"},
		{"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"},
	} {
		if n := system(fake(t, files)).cgroupLimit(); n != 0 {
			t.Errorf("%v: limit %d, want none", files, n)
		}
	}
}

func TestRead(t *testing.T) {
	e := Read()
	if e.Go != runtime.Version() || e.GOMAXPROCS < 1 || e.Cores < 1 || e.GOGC == 0 || e.Revision == "" {
		t.Errorf("%+v", e)
	}
	var out bytes.Buffer
	if err := e.WriteText(&out); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), e.Go) || !strings.Contains(e.Summary(), e.Go) {
		t.Errorf("text does not name the Go version:\n%s", out.String())
	}
}

func TestWarnings(t *testing.T) {
	root := fake(t, map[string]string{
		"proc/loadavg": "1.50 0 0 1/100 1\n",
		"proc/stat":    "cpu  100 0 0 0 0 0 0 0\n",
	})
	w := newWatch(system(root))
	if got := w.Warnings(Env{Cores: 8}); len(got) != 0 {
		t.Errorf("1.5 of 8 cores in use: %q, want no warning", got)
	}
	if got := w.Warnings(Env{Cores: 8, Governor: "performance"}); len(got) != 0 {
		t.Errorf("the governor performance: %q, want no warning", got)
	}
	if got := w.Warnings(Env{Cores: 8, Governor: "powersave"}); len(got) != 1 || !strings.Contains(got[0], "set it to performance") {
		t.Errorf("the governor powersave: %q, want a warning that says what to do", got)
	}
	if got := w.Warnings(Env{Cores: 2}); len(got) != 1 || !strings.Contains(got[0], "stop other programs") {
		t.Errorf("1.5 of 2 cores in use: %q, want a warning that says what to do", got)
	}
	if err := os.WriteFile(filepath.Join(root, "proc/stat"), []byte("cpu  190 0 0 0 0 0 0 10\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := w.StealPercent(); got != 10 {
		t.Errorf("steal %v %%, want 10", got)
	}
	if got := w.Lap().StealPercent(); got != 0 {
		t.Errorf("steal %v %% of a new lap, want 0", got)
	}
	if got := w.Warnings(Env{Cores: 8}); len(got) != 1 || !strings.Contains(got[0], "10.0 %") {
		t.Errorf("10 %% steal: %q, want a warning", got)
	}
}

func TestResident(t *testing.T) {
	if got := system(fake(t, map[string]string{"proc/self/statm": "500 25 3 1 0 40 0\n"})).resident(4096); got != 25*4096 {
		t.Errorf("%d bytes, want %d", got, 25*4096)
	}
	if got := system(t.TempDir()).resident(4096); got != 0 {
		t.Errorf("%d bytes where nothing says, want 0", got)
	}
}
