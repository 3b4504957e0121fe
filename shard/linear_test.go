package shard

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// An index is linearizable: whatever threads do at the same time, there is an order of
// their operations, in which each lies between its call and its return, that explains all
// results. Addresses do not depend on each other, so each is checked for itself.

// linInput is an operation on one address.
type linInput struct {
	key     int
	insert  bool
	offered int32
}

// linModel is the sequential specification: a number that is set once.
var linModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		var parts [][]porcupine.Operation
		for _, op := range history {
			key := op.Input.(linInput).key
			for len(parts) <= key {
				parts = append(parts, nil)
			}
			parts[key] = append(parts[key], op)
		}
		return parts
	},
	Init: func() any { return int32(0) },
	Step: func(state, input, output any) (bool, any) {
		in, got := input.(linInput), output.(int32)
		if in.insert && state == int32(0) {
			return got == in.offered, got
		}
		return got == state, state
	},
	DescribeOperation: func(input, output any) string {
		in := input.(linInput)
		if in.insert {
			return fmt.Sprintf("insert(%d, %d) = %d", in.key, in.offered, output)
		}
		return fmt.Sprintf("lookup(%d) = %d", in.key, output)
	},
}

// linScenario is what some threads do, and with what kind of index.
type linScenario struct {
	setup
	kernel
	large   bool // tables of several blocks of memory, about to be replaced
	keys    int
	scripts [][]linStep // by thread
}

type linStep struct {
	linInput
	filler bool // inserts an address that nobody else has, so that tables grow
	batch  bool // by a batch of one
	pause  int  // before it, in turns of an empty loop; negative: yields the processor
}

func newLinScenario(r *rand.Rand, i int) linScenario {
	kernels := supportedKernels()
	sc := linScenario{
		setup:  setup{subjects[i%len(subjects)], qualities[i/2%len(qualities)], sizes[1-i/6%8/7]},
		kernel: kernels[i/6%len(kernels)],
		large:  i%16 == 4,
		keys:   1 + r.IntN(4),
	}
	threads := 2 + r.IntN(3)
	offered := int32(0)
	fillers := r.IntN(3) // how frequent
	for range threads {
		var script []linStep
		for range 4 + r.IntN(12) {
			step := linStep{batch: r.IntN(4) == 0, pause: r.IntN(40) - 2}
			step.key = r.IntN(sc.keys)
			step.insert = r.IntN(2) == 0
			offered++
			step.offered = offered
			for range r.IntN(4) * fillers {
				script = append(script, linStep{filler: true})
			}
			script = append(script, step)
		}
		sc.scripts = append(sc.scripts, script)
	}
	return sc
}

func (sc linScenario) open(t testing.TB) Index {
	c := sc.config
	c.Multiplier = sc.multiplier
	if sc.large {
		c.Shards, c.Expected = 1, 50_000
	}
	x, err := sc.make(c)
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := x.(*Compact); ok && sc.large {
		// The next group that becomes full brings a replacement.
		tab := c.dir[0].tab.Load()
		tab.full.Store(tab.fullLimit - 1)
	}
	return x
}

// paddedFence keeps a thread's fence on a cache line of its own.
type paddedFence struct {
	atomic.Int64
	_ [120]byte
}

