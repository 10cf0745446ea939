package wal

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/stretchr/testify/require"
)

// What a policy promises: when Append returns, and what a crash takes.

func TestSyncAlwaysReturnsAfterTheSync(t *testing.T) {
	l := open(t, Options{FS: vfs.NewCrash(512)}).fill(3)
	require.Equal(t, LSN(3), l.DurableLSN())
	l.crashed().is(1, 3)
}

func TestSyncIntervalReturnsAfterTheWrite(t *testing.T) {
	bubble(t, Options{FS: vfs.NewCrash(512), Sync: SyncInterval, SyncEvery: time.Second}, func(t *testing.T, l *testLog) {
		l.fill(3)
		require.Zero(t, l.DurableLSN())
		require.Equal(t, LSN(3), l.LastLSN())
		require.Zero(t, l.Stats().Syncs)
		l.crashed().is(1, 0)
		pass(time.Second)
		synctest.Wait()
		require.Equal(t, LSN(3), l.DurableLSN())
		l.crashed().is(1, 3)
	})
}

func TestSyncNoneNeverSyncsByItself(t *testing.T) {
	bubble(t, Options{FS: vfs.NewCrash(512), Sync: SyncNone}, func(t *testing.T, l *testLog) {
		l.fill(3)
		pass(time.Hour)
		require.Equal(t, LSN(3), l.LastLSN())
		require.Zero(t, l.DurableLSN())
		l.crashed().is(1, 0)
		require.NoError(t, l.Sync())
		require.Equal(t, LSN(3), l.DurableLSN())
		l.crashed().is(1, 3)
	})
}

func TestSyncNoneKeepsWhatARotationSynced(t *testing.T) {
	l := open(t, Options{FS: vfs.NewCrash(512), Sync: SyncNone}).fill(3)
	require.NoError(t, l.Rotate())
	require.Equal(t, LSN(3), l.DurableLSN())
	l.fill(2)
	l.crashed().is(1, 3)
}

func TestEveryPolicySurvivesAKilledProcess(t *testing.T) {
	for _, policy := range []SyncPolicy{SyncAlways, SyncInterval, SyncNone} {
		l := open(t, Options{Sync: policy, SegmentSize: small}).fill(300)
		l.killed().is(1, 300)
	}
}

func TestWaitIsDurableUnderEveryPolicy(t *testing.T) {
	for _, policy := range []SyncPolicy{SyncAlways, SyncInterval, SyncNone} {
		l := open(t, Options{FS: vfs.NewCrash(512), Sync: policy})
		l.want[1] = "a"
		p, err := l.AppendAsync([]byte("a"))
		require.NoError(t, err)
		require.NoError(t, p.Wait(ctx))
		require.Equal(t, LSN(1), l.DurableLSN())
		l.crashed().is(1, 1)
	}
}

// Rule 1.

func TestAsyncIsHandedOverWithinAMillisecond(t *testing.T) {
	for _, policy := range []SyncPolicy{SyncInterval, SyncNone} {
		bubble(t, Options{Sync: policy}, func(t *testing.T, l *testLog) {
			l.async("a")
			require.Zero(t, l.LastLSN(), "nobody waits for it")
			require.NotZero(t, l.Stats().QueuedBytes)
			pass(time.Millisecond)
			synctest.Wait()
			require.Equal(t, LSN(1), l.LastLSN())
			require.Zero(t, l.Stats().QueuedBytes)
			l.killed().is(1, 1)
		})
	}
}

func TestAsyncIsSyncedWithinTenMilliseconds(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, l *testLog) {
		l.async("a")
		pass(time.Millisecond)
		synctest.Wait()
		require.Zero(t, l.LastLSN(), "handed over is not visible yet")
		require.Zero(t, l.Stats().QueuedBytes)
		pass(10 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, LSN(1), l.DurableLSN())
		require.Equal(t, LSN(1), l.LastLSN())
		require.EqualValues(t, 1, l.Stats().Syncs)
	})
}

func TestAsyncIsSyncedWithinSyncEvery(t *testing.T) {
	bubble(t, Options{Sync: SyncInterval, SyncEvery: 3 * time.Second}, func(t *testing.T, l *testLog) {
		for i := range 6 { // later appends do not put it off
			l.async("a")
			pass(500 * time.Millisecond)
			require.Equal(t, LSN(i+1), l.LastLSN())
		}
		pass(time.Millisecond)
		synctest.Wait()
		require.Equal(t, LSN(6), l.DurableLSN())
	})
}

