package wal

import (
	"context"
	"errors"
	"io/fs"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/stretchr/testify/require"
)

// view opens the log a second time, read-only; what it reads must be what the
// writer wrote.
func (l *testLog) view() *testLog {
	l.t.Helper()
	o := l.opts
	o.ReadOnly = true
	v := openAt(l.t, l.dir, o)
	v.want = l.want
	return v
}

// later lets so much time pass that a read-only log looks again.
func later() { pass(2 * time.Millisecond) }

func TestReadOnlySeesWhatTheWriterDoes(t *testing.T) {
	bubble(t, Options{SegmentSize: small}, func(t *testing.T, l *testLog) {
		l.fill(3)
		v := l.view()
		check := func() {
			t.Helper()
			later()
			v.is(l.FirstLSN(), l.LastLSN())
			require.Equal(t, l.Meta(), v.Meta())
			require.Len(t, v.Segments(), len(l.Segments()))
		}
		check()
		l.fill(2)
		check()
		l.fillSegments(4)
		check()
		l.setMeta("m")
		check()
		l.truncateFront(l.Segments()[2].First + 5)
		check()
		l.truncateBack(l.LastLSN() - 20)
		check()
		l.fill(7)
		check()
		l.reset(10_000)
		check()
		l.fill(3)
		check()
		l.reset(4)
		check()
		l.fill(3)
		check()
		l.reopen()
		check()
		l.fill(3)
		check()
	})
}

func TestReadOnlyOnTheDisk(t *testing.T) {
	l := openAt(t, t.TempDir()+"/log", Options{SegmentSize: small}).fillSegments(4)
	l.truncateFront(20)
	l.view().is(20, l.LastLSN()).close()
	l.close()
	l.view().is(20, l.want0Last()).close()
}

// want0Last is the last LSN that the log should have.
func (l *testLog) want0Last() (last LSN) {
	for lsn := range l.want {
		last = max(last, lsn)
	}
	return last
}

func TestReadOnlyChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trace := vfs.NewTrace(vfs.NewMem())
		l := open(t, Options{FS: trace, SegmentSize: small}).fillSegments(3)
		pass(time.Second)
		synctest.Wait()
		trace.Also(vfs.Lock)
		trace.Except(vfs.Close)
		trace.Take()
		v := l.view()
		v.is(1, l.LastLSN())
		v.Segments()
		require.ErrorIs(t, second(v.Append(nil)), ErrReadOnly)
		require.ErrorIs(t, second(v.AppendAsync(nil)), ErrReadOnly)
		require.ErrorIs(t, second(v.AppendBatch(new(Batch))), ErrReadOnly)
		require.ErrorIs(t, second(v.AppendBatchAsync(new(Batch))), ErrReadOnly)
		require.ErrorIs(t, v.Sync(), ErrReadOnly)
		require.ErrorIs(t, v.Rotate(), ErrReadOnly)
		require.ErrorIs(t, v.TruncateFront(2), ErrReadOnly)
		require.ErrorIs(t, v.TruncateBack(2), ErrReadOnly)
		require.ErrorIs(t, v.Reset(2), ErrReadOnly)
		require.ErrorIs(t, second(v.Hold("h", 1)), ErrReadOnly)
		v.close()
		require.NoError(t, v.Close())
		require.ErrorIs(t, second(v.Read(1, nil)), ErrClosed)
		require.Empty(t, trace.Take(), "neither a lock nor a change")
		l.fill(1)
	})
}

func TestReadOnlyOfATornLogChangesNothing(t *testing.T) {
	l := open(t, Options{SegmentSize: small}).fill(20)
	image := l.memory().Clone()
	f, err := image.Open("log/0000000000000001.seg", vfs.ReadWrite)
	require.NoError(t, err)
	info, err := f.Stat()
	require.NoError(t, err)
	end := l.Segments()[0].Size
	require.Greater(t, info.Size, end)
	_, err = f.WriteAt([]byte("torn"), end+16)
	require.NoError(t, err)
	before := image.Hash()
	v := openAt(t, "log", Options{FS: image, ReadOnly: true})
	v.want = l.want
	v.is(1, 20)
	require.Equal(t, before, image.Hash())
}

func TestReadOnlyWithoutALog(t *testing.T) {
	mem := vfs.NewMem()
	_, err := Open("log", &Options{FS: mem, ReadOnly: true})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "log")
	require.NoError(t, mem.Mkdir("log"))
	before := mem.Hash()
	_, err = Open("log", &Options{FS: mem, ReadOnly: true})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "log")
	require.Equal(t, before, mem.Hash())
}

