package wal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/stretchr/testify/require"
)

// reader returns a reader that has stepped over the records from from to last.
func (l *testLog) reader(from, last LSN) *Reader {
	l.t.Helper()
	r, err := l.NewReader(from)
	require.NoError(l.t, err)
	for lsn := from; lsn <= last; lsn++ {
		require.True(l.t, r.Next(), "%v", r.Err())
		require.Equal(l.t, lsn, r.Record().LSN)
		require.Equal(l.t, l.want[lsn], string(r.Record().Data))
	}
	return r
}

// endsWith checks that the reader has ended, and stays so.
func endsWith(t testing.TB, r *Reader, want error) {
	t.Helper()
	for range 2 {
		require.False(t, r.Next(), "record %d", r.Record().LSN)
		require.ErrorIs(t, r.Err(), want)
		require.ErrorIs(t, r.Wait(ctx), want)
	}
}

// goesOn checks that the reader returns the records from to last, and then is
// caught up.
func (l *testLog) goesOn(r *Reader, from, last LSN) {
	l.t.Helper()
	for lsn := from; lsn <= last; lsn++ {
		require.True(l.t, r.Next(), "%v", r.Err())
		require.Equal(l.t, lsn, r.Record().LSN)
		require.Equal(l.t, l.want[lsn], string(r.Record().Data))
	}
	require.False(l.t, r.Next())
	require.NoError(l.t, r.Err())
}

func TestRecordsEndWhereTheLogEnded(t *testing.T) {
	l := open(t, Options{SegmentSize: small}).fill(100)
	n := 0
	for _, err := range l.Records(51) {
		require.NoError(t, err)
		n++
		l.fill(1)
	}
	require.Equal(t, 50, n)
	l.is(1, 150)
}

func TestIterationMayBeLeftAndRepeated(t *testing.T) {
	l := open(t, Options{}).fill(10)
	seq := l.Records(3)
	for range 2 {
		for r, err := range seq {
			require.NoError(t, err)
			require.Equal(t, LSN(3), r.LSN)
			break
		}
	}
	texts, err := collect(seq)
	require.NoError(t, err)
	require.Len(t, texts, 8)
}

func TestReadersOutOfRange(t *testing.T) {
	l := open(t, Options{FirstLSN: 10}).fill(5)
	for lsn, want := range map[LSN]error{0: ErrTruncated, 9: ErrTruncated, 16: ErrNotFound, ^LSN(0): ErrNotFound} {
		_, err := l.NewReader(lsn)
		require.ErrorIs(t, err, want)
		require.ErrorContains(t, err, fmt.Sprint(lsn))
		texts, err := collect(l.Records(lsn))
		require.ErrorIs(t, err, want)
		require.Empty(t, texts)
		_, err = collect(l.Follow(ctx, lsn))
		require.ErrorIs(t, err, want)
		_, err = l.Read(lsn, nil)
		require.ErrorIs(t, err, want)
	}
	texts, err := collect(l.Records(15))
	require.NoError(t, err)
	require.Empty(t, texts)
	_, err = l.Read(15, nil)
	require.ErrorIs(t, err, ErrNotFound)
}

func TestReaderIsCaughtUpAndGoesOn(t *testing.T) {
	everywhere(t, Options{SegmentSize: small}, func(t *testing.T, l *testLog) {
		r := l.reader(1, 0)
		l.goesOn(r, 1, 0)
		for last := LSN(1); last < 300; last += 1 + last/7 {
			from := l.LastLSN() + 1
			l.fill(int(last + 1 - from))
			l.goesOn(r, from, last)
		}
		require.Greater(t, len(l.Segments()), 3)
		require.NoError(t, r.Close())
	})
}

func TestReaderOfAnEmptyLogThatGrows(t *testing.T) {
	l := open(t, Options{FirstLSN: 40})
	r := l.reader(40, 39)
	require.False(t, r.Next())
	l.fill(2)
	l.goesOn(r, 40, 41)
}

func TestSeek(t *testing.T) {
	l := open(t, Options{SegmentSize: small}).fill(300)
	r := l.reader(100, 102)
	for _, to := range []LSN{1, 299, 150, 151, 300, 2} {
		require.NoError(t, r.Seek(to))
		l.goesOn(r, to, 300)
	}
	require.NoError(t, r.Seek(200))
	require.ErrorIs(t, r.Seek(302), ErrNotFound)
	require.ErrorIs(t, r.Seek(0), ErrTruncated)
	l.goesOn(r, 200, 300) // it stayed where it was
	l.truncateBack(150)
	endsWith(t, r, ErrRewound)
	require.NoError(t, r.Seek(151))
	l.fill(2)
	l.goesOn(r, 151, 152)
}

