package wal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed3918b8df/tidemark/recovery"
	"github.com/seed3918b8df/tidemark/segment"
)

// LSN is the number of a record. LSNs are dense: each record has the LSN of the
// one before it plus one. 0 is never a record.
type LSN = segment.LSN

// Report is what Open found and did.
type Report = recovery.Report

// Record is one record as it is read.
type Record struct {
	LSN  LSN
	Data []byte // belongs to whoever handed out the record; see there
	More bool   // the next record belongs to the same batch
}

// Log is an open log. All its methods are safe for concurrent use.
type Log struct {
	// Set by Open, then read-only.
	fs     FS
	dir    string
	opts   Options
	id     segment.LogID
	lock   io.Closer
	report Report
	logger *slog.Logger
	viewer *viewer // not nil: the log is read-only

	// The order of appends, and those who wait. Held for moments, never across
	// a call of the file system.
	mu struct {
		sync.Mutex
		queue   queue // ordered and not yet taken by a leader
		spare   queue // the memory of the queue before, while nobody leads
		first   LSN   // FirstLSN once all that is ordered is done
		next    LSN   // of the next record
		seq     uint64
		reset   uint64 // position of the last reset
		taken   uint64 // all up to this position of the stream was taken by a leader
		written uint64 // all up to this position of the stream was handed to the OS
		synced  uint64 // and this is durable; synced <= written <= seq
		leading bool   // somebody owns lead
		waiters waiters
		cuts    []cut  // stretches of the stream that were thrown away
		forgot  uint64 // of positions up to here, cuts may be forgotten
		unknown uint64 // with failed: positions above synced, up to here, have no known outcome
		failed  error  // sticky; wraps ErrFailed
		stalled error  // no space: the next append looks for some first
		lost    error  // appends that nobody waited for were thrown away, and nobody was told yet
		untold  untold // which of them a Sync must tell of
		holds   map[*Hold]LSN
		closed  bool
		stats   Stats

		// For the flusher; as of the last turn.
		armed      time.Time // it sleeps until then; zero: until it is woken
		lastTurn   time.Time
		dirtySince time.Time // with written != synced
		unmarked   bool      // the last group is claimed by no mark that is durable
	}
	room sync.Cond // on mu: the queue was taken, or the log ended

	// Owned by the leader: whoever set mu.leading.
	lead leader

	// What readers see. Only the leader stores: segments before end of each
	// segment before last, so that a reader who loads last >= n finds record n.
	first    atomic.Uint64
	last     atomic.Uint64
	durable  atomic.Uint64 // DurableLSN
	meta     atomic.Pointer[[]byte]
	segments atomic.Pointer[[]*extent]
	rewinds  rewinds
	news     signal

	files openFiles

	spareParts spareParts

	// Goroutines of the log's own.
	keep    keeper
	flush   flusher
	hooks   hookRunner
	scrub   scrubber
	ended   atomic.Bool   // all is closed to readers
	closing chan struct{} // closed when Close is done
	closeIs error         // what Close returned
}

// FirstLSN returns the LSN of the oldest record retained, and LastLSN()+1 when
// the log is empty.
func (l *Log) FirstLSN() LSN {
	l.look()
	return LSN(l.first.Load())
}

// LastLSN returns the LSN of the newest record that is visible: under SyncAlways
// durable, else handed to the operating system. It is FirstLSN()-1 when the log
// is empty. Only TruncateBack and Reset move it back.
func (l *Log) LastLSN() LSN {
	l.look()
	return LSN(l.last.Load())
}

// DurableLSN returns the LSN of the newest record that is known durable. It is
// no test for whether an append is: a truncation may have given its LSN to
// another. See [Pending].
func (l *Log) DurableLSN() LSN {
	l.look()
	return LSN(l.durable.Load())
}

// Meta returns the last meta to become visible, or nil if there was none. No
// truncation takes it back. The caller must not change it.
func (l *Log) Meta() []byte {
	l.look()
	if m := l.meta.Load(); m != nil {
		return *m
	}
	return nil
}

// look brings a read-only log up to date with its directory.
func (l *Log) look() {
	if l.viewer != nil {
		l.looked(l.viewer.look(l, lookEvery))
	}
}

// lookAgain is look behind a read that failed with err, however recent the last one was. If
// a file was gone, or had something else in it, it looks until one look succeeds, or finds
// damage: the writer that removed it, or made another segment of it, may still be at work.
// It returns what the read failed with, as far as is known then, and whether the record may
// be in another segment by now.
func (l *Log) lookAgain(err error) (now error, moved bool) {
	gone, changed := errors.Is(err, fs.ErrNotExist), errors.Is(err, ErrCorrupt)
	if l.viewer != nil {
		failed := l.viewer.look(l, 0)
		for try := 1; failed != nil && (gone || changed && !errors.Is(failed, ErrCorrupt)) && try < lookTries; try++ {
			time.Sleep(lookEvery)
			failed = l.viewer.look(l, 0)
		}
		l.looked(failed)
		if failed != nil {
			if changed { // it is not known that what it found is the log's
				err = failed
			}
			return err, false
		}
	}
	var at *CorruptError
	return err, errors.As(err, &at) && !slices.ContainsFunc(*l.segments.Load(), func(e *extent) bool { return e.path == at.Path })
}

