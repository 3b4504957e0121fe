package engine_test

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/objhash/objhash/engine"
)

// scene is one object being created while another thread waits for it.
type scene struct {
	r     *engine.Restart
	h     *engine.Restorer
	l     *ledger
	p     engine.Ptr
	other engine.Ptr // another object's address
	meet  func() error
}

// stories are how a creation may end. Those with fated end as a callback does: with
// an error, a panic, or Goexit.
var stories = []struct {
	name     string
	fated    bool
	grab     bool // it is Grab that meets its fate
	drop     bool // Drop does, once create has failed
	declared bool // those who wait get the address, before anything goes wrong
	create   func(s *scene, c *engine.Claim) (engine.Ptr, error)
	want     error // of the creator, nil: success
	wantWait error // of who waits, unless the object has been declared
}{
	{name: "success",
		create: func(s *scene, c *engine.Claim) (engine.Ptr, error) { return s.p, nil }},
	{name: "declared, success", declared: true,
		create: func(s *scene, c *engine.Claim) (engine.Ptr, error) { return s.p, c.Declare(s.p) }},
	{name: "fails", fated: true,
		create: func(s *scene, c *engine.Claim) (engine.Ptr, error) { return s.p, s.meet() },
		want:   errSick, wantWait: engine.ErrFailed},
	{name: "fails within another", fated: true,
		create: func(s *scene, c *engine.Claim) (engine.Ptr, error) {
			_, err := s.h.Restore(bg, 77, 1, func(c *engine.Claim) (engine.Ptr, error) {
				if err := c.Declare(s.other); err != nil {
					return 0, err
				}
				return s.other, s.meet()
			})
			return s.p, err
		},
		want: errSick, wantWait: engine.ErrFailed},
	{name: "declared, fails", fated: true, declared: true,
		create: func(s *scene, c *engine.Claim) (engine.Ptr, error) {
			if err := c.Declare(s.p); err != nil {
				return 0, err
			}
			synctest.Wait() // who waits has the address
			return s.p, s.meet()
		},
		want: errSick},
	{name: "Grab fails", fated: true, grab: true,
		create: func(s *scene, c *engine.Claim) (engine.Ptr, error) { return s.p, nil },
		want:   errSick, wantWait: engine.ErrFailed},
	{name: "Grab fails in Declare", fated: true, grab: true,
		create: func(s *scene, c *engine.Claim) (engine.Ptr, error) { return s.p, c.Declare(s.p) },
		want:   errSick, wantWait: engine.ErrFailed},
	{name: "Grab fails in Declare, and is tried again", fated: true, grab: true,
		create: func(s *scene, c *engine.Claim) (p engine.Ptr, err error) {
			func() {
				defer func() { recover() }()
				if err := c.Declare(s.p); err == nil {
					s.l.t.Error("Declare without a reference")
				}
			}()
			s.l.grabbing = nil
			return s.p, c.Declare(s.p)
		}},
	{name: "Drop fails after that", fated: true, drop: true, declared: true,
		create: func(s *scene, c *engine.Claim) (engine.Ptr, error) {
			if err := c.Declare(s.p); err != nil {
				return 0, err
			}
			synctest.Wait()
			return 0, errSick
		},
		want: errSick},
	{name: "address 0",
		create: func(s *scene, c *engine.Claim) (engine.Ptr, error) { return 0, nil },
		want:   engine.ErrInvalid, wantWait: engine.ErrFailed},
	{name: "address 0 after Declare", declared: true,
		create: func(s *scene, c *engine.Claim) (engine.Ptr, error) {
			err := c.Declare(s.p)
			synctest.Wait()
			return 0, err
		},
		want: engine.ErrInvalid},
	{name: "another address than declared", declared: true,
		create: func(s *scene, c *engine.Claim) (engine.Ptr, error) {
			err := c.Declare(s.p)
			synctest.Wait()
			return s.other, err
		},
		want: engine.ErrInvalid},
	{name: "Close",
		create: func(s *scene, c *engine.Claim) (engine.Ptr, error) { return s.p, s.r.Close() },
		want:   engine.ErrClosed, wantWait: engine.ErrClosed},
	{name: "Close, then Declare",
		create: func(s *scene, c *engine.Claim) (engine.Ptr, error) {
			closeQuietly(s.l.t, s.r)
			wantErr(s.l.t, "Declare after Close", c.Declare(s.p), engine.ErrClosed)
			return s.p, nil
		},
		want: engine.ErrClosed, wantWait: engine.ErrClosed},
	{name: "declared, then Close", declared: true,
		create: func(s *scene, c *engine.Claim) (engine.Ptr, error) {
			err := c.Declare(s.p)
			synctest.Wait()
			closeQuietly(s.l.t, s.r)
			if held := s.l.held(s.p); held != 1 {
				s.l.t.Errorf("%d references held while create runs", held)
			}
			return s.p, err
		},
		want: engine.ErrClosed},
	{name: "Close, then fails", fated: true,
		create: func(s *scene, c *engine.Claim) (engine.Ptr, error) {
			closeQuietly(s.l.t, s.r)
			return s.p, s.meet()
		},
		want: errSick, wantWait: engine.ErrClosed},
	{name: "declared, then Close, then fails", fated: true, declared: true,
		create: func(s *scene, c *engine.Claim) (engine.Ptr, error) {
			err := c.Declare(s.p)
			synctest.Wait()
			closeQuietly(s.l.t, s.r)
			if err != nil {
				return 0, err
			}
			return s.p, s.meet()
		},
		want: errSick},
	{name: "Close, then Grab fails", fated: true, grab: true,
		create: func(s *scene, c *engine.Claim) (engine.Ptr, error) {
			closeQuietly(s.l.t, s.r)
			return s.p, nil
		},
		want: errSick, wantWait: engine.ErrClosed},
	{name: "Close by another thread",
		create: func(s *scene, c *engine.Claim) (engine.Ptr, error) {
			go s.r.Close()
			synctest.Wait()
			_, err := s.h.Restore(bg, 78, 1, notCalled(s.l.t))
			wantErr(s.l.t, "nested Restore after Close", err, engine.ErrClosed)
			return s.p, nil
		},
		want: engine.ErrClosed, wantWait: engine.ErrClosed},
}

