package recovery

import (
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// long returns a log of seven segments, all of which but the last are sealed.
func long(t *testing.T) (d *dir, parts []*part) {
	d = newDir(t)
	at := d.root(1, 1, 3).group(4).sync()
	for parts = append(parts, at); len(parts) < 7; parts = append(parts, at) {
		next := at.next(at.id+1, 2).group(5).sync()
		at.seal(next)
		at = next
	}
	return d, parts
}

// ofScan reports whether c reads more of a segment than its head.
func ofScan(c vfs.Call) bool { return c.Op == vfs.ReadAt && c.Size > 4096 && c.Name != "log/FRONT" }

// slow is a file system on which each read of a scan takes some milliseconds, more in older
// segments, and what of it is in use.
type slow struct {
	vfs.FS
	open, reading atomic.Int64
	most          int64 // files that may be open; 0: any number
}

func (s *slow) on(fsys vfs.FS) *slow {
	s.FS = vfs.Wrap(fsys, func(c vfs.Call, do func(int) (int, error)) (int, error) {
		if ofScan(c) {
			s.reading.Add(1)
			defer s.reading.Add(-1)
			id, _ := segment.ParseName(filepath.Base(c.Name))
			time.Sleep(time.Duration(8-id) * time.Millisecond) // the bubble's clock
		}
		if c.Op == vfs.Open && s.most > 0 && s.open.Load() == s.most {
			return 0, syscall.EMFILE
		}
		n, err := do(int(c.Size))
		switch {
		case c.Op == vfs.Open && err == nil:
			s.open.Add(1)
		case c.Op == vfs.Close:
			s.open.Add(-1)
		}
		return n, err
	})
	return s
}

func (s *slow) examine() (*Plan, error) {
	return Examine(Config{FS: s, Dir: "log", Full: true, aheadLeast: 1})
}

// TestSegmentsAreScannedAtOnce where there are two processors: by the bubble's clock all take
// two thirds of the time at most.
func TestSegmentsAreScannedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := long(t)
		fsys := new(slow).on(d.fs)
		var took [2]time.Duration
		for i := range took {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(i + 1))
			start := time.Now()
			p, err := fsys.examine()
			require.NoError(t, err)
			require.Nil(t, p.Refusal())
			require.Len(t, p.Chain, 7)
			took[i] = time.Since(start)
		}
		require.LessOrEqual(t, 3*took[1], 2*took[0], "%v", took)
	})
}

// TestAReadErrorOfAScanAheadIsAReadError although the file could be read again.
func TestAReadErrorOfAScanAheadIsAReadError(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	for id := range uint64(7) {
		d, _ := long(t)
		faulty := vfs.NewFaulty(d.fs)
		faulty.Set(vfs.Fault{Match: func(c vfs.Call) bool { return ofScan(c) && c.Name == segment.Path("log", id+1) }})
		p, err := Examine(Config{FS: faulty, Dir: "log", Full: true, aheadLeast: 1})
		require.Equal(t, 1, faulty.Hits())
		require.ErrorIs(t, err, syscall.EIO)
		require.Nil(t, p)
	}
}

// TestFewFilesAreEnough for an examination that would have more open.
func TestFewFilesAreEnough(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	synctest.Test(t, func(t *testing.T) {
		d, _ := long(t)
		for most := range int64(7) {
			fsys := (&slow{most: most + 2}).on(d.fs)
			p, err := fsys.examine()
			require.NoError(t, err, "%d files", most+2)
			require.Len(t, p.Chain, 7)
			require.Zero(t, fsys.open.Load())
		}
	})
}

// TestNothingGoesOnBehindAnExamination whatever it ends with: no scan, no open file.
func TestNothingGoesOnBehindAnExamination(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	synctest.Test(t, func(t *testing.T) {
		for _, damage := range []func(d *dir, parts []*part){
			func(*dir, []*part) {},
			func(_ *dir, parts []*part) { parts[6].lose(0) },
			func(_ *dir, parts []*part) { parts[5].rot(parts[5].start(1) + 100) },
			func(_ *dir, parts []*part) { parts[4].rot(0).rot(2048) },
			func(_ *dir, parts []*part) { parts[3].rot(segment.HeaderSize + 100) },
			func(_ *dir, parts []*part) { parts[0].remove() },
		} {
			d, parts := long(t)
			damage(d, parts)
			fsys := new(slow).on(d.fs)
			_, err := fsys.examine()
			require.NoError(t, err)
			require.Zero(t, fsys.open.Load())
			require.Zero(t, fsys.reading.Load())
			d.plan(Strict)
		}
		d, _ := long(t)
		faulty := vfs.NewFaulty(d.fs)
		faulty.Set(vfs.Fault{Match: func(c vfs.Call) bool { return ofScan(c) && c.Name == segment.Path("log", 6) }})
		fsys := new(slow).on(faulty)
		_, err := fsys.examine()
		require.ErrorIs(t, err, syscall.EIO)
		require.Zero(t, fsys.open.Load())
		require.Zero(t, fsys.reading.Load())
	})
}
