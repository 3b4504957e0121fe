package bench_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/objhash/objhash/bench"
)

// write puts files into a folder, and returns the path of the first.
func write(t testing.TB, files ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i := 0; i < len(files); i += 2 {
		path := filepath.Join(dir, files[i])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[i+1]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, files[0])
}

// head is lines 1 to 3 of a profile that lacks its phases alone.
const head = "description = \"x\"\nobjects = 100\nkinds = [\"file\", \"mm\"]\n"

// fill is lines 4 to 9.
const fill = "[[phase]]\nname = \"fill\"\nop = \"encounter\"\ndraw = \"each\"\nper_object = 1\ntimed = true\n"

// sound is a whole profile, with its phase in lines 4 to 9.
const sound = head + fill

// counts is a profile of counting but for its phases, which begin in line 3.
const counts = "description = \"x\"\nobjects = 100\n"

func phase(name string, lines ...string) string {
	return fmt.Sprintf("[[phase]]\nname = %q\n%s\n", name, strings.Join(lines, "\n"))
}

func TestMistakesInProfiles(t *testing.T) {
	count := phase("count", `op = "count"`, `draw = "each"`, "per_object = 1", "timed = true")
	zipfCount := phase("count", `op = "count"`, `draw = "zipf"`, "theta = 1", "per_object = 1", "timed = true")
	uncount := phase("uncount", `op = "uncount"`, `draw = "again"`)
	closing := phase("close", `op = "close"`)
	handles := phase("handles", `op = "count"`, `draw = "handles"`, "tasks = 5", "per_task = 8", `spread = "uniform"`)
	one := func(lines ...string) string { return head + phase("a", append(lines, "timed = true")...) }
	for _, c := range []struct{ text, want string }{
		// The text.
		{"", "1:1: description: there is none; say in one line what is measured\n1:1: kinds: 0 of them; want 1 to 65,535\n1:1: objects: there are none; want 1 to 536,870,912\n1:1: phase: 0 phases; want 1 to 64"},
		{"objects = \n", "1:11: unexpected character U+000A at start of value"},
		{sound + "[[phase]]\nname=", "11:5: expected value, not end of input"},
		{sound + "seed = 5\n", `10:1: "seed" is no key of phase[0]; it belongs above the first table`},
		{head + "objcts = 5\n" + fill, `4:1: unknown key "objcts"; did you mean "objects"?`},
		{head + "Objects = 5\n" + fill, `4:1: unknown key "Objects"; did you mean "objects"?`},
		{sound + "[adresses]\nslab = 1\n", `10:2: unknown key "adresses"; did you mean "addresses"?`},
		{sound + "perobject = 2\ntheeta = 3\n", "10:1: unknown key \"perobject\"; did you mean \"per_object\"?\n11:1: unknown key \"theeta\"; did you mean \"theta\"?"},
		{head + `phase = [{name = "a", opp = "encounter"}]`, `4:23: unknown key "opp"; did you mean "op"?`},
		{sound + "[addresses]\nheap.go = 1\n", `11:1: unknown key "heap"; there are: slab, page, per_cpu, user, go_heap, strides`},
		{head + "[phase]\nname = \"a\"\n", "4:2: there is a list of these; begin each with [[phase]]"},
		{head + "phase.name = \"a\"\n", "4:1: there is a list of these; begin each with [[phase]]"},
		{head + "objects = 5\n" + fill, "4:1: key objects is already defined"},
		{head + "presized = 1\n" + fill, "4:12: presized: want true or false"},
		{head + "seed = 1.5\n" + fill, "4:8: seed: want a whole number"},
		{head + "seed = 99999999999999999999\n" + fill, "4:8: seed: want a whole number"},
		{head + "threads = 2\n" + fill, "4:11: threads: want a list, each of it a whole number"},
		{head + "threads = ['2']\n" + fill, "4:12: threads: want a list, each of it a whole number"},
		{head + "addresses = 'page'\n" + fill, "4:13: addresses: want a table"},
		{sound + "theta = 'high'\n", "10:9: phase.theta: want a number"},

		// The top.
		{"description = \"\"\nobjects = 100\nkinds = [\"f\"]\n" + fill, "1:1: description: there is none; say in one line what is measured"},
		{"description = \"a\\nb\"\nobjects = 100\nkinds = [\"f\"]\n" + fill, "1:1: description: want one line of at most 200 bytes"},
		{"description = \"x\"\nobjects = 0\nkinds = [\"f\"]\n" + fill, "2:1: objects: 0; want 1 to 536,870,912"},
		{"description = \"x\"\nobjects = 536870913\nkinds = [\"f\"]\n" + fill, "2:1: objects: 536870913; want 1 to 536,870,912"},
		{"description = \"x\"\nobjects = 1\nkinds = []\n" + fill, "3:1: kinds: 0 of them; want 1 to 65,535"},
		{"description = \"x\"\nobjects = 1\n" + fill, "1:1: kinds: 0 of them; want 1 to 65,535"},
		{"description = \"x\"\nobjects = 1\nkinds = ['a', 'a']\n" + fill, `3:1: kinds: "a" is there twice`},
		{"description = \"x\"\nobjects = 1\nkinds = ['']\n" + fill, `3:1: kinds: ""; want names of 1 to 200 bytes, without control characters`},
		{head + "kind_shares = [1]\n" + fill, "4:1: kind_shares: 1 of them, for 2 kinds; want one for each"},
		{head + "kind_shares = [1, 0]\n" + fill, "4:1: kind_shares: 0; want numbers above 0, up to 1e9"},
		{head + "kind_shares = [1, nan]\n" + fill, "4:1: kind_shares: NaN; want numbers above 0, up to 1e9"},
		{head + "threads = [1, 5000]\n" + fill, "4:1: threads: 5000; want 1 to 4,096"},
		{head + "threads = [2, 2]\n" + fill, "4:1: threads: 2 is there twice"},
		{head + "trials = 0\n" + fill, "4:1: trials: 0; want 1 to 10,000"},
		{head + "seed = -1\n" + fill, "4:1: seed: -1; want 0 or more"},
		{head + "rate_per_s = -5\n" + fill, "4:1: rate_per_s: -5; want 0, for a closed loop, or up to 1,000,000,000 operations per second"},
		{head + "rate_per_s = inf\n" + fill, "4:1: rate_per_s: +Inf; want 0, for a closed loop, or up to 1,000,000,000 operations per second"},
		{head + "trace = 'x.trace'\n" + fill, `4:1: trace: no phase takes its operations from a trace; give one draw = "recorded", or leave the trace out`},

		// Addresses.
		{sound + "[addresses]\nuser = -1\n", "10:2: addresses: unusable address model: weight -1 is not in 0..1e9"},
		{sound + "[addresses]\n", "10:2: addresses: unusable address model: every weight is 0"},
		{sound + "[addresses]\nslab = 1\n", "10:2: addresses: unusable address model: slab addresses need at least one stride"},
		{sound + "[addresses]\nslab = 1\nstrides = [60]\n", "10:2: addresses: unusable address model: stride 60 is not a multiple of 8 in 8..32768"},
		{sound + "[addresses]\npage = 1\nstrides = [64]\n", "12:1: addresses.strides: slab addresses alone have strides, and slab is 0; leave them out"},

		// Phases, one by one.
		{head, "1:1: phase: 0 phases; want 1 to 64"},
		{sound + fill, `11:1: phase[1].name: "fill" is an earlier phase's; give it another`},
		{one(`op = "encountr"`), `6:1: phase[0].op: unknown operation "encountr"; did you mean "encounter"?`},
		{one(`draw = "each"`), `4:3: phase[0].op: unknown operation ""; there are: encounter, lookup, audit, snapshot, drop, restore, fetch, count, uncount, flush, close, barrier, verdict`},
		{one(`op = "encounter"`), `4:3: phase[0].draw: unknown draw of encounter ""; there are: each, uniform, zipf, hot, held, tasks, recorded`},
		{one(`op = "encounter"`, `draw = "zipff"`), `7:1: phase[0].draw: unknown draw of encounter "zipff"; did you mean "zipf"?`},
		{one(`op = "encounter"`, `draw = "absent"`), `7:1: phase[0].draw: unknown draw of encounter "absent"; there are: each, uniform, zipf, hot, held, tasks, recorded`},
		{one(`op = "audit"`, `draw = "each"`), `7:1: phase[0].draw: "audit" is done for all objects at once; leave the draw out`},
		{one(`op = "encounter"`, `draw = "each"`), "4:3: phase[0].per_object: there is none; want 1 to 1,000,000"},
		{one(`op = "encounter"`, `draw = "each"`, "per_object = 0"), "8:1: phase[0].per_object: 0; want 1 to 1,000,000"},
		{one(`op = "encounter"`, `draw = "each"`, "per_object = 1", "theta = 1"), `9:1: phase[0].theta: op = "encounter" with draw = "each" does not take it; leave it out`},
		{one(`op = "encounter"`, `draw = "uniform"`), "4:3: phase[0].operations: there is none; want 1 to 4,294,967,296"},
		{one(`op = "encounter"`, `draw = "uniform"`, "per_object = 1", "operations = 5"), "9:1: phase[0].operations: there is per_object, too; give one of them"},
		{one(`op = "encounter"`, `draw = "zipf"`, "per_object = 1"), "4:3: phase[0].theta: there is none; want 0 to 2"},
		{one(`op = "encounter"`, `draw = "zipf"`, "per_object = 1", "theta = 2.5"), "9:1: phase[0].theta: 2.5; want 0 to 2"},
		{one(`op = "encounter"`, `draw = "zipf"`, "per_object = 1", "theta = -0.5"), "9:1: phase[0].theta: -0.5; want 0 to 2"},
		{one(`op = "encounter"`, `draw = "zipf"`, "per_object = 1", "theta = nan"), "9:1: phase[0].theta: NaN; want 0 to 2"},
		{one(`op = "encounter"`, `draw = "hot"`, "per_object = 1", "hot_objects = 0", "hot_draws = 2"),
			"9:1: phase[0].hot_objects: 0; want some objects in the hot set\n10:1: phase[0].hot_draws: 2; want 0 to 1"},
		{one(`op = "encounter"`, `draw = "held"`, "tasks = 3", "per_task = 2"), `4:3: phase[0].spread: unknown spread ""; there are: uniform, zipf, hot, dealt`},
		{one(`op = "encounter"`, `draw = "held"`, "tasks = 3", `spread = "dealt"`, "theta = 1"),
			"4:3: phase[0].per_task: there is none; want 1 to 1,000,000\n" +
				`10:1: phase[0].theta: op = "encounter" with draw = "held" with spread = "dealt" does not take it; leave it out`},
		{one(`op = "encounter"`, `draw = "each"`, "per_object = 1", `spread = "uniform"`), `9:1: phase[0].spread: for draw = "held" and "handles" alone; leave it out`},
		{one(`op = "encounter"`, `draw = "tasks"`, "shared = 51"), "8:1: phase[0].shared: 51, of 100 objects; want at most half, since the others are the tasks' own"},
		{one(`op = "encounter"`, `draw = "each"`, "per_object = 1", "needs = true"), `9:1: phase[0].needs: for op = "restore" alone; leave it out`},
		{one(`op = "drop"`, "per_object = 1"), `7:1: phase[0].per_object: op = "drop" does not take it; leave it out`},

		// Phases, together.
		{head + strings.ReplaceAll(fill, "timed = true\n", ""), "4:3: phase: none is timed; say timed = true in those that are measured"},
		{sound + phase("b", `op = "restore"`, `draw = "each"`), `6:1: phase[0].op: "encounter" cannot be in one profile with restore, fetch`},
		{one(`op = "lookup"`, `draw = "each"`, "per_object = 1"), "4:3: phase: nothing is put into the table; begin with encounters\n" +
			`6:1: phase[0].op: no phase before it meets every object, so it would look for what is not there; begin with encounters whose draw is "each"`},
		{sound + phase("b", `op = "drop"`), `12:1: phase[1].op: a drop closes the table; it comes last, and is timed`},
		{sound + phase("b", `op = "snapshot"`) + phase("c", `op = "encounter"`, `draw = "each"`, "per_object = 1"), `12:1: phase[1].op: "snapshot" comes after all encounters`},
		{one(`op = "encounter"`, `draw = "uniform"`, "per_object = 1") + phase("b", `op = "audit"`), `12:1: phase[1].op: an audit knows the users of each object if all encounters have draw = "each"`},
		{one(`op = "snapshot"`), "4:3: phase: nothing is put into the table; begin with encounters\n" +
			`6:1: phase[0].op: no phase before it puts anything into the table; begin with encounters`},
		{one(`op = "encounter"`, `draw = "tasks"`, "shared = 5") + phase("b", `op = "encounter"`, `draw = "tasks"`, "shared = 6"),
			"14:1: phase[1].shared: an earlier phase has 5; want the same, since these have kinds of their own"},
		{head + "kind_shares = [1, 2]\n" + phase("a", `op = "encounter"`, `draw = "tasks"`, "shared = 5", "timed = true"),
			`4:1: kind_shares: with draw = "tasks", shared objects have the first kind and others the last; leave the shares out`},
		{"description = \"x\"\nobjects = 1\n" + phase("a", `op = "encounter"`, `draw = "recorded"`, "timed = true"), "2:1: objects: a replay has those of its trace; leave them out"},
		{"description = \"x\"\n" + phase("a", `op = "encounter"`, `draw = "recorded"`, "timed = true") + phase("b", `op = "snapshot"`),
			"2:3: phase: a replay is one phase of encounters; leave the others out"},
		{one(`op = "fetch"`, `draw = "each"`, "per_object = 1"), `6:1: phase[0].op: a restart is one phase of "restore", and then "fetch" as often as wanted`},

		// Counting.
		{head + count + closing, "3:1: kinds: what is counted, or recorded, has none of the profile's; leave them out"},
		{counts + count, `3:3: phase: handles stay open; end with op = "close" or "verdict"`},
		{counts + count + handles + closing, "12:1: phase[1].draw: handles are open; close them first"},
		{counts + count + phase("b", `op = "barrier"`) + closing, "11:1: phase[1].op: handles are open; close them first"},
		{counts + count + closing + closing[:len(closing)-1] + "\n", `13:1: phase[2].name: "close" is an earlier phase's; give it another`},
		{counts + count + closing + phase("b", `op = "flush"`), "14:1: phase[2].op: no handles are open"},
		{counts + count + closing + uncount, "15:1: phase[2].draw: no phase before it has counted through handles that are still open"},
		{counts + zipfCount + uncount + closing, `12:1: phase[1].op: some objects may have no users to give back; count them by draw = "each" or "own" before`},
		{counts + handles + uncount + closing, "3:3: phase: none is timed; say timed = true in those that are measured\n" +
			`12:1: phase[1].op: some objects may have no users to give back; count them by draw = "each" or "own" before`},
		{counts + count + uncount + phase("b", `op = "count"`, `draw = "each"`, "per_object = 1") + closing, "15:1: phase[2].op: objects have died; nothing is counted after that"},
		{counts + count + phase("b", `op = "flush"`, "timed = true") + closing, "12:1: phase[1].timed: a flush is never timed; leave it out"},
		{counts + strings.ReplaceAll(handles, "per_task = 8", "per_task = 7") + closing, "8:1: phase[0].per_task: 7; want a divisor of 256"},

		// Thresholds.
		{sound + "[[threshold]]\nwhat = \"ns_per_op\"\nmax = 5\n", "10:3: threshold[0].target: there is none; name a target, as crbench list does"},
		{sound + "[[threshold]]\ntarget = \"objhsh\"\nwhat = \"ns_per_op\"\nmax = 5\n",
			`11:1: threshold[0].target: unknown target "objhsh"; did you mean "objhash"? (there are: `},
		{sound + "[[threshold]]\ntarget = \"counter\"\nwhat = \"ns_per_op\"\nmax = 5\n", `11:1: threshold[0].target: "counter" stands for several; name one, like counter/atomic`},
		{sound + "[[threshold]]\ntarget = \"index\"\nwhat = \"ns\"\nmax = 5\n",
			`12:1: threshold[0].what: unknown figure "ns"; there are: ns_per_op, bytes_per_object, rss_bytes_per_object, p50_ns, p90_ns, p99_ns, p99.9_ns, p99.99_ns, max_ns, times_faster`},
		{sound + "[[threshold]]\ntarget = \"index\"\nwhat = \"max_ns\"\n", "10:3: threshold[0]: it has no limit; give it a min or a max"},
		{sound + "[[threshold]]\ntarget = \"index\"\nwhat = \"max_ns\"\nmin = 2\nmax = 1\n", "13:1: threshold[0].min: 2 is above max, 1"},
		{sound + "[[threshold]]\ntarget = \"index\"\nwhat = \"max_ns\"\nmax = nan\n", "13:1: threshold[0].max: NaN; want a number from 0 on"},
		{sound + "[[threshold]]\ntarget = \"index\"\nwhat = \"times_faster\"\nmin = 1\nthreads = 0\n",
			"10:3: threshold[0].against: there is none; name a target, as crbench list does\n14:1: threshold[0].threads: 0; want 1 to 4,096, or none for all"},
		{sound + "[[threshold]]\ntarget = \"index\"\nwhat = \"max_ns\"\nmin = 1\nagainst = \"index\"\nobjects = -1\n",
			"14:1: threshold[0].against: for times_faster alone; leave it out\n15:1: threshold[0].objects: -1; want 1 to 536,870,912, or none for all sizes"},

		// Inheritance.
		{"inherits = \"grwo\"\n" + sound, `1:1: inherits: unknown profile "grwo"; did you mean "grow"? (the name of a file ends in .toml)`},
		{"inherits = \"none.toml\"\n" + sound, "1:1: inherits: stat DIR/none.toml: no such file or directory"},
		{"inherits = \"me.toml\"\n" + sound, "1:1: inherits: DIR/me.toml inherits from itself"},
		{"inherits = \"../\"\n" + sound, "1:1: inherits: read DIR/..: it is no regular file"},
		{"inherits = \"count-zipf\"\ndescription = \"x\"\n" + fill, "1:1: kinds: 0 of them; want 1 to 65,535"},
		{"description = \"x\"\ninherits = \"count-zipf\"\nkinds = [\"a\"]\n", "3:1: kinds: what is counted, or recorded, has none of the profile's; leave them out"},
		{"description = \"x\"\ninherits = \"fork-storm\"\nobjects = 20\n", "2:1: phase[0].shared: 32, of 20 objects; want at most half, since the others are the tasks' own (inherited from fork-storm)"},
		{"inherits = \"grow\"\n", "1:1: description: there is none; say in one line what is measured"},
	} {
		path := write(t, "me.toml", c.text)
		_, err := bench.LoadProfile(path)
		if err == nil {
			t.Errorf("nothing is wrong with\n%s\nwant\n%s", c.text, c.want)
			continue
		}
		dir := filepath.Dir(path)
		got := strings.ReplaceAll(err.Error(), path+":", "")
		got = strings.ReplaceAll(strings.ReplaceAll(got, dir, "DIR"), "read "+filepath.Dir(dir), "read DIR/..")
		if got != c.want && !(strings.HasSuffix(c.want, "(there are: ") && strings.HasPrefix(got, c.want)) {
			t.Errorf("%s\nis said to be wrong:\n%s\nwant\n%s", c.text, got, c.want)
		}
		if !errors.Is(err, bench.ErrProfile) || errors.Is(err, bench.ErrChoice) {
			t.Errorf("%v is no ErrProfile", err)
		}
	}
}