func TestReadOnlyDurableIsWhatWatermarksProve(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, l *testLog) {
		l.fill(3)
		v := l.view()
		require.Equal(t, LSN(3), v.LastLSN())
		require.Equal(t, LSN(2), v.DurableLSN(), "nothing behind the last group claims it yet")
		pass(200 * time.Millisecond)
		require.Equal(t, LSN(3), v.DurableLSN(), "the mark of an idle log does")
	})
	bubble(t, Options{Sync: SyncNone}, func(t *testing.T, l *testLog) {
		l.fill(5)
		v := l.view()
		require.Equal(t, LSN(5), v.LastLSN(), "all that verifies")
		require.Zero(t, v.DurableLSN())
		require.NoError(t, l.Sync())
		later()
		l.fill(1)
		later()
		require.Equal(t, LSN(5), v.DurableLSN())
	})
}

func TestReadOnlyFollowLooksEvery50Milliseconds(t *testing.T) {
	bubble(t, Options{SegmentSize: small}, func(t *testing.T, l *testLog) {
		l.fill(2)
		v := l.view()
		stop, cancel := context.WithCancel(ctx)
		got := make(chan string, 1000)
		ended := make(chan error, 1)
		go func() {
			for r, err := range v.Follow(stop, 1) {
				if err != nil {
					ended <- err
					return
				}
				got <- string(r.Data)
			}
		}()
		synctest.Wait()
		require.Len(t, got, 2)
		for range 3 {
			l.fill(50)
			pass(51 * time.Millisecond)
			synctest.Wait()
			require.Len(t, got, int(l.LastLSN()))
		}
		require.Greater(t, len(l.Segments()), 2)
		for lsn := LSN(1); lsn <= l.LastLSN(); lsn++ {
			require.Equal(t, l.want[lsn], <-got)
		}
		l.truncateBack(100)
		pass(51 * time.Millisecond)
		require.ErrorIs(t, <-ended, ErrRewound)
		cancel()
	})
}

func TestReadOnlyFollowEnds(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, l *testLog) {
		l.fill(2)
		v := l.view()
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		texts, err := collect(v.Follow(short, 1))
		require.Len(t, texts, 2)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		ended := make(chan error)
		go func() { ended <- second(collect(v.Follow(ctx, 1))) }()
		synctest.Wait()
		v.close()
		require.ErrorIs(t, <-ended, ErrClosed)
	})
}

// A look at the directory between two steps takes nothing from a reader.
func TestReadOnlyReaderOutlivesALook(t *testing.T) {
	bubble(t, Options{Sync: SyncNone, SegmentSize: 16 << 20}, func(t *testing.T, l *testLog) {
		const n = 300
		for range n { // more than a reader has read ahead
			lsn, err := l.Append(make([]byte, 10_000))
			require.NoError(t, err)
			l.want[lsn] = string(make([]byte, 10_000))
		}
		v := l.view()
		next := LSN(1)
		for r, err := range v.Records(1) {
			require.NoError(t, err)
			require.Equal(t, next, r.LSN)
			if next%10 == 0 {
				later()
				v.LastLSN()
			}
			next++
		}
		require.Equal(t, LSN(n+1), next)
		r := v.reader(1, 3)
		l.truncateBack(n)
		l.fill(1)
		later()
		v.goesOn(r, 4, n)
	})
}

func TestReadOnlyReadersMeetTruncations(t *testing.T) {
	for what, c := range map[string]struct {
		do   func(l *testLog)
		want error
	}{
		"front above":   {func(l *testLog) { l.truncateFront(102) }, ErrTruncated},
		"front":         {func(l *testLog) { l.truncateFront(101) }, nil},
		"back below":    {func(l *testLog) { l.truncateBack(99) }, ErrRewound},
		"back":          {func(l *testLog) { l.truncateBack(100) }, nil},
		"back and more": {func(l *testLog) { l.truncateBack(50); l.fill(150) }, ErrRewound},
		"back in batch": {func(l *testLog) { l.batch(90, func(b *Batch) { b.TruncateBack(50) }) }, ErrRewound},
		"reset up":      {func(l *testLog) { l.reset(900); l.fill(3) }, ErrTruncated},
		"reset down":    {func(l *testLog) { l.reset(7); l.fill(3) }, ErrRewound},
		"reset to it":   {func(l *testLog) { l.reset(101); l.fill(30) }, nil},
		"reset below":   {func(l *testLog) { l.reset(10); l.fill(200) }, ErrRewound},
		"rotate":        {func(l *testLog) { require.NoError(l.t, l.Rotate()); l.fill(30) }, nil},
	} {
		t.Run(what, func(t *testing.T) {
			bubble(t, Options{SegmentSize: small}, func(t *testing.T, l *testLog) {
				l.fill(200)
				v := l.view()
				r := v.reader(1, 100)
				c.do(l)
				later()
				v.LastLSN() // looks
				if c.want != nil {
					endsWith(t, r, c.want)
					require.NoError(t, r.Seek(l.FirstLSN()))
					v.goesOn(r, l.FirstLSN(), l.LastLSN())
					return
				}
				v.goesOn(r, 101, l.LastLSN())
			})
		})
	}
}

