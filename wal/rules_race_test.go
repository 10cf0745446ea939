//go:build race

package wal

// raceEnabled is whether the race detector is on: what is heavy does less.
const raceEnabled = true
