package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/scale"
)

// These tests put the snapshot and the log on one disk of waltest. They show how the
// tests of an engine may look: first what a power loss at any moment leaves, then
// the end of the process at any call, then calls that fail.

// works returns all rows of up to n of the letters, the shortest first.
func works(letters string, n int) []string {
	all := []string{""}
	for from := 0; n > 0; n-- {
		longest := all[from:]
		from = len(all)
		for _, w := range longest {
			for _, l := range letters {
				all = append(all, w+string(l))
			}
		}
	}
	return all
}

// losses checks what power losses leave, on all processors.
type losses struct {
	perMoment int // images, at most

	moments, images atomic.Int64
	mu              sync.Mutex
	failed          []string
}

// check checks moments of that work.
func (l *losses) check(work string, moments []moment) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(moments); i = int(next.Add(1)) - 1 {
				l.checkMoment(work, i, moments[i])
			}
		})
	}
	all.Wait()
}

func (l *losses) checkMoment(work string, i int, m moment) {
	l.moments.Add(1)
	for img := range m.state.Images(l.perMoment, uint64(i)) {
		check := m.reopens
		if l.images.Add(1)%3 == 0 {
			check = m.goesOn
		}
		if err := check(img.Disk()); err != nil {
			l.fail("%q, moment %d, before %s: %v\n%v", work, i, m.call, err, img)
			return
		}
	}
}

func (l *losses) fail(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, fmt.Sprintf(format, args...))
}

// report fails t for what went wrong, the shortest of it first.
func (l *losses) report(t *testing.T) {
	t.Helper()
	t.Logf("%d moments, %d images", l.moments.Load(), l.images.Load())
	slices.SortFunc(l.failed, func(a, b string) int { return len(a) - len(b) })
	for i, f := range l.failed {
		if i == 3 {
			t.Errorf("… and %d more", len(l.failed)-i)
			break
		}
		t.Error(f)
	}
}

// rareGC lets garbage lie for longer than usual, of which an enumeration makes much.
func rareGC(t *testing.T) {
	percent := debug.SetGCPercent(400)
	t.Cleanup(func() { debug.SetGCPercent(percent) })
}

func TestStoreSurvivesPowerLossAtEveryMoment(t *testing.T) {
	rareGC(t)
	l := &losses{perMoment: scale.Pick(t, 4, 8, 12, 100)}
	all := works("pdasrk", scale.Pick(t, 2, 3, 4, 5))
	for i, work := range all {
		r := newPowerRun([]int{512, 4096}[i%2])
		require.NoError(t, r.all(work, r.look), work)
		r.take("the end")
		r.end()
		l.check(work, r.taken)
	}
	t.Logf("%d works", len(all))
	l.report(t)
	require.GreaterOrEqual(t, l.moments.Load(), int64(scale.Pick(t, 150, 1_800, 12_000, 60_000)))
	require.GreaterOrEqual(t, l.images.Load(), int64(scale.Pick(t, 400, 5_000, 35_000, 300_000)))
}

// TestStoreSurvivesTheEndOfTheProcessAtEveryCall also has the next process go on,
// with files that the one before wrote and did not sync, and lose power at every
// moment of that, or at its end.
func TestStoreSurvivesTheEndOfTheProcessAtEveryCall(t *testing.T) {
	rareGC(t)
	l := &losses{perMoment: scale.Pick(t, 2, 2, 8, 40)}
	killed := 0
	for _, work := range works("pasr", scale.Pick(t, 2, 3, 3, 4)) {
		for n := 0; ; n++ {
			r := newPowerRun(512)
			if err := r.all(work, func() { r.disk.KillAt(n) }); err == nil {
				r.end()
				break // there is no call n
			}
			killed++
			r.kill()
			if killed%scale.Pick(t, 8, 4, 1, 1) == 0 {
				r.look()
			}
			require.NoError(t, r.open(), "%q, killed at call %d", work, n)
			require.NoError(t, r.do('s'), "%q, killed at call %d", work, n)
			r.take("the end")
			r.end()
			l.check(fmt.Sprintf("%s, killed at call %d", work, n), r.taken)
		}
	}
	t.Logf("%d processes killed", killed)
	l.report(t)
	require.GreaterOrEqual(t, killed, scale.Pick(t, 60, 300, 500, 1_500))
	require.GreaterOrEqual(t, l.images.Load(), int64(scale.Pick(t, 200, 3_000, 25_000, 100_000)))
}

// TestWritersBesideSnapshotsSurvivePowerLoss has writers of few keys. The order of
// what they do is known when all of it is done: by LSN.
func TestWritersBesideSnapshotsSurvivePowerLoss(t *testing.T) {
	rareGC(t)
	l := &losses{perMoment: scale.Pick(t, 4, 8, 12, 100)}
	rounds := scale.Pick(t, 2, 4, 20, 400)
	for round := range rounds {
		r := newPowerRun([]int{512, 4096}[round%2])
		require.NoError(t, r.open())
		r.look()
		const each = 6
		writers := 2 + round%4
		ops := make([]op, writers*each) // by LSN, from 1
		var all sync.WaitGroup
		errs := make(chan error, writers)
		for w := range writers {
			all.Go(func() { errs <- r.writeBeside(w, each, ops) })
		}
		all.Wait()
		for range writers {
			require.NoError(t, <-errs)
		}
		r.take("the end")
		r.end()
		for i := range r.taken {
			r.taken[i].ops = ops
		}
		l.check(fmt.Sprintf("%d writers", writers), r.taken)
	}
	l.report(t)
	require.GreaterOrEqual(t, l.images.Load(), int64(scale.Pick(t, 100, 800, 5_000, 100_000)))
}

// writeBeside is writer w of several. It notes in ops what it did, by LSN.
func (r *powerRun) writeBeside(w, each int, ops []op) error {
	for i := range each {
		o := op{kind: opPut, key: fmt.Sprint("k", i%4), value: fmt.Sprintf("%d.%d%*s", w, i, 300*i, "")}
		if (w+i)%5 == 4 {
			o.kind, o.value = opDelete, ""
		}
		p, err := r.store.order(o)
		if err == nil {
			err = r.store.wait(p)
		}
		if err != nil {
			return err
		}
		ops[p.First-1] = o
		r.acknowledge(int(p.First))
		if i == 3 {
			if _, err := r.store.snapshot(); err != nil {
				return err
			}
		}
	}
	return nil
}
