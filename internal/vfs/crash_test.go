package vfs_test

import (
	"errors"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

func TestNothingIsKeptUnsynced(t *testing.T) {
	c := vfs.NewCrash(4)
	leaves(t, c, "")
	play(t, c, "create a")
	leaves(t, c, "", "a=")
	play(t, c, "write a 0 AB")
	leaves(t, c, "", "a=", "a=AB", "a=__", "a=##")
}

func TestSyncKeepsContentButNoName(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "write a 0 ABCDEF", "sync a")
	leaves(t, c, "", "a=ABCDEF")
	play(t, c, "syncdir .")
	leaves(t, c, "a=ABCDEF")
}

func TestSyncDirKeepsNameButNoContent(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "write a 0 AB", "syncdir .")
	leaves(t, c, "a=", "a=AB", "a=__", "a=##")
	play(t, c, "sync a")
	leaves(t, c, "a=AB")
}

func TestRenameIsAtomicAndUnorderedAgainstData(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "write a 0 OLD", "sync a", "syncdir .")
	play(t, c, "create tmp", "syncdir .", "write tmp 0 NEW", "rename tmp a")
	tmp := []string{"", "___", "NEW", "###"}
	leaves(t, c, append(each([]string{"a=OLD tmp="}, tmp), each([]string{"a="}, tmp)...)...)
	play(t, c, "sync a")
	leaves(t, c, "a=OLD tmp=NEW", "a=NEW")
	play(t, c, "syncdir .")
	leaves(t, c, "a=NEW")
}

func TestRenameMayOutliveCreate(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "write a 0 A", "sync a", "rename a b")
	leaves(t, c, "", "a=A", "b=A")
}

func TestEntriesAreIndependent(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "create b", "create d", "syncdir .", "remove a", "link b c", "rename b e", "remove d")
	leaves(t, c,
		"a= b= d=", "b= d=", "a= b= c= d=", "b= c= d=", "a= d= e=", "d= e=", "a= c= d= e=", "c= d= e=",
		"a= b=", "b=", "a= b= c=", "b= c=", "a= e=", "e=", "a= c= e=", "c= e=")
}

func TestRemovedComesBack(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "write a 0 OLD", "sync a", "syncdir .", "remove a", "create a", "write a 0 N", "sync a")
	leaves(t, c, "a=OLD", "", "a=N")
	play(t, c, "syncdir .")
	leaves(t, c, "a=N")
}

func TestUnitsAreIndependent(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "write a 0 ABCDEFGH", "sync a", "syncdir .", "write a 2 wxyz")
	leaves(t, c, "a=ABCDEFGH", "a=ABwxEFGH", "a=ABCDyzGH", "a=ABwxyzGH")
	play(t, c, "write a 4 kl")
	leaves(t, c, "a=ABCDEFGH", "a=ABwxEFGH", "a=ABCDyzGH", "a=ABwxyzGH", "a=ABCDklGH", "a=ABwxklGH")
	play(t, c, "sync a")
	leaves(t, c, "a=ABwxklGH")
}

// TestWriteSyncKeepsItsUnits and no others, nor what else was written to them before.
func TestWriteSyncKeepsItsUnits(t *testing.T) {
	c := vfs.NewCrash(4)
	c.UseDirect(4)
	play(t, c, "create a", "write a 0 ABCDEFGHIJKL", "sync a", "syncdir .", "write a 2 wxyz", "writesync a 4 EFGH")
	leaves(t, c, "a=ABCDEFGHIJKL", "a=ABwxEFGHIJKL")
	play(t, c, "writesync a 0 QRSTUVWX", "sync a")
	leaves(t, c, "a=QRSTUVWXIJKL")
	play(t, c, "alloc a 16", "write a 11 no")
	play(t, c, "fail a", "writesync a 8 ijkl", "sync a")
	leaves(t, c, "a=QRSTUVWXijkl____", "a=QRSTUVWXijkl####", "a=QRSTUVWXijklo___")
	play(t, c, "alloc a 20", "writesync a 16 MNOP")
	leaves(t, c, slices.Concat(
		each([]string{"a=QRSTUVWXijkl"}, []string{"____", "####", "o___"}),
		each([]string{"a=QRSTUVWXijkl"}, []string{"____MNOP", "####MNOP", "o___MNOP"}))...)
}

