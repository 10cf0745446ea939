package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// TestWriterCalls fixes which calls are made, and in which order: a sync that is
// missing shows here.
func TestWriterCalls(t *testing.T) {
	trace := vfs.NewTrace(vfs.NewMem())
	require.NoError(t, trace.Mkdir("log"))
	calls := func(want string) {
		t.Helper()
		require.Equal(t, want, trace.Take())
	}
	calls("mkdir log\n")
	w, err := Create(trace, "log", header(512), 1<<20, nil)
	require.NoError(t, err)
	calls(`create 0000000000000002.tmp
allocate 0000000000000002.tmp 1048576
write 0000000000000002.tmp 0+4096
sync 0000000000000002.tmp
rename 0000000000000002.tmp 0000000000000002.seg
syncdir log
`)
	s := &seg{TB: t, w: w}
	s.open(Pin{}, 1, "m", rec(100), rec(0))
	calls(`write 0000000000000002.seg 4096+232
write 0000000000000002.seg 4328+136
write 0000000000000002.seg 4464+144
`)
	s.sync()
	calls("sync 0000000000000002.seg\n")
	s.group(rec(512-64-16), rec(512-16))
	calls("write 0000000000000002.seg 4608+1024\n")
	s.group(rec(10)).mark()
	calls(`write 0000000000000002.seg 5632+96
write 0000000000000002.seg 5728+416
write 0000000000000002.seg 6144+64
write 0000000000000002.seg 6208+448
`)
	s.sync().seal()
	calls(`sync 0000000000000002.seg
write 0000000000000002.seg 6656+168
write 0000000000000002.seg 6824+344
sync 0000000000000002.seg
truncate 0000000000000002.seg 7168
`)
	require.NoError(t, s.w.Trim())
	require.NoError(t, s.w.Close())
	calls("truncate 0000000000000002.seg 7168\nclose 0000000000000002.seg\n")
}

func TestCreateReservesRoomForTheHeaderAtLeast(t *testing.T) {
	s := create(t, vfs.NewMem(), header(8))
	want := header(8)
	want.Size = HeaderSize
	require.Equal(t, want.Encode(), s.bytes())
	require.Equal(t, LSN(0), s.w.Base())
	require.Equal(t, int64(HeaderSize), s.w.Off())
	require.Equal(t, int64(HeaderSize), s.w.Synced())
}

