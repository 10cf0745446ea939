package fuzz_test

import (
	"bytes"
	"errors"
	"math/bits"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/fuzz/refdecoder"
	"github.com/seed3918b8df/tidemark/index"
	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// FuzzFrameDecode reads arbitrary bytes as a frame, behind an opening group and in a
// group of one frame whose header holds. how: bit 0 makes the frame's sum hold; the
// others, which bit of it is flipped then.
func FuzzFrameDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, how uint16, base uint64, data []byte) {
		watch(t, func() { decodeFrame(t, how, base, data) })
	})
}

func decodeFrame(t *testing.T, how uint16, base uint64, data []byte) {
	h := workedHeader(8)
	m := newMaker(8, base)
	m.group(2, openingFrame(false))
	off := m.group(1)
	at := len(m.file)
	file := append(m.file, data...)
	file = append(file, make([]byte, -len(file)&7)...)
	le.PutUint32(file[off+4:], 1)
	le.PutUint32(file[off+8:], uint32((len(file)-off)/8))
	if len(data) > 4 && data[4] == 1 {
		le.PutUint32(file[off+12:], 1)
	}
	if how&1 != 0 {
		press(file, workedSalt, 0)
	}
	agreed(t, file)

	var sc segment.Scanner
	bounded(t, len(file), 0, func() {
		sc.StartAt(bytes.NewReader(file), "x", h, int64(len(file)), int64(at), segment.LSN(base), 0)
		if sc.Next() == segment.StepFrame {
			for sc.Next() == segment.StepFrame {
			}
		}
	})
	sc.StartAt(bytes.NewReader(file), "x", h, int64(len(file)), int64(at), segment.LSN(base), 1)
	valid := sc.Next() == segment.StepFrame
	require.Equal(t, frameIsValid(file, at, base), valid)
	if !valid || base == 0 {
		return
	}
	got := *sc.Frame()
	require.Equal(t, file[at+16:][:len(got.Data)], got.Data)
	require.Equal(t, got.Type == segment.TypeRecord, got.LSN != 0)
	frameIsWritten(t, file[at:got.End()], got, base)
	frameFlips(t, h, file[:got.End()], at, int(how>>1), base)
}

// frameIsValid is what section 4 says of a frame at off in a file that ends with its
// group.
func frameIsValid(file []byte, off int, lsn uint64) bool {
	if off+16 > len(file) {
		return false
	}
	b := file[off:]
	n := int64(le.Uint32(b))
	size := 16 + (n+7)&^7
	if n > 1<<30 || size > int64(len(b)) {
		return false
	}
	again := bytes.Clone(file)
	sumFrame(again, off, workedSalt, lsn)
	typ := b[4]
	return bytes.Equal(again[off+8:off+16], b[8:16]) && typ != 0 && (typ <= 5 || typ >= 128) && b[5]&^1 == 0 &&
		b[6] == 0 && b[7] == 0 && len(bytes.Trim(b[16+n:size], "\x00")) == 0
}

