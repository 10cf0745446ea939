package wal

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// countingDisk is a file system in memory of which a sync takes that long, and which
// counts the syncs of segments.
type countingDisk struct {
	FS
	syncs atomic.Int64
}

func newCountingDisk(sync time.Duration) *countingDisk {
	d := &countingDisk{}
	d.FS = vfs.Wrap(vfs.NewMem(), func(c vfs.Call, do func(int) (int, error)) (int, error) {
		if c.Op == vfs.Sync {
			if isSegmentSync(c) {
				d.syncs.Add(1)
			}
			time.Sleep(sync) // real time: or the bubble's; it is what a disk does
		}
		return do(int(c.Size))
	})
	return d
}

// appendAndWait is Append as an engine does it: under its own lock it orders and
// applies, and then it waits.
func appendAndWait(l *Log, data []byte) (LSN, error) {
	p, err := l.AppendAsync(data)
	if err != nil {
		return 0, err
	}
	return p.First, p.Wait(context.Background())
}

// commit appends n durable records by each of that many goroutines, which each
// wait for one before the next.
func commit(t *testing.T, l *Log, goroutines, n int, do func(l *Log, data []byte) (LSN, error)) {
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := range n {
				if _, err := do(l, []byte(fmt.Sprintf("%04d %04d", g, i))); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// commits returns how many syncs n appends by each of the goroutines take, when
// a sync takes 100 µs.
func commits(t *testing.T, goroutines, n int, gatherOff bool, do func(*Log, []byte) (LSN, error)) (syncs int) {
	synctest.Test(t, func(t *testing.T) {
		d := newCountingDisk(100 * time.Microsecond)
		l := openWith(t, Options{FS: d, gatherOff: gatherOff})
		requireAppend(t, l, "first") // the segment is open
		was, before := d.syncs.Load(), l.Stats()
		commit(t, l, goroutines, n, do)
		syncs = int(d.syncs.Load() - was)
		after := l.Stats()
		require.EqualValues(t, syncs, after.Syncs-before.Syncs, "Stats().Syncs")
		require.EqualValues(t, goroutines*n, after.Records-before.Records, "Stats().Records")
		require.NoError(t, l.Close())
	})
	return syncs
}

// TestCommittersShareSyncs has as many appends a sync as there are goroutines,
// nearly: a leader waits for those whom the last sync released. Without that, they
// part into two cohorts.
func TestCommittersShareSyncs(t *testing.T) {
	const n = 100
	for _, goroutines := range []int{1, 2, 8, 64, 256} {
		with, without := commits(t, goroutines, n, false, (*Log).Append), commits(t, goroutines, n, true, (*Log).Append)
		t.Logf("%3d goroutines: %6.1f records a sync with gathering, %6.1f without", goroutines,
			float64(goroutines*n)/float64(with), float64(goroutines*n)/float64(without))
		if 8 <= goroutines && goroutines <= 64 { // with more, chance lets them meet
			require.GreaterOrEqual(t, without, n*8/5, "%d goroutines without gathering", goroutines)
		}
		apart := commits(t, goroutines, n, false, appendAndWait)
		t.Logf("%3d goroutines: %6.1f records a sync with AppendAsync and Wait", goroutines, float64(goroutines*n)/float64(apart))
		if goroutines <= 64 { // of more, some may come late
			most := n * 5 / 4
			if scale.Race { // whose scheduler takes pains to let somebody be late
				most = n*8/5 - 1
			}
			require.LessOrEqual(t, with, most, "%d goroutines with gathering", goroutines)
			require.LessOrEqual(t, apart, most, "%d goroutines with AppendAsync and Wait", goroutines)
		}
	}
}

// TestCommittersShareSyncsInRealTime is the same with a real clock, where only
// the counts are sure.
func TestCommittersShareSyncsInRealTime(t *testing.T) {
	for _, goroutines := range []int{2, 8, 64} {
		d := newCountingDisk(100 * time.Microsecond)
		l := openWith(t, Options{FS: d})
		requireAppend(t, l, "first")
		was, before := d.syncs.Load(), l.Stats().Syncs
		const n = 50
		commit(t, l, goroutines, n, (*Log).Append)
		syncs := d.syncs.Load() - was
		t.Logf("%3d goroutines: %.1f records a sync", goroutines, float64(goroutines*n)/float64(syncs))
		require.EqualValues(t, syncs, l.Stats().Syncs-before)
		require.LessOrEqual(t, syncs, int64(goroutines*n))
		require.NoError(t, l.Close())
	}
}

// yields returns how often another goroutine gets to run while f does, on a
// single processor. It only gets to when f's goroutine yields or waits.
func yields(f func()) (n int) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !done.Load() {
			n++
			runtime.Gosched()
		}
	})
	f()
	done.Store(true)
	wg.Wait()
	return n
}

// TestLoneCommitterWaitsForNobody lets one goroutine commit, in each way there
// is. Had it waited for others, it would have yielded up to gatherYields times each time.
func TestLoneCommitterWaitsForNobody(t *testing.T) {
	const n = 300
	for _, c := range []struct {
		name string
		do   func(l *Log) error
	}{
		{"Append", func(l *Log) error {
			_, err := l.Append([]byte("alone"))
			return err
		}},
		{"AppendBatch", func(l *Log) error {
			var b Batch
			b.Add([]byte("alone"))
			_, err := l.AppendBatch(&b)
			return err
		}},
		{"AppendAsync and Wait", func(l *Log) error {
			_, err := appendAndWait(l, []byte("alone"))
			return err
		}},
		{"AppendAsync and Sync", func(l *Log) error {
			if _, err := l.AppendAsync([]byte("alone")); err != nil {
				return err
			}
			return l.Sync()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := openWith(t, Options{FS: vfs.NewMem()})
			requireAppend(t, l, "first", "second")
			got := yields(func() {
				for range n {
					l.mu.Lock() // as on a disk so slow that waiting would be worth it
					l.lead.gather.took = time.Second
					l.mu.Unlock()
					require.NoError(t, c.do(l))
				}
			})
			t.Logf("others ran %d times in %d commits", got, n)
			require.Less(t, got, 20*n)
		})
	}
}
