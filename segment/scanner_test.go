package segment

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// units are the ones that tests run with.
var units = []int64{8, 512, 4096}

func eachUnit(t *testing.T, test func(t *testing.T, unit int64)) {
	for _, unit := range units {
		t.Run(fmt.Sprint("unit ", unit), func(t *testing.T) { test(t, unit) })
	}
}

func TestScanFindsWhatWasWritten(t *testing.T) {
	eachUnit(t, func(t *testing.T, unit int64) {
		s := every(t, unit)
		var sc Scanner
		n, wrong := scanWith(&sc, s.bytes(), s.w.Header(), s.w.Off(), s.frames)
		require.Empty(t, wrong)
		require.Equal(t, len(s.frames), n)
		require.Equal(t, Stop{Kind: StopLimit, Off: s.w.Off()}, sc.Stop())
		require.Equal(t, s.w.Next(), sc.NextLSN())
		require.Equal(t, s.w.chain, sc.Chain())
		require.Equal(t, s.w.Off(), s.pieces[len(s.pieces)-1].end)
	})
}

// TestScanEndsAtTheCut cuts the file at every length: the scan ends at the piece
// that the cut goes through, or at the cut if it lies between two.
func TestScanEndsAtTheCut(t *testing.T) {
	t.Parallel()
	eachUnit(t, func(t *testing.T, unit int64) {
		s := every(t, unit)
		b, h := s.bytes(), s.w.Header()
		var sc Scanner
		for size := int64(HeaderSize); size <= int64(len(b)); size++ {
			p := s.hit(size)
			if p.dull(size) {
				continue
			}
			for _, limit := range []int64{size, int64(len(b))} { // the second: it was cut under the reader
				n, wrong := scanWith(&sc, b[:size], h, limit, s.frames)
				if x := sc.Stop().Off; wrong != "" || n != p.frames || x != p.off {
					t.Fatalf("cut at %d, limit %d: X is %d, want %d; %d frames, want %d; %s", size, limit, x, p.off, n, p.frames, wrong)
				}
			}
		}
	})
}

// TestEveryFlippedBitIsFound flips each bit behind the header: the scan finds
// all that is before the piece that the bit lies in, and ends there.
func TestEveryFlippedBitIsFound(t *testing.T) {
	t.Parallel()
	eachUnit(t, func(t *testing.T, unit int64) {
		s := every(t, unit)
		b, h := s.bytes(), s.w.Header()
		var sc Scanner
		for off := int64(HeaderSize); off < int64(len(b)); off++ {
			p := s.hit(off)
			if p.dull(off) {
				continue
			}
			for bit := range 8 {
				if unit == 4096 && int64(bit) != off%8 {
					continue // it takes long, and 512 shows the same
				}
				b[off] ^= 1 << bit
				n, wrong := scanWith(&sc, b, h, int64(len(b)), s.frames)
				if stop := sc.Stop(); wrong != "" || n != p.frames || stop.Off != p.off || stop.Kind != StopInvalid {
					t.Fatalf("bit %d at %d: stop %+v, want at %d; %d frames, want %d; %s", bit, off, stop, p.off, n, p.frames, wrong)
				}
				b[off] ^= 1 << bit
			}
		}
	})
}

// TestNoReaderBelievesAFlippedBit does the same, a bit of each byte, to all else
// that reads a segment: it gives what was there, or an error, or less.
func TestNoReaderBelievesAFlippedBit(t *testing.T) {
	t.Parallel()
	for _, unit := range units[:2] {
		s := every(t, unit)
		b, h, size := s.bytes(), s.w.Header(), s.w.Off()
		end := s.sealed()
		want := readAll(t, b, h, end, size)
		require.NoError(t, want.firstErr)
		require.True(t, want.sealed)
		for off := int64(HeaderSize); off < size; off++ {
			if s.hit(off).dull(off) {
				continue
			}
			b[off] ^= 1 << (off % 8)
			got := readAll(t, b, h, end, size)
			if got.firstErr == nil {
				require.Equal(t, want.first, got.first, "%d", off)
			} else {
				require.ErrorIs(t, got.firstErr, ErrCorrupt, "%d", off)
			}
			if got.sealed {
				require.Equal(t, want.seal, got.seal, "%d", off)
			}
			if got.index != nil {
				require.Equal(t, want.index, got.index, "%d", off)
			}
			require.LessOrEqual(t, got.claims.Durable, want.claims.Durable, "%d", off)
			require.LessOrEqual(t, got.claims.Last, want.claims.Last, "%d", off)
			require.GreaterOrEqual(t, got.claims.Headers, want.claims.Headers-1, "%d", off)
			b[off] ^= 1 << (off % 8)
		}
	}
}