func TestAsyncWaitsOnlyWhileTheBufferIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		l := open(t, Options{FS: vfs.Wrap(vfs.NewMem(), func(c vfs.Call, do func(int) (int, error)) (int, error) {
			if c.Op == vfs.Sync && c.Name == "log/0000000000000001.seg" {
				<-gate
			}
			return do(int(c.Size))
		})})
		first := l.async("a")
		go func() { _ = first.Wait(ctx) }()
		synctest.Wait() // the leader stands in its sync
		half := make([]byte, queueSize/2-1024)
		ordered := 0
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 4 {
				if _, err := l.AppendAsync(half); err == nil {
					ordered++
				}
			}
		}()
		synctest.Wait()
		require.Equal(t, 2, ordered, "the third does not fit")
		close(gate)
		<-done
		require.Equal(t, 4, ordered)
		require.NoError(t, l.Sync())
		require.Equal(t, LSN(5), l.LastLSN())
	})
}

func TestDataIsCopiedWhenAppendAsyncReturns(t *testing.T) {
	l := open(t, Options{})
	data := []byte("before")
	p, err := l.AppendAsync(data)
	require.NoError(t, err)
	copy(data, "AFTER!")
	require.NoError(t, p.Wait(ctx))
	got, err := l.Read(1, nil)
	require.NoError(t, err)
	require.Equal(t, "before", string(got))
}

// Rule 2.

func TestReadersSeeOnlyWhatIsVisible(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, l *testLog) {
		var b Batch
		b.Add([]byte("a"))
		b.SetMeta([]byte("m"))
		p, err := l.AppendBatchAsync(&b)
		require.NoError(t, err)
		pass(2 * time.Millisecond) // it is in the file, and not synced
		l.is(1, 0)
		require.Nil(t, l.Meta())
		r, err := l.NewReader(1)
		require.NoError(t, err)
		require.False(t, r.Next())
		require.NoError(t, r.Err())
		require.NoError(t, p.Wait(ctx))
		require.True(t, r.Next())
		require.Equal(t, "m", string(l.Meta()))
		l.want[1] = "a"
		l.is(1, 1)
	})
}

func TestReadersNeverSeeWhatAFailedSyncTakesBack(t *testing.T) {
	l, f := faultyLog(t, Options{})
	l.fill(2)
	f.Set(vfs.Fault{Match: on(vfs.Sync)})
	_, err := l.Append([]byte("lost"))
	require.ErrorIs(t, err, ErrUnknownOutcome)
	l.is(1, 2)
}

// Rule 3.

func TestReusedLSNIsNotAcknowledged(t *testing.T) {
	l := open(t, Options{SegmentSize: small})
	l.fill(1)
	big := make([]byte, 2*small)
	l.spaceLeft(0)
	old, err := l.AppendAsync(big)
	require.NoError(t, err)
	behind, err := l.AppendAsync([]byte("small, and behind it"))
	require.NoError(t, err)
	require.Equal(t, [2]LSN{2, 3}, [2]LSN{old.First, behind.First})
	require.ErrorIs(t, l.Sync(), ErrNoSpace)
	l.spaceLeft(-1)
	l.fill(5)
	require.ErrorIs(t, old.Wait(ctx), ErrNoSpace)
	require.ErrorIs(t, behind.Wait(ctx), ErrNoSpace)
	require.NoError(t, l.Err())
	l.exact(1, 6)
}

func TestReusedLSNIsNotAcknowledgedAfterManyCuts(t *testing.T) {
	l := open(t, Options{SegmentSize: small})
	l.fill(1)
	var old []Pending
	for range keptCuts + 20 {
		l.spaceLeft(0)
		p, err := l.AppendAsync(make([]byte, 2*small))
		require.NoError(t, err)
		require.ErrorIs(t, l.Sync(), ErrNoSpace)
		old = append(old, p)
		l.spaceLeft(-1)
		l.fill(1)
	}
	for n, p := range old {
		err := p.Wait(ctx)
		if n >= 20 {
			require.ErrorIs(t, err, ErrNoSpace)
		} else {
			require.True(t, errors.Is(err, ErrNoSpace) || errors.Is(err, ErrUnknownOutcome), "%v", err)
		}
	}
	l.exact(1, LSN(len(old)+1))
}

