package engine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/objhash/objhash/engine"
	"github.com/objhash/objhash/refcount"
)

// Recorded histories of a few threads are checked for linearizability, object by
// object: there must be an order of the calls, true to real time, in which a plain
// table would have given the same answers.

type callKind uint8

const (
	doEncounter callKind = iota
	doLookup
	doObject // by an objref that an encounter returned
	doInsert
	doFetch
	doNoise // meets other objects, so that the index grows; not recorded
)

func (k callKind) String() string {
	return [...]string{"Encounter", "Lookup", "Object", "Insert", "Fetch", "noise"}[k]
}

// call is the input of an operation. During checkpoint what belongs together is told
// by p, on restart by ref.
type call struct {
	what callKind
	p    engine.Ptr
	k    engine.Kind
	ref  engine.ObjRef
}

// result is its output.
type result struct {
	ref   engine.ObjRef
	first bool
	p     engine.Ptr
	have  engine.Kind // of a KindError, or of an Object
	err   outcome
}

type outcome uint8

const (
	none outcome = iota
	sick
	otherKind
	exists
	absent
	unexpected
)

func (o outcome) String() string {
	return [...]string{"none", "sick", "other kind", "exists", "absent", "unexpected"}[o]
}

func outcomeOf(err error) (outcome, engine.KindError) {
	var kind *engine.KindError
	switch {
	case err == nil:
		return none, engine.KindError{}
	case errors.Is(err, errSick):
		return sick, engine.KindError{}
	case errors.As(err, &kind):
		return otherKind, *kind
	case errors.Is(err, engine.ErrExists):
		return exists, engine.KindError{}
	case errors.Is(err, engine.ErrNotFound):
		return absent, engine.KindError{}
	}
	return unexpected, engine.KindError{}
}

// known is the model's state of one object: zero while it has not been met.
type known struct {
	ref engine.ObjRef
	p   engine.Ptr
	k   engine.Kind
}

// step tells whether a plain table in state s could answer c with r, and its state
// afterwards.
func (s known) step(c call, r result) (bool, known) {
	isKnown := s != known{}
	switch c.what {
	case doEncounter:
		switch {
		case r.err == sick: // Grab is only called for what is not known
			return !isKnown && r == result{err: sick}, s
		case !isKnown:
			return r.err == none && r.first && r.ref > 0, known{r.ref, c.p, c.k}
		case s.k != c.k:
			return r == result{ref: s.ref, have: s.k, err: otherKind}, s
		}
		return r == result{ref: s.ref}, s
	case doLookup:
		return r == result{ref: s.ref}, s
	case doObject:
		return isKnown && r == result{ref: s.ref, p: s.p, have: s.k}, s
	case doInsert:
		switch {
		case r.err == sick:
			return !isKnown, s
		case !isKnown:
			return r.err == none, known{c.ref, c.p, c.k}
		}
		return r.err == exists, s
	case doFetch:
		switch {
		case !isKnown:
			return r.err == absent, s
		case s.k != c.k:
			return r == result{ref: s.ref, have: s.k, err: otherKind}, s
		}
		return r == result{p: s.p}, s
	}
	return false, s
}

var tableModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := map[any][]porcupine.Operation{}
		for _, op := range history {
			c := op.Input.(call)
			key := any(c.p)
			if c.ref != 0 {
				key = c.ref
			}
			parts[key] = append(parts[key], op)
		}
		var all [][]porcupine.Operation
		for _, part := range parts {
			all = append(all, part)
		}
		return all
	},
	Init: func() any { return known{} },
	Step: func(state, input, output any) (bool, any) {
		return state.(known).step(input.(call), output.(result))
	},
	DescribeOperation: func(input, output any) string {
		c, r := input.(call), output.(result)
		return fmt.Sprintf("%v(ptr %#x, kind %d, objref %d) = objref %d, first %t, ptr %#x, have kind %d, error %v",
			c.what, c.p, c.k, c.ref, r.ref, r.first, r.p, r.have, r.err)
	},
}

// recorder records one thread's operations. The clock is shared: it orders calls and
// returns of all threads.
type recorder struct {
	clock *atomic.Int64
	ops   []porcupine.Operation
	id    int
}

func (r *recorder) record(f func() result, calls ...call) {
	start := r.clock.Add(1)
	res := f()
	end := r.clock.Add(1)
	for _, c := range calls {
		r.ops = append(r.ops, porcupine.Operation{ClientId: r.id, Input: c, Call: start, Output: res, Return: end})
	}
}

