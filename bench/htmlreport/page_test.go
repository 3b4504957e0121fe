package htmlreport_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/net/html"

	"github.com/objhash/objhash/bench/htmlreport"
)

// everything is a folder of a run with all that a page can show, some of it hostile.
func everything(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	b, err := os.ReadFile("testdata/everything.json")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "report.json"), string(b))
	if err := os.Mkdir(filepath.Join(dir, "latency"), 0o755); err != nil {
		t.Fatal(err)
	}
	h := hdrhistogram.New(1, 10_000_000_000, 3)
	for ns := range int64(5000) {
		if err := h.RecordValue(40 + ns*ns/5000); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	if err := hdrhistogram.NewHistogramLogWriter(&log).OutputIntervalHistogram(h); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "latency", "grow-10000-1t-index.hlog"), log.String())
	write(t, filepath.Join(dir, "latency", "grow-10000-1t-xsync4.hlog"), "no histogram")
	return dir
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func canonical(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("../../results/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	folders, err := filepath.Glob("../../results/*/report.json")
	if err != nil {
		t.Fatal(err)
	}
	return append(paths, folders...)
}

func render(t *testing.T, paths ...string) string {
	t.Helper()
	runs, err := htmlreport.Load(paths)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := htmlreport.Write(&b, runs); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// element is a node of a page with what tests ask of it.
type element struct{ *html.Node }

func (e element) attr(key string) string {
	for _, a := range e.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

func (e element) text() string {
	var b strings.Builder
	for n := range e.Descendants() {
		if n.Type == html.TextNode {
			b.WriteString(n.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func (e element) all(name string) (found []element) {
	for n := range e.Descendants() {
		if n.Type == html.ElementNode && n.Data == name {
			found = append(found, element{n})
		}
	}
	return found
}

func parse(t *testing.T, page string) element {
	t.Helper()
	n, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	return element{n}
}

// section is the profile's section of a page with that heading.
func section(t *testing.T, page element, heading string) element {
	t.Helper()
	for _, s := range page.all("section") {
		if s.attr("class") == "profile" && s.all("h3")[0].text() == heading {
			return s
		}
	}
	t.Fatalf("no section %q", heading)
	return element{}
}

func figure(t *testing.T, within element, title string) element {
	t.Helper()
	for _, f := range within.all("figure") {
		if f.all("b")[0].text() == title {
			return f
		}
	}
	t.Fatalf("no figure %q", title)
	return element{}
}

func TestPageIsOneFile(t *testing.T) {
	page := render(t, append(canonical(t), everything(t))...)
	root := parse(t, page)
	for _, name := range []string{"script", "img", "iframe", "object", "embed", "form", "base"} {
		if n := len(root.all(name)); n > 0 {
			t.Errorf("%d elements %s", n, name)
		}
	}
	ids := map[string]bool{}
	for n := range root.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		e := element{n}
		if id := e.attr("id"); id != "" {
			if ids[id] {
				t.Errorf("the id %q is there twice", id)
			}
			ids[id] = true
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "src" || a.Key == "href" && !strings.HasPrefix(a.Val, "#") && a.Val != "data:," {
				t.Errorf("%s has %s=%q", n.Data, a.Key, a.Val)
			}
		}
	}
	for _, a := range root.all("a") {
		if id := strings.TrimPrefix(a.attr("href"), "#"); !ids[id] {
			t.Errorf("the link %q leads nowhere", id)
		}
	}
	if strings.Contains(root.all("style")[0].text(), "url(") {
		t.Error("the style fetches something")
	}
}

func TestSameDocumentsMakeTheSamePage(t *testing.T) {
	paths := append(canonical(t), "testdata/everything.json")
	first, second := render(t, paths...), render(t, paths...)
	if first != second {
		t.Error("two pages of the same documents differ")
	}
}

func TestAnswer(t *testing.T) {
	root := parse(t, render(t, everything(t)))
	var answer element
	for _, d := range root.all("div") {
		if d.attr("class") == "answer" {
			answer = d
		}
	}
	text := answer.text()
	for _, want := range []string{
		"index was the fastest in 2 of 3 profiles and index-batch in 1, but not clearly ahead of all others in 1.",
		"1 result failed verification, without figures; 11 of 13 results were verified after every trial; 1 figure of what is no table cannot be verified.",
		"grow (1,000,000 objects, 2 threads): index, 40.0 ns/op [38.0, 42.0], 3.00 times as fast as xsync4 [2.90, 3.10].",
		"lookup-hit (10,000 objects, 1 thread): index-batch, 5.00 ns/op [4.00, 6.00], 8.00 times as fast as xsync4 [6.17, 10.8]; not clearly ahead of index.",
		"Threshold: grow, 10,000 objects, 1 thread: index: p99_ns at most 80: CROSSED by 90",
		"Failed: objhash in grow, 10,000 objects, 1 thread: 2 objrefs of one object",
		"Mind: the load average was 9",
		"Mind: The run was interrupted",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the answer:\n%s", want, text)
		}
	}
	if strings.Contains(text, "floor") {
		t.Errorf("the bound takes part:\n%s", text)
	}
}

func TestCharts(t *testing.T) {
	root := parse(t, render(t, everything(t)))
	grow := section(t, root, "grow")
	for title, cells := range map[string][]string{
		"Time per operation: 10,000 objects, 1 thread":         {"index", "20.0", "[19.0, 21.0]", "50.0", "FAILED", "2.00 [1.86, 2.15]", "10 1 outlier, up to 7 % of the CPU stolen"},
		"Memory: 10,000 objects":                               {"index", "12.5", "own account", "44.2"},
		"Throughput by threads: 1,000,000 objects":             {"index", "25.0 [23.8, 26.3]"},
		"Time by size: 1 thread":                               {"index", "20.0 [19.0, 21.0]", "30.0 [29.0, 31.0]"},
		"Latency: 10,000 objects, 1 thread":                    {"index", "40.0 ns", "1.20 ms", "control", "5,000 1 of 64", "5,000 1.5M of 2M ops/s served"},
		"CPU time: 10,000 objects, 1 thread":                   {"index", "60 %", "brewing", "1,234"},
		"Waiting: 1,000,000 objects, 2 threads":                {"xsync4", "5.50", "3.25"},
		"Times as fast as index: 1,000,000 objects, 2 threads": {"xsync4", "index", "0.33", "[0.32, 0.34]", "0.0001", "yes"},
	} {
		f := figure(t, grow, title)
		have := map[string]bool{}
		for _, name := range []string{"td", "th"} {
			for _, c := range f.all(name) {
				have[c.text()] = true
			}
		}
		for _, want := range cells {
			if !have[want] {
				t.Errorf("%s: no %q in its table: %v", title, want, have)
			}
		}
	}
	if lines := figure(t, grow, "Latency: 10,000 objects, 1 thread").all("path"); !longPath(lines) {
		t.Error("the whole histogram is not drawn")
	}
	var captions []string
	for _, c := range root.all("caption") {
		captions = append(captions, c.text())
	}
	for _, want := range []string{"ns/op, 1 thread", "Thresholds of the profiles", "What was not measured"} {
		if !strings.Contains(strings.Join(captions, "\n"), want) {
			t.Errorf("no table %q", want)
		}
	}
}

func TestThresholds(t *testing.T) {
	root := parse(t, render(t, everything(t)))
	var rows []string
	for _, tr := range root.all("tr") {
		rows = append(rows, tr.text())
	}
	for _, want := range []string{
		"growindex10,0001p99_nsat most 80.090.0CROSSED",
		"growindex10,0001times_faster than xsync4at least 1.502.00kept",
		"growobjhash10,0001ns_per_opat most 80.0–not measured",
	} {
		if !slices.Contains(rows, want) {
			t.Errorf("no row %q", want)
		}
	}
}

// Threads that could not run at a time are marked wherever their figures are.
func TestMoreThreadsThanProcessors(t *testing.T) {
	page := parse(t, render(t, "testdata/threads.json"))
	text := page.text()
	for _, want := range []string{"Time per operation: 1,000 objects, 64 threads on 2 processors", "ns/op, 8 threads on 2 processors", "More than 2 threads took turns on 2 processors"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	for title, marked := range map[string]bool{"Throughput by threads: 1,000 objects": true, "Time by size: 1 thread": false} {
		svg := figure(t, page, title).all("svg")[0]
		if strings.Contains(svg.text(), "more than processors") != marked {
			t.Errorf("%s: marked: %v", title, !marked)
		}
	}
}

// longPath says whether one of the paths has more points than a document has percentiles.
func longPath(paths []element) bool {
	for _, p := range paths {
		if strings.Count(p.attr("d"), "L") > 10 {
			return true
		}
	}
	return false
}

func TestHostileNamesAreText(t *testing.T) {
	page := render(t, everything(t))
	if strings.Contains(page, "<script") || strings.Contains(page, "<img") {
		t.Error("a name became an element")
	}
	root := parse(t, page)
	s := section(t, root, "<script>hacked=1</script>")
	if got := s.all("figure")[0].all("title")[0].text(); got != "Time per operation: 100 objects, 1 thread" {
		t.Errorf("title %q", got)
	}
	if pre := root.all("pre")[0].text(); !strings.Contains(pre, "crbench run && <b>") {
		t.Errorf("the command is %q", pre)
	}
}

func TestModel(t *testing.T) {
	root := parse(t, render(t, "../../results/model.json"))
	if n := len(section(t, root, "Predictions").all("figure")); n < 2 {
		t.Errorf("%d charts of predictions", n)
	}
}

// A document has figures or not, in any combination.
func TestMissingFigures(t *testing.T) {
	dir := t.TempDir()
	for name, results := range map[string]string{
		"none":      `null`,
		"no figure": `[{"profile":"p","target":"a","objects":1,"threads":1}]`,
		"failed":    `[{"profile":"p","target":"a","objects":1,"threads":1,"error":"lost one"}]`,
		"bound":     `[{"profile":"p","target":"floor","objects":1,"threads":1,"trials":1,"no_table":true,"ns_per_op":{"median":1,"low":1,"high":1}}]`,
		"no object": `[{"profile":"p","target":"a","objects":0,"threads":1,"verified":true,"trials":1,"ns_per_op":{"median":1,"low":1,"high":1}},
			{"profile":"p","target":"a","objects":5,"threads":1,"verified":true,"trials":1,"ns_per_op":{"median":1,"low":1,"high":1}}]`,
		"empty latency": `[{"profile":"p","target":"a","objects":1,"threads":1,"verified":true,"trials":1,"ns_per_op":{"median":1,"low":1,"high":1},"latency":{"calls":0}}]`,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".json")
			write(t, path, `{"schema":"objhash.crbench/1","results":`+results+`}`)
			page := render(t, path)
			for _, bad := range []string{"NaN", "Inf", "<nil>", "%!"} {
				if strings.Contains(page, bad) {
					t.Errorf("the page has %q", bad)
				}
			}
		})
	}
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ document, message string }{
		{`{"schema": "objhash.crbench/1", "results": `, "unexpected end of JSON input"},
		{`[]`, "cannot unmarshal array"},
		{`{}`, "it has no schema"},
		{`{"schema":"objhash.crbench/9"}`, `its schema is "objhash.crbench/9"; this crbench reads "objhash.crbench/1" and`},
		{`{"schema":"objhash.crbench/1","results":[null]}`, "result 0 is null"},
		{`{"schema":"objhash.crbench/1","results":[{"objects":-1,"threads":1}]}`, "result 0 has -1 objects"},
		{`{"schema":"objhash.crbench/1","results":[{"objects":1,"threads":1,"ns_per_op":{"median":0,"low":0,"high":0}}]}`, "result 0 has {0 0 0} ns per operation"},
		{`{"schema":"objhash.crbench/1","results":[{"objects":1,"threads":1,"ns_per_op":{"median":1e300,"low":1,"high":1}}]}`, "result 0 has"},
		{`{"schema":"objhash.crbench/1","results":[{"objects":1,"threads":1,"bytes_per_object":1e300}]}`, "bytes per object"},
		{`{"schema":"objhash.crbench/1","results":[{"objects":1,"threads":1,"cpu":{"shares":{"hash":2}}}]}`, `share 2 on "hash"`},
		{`{"schema":"objhash.crbench/1","pairs":[{"times_faster":{"median":1}}]}`, "pair 0 is"},
		{`{"schema":"objhash.model/2","results":[null]}`, "result 0 is null"},
		{`{"schema":"objhash.model/2","results":[{"threads":0}]}`, "0 threads"},
		{`{"schema":"objhash.model/2","results":[{"threads":1,"predicted_ns_per_op":-1}]}`, "no time"},
	} {
		path := filepath.Join(dir, "x.json")
		write(t, path, c.document)
		_, err := htmlreport.Load([]string{path})
		if !errors.Is(err, htmlreport.ErrNoReport) || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: %v; want %q", c.document, err, c.message)
		}
	}
	if _, err := htmlreport.Load([]string{dir}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder without a report: %v", err)
	}
}

// Whatever is in a document, it is an error or a page that a parser reads as one.
func FuzzPage(f *testing.F) {
	b, err := os.ReadFile("testdata/everything.json")
	if err != nil {
		f.Fatal(err)
	}
	var small any
	if err := json.Unmarshal(b, &small); err != nil {
		f.Fatal(err)
	}
	compact, err := json.Marshal(small)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(compact)
	f.Fuzz(func(t *testing.T, document []byte) {
		path := filepath.Join(t.TempDir(), "x.json")
		write(t, path, string(document))
		runs, err := htmlreport.Load([]string{path})
		if err != nil {
			return
		}
		var page bytes.Buffer
		if err := htmlreport.Write(&page, runs); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(page.Bytes(), []byte("<script")) {
			t.Error("a name became an element")
		}
	})
}