func (l *Log) looked(err error) {
	if err != nil {
		l.logger.Warn("wal: the log cannot be read now", "err", err)
	}
}

// Err returns nil while the log takes appends; else [ErrClosed] or an error that
// is [ErrFailed] and wraps the cause, or, until there is space, [ErrNoSpace].
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.mu.closed:
		return ErrClosed
	case l.mu.failed != nil:
		return l.mu.failed
	case l.mu.lost != nil:
		return l.mu.lost
	}
	return l.mu.stalled
}

// Recovery returns what Open found and did.
func (l *Log) Recovery() Report { return l.report }

// Append appends a record and returns its LSN once it is durable, or, unless the
// policy is SyncAlways, once it was handed to the operating system. data must not
// change until then, and is not kept. Appends of several goroutines share one write
// and one sync; a large one is written from where it is, in several. After an
// error the record is not in the log, unless the error is [ErrUnknownOutcome].
// The other errors: [ErrNoSpace], [ErrTooLarge], [ErrFailed], [ErrClosed],
// [ErrReadOnly].
func (l *Log) Append(data []byte) (LSN, error) {
	durable := l.opts.Sync == SyncAlways
	if len(data) >= l.opts.largeRecord {
		if p, ok := l.orderLarge(data); ok {
			return l.commit(p, nil, durable)
		}
	}
	p, err := l.orderRecord(data, true)
	return l.commit(p, err, durable)
}

// commit awaits p, unless err says that it was not ordered. Requires mu, and gives it up.
func (l *Log) commit(p Pending, err error, durable bool) (LSN, error) {
	if err != nil {
		l.mu.Unlock()
		return 0, err
	}
	if err := l.await(context.Background(), p.seq, durable); err != nil {
		return 0, err
	}
	return p.First, nil
}

// AppendAsync orders a record behind all that was ordered before and returns. It
// waits only while the log's buffer, 4 MiB, is full. data is copied. The record
// is handed to the operating system within about 1 ms, and, unless the policy is
// SyncNone, synced within 10 ms or Options.SyncEvery; a Wait or Sync makes it
// durable at once. The errors are those of Append, but for ErrUnknownOutcome:
// what becomes of the record, Wait tells.
func (l *Log) AppendAsync(data []byte) (Pending, error) {
	p, err := l.orderRecord(data, false)
	l.mu.Unlock()
	return p, err
}

// AppendBatch appends the batch and returns the LSN that its first record has,
// or would have, as Append does. It is atomic: readers see all of it or nothing,
// also after a crash. The errors are those of Append and, before anything is
// written, [ErrConflict], and [ErrTruncated] for a truncation below FirstLSN()-1.
func (l *Log) AppendBatch(b *Batch) (first LSN, err error) {
	p, err := l.orderBatch(b, true)
	return l.commit(p, err, l.opts.Sync == SyncAlways)
}

// AppendBatchAsync orders a batch as AppendAsync orders a record. An empty batch
// is a barrier: its Pending is done when all that was ordered before is.
func (l *Log) AppendBatchAsync(b *Batch) (Pending, error) {
	p, err := l.orderBatch(b, false)
	l.mu.Unlock()
	return p, err
}

// Pending is an append that was ordered. It is a value and may be copied, kept
// or dropped. The append is known by its place in the stream, not by its LSN: if
// it fails, its LSNs are given out again, and Wait never reports the success of
// another.
type Pending struct {
	First, Last LSN // of its records; Last is First-1 if it has none

	seq uint64
	log *Log
}

// Wait returns nil once the append is durable, whatever the policy, also when a
// later truncation has dropped it since. ctx ends the wait and not the append;
// then the error is ctx's. The other errors are those of Append. For an append
// older than the last 64 that failed together the error may be
// [ErrUnknownOutcome].
func (p Pending) Wait(ctx context.Context) error {
	if p.log == nil {
		return fmt.Errorf("wal: Wait of a Pending that no append returned: %w", ErrNotFound)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	p.log.mu.Lock()
	if p.seq > p.log.mu.taken {
		p.log.arrived()
	}
	err := p.log.await(ctx, p.seq, true)
	if err != nil {
		p.log.mu.Lock()
		defer p.log.mu.Unlock()
		if err == p.log.mu.lost {
			p.log.mu.lost = nil // it has been told
		}
		if errors.Is(err, ErrNoSpace) { // and not that ctx has ended
			p.log.mu.untold.told(p.seq)
		}
	}
	return err
}

// Sync returns once all that was ordered before it is durable. If an append that
// nobody waited for was thrown away for want of space, and its own Wait has not said
// so, Sync returns that error, once.
func (l *Log) Sync() error {
	l.mu.Lock()
	before := l.mu.untold.times
	l.mu.Unlock()
	err := l.exclusive(func(r *round) error { return l.mark(r, false) })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.lost = nil
	if lost := l.mu.untold.take(before); lost != nil {
		return lost
	}
	return err
}

// Rotate seals the active segment and begins another. It does nothing when the
// active segment has neither records nor metas, or is of an earlier run: that one
// ends with the next append in any case.
func (l *Log) Rotate() error {
	return l.exclusive(func(r *round) error {
		if w := l.lead.tail; w == nil || w.Empty() {
			return nil
		}
		return l.begin(r)
	})
}