func TestReaderAfterClose(t *testing.T) {
	l := open(t, Options{}).fill(3)
	r := l.reader(1, 1)
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	endsWith(t, r, ErrClosed)
	require.ErrorIs(t, r.Seek(1), ErrClosed)
	require.Zero(t, r.Record().LSN)
}

func TestReadersOfAClosedLog(t *testing.T) {
	for _, records := range []int{3, 20_000} { // the second is more than a reader has read ahead
		l := open(t, Options{Sync: SyncNone}).fill(records)
		begun, unused, caughtUp := l.reader(1, 1), l.reader(1, 0), l.reader(1, LSN(records))
		l.close()
		for begun.Next() {
		}
		endsWith(t, begun, ErrClosed)
		endsWith(t, unused, ErrClosed)
		endsWith(t, caughtUp, ErrClosed)
		_, err := l.Read(1, nil)
		require.ErrorIs(t, err, ErrClosed)
		require.ErrorIs(t, second(l.NewReader(1)), ErrClosed)
		require.ErrorIs(t, second(collect(l.Records(1))), ErrClosed)
		require.ErrorIs(t, second(collect(l.Follow(ctx, 1))), ErrClosed)
	}
}

// Truncations that a reader meets.

func TestTruncateFrontAndReaders(t *testing.T) {
	for _, c := range []struct {
		first LSN // of TruncateFront, with a reader that has passed record 100 of 200
		ends  error
	}{
		{50, nil}, {100, nil}, {101, nil}, {102, ErrTruncated}, {150, ErrTruncated}, {201, ErrTruncated},
	} {
		t.Run(fmt.Sprint(c.first), func(t *testing.T) {
			l := open(t, Options{SegmentSize: small}).fill(200)
			r := l.reader(1, 100)
			l.truncateFront(c.first)
			if c.ends != nil {
				endsWith(t, r, c.ends)
				require.NoError(t, r.Seek(c.first))
				l.goesOn(r, c.first, 200)
				return
			}
			l.goesOn(r, 101, 200)
		})
	}
}

func TestRewindsAndReaders(t *testing.T) {
	for _, c := range []struct {
		what truncation // with a reader that has passed record 100 of 200
		ends error
		next LSN // else it goes on with this record
	}{
		{back(99), ErrRewound, 0},
		{back(0), ErrRewound, 0},
		{back(100), nil, 101},
		{back(101), nil, 101},
		{back(199), nil, 101},
		{back(200), nil, 101},
		{backInBatch(99, 50), ErrRewound, 0},
		{backInBatch(100, 50), nil, 101},
		{backInBatch(150, 0), nil, 101},
		{resetTo(1), ErrRewound, 0},
		{resetTo(100), ErrRewound, 0},
		{resetTo(101), nil, 101},
		{resetTo(102), ErrTruncated, 0},
		{resetTo(5000), ErrTruncated, 0},
	} {
		t.Run(c.what.what, func(t *testing.T) {
			for _, more := range []int{0, 150} {
				l := open(t, Options{SegmentSize: small}).fill(200)
				r := l.reader(1, 100)
				c.what.do(l)
				l.fill(more)
				if c.ends != nil {
					endsWith(t, r, c.ends)
					require.NoError(t, r.Seek(l.FirstLSN()))
					l.goesOn(r, l.FirstLSN(), l.LastLSN())
					continue
				}
				l.goesOn(r, c.next, l.LastLSN())
			}
		})
	}
}

func TestRewindThatALaterOneHides(t *testing.T) {
	l := open(t, Options{}).fill(20)
	r, behind := l.reader(1, 15), l.reader(1, 5)
	l.truncateBack(10)
	l.fill(10)
	l.truncateBack(18)
	endsWith(t, r, ErrRewound)
	l.goesOn(behind, 6, 18)
	late := l.reader(1, 18)
	l.fill(5)
	l.goesOn(late, 19, 23)
}

// parked is a reader that waits at the end of the log.
func (l *testLog) parked(r *Reader) <-chan error {
	done := make(chan error, 1)
	go func() { done <- r.Wait(ctx) }()
	synctest.Wait()
	select {
	case err := <-done:
		l.t.Fatalf("it does not wait: %v", err)
	default:
	}
	return done
}

