package wal

import (
	"bytes"
	"context"
	"io/fs"
	"iter"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/stretchr/testify/require"
)

// The methods that programs are written against.
var _ interface {
	Append(data []byte) (LSN, error)
	AppendAsync(data []byte) (Pending, error)
	AppendBatch(b *Batch) (LSN, error)
	AppendBatchAsync(b *Batch) (Pending, error)
	Sync() error
	Read(lsn LSN, dst []byte) ([]byte, error)
	Records(from LSN) iter.Seq2[Record, error]
	Follow(ctx context.Context, from LSN) iter.Seq2[Record, error]
	NewReader(from LSN) (*Reader, error)
	FirstLSN() LSN
	LastLSN() LSN
	DurableLSN() LSN
	TruncateFront(first LSN) error
	TruncateBack(last LSN) error
	Reset(next LSN) error
	Meta() []byte
	Hold(name string, lsn LSN) (*Hold, error)
	Rotate() error
	Err() error
	Recovery() Report
	Stats() Stats
	Segments() []SegmentInfo
	Close() error
} = (*Log)(nil)

var _ interface {
	Next() bool
	Record() Record
	Err() error
	Wait(ctx context.Context) error
	Seek(lsn LSN) error
	Close() error
} = (*Reader)(nil)

var _ interface {
	Add(data []byte)
	Extend(n int) []byte
	SetMeta(meta []byte)
	SetFirst(lsn LSN)
	TruncateBack(last LSN)
	Len() int
	Size() int
	Reset()
} = (*Batch)(nil)

var _ interface {
	Move(lsn LSN)
	Release()
} = (*Hold)(nil)

var _ interface {
	Wait(ctx context.Context) error
} = Pending{}

// Open and its options.

func TestOpenCreatesTheDirectoryAndTheLog(t *testing.T) {
	l := openAt(t, t.TempDir()+"/a/b/log", Options{})
	require.NotEmpty(t, l.Recovery().Dir)
	l.is(1, 0).fill(2).exact(1, 2)
	again, err := Open(t.TempDir()+"/log", nil)
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

func TestFirstLSNIsOfALogThatIsCreated(t *testing.T) {
	for _, first := range []LSN{1, 2, 1000, 1 << 40} {
		l := open(t, Options{FirstLSN: first})
		l.is(first, first-1).fill(3).exact(first, first+2)
		l.opts.FirstLSN = 77
		l.exact(first, first+2)
	}
}

func TestMustExist(t *testing.T) {
	fsys := vfs.NewTrace(vfs.NewMem())
	_, err := Open("log", &Options{FS: fsys, MustExist: true})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "log")
	require.NoError(t, fsys.Mkdir("log"))
	fsys.Take()
	_, err = Open("log", &Options{FS: fsys, MustExist: true})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Empty(t, fsys.Take(), "nothing was changed")
	l := open(t, Options{FS: fsys}).fill(1)
	l.opts.MustExist = true
	l.exact(1, 1)
}

func TestOptionsAreCopied(t *testing.T) {
	o := &Options{FS: NewMemFS(), MaxRecordSize: 10}
	l, err := Open("log", o)
	require.NoError(t, err)
	*o = Options{MaxRecordSize: 1 << 20}
	_, err = l.Append(make([]byte, 11))
	require.ErrorIs(t, err, ErrTooLarge)
	require.NoError(t, l.Close())
}

func TestExpectLSN(t *testing.T) {
	l := open(t, Options{}).fill(5)
	l.opts.ExpectLSN = 5
	l.reopen()
	l.close()
	for _, readOnly := range []bool{false, true} {
		_, err := Open("log", &Options{FS: l.opts.FS, ExpectLSN: 6, ReadOnly: readOnly})
		require.ErrorIs(t, err, ErrCorrupt)
		var at *CorruptError
		require.ErrorAs(t, err, &at)
		require.Equal(t, LSN(6), at.LSN)
		require.NotEmpty(t, at.Path)
	}
	l.openAgain().is(1, 5)
	fsys := vfs.NewMem()
	_, err := Open("new", &Options{FS: fsys, ExpectLSN: 1})
	require.Error(t, err, "there is nothing")
	_, err = fsys.List("new")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, fsys.Mkdir("new"))
	_, err = Open("new", &Options{FS: fsys, ExpectLSN: 1})
	require.ErrorIs(t, err, ErrCorrupt, "the directory is empty")
}

