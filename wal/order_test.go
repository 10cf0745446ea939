package wal

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// gatedDisk is a disk on which syncs hang while it is shut.
type gatedDisk struct {
	FS
	shut atomic.Bool
	gate chan struct{}
}

func newGatedDisk(base FS) *gatedDisk {
	d := &gatedDisk{gate: make(chan struct{})}
	d.FS = vfs.Wrap(base, func(c vfs.Call, do func(int) (int, error)) (int, error) {
		if c.Op == vfs.Sync && d.shut.Load() {
			<-d.gate
		}
		return do(int(c.Size))
	})
	return d
}

func (d *gatedDisk) open() {
	d.shut.Store(false)
	close(d.gate)
}

// TestResetTakesNoHarmFromATruncateFrontCalledBeforeIt lets both wait for the
// same sync: what is appended after the reset is no prey of the truncation.
func TestResetTakesNoHarmFromATruncateFrontCalledBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newGatedDisk(vfs.NewMem())
		l := open(t, Options{FS: d.FS}).fill(60)
		d.shut.Store(true)
		go func() { _, _ = l.Append([]byte("hangs in its sync")) }()
		synctest.Wait()
		truncated, reset := make(chan error, 1), make(chan error, 1)
		go func() { truncated <- l.TruncateFront(50) }()
		synctest.Wait()
		go func() { reset <- l.Reset(5) }()
		synctest.Wait()
		for range 60 {
			_, err := l.AppendAsync([]byte("new"))
			require.NoError(t, err)
		}
		h, err := l.Hold("reader", 5)
		require.NoError(t, err)
		d.open()
		require.NoError(t, <-truncated)
		require.NoError(t, <-reset)
		require.NoError(t, l.Sync())
		require.EqualValues(t, 5, l.FirstLSN())
		require.EqualValues(t, 64, l.LastLSN())
		got, err := l.Read(5, nil)
		require.NoError(t, err)
		require.Equal(t, "new", string(got))
		h.Release()
		require.NoError(t, l.Close())
	})
}

// TestSegmentsThatABusyLogDropsAreDeleted never lets the log rest.
func TestSegmentsThatABusyLogDropsAreDeleted(t *testing.T) {
	for _, policy := range []SyncPolicy{SyncAlways, SyncInterval} {
		synctest.Test(t, func(t *testing.T) {
			mem := vfs.NewMem()
			l := open(t, Options{FS: mem, SegmentSize: small, Sync: policy, SyncEvery: 5 * time.Millisecond}).fill(3)
			for range 100 {
				var b Batch
				b.TruncateBack(3)
				b.Add([]byte("again"))
				_, err := l.AppendBatch(&b)
				require.NoError(t, err)
				pass(time.Millisecond)
			}
			names, err := mem.List("log")
			require.NoError(t, err)
			require.Less(t, len(names), 20)
			require.NoError(t, l.Close())
		})
	}
}

// TestQueueIsBoundedInAppendsToo orders barriers, which have no bytes, behind a
// sync that hangs: at some point ordering waits.
func TestQueueIsBoundedInAppendsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newGatedDisk(vfs.NewMem())
		l := open(t, Options{FS: d.FS}).fill(1)
		d.shut.Store(true)
		go func() { _, _ = l.Append([]byte("hangs in its sync")) }()
		synctest.Wait()
		var ordered atomic.Int64
		go func() {
			var b Batch
			for range 2 * queueOps {
				if _, err := l.AppendBatchAsync(&b); err != nil {
					return
				}
				ordered.Add(1)
			}
		}()
		synctest.Wait()
		require.EqualValues(t, queueOps, ordered.Load())
		d.open()
		synctest.Wait()
		require.EqualValues(t, 2*queueOps, ordered.Load())
		require.NoError(t, l.Close())
	})
}

// TestLoneWaiterWithAContextIsOneCommitter has a goroutine of the log lead for a
// caller who may leave: the two are one committer, and nobody gathers in vain.
func TestLoneWaiterWithAContextIsOneCommitter(t *testing.T) {
	l := open(t, Options{}).fill(3)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for range 10 {
		p, err := l.AppendAsync([]byte("alone"))
		require.NoError(t, err)
		require.NoError(t, p.Wait(ctx))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	require.EqualValues(t, 1, l.lead.gather.expected)
}

// TestReadOnlyLogReadsTheTailThatItShows has one flipped bit in the last group,
// that a recovery would flip back: a read-only log shows its record, and reads it.
func TestReadOnlyLogReadsTheTailThatItShows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		l := open(t, Options{FS: mem}).fill(2)
		image := mem.Clone() // as a kill leaves it: without a mark
		path, at := l.lead.tail.Path(), l.lead.tail.Off()-20
		require.NoError(t, l.Close())
		f, err := image.Open(path, vfs.ReadWrite)
		require.NoError(t, err)
		var b [1]byte
		_, err = f.ReadAt(b[:], at)
		require.NoError(t, err)
		b[0] ^= 4
		_, err = f.WriteAt(b[:], at)
		require.NoError(t, err)

		v, err := Open("log", &Options{FS: image, ReadOnly: true})
		require.NoError(t, err)
		require.EqualValues(t, 2, v.LastLSN())
		require.NotEmpty(t, v.Recovery().Flipped)
		got, err := v.Read(2, nil)
		require.NoError(t, err)
		require.Equal(t, text(2, 0), string(got))
		r, err := v.NewReader(2)
		require.NoError(t, err)

		w, err := Open("log", &Options{FS: image, SegmentSize: 1 << 20}) // flips it back, on the disk
		require.NoError(t, err)
		defer w.Close()
		require.True(t, r.Next(), "what the writer did meanwhile is no damage: %v", r.Err())
		require.Equal(t, text(2, 0), string(r.Record().Data))
		_, err = w.Append([]byte("third"))
		require.NoError(t, err)
		pass(2 * lookEvery)
		require.EqualValues(t, 3, v.LastLSN())
		got, err = v.Read(2, nil)
		require.NoError(t, err)
		require.Equal(t, text(2, 0), string(got))
		require.NoError(t, w.Close())
		require.NoError(t, v.Close())
	})
}