// scenario is what a few threads do, over and over from the start.
type scenario struct {
	options engine.Options
	prefill int // objects met before
	threads [][]step
	sickly  bool // Grab fails now and then
}

// step is one call, or a batch of them.
type step struct {
	calls []call
	batch bool
}

func newScenario(seed uint64) scenario {
	rng := rand.New(rand.NewPCG(seed, 1990))
	s := scenario{
		options: []engine.Options{{Shards: 1}, {Shards: 1, Seed: 5}, {}, {Shards: 2, Count: refcount.Atomic{}}}[rng.IntN(4)],
		prefill: rng.IntN(40),
		threads: make([][]step, 2+rng.IntN(2)),
		sickly:  rng.IntN(3) == 0,
	}
	objects := 1 + rng.IntN(2)
	place := []func(int) engine.Ptr{addr, addr, addr, wide}[rng.IntN(4)]
	newCall := func() call {
		c := call{what: doEncounter, p: place(5000 + rng.IntN(objects)), k: 1}
		switch rng.IntN(8) {
		case 0, 1:
			c.what = doLookup
		case 2:
			c.what = doObject
		case 3:
			c.k = 2
		case 4:
			c = call{what: doNoise, k: 1}
		}
		return c
	}
	for i := range s.threads {
		for range 2 + rng.IntN(4) {
			one := step{calls: []call{newCall()}}
			if one.calls[0].what == doEncounter && rng.IntN(3) == 0 {
				one.batch = true
				for range rng.IntN(3) {
					c := one.calls[0]
					c.p = place(5000 + rng.IntN(objects))
					one.calls = append(one.calls, c)
				}
			}
			s.threads[i] = append(s.threads[i], one)
		}
	}
	return s
}

// run runs a scenario once and returns its history.
func (s scenario) run(t testing.TB, n int) []porcupine.Operation {
	l := newLedger(t, 2)
	var calls atomic.Uint32
	l.grabbing = func(account) error {
		// Other threads' turn, now and then: between the miss and the insert.
		if c := calls.Add(1) + uint32(n); c%3 == 0 {
			runtime.Gosched()
		} else if s.sickly && c%5 == 0 {
			return errSick
		}
		return nil
	}
	c, err := engine.NewCheckpoint(with(s.options, l))
	if err != nil {
		t.Fatal(err)
	}
	d := c.Dumper()
	for i := range s.prefill {
		_, _, _ = d.Encounter(addr(i), 1) // sick ones stay out
	}
	closeQuietly(t, d)
	var clock atomic.Int64
	recorders := make([]recorder, len(s.threads))
	seen := make([]map[engine.Ptr]engine.ObjRef, len(s.threads))
	parallel(len(s.threads), func(w int) {
		d := c.Dumper()
		defer closeQuietly(t, d)
		r := &recorders[w]
		*r = recorder{clock: &clock, id: w}
		seen[w] = map[engine.Ptr]engine.ObjRef{}
		for i, step := range s.threads[w] {
			s.take(t, c, d, r, step, seen[w], w*1000+i*20)
		}
	})
	refs := map[engine.ObjRef]engine.Ptr{}
	for _, seen := range seen {
		for p, ref := range seen {
			if q, ok := refs[ref]; ok && p != q {
				t.Errorf("objref %d is both %#x and %#x", ref, p, q)
			}
			refs[ref] = p
		}
	}
	closeQuietly(t, c)
	l.settled()
	var history []porcupine.Operation
	for _, r := range recorders {
		history = append(history, r.ops...)
	}
	return history
}