// G11: grabs minus drops is zero per object after Close, on every path.
// G12: a failing grab leaves nobody waiting. G15: whoever waits gets an answer.
// G16: a panic or Goexit ends the claim, and travels on.
func TestG11_G12_G15_G16_everyEndOfACreation(t *testing.T) {
	for _, story := range stories {
		for _, fate := range fates {
			if !story.fated && fate.name != "error" {
				continue
			}
			if story.drop && fate.name == "error" {
				continue // it has no error to return
			}
			t.Run(story.name+"/"+fate.name, func(t *testing.T) {
				forEachPlace(func(ref engine.ObjRef, p engine.Ptr) {
					synctest.Test(t, func(t *testing.T) {
						l := newLedger(t, 1)
						r := newRestart(t, with(engine.Options{MaxObjects: 3}, l))
						h, waiting := newRestorer(t, r), newRestorer(t, r)
						s := &scene{r: r, h: h, l: l, p: p, other: addr(99), meet: fate.meet}
						if story.grab {
							l.grabbing = func(account) error { return fate.meet() }
						}
						if story.drop {
							l.dropping = func(account, bool) { fate.meet() }
						}
						var wg sync.WaitGroup
						var got engine.Ptr
						e := ends(func() (err error) {
							got, err = h.Restore(bg, ref, 1, func(c *engine.Claim) (engine.Ptr, error) {
								wg.Go(func() {
									got, err := waiting.Await(bg, ref, 1)
									if story.declared || story.wantWait == nil && err == nil {
										wantPtr(t, "Await", got, err, p)
									} else if fate.name == "goexit" && story.want == nil {
										wantErr(t, "Await", err, engine.ErrFailed)
									} else {
										wantErr(t, "Await", err, story.wantWait)
									}
								})
								synctest.Wait()
								return story.create(s, c)
							})
							return err
						})
						wg.Wait() // G15
						l.grabbing, l.dropping = nil, nil
						switch {
						case story.want == nil && story.fated && fate.name == "goexit":
							fate.wantFate(t, "Restore", e) // no recover holds it up
						case story.want == nil:
							wantPtr(t, "Restore", got, e.err, p)
						case story.fated:
							fate.wantFate(t, "Restore", e)
						default:
							wantErr(t, "Restore", e.err, story.want)
						}
						if registered, counted := r.Waiting(); registered != 0 || counted != 0 {
							t.Errorf("%d waiters left, %d counted", registered, counted)
						}
						if _, err := r.Fetch(ref, 1); errors.Is(err, engine.ErrFailed) {
							if r.Len() != 0 || l.held(p) != 0 {
								t.Errorf("failed, but Len = %d, %d references held", r.Len(), l.held(p))
							}
						}
						closeQuietly(t, r)
						l.settled()
						closeQuietly(t, h)
					})
				})
			})
		}
	}
}