func TestTooLargeProfiles(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"description = \"x\"\nkinds = [\"f\"]\nobjects = 500_000_000\n" + strings.ReplaceAll(fill, "= 1", "= 1_000_000"), "me.toml:3:1: objects: 500,000,000 objects and 5e+14 operations take about"},
		{"description = \"x\"\nkinds = [\"f\"]\nobjects = 5\n" + phase("a", `op = "encounter"`, `draw = "held"`, "tasks = 500_000_000", "per_task = 1_000_000", `spread = "uniform"`, "timed = true"),
			"me.toml:3:1: objects: 5 objects and 5e+14 operations take about"},
		{strings.Repeat("# no profile has so many words\n", 3000), "more than 65,536 bytes are no profile"},
	} {
		_, err := bench.LoadProfile(write(t, "me.toml", c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v; want %q", err, c.want)
		}
	}
}

func TestFilesThatAreNoProfiles(t *testing.T) {
	if _, err := bench.LoadProfile(filepath.Join(t.TempDir(), "none.toml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v; want ErrNotExist", err)
	}
	if _, err := bench.LoadProfile(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a folder: %v", err)
	}
	if _, err := bench.LoadProfile(write(t, "a b.toml", sound)); err == nil || !strings.Contains(err.Error(), `results would be called "a b"`) {
		t.Errorf("a name with a space: %v", err)
	}
}

