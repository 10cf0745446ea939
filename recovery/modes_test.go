package recovery

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// chainOf adds n sealed segments of two records each, and one that is open and
// proved.
func (d *dir) chainOf(n int) []*part {
	d.Helper()
	parts := []*part{d.root(1, 1, 2).sync()}
	for id := range uint64(n) {
		last := parts[id]
		next := last.next(id+2, 2).sync()
		parts = append(parts, next)
		last.seal(next)
	}
	parts[n].mark()
	return parts
}

// TestParanoidRefusesWhateverIsOutOfOrder has states that a crash may leave, and
// that Strict accepts.
func TestParanoidRefusesWhateverIsOutOfOrder(t *testing.T) {
	for name, test := range map[string]struct {
		build func(d *dir)
		file  string // that the error names
		lsn   LSN
	}{
		"a torn tail":       {func(d *dir) { a := d.root(1, 1, 2).sync().mark().group(1); a.tear(2, 0) }, segment.Name(1), 3},
		"a torn opening":    {func(d *dir) { d.root(1, 1, 2).sync().mark().next(2, 1).tear(0, 0) }, segment.Name(2), 3},
		"an unproved tail":  {func(d *dir) { d.root(1, 1, 2).sync() }, "", 0},
		"an unproved pin":   {func(d *dir) { d.root(1, 1, 2).next(2, 1).mark() }, "", 0},
		"a slot of FRONT":   {func(d *dir) { d.root(1, 1, 2).sync().mark(); d.change("FRONT", 60, 61, func(b []byte) { b[0]++ }) }, "", 0},
		"a flipped bit":     {func(d *dir) { a := d.root(1, 1, 2).sync().mark().group(1); a.flip(a.start(2) + 100) }, "", 0},
		"ahead of its sync": {func(d *dir) { a := d.root(1, 1, 2).sync().group(1); a.next(2, 1); a.lose(1) }, "", 0},
	} {
		d := newDir(t)
		test.build(d)
		require.Nil(t, d.plan(Strict).Refusal(), name)
		p := d.plan(Paranoid)
		require.ErrorIs(t, p.Refusal(), segment.ErrCorrupt, name)
		before := d.image()
		require.Error(t, p.Apply())
		require.Equal(t, before, d.image(), name)
		if test.file != "" {
			var at *segment.CorruptError
			require.ErrorAs(t, p.Refusal(), &at)
			require.Equal(t, "log/"+test.file, at.Path)
			require.Equal(t, test.lsn, at.LSN)
			require.NotZero(t, at.Offset)
		}
	}
}

func TestParanoidAcceptsWhatWasClosed(t *testing.T) {
	d := newDir(t)
	parts := d.chainOf(3)
	parts[3].sync().clean()
	p := d.plan(Paranoid)
	require.Nil(t, p.Refusal())
	require.True(t, p.Report.Verified)
	d.applies(p)
}

// TestOnlyWhatACrashCanTouchIsRead counts what an examination reads of sealed
// segments: nothing, but for the one where ids do not follow each other.
func TestOnlyWhatACrashCanTouchIsRead(t *testing.T) {
	disk := vfs.NewMem()
	d := newDirOn(t, disk)
	parts := d.chainOf(4)
	parts[4].pinned(parts[4].at(9), 9, 1).sync().mark()
	d.setFront(1, 1, 9)
	read := map[string]int64{}
	fsys := vfs.Wrap(disk, func(c vfs.Call, do func(int) (int, error)) (int, error) {
		require.False(t, c.Op.Mutates(), "%v %s", c.Op, c.Name)
		if c.Op == vfs.ReadAt {
			read[c.Name] += c.Size
		}
		return do(int(c.Size))
	})
	names := func() (list []string) {
		for name := range read {
			list = append(list, strings.TrimPrefix(name, "log/"))
		}
		slices.Sort(list)
		clear(read)
		return list
	}
	p, err := Examine(Config{FS: fsys, Dir: "log"})
	require.NoError(t, err)
	require.Equal(t, []uint64{1, 2, 3, 4, 5, 9}, p.Chain)
	require.Equal(t, []LSN{1, 10}, []LSN{p.Report.First, p.Report.Last})
	require.False(t, p.Report.Verified)
	require.Equal(t, []string{segment.Name(5), segment.Name(9), "FRONT"}, names())

	p, err = Examine(Config{FS: fsys, Dir: "log", Full: true})
	require.NoError(t, err)
	require.True(t, p.Report.Verified)
	require.Len(t, names(), 7)
	_, err = Examine(Config{FS: fsys, Dir: "log", Mode: Paranoid})
	require.NoError(t, err)
	require.Len(t, names(), 7)

	parts[2].rot(segment.HeaderSize + 100) // nobody looks there, until it is read
	p, err = Examine(Config{FS: fsys, Dir: "log"})
	require.NoError(t, err)
	require.Nil(t, p.Refusal())
	p, err = Examine(Config{FS: fsys, Dir: "log", Full: true})
	require.NoError(t, err)
	require.ErrorIs(t, p.Refusal(), segment.ErrCorrupt)
	parts[2].remove() // that it is gone is seen
	p, err = Examine(Config{FS: fsys, Dir: "log"})
	require.NoError(t, err)
	var at *segment.CorruptError
	require.ErrorAs(t, p.Refusal(), &at)
	require.Equal(t, parts[2].w.Path(), at.Path)
}

