package recovery

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// Each test here reaches one row of the decision table by way of a directory.
// Rows are in the order in which segments are judged: the newest first.

func TestAFileThatCannotBeReadFails(t *testing.T) { // @A
	for _, op := range []vfs.Op{vfs.Open, vfs.Stat, vfs.ReadAt} {
		for _, name := range []string{segment.FrontName, segment.Name(1), segment.Name(2), segment.Name(3)} {
			if name == segment.FrontName && op == vfs.Stat {
				continue // its size is known
			}
			d, faulty := newFaultyDir(t)
			d.root(1, 1, 2).sync().next(2, 1).sync().mark()
			d.ready(3)
			faulty.Set(vfs.Fault{Sticky: true, Match: func(c vfs.Call) bool { return c.Op == op && c.Name == "log/"+name }})
			d.fails(syscall.EIO, name)
		}
	}
	d, faulty := newFaultyDir(t)
	faulty.Set(vfs.Fault{Sticky: true, Match: func(c vfs.Call) bool { return c.Op == vfs.List }})
	_, err := Examine(Config{FS: d.fs, Dir: "log"})
	require.ErrorIs(t, err, syscall.EIO)
}

// TestEveryReadThatFailsIsAnError fails each read of an examination, in each mode,
// of a log in which all kinds of scans are made.
func TestEveryReadThatFailsIsAnError(t *testing.T) {
	d, faulty := newFaultyDir(t)
	a := d.root(1, 1, 2).sync().group(1)
	b := a.next(2, 2).group(1)
	b.next(3, 1).flip(segment.HeaderSize + 200)
	d.ready(4)
	before := d.image()
	for n, mode := range []Mode{Strict, Paranoid, PointInTime, Paranoid} {
		failed := 0
		for at := 0; ; at++ {
			faulty.Set(vfs.Fault{Match: func(c vfs.Call) bool { return c.Op == vfs.ReadAt || c.Op == vfs.Stat || c.Op == vfs.Open }, At: at})
			p, err := Examine(Config{FS: d.fs, Dir: "log", Mode: mode, aheadLeast: int64(n / 3)})
			if faulty.Hits() == 0 {
				require.NoError(t, err)
				break
			}
			require.ErrorIs(t, err, syscall.EIO, "mode %d, call %d", mode, at)
			require.NotErrorIs(t, err, segment.ErrCorrupt)
			require.Nil(t, p)
			failed++
		}
		require.Greater(t, failed, 20)
	}
	require.Equal(t, before, d.image())
}

func TestANamedSegmentThatIsAbsentIsCorrupt(t *testing.T) { // @B
	d := newDir(t)
	a := d.root(1, 1, 2).sync()
	a.next(2, 1).sync().next(3, 1)
	a.remove()
	at := d.refuses("[@G @K @B]", segment.Name(1), 0, 2)
	require.True(t, at.ValidBeyond)
}

func TestASegmentWithoutAHeaderIsCorrupt(t *testing.T) { // @C
	for id, rows := range map[uint64]string{1: "[@O @F @C]", 2: "[@O @C @D]", 3: "[@C @F @K]"} {
		d := newDir(t)
		a := d.root(1, 1, 2).sync()
		b := a.next(2, 1).sync().mark()
		a.seal(b)
		d.ready(3)
		d.change(segment.Name(id), 0, segment.HeaderSize, func(b []byte) { b[20] ^= 1; b[2068] ^= 1 })
		d.refuses(rows, segment.Name(id), 0, 0)
	}
}

func TestALastSegmentThatIsSealedIsCorrupt(t *testing.T) { // @D
	d := newDir(t)
	a := d.root(1, 1, 2).sync()
	b := a.next(2, 1).sync()
	a.seal(b)
	b.remove()
	at := d.refuses("[@D]", segment.Name(1), a.ends[0], 3)
	require.True(t, at.ValidBeyond)
}

func TestALastSegmentThatFailsBelowItsWatermarkIsCorrupt(t *testing.T) { // @E
	d := newDir(t)
	a := d.root(1, 1, 2).sync().group(3).sync().mark()
	frame := a.start(1) + segment.GroupHeaderSize + int64(segment.FrameSize(600))
	a.rot(frame + 99)
	at := d.refuses("[@E]", segment.Name(1), frame, 4)
	require.True(t, at.ValidBeyond)
	require.NotEqual(t, at.Stored, at.Computed)
}

func TestACleanAndProvedEndIsKept(t *testing.T) { // @F
	d := newDir(t)
	d.root(1, 1, 2).sync().group(3).sync().mark()
	r := d.recovers("[@F]", 5)
	require.Equal(t, TailClean, r.Tail)
	require.Equal(t, LSN(5), r.Durable)
	require.False(t, r.Closed)
}

