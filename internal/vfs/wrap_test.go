package vfs_test

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// direct returns a file system with WriteSync, of anything.
func direct() *vfs.Mem {
	m := vfs.NewMem()
	m.UseDirect(1)
	return m
}

// session does a bit of everything that changes something, up to the first error.
func session(fsys vfs.FS) (err error) {
	do := func(fn func() error) {
		if err == nil {
			err = fn()
		}
	}
	var f vfs.File
	do(func() error { return fsys.Mkdir("log") })
	do(func() (err error) { f, err = fsys.Create("log/1.tmp"); return err })
	if f != nil {
		defer func() { err = errors.Join(err, f.Close()) }()
	}
	do(func() error { return f.Allocate(4096) })
	do(func() error { return fsys.Rename("log/1.tmp", "log/1.seg") })
	do(func() error { return fsys.SyncDir("log") })
	do(func() error { _, err := f.WriteAt([]byte("ABCDEFGH"), 0); return err })
	do(func() error { return f.Sync() })
	do(func() error { f.Direct(); return f.WriteSync([]byte("GH"), 6) })
	do(func() error { return f.Truncate(4) })
	do(func() error { return fsys.Link("log/1.seg", "log/2") })
	do(func() error { return fsys.Remove("log/1.seg") })
	do(func() error { _, err := f.WriteAt([]byte("KL"), 4); return err })
	return err
}

const sessionTrace = `mkdir log
create 1.tmp
allocate 1.tmp 4096
rename 1.tmp 1.seg
syncdir log
write 1.seg 0+8
sync 1.seg
writesync 1.seg 6+2
truncate 1.seg 4
link 1.seg 2
remove 1.seg
write 1.seg 4+2
close 1.seg
`

func TestTraceIsGolden(t *testing.T) {
	tr := vfs.NewTrace(direct())
	require.NoError(t, session(tr))
	require.Equal(t, sessionTrace, tr.Take())
	require.Empty(t, tr.Take())
}

func TestTraceOfErrorsAndReads(t *testing.T) {
	m := vfs.NewMem()
	m.SetLimit(5)
	tr := vfs.NewTrace(m)
	tr.Also(vfs.Lock, vfs.Open, vfs.List, vfs.ReadAt, vfs.Stat)
	tr.Except(vfs.Close)
	l, err := tr.Lock("d/L")
	require.Error(t, err)
	require.Nil(t, l)
	l, err = tr.Lock("L")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	_, err = tr.List(".")
	require.NoError(t, err)
	f, err := tr.Open("L", vfs.ReadWrite)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("ABCDEFGH"), 0)
	require.Error(t, err)
	_, err = f.ReadAt(make([]byte, 5), 0)
	require.NoError(t, err)
	_, err = f.Stat()
	require.NoError(t, err)
	require.Error(t, tr.Rename("no", "a/b"))
	require.Equal(t, `lock L: file does not exist
lock L
list .
open L
write L 0+8: no space left on device
read L 0+5
stat L
rename no b: file does not exist
`, tr.Take())
}

func TestOpenFilesFollowTheirName(t *testing.T) {
	tr := vfs.NewTrace(vfs.NewMem())
	tr.Except(vfs.Create, vfs.Rename, vfs.Remove)
	create := func(name string) vfs.File {
		f, err := tr.Create(name)
		require.NoError(t, err)
		return f
	}
	a, b := create("a"), create("b")
	require.NoError(t, tr.Rename("./a", "b"))
	require.NoError(t, a.Sync())
	require.NoError(t, tr.Rename("b", "c"))
	require.NoError(t, a.Sync())
	require.NoError(t, b.Sync())
	require.NoError(t, tr.Remove("c"))
	c := create("c")
	require.NoError(t, tr.Rename("c", "d"))
	require.NoError(t, a.Sync())
	require.NoError(t, c.Sync())
	require.NoError(t, tr.Rename("d", "./d"))
	require.NoError(t, c.Sync())
	require.NoError(t, tr.Rename("d", "e"))
	require.NoError(t, c.Sync())
	require.Error(t, tr.Rename("no", "e"))
	require.Equal(t, "sync b\nsync c\nsync b\nsync c\nsync d\nsync d\nsync e\n", tr.Take())
}

