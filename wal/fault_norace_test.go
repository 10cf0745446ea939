//go:build !race

package wal

// faultRace is whether the race detector is on.
const faultRace = false
