package vfs

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"sync"
	"syscall"
)

// maxFileSize is beyond what any log needs and below what a slice can hold.
const maxFileSize = min(math.MaxInt, 1<<38)

var errNegative = errors.New("negative offset or size")

// inode is a file of a Mem, whatever its names.
type inode struct {
	// Set at creation, then read only.
	space *space

	// Under Mem.mu.
	links, handles int

	mu     sync.RWMutex
	data   []byte // len is the file's size; zeros from there to the capacity
	shared bool   // data belongs to others too: copy before the first write
	sum    uint64 // hash of data, if summed
	summed bool
}

// memFile is an open file of a Mem.
type memFile struct {
	fs   *Mem
	ino  *inode
	name string // as it was opened
	mode Mode

	closed bool // under ino.mu
	direct bool // under ino.mu: Direct was called
}

// ReadAt implements [File].
func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.ino.mu.RLock()
	defer f.ino.mu.RUnlock()
	if f.closed {
		return 0, pathError("read", f.name, fs.ErrClosed)
	}
	if off < 0 {
		return 0, pathError("read", f.name, errNegative)
	}
	if off >= int64(len(f.ino.data)) {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := copy(p, f.ino.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements [File].
func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.ino.mu.Lock()
	defer f.ino.mu.Unlock()
	if err := f.writable("write", off); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if off > maxFileSize-int64(len(p)) {
		return 0, pathError("write", f.name, syscall.EFBIG)
	}
	end := f.ino.extend(off, off+int64(len(p)))
	if end <= off {
		return 0, pathError("write", f.name, syscall.ENOSPC)
	}
	n := copy(f.ino.data[off:end], p)
	if n < len(p) {
		return n, pathError("write", f.name, syscall.ENOSPC)
	}
	return n, nil
}

// Allocate implements [File].
func (f *memFile) Allocate(size int64) error {
	f.ino.mu.Lock()
	defer f.ino.mu.Unlock()
	if err := f.writable("allocate", size); err != nil {
		return err
	}
	if size > maxFileSize {
		return pathError("allocate", f.name, syscall.EFBIG)
	}
	if f.ino.extend(0, size) < size {
		return pathError("allocate", f.name, syscall.ENOSPC)
	}
	return nil
}

// Zero implements [File]: it is of no use, unless [Mem.UseZeros] says so.
func (f *memFile) Zero(off, end int64) (bool, error) {
	if !f.fs.zeros {
		return false, nil
	}
	_, err := f.WriteAt(make([]byte, end-off), off)
	return true, err
}

// InPlace implements [File].
func (f *memFile) InPlace() bool { return true }

// Direct implements [File]: 0, unless [Mem.UseDirect] says something else.
func (f *memFile) Direct() int {
	if f.mode != ReadWrite || f.fs.direct == 0 {
		return 0
	}
	f.ino.mu.Lock()
	defer f.ino.mu.Unlock()
	f.direct = true
	return f.fs.direct
}

// EndDirect implements [File].
func (f *memFile) EndDirect() error {
	f.ino.mu.Lock()
	defer f.ino.mu.Unlock()
	f.direct = false
	return nil
}

// WriteSync implements [File].
func (f *memFile) WriteSync(p []byte, off int64) error {
	f.ino.mu.Lock()
	defer f.ino.mu.Unlock()
	if err := f.writable("writesync", off); err != nil {
		return err
	}
	if err := f.aligned(p, off); err != nil {
		return pathError("writesync", f.name, err)
	}
	if off+int64(len(p)) > int64(len(f.ino.data)) {
		return pathError("writesync", f.name, syscall.EINVAL)
	}
	copy(f.ino.data[off:], p)
	return nil
}

// aligned returns an error unless p and off are aligned for WriteSync. Call it with ino.mu
// held.
func (f *memFile) aligned(p []byte, off int64) error {
	align := f.fs.direct
	switch {
	case align == 0, !f.direct:
		return errors.ErrUnsupported
	case misaligned(p, align) != 0, len(p)%align != 0, off%int64(align) != 0:
		return syscall.EINVAL
	}
	return nil
}

// Truncate implements [File].
func (f *memFile) Truncate(size int64) error {
	f.ino.mu.Lock()
	defer f.ino.mu.Unlock()
	if err := f.writable("truncate", size); err != nil {
		return err
	}
	if size > maxFileSize {
		return pathError("truncate", f.name, syscall.EFBIG)
	}
	if size < int64(len(f.ino.data)) {
		f.ino.cut(int(size))
	} else if f.ino.extend(size-1, size) < size {
		return pathError("truncate", f.name, syscall.ENOSPC)
	}
	return nil
}

// Sync implements [File]. It fails only after Close.
func (f *memFile) Sync() error {
	f.ino.mu.RLock()
	defer f.ino.mu.RUnlock()
	if f.closed {
		return pathError("sync", f.name, fs.ErrClosed)
	}
	return nil
}

// Stat implements [File].
func (f *memFile) Stat() (Info, error) {
	f.fs.mu.RLock()
	defer f.fs.mu.RUnlock()
	f.ino.mu.RLock()
	defer f.ino.mu.RUnlock()
	if f.closed {
		return Info{}, pathError("stat", f.name, fs.ErrClosed)
	}
	return Info{Size: int64(len(f.ino.data)), Links: f.ino.links}, nil
}

// Close implements [File].
func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return f.close()
}

