package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
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

// A write of at least largeWrite bytes is parted where the file's offset is a multiple of
// writePiece, and the disk is given each piece at once: it has done most of them when the
// last one is in the page cache. The write and sync of 1 MiB takes a fifth less, as it does
// past the page cache.
const (
	largeWrite = 256 << 10
	writePiece = 128 << 10
)

// WriteAt implements [File].
func (f *osFile) WriteAt(b []byte, off int64) (n int, err error) {
	if len(b) < largeWrite {
		return f.File.WriteAt(b, off)
	}
	for n < len(b) {
		at := off + int64(n)
		piece := min(writePiece-int(at%writePiece), len(b)-n)
		wrote, err := f.File.WriteAt(b[n:n+piece], at)
		n += wrote
		if err == nil {
			err = f.writeBack(at, int64(wrote), unix.SYNC_FILE_RANGE_WRITE)
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// noWriteBack are the errors of a system that has no such call, or does not permit it.
var noWriteBack = []error{unix.ENOSYS, unix.EINVAL, unix.ESPIPE, unix.EOPNOTSUPP, unix.EPERM}

// writeBack has the system give what was written to the disk, and wait for it if the flags
// say so.
func (f *osFile) writeBack(off, size int64, flags int) error {
	err := f.control("writeback", func(fd uintptr) error {
		return retry(func() error { return unix.SyncFileRange(int(fd), off, size, flags) })
	})
	for _, errno := range noWriteBack {
		if errors.Is(err, errno) {
			return nil // the system begins when it likes
		}
	}
	if err != nil {
		return &WriteBackError{err}
	}
	return nil
}

// Zero is of use on ext4 and XFS, where fallocate marks extents as not written: the first
// write to each block takes a transaction of the journal, and the sync of it waits for
// that. File systems that copy on write lose by it what fallocate has reserved. What is
// written is waited for, so that the disk has no more than it to do when somebody else
// syncs.
func (f *osFile) Zero(off, end int64) (bool, error) {
	if f.zeroed || !f.marksExtents() {
		return false, nil
	}
	if err := f.writeZeros(off, end); err != nil {
		return true, err
	}
	const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	return true, f.writeBack(off, end-off, all)
}

// directAlign is what the disks of today ask for, and file systems on them.
const directAlign = 4 << 10

// Direct opens the file once more, with O_DIRECT and O_DSYNC, on ext4 and XFS, and reads its
// first block so to see whether that is permitted: on a disk with larger blocks it is not.
// There a write over what was written before goes to the disk in one command, if the disk
// has FUA, and else is followed by a flush, as it is by fdatasync. ext4 writes through the
// page cache all the same where it journals data or encrypts it. A page that another program
// has mapped and changed meanwhile cannot be dropped: Linux then fails a later sync.
func (f *osFile) Direct() int {
	if f.direct.Load() == nil && f.marksExtents() {
		_ = f.control("open", func(fd uintptr) error {
			flags, err := unix.FcntlInt(fd, unix.F_GETFL, 0)
			if err != nil || flags&unix.O_ACCMODE != unix.O_RDWR {
				return err
			}
			direct, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDWR|unix.O_DIRECT|unix.O_DSYNC, 0)
			if err != nil {
				return err
			}
			if _, err = direct.ReadAt(Aligned(directAlign, directAlign), 0); err != nil {
				return errors.Join(err, direct.Close())
			}
			if !f.direct.CompareAndSwap(nil, direct) {
				return direct.Close()
			}
			return nil
		})
	}
	if f.direct.Load() == nil {
		return 0
	}
	return directAlign
}

// forget has bytes of which a WriteSync failed read from the disk: it may have some of them,
// and what somebody read meanwhile, from before, is still in the page cache.
func (f *osFile) forget(off, size int64) {
	_ = f.control("fadvise", func(fd uintptr) error { return unix.Fadvise(int(fd), off, size, unix.FADV_DONTNEED) })
}

// InPlace is true on ext4 and XFS, but for what another file shares there.
func (f *osFile) InPlace() bool { return f.marksExtents() }

// marksExtents reports whether the file is on ext4 or XFS.
func (f *osFile) marksExtents() bool {
	var st unix.Statfs_t
	err := f.control("statfs", func(fd uintptr) error {
		return retry(func() error { return unix.Fstatfs(int(fd), &st) })
	})
	return err == nil && (uint32(st.Type) == unix.EXT4_SUPER_MAGIC || uint32(st.Type) == unix.XFS_SUPER_MAGIC)
}

// retry calls fn until a signal does not interrupt it.
func retry(fn func() error) error {
	for {
		if err := fn(); err != unix.EINTR {
			return err
		}
	}
}
