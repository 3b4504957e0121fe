package schema_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/objhash/objhash/bench"
	"github.com/objhash/objhash/bench/schema"
)

func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema.CRBench1))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("crbench-1.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("crbench-1.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func document(t *testing.T, b []byte) any {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// TestEveryFieldIsDescribed holds for all objects, and all their fields.
func TestEveryFieldIsDescribed(t *testing.T) {
	walk := func(path string, v any) {
		object, _ := v.(map[string]any)
		properties, _ := object["properties"].(map[string]any)
		for name, p := range properties {
			if d, _ := p.(map[string]any)["description"].(string); d == "" {
				t.Errorf("%s.%s has no description", path, name)
			}
		}
		if properties != nil && object["additionalProperties"] != false {
			t.Errorf("%s allows fields that are not described", path)
		}
	}
	root := document(t, schema.CRBench1).(map[string]any)
	walk("", root)
	defs := root["$defs"].(map[string]any)
	if len(defs) == 0 {
		t.Fatal("no definitions")
	}
	for name, d := range defs {
		walk(name, d)
	}
}

// TestResultsOfTheRepository are all that crbench run wrote.
func TestResultsOfTheRepository(t *testing.T) {
	s, checked := compiled(t), 0
	paths, err := filepath.Glob("../../results/*.json")
	if err != nil {
		t.Fatal(err)
	}
	deeper, err := filepath.Glob("../../results/*/report.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(paths, deeper...) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		doc := document(t, b)
		if doc.(map[string]any)["schema"] != bench.Schema {
			continue // of another command
		}
		checked++
		if err := s.Validate(doc); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if checked == 0 {
		t.Error("there is no report among the results")
	}
}

// TestRealOutput has every sort of field that a run writes.
func TestRealOutput(t *testing.T) {
	most := 1e9
	profiles, err := bench.ChooseProfiles([]string{"grow", "lookup-hit", "replay"})
	if err != nil {
		t.Fatal(err)
	}
	targets, err := bench.ChooseTargets([]string{"index", "baseline", "floor"})
	if err != nil {
		t.Fatal(err)
	}
	profiles[0].Thresholds = []bench.Threshold{{Target: "index", What: "ns/op", Max: &most}, {Target: "index", What: "p99-ns", Max: &most}}
	trace, name, err := bench.OpenTrace("")
	if err != nil {
		t.Fatal(err)
	}
	r, err := bench.Run(t.Context(), bench.Config{
		Profiles: profiles, Targets: targets, Objects: []int{500}, Threads: []int{1, 2}, Trials: 2, Seed: 1, Latency: true,
		Trace: trace, TraceName: name, Options: map[string][]string{"trials": {"2"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := r.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"thresholds", "skipped", "controls", "latency", "profiles", "samples_bytes", "options", "finished"} {
		if !strings.Contains(out.String(), `"`+field+`":`) {
			t.Errorf("the run has no %s", field)
		}
	}
	if err := compiled(t).Validate(document(t, out.Bytes())); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// TestRefuses documents that are wrong in one thing each.
func TestRefuses(t *testing.T) {
	s := compiled(t)
	var out bytes.Buffer
	right := bench.Report{Schema: bench.Schema, Results: []*bench.Result{{Profile: "grow", Target: "index", Threads: 1}}}
	if err := right.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(document(t, out.Bytes())); err != nil {
		t.Fatalf("a right one: %v", err)
	}
	for _, c := range [][2]string{
		{`"objhash.crbench/1"`, `"objhash.crbench/2"`},
		{`"verified": false`, `"verified": "no"`},
		{`"verified": false`, `"verified": false, "nonsense": 1`},
		{`"trials": 0,`, ``},
		{`"cores": 0`, `"cores": -1`},
	} {
		wrong := strings.Replace(out.String(), c[0], c[1], 1)
		if wrong == out.String() {
			t.Fatalf("no %s in the document", c[0])
		}
		if err := s.Validate(document(t, []byte(wrong))); err == nil {
			t.Errorf("accepted with %s in place of %s", c[1], c[0])
		}
	}
}