// frameIsWritten has a Writer write the frame, at the same place, and compares.
func frameIsWritten(t *testing.T, want []byte, f segment.Frame, base uint64) {
	t.Helper()
	mem := vfs.NewMem()
	w, err := segment.Create(mem, ".", workedHeader(8), 0, nil)
	require.NoError(t, err)
	defer w.Close()
	require.NoError(t, w.Open(segment.Opening{Irregular: 2}, nil, segment.LSN(base), make([]byte, 64), false))
	draft := segment.AppendDraft(make([]byte, 64), f.Type, f.More, f.Data, segment.Hash(f.Data))
	require.Equal(t, len(want), segment.FrameSize(len(f.Data)))
	require.NoError(t, w.Write(draft))
	got := make([]byte, len(want))
	_, err = w.File().ReadAt(got, f.Off)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// frameFlips flips one bit of the frame at off, with which the file ends: it must not
// verify any more, and the bit must be found where it is looked for.
func frameFlips(t *testing.T, h segment.Header, file []byte, off, bit int, base uint64) {
	t.Helper()
	bit %= 8 * (len(file) - off)
	want := segment.Flip{Off: int64(off + bit/8), Mask: 1 << (bit % 8)}
	want.Byte = file[want.Off]
	file[want.Off] ^= want.Mask
	defer func() { file[want.Off] ^= want.Mask }()
	require.False(t, frameIsValid(file, off, base))
	var sc segment.Scanner
	sc.StartAt(bytes.NewReader(file), "x", h, int64(len(file)), int64(off), segment.LSN(base), 0)
	require.NotEqual(t, segment.StepFrame, sc.Next())
	n := len(file) - off
	if n > 64 && bit%61 != 0 { // the search takes time by the square
		return
	}
	got, ok, err := segment.FindFlip(bytes.NewReader(file), h, int64(off), segment.LSN(base), int64(len(file)))
	require.NoError(t, err)
	if n <= 4<<10 || bit < 8*16 {
		require.True(t, ok)
	}
	if ok {
		require.Equal(t, want, got)
	}
}

// FuzzGroupDecode makes groups as its input says, right ones and wrong ones, and lets
// everything that reads a segment read them. how: the unit, bits 0 and 1; whether the
// sums are made right behind what was spoiled, bit 2, and which not, bits 3 to 5.
func FuzzGroupDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, how byte, data []byte) {
		watch(t, func() { decodeGroups(t, how, data) })
	})
}

func decodeGroups(t *testing.T, how byte, data []byte) {
	unit := units[how&3]
	m, sound, synced := makeGroups(&tape{data}, unit)
	if !sound && how&4 != 0 {
		press(m.file, workedSalt, int(how>>3&7))
	}
	file, h := m.file, workedHeader(unit)
	r, size := bytes.NewReader(file), int64(len(file))
	agreed(t, file)
	frames, stop := scanOf(file, h)
	if sound {
		require.Len(t, frames, len(m.frames))
		for n, want := range m.frames {
			got := frames[n]
			require.Equal(t, []any{want.off, want.typ, want.lsn, want.more}, []any{got.Off, byte(got.Type), uint64(got.LSN), got.More})
			require.True(t, bytes.Equal(want.data, got.Data))
		}
		require.Equal(t, segment.Stop{Kind: segment.StopLimit, Off: size}, stop)
		writesTheSame(t, m, h, synced)
	}
	x := stop.Off
	require.LessOrEqual(t, x, size)
	before, _ := scanOf(file[:max(x, 4096)], h) // what is behind X means nothing to what is before
	for i, f := range frames {
		require.LessOrEqual(t, f.End(), size)
		require.True(t, f.End() > x || sameFrame(f, before[i]), "%+v", f)
	}
	bounded(t, len(file), 0, func() {
		var sc segment.Scanner
		sc.Start(r, "x", h, size)
		for sc.Next() != segment.StepEnd {
		}
	})
	bounded(t, len(file), 0, func() { _, _ = segment.ReadFirst(r, "x", h, size) })
	bounded(t, len(file), 0, func() { _, _ = segment.BuildIndex(r, "x", h, segment.First{Base: 1}, size) })
	bounded(t, len(file), 0, func() { _, _, _ = segment.Locate(r, "x", h, segment.First{Base: 1}, size, 1<<40) })
	bounded(t, len(file), 0, func() { _, _, _, _ = segment.ReadSeal(r, "x", h, segment.First{Base: 1}, x, size) })
	bounded(t, len(file), 0, func() { _, _ = new(segment.Scanner).Claims(r, h, x, size) })
	readByIndex(t, file, h, frames)
}

// frameSizes are the sizes of the data of frames that makeGroups makes.
var frameSizes = []int{0, 1, 7, 8, 9, 24, 40, 100, 490, 600, 128, 64}

