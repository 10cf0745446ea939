package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/index"
	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// long writes a segment with records of the given size in groups of the given
// number, so that its index has many entries.
func long(t testing.TB, unit int64, groups, records, size int) *seg {
	s := create(t, vfs.NewMem(), header(unit)).open(Pin{}, 10, "m", rec(1))
	for g := range groups {
		var items []item
		for range records {
			items = append(items, rec(size))
		}
		items[0] = items[0].and()
		s.group(append(items, meta(fmt.Sprint("meta ", g)), rec(0))...)
	}
	return s.sync()
}

// read reads one record, of which the base is 10, by way of x.
func (s *seg) read(d *Reader, b []byte, x *Index, lsn LSN) ([]byte, error) {
	return d.Read(bytes.NewReader(b), "x", s.w.Header(), x, 10, lsn, int64(len(b)), nil)
}

func TestReadFindsEveryRecord(t *testing.T) {
	eachUnit(t, func(t *testing.T, unit int64) {
		for _, s := range []*seg{every(t, unit), long(t, unit, 6, 40, 250), long(t, unit, 30, 1, 600)} {
			b := s.bytes()
			built, err := BuildIndex(bytes.NewReader(b), "x", s.w.Header(), First{Base: 10}, s.w.Off())
			require.NoError(t, err)
			one := new(Index)
			one.Add(0, s.records()[0].Off)
			for _, x := range []*Index{s.w.Index(), built, one} {
				var d Reader
				for _, f := range s.records() {
					got, err := s.read(&d, b, x, f.LSN)
					require.NoError(t, err)
					require.True(t, bytes.Equal(f.Data, got))
				}
				for _, lsn := range []LSN{0, 9, s.w.Next(), s.w.Next() + 100, 1 << 33, 1<<64 - 1} {
					_, err := s.read(&d, b, x, lsn)
					require.ErrorIs(t, err, ErrNoRecord, "LSN %d", lsn)
				}
			}
		}
	})
}

func TestReadAppendsAndReadsNothingBehindItsLimit(t *testing.T) {
	s := long(t, 8, 3, 30, 250)
	b := s.bytes()
	var d Reader
	for _, f := range s.records() {
		r := &watched{Reader: bytes.NewReader(b)}
		got, err := d.Read(r, "x", s.w.Header(), s.w.Index(), 10, f.LSN, f.End(), []byte("before"))
		require.NoError(t, err)
		require.Equal(t, "before"+string(f.Data), string(got))
		require.LessOrEqual(t, r.end, f.End())

		_, err = d.Read(bytes.NewReader(b), "x", s.w.Header(), s.w.Index(), 10, f.LSN, f.End()-8, nil)
		require.Error(t, err)
	}
}

// TestReadOfASmallRecordReadsLittle has small records before and behind a large
// one, with which they share an entry of the index.
func TestReadOfASmallRecordReadsLittle(t *testing.T) {
	s := create(t, vfs.NewMem(), header(8)).open(Pin{}, 10, "", rec(10), rec(8<<20), rec(20)).sync()
	b := s.bytes()
	one := new(Index)
	one.Add(0, s.records()[0].Off)
	for _, f := range []Frame{s.records()[0], s.records()[2]} {
		var d Reader
		r := &watched{Reader: bytes.NewReader(b)}
		got, err := d.Read(r, "x", s.w.Header(), one, 10, f.LSN, s.w.Off(), nil)
		require.NoError(t, err)
		require.Equal(t, f.Data, got)
		require.LessOrEqual(t, r.total, int64(2*readMax))
	}
}

// TestReadOfRecordsOfOneSizeReadsOneAlone has records of one size in one group, and in a
// group each, where an index leads to the record itself.
func TestReadOfRecordsOfOneSizeReadsOneAlone(t *testing.T) {
	one := create(t, vfs.NewMem(), header(8)).open(Pin{}, 10, "", rec(250))
	for range 200 {
		one.group(rec(250))
	}
	for stride, s := range map[int64]*seg{
		int64(FrameSize(250)):                   create(t, vfs.NewMem(), header(8)).open(Pin{}, 10, "", slices.Repeat([]item{rec(250)}, 200)...).sync(),
		int64(FrameSize(250) + GroupHeaderSize): one.sync(),
	} {
		b, x := s.bytes(), s.w.Index()
		for _, f := range s.records() {
			_, next, ok := x.Find(uint32(f.LSN - 10))
			require.True(t, ok)
			var d Reader
			r := &watched{Reader: bytes.NewReader(b)}
			got, err := d.Read(r, "x", s.w.Header(), x, 10, f.LSN, s.w.Off(), nil)
			require.NoError(t, err)
			require.Equal(t, f.Data, got)
			if next.Off != math.MaxInt64 {
				require.Equal(t, stride, r.total)
			}
		}
	}
}