func TestLoggerAndName(t *testing.T) {
	var lines bytes.Buffer
	o := Options{Logger: slog.New(slog.NewTextHandler(&lines, nil)), Name: "orders"}
	l := open(t, o).fill(1)
	l.close()
	require.Contains(t, lines.String(), "wal=orders")
	lines.Reset()
	l.opts.Name = ""
	l.openAgain().close()
	require.Contains(t, lines.String(), "wal=log", "the directory stands for the name")
}

func TestSlowSyncIsLoggedAndHooked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines bytes.Buffer
		var hooked []time.Duration
		l := open(t, Options{
			FS:       slowDisk(200 * time.Millisecond),
			SlowSync: 150 * time.Millisecond,
			Logger:   slog.New(slog.NewTextHandler(&lines, nil)),
			Hooks:    Hooks{SlowSync: func(took time.Duration) { hooked = append(hooked, took) }},
		})
		require.NotContains(t, lines.String(), "slow sync")
		_, err := l.Append([]byte("x"))
		require.NoError(t, err)
		synctest.Wait()
		require.Equal(t, []time.Duration{200 * time.Millisecond}, hooked)
		require.Contains(t, lines.String(), "level=WARN msg=\"wal: slow sync\"")
		require.Contains(t, lines.String(), "took=200ms")
		l.close()
	})
}

// slowDisk is a file system in memory whose syncs take that long.
func slowDisk(took time.Duration) FS {
	return vfs.Wrap(vfs.NewMem(), func(c vfs.Call, do func(int) (int, error)) (int, error) {
		if c.Op == vfs.Sync {
			pass(took)
		}
		return do(int(c.Size))
	})
}

// Batches.

func TestBatchGetsLSNsInARow(t *testing.T) {
	everywhere(t, Options{}, func(t *testing.T, l *testLog) {
		require.Equal(t, LSN(1), l.batch(3, nil))
		require.Equal(t, LSN(4), l.batch(1, nil))
		p, err := l.AppendBatchAsync(l.newBatch("a", "b"))
		require.NoError(t, err)
		require.Equal(t, [2]LSN{5, 6}, [2]LSN{p.First, p.Last})
		require.NoError(t, p.Wait(ctx))
		l.want[5], l.want[6] = "a", "b"
		l.exact(1, 6)
	})
}

func (l *testLog) newBatch(texts ...string) *Batch {
	b := new(Batch)
	for _, s := range texts {
		b.Add([]byte(s))
	}
	return b
}

func TestBatchCopies(t *testing.T) {
	l := open(t, Options{})
	data, meta := []byte("data"), []byte("meta")
	var b Batch
	b.Add(data)
	b.SetMeta(meta)
	copy(data, "XXXX")
	copy(meta, "XXXX")
	_, err := l.AppendBatch(&b)
	require.NoError(t, err)
	b.Reset()
	b.Add([]byte("other"))
	b.SetMeta([]byte("XX"))
	require.Equal(t, "data", string(l.read(1)))
	require.Equal(t, "meta", string(l.Meta()))
}

func TestBatchExtend(t *testing.T) {
	l := open(t, Options{})
	var b Batch
	room := b.Extend(5)
	require.Equal(t, make([]byte, 5), room)
	copy(room, "first")
	b.Add([]byte("second"))
	copy(b.Extend(3), "3rd")
	b.Extend(0)
	copy(b.Extend(4), "last")
	require.Equal(t, 5, b.Len())
	require.Equal(t, 5+6+3+0+4, b.Size())
	for range 2 { // reusable, and Extend's record may be filled until it is appended
		_, err := l.AppendBatch(&b)
		require.NoError(t, err)
	}
	for n, s := range []string{"first", "second", "3rd", "", "last", "first", "second", "3rd", "", "last"} {
		l.want[LSN(n+1)] = s
	}
	l.exact(1, 10)
	b.Reset()
	require.Zero(t, b.Len()+b.Size())
	require.Equal(t, make([]byte, 5), b.Extend(5), "zero, also in memory that was used")
}