// makeGroups makes an opening group and what the tape says. sound says that nothing in
// it was spoiled, and synced behind which groups the watermark rose.
func makeGroups(p *tape, unit int64) (m *maker, sound bool, synced []bool) {
	base := uint64(p.next())<<8 | 1
	if p.below(16) == 15 {
		base = p.value(base)
	}
	m, sound = newMaker(unit, base), base != 0 && base < 1<<63
	for n := 0; n < 12 && (n == 0 || !p.done()); n++ {
		kind, frames := byte(2), []frame{openingFrame(false)}
		if n > 0 {
			kind, frames = []byte{1, 1, 1, 1, 3, 1, 1, 0}[p.below(8)], nil
		}
		if kind == 0 {
			kind = byte(p.value(1))
			sound = false
		}
		if kind != 3 {
			frames = append(frames, makeFrames(p, &sound)...)
		}
		off := m.group(kind, frames...)
		if p.below(4) == 3 {
			m.durable = uint64(len(m.file))
			synced = append(synced, true)
		} else {
			synced = append(synced, false)
		}
		if p.below(6) == 5 {
			spoilGroup(p, m, off)
			sound = false
		}
	}
	return m, sound, synced
}

func makeFrames(p *tape, sound *bool) (frames []frame) {
	n := p.below(5)
	for i := range n {
		typ := []byte{1, 1, 1, 2, 1, 2, 200, 0}[p.below(8)]
		if typ == 0 {
			typ = byte(p.value(1))
		}
		*sound = *sound && (typ > 0 && typ < 6 || typ >= 128)
		more := p.next()
		f := frame{typ: typ, more: more%3 == 2, data: bytes.Repeat([]byte{p.next()}, frameSizes[p.below(len(frameSizes))])}
		if i == n-1 && f.more {
			*sound = false
		}
		frames = append(frames, f)
	}
	return frames
}

// spoilGroup changes a field of the last group, which begins at off, or of a frame of
// it, or of the bytes behind; and then makes what the change leaves right be right.
func spoilGroup(p *tape, m *maker, off int) {
	type field struct{ off, size int }
	fields := []field{{0, 1}, {1, 1}, {2, 2}, {4, 4}, {8, 4}, {12, 4}, {16, 8}, {24, 8}, {32, 8}, {40, 8}, {48, 8}, {56, 8}}
	what := p.below(20)
	at, n := off, field{}
	switch {
	case what < len(fields):
		n = fields[what]
	case what < 18 && len(m.frames) > 0:
		at = int(m.frames[p.below(len(m.frames))].off)
		n = []field{{0, 4}, {4, 1}, {5, 1}, {6, 2}, {8, 8}, {16, 1}}[what-12]
	case what == 18:
		at, n = len(m.file)-1, field{0, 1}
	default:
		m.file = m.file[:max(4096, len(m.file)-p.below(300))]
		return
	}
	if at += n.off; at+n.size > len(m.file) {
		return
	}
	var old [8]byte
	copy(old[:], m.file[at:at+n.size])
	le.PutUint64(old[:], p.value(le.Uint64(old[:])))
	copy(m.file[at:at+n.size], old[:])
	if p.below(2) == 0 && off+64 <= len(m.file) {
		sumGroup(m.file, off, workedSalt)
		m.chain = le.Uint64(m.file[off+56:])
	}
}

