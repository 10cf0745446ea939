package wal

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// This file is the way of a group past the page cache: see Options.Direct. It is taken by
// groups that are to be durable at once, behind what is; all else is written through the page
// cache. One call then stands for the write and the sync of a commit,
//
//	writesync 0000000000000001.seg 4096+4096
//
// and writes whole blocks: the first has the end of what was written before, again, and the
// last has zeros behind the group.

// writeDrafts writes a group to the active segment. If the round is to be synced, that is
// done by the same call where the segment has one.
func (l *Log) writeDrafts(r *round, drafts []byte) error {
	w, m := l.lead.tail, l.lead.segments[len(l.lead.segments)-1].mirror.Load()
	if m == nil || !r.sync || l.lead.flushed > directMost {
		return w.Write(drafts)
	}
	image, from, ok := m.image(w, len(drafts))
	if !ok {
		return w.Write(drafts)
	}
	start, before := time.Now(), w.Off()
	if err := w.WriteSync(drafts, image, from); err != nil {
		return err
	}
	m.end.Store(w.Off())
	l.lead.counts.direct++
	l.tookSync(time.Since(start), w.Off()-before)
	return nil
}

// mirror is the newest bytes of the active segment's file in memory: groups are written from
// there, since that asks for aligned memory, and readers find there what the page cache does
// not have. Only the leader changes it, while the segment is the active one; what ends it
// then retires it. Who reads in it asks for nothing that is not published: its end may be
// ahead of that.
type mirror struct {
	block, size int64 // size is that of a part in bytes
	spare       *spareParts

	end atomic.Int64 // up to here the bytes of the newer part are durable, and do not change

	mu    sync.RWMutex  // held for reading by readers, and for a change of parts, which the leader reads without
	parts [2]mirrorPart // the newer one first
}

// mirrorPart is a stretch of the file, which begins at a multiple of the block.
type mirrorPart struct {
	buf   []byte // aligned; it begins with the byte at start; nil: there is none
	start int64
	end   int64 // of the older part
}

// mirrorSize is how many bytes a part has, at most.
const mirrorSize = 1 << 20

// directMost is how many bytes may be written past the page cache at once, and on the mean: of
// more, the disk has written a part when the rest is copied to the page cache. Of groups of
// 17 KiB there are a tenth more a second past it, of groups of 220 KiB a fifth less.
const directMost = 128 << 10

// mirrorGap is how many bytes a mirror reads that were written otherwise, to go on behind
// them. It is more than a block.
const mirrorGap = 64 << 10

// newMirror returns a mirror of the segment that w writes, in parts of at most so many bytes;
// nil: its file has no WriteSync.
func newMirror(w *segment.Writer, most int64, spare *spareParts) *mirror {
	if w.Block() == 0 {
		return nil
	}
	block, size := int64(w.Block()), min(most, w.Header().Size)
	return &mirror{block: block, size: (size + block - 1) / block * block, spare: spare}
}

// retire gives the memory of a mirror to the next ones. Its segment must not be the active
// one any more, and readers that still have m find nothing in it.
func (m *mirror) retire() {
	m.mu.Lock()
	parts := m.parts
	m.parts = [2]mirrorPart{}
	m.mu.Unlock()
	for _, p := range parts {
		if p.buf != nil {
			m.spare.put(m, p.buf)
		}
	}
}

// spareParts is the memory of mirrors gone, as much as one has: new memory for each segment
// would make the commits that touch it first wait for the system.
type spareParts struct {
	mu          sync.Mutex
	block, size int64 // of the mirrors that it is of
	free        [][]byte
}

func (s *spareParts) put(m *mirror, buf []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.block != m.block || s.size != m.size {
		s.block, s.size, s.free = m.block, m.size, nil
	}
	if len(s.free) < len(m.parts) {
		s.free = append(s.free, buf)
	}
}

// clear gives all of it back.
func (s *spareParts) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = nil
}

// take returns memory for a part of m.
func (s *spareParts) take(m *mirror) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.free) - 1; n >= 0 && s.block == m.block && s.size == m.size {
		buf := s.free[n]
		s.free = s.free[:n]
		return buf
	}
	return vfs.Aligned(int(m.size), int(m.block))
}

// image returns memory for the WriteSync of n bytes of drafts by w, in which the bytes before
// the group are, and where it begins in the file. It is not ok if the group is to be written
// as others are.
func (m *mirror) image(w *segment.Writer, n int) (image []byte, from int64, ok bool) {
	from, to, ok := w.SyncSpan(n)
	if !ok || to-from > min(directMost, m.size) {
		return nil, 0, false
	}
	p, off := &m.parts[0], w.Off()
	if p.buf == nil || off-m.end.Load() > mirrorGap || to-p.start > m.size {
		m.turn(from)
	}
	if end := m.end.Load(); end < off { // that was written through the page cache
		if _, err := w.File().ReadAt(p.buf[end-p.start:off-p.start], end); err != nil {
			return nil, 0, false
		}
		m.end.Store(off)
	}
	return p.buf[from-p.start : to-p.start], from, true
}

// turn begins a part at from, with what the one before has of the block there.
func (m *mirror) turn(from int64) {
	var fresh []byte
	if m.parts[1].buf == nil {
		fresh = m.spare.take(m)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	older, buf := m.parts[0], m.parts[1].buf
	if buf == nil {
		buf = fresh
	}
	older.end = m.end.Load()
	end := from
	if older.end > from {
		end += int64(copy(buf, older.buf[from-older.start:older.end-older.start]))
	}
	m.parts = [2]mirrorPart{{buf: buf, start: from}, older}
	m.end.Store(end)
}

// read fills b with the bytes at off, if it has all of them.
func (m *mirror) read(b []byte, off int64) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	newer, older, end := &m.parts[0], &m.parts[1], m.end.Load()
	if newer.buf == nil || off+int64(len(b)) > end {
		return false
	}
	if off < newer.start {
		if off < older.start || older.end < min(newer.start, off+int64(len(b))) {
			return false
		}
		n := copy(b, older.buf[off-older.start:older.end-older.start])
		b, off = b[n:], off+int64(n)
	}
	if len(b) > 0 {
		copy(b, newer.buf[off-newer.start:end-newer.start])
	}
	return true
}
