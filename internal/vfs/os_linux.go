package vfs

import (
	"errors"
	"io/fs"
	"sync"

	"golang.org/x/sys/unix"
)

// dataSync is what Sync needs that every commit calls: memory of its own for the call, so
// that it allocates none.
type dataSync struct {
	mu   sync.Mutex
	call func(fd uintptr) // sets err
	err  error
}

// Sync is fdatasync: data and size, but no access to the inode for a time stamp only.
func (f *osFile) Sync() error {
	s := &f.data
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.call == nil {
		s.call = func(fd uintptr) {
			s.err = retry(func() error { return unix.Fdatasync(int(fd)) })
		}
	}
	if f.raw.Control(s.call) != nil {
		s.err = fs.ErrClosed // the only reason for which it is not called
	}
	if s.err != nil {
		return &fs.PathError{Op: "sync", Path: f.Name(), Err: s.err}
	}
	return nil
}

// allocate reserves all of the file, holes below the old size included.
func (f *osFile) allocate(old, size int64) error {
	err := f.control("allocate", func(fd uintptr) error {
		return retry(func() error { return unix.Fallocate(int(fd), 0, 0, size) })
	})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		f.zeroed = true
		return f.writeZeros(old, size)
	}
	return err
}

// A write of at least largeWrite bytes is parted in pieces of writePiece, and the disk is
// given each at once: it has done most of them when the last one is in the page cache. The
// write and sync of 1 MiB takes a fifth less, as it does past the page cache.
const (
	largeWrite = 512 << 10
	writePiece = 128 << 10
)

// WriteAt implements [File].
func (f *osFile) WriteAt(b []byte, off int64) (n int, err error) {
	if len(b) < largeWrite {
		return f.File.WriteAt(b, off)
	}
	for n < len(b) && err == nil {
		var wrote int
		wrote, err = f.File.WriteAt(b[n:min(n+writePiece, len(b))], off+int64(n))
		f.begin(off+int64(n), int64(wrote))
		n += wrote
	}
	return n, err
}

// begin tells the system to give what was written to the disk, and does not wait for that.
func (f *osFile) begin(off, size int64) {
	_ = f.control("writeback", func(fd uintptr) error { // a system without it begins when it likes
		return unix.SyncFileRange(int(fd), off, size, unix.SYNC_FILE_RANGE_WRITE)
	})
}

// Zero is of use where there is fallocate: that marks extents as not written, the first
// write to each block takes a transaction of the file system's journal, and the sync of it
// waits for that. The system is told to begin, so that it has little to do at once when
// somebody else syncs.
func (f *osFile) Zero(off, end int64) (bool, error) {
	if f.zeroed {
		return false, nil
	}
	if err := f.writeZeros(off, end); err != nil {
		return true, err
	}
	f.begin(off, end-off)
	return true, nil
}

// retry calls fn until a signal does not interrupt it.
func retry(fn func() error) error {
	for {
		if err := fn(); err != unix.EINTR {
			return err
		}
	}
}