func TestParkedReaders(t *testing.T) {
	for what, c := range map[string]struct {
		do   func(l *testLog)
		want error
	}{
		"append":           {func(l *testLog) { l.fill(1) }, nil},
		"back":             {func(l *testLog) { l.truncateBack(50) }, ErrRewound},
		"back by one":      {func(l *testLog) { l.truncateBack(99) }, ErrRewound},
		"back in a batch":  {func(l *testLog) { l.batch(60, func(b *Batch) { b.TruncateBack(50) }) }, ErrRewound},
		"reset down":       {func(l *testLog) { l.reset(1) }, ErrRewound},
		"reset up":         {func(l *testLog) { l.reset(102) }, ErrTruncated},
		"front and append": {func(l *testLog) { l.truncateFront(101); l.fill(1) }, nil},
		"close":            {func(l *testLog) { l.close() }, ErrClosed},
		"rotate":           {func(l *testLog) { require.NoError(l.t, l.Rotate()); l.fill(1) }, nil},
		"meta, then reset": {func(l *testLog) { l.setMeta("m"); l.reset(101); l.fill(1) }, nil},
	} {
		t.Run(what, func(t *testing.T) {
			bubble(t, Options{SegmentSize: small}, func(t *testing.T, l *testLog) {
				l.fill(100)
				r := l.reader(1, 100)
				done := l.parked(r)
				began := time.Now()
				c.do(l)
				require.ErrorIs(t, <-done, c.want)
				require.Equal(t, began, time.Now(), "it was woken, and did not poll")
				require.Equal(t, c.want == nil, r.Next())
			})
		})
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, l *testLog) {
		l.fill(3)
		r := l.reader(1, 3)
		short, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		require.ErrorIs(t, r.Wait(short), context.DeadlineExceeded)
		require.NoError(t, r.Err(), "the reader has not ended")
		l.fill(1)
		require.NoError(t, r.Wait(ctx))
		l.goesOn(r, 4, 4)
	})
}

func TestFollowCrossesRotations(t *testing.T) {
	bubble(t, Options{SegmentSize: small}, func(t *testing.T, l *testLog) {
		const n = 300
		l.fill(20)
		got := make(chan string)
		stop, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() {
			for r, err := range l.Follow(stop, 1) {
				if err != nil {
					ended <- err
					return
				}
				got <- string(r.Data)
			}
		}()
		for lsn := LSN(1); lsn <= n; lsn++ {
			if lsn > 20 {
				began := time.Now()
				synctest.Wait() // the follower is parked
				l.fill(1)
				require.Equal(t, began, time.Now())
			}
			require.Equal(t, l.want[lsn], <-got)
		}
		require.Greater(t, len(l.Segments()), 4)
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	})
}

func TestFollowEndsWithItsContextInTheBody(t *testing.T) {
	l := open(t, Options{}).fill(10)
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	n := 0
	var ended error
	for r, err := range l.Follow(stop, 1) {
		if ended = err; err != nil {
			break
		}
		if n++; r.LSN == 4 {
			cancel()
		}
	}
	require.ErrorIs(t, ended, context.Canceled)
	require.Equal(t, 4, n)
}

func TestFollowOfACancelledContextEnds(t *testing.T) {
	l := open(t, Options{})
	stop, cancel := context.WithCancel(ctx)
	cancel()
	_, err := collect(l.Follow(stop, 1))
	require.ErrorIs(t, err, context.Canceled)
}

func TestAnyMethodMayBeCalledInAnIteration(t *testing.T) {
	bubble(t, Options{SegmentSize: small}, func(t *testing.T, l *testLog) {
		l.fill(100)
		calls := []func(){
			func() { l.fill(1) },
			func() { l.async("async") },
			func() { require.NoError(t, l.Sync()) },
			func() { require.NoError(t, l.Rotate()) },
			func() { l.setMeta("m") },
			func() { l.truncateFront(5) },
			func() { l.truncateBack(l.LastLSN() - 1) },
			func() { l.Segments(); l.Stats(); l.Meta(); _ = l.Err(); l.Recovery() },
			func() { require.Len(t, second2(collect(l.Records(90))), 12) },
			func() {
				h, err := l.Hold("h", 50)
				require.NoError(t, err)
				h.Release()
			},
			func() { l.close() },
		}
		n := 0
		var ended error
		for r, err := range l.Follow(ctx, 50) {
			if err != nil {
				ended = err
				break
			}
			require.Equal(t, LSN(50+n), r.LSN)
			if n < len(calls) {
				calls[n]()
			}
			n++
		}
		require.GreaterOrEqual(t, n, len(calls))
		require.ErrorIs(t, ended, ErrClosed)
	})
}

