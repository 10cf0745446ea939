package wal

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/stretchr/testify/require"
)

// ctx is for waits that nothing should end.
var ctx = context.Background()

// small makes rotations cheap to reach.
const small = MinSegmentSize

// testLog is a log with what it should hold. Its lower-case methods fail the
// test on any error, and keep want.
type testLog struct {
	*Log
	t    testing.TB
	dir  string
	opts Options
	want map[LSN]string
	life int // tells records of the same LSN apart
}

// open opens a log, in memory unless opts say otherwise, where it costs time to
// reserve much space.
func open(t testing.TB, opts Options) *testLog {
	t.Helper()
	if opts.FS == nil {
		opts.FS = NewMemFS()
	}
	if opts.SegmentSize == 0 {
		opts.SegmentSize = 1 << 20
	}
	return openAt(t, "log", opts)
}

func openAt(t testing.TB, dir string, opts Options) *testLog {
	t.Helper()
	l, err := Open(dir, &opts)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return &testLog{Log: l, t: t, dir: dir, opts: opts, want: map[LSN]string{}}
}

// everywhere runs f on the operating system's file system, also past its page cache, and in
// memory.
func everywhere(t *testing.T, opts Options, f func(t *testing.T, l *testLog)) {
	t.Run("os", func(t *testing.T) { f(t, openAt(t, filepath.Join(t.TempDir(), "log"), opts)) })
	t.Run("direct", func(t *testing.T) {
		opts := opts
		opts.Direct = true
		f(t, openAt(t, filepath.Join(t.TempDir(), "log"), opts))
	})
	t.Run("mem", func(t *testing.T) { f(t, open(t, opts)) })
}

// bubble runs f with a clock of its own, in memory. It also shows that nobody
// hangs and that no goroutine is left.
func bubble(t *testing.T, opts Options, f func(t *testing.T, l *testLog)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, open(t, opts)) })
}

// pass lets time pass in a bubble.
func pass(d time.Duration) {
	time.Sleep(d) // real time: none, it is the bubble's
}

// text is what the record with the LSN holds in its n-th life.
func text(lsn LSN, life int) string {
	return fmt.Sprintf("record %d life %d %s", lsn, life, strings.Repeat("x", int(lsn%97)))
}

// fill appends n records, one after the other.
func (l *testLog) fill(n int) *testLog {
	l.t.Helper()
	for range n {
		s := text(l.LastLSN()+1, l.life)
		lsn, err := l.Append([]byte(s))
		require.NoError(l.t, err)
		require.Equal(l.t, lsn, l.LastLSN())
		l.want[lsn] = s
	}
	return l
}

// fillSegments appends until the log has n segments, the last of which has more
// than one record.
func (l *testLog) fillSegments(n int) *testLog {
	l.t.Helper()
	for range 100_000 {
		if s := l.Segments(); len(s) >= n && s[n-1].First < l.LastLSN() {
			return l
		}
		l.fill(1)
	}
	l.t.Fatal("the log does not rotate")
	return l
}

// batch appends a batch of n records; edit, which may be nil, adds to it.
func (l *testLog) batch(n int, edit func(*Batch)) LSN {
	l.t.Helper()
	var b Batch
	next := l.LastLSN() + 1
	if edit != nil {
		edit(&b)
	}
	if b.truncates && b.truncate < next {
		next = b.truncate + 1
	}
	for i := range n {
		l.want[next+LSN(i)] = text(next+LSN(i), l.life)
		b.Add([]byte(l.want[next+LSN(i)]))
	}
	first, err := l.AppendBatch(&b)
	require.NoError(l.t, err)
	require.Equal(l.t, next, first)
	return first
}

func (l *testLog) setMeta(meta string) {
	l.t.Helper()
	var b Batch
	b.SetMeta([]byte(meta))
	_, err := l.AppendBatch(&b)
	require.NoError(l.t, err)
}

func (l *testLog) truncateFront(first LSN) {
	l.t.Helper()
	require.NoError(l.t, l.TruncateFront(first))
}

// truncateBack also begins another life, so that what is appended under the same
// LSNs can be told from what was there.
func (l *testLog) truncateBack(last LSN) {
	l.t.Helper()
	require.NoError(l.t, l.TruncateBack(last))
	l.life++
}

func (l *testLog) reset(next LSN) {
	l.t.Helper()
	require.NoError(l.t, l.Reset(next))
	l.life++
}

func (l *testLog) close() {
	l.t.Helper()
	require.NoError(l.t, l.Close())
}

