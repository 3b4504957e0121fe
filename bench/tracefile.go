package bench

import (
	"fmt"
	"io"
	"os"

	"github.com/objhash/objhash/bench/trace"
	"github.com/objhash/objhash/bench/traces"
)

// OpenTrace reads the trace in a file, or the embedded one if path is "". name
// is what reports call it.
func OpenTrace(path string) (t *trace.Trace, name string, err error) {
	if path == "" {
		t, err = traces.GoHeapSmall()
		return t, "goheap-small (embedded)", err
	}
	t, err = trace.ReadFile(path)
	return t, path, err
}

// ImportTSV turns encounters that are recorded as text into a trace file, the
// first head of them or, if head is 0, all; it writes a summary to w.
func ImportTSV(w io.Writer, from, to string, head int) error {
	if head < 0 {
		return fmt.Errorf("%w: %d encounters to import; want 1 or more, or 0 for all", ErrChoice, head)
	}
	if err := folderExists(to); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("importing: %w", err)
	}
	defer in.Close() // was only read
	t, err := trace.ImportTSV(in)
	if err != nil {
		return fmt.Errorf("importing %s: %w", from, err)
	}
	if len(t.Encounters) == 0 {
		return fmt.Errorf("importing %s: there are no encounters in it; want lines of holder, kind and ptr", from)
	}
	if head > 0 {
		t = t.Head(head)
	}
	if err := writeFile(to, func(w io.Writer) error { return trace.Write(w, t) }); err != nil {
		return err
	}
	info, err := os.Stat(to)
	if err != nil {
		return fmt.Errorf("importing %s: %w", from, err)
	}
	_, err = fmt.Fprintf(w, "%s: %s of %s by %s, %s, %s bytes (%.2f per encounter)\n", to,
		plural(len(t.Encounters), "encounter"), plural(t.Objects(), "object"), plural(t.Holders(), "holder"),
		plural(len(t.Kinds), "kind"), grouped(int(info.Size())), float64(info.Size())/float64(max(1, len(t.Encounters))))
	return err
}
