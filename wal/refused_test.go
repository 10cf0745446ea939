package wal

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// TestFailedLogOrdersNothing: an append that nobody will write is refused when it is
// called, and not only when somebody waits for it; nor does it take memory or an LSN.
func TestFailedLogOrdersNothing(t *testing.T) {
	l, f := faultyLog(t, Options{})
	l.fill(2)
	f.Set(vfs.Fault{Match: onFile(vfs.Sync, segment1)})
	require.ErrorIs(t, second(l.Append([]byte("lost"))), ErrUnknownOutcome)
	for range 3 {
		require.ErrorIs(t, second(l.AppendAsync([]byte("late"))), ErrFailed)
		require.ErrorIs(t, second(l.AppendBatchAsync(l.newBatch("a", "b"))), ErrFailed)
		require.ErrorIs(t, l.Reset(9), ErrFailed)
	}
	require.Zero(t, l.Stats().QueuedBytes)
	l.is(1, 2)
}
