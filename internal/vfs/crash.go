package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"sync"
)

// Crash is a [Mem] that remembers what is not durable, so that [Crash.State] can say
// what a power failure may leave. These are the rules; all that they leave open falls
// independently, across the files and directories too:
//
//   - A file's content is divided in units, of 512 bytes or of 4096. Each unit that was
//     written or cut since the file's last Sync has any content it had at the end of a
//     call since then, or its durable one: a unit is never torn, and one that is written
//     with the content it has keeps it. A call that did only a
//     part, or failed and was done all the same, is a call that did what it did.
//   - A unit that held no durable byte when first written may be garbage too: what was
//     at the same offset of a file that is durably gone, or noise if there was none.
//     Where the durable size reaches, durable bytes are, the zeros of Allocate included.
//   - A file's size is any it had since its last Sync: it comes before its data, with
//     it, or behind it. Bytes that nothing reached are zeros. Allocate and Truncate
//     change the size, and Truncate gives the units that it cuts a version with zeros.
//   - Of the changes to a directory's entries since its last SyncDir any subset is kept,
//     in the order in which they were made. A Rename is one change, whatever of the
//     file is durable. Making a directory is a change of its parent.
//   - Sync of a file keeps its content and size but none of its names, SyncDir the names
//     but no content. What has no name after the crash is gone. Locks do not survive.
//   - WriteSync keeps the units that it writes, and no others, nor a size. What a crash in
//     the middle of it leaves is that of a WriteAt. If it fails, FailSync says what follows;
//     the kernel may have gone through the page cache.
//   - What a failed Sync ([Crash.FailSync]) covered can be read, and no later Sync
//     makes it durable: the kernel calls the pages clean. Only what is written once more
//     is as good as new. The kernel may drop such pages at any time ([Crash.Evict]), at
//     once as well, and then the file reads as the disk has it. A size that a write made
//     shares the fate of its data; one that Allocate or Truncate made does not, nor do
//     names: a journal that fails is a file system that takes no more changes.
//
// Which open file a failed Sync is reported to, and when, is up to a [Handler].
//
// Rename from one directory to another and Remove of a directory are not part of the
// model and fail with errors.ErrUnsupported. All methods may be called concurrently;
// those that change something take turns.
type Crash struct {
	Sealed

	// Set at creation, then read only.
	unit int64
	mem  *Mem // the file system as running programs see it

	mu    sync.Mutex // taken before those of mem
	seq   uint64     // counts changes
	files map[*inode]*history
	dirs  map[string]*entries
	stale []byte // what was in a file that is durably gone; never changed
}

// entries is what is known about the entries of a directory.
type entries struct {
	durable memDir   // as of the last SyncDir; replaced, never changed
	changes []change // since then, in order; appended to only
}

// change is a change of a directory's entries. All names are base names.
type change struct {
	seq  uint64
	op   Op
	from string // the name that goes away, if any
	to   string // the name that comes, if any
	ino  *inode // what comes; nil is a directory
}

func (ch change) apply(d memDir) {
	if ch.from != "" {
		delete(d, ch.from)
	}
	if ch.to != "" {
		d[ch.to] = ch.ino
	}
}

// NewCrash returns an empty file system with units of that many bytes.
func NewCrash(unit int) *Crash { return NewCrashFrom(NewMem(), unit) }

// NewCrashFrom returns a file system that begins with all that is in m, durably. It
// keeps nothing of m.
func NewCrashFrom(m *Mem, unit int) *Crash {
	if unit <= 0 || unit > len(zeros) {
		panic(fmt.Sprintf("vfs: unit of %d bytes, want 1 to %d", unit, len(zeros)))
	}
	c := &Crash{
		unit: int64(unit), mem: m.Clone(),
		files: map[*inode]*history{}, dirs: map[string]*entries{},
	}
	for path, dir := range c.mem.dirs {
		c.dirs[path] = &entries{durable: maps.Clone(dir)}
		for name, ino := range dir {
			if ino != nil && c.files[ino] == nil {
				c.files[ino] = newHistory(filepath.Join(path, name), ino, c.unit)
			}
		}
	}
	return c
}

// SetLimit is [Mem.SetLimit].
func (c *Crash) SetLimit(bytes int64) { c.mem.SetLimit(bytes) }

// UseZeros is [Mem.UseZeros].
func (c *Crash) UseZeros() { c.mem.UseZeros() }

// UseDirect is [Mem.UseDirect]; align is a multiple of the unit.
func (c *Crash) UseDirect(align int) { c.mem.UseDirect(align) }

// Used is [Mem.Used].
func (c *Crash) Used() int64 { return c.mem.Used() }

// Kill is [Mem.Kill]. What is not durable can be read as before: it is the process that
// ends, not the system.
func (c *Crash) Kill() { c.mem.Kill() }

// Mkdir implements [FS].
func (c *Crash) Mkdir(dir string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.mem.Mkdir(dir); err != nil {
		return err
	}
	path := filepath.Clean(dir)
	c.note(path, change{op: Mkdir, to: filepath.Base(path)})
	return nil
}

// List implements [FS].
func (c *Crash) List(dir string) ([]string, error) { return c.mem.List(dir) }

// Create implements [FS].
func (c *Crash) Create(name string) (File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, err := c.mem.Create(name)
	if err != nil {
		return nil, err
	}
	return c.created(name, f.(*memFile)), nil
}

// created starts the history of a new file.
func (c *Crash) created(name string, f *memFile) *crashFile {
	path := filepath.Clean(name)
	c.files[f.ino] = newHistory(path, f.ino, c.unit)
	c.note(path, change{op: Create, to: filepath.Base(path), ino: f.ino})
	return &crashFile{memFile: f, c: c}
}