func TestEachCallCanFail(t *testing.T) {
	cause := errors.New("cause")
	count := vfs.NewFaulty(direct())
	require.NoError(t, session(count))
	require.Equal(t, 13, count.Calls())
	require.Zero(t, count.Hits())
	lines := strings.SplitAfter(sessionTrace, "\n")
	for at := range count.Calls() {
		tr := vfs.NewTrace(direct())
		f := vfs.NewFaulty(tr)
		f.Set(vfs.Fault{At: at, Err: cause})
		err := session(f)
		require.ErrorIs(t, err, cause)
		var path *fs.PathError
		require.ErrorAs(t, err, &path)
		require.Equal(t, 1, f.Hits())

		want := strings.Join(lines[:at], "")
		switch { // the session closes what it opened
		case at > 3:
			want += "close 1.seg\n"
		case at > 1:
			want += "close 1.tmp\n"
		}
		require.Equal(t, want, tr.Take(), "the failing call has no effect")
	}
}

// faulty returns a file system with a file a, and a trace below the faults.
func faulty(t *testing.T, fault vfs.Fault) (*vfs.Faulty, *vfs.Trace, vfs.File) {
	t.Helper()
	tr := vfs.NewTrace(direct())
	f := vfs.NewFaulty(tr)
	file, err := f.Create("a")
	require.NoError(t, err)
	tr.Take()
	f.Set(fault)
	return f, tr, file
}

func isWrite(c vfs.Call) bool { return c.Op == vfs.WriteAt }

func TestFaultFailsTheAtThMatch(t *testing.T) {
	f, tr, file := faulty(t, vfs.Fault{Match: isWrite, At: 1, Err: syscall.ENOSPC})
	for i, fails := range []bool{false, true, false} {
		require.NoError(t, file.Sync())
		n, err := file.WriteAt([]byte("AB"), int64(2*i))
		if !fails {
			require.NoError(t, err)
			require.Equal(t, 2, n)
			continue
		}
		require.Equal(t, &fs.PathError{Op: "write", Path: "a", Err: syscall.ENOSPC}, err)
		require.Zero(t, n)
	}
	require.Equal(t, "sync a\nwrite a 0+2\nsync a\nsync a\nwrite a 4+2\n", tr.Take())
	require.Equal(t, 3, f.Calls())
	require.Equal(t, 1, f.Hits())
}

func TestFaultSticks(t *testing.T) {
	f, tr, file := faulty(t, vfs.Fault{Match: isWrite, At: 1, Sticky: true})
	for i := range 4 {
		_, err := file.WriteAt([]byte("AB"), 0)
		require.Equal(t, i > 0, errors.Is(err, syscall.EIO), "write %d: %v", i, err)
	}
	require.Equal(t, 3, f.Hits())
	require.Equal(t, "write a 0+2\n", tr.Take())
	f.Clear()
	_, err := file.WriteAt([]byte("AB"), 0)
	require.NoError(t, err)
	require.Equal(t, 3, f.Hits())
	require.Equal(t, 5, f.Calls())
}

func TestFaultAfterTheEffect(t *testing.T) {
	f, tr, file := faulty(t, vfs.Fault{At: 0, Sticky: true, After: true, Short: -1})
	n, err := file.WriteAt([]byte("AB"), 0)
	require.ErrorIs(t, err, syscall.EIO)
	require.Zero(t, n)
	require.ErrorIs(t, file.Sync(), syscall.EIO)
	b, err := f.Create("b")
	require.ErrorIs(t, err, syscall.EIO)
	require.Nil(t, b)
	l, err := f.Lock("L")
	require.ErrorIs(t, err, syscall.EIO)
	require.Nil(t, l)
	_, err = f.List(".")
	require.ErrorIs(t, err, syscall.EIO)
	require.ErrorIs(t, file.Close(), syscall.EIO)
	require.Equal(t, "write a 0+2\nsync a\ncreate b\nclose b\nclose L\nclose a\n", tr.Take())
	require.Equal(t, "L= a=AB b=", show(t, tr, "."))
	l, err = tr.Lock("L")
	require.NoError(t, err, "nobody holds it")
	require.NoError(t, l.Close())
}

