package wal

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// clocked is a log of which the calls that write and sync are noted with the
// time since the last call of since.
type clocked struct {
	*Log
	mu    sync.Mutex
	start time.Time
	calls []string
	took  time.Duration // of a sync
}

func openClocked(t *testing.T, o Options) *clocked {
	c := &clocked{start: time.Now()}
	o.FS = vfs.Wrap(vfs.NewMem(), func(call vfs.Call, do func(int) (int, error)) (int, error) {
		if (call.Op == vfs.WriteAt || call.Op == vfs.Sync) && strings.HasSuffix(call.Name, ".seg") {
			c.mu.Lock()
			c.calls = append(c.calls, call.Op.String()+" "+time.Since(c.start).String())
			took := c.took
			c.mu.Unlock()
			if call.Op == vfs.Sync {
				time.Sleep(took) // real time: the bubble's
			}
		}
		return do(int(call.Size))
	})
	c.Log = openWith(t, o)
	requireAppend(t, c.Log, "first")
	require.NoError(t, c.Sync())
	time.Sleep(time.Minute) // real time: the bubble's
	c.since()
	return c
}

// since returns the calls since it was called last, and starts the clock again.
func (c *clocked) since() []string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	calls := c.calls
	c.calls, c.start = nil, time.Now()
	return calls
}

// slow makes each sync take that long from now on.
func (c *clocked) slow(took time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.took = took
}

func TestAppendThatNobodyWaitsForIsHandedOverAndSynced(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		want []string
	}{
		{"always", Options{}, []string{"write 1ms", "sync 11ms", "write 111ms", "sync 111ms"}},
		{"interval", Options{Sync: SyncInterval, SyncEvery: 30 * time.Millisecond},
			[]string{"write 1ms", "sync 31ms", "write 131ms", "sync 131ms"}},
		{"none", Options{Sync: SyncNone}, []string{"write 1ms"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := openClocked(t, c.o)
				_, err := l.AppendAsync([]byte("x"))
				require.NoError(t, err)
				time.Sleep(time.Hour) // real time: the bubble's
				require.Equal(t, c.want, l.since())
			})
		})
	}
}

func TestIdleMarkIsWrittenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openClocked(t, Options{})
		requireAppend(t, l.Log, "x")
		require.Equal(t, []string{"write 0s", "sync 0s"}, l.since())
		time.Sleep(24 * time.Hour) // real time: the bubble's
		require.Equal(t, []string{"write 100ms", "sync 100ms"}, l.since())
	})
}

func TestIdleMarkWaitsForTheLogToBeIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openClocked(t, Options{})
		for range 10 {
			requireAppend(t, l.Log, "x")
			time.Sleep(90 * time.Millisecond) // real time: the bubble's
		}
		require.Len(t, l.since(), 20) // a write and a sync each
		time.Sleep(90 * time.Millisecond)
		require.Len(t, l.since(), 2)
	})
}

func TestSyncEveryBoundsTheLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openClocked(t, Options{Sync: SyncInterval, SyncEvery: 50 * time.Millisecond})
		for range 30 { // every 7 ms, so that the log is never idle
			requireAppend(t, l.Log, "x")
			require.LessOrEqual(t, l.LastLSN()-l.DurableLSN(), LSN(8))
			time.Sleep(7 * time.Millisecond) // real time: the bubble's
		}
		var syncs []string
		for _, call := range l.since() {
			if at, ok := strings.CutPrefix(call, "sync "); ok {
				syncs = append(syncs, at)
			}
		}
		require.Equal(t, []string{"50ms", "106ms", "162ms"}, syncs) // 50 ms after the first append that is not durable
	})
}

func TestSyncNoneSyncsWhenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openClocked(t, Options{Sync: SyncNone})
		requireAppend(t, l.Log, "x", "y")
		time.Sleep(time.Hour) // real time: the bubble's
		require.Equal(t, []string{"write 0s", "write 0s"}, l.since())
		require.Equal(t, LSN(1), l.DurableLSN())
		p, err := l.AppendAsync([]byte("z"))
		require.NoError(t, err)
		require.NoError(t, p.Wait(t.Context()))
		require.Equal(t, []string{"write 0s", "sync 0s"}, l.since())
		require.Equal(t, LSN(4), l.DurableLSN())
	})
}