func TestSyncTellsTheLossOfAsyncAppendsOnce(t *testing.T) {
	bubble(t, Options{SegmentSize: small}, func(t *testing.T, l *testLog) {
		l.fill(1)
		l.spaceLeft(0)
		_, err := l.AppendAsync(make([]byte, 2*small))
		require.NoError(t, err)
		pass(2 * time.Millisecond) // the log finds out by itself
		l.spaceLeft(-1)
		_, err = l.Append([]byte("x"))
		require.ErrorIs(t, err, ErrNoSpace, "appends fail until the loss was told")
		require.ErrorIs(t, l.Err(), ErrNoSpace)
		require.ErrorIs(t, l.Sync(), ErrNoSpace)
		require.NoError(t, l.Sync())
		l.fill(1)
		require.NoError(t, l.Err())
		l.exact(1, 2)
	})
}

func TestWaitTellsTheLossToo(t *testing.T) {
	l := open(t, Options{SegmentSize: small})
	l.spaceLeft(0)
	p, err := l.AppendAsync([]byte("x"))
	require.NoError(t, err)
	require.ErrorIs(t, p.Wait(ctx), ErrNoSpace)
	l.spaceLeft(-1)
	require.NoError(t, l.Sync())
	l.fill(1).is(1, 1)
}

// The loss of one is not told by telling another of his own.
func TestAppendThatFailsHidesNoLossOfAsyncAppends(t *testing.T) {
	l := open(t, Options{SegmentSize: small})
	l.fill(1)
	l.spaceLeft(0)
	_, err := l.AppendAsync(make([]byte, 2*small))
	require.NoError(t, err)
	_, err = l.Append([]byte("by somebody else"))
	require.ErrorIs(t, err, ErrNoSpace)
	l.spaceLeft(-1)
	require.ErrorIs(t, l.Sync(), ErrNoSpace, "nobody was told of the append without a waiter")
	l.fill(1).exact(1, 2)
}

func TestCutTakesMetaAndTruncationToo(t *testing.T) {
	l := open(t, Options{SegmentSize: small})
	l.fill(3)
	l.setMeta("old")
	var b Batch
	b.SetMeta([]byte("new"))
	b.TruncateBack(1)
	b.Add(make([]byte, small-100))
	l.spaceLeft(0)
	_, err := l.AppendBatch(&b)
	require.ErrorIs(t, err, ErrNoSpace)
	require.Equal(t, "old", string(l.Meta()))
	l.spaceLeft(-1)
	l.is(1, 3).fill(1).exact(1, 4)
	require.Equal(t, "old", string(l.Meta()))
}

func TestAppendThatWasTruncatedLaterHasSucceeded(t *testing.T) {
	l := open(t, Options{})
	p, err := l.AppendAsync([]byte("a"))
	require.NoError(t, err)
	q, err := l.AppendAsync([]byte("b"))
	require.NoError(t, err)
	l.truncateBack(0)
	require.NoError(t, p.Wait(ctx))
	l.reset(50)
	require.NoError(t, q.Wait(ctx))
	l.is(50, 49)
}

// Rule 4: more of it in truncate_test.go.

func TestTruncationsAreOrderedBehindAsyncAppends(t *testing.T) {
	bubble(t, Options{Sync: SyncNone}, func(t *testing.T, l *testLog) {
		for range 5 {
			l.async("x")
		}
		l.truncateFront(4) // which is not handed over yet
		l.is(4, 5)
		l.async("y")
		l.truncateBack(5)
		l.is(4, 5)
		l.async("z")
		l.reset(9)
		l.is(9, 8)
	})
}

func TestTruncationsAreDurableOnReturn(t *testing.T) {
	for _, policy := range []SyncPolicy{SyncAlways, SyncNone} {
		l := open(t, Options{FS: vfs.NewCrash(512), Sync: policy, SegmentSize: small}).fill(200)
		require.NoError(t, l.Sync())
		l.truncateBack(150)
		l.crashed().is(1, 150)
		l.truncateFront(70)
		l.crashed().is(70, 150)
		l.reset(10)
		l.crashed().is(10, 9)
		l.reset(1000)
		l.crashed().is(1000, 999)
	}
}

// Rule 7.

func TestCloseMakesEverythingOrderedDurable(t *testing.T) {
	for _, policy := range []SyncPolicy{SyncAlways, SyncInterval, SyncNone} {
		bubble(t, Options{FS: vfs.NewCrash(512), Sync: policy}, func(t *testing.T, l *testLog) {
			var last Pending
			for range 10 {
				last = l.async("x")
			}
			l.close()
			require.NoError(t, last.Wait(ctx), "it became durable")
			k := l.crashed()
			k.is(1, 10)
			require.True(t, k.Recovery().Closed)
			_, err := l.AppendAsync([]byte("late"))
			require.ErrorIs(t, err, ErrClosed)
		})
	}
}

