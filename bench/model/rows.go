package model

import (
	"math"

	"github.com/objhash/objhash/refcount"
)

// Row is what a strategy does to lines that threads share. The package documentation says
// how each enters the prediction.
type Row struct {
	Source string `json:"source"` // Table, Fitted or Assumed

	Transfers float64 `json:"transfers"`                // moves of a contended line, per operation
	PerLine   int     `json:"objects_per_line"`         // whose counts are in one line
	Retries   bool    `json:"retries,omitempty"`        // an operation may have to try again
	Locks     int     `json:"locks,omitempty"`          // that all objects share; 0: none
	Inflates  bool    `json:"inflates,omitempty"`       // a contended line is spread over cells
	Cells     int     `json:"cells,omitempty"`          // so many; 0: one for each processor
	Owner     bool    `json:"owner,omitempty"`          // one thread has each object for itself
	Entries   int     `json:"cache_entries,omitempty"`  // of deltas, in each handle; 0: no such cache
	OwnMax    int     `json:"own_max,omitempty"`        // handles with counts of their own; 0: all, or none need any
	ReadsAll  bool    `json:"reads_handles,omitempty"`  // a read looks at the counts of every handle
	OneThread bool    `json:"one_thread,omitempty"`     // there is no more than one
	Handle    float64 `json:"handle_moves"`             // moves to open and close a handle
	Close     float64 `json:"close_moves"`              // moves for each line of what a closed handle counted
	CloseTask float64 `json:"close_moves_short_handle"` // the same, of a handle with few operations
}

// Where a row comes from.
const (
	Table   = "table"
	Fitted  = "fitted"  // to a hot object counted by two threads
	Assumed = "assumed" // one move for each operation
)

const (
	lineBytes  = 64
	entryBytes = 8 // of a cache of deltas: an objref and a delta
)

// RowOf returns the row of a strategy, and whether it has one. Sizes are those that its
// traits tell, so that they follow the strategy.
func RowOf(s refcount.Strategy) (Row, bool) {
	tr := s.Traits()
	row := Row{
		Source:    Table,
		PerLine:   perLine(tr.PerObject),
		OneThread: tr.OneThread,
		ReadsAll:  tr.PerObjectHandle > 0,
	}
	behind := 1 / float64(max(1, tr.Behind))
	switch s.Name() {
	case "plain":
	case "atomic", "padded", "rcuref":
		row.Transfers = 1
	case "cas":
		row.Transfers, row.Retries = 1, true
	case "mutex":
		// The lock to take it, the count, and the lock again, for which others look meanwhile.
		row.Transfers, row.Locks = 3, 256
	case "striped":
		row.Transfers, row.Inflates, row.Cells = 1, true, tr.OwnMax
	case "arrays":
		// One in 4,096 operations on an object carries. Arrays stay as they are when their
		// handle closes; the next one to have them may be another thread's.
		row.Transfers, row.Handle, row.CloseTask = behind, 2, 1
	case "log":
		// One in 256 operations on an object carries. Closing adds up 64 notes at most, and leaves
		// the arrays as they are.
		row.Transfers, row.OwnMax, row.Handle, row.CloseTask = 1.0/256, tr.OwnMax, 2, 1
	case "sloppy":
		// The spares are fetched 8 at a time, and given back at close.
		row.Transfers, row.Handle, row.Close, row.CloseTask = 1.0/8, 2, 1, 2
	case "refcache":
		row.Transfers, row.Entries = behind, tr.PerHandle/entryBytes
		row.Handle, row.Close, row.CloseTask = 2, 1, 1
	case "biased":
		row.Transfers, row.Owner, row.Handle = 1, true, 2
	case "snzi":
		// The first arrival and the last departure of each handle go up the tree.
		row.Handle, row.Close, row.CloseTask = 2, 1, 2
	default:
		return row, false
	}
	return row, true
}

func perLine(bytes float64) int {
	return int(min(max(lineBytes/max(bytes, 1), 1), lineBytes))
}

// fit gives the row of a strategy without one its transfers: c is an operation of one thread,
// two the time of two threads on a hot object, NaN if it is not known.
func (row Row) fit(m Machine, c, two float64) Row {
	t := max(0, (two-c/2)/(m.ContendedAdd-c/2))
	if math.IsNaN(t) || m.ContendedAdd <= c/2 {
		row.Source, row.Transfers = Assumed, 1
		return row
	}
	row.Source, row.Transfers = Fitted, t
	return row
}
