package engine

import (
	"errors"
	"fmt"

	"github.com/objhash/objhash/internal/region"
	"github.com/objhash/objhash/shard"
)

// Errors of the engine; what is returned wraps one of these, or is one of the typed
// errors, and says which object was concerned.
var (
	// ErrInvalid: an argument can never work: address 0, an unknown kind, an objref
	// that is not positive, an empty key, slices of unequal length, a nil handle; or a
	// call that this context cannot answer: a second EndCollect, Canonical without
	// TrackHolders.
	ErrInvalid = errors.New("invalid argument")

	// ErrNotFound: no object has that objref.
	ErrNotFound = errors.New("no such object")

	// ErrExists: the objref belongs to an object already.
	ErrExists = errors.New("objref in use already")

	// ErrExhausted: all 2^31-1 objrefs have been given out.
	ErrExhausted = errors.New("objrefs exhausted")

	// ErrLimit: Options.MaxObjects or Options.MaxBytes is reached. What was accepted
	// before stays readable.
	ErrLimit = errors.New("limit reached")

	// ErrFailed: the object's create callback returned an error, panicked or exited. The
	// cause is wrapped as well.
	ErrFailed = errors.New("object could not be created")

	// ErrReleased: everybody has let go of the object (Dumper.Release), so its reference
	// has been dropped; it cannot be encountered again in this context.
	ErrReleased = errors.New("object released")

	// ErrClosed: the context or the handle is closed.
	ErrClosed = errors.New("closed")

	// ErrSnapshot: bytes that are no snapshot, or no longer the one that was written.
	// The message says at which byte, and what is wrong there.
	ErrSnapshot = errors.New("not a sound snapshot")
)

// KindError reports that an object is known under another kind. The context is
// unchanged. errors.As finds it as KindError and as *KindError.
type KindError struct {
	Ref        ObjRef
	Have, Want Kind
}

// Error implements error.
func (e KindError) Error() string {
	return fmt.Sprintf("object %d is of kind %d, not %d", e.Ref, e.Have, e.Want)
}

// As lets errors.As fill a KindError as well as a *KindError.
func (e *KindError) As(target any) bool { return fill(target, e) }

// fill sets what target points to, if that is of e's type.
func fill[E any](target any, e *E) bool {
	t, ok := target.(*E)
	if ok {
		*t = *e
	}
	return ok
}

// badOption turns an error of making a context into one of ours.
func badOption(err error) error {
	if errors.Is(err, shard.ErrInvalid) {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return translate(err)
}

// translate turns an error of a table below into one of ours.
func translate(err error) error {
	switch {
	case errors.Is(err, shard.ErrClosed), errors.Is(err, region.ErrClosed):
		return fmt.Errorf("%w: %w", ErrClosed, err)
	case errors.Is(err, shard.ErrLimit), errors.Is(err, region.ErrBudget):
		return fmt.Errorf("%w: %w", ErrLimit, err)
	}
	return err
}
