package waltest

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// Create is os.Create: it makes the file, or empties the one that is there. The file
// can be read and written.
func (d *Disk) Create(name string) (*File, error) {
	return d.OpenFile(name, syscall.O_RDWR|syscall.O_CREAT|syscall.O_TRUNC, 0o666)
}

// Open is os.Open, of a file: it can be read only. A directory cannot be opened; see
// ReadDir and SyncDir.
func (d *Disk) Open(name string) (*File, error) {
	return d.OpenFile(name, syscall.O_RDONLY, 0)
}

// OpenFile is os.OpenFile, with the flags of package os; perm and flags that are not
// named here count for nothing. With O_WRONLY the file can be read too. O_CREATE
// without O_EXCL looks whether the file is there and then creates it, and O_TRUNC
// opens it and then cuts it: two calls, between which the power may fail.
func (d *Disk) OpenFile(name string, flag int, perm fs.FileMode) (*File, error) {
	f, err := d.openFile(name, flag)
	if err != nil {
		return nil, err
	}
	return &File{d: d, file: f, name: name, append: flag&syscall.O_APPEND != 0}, nil
}

func (d *Disk) openFile(name string, flag int) (vfs.File, error) {
	mode := vfs.ReadOnly
	if flag&(syscall.O_WRONLY|syscall.O_RDWR) != 0 {
		mode = vfs.ReadWrite
	}
	if flag&syscall.O_CREAT != 0 && flag&syscall.O_EXCL != 0 {
		return d.fs.Create(name)
	}
	f, err := d.fs.Open(name, mode)
	if errors.Is(err, fs.ErrNotExist) && flag&syscall.O_CREAT != 0 {
		return d.fs.Create(name)
	}
	if err != nil || flag&syscall.O_TRUNC == 0 {
		return f, err
	}
	if err := f.Truncate(0); err != nil {
		_ = f.Close() // the error that counts is there already
		return nil, err
	}
	return f, nil
}

// ReadFile is os.ReadFile.
func (d *Disk) ReadFile(name string) ([]byte, error) {
	f, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return data, err
}

// ReadDir is os.ReadDir: what is in the directory, sorted by name.
func (d *Disk) ReadDir(dir string) ([]fs.DirEntry, error) {
	names, err := d.fs.List(dir)
	if err != nil {
		return nil, err
	}
	entries := make([]fs.DirEntry, len(names))
	for i, name := range names {
		path := filepath.Join(dir, name)
		_, err := d.core.List(path)
		entries[i] = dirEntry{d: d, path: path, dir: err == nil}
	}
	return entries, nil
}

// Mkdir is os.Mkdir; perm counts for nothing.
func (d *Disk) Mkdir(dir string, perm fs.FileMode) error { return d.fs.Mkdir(dir) }

// MkdirAll is os.MkdirAll; perm counts for nothing.
func (d *Disk) MkdirAll(dir string, perm fs.FileMode) error {
	if _, err := d.fs.List(dir); err == nil {
		return nil
	}
	err := d.fs.Mkdir(dir)
	if parent := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && parent != dir {
		if err = d.MkdirAll(parent, perm); err == nil {
			err = d.fs.Mkdir(dir)
		}
	}
	return err
}

// Rename is os.Rename, of a file and within a directory.
func (d *Disk) Rename(from, to string) error { return d.fs.Rename(from, to) }

// Remove is os.Remove, of a file.
func (d *Disk) Remove(name string) error { return d.fs.Remove(name) }

// SyncDir returns once the names in the directory are durable, as on Unix a Sync of
// the opened directory does. Those of the directories above are not its business.
func (d *Disk) SyncDir(dir string) error { return d.fs.SyncDir(dir) }

// File is an open file of a [Disk], with methods of *os.File. They may be called
// concurrently. After Close, and after the end of the process, their errors are
// fs.ErrClosed.
type File struct {
	d      *Disk
	file   vfs.File
	name   string
	append bool

	mu  sync.Mutex
	pos int64 // of the next Read or Write
}

// Name returns the name as it was given to Open.
func (f *File) Name() string { return f.name }

// Read reads from where the last Read, Write or Seek ended.
func (f *File) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.file.ReadAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// ReadAt reads at off, in bytes.
func (f *File) ReadAt(p []byte, off int64) (int, error) { return f.file.ReadAt(p, off) }

// Write writes where the last Read, Write or Seek ended, or with O_APPEND at the end.
// It is one call: but the sectors that it covers may survive in any combination.
func (f *File) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.append {
		f.d.appending.Lock()
		defer f.d.appending.Unlock()
		info, err := f.file.Stat()
		if err != nil {
			return 0, err
		}
		f.pos = info.Size
	}
	n, err := f.file.WriteAt(p, f.pos)
	f.pos += int64(n)
	return n, err
}

// WriteAt writes at off, in bytes. A gap between the end of the file and off reads as
// zeros.
func (f *File) WriteAt(p []byte, off int64) (int, error) { return f.file.WriteAt(p, off) }

// Seek sets where the next Read or Write begins.
func (f *File) Seek(off int64, whence int) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		off += f.pos
	case io.SeekEnd:
		info, err := f.file.Stat()
		if err != nil {
			return 0, err
		}
		off += info.Size
	}
	if off < 0 || whence < io.SeekStart || whence > io.SeekEnd {
		return 0, &fs.PathError{Op: "seek", Path: f.name, Err: fs.ErrInvalid}
	}
	f.pos = off
	return off, nil
}

// Truncate sets the size, in bytes. Bytes gained are zeros.
func (f *File) Truncate(size int64) error { return f.file.Truncate(size) }

// Sync returns once the bytes written so far and the size are durable.
func (f *File) Sync() error { return f.file.Sync() }

// Stat returns the file's size and name; it has no time.
func (f *File) Stat() (fs.FileInfo, error) {
	info, err := f.file.Stat()
	if err != nil {
		return nil, err
	}
	return fileInfo{name: filepath.Base(f.name), size: info.Size, mode: 0o644}, nil
}

// Close ends the use of the file. It makes nothing durable.
func (f *File) Close() error { return f.file.Close() }

// fileInfo is a fs.FileInfo.
type fileInfo struct {
	name string
	size int64
	mode fs.FileMode
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) ModTime() time.Time { return time.Time{} }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i fileInfo) Sys() any           { return nil }

// dirEntry is a fs.DirEntry. What it asks the file system is no call of the process.
type dirEntry struct {
	d    *Disk
	path string
	dir  bool
}

func (e dirEntry) Name() string      { return filepath.Base(e.path) }
func (e dirEntry) IsDir() bool       { return e.dir }
func (e dirEntry) String() string    { return fs.FormatDirEntry(e) }
func (e dirEntry) Type() fs.FileMode { return e.mode().Type() }

func (e dirEntry) mode() fs.FileMode {
	if e.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}

func (e dirEntry) Info() (fs.FileInfo, error) {
	info := fileInfo{name: e.Name(), mode: e.mode()}
	if e.dir {
		return info, nil
	}
	f, err := e.d.core.Open(e.path, vfs.ReadOnly)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	stat, err := f.Stat()
	info.size = stat.Size
	return info, err
}
