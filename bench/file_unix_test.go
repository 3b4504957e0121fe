//go:build unix

package bench_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/objhash/objhash/bench"
)

// TestFileIsNoFile saves to a pipe, which stands for all that must not be
// replaced by a file: /dev/null, /dev/stdout.
func TestFileIsNoFile(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skipf("no pipes here: %v", err)
	}
	reader, err := os.OpenFile(pipe, os.O_RDWR, 0) // does not wait for a writer
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	f, err := bench.NewFile(pipe)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Save(&bench.Report{}); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 1)
	if _, err := reader.Read(first); err != nil || first[0] != '{' {
		t.Errorf("read %q, %v from the pipe", first, err)
	}
	if info, err := os.Stat(pipe); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("the pipe was replaced: %v, %v", info, err)
	}
}
