package wal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
	"github.com/stretchr/testify/require"
)

// put writes a file.
func put(t testing.TB, fsys FS, path, content string) {
	t.Helper()
	f, err := fsys.Create(path)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(content), 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// change overwrites a part of a file.
func change(t testing.TB, fsys FS, path string, off int64, content string) {
	t.Helper()
	f, err := fsys.Open(path, vfs.ReadWrite)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(content), off)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

// refused checks that a directory in memory is not opened, in no way, with an
// error that is want and says the words, and that nothing is changed.
func refused(t testing.TB, mem *vfs.Mem, opts Options, want error, words ...string) {
	t.Helper()
	before := mem.Hash()
	for range 2 {
		opts.FS = mem
		l, err := Open("log", &opts)
		if err == nil {
			_ = l.Close()
		}
		require.Error(t, err)
		if want != nil {
			require.ErrorIs(t, err, want)
		}
		for _, w := range words {
			require.ErrorContains(t, err, w)
		}
	}
	if names, err := mem.List("log"); err == nil && !strings.Contains(strings.Join(names, " "), "LOCK") {
		require.Equal(t, before, mem.Hash(), "the directory was changed")
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	for words, o := range map[string]Options{
		"SegmentSize is 8191, want 8192 to 4294967296":      {SegmentSize: small - 1},
		"SegmentSize is -1,":                                {SegmentSize: -1},
		"SegmentSize is 4294967297,":                        {SegmentSize: MaxSegmentSize + 1},
		"MaxRecordSize is -1,":                              {MaxRecordSize: -1},
		"MaxRecordSize is 1073741825, want 1 to 1073741824": {MaxRecordSize: 1<<30 + 1},
		"Sync is 3, want SyncAlways":                        {Sync: 3},
		"SyncEvery is -1ns":                                 {SyncEvery: -1},
		"SlowSync is -1s":                                   {SlowSync: -time.Second},
		"Recovery is 3, want Strict, Paranoid or":           {Recovery: 3},
		"Options.SegmentSize is 1, want 8192 to 4294967296": {SegmentSize: 1, ReadOnly: true},
		"Options.MaxRecordSize is -2147483648, want":        {MaxRecordSize: -1 << 31},
	} {
		mem := vfs.NewMem()
		o.FS = mem
		_, err := Open("log", &o)
		require.ErrorContains(t, err, words)
		_, err = mem.List("log")
		require.ErrorIs(t, err, fs.ErrNotExist, "nothing was made")
	}
}

func TestLargestAndSmallestOptions(t *testing.T) {
	open(t, Options{SegmentSize: MinSegmentSize, MaxRecordSize: 1}).fill(0).close()
	l := open(t, Options{SegmentSize: 8193, MaxRecordSize: 1 << 30, SyncEvery: 1, SlowSync: time.Hour})
	l.fill(300).exact(1, 300) // in segments of an odd size
	require.Greater(t, len(l.Segments()), 4)
}

func TestDirectoryThatIsNotOurs(t *testing.T) {
	for _, name := range []string{"photo.jpg", "FRONT2", "0000000000000001.log", "lost+found"} {
		mem := vfs.NewMem()
		require.NoError(t, mem.Mkdir("log"))
		put(t, mem, filepath.Join("log", name), "of somebody else")
		refused(t, mem, Options{}, nil, "log", name)
		names, err := mem.List("log")
		require.NoError(t, err)
		require.Equal(t, []string{name}, names, "not even a lock")
	}
}

func TestDirectoryThatIsAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	require.NoError(t, os.WriteFile(path, []byte("x"), 0o600))
	_, err := Open(path, nil)
	require.ErrorIs(t, err, syscall.ENOTDIR)
	require.ErrorContains(t, err, path)
	_, err = Open(filepath.Join(path, "below"), nil)
	require.ErrorIs(t, err, syscall.ENOTDIR)
	_, err = Open("", nil)
	require.Error(t, err)
}

func TestStrayFilesAreLeftAloneAndReported(t *testing.T) {
	everywhere(t, Options{SegmentSize: small}, func(t *testing.T, l *testLog) {
		l.fill(100)
		l.close()
		strays := []string{"0000000000000003.segment", "README", "core"}
		for _, name := range strays {
			put(t, l.fs, filepath.Join(l.dir, name), "stray")
		}
		require.NoError(t, l.fs.Mkdir(filepath.Join(l.dir, "subdir")))
		l.openAgain().is(1, 100)
		require.Equal(t, append(strays, "subdir"), l.Recovery().Strays)
		l.fill(100)
		l.truncateFront(150)
		l.exact(150, 200)
		names, err := l.fs.List(l.dir)
		require.NoError(t, err)
		for _, name := range strays {
			require.Contains(t, names, name)
		}
	})
}

func TestMalformedSegmentNamesAreRefused(t *testing.T) {
	for _, name := range []string{"1.seg", "000000000000000A.seg", "0000000000000000.seg", "00000000000000001.seg", "x.seg", ".seg"} {
		l := open(t, Options{}).fill(3)
		l.close()
		put(t, l.fs, "log/"+name, "")
		refused(t, l.memory(), Options{}, nil, filepath.Join("log", name))
		refused(t, l.memory(), Options{ReadOnly: true}, nil, filepath.Join("log", name))
		require.NoError(t, l.fs.Remove("log/"+name))
		l.openAgain().is(1, 3)
	}
}

func TestNewerVersionIsNoDamage(t *testing.T) {
	for what, c := range map[string]struct {
		file string
		offs []int64
	}{
		"segment": {"log/0000000000000001.seg", []int64{8, 2048 + 8}},
		"FRONT":   {"log/FRONT", []int64{8, 4096 + 8}},
	} {
		t.Run(what, func(t *testing.T) {
			l := open(t, Options{}).fill(3)
			l.close()
			for _, off := range c.offs {
				change(t, l.fs, c.file, off, "\x02\x00")
			}
			for _, mode := range []RecoveryMode{Strict, Paranoid, PointInTime} {
				refused(t, l.memory(), Options{Recovery: mode}, ErrVersion, c.file, "version 2")
			}
			refused(t, l.memory(), Options{ReadOnly: true}, ErrVersion, c.file)
			for _, off := range c.offs {
				change(t, l.fs, c.file, off, "\x01\x00")
			}
			l.openAgain().is(1, 3)
		})
	}
}

func TestDamageNamesPathOffsetAndLSN(t *testing.T) {
	l := open(t, Options{SegmentSize: small}).fillSegments(4)
	last := l.LastLSN()
	at := l.Segments()[3]
	l.close()
	l.flip(fmt.Sprintf("record %d life", at.First+1))
	l.fs = l.opts.FS
	_, err := Open("log", &l.opts)
	require.ErrorIs(t, err, ErrCorrupt)
	var e *CorruptError
	require.ErrorAs(t, err, &e)
	require.Equal(t, at.Path, e.Path)
	require.Equal(t, at.First+1, e.LSN)
	require.Greater(t, e.Offset, int64(4096))
	require.True(t, e.ValidBeyond)
	require.NotEqual(t, e.Stored, e.Computed)
	l.flip(fmt.Sprintf("secord %d life", at.First+1)) // and back
	l.openAgain().is(1, last)
}

func TestReadOnlyDirectory(t *testing.T) {
	t.Run("os", func(t *testing.T) {
		dir := t.TempDir() + "/log"
		l := openAt(t, dir, Options{}).fill(3)
		l.close()
		require.NoError(t, os.Chmod(dir, 0o500))
		t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
		if f, err := os.Create(filepath.Join(dir, "probe")); err == nil {
			_ = f.Close()
			require.NoError(t, os.Remove(filepath.Join(dir, "probe")))
			t.Skip("SKIPPED: this user (root?) writes to read-only directories: only the simulated one is tested")
		}
		_, err := Open(dir, nil)
		require.ErrorIs(t, err, fs.ErrPermission)
		l.view().is(1, 3)
	})
	for _, errno := range []syscall.Errno{syscall.EROFS, syscall.EACCES} {
		t.Run(errno.Error(), func(t *testing.T) {
			l, f := faultyLog(t, Options{})
			l.fill(3)
			l.close()
			f.Set(vfs.Fault{Sticky: true, Err: errno, Match: func(c vfs.Call) bool { return c.Op.Mutates() || c.Op == vfs.Lock }})
			_, err := Open("log", &l.opts)
			require.ErrorIs(t, err, errno)
			require.ErrorContains(t, err, "log/LOCK")
			_, err = Open("new", &l.opts)
			require.ErrorIs(t, err, errno)
			require.ErrorContains(t, err, "new")
			l.view().is(1, 3)
			f.Clear()
			l.openAgain().fill(1).is(1, 4)
		})
	}
}

// No space.

func TestNoSpaceIsCertainAndNotForEver(t *testing.T) {
	l := open(t, Options{SegmentSize: small})
	l.fill(50)
	l.setMeta("m")
	for range 3 {
		l.full()
		last := l.LastLSN()
		l.is(1, last)
		require.Equal(t, "m", string(l.Meta()))
		for range 5 {
			require.ErrorIs(t, second(l.Append([]byte("still full"))), ErrNoSpace)
			require.ErrorIs(t, second(l.AppendAsync([]byte("still full"))), ErrNoSpace)
		}
		l.spaceLeft(-1)
		l.is(1, last).fill(5).exact(1, last+5)
	}
	require.Equal(t, "m", string(l.Meta()))
}

func TestWithoutSpaceTheRestWorks(t *testing.T) {
	l := open(t, Options{SegmentSize: small}).fill(300)
	r := l.reader(1, 3)
	l.full()
	last := l.LastLSN()
	l.is(1, last)
	l.goesOn(r, 4, last)
	l.spaceLeft(0)
	l.truncateFront(150)
	l.is(150, last)
	require.NoError(t, l.Sync())
	l.spaceLeft(0)
	l.close()
	l.spaceLeft(0)
	l.openAgain().is(150, last)
	l.spaceLeft(0)
	l.truncateFront(290)
	l.close()
	l.spaceLeft(-1)
	l.openAgain().fill(3).exact(290, last+3)
}

func TestOpenAfterACrashWithoutSpace(t *testing.T) {
	l := open(t, Options{SegmentSize: small}).fill(100)
	image := l.memory().Clone()
	change(t, image, "log/"+segment.Name(l.Segments()[len(l.Segments())-1].ID), l.Segments()[len(l.Segments())-1].Size+24, "torn")
	image.SetLimit(image.Used())
	k := openAt(t, "log", Options{FS: image, SegmentSize: small})
	k.want = l.want
	k.is(1, 100)
	k.spaceLeft(-1)
	k.opts.FS = image
	k.fill(3).exact(1, 103)
}

func TestOpenOfANewLogWithoutSpace(t *testing.T) {
	mem := vfs.NewMem()
	mem.SetLimit(1000)
	_, err := Open("log", &Options{FS: mem})
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, "log/FRONT")
	mem.SetLimit(0)
	l := openAt(t, "log", Options{FS: mem})
	l.fill(1).is(1, 1)
}

