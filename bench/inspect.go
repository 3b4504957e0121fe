package bench

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/objhash/objhash/engine"
)

// InspectionSchema names the format of an Inspection as JSON, under the rules of
// [Schema].
const InspectionSchema = "objhash.inspect/1"

// inspectTop is how many objects and holders are named.
const inspectTop = 10

// Inspection is what a snapshot has in it.
type Inspection struct {
	Schema string `json:"schema"`
	File   string `json:"file"`

	Total    Tally `json:"total"`
	Reserved int   `json:"reserved"`       // objrefs without an object
	Largest  int   `json:"largest_objref"` // 0 if there is none

	Kinds []KindTally `json:"kinds"` // all, by number

	// The objects with the most users, of those that have several, and the holders
	// with the most, the most first. Holders are there only if they were tracked.
	MostShared  []SharedObject `json:"most_shared,omitempty"`
	Holders     int            `json:"holders,omitempty"`
	MostHolding []HolderTally  `json:"most_holding,omitempty"`

	// What an audit found, if the snapshot was written with one.
	Audit *engine.AuditReport `json:"audit,omitempty"`
}

// Tally counts objects.
type Tally struct {
	Objects int   `json:"objects"`
	Users   int64 `json:"users"`
	Dumped  int   `json:"dumped"`
	Dumping int   `json:"dumping"` // their dump was under way
	Keyed   int   `json:"keyed"`   // have a key, and no address
}

// KindTally counts the objects of one kind.
type KindTally struct {
	Number engine.Kind `json:"number"`
	Name   string      `json:"name"`
	Tally
}

// SharedObject is an object with several users.
type SharedObject struct {
	Ref   engine.ObjRef `json:"objref"`
	Kind  string        `json:"kind"`
	Ptr   string        `json:"ptr,omitempty"` // hexadecimal
	Key   []byte        `json:"key,omitempty"` // base64
	Users int64         `json:"users"`
}

// HolderTally is what one holder met.
type HolderTally struct {
	ID      uint64 `json:"holder"`
	Objects int    `json:"objects"`
	Users   int64  `json:"users"`
}

// InspectFile writes what is in the snapshot in a file, for people or as JSON.
func InspectFile(w io.Writer, path string, asJSON bool) error {
	in, err := inspect(path)
	if err != nil {
		return err
	}
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(in)
	}
	return in.writeTable(w)
}

// inspect reads a snapshot, a block at a time: it needs memory for its holders and kinds
// only.
func inspect(path string) (*Inspection, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("inspecting: %w", err)
	}
	defer f.Close() // was only read
	r, err := engine.NewSnapshotReader(bufio.NewReader(f))
	if err != nil {
		return nil, fmt.Errorf("inspecting %s: %w", path, err)
	}
	in := &Inspection{Schema: InspectionSchema, File: path, Kinds: []KindTally{}}
	for i, name := range r.Kinds() {
		in.Kinds = append(in.Kinds, KindTally{Number: engine.Kind(i + 1), Name: name})
	}
	holders := map[uint64]HolderTally{}
	for o, err := range r.All() {
		if err != nil {
			return nil, fmt.Errorf("inspecting %s: %w", path, err)
		}
		in.add(&o)
		for _, h := range o.Holders {
			t := holders[h.ID]
			holders[h.ID] = HolderTally{h.ID, t.Objects + 1, addUsers(t.Users, h.Users)}
		}
	}
	if in.Audit = r.Audit(); in.Audit != nil {
		in.Audit.EachEntry(func(e *engine.Entry) { e.KindName = printable(e.KindName) })
	}
	in.Holders = len(holders)
	for _, h := range holders {
		in.MostHolding = keepMost(in.MostHolding, h, func(a, b HolderTally) int {
			return cmp.Or(cmp.Compare(b.Users, a.Users), cmp.Compare(a.ID, b.ID))
		})
	}
	return in, nil
}

func (in *Inspection) add(o *engine.SnapshotObject) {
	in.Largest = int(o.Ref)
	if o.Flags&engine.Reserved != 0 {
		in.Reserved++
		return
	}
	k := &in.Kinds[o.Kind-1]
	in.Total.add(o)
	k.add(o)
	if o.Users < 2 {
		return
	}
	s := SharedObject{Ref: o.Ref, Kind: k.label(), Key: o.Key, Users: o.Users}
	if o.Ptr != 0 {
		s.Ptr = fmt.Sprintf("%#x", uint64(o.Ptr))
	}
	in.MostShared = keepMost(in.MostShared, s, func(a, b SharedObject) int {
		return cmp.Or(cmp.Compare(b.Users, a.Users), cmp.Compare(a.Ref, b.Ref))
	})
}