// take takes one step of a scenario. seen is what this thread knows.
func (s scenario) take(t testing.TB, c *engine.Checkpoint, d *engine.Dumper, r *recorder, step step, seen map[engine.Ptr]engine.ObjRef, fresh int) {
	first := step.calls[0]
	answer := func(ref engine.ObjRef, isFirst bool, err error) result {
		res := result{ref: ref, first: isFirst}
		var kind engine.KindError
		if res.err, kind = outcomeOf(err); res.err == otherKind {
			res.ref, res.have = kind.Ref, kind.Have
		}
		return res
	}
	switch {
	case first.what == doNoise:
		for i := range 8 {
			_, _, _ = d.Encounter(addr(100+fresh+i), 1)
		}
	case step.batch:
		ptrs := make([]engine.Ptr, len(step.calls))
		refs, firsts := make([]engine.ObjRef, len(ptrs)), make([]bool, len(ptrs))
		for i, c := range step.calls {
			ptrs[i] = c.p
		}
		start := r.clock.Add(1)
		err := d.EncounterBatch(ptrs, first.k, refs, firsts)
		end := r.clock.Add(1)
		errs := elementErrors(err)
		for i, c := range step.calls {
			res := answer(refs[i], firsts[i], errs[i])
			r.ops = append(r.ops, porcupine.Operation{ClientId: r.id, Input: c, Call: start, Output: res, Return: end})
			if refs[i] != 0 {
				seen[c.p] = refs[i]
			}
		}
	case first.what == doEncounter:
		r.record(func() result {
			ref, isFirst, err := d.Encounter(first.p, first.k)
			if ref != 0 {
				seen[first.p] = ref
			}
			return answer(ref, isFirst, err)
		}, first)
	case first.what == doLookup:
		r.record(func() result {
			ref, ok := c.Lookup(first.p)
			if ok != (ref != 0) {
				t.Errorf("Lookup = %d, %t", ref, ok)
			}
			return result{ref: ref}
		}, first)
	case first.what == doObject:
		ref := seen[first.p]
		if ref == 0 {
			return // nobody has told this thread the objref
		}
		r.record(func() result {
			o, ok := c.Object(ref)
			if !ok {
				return result{ref: ref, err: absent}
			}
			return result{ref: ref, p: o.Ptr, have: o.Kind}
		}, first)
	}
}

// elementErrors takes the error of a batch apart, by index.
func elementErrors(err error) map[int]error {
	errs := map[int]error{}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			var i int
			if n, _ := fmt.Sscanf(e.Error(), "element %d:", &i); n == 1 {
				errs[i] = e
			}
		}
	}
	return errs
}

// wantLinearizable fails the test unless history is linearizable.
func wantLinearizable(t testing.TB, what string, history []porcupine.Operation) {
	t.Helper()
	if res := porcupine.CheckOperationsTimeout(tableModel, history, patience()); res != porcupine.Ok {
		for _, op := range history {
			t.Logf("thread %d, %d to %d: %s", op.ClientId, op.Call, op.Return, tableModel.DescribeOperation(op.Input, op.Output))
		}
		t.Fatalf("%s: the history is %v", what, res)
	}
}

// linearize runs each of a number of scenarios a number of times, until the deadline.
func linearize(t *testing.T, scenarios, runs int, deadline time.Time, run func(seed uint64, n int) []porcupine.Operation) {
	ops, done := 0, 0
	for seed := range uint64(scenarios) {
		for n := range runs {
			history := run(seed, n)
			wantLinearizable(t, fmt.Sprintf("scenario %d, run %d", seed, n), history)
			ops += len(history)
			done++
		}
		if !deadline.IsZero() && time.Now().After(deadline) {
			t.Errorf("time is up after %d of %d scenarios", seed+1, scenarios)
			break
		}
	}
	t.Logf("%d runs, %d operations: linearizable", done, ops)
}

func TestLinearizable_checkpoint(t *testing.T) {
	linearize(t, sized(300), 20, time.Time{}, func(seed uint64, n int) []porcupine.Operation {
		return newScenario(seed).run(t, n)
	})
}