// close is Close with fs.mu held.
func (f *memFile) close() error {
	f.ino.mu.Lock()
	closed := f.closed
	f.closed = true
	f.ino.mu.Unlock()
	if closed {
		return pathError("close", f.name, fs.ErrClosed)
	}
	delete(f.fs.open, f)
	f.ino.handles--
	f.fs.reap(f.ino)
	return nil
}

// writable returns the error of an op that changes the file at off, if it has one
// from the start. Otherwise it makes the data this file's own. Call it with ino.mu held.
func (f *memFile) writable(op string, off int64) error {
	switch {
	case f.closed:
		return pathError(op, f.name, fs.ErrClosed)
	case f.mode != ReadWrite:
		return pathError(op, f.name, syscall.EBADF)
	case off < 0:
		return pathError(op, f.name, errNegative)
	}
	f.ino.summed = false
	if f.ino.shared {
		own := make([]byte, len(f.ino.data)) // zeros up to its capacity, unlike append's
		copy(own, f.ino.data)
		f.ino.data, f.ino.shared = own, false
	}
	return nil
}

// extend grows the data to end, or to as much of it as there is space for, but not at
// all if that is no more than off. It returns the smaller of end and the size now.
func (ino *inode) extend(off, end int64) int64 {
	size := int64(len(ino.data))
	if end <= size {
		return end
	}
	got := ino.space.reserve(end - size)
	end = size + got
	if end <= off {
		ino.space.release(got)
		return size
	}
	if end > int64(cap(ino.data)) {
		grown := max(end, int64(cap(ino.data))*3/2, 1024)
		data := make([]byte, end, min(grown, maxFileSize))
		copy(data, ino.data)
		ino.data = data
	}
	ino.data = ino.data[:end]
	return end
}

// cut shrinks the data to size and keeps what is beyond it zero.
func (ino *inode) cut(size int) {
	ino.space.release(int64(len(ino.data) - size))
	clear(ino.data[size:])
	ino.data = ino.data[:size]
	if size == 0 {
		ino.data = nil
	}
}

// space counts the bytes that the files of one Mem have.
type space struct {
	mu    sync.Mutex
	limit int64
	used  int64
}

// reserve takes n bytes, or as many as there are, and returns how many.
func (s *space) reserve(n int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.limit > 0 {
		n = max(0, min(n, s.limit-s.used))
	}
	s.used += n
	return n
}

func (s *space) release(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= n
}

func (s *space) setLimit(limit int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = limit
}

func (s *space) inUse() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}
