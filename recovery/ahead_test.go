package recovery

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// long returns a log of six segments, all of which but the last are sealed.
func long(t *testing.T) (d *dir, parts []*part) {
	d = newDir(t)
	at := d.root(1, 1, 3).group(4).sync()
	for parts = append(parts, at); len(parts) < 6; parts = append(parts, at) {
		next := at.next(at.id+1, 2).group(5).sync()
		at.seal(next)
		at = next
	}
	return d, parts
}

// TestSegmentsAreScannedAtOnce holds each read of a scan back until another segment is
// being scanned too, as it is where there are two processors.
func TestSegmentsAreScannedAtOnce(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	synctest.Test(t, func(t *testing.T) {
		d, _ := long(t)
		var scanning atomic.Int64
		both := make(chan struct{})
		once := sync.OnceFunc(func() { close(both) })
		fsys := vfs.Wrap(d.fs, func(c vfs.Call, do func(int) (int, error)) (int, error) {
			if c.Op == vfs.ReadAt && c.Size > 4096 && c.Name != "log/FRONT" { // more than the head of a segment
				if scanning.Add(1) > 1 {
					once()
				}
				<-both
			}
			return do(int(c.Size))
		})
		p, err := Examine(Config{FS: fsys, Dir: "log", Full: true, aheadLeast: 1})
		require.NoError(t, err)
		require.Nil(t, p.Refusal())
		require.Len(t, p.Chain, 6)
	})
}

// TestAReadErrorOfAScanAheadIsAReadError although the file could be read again.
func TestAReadErrorOfAScanAheadIsAReadError(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	for id := range uint64(6) {
		mem, _ := long(t)
		faulty := vfs.NewFaulty(mem.fs)
		faulty.Set(vfs.Fault{Match: func(c vfs.Call) bool {
			return c.Op == vfs.ReadAt && c.Size > 4096 && c.Name == segment.Path("log", id+1)
		}})
		p, err := Examine(Config{FS: faulty, Dir: "log", Full: true, aheadLeast: 1})
		require.Equal(t, 1, faulty.Hits())
		require.Error(t, err)
		require.ErrorIs(t, err, syscall.EIO)
		require.Nil(t, p)
	}
}

// TestNoFileStaysOpen behind an examination, whatever it ends with, and no scan goes on.
func TestNoFileStaysOpen(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	synctest.Test(t, func(t *testing.T) {
		for _, damage := range []func(d *dir, parts []*part){
			func(*dir, []*part) {},
			func(_ *dir, parts []*part) { parts[5].lose(0) },
			func(_ *dir, parts []*part) { parts[4].rot(parts[4].start(1) + 100) },
			func(_ *dir, parts []*part) { parts[2].rot(segment.HeaderSize + 100) },
			func(_ *dir, parts []*part) { parts[1].rot(0).rot(2048) },
			func(_ *dir, parts []*part) { parts[0].remove() },
		} {
			d, parts := long(t)
			damage(d, parts)
			var open atomic.Int64
			d.fs = vfs.Wrap(d.disk, func(c vfs.Call, do func(int) (int, error)) (int, error) {
				n, err := do(int(c.Size))
				switch {
				case c.Op == vfs.Open && err == nil:
					open.Add(1)
				case c.Op == vfs.Close:
					open.Add(-1)
				}
				return n, err
			})
			_, err := Examine(Config{FS: d.fs, Dir: "log", Full: true, aheadLeast: 1})
			require.NoError(t, err)
			require.Zero(t, open.Load())
			d.plan(Strict)
		}
	})
}
