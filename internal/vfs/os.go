package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
)

// Permissions of what OS creates, before the process's umask.
const (
	filePerm = 0o644
	dirPerm  = 0o755
)

// OS returns the operating system's file system.
//
// On Linux Sync is fdatasync, and Allocate is fallocate, behind which Zero is of use on ext4
// and XFS, which write in place; where the file system has no fallocate, zeros are written.
// WriteSync is a write with O_DIRECT and O_DSYNC there, and is nowhere else.
// Other systems use what os.File.Sync does (F_FULLFSYNC on Darwin, FlushFileBuffers on
// Windows) and write zeros. Lock is flock on Unix and LockFileEx on Windows, on other systems
// it fails with errors.ErrUnsupported. SyncDir is fsync of the directory; on Windows, which
// has no such call, it does nothing, and a name's durability is left to the journal of NTFS.
func OS() FS { return osFS{} }

type osFS struct{ Sealed }

func (osFS) Mkdir(dir string) error { return os.Mkdir(dir, dirPerm) }

func (osFS) List(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	names, err := d.Readdirnames(0)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}

func (osFS) Create(name string) (File, error) {
	f, err := osOpen(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	return newOSFile(f, err)
}

func (osFS) Open(name string, mode Mode) (File, error) {
	flag := os.O_RDONLY
	if mode == ReadWrite {
		flag = os.O_RDWR
	}
	f, err := osOpen(name, flag)
	return newOSFile(f, err)
}

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }
func (osFS) Remove(name string) error     { return os.Remove(name) }
func (osFS) Link(from, to string) error   { return os.Link(from, to) }
func (osFS) SyncDir(dir string) error     { return osSyncDir(dir) }

func (osFS) Lock(name string) (io.Closer, error) {
	f, err := osOpen(name, os.O_RDWR|os.O_CREATE)
	if err != nil {
		return nil, err
	}
	if err := osLock(f); err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	return f, nil
}

// osFile is an os.File with the calls that it lacks.
type osFile struct {
	*os.File
	raw  syscall.RawConn // keeps the descriptor from being closed under a call
	data dataSync

	zeroed bool                    // Allocate wrote zeros, as there was no other way
	direct atomic.Pointer[os.File] // the same file, for WriteSync; nil: it has none
}

func newOSFile(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &osFile{File: f, raw: raw}, nil
}

func (f *osFile) Stat() (Info, error) {
	fi, err := f.File.Stat()
	if err != nil {
		return Info{}, err
	}
	links, err := f.links(fi)
	if err != nil {
		return Info{}, err
	}
	return Info{Size: fi.Size(), Links: links}, nil
}

// WriteSync implements [File].
func (f *osFile) WriteSync(p []byte, off int64) error {
	direct := f.direct.Load()
	if direct == nil {
		return &fs.PathError{Op: "writesync", Path: f.Name(), Err: errors.ErrUnsupported}
	}
	_, err := direct.WriteAt(p, off)
	if err == nil {
		return nil
	}
	f.forget(off, int64(len(p)))
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	return &fs.PathError{Op: "writesync", Path: f.Name(), Err: err}
}

// EndDirect implements [File].
func (f *osFile) EndDirect() error {
	if direct := f.direct.Swap(nil); direct != nil {
		return direct.Close()
	}
	return nil
}

// Close implements [File].
func (f *osFile) Close() error { return errors.Join(f.File.Close(), f.EndDirect()) }

func (f *osFile) Allocate(size int64) error {
	fi, err := f.File.Stat()
	if err != nil {
		return err
	}
	if fi.Size() >= size {
		return nil
	}
	return f.allocate(fi.Size(), size)
}

// control calls fn with the descriptor and wraps its error.
func (f *osFile) control(op string, fn func(fd uintptr) error) error {
	var err error
	if f.raw.Control(func(fd uintptr) { err = fn(fd) }) != nil {
		err = fs.ErrClosed // the only reason for which fn is not called
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: f.Name(), Err: err}
	}
	return nil
}

// zeros is what writeZeros writes; nobody writes to it.
var zeros [64 << 10]byte

// writeZeros makes the bytes from off to end zeros by writing them.
func (f *osFile) writeZeros(off, end int64) error {
	for off < end {
		n, err := f.WriteAt(zeros[:min(end-off, int64(len(zeros)))], off)
		if err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}
