package wal

import (
	"fmt"
	"time"

	"github.com/seed3918b8df/tidemark/segment"
)

// queueSize is how many bytes may be ordered and not yet taken by a leader
// before an append waits. One append may be larger.
const queueSize = 4 << 20

// handSize is how many bytes may be ordered before they are handed to the OS although
// nobody waits for them: it copies them while more are ordered.
const handSize = 256 << 10

// queueOps is how many appends may be, since some have no bytes.
const queueOps = 256 << 10

// maxBatchFrames is how many bytes a batch may take with the headers of its
// records: half of what a segment can hold.
const maxBatchFrames = 16 << 30

// queue is what was ordered and is still to be written. It knows nothing of
// segments and offsets: where its records go is decided by the leader that takes
// it, so that nothing in it has to be undone when a write fails.
type queue struct {
	buf   []byte // room for a group's header, then drafts
	ops   []op
	since time.Time // when the first op that nobody waits for was ordered

	waited time.Time // when the first who waits for an op began to; zero: nobody does

	// large is the data of the queue's only op, which is in the caller's memory and not in
	// buf: whoever ordered it leads at once, and returns when it is written.
	large []byte
}

// op is one append: a place in the stream.
type op struct {
	seq     uint64
	first   LSN // of its first record, or of the next one
	records int
	end     int // of its drafts in buf
	waits   bool
	meta    []byte // nil: it sets none

	truncate opTruncate
	keep     LSN // for truncateBack: drop what is above
}

// opTruncate says how an op begins.
type opTruncate uint8

const (
	truncateNot  opTruncate = iota
	truncateBack            // drop the records above keep
	truncateAll             // drop all records
)

// reset empties the queue and keeps its memory, unless that grew large.
func (q *queue) reset() {
	if cap(q.buf) > 2*queueSize {
		q.buf = nil
	}
	if q.buf == nil {
		q.buf = make([]byte, segment.GroupHeaderSize, 4<<10)
	}
	clear(q.ops)
	*q = queue{buf: q.buf[:segment.GroupHeaderSize], ops: q.ops[:0]}
}

// orderRecord gives a record its place. waits says that the caller will await it. It
// returns with mu held, whatever the error.
func (l *Log) orderRecord(data []byte, waits bool) (Pending, error) {
	if len(data) > l.opts.MaxRecordSize {
		l.mu.Lock()
		return Pending{}, fmt.Errorf("%w: a record of %d bytes, at most %d", ErrTooLarge, len(data), l.opts.MaxRecordSize)
	}
	hash := segment.Hash(data)
	l.mu.Lock()
	if err := l.admit(segment.FrameSize(len(data))); err != nil {
		return Pending{}, err
	}
	q := &l.mu.queue
	q.buf = segment.AppendDraft(q.buf, segment.TypeRecord, false, data, hash)
	return l.push(op{records: 1, waits: waits}), nil
}

// largeRecord is the size in bytes from which a record is not copied into the queue, if
// nobody else is at work: with 1 MiB a commit takes 830 µs instead of 915.
const largeRecord = 256 << 10

// largePiece is how many bytes of it are written before they are hashed, while the disk has
// them: a commit of 1 MiB to a file that was written before takes 460 µs with pieces of
// 256 KiB, 430 with those of 1 MiB, and 510 if each of 256 KiB is hashed before it is written.
const largePiece = 1 << 20

// orderLarge is orderRecord for a caller who waits, if he is alone: nothing of the data is
// looked at then. Else it returns ok false, and does not hold mu. Who appends beside others
// waits for them: if he went ahead whenever all had returned, every other sync would be his
// alone.
func (l *Log) orderLarge(data []byte) (p Pending, ok bool) {
	if len(data) > l.opts.MaxRecordSize {
		return p, false
	}
	l.mu.Lock()
	q := &l.mu.queue
	if l.viewer != nil || l.mu.closed || l.mu.failed != nil || l.mu.lost != nil || l.mu.stalled != nil || l.mu.leading || len(q.ops) > 0 || l.lead.gather.expected > 1 {
		l.mu.Unlock()
		return p, false
	}
	q.large = data
	return l.push(op{records: 1, waits: true}), true
}

