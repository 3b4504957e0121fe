// Package zipf draws ranks by Zipf's law with any exponent from 0 on.
//
// The distribution has P(k) proportional to 1/k^theta for k in 1..n. The
// standard library's generator needs an exponent above 1; workloads of caches
// and object graphs are described by exponents below it (YCSB uses 0.99).
//
// The method is rejection-inversion: W. Hörmann and G. Derflinger,
// "Rejection-inversion to generate variates from monotone discrete
// distributions", ACM Transactions on Modeling and Computer Simulation 6(3),
// 1996. It is exact for every rank (the formula of Gray et al., SIGMOD 1994,
// that YCSB uses is so for the first two only), needs no table, and its
// constants do not depend on a sum over all ranks. A draw costs one exponential
// and one or two logarithms.
package zipf

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
)

// ErrParameter is what New returns, wrapped, for parameters out of range.
var ErrParameter = errors.New("zipf: parameter out of range")

// Zipf draws ranks. It is not safe for concurrent use.
type Zipf struct {
	rng *rand.Rand

	n     float64
	theta float64

	// The integral of x^-theta is cut into one strip per rank. low and high
	// bound what is drawn from it; squeeze accepts most draws unseen.
	low, high, squeeze float64
}

// New returns a generator of ranks 0..n-1, the most frequent first, with
// exponent theta >= 0. With 0, all ranks are as frequent.
func New(rng *rand.Rand, n int, theta float64) (*Zipf, error) {
	if n < 1 {
		return nil, fmt.Errorf("%w: %d ranks", ErrParameter, n)
	}
	if !(theta >= 0) || math.IsInf(theta, 0) {
		return nil, fmt.Errorf("%w: exponent %v", ErrParameter, theta)
	}
	z := &Zipf{rng: rng, n: float64(n), theta: theta}
	z.low = z.integral(1.5) - 1
	z.high = z.integral(z.n + 0.5)
	z.squeeze = 2 - z.inverse(z.integral(2.5)-z.weight(2))
	return z, nil
}

// Next draws one rank in 0..n-1.
func (z *Zipf) Next() int {
	for {
		u := z.high + z.rng.Float64()*(z.low-z.high)
		x := z.inverse(u)
		k := min(max(math.Floor(x+0.5), 1), z.n)
		if k-x <= z.squeeze || u >= z.integral(k+0.5)-z.weight(k) {
			return int(k) - 1
		}
	}
}

func (z *Zipf) weight(x float64) float64 { return math.Exp(-z.theta * math.Log(x)) }

// integral is (x^(1-theta) - 1) / (1-theta), and log x where theta is 1; it
// is written so that exponents near 1 keep their digits.
func (z *Zipf) integral(x float64) float64 {
	l := math.Log(x)
	return expm1Over((1-z.theta)*l) * l
}

func (z *Zipf) inverse(y float64) float64 {
	t := max(y*(1-z.theta), -1) // rounding may lead just past the pole
	return math.Exp(log1pOver(t) * y)
}

// expm1Over is (e^x - 1) / x, continued through 0.
func expm1Over(x float64) float64 {
	if math.Abs(x) > 1e-8 {
		return math.Expm1(x) / x
	}
	return 1 + x/2
}

// log1pOver is log(1+x) / x, continued through 0.
func log1pOver(x float64) float64 {
	if math.Abs(x) > 1e-8 {
		return math.Log1p(x) / x
	}
	return 1 - x/2
}
