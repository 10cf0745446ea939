package wal

import (
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// openOn opens the log on fsys, in segments of MinSegmentSize.
func openOn(t *testing.T, fsys FS) *Log {
	t.Helper()
	o := faultOptions
	o.FS = fsys
	return openWith(t, o)
}

// openWith opens the log with these options, and closes it when the test ends.
func openWith(t *testing.T, o Options) *Log {
	t.Helper()
	l, err := Open("log", &o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// requireAppend appends data, which must succeed.
func requireAppend(t *testing.T, l *Log, data ...string) {
	t.Helper()
	for _, d := range data {
		_, err := l.Append([]byte(d))
		require.NoError(t, err)
	}
}

// requireHolds requires that the log holds these records, from first on.
func requireHolds(t *testing.T, l *Log, first LSN, records ...string) {
	t.Helper()
	w, err := worldOf(l)
	require.NoError(t, err)
	require.Equal(t, first, w.first)
	require.Equal(t, records, w.records)
}

// isSegmentSync matches syncs of segments that have their name.
func isSegmentSync(c vfs.Call) bool { return c.Op == vfs.Sync && isSegment(c) }

func isSegment(c vfs.Call) bool { return strings.HasSuffix(c.Name, segment.Ext) }

// TestOutcomeIsToldToAllWhoWait has seven commit together, behind one whose sync takes a
// while: whatever becomes of them, each is told.
func TestOutcomeIsToldToAllWhoWait(t *testing.T) {
	for want, fault := range map[error]vfs.Fault{
		nil:               {Match: func(vfs.Call) bool { return false }},
		ErrUnknownOutcome: {Match: isSegmentSync, At: 1, Err: syscall.EIO},
		ErrNoSpace:        {Match: func(c vfs.Call) bool { return c.Op == vfs.WriteAt && isSegment(c) }, Err: syscall.ENOSPC},
	} {
		synctest.Test(t, func(t *testing.T) {
			faulty := vfs.NewFaulty(vfs.NewMem())
			var holds atomic.Bool
			hold := make(chan struct{})
			l := openOn(t, vfs.Wrap(faulty, func(c vfs.Call, do func(int) (int, error)) (int, error) {
				if isSegmentSync(c) && holds.CompareAndSwap(true, false) {
					<-hold
				}
				return do(int(c.Size))
			}))
			requireAppend(t, l, "durable")
			holds.Store(true)
			first, others := make(chan error, 1), make(chan error, 7)
			go func() { first <- second(l.Append([]byte("first"))) }()
			synctest.Wait()
			for range cap(others) {
				go func() { others <- second(l.Append([]byte("other"))) }()
			}
			synctest.Wait()
			faulty.Set(fault)
			close(hold)
			require.NoError(t, <-first)
			for range cap(others) {
				require.ErrorIs(t, <-others, want)
			}
		})
	}
}

func TestFailedSyncEndsTheLog(t *testing.T) {
	for _, cause := range []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EDQUOT} {
		synctest.Test(t, func(t *testing.T) {
			faulty := vfs.NewFaulty(vfs.NewMem())
			trace := vfs.NewTrace(faulty)
			l := openOn(t, trace)
			requireAppend(t, l, "durable")

			faulty.Set(vfs.Fault{Match: isSegmentSync, Err: cause})
			a, err := l.AppendAsync([]byte("a"))
			require.NoError(t, err)
			b, err := l.AppendAsync([]byte("b"))
			require.NoError(t, err)
			trace.Take()
			_, err = l.Append([]byte("c"))
			require.ErrorIs(t, err, ErrUnknownOutcome)
			for _, p := range []Pending{a, b} {
				err = p.Wait(t.Context())
				require.ErrorIs(t, err, ErrUnknownOutcome)
				require.ErrorIs(t, err, cause)
			}
			_, err = l.Append([]byte("d"))
			require.ErrorIs(t, err, ErrFailed)
			require.NotErrorIs(t, err, ErrUnknownOutcome)
			require.ErrorIs(t, err, cause)
			require.ErrorIs(t, l.Sync(), ErrFailed)
			require.ErrorIs(t, l.TruncateBack(1), ErrFailed)
			require.ErrorIs(t, l.Err(), ErrFailed)
			requireHolds(t, l, 1, "durable")

			time.Sleep(time.Second) // the bubble's clock: the flusher must leave it alone
			require.ErrorIs(t, l.Close(), ErrFailed)
			calls := trace.Take()
			require.Equal(t, 1, strings.Count(calls, ".seg: ")+strings.Count(calls, "sync 0000000000000001.seg\n"), "calls of sync for what failed:\n%s", calls)

			l = openOn(t, faulty) // on the same system, so that all that was written is there
			requireHolds(t, l, 1, "durable", "a", "b", "c")
			require.NoError(t, l.Close())
		})
	}
}

func TestFailedWriteEndsTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := vfs.NewFaulty(vfs.NewMem())
		l := openOn(t, faulty)
		requireAppend(t, l, "durable")
		synctest.Wait() // what the background does is no part of it
		faulty.Set(vfs.Fault{Match: func(c vfs.Call) bool { return c.Op == vfs.WriteAt }, Short: 70})
		_, err := l.Append([]byte("half"))
		require.ErrorIs(t, err, ErrUnknownOutcome)
		_, err = l.Append([]byte("none"))
		require.ErrorIs(t, err, ErrFailed)
		require.NotErrorIs(t, err, ErrUnknownOutcome)
		requireHolds(t, l, 1, "durable")
		require.ErrorIs(t, l.Close(), ErrFailed)
		l = openOn(t, faulty)
		requireHolds(t, l, 1, "durable")
		require.NoError(t, l.Close())
	})
}

