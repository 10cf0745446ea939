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
		h.settle(i, 0)
		h.restore(c, i)
	}
	return nil
}

// Evict takes pages from the page cache that a failed Sync left there although they
// are not on the disk. For each unit, named by its file and where it begins there,
// pick says which of its n contents since the last successful Sync the disk has: 0 for
// the durable one, n-1 for the newest. From then on that is what is read, and what any
// crash leaves. With a negative one the page stays.
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
			if n := pick(h.name, i*h.unit, len(h.dirty[i].versions)); n >= 0 {
				h.settle(i, n)
				h.restore(c, i)
			}
		}
	}
}

// settle makes version n of unit i, which is dirty, the durable one.
func (h *history) settle(i int64, n int) {
	if h.shared {
		h.durable, h.shared = slices.Clone(h.durable), false
	}
	for i >= int64(len(h.durable)) {
		h.durable = append(h.durable, nil)
	}
	h.durable[i] = h.dirty[i].versions[n]
	h.snap = nil
}

// restore lets unit i be read as it is on the disk.
func (h *history) restore(c *Crash, i int64) {
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
