package vfs

import (
	"io"
	"path/filepath"
	"sync"
)

// Op is a method of [FS] or [File].
type Op uint8

// The operations, in the order in which the interfaces list them.
const (
	Mkdir Op = iota
	List
	Create
	Open
	Rename
	Remove
	Link
	SyncDir
	Lock
	ReadAt
	WriteAt
	Allocate
	Zero
	WriteSync
	Truncate
	Sync
	Stat
	Close

	opCount
)

var opNames = [opCount]string{
	"mkdir", "list", "create", "open", "rename", "remove", "link", "syncdir", "lock",
	"read", "write", "allocate", "zero", "writesync", "truncate", "sync", "stat", "close",
}

// String returns the name in lower case, "read" and "write" for ReadAt and WriteAt.
func (op Op) String() string {
	if op < opCount {
		return opNames[op]
	}
	return "unknown"
}

// Mutates reports whether the operation is there to change what is stored, or what of
// it is durable. Lock, which may create a file, is not among these, nor is Zero, which
// changes nothing that can be read.
func (op Op) Mutates() bool {
	switch op {
	case Mkdir, Create, Rename, Remove, Link, SyncDir, WriteAt, Allocate, WriteSync, Truncate, Sync:
		return true
	}
	return false
}

// Call is one call of a method.
type Call struct {
	Op   Op
	Name string // the path; for a File its present one, if renamed through this FS
	To   string // the second path of Rename and Link
	Off  int64  // of ReadAt, WriteAt, Zero and WriteSync
	Size int64  // bytes to read, write or zero; the size for Allocate and Truncate
}

// Handler is called in place of a method and decides on its result. It may perform the
// call, before or after anything else, by calling do, at most once and before it
// returns. For ReadAt and WriteAt do reads or writes the first n bytes, and both ints
// are how many were; for others n is ignored and the ints are 0. For WriteSync a negative n
// has the first -n bytes written as by WriteAt, and none of them durable: that is what is in
// the middle of it, and do may be called a second time behind it.
//
// If the Handler returns an error, that is the method's, even if do succeeded: what was
// opened or locked is then closed. For Create, Open, List, Lock and Stat it must call
// do or return an error. Handlers may run concurrently.
type Handler func(c Call, do func(n int) (int, error)) (int, error)

// Wrap returns a file system that passes every call of its methods, and of those of
// its files and locks, through h to base. The Close of a lock is a Close call. A nil h
// performs every call.
func Wrap(base FS, h Handler) FS {
	if h == nil {
		h = func(c Call, do func(int) (int, error)) (int, error) { return do(int(c.Size)) }
	}
	return &wrapFS{base: base, h: h, open: map[*wrapFile]bool{}}
}

type wrapFS struct {
	Sealed

	base FS
	h    Handler

	mu   sync.Mutex
	open map[*wrapFile]bool // those that still have the name by which they are known
}

// call passes a call without a count through the handler.
func (w *wrapFS) call(c Call, fn func() error) error {
	_, err := w.h(c, func(int) (int, error) { return 0, fn() })
	return err
}

func (w *wrapFS) Mkdir(dir string) error {
	return w.call(Call{Op: Mkdir, Name: dir}, func() error { return w.base.Mkdir(dir) })
}

func (w *wrapFS) List(dir string) (names []string, err error) {
	err = w.call(Call{Op: List, Name: dir}, func() (err error) {
		names, err = w.base.List(dir)
		return err
	})
	if err != nil {
		return nil, err
	}
	return names, nil
}

func (w *wrapFS) Create(name string) (File, error) {
	return w.file(Call{Op: Create, Name: name}, func() (File, error) { return w.base.Create(name) })
}

func (w *wrapFS) Open(name string, mode Mode) (File, error) {
	return w.file(Call{Op: Open, Name: name}, func() (File, error) { return w.base.Open(name, mode) })
}

// file passes a call that opens a file through the handler.
func (w *wrapFS) file(c Call, fn func() (File, error)) (File, error) {
	var base File
	err := w.call(c, func() (err error) {
		base, err = fn()
		return err
	})
	if err != nil {
		if base != nil {
			base.Close()
		}
		return nil, err
	}
	if base == nil {
		panic("vfs: handler of " + c.Op.String() + " returned no error without calling do")
	}
	f := &wrapFile{w: w, base: base, name: c.Name}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open[f] = true
	return f, nil
}

