package main

import (
	"io"
	"io/fs"
	"os"
	"runtime"

	"github.com/seed3918b8df/tidemark/wal"
)

// files is the file system as the store needs it for what is not the log: a few
// calls of package os, and SyncDir. It is a seam for tests: they put the snapshot
// and the log on one disk that loses power, or fails, at any call
// (wal/waltest; see power_test.go).
type files interface {
	Create(name string) (file, error)
	ReadFile(name string) ([]byte, error)
	ReadDir(dir string) ([]fs.DirEntry, error)
	Rename(from, to string) error
	Remove(name string) error

	// SyncDir makes the names in dir durable: a Sync of a file does not.
	SyncDir(dir string) error
}

// file is an open file.
type file interface {
	io.Writer
	Sync() error
	Close() error
}

// storage is where a store lives: its own files, and those of its log.
type storage struct {
	files
	log wal.FS // nil: the operating system
}

// osStorage is the operating system.
var osStorage = storage{files: osFiles{}}

// osFiles is package os.
type osFiles struct{}

func (osFiles) Create(name string) (file, error)          { return os.Create(name) }
func (osFiles) ReadFile(name string) ([]byte, error)      { return os.ReadFile(name) }
func (osFiles) ReadDir(dir string) ([]fs.DirEntry, error) { return os.ReadDir(dir) }
func (osFiles) Rename(from, to string) error              { return os.Rename(from, to) }
func (osFiles) Remove(name string) error                  { return os.Remove(name) }

// SyncDir does nothing on Windows, which has no such call: there a rename is in the
// journal of the file system.
func (osFiles) SyncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
