//go:build !race

// With the race detector some of these allocate, so there is nothing to be seen:
// see alloc_race_test.go.

package wal

import (
	"context"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// allocOptions are such that the log neither rotates nor prepares a segment.
func allocOptions() Options { return Options{FS: NewMemFS(), SegmentSize: 1 << 30} }

// warm appends enough for all memory that is kept to have grown.
func warm(t *testing.T, l *Log) {
	t.Helper()
	for range 2000 {
		requireAppend(t, l, "0123456789abcdef0123456789abcdef")
	}
}

// requireNoAllocs requires that f allocates nothing. The file system in memory
// does when a file grows, which is not the log's; so space is reserved at first.
func requireNoAllocs(t *testing.T, f func()) {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	require.Zero(t, testing.AllocsPerRun(2000, f))
}

// TestNothingIsAllocatedOnTheDisk is about the calls of the operating system.
func TestNothingIsAllocatedOnTheDisk(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	for name, o := range map[string]Options{
		"interval": {SegmentSize: MaxSegmentSize, Sync: SyncInterval, SyncEvery: time.Hour},
		"direct":   {Direct: true},
	} {
		l, err := Open(t.TempDir()+"/log", &o)
		require.NoError(t, err)
		warm(t, l)
		data := make([]byte, 256)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			p, err := l.AppendAsync(data)
			if err == nil {
				err = p.Wait(context.Background())
			}
			if err != nil {
				t.Error(err)
			}
		}), name)
		require.NoError(t, l.Close())
	}
}

func TestNothingIsAllocated(t *testing.T) {
	data := make([]byte, 256)
	for _, policy := range []SyncPolicy{SyncAlways, SyncInterval, SyncNone} {
		o := allocOptions()
		o.SegmentSize, o.Sync = 32<<20, policy
		l := openWith(t, o)
		warm(t, l)
		requireNoAllocs(t, func() {
			if _, err := l.Append(data); err != nil {
				t.Error(err)
			}
		})
		ctx := context.Background()
		requireNoAllocs(t, func() {
			p, err := l.AppendAsync(data)
			if err == nil {
				err = p.Wait(ctx)
			}
			if err != nil {
				t.Error(err)
			}
		})
		var b Batch
		requireNoAllocs(t, func() {
			b.Reset()
			for range 4 {
				b.Add(data)
			}
			copy(b.Extend(len(data)), data)
			if _, err := l.AppendBatch(&b); err != nil {
				t.Error(err)
			}
		})
		require.NoError(t, l.Close())
	}
}

func TestNothingIsAllocatedByReading(t *testing.T) {
	o := allocOptions()
	o.SegmentSize = 32 << 20
	l := openWith(t, o)
	for range 10 {
		warm(t, l)
	}
	buf := make([]byte, 0, 1024)
	lsn := LSN(1)
	requireNoAllocs(t, func() {
		if _, err := l.Read(lsn, buf); err != nil {
			t.Error(err)
		}
		lsn = (lsn+37)%l.LastLSN() + 1
	})
	r, err := l.NewReader(1)
	require.NoError(t, err)
	require.True(t, r.Next()) // its buffer
	requireNoAllocs(t, func() {
		if !r.Next() {
			t.Error("no record", r.Err())
		}
	})
	require.NoError(t, r.Close())
}

// TestNothingIsAllocatedByManyCommitters counts what 100,000 appends of several
// goroutines allocate together, waiters and all.
func TestNothingIsAllocatedByManyCommitters(t *testing.T) {
	const goroutines, n = 8, 12500
	o := allocOptions()
	o.SegmentSize = 64 << 20
	l := openWith(t, o)
	warm(t, l)
	data := make([]byte, 128)
	run := func(n int) {
		var wg sync.WaitGroup
		for range goroutines {
			wg.Go(func() {
				for range n {
					if _, err := l.Append(data); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	run(500)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	run(n)
	runtime.ReadMemStats(&after)
	perAppend := float64(after.Mallocs-before.Mallocs) / (goroutines * n)
	t.Logf("%.5f allocations an append", perAppend)
	require.Less(t, perAppend, 0.01)
}
