package waltest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

func TestEveryOperationHasAName(t *testing.T) {
	known := map[Op]bool{}
	for _, op := range []Op{Mkdir, List, Create, Open, Rename, Remove, Link, SyncDir, Lock, Read, Write, Allocate, Zero, WriteSync, Truncate, Sync, Stat, Close} {
		known[op] = true
	}
	ops := 0
	for op := vfs.Op(0); op.String() != "unknown"; op++ {
		call := callOf(vfs.Call{Op: op})
		require.True(t, known[call.Op], op)
		require.Equal(t, op.Mutates(), call.Changes(), op)
		ops++
	}
	require.Len(t, known, ops)
}
