package recovery

import (
	"io/fs"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// eachLook lets change run before each look at the directory, as a writer would
// that is at work; the number of the look is given, from 1.
func eachLook(disk vfs.FS, change func(look int)) vfs.FS {
	look := 0
	return vfs.Wrap(disk, func(c vfs.Call, do func(int) (int, error)) (int, error) {
		if c.Op == vfs.List {
			look++
			change(look)
		}
		return do(int(c.Size))
	})
}

func TestWhatALiveWriterLeavesForAMomentIsNotDamage(t *testing.T) {
	for _, live := range []bool{false, true} {
		d := newDir(t)
		a := d.root(1, 1, 2).sync().group(1).sync().mark()
		place := a.start(1) + 100
		a.rot(place) // as if it were on its way
		p, err := Examine(Config{Dir: "log", Full: true, Live: live, FS: eachLook(d.fs, func(look int) {
			if look == 2 {
				a.rot(place)
			}
		})})
		require.NoError(t, err)
		require.Equal(t, live, p.Refusal() == nil)
	}
}

func TestDamageBesideALiveWriterIsBelievedWhenItStays(t *testing.T) {
	d := newDir(t)
	a := d.root(1, 1, 2).sync().group(1).sync().mark()
	a.rot(a.start(1) + 100)
	looks := 0
	p, err := Examine(Config{Dir: "log", Live: true, FS: eachLook(d.fs, func(look int) { looks = look })})
	require.NoError(t, err)
	require.ErrorIs(t, p.Refusal(), segment.ErrCorrupt)
	require.Greater(t, looks, 1)
}

// TestAFileThatALiveWriterRemovesIsNotAnError has it go between the listing and the
// look at it, once and for ever.
func TestAFileThatALiveWriterRemovesIsNotAnError(t *testing.T) {
	for _, forever := range []bool{false, true} {
		d := newDir(t)
		d.root(1, 1, 2).sync().mark()
		d.ready(2)
		look := 0
		fsys := vfs.Wrap(d.fs, func(c vfs.Call, do func(int) (int, error)) (int, error) {
			if c.Op == vfs.List {
				look++
			}
			if c.Op == vfs.Open && c.Name == segment.Path("log", 2) && (forever || look == 1) {
				return 0, &fs.PathError{Op: "open", Path: c.Name, Err: fs.ErrNotExist}
			}
			return do(int(c.Size))
		})
		_, err := Examine(Config{Dir: "log", FS: fsys, Live: true})
		require.Equal(t, forever, err != nil)
		_, err = Examine(Config{Dir: "log", FS: fsys})
		require.Equal(t, forever, err != nil)
	}
}

// TestInspectReadsTheOperatingSystemsFiles and changes none.
func TestInspectReadsTheOperatingSystemsFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	d := newDirOn(t, vfs.OS())
	a := d.root(1, 1, 2).sync().mark().group(1)
	a.rot(a.start(2) + 3).rot(a.start(2) + 9)
	before := d.image()
	p, r, err := Inspect("log")
	require.NoError(t, err)
	require.Equal(t, r, p.Report)
	require.True(t, r.Verified)
	require.Equal(t, []LSN{1, 2}, []LSN{r.First, r.Last})
	require.Equal(t, []string{"open segment 2, which " + ends(a, a.start(1))}, p.Steps())
	require.Equal(t, before, d.image())
	require.NoError(t, a.w.Close())
	_, r, err = Inspect("nothing")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Equal(t, "nothing", r.Dir)
}
