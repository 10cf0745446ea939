package wal

import (
	"errors"
	"fmt"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// This file is what becomes of bytes that could not be written. All of it runs as
// the leader.

// fatalError is an error that ends the log although it is none of a sync.
type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }
func (e *fatalError) Unwrap() error { return e.err }

// unreadError is an error of reading what an op needs to know before anything is
// written for it.
type unreadError struct{ err error }

func (e *unreadError) Error() string { return e.err.Error() }
func (e *unreadError) Unwrap() error { return e.err }

// isFatal reports whether err ends the log: everything does, but for want of
// space, and for failing to make a file.
func isFatal(err error) bool {
	var fatal *fatalError
	var sync *segment.SyncError
	var notReady *notReadyError
	switch {
	case errors.As(err, &fatal), errors.As(err, &sync):
		return true
	case errors.As(err, &notReady):
		return false
	}
	return !vfs.IsNoSpace(err)
}

// failWrite ends a round at the op with the given position, which could not be
// written. For want of space nothing is poisoned: before anybody is told, the
// file is cut behind the last whole group and synced, so that those groups are
// durable and the one that failed never comes back.
func (l *Log) failWrite(r *round, from uint64, err error) {
	var unread *unreadError
	if errors.As(err, &unread) {
		r.cutFrom, r.cutErr = from, fmt.Errorf("wal: truncation: %w", err)
		return
	}
	if isFatal(err) {
		r.failed = err
		return
	}
	if err := l.cutTail(); err != nil {
		r.failed = err
		return
	}
	l.keep.makeRoom(l)
	r.cutFrom, r.cutErr = from, noSpace(err)
	l.lead.handed = l.lead.written.seq
}

// noSpace returns the error of an append that certainly is not in the log.
func noSpace(err error) error { return fmt.Errorf("%w: %w", ErrNoSpace, err) }

// cutTail cuts the active segment behind its last whole group and ends it. If it
// has no torn write it is cut all the same: it is full. Where there is no space for
// FRONT to be written in its place nothing can be cut, and any error is fatal.
func (l *Log) cutTail() error {
	ld := &l.lead
	if ld.tail == nil {
		return nil
	}
	// FRONT has room for one file that may be short: if the segment before was cut too,
	// the opening of this one, which allows that from now on, is durable first.
	if ld.tail.Synced() < ld.tail.Off() {
		if err := ld.tail.Sync(); err != nil {
			return err
		}
	}
	if err := l.allowTrim(ld.front); err != nil {
		return fmt.Errorf("FRONT: %w", err)
	}
	if err := ld.tail.Cut(); err != nil {
		return err
	}
	ld.segments[len(ld.segments)-1].endMirror()
	ld.pin = ld.tail.End()
	ld.tail = nil
	l.madeDurable()
	return nil
}

// allowTrim writes to into FRONT, and that the file of the active segment may end
// behind its last whole group: a file that is shorter than it was made and is not
// allowed to be counts as damaged.
func (l *Log) allowTrim(to segment.Front) error {
	ld := &l.lead
	to.Trimmed, to.Length = ld.tail.Header().ID, ld.tail.Off()
	return ld.front.Update(ld.frontFile, to)
}

// refused sorts an error that no op of the stream had: what is fatal goes into
// the round, what is not is returned as it is to be told.
func (l *Log) refused(r *round, err error) error {
	switch {
	case err == nil:
		return nil
	case isFatal(err):
		r.failed = err
		return nil
	}
	return noSpace(err)
}

// untold are the appends that were thrown away for want of space and of which nobody
// was told. A Wait tells of its own append alone, so that a Sync of another goroutine,
// which says that all before it is durable, still has to tell of the others.
type untold struct {
	err   error           // of the last that was thrown away
	seqs  map[uint64]bool // their places in the stream
	many  bool            // there are more than seqs holds
	times uint64          // how often something was thrown away
}

// maxUntold bounds the memory of those that nobody asks about.
const maxUntold = 1 << 12

func (u *untold) add(seq uint64, err error) {
	u.err = err
	u.times++
	if len(u.seqs) == maxUntold {
		u.many = true
		return
	}
	if u.seqs == nil {
		u.seqs = map[uint64]bool{}
	}
	u.seqs[seq] = true
}

func (u *untold) told(seq uint64) { delete(u.seqs, seq) }

// take returns the error of those that nobody was told of, or that were thrown away
// since times was before, and forgets them.
func (u *untold) take(before uint64) error {
	if len(u.seqs) == 0 && !u.many && u.times == before {
		return nil
	}
	clear(u.seqs)
	u.many = false
	return u.err
}