func TestInheritance(t *testing.T) {
	path := write(t,
		"mine.toml", "description = \"mine\"\ninherits = \"sub/base.toml\"\nobjects = 7\nthreads = [3]\n",
		"sub/base.toml", "description = \"base\"\ninherits = \"../root.toml\"\nseed = 9\nthreads = [1, 2]\n[addresses]\npage = 1\n",
		"root.toml", "description = \"root\"\ninherits = \"checkpoint-zipf\"\npresized = true\ntrials = 12\nrate_per_s = 1e6\n")
	got, err := bench.LoadProfile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, _ := bench.FindProfile("checkpoint-zipf")
	want.Name, want.Source, want.Summary = "mine", path, "mine"
	want.Objects, want.Threads, want.Seed, want.Presized, want.Trials, want.RatePerS = 7, []int{3}, 9, true, 12, 1e6
	want.Keys.Slab, want.Keys.Page, want.Keys.PerCPU, want.Keys.User, want.Keys.Strides = 0, 1, 0, 0, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant\n%+v", got, want)
	}
}

func TestChainsOfProfiles(t *testing.T) {
	chain := func(n int) (files []string) {
		for i := range n {
			text := fmt.Sprintf("description = \"x\"\ninherits = \"f%d.toml\"\n", i+1)
			if i == n-1 {
				text = sound
			}
			files = append(files, fmt.Sprintf("f%d.toml", i), text)
		}
		return files
	}
	if _, err := bench.LoadProfile(write(t, chain(8)...)); err != nil {
		t.Errorf("8 files: %v", err)
	}
	if _, err := bench.LoadProfile(write(t, chain(9)...)); err == nil || !strings.Contains(err.Error(), "f7.toml:2:1: inherits: the 8th file that inherits from another; want at most 8") {
		t.Errorf("9 files: %v", err)
	}
	path := write(t, "a.toml", "inherits = \"sub/b.toml\"\n", "sub/b.toml", "\ninherits = \"../a.toml\"\n")
	if _, err := bench.LoadProfile(path); err == nil || !strings.Contains(err.Error(), "b.toml:2:1: inherits: ") || !strings.Contains(err.Error(), "a.toml inherits from itself") {
		t.Errorf("a cycle: %v", err)
	}
}

