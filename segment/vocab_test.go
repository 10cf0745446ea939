package segment

import (
	"bytes"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// seg is a segment that a test writes, and what a scan of it must find.
type seg struct {
	testing.TB
	w      *Writer
	frames []Frame
	pieces []piece
}

// piece is a header, a frame, or the zero bytes behind a group: the units that
// are valid or not, each on its own.
type piece struct {
	off, end int64
	frames   int  // frames before it
	gap      bool // it is zero bytes
}

// item is a frame to be written. Its data follows from its LSN and size, so that
// no two records are equal but those that are empty.
type item struct {
	typ  Type
	size int
	meta string
	more bool
}

func rec(size int) item      { return item{typ: TypeRecord, size: size} }
func meta(s string) item     { return item{typ: TypeMeta, size: len(s), meta: s} }
func (it item) and() item    { it.more = true; return it } // the next one belongs to the same batch
func typed(t Type) item      { return item{typ: t, size: 5, meta: "?????"} }
func (it item) frame() int64 { return FrameHeaderSize + int64(it.size+7)/8*8 }
func header(unit int64) Header {
	return Header{Log: LogID{1}, ID: 2, Salt: 77, Unit: unit, Created: 5, Compat: 4, Size: 1 << 16}
}

// recordData is what record lsn holds if it has that many bytes.
func recordData(lsn LSN, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(uint64(lsn)*31 + uint64(i)*7 + 1)
	}
	return b
}

func create(t testing.TB, fsys vfs.FS, h Header) *seg {
	t.Helper()
	require.NoError(t, fsys.Mkdir("log"))
	w, err := Create(fsys, "log", h, 0, nil)
	require.NoError(t, err)
	return &seg{TB: t, w: w}
}

// drafts returns a group's drafts of items, the first record of which gets lsn.
func (s *seg) drafts(lsn LSN, items []item) []byte {
	buf := drafts()
	for _, it := range items {
		data := []byte(it.meta)
		if it.typ == TypeRecord {
			data = recordData(lsn, it.size)
			lsn++
		}
		buf = AppendDraft(buf, it.typ, it.more, data, Hash(data))
	}
	return buf
}

// note adds what a group at off with these frames must look like.
func (s *seg) note(off int64, lsn LSN, items ...item) *seg {
	b := s.bytes()
	at := off + GroupHeaderSize
	s.pieces = append(s.pieces, piece{off, at, len(s.frames), false})
	for _, it := range items {
		s.pieces = append(s.pieces, piece{at, at + it.frame(), len(s.frames), false})
		f := Frame{Off: at, Type: it.typ, More: it.more, Data: b[at+FrameHeaderSize:][:it.size]}
		switch it.typ {
		case TypeRecord:
			f.LSN, f.Data = lsn, recordData(lsn, it.size)
			lsn++
		case TypeMeta:
			f.Data = []byte(it.meta)
		}
		s.frames = append(s.frames, f)
		at += it.frame()
	}
	unit := s.w.Header().Unit
	if end := (at + unit - 1) / unit * unit; end > at {
		s.pieces = append(s.pieces, piece{at, end, len(s.frames), true})
	}
	return s
}

// open writes an opening group whose first record is base; m is the meta in
// force, "" for none.
func (s *seg) open(prev Pin, base LSN, m string, items ...item) *seg {
	s.Helper()
	o := Opening{Prev: prev, Irregular: s.w.Header().ID, Time: 9, Compat: 6}
	if prev.ID != 0 && prev.ID+1 == o.Irregular {
		o.Irregular = prev.ID
	}
	all := append([]item{{typ: typeOpening, size: openingSize, more: m != ""}}, items...)
	var force []byte
	if m != "" {
		force = []byte(m)
		all = append(all[:1:1], append([]item{meta(m)}, items...)...)
	}
	require.NoError(s, s.w.Open(o, force, base, s.drafts(base, items), false))
	return s.note(HeaderSize, base, all...)
}

func (s *seg) group(items ...item) *seg {
	s.Helper()
	off, lsn := s.w.Off(), s.w.Next()
	require.NoError(s, s.w.Write(s.drafts(lsn, items)))
	return s.note(off, lsn, items...)
}

// writeSync writes a group durably, past the page cache.
func (s *seg) writeSync(items ...item) *seg {
	s.Helper()
	off, lsn := s.w.Off(), s.w.Next()
	require.NoError(s, s.tryWriteSync(items...))
	return s.note(off, lsn, items...)
}

func (s *seg) tryWriteSync(items ...item) error {
	s.Helper()
	drafts := s.drafts(s.w.Next(), items)
	from, to, ok := s.w.SyncSpan(len(drafts))
	require.True(s, ok)
	image := vfs.Aligned(int(to-from), s.w.Block())
	for i := range image {
		image[i] = 0xee
	}
	_, err := s.w.File().ReadAt(image[:s.w.Off()-from], from)
	require.NoError(s, err)
	return s.w.WriteSync(drafts, image, from)
}

// kind writes a group as the Writer never does.
func (s *seg) kind(g Group, items ...item) *seg {
	s.Helper()
	off, lsn := s.w.Off(), s.w.Next()
	require.NoError(s, s.w.write(g, s.drafts(lsn, items), nil, 0))
	return s.note(off, lsn, items...)
}

