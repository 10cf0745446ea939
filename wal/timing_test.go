package wal

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// turns calls f and returns how often another goroutine got its turn meanwhile, each
// of which takes busy, on a single processor: how often f's goroutine yielded.
func turns(busy time.Duration, f func()) (n int) {
	return yields(func() {
		done := make(chan struct{})
		var wg sync.WaitGroup
		if busy > 0 {
			wg.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
					}
					for began := time.Now(); time.Since(began) < busy; {
					}
					runtime.Gosched()
				}
			})
		}
		f()
		close(done)
		wg.Wait()
	})
}

// TestGatheringIsBoundByTime has a leader wait for ten who never come, while each yield
// costs it some time: it gives up after 400 µs, or a sync.
func TestGatheringIsBoundByTime(t *testing.T) {
	for _, c := range []struct{ sync, busy, bound time.Duration }{
		{time.Second, 20 * time.Microsecond, gatherTime},
		{40 * time.Microsecond, 10 * time.Microsecond, 40 * time.Microsecond},
		{0, 10 * time.Microsecond, 0}, // of the first sync nothing is known
	} {
		var waited time.Duration
		n := turns(c.busy, func() {
			g := gather{expected: 10, took: c.sync}
			began := time.Now()
			g.wait()
			waited = time.Since(began)
		})
		t.Logf("a sync of %v: %v, others ran %d times", c.sync, waited, n)
		require.LessOrEqual(t, n, int(c.bound/c.busy)+3) // each turn of theirs took so long
		require.Greater(t, waited, c.bound)
	}
}

// TestGatheringIsBoundByYields has the clock stand still.
func TestGatheringIsBoundByYields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		n := yields(func() {
			g := gather{expected: 10, took: time.Second}
			g.wait()
		})
		require.Equal(t, began, time.Now())
		require.LessOrEqual(t, n, gatherYields*5/4)
		require.Greater(t, n, gatherYields/2)
	})
}

// TestGatheringEndsWhenAllHaveArrived has three arrive one after the other.
func TestGatheringEndsWhenAllHaveArrived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gather{expected: 3, took: time.Second}
		n := yields(func() {
			var wg sync.WaitGroup
			wg.Go(func() {
				for range 3 {
					for range 5 {
						runtime.Gosched()
					}
					g.arrived.Add(1)
				}
			})
			g.wait()
			require.EqualValues(t, 3, g.arrived.Load())
			wg.Wait()
		})
		require.Less(t, n, 100)
	})
}

// TestGatheringEndsWhenTheRestStaysAway has nine come at once and one never, which is no
// reason to wait as long as a sync takes, and none to wait for nobody.
func TestGatheringEndsWhenTheRestStaysAway(t *testing.T) {
	const rounds, busy = 100, 5 * time.Microsecond
	n := turns(busy, func() {
		g := gather{expected: 11, took: gatherTime}
		for range rounds {
			g.arrived.Store(1)
			go g.arrived.Add(9)
			g.wait()
		}
		require.Less(t, g.strayed, gatherStray)
	})
	require.Less(t, n, rounds*int(gatherTime/busy)/2) // each turn of the others took so long
}

// TestGatheringIsGivenUpWhereNobodyComesBack has committers of whom each comes once, as
// those do who serve requests: then a leader waits in one round of many. When they come
// back, it waits again.
func TestGatheringIsGivenUpWhereNobodyComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gather{expected: 10, took: time.Second}
		round := func(come int) (waited bool) {
			g.arrived.Store(1)
			n := yields(func() {
				var wg sync.WaitGroup
				wg.Go(func() { runtime.Gosched(); g.arrived.Add(int64(come)) })
				g.wait()
				wg.Wait()
			})
			return n > 10
		}
		rounds := func(n, come int) (waits int) {
			for range n {
				if round(come) {
					waits++
				}
			}
			return waits
		}
		require.InDelta(t, 15, rounds(gatherProbe, 5), 10, "half of them come, with or without a wait")
		require.Equal(t, 4, rounds(4*gatherProbe, 5), "and are looked for now and then")
		rounds(20*gatherProbe, 9)
		require.Less(t, g.strayed, gatherStray, "all come back")
	})
}

// TestCommitterLeftAloneGathersOnce lets four commit together and then one: it waits
// for the others at most once, and not again.
func TestCommitterLeftAloneGathersOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openClocked(t, Options{})
		l.slow(time.Millisecond)
		commit(t, l.Log, 4, 20, (*Log).Append)
		l.slow(0) // no clock moves while somebody runs
		for i, most := range []int{gatherYields * 5 / 4, 50, 50} {
			n := yields(func() { requireAppend(t, l.Log, "alone") })
			require.Less(t, n, most, "commit %d", i)
		}
	})
}

// TestHandingOverIsDueFromTheFirstAppend orders appends every 400 µs that nobody waits
// for: each is handed over within 1 ms, and synced 10 ms after the first was, or with
// what is handed over next.
func TestHandingOverIsDueFromTheFirstAppend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openClocked(t, Options{})
		for range 30 {
			_, err := l.AppendAsync([]byte("x"))
			require.NoError(t, err)
			pass(400 * time.Microsecond)
		}
		require.Equal(t, []string{"write 1ms", "write 2.2ms", "write 3.4ms", "write 4.6ms", "write 5.8ms", "write 7ms",
			"write 8.2ms", "write 9.4ms", "write 10.6ms", "write 11.8ms", "sync 11.8ms"}, l.since())
	})
}

