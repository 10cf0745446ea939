package wal

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// fill appends records of 1000 bytes until there is no space, and returns those
// that were appended.
func fill(t *testing.T, l *Log) (records []string) {
	t.Helper()
	for i := range 1000 {
		data := fmt.Sprintf("%04d", i) + strings.Repeat("-", 996)
		if _, err := l.Append([]byte(data)); err != nil {
			require.ErrorIs(t, err, ErrNoSpace)
			require.NotErrorIs(t, err, ErrFailed)
			require.True(t, vfs.IsNoSpace(err), "the cause is not told")
			return records
		}
		records = append(records, data)
	}
	t.Fatal("there is no limit")
	return nil
}

// fullLog returns a log on a full disk, where room is how many bytes there were
// beside a first segment, and the records in it.
func fullLog(t *testing.T, room int64) (*vfs.Crash, *Log, []string) {
	t.Helper()
	c := vfs.NewCrash(512)
	l := openOn(t, c)
	requireAppend(t, l, "first")
	synctest.Wait()
	c.SetLimit(c.Used() + room)
	return c, l, append([]string{"first"}, fill(t, l)...)
}

func TestAppendsResumeWhenThereIsSpace(t *testing.T) {
	for _, room := range []int64{0, 1, 4096, 5000, 8192, 20000} {
		synctest.Test(t, func(t *testing.T) {
			c, l, records := fullLog(t, room)
			require.ErrorIs(t, l.Err(), ErrNoSpace)
			requireHolds(t, l, 1, records...)
			_, err := l.Append([]byte("no"))
			require.ErrorIs(t, err, ErrNoSpace)

			c.SetLimit(0)
			lsn, err := l.Append([]byte("again"))
			require.NoError(t, err)
			require.Equal(t, LSN(len(records)+1), lsn)
			require.NoError(t, l.Err())
			records = append(records, "again")
			requireHolds(t, l, 1, records...)

			state := c.State()
			require.NoError(t, l.Close())
			state.Each(100, 1, func(picks []int) bool {
				l := openOn(t, state.Image(picks))
				requireHolds(t, l, 1, records...)
				require.NoError(t, l.Close())
				return true
			})
		})
	}
}

// TestRecordWithoutSpaceNeverAppears crashes behind ErrNoSpace, in every way,
// and opens the log on the full disk.
func TestRecordWithoutSpaceNeverAppears(t *testing.T) {
	for _, room := range []int64{0, 1, 700, 4096, 5000, 8192, 20000} {
		synctest.Test(t, func(t *testing.T) {
			c, l, records := fullLog(t, room)
			state := c.State()
			require.NoError(t, l.Close())
			state.Each(100, 1, func(picks []int) bool {
				m := state.Image(picks)
				m.SetLimit(m.Used())
				l := openOn(t, m)
				requireHolds(t, l, 1, records...)
				require.NoError(t, l.Close())
				return true
			})
		})
	}
}

func TestTruncateFrontAndCloseNeedNoSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l, records := fullLog(t, 30000)
		c.SetLimit(c.Used())
		requireHolds(t, l, 1, records...)
		require.NoError(t, l.TruncateFront(10))
		synctest.Wait()
		require.Equal(t, LSN(10), l.FirstLSN())
		require.NoError(t, l.Sync())

		requireAppend(t, l, "in the space that was freed")
		fill(t, l)
		last := l.LastLSN()
		require.NoError(t, l.Close())
		m := c.State().Image(c.State().Newest())
		m.SetLimit(m.Used())
		l = openOn(t, m)
		require.Equal(t, LSN(10), l.FirstLSN())
		require.Equal(t, last, l.LastLSN())
		require.NoError(t, l.TruncateFront(last+1))
		require.NoError(t, l.Close())
	})
}