func (s *seg) mark() *seg {
	s.Helper()
	off := s.w.Off()
	require.NoError(s, s.w.Mark(false))
	return s.note(off, s.w.Next())
}

func (s *seg) sync() *seg {
	s.Helper()
	require.NoError(s, s.w.Sync())
	return s
}

func (s *seg) seal() *seg {
	s.Helper()
	off := s.w.Off()
	require.NoError(s, s.w.Seal(Pin{ID: 3, Salt: 78}, 10))
	return s.note(off, s.w.Next(), item{typ: typeSeal, size: sealSize}, item{typ: typeIndex, size: 8 * s.w.Index().Len()})
}

// sealed returns the offset of the seal, the last group.
func (s *seg) sealed() int64 {
	for _, p := range s.pieces {
		if p.frames == len(s.frames)-2 && p.off%s.w.Header().Unit == 0 {
			return p.off
		}
	}
	panic("there is no seal")
}

func (s *seg) bytes() []byte {
	s.Helper()
	info, err := s.w.File().Stat()
	require.NoError(s, err)
	b := make([]byte, info.Size)
	_, err = s.w.File().ReadAt(b, 0)
	require.NoError(s, err)
	return b
}

// records returns the frames that are records.
func (s *seg) records() (list []Frame) {
	for _, f := range s.frames {
		if f.LSN != 0 {
			list = append(list, f)
		}
	}
	return list
}

// hit returns the piece that off lies in, or one at off that is not there.
func (s *seg) hit(off int64) piece {
	for _, p := range s.pieces {
		if off < p.end {
			return p
		}
	}
	return piece{off, off, len(s.frames), false}
}

// dull reports whether off is one of very many zero bytes that are all alike.
func (p piece) dull(off int64) bool {
	return p.gap && off-p.off > 24 && p.end-off > 24 && off%509 != 0
}

// every writes a segment with all there is: records of all paddings, a batch
// with a meta, groups of one and of many, a mark, a seal and its index.
func every(t testing.TB, unit int64) *seg {
	t.Helper()
	s := create(t, vfs.NewMem(), header(unit))
	s.open(Pin{ID: 1, Salt: 4, Length: 5000, Durable: 4200, Chain: 3, Last: 9}, 10, "in force", rec(0), rec(1)).sync()
	s.group(rec(7), rec(8), rec(300)).sync()
	s.group(rec(3).and(), meta("vote").and(), rec(40)).group(rec(700)).sync()
	s.mark().group(rec(24), meta(""), rec(0)).group(rec(0)).group(rec(512)).sync()
	return s.seal()
}

// scanWith steps through b, which has header h, up to limit and compares what it
// finds with want, which it may end before. It says what is wrong.
func scanWith(sc *Scanner, b []byte, h Header, limit int64, want []Frame) (n int, wrong string) {
	sc.Start(bytes.NewReader(b), "x", h, limit)
	return compare(sc, want)
}

// compare does the same for a scan that was begun.
func compare(sc *Scanner, want []Frame) (n int, wrong string) {
	for {
		switch sc.Next() {
		case StepEnd:
			return n, ""
		case StepFrame:
			if n == len(want) {
				return n, fmt.Sprintf("a frame too many, at %d", sc.Frame().Off)
			}
			if f := *sc.Frame(); !same(f, want[n]) {
				return n, fmt.Sprintf("frame %+v, want %+v", f, want[n])
			}
			n++
		}
	}
}

func same(f, g Frame) bool {
	return f.Off == g.Off && f.Type == g.Type && f.More == g.More && f.LSN == g.LSN && bytes.Equal(f.Data, g.Data)
}

// scanned returns copies of the frames that a scan of b finds, and its end.
func scanned(b []byte, h Header) (frames []Frame, stop Stop) {
	var sc Scanner
	sc.Start(bytes.NewReader(b), "x", h, int64(len(b)))
	for step := sc.Next(); step != StepEnd; step = sc.Next() {
		if f := *sc.Frame(); step == StepFrame {
			f.Data = bytes.Clone(f.Data)
			frames = append(frames, f)
		}
	}
	return frames, sc.Stop()
}

// allocated returns how many bytes f allocates.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// onCrash runs run on a file system with a directory log, and gives every state
// that a crash behind each of its calls can leave to check, those behind the
// last call with done set.
func onCrash(t testing.TB, run func(vfs.FS), check func(image *vfs.Mem, done bool)) {
	t.Helper()
	crash := vfs.NewCrash(512)
	require.NoError(t, crash.Mkdir("log"))
	require.NoError(t, crash.SyncDir("."))
	look := func(done bool) {
		state := crash.State()
		state.Each(1000, 1, func(picks []int) bool {
			check(state.Image(picks), done)
			return !t.Failed()
		})
	}
	run(vfs.Wrap(crash, func(c vfs.Call, do func(int) (int, error)) (int, error) {
		n, err := do(int(c.Size))
		if c.Op.Mutates() {
			look(false)
		}
		return n, err
	}))
	look(true)
}