func TestFaultShortensWrites(t *testing.T) {
	f, tr, file := faulty(t, vfs.Fault{Match: isWrite, Short: 3})
	n, err := file.WriteAt([]byte("ABCDE"), 1)
	require.ErrorIs(t, err, syscall.EIO)
	require.Equal(t, 3, n)
	require.Equal(t, "write a 1+3\n", tr.Take())
	f.Set(vfs.Fault{Match: isWrite, Short: 2, After: true})
	n, err = file.WriteAt([]byte("VWXYZ"), 1)
	require.ErrorIs(t, err, syscall.EIO)
	require.Equal(t, 2, n)
	require.Equal(t, "a=_VWXYZ", show(t, tr, "."))
	f.Set(vfs.Fault{Match: isWrite, Short: 100})
	n, err = file.WriteAt([]byte("AB"), 1)
	require.ErrorIs(t, err, syscall.EIO)
	require.Equal(t, 2, n)
}

func TestFaultInWriteSync(t *testing.T) {
	_, tr, file := faulty(t, vfs.Fault{Match: func(c vfs.Call) bool { return c.Op == vfs.WriteSync }, Short: 3})
	require.NoError(t, file.Allocate(8))
	require.Equal(t, 1, file.Direct())
	tr.Take()
	require.ErrorIs(t, file.WriteSync([]byte("ABCDE"), 1), syscall.EIO)
	require.Equal(t, "write a 1+3\n", tr.Take(), "none of it is durable")
	require.NoError(t, file.WriteSync([]byte("KL"), 1))
	require.Equal(t, "writesync a 1+2\n", tr.Take())
	require.Equal(t, "a=_KLC____", show(t, tr, "."))
}

func TestFaultsAreDecidedCallByCall(t *testing.T) {
	f, tr, file := faulty(t, vfs.Fault{})
	f.Decide(func(c vfs.Call) (vfs.Fault, bool) {
		return vfs.Fault{Err: syscall.EDQUOT, Short: int(c.Size) - 1}, c.Op == vfs.WriteAt && c.Off > 0
	})
	_, err := file.WriteAt([]byte("AB"), 0)
	require.NoError(t, err)
	for _, text := range []string{"CD", "EFG"} {
		n, err := file.WriteAt([]byte(text), 2)
		require.ErrorIs(t, err, syscall.EDQUOT)
		require.Equal(t, len(text)-1, n)
	}
	require.Equal(t, "write a 0+2\nwrite a 2+1\nwrite a 2+2\n", tr.Take())
	require.Equal(t, 3, f.Calls())
	require.Equal(t, 2, f.Hits())
	f.Clear()
	_, err = file.WriteAt([]byte("CD"), 2)
	require.NoError(t, err)
	f.Decide(func(vfs.Call) (vfs.Fault, bool) { return vfs.Fault{}, true })
	require.ErrorIs(t, file.Sync(), syscall.EIO)
	f.Set(vfs.Fault{At: -1})
	require.NoError(t, file.Sync())
}

func TestFailingCloseCloses(t *testing.T) {
	f, _, file := faulty(t, vfs.Fault{Match: func(c vfs.Call) bool { return c.Op == vfs.Close }, Sticky: true})
	require.ErrorIs(t, file.Close(), syscall.EIO)
	require.ErrorIs(t, file.Sync(), fs.ErrClosed)
	l, err := f.Lock("L")
	require.NoError(t, err)
	require.ErrorIs(t, l.Close(), syscall.EIO)
	f.Clear()
	l, err = f.Lock("L")
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

func TestHandlersMustNotInventFiles(t *testing.T) {
	lazy := vfs.Wrap(vfs.NewMem(), func(vfs.Call, func(int) (int, error)) (int, error) { return 0, nil })
	require.NoError(t, lazy.Mkdir("d"), "a disk that lies")
	require.Panics(t, func() { lazy.Create("f") })
	require.Panics(t, func() { lazy.Lock("f") })
}

func TestOps(t *testing.T) {
	mutate := ""
	for op := vfs.Mkdir; op <= vfs.Close; op++ {
		if op.Mutates() {
			mutate += op.String() + " "
		}
	}
	require.Equal(t, "mkdir create rename remove link syncdir write allocate writesync truncate sync ", mutate)
	require.Equal(t, "unknown", (vfs.Close + 1).String())
}