func TestSetFirst(t *testing.T) {
	l := open(t, Options{FirstLSN: 10}).fill(3)
	var b Batch
	b.Add([]byte("x"))
	b.SetMeta([]byte("m"))
	for _, wrong := range []LSN{1, 12, 14} {
		b.SetFirst(wrong)
		_, err := l.AppendBatch(&b)
		require.ErrorIs(t, err, ErrConflict)
		require.ErrorContains(t, err, "13")
		_, err = l.AppendBatchAsync(&b)
		require.ErrorIs(t, err, ErrConflict)
	}
	l.is(10, 12)
	require.Nil(t, l.Meta())
	b.SetFirst(13)
	_, err := l.AppendBatch(&b)
	require.NoError(t, err)
	_, err = l.AppendBatch(&b)
	require.ErrorIs(t, err, ErrConflict, "once more")
	l.want[13] = "x"
	l.exact(10, 13)
	require.Equal(t, "m", string(l.Meta()))
}

func TestSetFirstCountsWhatIsOrderedAndNotWritten(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, l *testLog) {
		l.async("a")
		b := l.newBatch("b")
		b.SetFirst(1)
		require.ErrorIs(t, second(l.AppendBatch(b)), ErrConflict)
		b.SetFirst(2)
		require.NoError(t, second(l.AppendBatch(b)))
		l.want[2] = "b"
		l.is(1, 2)
	})
}

func TestBatchTruncatesThenComparesThenAppends(t *testing.T) {
	l := open(t, Options{}).fill(10)
	l.life++
	b := l.newBatch("new 6", "new 7")
	b.SetMeta([]byte("term 2"))
	b.SetFirst(11) // where it would be without the truncation
	b.TruncateBack(5)
	require.ErrorIs(t, second(l.AppendBatch(b)), ErrConflict)
	l.is(1, 10)
	b.SetFirst(6)
	require.NoError(t, second(l.AppendBatch(b)))
	l.want[6], l.want[7] = "new 6", "new 7"
	l.exact(1, 7)
	require.Equal(t, "term 2", string(l.Meta()))
	b.TruncateBack(99) // above the last: nothing to drop
	b.SetFirst(8)
	require.NoError(t, second(l.AppendBatch(b)))
	b.SetFirst(0)
	b.TruncateBack(0)
	l.truncateFront(3)
	require.ErrorIs(t, second(l.AppendBatch(b)), ErrTruncated)
	l.want[8], l.want[9] = "new 6", "new 7"
	l.exact(3, 9)
}

func TestBatchThatTruncatesIsAtomicUnderACrash(t *testing.T) {
	l := open(t, Options{FS: vfs.NewCrash(512), SegmentSize: small, Sync: SyncNone}).fill(10)
	require.NoError(t, l.Sync())
	state := l.opts.FS.(*vfs.Crash)
	l.life++
	before := map[LSN]string{}
	for lsn, s := range l.want {
		before[lsn] = s
	}
	l.batch(30, func(b *Batch) { b.TruncateBack(5); b.SetMeta([]byte("m")) })
	n := 0
	s := state.State()
	s.Each(300, 1, func(picks []int) bool {
		n++
		o := Options{FS: s.Image(picks)}
		k, err := Open("log", &o)
		require.NoError(t, err)
		k2 := &testLog{Log: k, t: t, dir: "log", opts: o, want: before}
		if k.LastLSN() == 35 {
			k2.want = l.want
			require.Equal(t, "m", string(k.Meta()))
		} else {
			require.Equal(t, LSN(10), k.LastLSN())
			require.Nil(t, k.Meta())
		}
		k2.holds(1, k.LastLSN())
		require.NoError(t, k.Close())
		return true
	})
	require.Greater(t, n, 10)
}

func TestEmptyBatchIsABarrier(t *testing.T) {
	bubble(t, Options{FS: slowDisk(time.Second)}, func(t *testing.T, l *testLog) {
		a := l.async("a")
		p, err := l.AppendBatchAsync(new(Batch))
		require.NoError(t, err)
		require.Equal(t, [2]LSN{2, 1}, [2]LSN{p.First, p.Last}, "it has no records")
		require.NoError(t, p.Wait(ctx))
		require.Equal(t, a.First, l.DurableLSN())
		first, err := l.AppendBatch(new(Batch))
		require.NoError(t, err)
		require.Equal(t, LSN(2), first)
		l.is(1, 1)
	})
}

