package vfs

import (
	"bytes"
	"maps"
	"slices"
	"sync"
)

// crashFile is an open file of a Crash.
type crashFile struct {
	*memFile
	c *Crash
}

// WriteAt implements [File].
func (f *crashFile) WriteAt(p []byte, off int64) (n int, err error) {
	f.change(func(h *history, seq *uint64) {
		n, err = f.memFile.WriteAt(p, off)
		h.reach = max(h.reach, off+int64(n))
		h.noteSize(seq)
		h.noteData(off, off+int64(n), true, seq)
	})
	return n, err
}

// Allocate implements [File].
func (f *crashFile) Allocate(size int64) (err error) {
	f.change(func(h *history, seq *uint64) {
		err = f.memFile.Allocate(size)
		h.noteSize(seq)
	})
	return err
}

// Zero implements [File].
func (f *crashFile) Zero(off, end int64) (bool, error) {
	if !f.fs.zeros {
		return false, nil
	}
	_, err := f.WriteAt(make([]byte, end-off), off)
	return true, err
}

// Truncate implements [File].
func (f *crashFile) Truncate(size int64) (err error) {
	f.change(func(h *history, seq *uint64) {
		old := h.size()
		err = f.memFile.Truncate(size)
		h.noteSize(seq)
		h.noteData(h.size(), old, false, seq)
	})
	return err
}

// Sync implements [File].
func (f *crashFile) Sync() (err error) {
	f.change(func(h *history, _ *uint64) {
		if err = f.memFile.Sync(); err == nil {
			h.sync()
		}
	})
	return err
}

// WriteSync implements [File].
func (f *crashFile) WriteSync(p []byte, off int64) (err error) {
	f.change(func(h *history, seq *uint64) {
		if err = f.memFile.WriteSync(p, off); err == nil {
			h.noteData(off, off+int64(len(p)), true, seq)
			h.syncData(off, off+int64(len(p)))
		}
	})
	return err
}

// change calls fn with the history of the file, or, where no crash can leave the file
// any more, with one that is thrown away.
func (f *crashFile) change(fn func(h *history, seq *uint64)) {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	h := f.c.files[f.ino]
	if h == nil {
		h = &history{ino: f.ino, unit: f.c.unit, dirty: map[int64]*dirty{}, sizes: []int64{0}}
	}
	h.snap = nil
	fn(h, &f.c.seq)
}

// history is what a file was since its last Sync. Contents of units are never changed
// once they are here, and may be shorter than a unit: the rest is zeros.
type history struct {
	ino  *inode
	unit int64
	name string // the path it has or last had

	durable [][]byte         // by number of the unit, those beyond are zeros
	dirty   map[int64]*dirty // units touched since, and lost ones
	sizes   []int64          // the durable one, then what followed
	sizeSeq uint64           // of the first that followed
	reach   int64            // end of the farthest write since the last Sync, or its failure

	// A Sync failed, and the size is one that a write made: the disk may have an
	// older one, until a write reaches the end again, or another call sets the size.
	sizeLost bool

	freed []byte // what was in it when it last lost a name

	snap   *snapshot // of now, or nil
	shared bool      // a snapshot has durable
}

// dirty is a unit that is not durable. States share versions, which only grows.
type dirty struct {
	seq      uint64
	versions [][]byte // the durable one, then what followed
	fresh    bool     // held no durable byte when it was touched: may be garbage
	lost     bool     // a Sync failed; see Crash.FailSync
}

// newHistory returns the history of a file all of which is durable, and whose data is
// shared already, or empty.
func newHistory(name string, ino *inode, unit int64) *history {
	data := ino.data
	h := &history{
		ino: ino, unit: unit, name: name,
		dirty: map[int64]*dirty{}, sizes: []int64{int64(len(data))},
		durable: slices.Collect(slices.Chunk(data, int(unit))),
	}
	return h
}

// size returns the file's size as of the last call.
func (h *history) size() int64 { return h.sizes[len(h.sizes)-1] }

// noteSize adds the size that the file has now.
func (h *history) noteSize(seq *uint64) {
	h.ino.mu.RLock()
	size := int64(len(h.ino.data))
	h.ino.mu.RUnlock()
	if size == h.size() {
		return
	}
	*seq++
	if len(h.sizes) == 1 {
		h.sizeSeq = *seq
	}
	h.sizes = append(h.sizes, size)
	h.sizeLost = false
}

