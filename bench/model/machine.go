package model

import (
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// together runs f on n threads that start at the same time, and returns the time from
// there to the end of the last.
func together(n int, f func(thread int)) time.Duration {
	var ready atomic.Int32
	var open atomic.Bool
	var wg sync.WaitGroup
	ends := make([]time.Time, n)
	for i := 1; i < n; i++ {
		wg.Go(func() {
			ready.Add(1)
			// Spinning, as a thread that sleeps would start some microseconds late.
			for !open.Load() {
				runtime.Gosched()
			}
			f(i)
			ends[i] = time.Now()
		})
	}
	for ready.Load() < int32(n-1) {
		runtime.Gosched()
	}
	start := time.Now()
	open.Store(true)
	f(0)
	ends[0] = time.Now()
	wg.Wait()
	last := ends[0]
	for _, end := range ends {
		if end.After(last) {
			last = end
		}
	}
	return last.Sub(start)
}

// paddedWord is a word with lines of its own; two, since processors fetch lines in pairs.
type paddedWord struct {
	_ [2 * lineBytes]byte
	atomic.Uint64
	_ [2*lineBytes - 8]byte
}

const (
	burst      = 64   // operations between two looks at the clock
	burstsLeft = 8    // of a window; with fewer, the threads hardly ran at the same time
	spinMost   = 4096 // looks at a word whose turn does not come, before others may run
)

// window is what one thread notes while lines move, burst by burst. On a busy machine two
// threads often take turns on one processor, which says nothing of lines: only bursts in
// which both did about as much count, and of these the median.
type window struct{ samples []float64 }

// median is NaN if there was too little to see.
func (w *window) median() float64 {
	if len(w.samples) < burstsLeft {
		return math.NaN()
	}
	slices.Sort(w.samples)
	return w.samples[len(w.samples)/2]
}

// mean is NaN if there was too little to see.
func (w *window) mean() float64 {
	if len(w.samples) < burstsLeft {
		return math.NaN()
	}
	return mean(w.samples)
}

// abreast tells whether another thread did enough in the time of a burst.
func abreast(others int) bool { return others >= burst/4 && others <= burst*4 }

// moveTime lets two threads take turns at one word for about d, and returns ns per move.
func moveTime(d time.Duration) float64 {
	var word paddedWord
	var w window
	end := time.Now().Add(d)
	together(2, func(thread int) {
		if thread == 0 {
			takeTurns(&word.Uint64, 0, end, &w)
		} else {
			takeTurns(&word.Uint64, 1, end, nil)
		}
	})
	return w.median() / movesOfTurn
}

// movesOfTurn: the one who waits reads the line, which takes it from the other's core, and
// then must have it alone to change it; an add does both in one.
const movesOfTurn = 2

// takeTurns adds one to the word whenever it is odd, or even, until the end.
func takeTurns(word *atomic.Uint64, odd uint64, end time.Time, w *window) {
	start, alone := time.Now(), false
	for spins := 1; ; spins++ {
		switch v := word.Load(); {
		case v%2 == odd:
			// Before the store, so that the other does not wait for one that has left.
			if v%(2*burst) == odd {
				now := time.Now()
				if !now.Before(end) {
					return
				}
				if w != nil && v > 1 && !alone {
					w.samples = append(w.samples, nsPer(now.Sub(start), 2*burst))
				}
				start, alone = now, false
			}
			word.Store(v + 1)
			spins = 0
		case spins == spinMost:
			if !time.Now().Before(end) {
				return
			}
			runtime.Gosched()
			spins, alone = 0, true // the other does not run, so the burst tells nothing of lines
		}
	}
}

// addTime lets one thread add to a word of its own for about d, and returns ns per add.
func addTime(d time.Duration) float64 {
	var word paddedWord
	var w window
	for end, start := time.Now().Add(d), time.Now(); start.Before(end); {
		for range burst {
			word.Add(1)
		}
		now := time.Now()
		w.samples = append(w.samples, nsPer(now.Sub(start), burst))
		start = now
	}
	return w.median()
}

// scattered are words on many lines, few enough for the first level of every cache. Lines are
// neighbours, as those of counts are: processors that fetch them in pairs take more from each
// other then.
type scattered [128]struct {
	atomic.Uint64
	_ [lineBytes - 8]byte
}

// scatterTime lets threads, at most two, add to words on many lines in random order for about
// d, and returns ns per add of one thread.
func scatterTime(threads int, d time.Duration) float64 {
	var words scattered
	var done [2]paddedWord
	var w window
	end := time.Now().Add(d)
	together(threads, func(thread int) {
		rng := rand.New(rand.NewPCG(uint64(thread), 1))
		var order [1 << 12]uint8
		for i := range order {
			order[i] = uint8(rng.IntN(len(words)))
		}
		other := &done[1-thread]
		before := other.Load()
		for i, start := 0, time.Now(); start.Before(end); i += burst {
			from := i % len(order)
			for _, at := range order[from : from+burst] {
				words[at].Add(1)
			}
			done[thread].Add(burst)
			others, now := other.Load(), time.Now()
			if thread == 0 && (threads == 1 || abreast(int(others-before))) {
				w.samples = append(w.samples, nsPer(now.Sub(start), burst))
			}
			before, start = others, now
		}
	})
	if threads > 1 {
		// Not the median: bursts in which few lines moved are the most, but not the most time.
		return w.mean()
	}
	return w.median()
}

// contend lets two threads change one word for about d. change adds one to it, and returns
// what it is then and how often it failed before. The results are ns per add of both
// threads, and failures per add.
func contend(d time.Duration, change func(*atomic.Uint64) (v uint64, failures int)) (ns, failures float64) {
	var word paddedWord
	var times, failed window
	end := time.Now().Add(d)
	together(2, func(thread int) {
		before, _ := change(&word.Uint64)
		for start := time.Now(); start.Before(end); {
			fails, v := 0, uint64(0)
			for range burst {
				now, f := change(&word.Uint64)
				v, fails = now, fails+f
			}
			now := time.Now()
			if all := int(v - before); thread == 0 && abreast(all-burst) {
				times.samples = append(times.samples, nsPer(now.Sub(start), all))
				failed.samples = append(failed.samples, float64(fails)/burst)
			}
			before, start = v, now
		}
	})
	return times.median(), failed.mean()
}

func addOne(w *atomic.Uint64) (uint64, int) { return w.Add(1), 0 }

func casOne(w *atomic.Uint64) (v uint64, failures int) {
	for {
		v := w.Load()
		if w.CompareAndSwap(v, v+1) {
			return v + 1, failures
		}
		failures++
	}
}

// processorsOfTwo is how many processors two threads got that only count, for about d:
// adds of both in the time of those that one thread does alone, which takes aloneNs each.
func processorsOfTwo(d time.Duration, aloneNs float64) float64 {
	var words [2]paddedWord
	end := time.Now().Add(d)
	elapsed := together(2, func(thread int) {
		for time.Now().Before(end) {
			for range burst {
				words[thread].Add(1)
			}
		}
	})
	return aloneNs / nsPer(elapsed, int(words[0].Load()+words[1].Load()))
}

func nsPer(d time.Duration, n int) float64 {
	return float64(d.Nanoseconds()) / float64(max(1, n))
}

// defaultCache is the cache of a core where the system does not tell it: the second level
// of most servers since 2017.
const defaultCache = 1 << 20

// cacheBytes is the size of a core's own cache among those that package machine lists, like
// "L2 1024K".
func cacheBytes(caches []string) int64 {
	for _, cache := range caches {
		size, ok := strings.CutPrefix(cache, "L2 ")
		if !ok {
			continue
		}
		unit := int64(1)
		switch {
		case strings.HasSuffix(size, "K"):
			unit = 1 << 10
		case strings.HasSuffix(size, "M"):
			unit = 1 << 20
		}
		if n, err := strconv.ParseInt(strings.TrimRight(size, "KM"), 10, 64); err == nil && n > 0 {
			return n * unit
		}
	}
	return defaultCache
}
