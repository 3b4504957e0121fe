package refcount

import (
	"encoding/hex"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/objhash/objhash/internal/region"
)

// A program is a sequence of operations on up to modelHandles handles in one goroutine:
// two bytes each, made legal as it runs. Every strategy runs it, against the oracle, and
// against what its Traits promise of each single step.
//
//	byte 0   bits 0 to 3: what; 4 and 5: the handle; 6 and 7: how often, by modelRepeat
//	byte 1   the objref, by modelRefs
const modelHandles = 4

// modelRepeat fills a log, or a byte.
var modelRepeat = [4]int{1, 2, 70, 300}

// modelRefs are neighbours, by number, by word of bits or bytes, and by segment.
var modelRefs = [...]int32{1, 2, 3, 4, 5, 31, 32, 33, 63, 64, 127, 128, 129, 511, 512, 60_000}

const (
	opInc = iota
	opInc2
	opInc3
	opTryInc
	opDec
	opDec2
	opDropAll
	opFlush
	opClose
	opReopen
	opFlushAll
	opBarrier
	opCount
	opGrow
	opThreeRounds
	opNothing
)

// model is a counter, and what is to be expected of it.
type model struct {
	t       testing.TB
	s       Strategy
	traits  Traits
	program []byte
	dies    bool

	arena   *region.Arena
	c       Counter
	handles [modelHandles]*modelHandle
	refs    map[int32]*modelRef
	oracle  Counter
	rounds  int // in which every open handle has been flushed
}

type modelHandle struct {
	Handle
	open    bool
	flushed bool               // in this round
	users   map[*modelRef]int  // that came through it
	pending map[*modelRef]bool // counted since the last flush
	counted map[*modelRef]bool // ever
}

type modelRef struct {
	ref        int32
	born, dead bool

	// When a death must be told, if it has no users: when rounds are due; when the
	// open handles that counted it have all been flushed since the last operation.
	due       int
	unflushed map[*modelHandle]bool
}

// runProgram fails t at the first difference.
func runProgram(t testing.TB, s Strategy, dies bool, program []byte) {
	m := &model{
		t: t, s: s, traits: s.Traits(), program: program, dies: dies,
		arena: region.NewArena(nil), refs: map[int32]*modelRef{},
	}
	var zero func(int32)
	if dies {
		zero = m.zero
	}
	m.c = m.newCounter(s, Config{Zero: zero})
	m.oracle = m.newCounter(Plain{}, Config{})
	defer m.arena.Close() // there are many programs in one test
	for i := range m.handles {
		m.handles[i] = m.newHandle()
	}
	for ; len(program) >= 2; program = program[2:] {
		m.do(int(program[0]&15), int(program[0]>>4&3), modelRepeat[program[0]>>6], modelRefs[program[1]%byte(len(modelRefs))])
	}
	m.barrier()
	for _, h := range m.handles {
		m.close(h)
	}
	m.barrier()
}

func (m *model) newCounter(s Strategy, config Config) Counter {
	config.Arena = m.arena
	c, err := s.New(config)
	if err != nil {
		m.t.Fatal(err)
	}
	return c
}

func (m *model) fatalf(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("strategy=%s/dies=%t: "+format+"\nprogram %s",
		append(append([]any{m.s.Name(), m.dies}, args...), hex.EncodeToString(m.program))...)
}

func (m *model) newHandle() *modelHandle {
	return &modelHandle{Handle: m.c.Handle(), open: true, users: map[*modelRef]int{},
		pending: map[*modelRef]bool{}, counted: map[*modelRef]bool{}}
}

func (m *model) do(op, handle, repeat int, ref int32) {
	h, r := m.handles[handle], m.at(ref)
	switch op {
	case opInc, opInc2, opInc3:
		for range repeat {
			m.inc(h, r)
		}
	case opTryInc:
		for range repeat {
			m.tryInc(h, r)
		}
	case opDec, opDec2:
		for range repeat {
			m.dec(h, r)
		}
	case opDropAll:
		for m.users(r) > 0 {
			m.dec(h, r)
		}
	case opFlush:
		m.flush(h)
	case opClose:
		m.close(h)
	case opReopen:
		m.close(h)
		m.handles[handle] = m.newHandle()
	case opFlushAll:
		m.flushAll()
	case opBarrier:
		m.barrier()
	case opCount:
		for _, r := range m.refs {
			m.check(r)
		}
	case opGrow:
		grow(m.t, m.c, ref*3, ref*3+63)
	case opThreeRounds:
		for range 3 {
			m.flushAll()
		}
	}
}

// at returns what is known of ref; it has room from now on.
func (m *model) at(ref int32) *modelRef {
	if m.refs[ref] == nil {
		grow(m.t, m.c, ref, ref)
		grow(m.t, m.oracle, ref, ref)
		m.refs[ref] = &modelRef{ref: ref, unflushed: map[*modelHandle]bool{}}
	}
	return m.refs[ref]
}

