package segment

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/seed3918b8df/tidemark/index"
	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// Writer writes one segment, from its creation to its seal, through one open
// file. It is for one goroutine at a time. Its state changes only after
// the call that changes the file has succeeded; after an error the owner either
// calls [Writer.Cut] or abandons the segment.
type Writer struct {
	// Set by Create, then read-only.
	file  vfs.File
	path  string
	head  Header
	index *index.Index

	// What is in the file: synced <= off.
	off    int64 // where the next group begins
	size   int64 // of the file, at least
	chain  uint64
	base   LSN  // 0 until Open
	first  Pin  // where a pin ends the segment before its first record
	used   bool // it has records or metas of its own
	next   LSN  // of the next record
	synced int64
	block  int64 // of WriteSync; 0: there is none
	rest   int64 // of a reused file: up to here it is zero behind off

	indexed int64 // offset of the last record that the index has; 0: it has none

	// Scratch of a group being finished.
	sums  xxhash.Digest
	marks []mark
	draft []byte // of what the Writer makes itself
}

// mark is a record on its way into the index.
type mark struct {
	ordinal uint32
	off     int64
}

// SyncError wraps the error of a sync: what it should have made durable may or
// may not be, and another sync would prove nothing.
type SyncError struct{ Err error }

// Error returns the text of the wrapped error.
func (e *SyncError) Error() string { return "sync: " + e.Err.Error() }

// Unwrap returns the wrapped error.
func (e *SyncError) Unwrap() error { return e.Err }

func syncError(err error) error {
	if err == nil {
		return nil
	}
	return &SyncError{Err: err}
}

// Header returns the segment's header.
func (w *Writer) Header() Header { return w.head }

// Path returns the path of the file.
func (w *Writer) Path() string { return w.path }

// File returns the file, for reading.
func (w *Writer) File() vfs.File { return w.file }

// Index returns the index of the records written so far. It may be read while
// the Writer writes.
func (w *Writer) Index() *index.Index { return w.index }

// Base returns the first LSN of the segment; 0 before Open.
func (w *Writer) Base() LSN { return w.base }

// Next returns the LSN that the next record gets.
func (w *Writer) Next() LSN { return w.next }

// Empty reports whether the segment has neither records nor metas of its own.
func (w *Writer) Empty() bool { return !w.used }

// Off returns the size in bytes of all whole groups written, with the header.
func (w *Writer) Off() int64 { return w.off }

// Synced returns how much of the segment is known durable.
func (w *Writer) Synced() int64 { return w.synced }

// End returns the pin that ends the segment behind its last whole group.
func (w *Writer) End() Pin {
	return Pin{ID: w.head.ID, Salt: w.head.Salt, Length: w.off, Durable: w.synced, Chain: w.chain, Last: w.next - 1}
}

// Open writes the opening group: the opening o, then meta if there is one (nil:
// there is none), then the records and metas in drafts, of which the first
// record gets the LSN base. drafts begins with [GroupHeaderSize] bytes of room.
// If joined, the first batch in drafts is part of the opening step. Nothing is
// synced.
func (w *Writer) Open(o Opening, meta []byte, base LSN, drafts []byte, joined bool) error {
	head := make([]byte, GroupHeaderSize, 512+len(meta))
	data := o.encode()
	head = AppendDraft(head, typeOpening, meta != nil || joined, data, Hash(data))
	if meta != nil {
		head = AppendDraft(head, TypeMeta, joined, meta, Hash(meta))
	}
	w.chain, w.base, w.next = o.Prev.Chain, base, base
	step := int64(len(head))
	for at, more := GroupHeaderSize, joined; more && Type(drafts[at+frmType]) != TypeRecord; {
		size := frameSize(int64(binary.LittleEndian.Uint32(drafts[at:])))
		more = drafts[at+frmFlags]&FlagMore != 0
		step, at = step+size, at+int(size)
	}
	if err := w.write(Group{Kind: KindOpening}, head, drafts[GroupHeaderSize:], 0); err != nil {
		w.chain, w.base, w.next = 0, 0, 0
		return err
	}
	w.first = Pin{Length: HeaderSize + step, Chain: w.chain}
	w.used = len(drafts) > GroupHeaderSize
	return nil
}