// TestCancelledWaiterPassesTheLeadOn cancels those who wait while a sync is
// under way: the one who is to lead next among them, at the moment it is given
// the lead, and all but the last.
func TestCancelledWaiterPassesTheLeadOn(t *testing.T) {
	for cancelAt := 8 * time.Millisecond; cancelAt <= 12*time.Millisecond; cancelAt += time.Millisecond {
		for cancelled := 1; cancelled <= 3; cancelled++ {
			synctest.Test(t, func(t *testing.T) {
				l := openClocked(t, Options{})
				l.slow(10 * time.Millisecond)
				go l.Append([]byte("leads")) // for 10 ms
				synctest.Wait()
				var wg sync.WaitGroup
				var pending []Pending
				for i := range 4 {
					p, err := l.AppendAsync([]byte("waits"))
					require.NoError(t, err)
					pending = append(pending, p)
					wg.Go(func() {
						ctx, cancel := context.WithTimeout(context.Background(), cancelAt)
						defer cancel()
						if i >= cancelled {
							ctx = context.Background()
						}
						if err := p.Wait(ctx); i >= cancelled || err != nil && err != context.DeadlineExceeded {
							require.NoError(t, err)
						}
					})
				}
				wg.Wait()
				for _, p := range pending { // who gave up waiting did not take the append back
					require.NoError(t, p.Wait(context.Background()))
				}
				require.Equal(t, LSN(6), l.LastLSN())
			})
		}
	}
}

// TestAppendWhoseWaiterGaveUpIsWritten leaves an append to nobody but the
// flusher.
func TestAppendWhoseWaiterGaveUpIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openClocked(t, Options{})
		l.slow(10 * time.Millisecond)
		go l.Append([]byte("leads"))
		synctest.Wait()
		p, err := l.AppendAsync([]byte("waits"))
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, p.Wait(ctx), context.DeadlineExceeded)
		time.Sleep(50 * time.Millisecond) // real time: the bubble's
		require.Equal(t, LSN(3), l.DurableLSN())
	})
}

// TestCloseReleasesAllWhoWait closes a log while a sync is under way and others
// wait: for their appends, for room, for a truncation, for news.
func TestCloseReleasesAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openClocked(t, Options{})
		l.slow(10 * time.Millisecond)
		var wg sync.WaitGroup
		results := make(chan error, 100)
		for range 8 {
			wg.Go(func() { _, err := l.Append([]byte("x")); results <- err })
			synctest.Wait()
		}
		wg.Go(func() { l.Sync() })
		wg.Go(func() { l.TruncateFront(2) })
		wg.Go(func() { l.Rotate() })
		wg.Go(func() {
			for range l.Follow(context.Background(), 1) {
			}
		})
		synctest.Wait()
		require.NoError(t, l.Close())
		wg.Wait()
		for range 8 {
			require.NoError(t, <-results) // they were ordered before
		}
		_, err := l.Append([]byte("late"))
		require.ErrorIs(t, err, ErrClosed)
	})
	synctest.Test(t, func(t *testing.T) { // with nothing to write, which would wake who follows
		l := openWith(t, Options{FS: NewMemFS()})
		var wg sync.WaitGroup
		wg.Go(func() {
			for range l.Follow(context.Background(), 1) {
			}
		})
		synctest.Wait()
		require.NoError(t, l.Close())
		wg.Wait()
	})
}

// TestAppendsThatWaitForRoomAreReleased fills the queue while the disk hangs,
// and then closes the log or fails the write.
func TestAppendsThatWaitForRoomAreReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openClocked(t, Options{})
		l.slow(time.Second)
		go l.Append([]byte("leads"))
		synctest.Wait()
		big := make([]byte, queueSize/2)
		var wg sync.WaitGroup
		errs := make(chan error, 10)
		for range 6 {
			wg.Go(func() { _, err := l.AppendAsync(big); errs <- err })
		}
		synctest.Wait()
		require.Less(t, len(errs), 6, "nobody waits for room")
		require.NoError(t, l.Close())
		wg.Wait()
		closed := 0
		for range 6 {
			if err := <-errs; err != nil {
				require.ErrorIs(t, err, ErrClosed)
				closed++
			}
		}
		require.Equal(t, LSN(2+6-closed), l.LastLSN())
	})
}
