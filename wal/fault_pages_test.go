package wal

import (
	"io/fs"
	"syscall"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// pages is what the system does with pages that a sync could not write.
type pages string

const (
	kept     pages = "kept, and clean"    // ext4, XFS
	reverted pages = "read from the disk" // btrfs
	late     pages = "told at the next sync of the file"
)

// onPages performs a call. After a sync that failed the disk lacks what it should
// have made durable.
func (r *run) onPages(c vfs.Call, do func(int) (int, error)) (int, error) {
	if c.Op == vfs.Sync && r.pages == late && r.toldLate(c.Name) {
		return 0, &fs.PathError{Op: "sync", Path: c.Name, Err: syscall.EIO}
	}
	n, err := do(int(c.Size))
	if c.Op != vfs.Sync || err == nil {
		return n, err
	}
	if r.pages == reverted {
		_ = r.crash.RevertSync(c.Name) // it may have no name any more
	} else {
		_ = r.crash.FailSync(c.Name)
	}
	if r.pages == late {
		r.lie(c.Name)
		return 0, nil
	}
	return n, err
}

// lie notes a sync that succeeds although it did nothing.
func (r *run) lie(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lied, r.liedAt = name, int(r.noted.Load())
}

// toldLate reports whether a sync of the file is the one that tells.
func (r *run) toldLate(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lied != name || name == "" {
		return false
	}
	r.lied = "\x00" // told
	return true
}
