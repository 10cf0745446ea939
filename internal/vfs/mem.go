package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// Mem is a file system in memory. A file is one slice of bytes; reading allocates
// nothing, nor does writing below the capacity. Everything is as durable as it will
// get, so syncing does nothing. Directories "/" and "." exist from the start. Remove
// and Rename take files only.
//
// It behaves as Unix does: what is open can be renamed, removed and replaced.
type Mem struct {
	Sealed

	space space

	mu    sync.RWMutex // taken before a file's mu
	dirs  map[string]memDir
	locks map[*inode]bool
	open  map[*memFile]bool

	zeros  bool // Zero is of use
	direct int  // see Direct; 0: no file has it
}

// memDir maps base names to files; a directory in it has a nil inode here and its
// own entry in Mem.dirs.
type memDir map[string]*inode

// NewMem returns an empty file system without a limit.
func NewMem() *Mem {
	return &Mem{dirs: map[string]memDir{}, locks: map[*inode]bool{}, open: map[*memFile]bool{}}
}

// SetLimit limits the sum of the sizes of all files to that many bytes; none if bytes
// is not positive. A file that has more than one name counts once, one without a name
// until it is closed. What is there stays, even if it is more. A WriteAt or Allocate
// that would exceed the limit does what fits and then fails with syscall.ENOSPC, for
// which [IsNoSpace] is true; Truncate that grows a file does all or nothing.
func (m *Mem) SetLimit(bytes int64) { m.space.setLimit(bytes) }

// Used returns the sum of the sizes of all files, as SetLimit counts it.
func (m *Mem) Used() int64 { return m.space.inUse() }

// UseZeros has [File.Zero] write zeros, as if that were of use. It is called before m is
// used, and is true of what is cloned from m.
func (m *Mem) UseZeros() { m.zeros = true }

// UseDirect has files have [File.WriteSync], and refuse with syscall.EINVAL what is not
// aligned, or does not lie within the file. It is called before m is used, and is true of
// what is cloned from m, and of what a crash leaves.
func (m *Mem) UseDirect(align int) { m.direct = align }

// Mkdir implements [FS].
func (m *Mem) Mkdir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	path := filepath.Clean(dir)
	if m.dir(path) != nil {
		return pathError("mkdir", dir, fs.ErrExist)
	}
	parent, base, err := m.parent("mkdir", dir)
	if err != nil {
		return err
	}
	if _, ok := parent[base]; ok {
		return pathError("mkdir", dir, fs.ErrExist)
	}
	parent[base] = nil
	m.dirs[path] = memDir{}
	return nil
}

// List implements [FS].
func (m *Mem) List(dir string) ([]string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	path := filepath.Clean(dir)
	d, ok := m.dirs[path]
	if !ok && !isRoot(path) {
		return nil, pathError("list", dir, fs.ErrNotExist)
	}
	names := make([]string, 0, len(d))
	for name := range d {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// Create implements [FS].
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, err := m.create(name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (m *Mem) create(name string) (*memFile, error) {
	parent, base, err := m.parent("create", name)
	if err != nil {
		return nil, err
	}
	if _, ok := parent[base]; ok {
		return nil, pathError("create", name, fs.ErrExist)
	}
	ino := &inode{space: &m.space, links: 1}
	parent[base] = ino
	return m.handle(ino, name, ReadWrite), nil
}

// Open implements [FS].
func (m *Mem) Open(name string, mode Mode) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ino, _, _, err := m.lookup("open", name)
	if err != nil {
		return nil, err
	}
	return m.handle(ino, name, mode), nil
}

func (m *Mem) handle(ino *inode, name string, mode Mode) *memFile {
	f := &memFile{fs: m, ino: ino, name: name, mode: mode}
	ino.handles++
	m.open[f] = true
	return f
}

// Rename implements [FS].
func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	ino, fromDir, fromBase, err := m.lookup("rename", from)
	if err != nil {
		return linkError("rename", from, to, err)
	}
	toDir, toBase, err := m.parent("rename", to)
	if err != nil {
		return linkError("rename", from, to, err)
	}
	old, taken := toDir[toBase]
	switch {
	case taken && old == nil:
		return linkError("rename", from, to, syscall.EISDIR)
	case old == ino: // as POSIX has it: two names of one file stay as they are
		return nil
	case taken:
		m.unlink(old)
	}
	delete(fromDir, fromBase)
	toDir[toBase] = ino
	return nil
}

// Remove implements [FS].
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	path := filepath.Clean(name)
	if d, ok := m.dirs[path]; ok && len(d) == 0 && filepath.Dir(path) != path {
		if parent := m.dirs[filepath.Dir(path)]; parent != nil {
			delete(parent, filepath.Base(path))
			delete(m.dirs, path)
			return nil
		}
	}
	ino, parent, base, err := m.lookup("remove", name)
	if err != nil {
		return err
	}
	delete(parent, base)
	m.unlink(ino)
	return nil
}

