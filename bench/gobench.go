package bench

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/perf/benchfmt"
)

// WriteBench writes every trial in the Go benchmark format, which benchstat reads: a line
// for each, and one for the percentiles of a result whose calls were timed. Names are like
//
//	BenchmarkLookupHit/target=index/objects=10000/threads=2
//
// where + stands for the / in the name of a target. Lines of configuration say what has to
// be the same for figures to be comparable, for benchstat does not compare where they
// differ; the revision of the code and the version of Go are not among them.
func (r *Report) WriteBench(w io.Writer) error {
	bw := benchfmt.NewWriter(w)
	for _, f := range figures {
		m := &benchfmt.UnitMetadata{UnitMetadataKey: benchfmt.UnitMetadataKey{Unit: f.unit, Key: "better"}, OrigUnit: f.unit, Value: "lower"}
		if err := bw.Write(m); err != nil {
			return fmt.Errorf("writing units: %w", err)
		}
	}
	config := r.benchConfig()
	for _, res := range r.Results {
		for _, line := range res.benchLines() {
			line.Config = config
			if err := bw.Write(line); err != nil {
				return fmt.Errorf("writing trials: %w", err)
			}
		}
	}
	return nil
}

func (r *Report) benchConfig() (config []benchfmt.Config) {
	for _, c := range []struct{ key, value string }{
		{"goos", r.Env.OS},
		{"goarch", r.Env.Arch},
		{"pkg", "github.com/objhash/objhash/bench"},
		{"cpu", r.Env.CPU},
		{"kernel", r.Env.Kernel},
		{"gomaxprocs", strconv.Itoa(r.Env.GOMAXPROCS)},
	} {
		if c.value != "" {
			config = append(config, benchfmt.Config{Key: c.key, Value: []byte(c.value), File: true})
		}
	}
	return config
}

func (res *Result) benchLines() (lines []*benchfmt.Result) {
	name := benchfmt.Name(fmt.Sprintf("%s/target=%s/objects=%d/threads=%d",
		camel(res.Profile), strings.ReplaceAll(res.Target, "/", "+"), res.Objects, res.Threads))
	for i, ns := range res.SamplesNs {
		values := []benchfmt.Value{{Value: ns, Unit: unitNs}}
		if i < len(res.SamplesBytes) {
			values = append(values, benchfmt.Value{Value: res.SamplesBytes[i], Unit: unitBytes})
		}
		lines = append(lines, &benchfmt.Result{Name: name, Iters: res.Ops, Values: values})
	}
	var calls []benchfmt.Value
	for _, f := range figures {
		switch v := f.of(res); {
		case v == nil || f.unit == unitNs || f.unit == unitBytes:
		case f.unit == unitResident: // of one trial in a process of its own
			lines = append(lines, &benchfmt.Result{Name: name, Iters: res.Ops, Values: []benchfmt.Value{{Value: *v, Unit: f.unit}}})
		default:
			calls = append(calls, benchfmt.Value{Value: *v, Unit: f.unit})
		}
	}
	if len(calls) > 0 {
		lines = append(lines, &benchfmt.Result{Name: name, Iters: int(res.Latency.Calls), Values: calls})
	}
	return lines
}

// camel turns a profile's name into that of a benchmark, such as CheckpointZipf.
func camel(name string) string {
	words := strings.FieldsFunc(name, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	for i, w := range words {
		first, size := utf8.DecodeRuneInString(w)
		words[i] = string(unicode.ToUpper(first)) + w[size:]
	}
	return strings.Join(words, "")
}