func TestACleanEndThatNothingProvesIsWrittenAgain(t *testing.T) { // @G
	d := newDir(t)
	a := d.root(1, 1, 2).sync().group(3)
	r := d.recovers("[@G]", 5, rewrites(a, a.start(1), a.ends[1]))
	require.Equal(t, a.ends[1]-a.start(1), r.Rewritten)
	require.Equal(t, LSN(2), r.Durable)
}

func TestATornTailBehindWhatIsProvedIsCut(t *testing.T) { // @H
	d := newDir(t)
	a := d.root(1, 1, 2).sync().mark().group(3)
	a.tear(2, 0).tear(2, 1)
	r := d.recovers("[@H]", 2, ends(a, a.start(1)))
	require.Equal(t, TailTorn, r.Tail)
	require.Equal(t, a.w.Path(), r.CutPath)
	require.Equal(t, a.start(2), r.CutAt)
	require.Equal(t, a.ends[2]-a.start(2), r.CutBytes)
	require.Equal(t, LSN(3), r.LostFrom)
	require.Equal(t, LSN(2), r.LostTo, "no header speaks of any")
}

// TestAFileThatEndsInAGroupIsTorn has nothing behind that is not zero.
func TestAFileThatEndsInAGroupIsTorn(t *testing.T) { // @H
	for _, behind := range []int64{0, 100} { // its header
		for _, cut := range []bool{false, true} {
			d := newDir(t)
			a := d.root(1, 1, 2).sync().mark().group(3)
			end := a.start(2) + segment.GroupHeaderSize + behind
			a.zero(end, room)
			if cut {
				a.trimmed(end).cut(end)
			}
			r := d.recovers("[@H]", 2, ends(a, a.start(1)))
			require.Equal(t, []LSN{3, 5}, []LSN{r.LostFrom, r.LostTo})
			require.NotEqual(t, TailClean, r.Tail)
		}
	}
}

func TestATornTailBehindWhatIsNotProvedIsCutToo(t *testing.T) { // @I
	d := newDir(t)
	a := d.root(1, 1, 2).sync().group(3)
	record := a.start(1) + segment.GroupHeaderSize + int64(segment.FrameSize(600))
	a.rot(record + 99)
	r := d.recovers("[@I]", 3, rewrites(a, a.start(1), record), ends(a, record))
	require.Equal(t, TailAmbiguous, r.Tail)
	require.Equal(t, LSN(4), r.LostFrom)
	require.Equal(t, LSN(5), r.LostTo)
	require.Equal(t, LSN(2), r.Durable)
}

func TestAnEarlierSegmentThatFailsWhereItWasDurableIsCorrupt(t *testing.T) { // @J
	d := newDir(t)
	a := d.root(1, 1, 2).sync().group(1).sync()
	a.next(2, 1)
	a.rot(a.start(1) + 100)
	d.refuses("[@G @J]", segment.Name(1), a.start(1)+segment.GroupHeaderSize, 3)
}

func TestAnEarlierSegmentThatIsProvedIsKept(t *testing.T) { // @K
	d := newDir(t)
	a := d.root(1, 1, 2).sync()
	a.next(2, 1).sync().mark()
	d.recovers("[@F @K]", 3)
}

func TestAnEarlierSegmentThatNothingProvesIsWrittenAgain(t *testing.T) { // @L
	d := newDir(t)
	a := d.root(1, 1, 2).sync().group(1)
	b := a.next(2, 1)
	r := d.recovers("[@G @L]", 4, rewrites(b, segment.HeaderSize, b.ends[0]), rewrites(a, a.start(1), a.ends[1]))
	require.Equal(t, b.ends[0]-segment.HeaderSize+a.ends[1]-a.start(1), r.Rewritten)
	require.Equal(t, LSN(2), r.Durable)
}

func TestAnEarlierSegmentThatRanAheadAndIsTornIsTheLast(t *testing.T) { // @M
	d := newDir(t)
	a := d.root(1, 1, 2).sync().group(2)
	b := a.next(2, 1)
	record := a.start(1) + segment.GroupHeaderSize + int64(segment.FrameSize(600))
	a.zero(record, a.ends[1])
	r := d.recovers("[@G @M]", 3, rewrites(a, a.start(1), record), removes(b), syncsDir, ends(a, record))
	require.Equal(t, TailTorn, r.Tail)
	require.Equal(t, a.w.Path(), r.CutPath)
	require.Equal(t, LSN(4), r.LostFrom)
	require.Equal(t, LSN(5), r.LostTo)
	require.Equal(t, LSN(2), r.Durable)
	require.Equal(t, []string{segment.Name(2)}, r.Removed)
}

func TestASegmentThatClaimsThatItWasOpenIsCorrupt(t *testing.T) { // @N
	d := newDir(t)
	a := d.root(1, 1, 2).sync()
	b := a.next(2, 1).sync().mark()
	b.rot(segment.HeaderSize + 70)
	at := d.refuses("[@N @G]", segment.Name(2), segment.HeaderSize+segment.GroupHeaderSize, 3)
	require.NotEqual(t, at.Stored, at.Computed)
}