// TestFollowerGetsAllThatIsDurableBehindAFailure has one wait at the end when a
// sync fails.
func TestFollowerGetsAllThatIsDurableBehindAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faulty := vfs.NewFaulty(vfs.NewMem())
		l := openOn(t, faulty)
		requireAppend(t, l, "one")
		var got []string
		var end error
		followed := make(chan struct{})
		go func() {
			defer close(followed)
			for r, err := range l.Follow(t.Context(), 1) {
				if end = err; err == nil {
					got = append(got, string(r.Data))
				}
			}
		}()
		synctest.Wait()
		faulty.Set(vfs.Fault{Match: isSegmentSync, At: 1})
		requireAppend(t, l, "two")
		_, err := l.Append([]byte("three"))
		require.ErrorIs(t, err, ErrUnknownOutcome)
		<-followed
		require.ErrorIs(t, end, ErrFailed)
		require.Equal(t, []string{"one", "two"}, got)
		require.Error(t, l.Close())
	})
}

// TestPinNamesOnlyWhatIsDurable kills the process when a mark was written and
// not synced. The segment that follows must not end the first one behind it: a
// power loss takes the mark.
func TestPinNamesOnlyWhatIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := vfs.NewCrash(512)
		l := openOn(t, c)
		requireAppend(t, l, "one", strings.Repeat("2", 300))
		require.NoError(t, l.Sync()) // writes the mark
		c.Kill()
		_ = l.Close() // ends its goroutines; the file system takes no calls of it
		l = openOn(t, c)
		requireAppend(t, l, "three")
		state := c.State()
		c.Kill()
		_ = l.Close()
		state.Each(200, 1, func(picks []int) bool {
			l := openOn(t, state.Image(picks))
			requireHolds(t, l, 1, "one", strings.Repeat("2", 300), "three")
			require.NoError(t, l.Close())
			return true
		})
	})
}

// TestFrontIsDurableBeforeItIsBelieved fails the sync of FRONT, so that it can
// be read as it should be and the disk has the old one. Another Open that drops
// segments by it must write it first.
func TestFrontIsDurableBeforeItIsBelieved(t *testing.T) {
	for _, at := range []int{0, 1} { // the first slot's sync, the second's
		synctest.Test(t, func(t *testing.T) {
			c := vfs.NewCrash(512)
			faulty := vfs.NewFaulty(c)
			fsys := vfs.Wrap(faulty, func(call vfs.Call, do func(int) (int, error)) (int, error) {
				n, err := do(int(call.Size))
				if call.Op == vfs.Sync && err != nil {
					require.NoError(t, c.FailSync(call.Name))
				}
				return n, err
			})
			l := openOn(t, fsys)
			for i := range 9 {
				requireAppend(t, l, fmt.Sprint(i, strings.Repeat("-", 2500)))
			}
			synctest.Wait()
			faulty.Set(vfs.Fault{At: at, Match: func(c vfs.Call) bool { return c.Op == vfs.Sync && c.Name == "log/FRONT" }})
			require.ErrorIs(t, l.TruncateFront(7), ErrUnknownOutcome)
			require.Equal(t, 1, faulty.Hits())
			require.Error(t, l.Close())

			l = openOn(t, fsys)
			first := l.FirstLSN()
			state := c.State()
			c.Kill()
			_ = l.Close()
			state.Each(200, 1, func(picks []int) bool {
				l := openOn(t, state.Image(picks))
				require.Equal(t, first, l.FirstLSN())
				w, err := worldOf(l)
				require.NoError(t, err)
				require.Equal(t, LSN(9), w.last())
				require.NoError(t, l.Close())
				return true
			})
		})
	}
}