// writesTheSame has a Writer write the same groups, and compares the files.
func writesTheSame(t *testing.T, m *maker, h segment.Header, synced []bool) {
	t.Helper()
	frames := m.frames
	var w *segment.Writer
	mem := vfs.NewMem()
	w, err := segment.Create(mem, ".", h, 0, nil)
	require.NoError(t, err)
	defer w.Close()
	for off, n := 4096, 0; off < len(m.file); n++ {
		head := m.file[off:]
		drafts := make([]byte, 64)
		count := int(le.Uint32(head[4:]))
		for i, f := range frames[:count] {
			if n > 0 || i > 0 {
				drafts = segment.AppendDraft(drafts, segment.Type(f.typ), f.more, f.data, segment.Hash(f.data))
			}
		}
		frames = frames[count:]
		switch {
		case n == 0:
			err = w.Open(segment.Opening{Irregular: 2}, nil, segment.LSN(le.Uint64(head[16:])), drafts, false)
		case head[0] == 3:
			err = w.Mark(false)
		default:
			err = w.Write(drafts)
		}
		require.NoError(t, err)
		if synced[n] {
			require.NoError(t, w.Sync())
		}
		off += 8 * int(le.Uint32(head[8:]))
	}
	got := make([]byte, len(m.file))
	_, err = w.File().ReadAt(got, 0)
	require.NoError(t, err)
	require.True(t, bytes.Equal(m.file, got), "the writer writes other bytes")
}

// readByIndex reads the records among frames by way of an index of them, and of one
// that is wrong: that may find nothing, but not another record.
func readByIndex(t *testing.T, file []byte, h segment.Header, frames []segment.Frame) {
	t.Helper()
	good, wrong := new(segment.Index), new(segment.Index)
	base, last := segment.LSN(0), segment.LSN(0)
	for i, f := range frames {
		if f.LSN == 0 || f.LSN <= last {
			continue
		}
		if base == 0 {
			base = f.LSN
		}
		last = f.LSN
		good.Add(uint32(f.LSN-base), f.Off)
		wrong.Add(uint32(f.LSN-base), frames[len(frames)-1-i].Off)
	}
	if len(frames) == 0 {
		return
	}
	limit := frames[len(frames)-1].End() // behind it there may be other records with these LSNs
	var d segment.Reader
	for _, f := range frames {
		for _, x := range []*segment.Index{good, wrong} {
			got, err := d.Read(bytes.NewReader(file), "x", h, x, base, f.LSN, limit, nil)
			if f.LSN != 0 && err == nil {
				require.True(t, bytes.Equal(f.Data, got), "LSN %d", f.LSN)
			}
		}
	}
}

// FuzzSegmentHeader reads arbitrary bytes as a header. how: bits 0 and 1 make the sum
// of either copy hold, bit 2 says that the data are the first 128 bytes of each copy,
// the rest being zero, and the others which bit is flipped.
func FuzzSegmentHeader(f *testing.F) {
	f.Fuzz(func(t *testing.T, how uint32, data []byte) {
		watch(t, func() { decodeHeader(t, how, data) })
	})
}

// spread makes a file of two copies of size bytes of which data are the beginnings, or
// all, and sums those that how says.
func spread(how uint32, data []byte, size int, sum func(b []byte, off int)) []byte {
	file := bytes.Clone(data)
	if how&4 != 0 {
		file = make([]byte, 2*size)
		n := copy(file[:128], data)
		copy(file[size:size+128], data[n:])
	}
	for n := range 2 {
		if how>>n&1 != 0 && len(file) >= (n+1)*size {
			sum(file[n*size:(n+1)*size], n*size)
		}
	}
	return file
}

func decodeHeader(t *testing.T, how uint32, data []byte) {
	file := spread(how, data, 2048, func(b []byte, _ int) { sumCopy(b, -1) })
	want, verdict := refdecoder.DecodeHeader(file)
	var h segment.Header
	var err error
	bounded(t, len(file), 0, func() { h, err = segment.DecodeHeader(file, "x") })
	require.Equal(t, verdict, verdictOf(err))
	if err != nil {
		require.NotEqual(t, errors.Is(err, segment.ErrCorrupt), errors.Is(err, segment.ErrVersion))
		return
	}
	require.Equal(t, want, refdecoder.Header{Log: h.Log, ID: h.ID, Salt: h.Salt, Unit: h.Unit, Created: h.Created, Compat: h.Compat, Size: h.Size})
	enc := h.Encode()
	again, err := segment.DecodeHeader(enc, "x")
	require.NoError(t, err)
	require.Equal(t, h, again)
	_, err = segment.ReadHeader(bytes.NewReader(enc), "x", h.ID)
	require.NoError(t, err)
	_, err = segment.ReadHeader(bytes.NewReader(enc), "x", h.ID+1)
	require.ErrorIs(t, err, segment.ErrCorrupt)
	bit := int(how>>3) % (8 * len(enc))
	enc[bit/8] ^= 1 << (bit % 8)
	again, err = segment.DecodeHeader(enc, "x")
	require.NoError(t, err, "the other copy is whole")
	require.Equal(t, h, again)
}