func TestReadOnlyBesideAWriterOnTheDisk(t *testing.T) {
	l := openAt(t, t.TempDir()+"/log", Options{SegmentSize: small})
	l.fill(10)
	v := l.view()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 60 {
			l.fill(7)
			if i%9 == 8 {
				if err := l.TruncateFront(l.LastLSN() - 10); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		last := LSN(0)
		for r, err := range v.Records(v.FirstLSN()) {
			if err != nil {
				require.ErrorIs(t, err, ErrTruncated)
				break
			}
			require.Equal(t, text(r.LSN, 0), string(r.Data))
			last = r.LSN
		}
		require.LessOrEqual(t, last, v.LastLSN())
	}
}

// TestReadOnlyLogSaysTruncatedWhenItsFileIsGone truncates between the look of a
// read-only log and the opening of a file: the clock stands still, so that the next
// look is not due yet.
func TestReadOnlyLogSaysTruncatedWhenItsFileIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, Options{SegmentSize: small}).fillSegments(8)
		viewer := func() *testLog { return openAt(t, "log", Options{FS: w.opts.FS, ReadOnly: true}) }
		gone := w.Segments()[3].First
		r := viewer()
		w.truncateFront(gone)
		synctest.Wait() // the files are removed
		var err error
		for _, err = range r.Records(1) {
		}
		require.ErrorIs(t, err, ErrTruncated)
		require.NoError(t, r.Close())

		r = viewer()
		w.truncateFront(w.Segments()[3].First)
		synctest.Wait()
		_, err = r.Read(gone, nil)
		require.ErrorIs(t, err, ErrTruncated)
		require.NoError(t, r.Close())
		w.close()
	})
}

// TestReadOnlyLogGoesOnInASegmentThatWasReady before its last look: no name and no
// FRONT changes when the log goes on in it, and nothing is written behind the old end.
func TestReadOnlyLogGoesOnInASegmentThatWasReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := open(t, Options{SegmentSize: 16 << 10, Sync: SyncNone})
		for w.fill(1); w.Segments()[0].Size < 9<<10; {
			w.fill(1)
		}
		synctest.Wait() // the next segment is ready
		r := openAt(t, "log", Options{FS: w.opts.FS, ReadOnly: true})
		require.Equal(t, w.LastLSN(), r.LastLSN())
		pass(2 * lookEvery)
		require.Equal(t, w.LastLSN(), r.LastLSN())
		w.batch(2, func(b *Batch) { b.TruncateBack(3) })
		pass(2 * lookEvery)
		require.EqualValues(t, 5, w.LastLSN())
		require.EqualValues(t, 5, r.LastLSN())
	})
}

// TestReadOnlyReaderOutlivesTheWriterAtEachCall has the writer truncate at each call that a
// read makes whose file is gone already: what it then looks at may be gone, too.
func TestReadOnlyReaderOutlivesTheWriterAtEachCall(t *testing.T) {
	for what, truncate := range map[string]func(l *testLog){
		"front":        func(l *testLog) { l.truncateFront(l.Segments()[len(l.Segments())-2].First) },
		"front to end": func(l *testLog) { l.truncateFront(l.LastLSN() + 1) },
		"back":         func(l *testLog) { l.truncateBack(l.Segments()[4].First) },
		"reset up":     func(l *testLog) { l.reset(100_000) },
		"reset down":   func(l *testLog) { l.reset(1) },
	} {
		for _, read := range []string{"Read", "Next"} {
			t.Run(what+", "+read, func(t *testing.T) {
				calls := 1
				for at := 0; at <= calls; at++ {
					synctest.Test(t, func(t *testing.T) { calls = readWhile(t, at, truncate, read == "Next") })
				}
				require.Greater(t, calls, 20)
			})
		}
	}
}

// readWhile reads a record of a read-only log whose file was removed after the log looked
// last. At the reader's call at the writer truncates. It returns how many calls the reader
// made.
func readWhile(t *testing.T, at int, truncate func(l *testLog), next bool) int {
	w := open(t, Options{SegmentSize: small}).fillSegments(6)
	lsn := w.Segments()[1].First + 3
	calls := -1
	v := openAt(t, w.dir, Options{ReadOnly: true, FS: vfs.Wrap(w.opts.FS, func(c vfs.Call, do func(int) (int, error)) (int, error) {
		if calls >= 0 {
			if calls++; calls == at {
				truncate(w)
				synctest.Wait() // the files are removed
			}
		}
		return do(int(c.Size))
	})})
	r, err := v.NewReader(lsn)
	require.NoError(t, err)
	w.fillSegments(10)
	w.truncateFront(w.Segments()[3].First)
	synctest.Wait()
	calls = 0
	if next {
		for r.Next() {
			require.Equal(t, text(r.Record().LSN, 0), string(r.Record().Data))
		}
		err = r.Err()
	} else {
		_, err = v.Read(lsn, nil)
	}
	n := calls
	calls = -1
	require.True(t, errors.Is(err, ErrTruncated) || errors.Is(err, ErrRewound) || errors.Is(err, ErrNotFound), "call %d of %d: %v", at, n, err)
	require.NoError(t, v.Close())
	w.close()
	return n
}
