package wal

import (
	"fmt"
	"slices"
	"time"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// This file turns rounds into bytes. All of it runs as the leader.
//
// The calls of one durable append are
//
//	write 0000000000000001.seg 4096+n
//	sync 0000000000000001.seg
//
// or, with Options.Direct, one: see mirror.go. Those of a large one are
//
//	write 0000000000000001.seg 4096+…  behind the record, if it is padded
//	write 0000000000000001.seg 4096+…  piece by piece, but for the page in which it begins
//	write 0000000000000001.seg 4096+n  that page, with the headers
//	sync 0000000000000001.seg
//
// and those of a rotation, with the next segment ready, are
//
//	sync 0000000000000001.seg         unless it is synced
//	write 0000000000000002.seg 4096+n the opening group, with the first records
//	sync 0000000000000002.seg
//
// and then, in the background, the seal of the first and the next one ready.

// leader is what the leader owns.
type leader struct {
	gather gather
	round  round

	// Where the log is written.
	tail      *segment.Writer // the active segment; nil: the next append opens one
	pin       segment.Pin     // with tail nil: where the log ends; zero: the next segment follows nothing
	irregular uint64          // of the newest segment: see package segment, section 5
	retired   []retired       // ended, and not to be sealed before tail is synced
	marked    markState

	// How far the stream got.
	handed  uint64   // positions up to here have been handed to a write
	written progress // is in the file, whole groups only
	synced  progress // is durable

	// What readers will see when it is published.
	segments []*extent // oldest first
	relisted bool      // segments is not published
	touched  []*extent // of which nextEnd is not published
	rewound  []LSN     // LastLSN()+1 after each truncation not yet published
	dropped  []*extent // dead since then

	front     segment.Front
	frontFile vfs.File
	reset     uint64    // position in the stream of the last reset that was written
	compat    uint64    // of the next opening: see segment.CompatGivenUp
	frontDue  time.Time // when FRONT is to name the active segment, as nothing else will; zero: it need not

	flushed   int64     // bytes that a sync makes durable, smoothed; 0: there was none
	counts    counts    // of this round
	firstWork time.Time // when the oldest append that is not synced was written
}

// progress is a place in the stream and what the log is there.
type progress struct {
	seq   uint64
	first LSN
	last  LSN
	meta  *[]byte // nil: never set
}

// markState says whether the last group that was synced is claimed by a mark.
type markState uint8

const (
	markNone    markState = iota // there is nothing to claim, or a synced mark does
	markWanted                   // a group was synced, and nothing stands behind it
	markWritten                  // a mark was written and not synced
)

// retired is a segment that another follows.
type retired struct {
	writer *segment.Writer // nil: it is of an earlier run
	extent *extent
	next   segment.Pin // id and salt of the one that follows
	end    int64       // where that one ends it
}

// process writes the round's ops, group by group, and syncs if it is asked to.
// Errors end up in the round.
func (l *Log) process(r *round) {
	start := segment.GroupHeaderSize
	for done := 0; done < len(r.ops); {
		n, err := 1, error(nil)
		if r.large != nil {
			err = l.writeLarge(r)
		} else {
			n, err = l.writeGroup(r, start, r.ops[done:])
		}
		if err != nil {
			l.failWrite(r, r.ops[done].seq, err)
			return
		}
		start = r.ops[done+n-1].end
		done += n
		if l.opts.Sync != SyncAlways {
			l.publish(l.lead.written)
		}
	}
	if !r.sync {
		return
	}
	if err := l.syncTail(); err != nil {
		r.failed = err
		return
	}
	if due := l.lead.frontDue; !due.IsZero() && !time.Now().Before(due) {
		l.nameNewest(r)
	}
}

// retryFront is when FRONT is tried again after there was no space for it.
const retryFront = 10 * time.Second

// nameNewest has FRONT name the active segment, so that the loss of its file is
// noticed, if that is due. All is durable.
func (l *Log) nameNewest(r *round) {
	if l.lead.frontDue.IsZero() || r.failed != nil {
		return
	}
	if err := l.writeFront(r, l.lead.written.first, 0); err != nil {
		l.logger.Warn("wal: FRONT does not name the newest segment", "err", err)
		l.lead.frontDue = time.Now().Add(retryFront)
	}
}

// writeGroup writes as many of ops as fit into one group, at least one, and
// returns how many. Their drafts begin at start in the round's buffer; the bytes
// before have been written, and are room for the group's header.
func (l *Log) writeGroup(r *round, start int, ops []op) (int, error) {
	w := l.lead.tail
	size := int64(ops[0].end - start)
	fresh := w == nil || ops[0].truncate != truncateNot ||
		!w.Empty() && w.Off()+segment.GroupHeaderSize+size > w.Header().Size
	var used, room int64
	if fresh {
		used, room = segment.HeaderSize+openingRoom, l.keep.next(l, int64(ops[len(ops)-1].end-start))
	} else {
		used, room = w.Off(), w.Header().Size
	}
	n, end := 1, ops[0].end
	meta := ops[0].meta
	last := ops[0].first + LSN(ops[0].records) - 1
	for ; n < len(ops) && ops[n].truncate == truncateNot; n++ {
		if used+segment.GroupHeaderSize+int64(ops[n].end-start) > room {
			break
		}
		end = ops[n].end
		last += LSN(ops[n].records)
		if ops[n].meta != nil {
			meta = ops[n].meta
		}
	}
	if end == start && ops[0].truncate == truncateNot { // barriers alone
		l.lead.handed, l.lead.written.seq = ops[n-1].seq, ops[n-1].seq
		return n, nil
	}
	drafts := r.buf[start-segment.GroupHeaderSize : end : end]
	if end == len(r.buf) && !fresh && w.Header().Reused() { // no other drafts stand behind
		r.buf = slices.Grow(r.buf, segment.RestRoom)
		drafts = r.buf[start-segment.GroupHeaderSize : end]
	}
	if fresh {
		if err := l.openSegment(&ops[0], ops[n-1].seq, drafts); err != nil {
			return 0, err
		}
	} else {
		l.lead.handed = ops[n-1].seq
		if err := l.writeDrafts(r, drafts); err != nil {
			return 0, err
		}
	}
	l.wrote(ops[n-1].seq, last, meta)
	l.lead.counts.records += uint64(last + 1 - ops[0].first)
	l.lead.counts.bytes += uint64(end - start)
	return n, nil
}

// writeLarge writes the round's only op, a record that is in the caller's memory. One that
// begins a segment is copied, as others are.
func (l *Log) writeLarge(r *round) error {
	w, o := l.lead.tail, &r.ops[0]
	size := int64(segment.FrameSize(len(r.large)))
	if w == nil || !w.Empty() && w.Off()+segment.GroupHeaderSize+size > w.Header().Size {
		r.buf = segment.AppendDraft(r.buf, segment.TypeRecord, false, r.large, segment.Hash(r.large))
		o.end = len(r.buf)
		_, err := l.writeGroup(r, segment.GroupHeaderSize, r.ops)
		return err
	}
	l.lead.handed = o.seq
	if err := w.WriteRecord(r.large, int64(l.opts.largePiece)); err != nil {
		return err
	}
	l.wrote(o.seq, o.first, nil)
	l.lead.counts.records++
	l.lead.counts.bytes += uint64(size)
	return nil
}

// openingRoom is what an opening group may take beside its records: with a meta
// it takes more, and the segment then grows a little past its size.
const openingRoom = 3 * segment.GroupHeaderSize

// wrote notes that a group is in the file.
func (l *Log) wrote(seq uint64, last LSN, meta []byte) {
	p := &l.lead.written
	if p.seq == l.lead.synced.seq {
		l.lead.firstWork = time.Now()
	}
	p.seq, p.last = seq, last
	if meta != nil {
		m := meta // so that only this allocates
		p.meta = &m
	}
	l.touch()
	l.lead.marked = markWanted
	l.lead.counts.groups++
	l.keep.readyAhead(l)
}

// touch notes that the active segment now ends behind its last group.
func (l *Log) touch() {
	e := l.lead.segments[len(l.lead.segments)-1]
	e.nextEnd = l.lead.tail.Off()
	if n := len(l.lead.touched); n == 0 || l.lead.touched[n-1] != e {
		l.lead.touched = append(l.lead.touched, e)
	}
}

// openSegment ends the active segment, where the truncation of o says if it has
// one, and opens the next with drafts as its first records. The active segment
// is synced before. A nil o, or handed 0, is an opening without records.
func (l *Log) openSegment(o *op, handed uint64, drafts []byte) error {
	if err := l.syncTail(); err != nil {
		return err
	}
	pin, at, err := l.endFor(o)
	if err != nil {
		return &unreadError{err}
	}
	w, err := l.keep.take(l, int64(len(drafts)))
	if err != nil {
		return err
	}
	h := w.Header()
	opening := segment.Opening{Prev: pin, Irregular: l.lead.irregular, Time: time.Now().UnixNano(), Compat: l.lead.compat}
	if pin.ID == 0 || pin.ID != h.ID-1 {
		opening.Irregular = h.ID
	}
	base := l.lead.written.last + 1
	if o != nil {
		base = o.first
		l.lead.handed = max(l.lead.handed, handed)
	}
	var meta []byte
	if m := l.lead.written.meta; m != nil {
		meta = *m
	}
	joined := o != nil && o.truncate != truncateNot && (o.records > 0 || o.meta != nil)
	if err := w.Open(opening, meta, base, drafts, joined); err != nil {
		return l.abandon(w, err)
	}
	l.replaceTail(w, opening, o, at)
	return nil
}

// replaceTail makes w, of which the opening group is written, the active
// segment. at is the index of the segment that it follows; -1: none.
func (l *Log) replaceTail(w *segment.Writer, opening segment.Opening, o *op, at int) {
	ld := &l.lead
	old, pin := ld.tail, opening.Prev
	next := segment.Pin{ID: w.Header().ID, Salt: w.Header().Salt}
	if at >= 0 && at == len(ld.segments)-1 {
		e := ld.segments[at]
		if old != nil {
			ld.retired = append(ld.retired, retired{writer: old, extent: e, next: next, end: pin.Length})
		} else if l.opts.Recovery != PointInTime { // which keeps what it gave up
			ld.retired = append(ld.retired, retired{extent: e, end: e.end.Load()})
		}
	}
	if at+1 < len(ld.segments) {
		ld.dropped = append(ld.dropped, ld.segments[at+1:]...)
	}
	segments := make([]*extent, 0, at+2+8)
	segments = append(segments, ld.segments[:at+1]...)
	if at >= 0 && o != nil && o.truncate != truncateNot {
		e := segments[at]
		e.nextEnd = pin.Length
		ld.touched = append(ld.touched, e)
	}
	ld.segments, ld.relisted = append(segments, newExtentOf(l, w)), true
	ld.tail, ld.pin, ld.irregular = w, segment.Pin{}, opening.Irregular
	switch {
	case old == nil: // no seal will name w: FRONT does, before anybody is told of its records
		ld.frontDue = time.Now()
	case pin.ID != old.Header().ID || pin.Length != old.Off(): // a truncation, which is not to wait for it
		ld.frontDue = time.Now().Add(markAfter)
	}
	if o != nil && o.truncate != truncateNot {
		ld.rewound = append(ld.rewound, o.first)
		ld.written.last = o.first - 1
		if o.truncate == truncateAll {
			ld.written.first, ld.reset = o.first, o.seq
		}
	}
	ld.counts.rotations++
	l.touch()
	l.hooks.rotated(ld.segments[len(ld.segments)-1])
}

// endFor returns where the log ends when o begins, and the index of the segment
// it ends in; -1: in none.
func (l *Log) endFor(o *op) (segment.Pin, int, error) {
	ld := &l.lead
	newest := len(ld.segments) - 1
	switch {
	case o != nil && o.truncate == truncateAll:
		return segment.Pin{}, -1, nil
	case o != nil && o.truncate == truncateBack && o.keep != ld.written.last:
		return l.endAt(o.keep)
	case ld.tail != nil:
		return ld.tail.End(), newest, nil
	case ld.pin.ID == 0:
		return segment.Pin{}, -1, nil
	}
	return ld.pin, newest, nil
}

// endAt returns the pin that ends the log behind record lsn, in a segment that
// is retained.
func (l *Log) endAt(lsn LSN) (pin segment.Pin, at int, err error) {
	at, err = findExtent(l.lead.segments, max(lsn, l.lead.written.first))
	if err != nil {
		return pin, at, err
	}
	e := l.lead.segments[at]
	if at > 0 && lsn+1 == e.baseLSN() {
		at--
		e = l.lead.segments[at]
	}
	if err := e.load(l.lead.segments, at); err != nil {
		return pin, at, err
	}
	limit := e.end.Load()
	if e.nextEnd != 0 {
		limit = e.nextEnd
	}
	end, chain, err := segment.Locate(e, e.path, e.header, e.opening, limit, lsn)
	return segment.Pin{ID: e.id, Salt: e.header.Salt, Length: end, Durable: end, Chain: chain, Last: lsn}, at, err
}

// abandon gives up a segment of which the opening group could not be written. For
// want of space its file is removed, durably, so that no record in it comes back.
func (l *Log) abandon(w *segment.Writer, err error) error {
	if cerr := w.Close(); cerr != nil {
		l.logger.Warn("wal: closing an unused segment", "path", w.Path(), "err", cerr)
	}
	if !vfs.IsNoSpace(err) {
		return err
	}
	rerr := l.fs.Remove(w.Path())
	if rerr == nil {
		rerr = l.fs.SyncDir(l.dir)
	}
	if rerr != nil {
		return &fatalError{fmt.Errorf("%w; and removing it: %w", err, rerr)}
	}
	return err
}

// begin opens a segment without records and syncs it.
func (l *Log) begin(r *round) error {
	err := l.openSegment(nil, 0, make([]byte, segment.GroupHeaderSize))
	if err == nil {
		l.lead.marked = markWanted
		err = l.syncTail()
	}
	return l.refused(r, err)
}

// mark writes a mark behind what was synced, and syncs it if durable is asked
// for.
func (l *Log) mark(r *round, durable bool) error {
	ld := &l.lead
	if ld.tail == nil || ld.marked == markNone {
		return nil
	}
	if ld.marked == markWanted {
		if err := l.writeMark(false); err != nil {
			if isFatal(err) {
				r.failed = err
			} else if err := l.cutTail(); err != nil { // its torn bytes must not stay
				r.failed = err
			}
			return nil
		}
	}
	if durable {
		if err := l.syncTail(); err != nil {
			r.failed = err
			return nil
		}
		ld.marked = markNone
	}
	return nil
}

func (l *Log) writeMark(clean bool) error {
	if err := l.lead.tail.Mark(clean); err != nil {
		return err
	}
	l.lead.marked = markWritten
	l.touch()
	return nil
}
