// Package vfs is the file system as a write-ahead log needs it: few calls, each with a
// stated effect on durability, and several implementations behind one interface.
//
// [OS] is the real one. [Mem] keeps everything in memory and is meant for production
// use as well as for tests. [Crash] is a Mem that remembers what was not yet synced
// and can build every file system that a power failure may leave. [Wrap] puts a
// function around every call of another file system; [Faulty] and [Trace] are built
// on it.
//
// # Durability
//
// A file's bytes and size are durable after [File.Sync], and bytes of it after
// [File.WriteSync] of them. A name is durable after
// [FS.SyncDir] of the directory that holds it. Neither does the work of the other,
// and nothing is promised about the order in which anything else becomes durable.
//
// # Names
//
// Names are paths as package path/filepath knows them. Names are cleaned, so "a/./b"
// and "a/b" are one file. Errors are *fs.PathError, or *os.LinkError where a call
// takes two names.
package vfs

import (
	"errors"
	"io"
	"syscall"
)

// ErrLocked is the error, wrapped in an *fs.PathError, of [FS.Lock] for a name that
// this or another process has locked.
var ErrLocked = errors.New("locked by another user")

// Mode says what a file opened by [FS.Open] may be used for.
type Mode uint8

const (
	// ReadOnly allows ReadAt, Stat and Close. On Unix it allows Sync too.
	ReadOnly Mode = iota

	// ReadWrite allows everything.
	ReadWrite
)

// FS is a file system. Its methods may be called concurrently, and no method keeps an
// argument. Any error of the system below may come from any method; the ones named
// here are the ones to be tested for with errors.Is.
type FS interface {
	// Mkdir creates one directory. The parent must exist. The error is fs.ErrExist if
	// the name is taken, fs.ErrNotExist if there is no parent.
	Mkdir(dir string) error

	// List returns the base names of all that is in dir, sorted. The caller owns the
	// slice. The error is fs.ErrNotExist if there is no such directory.
	List(dir string) ([]string, error)

	// Create makes a new, empty file and opens it for reading and writing. The error
	// is fs.ErrExist if the name is taken, and then the file there is untouched.
	Create(name string) (File, error)

	// Open opens an existing file. The error is fs.ErrNotExist if there is none.
	Open(name string, mode Mode) (File, error)

	// Rename gives a file another name, in one step, and replaces a file that has it.
	// Open files stay usable, the replaced one included, except that Windows refuses
	// to replace an open file. The error is fs.ErrNotExist if from does not exist.
	Rename(from, to string) error

	// Remove takes a file's name away, or that of an empty directory; Crash has no
	// history of those, and refuses. On Unix an open file stays usable without it.
	// The error is fs.ErrNotExist if there is no such file.
	Remove(name string) error

	// Link gives the file from a second name. The error is fs.ErrExist if the name is
	// taken, fs.ErrNotExist if from does not exist.
	Link(from, to string) error

	// SyncDir returns once all names created, changed and removed in dir so far are
	// durable. It does not make files' contents durable.
	SyncDir(dir string) error

	// Lock takes the lock of that name for this process and this caller alone,
	// creating an empty file of that name if there is none. It never waits: if the
	// lock is held, here or elsewhere, the error is ErrLocked. Close releases the
	// lock and leaves the file. The end of the process releases it too.
	Lock(name string) (io.Closer, error)

	sealed()
}

// Sealed is embedded by every implementation of [FS]. It is what allows methods to be
// added to FS: nothing outside of this module implements it.
type Sealed struct{}

func (Sealed) sealed() {}

// File is an open file. Its methods may be called concurrently. After Close every
// method returns an error that is fs.ErrClosed.
type File interface {
	// ReadAt fills p from the bytes at off. It returns fewer than len(p) bytes only
	// with an error, which at the end of the file is io.EOF, not wrapped.
	io.ReaderAt

	// WriteAt writes p at off and grows the file where it must; a gap reads as zeros.
	// It returns fewer than len(p) bytes only with an error. See [IsNoSpace].
	io.WriterAt

	// Allocate grows the file to size bytes, the new ones zero, and reserves the
	// space for all of them, so that writing below size does not fail for want of
	// space. It does nothing to a file of that size or larger. After an error the
	// file may have any size up to size. See [IsNoSpace].
	Allocate(size int64) error

	// Zero writes the zeros from off to end, which Allocate has reserved and nobody has
	// written: once they are synced, the Sync of what is written over them changes data
	// alone. It waits until the disk has them, which is not to say that they are durable.
	// Where that is no use it does nothing and returns false.
	Zero(off, end int64) (bool, error)

	// Direct has WriteSync ready, if the file has that, and returns the number of bytes of
	// which its memory, offset and size are multiples, a power of two; or 0, as always of a
	// file opened ReadOnly. It may open the file once more, and read of it.
	Direct() int

	// EndDirect gives back what Direct has taken, a descriptor, as Close does.
	EndDirect() error

	// WriteSync writes p at off, past what the system keeps of files in memory, and returns
	// once those bytes are durable: they alone, and nothing else that was written before.
	// p is aligned as Direct said, as [Aligned] memory is, and the file, as it was last
	// synced, reaches as far as p. After an error nothing is known of those bytes; WriteAt
	// and Sync would prove nothing of them either.
	WriteSync(p []byte, off int64) error

	// InPlace reports whether what is written over bytes of the file goes where they are,
	// and so takes no space, and changes nothing but data. It is false where that is not
	// known.
	InPlace() bool

	// Truncate sets the file's size. Bytes gained are zeros. No space is reserved.
	Truncate(size int64) error

	// Sync returns once everything written so far, and the size, are durable. After
	// an error nothing is known about what was written since the last success, and
	// a later success of Sync says nothing about it. On Windows it needs ReadWrite.
	Sync() error

	// Stat returns the file's size and number of names.
	Stat() (Info, error)

	// Close ends the use of the file. It makes nothing durable.
	Close() error
}

// Info is what [File.Stat] knows about a file.
type Info struct {
	Size  int64 // in bytes
	Links int   // names that the file has, 0 after its last was removed
}

// WriteBackError wraps an error of the disk that the system may not tell a second time,
// for bytes that were written before: which, and what of them is durable, is not known.
// Whatever it wraps, it is none of [IsNoSpace].
type WriteBackError struct{ Err error }

func (e *WriteBackError) Error() string { return e.Err.Error() }
func (e *WriteBackError) Unwrap() error { return e.Err }

// IsNoSpace reports whether err says that the disk, a quota or the largest possible
// file is full, so that the same call may succeed once there is more room.
func IsNoSpace(err error) bool {
	if late := (*WriteBackError)(nil); errors.As(err, &late) {
		return false
	}
	for _, errno := range noSpace {
		if errors.Is(err, errno) {
			return true
		}
	}
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG)
}
