package bench

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// keyIndex is where each key of a file stands, by its path: objects, phase[0].theta.
type keyIndex map[string]place

type place struct{ line, column int }

// at finds a key, or the table that it is missing from, or the start of the file.
func (x keyIndex) at(key string) place {
	for key != "" {
		if p, ok := x[key]; ok {
			return p
		}
		key = key[:max(strings.LastIndexAny(key, ".["), 0)]
	}
	return place{1, 1}
}

// indexKeys finds all keys of a file. Its mistakes are keys that no profile has, which the
// library takes for known ones where only the case differs. It stops at what is no TOML,
// which is left to the library to tell.
func indexKeys(file string, data []byte) (keyIndex, []error) {
	x := &indexer{file: file, keys: keyIndex{}, lists: map[string]int{}}
	x.parser.Reset(data)
	top := spot{typ: reflect.TypeFor[document]()}
	table := top
	for x.parser.NextExpression() {
		switch e := x.parser.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = x.key(top, e)
		case unstable.KeyValue:
			x.keyValue(table, e)
		}
	}
	return x.keys, x.mistakes
}

type indexer struct {
	file     string
	parser   unstable.Parser
	keys     keyIndex
	lists    map[string]int // how many tables each list has so far
	mistakes []error
}

// spot is where the walk is.
type spot struct {
	path string
	typ  reflect.Type // of what the document has there; nil: it has no such thing
}

func (x *indexer) mistake(at place, what string) {
	x.mistakes = append(x.mistakes, &FileError{x.file, at.line, at.column, what})
}

// key follows the key of an expression from a table on.
func (x *indexer) key(from spot, e *unstable.Node) spot {
	for part := e.Key(); part.Next(); {
		name, start := string(part.Node().Data), x.parser.Shape(part.Node().Raw).Start
		at := place{start.Line, start.Column}
		if from.typ == nil || from.typ.Kind() != reflect.Struct {
			return spot{} // its parent is a mistake already, or will be one to the library
		}
		f, ok := fieldOf(from.typ, name)
		if !ok {
			what := unknownWord("key", name, keysOf(from.typ))
			if _, top := fieldOf(reflect.TypeFor[document](), name); top {
				what = fmt.Sprintf("%q is no key of %s; it belongs above the first table", name, from.path)
			}
			x.mistake(at, what)
			return spot{}
		}
		from.path = strings.TrimPrefix(from.path+"."+name, ".")
		if from.typ = f.Type; from.typ.Kind() == reflect.Pointer {
			from.typ = from.typ.Elem()
		}
		if isList(from.typ) && !(part.IsLast() && e.Kind == unstable.KeyValue) {
			if !part.IsLast() || e.Kind != unstable.ArrayTable {
				x.mistake(at, fmt.Sprintf("there is a list of these; begin each with [[%s]]", name))
				return spot{}
			}
			from = x.element(from, at)
		}
		x.keys[from.path] = at
	}
	return from
}

// element is the next table of a list.
func (x *indexer) element(list spot, at place) spot {
	i := x.lists[list.path]
	x.lists[list.path]++
	if i == 0 {
		x.keys[list.path] = at
	}
	return spot{fmt.Sprintf("%s[%d]", list.path, i), list.typ.Elem()}
}

func (x *indexer) keyValue(table spot, e *unstable.Node) {
	to := x.key(table, e)
	if to.typ == nil {
		return
	}
	switch value := e.Value(); {
	case value.Kind == unstable.InlineTable:
		x.inline(to, value)
	case value.Kind == unstable.Array && isList(to.typ):
		at := x.keys[to.path]
		for child := value.Children(); child.Next(); {
			if child.Node().Kind == unstable.InlineTable {
				element := x.element(to, at)
				x.keys[element.path] = at
				x.inline(element, child.Node())
			}
		}
	}
}

func (x *indexer) inline(table spot, value *unstable.Node) {
	for child := value.Children(); child.Next(); {
		x.keyValue(table, child.Node())
	}
}

// isList says whether a type is one of a list of tables.
func isList(t reflect.Type) bool {
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct
}