// watched notes how far it was read, and how much.
type watched struct {
	*bytes.Reader
	end   int64
	total int64
}

func (w *watched) ReadAt(p []byte, off int64) (int, error) {
	w.end = max(w.end, off+int64(len(p)))
	w.total += int64(len(p))
	return w.Reader.ReadAt(p, off)
}

// TestWrongIndexEntryCannotReturnAnotherRecord lets an index of one entry name
// each frame, and each other place, for each record, and reads all behind it; and one
// of two entries, the second of which is wrong too.
func TestWrongIndexEntryCannotReturnAnotherRecord(t *testing.T) {
	s := create(t, vfs.NewMem(), header(512)).open(Pin{}, 10, "m", rec(16), rec(16))
	s.group(rec(16), rec(16).and(), meta("m"), rec(16)).mark().group(rec(16), rec(0), rec(0)).sync()
	b, last := s.bytes(), s.w.Next()
	var d Reader
	right := 0
	for off := int64(0); off < int64(len(b)); off += 8 {
		for ordinal := range uint32(last - 10) {
			x, two := new(Index), new(Index)
			x.Add(ordinal, off)
			two.Add(ordinal, off)
			two.Add(ordinal+16, off+index.Step) // records of 256 bytes, it says
			for _, f := range s.records() {
				for _, x := range []*Index{x, two} {
					got, err := s.read(&d, b, x, f.LSN)
					if err == nil {
						require.True(t, bytes.Equal(f.Data, got), "LSN %d by way of ordinal %d at %d: %x", f.LSN, ordinal, off, got)
						right++
					} else {
						require.Empty(t, got)
					}
				}
			}
		}
	}
	require.Greater(t, right, 8*9/2-1, "a right entry leads to all behind it")
}

// TestReadBelievesNoDamage damages what lies on the way from an index's entry to
// the record, and the record: a bit, a header of zeros, a sector of zeros, and
// the end of the file. Whatever Read returns without an error is the record.
func TestReadBelievesNoDamage(t *testing.T) {
	t.Parallel()
	eachUnit(t, func(t *testing.T, unit int64) {
		s := create(t, vfs.NewMem(), header(unit)).open(Pin{}, 10, "m", rec(16), rec(16))
		s.group(rec(16), rec(16).and(), meta("m"), rec(600)).mark().group(rec(16), rec(0), rec(40), rec(5)).sync()
		x := new(Index)
		x.Add(0, s.records()[0].Off)
		var d Reader
		check := func(name string, b []byte, off int64) {
			for _, f := range s.records() {
				got, err := s.read(&d, b, x, f.LSN)
				if err == nil && !bytes.Equal(f.Data, got) || err != nil && f.End() <= off {
					t.Fatalf("%s at %d: LSN %d: %x, %v", name, off, f.LSN, got, err)
				}
			}
		}
		for off := int64(HeaderSize); off < s.w.Off(); off += 4 {
			b := s.bytes()
			b[off] ^= 4
			check("bit", b, off)
		}
		for _, p := range s.pieces {
			b := s.bytes()
			clear(b[p.off:p.end])
			check("zeros", b, p.off)
			clear(b[p.off:min((p.off+sector)/sector*sector, int64(len(b)))])
			check("zeros", b, p.off)
			check("end", b[:p.off], p.off)
		}
	})
}

// TestReadThatIsLedToZerosIsCorrupt loses a frame on the way to the record.
func TestReadThatIsLedToZerosIsCorrupt(t *testing.T) {
	s := create(t, vfs.NewMem(), header(8)).open(Pin{}, 10, "", rec(16), rec(16), rec(16)).sync()
	b, f := s.bytes(), s.records()
	clear(b[f[1].Off:f[1].End()])
	var d Reader
	for _, lsn := range []LSN{11, 12} {
		_, err := s.read(&d, b, s.w.Index(), lsn)
		var at *CorruptError
		require.ErrorAs(t, err, &at, "LSN %d", lsn)
		require.Equal(t, f[1].Off, at.Offset)
	}
}

func TestReadAllocatesNothing(t *testing.T) {
	s := long(t, 8, 4, 40, 250)
	b := bytes.NewReader(s.bytes())
	var d Reader
	dst := make([]byte, 0, 300)
	lsn := LSN(10)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		_, err := d.Read(b, "x", s.w.Header(), s.w.Index(), 10, lsn, b.Size(), dst)
		require.NoError(t, err)
		lsn++
	}))
}

