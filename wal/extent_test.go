package wal

import (
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// reading returns the extent of the first segment of a log, in which a read is under way
// until goOn is closed, and counts how often its file is opened and closed.
func reading(t *testing.T, goOn chan struct{}) (e *extent, opened, closed *atomic.Int64) {
	opened, closed = new(atomic.Int64), new(atomic.Int64)
	l := open(t, Options{}).fill(3)
	l.Log.fs = vfs.Wrap(l.opts.FS, func(c vfs.Call, do func(int) (int, error)) (int, error) {
		switch {
		case c.Op == vfs.Open:
			opened.Add(1)
		case c.Op == vfs.ReadAt:
			<-goOn
		case c.Op == vfs.Close:
			closed.Add(1)
		}
		return do(int(c.Size))
	})
	e = l.newExtent(1)
	for range 2 {
		go func() {
			_, err := e.ReadAt(make([]byte, 10), 0)
			require.NoError(t, err)
		}()
	}
	synctest.Wait()
	return e, opened, closed
}

func TestFileThatIsReadStaysOpenBehindItsRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		e, opened, closed := reading(t, goOn)
		require.NoError(t, e.drop())
		require.NoError(t, e.drop())
		require.True(t, e.isGone())
		_, err := e.ReadAt(make([]byte, 10), 0)
		require.ErrorIs(t, err, errGone)
		settled := false
		go func() { e.settled(); settled = true }()
		synctest.Wait()
		require.Zero(t, closed.Load())
		require.False(t, settled)
		close(goOn)
		synctest.Wait()
		require.EqualValues(t, 1, closed.Load())
		require.EqualValues(t, 1, opened.Load())
		require.True(t, settled)
	})
}

func TestFileThatIsReadIsNotIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		e, opened, closed := reading(t, goOn)
		require.False(t, e.closeIdle())
		close(goOn)
		synctest.Wait()
		require.Zero(t, closed.Load())
		require.True(t, e.closeIdle())
		require.True(t, e.closeIdle())
		require.EqualValues(t, 1, closed.Load())
		_, err := e.ReadAt(make([]byte, 10), 0)
		require.NoError(t, err)
		require.EqualValues(t, 2, opened.Load())
		require.NoError(t, e.drop())
		e.settled()
		require.EqualValues(t, 2, closed.Load())
	})
}
