package wal

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// TestReadersOfManySegmentsKeepFewFilesOpen reads a log of more segments than
// may stay open, in this run and in the next, and counts descriptors.
func TestReadersOfManySegmentsKeepFewFilesOpen(t *testing.T) {
	var open, most atomic.Int64
	fsys := vfs.Wrap(vfs.NewMem(), func(c vfs.Call, do func(int) (int, error)) (int, error) {
		n, err := do(int(c.Size))
		switch c.Op {
		case vfs.Open, vfs.Create, vfs.Lock:
			if err == nil {
				open.Add(1)
				most.Store(max(most.Load(), open.Load()))
			}
		case vfs.Close:
			open.Add(-1)
		}
		return n, err
	})
	const segments = 3 * maxOpenFiles
	for range 2 {
		l, err := Open("log", &Options{FS: fsys, SegmentSize: MinSegmentSize})
		require.NoError(t, err)
		for n := l.LastLSN(); n < segments; n++ {
			_, err := l.Append([]byte(fmt.Sprint(n + 1)))
			require.NoError(t, err)
			require.NoError(t, l.Rotate())
		}
		for range 2 {
			n := 0
			for r, err := range l.Records(1) {
				require.NoError(t, err)
				n++
				require.Equal(t, fmt.Sprint(n), string(r.Data))
			}
			require.Equal(t, segments, n)
		}
		require.NoError(t, l.Close())
		require.LessOrEqual(t, most.Load(), int64(maxOpenFiles+10))
		require.Zero(t, open.Load())
	}
}

// TestIndexesTakeBoundedMemory: those of this run, those read from seals, and those built
// anew, as long as the segments are there.
func TestIndexesTakeBoundedMemory(t *testing.T) {
	mem := NewMemFS()
	for run := range 3 {
		l, err := Open("log", &Options{FS: mem, SegmentSize: MinSegmentSize})
		require.NoError(t, err)
		l.files.mu.Lock()
		l.files.most = []int64{4096, 64, 64}[run]
		l.files.mu.Unlock()
		for n := l.LastLSN(); run == 0 && n < 100; n++ {
			requireAppend(t, l, fmt.Sprint(n+1))
			require.NoError(t, l.Rotate())
		}
		for n := l.FirstLSN(); n <= l.LastLSN(); n++ {
			data, err := l.Read(n, nil)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(n), string(data))
		}
		l.keep.mu.Lock()
		for l.keep.mu.running { // seals
			l.keep.idle.Wait()
		}
		l.keep.mu.Unlock()
		l.files.mu.Lock()
		require.LessOrEqual(t, l.files.bytes, l.files.most)
		require.NotZero(t, l.files.indexed.Len())
		l.files.mu.Unlock()
		var bytes int64
		segments := *l.segments.Load()
		for _, e := range segments[:len(segments)-1] {
			if x := e.index.Load(); x != nil {
				bytes += x.Size()
			}
		}
		require.LessOrEqual(t, bytes, l.files.bytes)
		require.NoError(t, l.TruncateFront(l.FirstLSN()+10))
		require.NoError(t, l.Close())
		require.Zero(t, l.files.bytes)
		require.Zero(t, l.files.indexed.Len())
	}
}

// TestIndexReadWhileASegmentGoesIsNotKept: who asked for it was in time.
func TestIndexReadWhileASegmentGoesIsNotKept(t *testing.T) {
	l := open(t, Options{}).fill(3)
	e := l.newExtent(1)
	require.NoError(t, e.loadHead())
	e.end.Store((*l.segments.Load())[0].end.Load())
	_, err := e.acquire()
	require.NoError(t, err)
	require.NoError(t, e.drop())
	e.index.Store(new(segment.Index))
	l.files.hasIndex(e)
	require.Equal(t, 1, l.files.indexed.Len())
	e.release()
	require.Zero(t, l.files.indexed.Len())
	require.Nil(t, e.index.Load())
}

// TestRewindsAreForgottenOnTheSafeSide takes the log back more often than is
// remembered: a reader that was last used before all of it is told of a rewind,
// one that saw the last is not.
func TestRewindsAreForgottenOnTheSafeSide(t *testing.T) {
	var r rewinds
	start := r.now()
	for n := range 3 * keptRewinds {
		r.begin(LSN(100 + n))
		r.end()
	}
	require.LessOrEqual(t, len(r.low), keptRewinds)
	low, ok := r.lowest(start)
	require.True(t, ok)
	require.EqualValues(t, 100, low)
	_, ok = r.lowest(r.now())
	require.False(t, ok)
	low, ok = r.lowest(r.now() - 2)
	require.True(t, ok)
	require.EqualValues(t, 100+3*keptRewinds-1, low)
}

// TestReadOnlyLogThatIsIdleReadsLittle looks again and again at a log that
// nobody writes to, and once after an append.
func TestReadOnlyLogThatIsIdleReadsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		l, err := Open("log", &Options{FS: mem, SegmentSize: 1 << 20})
		require.NoError(t, err)
		_, err = l.Append(make([]byte, 1000))
		require.NoError(t, err)
		time.Sleep(time.Second) // the bubble's clock: its mark is written

		var read atomic.Int64
		v, err := Open("log", &Options{ReadOnly: true, FS: vfs.Wrap(mem, func(c vfs.Call, do func(int) (int, error)) (int, error) {
			n, err := do(int(c.Size))
			if c.Op == vfs.ReadAt {
				read.Add(int64(n))
			}
			return n, err
		})})
		require.NoError(t, err)
		require.Greater(t, read.Swap(0), int64(1<<19), "it scans the segment once")
		for range 10 {
			time.Sleep(2 * lookEvery) // the bubble's clock
			require.EqualValues(t, 1, v.LastLSN())
		}
		require.Less(t, read.Load(), int64(10*(8192+64+1)))
		_, err = l.Append([]byte("second"))
		require.NoError(t, err)
		time.Sleep(2 * lookEvery)
		require.EqualValues(t, 2, v.LastLSN())
		require.NoError(t, v.Close())
		require.NoError(t, l.Close())
	})
}
