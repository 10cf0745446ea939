package wal

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// made is a segment as it was made: how large, and in how many pieces of zeros.
type made struct{ kib, pieces int64 }

// openMaking opens a log on the disk, where a piece of zeros takes so long, and returns
// what notes, in order, which segments are made.
func openMaking(t *testing.T, o Options, piece time.Duration) (*Log, func() []made) {
	var mu sync.Mutex
	var list []made
	o.FS = vfs.Wrap(vfs.OS(), func(c vfs.Call, do func(int) (int, error)) (int, error) {
		mu.Lock()
		switch {
		case c.Op == vfs.Allocate && strings.HasSuffix(c.Name, segment.TempExt):
			list = append(list, made{kib: c.Size >> 10})
		case c.Op == vfs.Zero:
			list[len(list)-1].pieces++
		}
		mu.Unlock()
		if c.Op == vfs.Zero {
			time.Sleep(piece) // real time: none, it is the bubble's
		}
		return do(int(c.Size))
	})
	l, err := Open(t.TempDir()+"/log", &o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l, func() []made {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(list)
	}
}

// TestSegmentsGrow from one that takes little space to Options.SegmentSize, and are
// written with zeros, a piece at a time, if what is synced at once is small.
func TestSegmentsGrow(t *testing.T) {
	for what, c := range map[string]struct {
		o    Options
		size int // of each record
		want []made
	}{
		"small syncs":    {Options{SegmentSize: 10 << 20}, 8 << 10, []made{{1024, 4}, {2048, 8}, {4096, 16}, {8192, 32}, {10240, 40}, {10240, 40}}},
		"large syncs":    {Options{SegmentSize: 40 << 20}, 1 << 20, []made{{2048, 0}, {4096, 0}, {8192, 0}, {16384, 0}}},
		"no syncs":       {Options{SegmentSize: 10 << 20, Sync: SyncNone}, 8 << 10, []made{{1024, 0}, {2048, 0}, {4096, 0}, {8192, 0}, {10240, 0}}},
		"small segments": {Options{SegmentSize: 100 << 10}, 8 << 10, []made{{100, 1}, {100, 1}, {100, 1}}},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, list := openMaking(t, c.o, 0)
				for len(list()) < len(c.want) {
					requireAppend(t, l, string(make([]byte, c.size)))
					time.Sleep(100 * time.Millisecond) // real time: the bubble's
				}
				time.Sleep(time.Second) // real time: the bubble's
				got := list()
				if what == "large syncs" {
					for i := range got {
						got[i].kib &^= 1023 // and room for the header of the first record, twice
					}
				}
				require.Equal(t, c.want, got[:len(c.want)])
			})
		})
	}
}

// TestSegmentThatIsWaitedForIsNotWrittenToItsEnd appends without a pause, so that the next
// segment is needed before it is written with zeros: who waits for it waits for one piece.
func TestSegmentThatIsWaitedForIsNotWrittenToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const piece = time.Millisecond
		l, list := openMaking(t, Options{SegmentSize: 10 << 20}, piece)
		requireAppend(t, l, "the first segment is waited for to its end")
		began := time.Now()
		for len(l.Segments()) < 3 {
			requireAppend(t, l, string(make([]byte, 8<<10)))
		}
		require.Equal(t, 2*piece, time.Since(began))
		require.Equal(t, []made{{1024, 4}, {2048, 1}, {4096, 1}}, list())
	})
}

// TestPreparationDelaysNoRemoval has a log stand still while its next segment is written
// with zeros, which takes a quarter of a second, and drops others.
func TestPreparationDelaysNoRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, list := openMaking(t, Options{SegmentSize: 64 << 20}, 0)
		for {
			requireAppend(t, l, string(make([]byte, 64<<10)))
			if synctest.Wait(); len(list()) == 6 { // the last of them is being made
				break
			}
			time.Sleep(time.Second) // real time: the bubble's
		}
		began := time.Now()
		oldest := l.Segments()[0].Path
		require.NoError(t, l.TruncateFront(l.LastLSN()))
		time.Sleep(10 * time.Millisecond) // real time: the bubble's
		require.NoFileExists(t, oldest)
		require.Less(t, time.Since(began), time.Second)
	})
}
