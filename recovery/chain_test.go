package recovery

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

func TestNoLogIsNoDamage(t *testing.T) {
	d := newDir(t)
	d.remove("FRONT").add("0000000000000001.tmp").add("FRONT.tmp")
	p := d.plan(Strict)
	require.False(t, p.Exists)
	require.Nil(t, p.Refusal())
	require.NoError(t, p.Apply())
	require.Empty(t, d.names())

	_, err := Examine(Config{FS: vfs.NewMem(), Dir: "log"})
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestALogWithoutSegmentsIsEmptyAtItsFront(t *testing.T) {
	for _, mode := range []Mode{Strict, Paranoid, PointInTime} {
		d := newDir(t).setFront(500, 1, 0)
		p := d.plan(mode)
		require.Nil(t, p.Refusal())
		require.Equal(t, []LSN{500, 499, 500, 499}, []LSN{p.Report.First, p.Report.Last, p.Next, p.Report.Durable})
		require.Equal(t, uint64(1), p.NextID)
		require.Zero(t, p.Pin)
		require.Empty(t, p.Steps())
	}
}

// TestACutInAGroupKeepsTheRecordsBefore has records that no batch binds: each
// survives on its own.
func TestACutInAGroupKeepsTheRecordsBefore(t *testing.T) {
	for n := range LSN(4) {
		d := newDir(t)
		a := d.root(1, 1, 1).sync().mark().group(4)
		frame := a.start(2) + segment.GroupHeaderSize + int64(n)*int64(segment.FrameSize(600))
		a.rot(frame + 20).rot(frame + 30)
		p := d.plan(Strict)
		require.Equal(t, LSN(1+n), p.Report.Last)
		require.Equal(t, []LSN{2 + n, 5}, []LSN{p.Report.LostFrom, p.Report.LostTo})
		if n > 0 {
			require.Equal(t, frame, p.Report.CutAt)
		} else {
			require.Equal(t, a.start(2), p.Report.CutAt, "nothing is left of the group")
		}
		require.Empty(t, d.applies(p).Report.Corruptions)
	}
}

// TestABatchIsKeptWholeOrNotAtAll tears one of its records.
func TestABatchIsKeptWholeOrNotAtAll(t *testing.T) {
	for n := range int64(4) {
		d := newDir(t)
		a := d.root(1, 1, 1).sync().batch("old", 1).sync().mark().batch("new", 3)
		p := d.plan(Strict)
		require.Equal(t, "new", string(p.Meta))
		frame := a.start(3) + segment.GroupHeaderSize + int64(segment.FrameSize(3)) + n*int64(segment.FrameSize(600))
		if n == 3 {
			frame = a.start(3) + segment.GroupHeaderSize // the meta
		}
		a.rot(frame + 17).rot(frame + 18)
		p = d.plan(Strict)
		require.Equal(t, LSN(2), p.Report.Last)
		require.Equal(t, "old", string(p.Meta))
		require.Equal(t, LSN(5), p.Report.LostTo)
		d.applies(p)
	}
}

func TestAWatermarkCountsWhateverBecameOfItsGroup(t *testing.T) {
	d := newDir(t)
	a := d.root(1, 1, 1).sync().group(1).sync().group(1) // whose header claims the two before
	a.rot(a.start(2) + 100).rot(a.start(2) + 200)
	d.recovers("[@H]", 2, ends(a, a.start(2)))
	a = newDir(t).root(1, 1, 1).sync().group(1).sync().group(1)
	a.rot(a.start(2) + 100).rot(a.start(1) + 100)
	a.d.refuses("[@E]", segment.Name(1), a.start(1)+segment.GroupHeaderSize, 2)
}

// TestAFileShorterThanItsWatermarkIsCorrupt cuts it at each group, and keeps the
// rest of the claim in the segment that follows.
func TestAFileShorterThanItsWatermarkIsCorrupt(t *testing.T) {
	for n := range 2 {
		d := newDir(t)
		a := d.root(1, 1, 1).sync().group(1).sync()
		a.next(2, 1).sync()
		a.cut(a.start(n))
		if n == 0 {
			d.refuses("[@G @J]", segment.Name(1), segment.HeaderSize, 0)
		} else {
			d.refuses("[@G @J]", segment.Name(1), a.start(n), 2)
		}
	}
}

func TestTheEndIsWhatThePinSays(t *testing.T) {
	d := newDir(t)
	a := d.root(1, 1, 4).sync()
	b := a.next(2, 2).sync().mark()
	a.seal(b) // a pin outranks a seal
	c := a.pinned(a.at(2), 3, 1).sync().mark()
	d.recovers("[@F @K]", 3, removes(b))
	e := a.pinned(a.at(3), 4, 1).sync().mark() // of two pins the one in the higher id wins
	d.recovers("[@F @K]", 4, removes(c))
	e.pinned(e.at(3), 5, 0).sync().mark() // before the first record of a segment
	d.recovers("[@F @K @K]", 3)
}

// TestAPinBeyondASealIsCorrupt: the seal was written when what it ends was durable, and
// nothing of the segment follows it.
func TestAPinBeyondASealIsCorrupt(t *testing.T) {
	d := newDir(t)
	a := d.root(1, 1, 2).sync()
	b := a.next(2, 1).sync().mark()
	end := a.w.Off()
	a.seal(b)
	pin := a.w.End()
	pin.Durable = segment.HeaderSize
	a.pinned(pin, 3, 1)
	d.refuses("[@G @J]", segment.Name(1), end, 3)
}

// TestAPinEndsABatchInItsMiddle is for a truncation behind one record of it.
func TestAPinEndsABatchInItsMiddle(t *testing.T) {
	d := newDir(t)
	a := d.root(1, 1, 1).sync().batch("m", 3).sync()
	a.pinned(a.at(3), 2, 1).sync().mark()
	p := d.plan(Strict)
	d.recovers("[@F @K]", 4)
	require.Equal(t, []uint64{1, 2}, p.Chain)
}

func TestATornOpeningIsACrashOnlyBeforeTheSeal(t *testing.T) {
	for _, test := range []struct {
		whole, sealed bool
		rows          string
		last          LSN
	}{
		{false, false, "[@P @G]", 2},
		{true, false, "[@G @K]", 4},
		{true, true, "[@G @K]", 4},
		{false, true, "[@P @D]", 0},
	} {
		d := newDir(t)
		a := d.root(1, 1, 2).sync()
		b := a.next(2, 2).sync()
		if test.sealed {
			a.seal(b)
		}
		if !test.whole {
			b.tear(0, 0)
		}
		switch {
		case test.last == 0:
			d.refuses(test.rows, segment.Name(1), a.ends[0], 3)
		case !test.whole:
			r := d.recovers(test.rows, test.last, rewrites(a, segment.HeaderSize, a.ends[0]), removes(b), syncsDir)
			require.Equal(t, TailTorn, r.Tail)
		default:
			d.recovers(test.rows, test.last, rewrites(b, segment.HeaderSize, b.ends[0]))
		}
	}
}

// TestASealProvesItsSegment has one that was written and never synced: what it
// says was true when it was built.
func TestASealProvesItsSegment(t *testing.T) {
	d := newDir(t)
	a := d.root(1, 1, 2).sync().group(1)
	pin := a.w.End()
	a.sync()
	b := a.pinned(pin, 2, 1)
	b.sync()
	a.seal(b)
	d.recovers("[@G @K]", 4, rewrites(b, segment.HeaderSize, b.ends[0])) // and not a
	a.rot(a.start(1) + 100)
	d.refuses("[@G @J]", segment.Name(1), a.start(1)+segment.GroupHeaderSize, 3)
}

// TestSegmentsThatRanAhead has two unsynced groups in one segment and the next;
// the first is lost and the second is not.
func TestSegmentsThatRanAhead(t *testing.T) {
	build := func() (d *dir, a, b, c *part) {
		d = newDir(t)
		a = d.root(1, 1, 2).sync().group(2)
		b = a.next(2, 1)
		return d, a, b, b.next(3, 1)
	}
	d, a, b, c := build()
	require.Less(t, a.w.End().Durable, a.w.End().Length)
	a.lose(1)
	r := d.recovers("[@G @L @M]", 2, removes(c), syncsDir, removes(b), syncsDir)
	require.Equal(t, TailTorn, r.Tail, "records that verify are given up")
	require.Equal(t, []LSN{3, 6}, []LSN{r.LostFrom, r.LostTo})

	d, a, _, c = build()
	c.mark()
	c.sync().mark() // a claim behind the opening: all before was durable
	a.lose(1)
	d.refuses("[@F @K @J]", segment.Name(1), a.start(1), 3)

	d, a, b, c = build()
	b.tear(0, 0) // the one in the middle says nothing any more
	d.recovers("[@G @P @G]", 4, rewrites(a, a.start(1), a.ends[1]), removes(c), syncsDir, removes(b), syncsDir)
	d, a, b, c = build()
	b.lose(0)
	r = d.recovers("[@G @O @G]", 4, rewrites(a, a.start(1), a.ends[1]), removes(c), syncsDir, removes(b), syncsDir)
	require.Equal(t, TailTorn, r.Tail, "a record that verifies is given up")
	require.Equal(t, []LSN{5, 6}, []LSN{r.LostFrom, r.LostTo})
}

// TestASyncProvesAllBefore has segments that ran ahead and were synced later: the
// claim stands two segments on.
func TestASyncProvesAllBefore(t *testing.T) {
	for _, mode := range []Mode{Strict, PointInTime} {
		d := newDir(t)
		a := d.root(1, 1, 2).sync().group(1)
		b := a.next(2, 1)
		a.sync()
		b.sync().group(1)
		b.next(3, 1)
		a.rot(a.start(1) + 100)
		if mode == Strict {
			d.refuses("[@G @L @J]", segment.Name(1), a.start(1)+segment.GroupHeaderSize, 3)
			continue
		}
		r := d.pointInTime(2, 1)
		require.Len(t, r.Corruptions, 1)
		require.Equal(t, a.w.Path(), r.Corruptions[0].Path)
	}
}

// TestFramesOfAnotherAttemptDoNotCount has a header of one and the frames of the
// other, each valid in itself.
func TestFramesOfAnotherAttemptDoNotCount(t *testing.T) {
	attempt := func(meta string) *part { return newDir(t).root(1, 1, 2).sync().mark().batch(meta, 2) }
	a, b := attempt("this"), attempt("that")
	header := make([]byte, segment.GroupHeaderSize)
	_, err := b.w.File().ReadAt(header, b.start(2))
	require.NoError(t, err)
	a.d.change(segment.Name(1), a.start(2), a.start(2)+segment.GroupHeaderSize, func(b []byte) { copy(b, header) })
	p := a.d.plan(Strict)
	require.Equal(t, []LSN{2, 4}, []LSN{p.Report.Last, p.Report.LostTo})
	require.Equal(t, a.start(2), p.Report.CutAt)
	require.Nil(t, p.Meta)
	a.d.applies(p)
}

func TestATornOpeningInTheMiddleIsCorruptIfItWasDurable(t *testing.T) {
	build := func() (d *dir, b, c *part) {
		d = newDir(t)
		b = d.root(1, 1, 2).sync().next(2, 1).sync()
		return d, b, b.next(3, 1)
	}
	d, b, _ := build() // the pin says so
	b.tear(0, 0)
	d.refuses("[@G @J]", segment.Name(2), segment.HeaderSize, 0)

	d = newDir(t)
	b = d.root(1, 1, 2).sync().next(2, 1).sync().group(1)
	b.next(3, 1) // the pin says so, and that not all of it was
	b.tear(0, 0)
	d.refuses("[@G @J]", segment.Name(2), segment.HeaderSize, 0)

	d = newDir(t)
	a := d.root(1, 1, 2).sync()
	b = a.next(2, 1)
	b.next(3, 1)
	b.sync().mark() // the segment itself says so
	b.rot(segment.HeaderSize + 70)
	d.refuses("[@G @N]", segment.Name(2), segment.HeaderSize+segment.GroupHeaderSize, 3)

	d = newDir(t)
	a = d.root(1, 1, 2).sync()
	b = a.next(2, 1)
	b.next(3, 1)
	b.sync()
	a.seal(b) // the seal before says so
	b.tear(0, 0)
	d.refuses("[@G @P @D]", segment.Name(1), a.ends[0], 3)
}

func TestAFirstSegmentThatWasNeverDurableLeavesAnEmptyLog(t *testing.T) {
	d := newDir(t)
	a := d.root(1, 1, 2)
	a.tear(0, 0)
	r := d.recovers("[@P]", 0, removes(a), syncsDir)
	require.Equal(t, TailTorn, r.Tail)
	require.Equal(t, []LSN{1, 0}, []LSN{r.LostFrom, r.LostTo}, "no header speaks of any")
}

func TestAnotherFileInASegmentsPlaceIsCorrupt(t *testing.T) {
	for name, salt := range map[string]uint64{"of another salt": 5, "of another log": 101, "of another id": 101} {
		d := newDir(t)
		a := d.root(1, 1, 2).sync()
		a.next(2, 1).sync().mark()
		h := segment.Header{Log: d.front.Log, ID: 1, Salt: salt, Unit: 8}
		if name == "of another log" {
			h.Log[0]++
		}
		if name == "of another id" {
			h.ID = 7
		}
		d.change(segment.Name(1), 0, segment.HeaderSize, func(b []byte) { copy(b, h.Encode()) })
		p := d.plan(Strict)
		require.ErrorIs(t, p.Refusal(), segment.ErrCorrupt)
		require.ErrorContains(t, p.Refusal(), segment.Name(1))
		require.Equal(t, "[@F @C]", fmt.Sprint(p.Report.Rows), name)
	}
	d := newDir(t) // the whole file of another attempt, valid in itself
	a := d.root(1, 1, 2).sync()
	pin := a.w.End()
	pin.Salt++
	a.pinned(pin, 2, 1).sync().mark()
	d.refuses("[@F @C]", segment.Name(1), 0, 0)
	require.Equal(t, []string{segment.Name(2)}, d.pointInTime(2, 1).Quarantined)
	d = newDir(t)
	a = d.root(1, 1, 2).sync()
	pin = a.w.End()
	pin.Chain++
	a.pinned(pin, 2, 1).sync().mark()
	d.refuses("[@F @J]", segment.Name(1), 0, 3)
}

func TestFilesThatAreNotTheLogsAreLeftAlone(t *testing.T) {
	d := newDir(t)
	d.root(1, 1, 2).sync().mark()
	for _, name := range []string{"notes.txt", "0000000000000009.seg.quarantined", "x.tmp", "LOCK", "backup.tmp", "0000000000000001.seg~"} {
		d.add(name)
	}
	before := d.image()
	r := d.recovers("[@F]", 2)
	require.Equal(t, []string{"0000000000000001.seg~", "backup.tmp", "notes.txt", "x.tmp"}, r.Strays)
	require.Equal(t, before, d.image())
}

func TestTemporaryFilesOfTheLogAreRemoved(t *testing.T) {
	d := newDir(t)
	d.root(1, 1, 2).sync().mark()
	d.add("0000000000000002.tmp").add("FRONT.tmp")
	d.recovers("[@F]", 2, "remove 0000000000000002.tmp", "remove FRONT.tmp")
	require.Equal(t, []string{"0000000000000001.seg", "FRONT"}, d.names())
}

func TestANameThatIsNearlyASegmentsIsAnError(t *testing.T) {
	for _, name := range []string{"1.seg", "0000000000000000.seg", "000000000000000A.seg", "old.seg"} {
		d := newDir(t)
		d.root(1, 1, 2).sync().mark()
		d.add(name).fails(fs.ErrInvalid, name)
	}
}

func TestANewerVersionAnywhereIsNotDamage(t *testing.T) {
	both := func(off int64) func(b []byte) {
		return func(b []byte) { b[off], b[off+int64(len(b)/2)] = 9, 9 }
	}
	build := func() (*dir, *part) {
		d := newDir(t)
		a := d.root(1, 1, 2).sync().group(1)
		a.next(2, 1).sync().mark()
		return d, a
	}
	d, _ := build()
	d.change("FRONT", 0, segment.FrontSize, both(8)).fails(segment.ErrVersion, "FRONT: at 4096: version 9")
	for _, id := range []uint64{1, 2} {
		d, _ = build()
		d.change(segment.Name(id), 0, segment.HeaderSize, both(8)).fails(segment.ErrVersion, segment.Name(id))
	}
	d, _ = build()
	d.ready(3)
	d.change(segment.Name(3), 0, segment.HeaderSize, both(8)).fails(segment.ErrVersion, segment.Name(3))

	d = newDir(t) // in a frame
	w := d.root(1, 1, 2).sync().group(1)
	off := w.w.Off() + segment.GroupHeaderSize
	buf := drafts(w.w.Next(), 1, "", false)
	buf[segment.GroupHeaderSize+5] = 0x20 // a codec
	require.NoError(t, w.w.Write(buf))
	d.fails(segment.ErrVersion, fmt.Sprintf("at %d: frame flags 0x20", off))
}

func TestFrontIsMissing(t *testing.T) {
	d := newDir(t)
	d.root(1, 1, 2).sync().mark()
	d.remove("FRONT")
	p := d.plan(Strict)
	d.refused(p, "FRONT", 0, 0)
	require.False(t, p.Exists)
	require.Equal(t, "[]", fmt.Sprint(p.Report.Rows))
}

func TestFrontWithBothSlotsDamagedIsCorrupt(t *testing.T) {
	for _, segments := range []bool{false, true} {
		d := newDir(t)
		if segments {
			d.root(1, 1, 2).sync().mark()
		}
		d.change("FRONT", 0, segment.FrontSize, func(b []byte) { b[50] ^= 1; b[4096+50] ^= 1 })
		d.refuses("[]", "FRONT", 0, 0)
	}
}

func TestFrontWithOneSlotDamagedIsMadeGood(t *testing.T) {
	for _, off := range []int64{50, 4096 + 50} {
		d := newDir(t)
		d.root(1, 1, 2).sync().mark()
		d.change("FRONT", off, off+1, func(b []byte) { b[0] ^= 1 })
		p := d.plan(Strict)
		require.Nil(t, p.Refusal())
		require.True(t, p.Report.FrontDamaged)
		require.Equal(t, LSN(2), p.Report.Last)
		require.NotNil(t, d.plan(Paranoid).Refusal())
		d.applies(p)
	}
}

func TestSegmentsBelowTheFrontAreRemoved(t *testing.T) {
	d := newDir(t)
	a := d.root(1, 1, 2).sync()
	b := a.next(2, 2).sync()
	b.next(3, 2).sync().mark()
	d.setFront(4, 2, 3)
	a.rot(100).rot(2148) // whatever became of them
	r := d.recovers("[@F @K]", 6, removes(a))
	require.Equal(t, []LSN{4, 6}, []LSN{r.First, r.Last})
	require.Equal(t, 2, r.Segments)
}

func TestANewestSegmentThatFrontNamesMustBeThere(t *testing.T) {
	d := newDir(t)
	a := d.root(1, 1, 2).sync()
	b := a.next(2, 2).sync().mark()
	d.setFront(1, 1, 2)
	d.recovers("[@F @K]", 4)
	b.remove()
	d.refuses("[@B @G]", segment.Name(2), 0, 0)
	a.remove()
	d.refuses("[@B]", segment.Name(2), 0, 0)
}

// TestAResetOverridesAnOlderFront begins again below what FRONT says, and above.
func TestAResetOverridesAnOlderFront(t *testing.T) {
	for _, base := range []LSN{1, 7, 900} {
		d := newDir(t).setFront(500, 1, 1)
		a := d.root(1, 500, 3).sync()
		b := d.root(2, base, 2).sync()
		c := b.next(3, 1).sync().mark()
		r := d.recovers("[@F @K]", base+2, removes(a))
		require.Equal(t, base, r.First)

		d.setFront(base+1, 2, 3) // a later FRONT counts again
		r = d.recovers("[@F @K]", base+2)
		require.Equal(t, base+1, r.First)
		c.next(4, 0).sync().mark()
		require.Equal(t, base+1, d.recovers("[@F @K @K]", base+2).First)
	}
}

// TestFrontBeyondALostTail has records below a durable FRONT that never were:
// they were given up before they were lost.
func TestFrontBeyondALostTail(t *testing.T) {
	d := newDir(t)
	a := d.root(1, 1, 2).sync().group(8)
	d.setFront(8, 1, 1)
	r := d.plan(Strict).Report
	require.Equal(t, []LSN{8, 10, 0}, []LSN{r.First, r.Last, r.EmptyAt})
	a.lose(1)
	for _, mode := range []Mode{Strict, PointInTime} {
		p := d.plan(mode)
		require.Nil(t, p.Refusal())
		require.Equal(t, []LSN{8, 7, 8, 8}, []LSN{p.Report.First, p.Report.Last, p.Report.EmptyAt, p.Next})
		require.Zero(t, p.Pin)
		require.Empty(t, p.Chain)
		require.Contains(t, p.Report.String(), "8")
		d.applies(p)
	}
	d.root(2, 8, 1).sync().mark() // what is appended then
	require.Equal(t, []LSN{8, 8}, []LSN{d.plan(Strict).Report.First, d.plan(Strict).Report.Last})
	require.Equal(t, LSN(0), d.plan(Strict).Report.EmptyAt)
}

func TestCloseIsSeen(t *testing.T) {
	d := newDir(t)
	a := d.root(1, 1, 2).sync().clean()
	require.True(t, d.recovers("[@F]", 2).Closed)
	require.Nil(t, d.plan(Paranoid).Refusal())
	a.sync().group(1)
	require.False(t, d.plan(Strict).Report.Closed)
	a.lose(2)
	require.True(t, d.plan(Strict).Report.Closed)
	a.rot(a.start(2) + 5).rot(a.start(2) + 600)
	require.False(t, d.plan(Strict).Report.Closed, "something was written behind")
}

func TestExpectLSN(t *testing.T) {
	for _, mode := range []Mode{Strict, Paranoid, PointInTime} {
		d := newDir(t)
		d.root(1, 1, 2).sync().clean()
		for expect, refused := range map[LSN]bool{1: false, 2: false, 3: true, 1 << 40: true} {
			p, err := Examine(Config{FS: d.fs, Dir: "log", Mode: mode, ExpectLSN: expect})
			require.NoError(t, err)
			require.Equal(t, refused, len(p.Report.Corruptions) == 1)
			if refused && mode != PointInTime {
				at := d.refused(p, segment.Name(1), p.Last.End, 3)
				require.Contains(t, at.Reason, fmt.Sprint("LSN ", uint64(expect), " was durable"))
			} else {
				require.Nil(t, p.Refusal())
			}
		}
	}
	d := newDir(t) // a log that never had a record
	p, err := Examine(Config{FS: d.fs, Dir: "log", ExpectLSN: 1})
	require.NoError(t, err)
	d.refused(p, "FRONT", 0, 1)
	d.remove("FRONT") // and no log
	p, err = Examine(Config{FS: d.fs, Dir: "log", ExpectLSN: 1})
	require.NoError(t, err)
	require.ErrorIs(t, p.Refusal(), segment.ErrCorrupt)
}

func TestTheReportNamesWhatWasDone(t *testing.T) {
	d := newDir(t)
	a := d.root(1, 1, 2).sync().mark().group(3)
	a.tear(2, 0).tear(2, 1)
	d.ready(2)
	d.add("note").add("FRONT.tmp")
	text := d.plan(Strict).Report.String()
	for _, want := range []string{"records 1 to 2", "torn", "0000000000000001.seg", fmt.Sprint(a.start(2)), "0000000000000002.seg", "FRONT.tmp", "note", "LSN 3"} {
		require.True(t, strings.Contains(text, want), "%q in\n%s", want, text)
	}
}
