package bench

import (
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/objhash/objhash/bench/zipf"
)

// sharing returns a source of ranks in 0..n-1 that are distributed as a draw says, most
// frequent first where they differ.
func (ph *Phase) sharing(by Draw, n int, rng *rand.Rand) (next func() int, err error) {
	switch by {
	case Uniform:
		return func() int { return rng.IntN(n) }, nil
	case Zipf:
		z, err := zipf.New(rng, n, ph.Theta)
		if err != nil {
			return nil, err
		}
		return z.Next, nil
	case Hot:
		hot, err := ph.hot(n)
		if err != nil {
			return nil, err
		}
		return func() int {
			if hot == n || rng.Float64() < ph.HotDraws {
				return rng.IntN(hot)
			}
			return hot + rng.IntN(n-hot)
		}, nil
	case Dealt:
		last := -1
		return func() int {
			last = (last + 1) % n
			return last
		}, nil
	default:
		return nil, fmt.Errorf("draw %q is not one of sharing", by)
	}
}

// hot is the size of the hot set, of n objects.
func (ph *Phase) hot(n int) (int, error) {
	if !(ph.HotObjects > 0 && ph.HotObjects <= 1 && ph.HotDraws >= 0 && ph.HotDraws <= 1) {
		return 0, fmt.Errorf("a share %v of draws to a share %v of objects; want shares up to 1, and some objects", ph.HotDraws, ph.HotObjects)
	}
	return min(max(1, int(math.Round(ph.HotObjects*float64(n)))), n), nil
}

// kindsOf tells the kind of each object, by its index.
type kindsOf struct {
	kinds  int
	shared int // objects of a shared fd table, which have the first kind, and the others the last; 0: there is none

	// ends are those of each kind's part of the numbers, in proportion to its share;
	// none: kinds come in turn.
	ends []float64
}

func newKindsOf(p Profile, objects int) kindsOf {
	k := kindsOf{kinds: max(len(p.Kinds), 1)}
	for _, ph := range p.Phases {
		if ph.Draw == Tasks {
			k.shared, _ = ph.tasks(objects)
		}
	}
	sum := 0.0
	for _, share := range p.KindShares {
		sum += share
	}
	end := 0.0
	for _, share := range p.KindShares {
		end += share / sum
		k.ends = append(k.ends, end)
	}
	return k
}

// of spreads the shares evenly over all objects, and so over all ranks of a distribution:
// multiples of the golden ratio fall into each part as often as it is long.
func (k *kindsOf) of(object int) uint16 {
	switch {
	case k.shared > object:
		return 1
	case k.shared > 0:
		return uint16(k.kinds)
	case k.ends == nil:
		return 1 + uint16(object%k.kinds)
	}
	const golden = 0x9e3779b97f4a7c15
	at := float64(uint64(object)*golden>>11) / (1 << 53)
	for i, end := range k.ends {
		if at < end {
			return 1 + uint16(i)
		}
	}
	return uint16(k.kinds)
}