// FuzzFront reads arbitrary bytes as FRONT, and lets FRONT be updated, with a look
// behind every write. how: as in FuzzSegmentHeader, of slots.
func FuzzFront(f *testing.F) {
	f.Fuzz(func(t *testing.T, how uint32, data []byte) {
		watch(t, func() { decodeFront(t, how, data) })
	})
}

// said is what FRONT says.
func said(f segment.Front) [7]any {
	return [7]any{f.Log, f.First, f.Oldest, f.Newest, f.Trimmed, f.Length}
}

func decodeFront(t *testing.T, how uint32, data []byte) {
	file := spread(how, data, 4096, func(b []byte, off int) { sumCopy(b, int64(off)) })
	want, wantWhole, verdict := refdecoder.DecodeFront(file)
	var f segment.Front
	var whole bool
	var err error
	bounded(t, len(file), 0, func() { f, whole, err = segment.DecodeFront(file, "x") })
	require.Equal(t, verdict, verdictOf(err))
	if err != nil {
		require.False(t, whole)
		require.NotEqual(t, errors.Is(err, segment.ErrCorrupt), errors.Is(err, segment.ErrVersion))
		return
	}
	require.Equal(t, wantWhole, whole)
	require.Equal(t, want, refdecoder.Front{Log: f.Log, Generation: want.Generation, First: uint64(f.First), Oldest: f.Oldest, Newest: f.Newest,
		Trimmed: f.Trimmed, Length: uint64(f.Length)})
	if want.Generation > 1<<64-8 { // it would begin again at 0: FRONT was written 2^64 times
		return
	}
	frontUpdates(t, how, file, f)
}

// frontUpdates updates f, which file holds. Behind every write, and inside of it at any
// sector, FRONT says what it said or what it is to say, and once it has said that it
// says nothing else.
func frontUpdates(t *testing.T, how uint32, file []byte, f segment.Front) {
	t.Helper()
	mem := vfs.NewMem()
	disk, err := mem.Create("FRONT")
	require.NoError(t, err)
	_, err = disk.WriteAt(file, 0)
	require.NoError(t, err)
	old, to := f, f
	to.First += segment.LSN(how>>3) + 1
	to.Newest ^= uint64(how)
	switched := false
	look := func() {
		got, _, err := segment.ReadFront(disk, "FRONT")
		require.NoError(t, err)
		require.True(t, said(got) == said(to) || !switched && said(got) == said(old), "%+v", got)
		switched = said(got) == said(to)
	}
	// What is not settled must have been written again before it counts as durable.
	torn := &lookedAt{File: disk, sector: int(how >> 3 % 8), look: look}
	require.NoError(t, f.Update(torn, to))
	require.True(t, f.Settled())
	require.Equal(t, said(to), said(f))
	got, whole, err := segment.ReadFront(disk, "FRONT")
	require.NoError(t, err)
	require.True(t, whole && switched)
	require.True(t, got.Settled())
	require.Equal(t, f, got)
	require.Equal(t, 2, torn.syncs)
}

// lookedAt is a file of which each write stops behind a sector, for a look.
type lookedAt struct {
	vfs.File
	sector, syncs int
	look          func()
}

