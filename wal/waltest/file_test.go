package waltest_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/wal/waltest"
)

// files is what a Disk and package os have in common.
type files interface {
	OpenFile(name string, flag int, perm fs.FileMode) (file, error)
	Create(name string) (file, error)
	Open(name string) (file, error)
	ReadFile(name string) ([]byte, error)
	ReadDir(name string) ([]fs.DirEntry, error)
	Mkdir(name string, perm fs.FileMode) error
	MkdirAll(name string, perm fs.FileMode) error
	Rename(from, to string) error
	Remove(name string) error
}

type file interface {
	io.ReadWriteSeeker
	io.ReaderAt
	io.WriterAt
	Name() string
	Truncate(size int64) error
	Sync() error
	Stat() (fs.FileInfo, error)
	Close() error
}

type osFiles struct{}

func (osFiles) OpenFile(name string, flag int, perm fs.FileMode) (file, error) {
	return os.OpenFile(name, flag, perm)
}
func (osFiles) Create(name string) (file, error)             { return os.Create(name) }
func (osFiles) Open(name string) (file, error)               { return os.Open(name) }
func (osFiles) ReadFile(name string) ([]byte, error)         { return os.ReadFile(name) }
func (osFiles) ReadDir(name string) ([]fs.DirEntry, error)   { return os.ReadDir(name) }
func (osFiles) Mkdir(name string, perm fs.FileMode) error    { return os.Mkdir(name, perm) }
func (osFiles) MkdirAll(name string, perm fs.FileMode) error { return os.MkdirAll(name, perm) }
func (osFiles) Rename(from, to string) error                 { return os.Rename(from, to) }
func (osFiles) Remove(name string) error                     { return os.Remove(name) }

type diskFiles struct{ *waltest.Disk }

func (d diskFiles) OpenFile(name string, flag int, perm fs.FileMode) (file, error) {
	return d.Disk.OpenFile(name, flag, perm)
}
func (d diskFiles) Create(name string) (file, error) { return d.Disk.Create(name) }
func (d diskFiles) Open(name string) (file, error)   { return d.Disk.Open(name) }

// play does a bit of everything and returns what it saw, a line each.
func play(t *testing.T, on files, dir string) (saw []string) {
	say := func(what string, args ...any) {
		for i, a := range args {
			if err, ok := a.(error); ok {
				args[i] = kind(err)
			}
		}
		saw = append(saw, what+": "+fmt.Sprint(args...))
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	open := func(name string, flag int) file {
		f, err := on.OpenFile(in(name), flag, 0o644)
		say("open "+name, err)
		if err != nil {
			return nil
		}
		t.Cleanup(func() { _ = f.Close() })
		return f
	}
	transfer := func(what string, n int, err error) { say(what, n, " ", err) }

	say("mkdir", on.MkdirAll(in("a/b"), 0o755), on.MkdirAll(in("a/b"), 0o755), on.Mkdir(in("a"), 0o755), on.Mkdir(in("x/y"), 0o755))
	f := open("f", os.O_RDWR|os.O_CREATE|os.O_EXCL)
	open("f", os.O_RDWR|os.O_CREATE|os.O_EXCL)
	open("g", os.O_RDWR)
	n, err := f.Write([]byte("hello, world"))
	transfer("write", n, err)
	buf := make([]byte, 8)
	n, err = f.Read(buf)
	transfer("read at the end", n, err)
	pos, err := f.Seek(-5, io.SeekEnd)
	say("seek", pos, err)
	n, err = f.Read(buf)
	transfer("read", n, err)
	pos, err = f.Seek(-12, io.SeekCurrent)
	say("seek", pos, err)
	_, err = f.Seek(-1, io.SeekStart)
	say("seek to nowhere", err != nil)
	n, err = f.Write([]byte("J"))
	transfer("write", n, err)
	n, err = f.WriteAt([]byte("!"), 14)
	transfer("write at", n, err)
	n, err = f.ReadAt(buf, 9)
	transfer("read at", n, err)
	say("read at", fmt.Sprintf("%q", buf[:n]))
	a := open("f", os.O_WRONLY|os.O_APPEND)
	n, err = a.Write([]byte("end"))
	transfer("append", n, err)
	say("sync", f.Sync(), a.Sync())
	info, err := f.Stat()
	say("stat", info.Name(), info.Size(), info.IsDir(), info.Mode().IsRegular(), err)
	say("truncate", f.Truncate(4))
	text, err := on.ReadFile(in("f"))
	say("read file", string(text), err)
	r, err := on.Open(in("f"))
	say("open", err)
	_, err = r.Write([]byte("x"))
	say("write to what is read only", err != nil)
	say("close", r.Close(), r.Close())
	c, err := on.Create(in("c"))
	say("create", filepath.Base(c.Name()), err)
	_, err = c.Write([]byte("1234"))
	say("write", err, c.Close())
	c, err = on.Create(in("c"))
	say("create again", err, c.Close())
	text, err = on.ReadFile(in("c"))
	say("read file", string(text), err)
	say("rename", on.Rename(in("c"), in("d")), on.Rename(in("c"), in("d")))
	open("e", os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	say("remove", on.Remove(in("d")), on.Remove(in("d")))
	_, err = on.ReadFile(in("d"))
	say("read file", err)
	_, err = on.ReadDir(in("d"))
	say("read directory", err)
	return saw
}

// kind is what of an error does not depend on the system.
func kind(err error) string {
	for _, known := range []error{io.EOF, fs.ErrNotExist, fs.ErrExist, fs.ErrClosed} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return "another error: " + err.Error()
}

func TestDiskDoesWhatTheOperatingSystemDoes(t *testing.T) {
	d := waltest.New(512)
	require.NoError(t, d.Mkdir("dir", 0o755))
	require.Equal(t, play(t, osFiles{}, t.TempDir()), play(t, diskFiles{d}, "dir"))
}

func TestReadDirTellsFilesFromDirectories(t *testing.T) {
	list := func(on files, dir string) (all []string) {
		require.NoError(t, on.MkdirAll(filepath.Join(dir, "sub", "below"), 0o755))
		f, err := on.Create(filepath.Join(dir, "file"))
		require.NoError(t, err)
		_, err = f.Write([]byte("12345"))
		require.NoError(t, err)
		require.NoError(t, f.Close())
		entries, err := on.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			info, err := e.Info()
			require.NoError(t, err)
			require.Equal(t, e.Name(), info.Name())
			require.Equal(t, e.IsDir(), info.IsDir())
			size := info.Size()
			if e.IsDir() {
				size = 0 // whatever the system says
			}
			all = append(all, fmt.Sprint(e, " ", e.Type(), " ", size))
		}
		return all
	}
	d := waltest.New(512)
	require.NoError(t, d.Mkdir("dir", 0o755))
	want := list(osFiles{}, t.TempDir())
	require.Len(t, want, 2)
	require.Equal(t, want, list(diskFiles{d}, "dir"))
}

func TestAppendersTakeTurns(t *testing.T) {
	d := waltest.New(512)
	ended := make(chan error)
	for range 4 {
		f, err := d.OpenFile("a", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0)
		require.NoError(t, err)
		go func() {
			var err error
			for i := 0; i < 100 && err == nil; i++ {
				_, err = f.Write([]byte("ab"))
			}
			ended <- err
		}()
	}
	for range 4 {
		require.NoError(t, <-ended)
	}
	text, err := d.ReadFile("a")
	require.NoError(t, err)
	require.Regexp(t, "^(ab){400}$", string(text))
}
