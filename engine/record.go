package engine

// A record is what is kept for each objref, one 64-bit word, layout version 1:
//
//	 63               16 15       4  3  2     0
//	┌──────────────────┬───────────┬───┬───────┐
//	│ address, 48 bits │ kind 12   │ b │ state │
//	└──────────────────┴───────────┴───┴───────┘
//
// b (beside): the identity does not fit, being a key or an address outside 48 bits,
// and is kept in the context's side table by objref; the address field is 0.
//
// States, and all transitions of a checkpoint's records:
//
//	absent ──▶ reserved                              Reserve
//	absent ──▶ held                                  encounter, before the index knows
//	held ──▶ absent                                  the encounter lost a race or failed
//	held ──▶ dumping ──▶ dumped                      Dump
//	dumping ──▶ held                                 its callback failed
//	held, dumped ──▶ released                        nobody holds it any more: see Release
//	dumping ──▶ released                             the same; the reference is dropped when
//	                                                 the callback returns
//	held, dumped ──▶ dropped                         Close, or an encounter overtaken by it
//	dumping ──▶ dropped                              Close; the reference is dropped when
//	                                                 the callback returns
//	expected ──▶ held                                encounter of an object of the base: its
//	                                                 record is there before it is met
//	expected ──▶ dropped                             its address or key was met under another
//	                                                 kind: it never was held, and is gone
//
// States and transitions of a restart's records; one is elsewhere, for ever, if it was
// made before the array had room for it:
//
//	absent ──▶ held                                  Insert
//	absent ──▶ claimed                               Restore, before its callback runs
//	claimed ──▶ absent                               MaxObjects was reached meanwhile
//	claimed ──▶ declared                             Declare
//	claimed, declared ──▶ held                       the callback succeeded
//	claimed, declared ──▶ failed                     it failed; for ever
//	held ──▶ dropped                                 Close, or who was overtaken by it
//	declared ──▶ dropped                             Close; the reference is dropped when
//	                                                 the callback returns
//
// The address field of a claimed record says which Restorer claims it.
//
// Whoever makes the step from held or dumped to absent, released or dropped drops the
// reference: that is how each is dropped exactly once. The step from declared to
// failed does as well.
type record uint64

const (
	stateBits  = 3
	besideBit  = 1 << stateBits
	kindShift  = stateBits + 1
	kindBits   = 12
	addrShift  = kindShift + kindBits
	stateMask  = 1<<stateBits - 1
	recordBits = addrShift + 48
)

var _ [64]struct{} = [recordBits]struct{}{}

type state uint8

const (
	absent state = iota
	reserved
	held
	dumping
	dumped
	released
	dropped
	expected
)

// States that only a restart has, in the place of those that only a checkpoint has.
// A declared object is treated by Close as one that is being dumped.
const (
	failed    = reserved
	declared  = dumping
	elsewhere = released
	claimed   = expected
)

// compact tells whether the address fits a record.
func (p Ptr) compact() bool { return Ptr(int64(p<<addrShift)>>addrShift) == p }

// newRecord returns the record of an object in the given state. An address that
// does not fit must be kept beside; 0 stands for a key.
func newRecord(p Ptr, k Kind, s state) record {
	r := record(k)<<kindShift | record(s)
	if p == 0 || !p.compact() {
		return r | besideBit
	}
	return r | record(p)<<addrShift
}

// claimedRecord returns the record of an objref that a Restorer, by its id, claims.
func claimedRecord(id uint32, k Kind) record {
	return record(id)<<addrShift | record(k)<<kindShift | record(claimed)
}

func failedRecord(k Kind) record { return record(k)<<kindShift | record(failed) }

func (r record) owner() uint32       { return uint32(r >> addrShift) }
func (r record) state() state        { return state(r & stateMask) }
func (r record) kind() Kind          { return Kind(r >> kindShift & KindsMax) }
func (r record) beside() bool        { return r&besideBit != 0 }
func (r record) ptr() Ptr            { return Ptr(int64(r) >> addrShift) }
func (r record) with(s state) record { return r&^stateMask | record(s) }
func (r record) isObject() bool      { s := r.state(); return s >= held && s <= released }

// readyAs tells whether the record is that of an object of kind k, ready, with its
// address in it. k may be any number.
func (r record) readyAs(k Kind) bool {
	return uint32(r)&(1<<addrShift-1) == uint32(k)<<kindShift|uint32(held)
}