// rewritten loads what TOML writes of a profile.
func rewritten(t testing.TB, p bench.Profile) bench.Profile {
	t.Helper()
	text := p.TOML()
	again, err := bench.LoadProfile(write(t, p.Name+".toml", string(text)))
	if err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	if !bytes.Equal(again.TOML(), text) || again.Hash() != p.Hash() {
		t.Errorf("written again, it is\n%swas\n%s", again.TOML(), text)
	}
	return again
}

func TestCanonicalProfilesAreFiles(t *testing.T) {
	entries, err := os.ReadDir("profiles")
	if err != nil {
		t.Fatal(err)
	}
	files := 0
	hashes := map[string]string{}
	for _, e := range entries {
		name, isProfile := strings.CutSuffix(e.Name(), ".toml")
		if !isProfile {
			continue
		}
		files++
		p, ok := bench.FindProfile(name)
		if !ok {
			t.Errorf("%s is not among the canonical profiles", e.Name())
			continue
		}
		if other := hashes[p.Hash()]; other != "" {
			t.Errorf("%s and %s are the same", name, other)
		}
		hashes[p.Hash()] = name
		again := rewritten(t, p)
		again.Source = ""
		if !reflect.DeepEqual(p, again) {
			t.Errorf("%+v\nis, when written and read:\n%+v", p, again)
		}
		if loaded, err := bench.LoadProfile(filepath.Join("profiles", e.Name())); err != nil || loaded.Hash() != p.Hash() {
			t.Errorf("%s as a file: %v, %+v", name, err, loaded)
		}
	}
	if files != len(bench.Profiles()) {
		t.Errorf("%d files, %d profiles", files, len(bench.Profiles()))
	}
}

