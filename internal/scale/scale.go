// Package scale says how much the heavy tests do. Each of them takes the flag
//
//	go test ./fuzz -scale ci
//
// so that `go test ./...` ends within two minutes on two cores, and more can be had
// by whoever has more time.
package scale

import (
	"flag"
	"testing"
)

// Level is how much a heavy test does.
type Level uint8

// The levels.
const (
	Quick Level = iota // the default under the race detector, which makes all ten times slower
	Test               // the default: minutes
	CI                 // what .ci/run does besides: ten minutes
	Long               // hours
)

var names = [...]string{"quick", "test", "ci", "long"}

// String returns the level as the flag names it.
func (l Level) String() string { return names[l] }

var asked = flag.String("scale", "", "how much the heavy tests do: quick, test, ci or long; the default is test, and quick under -race")

// Of returns the level asked for.
func Of(t testing.TB) Level {
	t.Helper()
	for l, name := range names {
		if *asked == name {
			return Level(l)
		}
	}
	if *asked != "" {
		t.Fatalf("-scale is %q, want quick, test, ci or long", *asked)
	}
	if Race {
		return Quick
	}
	return Test
}

// Pick returns the argument for the level asked for.
func Pick[T any](t testing.TB, quick, test, ci, long T) T {
	t.Helper()
	return [...]T{quick, test, ci, long}[Of(t)]
}