// Open implements [FS].
func (c *Crash) Open(name string, mode Mode) (File, error) {
	f, err := c.mem.Open(name, mode)
	if err != nil {
		return nil, err
	}
	return &crashFile{memFile: f.(*memFile), c: c}, nil
}

// Rename implements [FS], within one directory.
func (c *Crash) Rename(from, to string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	from, to = filepath.Clean(from), filepath.Clean(to)
	if dir := filepath.Dir(to); dir != filepath.Dir(from) && c.mem.SyncDir(dir) == nil {
		return linkError("rename", from, to, errors.ErrUnsupported)
	}
	ino, old := c.find(from), c.find(to)
	freed := c.content(old)
	if err := c.mem.Rename(from, to); err != nil {
		return err
	}
	if ino == old {
		return nil // two names of one file stay as they are
	}
	c.free(old, freed)
	c.files[ino].name = to
	c.files[ino].snap = nil
	c.note(to, change{op: Rename, from: filepath.Base(from), to: filepath.Base(to), ino: ino})
	return nil
}

// Remove implements [FS].
func (c *Crash) Remove(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	path := filepath.Clean(name)
	if c.mem.SyncDir(path) == nil { // of directories there is no history
		return pathError("remove", name, errors.ErrUnsupported)
	}
	ino := c.find(path)
	freed := c.content(ino)
	if err := c.mem.Remove(name); err != nil {
		return err
	}
	c.free(ino, freed)
	c.note(path, change{op: Remove, from: filepath.Base(path)})
	return nil
}

// Link implements [FS].
func (c *Crash) Link(from, to string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.mem.Link(from, to); err != nil {
		return err
	}
	path := filepath.Clean(to)
	c.note(path, change{op: Link, to: filepath.Base(path), ino: c.find(path)})
	return nil
}

// SyncDir implements [FS].
func (c *Crash) SyncDir(dir string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.mem.SyncDir(dir); err != nil {
		return err
	}
	e := c.entries(filepath.Clean(dir))
	durable := maps.Clone(e.durable)
	for _, ch := range e.changes {
		ch.apply(durable)
	}
	e.durable, e.changes = durable, nil
	c.forget()
	return nil
}

// Lock implements [FS]. A file that it creates is as durable as any other new one.
func (c *Crash) Lock(name string) (io.Closer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l, err := c.mem.Lock(name)
	if err != nil {
		return nil, err
	}
	if f := l.(*memLock).f; c.files[f.ino] == nil {
		c.created(name, f)
	}
	return l, nil
}

// FailSync does to the file what a failed Sync does: whatever was written since the
// last successful one can still be read, but no later Sync makes it durable, unless it
// is written once more. It is for a [Handler] that lets a Sync fail; the error is
// fs.ErrNotExist if there is no such file.
func (c *Crash) FailSync(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.files[c.find(filepath.Clean(name))]
	if h == nil {
		_, err := c.mem.Open(name, ReadOnly)
		return err
	}
	h.fail()
	return nil
}

// note adds a change to the directory that holds the cleaned path.
func (c *Crash) note(path string, ch change) {
	c.seq++
	ch.seq = c.seq
	e := c.entries(filepath.Dir(path))
	e.changes = append(e.changes, ch)
}

// entries returns those of the directory of that cleaned path, which exists.
func (c *Crash) entries(path string) *entries {
	e := c.dirs[path]
	if e == nil {
		e = &entries{durable: memDir{}}
		c.dirs[path] = e
	}
	return e
}

// find returns the file of that cleaned path, or nil.
func (c *Crash) find(path string) *inode {
	c.mem.mu.RLock()
	defer c.mem.mu.RUnlock()
	return c.mem.dirs[filepath.Dir(path)][filepath.Base(path)]
}

// content returns a copy of what is in the file, which may be nil.
func (c *Crash) content(ino *inode) []byte {
	if ino == nil {
		return nil
	}
	ino.mu.RLock()
	defer ino.mu.RUnlock()
	return bytes.Clone(ino.data)
}

// free notes what was in a file, which may be nil, that lost a name.
func (c *Crash) free(ino *inode, content []byte) {
	if h := c.files[ino]; h != nil {
		h.freed = content
	}
}

// forget drops the files that have no name any more, not even after a crash. What was
// in one of them is in blocks that may become another file's.
func (c *Crash) forget() {
	named := c.named()
	last := ""
	for ino, h := range c.files {
		if named[ino] {
			continue
		}
		delete(c.files, ino)
		if len(h.freed) > 0 && h.name >= last {
			last, c.stale = h.name, h.freed
		}
	}
}

// named returns the files that have a name or may have one after a crash.
func (c *Crash) named() map[*inode]bool {
	named := map[*inode]bool{}
	for _, e := range c.dirs {
		for _, ino := range e.durable {
			named[ino] = true
		}
		for _, ch := range e.changes {
			named[ch.ino] = true
		}
	}
	delete(named, nil)
	return named
}

// State returns all that a crash now may leave. It does not change when the file
// system does, and shares with it what has not changed yet.
func (c *Crash) State() *State {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &State{unit: c.unit, align: c.mem.direct, stale: c.stale, dirs: map[string]entries{}, files: map[*inode]*snapshot{}}
	for path, e := range c.dirs {
		s.dirs[path] = entries{e.durable, slices.Clip(e.changes)}
	}
	for ino := range c.named() {
		s.files[ino] = c.files[ino].snapshot()
	}
	return s
}
