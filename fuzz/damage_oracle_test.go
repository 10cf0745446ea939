package fuzz_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/bits"
	"path/filepath"
	"slices"

	"github.com/seed3918b8df/tidemark/fuzz/refdecoder"
	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/recovery"
	"github.com/seed3918b8df/tidemark/segment"
	"github.com/seed3918b8df/tidemark/wal"
)

// The oracle of all damage: the second decoder reads the damaged files and says what
// they are together; the pristine ones say which records that must leave, what was
// proved durable, and whether the damage is a single bit. The code under test is not
// asked.

// damage is what files become: their new content, or nil for one that is gone.
type damage struct {
	what  string
	files map[string][]byte
}

// and returns both damages, the second on top of the first where they touch one file.
func (d damage) and(c *corpus, e damage) damage {
	files := maps.Clone(d.files)
	for name, data := range e.files {
		before, was := c.files[name]
		first, both := files[name]
		if !both || first == nil || data == nil || !was || len(first) != len(before) || len(data) != len(before) {
			files[name] = data
			continue
		}
		merged := bytes.Clone(first)
		for n := range data {
			if data[n] != before[n] {
				merged[n] = data[n]
			}
		}
		files[name] = merged
	}
	return damage{d.what + " and " + e.what, files}
}

// front returns FRONT with the damage.
func (w *damageWorker) front(d damage) []byte {
	if data, ok := d.files[segment.FrontName]; ok {
		return data
	}
	return w.c.files[segment.FrontName]
}

// read2 is what the second decoder says of the damaged log. Until undo is called the
// worker's segments are the damaged ones.
func (w *damageWorker) read2(d damage) (l refdecoder.Log, undo func()) {
	for name, data := range d.files {
		id, ok := segment.ParseName(name)
		switch {
		case !ok:
		case data == nil:
			delete(w.segments, id)
		default:
			w.segments[id] = refdecoder.DecodeSegment(id, data)
		}
	}
	return refdecoder.ReadLog(w.front(d), w.segments), func() {
		for name := range d.files {
			if id, ok := segment.ParseName(name); ok {
				delete(w.segments, id)
				if s, ok := w.c.segments[id]; ok {
					w.segments[id] = s
				}
			}
		}
	}
}

// judged is an expectation with what is known besides.
type judged struct {
	expectation
	first wal.LSN
	meta  []byte
	newer bool
	lost  bool // what had been proved durable is gone, and with it all that proved it
	name  string

	mended []recovery.Place // in whatever files
}

// judge says what must become of the damaged log.
func (w *damageWorker) judge(d damage) judged {
	l, undo := w.read2(d)
	defer undo()
	c := w.c
	var mended []recovery.Place
	if id, off, rest := w.mendOpening(d); id != 0 {
		mended, d = append(mended, recovery.Place{Path: segment.Path(corpusDir, id), Off: off}), rest
		l = refdecoder.ReadLog(w.front(d), w.segments)
	}
	if id, off := w.mendTail(d, &l); id != 0 {
		mended = append(mended, recovery.Place{Path: segment.Path(corpusDir, id), Off: off})
	}
	if l.Verdict != refdecoder.Valid {
		j := judged{newer: l.Verdict == refdecoder.Newer, name: segment.FrontName}
		j.class = refused
		if l.BadID != 0 {
			j.name = segment.Name(l.BadID)
			j.piece = &piece{from: l.BadAt, next: w.lsnAt(l.BadID, l.BadAt)}
			if s := w.segments[l.BadID]; l.Cut && s.Open != refdecoder.Valid { // it was no part of the log
				j.piece.next = 0
			}
			front, _, _ := refdecoder.DecodeFront(w.front(d))
			j.front = c.beforeFirst(j.name, l.BadAt, wal.LSN(front.First))
		}
		return j
	}
	j := judged{first: wal.LSN(l.First), meta: l.Meta}
	j.class, j.last = short, wal.LSN(l.Last)
	for _, m := range mended {
		if m.Path <= segment.Path(corpusDir, l.Ends) {
			j.mended = append(j.mended, m)
		}
	}
	if j.last == c.last {
		j.class = whole
	}
	j.lost = j.last < c.floor
	return j
}

