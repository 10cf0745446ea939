package wal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"sync"
	"time"

	"github.com/seed3918b8df/tidemark/segment"
)

// Reader reads records in order, as far as they are visible. It is for one
// goroutine. It takes no lock while the caller looks at a record and pins
// nothing: a truncation may overtake it.
type Reader struct {
	log   *Log
	scan  segment.Scanner
	at    *extent    // that scan is in; nil: to be found
	list  *[]*extent // that at was found in
	next  LSN        // that Next will return
	epoch uint64     // of the log's rewinds that are accounted for
	rec   Record
	err   error

	hinted  bool    // scan began where an index says, and has not yet led to a record
	rebuilt *extent // whose index was built again, once, because it lied
}

// NewReader returns a reader of which the first Next returns record from. from
// may be LastLSN()+1. The error is [ErrTruncated] below FirstLSN(),
// [ErrNotFound] above LastLSN()+1, [ErrClosed].
func (l *Log) NewReader(from LSN) (*Reader, error) {
	r := &Reader{log: l}
	if err := r.Seek(from); err != nil {
		return nil, err
	}
	return r, nil
}

// Seek moves the reader to record lsn. It fails as NewReader does, and then the
// reader stays as it was. A reader that had ended with an error can be used
// again.
func (r *Reader) Seek(lsn LSN) error {
	l := r.log
	if l == nil || l.isClosed() {
		return ErrClosed
	}
	l.look()
	epoch := l.rewinds.now()
	if first := LSN(l.first.Load()); lsn < first {
		return lsnError(ErrTruncated, lsn, first)
	}
	if last := LSN(l.last.Load()); lsn > last+1 {
		return lsnError(ErrNotFound, lsn, last)
	}
	r.at, r.next, r.epoch, r.rec, r.err = nil, lsn, epoch, Record{}, nil
	return nil
}

// Next steps to the next record. It returns false when there is none: with Err()
// nil the reader is caught up, and Next may be called again later. Every record
// is verified; damage is a [CorruptError]. The reader ends with [ErrTruncated]
// when TruncateFront has overtaken it, with [ErrRewound] when TruncateBack or
// Reset took what it had passed, with [ErrClosed] when the log was closed.
func (r *Reader) Next() bool {
	if r.err != nil || !r.ready() {
		return false
	}
	var spent *extent // it ended before the record
	for {
		if r.at == nil {
			if err := r.enter(spent); err != nil {
				if r.overtaken(err) {
					continue
				}
				return false
			}
		}
		if r.scan.Next() == segment.StepFrame {
			f := r.scan.Frame()
			if f.LSN < r.next { // before the one looked for, or no record
				continue
			}
			if r.log.rewinds.epoch.Load() != r.epoch { // it may be of another history
				if !r.ready() {
					return false
				}
				r.at = nil
				continue
			}
			r.hinted = false
			r.rec = Record{LSN: f.LSN, Data: f.Data, More: f.More && f.End() < r.at.end.Load()}
			r.next++
			return true
		}
		if !r.scan.Ended() {
			continue // the header of a group
		}
		if !r.scan.AtLimit() {
			if r.misled() || r.overtaken(r.scan.Stop().Err) {
				continue
			}
			return false
		}
		if !r.ready() { // caught up
			return false
		}
		switch {
		case r.at == nil: // the log was taken back meanwhile, not below the reader
			spent = nil
		case r.at.end.Load() > r.scan.Limit():
			r.scan.SetLimit(r.at.end.Load())
		default:
			spent, r.at = r.at, nil
		}
	}
}

// misled reports whether a scan failed that began where an index says; then the
// index, which is a hint, is built from the file, and the scan begins anew.
func (r *Reader) misled() bool {
	e := r.at
	if !r.hinted || r.rebuilt == e || !errors.Is(r.scan.Stop().Err, ErrCorrupt) {
		return false
	}
	if _, err := e.indexOf(true); err != nil {
		return false
	}
	r.at, r.hinted, r.rebuilt = nil, false, e
	return true
}

