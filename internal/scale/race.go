//go:build race

package scale

// Race says whether the race detector is on.
const Race = true
