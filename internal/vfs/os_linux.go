package vfs

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Sync is fdatasync: data and size, but no access to the inode for a time stamp only.
func (f *osFile) Sync() error {
	return f.control("sync", func(fd uintptr) error {
		return retry(func() error { return unix.Fdatasync(int(fd)) })
	})
}

// allocate reserves all of the file, holes below the old size included.
func (f *osFile) allocate(old, size int64) error {
	err := f.control("allocate", func(fd uintptr) error {
		return retry(func() error { return unix.Fallocate(int(fd), 0, 0, size) })
	})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return f.writeZeros(old, size)
	}
	return err
}

// retry calls fn until a signal does not interrupt it.
func retry(fn func() error) error {
	for {
		if err := fn(); err != unix.EINTR {
			return err
		}
	}
}