// reopen closes the log and opens it again.
func (l *testLog) reopen() *testLog {
	l.t.Helper()
	l.close()
	return l.openAgain()
}

func (l *testLog) openAgain() *testLog {
	l.t.Helper()
	again, err := Open(l.dir, &l.opts)
	require.NoError(l.t, err)
	l.t.Cleanup(func() { _ = again.Close() })
	l.Log = again
	return l
}

// is checks that the log holds exactly the records from first to last, by every
// way of reading.
func (l *testLog) is(first, last LSN) *testLog {
	l.t.Helper()
	require.Equal(l.t, [2]LSN{first, last}, [2]LSN{l.FirstLSN(), l.LastLSN()}, "FirstLSN, LastLSN")
	l.holds(first, last)
	_, err := l.Read(first-1, nil)
	require.ErrorIs(l.t, err, ErrTruncated)
	_, err = l.Read(last+1, nil)
	require.ErrorIs(l.t, err, ErrNotFound)
	return l
}

// holds checks the records from first to last, by every way of reading.
func (l *testLog) holds(first, last LSN) {
	l.t.Helper()
	next := first
	for r, err := range l.Records(first) {
		require.NoError(l.t, err)
		require.Equal(l.t, next, r.LSN)
		require.Equal(l.t, l.want[next], string(r.Data), "LSN %d in Records", next)
		next++
	}
	require.Equal(l.t, last+1, next, "Records ended before")
	for lsn := first; lsn <= last; lsn++ {
		require.Equal(l.t, l.want[lsn], string(l.read(lsn)), "LSN %d in Read", lsn)
	}
}

func (l *testLog) read(lsn LSN) []byte {
	l.t.Helper()
	data, err := l.Read(lsn, nil)
	require.NoError(l.t, err)
	return data
}

// exact checks the range now and, twice, after the log was opened again.
func (l *testLog) exact(first, last LSN) *testLog {
	l.t.Helper()
	return l.is(first, last).reopen().is(first, last).reopen().is(first, last)
}

// killed returns the log as a process crash leaves it, opened again: everything
// handed to the operating system is there, nothing was closed.
func (l *testLog) killed() *testLog {
	l.t.Helper()
	opts := l.opts
	opts.FS = l.memory().Clone()
	k := openAt(l.t, l.dir, opts)
	k.want, k.life = l.want, l.life
	return k
}

func (l *testLog) memory() *vfs.Mem { return l.opts.FS.(*vfs.Mem) }

// crashed returns the log as the power loss that loses most leaves it.
func (l *testLog) crashed() *testLog {
	l.t.Helper()
	s := l.opts.FS.(*vfs.Crash).State()
	opts := l.opts
	opts.FS = s.Image(s.Oldest())
	k := openAt(l.t, l.dir, opts)
	k.want, k.life = l.want, l.life
	return k
}

// spaceLeft leaves that many bytes of space. A negative number: without limit.
func (l *testLog) spaceLeft(bytes int64) {
	if bytes < 0 {
		l.memory().SetLimit(0)
		return
	}
	l.memory().SetLimit(l.memory().Used() + bytes)
}

// full lets the log run out of space: the next append fails. A segment that was ready
// takes a record before.
func (l *testLog) full() {
	l.t.Helper()
	big := make([]byte, 2*l.opts.SegmentSize)
	l.memory().SetLimit(1) // so that what a cut gives back is not used either
	for {
		require.ErrorIs(l.t, second(l.Append(big)), ErrNoSpace)
		s := text(l.LastLSN()+1, l.life)
		lsn, err := l.Append([]byte(s))
		if err != nil {
			require.ErrorIs(l.t, err, ErrNoSpace)
			return
		}
		l.want[lsn] = s
	}
}

// faultyLog opens a log, in memory, of which calls can be made to fail.
func faultyLog(t testing.TB, opts Options) (*testLog, *vfs.Faulty) {
	t.Helper()
	f := vfs.NewFaulty(vfs.NewMem())
	opts.FS = f
	return open(t, opts), f
}

// on matches calls of an operation.
func on(op vfs.Op) func(vfs.Call) bool { return func(c vfs.Call) bool { return c.Op == op } }

// collect returns the records of an iteration and how it ended.
func collect(seq func(func(Record, error) bool)) (texts []string, err error) {
	for r, e := range seq {
		if e != nil {
			return texts, e
		}
		texts = append(texts, string(r.Data))
	}
	return texts, nil
}