// TestProfilesAreNotShared changes what callers get.
func TestProfilesAreNotShared(t *testing.T) {
	bench.Profiles()[0].Phases[0].Name = "changed"
	if name := bench.Profiles()[0].Phases[0].Name; name != "fill" {
		t.Errorf("a phase is called %q", name)
	}
}

func TestHashKnowsNoFolders(t *testing.T) {
	text := "description = \"x\"\ntrace = \"sub/x.trace\"\n" + phase("a", `op = "encounter"`, `draw = "recorded"`, "timed = true")
	a, err := bench.LoadProfile(write(t, "a.toml", text))
	if err != nil {
		t.Fatal(err)
	}
	b, err := bench.LoadProfile(write(t, "b.toml", text))
	if err != nil {
		t.Fatal(err)
	}
	if a.Hash() != b.Hash() || a.Trace == b.Trace || !filepath.IsAbs(a.Trace) {
		t.Errorf("%q has hash %s, %q has %s", a.Trace, a.Hash(), b.Trace, b.Hash())
	}
	rewritten(t, a)
	b.Seed++
	if a.Hash() == b.Hash() {
		t.Error("another seed has the same hash")
	}
}

func TestThresholdsAreKept(t *testing.T) {
	p, err := bench.LoadProfile(write(t, "a.toml", sound+
		"[[threshold]]\ntarget = \"objhash\"\nwhat = \"times_faster\"\nagainst = \"mutex-map\"\nmin = 1.5\n"+
		"[[threshold]]\ntarget = \"index\"\nobjects = 50\nthreads = 2\nwhat = \"p99.9_ns\"\nmax = 0\n"))
	if err != nil {
		t.Fatal(err)
	}
	least, most := 1.5, 0.0
	want := []bench.Threshold{
		{Target: "objhash", What: bench.TimesFaster, Against: "mutex-map", Min: &least},
		{Target: "index", Objects: 50, Threads: 2, What: bench.P999Ns, Max: &most},
	}
	if !reflect.DeepEqual(p.Thresholds, want) {
		t.Errorf("%+v", p.Thresholds)
	}
	rewritten(t, p)
}

