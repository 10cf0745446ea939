package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/wal"
	"github.com/seed3918b8df/tidemark/wal/waltest"
)

// faults are ways in which a call fails.
var faults = map[string]waltest.Fault{
	"EIO":                 {},
	"EIO from then on":    {Sticky: true},
	"EIO, and it is done": {After: true},
	"ENOSPC":              {Err: syscall.ENOSPC},
	"ENOSPC from then on": {Err: syscall.ENOSPC, Sticky: true},
	"ENOSPC, and a part":  {Err: syscall.ENOSPC, Short: 5},
}

// own says whether a call is about the store's own files.
func own(c waltest.Call) bool {
	return c.Name == "store" || strings.HasPrefix(filepath.Base(c.Name), snapshotName)
}

// TestFailedSnapshotHarmsNothing lets every call of a snapshot fail, as far as it is
// about the store's own files.
func TestFailedSnapshotHarmsNothing(t *testing.T) {
	failed, hits := 0, 0
	for name, fault := range faults {
		for _, work := range []string{"ppp", "pspad"} { // without and with one before
			for n := 0; ; n++ {
				what := fmt.Sprintf("%s, work %s, call %d", name, work, n)
				r := newPowerRun(512)
				require.NoError(t, r.all(work, func() {}))
				first := r.store.log.FirstLSN()
				fault.Match, fault.At = own, n
				r.disk.Fail(fault)
				err := r.do('s')
				if r.disk.Failed() == 0 {
					require.NoError(t, err, what)
					r.end()
					break // there is no call n
				}
				hits++
				if err != nil {
					failed++
					require.Equal(t, first, r.store.log.FirstLSN(), "%s: nothing covers what would be dropped", what)
				}
				require.NoError(t, r.do('p'), "%s: the store goes on", what)
				for img := range r.disk.State().Images(8, 1) {
					require.NoError(t, r.reopens(img.Disk()), "%s\n%v", what, img)
				}
				r.disk.Heal()
				require.NoError(t, r.do('s'), what)
				require.Equal(t, r.store.log.LastLSN()+1, r.store.log.FirstLSN(), what)
				require.NoError(t, r.do('r'), what)
				r.end()
			}
		}
	}
	t.Logf("%d of %d snapshots with a failing call failed", failed, hits)
	require.GreaterOrEqual(t, failed, 50)
	require.Less(t, failed, hits) // a Close, and a Remove, do not matter
}

// suffer does the work, and after an error what is allowed after it.
func (r *powerRun) suffer(work string) (failed int) {
	if err := r.open(); err != nil {
		return 1
	}
	for _, letter := range []byte(work) {
		if err := r.do(letter); err != nil {
			failed++
			if letter == 'r' || letter == 'k' {
				break
			}
		}
	}
	return failed
}

// TestNoFaultLosesWhatWasAcknowledged lets every call fail, of the store and of its
// log, and goes on as far as it goes. Then the power fails, or the process ends, or
// the store is closed.
func TestNoFaultLosesWhatWasAcknowledged(t *testing.T) {
	rareGC(t)
	runs, failed, images := 0, 0, 0
	all := []string{"papsdrps", "apsarspp", "pkprapspp", "prprsrpas"}
	for name, fault := range faults {
		for _, work := range all[:scale.Pick(t, 1, 1, 4, 4)] {
			for n := 0; ; n += scale.Pick(t, 3, 1, 1, 1) {
				what := fmt.Sprintf("%s, work %s, call %d", name, work, n)
				r := newPowerRun(512)
				fault.At = n
				disk := r.disk
				disk.Fail(fault)
				failed += r.suffer(work)
				hit := disk.Failed() > 0
				for img := range r.disk.State().Images(scale.Pick(t, 2, 2, 4, 50), 1) {
					images++
					require.NoError(t, r.reopens(img.Disk()), "%s\n%v", what, img)
				}
				r.disk.Heal()
				if n%2 == 0 && r.store != nil {
					_ = r.store.close() // what it promised it has promised before
				}
				r.end()
				require.NoError(t, r.open(), what)
				require.NoError(t, r.do('s'), what)
				require.NoError(t, r.do('p'), what)
				require.NoError(t, r.do('r'), what)
				r.end()
				if !hit {
					break // there is no call n
				}
				runs++
			}
		}
	}
	t.Logf("%d runs with a failing call, %d operations failed, %d images", runs, failed, images)
	require.GreaterOrEqual(t, runs, scale.Pick(t, 100, 400, 2_000, 2_000))
	require.GreaterOrEqual(t, failed, runs/2)
}

// TestStoreOnAFullDiskLosesNothing has room for less and less of the work, and then
// for all of it again.
func TestStoreOnAFullDiskLosesNothing(t *testing.T) {
	full := 0
	for room := int64(0); room < 16<<10; room += int64(scale.Pick(t, 2048, 1024, 128, 32)) {
		r := newPowerRun(512)
		require.NoError(t, r.open())
		require.NoError(t, r.do('p'))
		r.disk.SetLimit(r.disk.Used() + room)
		failed := 0
		for _, letter := range []byte("pspapdpsppp") {
			err := r.do(letter)
			if err != nil {
				failed++
				require.True(t, errors.Is(err, wal.ErrNoSpace) || errors.Is(err, syscall.ENOSPC), "room %d: %v", room, err)
			}
		}
		r.disk.SetLimit(0)
		r.kill()
		require.NoError(t, r.open(), "room %d", room)
		require.NoError(t, r.do('s'), "room %d", room)
		require.NoError(t, r.do('r'), "room %d", room)
		r.end()
		if failed > 0 { // more or less often: the log makes segments ahead
			full++
		}
	}
	t.Logf("the disk was full in %d runs", full)
	require.GreaterOrEqual(t, full, scale.Pick(t, 2, 4, 30, 120))
}
