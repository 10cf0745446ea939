package wal

import (
	"encoding/binary"
	"runtime"
	"testing"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
	"github.com/stretchr/testify/require"
)

// The mistakes of commit logs that are written as an exercise, each by name:
// none of them is made here.

// Their Read looked into the first segment whose base was below the offset.
func TestReadsBeyondTheFirstSegment(t *testing.T) {
	everywhere(t, Options{SegmentSize: small}, func(t *testing.T, l *testLog) {
		l.fillSegments(6)
		for _, s := range l.Segments() {
			for lsn := max(1, s.First-1); lsn <= s.First+1; lsn++ {
				require.Equal(t, l.want[lsn], string(l.read(lsn)))
			}
		}
		l.exact(1, l.LastLSN())
	})
}

// Their index was a mapped file, grown to its full size and cut at Close: after
// a kill its zeros were taken for entries. Here a file that a kill left with
// space reserved behind the last record is as good as one that was closed.
func TestSpaceReservedByAKilledProcessIsNoRecord(t *testing.T) {
	l := open(t, Options{SegmentSize: 64 << 10}).fill(20)
	require.Less(t, l.Segments()[0].Size, sizeOf(t, l.fs, segment1))
	k := l.killed() // which gives it back, in the background
	k.is(1, 20).fill(5).exact(1, 25)
}

func sizeOf(t testing.TB, fsys FS, path string) int64 {
	t.Helper()
	f, err := fsys.Open(path, vfs.ReadOnly)
	require.NoError(t, err)
	defer f.Close()
	info, err := f.Stat()
	require.NoError(t, err)
	return info.Size
}

// Their limit of an index that is no multiple of an entry let the last entry be
// written beyond the map. Here no size of a segment is special.
func TestSegmentSizesThatAreNoMultipleOfAnything(t *testing.T) {
	for size := int64(small); size < small+17; size++ {
		l := open(t, Options{SegmentSize: size, Sync: SyncNone}).fillSegments(3)
		l.exact(1, l.LastLSN())
		for _, s := range l.Segments() {
			require.LessOrEqual(t, s.Size, size)
		}
	}
}

// An index that is cut short, or is none at all, costs a scan and no record.
func TestDamagedIndexLosesNothing(t *testing.T) {
	l := open(t, Options{SegmentSize: 64 << 10, Sync: SyncNone}).fillSegments(3)
	last := l.LastLSN()
	l.close()
	s := l.Segments()[0]
	end := sizeOf(t, l.opts.FS, s.Path)
	change(t, l.opts.FS, s.Path, end-8, "\xff\xff\xff\xff\xff\xff\xff\xff")
	l.openAgain().is(1, last)
	l.truncateFront(last / 2)
	l.is(last/2, last).fill(1)
}

// Their Truncate could remove the segment that was being written.
func TestTruncationNeverRemovesTheActiveSegment(t *testing.T) {
	everywhere(t, Options{SegmentSize: small}, func(t *testing.T, l *testLog) {
		l.fillSegments(3)
		for range 3 {
			last := l.LastLSN()
			l.truncateFront(last + 1)
			l.is(last+1, last).fill(2).is(last+1, last+2)
			l.truncateBack(last)
			l.is(last+1, last).fill(2).exact(last+1, last+2)
		}
	})
}

// Their Reset removed the directory and went on with segments that were gone.
func TestResetGoesOn(t *testing.T) {
	everywhere(t, Options{SegmentSize: small}, func(t *testing.T, l *testLog) {
		l.fillSegments(3)
		for _, next := range []LSN{1, 1, 1000, 3} {
			l.reset(next)
			l.is(next, next-1).fill(80).exact(next, next+79)
		}
	})
}

// Their Open made a segment of every file whose name was a number, and failed at
// one that was none.
func TestStrayFileIsNoSegment(t *testing.T) {
	l := open(t, Options{SegmentSize: small}).fill(100)
	l.close()
	for _, name := range []string{"17", "17.store", "0000000000000063.index", ".DS_Store", "0000000000000063.tmp~"} {
		put(t, l.opts.FS, "log/"+name, "")
	}
	l.openAgain().is(1, 100)
	require.Len(t, l.Recovery().Strays, 5)
	l.fill(100).exact(1, 200)
}

// Their index could not tell "no entry" from "entry 0": a log of one record was
// opened as an empty one, and record 0 was written over.
func TestEmptyLogIsToldFromOneRecord(t *testing.T) {
	for _, policy := range []SyncPolicy{SyncAlways, SyncNone} {
		for first := LSN(1); first < 4; first++ {
			l := open(t, Options{FirstLSN: first, Sync: policy})
			l.exact(first, first-1)
			l.fill(1).exact(first, first)
			require.NoError(t, l.Rotate())
			l.exact(first, first).fill(1).exact(first, first+1)
			l.truncateFront(first + 1)
			l.exact(first+1, first+1)
			l.truncateFront(first + 2)
			l.exact(first+2, first+1).fill(1).exact(first+2, first+2)
		}
	}
	l := open(t, Options{})
	l.want[1] = ""
	require.NoError(t, second(l.Append(nil)))
	l.exact(1, 1) // one record, and it is empty
}

// Their Read allocated what a length said before anything had checked it.
func TestFlippedLengthAllocatesNothing(t *testing.T) {
	l := open(t, Options{SegmentSize: 1 << 20})
	for range 50 {
		l.async(text(l.LastLSN(), 0))
	}
	require.NoError(t, l.Sync())
	l.fill(2)
	l.close()
	path := segment.Path("log", 1)
	b := make([]byte, sizeOf(t, l.opts.FS, path))
	f, err := l.opts.FS.Open(path, vfs.ReadWrite)
	require.NoError(t, err)
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	tried := 0
	for off := 4096; off+16 < len(b); off += 8 {
		length := binary.LittleEndian.Uint32(b[off:])
		if length == 0 || length > 1<<16 {
			continue
		}
		for _, flipped := range []uint32{length ^ 1<<29, length ^ 1<<30, 1<<32 - 1, 1 << 30} {
			var wrong [4]byte
			binary.LittleEndian.PutUint32(wrong[:], flipped)
			change(t, l.opts.FS, path, int64(off), string(wrong[:]))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if k, err := Open("log", &Options{FS: l.opts.FS, ReadOnly: true}); err == nil {
				_, _ = collect(k.Records(1))
				_, _ = k.Read(k.LastLSN(), nil)
				_ = k.Close()
			}
			runtime.ReadMemStats(&after)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20), "%d for %d at %d", flipped, length, off)
			tried++
		}
		change(t, l.opts.FS, path, int64(off), string(b[off:off+4]))
		off += 24 * 8 // some of them
	}
	require.Greater(t, tried, 20)
	l.openAgain().is(1, 52)
}