func second2(texts []string, _ error) []string { return texts }

// Batches.

func (l *testLog) more(from LSN) string {
	var s strings.Builder
	for r, err := range l.Records(from) {
		require.NoError(l.t, err)
		s.WriteByte("-+"[btoi(r.More)])
	}
	return s.String()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestMoreJoinsTheRecordsOfABatch(t *testing.T) {
	l := open(t, Options{})
	l.fill(1)
	l.batch(3, nil)
	l.batch(1, nil)
	l.batch(2, func(b *Batch) { b.SetMeta([]byte("m")) })
	l.fill(1)
	require.Equal(t, "-++--+--", l.more(1))
	require.Equal(t, "+--+--", l.more(3))
	l.reopen()
	require.Equal(t, "-++--+--", l.more(1))
}

func TestTruncateBackSplitsABatch(t *testing.T) {
	l := open(t, Options{}).fill(1)
	l.batch(4, nil)
	r := l.reader(1, 2)
	l.truncateBack(3)
	require.Equal(t, "-+-", l.more(1))
	require.True(t, r.Next())
	require.False(t, r.Record().More)
	l.fill(1)
	require.Equal(t, "-+--", l.more(1))
	l.reopen()
	require.Equal(t, "-+--", l.more(1))
	l.batch(2, nil)
	l.is(1, 6)
	l.truncateBack(2)
	require.Equal(t, "--", l.more(1))
	l.reopen()
	require.Equal(t, "--", l.more(1))
}

func TestReadAppendsToItsDestination(t *testing.T) {
	l := open(t, Options{}).fill(2)
	dst := make([]byte, 3, 1000)
	copy(dst, "abc")
	got, err := l.Read(2, dst)
	require.NoError(t, err)
	require.Equal(t, "abc"+l.want[2], string(got))
	require.Same(t, &dst[0], &got[0], "there was room")
	got, err = l.Read(3, dst)
	require.ErrorIs(t, err, ErrNotFound)
	require.Equal(t, "abc", string(got))
}

// Readers find damage, whatever the page that it is in.
func TestReadersVerifyEveryRecord(t *testing.T) {
	l := open(t, Options{}).fill(50)
	l.flip("record 30 life")
	texts, err := collect(l.Records(1))
	require.Len(t, texts, 29)
	require.ErrorIs(t, err, ErrCorrupt)
	var at *CorruptError
	require.ErrorAs(t, err, &at)
	require.Equal(t, LSN(30), at.LSN)
	require.Equal(t, "log/0000000000000001.seg", at.Path)
	require.NotZero(t, at.Offset)
	_, err = l.Read(30, nil)
	require.ErrorIs(t, err, ErrCorrupt)
	for lsn := range l.want {
		if lsn != 30 {
			require.Equal(t, l.want[lsn], string(l.read(lsn)))
		}
	}
}

func TestReadErrorIsNoDamage(t *testing.T) {
	l, f := faultyLog(t, Options{})
	l.fill(5)
	f.Set(vfs.Fault{Match: on(vfs.ReadAt), Sticky: true})
	_, err := l.Read(3, nil)
	require.NotErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, "input/output error")
	_, err = collect(l.Records(1))
	require.NotErrorIs(t, err, ErrCorrupt)
	require.ErrorContains(t, err, "input/output error")
	f.Clear()
	l.is(1, 5).fill(1)
}

// flip changes a bit of the only place in the log's segments that holds text.
func (l *testLog) flip(text string) {
	l.t.Helper()
	for _, s := range l.Segments() {
		f, err := l.opts.FS.Open(s.Path, vfs.ReadWrite)
		require.NoError(l.t, err)
		info, err := f.Stat()
		require.NoError(l.t, err)
		b := make([]byte, info.Size)
		_, err = f.ReadAt(b, 0)
		require.NoError(l.t, err)
		if at := strings.Index(string(b), text); at >= 0 {
			_, err = f.WriteAt([]byte{b[at] ^ 1}, int64(at))
			require.NoError(l.t, err)
			require.NoError(l.t, f.Close())
			return
		}
		require.NoError(l.t, f.Close())
	}
	l.t.Fatalf("%q is in no segment", text)
}