// TestTruncationsWithoutSpaceDidNotHappen asks for truncations that need a new
// segment on a full disk.
func TestTruncationsWithoutSpaceDidNotHappen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, l, records := fullLog(t, 5000)
		require.ErrorIs(t, l.TruncateBack(1), ErrNoSpace)
		require.ErrorIs(t, l.Reset(100), ErrNoSpace)
		var b Batch
		b.TruncateBack(1)
		b.SetMeta([]byte("meta"))
		b.Add([]byte("in place of the second"))
		_, err := l.AppendBatch(&b)
		require.ErrorIs(t, err, ErrNoSpace)
		require.Nil(t, l.Meta())
		requireHolds(t, l, 1, records...)
		c.SetLimit(0)
		_, err = l.AppendBatch(&b)
		require.NoError(t, err)
		require.Equal(t, "meta", string(l.Meta()))
		requireHolds(t, l, 1, "first", "in place of the second")
		require.NoError(t, l.Close())
	})
}

// TestWriteWithoutSpaceIsTakenBack has a write itself fail, in the middle, as it
// may where space is not reserved.
func TestWriteWithoutSpaceIsTakenBack(t *testing.T) {
	for _, short := range []int{0, 1, 70, 600, 1099} {
		synctest.Test(t, func(t *testing.T) {
			c := vfs.NewCrash(512)
			faulty := vfs.NewFaulty(c)
			l := openOn(t, faulty)
			requireAppend(t, l, "one")
			faulty.Set(vfs.Fault{Match: func(c vfs.Call) bool { return c.Op == vfs.WriteAt && c.Off > 4096 },
				Err: syscall.ENOSPC, Short: short})
			_, err := l.Append([]byte(strings.Repeat("-", 1000)))
			require.ErrorIs(t, err, ErrNoSpace)
			require.Equal(t, 1, faulty.Hits())
			cut := c.State()
			requireAppend(t, l, "two")
			requireHolds(t, l, 1, "one", "two")
			cut.Each(100, 1, func(picks []int) bool {
				requireHolds(t, openOn(t, cut.Image(picks)), 1, "one")
				return true
			})
		})
	}
}

// TestCutThatWasNotSyncedIsMadeDurable has a write fail although all of it is there, and
// the process end when the file was cut and that not synced: what the next Open does not
// show stays away.
func TestCutThatWasNotSyncedIsMadeDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := vfs.NewCrash(512)
		var full, cut atomic.Bool
		l := openOn(t, vfs.Wrap(c, func(call vfs.Call, do func(int) (int, error)) (int, error) {
			if call.Op == vfs.Truncate {
				cut.Store(true)
			}
			switch {
			case call.Op == vfs.WriteAt && isSegment(call) && full.CompareAndSwap(true, false):
				n, _ := do(int(call.Size))
				return n, syscall.ENOSPC
			case call.Op == vfs.Sync && cut.Load():
				return 0, syscall.EIO
			}
			return do(int(call.Size))
		}))
		requireAppend(t, l, "one")
		require.NoError(t, l.Sync()) // and nothing needs to be written again
		full.Store(true)
		_, err := l.Append([]byte(strings.Repeat("-", 1000)))
		require.ErrorIs(t, err, ErrUnknownOutcome)
		require.True(t, cut.Load())
		_ = l.Close() // it has failed
		requireHolds(t, openOn(t, c), 1, "one")
		state := c.State()
		state.Each(100, 1, func(picks []int) bool {
			requireHolds(t, openOn(t, state.Image(picks)), 1, "one")
			return true
		})
	})
}

// TestSyncHidesNoLossThatAnotherWasTold: a Sync that began behind an append does not
// succeed if that append was thrown away, whoever else was told of the loss.
func TestSyncHidesNoLossThatAnotherWasTold(t *testing.T) {
	faulty := vfs.NewFaulty(vfs.NewMem())
	l := openAt(t, "log", Options{FS: faulty, SegmentSize: small})
	faulty.Set(vfs.Fault{Sticky: true, Err: syscall.ENOSPC, Match: func(c vfs.Call) bool {
		return c.Op == vfs.Create && strings.HasSuffix(c.Name, ".tmp") && !strings.HasSuffix(c.Name, "01.tmp")
	}})
	requireAppend(t, l.Log, string(make([]byte, 3000)))
	mine, err := l.AppendAsync(make([]byte, 3000))
	require.NoError(t, err)
	other, err := l.AppendAsync(make([]byte, 3000)) // of another goroutine, which waits for it
	require.NoError(t, err)
	require.ErrorIs(t, other.Wait(t.Context()), ErrNoSpace)
	require.ErrorIs(t, l.Sync(), ErrNoSpace)
	require.NoError(t, l.Sync(), "and only once")
	require.ErrorIs(t, mine.Wait(t.Context()), ErrNoSpace)
}