// OpeningEnd returns the offset behind the frames of the opening step that stand
// before its first record, and the sum of its group's header.
func (w *Writer) OpeningEnd() (end int64, chain uint64) { return w.first.Length, w.first.Chain }

// Write writes a group of the records and metas in drafts, which begins with
// [GroupHeaderSize] bytes of room and continues with frames made by
// [AppendDraft]. The drafts are finished in place, and up to [RestRoom] bytes of capacity
// behind them are written to. Nothing is synced.
func (w *Writer) Write(drafts []byte) error {
	err := w.write(Group{Kind: KindGroup}, drafts, nil, 0)
	w.used = w.used || err == nil
	return err
}

// UseDirect has [Writer.WriteSync] ready, if the file has that, until [Writer.Seal],
// [Writer.Trim] or [Writer.Cut]. It is called before anybody else uses the Writer.
func (w *Writer) UseDirect() { w.block = int64(w.file.Direct()) }

// endDirect gives back what UseDirect took. What fails there has been written all the same.
func (w *Writer) endDirect() {
	w.block = 0
	_ = w.file.EndDirect()
}

// Block returns the number of bytes that what WriteSync writes is aligned to; 0: the file has
// no such call, or UseDirect was not called.
func (w *Writer) Block() int { return int(w.block) }

// SyncSpan returns from where to where in the file [Writer.WriteSync] of n bytes of drafts
// writes: whole blocks, which have the group between them, and the zeros that are written
// with it. It is not ok if there is no WriteSync, something before the group is not durable,
// or the size that the file had when it was made ends before to.
func (w *Writer) SyncSpan(n int) (from, to int64, ok bool) {
	if w.block == 0 || w.synced != w.off {
		return 0, 0, false
	}
	end := align(w.off+int64(n), w.head.Unit)
	from, to = w.off/w.block*w.block, align(w.restBehind(end), w.block)
	return from, to, to <= w.head.Size
}

// WriteSync is [Writer.Write] and [Writer.Sync] in one call, past the page cache. image is
// aligned memory for the bytes of [Writer.SyncSpan], which begins at from; those before the
// group are there already, as they are in the file. The error is a [SyncError].
func (w *Writer) WriteSync(drafts, image []byte, from int64) error {
	g := Group{Kind: KindGroup}
	next := w.finishGroup(&g, drafts, nil, 0)
	group := image[w.off-from:]
	clear(group[copy(group, drafts):])
	if err := w.file.WriteSync(image, from); err != nil {
		return syncError(err)
	}
	w.wrote(&g, next, from+int64(len(image)))
	w.synced, w.used = w.off, true
	return nil
}

// WriteRecord is Write of one record, which is not copied. The file gets it in pieces of
// piece bytes or more, each hashed while the disk has it, and the page in which it begins at
// last: that has the headers, which say what all of it hashes to.
func (w *Writer) WriteRecord(data []byte, piece int64) error {
	start := w.off + GroupHeaderSize + FrameHeaderSize
	end := start + int64(len(data))
	if err := w.fits(align(end, w.head.Unit) - w.off); err != nil {
		return err
	}
	first := min(align(start, recordPage), end) - start
	w.draft = appendDraftHeader(w.room(), TypeRecord, false, len(data), 0)
	w.draft = append(w.draft, data[:first]...)
	var hash xxhash.Digest
	hash.Reset()
	_, _ = hash.Write(w.draft[GroupHeaderSize+FrameHeaderSize:])
	if first < int64(len(data)) { // what is behind it is in a page of the last piece
		if err := w.writeAt(zeros[:w.restBehind(align(end, w.head.Unit))-end], end); err != nil {
			return err
		}
	}
	for off := start + first; off < end; {
		n := piece
		if end-off < 2*piece {
			n = end - off
		}
		b := data[off-start:][:n]
		if err := w.writeAt(b, off); err != nil {
			return err
		}
		_, _ = hash.Write(b)
		off += n
	}
	binary.LittleEndian.PutUint64(w.draft[GroupHeaderSize+frmSum:], hash.Sum64())
	err := w.write(Group{Kind: KindGroup}, w.draft, nil, end-start-first)
	w.used = w.used || err == nil
	return err
}

