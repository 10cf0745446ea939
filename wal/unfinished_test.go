package wal

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// Names that a process gave or took away and did not live, or have the space, to see
// through.

// TestLogThatADeadProcessMadeIsDurableOnceItIsOpen: FRONT has its name, and who gave it
// died before that was durable.
func TestLogThatADeadProcessMadeIsDurableOnceItIsOpen(t *testing.T) {
	c := vfs.NewCrash(512)
	f := vfs.NewFaulty(c)
	f.Set(vfs.Fault{Match: onFile(vfs.SyncDir, "log")})
	_, err := Open("log", &Options{FS: f, FirstLSN: 500})
	require.ErrorIs(t, err, syscall.EIO)
	l := open(t, Options{FS: c, FirstLSN: 7}).is(500, 499)
	l.opts.MustExist = true
	l.each(c.State(), func(k *testLog) { k.is(500, 499) })
}

// TestOpeningGroupWithoutSpaceIsGoneForGood: all of it may have reached the disk, and the
// append was told that it is not in the log.
func TestOpeningGroupWithoutSpaceIsGoneForGood(t *testing.T) {
	c := vfs.NewCrash(512)
	f := vfs.NewFaulty(c)
	l := open(t, Options{FS: f, SegmentSize: small}).fill(3)
	f.Set(vfs.Fault{Match: onFile(vfs.WriteAt, segment2), Err: syscall.ENOSPC, At: 1, After: true})
	b := l.newBatch("never there")
	b.TruncateBack(1)
	require.ErrorIs(t, second(l.AppendBatch(b)), ErrNoSpace)
	l.each(c.State(), func(k *testLog) { k.is(1, 3) })
	l.is(1, 3).fill(2).is(1, 5)
}

// TestDirectoryThatADeadProcessMadeIsDurableOnceTheLogIsOpen: whoever made it died before
// its name was.
func TestDirectoryThatADeadProcessMadeIsDurableOnceTheLogIsOpen(t *testing.T) {
	c := vfs.NewCrash(512)
	require.NoError(t, c.Mkdir("a"))
	require.NoError(t, c.Mkdir("a/log"))
	l := openAt(t, "a/log", Options{FS: c, SegmentSize: small}).fill(1)
	l.each(c.State(), func(k *testLog) { k.is(1, 1) })
}
