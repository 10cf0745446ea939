package recovery

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// TestRandomDamageIsNeverBelieved does up to three bad things to a log and has it
// examined in all ways: whatever is accepted holds records that were written, at
// their LSNs, without a gap, and is found again once it is in order.
func TestRandomDamageIsNeverBelieved(t *testing.T) {
	logs := []func(d *dir){
		func(d *dir) { d.root(1, 1, 3).sync().mark().batch("m", 2).group(1) },
		func(d *dir) { p := d.chainOf(2)[2]; p.sync().group(2) },
		func(d *dir) { d.root(1, 1, 2).sync().group(2).next(2, 1).group(1).next(3, 2) },
		func(d *dir) {
			a := d.root(1, 1, 4).sync()
			a.next(2, 2).sync().mark()
			b := a.pinned(a.at(3), 3, 2).sync().mark()
			d.ready(4)
			b.group(1)
		},
	}
	accepted := map[Mode]int{}
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		disk := vfs.NewMem()
		d := newDirOn(t, disk)
		logs[seed%4](d)
		what := ""
		for range 1 + r.IntN(3) {
			what += d.harm(r) + "; "
		}
		for mode, full := range map[Mode]bool{Strict: seed%8 < 4, Paranoid: true, PointInTime: true} {
			d := &dir{TB: t, fs: disk.Clone(), disk: disk}
			p, err := Examine(Config{FS: d.fs, Dir: "log", Mode: mode, Full: full})
			if errors.Is(err, segment.ErrVersion) {
				continue // garbage where both versions stand
			}
			require.NoError(t, err, "seed %d: %s", seed, what)
			if p.Refusal() != nil {
				require.ErrorIs(t, p.Refusal(), segment.ErrCorrupt)
				require.NotEmpty(t, p.Report.Corruptions)
				continue
			}
			if !full && d.plan(mode).Refusal() != nil {
				continue // it is found when it is read
			}
			if p.Report.First == 0 {
				require.Empty(t, p.Chain)
				continue // neither FRONT nor a segment is left
			}
			accepted[mode]++
			require.NoError(t, p.Apply(), "seed %d: %s", seed, what)
			d.holds(p)
			again, err := Examine(Config{FS: d.fs, Dir: "log", Mode: mode, Full: full})
			require.NoError(t, err)
			require.Nil(t, again.Refusal(), "seed %d: %s: %v", seed, what, p.Report)
			require.Equal(t, found(p), found(again), "seed %d, mode %d: %s", seed, mode, what)
		}
	}
	require.Greater(t, accepted[Strict], 30)
	require.Greater(t, accepted[PointInTime], 280)
}

// harm does something bad to one of the files.
func (d *dir) harm(r *rand.Rand) string {
	d.Helper()
	names := d.names()
	if len(names) == 0 {
		return "nothing is left"
	}
	name := names[r.IntN(len(names))]
	file, err := d.fs.Open(filepath.Join("log", name), vfs.ReadWrite)
	require.NoError(d, err)
	info, err := file.Stat()
	require.NoError(d, err)
	require.NoError(d, file.Close())
	if info.Size == 0 {
		return "nothing"
	}
	off := r.Int64N(min(info.Size, 10_000))
	n := min(1+r.Int64N(700), info.Size-off)
	switch r.IntN(6) {
	case 0:
		d.remove(name)
		return "remove " + name
	case 1:
		file, err := d.fs.Open(filepath.Join("log", name), vfs.ReadWrite)
		require.NoError(d, err)
		require.NoError(d, file.Truncate(off))
		require.NoError(d, file.Close())
		return fmt.Sprintf("cut %s at %d", name, off)
	case 2:
		d.change(name, off, off+n, func(b []byte) { clear(b) })
		return fmt.Sprintf("zero %s at %d+%d", name, off, n)
	case 3:
		d.change(name, off, off+n, func(b []byte) {
			for i := range b {
				b[i] = byte(r.Uint32())
			}
		})
		return fmt.Sprintf("garbage in %s at %d+%d", name, off, n)
	case 4:
		from := r.Int64N(min(info.Size, 10_000)-n+1) / 8 * 8
		off = off / 8 * 8
		var moved []byte
		d.change(name, from, from+n, func(b []byte) { moved = append(moved, b...) })
		d.change(name, off, min(off+n, info.Size), func(b []byte) { copy(b, moved) })
		return fmt.Sprintf("copy in %s from %d to %d+%d", name, from, off, n)
	}
	d.change(name, off, off+1, func(b []byte) { b[0] ^= 1 << r.IntN(8) })
	return fmt.Sprintf("flip in %s at %d", name, off)
}