// recordPage is the end of what WriteRecord writes last: no page but the record's last one,
// which gets what stands behind it first, is written twice.
const recordPage = 4 << 10

// Reserve has the file be at least size bytes large, so that what is written below that
// does not fail for want of space.
func (w *Writer) Reserve(size int64) error {
	if size <= w.size {
		return nil
	}
	if err := w.file.Allocate(size); err != nil {
		_ = w.file.Truncate(w.size) // what it got is for others
		return err
	}
	w.size = size
	return nil
}

// Mark writes a group without frames, so that what was synced is claimed by
// something behind it. clean says that the log is being closed.
func (w *Writer) Mark(clean bool) error {
	g := Group{Kind: KindMark}
	if clean {
		g.Flags = FlagClean
	}
	return w.write(g, w.room(), nil, 0)
}

// room returns scratch memory that begins with room for the header of a group.
func (w *Writer) room() []byte {
	w.draft = append(w.draft[:0], zeros[:GroupHeaderSize]...)
	if w.head.Reused() {
		w.draft = slices.Grow(w.draft, RestRoom)
	}
	return w.draft
}

// restBehind returns where the zeros end that are written with a group that ends at off.
// Section 2.
func (w *Writer) restBehind(off int64) int64 {
	if !w.head.Reused() {
		return off
	}
	if end := w.head.restEnd(off, w.size); end > w.rest {
		return end
	}
	return off // they are there
}

// fits has the file be large enough for a group of that length at off.
func (w *Writer) fits(length int64) error {
	if w.off+length > maxSegmentBytes {
		return fmt.Errorf("segment: %s: %d bytes, at most %d", w.path, w.off+length, maxSegmentBytes)
	}
	return w.Reserve(w.off + length) // one group may be larger than a segment
}

// write finishes the group g, whose frames are those in head, behind room for
// the header, and those in tail, and writes it at off. The last have bytes of the
// data of the last frame are in the file.
func (w *Writer) write(g Group, head, tail []byte, have int64) error {
	end := w.off + int64(len(head)) + int64(len(tail))
	next := w.finishGroup(&g, head, tail, have)
	if err := w.fits(g.Length); err != nil {
		return err
	}
	behind, restEnd := zeros[:0], w.restBehind(w.off+g.Length)
	if have == 0 {
		behind = zeros[:restEnd-end]
	}
	if tail == nil && len(behind) <= cap(head)-len(head) { // all in one call
		head, behind = append(head, behind...), nil
	}
	if err := w.writeAt(head, w.off); err != nil {
		return err
	}
	if err := w.writeAt(tail, w.off+int64(len(head))); err != nil {
		return err
	}
	if err := w.writeAt(behind, end); err != nil {
		return err
	}
	w.wrote(&g, next, restEnd)
	return nil
}

// finishGroup finishes the group g, as write has it, and returns the LSN behind it.
func (w *Writer) finishGroup(g *Group, head, tail []byte, have int64) (next LSN) {
	g.Base, g.Durable, g.Chain = w.next, w.synced, w.chain
	end := w.off + int64(len(head)) + int64(len(tail))
	g.Length = align(end+have, w.head.Unit) - w.off
	w.sums.Reset()
	w.marks = w.marks[:0]
	next = w.finish(g, head[GroupHeaderSize:], w.off+GroupHeaderSize, w.next)
	next = w.finish(g, tail, w.off+int64(len(head)), next)
	g.Body = w.sums.Sum64()
	g.encode(head, w.head.Salt, w.off)
	return next
}

