package fuzz

import (
	"errors"
	"math"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/wal"
)

// fate is what becomes of the pages that a failed sync leaves.
type fate byte

// The fates. What the disk has of a page that is dropped is by chance, but for
// reverted ones.
const (
	kept     fate = iota // the page cache shows them until the power is lost
	reverted             // the file is at once what it was before
	dropped              // when the process has ended, before the log is opened again
	late                 // when the log was opened again
	fates
)

func (f fate) String() string { return [...]string{"kept", "reverted", "dropped", "dropped late"}[f] }

// failing is a disk of which a sync fails.
type failing struct {
	disk  *vfs.Crash
	fate  fate
	at    int // number of the sync of a file that fails, from 0
	syncs int // so far
	name  string
	rand  *rand.Rand
}

// handle lets the sync fail as disks do: what was written since the last one stays
// in the page cache, on pages that are clean.
func (f *failing) handle(c vfs.Call, do func(int) (int, error)) (int, error) {
	if c.Op != vfs.Sync {
		return do(int(c.Size))
	}
	f.syncs++
	if f.syncs-1 != f.at {
		return do(0)
	}
	f.name = c.Name
	err := f.disk.FailSync(c.Name)
	if err == nil && f.fate == reverted {
		f.evict(func(int) int { return 0 })
	}
	return 0, errors.Join(err, syscall.EIO)
}

// drop drops the pages, if this is their time.
func (f *failing) drop(now fate) error {
	if f.name == "" || f.fate != now {
		return nil
	}
	f.evict(f.rand.IntN)
	return nil
}

// evict drops what the failed sync left in memory of its file.
func (f *failing) evict(pick func(n int) int) {
	f.disk.Evict(func(name string, _ int64, n int) int {
		if name != f.name {
			return -1
		}
		return pick(n)
	})
}

// runFailed runs s, of which a sync fails; ends the process; opens the log again in
// the same boot; and appends. It returns the points since, and how many syncs the
// script had. Calls after the end of the process go through what again returns.
func runFailed(s Script, at int, what fate, again func(*vfs.Crash) vfs.Handler) (points []Point, syncs int, err error) {
	disk := vfs.NewCrash(s.Unit)
	f := &failing{disk: disk, fate: what, at: at, rand: rand.New(rand.NewPCG(s.Seed, uint64(at)))}
	s.Break = f.handle
	s.From = math.MaxInt
	r := NewRun(s, disk, NewHistory(View{First: max(1, s.Options.FirstLSN)}))
	if again == nil {
		again = func(*vfs.Crash) vfs.Handler { return nil }
	}
	r.died = func() error {
		if f.name != "" && what != kept {
			r.History.Dropped()
		}
		return f.drop(dropped)
	}
	r.opened = func() error { return f.drop(late) }
	err = r.Go()
	if errors.Is(err, wal.ErrFailed) || errors.Is(err, wal.ErrUnknownOutcome) || errors.Is(err, syscall.EIO) {
		err = nil
	}
	err = errors.Join(err, r.Again(again(disk)))
	return r.Points, f.syncs, err
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
	e := newEnumeration(scale.Pick(t, 4, 4, 8, 64))
	runs := map[fate]int{}
	for i, s := range failingScripts(scale.Pick(t, 0, 60, 60, 2_000)) {
		syncs := 1
		for at := -1; at < syncs; at++ { // -1: none fails, to count them
			for what := range fates {
				if at < 0 && what != kept || at >= 0 && scale.Of(t) < scale.CI && int(what) != (at+i)%int(fates) {
					continue
				}
				var points []Point
				execute(t, func() (err error) {
					var n int
					points, n, err = runFailed(s, at, what, nil)
					syncs = max(syncs, n)
					return err
				})
				runs[what]++
				e.add(s, points)
			}
		}
		if e.check(); e.done() {
			break
		}
	}
	t.Logf("runs in which a sync failed, by what became of the pages: %v", runs)
	e.report(t)
	for what := range fates {
		require.GreaterOrEqual(t, runs[what], scale.Pick(t, 10, 60, 250, 10_000), "%v", what)
	}
}
