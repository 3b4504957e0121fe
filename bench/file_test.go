package bench_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/objhash/objhash/bench"
)

func TestFile(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "report.json"), filepath.Join(dir, "latest.json")
	if err := os.Symlink(path, link); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	for _, command := range []string{"first", "second"} {
		for _, name := range []string{path, link} {
			f, err := bench.NewFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Save(&bench.Report{Command: command}); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path)
			if err != nil || !strings.Contains(string(b), command) {
				t.Errorf("saved to %s: %s, %v", name, b, err)
			}
		}
	}
	if info, err := os.Lstat(link); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v, %v", info, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("left in the folder: %v, %v", entries, err)
	}
	if _, err := bench.NewFile(filepath.Join(dir, "none", "x.json")); err == nil || !strings.Contains(err.Error(), "no folder") {
		t.Errorf("a missing folder: %v", err)
	}
}
