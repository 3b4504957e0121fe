package engine_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/bits"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestImports: the engine can be embedded: it needs the standard library, this module
// and four small ones, and no cgo.
func TestImports(t *testing.T) {
	if bits.UintSize == 32 {
		t.Skip("the 64-bit test asks for 32 bits as well, and emulators do not like programs that start others")
	}
	goCommand, err := exec.LookPath("go")
	if err != nil {
		t.Skip("there is no go command here to ask")
	}
	const self = "github.com/objhash/objhash"
	allowed := []string{
		"golang.org/x/sys",
		"golang.org/x/sync",
		"github.com/zeebo/xxh3",
		"github.com/klauspost/cpuid/v2", // of xxh3
		"github.com/puzpuzpuz/xsync/v3",
	}
	ownAllowed := []string{self + "/engine", self + "/shard", self + "/refcount", self + "/internal"}
	for _, env := range [][]string{
		{"CGO_ENABLED=0"},
		{"CGO_ENABLED=1"}, // with cgo at hand it must not be taken either
		{"CGO_ENABLED=0", "GOARCH=386"},
	} {
		cmd := exec.Command(goCommand, "list", "-deps", "-json=ImportPath,Standard,Module,CgoFiles,Error", ".")
		cmd.Env = append(os.Environ(), env...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
		}
		seen := 0
		for dec := json.NewDecoder(bytes.NewReader(out)); ; seen++ {
			var p struct {
				ImportPath string
				Standard   bool
				Module     *struct{ Path string }
				CgoFiles   []string
				Error      *struct{ Err string }
			}
			if err := dec.Decode(&p); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			switch {
			case p.Error != nil:
				t.Errorf("%s: %s", p.ImportPath, p.Error.Err)
			case p.ImportPath == "runtime/cgo" || p.ImportPath == "C" || len(p.CgoFiles) > 0:
				t.Errorf("%s needs cgo", p.ImportPath)
			case p.Standard:
			case p.Module == nil:
				t.Errorf("%s is of no module", p.ImportPath)
			case p.Module.Path == self:
				if !slices.ContainsFunc(ownAllowed, func(own string) bool {
					return p.ImportPath == own || strings.HasPrefix(p.ImportPath, own+"/")
				}) {
					t.Errorf("the engine must not know of %s", p.ImportPath)
				}
			case !slices.Contains(allowed, p.Module.Path):
				t.Errorf("%s, of module %s, is not to be needed", p.ImportPath, p.Module.Path)
			}
		}
		if seen < 20 {
			t.Errorf("go list names %d packages only:\n%s", seen, out)
		}
	}
}
