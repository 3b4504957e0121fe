package engine_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/objhash/objhash/engine"
)

func newRestorer(t testing.TB, r *engine.Restart) *engine.Restorer {
	t.Helper()
	h := r.Restorer()
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return h
}

func TestRestore_once(t *testing.T) {
	r := newRestart(t, engine.Options{Kinds: []engine.KindOps{{}}})
	const threads, objects = 8, 2000
	var created [objects + 1]int32
	var mu sync.Mutex
	parallel(threads, func(w int) {
		h := newRestorer(t, r)
		for i := 1; i <= objects; i++ {
			p, err := h.Restore(context.Background(), engine.ObjRef(i), 1, func(c *engine.Claim) (engine.Ptr, error) {
				mu.Lock()
				defer mu.Unlock()
				created[i]++
				return addr(i), nil
			})
			if p != addr(i) || err != nil {
				t.Errorf("Restore(%d) = %#x, %v", i, p, err)
			}
		}
	})
	for i := 1; i <= objects; i++ {
		if created[i] != 1 {
			t.Fatalf("objref %d created %d times", i, created[i])
		}
	}
	if r.Len() != objects {
		t.Errorf("Len = %d", r.Len())
	}
}

func TestG17_cycleOfEveryLength(t *testing.T) {
	for n := 1; n <= 8; n++ {
		synctest.Test(t, func(t *testing.T) {
			r := newRestart(t, engine.Options{Kinds: []engine.KindOps{{}}})
			errs := make([]error, n)
			var wg sync.WaitGroup
			var start sync.WaitGroup
			start.Add(n)
			for i := range n {
				wg.Go(func() {
					h := r.Restorer()
					defer h.Close()
					_, err := h.Restore(context.Background(), engine.ObjRef(i+1), 1, func(c *engine.Claim) (engine.Ptr, error) {
						start.Done()
						start.Wait()
						_, err := h.Restore(context.Background(), engine.ObjRef((i+1)%n+1), 1, func(*engine.Claim) (engine.Ptr, error) {
							t.Error("create ran for a claimed object")
							return 0, nil
						})
						errs[i] = err
						return 0, err
					})
					if err == nil {
						t.Error("no error")
					}
				})
			}
			wg.Wait()
			victims := 0
			for _, err := range errs {
				if errors.Is(err, engine.ErrFailed) {
					continue
				}
				var ce *engine.CycleError
				if !errors.As(err, &ce) || len(ce.Path) != n {
					t.Errorf("%v", err)
				}
				victims++
			}
			if victims != 1 {
				t.Errorf("%d victims of %d: %v", victims, n, errs)
			}
		})
	}
}

func TestG16_panicAndExit(t *testing.T) {
	for _, how := range []string{"error", "panic", "exit", "declared panic"} {
		synctest.Test(t, func(t *testing.T) {
			l := newLedger(t, 1)
			r := newRestart(t, with(engine.Options{}, l))
			var wg sync.WaitGroup
			claimed := make(chan struct{})
			wg.Go(func() {
				defer func() {
					if v := recover(); (v != nil) != (how == "panic" || how == "declared panic") {
						t.Errorf("%s: recovered %v", how, v)
					}
				}()
				h := r.Restorer()
				defer h.Close()
				_, err := h.Restore(context.Background(), 5, 1, func(c *engine.Claim) (engine.Ptr, error) {
					close(claimed)
					time.Sleep(time.Second)
					switch how {
					case "panic":
						panic("sick")
					case "exit":
						runtime.Goexit()
					case "declared panic":
						if err := c.Declare(addr(5)); err != nil {
							t.Error(err)
						}
						panic("sick")
					}
					return 0, errSick
				})
				if !errors.Is(err, errSick) {
					t.Errorf("creator got %v", err)
				}
			})
			<-claimed
			for range 1000 {
				wg.Go(func() {
					h := r.Restorer()
					defer h.Close()
					p, err := h.Await(context.Background(), 5, 1)
					if how == "declared panic" && p == addr(5) && err == nil {
						return
					}
					if !errors.Is(err, engine.ErrFailed) {
						t.Errorf("%s: waiter got %v", how, err)
					}
				})
			}
			wg.Wait()
			closeQuietly(t, r)
			l.settled()
		})
	}
}

func TestG15_stall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRestart(t, engine.Options{Kinds: []engine.KindOps{{}}})
		var wg sync.WaitGroup
		hs := []*engine.Restorer{r.Restorer(), r.Restorer(), r.Restorer()}
		for i, h := range hs[:2] {
			wg.Go(func() {
				_, err := h.Await(context.Background(), engine.ObjRef(i+1), 1)
				var st *engine.StallError
				if !errors.As(err, &st) || len(st.Waits) != 2 {
					t.Errorf("%v", err)
				}
			})
		}
		synctest.Wait()
		hs[2].Close()
		wg.Wait()
		hs[0].Close()
		hs[1].Close()
	})
}

func BenchmarkRestoreInOrder(b *testing.B) {
	r, err := engine.NewRestart(engine.Options{Kinds: []engine.KindOps{{}}})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	h := r.Restorer()
	ctx := context.Background()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		if _, err := h.Restore(ctx, engine.ObjRef(i), 1, func(*engine.Claim) (engine.Ptr, error) { return addr(i), nil }); err != nil {
			b.Fatal(err)
		}
	}
}