// lsnAt is the LSN that a record at off would have; 0 if that cannot be known.
func (w *damageWorker) lsnAt(id uint64, off int64) wal.LSN {
	s := w.segments[id]
	if s == nil || off < 4096 || s.Open != refdecoder.Valid && off == 4096 {
		return 0
	}
	next := s.Scan.Last + 1
	for _, f := range slices.Backward(s.Scan.Frames) {
		if f.Type == 1 {
			if next = f.LSN; f.Off < off {
				next++
				break
			}
		}
	}
	return wal.LSN(next)
}

// beforeFirst reports whether what stands at off is before the first record retained,
// so that reading may begin behind it.
func (c *corpus) beforeFirst(name string, off int64, first wal.LSN) bool {
	l := c.layouts[name]
	if l == nil || off < 4096 || name == c.newest {
		return false
	}
	n := l.at(off)
	return n < len(l.pieces) && (l.pieces[n].next < first || l.pieces[n].next == first && !l.pieces[n].record)
}

// mendTail flips back the bit that is flipped at the end of the log, if there is just
// one there, at off in the segment id, and all that follows is whole.
func (w *damageWorker) mendTail(d damage, l *refdecoder.Log) (id uint64, off int64) {
	now := w.segments[l.Ends]
	if l.Verdict != refdecoder.Valid || !l.Torn || now == nil {
		return 0, -1
	}
	fixed, _, off := w.oneBit(d, l.Ends)
	if fixed == nil {
		return 0, -1
	}
	w.segments[l.Ends] = fixed
	whole := refdecoder.ReadLog(w.front(d), w.segments)
	if whole.Verdict != refdecoder.Valid || whole.Ends != l.Ends || whole.Torn {
		w.segments[l.Ends] = now
		return 0, -1
	}
	*l = whole
	return l.Ends, off
}

// mendOpening flips back the bit that is flipped in the opening of the newest segment,
// if nothing proves that it was durable, nor that a sector of it is not there. It returns
// the damage that is left.
func (w *damageWorker) mendOpening(d damage) (id uint64, off int64, rest damage) {
	front, _, v := refdecoder.DecodeFront(w.front(d))
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(w.segments))) {
		now, data := w.segments[id], d.files[segment.Name(id)]
		switch {
		case now.Head != refdecoder.Valid || now.Open == refdecoder.Valid:
			return 0, -1, d
		case v != refdecoder.Valid || data == nil || now.Scan.W > 4096 || id <= front.Newest || now.Size < now.Header.Size || hasHole(data):
			continue
		}
		if fixed, back, off := w.oneBit(d, id); fixed != nil && fixed.Open == refdecoder.Valid {
			if before := w.segments[fixed.Opening.ID]; before != nil && before.Scan.Sealed { // then it was durable
				return 0, -1, d
			}
			w.segments[id] = fixed
			rest = damage{d.what, maps.Clone(d.files)}
			rest.files[segment.Name(id)] = back
			return id, off, rest
		}
	}
	return 0, -1, d
}

// hasHole reports whether a sector of the groups is zero before a byte that is not.
func hasHole(file []byte) bool {
	used := bytes.TrimRight(file, "\x00")
	for off := 4096; off+sectorSize <= len(used); off += sectorSize {
		if len(bytes.Trim(used[off:off+sectorSize], "\x00")) == 0 {
			return true
		}
	}
	return false
}

// oneBit returns the segment with one bit flipped back, if that is all that is wrong
// with what stands where it fails, and its file; else nil.
func (w *damageWorker) oneBit(d damage, id uint64) (fixed *refdecoder.Segment, back []byte, off int64) {
	name := segment.Name(id)
	was, data, layout := w.c.files[name], d.files[name], w.c.layouts[name]
	if layout == nil || len(data) != len(was) {
		return nil, nil, -1
	}
	n := layout.at(w.segments[id].Scan.X)
	if n == len(layout.pieces) {
		return nil, nil, -1
	}
	p := layout.pieces[n]
	from, to := differing(was[p.from:p.to], data[p.from:p.to])
	off = p.from + from
	if to != from+1 || bits.OnesCount8(was[off]^data[off]) != 1 ||
		p.pad || !p.header && p.size > mendable && off >= p.from+16 && off < p.from+16+p.size {
		return nil, nil, -1
	}
	back = bytes.Clone(data)
	back[off] = was[off]
	return refdecoder.DecodeSegment(id, back), back, off
}