// Link implements [FS].
func (m *Mem) Link(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	ino, _, _, err := m.lookup("link", from)
	if err != nil {
		return linkError("link", from, to, err)
	}
	parent, base, err := m.parent("link", to)
	if err != nil {
		return linkError("link", from, to, err)
	}
	if _, ok := parent[base]; ok {
		return linkError("link", from, to, fs.ErrExist)
	}
	parent[base] = ino
	ino.links++
	return nil
}

// SyncDir implements [FS]. It fails only if there is no such directory.
func (m *Mem) SyncDir(dir string) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	path := filepath.Clean(dir)
	if _, ok := m.dirs[path]; !ok && !isRoot(path) {
		return pathError("syncdir", dir, fs.ErrNotExist)
	}
	return nil
}

// Lock implements [FS]. It excludes users of this Mem only, and follows the file when
// that is renamed.
func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	ino, _, _, err := m.lookup("lock", name)
	var f *memFile
	switch {
	case err == nil && m.locks[ino]:
		return nil, pathError("lock", name, ErrLocked)
	case err == nil:
		f = m.handle(ino, name, ReadWrite)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	default:
		if f, err = m.create(name); err != nil {
			return nil, err
		}
	}
	m.locks[f.ino] = true
	return &memLock{f}, nil
}

// Kill does what the end of the process does: it closes all files and releases all
// locks. Who still has one gets fs.ErrClosed.
func (m *Mem) Kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for f := range m.open {
		f.close()
	}
	clear(m.locks)
}

// memLock is a lock held; its file is the handle that holds it.
type memLock struct{ f *memFile }

// Close releases the lock. The second Close is an error and releases nothing.
func (l *memLock) Close() error {
	if err := l.f.Close(); err != nil {
		return err
	}
	m := l.f.fs
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.locks, l.f.ino)
	return nil
}

// dir returns the directory of that cleaned path, or nil. Roots are made on first use.
func (m *Mem) dir(path string) memDir {
	d, ok := m.dirs[path]
	if !ok && isRoot(path) {
		d = memDir{}
		m.dirs[path] = d
	}
	return d
}

// parent returns the directory that holds name, and name's base.
func (m *Mem) parent(op, name string) (memDir, string, error) {
	path := filepath.Clean(name)
	d := m.dir(filepath.Dir(path))
	if d == nil {
		return nil, "", pathError(op, name, fs.ErrNotExist)
	}
	if isRoot(path) || filepath.Base(path) == ".." {
		return nil, "", pathError(op, name, fs.ErrInvalid)
	}
	return d, filepath.Base(path), nil
}

// lookup returns the file of that name, the directory that holds it and its base.
func (m *Mem) lookup(op, name string) (*inode, memDir, string, error) {
	d, base, err := m.parent(op, name)
	if err != nil {
		return nil, nil, "", err
	}
	ino, ok := d[base]
	if !ok {
		return nil, nil, "", pathError(op, name, fs.ErrNotExist)
	}
	if ino == nil {
		return nil, nil, "", pathError(op, name, syscall.EISDIR)
	}
	return ino, d, base, nil
}

// unlink takes one name from ino.
func (m *Mem) unlink(ino *inode) {
	ino.links--
	m.reap(ino)
}

// reap gives back the space of a file that nobody can reach any more.
func (m *Mem) reap(ino *inode) {
	if ino.links == 0 && ino.handles == 0 {
		ino.mu.Lock()
		defer ino.mu.Unlock()
		m.space.release(int64(len(ino.data)))
		ino.data = nil
	}
}

// isRoot reports whether the cleaned path is a directory that needs no parent.
func isRoot(path string) bool { return filepath.Dir(path) == path }

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// linkError wraps err, or the cause of err if that is a path's error already.
func linkError(op, from, to string, err error) error {
	if p, ok := err.(*fs.PathError); ok {
		err = p.Err
	}
	return &os.LinkError{Op: op, Old: from, New: to, Err: err}
}