func TestWriteSyncWantsAlignment(t *testing.T) {
	m := vfs.NewMem()
	f, err := m.Create("a")
	require.NoError(t, err)
	require.Zero(t, f.Direct())
	require.ErrorIs(t, f.WriteSync(make([]byte, 8), 0), errors.ErrUnsupported)
	m.UseDirect(8)
	require.Equal(t, 8, f.Direct())
	read, err := m.Open("a", vfs.ReadOnly)
	require.NoError(t, err)
	require.Zero(t, read.Direct())
	require.NoError(t, f.Allocate(64))
	p := vfs.Aligned(24, 8)
	require.NoError(t, f.WriteSync(p, 40))
	for _, bad := range []error{f.WriteSync(p[1:9], 0), f.WriteSync(p[:9], 0), f.WriteSync(p[:8], 4), f.WriteSync(p, 48), f.WriteSync(p, -8)} {
		require.Error(t, bad)
		require.NotErrorIs(t, bad, errors.ErrUnsupported)
	}
	require.NoError(t, f.Close())
	for range 100 { // wherever they begin
		p := vfs.Aligned(10, 4096)
		require.Len(t, p, 10)
		require.Equal(t, 10, cap(p))
		require.Zero(t, reflect.ValueOf(p).Pointer()%4096)
	}
}

func TestGarbageOnlyWhereNoDurableByte(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "alloc a 6", "sync a", "syncdir .", "write a 0 ABCDEFGHIJ")
	leaves(t, c, append(
		each([]string{"a="}, []string{"____", "ABCD"}, []string{"__", "EF"}),
		each([]string{"a="}, []string{"____", "ABCD"}, []string{"____", "EFGH"}, []string{"__", "IJ", "##"})...)...)
	s := c.State()
	for _, ch := range s.Choices() {
		require.Equal(t, ch.What == "block" && ch.Off == 8, ch.Garbage, "%+v", ch)
	}
}

func TestZerosWrittenMayBeGarbage(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "alloc a 4", "syncdir .")
	leaves(t, c, "a=", "a=____")
	f, err := c.Open("a", vfs.ReadWrite)
	require.NoError(t, err)
	_, err = f.WriteAt(make([]byte, 2), 0)
	require.NoError(t, err)
	leaves(t, c, "a=", "a=____", "a=####")
}

func TestSizeIsIndependent(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "write a 0 ABCD", "sync a", "syncdir .", "alloc a 6", "write a 0 WXYZ", "alloc a 9")
	leaves(t, c, "a=ABCD", "a=WXYZ", "a=ABCD__", "a=WXYZ__", "a=ABCD_____", "a=WXYZ_____")
}

func TestTruncateLeavesZeros(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "write a 0 ABCDEFGH", "sync a", "syncdir .", "trunc a 2", "trunc a 6")
	leaves(t, c, slices.Concat(
		each([]string{"a="}, []string{"ABCD", "AB__"}, []string{"EFGH", "____", "EF", "__"}), []string{"a=AB"})...)
	play(t, c, "sync a")
	leaves(t, c, "a=AB____")
	play(t, c, "alloc a 16", "trunc a 14")
	leaves(t, c, "a=AB____", "a=AB____________", "a=AB______________")
}

func TestDirectoriesAreEntries(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "mkdir d", "create d/a", "write d/a 0 A", "sync d/a", "syncdir d")
	leaves(t, c, "", "d/ d/a=A")
	play(t, c, "syncdir .", "mkdir d/./e", "lock d/e/L")
	leaves(t, c, "d/ d/a=A", "d/ d/a=A d/e/", "d/ d/a=A d/e/ d/e/L=")
	play(t, c, "syncdir d", "syncdir d/e")
	leaves(t, c, "d/ d/a=A d/e/ d/e/L=")
}

func TestLinkIsOneFile(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "syncdir .", "link a b", "syncdir .", "write a 0 A", "sync b", "write b 0 B")
	leaves(t, c, "a=A b=A", "a=B b=B")
	play(t, c, "rename a b", "sync a")
	leaves(t, c, "a=B b=B")
	m := c.State().Image(c.State().Newest())
	f, err := m.Open("a", vfs.ReadOnly)
	require.NoError(t, err)
	info, err := f.Stat()
	require.NoError(t, err)
	require.Equal(t, vfs.Info{Size: 1, Links: 2}, info)
}

func TestRenameAcrossDirectoriesIsUnsupported(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "mkdir d", "create a")
	require.ErrorIs(t, c.Rename("a", "d/a"), errors.ErrUnsupported)
	require.Equal(t, "a= d/", show(t, c, "."))
}

func TestUnnamedFilesAreForgotten(t *testing.T) {
	c := vfs.NewCrash(4)
	f, err := c.Create("a")
	require.NoError(t, err)
	play(t, c, "remove a", "syncdir .")
	_, err = f.WriteAt([]byte("ABC"), 0)
	require.NoError(t, err)
	require.NoError(t, f.Truncate(1))
	require.NoError(t, f.Sync())
	leaves(t, c, "")
}

func TestRefusedWritesLeaveNothing(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "write a 0 ABC", "sync a", "syncdir .")
	f, err := c.Open("a", vfs.ReadOnly)
	require.NoError(t, err)
	for off := range int64(10) {
		_, err = f.WriteAt([]byte("x"), off)
		require.Error(t, err)
	}
	require.Error(t, f.Truncate(0))
	require.Empty(t, c.State().Choices())
	c.SetLimit(5)
	f, err = c.Open("a", vfs.ReadWrite)
	require.NoError(t, err)
	n, err := f.WriteAt([]byte("DEFG"), 3)
	require.True(t, vfs.IsNoSpace(err))
	require.Equal(t, 2, n)
	leaves(t, c, "a=ABC", "a=ABC__", "a=ABCD_", "a=ABC_E", "a=ABCDE", "a=ABC_#", "a=ABCD#")
}