func TestMetaAloneUsesNoLSN(t *testing.T) {
	l := open(t, Options{}).fill(2)
	var b Batch
	b.SetMeta([]byte("vote"))
	p, err := l.AppendBatchAsync(&b)
	require.NoError(t, err)
	require.Equal(t, [2]LSN{3, 2}, [2]LSN{p.First, p.Last})
	require.NoError(t, p.Wait(ctx))
	require.Equal(t, "vote", string(l.Meta()))
	l.fill(1).exact(1, 3)
	require.Equal(t, "vote", string(l.Meta()))
}

func TestSizesAtTheLimit(t *testing.T) {
	l := open(t, Options{MaxRecordSize: 100_000, SegmentSize: 64 << 10})
	_, err := l.Append(make([]byte, 100_001))
	require.ErrorIs(t, err, ErrTooLarge)
	require.ErrorContains(t, err, "a record of 100001 bytes, at most 100000")
	_, err = l.AppendAsync(make([]byte, 100_001))
	require.ErrorIs(t, err, ErrTooLarge)
	b := l.newBatch("x")
	b.Extend(100_001)
	require.ErrorIs(t, second(l.AppendBatch(b)), ErrTooLarge)
	b.Reset()
	b.SetMeta(make([]byte, MaxMetaSize+1))
	err = second(l.AppendBatch(b))
	require.ErrorIs(t, err, ErrTooLarge)
	require.ErrorContains(t, err, "a meta of 65537 bytes, at most 65536")
	b.Reset()
	b.Extend(100_000)
	b.Extend(1)
	err = second(l.AppendBatch(b))
	require.ErrorIs(t, err, ErrTooLarge)
	require.ErrorContains(t, err, "a batch of 100001 bytes, at most 100000")
	require.NoError(t, l.Err(), "nothing of this is a failure")
	l.is(1, 0)

	l.want[1] = string(make([]byte, 100_000))
	require.NoError(t, second(l.Append([]byte(l.want[1]))))
	b.Reset()
	b.SetMeta(bytes.Repeat([]byte("m"), MaxMetaSize))
	copy(b.Extend(34_464), "with the meta as large as may be")
	l.want[2] = "with the meta as large as may be" + string(make([]byte, 34_464-32))
	require.NoError(t, second(l.AppendBatch(b)))
	l.fill(3).exact(1, 5)
	require.Len(t, l.Meta(), MaxMetaSize)
}

func TestRecordAboveTheBufferIsTaken(t *testing.T) {
	l := open(t, Options{})
	l.want[1] = string(bytes.Repeat([]byte("0123456789abcdef"), DefaultMaxRecordSize/16))
	require.NoError(t, second(l.Append([]byte(l.want[1]))))
	l.fill(1).exact(1, 2)
}

// Pending, DurableLSN, Rotate, Stats, Segments.

func TestWaitOfNothing(t *testing.T) {
	require.Error(t, Pending{}.Wait(ctx))
}

func TestWaitEndsWithItsContextAndNotTheAppend(t *testing.T) {
	bubble(t, Options{FS: slowDisk(time.Second)}, func(t *testing.T, l *testLog) {
		p := l.async("a")
		go func() { _ = l.Sync() }()
		synctest.Wait()
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		require.ErrorIs(t, p.Wait(short), context.DeadlineExceeded)
		require.ErrorIs(t, p.Wait(short), context.DeadlineExceeded)
		require.NoError(t, p.Wait(ctx))
		l.is(1, 1)
	})
}

func TestWaitThatWouldLeadEndsWithItsContext(t *testing.T) {
	bubble(t, Options{FS: slowDisk(time.Second)}, func(t *testing.T, l *testLog) {
		p := l.async("a")
		short, cancel := context.WithTimeout(ctx, time.Millisecond/2)
		defer cancel()
		require.ErrorIs(t, p.Wait(short), context.DeadlineExceeded)
		require.NoError(t, p.Wait(ctx))
		l.is(1, 1)
	})
}

func TestDurableLSNNeverClaimsRecordsBehindATruncation(t *testing.T) {
	l := open(t, Options{Sync: SyncNone}).fill(10)
	require.NoError(t, l.Sync())
	l.life++
	l.batch(1, func(b *Batch) { b.TruncateBack(5) })
	require.LessOrEqual(t, l.DurableLSN(), LSN(5), "6 is in no sync")
	l.fill(6)
	require.LessOrEqual(t, l.DurableLSN(), LSN(5))
	require.NoError(t, l.Sync())
	require.Equal(t, LSN(12), l.DurableLSN())
}