func TestCloseWakesAll(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, l *testLog) {
		l.fill(2)
		got := make(chan error, 4)
		for from := LSN(1); from <= 3; from++ {
			go func() {
				_, err := collect(l.Follow(ctx, from))
				got <- err
			}()
		}
		r, err := l.NewReader(3)
		require.NoError(t, err)
		go func() { got <- r.Wait(ctx) }()
		synctest.Wait()
		l.close()
		for range 4 {
			require.ErrorIs(t, <-got, ErrClosed)
		}
	})
}

// Rule 8.

func TestBatchMayBeLargerThanASegment(t *testing.T) {
	l := open(t, Options{SegmentSize: small, MaxRecordSize: 1 << 20})
	l.fill(1)
	var b Batch
	for i := range 10 {
		l.want[LSN(2+i)] = fmt.Sprintf("%d%099999d", i, i)
		b.Add([]byte(l.want[LSN(2+i)]))
	}
	_, err := l.AppendBatch(&b)
	require.NoError(t, err)
	l.fill(1).exact(1, 12)
	segments := l.Segments()
	require.Len(t, segments, 3)
	require.Greater(t, segments[1].Size, int64(1_000_000), "a segment grows to hold one group")
}

func TestSegmentsStayWithinSegmentSize(t *testing.T) {
	l := open(t, Options{SegmentSize: 16 << 10}).fill(2000)
	segments := l.Segments()
	require.Greater(t, len(segments), 10)
	for _, s := range segments {
		require.LessOrEqual(t, s.Size, int64(16<<10))
	}
}

func TestLimitsBindAppendsAndNotReading(t *testing.T) {
	l := open(t, Options{})
	l.want[1] = string(make([]byte, 100_000))
	_, err := l.Append([]byte(l.want[1]))
	require.NoError(t, err)
	l.opts.MaxRecordSize, l.opts.SegmentSize = 10, small
	l.exact(1, 1)
	_, err = l.Append(make([]byte, 11))
	require.ErrorIs(t, err, ErrTooLarge)
	require.ErrorContains(t, err, "11 bytes, at most 10")
	_, err = l.Append(make([]byte, 10))
	require.NoError(t, err)
}

func TestEmptyRecordIsARecord(t *testing.T) {
	everywhere(t, Options{}, func(t *testing.T, l *testLog) {
		l.want[1], l.want[2] = "", ""
		_, err := l.Append(nil)
		require.NoError(t, err)
		_, err = l.Append([]byte{})
		require.NoError(t, err)
		l.exact(1, 2)
		got, err := l.Read(2, []byte("dst"))
		require.NoError(t, err)
		require.Equal(t, "dst", string(got))
	})
}

// Rule 10, and the errors of a log that failed.

func TestFailedLogGoesOnReading(t *testing.T) {
	l, f := faultyLog(t, Options{SegmentSize: small})
	l.fill(200)
	active := l.Segments()[len(l.Segments())-1].Path // what is done in the background does not meet it
	f.Set(vfs.Fault{Match: func(c vfs.Call) bool { return c.Op == vfs.WriteAt && c.Name == active }})
	_, err := l.Append([]byte("x"))
	require.ErrorIs(t, err, ErrUnknownOutcome)
	require.ErrorIs(t, err, syscall.EIO)
	for _, err := range []error{l.Err(), l.Sync(), l.Rotate(), l.TruncateFront(5), l.TruncateBack(5), l.Reset(5), second(l.Append(nil))} {
		require.ErrorIs(t, err, ErrFailed)
		require.ErrorIs(t, err, syscall.EIO)
	}
	require.NotErrorIs(t, second(l.Append(nil)), ErrUnknownOutcome)
	l.is(1, 200)
	texts, err := collect(l.Follow(ctx, 199))
	require.Len(t, texts, 2)
	require.ErrorIs(t, err, ErrFailed)
	require.ErrorIs(t, l.Close(), ErrFailed)
	require.ErrorIs(t, l.Close(), ErrFailed)
}

func TestFollowerIsWokenByAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, f := faultyLog(t, Options{})
		l.fill(2)
		got := make(chan error)
		go func() { got <- second(collect(l.Follow(context.Background(), 1))) }()
		synctest.Wait()
		f.Set(vfs.Fault{Match: on(vfs.Sync)})
		_, err := l.Append([]byte("x"))
		require.ErrorIs(t, err, ErrUnknownOutcome)
		require.ErrorIs(t, <-got, ErrFailed)
	})
}

func second[T any](_ T, err error) error { return err }

func (l *testLog) async(s string) Pending {
	l.t.Helper()
	p, err := l.AppendAsync([]byte(s))
	require.NoError(l.t, err)
	l.want[p.First] = s
	return p
}