func (l *lookedAt) WriteAt(p []byte, off int64) (int, error) {
	n := min(len(p), 512*l.sector)
	if _, err := l.File.WriteAt(p[:n], off); err != nil {
		return 0, err
	}
	l.look()
	_, err := l.File.WriteAt(p, off)
	l.look()
	return len(p), err
}

func (l *lookedAt) Sync() error { l.syncs++; return l.File.Sync() }

// FuzzIndexDecode reads arbitrary bytes as an index, by itself and in a seal of which
// one field was changed. records and length are what the index is told of its segment.
func FuzzIndexDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, records, length uint32, seal, data []byte) {
		watch(t, func() {
			decodeIndex(t, uint64(records), int64(length), data)
			decodeSeal(t, seal, data)
		})
	})
}

type pair struct {
	ordinal uint32
	off     int64
}

// pairsOf decodes an index as section 6 has it.
func pairsOf(data []byte, length int64, records uint64) (list []pair, ok bool) {
	if len(data)%8 != 0 {
		return nil, false
	}
	for b := data; len(b) > 0; b = b[8:] {
		p := pair{le.Uint32(b), 8 * int64(le.Uint32(b[4:]))}
		if uint64(p.ordinal) >= records || p.off >= length {
			return nil, false
		}
		if n := len(list); n > 0 && (p.ordinal <= list[n-1].ordinal || p.off <= list[n-1].off) {
			return nil, false
		}
		list = append(list, p)
	}
	return list, true
}

func decodeIndex(t *testing.T, records uint64, length int64, data []byte) {
	want, ok := pairsOf(data, length, records)
	var x *index.Index
	var err error
	bounded(t, len(data), 0, func() { x, err = index.Decode(data, length, records) })
	require.Equal(t, ok, err == nil, "%v", err)
	if err != nil {
		require.ErrorIs(t, err, index.ErrMalformed)
		return
	}
	require.Equal(t, len(want), x.Len())
	require.True(t, bytes.Equal(data, x.AppendTo(nil)))
	ask := []uint32{0, 1, 1<<32 - 1, uint32(records)}
	for _, p := range want {
		ask = append(ask, p.ordinal-1, p.ordinal, p.ordinal+1)
	}
	for _, ordinal := range ask {
		at, next, ok := x.Find(ordinal)
		found := false
		var best pair
		after := pair{1<<32 - 1, 1<<63 - 1}
		for _, p := range want {
			if p.ordinal <= ordinal {
				best, found = p, true
			} else if p.off < after.off {
				after = p
			}
		}
		require.Equal(t, found, ok)
		if ok {
			require.Equal(t, []pair{best, after}, []pair{{at.Ordinal, at.Off}, {next.Ordinal, next.Off}})
		}
	}
	if n := len(want); n > 0 { // an index that was decoded takes more entries
		last := want[n-1]
		if off := last.off + index.Step; off < 1<<35 && last.ordinal < 1<<32-1 {
			x.Add(last.ordinal+1, off)
			require.Equal(t, n+1, x.Len())
		}
	}
}

