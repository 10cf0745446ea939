package wal

import (
	"fmt"
	"io/fs"
	"path/filepath"
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

// reusing are options with which the files of segments become others, and have more of what
// they had than is written over.
var reusing = Options{SegmentSize: 20 << 10}

// turnOver appends until the log has n segments that it did not have, and truncates the
// others away, one by one. What is done in the background is done then.
func (l *testLog) turnOver(n int) *testLog {
	l.t.Helper()
	for range n {
		l.fillSegments(3)
		synctest.Wait()
		l.truncateFront(l.Segments()[1].First)
		synctest.Wait()
	}
	return l
}

// header returns what the header of a segment's file says.
func (l *testLog) header(path string) segment.Header {
	l.t.Helper()
	file, err := l.opts.FS.Open(path, vfs.ReadOnly)
	require.NoError(l.t, err)
	defer file.Close()
	id, ok := segment.ParseName(filepath.Base(path))
	require.True(l.t, ok)
	h, err := segment.ReadHeader(file, path, id)
	require.NoError(l.t, err)
	return h
}

// reused returns how many segments are in files that were segments before.
func (l *testLog) reused() (n int) {
	for _, s := range l.Segments() {
		if l.header(s.Path).Reused() {
			n++
		}
	}
	return n
}

// spares returns the names of the files that are set aside.
func (l *testLog) spares() (list []string) {
	names, err := l.opts.FS.List("log")
	require.NoError(l.t, err)
	for _, name := range names {
		if strings.HasSuffix(name, segment.TempExt) {
			list = append(list, name)
		}
	}
	return list
}

// TestFilesAreUsedAgain: a log of which the front is truncated as it grows makes no files
// from some time on.
func TestFilesAreUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trace := vfs.NewTrace(vfs.NewMem())
		o := reusing
		o.FS = trace
		l := open(t, o).turnOver(5)
		trace.Take()
		l.turnOver(10)
		calls := trace.Take()
		for call, n := range map[string]int{
			"create ":                   0,
			"remove ":                   0,
			segment.TempExt + " 0000":   10, // renamed to a segment
			segment.Ext + " 0000":       10, // and from one
			"write FRONT":               20,
			segment.TempExt + " 0+8192": 10,
		} {
			require.Equal(t, n, strings.Count(calls, call), "%s in %s", call, calls)
		}
		require.Equal(t, len(l.Segments()), l.reused())
		l.holds(l.FirstLSN(), l.LastLSN())
		l.close()
		require.Empty(t, l.spares())
		k := l.openAgain()
		k.holds(k.FirstLSN(), k.LastLSN())
		k.close()
	})
}

// TestFilesAreSetAsideOnlyToBeUsed: few of them, of about the size of a segment, and where
// commits wait for the disk.
func TestFilesAreSetAsideOnlyToBeUsed(t *testing.T) {
	for what, c := range map[string]struct {
		opts Options
		want int
	}{
		"many":        {reusing, maxSpares},
		"not synced":  {Options{SegmentSize: reusing.SegmentSize, Sync: SyncNone}, 0},
		"much larger": {Options{SegmentSize: reusing.SegmentSize, firstSegment: small}, 0},
	} {
		t.Run(what, func(t *testing.T) {
			bubble(t, c.opts, func(t *testing.T, l *testLog) {
				n := 8
				if c.opts.firstSegment != 0 {
					n = 2 // of 8 KiB and 16
				}
				l.fillSegments(n)
				synctest.Wait()
				l.truncateFront(l.Segments()[n-1].First)
				synctest.Wait()
				require.Len(t, l.spares(), c.want)
				l.fillSegments(3).holds(l.FirstLSN(), l.LastLSN())
				l.close()
				require.Empty(t, l.spares())
			})
		})
	}
}

// TestFilesThatWereSetAsideAreRemovedByTheNextOpen when the process has died.
func TestFilesThatWereSetAsideAreRemovedByTheNextOpen(t *testing.T) {
	bubble(t, reusing, func(t *testing.T, l *testLog) {
		l.turnOver(3)
		require.NotEmpty(t, l.spares())
		k := l.killed()
		require.Empty(t, k.spares())
		k.holds(k.FirstLSN(), k.LastLSN())
		k.close()
		l.close()
	})
}