// wrote notes that the group g, which was finished, is in the file, and zeros behind it up
// to rest.
func (w *Writer) wrote(g *Group, next LSN, rest int64) {
	for _, m := range w.marks {
		w.index.Add(m.ordinal, m.off)
		w.indexed = m.off
	}
	w.off += g.Length
	w.rest = max(w.rest, rest)
	w.chain, w.next = g.Sum, next
}

// RestRoom is how much capacity behind the drafts given to [Writer.Write] lets a group be
// written in one call whatever it is followed by. What is there is overwritten.
const RestRoom = maxUnit + restPage + GroupHeaderSize

var zeros [RestRoom]byte

func (w *Writer) writeAt(b []byte, off int64) error {
	if len(b) == 0 {
		return nil
	}
	_, err := w.file.WriteAt(b, off)
	return err
}

// finish turns the drafts b, which go to off, into frames, counts them in g and
// returns the LSN behind them.
func (w *Writer) finish(g *Group, b []byte, off int64, next LSN) LSN {
	indexed := w.indexed
	if n := len(w.marks); n > 0 {
		indexed = w.marks[n-1].off
	}
	for len(b) > 0 {
		var lsn LSN
		if Type(b[frmType]) == TypeRecord {
			lsn = next
			if off >= indexed+index.Step {
				w.marks = append(w.marks, mark{uint32(lsn - w.base), off})
				indexed = off
			}
			next++
			g.Records++
		}
		sum := frameSum(b, w.head.Salt, off, lsn, binary.LittleEndian.Uint64(b[frmSum:]))
		binary.LittleEndian.PutUint64(b[frmSum:], sum)
		w.sums.Write(b[frmSum:FrameHeaderSize])
		g.Frames++
		size := frameSize(int64(binary.LittleEndian.Uint32(b[frmLength:])))
		b, off = b[min(size, int64(len(b))):], off+size
	}
	return next
}

// Sync makes all whole groups durable. After an error nothing is known of what
// was not durable before; Sync must not be called again.
func (w *Writer) Sync() error {
	if err := w.file.Sync(); err != nil {
		return syncError(err)
	}
	w.synced = w.off
	return nil
}

// Cut takes back what a failed write left: it cuts the file behind the last
// whole group and syncs it, so that those groups are durable and the failed one
// never comes back. No group can be written afterwards. FRONT must allow it: see
// [Front].
func (w *Writer) Cut() error {
	w.endDirect()
	if err := w.file.Truncate(w.off); err != nil {
		return err
	}
	return w.Sync()
}

// Seal writes the seal, which names the segment that follows, and the index;
// syncs; and gives back the space behind. Everything must be synced, and the
// opening group of the segment that follows too.
func (w *Writer) Seal(next Pin, now int64) error {
	if w.synced != w.off {
		panic("segment: seal before sync")
	}
	w.endDirect()
	s := Seal{Length: w.off, Chain: w.chain, Last: w.next - 1, Records: uint64(w.next - w.base),
		Next: next.ID, NextSalt: next.Salt, Time: now, index: indexSparse}
	data := s.encode()
	entries := w.index.AppendTo(nil)
	buf := make([]byte, GroupHeaderSize, GroupHeaderSize+FrameSize(len(data))+FrameSize(len(entries)))
	buf = AppendDraft(buf, typeSeal, false, data, Hash(data))
	buf = AppendDraft(buf, typeIndex, false, entries, Hash(entries))
	if err := w.write(Group{Kind: KindSeal}, buf, nil, 0); err != nil {
		return err
	}
	if err := w.Sync(); err != nil {
		return err
	}
	return w.file.Truncate(w.off)
}

// Trim gives back the space behind the last whole group, if FRONT or the opening of
// a segment that follows, which must be durable, allow it.
func (w *Writer) Trim() error {
	w.endDirect()
	return w.file.Truncate(w.off)
}

// Close closes the file without a sync.
func (w *Writer) Close() error { return w.file.Close() }