// orderBatch gives a batch its place, as orderRecord does.
func (l *Log) orderBatch(b *Batch, waits bool) (Pending, error) {
	b.close()
	err := l.checkBatch(b)
	l.mu.Lock()
	if err != nil {
		return Pending{}, err
	}
	if err := l.admit(len(b.drafts) + segment.FrameSize(len(b.meta))); err != nil {
		return Pending{}, err
	}
	o := op{records: b.records, waits: waits}
	if b.truncates {
		if b.truncate < l.mu.first-1 {
			return Pending{}, lsnError(ErrTruncated, b.truncate, l.mu.first)
		}
		if b.truncate < l.mu.next-1 {
			o.truncate, o.keep = truncateBack, b.truncate
		}
	}
	if first := l.firstOf(o); b.first != 0 && b.first != first {
		return Pending{}, fmt.Errorf("%w: %d, it would be %d", ErrConflict, b.first, first)
	}
	q := &l.mu.queue
	if b.hasMeta {
		o.meta = append([]byte{}, b.meta...)
		q.buf = segment.AppendDraft(q.buf, segment.TypeMeta, b.records > 0, o.meta, segment.Hash(o.meta))
	}
	if at := len(q.buf); b.records > 0 {
		q.buf = append(q.buf, b.drafts...)
		segment.EndBatch(q.buf[at+b.last:])
	}
	return l.push(o), nil
}

// checkBatch returns an error if b is too large.
func (l *Log) checkBatch(b *Batch) error {
	limit := max(l.opts.SegmentSize, int64(l.opts.MaxRecordSize))
	switch {
	case b.largest > l.opts.MaxRecordSize:
		return fmt.Errorf("%w: a record of %d bytes, at most %d", ErrTooLarge, b.largest, l.opts.MaxRecordSize)
	case len(b.meta) > MaxMetaSize:
		return fmt.Errorf("%w: a meta of %d bytes, at most %d", ErrTooLarge, len(b.meta), MaxMetaSize)
	case int64(b.Size()) > limit:
		return fmt.Errorf("%w: a batch of %d bytes, at most %d", ErrTooLarge, b.Size(), limit)
	case int64(len(b.drafts)) > maxBatchFrames:
		return fmt.Errorf("%w: a batch of %d records that take %d bytes, at most %d", ErrTooLarge, b.records, len(b.drafts), int64(maxBatchFrames))
	}
	return nil
}

// orderReset gives a reset its place, as orderRecord does.
func (l *Log) orderReset(next LSN) (Pending, error) {
	l.mu.Lock()
	if err := l.admit(0); err != nil {
		return Pending{}, err
	}
	l.mu.first, l.mu.next = next, next
	p := l.push(op{truncate: truncateAll, waits: true})
	l.mu.reset = p.seq
	return p, nil
}

// firstOf returns the LSN that o's first record gets. Requires mu.
func (l *Log) firstOf(o op) LSN {
	if o.truncate == truncateBack {
		return o.keep + 1
	}
	return l.mu.next
}

// push appends o, whose drafts are the end of the queue's buffer, or of which the data is
// the queue's large, to the stream.
// Requires mu.
func (l *Log) push(o op) Pending {
	q := &l.mu.queue
	l.mu.seq++
	o.seq, o.first, o.end = l.mu.seq, l.firstOf(o), len(q.buf)
	l.mu.next = o.first + LSN(o.records)
	q.ops = append(q.ops, o)
	if o.waits {
		l.arrived()
	} else if q.since.IsZero() || len(q.buf) > handSize {
		now := time.Now()
		if q.since.IsZero() {
			q.since = now
		}
		if !l.mu.leading {
			l.wakeFlusher(now)
		}
	}
	return Pending{First: o.first, Last: l.mu.next - 1, seq: o.seq, log: l}
}

// admit returns nil when the log takes size more bytes, after a wait while the
// queue is full. Requires mu, and may give it up meanwhile.
func (l *Log) admit(size int) error {
	for {
		q := &l.mu.queue
		switch {
		case l.viewer != nil:
			return ErrReadOnly
		case l.mu.closed:
			return ErrClosed
		case l.mu.failed != nil:
			return l.mu.failed
		case l.mu.lost != nil:
			return l.mu.lost
		case l.mu.stalled != nil:
			if err := l.findSpace(int64(size)); err != nil {
				return err
			}
		case len(q.ops) == 0 || len(q.buf)+size <= queueSize && len(q.ops) < queueOps:
			return nil
		case l.mu.leading:
			l.room.Wait()
		default:
			l.mu.leading = true
			l.turn(false)
			l.mu.Lock()
		}
	}
}

// findSpace makes a segment ready that has room for size bytes of frames, which is what
// the next append needs. Until that succeeds appends fail before they are given an LSN.
// Requires mu, and gives it up meanwhile.
func (l *Log) findSpace(size int64) error {
	if l.mu.leading {
		return l.mu.stalled
	}
	l.mu.leading = true
	l.mu.Unlock()
	err := l.keep.prepare(l, size)
	l.mu.Lock()
	r := &round{}
	l.lead.gather.proxy = true
	if err = l.refused(r, err); err == nil && r.failed == nil {
		l.mu.stalled = nil
	}
	l.settle(r)
	l.mu.Lock()
	if r.failed != nil {
		return l.mu.failed
	}
	return err
}