// TestEveryMissingSegmentIsSeen removes each of a chain, in full and not, with a
// FRONT that names the oldest, or one in the middle.
func TestEveryMissingSegmentIsSeen(t *testing.T) {
	for _, full := range []bool{false, true} {
		for oldest := range uint64(3) {
			for lost := range 5 {
				d := newDir(t)
				parts := d.chainOf(4)
				d.setFront(LSN(2*oldest+1), oldest+1, 3)
				parts[lost].remove()
				p, err := Examine(Config{FS: d.fs, Dir: "log", Full: full})
				require.NoError(t, err)
				require.Equal(t, uint64(lost) < oldest, p.Refusal() == nil, "full %t, oldest %d, lost %d", full, oldest+1, lost+1)
				if lost < 4 && p.Refusal() != nil {
					require.ErrorContains(t, p.Refusal(), parts[lost].w.Path())
				}
			}
		}
	}
}

// pointInTime recovers with PointInTime: it expects the chain and the last LSN,
// that nothing is deleted, and that the log is in order when it is done.
func (d *dir) pointInTime(last LSN, chain ...uint64) Report {
	d.Helper()
	names := d.names()
	p := d.plan(PointInTime)
	require.Nil(d, p.Refusal())
	require.Equal(d, fmt.Sprint(chain), fmt.Sprint(p.Chain))
	require.Equal(d, last, p.Report.Last)
	d.holds(p)
	for _, s := range p.Steps() {
		require.False(d, strings.HasPrefix(s, "remove") || strings.HasPrefix(s, "cut"), s)
	}
	require.NoError(d, p.Apply())
	require.Equal(d, names, d.names(), "nothing is gone before the log is open")
	d.renew(p)
	require.NoError(d, p.Finish())
	for _, name := range names {
		if slices.Contains(p.Report.Quarantined, name) {
			name += segment.QuarantinedExt
		}
		require.Contains(d, d.names(), name)
	}
	after := d.plan(Strict)
	require.Nil(d, after.Refusal(), "%v", after.Report)
	require.Equal(d, last, after.Report.Last)
	require.Equal(d, p.Report.First, after.Report.First)
	d.holds(after)
	return p.Report
}

// renew opens the segment that p asks for, and writes FRONT if it is lost.
func (d *dir) renew(p *Plan) {
	d.Helper()
	if !p.Exists {
		if slices.Contains(d.names(), "FRONT") {
			d.remove("FRONT")
		}
		require.NoError(d, segment.CreateFront(d.fs, "log", "log/FRONT", p.Front))
	}
	next, irregular := d.ready(p.NextID), p.NextID
	if p.Pin.ID+1 == p.NextID && p.Pin.ID > 0 {
		irregular = p.Last.First.Irregular
	}
	o := segment.Opening{Prev: p.Pin, Irregular: irregular}
	if p.GivenUp {
		o.Compat = segment.CompatGivenUp
	}
	require.NoError(d, next.w.Open(o, p.Meta, p.Next, drafts(p.Next, 0, "", false), false))
	next.sync().mark()
}

func TestPointInTimeEndsTheLogAtDamage(t *testing.T) {
	d := newDir(t)
	parts := d.chainOf(4)
	frame := segment.HeaderSize + segment.GroupHeaderSize + int64(segment.FrameSize(128)+segment.FrameSize(600))
	parts[2].rot(frame + 20)
	r := d.pointInTime(5, 1, 2, 3)
	require.Equal(t, []string{segment.Name(4), segment.Name(5)}, r.Quarantined)
	require.Len(t, r.Corruptions, 1)
	require.Equal(t, parts[2].w.Path(), r.Corruptions[0].Path)
	require.Equal(t, frame, r.Corruptions[0].Offset)
	require.Equal(t, LSN(6), r.Corruptions[0].LSN)
	require.Empty(t, r.Removed)
}