// TestTailOfAFileThatIsUsedAgainIsClean: what the file had before is no torn write.
func TestTailOfAFileThatIsUsedAgainIsClean(t *testing.T) {
	o := reusing
	o.largeRecord, o.largePiece = 4000, 4000
	bubble(t, o, func(t *testing.T, l *testLog) {
		l.turnOver(6)
		for i := range 200 { // whatever the last group ends at
			if l.fill(1); i%9 == 8 {
				large := strings.Repeat("large ", 800+i)
				requireAppend(t, l.Log, large)
				l.want[l.LastLSN()] = large
			}
			k := l.killed()
			require.Equal(t, "clean", k.Recovery().Tail.String())
			require.Zero(t, k.Recovery().CutBytes)
			k.holds(k.FirstLSN(), k.LastLSN())
			k.close()
			if len(l.Segments()) > 4 {
				l.truncateFront(l.Segments()[2].First)
				synctest.Wait()
			}
		}
		require.Equal(t, len(l.Segments()), l.reused())
		l.close()
	})
}

// TestFileWithAnotherNameIsNotUsedAgain: who made a link to a segment, as a backup does,
// has what was in it.
func TestFileWithAnotherNameIsNotUsedAgain(t *testing.T) {
	bubble(t, reusing, func(t *testing.T, l *testLog) {
		l.turnOver(3)
		require.Len(t, l.spares(), 1)
		require.NoError(t, l.memory().Link(filepath.Join("log", l.spares()[0]), "late"))
		late := content(t, l.memory(), "late")
		l.fillSegments(3)
		path := l.Segments()[0].Path
		require.NoError(t, l.memory().Link(path, "backup"))
		was := content(t, l.memory(), "backup")
		spares := len(l.spares())
		l.truncateFront(l.Segments()[1].First)
		synctest.Wait()
		require.Len(t, l.spares(), spares, "it was set aside")
		l.turnOver(8)
		require.Equal(t, segment.Hash(was), segment.Hash(content(t, l.memory(), "backup")))
		require.Equal(t, segment.Hash(late), segment.Hash(content(t, l.memory(), "late")))
		l.holds(l.FirstLSN(), l.LastLSN())
		l.close()
	})
}

// TestReaderIsNotGivenWhatAFileHasNow: it was at a record of a segment of which the file is
// another segment by now.
func TestReaderIsNotGivenWhatAFileHasNow(t *testing.T) {
	bubble(t, reusing, func(t *testing.T, l *testLog) {
		l.fillSegments(3)
		r, err := l.NewReader(1)
		require.NoError(t, err)
		require.True(t, r.Next())
		l.turnOver(4)
		require.NotZero(t, l.reused())
		for r.Next() {
			require.Equal(t, text(r.Record().LSN, 0), string(r.Record().Data))
		}
		require.ErrorIs(t, r.Err(), ErrTruncated)
		_, err = l.Read(2, nil)
		require.ErrorIs(t, err, ErrTruncated)
		l.close()
	})
}

// TestFileThatIsReadIsNotSetAside: it is removed, as others are, and whoever reads it, for as
// long as that takes, holds nobody up.
func TestFileThatIsReadIsNotSetAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var slow atomic.Bool
		o := reusing
		o.FS = vfs.Wrap(vfs.NewMem(), func(c vfs.Call, do func(int) (int, error)) (int, error) {
			if c.Op == vfs.ReadAt && c.Name == segment.Path("log", 1) && slow.CompareAndSwap(true, false) {
				pass(time.Minute)
			}
			return do(int(c.Size))
		})
		l := open(t, o).fillSegments(3)
		synctest.Wait()
		slow.Store(true)
		want := l.want[3]
		read, done := make(chan error, 1), make(chan struct{})
		defer func() { <-done }() // nobody is left in the bubble
		go func() {
			defer close(done)
			got, err := l.Read(3, nil)
			if err == nil && string(got) != want {
				err = fmt.Errorf("it holds %q", got)
			}
			read <- err
		}()
		synctest.Wait()
		began := time.Now()
		l.truncateFront(l.Segments()[1].First)
		synctest.Wait()
		require.Empty(t, l.spares())
		l.turnOver(maxSeals + 2)
		require.Less(t, time.Since(began), time.Minute) // the bubble's clock
		if err := <-read; err != nil {                  // what it read next was not there any more
			require.ErrorIs(t, err, ErrTruncated)
		}
		l.close()
	})
}