// reading is what the readers other than Scanner find.
type reading struct {
	first    First
	firstErr error
	seal     Seal
	index    []byte // nil: none
	sealed   bool
	claims   Claims
}

func readAll(t testing.TB, b []byte, h Header, end, size int64) (got reading) {
	r := bytes.NewReader(b)
	got.first, got.firstErr = ReadFirst(r, "x", h, size)
	seal, x, ok, err := ReadSeal(r, "x", h, First{Base: 10}, end, size)
	require.NoError(t, err)
	got.seal, got.sealed = seal, ok
	if x != nil {
		got.index = x.AppendTo([]byte{})
	}
	got.claims, err = new(Scanner).Claims(r, h, HeaderSize, size)
	require.NoError(t, err)
	return got
}

// TestAWrongLengthAllocatesNoMoreThanTheFile puts lengths that nothing backs in
// every place that has one, under sums that hold where that can be.
func TestAWrongLengthAllocatesNoMoreThanTheFile(t *testing.T) {
	s := every(t, 8)
	h, size := s.w.Header(), s.w.Off()
	check := func(name string, change func(b []byte)) {
		b := s.bytes()
		change(b)
		r := bytes.NewReader(b)
		x := new(Index)
		x.Add(0, s.records()[0].Off)
		n := allocated(func() {
			var sc Scanner
			sc.Start(r, "x", h, size)
			for sc.Next() != StepEnd {
			}
			_, _ = ReadFirst(r, "x", h, size)
			_, _, _, _ = ReadSeal(r, "x", h, First{Base: 10}, s.sealed(), size)
			_, _, _ = Locate(r, "x", h, First{Base: 10}, size, 1<<40)
			_, _ = BuildIndex(r, "x", h, First{Base: 10}, size)
			var d Reader
			_, _ = d.Read(r, "x", h, x, 10, 12, size, nil)
		})
		require.Less(t, n, 8*size, name) // six readers, each of which may hold the file once
	}
	for _, p := range s.pieces {
		check(fmt.Sprint("bits of a length at ", p.off), func(b []byte) {
			for i := range int64(16) { // wherever the length is
				b[p.off+i] |= 0x3f
			}
		})
	}
	for _, length := range []uint32{1 << 10, 1 << 30, 1<<32 - 1} {
		check(fmt.Sprint("a group of 8 * ", length), func(b []byte) {
			g := decodeGroup(b[HeaderSize:])
			g.Frames, g.Length = length, int64(length)*8
			g.encode(b[HeaderSize:], h.Salt, HeaderSize)
		})
		check(fmt.Sprint("a frame of ", length), func(b []byte) {
			f := s.records()[2]
			frame := b[f.Off:]
			binary.LittleEndian.PutUint32(frame, length)
			binary.LittleEndian.PutUint64(frame[frmSum:], frameSum(frame, h.Salt, f.Off, f.LSN, Hash(f.Data)))
		})
	}
}

func TestScanGoesOnWhenTheLimitRises(t *testing.T) {
	eachUnit(t, func(t *testing.T, unit int64) {
		s := create(t, vfs.NewMem(), header(unit)).open(Pin{}, 1, "", rec(5))
		var sc Scanner
		sc.Start(s.w.File(), "x", s.w.Header(), s.w.Off())
		n, wrong := compare(&sc, s.frames)
		for range 5 {
			require.Empty(t, wrong)
			require.Equal(t, len(s.frames), n)
			require.Equal(t, Stop{Kind: StopLimit, Off: s.w.Off()}, sc.Stop())
			require.True(t, sc.Ended() && sc.AtLimit())
			s.group(rec(n), rec(900))
			sc.SetLimit(s.w.Off())
			require.False(t, sc.Ended() || sc.AtLimit())
			require.Equal(t, s.w.Off(), sc.Limit())
			sc.SetLimit(HeaderSize) // it never falls
			require.Equal(t, s.w.Off(), sc.Limit())
			var more int
			more, wrong = compare(&sc, s.frames[n:])
			n += more
		}
	})
}

