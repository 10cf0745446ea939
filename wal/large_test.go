package wal

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// large returns a record that is written from where it is.
func large(n byte) []byte { return bytes.Repeat([]byte{n}, largeRecord+int(n)) }

// TestLargeRecordIsNotCopied into the log's memory, and nothing of it is kept.
func TestLargeRecordIsNotCopied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trace := vfs.NewTrace(vfs.NewMem())
		l := openWith(t, Options{FS: trace})
		requireAppend(t, l, "one")
		for n := range byte(3) {
			trace.Take()
			lsn, err := l.Append(large(n))
			require.NoError(t, err)
			require.EqualValues(t, n+2, lsn)
			var calls []string
			for call := range strings.Lines(trace.Take()) {
				if strings.Contains(call, " 0000000000000001.seg") { // not what is done in the background
					calls = append(calls, call)
				}
			}
			require.True(t, strings.HasPrefix(calls[len(calls)-2], "write "), "%v", calls)
			require.True(t, strings.HasPrefix(calls[len(calls)-1], "sync "), "%v", calls)
		}
		require.Less(t, cap(l.mu.queue.buf)+cap(l.mu.spare.buf), largeRecord)
		require.Zero(t, len(l.mu.queue.large)+len(l.mu.spare.large)+len(l.lead.round.large))
		for n := range byte(3) {
			data, err := l.Read(LSN(n+2), nil)
			require.NoError(t, err)
			require.True(t, bytes.Equal(large(n), data))
		}
		s := l.Stats()
		require.EqualValues(t, 4, s.Records)
	})
}

// TestLargeRecordsBesideOthers: several are appended at a time, beside small ones, and in
// segments that they fill.
func TestLargeRecordsBesideOthers(t *testing.T) {
	l := openWith(t, Options{FS: NewMemFS(), SegmentSize: 2 << 20})
	var wg sync.WaitGroup
	var mu sync.Mutex
	lsns := map[LSN][]byte{}
	for c := range byte(4) {
		wg.Go(func() {
			for n := range byte(20) {
				data := fmt.Appendf(nil, "%d.%d", c, n)
				if n%2 == 0 {
					data = large(c*20 + n)
				}
				lsn, err := l.Append(data)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				lsns[lsn] = data
				mu.Unlock()
			}
		})
		wg.Go(func() {
			for n := range 50 {
				p, err := l.AppendAsync(fmt.Appendf(nil, "%d async %d", c, n))
				if err == nil && n%5 == 0 {
					err = p.Wait(context.Background())
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, l.Sync())
	require.Len(t, lsns, 80)
	for lsn, data := range lsns {
		got, err := l.Read(lsn, nil)
		require.NoError(t, err)
		require.True(t, bytes.Equal(data, got), "record %d", lsn)
	}
	require.EqualValues(t, 280, l.LastLSN())
}

// TestLargeRecordIsRefusedAsOthersAre: whoever appends one is told what others are.
func TestLargeRecordIsRefusedAsOthersAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		l := openWith(t, Options{FS: m, MaxRecordSize: largeRecord + 10})
		requireAppend(t, l, "one")
		require.ErrorIs(t, second(l.Append(large(11))), ErrTooLarge)
		m.SetLimit(1)
		for l.Stats().Segments == 1 { // until there is no room in the segment
			if err := second(l.Append(large(1))); err != nil {
				require.ErrorIs(t, err, ErrNoSpace)
				break
			}
		}
		require.ErrorIs(t, second(l.Append(large(2))), ErrNoSpace)
		m.SetLimit(0)
		last, err := l.Append(large(3))
		require.NoError(t, err)
		require.Equal(t, l.LastLSN(), last)
		require.NoError(t, l.Close())
		require.ErrorIs(t, second(l.Append(large(1))), ErrClosed)
	})
}