// noteData adds the content that the units of the bytes from off to end have now.
// If write is false, the bytes were cut: where they were zeros, nothing happened.
func (h *history) noteData(off, end int64, write bool, seq *uint64) {
	if off >= end {
		return
	}
	h.ino.mu.RLock()
	defer h.ino.mu.RUnlock()
	size := int64(len(h.ino.data))
	for i := off / h.unit; i*h.unit < end; i++ {
		from := min(i*h.unit, size)
		now := h.ino.data[from:min(from+h.unit, size)]
		d := h.dirty[i]
		fresh := i*h.unit >= h.sizes[0]
		last := h.last(i)
		same := equal(last, now)
		if d == nil && same && (!fresh || !write) {
			continue
		}
		if d == nil {
			*seq++
			d = &dirty{seq: *seq, versions: [][]byte{last}, fresh: fresh}
			h.dirty[i] = d
		}
		d.lost = false
		if !same {
			d.versions = append(d.versions, bytes.Clone(now))
		}
	}
}

// last returns the last content that unit i is known to have.
func (h *history) last(i int64) []byte {
	if d := h.dirty[i]; d != nil {
		return d.versions[len(d.versions)-1]
	}
	if i < int64(len(h.durable)) {
		return h.durable[i]
	}
	return nil
}

// sync makes the last of everything the only one, but for what was lost.
func (h *history) sync() {
	h.syncSize()
	units := (h.size() + h.unit - 1) / h.unit
	for i, d := range h.dirty {
		if !d.lost && i < units {
			h.setDurable(i, h.last(i))
		}
	}
	maps.DeleteFunc(h.dirty, func(_ int64, d *dirty) bool { return !d.lost })
}

// syncData makes the last content of the units from off to end the only one.
func (h *history) syncData(off, end int64) {
	for i := off / h.unit; i*h.unit < end; i++ {
		h.setDurable(i, h.last(i))
		delete(h.dirty, i)
	}
}

// syncSize does the part of sync about the size. A lost size stays one of several,
// but none that is less than what was written and synced since.
func (h *history) syncSize() {
	sizes := []int64{h.size()}
	if h.sizeLost {
		sizes = nil
		for _, size := range h.sizes {
			if size = max(size, min(h.reach, h.size())); !slices.Contains(sizes, size) {
				sizes = append(sizes, size)
			}
		}
		h.sizeLost = len(sizes) > 1
	}
	h.sizes, h.reach = sizes, 0
}

// fail does what a failed Sync does.
func (h *history) fail() {
	for _, d := range h.dirty {
		d.lost = true
	}
	h.sizeLost = h.sizeLost || len(h.sizes) > 1 && h.reach >= h.size()
	h.reach, h.snap = 0, nil
}

// setDurable makes content the durable one of unit i.
func (h *history) setDurable(i int64, content []byte) {
	if h.shared {
		h.durable, h.shared = slices.Clone(h.durable), false
	}
	for i >= int64(len(h.durable)) {
		h.durable = append(h.durable, nil)
	}
	h.durable[i] = content
}

// equal compares two contents of a unit.
func equal(a, b []byte) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	return bytes.Equal(a, b[:len(a)]) && bytes.Equal(b[len(a):], zeros[:len(b)-len(a)])
}

// snapshot is a history that does not change.
type snapshot struct {
	unit    int64
	name    string
	durable [][]byte
	units   []unitState // in no order
	sizes   []int64
	sizeSeq uint64

	once sync.Once
	base []byte // durable, at the largest of sizes
	sum  uint64 // hash of base
}

// unitState is a unit that is not durable.
type unitState struct {
	n        int64 // its number
	seq      uint64
	versions [][]byte
	fresh    bool
}

// picks returns how many contents the unit may have.
func (u *unitState) picks() int {
	if u.fresh {
		return len(u.versions) + 1
	}
	return len(u.versions)
}

func (h *history) snapshot() *snapshot {
	if h.snap != nil {
		return h.snap
	}
	h.shared = true
	h.snap = &snapshot{
		unit: h.unit, name: h.name, durable: h.durable,
		sizes: slices.Clip(h.sizes), sizeSeq: h.sizeSeq,
	}
	for i, d := range h.dirty {
		h.snap.units = append(h.snap.units, unitState{i, d.seq, slices.Clip(d.versions), d.fresh})
	}
	return h.snap
}

// content returns the durable content at the largest size, and its hash.
func (s *snapshot) content() ([]byte, uint64) {
	s.once.Do(func() {
		s.base = make([]byte, slices.Max(s.sizes))
		for i, p := range s.durable {
			if off := int64(i) * s.unit; off < int64(len(s.base)) {
				copy(s.base[off:], p)
			}
		}
		s.sum = hash(0, s.base)
	})
	return s.base, s.sum
}