func TestPointInTimeOfAHealthyLogGivesUpNothing(t *testing.T) {
	d := newDir(t)
	d.chainOf(3)
	p := d.plan(PointInTime)
	require.Empty(t, p.Steps())
	require.Empty(t, p.Report.Corruptions)
	d.pointInTime(8, 1, 2, 3, 4)
}

func TestPointInTimeWithoutASegmentInTheMiddle(t *testing.T) {
	d := newDir(t)
	parts := d.chainOf(4)
	parts[2].remove()
	r := d.pointInTime(4, 1, 2)
	require.Equal(t, []string{segment.Name(4), segment.Name(5)}, r.Quarantined)
	require.NotEmpty(t, r.Corruptions)
}

func TestPointInTimeWithoutTheFirstSegment(t *testing.T) {
	d := newDir(t)
	d.chainOf(2)
	d.remove(segment.Name(1))
	r := d.pointInTime(0)
	require.Equal(t, []string{segment.Name(2), segment.Name(3)}, r.Quarantined)
	require.NotEmpty(t, r.Corruptions)
}

func TestPointInTimeWithoutTheLastSegment(t *testing.T) {
	d := newDir(t)
	parts := d.chainOf(2)
	d.setFront(1, 1, 3)
	parts[2].remove()
	r := d.pointInTime(4, 1, 2)
	require.Empty(t, r.Quarantined)
	require.NotEmpty(t, r.Corruptions)
}

func TestPointInTimeWithoutAHeader(t *testing.T) {
	d := newDir(t)
	parts := d.chainOf(3)
	parts[1].rot(50).rot(2048 + 50)
	r := d.pointInTime(2, 1)
	require.Equal(t, []string{segment.Name(2), segment.Name(3), segment.Name(4)}, r.Quarantined)
}

func TestPointInTimeWithoutFront(t *testing.T) {
	for _, lost := range []bool{false, true} {
		d := newDir(t)
		parts := d.chainOf(3)
		if lost {
			d.remove("FRONT")
		} else {
			d.change("FRONT", 0, segment.FrontSize, func(b []byte) { b[90]++; b[4096+90]++ })
		}
		parts[0].remove() // as TruncateFront does, and as nothing else can tell
		p := d.plan(PointInTime)
		require.False(t, p.Exists)
		require.Equal(t, segment.Front{Log: d.front.Log, First: 3, Oldest: 2, Newest: 2}, p.Front)
		r := d.pointInTime(8, 2, 3, 4)
		require.Equal(t, LSN(3), r.First)
		require.NotEmpty(t, r.Corruptions)
	}
}

// TestPointInTimeKeepsTheMetaOfThePrefix and tells of the newest one.
func TestPointInTimeKeepsTheMetaOfThePrefix(t *testing.T) {
	d := newDir(t)
	a := d.root(1, 1, 1).sync().batch("old", 1).sync().batch("vote", 1).mark().sync()
	b := a.next(2, 1).sync()
	a.seal(b)
	b.batch("newest", 1).sync().mark()
	a.rot(a.start(2) + 100)
	p := d.plan(PointInTime)
	require.Equal(t, "old", string(p.Meta))
	require.Equal(t, "newest", string(p.Report.NewestMeta))
	d.pointInTime(2, 1)
}

func TestPointInTimeFailsOnAnErrorOfTheDisk(t *testing.T) {
	d, faulty := newFaultyDir(t)
	d.chainOf(2)
	faulty.Set(vfs.Fault{Sticky: true, Match: func(c vfs.Call) bool { return c.Op == vfs.ReadAt && c.Name == segment.Path("log", 2) }})
	_, err := Examine(Config{FS: d.fs, Dir: "log", Mode: PointInTime})
	require.Error(t, err)
	require.NotErrorIs(t, err, segment.ErrCorrupt)
}

// TestAnInterruptedPointInTimeIsFinishedByAnyMode fails a rename: what was given up
// is kept aside and not deleted, and nobody takes it for a part of the log.
func TestAnInterruptedPointInTimeIsFinishedByAnyMode(t *testing.T) {
	for at := range 4 {
		d, faulty := newFaultyDir(t)
		parts := d.chainOf(3)
		parts[1].rot(segment.HeaderSize + 70)
		p := d.plan(PointInTime)
		require.NoError(t, p.Apply())
		d.renew(p)
		faulty.Set(vfs.Fault{Match: func(c vfs.Call) bool { return c.Op == vfs.Rename || c.Op == vfs.SyncDir }, At: at})
		require.Error(t, p.Finish())
		faulty.Clear()
		again := d.plan(Strict)
		require.Nil(t, again.Refusal(), "%v", again.Report)
		require.Equal(t, LSN(2), again.Report.Last)
		require.NoError(t, again.Apply())
		q := segment.QuarantinedExt
		require.Equal(t, []string{segment.Name(1), segment.Name(2) + q, segment.Name(3) + q, segment.Name(4) + q, segment.Name(5), "FRONT"}, d.names())
	}
}