func TestIndexOfTheWriterIsTheOneAScanBuilds(t *testing.T) {
	for _, size := range []int{0, 1, 300, 5000} {
		s := long(t, 8, 40, 1, size)
		x, err := BuildIndex(s.w.File(), "x", s.w.Header(), First{Base: 10}, s.w.Off())
		require.NoError(t, err)
		require.Equal(t, x.AppendTo(nil), s.w.Index().AppendTo(nil))
	}
}

func TestBuildIndexEndsWhereItIsTold(t *testing.T) {
	s := long(t, 8, 4, 40, 250)
	f := s.records()[80]
	x, err := BuildIndex(s.w.File(), "x", s.w.Header(), First{Base: 10}, f.End()) // in a group
	require.NoError(t, err)
	last, _, _ := x.Find(1 << 30)
	require.LessOrEqual(t, last.Off, f.Off)
	require.Greater(t, last.Off, f.Off-2*index.Step)

	b := s.bytes()
	b[f.Off] ^= 1
	_, err = BuildIndex(bytes.NewReader(b), "x", s.w.Header(), First{Base: 10}, s.w.Off())
	var damage *CorruptError
	require.ErrorAs(t, err, &damage)
	require.Equal(t, f.Off, damage.Offset)
	require.Equal(t, f.LSN, damage.LSN)
}

// TestLocateFindsWhereAPinMayEnd asks for each record, and for none: a scan that
// ends there ends with that record and that chain.
func TestLocateFindsWhereAPinMayEnd(t *testing.T) {
	eachUnit(t, func(t *testing.T, unit int64) {
		s := every(t, unit)
		first, err := ReadFirst(s.w.File(), "x", s.w.Header(), s.w.Off())
		require.NoError(t, err)
		s.locates(t, first)
		_, _, err = Locate(s.w.File(), "x", s.w.Header(), first, s.w.Off(), s.w.Next())
		require.ErrorIs(t, err, ErrCorrupt)
	})
}

// TestLocateBeforeTheFirstRecordOfAnOpeningStep is for a batch that begins a
// segment: its records are part of the step and yet must not be kept.
func TestLocateBeforeTheFirstRecordOfAnOpeningStep(t *testing.T) {
	for _, m := range []string{"", "in force"} {
		s := create(t, vfs.NewMem(), header(8))
		items := []item{rec(3).and(), meta("of the batch").and(), rec(4), rec(5)}
		o := Opening{Prev: Pin{ID: 1, Length: 5000, Durable: 5000, Last: 9}, Irregular: 1}
		var force []byte
		if m != "" {
			force = []byte(m)
		}
		require.NoError(t, s.w.Open(o, force, 10, s.drafts(10, items), true))
		first, err := ReadFirst(s.w.File(), "x", s.w.Header(), s.w.Off())
		require.NoError(t, err)
		require.Equal(t, m != "", first.HasMeta)
		require.Equal(t, m, string(first.Meta))
		s.frames, _ = scanned(s.bytes(), s.w.Header())
		require.Equal(t, LSN(11), s.records()[1].LSN)
		require.Equal(t, s.records()[0].Off, first.End)
		end, chain := s.w.OpeningEnd()
		require.Equal(t, first.End, end)
		require.Equal(t, first.Chain, chain)
		_, err = ReadFirst(s.w.File(), "x", s.w.Header(), s.records()[1].End()-8)
		require.ErrorIs(t, err, ErrCorrupt, "the batch is part of the step")
		s.locates(t, first)
	}
}

func (s *seg) locates(t *testing.T, first First) {
	for lsn := first.Base - 1; lsn < s.w.Next(); lsn++ {
		end, chain, err := Locate(s.w.File(), "x", s.w.Header(), first, s.w.Off(), lsn)
		require.NoError(t, err)
		var sc Scanner
		sc.Start(s.w.File(), "x", s.w.Header(), end)
		for sc.Next() != StepEnd {
		}
		require.Equal(t, end, sc.Stop().Off, "LSN %d", lsn)
		require.Equal(t, lsn+1, sc.NextLSN())
		require.Equal(t, chain, sc.Chain())
	}
}