func TestGarbageIsWhatAFileThatIsGoneHeld(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "write a 0 OLDOLDOLD", "write a 12 X", "sync a", "create b", "syncdir .", "remove a", "write b 3 NEWNEWNEWNEW")
	s := c.State()
	noise := s.Oldest()
	for i, ch := range s.Choices() {
		noise[i] = ch.N - 1
	}
	require.Equal(t, "b=###############", strings.ReplaceAll(show(t, s.Image(noise), "."), "#b", "# b"), "a may come back, with its blocks")
	play(t, c, "syncdir .")
	s = c.State()
	noise = s.Oldest()
	for i, ch := range s.Choices() {
		noise[i] = ch.N - 1
	}
	require.Equal(t, "b=OLDOLDOLD___X__", show(t, s.Image(noise), "."))
}

func TestFailedSyncIsNotMadeGood(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "write a 0 ABCDEFGH", "sync a", "syncdir .", "write a 2 wxyz", "fail a", "sync a")
	leaves(t, c, "a=ABCDEFGH", "a=ABwxEFGH", "a=ABCDyzGH", "a=ABwxyzGH")
	play(t, c, "write a 0 k", "sync a")
	leaves(t, c, "a=kBwxEFGH", "a=kBwxyzGH")
	play(t, c, "write a 4 EF", "write a 4 yz", "sync a")
	leaves(t, c, "a=kBwxyzGH")
	require.Error(t, c.FailSync("no"))
}

// A write that made the file larger, and failed to reach the disk, did not make it
// larger there.
func TestFailedSyncLosesTheSizeThatAWriteMade(t *testing.T) {
	c := vfs.NewCrash(4)
	play(t, c, "create a", "write a 0 AB", "sync a", "syncdir .", "write a 2 CDEFGH", "fail a", "sync a")
	sizes := []string{"a=AB", "a=AB______", "a=ABCD____", "a=AB__EFGH", "a=ABCDEFGH", "a=AB__####", "a=ABCD####"}
	leaves(t, c, sizes...)
	play(t, c, "write a 4 EF", "sync a")
	leaves(t, c, "a=AB__EF", "a=ABCDEF", "a=AB__EFGH", "a=ABCDEFGH")
	play(t, c, "write a 0 ABCDEFGH", "sync a")
	leaves(t, c, "a=ABCDEFGH")

	c = vfs.NewCrash(4)
	play(t, c, "create a", "sync a", "syncdir .", "alloc a 6", "write a 0 A", "fail a", "sync a")
	leaves(t, c, "a=______", "a=A_____", "a=####__")
}

func TestEvictedPagesShowTheDisk(t *testing.T) {
	for pick, want := range []string{"a=ABCDEFGH", "a=ABwxyzGH"} {
		c := vfs.NewCrash(4)
		play(t, c, "create a", "write a 0 ABCDEFGH", "sync a", "syncdir .", "write a 2 wxyz", "fail a")
		require.Equal(t, "a=ABwxyzGH", show(t, c, "."))
		c.Evict(func(_ string, _ int64, n int) int {
			require.Equal(t, 2, n)
			return pick
		})
		leaves(t, c, want)
		require.Equal(t, want, show(t, c, "."))
		play(t, c, "write a 7 K")
		leaves(t, c, want, want[:len(want)-1]+"K")
	}
	c := vfs.NewCrash(4)
	play(t, c, "create a", "syncdir .", "write a 0 ABCDEF", "fail a", "write a 0 WXYZ")
	c.Evict(func(_ string, _ int64, n int) int { return n - 1 })
	require.Equal(t, "a=WXYZ##", show(t, c, "."), "what was written since is kept")
	leaves(t, c, "a=", "a=######", "a=____##", "a=ABCD##", "a=WXYZ##")
}

func TestKillClosesAndReleases(t *testing.T) {
	c := vfs.NewCrash(4)
	l, err := c.Lock("L")
	require.NoError(t, err)
	f, err := c.Create("a")
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("AB"), 0)
	require.NoError(t, err)
	c.Kill()
	_, err = f.WriteAt([]byte("B"), 0)
	require.ErrorIs(t, err, fs.ErrClosed)
	l2, err := c.Lock("L")
	require.NoError(t, err)
	require.ErrorIs(t, l.Close(), fs.ErrClosed)
	_, err = c.Lock("L")
	require.ErrorIs(t, err, vfs.ErrLocked, "the old lock's Close does not release the new one")
	require.NoError(t, l2.Close())
	play(t, c, "syncdir .")
	leaves(t, c, "L= a=", "L= a=__", "L= a=AB", "L= a=##")
}
