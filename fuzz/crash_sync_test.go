package fuzz

import (
	"errors"
	"math"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/wal"
)

// failSync lets the sync number at of a file fail, counted from 0, as a disk does:
// what was written since the last one stays in the page cache, on pages that are
// clean. It counts the syncs in n.
func failSync(disk *vfs.Crash, at int, n *int) vfs.Handler {
	return func(c vfs.Call, do func(int) (int, error)) (int, error) {
		if c.Op != vfs.Sync {
			return do(int(c.Size))
		}
		*n++
		if *n-1 != at {
			return do(0)
		}
		return 0, errors.Join(disk.FailSync(c.Name), syscall.EIO)
	}
}

// runFailed runs s, of which a sync fails; ends the process; opens the log again in
// the same boot; and appends. It returns the points since, and how many syncs the
// script had. Calls after the end of the process go through what again returns.
func runFailed(s Script, at int, again func(*vfs.Crash) vfs.Handler) (points []Point, syncs int, err error) {
	disk := vfs.NewCrash(s.Unit)
	s.Break = failSync(disk, at, &syncs)
	s.From = math.MaxInt
	r := NewRun(s, disk, NewHistory(View{First: max(1, s.Options.FirstLSN)}))
	if again == nil {
		again = func(*vfs.Crash) vfs.Handler { return nil }
	}
	err = r.Go()
	if err != nil && !errors.Is(err, wal.ErrFailed) && !errors.Is(err, wal.ErrUnknownOutcome) && !errors.Is(err, syscall.EIO) {
		return nil, syncs, errors.Join(err, r.Again(again(disk)))
	}
	err = r.Again(again(disk))
	return r.Points, syncs, err
}

// failingScripts are scripts of which each sync is made to fail.
func failingScripts(n int) []Script {
	var list []Script
	for _, s := range Scripts(n / 2) {
		if n := len(s.Ops); n == 3 || n > 4 {
			list = append(list, s)
		}
	}
	return list
}

func TestWhatOpenHandsOutAfterAFailedSyncIsDurable(t *testing.T) {
	seedRandom(t, 1)
	e := newEnumeration(scale.Pick(t, 4, 4, 4, 64))
	runs := 0
	for _, s := range failingScripts(scale.Pick(t, 0, 60, 60, 2_000)) {
		syncs := 1
		for at := -1; at < syncs; at++ { // -1: none fails, to count them
			var points []Point
			execute(t, func() (err error) {
				var n int
				points, n, err = runFailed(s, at, nil)
				syncs = max(syncs, n)
				return err
			})
			runs++
			e.add(s, points)
			e.check()
			if len(e.failed) > 20 {
				e.report(t)
				t.FailNow()
			}
		}
	}
	t.Logf("%d runs in which a sync failed", runs)
	e.report(t)
	require.GreaterOrEqual(t, runs, scale.Pick(t, 50, 400, 400, 10_000))
}
