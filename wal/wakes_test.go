package wal

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// TestWaiterThatGivesUpWithTheLeadHandsItOn ends the wait of the oldest waiter and gives
// it the lead before it could leave the line: the one behind it gets it at once, and not
// when the flusher looks at what is due.
func TestWaiterThatGivesUpWithTheLeadHandsItOn(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, l *testLog) {
		l.mu.Lock()
		l.mu.leading = true // somebody's sync is under way
		l.mu.Unlock()
		gives, cancel := context.WithCancel(ctx)
		first := l.async("whose waiter gives up")
		gaveUp, behind := make(chan error), make(chan error)
		go func() { gaveUp <- first.Wait(gives) }()
		synctest.Wait()
		go func() { behind <- second(l.Append([]byte("behind"))) }()
		synctest.Wait()

		began := time.Now()
		l.mu.Lock() // nobody can leave the line
		cancel()
		l.mu.leading = false
		l.handOver()
		l.mu.Unlock()
		require.ErrorIs(t, <-gaveUp, context.Canceled)
		require.NoError(t, <-behind)
		require.Zero(t, time.Since(began), "the lead was lost")
		require.NoError(t, first.Wait(ctx), "the append was not taken back")
		require.Equal(t, LSN(2), l.DurableLSN())
	})
}

// TestCloseWaitsForTheBackgroundAndNoLonger: what is sealed when the log is closed is
// sealed in full, and then Close goes on.
func TestCloseWaitsForTheBackgroundAndNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		l := open(t, Options{SegmentSize: small, FS: vfs.Wrap(vfs.NewMem(), func(c vfs.Call, do func(int) (int, error)) (int, error) {
			if onFile(vfs.Truncate, segment1)(c) { // the last step of its seal
				<-gate
			}
			return do(int(c.Size))
		})}).fillSegments(2)
		closed := make(chan error, 1)
		go func() { closed <- l.Close() }()
		synctest.Wait()
		require.Empty(t, closed)
		close(gate)
		require.NoError(t, <-closed)
		require.True(t, l.openAgain().Segments()[0].Sealed)
	})
}