// run plays the scenario a number of times, each with a fresh index, and tells how many
// of the histories are not linearizable, and of how many that could not be found out.
func (sc linScenario) run(t testing.TB, runs int) (illegal, unknown int) {
	useKernel(t, sc.kernel)
	var (
		threads = len(sc.scripts)
		start   = make([]chan Index, threads)
		done    = make(chan struct{}, threads)
		ready   atomic.Int64
		wg      sync.WaitGroup
		base    = time.Now()
		fences  = make([]paddedFence, threads)
		logs    = make([][]porcupine.Operation, threads)
	)
	// Threads that have been woken wait a little for the others, so that they overlap.
	meet := func(n int64) {
		ready.Add(1)
		for i := 0; i < 20_000 && ready.Load() < n; i++ {
			if i%256 == 255 {
				runtime.Gosched()
			}
		}
	}
	for thread, script := range sc.scripts {
		start[thread] = make(chan Index)
		wg.Go(func() {
			fence := &fences[thread]
			one, refs := make([]uint64, 1), make([]int32, 1)
			// The store after a call's time is read, which is ordered before what follows,
			// and the load in time.Since, which waits for what precedes, see to it that an
			// operation lies between its times.
			now := func() int64 {
				n := int64(time.Since(base))
				fence.Store(n)
				return n
			}
			for n := int64(1); ; n++ {
				x := <-start[thread]
				if x == nil {
					return
				}
				meet(n * int64(threads))
				log := logs[thread][:0]
				for i, step := range script {
					if step.pause < 0 {
						runtime.Gosched()
					}
					for range step.pause {
						fence.Load()
					}
					if step.filler {
						x.Insert(sc.address(100+thread*1000+i), int32(1000+thread*1000+i), 0)
						continue
					}
					ptr := sc.address(step.key)
					var got int32
					call := now()
					switch {
					case step.insert && step.batch:
						one[0] = ptr
						x.InsertBatch(one, 0, step.offered, refs)
						got = refs[0]
					case step.insert:
						got, _, _ = x.Insert(ptr, step.offered, 0)
					case step.batch:
						one[0] = ptr
						x.LookupBatch(one, refs, nil)
						got = refs[0]
					default:
						got, _ = x.Lookup(ptr)
					}
					log = append(log, porcupine.Operation{ClientId: thread, Input: step.linInput, Call: call, Output: got, Return: now()})
				}
				logs[thread] = log
				done <- struct{}{}
			}
		})
	}
	var history []porcupine.Operation
	for range runs {
		x := sc.open(t)
		for _, c := range start {
			c <- x
		}
		for range start {
			<-done
		}
		x.Close()
		history = history[:0]
		for _, log := range logs {
			history = append(history, log...)
		}
		switch porcupine.CheckOperationsTimeout(linModel, history, time.Minute) {
		case porcupine.Illegal:
			if illegal++; illegal == 1 {
				for _, op := range history {
					t.Logf("thread %d, %d to %d: %s", op.ClientId, op.Call, op.Return, linModel.DescribeOperation(op.Input, op.Output))
				}
			}
		case porcupine.Unknown:
			unknown++
		}
	}
	for _, c := range start {
		close(c)
	}
	wg.Wait()
	return illegal, unknown
}

func testLinearizable(t *testing.T, scenarios, runs int) {
	r := seeded(t)
	for i := range scenarios {
		sc := newLinScenario(r, i)
		n := runs
		if sc.large {
			n = max(1, runs/16)
		}
		if illegal, unknown := sc.run(t, n); illegal+unknown > 0 {
			t.Errorf("scenario %d, index=%s/kernel=%v/hash=%s/size=%s: of %d histories %d are not linearizable, %d unknown",
				i, sc.subject.name, sc.kernel, sc.quality.name, sc.size.name, n, illegal, unknown)
		}
	}
}

func TestLinearizable(t *testing.T) { testLinearizable(t, 96, sized(400)) }

// The checker can tell: histories that no index may have are found to be that.
func TestLinearizableModelRefuses(t *testing.T) {
	op := func(thread int, call, ret int64, in linInput, out int32) porcupine.Operation {
		return porcupine.Operation{ClientId: thread, Input: in, Call: call, Output: out, Return: ret}
	}
	insert := func(ref int32) linInput { return linInput{insert: true, offered: ref} }
	for name, test := range map[string]struct {
		history []porcupine.Operation
		want    bool
	}{
		"two winners":            {[]porcupine.Operation{op(0, 0, 9, insert(1), 1), op(1, 0, 9, insert(2), 2)}, false},
		"one winner":             {[]porcupine.Operation{op(0, 0, 9, insert(1), 1), op(1, 0, 9, insert(2), 1)}, true},
		"lost":                   {[]porcupine.Operation{op(0, 0, 1, insert(1), 1), op(1, 2, 3, linInput{}, 0)}, false},
		"not yet there":          {[]porcupine.Operation{op(0, 0, 4, insert(1), 1), op(1, 2, 3, linInput{}, 0)}, true},
		"gone again":             {[]porcupine.Operation{op(0, 0, 9, insert(1), 1), op(1, 1, 2, linInput{}, 1), op(1, 3, 4, linInput{}, 0)}, false},
		"from nowhere":           {[]porcupine.Operation{op(1, 1, 2, linInput{}, 1)}, false},
		"known before it was in": {[]porcupine.Operation{op(1, 1, 2, linInput{}, 1), op(0, 3, 4, insert(1), 1)}, false},
		"another address":        {[]porcupine.Operation{op(0, 0, 1, insert(1), 1), op(1, 2, 3, linInput{key: 1}, 0)}, true},
	} {
		if got := porcupine.CheckOperations(linModel, test.history); got != test.want {
			t.Errorf("%s: linearizable: %v; want %v", name, got, test.want)
		}
	}
}