func (w *wrapFS) Rename(from, to string) error {
	return w.call(Call{Op: Rename, Name: from, To: to}, func() error {
		err := w.base.Rename(from, to)
		if err == nil && filepath.Clean(from) != filepath.Clean(to) {
			w.forget(to) // what was there
			w.follow(from, to)
		}
		return err
	})
}

func (w *wrapFS) Remove(name string) error {
	return w.call(Call{Op: Remove, Name: name}, func() error {
		err := w.base.Remove(name)
		if err == nil {
			w.forget(name)
		}
		return err
	})
}

func (w *wrapFS) Link(from, to string) error {
	return w.call(Call{Op: Link, Name: from, To: to}, func() error { return w.base.Link(from, to) })
}

func (w *wrapFS) SyncDir(dir string) error {
	return w.call(Call{Op: SyncDir, Name: dir}, func() error { return w.base.SyncDir(dir) })
}

func (w *wrapFS) Lock(name string) (io.Closer, error) {
	var base io.Closer
	err := w.call(Call{Op: Lock, Name: name}, func() (err error) {
		base, err = w.base.Lock(name)
		return err
	})
	if err != nil {
		if base != nil {
			base.Close()
		}
		return nil, err
	}
	if base == nil {
		panic("vfs: handler of lock returned no error without calling do")
	}
	return &wrapLock{w: w, base: base, name: name}, nil
}

// follow gives open files of the name from the name to.
func (w *wrapFS) follow(from, to string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for f := range w.open {
		if filepath.Clean(f.name) == filepath.Clean(from) {
			f.name = to
		}
	}
}

// forget lets open files of that name keep it, whatever happens to it from now on.
func (w *wrapFS) forget(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for f := range w.open {
		if filepath.Clean(f.name) == filepath.Clean(name) {
			delete(w.open, f)
		}
	}
}

type wrapLock struct {
	w    *wrapFS
	base io.Closer
	name string
}

func (l *wrapLock) Close() error {
	return l.w.call(Call{Op: Close, Name: l.name}, l.base.Close)
}

type wrapFile struct {
	w    *wrapFS
	base File
	name string // under w.mu
}

// about returns a Call that names the file.
func (f *wrapFile) about(op Op, off, size int64) Call {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	return Call{Op: op, Name: f.name, Off: off, Size: size}
}

func (f *wrapFile) ReadAt(p []byte, off int64) (int, error) {
	return f.w.h(f.about(ReadAt, off, int64(len(p))), func(n int) (int, error) {
		return f.base.ReadAt(p[:n], off)
	})
}

func (f *wrapFile) WriteAt(p []byte, off int64) (int, error) {
	return f.w.h(f.about(WriteAt, off, int64(len(p))), func(n int) (int, error) {
		return f.base.WriteAt(p[:n], off)
	})
}

func (f *wrapFile) Allocate(size int64) error {
	return f.w.call(f.about(Allocate, 0, size), func() error { return f.base.Allocate(size) })
}

func (f *wrapFile) Zero(off, end int64) (use bool, err error) {
	err = f.w.call(f.about(Zero, off, end-off), func() (err error) {
		use, err = f.base.Zero(off, end)
		return err
	})
	return use, err
}

func (f *wrapFile) Direct() int { return f.base.Direct() }

func (f *wrapFile) EndDirect() error { return f.base.EndDirect() }

func (f *wrapFile) WriteSync(p []byte, off int64) error {
	_, err := f.w.h(f.about(WriteSync, off, int64(len(p))), func(n int) (int, error) {
		if n < 0 {
			return f.base.WriteAt(p[:-n], off)
		}
		return 0, f.base.WriteSync(p, off)
	})
	return err
}

func (f *wrapFile) InPlace() bool { return f.base.InPlace() }

func (f *wrapFile) Truncate(size int64) error {
	return f.w.call(f.about(Truncate, 0, size), func() error { return f.base.Truncate(size) })
}

func (f *wrapFile) Sync() error {
	return f.w.call(f.about(Sync, 0, 0), f.base.Sync)
}

func (f *wrapFile) Stat() (info Info, err error) {
	err = f.w.call(f.about(Stat, 0, 0), func() (err error) {
		info, err = f.base.Stat()
		return err
	})
	if err != nil {
		return Info{}, err
	}
	return info, nil
}

func (f *wrapFile) Close() error {
	return f.w.call(f.about(Close, 0, 0), func() error {
		err := f.base.Close()
		f.w.mu.Lock()
		defer f.w.mu.Unlock()
		delete(f.w.open, f)
		return err
	})
}
