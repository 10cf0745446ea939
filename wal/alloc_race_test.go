//go:build race

package wal

import "testing"

func TestNothingIsAllocated(t *testing.T) {
	t.Skip("NOT TESTED: the race detector allocates; run without -race")
}
