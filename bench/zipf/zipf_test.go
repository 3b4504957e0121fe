package zipf_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/objhash/objhash/bench/zipf"
)

// TestFrequencies compares drawn frequencies with the law itself by a
// chi-square test over the first ranks and the tail, for exponents on both
// sides of 1, 1 itself, and 0.
func TestFrequencies(t *testing.T) {
	const n, draws, single = 10_000, 2_000_000, 100
	for _, theta := range []float64{0, 0.5, 0.99, 1, 1.2} {
		t.Run(fmt.Sprintf("theta=%v", theta), func(t *testing.T) {
			z, err := zipf.New(rand.New(rand.NewPCG(1, 2)), n, theta)
			if err != nil {
				t.Fatal(err)
			}
			counts := make([]float64, single+1)
			for range draws {
				k := z.Next()
				if k < 0 || k >= n {
					t.Fatalf("rank %d is outside 0..%d", k, n-1)
				}
				counts[min(k, single)]++
			}
			var sum float64
			for k := range n {
				sum += math.Pow(float64(k+1), -theta)
			}
			chi, tail := 0.0, float64(draws)
			for k := range single {
				want := draws * math.Pow(float64(k+1), -theta) / sum
				tail -= want
				chi += (counts[k] - want) * (counts[k] - want) / want
			}
			chi += (counts[single] - tail) * (counts[single] - tail) / tail
			// 100 degrees of freedom: 149.4 is exceeded once in 1000.
			if chi > 149.4 {
				t.Errorf("chi-square %.1f over %d classes; the frequencies are not Zipf's", chi, single+1)
			}
		})
	}
}

// TestSmall covers the edges: one rank, two ranks.
func TestSmall(t *testing.T) {
	z, err := zipf.New(rand.New(rand.NewPCG(1, 2)), 1, 0.99)
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if k := z.Next(); k != 0 {
			t.Fatalf("the only rank is 0, drew %d", k)
		}
	}
	z, err = zipf.New(rand.New(rand.NewPCG(1, 2)), 2, 0.99)
	if err != nil {
		t.Fatal(err)
	}
	var hits [2]int
	for range 300_000 {
		hits[z.Next()]++
	}
	want := 1 / (1 + math.Pow(2, -0.99))
	if got := float64(hits[0]) / 300_000; math.Abs(got-want) > 0.005 {
		t.Errorf("first of two ranks: frequency %.4f, want %.4f", got, want)
	}
}

func TestBadParameters(t *testing.T) {
	for _, c := range []struct {
		n     int
		theta float64
	}{{0, 0.99}, {-1, 0.99}, {10, -1}, {10, math.NaN()}, {10, math.Inf(1)}} {
		if _, err := zipf.New(nil, c.n, c.theta); !errors.Is(err, zipf.ErrParameter) {
			t.Errorf("New(%d, %v): %v, want ErrParameter", c.n, c.theta, err)
		}
	}
}

func ExampleNew() {
	z, err := zipf.New(rand.New(rand.NewPCG(1, 2)), 1_000_000, 0.99)
	if err != nil {
		fmt.Println(err)
		return
	}
	hot := 0
	for range 10_000 {
		if z.Next() < 10_000 {
			hot++
		}
	}
	fmt.Println("the first 1 % of the ranks get most draws:", hot > 5_000)
	// Output: the first 1 % of the ranks get most draws: true
}