// TestALimitInAGroupIsALimit ends scans where a pin may end a segment: behind each
// frame, and nowhere else but between groups.
func TestALimitInAGroupIsALimit(t *testing.T) {
	s := every(t, 512)
	for limit := int64(HeaderSize); limit <= s.w.Off(); limit += 8 {
		var sc Scanner
		_, wrong := scanWith(&sc, s.bytes(), s.w.Header(), limit, s.frames)
		require.Empty(t, wrong)
		require.Equal(t, s.hit(limit).off == limit, sc.AtLimit(), "%d", limit)
		require.Equal(t, sc.Stop().Off, sc.Off())
	}
}

// TestAnyFrameIsAStart begins at each record, as an index tells it to.
func TestAnyFrameIsAStart(t *testing.T) {
	eachUnit(t, func(t *testing.T, unit int64) {
		for gap := range 5 { // so that zero bytes of all lengths stand before the limit
			s := create(t, vfs.NewMem(), header(unit)).open(Pin{}, 10, "m", rec(0), rec(1)).sync()
			s.group(rec(8), meta("").and(), rec(30)).group(rec(0)).mark().group(rec(100), rec(0), rec(1320-8*gap))
			b, h := s.bytes(), s.w.Header()
			var sc Scanner
			for i, f := range s.frames {
				if f.LSN == 0 {
					continue
				}
				sc.StartAt(bytes.NewReader(b), "x", h, s.w.Off(), f.Off, f.LSN, readMin)
				n, wrong := compare(&sc, s.frames[i:])
				require.Empty(t, wrong)
				require.Equal(t, len(s.frames)-i, n)
				require.Equal(t, StopLimit, sc.Stop().Kind, "from LSN %d: %v", f.LSN, sc.Stop().Err)
			}
		}
	})
}

// TestAScanThatGoesOnReadsMoreAtATime but no more than is bounded.
func TestAScanThatGoesOnReadsMoreAtATime(t *testing.T) {
	s := create(t, vfs.NewMem(), header(8)).open(Pin{}, 1, "")
	for range 30 {
		s.group(rec(100_000))
	}
	r := &sizesReader{b: s.bytes()}
	var sc Scanner
	for range 2 { // the memory is there the second time
		r.sizes = nil
		sc.Start(r, "x", s.w.Header(), s.w.Off())
		n, wrong := compare(&sc, s.frames)
		require.Empty(t, wrong)
		require.Equal(t, len(s.frames), n)
		require.Equal(t, scanChunk, r.sizes[0])
		require.Greater(t, r.sizes[1], scanChunk)
		require.Greater(t, r.sizes[2], 2*scanChunk)
		require.LessOrEqual(t, slices.Max(r.sizes), maxChunk)
		require.LessOrEqual(t, cap(sc.buf), maxChunk)
	}
}

// TestAScanThatSkipsReadsNoMoreAtATime than at first.
func TestAScanThatSkipsReadsNoMoreAtATime(t *testing.T) {
	s := create(t, vfs.NewMem(), header(8)).open(Pin{}, 1, "")
	for range 6 {
		s.group(rec(3 * scanChunk))
	}
	r := &sizesReader{b: s.bytes()}
	var sc Scanner
	sc.Start(r, "x", s.w.Header(), s.w.Off())
	for sc.Next() != StepEnd {
		sc.SkipGroup()
	}
	require.Equal(t, StopLimit, sc.Stop().Kind)
	require.Len(t, r.sizes, 6)
	require.LessOrEqual(t, slices.Max(r.sizes), scanChunk)
}

// sizesReader notes how much is asked for.
type sizesReader struct {
	b     []byte
	sizes []int
}

func (r *sizesReader) ReadAt(p []byte, off int64) (int, error) {
	r.sizes = append(r.sizes, len(p))
	return bytes.NewReader(r.b).ReadAt(p, off)
}

