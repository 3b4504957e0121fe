//go:build !race

// The browser is a process of its own, of which the race detector sees nothing and which
// would only take longer beside it.

package htmlreport_test

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// inspect returns what is wrong with a page that is shown, and what its background is.
//
//go:embed testdata/inspect.js
var inspect string

// browser starts a browser without a window.
func browser(t *testing.T) context.Context {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		t.Skip("no chromium here to look at the page with; install it, as .ci/run does: apt-get install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path),
		chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(time.Minute))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // it has none for root
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if _, err := chromedp.Run(ctx, chromedp.Title()); err != nil {
		t.Fatalf("starting %s: %v", path, err)
	}
	return ctx
}

// complaints are what a browser said of a page, and what it wanted from elsewhere.
type complaints struct {
	sync.Mutex
	page string // that is shown
	all  []string
}

func (c *complaints) hear(event any) {
	c.Lock()
	defer c.Unlock()
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		c.all = append(c.all, fmt.Sprintf("console: %s", e.Type))
	case *runtime.EventExceptionThrown:
		c.all = append(c.all, "exception: "+e.ExceptionDetails.Text)
	case *log.EventEntryAdded:
		c.all = append(c.all, "log: "+e.Entry.Text)
	case *network.EventRequestWillBeSent:
		if url := e.Request.URL; url != c.page && !strings.HasPrefix(url, "data:") {
			c.all = append(c.all, "request: "+url)
		}
	}
}

func (c *complaints) show(page string) {
	c.Lock()
	defer c.Unlock()
	c.page = page
}

func (c *complaints) take() (all []string) {
	c.Lock()
	defer c.Unlock()
	all, c.all = c.all, nil
	return all
}

// tab shows pages, and what is wrong with them.
type tab struct {
	ctx  context.Context
	said complaints
}

func open(t *testing.T, browser context.Context) *tab {
	t.Helper()
	p := &tab{}
	ctx, cancel := chromedp.NewContext(browser)
	t.Cleanup(cancel)
	p.ctx = ctx
	if err := chromedp.Listen(ctx, func(event any) { p.said.hear(event) }); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); err != nil {
		t.Fatal(err)
	}
	return p
}

// look shows a page and returns what is wrong.
func (p *tab) look(t *testing.T, path string, width int64, scheme string) verdict {
	t.Helper()
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		t.Fatal(err)
	}
	url := "file://" + path
	p.said.show(url)
	if err := chromedp.Do(p.ctx, chromedp.EmulateViewport(width, 800), chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[verdict](inspect))
	if err != nil {
		t.Fatal(err)
	}
	v.Problems = append(v.Problems, p.said.take()...)
	return v
}

// verdict is what inspect says.
type verdict struct {
	Problems   []string `json:"problems"`
	Charts     int      `json:"charts"`
	Brightness float64  `json:"brightness"` // of the background, 0..1
}

func TestInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser takes seconds to start")
	}
	shown := open(t, browser(t))
	t.Run("pages", func(t *testing.T) { pagesAreRight(t, shown) })
	t.Run("planted", func(t *testing.T) { plantedFaultsAreFound(t, shown) })
}

func pagesAreRight(t *testing.T, shown *tab) {
	dir := t.TempDir()
	for _, c := range []struct {
		name   string
		paths  []string
		width  int64
		scheme string
	}{
		{"everything", []string{everything(t)}, 360, "light"},
		{"everything", []string{everything(t)}, 360, "dark"},
		{"everything", []string{everything(t)}, 1280, "light"},
		{"everything", []string{everything(t)}, 1280, "dark"},
		{"threads", []string{"testdata/threads.json"}, 360, "light"},
		{"canonical", canonical(t), 360, "dark"}, // of these the charts count, which are the same in all
	} {
		t.Run(fmt.Sprintf("page=%s/width=%d/scheme=%s", c.name, c.width, c.scheme), func(t *testing.T) {
			path := filepath.Join(dir, c.name+".html")
			write(t, path, render(t, c.paths...))
			got := shown.look(t, path, c.width, c.scheme)
			for _, p := range got.Problems {
				t.Error(p)
			}
			if got.Charts < 10 {
				t.Errorf("%d charts", got.Charts)
			}
			if dark := got.Brightness < 0.5; dark != (c.scheme == "dark") {
				t.Errorf("the background has the brightness %.2f", got.Brightness)
			}
		})
	}
}

// What inspect and the listener are for, planted in a page: each is found.
func plantedFaultsAreFound(t *testing.T, shown *tab) {
	page := render(t, everything(t))
	dir := t.TempDir()
	for i, c := range []struct{ old, planted, found string }{
		{"<main", `<div style="width:2000px">.</div><main`, "wider than the screen"},
		{"--dim: #565d6b", "--dim: #b0b4bc", "contrast"},
		{"--c1: #c65100", "--c1: #ffd0a0", "contrast"},
		{`aria-labelledby="chart1-title chart1-desc"`, "", "svg without a name"},
		{`<th scope="row">`, `<td>`, "row without a header"},
		{`<th scope="col">`, `<th>`, "header without a scope"},
		{"<caption>", "<caption hidden>", "without a caption"},
		{`x="360"`, `x="420"`, "cut off"},
		{`class="value" x="360"`, `class="value" x="60"`, "overlaps"},
		{"<main", `<img src="http://192.0.2.1/x.png"><main`, "request: http://192.0.2.1/x.png"},
		{"<main", `<script>throw new Error("planted")</script><main`, "log: "}, // refused by the page's own policy
		{`default-src 'none'`, `default-src 'none'; script-src 'unsafe-inline'"><script>hacked=1</script><meta content="`, "a script ran"},
	} {
		t.Run(c.found, func(t *testing.T) {
			if !strings.Contains(page, c.old) {
				t.Fatalf("no %q in the page", c.old)
			}
			path := filepath.Join(dir, fmt.Sprintf("%d.html", i))
			write(t, path, strings.Replace(page, c.old, c.planted, 1))
			got := shown.look(t, path, 360, "light")
			if all := strings.Join(got.Problems, "\n"); !strings.Contains(all, c.found) {
				t.Errorf("not found; only:\n%s", all)
			}
		})
	}
}
