package fuzz

import (
	"flag"
	"testing"
)

// How much the enumerations of this package do. Under the race detector, which
// makes them ten times slower, the default is quick.
var (
	scaleFlag  = flag.String("scale", "", "quick, ci or long; the default is ci, and quick under -race")
	statesFlag = flag.Int("states", 1_000_000, "with -scale long: how many images of a crash")
)

// scale returns the scale asked for.
func scale(t testing.TB) string {
	t.Helper()
	switch *scaleFlag {
	case "quick", "ci", "long":
		return *scaleFlag
	case "":
		if raceEnabled {
			return "quick"
		}
		return "ci"
	}
	t.Fatalf("-scale is %q, want quick, ci or long", *scaleFlag)
	return ""
}

// scaled returns the one of its arguments that the scale asks for.
func scaled(t testing.TB, quick, ci, long int) int {
	t.Helper()
	return map[string]int{"quick": quick, "ci": ci, "long": long}[scale(t)]
}
