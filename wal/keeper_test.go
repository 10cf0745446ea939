package wal

import (
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// made is a segment as it was made: how large, and in how many pieces of zeros.
type made struct{ kib, pieces int64 }

// openMaking opens a log where zeros are of use, and a piece of them takes so long, and
// returns what notes, in order, which segments are made.
func openMaking(t *testing.T, o Options, piece time.Duration) (*Log, func() []made) {
	var mu sync.Mutex
	var list []made
	m := vfs.NewMem()
	m.UseZeros()
	o.FS = vfs.Wrap(m, func(c vfs.Call, do func(int) (int, error)) (int, error) {
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
	l, err := Open("log", &o)
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
// with zeros, a piece an hour, and drops others.
func TestPreparationDelaysNoRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := openMaking(t, Options{SegmentSize: 16 << 10, firstSegment: 8 << 10}, time.Hour)
		requireAppend(t, l, "one", "two", half)
		require.NoError(t, l.Rotate())
		requireAppend(t, l, "three", half)
		synctest.Wait()
		l.keep.mu.Lock()
		require.True(t, l.keep.mu.preparing)
		l.keep.mu.Unlock()
		began := time.Now()
		oldest := l.Segments()[0].Path
		require.NoError(t, l.TruncateFront(l.LastLSN()))
		synctest.Wait()
		_, err := l.fs.Open(oldest, vfs.ReadOnly)
		require.ErrorIs(t, err, fs.ErrNotExist)
		require.Zero(t, time.Since(began))
	})
}

// TestRemovalsTakeTurnsWithSeals so that a log that always has a segment to seal still
// gives its space back, and one that drops many segments is not kept from a rotation.
func TestRemovalsTakeTurnsWithSeals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k keeper
		k.idle.L = &k.mu
		var order string
		hold := make(chan struct{})
		k.do(&k.mu.seals, func() { <-hold })
		for range 3 {
			k.do(&k.mu.removals, func() { order += "r" })
			k.do(&k.mu.seals, func() { order += "s" })
		}
		k.do(&k.mu.removals, func() { order += "r" })
		close(hold)
		synctest.Wait()
		require.Equal(t, "rsrsrsr", order)
	})
}

// TestSegmentThatIsGoneIsNotSealed: removals, which take turns with the seals, may come
// before its own.
func TestSegmentThatIsGoneIsNotSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var holding atomic.Bool
		hold := make(chan struct{})
		fsys := vfs.Wrap(vfs.NewMem(), func(c vfs.Call, do func(int) (int, error)) (int, error) {
			if c.Op == vfs.WriteAt && c.Name == segment1 && holding.Load() { // its seal
				<-hold
			}
			return do(int(c.Size))
		})
		var lines strings.Builder
		var sealed []LSN
		l := openWith(t, Options{FS: fsys, Logger: slog.New(slog.NewTextHandler(&lines, nil)),
			Hooks: Hooks{Sealed: func(s SegmentInfo) { sealed = append(sealed, s.First) }}})
		requireAppend(t, l, "one")
		holding.Store(true)
		for range 3 {
			require.NoError(t, l.Rotate())
			requireAppend(t, l, "more")
		}
		require.NoError(t, l.TruncateBack(1))
		close(hold)
		require.NoError(t, l.Close())
		require.Equal(t, []LSN{1}, sealed)
		require.NotContains(t, lines.String(), "WARN")
	})
}

// TestSegmentsGrowAsTheyAreFilled, and not with each that is begun.
func TestSegmentsGrowAsTheyAreFilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, list := openMaking(t, Options{}, 0)
		for range 6 {
			requireAppend(t, l, "one", "more")
			require.NoError(t, l.TruncateBack(l.LastLSN()-1))
		}
		for _, m := range list() {
			require.EqualValues(t, firstSegment>>10, m.kib)
		}
	})
}

// TestFailedSyncOfANewSegmentIsNotTriedAgain with a smaller one, even if it failed for want
// of space: it is not known what the disk has.
func TestFailedSyncOfANewSegmentIsNotTriedAgain(t *testing.T) {
	for what, match := range map[string]func(vfs.Call) bool{
		"file":      func(c vfs.Call) bool { return c.Op == vfs.Sync && strings.HasSuffix(c.Name, segment.TempExt) },
		"directory": func(c vfs.Call) bool { return c.Op == vfs.SyncDir },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				faulty := vfs.NewFaulty(vfs.NewMem())
				trace := vfs.NewTrace(faulty)
				l := openWith(t, Options{FS: trace, SegmentSize: 64 << 10, firstSegment: 8 << 10})
				requireAppend(t, l, "one")
				synctest.Wait() // the next one is ready
				trace.Take()
				faulty.Set(vfs.Fault{Match: match, Err: syscall.ENOSPC})
				requireAppend(t, l, string(make([]byte, 9000)))
				synctest.Wait() // another was to be made
				require.ErrorIs(t, second(l.Append(make([]byte, 9000))), ErrFailed)
				require.Equal(t, 1, strings.Count(trace.Take(), "create "))
				require.ErrorIs(t, second(l.Append(nil)), ErrFailed)
			})
		})
	}
}

// TestSpaceOfASegmentThatIsTooSmallIsGivenBack: one is ready, and the disk has not the
// space to make it large enough.
func TestSpaceOfASegmentThatIsTooSmallIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		l := openWith(t, Options{FS: m, SegmentSize: 64 << 10, firstSegment: 8 << 10})
		requireAppend(t, l, "one", half[:3000])
		synctest.Wait() // the next one is ready
		used := m.Used()
		m.SetLimit(used + 5000)
		require.ErrorIs(t, second(l.Append(make([]byte, 100_000))), ErrNoSpace)
		require.LessOrEqual(t, m.Used(), used)
		requireAppend(t, l, half)
		require.EqualValues(t, 3, l.LastLSN())
	})
}

// TestSegmentThatCannotBeEnlargedIsNotUsed if the disk has said more than that it is full.
func TestSegmentThatCannotBeEnlargedIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := vfs.NewFaulty(vfs.NewMem())
		l := openWith(t, Options{FS: faulty, SegmentSize: 64 << 10, firstSegment: 8 << 10})
		requireAppend(t, l, "one", half[:3000])
		synctest.Wait() // the next one is ready
		faulty.Set(vfs.Fault{Match: onFile(vfs.Allocate, segment2), Err: syscall.EIO})
		require.ErrorIs(t, second(l.Append(make([]byte, 100_000))), syscall.EIO)
		_, err := faulty.Open(segment2, vfs.ReadOnly)
		require.ErrorIs(t, err, fs.ErrNotExist)
		requireAppend(t, l, "two")
		require.EqualValues(t, 3, l.LastLSN())
		require.Greater(t, l.Segments()[1].ID, uint64(2))
	})
}
