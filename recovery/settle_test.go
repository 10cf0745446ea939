package recovery

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// afterFirstLook runs fn once, when the file has been examined for the first time.
func afterFirstLook(fsys vfs.FS, path string, fn func()) vfs.FS {
	done := false
	return vfs.Wrap(fsys, func(c vfs.Call, do func(int) (int, error)) (int, error) {
		n, err := do(int(c.Size))
		if c.Op == vfs.Close && c.Name == path && !done {
			done = true
			fn()
		}
		return n, err
	})
}

// TestABitThatFlipsBetweenTwoLooksIsFlippedBack: the page cache had it otherwise than
// the disk, since the sync of an earlier recovery had failed, and dropped the page.
func TestABitThatFlipsBetweenTwoLooksIsFlippedBack(t *testing.T) {
	for _, wrongAtFirst := range []bool{false, true} {
		d := newDir(t)
		a := d.root(1, 1, 2).sync().mark().group(1)
		want, off := d.image(), a.start(2)+100
		if wrongAtFirst {
			a.flip(off)
		}
		p, err := Settle(Config{FS: afterFirstLook(d.fs, a.w.Path(), func() { a.flip(off) }), Dir: "log"})
		require.NoError(t, err)
		require.Equal(t, []Place{{a.w.Path(), off}}, p.Report.Flipped)
		require.Equal(t, LSN(3), p.Report.Last)
		require.Equal(t, want, d.image())
	}
}

// TestWhatALookFlippedBackIsReportedByTheNext even if that finds less than the first.
func TestWhatALookFlippedBackIsReportedByTheNext(t *testing.T) {
	d := newDir(t)
	b := d.root(1, 1, 2).sync().next(2, 1).group(1)
	off := int64(segment.HeaderSize + 80)
	b.flip(off)
	p, err := Settle(Config{FS: afterFirstLook(d.fs, b.w.Path(), func() { b.lose(1) }), Dir: "log"})
	require.NoError(t, err)
	require.Equal(t, LSN(3), p.Report.Last)
	require.Equal(t, []Place{{b.w.Path(), off}}, p.Report.Flipped)
}

func TestALogThatIsAnotherEachTimeIsNotOpened(t *testing.T) {
	d := newDir(t)
	a := d.root(1, 1, 2).sync().mark().group(1)
	a.flip(a.start(2) + 100)
	_, err := Settle(Config{FS: vfs.Wrap(d.fs, func(c vfs.Call, do func(int) (int, error)) (int, error) {
		if c.Op == vfs.WriteAt { // nothing that is written stays
			return int(c.Size), nil
		}
		return do(int(c.Size))
	}), Dir: "log"})
	require.ErrorContains(t, err, "another each time")
}

// TestPointInTimeFlipsBackWhatStrictDoes in the tail, and in an opening group.
func TestPointInTimeFlipsBackWhatStrictDoes(t *testing.T) {
	for _, damage := range []func(d *dir){
		func(d *dir) { a := d.root(1, 1, 2).sync().mark().group(1); a.flip(a.start(2) + 100) },
		func(d *dir) { d.root(1, 1, 2).sync().next(2, 1).flip(segment.HeaderSize + 80) },
		func(d *dir) {
			b := d.root(1, 1, 2).sync().next(2, 1).group(1)
			b.flip(segment.HeaderSize + 80).flip(b.start(1) + 100)
		},
	} {
		d := newDir(t)
		damage(d)
		strict, p := d.plan(Strict), d.plan(PointInTime)
		require.NotEmpty(t, strict.Report.Flipped)
		require.Equal(t, strict.Report.Flipped, p.Report.Flipped)
		require.Equal(t, strict.Pin, p.Pin)
		require.Empty(t, p.Report.Quarantined)
	}
}

func TestPointInTimeReportsAnOpeningThatItGivesUp(t *testing.T) {
	d := newDir(t)
	d.root(1, 1, 2).sync().next(2, 1).flip(segment.HeaderSize + 80).flip(segment.HeaderSize + 90)
	p := d.plan(PointInTime)
	require.Equal(t, TailAmbiguous, p.Report.Tail)
	require.Equal(t, []LSN{3, 3}, []LSN{p.Report.LostFrom, p.Report.LostTo})
	require.Equal(t, []string{segment.Name(2)}, p.Report.Quarantined)
}

// TestPointInTimeBelievesASegmentThatFrontDoesNotKnowYet about the first LSN: the log
// was reset, and killed before FRONT said so; a bit of its opening is flipped.
func TestPointInTimeBelievesASegmentThatFrontDoesNotKnowYet(t *testing.T) {
	d := newDir(t)
	d.root(1, 100, 2).flip(segment.HeaderSize + 80)
	p := d.plan(PointInTime)
	require.Empty(t, p.Report.Corruptions)
	require.Equal(t, []LSN{100, 101}, []LSN{p.Report.First, p.Report.Last})
}

// TestPointInTimeWithoutFrontGivesTheSameTwice where a reset has left segments behind.
func TestPointInTimeWithoutFrontGivesTheSameTwice(t *testing.T) {
	d := newDir(t)
	d.root(1, 1, 2).sync().mark()
	d.root(2, 100, 2).sync().mark()
	d.remove(segment.FrontName)
	p := d.plan(PointInTime)
	require.Equal(t, []LSN{100, 101}, []LSN{p.Report.First, p.Report.Last})
	require.NoError(t, segment.CreateFront(d.fs, "log", "log/FRONT", p.Front))
	require.Equal(t, p.Pin, d.plan(PointInTime).Pin)
}