func (t *Tally) add(o *engine.SnapshotObject) {
	t.Objects++
	t.Users = addUsers(t.Users, o.Users)
	if o.Flags&engine.Dumped != 0 {
		t.Dumped++
	}
	if o.Flags&engine.Dumping != 0 {
		t.Dumping++
	}
	if o.Flags&engine.Keyed != 0 {
		t.Keyed++
	}
}

// addUsers adds numbers that are not negative; the sum stays at the largest one.
func addUsers(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// keepMost puts x into a list of the inspectTop first ones, if it is among these.
func keepMost[T any](most []T, x T, order func(a, b T) int) []T {
	i, _ := slices.BinarySearchFunc(most, x, order)
	if i == inspectTop {
		return most
	}
	most = slices.Insert(most, i, x)
	return most[:min(len(most), inspectTop)]
}

// label returns what a kind is called in a line of text.
func (k *KindTally) label() string {
	if k.Name == "" {
		return fmt.Sprintf("kind %d", k.Number)
	}
	return printable(k.Name)
}

// printable returns s so that it fits a line of a table, whatever is in it.
func printable(s string) string {
	const most = 40
	for _, r := range s {
		if !strconv.IsPrint(r) || r == '\uFFFD' {
			s = strconv.QuoteToASCII(s[:min(len(s), most)])
			break
		}
	}
	if r := []rune(s[:min(len(s), 4*most)]); len(r) > most {
		s = string(r[:most]) + "..."
	}
	return s
}

func (in *Inspection) writeTable(w io.Writer) error {
	p := printer{w: w}
	p.printf("%s: %s, %s, %s dumped; %s reserved; the largest objref is %s\n", in.File, plural(in.Total.Objects, "object"),
		plural(in.Total.Users, "user"), grouped(in.Total.Dumped), plural(in.Reserved, "objref"), grouped(in.Largest))
	t := inspectTable("kind", "name", "objects", "users", "dumped", "dumping", "keyed")
	for i := range in.Kinds {
		k := &in.Kinds[i]
		t.AppendRow(append(table.Row{k.Number, k.label()}, k.row()...))
	}
	t.AppendFooter(append(table.Row{"", "all"}, in.Total.row()...))
	p.printf("\n%s\n", t.Render())

	if len(in.MostShared) > 0 {
		t = inspectTable("objref", "most users", "kind", "users")
		for _, o := range in.MostShared {
			identity := o.Ptr
			if identity == "" {
				identity = "key " + printable(string(o.Key))
			}
			t.AppendRow(table.Row{o.Ref, identity, o.Kind, grouped(o.Users)})
		}
		p.printf("\n%s\n", t.Render())
	}
	if in.Holders > 0 {
		t = inspectTable("holder", "objects", "users")
		for _, h := range in.MostHolding {
			t.AppendRow(table.Row{fmt.Sprintf("%#x", h.ID), grouped(h.Objects), grouped(h.Users)})
		}
		p.printf("\n%s; those with the most users:\n%s\n", plural(in.Holders, "holder"), t.Render())
	}
	if in.Audit != nil && p.err == nil {
		p.printf("\n")
		return in.Audit.WriteText(w)
	}
	return p.err
}

func (t *Tally) row() table.Row {
	return table.Row{grouped(t.Objects), grouped(t.Users), grouped(t.Dumped), grouped(t.Dumping), grouped(t.Keyed)}
}

// inspectTable returns a table whose columns of numbers are set to the right.
func inspectTable(columns ...any) table.Writer {
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.AppendHeader(table.Row(columns))
	var configs []table.ColumnConfig
	for i, name := range columns {
		if name != "name" && name != "kind" && name != "most users" || i == 0 {
			configs = append(configs, table.ColumnConfig{Number: i + 1, Align: text.AlignRight, AlignHeader: text.AlignRight, AlignFooter: text.AlignRight})
		}
	}
	t.SetColumnConfigs(configs)
	t.Style().Format.Header = text.FormatDefault
	t.Style().Format.Footer = text.FormatDefault
	return t
}
