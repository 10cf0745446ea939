package wal

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// reading returns the extent of the first segment of a log, in which reads are under way
// until goOn is called, and counts how often its file is opened and closed.
func reading(t *testing.T) (e *extent, opened, closed *atomic.Int64, goOn func()) {
	opened, closed = new(atomic.Int64), new(atomic.Int64)
	held := make(chan struct{})
	l := open(t, Options{}).fill(3)
	l.Log.fs = vfs.Wrap(l.opts.FS, func(c vfs.Call, do func(int) (int, error)) (int, error) {
		switch {
		case c.Op == vfs.Open:
			opened.Add(1)
		case c.Op == vfs.ReadAt:
			<-held
		case c.Op == vfs.Close:
			closed.Add(1)
		}
		return do(int(c.Size))
	})
	e = l.newExtent(1)
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			if _, err := e.ReadAt(make([]byte, 10), 0); err != nil {
				t.Error(err)
			}
		})
	}
	synctest.Wait()
	return e, opened, closed, sync.OnceFunc(func() { close(held); readers.Wait() }) // they end before the test
}

func TestFileThatIsReadStaysOpenBehindItsRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, opened, closed, goOn := reading(t)
		defer goOn()
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
		goOn()
		synctest.Wait()
		require.EqualValues(t, 1, closed.Load())
		require.EqualValues(t, 1, opened.Load())
		require.True(t, settled)
	})
}

func TestFileThatIsReadIsNotIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, opened, closed, goOn := reading(t)
		defer goOn()
		require.False(t, e.closeIdle())
		goOn()
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