// users returns the true count: the oracle has heard nothing of the dead.
func (m *model) users(r *modelRef) int64 { return m.oracle.Count(r.ref) }

func (m *model) inc(h *modelHandle, r *modelRef) {
	if m.dies && r.born && !r.dead && m.users(r) == 0 {
		m.tryInc(h, r) // nobody has it, so whether it is dead is to be asked
		return
	}
	if !r.dead {
		m.incOracle(h, r)
	}
	h.Inc(r.ref)
	m.counted(h, r)
}

func (m *model) incOracle(h *modelHandle, r *modelRef) {
	m.oracle.Handle().Inc(r.ref)
	r.born = true
	if h.open {
		h.users[r]++
	}
}

func (m *model) tryInc(h *modelHandle, r *modelRef) {
	was := r.dead
	switch got := h.TryInc(r.ref); {
	case got && was:
		m.fatalf("TryInc(%d) returns true; it is dead", r.ref)
	case got && r.dead:
		m.fatalf("TryInc(%d) returns true, and told it dead", r.ref)
	case !got && !r.dead:
		m.fatalf("TryInc(%d) returns false; it was not told dead", r.ref)
	case got:
		m.incOracle(h, r)
	}
	m.counted(h, r)
}

// dec takes a user off r, through another handle than h if it must be.
func (m *model) dec(h *modelHandle, r *modelRef) {
	if !r.dead {
		if m.users(r) == 0 {
			return
		}
		h = m.decHandle(h, r)
		if h.users[r] > 0 {
			h.users[r]--
		}
		m.oracle.Handle().Dec(r.ref)
	}
	h.Dec(r.ref)
	m.counted(h, r)
}

// decHandle returns h, if a user of r came through it, or through one that is closed;
// and another handle if that is not so, and matters.
func (m *model) decHandle(h *modelHandle, r *modelRef) *modelHandle {
	if !m.traits.OwnDec || h.users[r] > 0 {
		return h
	}
	open := int64(0)
	for _, other := range m.handles {
		open += int64(other.users[r])
	}
	if open < m.users(r) {
		return h
	}
	for _, other := range m.handles {
		if other.users[r] > 0 {
			return other
		}
	}
	panic("a user without a handle")
}

// counted is called after each operation on r through h.
func (m *model) counted(h *modelHandle, r *modelRef) {
	if h.open {
		h.pending[r], h.counted[r] = true, true
	}
	for _, other := range m.handles {
		if other.open && other.counted[r] {
			r.unflushed[other] = true
		}
	}
	r.due = m.rounds + 3
	for _, other := range m.handles {
		if other.open && other.flushed {
			r.due++ // this round began before
			break
		}
	}
	m.check(r)
}

func (m *model) flush(h *modelHandle) {
	clear(h.pending)
	h.Flush()
	if h.open {
		h.flushed = true
		m.endRound()
	}
	m.flushed(h)
}

// flushed is called after each Flush and Close of h.
func (m *model) flushed(h *modelHandle) {
	for r := range h.counted {
		delete(r.unflushed, h)
		m.check(r)
	}
}

func (m *model) endRound() {
	for _, h := range m.handles {
		if h.open && !h.flushed {
			return
		}
	}
	m.rounds++
	for _, h := range m.handles {
		h.flushed = false
	}
	for _, r := range m.refs {
		m.check(r)
	}
}

func (m *model) flushAll() {
	for _, h := range m.handles {
		m.flush(h)
	}
}

func (m *model) close(h *modelHandle) {
	h.open = false
	clear(h.pending)
	clear(h.users)
	h.Close()
	m.flushed(h)
}

// barrier compares everything with the oracle.
func (m *model) barrier() {
	m.flushAll()
	for told := false; ; told = true {
		for _, r := range m.refs {
			wantCount(m.t, m.s, m.c, r.ref, m.users(r))
			if told && m.dies && r.born && m.users(r) == 0 && !r.dead {
				m.fatalf("%d is not told dead by Barrier", r.ref)
			}
		}
		if m.t.Failed() {
			m.fatalf("at a barrier; Barrier called: %t", told)
		}
		if told {
			return
		}
		m.c.Barrier()
	}
}

// check compares the estimate of r with the oracle, and sees that a death is told in time.
func (m *model) check(r *modelRef) {
	pending := int64(0)
	for _, h := range m.handles {
		if h.pending[r] {
			pending++
		}
	}
	got, want := m.c.Count(r.ref), m.users(r)
	slack := m.traits.Behind * pending
	if got < 0 || got > math.MaxInt32 || m.traits.Exact != Never && (got < want-slack || got > want+slack) {
		m.fatalf("Count(%d) = %d; want %d, and at most %d off", r.ref, got, want, slack)
	}
	if !m.dies || !r.born || r.dead || want > 0 {
		return
	}
	switch when := m.traits.Zero; {
	case when == AtOnce,
		when == AtFlush && len(r.unflushed) == 0,
		when == AtEpoch && m.rounds >= r.due:
		m.fatalf("%d is not told dead %v", r.ref, when)
	}
}