// ready reports whether there is a record to be read, or sets err.
func (r *Reader) ready() bool {
	l := r.log
	if l == nil {
		r.err = ErrClosed
		return false
	}
	if epoch := l.rewinds.now(); epoch != r.epoch {
		if next, ok := l.rewinds.lowest(r.epoch); ok && next < r.next {
			r.err = fmt.Errorf("%w: LSN %d was read, the log was taken back to %d", ErrRewound, r.next-1, next-1)
			return false
		}
		r.epoch, r.at = epoch, nil
	}
	if first := LSN(l.first.Load()); r.next < first {
		r.err = lsnError(ErrTruncated, r.next, first)
		return false
	}
	if r.next <= LSN(l.last.Load()) {
		return true
	}
	if l.isClosed() {
		r.err = ErrClosed
	}
	return false
}

// enter starts the scan at the record that comes next, which is visible, and is
// not in the segment spent.
func (r *Reader) enter(spent *extent) error {
	r.list = r.log.segments.Load()
	list := *r.list
	if len(list) == 0 {
		return errGone
	}
	at, err := findExtent(list, r.next)
	if err != nil {
		return err
	}
	e := list[at]
	limit := e.end.Load()
	if e == spent || r.next < e.baseLSN() {
		return e.without(r.next)
	}
	r.at = e
	if r.next == e.baseLSN() {
		r.scan.Start(e, e.path, e.header, limit)
		return nil
	}
	x, err := e.indexOf(false)
	if err != nil {
		return err
	}
	hint, _, ok := x.Find(uint32(r.next - e.baseLSN()))
	if !ok || hint.Off >= limit {
		r.scan.Start(e, e.path, e.header, limit)
		return nil
	}
	r.scan.StartAt(e, e.path, e.header, limit, hint.Off, e.baseLSN()+LSN(hint.Ordinal), 0)
	r.hinted = true
	return nil
}

// overtaken sets err to what a read that failed with err means when the log may
// have been truncated meanwhile. It returns true if the record is there all the
// same, in another segment by now.
func (r *Reader) overtaken(err error) bool {
	r.at = nil
	err, moved := r.log.lookAgain(err)
	if !r.ready() {
		return false
	}
	if errors.Is(err, errGone) && !r.log.isClosed() {
		return true
	}
	if errors.Is(err, fs.ErrNotExist) && r.log.segments.Load() != r.list { // a writer has removed it
		return true
	}
	if moved {
		return true
	}
	r.err = err
	if errors.Is(err, errGone) {
		r.err = ErrClosed
	}
	return false
}

// Record returns the record that Next stepped to. Its Data belongs to the reader
// and is valid until the next call of Next, Seek or Close.
func (r *Reader) Record() Record { return r.rec }

// Err returns why the reader ended, or nil.
func (r *Reader) Err() error { return r.err }

// Wait returns nil when Next would return true; it does not poll, and holds no
// lock. Its errors are ctx's, those that Next would end with, and [ErrFailed]
// when the log has failed and all that is visible was read.
func (r *Reader) Wait(ctx context.Context) error {
	for {
		if r.err != nil {
			return r.err
		}
		if r.log == nil {
			return ErrClosed
		}
		news := r.log.news.arm()
		r.log.look()
		if r.ready() {
			return nil
		}
		if r.err != nil {
			return r.err
		}
		if err := r.log.failure(); err != nil {
			return err
		}
		if err := r.log.awaitNews(ctx, news); err != nil {
			return err
		}
	}
}

// Close ends the use of the reader. It is idempotent.
func (r *Reader) Close() error {
	*r = Reader{err: ErrClosed}
	return nil
}

// followEvery is how often a read-only log looks for news of another process,
// which cannot wake it.
const followEvery = 50 * time.Millisecond