// TestGroupsOfOneRoundDoNotDisturbEachOther: what is written behind a group in a file that
// is used again does not fall on the next one, which waits behind it in memory.
func TestGroupsOfOneRoundDoNotDisturbEachOther(t *testing.T) {
	bubble(t, reusing, func(t *testing.T, l *testLog) {
		l.turnOver(6)
		for range 5 {
			for range 300 { // more than a segment
				l.async(text(l.LastLSN()+1, 0))
			}
			require.NoError(t, l.Sync())
			l.holds(l.FirstLSN(), l.LastLSN())
			l.truncateFront(l.Segments()[len(l.Segments())-2].First)
			synctest.Wait()
		}
		l.killed().holds(l.FirstLSN(), l.LastLSN())
		require.NotZero(t, l.reused())
		l.close()
	})
}

// viewed opens the log beside itself, to read, and returns a reader that has read the first
// record, with the file open.
func (l *testLog) viewed() (v *testLog, r *Reader) {
	v = openAt(l.t, l.dir, Options{FS: l.opts.FS, ReadOnly: true})
	v.want = l.want
	r, err := v.NewReader(v.FirstLSN())
	require.NoError(l.t, err)
	require.True(l.t, r.Next())
	v.read(v.FirstLSN() + 1)
	return v, r
}

// TestReadOnlyLogSaysTruncatedWhenItsFileIsUsedAgain: it has the file open, and has not
// looked since the writer made another segment of it, as the clock stands still.
func TestReadOnlyLogSaysTruncatedWhenItsFileIsUsedAgain(t *testing.T) {
	bubble(t, reusing, func(t *testing.T, l *testLog) {
		l.fillSegments(3)
		v, _ := l.viewed()
		w, r := l.viewed()
		l.turnOver(4)
		require.NotZero(t, l.reused())
		_, err := v.Read(3, nil)
		require.ErrorIs(t, err, ErrTruncated)
		for r.Next() { // what was read ahead
			require.Equal(t, text(r.Record().LSN, 0), string(r.Record().Data))
		}
		require.ErrorIs(t, r.Err(), ErrTruncated)
		for _, k := range []*testLog{v, w, l} {
			require.NoError(t, k.Close())
		}
	})
}

// TestReadOnlyLogFindsARecordWhoseFileIsUsedAgain: a TruncateBack took it, and it was
// appended once more, while the read-only log did not look.
func TestReadOnlyLogFindsARecordWhoseFileIsUsedAgain(t *testing.T) {
	bubble(t, reusing, func(t *testing.T, l *testLog) {
		l.fillSegments(4)
		synctest.Wait()
		two := l.Segments()[1]
		lsn := two.First + 5
		v := openAt(t, l.dir, Options{FS: l.opts.FS, ReadOnly: true})
		w := openAt(t, l.dir, Options{FS: l.opts.FS, ReadOnly: true})
		r, err := w.NewReader(two.First)
		require.NoError(t, err)
		for _, k := range []*testLog{v, w} {
			_, err := k.Read(lsn, nil) // has the file open
			require.NoError(t, err)
		}
		l.life++
		l.truncateBack(two.First - 1)
		synctest.Wait()
		require.NotEmpty(t, l.spares())
		for l.fill(1); l.reused() < 2; {
			l.fill(1)
			synctest.Wait()
		}
		require.Greater(t, l.LastLSN(), lsn)
		v.viewer.was = time.Now() // it has looked just now
		got, err := v.Read(lsn, nil)
		require.NoError(t, err)
		require.Equal(t, l.want[lsn], string(got))
		require.True(t, r.Next(), "%v", r.Err())
		require.Equal(t, l.want[two.First], string(r.Record().Data))
		for _, k := range []*testLog{v, w, l} {
			require.NoError(t, k.Close())
		}
	})
}

