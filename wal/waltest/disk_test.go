package waltest_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs/vfstest"
	"github.com/seed3918b8df/tidemark/wal"
	"github.com/seed3918b8df/tidemark/wal/waltest"
)

// put makes the file hold text, durably if told so.
func put(t *testing.T, d *waltest.Disk, name, text string, durably ...bool) {
	t.Helper()
	f, err := d.Create(name)
	require.NoError(t, err)
	_, err = io.WriteString(f, text)
	require.NoError(t, err)
	if len(durably) > 0 {
		require.NoError(t, f.Sync())
		require.NoError(t, d.SyncDir("."))
	}
	require.NoError(t, f.Close())
}

// holds returns the files in the root and what they hold: a=x b=y.
func holds(t *testing.T, d *waltest.Disk) string {
	t.Helper()
	entries, err := d.ReadDir(".")
	require.NoError(t, err)
	var files []string
	for _, e := range entries {
		text, err := d.ReadFile(e.Name())
		require.NoError(t, err)
		files = append(files, e.Name()+"="+strings.ToValidUTF8(string(text), "#"))
	}
	return strings.Join(files, " ")
}

// leaves returns what a power loss may leave, each once, sorted.
func leaves(t *testing.T, s *waltest.State) []string {
	t.Helper()
	var all []string
	for img := range s.Images(1000, 1) {
		all = append(all, holds(t, img.Disk()))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestFileSystemKeepsTheLogsContract(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		require.NoError(t, vfstest.Run(waltest.New(sector).FS(), "."))
	}
	require.NoError(t, vfstest.Run(waltest.New(512).Kill().FS(), "."))
	require.Panics(t, func() { waltest.New(1024) })
}

func TestReplacingAFileTakesFiveSteps(t *testing.T) {
	for _, c := range []struct {
		omit string
		want []string // "new" or "old" behind each is what "a" holds
	}{
		{"", []string{"a=new"}},
		{"syncdir", []string{"a=new", "a=old", "a=old b=new"}},
		{"sync", []string{"a=", "a=\x00\x00\x00", "a=garbage", "a=new"}},
	} {
		d := waltest.New(512)
		put(t, d, "a", "old", true)
		f, err := d.Create("b")
		require.NoError(t, err)
		_, err = f.Write([]byte("new"))
		require.NoError(t, err)
		if c.omit != "sync" {
			require.NoError(t, f.Sync())
		}
		require.NoError(t, f.Close())
		require.NoError(t, d.Rename("b", "a"))
		if c.omit != "syncdir" {
			require.NoError(t, d.SyncDir("."))
		}
		got := leaves(t, d.State())
		for i, left := range got {
			if !slices.Contains(c.want, left) {
				got[i] = "a=garbage"
			}
		}
		slices.Sort(got)
		slices.Sort(c.want)
		require.Equal(t, c.want, got, "without %q", c.omit)
	}
}

func TestEveryChangeIsAMoment(t *testing.T) {
	d := waltest.New(512)
	var calls, left []string
	d.OnChange(func(c waltest.Call) {
		calls = append(calls, c.String())
		left = append(left, strings.Join(leaves(t, d.State()), " | "))
	})
	f, err := d.Create("a")
	require.NoError(t, err)
	_, err = f.ReadAt(make([]byte, 1), 0) // changes nothing
	require.ErrorIs(t, err, io.EOF)
	require.NoError(t, f.Truncate(1))
	require.NoError(t, f.Sync())
	require.NoError(t, d.SyncDir("."))
	require.NoError(t, d.Rename("a", "b"))
	_, err = f.WriteAt([]byte{0}, 0)
	require.NoError(t, err)
	d.OnChange(nil)
	require.NoError(t, d.Remove("b"))
	require.Equal(t, []string{"create a", "truncate a 1", "sync a", "syncdir .", "rename a b", "write b 0+1"}, calls)
	require.Equal(t, []string{"", " | a=", " | a= | a=\x00", " | a=\x00", "a=\x00", "a=\x00 | b=\x00"}, left)
	require.Equal(t, "create a\ntruncate a 1\nsync a\nsyncdir .\nrename a b\nwrite b 0+1\nremove b\n", d.Trace())
	require.Empty(t, d.Trace())
}

func TestImagesAreEnumeratedOrSampled(t *testing.T) {
	d := waltest.New(512)
	for i := range 6 {
		put(t, d, fmt.Sprint("f", i), "")
	}
	s := d.State()
	describe := func(limit int, seed uint64) (all []string) {
		for img := range s.Images(limit, seed) {
			all = append(all, img.String())
		}
		return all
	}
	all := describe(64, 1) // each name is there or not
	require.Len(t, all, 64)
	slices.Sort(all)
	require.Len(t, slices.Compact(all), 64)
	require.Len(t, describe(63, 1), 63)
	require.Len(t, describe(20, 1), 20)
	require.Equal(t, describe(20, 1), describe(20, 1))
	require.NotEqual(t, describe(20, 1), describe(20, 2))
	require.Empty(t, describe(0, 1))
	drawn := map[string]bool{}
	for seed := range uint64(500) {
		img := s.Draw(seed)
		drawn[img.String()] = true
		require.Equal(t, img.String(), s.Draw(seed).String())
	}
	require.Len(t, drawn, 64)
	require.Equal(t, "", holds(t, s.Oldest().Disk()))
	require.Equal(t, "f0= f1= f2= f3= f4= f5=", holds(t, s.Newest().Disk()))
	require.Equal(t, "1/2 entry f0 create\n", s.Newest().String()[:20])
}

func TestStateDoesNotChange(t *testing.T) {
	d := waltest.New(512)
	put(t, d, "a", "old", true)
	s := d.State()
	put(t, d, "a", "new", true)
	require.Equal(t, []string{"a=old"}, leaves(t, s))
	img := s.Newest()
	put(t, img.Disk(), "a", "other", true)
	require.Equal(t, "a=old", holds(t, img.Disk()), "each disk is another one")
	require.Equal(t, []string{"a=old"}, leaves(t, img.Disk().State()), "and all of it durable")
}

func TestKilledProcessLosesNothingAndDoesNothingMore(t *testing.T) {
	d := waltest.New(512)
	put(t, d, "a", "old", true)
	f, err := d.OpenFile("a", os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("new"), 0)
	require.NoError(t, err)
	l, err := wal.Open("log", &wal.Options{FS: d.FS()})
	require.NoError(t, err)
	next := d.Kill()
	require.True(t, d.Killed())
	_, err = f.WriteAt([]byte("xxx"), 0)
	require.ErrorIs(t, err, fs.ErrClosed)
	require.ErrorIs(t, f.Sync(), fs.ErrClosed)
	require.ErrorIs(t, d.Remove("a"), fs.ErrClosed)
	_, err = d.ReadFile("a")
	require.ErrorIs(t, err, fs.ErrClosed)
	_, err = l.Append(nil)
	require.Error(t, err)

	require.False(t, next.Killed())
	text, err := next.ReadFile("a")
	require.NoError(t, err)
	require.Equal(t, "new", string(text))
	text, err = next.State().Oldest().Disk().ReadFile("a")
	require.NoError(t, err)
	require.Equal(t, "old", string(text), "a power loss may yet take it")
	g, err := next.OpenFile("a", os.O_RDWR, 0)
	require.NoError(t, err)
	require.NoError(t, g.Sync())
	text, err = next.State().Oldest().Disk().ReadFile("a")
	require.NoError(t, err)
	require.Equal(t, "new", string(text), "the Sync of the dead lost nothing of it")
	l2, err := wal.Open("log", &wal.Options{FS: next.FS()})
	require.NoError(t, err, "the lock is free")
	require.Error(t, l.Close())
	_, err = wal.Open("log", &wal.Options{FS: next.FS()})
	require.ErrorIs(t, err, wal.ErrLocked, "and the dead do not release that of another")
	require.NoError(t, l2.Close())
}

func TestProcessIsKilledAtACall(t *testing.T) {
	work := func(d *waltest.Disk) error {
		f, err := d.Create("a")
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err = f.Write([]byte("x")); err != nil {
			return err
		}
		return f.Sync()
	}
	for n, want := range []string{"", "a=", "a=x", "a=x"} {
		d := waltest.New(512)
		moments := 0
		d.OnChange(func(waltest.Call) { moments++ })
		d.KillAt(n)
		err := work(d)
		require.Equal(t, n < 3, d.Killed(), n)
		require.Equal(t, d.Killed(), errors.Is(err, fs.ErrClosed), n)
		require.Equal(t, n, moments)
		require.Equal(t, want, holds(t, d.Kill()), n)
	}
	d := waltest.New(512)
	d.KillAt(0)
	d.KillAt(-1)
	require.NoError(t, work(d))
}

func TestFaultsHitTheCallsThatMatch(t *testing.T) {
	syncs := func(c waltest.Call) bool { return c.Op == waltest.Sync && c.Name == "b" }
	for _, c := range []struct {
		fault   waltest.Fault
		failed  string // of four syncs of b
		durable string // after the second
	}{
		{waltest.Fault{Match: syncs, At: -1}, "....", "b=2"},
		{waltest.Fault{Match: syncs, At: 1}, ".x..", "b=1"},
		{waltest.Fault{Match: syncs, At: 1, Sticky: true}, ".xxx", "b=1"},
		{waltest.Fault{Match: syncs, At: 1, After: true, Err: syscall.ENOSPC}, ".x..", "b=2"},
	} {
		d := waltest.New(512)
		f, err := d.Create("b")
		require.NoError(t, err)
		require.NoError(t, d.SyncDir("."))
		d.Fail(c.fault)
		failed, durable := "", ""
		for i := range 4 {
			_, err = f.WriteAt([]byte{'1' + byte(i)}, 0)
			require.NoError(t, err)
			if err := f.Sync(); err == nil {
				failed += "."
			} else {
				failed += "x"
				want := c.fault.Err
				if want == nil {
					want = syscall.EIO
				}
				var path *fs.PathError
				require.ErrorAs(t, err, &path)
				require.Equal(t, fs.PathError{Op: "sync", Path: "b", Err: want}, *path)
			}
			if i == 1 {
				durable = holds(t, d.State().Oldest().Disk())
			}
		}
		require.Equal(t, c.failed, failed)
		require.Equal(t, c.durable, durable)
		require.Equal(t, 4, d.Matched())
		require.Equal(t, strings.Count(failed, "x"), d.Failed())
		d.Heal()
		require.NoError(t, f.Sync())
		require.Equal(t, 5, d.Matched())
	}
}

func TestShortWriteSaysHowMuchItWrote(t *testing.T) {
	d := waltest.New(512)
	d.Fail(waltest.Fault{Match: func(c waltest.Call) bool { return c.Op == waltest.Write }, Short: 2})
	f, err := d.Create("a")
	require.NoError(t, err)
	n, err := f.Write([]byte("abc"))
	require.ErrorIs(t, err, syscall.EIO)
	require.Equal(t, 2, n)
	require.Equal(t, "a=ab", holds(t, d))
}

func TestNoSyncRepairsAFailedOne(t *testing.T) {
	d := waltest.New(512)
	put(t, d, "a", "old", true)
	f, err := d.OpenFile("a", os.O_RDWR, 0)
	require.NoError(t, err)
	write := func() {
		_, err := f.WriteAt([]byte("new"), 0)
		require.NoError(t, err)
	}
	write()
	d.Fail(waltest.Fault{Match: waltest.Call.Changes})
	require.Error(t, f.Sync())
	require.NoError(t, f.Sync(), "as if all were well")
	require.Equal(t, "a=new", holds(t, d))
	require.Contains(t, leaves(t, d.State()), "a=old")
	write()
	require.NoError(t, f.Sync())
	require.Equal(t, []string{"a=new"}, leaves(t, d.State()))
}

func TestFullDiskTakesWhatFits(t *testing.T) {
	d := waltest.New(512)
	put(t, d, "a", "1234")
	d.SetLimit(6)
	f, err := d.OpenFile("a", os.O_WRONLY|os.O_APPEND, 0)
	require.NoError(t, err)
	n, err := f.Write([]byte("5678"))
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Equal(t, 2, n)
	require.Equal(t, int64(6), d.Used())
	d.SetLimit(0)
	_, err = f.Write([]byte("78"))
	require.NoError(t, err)
	require.Equal(t, "a=12345678", holds(t, d))
}

func TestCallsOfTheLogAndTheEngineAreOfOneKind(t *testing.T) {
	d := waltest.New(512)
	seen := map[waltest.Op]bool{}
	d.Fail(waltest.Fault{At: -1, Match: func(c waltest.Call) bool {
		seen[c.Op] = true
		return c.Changes()
	}})
	l, err := wal.Open("store/log", &wal.Options{FS: d.FS(), SegmentSize: wal.MinSegmentSize})
	require.NoError(t, err)
	for range 100 {
		_, err = l.Append(make([]byte, 1000))
		require.NoError(t, err)
	}
	require.NoError(t, l.TruncateFront(90))
	require.NoError(t, l.Close())
	put(t, d, "a", "x")
	require.NoError(t, d.Remove("a"))
	for _, op := range []waltest.Op{waltest.Mkdir, waltest.List, waltest.Create, waltest.Open, waltest.Rename, waltest.Remove,
		waltest.SyncDir, waltest.Lock, waltest.Write, waltest.Allocate, waltest.Sync, waltest.Close} {
		require.True(t, seen[op], op)
	}
	require.Greater(t, d.Matched(), 100)
	require.Zero(t, d.Failed())
}

// TestWriteSyncHasAMomentInItsMiddle, when all of it is written and nothing durable.
func TestWriteSyncHasAMomentInItsMiddle(t *testing.T) {
	synctest.Test(t, writeSyncHasAMoment) // where no time passes, and so nothing is done beside
}

func writeSyncHasAMoment(t *testing.T) {
	begin := func(d *waltest.Disk) *wal.Log {
		l, err := wal.Open("log", &wal.Options{FS: d.FS(), Direct: true, SegmentSize: 64 << 10})
		require.NoError(t, err)
		_, err = l.Append([]byte("one"))
		require.NoError(t, err)
		return l
	}
	last := func(s *waltest.State) (lasts []wal.LSN) {
		for img := range s.Images(100, 1) {
			l, err := wal.Open("log", &wal.Options{FS: img.Disk().FS()})
			require.NoError(t, err)
			if !slices.Contains(lasts, l.LastLSN()) {
				lasts = append(lasts, l.LastLSN())
			}
			require.NoError(t, l.Close())
		}
		slices.Sort(lasts)
		return lasts
	}
	d := waltest.New(512)
	l := begin(d)
	var moments [][]wal.LSN
	d.OnChange(func(c waltest.Call) {
		require.Equal(t, waltest.WriteSync, c.Op)
		moments = append(moments, last(d.State()))
	})
	_, err := l.Append([]byte("two"))
	d.OnChange(nil)
	require.NoError(t, err)
	require.Equal(t, [][]wal.LSN{{1}, {1, 2}}, moments)
	require.Equal(t, []wal.LSN{2}, last(d.State()))
	d.Trace()
	_, err = l.Append([]byte("three"))
	require.NoError(t, err)
	require.Regexp(t, `^writesync 0000000000000001.seg 4096\+4096\n$`, d.Trace())

	d.KillAt(1)
	_, err = l.Append([]byte("four"))
	require.ErrorIs(t, err, wal.ErrUnknownOutcome)
	require.True(t, d.Killed())
	require.Equal(t, []wal.LSN{3, 4}, last(d.State()))
	_ = l.Close()

	d = waltest.New(512)
	l = begin(d)
	d.Fail(waltest.Fault{Match: func(c waltest.Call) bool { return c.Op == waltest.WriteSync }, Short: 4096})
	_, err = l.Append([]byte("two"))
	require.ErrorIs(t, err, wal.ErrUnknownOutcome)
	require.Equal(t, 1, d.Failed())
	require.Equal(t, []wal.LSN{1, 2}, last(d.State()))
	_ = l.Close()
}
