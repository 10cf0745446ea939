package wal

import (
	"io/fs"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

func TestBucketsAreAQuarterWide(t *testing.T) {
	last := time.Duration(0)
	for i := range histogramBuckets - 1 {
		bound := boundOf(i)
		require.Greater(t, bound, last)
		require.Equal(t, i, bucketOf(last), "the least of bucket %d", i)
		require.Equal(t, i, bucketOf(bound-1), "the most of bucket %d", i)
		if i > 0 {
			require.LessOrEqual(t, bound-last, last/4)
		}
		last = bound
	}
	require.Equal(t, time.Duration(1<<histogramMost), last)
	require.Equal(t, histogramBuckets-1, bucketOf(last))
	require.Equal(t, histogramBuckets-1, bucketOf(time.Hour))
}

func TestQuantileIsAQuarterTooLargeAtMost(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var h Histogram
		require.Zero(t, h.Quantile(0.5))
		var all []time.Duration
		var sum time.Duration
		for range 1 + rng.IntN(300) {
			d := time.Duration(1024<<rng.IntN(24)) + time.Duration(rng.IntN(1<<20))
			h.add(d)
			all = append(all, d)
			sum += d
		}
		slices.Sort(all)
		require.Equal(t, all[len(all)-1], h.Max)
		require.Equal(t, sum, h.Sum)
		require.Equal(t, uint64(len(all)), h.Count)
		for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
			want := all[max(0, int(math.Ceil(q*float64(len(all))))-1)]
			require.GreaterOrEqual(t, h.Quantile(q), want, "%v of %v", q, all)
			require.LessOrEqual(t, h.Quantile(q), want+want/4, "%v of %v", q, all)
		}
		for bound, n := range h.Buckets() {
			below, _ := slices.BinarySearch(all, bound)
			require.Equal(t, uint64(below), n, "below %v", bound)
		}
	}
}

// TestStatsTellHowLongCommitsTook lets each sync take 3 ms. Two append at once, then one
// more while the first is synced: that one waits for two syncs.
func TestStatsTellHowLongCommitsTook(t *testing.T) {
	const took = 3 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		slow := vfs.Wrap(vfs.NewMem(), func(c vfs.Call, do func(int) (int, error)) (int, error) {
			if onFile(vfs.Sync, segment1)(c) {
				time.Sleep(took)
			}
			return do(int(c.Size))
		})
		l := open(t, Options{FS: slow})
		require.NoError(t, second(l.Append(nil)))
		s := l.Stats()
		require.Equal(t, [2]uint64{1, 1}, [2]uint64{s.SyncTime.Count, s.CommitTime.Count})
		require.Equal(t, [2]time.Duration{took, took}, [2]time.Duration{s.SyncTime.Max, s.CommitTime.Max})

		go l.Append(nil)
		time.Sleep(took / 3)
		require.NoError(t, second(l.Append(nil)))
		s = l.Stats()
		require.Equal(t, [2]uint64{3, 3}, [2]uint64{s.SyncTime.Count, s.CommitTime.Count})
		require.Equal(t, s.Syncs, s.SyncTime.Count)
		require.Equal(t, took, s.SyncTime.Max)
		require.Equal(t, 2*took-took/3, s.CommitTime.Max)
		require.Equal(t, 3*took, s.SyncTime.Sum)

		p, err := l.AppendAsync(nil)
		require.NoError(t, err)
		time.Sleep(markAfter * 2)
		require.NoError(t, p.Wait(t.Context()))
		s = l.Stats()
		require.Equal(t, uint64(3), s.CommitTime.Count, "nobody waited")
		require.Equal(t, s.Syncs, s.SyncTime.Count)
	})
}

// TestCommitThatWasThrownAwayIsNotCounted with the hours until there is space again: it was
// ordered behind one that the disk had no space for, and was then waited for.
func TestCommitThatWasThrownAwayIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		var full atomic.Bool
		l := open(t, Options{FS: vfs.Wrap(vfs.NewMem(), func(c vfs.Call, do func(int) (int, error)) (int, error) {
			if full.Load() && c.Op == vfs.WriteAt && isSegment(c) {
				<-hold
				return 0, &fs.PathError{Op: "write", Path: c.Name, Err: syscall.ENOSPC}
			}
			return do(int(c.Size))
		})})
		require.NoError(t, second(l.Append(nil)))
		full.Store(true)
		_, err := l.AppendAsync([]byte("taken by a leader"))
		require.NoError(t, err)
		time.Sleep(2 * handAfter)
		p, err := l.AppendAsync([]byte("in the queue"))
		require.NoError(t, err)
		close(hold)
		synctest.Wait()
		require.ErrorIs(t, p.Wait(t.Context()), ErrNoSpace)
		full.Store(false)
		time.Sleep(time.Hour)
		require.NoError(t, second(l.Append(nil)))
		require.Zero(t, l.Stats().CommitTime.Max)
	})
}