// decodeSeal reads the records of a segment by way of its seal, whose index is data,
// and one field of which is what the tape says.
func decodeSeal(t *testing.T, spoil, data []byte) {
	const base = 77
	p := &tape{spoil}
	m := newMaker(units[p.below(len(units))], base)
	var items []frame
	for n := range 3 + p.below(4) {
		items = append(items, frame{typ: 1, data: bytes.Repeat([]byte{byte(n + 1)}, []int{2000, 10, 600}[n%3])})
	}
	m.group(2, append([]frame{openingFrame(false)}, items[:2]...)...)
	m.group(1, items[2:]...)
	end, h := int64(len(m.file)), workedHeader(m.unit)
	records := uint64(len(items))
	seal := make([]byte, 64)
	for i, v := range []uint64{uint64(end), m.chain, base + records - 1, records, 3, 4, 5, 1} {
		le.PutUint64(seal[8*i:], v)
	}
	sound := p.below(4) != 3
	if !sound {
		at := 8 * p.below(8)
		le.PutUint64(seal[at:], p.value(le.Uint64(seal[at:])))
	}
	m.durable = uint64(end)
	kind, types := byte(4), [2]byte{4, 5}
	if p.below(8) == 7 {
		kind = byte(1 + p.below(5))
	}
	if p.below(8) == 7 {
		types[p.below(2)] = byte(1 + p.below(5))
	}
	m.group(kind, frame{typ: types[0], data: seal}, frame{typ: types[1], data: data})
	file := m.file
	agreed(t, file)

	first := segment.First{Base: base}
	var s segment.Seal
	var x *segment.Index
	var ok bool
	var err error
	bounded(t, len(file), 0, func() {
		s, x, ok, err = segment.ReadSeal(bytes.NewReader(file), "x", h, first, end, int64(len(file)))
	})
	require.NoError(t, err)
	want := kind == 4 && types[0] == 4 && int64(le.Uint64(seal)) == end && len(bytes.Trim(seal[57:], "\x00")) == 0
	require.Equal(t, want, ok)
	if !ok {
		require.Nil(t, x)
		return
	}
	require.Equal(t, []uint64{le.Uint64(seal[8:]), le.Uint64(seal[16:]), le.Uint64(seal[24:]), le.Uint64(seal[32:]), le.Uint64(seal[40:]), le.Uint64(seal[48:])},
		[]uint64{s.Chain, uint64(s.Last), s.Records, s.Next, s.NextSalt, uint64(s.Time)})
	_, right := pairsOf(data, end, s.Records)
	right = right && types[1] == 5 && seal[56] == 1 && uint64(s.Last)+1-base == s.Records
	require.Equal(t, right, x != nil)
	built, err := segment.BuildIndex(bytes.NewReader(file), "x", h, first, end)
	require.NoError(t, err)
	var d segment.Reader
	for n := range records {
		for _, x := range []*segment.Index{x, built} {
			if x == nil {
				continue
			}
			got, err := d.Read(bytes.NewReader(file), "x", h, x, base, segment.LSN(base+n), end, nil)
			if err == nil {
				require.True(t, bytes.Equal(items[n].data, got), "record %d", n)
			} else {
				require.True(t, x != built && (errors.Is(err, segment.ErrNoRecord) || errors.Is(err, segment.ErrCorrupt)), "%v", err)
			}
		}
	}
}

// FuzzDifferential holds the two decoders against each other on any bytes. how: bits 0
// and 1 the unit; bit 2: the sums are made right, but for those of bits 3 to 5; bit 6:
// the data is the whole file, and not what stands behind a header.
func FuzzDifferential(f *testing.F) {
	f.Fuzz(func(t *testing.T, how byte, data []byte) {
		watch(t, func() {
			file := append(workedHeader(units[how&3]).Encode(), data...)
			if how&64 != 0 {
				file = bytes.Clone(data)
			}
			if how&4 != 0 {
				if how&64 != 0 && len(file) >= 2048 {
					sumCopy(file[:2048], -1)
				}
				press(file, workedSalt, int(how>>3&7))
			}
			agreed(t, file)
			allocates(t, file)
		})
	})
}

// allocates holds what both decoders allocate against the size of the file.
func allocates(t *testing.T, file []byte) {
	t.Helper()
	bounded(t, len(file), 0, func() {
		h, err := segment.DecodeHeader(file, "x")
		if err != nil {
			return
		}
		var sc segment.Scanner
		sc.Start(bytes.NewReader(file), "x", h, max(4096, int64(len(file))))
		for sc.Next() != segment.StepEnd {
		}
	})
	n := bits.Len(uint(len(file))) // frames of 16 bytes take 56: see package refdecoder
	bounded(t, 2*len(file), int64(n), func() {
		h, v := refdecoder.DecodeHeader(file)
		if v == refdecoder.Valid {
			_ = refdecoder.ScanSegment(file, h)
		}
	})
}