// TestFullQueueIsHandedOverAtOnce orders more than is kept back.
func TestFullQueueIsHandedOverAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openClocked(t, Options{})
		for range 3 {
			_, err := l.AppendAsync(make([]byte, handSize*2/5))
			require.NoError(t, err)
		}
		require.Equal(t, []string{"write 0s"}, l.since())
		pass(time.Second)
		require.Equal(t, []string{"sync 10ms", "write 110ms", "sync 110ms"}, l.since())
	})
}

// TestAppendBehindALeaderIsHandedOverAfterIt orders one that nobody waits for while a
// sync is under way.
func TestAppendBehindALeaderIsHandedOverAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openClocked(t, Options{})
		l.slow(20 * time.Millisecond)
		go l.Append([]byte("leads"))
		pass(5 * time.Millisecond)
		_, err := l.AppendAsync([]byte("x"))
		require.NoError(t, err)
		pass(time.Second)
		require.Equal(t, []string{"write 0s", "sync 0s", "write 20ms", "sync 30ms", "write 150ms", "sync 150ms"}, l.since())
	})
}

func TestSyncEveryMayBeShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openClocked(t, Options{Sync: SyncInterval, SyncEvery: 100 * time.Microsecond})
		_, err := l.AppendAsync([]byte("x"))
		require.NoError(t, err)
		pass(50 * time.Millisecond)
		requireAppend(t, l.Log, "y")
		pass(50 * time.Millisecond)
		require.Equal(t, []string{"write 1ms", "sync 1.1ms", "write 50ms", "sync 50.1ms"}, l.since())
	})
}

// TestMarkOfSyncIsSyncedWhenIdle: Sync writes a mark, and 100 ms of rest sync it.
func TestMarkOfSyncIsSyncedWhenIdle(t *testing.T) {
	for policy, want := range map[SyncPolicy][]string{
		SyncAlways:   {"write 0s", "sync 0s", "write 0s", "sync 100ms"},
		SyncInterval: {"write 0s", "sync 0s", "write 0s", "sync 100ms"},
		SyncNone:     {"write 0s", "sync 0s", "write 0s"},
	} {
		synctest.Test(t, func(t *testing.T) {
			l := openClocked(t, Options{Sync: policy})
			requireAppend(t, l.Log, "x")
			require.NoError(t, l.Sync())
			pass(time.Hour)
			require.Equal(t, want, l.since(), "policy %d", policy)
		})
	}
}

// TestRefusedAppendsDoNotKeepALogFromItsMark: what is not written is no work.
func TestRefusedAppendsDoNotKeepALogFromItsMark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openClocked(t, Options{MaxRecordSize: 10})
		requireAppend(t, l.Log, "x")
		for range 20 {
			pass(10 * time.Millisecond)
			_, err := l.Append(make([]byte, 11))
			require.ErrorIs(t, err, ErrTooLarge)
			l.LastLSN()
			_, err = l.Read(1, nil)
			require.NoError(t, err)
		}
		require.Equal(t, []string{"write 0s", "sync 0s", "write 100ms", "sync 100ms"}, l.since())
	})
}

// TestWaitForDurabilityEndsWithItsContext waits, as the leader and behind one, for a sync of 10 ms
// with a context that ends before, at the same time, later, or has ended.
func TestWaitForDurabilityEndsWithItsContext(t *testing.T) {
	for _, leads := range []bool{true, false} {
		for _, after := range []time.Duration{0, 4 * time.Millisecond, 15 * time.Millisecond, time.Hour} {
			synctest.Test(t, func(t *testing.T) {
				l := openClocked(t, Options{})
				l.slow(10 * time.Millisecond)
				if !leads {
					go l.Append([]byte("leads"))
					synctest.Wait()
				}
				p, err := l.AppendAsync([]byte("x"))
				require.NoError(t, err)
				ctx, cancel := context.WithTimeout(t.Context(), after)
				defer cancel()
				began := time.Now()
				err = p.Wait(ctx)
				done := 10 * time.Millisecond
				if !leads {
					done *= 2 // the sync before, and its own
				}
				if after < done {
					require.ErrorIs(t, err, context.DeadlineExceeded)
					require.Equal(t, after, time.Since(began))
					require.Less(t, l.DurableLSN(), p.Last)
				} else {
					require.NoError(t, err)
					require.Equal(t, done, time.Since(began))
				}
				require.NoError(t, p.Wait(t.Context()), "the append was not taken back")
				require.LessOrEqual(t, time.Since(began), 2*done)
				require.GreaterOrEqual(t, l.DurableLSN(), p.Last)
			})
		}
	}
}

// TestSlowSyncIsOneThatTakesLonger has syncs take as long as Options.SlowSync, and
// longer. The hook is slow itself, and delays nothing.
func TestSlowSyncIsOneThatTakesLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow []time.Duration
		l := openClocked(t, Options{SlowSync: 50 * time.Millisecond, Hooks: Hooks{SlowSync: func(took time.Duration) {
			slow = append(slow, took)
			pass(time.Minute)
		}}})
		began := time.Now()
		for _, took := range []time.Duration{50, 51, 1, 70} {
			l.slow(took * time.Millisecond)
			requireAppend(t, l.Log, "x")
		}
		require.Equal(t, 172*time.Millisecond, time.Since(began))
		l.slow(0)
		require.NoError(t, l.Close()) // waits for the hooks
		require.Equal(t, []time.Duration{51 * time.Millisecond, 70 * time.Millisecond}, slow)
		require.Equal(t, 51*time.Millisecond+2*time.Minute, time.Since(began)-50*time.Millisecond)
	})
}