// awaitNews waits for something to change, or for ctx.
func (l *Log) awaitNews(ctx context.Context, news <-chan struct{}) error {
	var tick <-chan time.Time
	if l.viewer != nil {
		timer := time.NewTimer(followEvery)
		defer timer.Stop()
		tick = timer.C
	}
	select {
	case <-news:
	case <-tick:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Records returns an iterator over the records from the given LSN to the end of
// the log as it is when the iteration begins. Data is valid until the next step.
// An error comes once, last, with a zero Record; they are those of NewReader and
// Next. Any method of the log may be called in the loop.
func (l *Log) Records(from LSN) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		r, err := l.NewReader(from)
		if err != nil {
			yield(Record{}, err)
			return
		}
		end := LSN(l.last.Load())
		for r.next <= end && r.Next() {
			if !yield(r.rec, nil) {
				return
			}
		}
		if r.err != nil {
			yield(Record{}, r.err)
		}
	}
}

// Follow returns an iterator over the records from the given LSN that waits at
// the end of the log for more. It ends with an error, once, last: ctx's, those
// of NewReader and Next, or [ErrFailed] once all that is visible was delivered.
// Data is valid until the next step. Any method of the log may be called in the
// loop.
func (l *Log) Follow(ctx context.Context, from LSN) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		r, err := l.NewReader(from)
		for err == nil {
			for err == nil && r.Next() {
				if !yield(r.rec, nil) {
					return
				}
				err = ctx.Err()
			}
			if err == nil {
				err = r.Wait(ctx)
			}
		}
		yield(Record{}, err)
	}
}

// Read appends the data of record lsn to dst and returns the result. Its checksum
// is verified; damage is a [CorruptError]. Other errors: [ErrTruncated] below
// FirstLSN(), [ErrNotFound] above LastLSN(), [ErrClosed].
func (l *Log) Read(lsn LSN, dst []byte) ([]byte, error) {
	l.look()
	for {
		epoch := l.rewinds.now()
		data, err := l.read(lsn, dst)
		if l.rewinds.epoch.Load() == epoch {
			return data, err
		}
	}
}

// read is Read, as long as the log is not taken back.
func (l *Log) read(lsn LSN, dst []byte) ([]byte, error) {
	for {
		if err := l.inRange(lsn); err != nil {
			return dst, err
		}
		list := l.segments.Load()
		data, err := l.readAt(lsn, dst, false)
		if errors.Is(err, ErrCorrupt) { // the index is a hint: the file itself may know better
			data, err = l.readAt(lsn, dst, true)
		}
		if err == nil {
			return data, nil
		}
		err, moved := l.lookAgain(err)
		if moved || (errors.Is(err, fs.ErrNotExist) || errors.Is(err, errGone)) && l.segments.Load() != list {
			continue // the record is elsewhere, or truncated
		}
		if gone := l.inRange(lsn); gone != nil { // truncated meanwhile, or closed
			err = gone
		}
		return dst, err
	}
}

// inRange returns an error unless record lsn is retained and visible.
func (l *Log) inRange(lsn LSN) error {
	if l.isClosed() {
		return ErrClosed
	}
	if first := LSN(l.first.Load()); lsn < first {
		return lsnError(ErrTruncated, lsn, first)
	}
	if last := LSN(l.last.Load()); lsn > last {
		return lsnError(ErrNotFound, lsn, last)
	}
	return nil
}

// readers is memory of point reads.
var readers = sync.Pool{New: func() any { return new(segment.Reader) }}

func (l *Log) readAt(lsn LSN, dst []byte, again bool) ([]byte, error) {
	list := *l.segments.Load()
	if len(list) == 0 {
		return dst, lsnError(ErrNotFound, lsn, LSN(l.last.Load()))
	}
	at, err := findExtent(list, lsn)
	if err != nil {
		return dst, err
	}
	e := list[at]
	if lsn < e.baseLSN() {
		return dst, e.without(lsn)
	}
	x, err := e.indexOf(again)
	if err != nil {
		return dst, err
	}
	rd := readers.Get().(*segment.Reader)
	data, err := rd.Read(e, e.path, e.header, x, e.baseLSN(), lsn, e.end.Load(), dst)
	readers.Put(rd)
	if errors.Is(err, segment.ErrNoRecord) {
		err = e.without(lsn)
	}
	return data, err
}