// TestFormatNamesEverything holds the reference to what the loader takes.
func TestFormatNamesEverything(t *testing.T) {
	words := strings.FieldsFunc(bench.ProfileFormat, func(r rune) bool { return strings.ContainsRune(" \n,:;()[]\"", r) })
	for _, key := range bench.ProfileWords() {
		if !slices.Contains(words, key) {
			t.Errorf("FORMAT.txt has no word of %s", key)
		}
	}
	example := bench.ProfileFormat[strings.Index(bench.ProfileFormat, "A profile of one's own:"):]
	_, example, _ = strings.Cut(example, "\n")
	if _, err := bench.LoadProfile(write(t, "example.toml", example)); err != nil {
		t.Errorf("the example: %v", err)
	}
}

func TestChooseFiles(t *testing.T) {
	path := write(t, "mine.toml", sound, "sub/grow.toml", sound)
	ps, err := bench.ChooseProfiles([]string{"grow", path, path})
	if err != nil || len(ps) != 2 || ps[0].Name != "grow" || ps[1].Name != "mine" {
		t.Errorf("%+v, %v", ps, err)
	}
	twice := filepath.Join(filepath.Dir(path), "sub", "grow.toml")
	if _, err := bench.ChooseProfiles([]string{"grow", twice}); !errors.Is(err, bench.ErrChoice) || !strings.Contains(err.Error(), "two profiles are called grow") {
		t.Errorf("two of one name: %v", err)
	}
}

func FuzzLoadProfile(f *testing.F) {
	for _, p := range bench.Profiles() {
		f.Add(string(p.TOML()))
	}
	f.Add(sound + "[addresses]\ngo_heap = 1e-300\n[[threshold]]\ntarget = \"index\"\nwhat = \"max_ns\"\nmin = 1e300\n")
	f.Add("inherits = \"grow\"\ndescription = 'a'\nphase = [{name='a', op='encounter', draw='held', tasks=1, per_task=3, spread='hot', hot_objects=1, hot_draws=0.0, timed=true}]\n")
	dir := f.TempDir()
	path := filepath.Join(dir, "fuzz.toml")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := bench.ParseProfile(path, []byte(text))
		if err != nil {
			if !errors.Is(err, bench.ErrProfile) {
				t.Errorf("%v is no ErrProfile", err)
			}
			return
		}
		again, err := bench.ParseProfile(path, p.TOML())
		if err != nil {
			t.Fatalf("%v:\n%s", err, p.TOML())
		}
		if !bytes.Equal(again.TOML(), p.TOML()) || again.Hash() != p.Hash() {
			t.Errorf("written again, it is\n%swas\n%s", again.TOML(), p.TOML())
		}
	})
}