// TestALogWithADamagedSlotOfFrontOpensOnAFullDisk in every mode that opens it at all.
func TestALogWithADamagedSlotOfFrontOpensOnAFullDisk(t *testing.T) {
	for _, mode := range []RecoveryMode{Strict, PointInTime} {
		mem := vfs.NewMem()
		l, err := Open("log", &Options{FS: mem})
		require.NoError(t, err)
		_, err = l.Append([]byte("one"))
		require.NoError(t, err)
		require.NoError(t, l.Close())
		f, err := mem.Open("log/FRONT", vfs.ReadWrite)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte{1}, 4096+2000)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		writes, faulty := 0, vfs.NewFaulty(mem)
		faulty.Decide(func(c vfs.Call) (vfs.Fault, bool) {
			if c.Op == vfs.WriteAt && c.Name == "log/FRONT" {
				writes++ // the first writes the whole slot again
			}
			return vfs.Fault{Err: syscall.ENOSPC}, c.Op == vfs.WriteAt && writes > 1
		})
		l, err = Open("log", &Options{FS: faulty, Recovery: mode})
		require.NoError(t, err, mode)
		require.Greater(t, writes, 1)
		require.EqualValues(t, 1, l.LastLSN())
		require.NoError(t, l.Close())
	}
}

// TestAppendThatDoesNotFitIsRefused before it gets an LSN, once the log knows that there is
// no space, be it larger than a segment or not; one that fits is not.
func TestAppendThatDoesNotFitIsRefused(t *testing.T) {
	for _, size := range []int64{1 << 20, 64 << 20} {
		synctest.Test(t, func(t *testing.T) {
			m := vfs.NewMem()
			l := openWith(t, Options{FS: m, SegmentSize: size})
			requireAppend(t, l, "first")
			m.SetLimit(m.Used() + 5<<20)
			large := make([]byte, 16<<20)
			_, err := l.Append(large)
			require.ErrorIs(t, err, ErrNoSpace)
			for range 5 {
				_, err := l.AppendAsync(large)
				require.ErrorIs(t, err, ErrNoSpace)
			}
			requireAppend(t, l, "small")
			require.EqualValues(t, 2, l.LastLSN())
		})
	}
}

// TestLessSpaceIsAskedForWhereThereIsLess: segments grow, and shrink again where the disk
// has not the space for one that large.
func TestLessSpaceIsAskedForWhereThereIsLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		l := openWith(t, Options{FS: m})
		m.SetLimit(40 << 20)
		record := string(make([]byte, 100_000))
		var err error
		for err == nil {
			_, err = l.Append([]byte(record))
		}
		require.ErrorIs(t, err, ErrNoSpace)
		require.NoError(t, l.TruncateFront(l.LastLSN()))
		synctest.Wait() // the files are removed
		requireAppend(t, l, "small")
	})
}

// TestGroupLargerThanItsSegmentHasItsSpaceReserved before it is written.
func TestGroupLargerThanItsSegmentHasItsSpaceReserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var reserved sync.Map // by the file's name, with neither extension
		l := openWith(t, Options{FS: vfs.Wrap(vfs.NewMem(), func(c vfs.Call, do func(int) (int, error)) (int, error) {
			switch name := strings.TrimSuffix(c.Name, filepath.Ext(c.Name)); {
			case c.Op == vfs.Allocate:
				reserved.Store(name, c.Size)
			case c.Op == vfs.WriteAt && isSegment(c):
				if size, _ := reserved.Load(name); c.Off+c.Size > size.(int64) {
					t.Errorf("%d bytes are reserved: %v of %d at %d", size, c.Op, c.Size, c.Off)
				}
			}
			return do(int(c.Size))
		})})
		requireAppend(t, l, string(make([]byte, 600<<10))) // another segment is made ready, a small one
		synctest.Wait()
		requireAppend(t, l, string(make([]byte, 16<<20)))
		require.NoError(t, l.Rotate())
		synctest.Wait()
		requireAppend(t, l, string(make([]byte, 16<<20)))
	})
}