// TestReadOnlyLogMeetsAFileThatIsUsedAgainOnItsWay to a record in another one: it has opened
// the file, and the writer makes another segment of it before the header is read.
func TestReadOnlyLogMeetsAFileThatIsUsedAgainOnItsWay(t *testing.T) {
	for how, read := range map[string]func(v *testLog, lsn LSN) (string, error){
		"Read": func(v *testLog, lsn LSN) (string, error) {
			data, err := v.Read(lsn, nil)
			return string(data), err
		},
		"Next": func(v *testLog, lsn LSN) (string, error) {
			r, err := v.NewReader(lsn)
			require.NoError(v.t, err)
			r.Next()
			return string(r.Record().Data), r.Err()
		},
	} {
		t.Run(how, func(t *testing.T) {
			bubble(t, reusing, func(t *testing.T, l *testLog) {
				l.fillSegments(5)
				synctest.Wait()
				list := l.Segments()
				met := false
				v := openAt(t, l.dir, Options{ReadOnly: true, FS: vfs.Wrap(l.opts.FS, func(c vfs.Call, do func(int) (int, error)) (int, error) {
					if c.Op == vfs.Stat && c.Name == list[2].Path && !met {
						met = true
						for _, s := range list[2:4] {
							l.truncateFront(s.First)
							for synctest.Wait(); len(l.spares()) > 0; synctest.Wait() {
								l.fill(1)
							}
						}
					}
					return do(int(c.Size))
				})})
				got, err := read(v, list[4].First)
				require.True(t, met)
				require.NoError(t, err)
				require.Equal(t, l.want[list[4].First], got)
				require.NoError(t, v.Close())
				l.close()
			})
		})
	}
}

// TestReadOnlyLogThatCannotLookBelievesNoDamage: the file may be another segment.
func TestReadOnlyLogThatCannotLookBelievesNoDamage(t *testing.T) {
	bubble(t, reusing, func(t *testing.T, l *testLog) {
		l.fillSegments(3)
		fail := 0
		v := openAt(t, l.dir, Options{ReadOnly: true, FS: vfs.Wrap(l.opts.FS, func(c vfs.Call, do func(int) (int, error)) (int, error) {
			if c.Op == vfs.List && fail > 0 {
				fail--
				return 0, &fs.PathError{Op: "open", Path: c.Name, Err: fs.ErrPermission}
			}
			return do(int(c.Size))
		})})
		v.read(1)
		l.turnOver(4)
		for _, c := range []struct {
			looks int // that fail
			want  error
		}{{1000, fs.ErrPermission}, {2, ErrTruncated}} {
			fail = c.looks
			v.viewer.was = time.Now() // it has looked just now
			_, err := v.Read(3, nil)
			require.ErrorIs(t, err, c.want)
		}
		require.NoError(t, v.Close())
		l.close()
	})
}

// TestSpaceOfFilesThatAreSetAsideIsTheLogs where there is no other.
func TestSpaceOfFilesThatAreSetAsideIsTheLogs(t *testing.T) {
	bubble(t, reusing, func(t *testing.T, l *testLog) {
		l.fillSegments(4)
		synctest.Wait()
		l.memory().SetLimit(l.memory().Used())
		l.truncateFront(l.Segments()[2].First)
		synctest.Wait()
		require.Len(t, l.spares(), 2)
		requireAppend(t, l.Log, string(make([]byte, 30_000))) // takes both
		require.Empty(t, l.spares())
		require.ErrorIs(t, second(l.Append(make([]byte, 30_000))), ErrNoSpace)
		l.truncateFront(l.LastLSN())
		synctest.Wait()
		require.Empty(t, l.spares(), "there was no space")
		l.spaceLeft(-1)
		l.turnOver(4)
		require.NotEmpty(t, l.spares(), "there is space again")
		require.NoError(t, l.Close())
	})
}