func TestLocateReportsWhatItMeets(t *testing.T) {
	s := every(t, 8)
	first, err := ReadFirst(s.w.File(), "x", s.w.Header(), s.w.Off())
	require.NoError(t, err)
	f := s.records()[4]
	b := s.bytes()
	b[f.End()-8] ^= 1
	_, _, err = Locate(bytes.NewReader(b), "x", s.w.Header(), first, s.w.Off(), f.LSN)
	var damage *CorruptError
	require.ErrorAs(t, err, &damage)
	require.Equal(t, f.Off, damage.Offset)
	require.Equal(t, f.LSN, damage.LSN)
	_, _, err = Locate(failing{}, "x", s.w.Header(), first, s.w.Off(), f.LSN)
	require.Equal(t, errRead, err)
}

func TestSealSaysWhatTheSegmentHolds(t *testing.T) {
	eachUnit(t, func(t *testing.T, unit int64) {
		s := every(t, unit)
		end := s.sealed()
		seal, x, ok, err := ReadSeal(s.w.File(), "x", s.w.Header(), First{Base: 10}, end, s.w.Off())
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, s.w.Index().AppendTo(nil), x.AppendTo(nil))
		require.NotZero(t, seal.Chain)
		require.Equal(t, Seal{Length: end, Chain: seal.Chain, Last: s.w.Next() - 1, Records: uint64(s.w.Next() - 10),
			Next: 3, NextSalt: 78, Time: 10, index: indexSparse}, seal)
		for _, other := range []int64{HeaderSize, end - unit, end + unit, s.w.Off()} {
			_, _, ok, err = ReadSeal(s.w.File(), "x", s.w.Header(), First{Base: 10}, other, s.w.Off())
			require.NoError(t, err)
			require.False(t, ok, "%d", other)
		}
	})
}

// TestSealWithoutAnIndexCounts damages the index, by a bit and by what it says.
func TestSealWithoutAnIndexCounts(t *testing.T) {
	s := every(t, 8)
	frame := s.pieces[len(s.pieces)-1]
	end := s.sealed()
	b := s.bytes()
	b[frame.end-1] ^= 1
	_, x, ok, err := ReadSeal(bytes.NewReader(b), "x", s.w.Header(), First{Base: 10}, end, s.w.Off())
	require.NoError(t, err)
	require.True(t, ok)
	require.Nil(t, x)

	_, x, ok, err = ReadSeal(s.w.File(), "x", s.w.Header(), First{Base: 11}, end, s.w.Off()) // of other records
	require.NoError(t, err)
	require.True(t, ok)
	require.Nil(t, x)

	b = s.bytes()
	b[frame.off-1] ^= 1 // the seal itself
	_, _, ok, err = ReadSeal(bytes.NewReader(b), "x", s.w.Header(), First{Base: 10}, end, s.w.Off())
	require.NoError(t, err)
	require.False(t, ok)

	_, _, _, err = ReadSeal(failing{}, "x", s.w.Header(), First{Base: 10}, end, s.w.Off())
	require.Equal(t, errRead, err)
}

// TestSealBehindACutInAGroup reads the seal of a segment that ends within a
// group: it stands at the next multiple of the unit behind that end.
func TestSealBehindACutInAGroup(t *testing.T) {
	eachUnit(t, func(t *testing.T, unit int64) {
		s := create(t, vfs.NewMem(), header(unit)).open(Pin{}, 10, "").group(rec(30), rec(500)).sync()
		end, chain := s.records()[0].End(), s.w.chain
		b := s.bytes()[:end]
		at := (end + unit - 1) / unit * unit
		w := &Writer{file: create(t, vfs.NewMem(), header(unit)).w.File(), head: s.w.Header(), index: new(Index),
			off: at, synced: at, chain: chain, base: 10, next: 11}
		require.NoError(t, w.write(Group{Kind: KindSeal}, AppendDraft(drafts(), typeSeal, false,
			Seal{Length: end, Last: 10, Records: 1}.encode(), Hash(Seal{Length: end, Last: 10, Records: 1}.encode())), nil, 0))
		b = append(b, (&seg{TB: t, w: w}).bytes()[end:]...)
		seal, x, ok, err := ReadSeal(bytes.NewReader(b), "x", s.w.Header(), First{Base: 10}, end, int64(len(b)))
		require.NoError(t, err)
		require.True(t, ok)
		require.Nil(t, x, "it has none")
		require.Equal(t, end, seal.Length)
		_, _, ok, err = ReadSeal(bytes.NewReader(b), "x", s.w.Header(), First{Base: 10}, end-8, int64(len(b)))
		require.NoError(t, err)
		require.False(t, ok, "it is of another end")
	})
}

