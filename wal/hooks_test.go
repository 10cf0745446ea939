package wal

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/stretchr/testify/require"
)

// noted are hooks that write down what they are called with. They take no lock:
// they are called one at a time.
func noted(lines *[]string) Hooks {
	note := func(format string, args ...any) { *lines = append(*lines, fmt.Sprintf(format, args...)) }
	return Hooks{
		Recovered: func(r Report) { note("recovered %d to %d", r.First, r.Last) },
		Rotated:   func(s SegmentInfo) { note("rotated %d from %d", s.ID, s.First) },
		Sealed:    func(s SegmentInfo) { note("sealed %d from %d", s.ID, s.First) },
		Truncated: func(first, last LSN) { note("truncated %d to %d", first, last) },
		NoSpace:   func(err error) { note("no space") },
		Failed:    func(err error) { note("failed") },
	}
}

func TestHooksAreCalledInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines []string
		l := open(t, Options{Hooks: noted(&lines)})
		step := func(do func()) {
			do()
			synctest.Wait()
			lines = append(lines, "-")
		}
		step(func() {})
		step(func() { l.fill(3) })
		step(func() { require.NoError(t, l.Rotate()) })
		step(func() { l.fill(3); l.truncateFront(2) })
		step(func() { l.truncateBack(4) })
		step(func() { l.reset(50) })
		l.fill(1).reopen()
		step(func() {})
		require.Equal(t, []string{
			"recovered 1 to 0", "-",
			"rotated 1 from 1", "-",
			"rotated 2 from 4", "sealed 1 from 1", "-",
			"truncated 2 to 6", "-",
			"rotated 3 from 5", "truncated 2 to 4", "-",
			"rotated 4 from 50", "truncated 50 to 49", "-",
			"recovered 50 to 50", "-",
		}, lines)
	})
}

func TestHookOfNoSpaceAndOfFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines []string
		l := open(t, Options{SegmentSize: small, Hooks: noted(&lines)})
		l.fill(1)
		l.full()
		l.spaceLeft(-1)
		l.fill(1)
		synctest.Wait()
		require.Equal(t, []string{"recovered 1 to 0", "rotated 1 from 1", "no space"}, lines[:3])
		require.Regexp(t, "^rotated .* from 2$", lines[3])

		lines = nil
		k, f := faultyLog(t, Options{Hooks: noted(&lines)})
		k.fill(1)
		f.Set(vfs.Fault{Match: on(vfs.Sync)})
		require.Error(t, second(k.Append(nil)))
		require.Error(t, second(k.Append(nil)))
		synctest.Wait()
		require.Equal(t, []string{"recovered 1 to 0", "rotated 1 from 1", "failed"}, lines)
	})
}

func TestHooksMayCallAnyMethodButClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l *testLog
		var done []string
		l = open(t, Options{SegmentSize: small, Hooks: Hooks{
			Rotated: func(s SegmentInfo) {
				if len(done) > 0 {
					return
				}
				done = append(done, "rotated")
				require.NoError(t, second(l.Append([]byte("by a hook"))))
				require.NoError(t, l.Sync())
				require.NoError(t, l.Rotate())
				require.NoError(t, l.TruncateBack(1))
				require.NoError(t, l.TruncateFront(2))
				require.NoError(t, l.Reset(5))
				require.NoError(t, second(l.Append([]byte("by a hook"))))
				l.Stats()
				l.Segments()
				h, err := l.Hold("hook", 5)
				require.NoError(t, err)
				h.Release()
				require.Len(t, second2(collect(l.Records(5))), 1)
			},
		}})
		require.NoError(t, second(l.Append([]byte("x"))))
		synctest.Wait()
		require.Equal(t, []string{"rotated"}, done)
		require.Equal(t, LSN(5), l.LastLSN())
	})
}

func TestSlowHookDelaysNoCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls, now atomic.Int32
		slow := func(SegmentInfo) {
			require.EqualValues(t, 1, now.Add(1), "one at a time")
			pass(time.Hour)
			calls.Add(1)
			now.Add(-1)
		}
		l := open(t, Options{SegmentSize: small, Hooks: Hooks{Rotated: slow, Sealed: slow}})
		began := time.Now()
		l.fillSegments(5)
		require.Equal(t, began, time.Now())
		require.Zero(t, calls.Load())
		l.close() // waits for the hooks
		require.EqualValues(t, 5+4, calls.Load())
	})
}
