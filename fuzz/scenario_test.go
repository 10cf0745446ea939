package fuzz_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestIndexOfAnUnknownKindIsNotUsed has a seal of which the sums hold, and that says
// that its index is one of a later version.
func TestIndexOfAnUnknownKindIsNotUsed(t *testing.T) {
	_, c := corpora(t)
	name := c.names[0]
	l := c.layouts[name]
	w := newDamageWorker(t, c)
	defer w.alarm.Stop()
	for kind, used := range map[byte]bool{0: false, 1: true, 2: false, 255: false} {
		file := slices.Clone(c.files[name])
		file[l.end+64+16+56] = kind
		sumSeal(file, l.end, l.header.Salt)
		require.Equal(t, used, reads(t, name, file, l.end), "kind %d", kind)
		require.Empty(t, indexed(w, name, file), "kind %d", kind)
	}
}