// lookAt looks at the log with the damage, and then makes it whole again. It returns what
// is wrong, or "".
func (w *damageWorker) lookAt(d damage) (o outcome, j judged, bad string) {
	w.at(d.what)
	for name, data := range d.files {
		w.put(name, data)
	}
	j = w.judge(d)
	if w.first, w.meta = j.first, &j.meta; j.class == refused { // if Open does not find it
		w.first, w.meta = 0, nil
	}
	o = w.observe(j.name, 1, w.c.last)
	w.restore()
	for _, name := range []string{segment.LockName} {
		if _, ok := w.now[name]; !ok {
			w.now[name] = nil
			if file, err := w.mem.Create(filepath.Join(corpusDir, name)); err == nil {
				_ = file.Close()
			}
		}
	}
	return o, j, w.check(d, o, j)
}

// put makes data the content of the file, or removes it.
func (w *damageWorker) put(name string, data []byte) {
	path := filepath.Join(corpusDir, name)
	file := w.files[name]
	switch {
	case data == nil:
		delete(w.now, name)
		if err := w.mem.Remove(path); err != nil {
			panic(err)
		}
		return
	case file != nil:
		w.now[name] = data
		w.write(name, data)
		return
	}
	w.now[name] = data
	file, err := w.mem.Create(path)
	if err != nil {
		file, err = w.mem.Open(path, vfs.ReadWrite)
	}
	if err == nil {
		_, err = file.WriteAt(data, 0)
	}
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		panic(err)
	}
}

// check returns what is wrong with o, or "".
func (w *damageWorker) check(d damage, o outcome, j judged) string {
	switch {
	case o.wrong != "":
		return o.wrong
	case o.newer != j.newer:
		return fmt.Sprintf("of a newer version: %v, want %v", o.newer, j.newer)
	case o.newer:
		return ""
	case o.class != j.class:
		return fmt.Sprintf("%v, want %v: %+v", o.class, j.class, j)
	case o.class != refused && o.last != j.last:
		return fmt.Sprintf("ends at %d, want %d", o.last, j.last)
	case o.class != refused && !slices.Equal(o.mended, j.mended):
		return fmt.Sprintf("bytes were flipped back: %v, want %v", o.mended, j.mended)
	case o.class == short && !j.lost && o.last+1 < min(w.c.lastGroup, w.c.floor+1):
		return fmt.Sprintf("ends at %d: more than the last group is gone, and %d was proved", o.last, w.c.floor)
	case o.class != refused:
		return ""
	case o.byFull == nil:
		return "full verification finds nothing"
	case o.byOpen == nil && o.byScan == nil && o.byRead == nil && !j.front && (j.piece == nil || j.piece.next <= o.last):
		return "neither Open nor reading finds anything"
	case filepath.Base(o.byFull.Path) != j.name:
		return "verification names " + o.byFull.Path + ", want " + j.name
	case j.piece != nil && j.piece.from >= 4096 && (o.byFull.Offset != j.piece.from || o.byFull.LSN != j.piece.next):
		return fmt.Sprintf("verification names offset %d and LSN %d, want %d and %d", o.byFull.Offset, o.byFull.LSN, j.piece.from, j.piece.next)
	}
	for what, err := range map[string]*wal.CorruptError{"Open": o.byOpen, "Records": o.byScan, "Read": o.byRead} {
		if err == nil {
			continue
		}
		name := filepath.Base(err.Path)
		_, ok := d.files[name]
		if l := w.c.layouts[name]; l != nil && !ok { // or the one that follows what is not the segment before it
			_, ok = d.files[segment.Name(l.opening.ID)]
		}
		if !ok && name != j.name {
			return what + " names " + name
		}
	}
	return ""
}