// Readers beside writers and truncations: what they see is right, or an error.
func TestReadersBesideWritersAndTruncations(t *testing.T) {
	everywhere(t, Options{Sync: SyncNone, SegmentSize: small}, func(t *testing.T, l *testLog) {
		rounds := 1500
		if scale.Race {
			rounds = 400
		}
		if l.opts.FS == nil {
			rounds = 100
		}
		var stop atomic.Bool
		var read atomic.Int64
		var wg sync.WaitGroup
		right := func(r Record) {
			var lsn LSN
			_, err := fmt.Sscanf(string(r.Data), "record %d ", &lsn)
			if err != nil || lsn != r.LSN {
				t.Errorf("LSN %d is %q", r.LSN, r.Data)
			}
			read.Add(1)
		}
		expected := func(err error) {
			if err != nil && !errors.Is(err, ErrTruncated) && !errors.Is(err, ErrRewound) && !errors.Is(err, ErrNotFound) {
				t.Errorf("%T %v", err, err)
			}
		}
		for n := range 4 {
			wg.Go(func() {
				for i := 0; !stop.Load(); i++ {
					first, last := l.FirstLSN(), l.LastLSN()
					from := first + LSN(i)%(last+2-first)
					if n == 0 {
						data, err := l.Read(from, nil)
						if err == nil {
							right(Record{LSN: from, Data: data})
						}
						expected(err)
						continue
					}
					life := 0
					for r, err := range l.Records(from) {
						if err != nil {
							expected(err)
							break
						}
						right(r)
						var lsn, of int
						_, _ = fmt.Sscanf(string(r.Data), "record %d life %d", &lsn, &of)
						if of < life {
							t.Errorf("LSN %d of life %d behind life %d", r.LSN, of, life)
						}
						life = of
					}
				}
			})
		}
		for i := range rounds {
			switch i % 11 {
			case 3:
				l.truncateFront(l.FirstLSN() + (l.LastLSN()+1-l.FirstLSN())/3)
			case 7:
				l.truncateBack(l.LastLSN() - (l.LastLSN()+1-l.FirstLSN())/5)
			case 9:
				l.life++
				l.batch(3, func(b *Batch) { b.TruncateBack(l.LastLSN() - (l.LastLSN()+1-l.FirstLSN())/5) })
			default:
				l.fill(10)
			}
			if i%100 == 99 {
				l.reset(l.LastLSN() - 5)
			}
		}
		stop.Store(true)
		wg.Wait()
		require.NotZero(t, read.Load())
	})
}

// The truncation comes between the look at what is visible and the read of it.
func TestReaderAtItsLimitMeetsATruncation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var armed atomic.Bool
		gate := make(chan struct{})
		l := open(t, Options{SegmentSize: small, FS: vfs.Wrap(vfs.NewMem(), func(c vfs.Call, do func(int) (int, error)) (int, error) {
			if c.Op == vfs.Stat && armed.Swap(false) {
				<-gate
			}
			return do(int(c.Size))
		})}).fillSegments(4).reopen()
		l.life++
		r := l.reader(30, 29)
		armed.Store(true)
		stepped := make(chan bool)
		go func() { stepped <- r.Next() }()
		synctest.Wait()
		require.False(t, armed.Load(), "the reader looks at a segment's file")
		l.truncateBack(29)
		l.fill(5)
		close(gate)
		require.True(t, <-stepped, "%v", r.Err())
		require.Equal(t, l.want[30], string(r.Record().Data))
		l.goesOn(r, 31, 34)
	})
}

// The truncation comes while the record is being read.
func TestReaderGivesOutNothingOfAnotherHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var armed atomic.Bool
		gate := make(chan struct{})
		l := open(t, Options{FS: vfs.Wrap(vfs.NewMem(), func(c vfs.Call, do func(int) (int, error)) (int, error) {
			if c.Op == vfs.ReadAt && armed.Swap(false) {
				<-gate
			}
			return do(int(c.Size))
		})}).fill(100).reopen()
		r := l.reader(50, 49)
		armed.Store(true)
		stepped := make(chan bool)
		go func() { stepped <- r.Next() }()
		synctest.Wait()
		require.False(t, armed.Load(), "the reader reads")
		l.truncateBack(20)
		l.fill(60)
		close(gate)
		require.False(t, <-stepped, "%q", r.Record().Data)
		endsWith(t, r, ErrRewound)
	})
}
