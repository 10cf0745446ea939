package wal

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed3918b8df/tidemark/segment"
)

// TruncateFront drops the records below first; first may be LastLSN()+1. It
// returns once that is durable, and FirstLSN() is then exactly first, also after
// the log is opened again, or the lowest LSN that a [Hold] needs. Whole segments
// are deleted, or become the next ones, in the background; it is cheap, and works
// with no space left. A first at or below FirstLSN() does nothing. The error is
// [ErrNotFound] above LastLSN()+1, or one of the file system; then nothing was
// dropped, and the log goes on unless it is [ErrFailed].
func (l *Log) TruncateFront(first LSN) error {
	target, place, err := l.reserveFront(first)
	if err != nil {
		return err
	}
	return l.exclusive(func(r *round) error {
		if target <= LSN(l.first.Load()) || l.lead.reset > place { // or a reset that came after has dropped all that this was to drop
			return nil
		}
		var err error
		if last := l.lead.written.last; target > last+1 { // what was ordered before could not be written
			err = lsnError(ErrNotFound, target, last)
		} else {
			err = l.truncateFront(r, target)
		}
		if err != nil || r.failed != nil {
			l.mu.Lock()
			if l.mu.reset <= place { // else a reset, ordered meanwhile, has set it
				l.mu.first = LSN(l.first.Load())
			}
			l.mu.Unlock()
		}
		return err
	})
}

// reserveFront returns what FirstLSN becomes, and lets nothing that is ordered
// from now on need what is below. place is its place in the stream.
func (l *Log) reserveFront(first LSN) (target LSN, place uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.viewer != nil:
		return 0, 0, ErrReadOnly
	case l.mu.closed:
		return 0, 0, ErrClosed
	case l.mu.failed != nil:
		return 0, 0, l.mu.failed
	case first > l.mu.next:
		return 0, 0, lsnError(ErrNotFound, first, l.mu.next-1)
	}
	for _, lsn := range l.mu.holds {
		first = min(first, lsn)
	}
	l.mu.first = max(l.mu.first, first)
	return first, l.mu.seq, nil
}

// truncateFront makes first the first LSN.
func (l *Log) truncateFront(r *round, first LSN) error {
	ld := &l.lead
	keep := len(ld.segments) - 1 // the newest is never removed: it holds the meta
	if first <= ld.written.last && keep > 0 {
		at, err := findExtent(ld.segments, first)
		if err != nil {
			return fmt.Errorf("wal: TruncateFront to %d: %w", first, err)
		}
		keep = at
	}
	if err := l.writeFront(r, first, max(0, keep)); err != nil || r.failed != nil {
		return err
	}
	ld.written.first, ld.synced.first = first, first
	l.first.Store(uint64(first))
	if keep > 0 {
		dead := ld.segments[:keep]
		ld.segments = append([]*extent{}, ld.segments[keep:]...)
		segments := ld.segments
		l.segments.Store(&segments)
		l.keep.remove(l, dead)
	}
	l.hooks.truncated(first, ld.written.last)
	l.news.fire()
	return nil
}

// writeFront writes FRONT: the log begins with record first, in the segment with
// the given index. All segments are durable.
func (l *Log) writeFront(r *round, first LSN, oldest int) error {
	err := l.lead.front.Update(l.lead.frontFile, l.frontOf(first, oldest))
	if err == nil {
		l.lead.frontDue = time.Time{}
	}
	return l.refused(r, err)
}

// frontOf returns what FRONT says of a log that begins with record first, in the
// segment with the given index.
func (l *Log) frontOf(first LSN, oldest int) segment.Front {
	f := l.lead.front
	f.First = first
	if list := l.lead.segments; len(list) > 0 {
		f.Oldest = list[oldest].id
		f.Newest = max(f.Newest, list[len(list)-1].id)
	}
	return f
}

// TruncateBack drops the records above last. It returns once that is durable;
// LastLSN() is then last, and the next append gets last+1. A last at or above
// LastLSN() does nothing; below FirstLSN()-1 the error is [ErrTruncated]. Holds
// do not bind it.
func (l *Log) TruncateBack(last LSN) error {
	var b Batch
	b.TruncateBack(last)
	p, err := l.orderBatch(&b, true)
	if _, err := l.commit(p, err, true); err != nil {
		return err
	}
	return l.claim()
}

// claim has something durable stand behind a truncation, so that damage to the
// group that holds it cannot bring back what it dropped. The truncation itself is
// durable: if another has failed the log meanwhile the outcome is known, but not
// to the caller; and if the log was closed, its last mark stands behind it.
func (l *Log) claim() error {
	err := l.exclusive(func(r *round) error {
		if err := l.mark(r, true); err != nil {
			return err
		}
		l.nameNewest(r)
		return nil
	})
	switch {
	case errors.Is(err, ErrClosed):
		return nil
	case errors.Is(err, ErrFailed) && !errors.Is(err, ErrUnknownOutcome):
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return err
}

// Reset drops all records. It returns once that is durable; the next append gets
// next, which may be any LSN from 1 to [MaxFirstLSN]. Meta stays.
func (l *Log) Reset(next LSN) error {
	if next == 0 || next > MaxFirstLSN {
		return fmt.Errorf("wal: Reset to LSN %d, want 1 to %d", next, LSN(MaxFirstLSN))
	}
	p, err := l.orderReset(next)
	if _, err := l.commit(p, err, true); err != nil {
		return err
	}
	return l.claim() // and FRONT says so too; until it does, the segment that follows nothing says it
}

// Hold keeps TruncateFront from dropping what somebody still needs.
type Hold struct {
	log  *Log
	name string
}

// Hold returns a hold on record lsn and all behind it: no TruncateFront that has
// not returned when Hold returns drops them. TruncateBack and Reset do. name is
// for messages. The error is [ErrTruncated] below FirstLSN(), [ErrClosed],
// [ErrReadOnly].
func (l *Log) Hold(name string, lsn LSN) (*Hold, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.viewer != nil:
		return nil, ErrReadOnly
	case l.mu.closed:
		return nil, ErrClosed
	case lsn < l.mu.first:
		return nil, fmt.Errorf("hold %q: %w", name, lsnError(ErrTruncated, lsn, l.mu.first))
	}
	h := &Hold{log: l, name: name}
	l.mu.holds[h] = lsn
	return h, nil
}

// Move moves the hold forward to lsn; backward does nothing. Nothing is
// truncated by it.
func (h *Hold) Move(lsn LSN) {
	h.log.mu.Lock()
	defer h.log.mu.Unlock()
	if at, held := h.log.mu.holds[h]; held && lsn > at {
		h.log.mu.holds[h] = lsn
	}
}

// Release ends the hold. Nothing is truncated by it. It is idempotent.
func (h *Hold) Release() {
	h.log.mu.Lock()
	defer h.log.mu.Unlock()
	delete(h.log.mu.holds, h)
}