// restartRun runs a scenario of inserts and fetches once and returns its history.
func restartRun(t testing.TB, seed uint64, n int) []porcupine.Operation {
	rng := rand.New(rand.NewPCG(seed, 2009))
	l := newLedger(t, 2)
	var calls atomic.Uint32
	isSick := rng.IntN(3) == 0
	l.grabbing = func(account) error {
		if c := calls.Add(1) + uint32(n); c%3 == 0 {
			runtime.Gosched()
		} else if isSick && c%5 == 0 {
			return errSick
		}
		return nil
	}
	r, err := engine.NewRestart(with(engine.Options{}, l))
	if err != nil {
		t.Fatal(err)
	}
	base := []engine.ObjRef{1, 511, 4_090, 9_000, 1 << 29}[rng.IntN(5)]
	objects := 1 + rng.IntN(2)
	place := []func(int) engine.Ptr{addr, wide}[rng.IntN(2)]
	programs := make([][]call, 2+rng.IntN(2))
	for w := range programs {
		for range 2 + rng.IntN(4) {
			programs[w] = append(programs[w], call{
				what: []callKind{doInsert, doFetch}[rng.IntN(2)],
				p:    place(w*10 + rng.IntN(3) + 1),
				k:    engine.Kind(1 + rng.IntN(4)/3),
				ref:  base + engine.ObjRef(rng.IntN(objects)),
			})
		}
	}
	var clock atomic.Int64
	var mu sync.Mutex
	var history []porcupine.Operation
	parallel(len(programs), func(w int) {
		rec := recorder{clock: &clock, id: w}
		for _, c := range programs[w] {
			rec.record(func() (res result) {
				var err error
				if c.what == doInsert {
					err = r.Insert(c.ref, c.p, c.k)
				} else {
					res.p, err = r.Fetch(c.ref, c.k)
				}
				var kind engine.KindError
				if res.err, kind = outcomeOf(err); res.err == otherKind {
					res.ref, res.have = kind.Ref, kind.Have
				}
				return res
			}, c)
		}
		mu.Lock()
		defer mu.Unlock()
		history = append(history, rec.ops...)
	})
	closeQuietly(t, r)
	l.settled()
	return history
}

func TestLinearizable_restart(t *testing.T) {
	linearize(t, sized(300), 20, time.Time{}, func(seed uint64, n int) []porcupine.Operation {
		return restartRun(t, seed, n)
	})
}

// The checker can tell: histories that are not linearizable are found.
func TestLinearizable_checkerFindsViolations(t *testing.T) {
	p := addr(1)
	op := func(client int, start, end int64, c call, r result) porcupine.Operation {
		return porcupine.Operation{ClientId: client, Input: c, Call: start, Output: r, Return: end}
	}
	meet := call{what: doEncounter, p: p, k: 1}
	for name, history := range map[string][]porcupine.Operation{
		"two firsts":          {op(0, 1, 3, meet, result{ref: 1, first: true}), op(1, 2, 4, meet, result{ref: 1, first: true})},
		"no first":            {op(0, 1, 3, meet, result{ref: 1}), op(1, 2, 4, meet, result{ref: 1})},
		"two objrefs":         {op(0, 1, 3, meet, result{ref: 1, first: true}), op(1, 2, 4, meet, result{ref: 2})},
		"lost again":          {op(0, 1, 2, meet, result{ref: 1, first: true}), op(1, 3, 4, call{what: doLookup, p: p}, result{})},
		"wrong kind met":      {op(0, 1, 2, meet, result{ref: 1, first: true}), op(1, 3, 4, call{what: doEncounter, p: p, k: 2}, result{ref: 1})},
		"grab of a known":     {op(0, 1, 2, meet, result{ref: 1, first: true}), op(1, 3, 4, meet, result{err: sick})},
		"object is not whole": {op(0, 1, 2, meet, result{ref: 1, first: true}), op(1, 3, 4, call{what: doObject, p: p}, result{ref: 1, p: p, have: 0})},
		"object is missing":   {op(0, 1, 2, meet, result{ref: 1, first: true}), op(1, 3, 4, call{what: doObject, p: p}, result{ref: 1, err: absent})},
		"two inserts": {
			op(0, 1, 3, call{what: doInsert, p: p, k: 1, ref: 7}, result{}),
			op(1, 2, 4, call{what: doInsert, p: p + 8, k: 1, ref: 7}, result{}),
		},
		"fetched before": {op(0, 3, 4, call{what: doInsert, p: p, k: 1, ref: 7}, result{}), op(1, 1, 2, call{what: doFetch, k: 1, ref: 7}, result{p: p})},
	} {
		if porcupine.CheckOperations(tableModel, history) {
			t.Errorf("%s: passes for linearizable", name)
		}
	}
	good := []porcupine.Operation{
		op(0, 1, 5, meet, result{ref: 1, first: true}), op(1, 2, 3, meet, result{ref: 1}),
		op(2, 2, 4, call{what: doEncounter, p: p, k: 2}, result{ref: 1, have: 1, err: otherKind}),
		op(3, 1, 2, call{what: doLookup, p: p}, result{}), op(4, 1, 5, meet, result{err: sick}),
		op(5, 6, 7, call{what: doObject, p: p}, result{ref: 1, p: p, have: 1}),
	}
	if !porcupine.CheckOperations(tableModel, good) {
		t.Error("a linearizable history does not pass")
	}
}