// G16: panic and Goexit in a claim's holder end the claim; all who wait see the cause.
func TestG16_aThousandWaiters(t *testing.T) {
	sick := func() error { return errSick }
	for _, how := range []struct {
		name    string
		end     func() error
		cause   error
		texts   []string
		recover any
		exits   bool
	}{
		{"error", sick, errSick, []string{"sick"}, nil, false},
		{"panic with an error", func() error { panic(errSick) }, errSick, []string{"panic: sick"}, errSick, false},
		{"panic with a text", func() error { panic("overflow") }, nil, []string{"panic: overflow"}, "overflow", false},
		{"panic with a KindError", func() error { panic(&engine.KindError{Ref: 1, Have: 2, Want: 3}) }, nil, []string{"panic", "of kind 2"}, nil, false},
		{"exit", func() error { runtime.Goexit(); return nil }, nil, []string{"exited"}, nil, true},
		{"panic while exiting", func() error {
			defer func() { panic(errSick) }()
			runtime.Goexit()
			return nil
		}, errSick, []string{"panic: sick"}, errSick, false},
		{"exit while panicking", func() error {
			defer runtime.Goexit()
			panic(errSick)
		}, nil, []string{"object could not be created"}, nil, true},
	} {
		for _, declares := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/declared=%t", how.name, declares), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newLedger(t, 1)
					r := newRestart(t, with(engine.Options{}, l))
					h := newRestorer(t, r)
					const waiters = 1_000
					var wg sync.WaitGroup
					e := ends(func() error {
						_, err := h.Restore(bg, 5, 1, func(c *engine.Claim) (engine.Ptr, error) {
							for i := range waiters {
								wg.Go(func() {
									h := r.Restorer()
									defer h.Close()
									var p engine.Ptr
									var err error
									if i%2 == 0 {
										p, err = h.Await(bg, 5, 1)
									} else {
										p, err = h.Restore(bg, 5, 1, notCalled(t))
									}
									if declares {
										wantPtr(t, "Await", p, err, addr(5))
										return
									}
									wantErr(t, "Await", err, engine.ErrFailed)
									wantMessage(t, err, append(how.texts, "objref 5", name(1))...)
									if how.cause != nil {
										wantErr(t, "Await", err, how.cause)
									}
									var kind *engine.KindError
									if errors.As(err, &kind) != (how.name == "panic with a KindError") {
										t.Errorf("Await: %v", err)
									}
								})
							}
							time.Sleep(time.Second)
							if registered, counted := r.Waiting(); registered != waiters || counted != waiters {
								t.Errorf("%d wait, %d counted", registered, counted)
							}
							if declares {
								if err := c.Declare(addr(5)); err != nil {
									t.Error(err)
								}
								synctest.Wait()
							}
							return 0, how.end()
						})
						return err
					})
					wg.Wait()
					if e.exited != how.exits || how.recover != nil && e.panicked != how.recover {
						t.Errorf("the creator ended with %+v", e)
					}
					_, err := r.Fetch(5, 1)
					wantErr(t, "Fetch", err, engine.ErrFailed)
					wantMessage(t, err, how.texts...)
					if registered, counted := r.Waiting(); registered != 0 || counted != 0 {
						t.Errorf("%d waiters left, %d counted", registered, counted)
					}
					closeQuietly(t, h)
					closeQuietly(t, r)
					l.settled()
				})
			})
		}
	}
}

// A nested creation that panics ends all claims above it, and those who wait for any
// of them see why; who recovers on the way up keeps the rest.
func TestG16_nestedPanic(t *testing.T) {
	for _, recoverAt := range []engine.ObjRef{0, 3} {
		r := newRestart(t, engine.Options{Kinds: make([]engine.KindOps, 1)})
		h := newRestorer(t, r)
		const depth = 6
		var nest create
		nest = func(c *engine.Claim) (engine.Ptr, error) {
			if c.Ref() == depth {
				panic(errSick)
			}
			if c.Ref() == recoverAt {
				defer func() { recover() }()
			}
			h.Restore(bg, c.Ref()+1, 1, nest)
			return addr(1), nil
		}
		e := ends(func() error {
			_, err := h.Restore(bg, 1, 1, nest)
			return err
		})
		for ref := engine.ObjRef(1); ref <= depth; ref++ {
			p, err := r.Fetch(ref, 1)
			switch {
			case ref >= max(recoverAt+1, 1):
				wantErr(t, fmt.Sprintf("Fetch(%d)", ref), err, engine.ErrFailed)
				wantErr(t, fmt.Sprintf("Fetch(%d)", ref), err, errSick)
			case ref == recoverAt: // returned address 0
				wantErr(t, fmt.Sprintf("Fetch(%d)", ref), err, engine.ErrInvalid)
			default:
				wantPtr(t, fmt.Sprintf("Fetch(%d)", ref), p, err, addr(1))
			}
		}
		if recoverAt == 0 && e.panicked != errSick || recoverAt != 0 && e.err != nil {
			t.Errorf("ended with %+v", e)
		}
		closeQuietly(t, h)
	}
}