// flip flips one bit.
func (p *part) flip(off int64) *part {
	p.d.Helper()
	p.d.change(segment.Name(p.id), off, off+1, func(b []byte) { b[0] ^= 1 << (off % 8) })
	return p
}

// TestASingleFlippedBitAtTheTailIsFlippedBack flips one of each byte of the last
// group, of which nothing says that it was durable.
func TestASingleFlippedBitAtTheTailIsFlippedBack(t *testing.T) {
	for _, opening := range []bool{false, true} {
		d := newDir(t)
		a := d.root(1, 1, 2).sync().mark()
		var last *part
		if opening {
			last = a.next(2, 1)
		} else {
			last = a.batch("meta", 1)
		}
		begin, end := last.start(len(last.ends)-1), last.ends[len(last.ends)-1]
		want := d.image()
		for off := begin; off < end; off += 11 {
			last.flip(off)
			p := d.plan(Strict)
			require.Nil(t, p.Refusal(), "%d", off)
			require.Equal(t, LSN(3), p.Report.Last, "%d: %v", off, p.Report)
			require.Equal(t, TailClean, p.Report.Tail)
			require.Equal(t, []Place{{last.w.Path(), off}}, p.Report.Flipped)
			require.NoError(t, p.Apply())
			require.Equal(t, want, d.image(), "%d", off)
		}
	}
}

// TestAFlippedBitInAnOpeningIsFlippedBackUnlessItWasDurable asks the segments on
// both sides of it.
func TestAFlippedBitInAnOpeningIsFlippedBackUnlessItWasDurable(t *testing.T) {
	d := newDir(t)
	a := d.root(1, 1, 2).sync()
	b := a.next(2, 1)
	b.next(3, 1)
	b.flip(segment.HeaderSize + 80) // in the middle, and nothing was synced
	p := d.plan(Strict)
	require.Nil(t, p.Refusal())
	require.Equal(t, []LSN{4, 2}, []LSN{p.Report.Last, p.Report.Durable})
	require.Equal(t, []Place{{b.w.Path(), segment.HeaderSize + 80}}, p.Report.Flipped)
	d.applies(p)

	d = newDir(t)
	a = d.root(1, 1, 2).sync()
	b = a.next(2, 1).sync()
	a.seal(b) // it was durable
	b.flip(segment.HeaderSize + 80)
	d.refuses("[@P @D]", segment.Name(1), a.ends[0], 3)

	d = newDir(t)
	b = d.root(1, 1, 2).sync().next(2, 1).sync()
	b.next(3, 1)
	b.flip(segment.HeaderSize + 80)
	d.refuses("[@G @J]", segment.Name(2), segment.HeaderSize+segment.GroupHeaderSize, 3)
}

// TestAFlippedBitInAnOpeningAndOneInTheTailAreFlippedBack: an examination that is
// interrupted after the first of them must not find more than the one before did.
func TestAFlippedBitInAnOpeningAndOneInTheTailAreFlippedBack(t *testing.T) {
	d := newDir(t)
	b := d.root(1, 1, 2).sync().next(2, 1).group(1)
	want := d.image()
	tail := b.start(1) + 100
	b.flip(segment.HeaderSize + 80).flip(tail)
	p := d.plan(Strict)
	require.Nil(t, p.Refusal())
	require.Equal(t, []Place{{b.w.Path(), segment.HeaderSize + 80}, {b.w.Path(), tail}}, p.Report.Flipped)
	last := p.Report.Last
	require.NoError(t, p.apply(p.repairs[0]))
	half := d.plan(Strict)
	require.Equal(t, []Place{{b.w.Path(), tail}}, half.Report.Flipped)
	require.Equal(t, last, half.Report.Last)
	require.Equal(t, p.Pin, half.Pin)
	require.NoError(t, half.Apply())
	require.Equal(t, want, d.image())
}

func TestTwoFlippedBitsOfATailAreNot(t *testing.T) {
	d := newDir(t)
	a := d.root(1, 1, 2).sync().mark().group(1)
	a.flip(a.start(2) + 100).flip(a.start(2) + 300)
	r := d.recovers("[@H]", 2, ends(a, a.start(1)))
	require.Equal(t, TailAmbiguous, r.Tail)
	require.Equal(t, []LSN{3, 3}, []LSN{r.LostFrom, r.LostTo})
	require.Empty(t, r.Flipped)
}

