package wal

import (
	"errors"
	"io/fs"

	"github.com/seed3918b8df/tidemark/segment"
)

// This file is how a file of a segment that was truncated away becomes another. What is
// written over blocks that were written before waits for no journal of the file system, and
// takes no space. It is done only where nothing can need what the file had:
//
//	truncation          FRONT, or the opening of a later segment, is durable: nothing needs it
//	keeper's goroutine  sees that nobody reads it right now; renames it to *.tmp, if it has
//	                    no other name
//	who makes the next  syncs the directory; looks once more for another name; writes a header
//	                    with another salt, and zeros behind it; syncs; renames; syncs the directory
//
// Who has the file open in another process finds another salt, by which nothing verifies,
// and then that the log does not have the segment any more.

// maxSpares is how many files of segments that were truncated away are set aside to become
// others: one for the next segment, and one more, for logs of which each truncation removes
// two.
const maxSpares = 2

// setAside sets the file of a segment that was truncated away aside, and reports whether it
// did: nobody reads it, it is about as large as the next segment should be, there are too few
// such files, and commits would wait for a new file's blocks.
func (k *keeper) setAside(l *Log, e *extent) bool {
	k.mu.Lock()
	wanted := l.opts.Sync == SyncAlways && len(k.mu.spares) < maxSpares && k.mu.size > 0 && !k.mu.scarce && !k.mu.closed
	size := k.sizeFor(l, 0)
	k.mu.Unlock()
	if !wanted || e.suspect.Load() || !e.unread() {
		return false
	}
	path, err := segment.SetAside(l.fs, e.path, size-size/4, size+size/4)
	if err != nil {
		l.logger.Warn("wal: a file is not used again", "path", e.path, "err", err)
	}
	if path == "" {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.spares = append(k.mu.spares, path)
	return true
}

// reuse makes a segment of a file that was set aside, with zeros as [segment.Create] has
// them. It returns none if there is no such file, or it cannot be used, and then it is gone.
// After an error no new file can be made either.
func (k *keeper) reuse(l *Log, size int64, zeros func(written, of int64) bool) (*segment.Writer, error) {
	for path := k.spare(); path != ""; path = k.spare() {
		h, err := k.newHeader(l)
		if err != nil {
			return nil, &notReadyError{errors.Join(err, l.fs.Remove(path))}
		}
		w, err := segment.Reuse(l.fs, l.dir, path, h, size, zeros)
		if err == nil {
			k.made(l, w)
			return w, nil
		}
		if err = (&notReadyError{err}); isFatal(err) {
			return nil, err
		}
		l.logger.Warn("wal: a file is not used again", "path", path, "err", err)
	}
	return nil, nil
}

// spare takes the path of a file that was set aside; "": there is none.
func (k *keeper) spare() (path string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if n := len(k.mu.spares); n > 0 {
		path, k.mu.spares = k.mu.spares[n-1], k.mu.spares[:n-1]
	}
	return path
}

// makeRoom gives the space of files that were set aside back, for want of space, and has none
// set aside until there is space for a segment. It reports whether there were any.
func (k *keeper) makeRoom(l *Log) bool {
	k.mu.Lock()
	spares := k.mu.spares
	k.mu.spares, k.mu.scarce = nil, true
	k.mu.Unlock()
	for _, path := range spares {
		if err := l.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			l.logger.Warn("wal: an unused segment stays", "path", path, "err", err)
		}
	}
	return len(spares) > 0
}