// zero is the Zero of the strategy that is tested.
func (m *model) zero(ref int32) {
	r := m.refs[ref]
	switch {
	case r == nil || !r.born:
		m.fatalf("%d is told dead; nobody counted it", ref)
	case r.dead:
		m.fatalf("%d is told dead again", ref)
	case m.users(r) > 0:
		m.fatalf("%d is told dead with %d users", ref, m.users(r))
	}
	r.dead = true
}

func runEverywhere(t testing.TB, program []byte) {
	for _, s := range strategies {
		for _, dies := range []bool{false, true} {
			runProgram(t, s, dies, program)
		}
	}
}

// op is one step of a program; repeat and ref are places in modelRepeat and modelRefs.
func op(what, handle, repeat, ref int) []byte {
	return []byte{byte(what | handle<<4 | repeat<<6), byte(ref)}
}

func steps(ops ...[]byte) []byte {
	var program []byte
	for _, o := range ops {
		program = append(program, o...)
	}
	return program
}

// programs are what is known to be hard.
func programs() [][]byte {
	return [][]byte{
		nil,
		// The increment is seen last, by way of the other handles.
		steps(op(opInc, 0, 1, 3), op(opDec, 1, 0, 3), op(opFlush, 1, 0, 0), op(opInc, 2, 0, 3),
			op(opFlush, 2, 0, 0), op(opDec, 1, 0, 3), op(opFlush, 1, 0, 0), op(opFlush, 0, 0, 0), op(opDropAll, 3, 0, 3)),
		// A byte overflows, and is emptied by another handle.
		steps(op(opInc, 0, 3, 6), op(opFlush, 0, 0, 0), op(opDropAll, 1, 0, 6), op(opFlushAll, 0, 0, 0)),
		// It rises between two barriers, with a decrement noted.
		steps(op(opInc, 0, 0, 5), op(opDec, 0, 0, 5), op(opTryInc, 1, 0, 5), op(opBarrier, 0, 0, 0),
			op(opDec, 1, 0, 5), op(opBarrier, 0, 0, 0), op(opTryInc, 0, 0, 5), op(opInc, 2, 0, 5), op(opBarrier, 0, 0, 0)),
		// Three rounds, one begun before, and a handle that comes in between.
		steps(op(opInc, 0, 0, 1), op(opFlush, 1, 0, 0), op(opDec, 0, 0, 1), op(opFlushAll, 0, 0, 0),
			op(opReopen, 2, 0, 0), op(opThreeRounds, 0, 0, 0), op(opTryInc, 2, 0, 1), op(opFlushAll, 0, 0, 0)),
		// Closed handles count at once.
		steps(op(opInc, 0, 2, 9), op(opClose, 0, 0, 0), op(opInc, 0, 0, 9), op(opCount, 0, 0, 0), op(opDropAll, 0, 0, 9),
			op(opThreeRounds, 0, 0, 0), op(opTryInc, 0, 0, 9), op(opClose, 0, 0, 0), op(opReopen, 0, 0, 0), op(opInc, 0, 0, 9)),
		// A handle takes over what another left.
		steps(op(opInc, 0, 2, 2), op(opInc, 0, 2, 3), op(opReopen, 0, 0, 0), op(opInc, 1, 2, 3), op(opReopen, 1, 0, 0),
			op(opDropAll, 0, 0, 2), op(opDropAll, 1, 0, 3), op(opReopen, 0, 0, 0), op(opReopen, 1, 0, 0), op(opBarrier, 0, 0, 0)),
	}
}

// randomProgram is of n steps on so many objrefs, where decrements keep up.
func randomProgram(rng *rand.Rand, n, refs int) []byte {
	var program []byte
	for range n {
		handle, ref := rng.IntN(modelHandles), rng.IntN(refs)
		what, repeat := rng.IntN(opNothing), max(rng.IntN(20)-16, 0)
		if rng.IntN(2) == 0 {
			what = []int{opInc, opTryInc, opDec, opDec}[rng.IntN(4)]
		}
		program = append(program, op(what, handle, repeat, ref)...)
	}
	return program
}

// G21: any sequence of operations, step by step.
func TestG21_anyProgram(t *testing.T) {
	for _, program := range programs() {
		runEverywhere(t, program)
	}
	testRandomPrograms(t, 1, 60)
}

func testRandomPrograms(t *testing.T, seed uint64, n int) {
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range n {
		runEverywhere(t, randomProgram(rng, 20+rng.IntN(100), 1+i%len(modelRefs)))
	}
}

func FuzzStrategies(f *testing.F) {
	for _, program := range programs() {
		f.Add(program)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for refs := range len(modelRefs) {
		f.Add(randomProgram(rng, 40, 1+refs))
	}
	f.Fuzz(func(t *testing.T, program []byte) { runEverywhere(t, program[:min(len(program), 1_000)]) })
}