func TestASegmentMadeReadyAndNotUsedIsRemoved(t *testing.T) { // @O
	d := newDir(t)
	d.root(1, 1, 2).sync().mark()
	b, c := d.ready(2), d.ready(4)
	r := d.recovers("[@O @O @F]", 2, removes(c), syncsDir, removes(b), syncsDir)
	require.Equal(t, TailClean, r.Tail)
	require.Equal(t, []string{segment.Name(4), segment.Name(2)}, r.Removed)
}

func TestASegmentWithATornOpeningIsRemoved(t *testing.T) { // @P
	d := newDir(t)
	a := d.root(1, 1, 2).sync().mark()
	b := a.next(2, 1)
	b.zero(segment.HeaderSize, segment.HeaderSize+512)
	r := d.recovers("[@P @F]", 2, removes(b), syncsDir)
	require.Equal(t, TailTorn, r.Tail)
	require.Equal(t, b.w.Path(), r.CutPath)
	require.Equal(t, int64(segment.HeaderSize), r.CutAt)
	require.Equal(t, b.ends[0]-segment.HeaderSize, r.CutBytes)
	require.Equal(t, LSN(3), r.LostFrom)
}

// TestAFileThatWasCutOffIsCorrupt cuts the newest file at each place where what is left
// looks like a log that a crash ended.
func TestAFileThatWasCutOffIsCorrupt(t *testing.T) { // @Q
	build := func() (*dir, *part) {
		d := newDir(t)
		return d, d.root(1, 1, 2).sync().group(1).sync().group(1).sync().mark()
	}
	_, a := build()
	for _, size := range []int64{room - 1, a.ends[3], a.start(3), a.ends[2] - 1, a.start(2), a.ends[0] + 1, a.ends[0], segment.HeaderSize, segment.HeaderSize + 70} {
		d, a := build()
		a.cut(size)
		x, lsn := min(size, a.ends[3]), LSN(5)
		for i, end := range a.ends {
			if x < end {
				lsn = []LSN{1, 3, 4, 5}[i]
				if x = a.start(i); size >= x+segment.GroupHeaderSize {
					x += segment.GroupHeaderSize
				}
				break
			}
		}
		if size < a.ends[0] { // it has no opening group
			at := d.refuses("[@Q]", segment.Name(1), size, 0)
			require.ErrorContains(t, at, fmt.Sprintf("%d bytes of at least %d", size, room))
			continue
		}
		at := d.refuses("[@Q]", segment.Name(1), x, lsn)
		require.ErrorContains(t, at, fmt.Sprintf("%d bytes of at least %d", size, room))
		require.False(t, at.ValidBeyond)
		p := d.plan(PointInTime)
		require.Nil(t, p.Refusal())
		require.Equal(t, lsn-1, p.Report.Last, "what is left of it is kept")
		require.Len(t, p.Report.Corruptions, 1)
	}
}

// TestAFileMayBeAsShortAsFrontSays: the log cuts its last file where FRONT says so.
func TestAFileMayBeAsShortAsFrontSays(t *testing.T) {
	for _, more := range []int64{-1, 0, 100} {
		d := newDir(t)
		a := d.root(1, 1, 2).sync().mark().clean().sync()
		a.trimmed(a.ends[2]).cut(a.ends[2] + more)
		if more < 0 {
			d.refuses("[@Q]", segment.Name(1), a.start(2), 3)
			continue
		}
		require.True(t, d.recovers("[@F]", 2).Closed)
		b := a.next(2, 1).cut(room - 1) // FRONT speaks of another
		d.refuses("[@Q @K]", segment.Name(2), b.ends[0], 4)
	}
}

// TestAFileMayBeShortOnceSomethingBehindEndsIt: a seal, and the segment that follows.
func TestAFileMayBeShortOnceSomethingBehindEndsIt(t *testing.T) {
	d := newDir(t)
	a := d.root(1, 1, 2).sync()
	b := a.next(2, 1).sync()
	a.seal(b).cut(a.w.Off())
	c := b.pinned(b.at(3), 3, 1).sync().mark()
	b.cut(b.ends[0])
	d.recovers("[@F @K @K]", 4)

	c.remove()
	d.refuses("[@Q @K]", segment.Name(2), b.ends[0], 4)
}

// TestAReadyFileThatWasCutOffIsCorrupt: it may have had records.
func TestAReadyFileThatWasCutOffIsCorrupt(t *testing.T) { // @Q
	d := newDir(t)
	d.root(1, 1, 2).sync().mark()
	d.ready(2).cut(segment.HeaderSize)
	d.refuses("[@Q @F]", segment.Name(2), segment.HeaderSize, 0)
}
