package wal

import (
	"flag"
	"testing"
)

// scaleFlag says how much the heavy tests of this package enumerate.
var scaleFlag = flag.String("scale", "", "quick, ci or long; default ci, and quick with the race detector")

// scaled returns the value for the scale asked for.
func scaled(t *testing.T, quick, ci, long int) int {
	t.Helper()
	switch {
	case *scaleFlag == "quick", *scaleFlag == "" && raceEnabled:
		return quick
	case *scaleFlag == "ci", *scaleFlag == "":
		return ci
	case *scaleFlag == "long":
		return long
	}
	t.Fatalf("-scale %s: want quick, ci or long", *scaleFlag)
	return 0
}