// TestSegmentsInFilesThatAreUsedAgainAreNoLarger than others would be.
func TestSegmentsInFilesThatAreUsedAgainAreNoLarger(t *testing.T) {
	bubble(t, reusing, func(t *testing.T, l *testLog) {
		for range 20 {
			l.turnOver(1)
			for _, s := range l.Segments() {
				require.EqualValues(t, reusing.SegmentSize, l.header(s.Path).Size)
			}
		}
		requireAppend(t, l.Log, strings.Repeat("a segment of its own", 1200))
		l.turnOver(6)
		for _, s := range l.Segments() {
			require.EqualValues(t, reusing.SegmentSize, l.header(s.Path).Size)
		}
		l.opts.firstSegment = small
		k := l.reopen()
		for len(k.Segments()) < 5 {
			k.fill(1)
		}
		k.truncateFront(k.Segments()[4].First)
		synctest.Wait()
		for _, path := range k.spares() {
			f, err := l.opts.FS.Open(filepath.Join("log", path), vfs.ReadOnly)
			require.NoError(t, err)
			info, err := f.Stat()
			require.NoError(t, err)
			require.NoError(t, f.Close())
			require.Less(t, info.Size, reusing.SegmentSize*5/4)
		}
		k.close()
	})
}

// TestFileThatFailedIsNotSetAside: a call that should have ended the segment failed.
func TestFileThatFailedIsNotSetAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := reusing
		m := vfs.NewMem()
		o.FS = vfs.Wrap(m, func(c vfs.Call, do func(int) (int, error)) (int, error) {
			if c.Op == vfs.Truncate && strings.HasSuffix(c.Name, segment.Ext) {
				return 0, &fs.PathError{Op: "truncate", Path: c.Name, Err: syscall.EIO}
			}
			return do(int(c.Size))
		})
		l := open(t, o).turnOver(4)
		require.Empty(t, l.spares())
		require.Zero(t, l.reused())
		l.close()
	})
}

// TestFullDiskIsNoHindranceToALogThatIsTruncated: its files are there already.
func TestFullDiskIsNoHindranceToALogThatIsTruncated(t *testing.T) {
	bubble(t, reusing, func(t *testing.T, l *testLog) {
		l.turnOver(4)
		l.memory().SetLimit(1)
		l.turnOver(6)
		require.Equal(t, len(l.Segments()), l.reused())
		l.holds(l.FirstLSN(), l.LastLSN())
		l.close()
	})
}

// TestFileThatCannotBeUsedAgainIsReplaced by a new one: the log goes on.
func TestFileThatCannotBeUsedAgainIsReplaced(t *testing.T) {
	for what, fails := range map[string]func(c vfs.Call) bool{
		"rename": func(c vfs.Call) bool { return c.Op == vfs.Rename && strings.HasSuffix(c.To, segment.TempExt) },
		"open":   func(c vfs.Call) bool { return c.Op == vfs.Open && strings.HasSuffix(c.Name, segment.TempExt) },
		"write": func(c vfs.Call) bool {
			return c.Op == vfs.WriteAt && strings.HasSuffix(c.Name, segment.TempExt) && c.Off == 0 && c.Size > segment.HeaderSize && !strings.Contains(c.Name, segment.FrontName)
		},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				failed := 0
				o := reusing
				o.FS = vfs.Wrap(vfs.NewMem(), func(c vfs.Call, do func(int) (int, error)) (int, error) {
					if fails(c) {
						failed++
						return 0, &fs.PathError{Op: "test", Path: c.Name, Err: fs.ErrPermission}
					}
					return do(int(c.Size))
				})
				l := open(t, o).turnOver(8)
				require.NoError(t, l.Rotate()) // which waits for the next segment
				require.NotZero(t, failed)
				require.LessOrEqual(t, len(l.spares()), maxSpares)
				require.Zero(t, l.reused())
				require.NoError(t, l.Err())
				l.holds(l.FirstLSN(), l.LastLSN())
				l.close()
				k := l.openAgain()
				require.Empty(t, k.spares())
				k.close()
			})
		})
	}
}