// Locks.

func TestSecondOpenIsRefusedAtOnce(t *testing.T) {
	everywhere(t, Options{}, func(t *testing.T, l *testLog) {
		l.fill(1)
		for range 3 {
			began := time.Now()
			_, err := Open(l.dir, &l.opts)
			require.ErrorIs(t, err, ErrLocked)
			require.ErrorContains(t, err, filepath.Join(l.dir, "LOCK"))
			require.Less(t, time.Since(began), 5*time.Second)
		}
		l.view().is(1, 1)
		l.fill(1).exact(1, 2)
	})
}

const childVariable = "TIDEMARK_TEST_OPEN"

// TestSecondProcessIsRefused runs itself once more, as the second process.
func TestSecondProcessIsRefused(t *testing.T) {
	if dir := os.Getenv(childVariable); dir != "" {
		l, err := Open(dir, nil)
		fmt.Println("child:", errors.Is(err, ErrLocked), err)
		if err == nil {
			_, err = l.Append([]byte("by the child"))
			fmt.Println("child:", err, l.Close())
		}
		return
	}
	dir := t.TempDir() + "/log"
	child := func() string {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSecondProcessIsRefused$")
		cmd.Env = append(os.Environ(), childVariable+"="+dir)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	l := openAt(t, dir, Options{}).fill(1)
	require.Contains(t, child(), "child: true wal: the log is open elsewhere: "+dir+"/LOCK")
	l.close()
	require.Contains(t, child(), "child: <nil> <nil>")
	l.want[2] = "by the child"
	l.openAgain().is(1, 2)
}

// After Close, and beside it.

func TestEveryMethodAfterClose(t *testing.T) {
	everywhere(t, Options{}, func(t *testing.T, l *testLog) {
		l.fill(3)
		h, err := l.Hold("h", 1)
		require.NoError(t, err)
		l.close()
		require.NoError(t, l.Close())
		for what, err := range map[string]error{
			"Append":           second(l.Append(nil)),
			"AppendAsync":      second(l.AppendAsync(nil)),
			"AppendBatch":      second(l.AppendBatch(l.newBatch("x"))),
			"AppendBatchAsync": second(l.AppendBatchAsync(l.newBatch("x"))),
			"Sync":             l.Sync(),
			"Rotate":           l.Rotate(),
			"TruncateFront":    l.TruncateFront(2),
			"TruncateBack":     l.TruncateBack(2),
			"Reset":            l.Reset(2),
			"Read":             second(l.Read(1, nil)),
			"Records":          second(collect(l.Records(1))),
			"Follow":           second(collect(l.Follow(ctx, 1))),
			"NewReader":        second(l.NewReader(1)),
			"Hold":             second(l.Hold("h", 1)),
			"Err":              l.Err(),
		} {
			require.ErrorIs(t, err, ErrClosed, what)
		}
		h.Move(2)
		h.Release()
		require.Equal(t, [3]LSN{1, 3, 3}, [3]LSN{l.FirstLSN(), l.LastLSN(), l.DurableLSN()})
		l.Segments()
		l.Stats()
		l.Recovery()
		l.openAgain().is(1, 3)
	})
}

func TestCloseDuringAppends(t *testing.T) {
	everywhere(t, Options{SegmentSize: 32 << 10}, func(t *testing.T, l *testLog) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		var pending []Pending
		begun := make(chan struct{}, 1000)
		for g := range 8 {
			wg.Go(func() {
				for i := 0; ; i++ {
					s := text(LSN(i), g)
					p, err := l.AppendBatchAsync(l.newBatch(s))
					if err == nil {
						mu.Lock()
						l.want[p.First] = s
						pending = append(pending, p)
						mu.Unlock()
						if g%2 == 0 {
							err = p.Wait(ctx)
						}
					}
					if err != nil {
						if !errors.Is(err, ErrClosed) {
							t.Error(err)
						}
						return
					}
					select {
					case begun <- struct{}{}:
					default:
					}
				}
			})
		}
		for range 30 {
			<-begun
		}
		for range 3 {
			wg.Go(func() {
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, p := range pending {
			require.NoError(t, p.Wait(ctx), "what was ordered before Close is durable")
		}
		l.openAgain().is(1, LSN(len(pending)))
	})
}

func TestCancelledContext(t *testing.T) {
	l := open(t, Options{}).fill(2)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	p := l.async("x")
	require.ErrorIs(t, p.Wait(gone), context.Canceled)
	require.NoError(t, p.Wait(ctx))
	_, err := collect(l.Follow(gone, 4))
	require.ErrorIs(t, err, context.Canceled)
	r := l.reader(1, 3)
	require.ErrorIs(t, r.Wait(gone), context.Canceled)
	l.is(1, 3)
}

// Nothing is left behind. A bubble ends only when all its goroutines have.

func TestNoDescriptorIsLeaked(t *testing.T) {
	dir := t.TempDir()
	open := func(o Options) error {
		l, err := Open(dir+"/log", &o)
		if err != nil {
			return err
		}
		return l.Close()
	}
	round := func() {
		l := openAt(t, dir+"/log", Options{SegmentSize: small})
		l.life, l.want = 0, map[LSN]string{}
		l.reset(1)
		l.life = 0
		l.fill(150)
		v := l.view().is(1, 150)
		require.ErrorIs(t, open(Options{}), ErrLocked)
		l.truncateFront(30)
		l.truncateBack(100)
		_, err := collect(v.Records(v.LastLSN()))
		require.NoError(t, err)
		v.close()
		l.reopen().is(30, 100)
		l.reader(40, 50)
		l.close()
		require.ErrorIs(t, open(Options{ExpectLSN: 1 << 40}), ErrCorrupt)
		require.Error(t, open(Options{SegmentSize: 1}))
	}
	round()
	before := descriptors(t)
	for range 3 {
		round()
	}
	require.Equal(t, before, descriptors(t))
}

// descriptors returns what this process has open, as far as it is a file.
func descriptors(t testing.TB) (paths []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("SKIPPED: no /proc/self/fd here")
	}
	for _, e := range entries {
		if path, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(path, "/") {
			paths = append(paths, path)
		}
	}
	return paths
}

func TestNoGoroutineIsLeaked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, Options{SegmentSize: small}).fillSegments(3)
		v := l.view()
		for range 3 {
			go func() { _, _ = collect(l.Follow(ctx, 1)) }()
			go func() { _, _ = collect(v.Follow(ctx, 1)) }()
		}
		synctest.Wait()
		v.close()
		l.close()
		synctest.Wait()
	})
}

func TestFailedOpenLeaksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, Options{SegmentSize: small}).fillSegments(3)
		image := l.memory().Clone()
		s := l.Segments()[2]
		l.close()
		change(t, image, s.Path, s.Size+24, "torn")
		for at := range 100 {
			f := vfs.NewFaulty(image.Clone())
			f.Set(vfs.Fault{At: at})
			k, err := Open("log", &Options{FS: f, SegmentSize: small})
			hit := f.Hits() > 0
			f.Clear()
			if err == nil {
				require.NoError(t, k.Close())
			} else {
				require.ErrorIs(t, err, syscall.EIO)
			}
			if !hit {
				require.NoError(t, err)
				require.Greater(t, at, 20)
				return
			}
			lock, err := f.Lock("log/LOCK")
			require.NoError(t, err, "call %d: the lock is held", at)
			require.NoError(t, lock.Close())
		}
		t.Fatal("Open does not end")
	})
}

// TestPointInTimeSaysThatTheOnlySegmentIsGone, and settles that: the next Open finds
// nothing amiss.
func TestPointInTimeSaysThatTheOnlySegmentIsGone(t *testing.T) {
	l := open(t, Options{}).fill(1)
	l.close()
	require.NoError(t, l.fs.Remove(segment1))
	refused(t, l.memory(), Options{}, ErrCorrupt, segment1)
	k := openAt(t, "log", Options{FS: l.fs, Recovery: PointInTime})
	require.NotEmpty(t, k.Recovery().Corruptions)
	k.close()
	openAt(t, "log", Options{FS: l.fs}).close()
}