func TestAFlippedBitBelowTheWatermarkIsCorrupt(t *testing.T) {
	d := newDir(t)
	a := d.root(1, 1, 2).sync().group(1).sync().mark()
	a.flip(a.start(1) + 100)
	d.refuses("[@E]", segment.Name(1), a.start(1)+segment.GroupHeaderSize, 3)
}

// TestFrontThatContradictsTheSegmentsIsCorrupt: no damage makes it, since its sum holds.
func TestFrontThatContradictsTheSegmentsIsCorrupt(t *testing.T) {
	for what, change := range map[string]func(f *segment.Front){
		"first LSN 0":               func(f *segment.Front) { f.First = 0 },
		"first below the oldest":    func(f *segment.Front) { f.First, f.Newest = 4, 1 },
		"oldest 0":                  func(f *segment.Front) { f.Oldest = 0 },
		"oldest above the newest":   func(f *segment.Front) { f.Oldest = 2 },
		"newest beyond every other": func(f *segment.Front) { f.Newest = segment.MaxID },
		"trimmed beyond them":       func(f *segment.Front) { f.Trimmed = segment.MaxID },
	} {
		d := newDir(t)
		d.root(1, 5, 2).sync().mark()
		d.changeFront(func(f *segment.Front) { f.First, f.Newest = 5, 1 })
		require.Nil(t, d.plan(Strict).Refusal())
		d.changeFront(change)
		var at *segment.CorruptError
		require.ErrorAs(t, d.plan(Strict).Refusal(), &at, what)
		require.Equal(t, "log/FRONT", at.Path, what)
		p := d.plan(PointInTime)
		require.Len(t, p.Report.Corruptions, 1, what)
		require.Equal(t, []LSN{5, 6}, []LSN{p.Report.First, p.Report.Last}, what)
	}
}

// TestNextSegmentIsNotTheOneThatFrontCallsTrimmed, of which the file may have been given up
// since: the length that FRONT names is not that of another file.
func TestNextSegmentIsNotTheOneThatFrontCallsTrimmed(t *testing.T) {
	d := newDir(t)
	d.root(1, 5, 2).sync().mark()
	d.changeFront(func(f *segment.Front) { f.Trimmed, f.Length = 2, 1<<20 })
	p := d.plan(Strict)
	require.Nil(t, p.Refusal())
	require.EqualValues(t, 3, p.NextID)
}

// TestPointInTimeMakesUpFrontFromASegmentWithAFlippedBit in its opening group.
func TestPointInTimeMakesUpFrontFromASegmentWithAFlippedBit(t *testing.T) {
	d := newDir(t)
	a := d.root(1, 5, 2)
	require.NoError(t, d.fs.Remove("log/FRONT"))
	d.change(segment.Name(a.id), segment.HeaderSize+20, segment.HeaderSize+21, func(b []byte) { b[0] ^= 4 })
	p := d.plan(PointInTime)
	require.Equal(t, segment.Front{Log: d.front.Log, First: 5, Oldest: 1, Newest: 1}, p.Front)
	require.Equal(t, []LSN{5, 6}, []LSN{p.Report.First, p.Report.Last})
}

// TestPointInTimeWithoutFrontLeavesOutSegmentsOfAnotherLog that somebody put there.
func TestPointInTimeWithoutFrontLeavesOutSegmentsOfAnotherLog(t *testing.T) {
	d := newDir(t)
	a := d.root(2, 5, 2).sync()
	a.next(3, 1).sync().next(5, 1).sync()
	mine := d.front.Log
	d.front.Log = segment.LogID{8}
	d.root(1, 1, 1).sync()
	a.pinned(a.w.End(), 4, 3).sync() // it fits, and is newer
	d.front.Log = mine
	require.NoError(t, d.fs.Remove("log/FRONT"))
	p := d.plan(PointInTime)
	require.Equal(t, segment.Front{Log: mine, First: 5, Oldest: 2, Newest: 2}, p.Front)
	require.Equal(t, []uint64{2, 3, 5}, p.Chain)
	require.Equal(t, []LSN{5, 8}, []LSN{p.Report.First, p.Report.Last})
	require.Equal(t, []string{segment.Name(1), segment.Name(4)}, p.Report.Quarantined)
	var said []string
	for _, e := range p.Report.Corruptions {
		said = append(said, e.Path)
	}
	require.Subset(t, said, []string{segment.Path("log", 1), segment.Path("log", 4)})
}