// TestFailedCreateLeavesNoTemporaryFile fails each call of Create.
func TestFailedCreateLeavesNoTemporaryFile(t *testing.T) {
	for at := range 6 {
		faulty := vfs.NewFaulty(vfs.NewMem())
		require.NoError(t, faulty.Mkdir("log"))
		faulty.Set(vfs.Fault{Match: isChange, At: at, Short: 100})
		_, err := Create(faulty, "log", header(8), 1<<16, nil)
		require.ErrorIs(t, err, syscall.EIO)
		var sync *SyncError
		require.Equal(t, at == 3 || at == 5, errors.As(err, &sync), "call %d", at)
		names, err := faulty.List("log")
		require.NoError(t, err)
		if at == 5 { // it has its name, durably or not
			require.Equal(t, []string{Name(2)}, names)
		} else {
			require.Empty(t, names, "call %d", at)
		}
	}
	_, err := Create(vfs.NewMem(), "log", header(8), 0, nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// TestNamedSegmentHasItsHeader looks at each state that a crash at any call of
// Create can leave.
func TestNamedSegmentHasItsHeader(t *testing.T) {
	named := 0
	onCrash(t, func(fsys vfs.FS) {
		_, err := Create(fsys, "log", header(8), 1<<13, nil)
		require.NoError(t, err)
	}, func(image *vfs.Mem, done bool) {
		file, err := image.Open(Path("log", 2), vfs.ReadOnly)
		if err != nil {
			require.False(t, done)
			return
		}
		h, err := ReadHeader(file, "x", 2)
		require.NoError(t, err)
		want := header(8)
		want.Size = 1 << 13
		require.Equal(t, want, h)
		info, err := file.Stat()
		require.NoError(t, err)
		require.Equal(t, h.Size, info.Size, "its size is durable as well")
		_, err = ReadFirst(file, "x", h, 1<<13)
		require.ErrorIs(t, err, ErrCorrupt, "it is ready, and says nothing")
		named++
	})
	require.Positive(t, named)
}

// testPiece is a size of pieces.
const testPiece = 20_000

// state is all that a Writer knows of its file.
func (w *Writer) state() string {
	return fmt.Sprint(w.off, w.chain, w.base, w.next, w.synced, w.indexed, w.index.AppendTo(nil), w.first, w.End())
}

// TestFailedWriteChangesNothing fails each call of an opening group, a group, a large
// record, a mark, a sync and a seal, having written nothing, a part, or all, and then does
// the same again.
func TestFailedWriteChangesNothing(t *testing.T) {
	steps := []struct {
		name  string
		calls int
		do    func(s *seg) error
	}{
		{"open", 3, func(s *seg) error {
			return s.w.Open(Opening{Prev: Pin{ID: 1, Length: 5000, Durable: 5000, Chain: 4, Last: 9}, Irregular: 1}, []byte("m"), 10,
				s.drafts(10, []item{rec(5000), rec(6)}), false)
		}},
		{"group", 2, func(s *seg) error { return s.w.Write(s.drafts(12, []item{rec(7), rec(5000)})) }},
		{"record", 4, func(s *seg) error { return s.w.WriteRecord(recordData(14, 3*testPiece), testPiece) }},
		{"mark", 2, func(s *seg) error { return s.w.Mark(true) }},
		{"sync", 1, func(s *seg) error { return s.w.Sync() }},
		{"seal", 2, func(s *seg) error { return s.w.Seal(Pin{ID: 3}, 1) }},
	}
	for i, step := range steps {
		for at := range step.calls {
			for _, fault := range []vfs.Fault{{}, {Short: 100}, {Short: 1 << 20}, {After: true}} {
				faulty := vfs.NewFaulty(vfs.NewMem())
				s := create(t, faulty, header(512))
				for _, before := range steps[:i] {
					require.NoError(t, before.do(s))
				}
				before := s.w.state()
				fault.Match, fault.At = isChange, at
				faulty.Set(fault)
				require.ErrorIs(t, step.do(s), syscall.EIO, step.name)
				require.Equal(t, 1, faulty.Hits())
				require.Equal(t, before, s.w.state(), "%s, call %d, %+v", step.name, at, fault)
				if step.name == "sync" {
					continue // must not be called again
				}
				for _, again := range steps[i:] {
					require.NoError(t, again.do(s), again.name)
				}
				_, stop := scanned(s.bytes(), s.w.Header())
				require.Equal(t, Stop{Kind: StopLimit, Off: s.w.Off()}, stop)
			}
		}
	}
}

// TestWriteSyncIsWriteAndSync in one call, of what groups have written and of nothing else.
func TestWriteSyncIsWriteAndSync(t *testing.T) {
	for _, unit := range []int64{8, 4096} {
		for _, block := range []int{512, 4096} {
			mem := vfs.NewMem()
			mem.UseDirect(block)
			trace := vfs.NewTrace(mem)
			require.NoError(t, trace.Mkdir("log"))
			w, err := Create(trace, "log", header(unit), 128<<10, nil)
			require.NoError(t, err)
			require.Zero(t, w.Block())
			w.UseDirect()
			require.Equal(t, block, w.Block())
			a, b := &seg{TB: t, w: w}, create(t, vfs.NewMem(), header(unit))
			for _, s := range []*seg{a, b} {
				s.open(Pin{}, 1, "m", rec(100))
			}
			_, _, ok := b.sync().w.SyncSpan(100)
			require.False(t, ok, "it was not asked for")
			_, _, ok = w.SyncSpan(100)
			require.False(t, ok, "the opening is not durable")
			a.sync()
			for i, size := range []int{0, 1, 300, 4096 - 80, 4096, 10_000, 512 - 80, 7, 8 << 10} {
				if i%3 == 2 {
					a.mark().sync()
					b.mark().sync()
				}
				trace.Take()
				off := w.Off()
				a.writeSync(rec(size), rec(3))
				b.group(rec(size), rec(3)).sync()
				require.Regexp(t, fmt.Sprintf(`^writesync 0000000000000002.seg %d\+\d+\n$`, off/int64(block)*int64(block)), trace.Take())
				require.Equal(t, b.w.state(), w.state())
				require.Equal(t, w.Off(), w.Synced())
				require.False(t, w.Empty())
				whole := a.bytes()
				require.True(t, bytes.Equal(b.bytes()[HeaderSize:w.Off()], whole[HeaderSize:w.Off()]), "%d bytes at %d", size, off)
				require.Zero(t, bytes.Trim(whole[w.Off():], "\x00"))
			}
			free := int(128<<10-w.Off())/block*block - GroupHeaderSize
			_, to, ok := w.SyncSpan(free)
			require.True(t, ok)
			require.LessOrEqual(t, to, int64(128<<10))
			_, _, ok = w.SyncSpan(free + 2*block)
			require.False(t, ok, "it ends behind the file")
		}
	}
}

// TestFailedWriteSyncChangesNothing, and says that it was a sync.
func TestFailedWriteSyncChangesNothing(t *testing.T) {
	for _, fault := range []vfs.Fault{{}, {Short: 100}, {Short: 1 << 20}, {After: true}} {
		mem := vfs.NewMem()
		mem.UseDirect(512)
		faulty := vfs.NewFaulty(mem)
		require.NoError(t, faulty.Mkdir("log"))
		w, err := Create(faulty, "log", header(512), 64<<10, nil)
		require.NoError(t, err)
		w.UseDirect()
		s := &seg{TB: t, w: w}
		s.open(Pin{}, 1, "m").sync()
		before := w.state()
		fault.Match = isChange
		faulty.Set(fault)
		err = s.tryWriteSync(rec(800))
		require.ErrorIs(t, err, syscall.EIO)
		require.ErrorAs(t, err, new(*SyncError))
		require.Equal(t, before, w.state(), "%+v", fault)
		require.True(t, w.Empty())
	}
}

// TestCutTakesBackAFailedGroup writes a part of a group, cuts, and looks at each
// state that a crash then can leave: the groups before are whole, and nothing of
// the failed one is there.
func TestCutTakesBackAFailedGroup(t *testing.T) {
	for _, short := range []int{1, 63, 600, 2999} {
		crash := vfs.NewCrash(512)
		faulty := vfs.NewFaulty(crash)
		s := create(t, faulty, header(8)).open(Pin{}, 1, "", rec(9)).sync().group(rec(700))
		require.NoError(t, crash.SyncDir("."))
		faulty.Set(vfs.Fault{Match: isWrite, Short: short, Err: syscall.ENOSPC})
		err := s.w.Write(s.drafts(3, []item{rec(3000)}))
		require.True(t, vfs.IsNoSpace(err))
		require.NoError(t, s.w.Cut())
		require.Equal(t, s.w.Off(), s.w.Synced(), "what was not durable is")
		images := 0
		state := crash.State()
		state.Each(100, 1, func(picks []int) bool {
			file, err := state.Image(picks).Open(s.w.Path(), vfs.ReadOnly)
			require.NoError(t, err)
			frames, stop := scanned(contents(t, file), s.w.Header())
			require.Equal(t, Stop{Kind: StopLimit, Off: s.w.Off()}, stop)
			require.Len(t, frames, len(s.frames))
			images++
			return true
		})
		require.Positive(t, images)
	}
}

func TestFailedCutIsNotDurable(t *testing.T) {
	for at := range 2 {
		faulty := vfs.NewFaulty(vfs.NewMem())
		s := create(t, faulty, header(8)).open(Pin{}, 1, "", rec(9))
		faulty.Set(vfs.Fault{At: at})
		require.ErrorIs(t, s.w.Cut(), syscall.EIO)
		require.Equal(t, int64(HeaderSize), s.w.Synced())
	}
}

// TestWatermarkIsWhatSyncsCovered checks the exact claim of every group, with a
// sync behind each, behind every second, and behind none.
func TestWatermarkIsWhatSyncsCovered(t *testing.T) {
	eachUnit(t, func(t *testing.T, unit int64) {
		for every, want := range map[int]func(offs []int64, i int) int64{
			1: func(offs []int64, i int) int64 { return offs[i] },
			2: func(offs []int64, i int) int64 { return offs[i-i%2] },
			0: func([]int64, int) int64 { return HeaderSize },
		} {
			s := create(t, vfs.NewMem(), header(unit))
			var offs []int64 // of groups
			for i := range 10 {
				offs = append(offs, s.w.Off())
				switch {
				case i == 0:
					s.open(Pin{}, 1, "", rec(3))
				case i%4 == 3:
					s.mark()
				default:
					s.group(rec(i), rec(100*i))
				}
				if every > 0 && i%every == every-1 {
					s.sync()
				}
			}
			var sc Scanner
			sc.Start(bytes.NewReader(s.bytes()), "x", s.w.Header(), s.w.Off())
			n := 0
			for step := sc.Next(); step != StepEnd; step = sc.Next() {
				if step == StepGroup {
					require.Equal(t, offs[n], sc.GroupOff())
					require.Equal(t, want(offs, n), sc.Group().Durable, "group %d, a sync every %d", n, every)
					n++
				}
			}
			require.Equal(t, 10, n)
		}
	})
}

func TestSealClaimsAllBefore(t *testing.T) {
	s := begun(t, 512).group(rec(700)).sync()
	end := s.w.Off()
	s.seal()
	claims, err := new(Scanner).Claims(s.w.File(), s.w.Header(), end, s.w.Off())
	require.NoError(t, err)
	require.Equal(t, Claims{Durable: end, At: end, Headers: 1, Sealed: true, Last: 11, First: end, Used: claims.Used}, claims)
}

func TestSealBeforeSyncPanics(t *testing.T) {
	s := begun(t, 8).group(rec(1))
	require.Panics(t, func() { _ = s.w.Seal(Pin{ID: 3}, 1) })
}

func TestMarkOfCloseSaysSo(t *testing.T) {
	for _, clean := range []bool{false, true} {
		s := begun(t, 8)
		off := s.w.Off()
		require.NoError(t, s.w.Mark(clean))
		g := decodeGroup(s.bytes()[off:])
		require.Equal(t, KindMark, g.Kind)
		require.Equal(t, clean, g.Flags == FlagClean)
		require.Equal(t, off, g.Durable)
		require.Zero(t, g.Frames)
	}
}

// TestEndIsAPin compares the pin that a Writer gives with what a scan finds.
func TestEndIsAPin(t *testing.T) {
	s := begun(t, 512)
	synced := s.w.Off()
	s.group(rec(700), meta("m"))
	require.Equal(t, Pin{ID: 2, Salt: 77, Length: s.w.Off(), Durable: synced, Chain: s.w.chain, Last: 11}, s.w.End())
	var sc Scanner
	_, wrong := scanWith(&sc, s.bytes(), s.w.Header(), s.w.Off(), s.frames)
	require.Empty(t, wrong)
	require.Equal(t, sc.Chain(), s.w.End().Chain)
	require.Equal(t, sc.NextLSN(), s.w.End().Last+1)
}

func TestSegmentBeyondItsLimitIsRefused(t *testing.T) {
	s := begun(t, 8)
	s.w.off = maxSegmentBytes - 100
	before := s.w.state()
	require.ErrorContains(t, s.w.Write(s.drafts(11, []item{rec(200)})), "at most 34359738368")
	require.Equal(t, before, s.w.state())
}

// TestBytesPerRecord is what the README promises: at most 16 bytes a record and
// 64 a group beside the data, and 1.07 bytes a byte with all there is.
func TestBytesPerRecord(t *testing.T) {
	s := create(t, vfs.NewMem(), header(8)).open(Pin{}, 1, "")
	for _, n := range []int{1, 2, 64, 1000} {
		before := s.w.Off()
		items := make([]item, n)
		for i := range items {
			items[i] = rec(256)
		}
		require.NoError(t, s.w.Write(s.drafts(s.w.Next(), items)))
		require.Equal(t, int64(n*(256+16)+64), s.w.Off()-before)
	}

	s = create(t, vfs.NewMem(), header(8))
	require.NoError(t, s.w.Open(Opening{Irregular: 2}, nil, 1, drafts(), false))
	const groups, records, size = 200, 64, 256
	items := make([]item, records)
	for i := range items {
		items[i] = rec(size)
	}
	for range groups {
		require.NoError(t, s.w.Write(s.drafts(s.w.Next(), items)))
	}
	require.NoError(t, s.w.Sync())
	require.NoError(t, s.w.Mark(false))
	require.NoError(t, s.w.Sync())
	require.NoError(t, s.w.Seal(Pin{ID: 3}, 1))
	const entries = groups * records / 16 // one each 16 records, which is the first at or behind 4096 bytes
	require.Equal(t, entries, s.w.Index().Len())
	const fixed = HeaderSize + 64 + 144 + 64 + 64 + 80 + 16 // header, opening group, mark, seal, the index's frame
	require.Equal(t, int64(fixed+groups*(64+records*(16+size))+8*entries), s.w.Off())
	require.LessOrEqual(t, float64(s.w.Off()-fixed)/(groups*records*size), 1.07)
	require.LessOrEqual(t, float64(s.w.Off())/(groups*records*size), 1.07)
}

// TestRoomIsADraft fills a draft in place.
func TestRoomIsADraft(t *testing.T) {
	for n := range 20 {
		data := recordData(3, n)
		want := AppendDraft([]byte("before"), TypeRecord, false, data, Hash(data))
		for _, dst := range [][]byte{[]byte("before"), append(bytes.Repeat([]byte{9}, 99), "before"...)[99:]} {
			dst = append(make([]byte, 0, 6+99*(n%2)), dst...)
			for i := range dst[:cap(dst)][6:] {
				dst[:cap(dst)][6+i] = 9 // what was there before
			}
			b := AppendRoom(dst, TypeRecord, true, n)
			copy(DraftData(b[6:]), data)
			HashDraft(b[6:])
			EndBatch(b[6:])
			require.Equal(t, want, b)
			require.Len(t, DraftData(b[6:]), n)
		}
	}
}

func TestOnlyMarksLeaveASegmentEmpty(t *testing.T) {
	s := create(t, vfs.NewMem(), header(8))
	require.True(t, s.w.Empty())
	s.open(Pin{ID: 1, Length: 5000, Durable: 5000, Last: 9}, 10, "in force").mark()
	require.True(t, s.w.Empty())
	s.group(meta("its own"))
	require.False(t, s.w.Empty())
	require.False(t, begun(t, 8).w.Empty())
}

// TestRecordWrittenFromWhereItIs has the bytes that a draft of it has, and its headers are
// written last.
func TestRecordWrittenFromWhereItIs(t *testing.T) {
	for _, unit := range []int64{8, 4096} {
		for _, before := range []int{0, 3000, 3800, 3808, 3816} { // where it begins in a page
			for _, size := range []int{0, 1, 4000, 4016, recordPage, recordPage + 4, 9000, testPiece - 1, testPiece + 1, 2*testPiece + 5000, 5 * testPiece} {
				trace := vfs.NewTrace(vfs.NewMem())
				a, b := create(t, trace, header(unit)), create(t, vfs.NewMem(), header(unit))
				for _, s := range []*seg{a, b} {
					s.open(Pin{}, 1, "", rec(before)).sync()
				}
				trace.Take()
				off := a.w.Off()
				data := recordData(2, size)
				require.NoError(t, a.w.WriteRecord(data, testPiece))
				calls := strings.Split(strings.TrimSpace(trace.Take()), "\n")
				b.group(rec(size))
				require.True(t, bytes.Equal(a.bytes(), b.bytes()), "unit %d, %d bytes behind %d", unit, size, before)
				require.Equal(t, b.w.End(), a.w.End())
				require.Equal(t, recordData(2, size), data)
				if size >= recordPage {
					require.Contains(t, calls[len(calls)-1], fmt.Sprintf(" %d+", off), "the headers are not what is written last")
				}
			}
		}
	}
}
