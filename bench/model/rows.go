package model

import (
	"math"

	"github.com/objhash/objhash/refcount"
)

// Row is what a strategy does to lines that threads share. The package documentation says
// how each enters the prediction.
type Row struct {
	Source string `json:"source"` // Table, Fitted or Assumed

	Transfers    float64 `json:"transfers"`                        // moves of a contended line, per operation
	PerLine      int     `json:"objects_per_line"`                 // whose counts are in one line
	Retries      bool    `json:"retries,omitempty"`                // an operation may have to try again
	Locks        int     `json:"locks,omitempty"`                  // that all objects share; 0: none
	Inflates     bool    `json:"inflates,omitempty"`               // an object where a handle failed twice in a row is spread over cells
	Cells        int     `json:"cells,omitempty"`                  // so many, if there are as many processors
	Owner        bool    `json:"owner,omitempty"`                  // one handle has each object for itself
	OwnerPerLine int     `json:"owner_objects_per_line,omitempty"` // whose owners, and counts of these, are in one line
	Batch        int     `json:"batch,omitempty"`                  // a handle's first operation on an object, and each so-many-th after it, takes a move
	Entries      int     `json:"cache_entries,omitempty"`          // of deltas, in each handle; 0: no such cache
	Period       int     `json:"cache_period,omitempty"`           // operations after which that is emptied
	OwnMax       int     `json:"own_max,omitempty"`                // handles with counts of their own; 0: all, or none need any
	ReadsAll     bool    `json:"reads_handles,omitempty"`          // a read looks at the counts of every handle
	OneThread    bool    `json:"one_thread,omitempty"`             // there is no more than one
	Handle       float64 `json:"handle_moves"`                     // moves to open and close a handle
	Close        float64 `json:"close_moves"`                      // moves for each line of what a closed handle counted
	CloseTask    float64 `json:"close_moves_short_handle"`         // the same, of a handle with few operations
	CloseEach    bool    `json:"close_moves_each,omitempty"`       // for each object of a line
}

// first is a Batch of which there is never a second.
const first = math.MaxInt32

// Where a row comes from.
const (
	Table   = "table"
	Fitted  = "fitted"  // to a hot object counted by two threads
	Assumed = "assumed" // one move for each operation
)

// Sizes of strategies that their traits do not tell.
const (
	lineBytes       = 64
	sloppyBatch     = 8   // users that are fetched at a time
	stripedCells    = 64  // at most
	refcacheEntries = 512 // in each handle
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
		// Opening and closing a handle change the line of the counter's head, which the others
		// then read again; and so it is with all that have 4 or 5.
		row.Transfers, row.Retries, row.Inflates, row.Cells, row.Handle = 1, true, true, stripedCells, 4
	case "arrays":
		// One in 4,096 operations on an object carries. Arrays stay as they are when their
		// handle closes; the next one to have them may be another thread's.
		row.Transfers, row.Handle, row.CloseTask = behind, 2, 1
	case "log":
		// One in 256 operations on an object carries. Closing adds up in an array, which a handle of
		// another thread may have had before if handles come and go.
		row.Transfers, row.OwnMax, row.Handle, row.CloseTask = 1.0/256, logArraysMost, 2, 1
	case "sloppy":
		// What is spare is given back at close, object by object. The next handle to have the
		// bytes, of which 64 are in a line, may be another thread's. Handles that are closed at
		// the same time walk in the same order.
		row.Batch, row.Handle, row.Close, row.CloseTask, row.CloseEach = sloppyBatch, 5, 1, 1.25, true
	case "refcache":
		// A shared count is a word of 8 bytes; the other bytes are for deaths.
		row.PerLine, row.Entries, row.Period = 8, refcacheEntries, int(tr.Behind)
		row.Handle, row.Close, row.CloseTask = 2, 1, 1
	case "biased":
		// Who is not the owner reads the line that the owner writes, and adds to a word of 4 bytes
		// in another.
		row.Transfers, row.Owner, row.PerLine, row.OwnerPerLine, row.Handle = 1, true, 16, 8, 5
	case "snzi":
		// A leaf arrives at the root with its first user. At close the root gets what the leaf
		// has, if that is more than one; the next handle to have the leaves may be another
		// thread's.
		row.Batch, row.Handle, row.Close, row.CloseTask = first, 5, 1, 1
	default:
		return row, false
	}
	return row, true
}

// logArraysMost is how many arrays log has at most. Up to there it has one for each processor,
// so where there are fewer than processors, it is this.
const logArraysMost = 64

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