// TestAnyHeaderIsAStart begins at each group, with and without its LSN.
func TestAnyHeaderIsAStart(t *testing.T) {
	s := every(t, 512)
	var sc Scanner
	for i, p := range s.pieces {
		if i > 0 && p.off%512 == 0 && p.end-p.off == GroupHeaderSize {
			sc.StartAt(bytes.NewReader(s.bytes()), "x", s.w.Header(), s.w.Off(), p.off, 0, scanChunk)
			n, wrong := compare(&sc, s.frames[p.frames:])
			require.Empty(t, wrong)
			require.Equal(t, len(s.frames)-p.frames, n)
		}
	}
}

func TestAGroupIsValidOnlyWhereItWasWritten(t *testing.T) {
	s := create(t, vfs.NewMem(), header(8)).open(Pin{}, 1, "").group(rec(100)).group(rec(100)).group(rec(100))
	b, h := s.bytes(), s.w.Header()
	one := int64(GroupHeaderSize + FrameHeaderSize + 104)
	at := func(n int64) []byte { return b[int64(len(b))-n*one:][:one] }

	moved := bytes.Clone(b[:int64(len(b))-one])
	moved = append(moved, at(2)...) // the second group again in place of the third
	_, stop := scanned(moved, h)
	require.Equal(t, int64(len(b))-one, stop.Off)
	require.ErrorContains(t, stop.Err, "sum of the group's header")

	h.Salt++ // of another file
	frames, stop := scanned(b, h)
	require.Empty(t, frames)
	require.Equal(t, int64(HeaderSize), stop.Off)
	claims, err := new(Scanner).Claims(bytes.NewReader(b), h, HeaderSize, int64(len(b)))
	require.NoError(t, err)
	require.Zero(t, claims.Headers)
}

// TestAFrameIsValidOnlyInItsPlace swaps two records of equal shape, and their
// order in LSNs.
func TestAFrameIsValidOnlyInItsPlace(t *testing.T) {
	s := create(t, vfs.NewMem(), header(8)).open(Pin{}, 1, "").group(rec(8), rec(8), rec(8))
	b, f := s.bytes(), s.records()
	copy(b[f[1].Off:f[1].End()], s.bytes()[f[2].Off:f[2].End()])
	frames, stop := scanned(b, s.w.Header())
	require.Len(t, frames, 2) // the opening, record 1
	require.Equal(t, f[1].Off, stop.Off)

	copy(b, s.bytes())
	var sc Scanner
	sc.StartAt(bytes.NewReader(b), "x", s.w.Header(), s.w.Off(), f[1].Off, f[2].LSN, readMin)
	require.Equal(t, StepEnd, sc.Next(), "record 2 taken for record 3")
	require.ErrorIs(t, sc.Stop().Err, ErrCorrupt)
}

// TestAReplacedGroupBreaksTheChain writes a group of equal shape in place of the
// second: what was written behind the first attempt does not follow it.
func TestAReplacedGroupBreaksTheChain(t *testing.T) {
	attempt := func(second byte) *seg {
		s := create(t, vfs.NewMem(), header(8)).open(Pin{}, 1, "").group(rec(8))
		require.NoError(t, s.w.Write(AppendDraft(drafts(), TypeRecord, false, []byte{second}, Hash([]byte{second}))))
		return s.group(rec(8))
	}
	a, b := attempt('a'), attempt('b')
	third := a.w.Off() - GroupHeaderSize - FrameHeaderSize - 8
	mixed := append(b.bytes()[:third:third], a.bytes()[third:]...)
	_, stop := scanned(mixed, header(8))
	require.Equal(t, third, stop.Off)
	require.ErrorContains(t, stop.Err, "does not follow the one before it")
}

// TestAHeaderOfAnotherAttemptDoesNotTakeTheFrames puts the second attempt's
// header before the frames of the first.
func TestAHeaderOfAnotherAttemptDoesNotTakeTheFrames(t *testing.T) {
	a := create(t, vfs.NewMem(), header(8)).open(Pin{}, 1, "").group(rec(8))
	b := create(t, vfs.NewMem(), header(8)).open(Pin{}, 1, "")
	off := b.w.Off()
	other := addRecord(drafts(), "other  8", false)
	require.NoError(t, b.w.Write(other))
	mixed := a.bytes()
	copy(mixed[off:], other[:GroupHeaderSize])
	_, stop := scanned(mixed, header(8))
	require.Equal(t, off, stop.Off)
	require.ErrorContains(t, stop.Err, "sum of the group's body")
}