func TestFirstIsTheOpeningStep(t *testing.T) {
	s := every(t, 8)
	first, err := ReadFirst(s.w.File(), "x", s.w.Header(), s.w.Off())
	require.NoError(t, err)
	require.Equal(t, First{Base: 10, End: s.frames[1].End(), Chain: decodeGroup(s.bytes()[HeaderSize:]).Sum, Meta: []byte("in force"), HasMeta: true,
		Opening: Opening{Prev: Pin{ID: 1, Salt: 4, Length: 5000, Durable: 4200, Chain: 3, Last: 9}, Irregular: 1, Time: 9, Compat: 6}}, first)
	for size := int64(0); size < first.End; size += 8 {
		_, err := ReadFirst(s.w.File(), "x", s.w.Header(), size)
		require.ErrorIs(t, err, ErrCorrupt, "%d", size)
	}
	again, err := ReadFirst(s.w.File(), "x", s.w.Header(), first.End) // the rest of the group is not part of it
	require.NoError(t, err)
	require.Equal(t, first, again)
	_, err = ReadFirst(failing{}, "x", s.w.Header(), s.w.Off())
	require.Equal(t, errRead, err)
}

func TestMetaThatIsEmptyIsNotAbsent(t *testing.T) {
	for _, m := range [][]byte{nil, {}, []byte("m")} {
		s := create(t, vfs.NewMem(), header(8))
		require.NoError(t, s.w.Open(Opening{Irregular: 2}, m, 1, s.drafts(1, []item{rec(1)}), false))
		first, err := ReadFirst(s.w.File(), "x", s.w.Header(), s.w.Off())
		require.NoError(t, err)
		require.Equal(t, m != nil, first.HasMeta)
		require.Equal(t, m, first.Meta)
	}
}

// TestOpeningObeysItsRules breaks each rule of what an opening says.
func TestOpeningObeysItsRules(t *testing.T) {
	good := Opening{Prev: Pin{ID: 1, Salt: 4, Length: 5000, Durable: 4200, Chain: 3, Last: 9}, Irregular: 1}
	for name, change := range map[string]func(o *Opening, data []byte){
		"it follows itself":        func(o *Opening, _ []byte) { o.Prev.ID = 2 },
		"it follows a later one":   func(o *Opening, _ []byte) { o.Prev.ID = 3 },
		"its base is another":      func(o *Opening, _ []byte) { o.Prev.Last = 8 },
		"more durable than long":   func(o *Opening, _ []byte) { o.Prev.Durable = 5008 },
		"durable within a header":  func(o *Opening, _ []byte) { o.Prev.Durable = 4095 },
		"longer than a segment":    func(o *Opening, _ []byte) { o.Prev.Length = maxSegmentBytes + 8 },
		"negative":                 func(o *Opening, _ []byte) { o.Prev.Length, o.Prev.Durable = -8, -8 },
		"a regular one irregular":  func(o *Opening, _ []byte) { o.Irregular = 2 },
		"irregular in the future":  func(o *Opening, _ []byte) { o.Irregular = 3 },
		"nothing, with a length":   func(o *Opening, _ []byte) { o.Prev.ID, o.Irregular = 0, 2 },
		"nothing, and regular":     func(o *Opening, _ []byte) { o.Prev, o.Irregular = Pin{}, 1 },
		"another chain":            func(*Opening, []byte) {},
		"reserved bytes":           func(_ *Opening, b []byte) { b[openingSize-1] = 1 },
		"fewer bytes":              nil,
		"":                         func(*Opening, []byte) {},
		"nothing before, and good": func(o *Opening, _ []byte) { o.Prev, o.Irregular = Pin{}, 2 },
	} {
		o := good
		data := o.encode()
		if change == nil {
			data = data[:openingSize-8]
		} else {
			change(&o, data)
			data = append(o.encode()[:openingSize-8], data[openingSize-8:]...)
		}
		s := create(t, vfs.NewMem(), header(8))
		s.w.base, s.w.next, s.w.chain = 10, 10, o.Prev.Chain
		if name == "another chain" {
			s.w.chain--
		}
		s.kind(Group{Kind: KindOpening}, item{typ: typeOpening, size: len(data), meta: string(data)})
		_, err := ReadFirst(s.w.File(), "x", s.w.Header(), s.w.Off())
		if name == "" || name == "nothing before, and good" {
			require.NoError(t, err, name)
		} else {
			require.ErrorIs(t, err, ErrCorrupt, name)
		}
	}
}

var errRead = errors.New("the disk is broken")

// failing is a file that cannot be read.
type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, errRead }

var _ io.ReaderAt = failing{}
