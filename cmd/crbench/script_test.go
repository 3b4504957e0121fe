package main

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"crbench": main})
}

func TestScripts(t *testing.T) {
	golden, err := filepath.Abs("../../engine/testdata/golden.snapshot")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("GOLDEN", golden)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": code},
	})
}

// code is the command "code N PROGRAM [ARG...]" of scripts: it runs the program, which has to
// exit with N.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got, exited := 0, (*exec.ExitError)(nil)
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exited) {
		got = exited.ExitCode()
	} else {
		ts.Check(err)
	}
	// Only wrong usage comes with a pointer to --help.
	if usage := strings.HasSuffix(ts.ReadFile("stderr"), "--help' for usage.\n"); usage != (got == exitUsage) {
		ts.Fatalf("exit code %d, with a pointer to --help: %v", got, usage)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}
