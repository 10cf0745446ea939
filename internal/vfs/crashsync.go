package vfs

import (
	"cmp"
	"path/filepath"
	"slices"
)

// This file is what a system may do with pages that it could not write, beside
// what [Crash.FailSync] does.

// RevertSync does to the file what a failed Sync does on a system that then reads it
// from the disk again: content and size are those of the last successful Sync. It is
// for a [Handler] that lets a Sync fail; the error is fs.ErrNotExist if there is no
// such file.
func (c *Crash) RevertSync(name string) error {
	if err := c.FailSync(name); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.files[c.find(filepath.Clean(name))]
	if err := h.file(c).Truncate(h.sizes[0]); err != nil { // no space, if it is to grow again
		return err
	}
	h.sizes, h.snap = h.sizes[:1], nil
	for i := range h.dirty {
		h.setDurable(i, h.dirty[i].versions[0])
		h.restore(c, i)
	}
	return nil
}

// Evict takes pages from the page cache that a failed Sync left there although they
// are not on the disk. For each unit, named by its file and where it begins there,
// pick says which of n contents the disk has: 0 for the durable one, then those that it
// had since, and behind the newest, if it held no durable byte, garbage. From then on
// that is what is read, and what any crash leaves. With a negative one the page stays.
func (c *Crash) Evict(pick func(name string, off int64, n int) int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var files []*history
	for _, h := range c.files {
		files = append(files, h)
	}
	slices.SortFunc(files, func(a, b *history) int { return cmp.Compare(a.name, b.name) })
	for _, h := range files {
		var lost []int64
		for i, d := range h.dirty {
			if d.lost {
				lost = append(lost, i)
			}
		}
		slices.Sort(lost)
		for _, i := range lost {
			u := unitState{n: i, versions: h.dirty[i].versions, fresh: h.dirty[i].fresh}
			if n := pick(h.name, i*h.unit, u.picks()); n >= 0 {
				block := make([]byte, h.unit)
				u.fill(block, i*h.unit, n, c.stale)
				h.setDurable(i, block)
				h.restore(c, i)
			}
		}
	}
}

// restore lets unit i be read as it is on the disk.
func (h *history) restore(c *Crash, i int64) {
	h.snap = nil
	delete(h.dirty, i)
	h.ino.mu.RLock()
	size := int64(len(h.ino.data))
	h.ino.mu.RUnlock()
	if off := i * h.unit; off < size {
		block := make([]byte, min(h.unit, size-off))
		copy(block, h.durable[i])
		_, _ = h.file(c).WriteAt(block, off) // of a size that it has
	}
}

// file returns a descriptor that nobody has opened, past the history.
func (h *history) file(c *Crash) *memFile {
	return &memFile{fs: c.mem, ino: h.ino, name: h.name, mode: ReadWrite}
}
