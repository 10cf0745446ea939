package segment

import (
	"errors"
	"path/filepath"

	"github.com/seed3918b8df/tidemark/index"
	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// This file makes the files of segments: new ones, and ones that were segments before.

// Create makes a segment ready: it writes and syncs a file with the header h
// under a temporary name, with size bytes reserved, which the header then says,
// gives it its name and syncs dir. The calls, in order:
//
//	create 0000000000000001.tmp
//	allocate, write 0+4096, sync
//	rename 0000000000000001.tmp 0000000000000001.seg
//	syncdir
//
// Unless zeros is nil, a piece of [ZeroPiece] bytes is written before the sync, and one more
// as long as zeros says, with so many bytes of the size written, that it is wanted: as far as
// they reach, no sync of a group has to wait for the file system's journal.
//
// A [SyncError] means that a sync failed, and that nothing is known of the file.
func Create(fsys vfs.FS, dir string, h Header, size int64, zeros func(written, of int64) bool) (*Writer, error) {
	path := Path(dir, h.ID)
	temp := tempPath(path)
	file, err := fsys.Create(temp)
	if err != nil {
		return nil, err
	}
	h.Size = max(size, HeaderSize)
	err = file.Allocate(h.Size)
	if err == nil {
		_, err = file.WriteAt(h.Encode(), 0)
	}
	if err == nil && zeros != nil {
		err = zero(file, HeaderSize, h.Size, zeros)
	}
	return ready(fsys, temp, path, file, h, err)
}

// tempPath returns the path that the file of a segment has before and behind its time.
func tempPath(path string) string { return path[:len(path)-len(Ext)] + TempExt }

// ready makes a file durable that was made under a temporary name, gives it its own, and
// returns its writer. err is what making it failed with.
func ready(fsys vfs.FS, temp, path string, file vfs.File, h Header, err error) (*Writer, error) {
	if err == nil {
		err = syncError(file.Sync())
	}
	if err == nil {
		err = fsys.Rename(temp, path)
	}
	if err == nil {
		err = syncError(fsys.SyncDir(filepath.Dir(path)))
	}
	if err != nil {
		_ = file.Close() // the error that counts is there already
		_ = fsys.Remove(temp)
		return nil, err
	}
	return &Writer{file: file, path: path, head: h, index: new(index.Index), off: HeaderSize, size: h.Size, synced: HeaderSize}, nil
}

// SetAside renames the file of a segment that is no part of its log any more, and that
// nobody reads, so that [Reuse] may make another one of it, and returns its path. It returns
// none if that is not to be done: the file has another name, under which it is somebody
// else's too, or fewer than least bytes, or more than most, or its file system does not
// write in place. After an error the file may be gone.
func SetAside(fsys vfs.FS, path string, least, most int64) (spare string, err error) {
	file, err := fsys.Open(path, vfs.ReadOnly)
	if err != nil {
		return "", err
	}
	info, err := file.Stat()
	inPlace := file.InPlace()
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err != nil || info.Links != 1 || info.Size < least || info.Size > most || !inPlace {
		return "", err
	}
	spare = tempPath(path)
	if err := fsys.Rename(path, spare); err != nil {
		_ = fsys.Remove(spare) // it may have been renamed all the same
		return "", err
	}
	return spare, nil
}

// Reuse makes a segment ready as [Create] does, of the file that [SetAside] gave the name
// spare: what is written over what was there before waits neither for space nor for the
// file system's journal. The calls, in order:
//
//	syncdir                                           the name it had is gone
//	write 0000000000000001.tmp 0+8192                 the header, and the rest behind it
//	sync 0000000000000001.tmp
//	rename 0000000000000001.tmp 0000000000000002.seg
//	syncdir
//
// First the file is made as large as size: it is cut, or what it lacks is reserved, and
// written with zeros as Create has it; if there is no space for that, the segment is as large
// as the file. The error is [ErrLinked] if the file has got another name meanwhile, and a
// [SyncError] as it is of Create. After an error the file is removed, as far as that can be
// done.
func Reuse(fsys vfs.FS, dir, spare string, h Header, size int64, zeros func(written, of int64) bool) (*Writer, error) {
	file, err := fsys.Open(spare, vfs.ReadWrite)
	if err != nil {
		_ = fsys.Remove(spare)
		return nil, err
	}
	h.Compat |= compatReused
	err = syncError(fsys.SyncDir(dir))
	if err == nil {
		h.Size, err = resize(file, size, zeros)
	}
	if err == nil {
		_, err = file.WriteAt(append(h.Encode(), make([]byte, h.restEnd(HeaderSize, h.Size)-HeaderSize)...), 0)
	}
	w, err := ready(fsys, spare, Path(dir, h.ID), file, h, err)
	if err == nil {
		w.rest = h.restEnd(HeaderSize, h.Size)
	}
	return w, err
}

// ErrLinked is returned by [Reuse] for a file that has another name.
var ErrLinked = errors.New("segment: the file has another name")

// resize has file be as large as size, if there is space for it, and returns how large it is.
func resize(file vfs.File, size int64, zeros func(written, of int64) bool) (int64, error) {
	info, err := file.Stat()
	switch {
	case err != nil:
		return 0, err
	case info.Links != 1:
		return 0, ErrLinked
	case info.Size > size:
		return size, file.Truncate(size)
	case info.Size == size:
		return size, nil
	}
	if err = file.Allocate(size); vfs.IsNoSpace(err) {
		return info.Size, file.Truncate(info.Size)
	}
	if err == nil && zeros != nil {
		err = zero(file, info.Size, size, zeros)
	}
	return size, err
}

// ZeroPiece is how many bytes of zeros are written at once.
const ZeroPiece = 256 << 10

func zero(file vfs.File, off, size int64, wanted func(written, of int64) bool) error {
	for {
		end := min(off+ZeroPiece, size)
		if use, err := file.Zero(off, end); err != nil || !use {
			return err
		}
		if off = end; off >= size || !wanted(off, size) {
			return nil
		}
	}
}
