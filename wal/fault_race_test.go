//go:build race

package wal

// faultRace is whether the race detector is on, which makes everything slower
// and lets some things allocate.
const faultRace = true
