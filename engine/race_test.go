//go:build race

package engine_test

// raceEnabled tells that the race detector makes everything several times slower,
// and allows 8,128 goroutines at once.
const raceEnabled = true