// G13: no callback runs under a lock: each may call whatever there is.

// useRestart calls every method of a restart, and those of h, about ref and about
// others, of which next numbers new ones.
func useRestart(t *testing.T, r *engine.Restart, h *engine.Restorer, ref engine.ObjRef, p engine.Ptr, next *engine.ObjRef) {
	check := func(what string, err error, also ...error) {
		var cycle *engine.CycleError
		if errors.As(err, &cycle) {
			return // ref is being created by this very thread
		}
		allowed(t, what, err, append(also, engine.ErrClosed)...)
	}
	_, err := r.Fetch(ref, 1)
	check("Fetch", err, engine.ErrNotFound, engine.ErrFailed)
	check("Insert", r.Insert(ref, p, 1), engine.ErrExists)
	_, err = h.Restore(bg, ref, 1, at(p))
	check("Restore", err, engine.ErrFailed)
	_, err = h.Await(bg, ref, 1)
	check("Await", err, engine.ErrFailed)
	for i := range engine.ObjRef(5) {
		*next++
		q := addr(int(*next))
		if i == 3 {
			q = wide(int(*next))
		}
		_, err := h.Restore(bg, *next, 1, func(c *engine.Claim) (engine.Ptr, error) {
			if i%2 == 0 {
				return q, c.Declare(q)
			}
			return q, nil
		})
		check("Restore of a new object", err, engine.ErrFailed)
		*next++
		check("Insert of a new object", r.Insert(*next, q, 1))
	}
	r.Len()
	r.Bytes()
	check("Close of a handle", r.Restorer().Close())
}

func TestG13_claimCallbacksReenter(t *testing.T) {
	for _, place := range []string{"create", "create, declared", "Grab", "Grab in Declare", "Drop of a failure", "Drop at Close", "MayCreate"} {
		for _, end := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/close=%t", place, end), func(t *testing.T) {
				forEachPlace(func(ref engine.ObjRef, p engine.Ptr) {
					within(t, "a callback that calls everything", func() { reenterClaim(t, place, end, ref, p) })
				})
			})
		}
	}
}

func reenterClaim(t *testing.T, place string, end bool, ref engine.ObjRef, p engine.Ptr) {
	l := newLedger(t, 1)
	o := with(engine.Options{}, l)
	var r *engine.Restart
	var h *engine.Restorer
	next := engine.ObjRef(1_000) // around ref, and where arrays are made
	runs, inside := 0, false
	reenter := func(at string) {
		if at != place || inside {
			return
		}
		inside = true
		defer func() { inside = false }()
		runs++
		useRestart(t, r, h, ref, p, &next)
		if end {
			closeQuietly(t, r)
			useRestart(t, r, h, ref, p, &next)
		}
	}
	o.MayCreate = func(engine.ObjRef, engine.Kind, uint64) bool {
		reenter("MayCreate")
		return true
	}
	declares := place == "create, declared" || place == "Grab in Declare" || place == "Drop of a failure"
	l.grabbing = func(a account) error {
		if a.p == p {
			reenter("Grab")
			reenter("Grab in Declare")
		}
		return nil
	}
	l.dropping = func(a account, last bool) {
		if a.p == p {
			reenter("Drop of a failure")
			reenter("Drop at Close")
		}
	}
	r = newRestart(t, o)
	h = newRestorer(t, r)
	got, err := h.Restore(bg, ref, 1, func(c *engine.Claim) (engine.Ptr, error) {
		reenter("create")
		if declares {
			if err := c.Declare(p); err != nil {
				return 0, err
			}
		}
		reenter("create, declared")
		if place == "Drop of a failure" {
			return 0, errSick
		}
		return p, nil
	})
	switch {
	case place == "Drop of a failure":
		wantErr(t, "Restore", err, errSick)
	case end && place != "Drop at Close":
		wantErr(t, "Restore", err, engine.ErrClosed)
	default:
		wantPtr(t, "Restore", got, err, p)
	}
	closeQuietly(t, r)
	closeQuietly(t, h)
	if runs == 0 {
		t.Error("the callback did not run")
	}
	l.settled()
}
