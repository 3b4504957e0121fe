package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"github.com/objhash/objhash/bench/rundir"
)

// lines is a stream that a test can read while it is written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// writeCPUProfile makes a run with one profile of one sample.
func writeCPUProfile(t *testing.T) (run string) {
	t.Helper()
	f := &profile.Function{ID: 1, Name: "example.Hot", SystemName: "example.Hot"}
	l := &profile.Location{ID: 1, Line: []profile.Line{{Function: f, Line: 1}}}
	unit := &profile.ValueType{Type: "cpu", Unit: "nanoseconds"}
	run = t.TempDir()
	if err := os.Mkdir(filepath.Join(run, "cpu"), 0o755); err != nil {
		t.Fatal(err)
	}
	err := write(filepath.Join(run, "cpu", "grow-1-1t-index"+rundir.ProfileSuffix), &profile.Profile{
		SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}, unit},
		Sample:     []*profile.Sample{{Location: []*profile.Location{l}, Value: []int64{1, 1e7}}},
		Location:   []*profile.Location{l}, Function: []*profile.Function{f}, PeriodType: unit, Period: 1e7,
	})
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// TestPprofServes looks at pprof's pages, and ends them as Ctrl-C does.
func TestPprofServes(t *testing.T) {
	home := t.TempDir() // where pprof would keep copies of profiles
	t.Setenv("HOME", home)
	t.Setenv("PPROF_TMPDIR", "")
	t.Setenv("PATH", "") // without graphviz, or a browser
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out, errs lines
	code := make(chan int, 1)
	go func() {
		code <- execute(ctx, []string{"crbench", "pprof", writeCPUProfile(t), "--no-browser", "--http", "127.0.0.1:0"}, &out, &errs)
	}()
	served := regexp.MustCompile(`Serving web UI on (http://127\.0\.0\.1:\d+)`)
	var url string
	for deadline := time.Now().Add(time.Minute); url == ""; time.Sleep(10 * time.Millisecond) {
		if m := served.FindStringSubmatch(errs.String()); m != nil {
			url = m[1]
		} else if len(code) > 0 || time.Now().After(deadline) {
			t.Fatalf("no pages; says\n%s", errs.String())
		}
	}
	for _, page := range []string{"/", "/flamegraph", "/top"} {
		if body := get(t, url+page); !strings.Contains(body, "example.Hot") {
			t.Errorf("%s does not have the function:\n%.2000s", page, body)
		}
	}
	if !strings.Contains(errs.String(), "no dot here") {
		t.Errorf("does not say that the graph needs dot:\n%s", errs.String())
	}
	cancel()
	if c := <-code; c != exitOK {
		t.Errorf("exit code %d; says\n%s", c, errs.String())
	}
	if _, err := http.Get(url); err == nil {
		t.Error("it still serves")
	}
	if kept, err := os.ReadDir(home); err != nil || len(kept) > 0 {
		t.Errorf("it left %v in the home folder, %v", kept, err)
	}
}

// get is patient with a server that has said where it is but does not listen yet.
func get(t *testing.T, url string) string {
	t.Helper()
	var err error
	for range 500 {
		var r *http.Response
		if r, err = http.Get(url); err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		defer r.Body.Close()
		body, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != http.StatusOK {
			t.Errorf("%s: %s, %v", url, r.Status, err)
		}
		return string(body)
	}
	t.Fatal(err)
	return ""
}

// TestFindBinary takes this program for the one that made a profile if its mark agrees.
func TestFindBinary(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	id := buildID(self)
	mine, other := &profile.Mapping{File: "/old", BuildID: id}, &profile.Mapping{File: "/other", BuildID: "0123"}
	findBinary(&profile.Profile{Mapping: []*profile.Mapping{mine, other}})
	if id != "" && mine.File != self || other.File != "/other" {
		t.Errorf("build id %q: the programs are at %s and %s", id, mine.File, other.File)
	}
	if id := buildID(filepath.Join(t.TempDir(), "none")); id != "" {
		t.Errorf("a missing file has the build id %q", id)
	}
}