// TestOfAFailedLogTruncateFrontSaysSo, whatever the truncations that failed were to
// do.
func TestOfAFailedLogTruncateFrontSaysSo(t *testing.T) {
	faulty := vfs.NewFaulty(vfs.NewMem())
	l := open(t, Options{FS: faulty}).fill(6)
	faulty.Set(vfs.Fault{Sticky: true, Match: func(c vfs.Call) bool { return c.Op == vfs.Sync }})
	require.ErrorIs(t, l.TruncateBack(2), ErrFailed)
	for first := LSN(1); first < 9; first++ {
		require.ErrorIs(t, l.TruncateFront(first), ErrFailed)
	}
}

// TestDirectoryThatCannotBeMadeDurableIsNotUsed: its parent may be written to, and not
// read. The second Open does not take it for an old one.
func TestDirectoryThatCannotBeMadeDurableIsNotUsed(t *testing.T) {
	faulty := vfs.NewFaulty(vfs.NewMem())
	faulty.Set(vfs.Fault{Sticky: true, Err: syscall.EACCES, Match: func(c vfs.Call) bool { return c.Op == vfs.SyncDir && c.Name == "." }})
	for range 2 {
		_, err := Open("log", &Options{FS: faulty})
		require.ErrorIs(t, err, fs.ErrPermission)
	}
	faulty.Clear()
	l := openAt(t, "log", Options{FS: faulty}).fill(1)
	faulty.Set(vfs.Fault{Sticky: true, Err: syscall.EACCES, Match: func(c vfs.Call) bool { return c.Op == vfs.SyncDir && c.Name == "." }})
	l.reopen().is(1, 1)
}