func TestRotate(t *testing.T) {
	everywhere(t, Options{}, func(t *testing.T, l *testLog) {
		require.NoError(t, l.Rotate())
		require.Empty(t, l.Segments(), "there is nothing to seal")
		l.fill(3)
		require.NoError(t, l.Rotate())
		require.Len(t, l.Segments(), 2)
		require.NoError(t, l.Rotate())
		require.Len(t, l.Segments(), 2, "the active segment is empty")
		l.is(1, 3).fill(2).exact(1, 5)
		segments := l.Segments()
		require.Equal(t, []LSN{1, 4}, []LSN{segments[0].First, segments[1].First})
		require.Equal(t, []bool{true, false}, []bool{segments[0].Sealed, segments[1].Sealed})
		require.Less(t, segments[0].ID, segments[1].ID)
		l.truncateFront(6)
		require.Len(t, l.Segments(), 1)
	})
}

func TestSegmentsOfOneRun(t *testing.T) {
	bubble(t, Options{SegmentSize: small}, func(t *testing.T, l *testLog) {
		l.fillSegments(4)
		synctest.Wait()
		segments := l.Segments()
		for n, s := range segments {
			require.Equal(t, n < 3, s.Sealed, "%+v", s)
			if n > 0 {
				require.Greater(t, s.First, segments[n-1].First)
				require.Equal(t, segments[n-1].ID+1, s.ID)
			}
			require.NotZero(t, s.Size)
		}
		require.Equal(t, LSN(1), segments[0].First)
	})
}

func TestStatsCount(t *testing.T) {
	bubble(t, Options{SegmentSize: small}, func(t *testing.T, l *testLog) {
		l.fill(5)
		l.batch(3, func(b *Batch) { b.SetMeta([]byte("m")) })
		s := l.Stats()
		require.EqualValues(t, 8, s.Records)
		require.EqualValues(t, 6, s.Groups)
		require.EqualValues(t, 6, s.Syncs)
		require.EqualValues(t, 1, s.Rotations)
		require.Equal(t, 1, s.Segments)
		l.async("x")
		require.NotZero(t, l.Stats().QueuedBytes)
		require.NoError(t, l.Sync())
		require.Zero(t, l.Stats().QueuedBytes)
		require.EqualValues(t, 9, l.Stats().Records)
	})
}

func TestRecoveryTellsWhatOpenFound(t *testing.T) {
	l := open(t, Options{SegmentSize: small}).fill(200)
	require.Equal(t, LSN(0), l.Recovery().Last)
	l.reopen()
	r := l.Recovery()
	require.Equal(t, [2]LSN{1, 200}, [2]LSN{r.First, r.Last})
	require.True(t, r.Closed)
	require.Empty(t, r.Corruptions)
	require.Equal(t, len(l.Segments()), r.Segments)
	l.fill(3)
	k := l.killed()
	require.Equal(t, LSN(203), k.Recovery().Last)
	require.False(t, k.Recovery().Closed)
}

func TestErr(t *testing.T) {
	l := open(t, Options{SegmentSize: small})
	require.NoError(t, l.Err())
	l.full()
	require.ErrorIs(t, l.Err(), ErrNoSpace)
	l.spaceLeft(-1)
	l.fill(1)
	require.NoError(t, l.Err())
	l.close()
	require.ErrorIs(t, l.Err(), ErrClosed)
}

// All together.

func TestConcurrentAppendsAreAllThereInOrder(t *testing.T) {
	everywhere(t, Options{SegmentSize: 32 << 10}, func(t *testing.T, l *testLog) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				last := LSN(0)
				for i := range 60 {
					s := text(LSN(i), g)
					var lsn LSN
					var err error
					switch i % 3 {
					case 0:
						lsn, err = l.Append([]byte(s))
					case 1:
						lsn, err = l.AppendBatch(l.newBatch(s))
					default:
						var p Pending
						if p, err = l.AppendAsync([]byte(s)); err == nil {
							lsn, err = p.First, p.Wait(ctx)
						}
					}
					if err != nil || lsn <= last {
						t.Errorf("LSN %d behind %d: %v", lsn, last, err)
						return
					}
					mu.Lock()
					l.want[lsn], last = s, lsn
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		l.exact(1, 480)
	})
}
