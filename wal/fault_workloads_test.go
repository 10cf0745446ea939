package wal

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// workload is what is done while a call fails. The log that it opens is the one
// that before made; nil: there is none.
type workload struct {
	name   string
	before func(t *testing.T) *vfs.Mem
	opts   Options // of which Sync and Recovery count, and how segments grow, if they do
	do     func(r *run)
}

// workloads are what the fault matrix goes through.
var workloads = []workload{
	{"create", nil, Options{}, func(r *run) {
		r.append(100)
		r.append(5000)
		r.append(0)
	}},
	{"rotate", logOf(2), Options{}, func(r *run) {
		for range 7 {
			r.append(2500)
			r.rest()
		}
		r.rotate()
		r.append(9000) // grows its segment
		r.append(10)
	}},
	{"truncate", logOf(12), Options{}, func(r *run) {
		r.truncateFront(5)
		r.batch(2, 600, 0, "one")
		r.truncateBack(1)
		r.append(50)
		r.batch(2, 20, 3, "two")
		r.truncateFront(2)
		r.append(50)
		r.reset(100)
		r.append(50)
		r.truncateFront(1)
	}},
	{"async", logOf(2), Options{}, func(r *run) {
		r.async(1000)
		r.async(1000)
		r.sync()
		r.async(5000)
		r.async(5000)
		r.idle(5 * time.Millisecond)
		r.async(100)
		r.idle(time.Second)
		r.async(100)
		r.wait()
		r.async(100) // Close makes it durable
	}},
	{"interval", logOf(2), Options{Sync: SyncInterval}, func(r *run) {
		for range 5 {
			r.append(2500)
			r.rest()
		}
		r.idle(time.Second)
		r.batch(3, 100, 1, "meta")
		r.append(10)
		r.sync()
		r.append(10)
	}},
	{"unsynced", logOf(2), Options{Sync: SyncNone}, func(r *run) {
		for range 4 {
			r.append(2500)
			r.rest()
		}
		r.truncateBack(1)
		r.async(10)
		r.idle(time.Second)
		r.append(10)
	}},
	{"recover", tornLog, Options{}, func(r *run) {
		r.append(100)
		r.readAll()
		r.append(100)
	}},
	{"read", logOf(20), Options{}, func(r *run) {
		r.readAll()
		r.append(100)
		for lsn := r.log.FirstLSN(); lsn <= r.log.LastLSN(); lsn += 7 {
			if _, err := r.log.Read(lsn, nil); !r.asTheDisk(err) {
				r.problem("Read(%d): %v", lsn, err)
			}
		}
		r.log.Segments()
		r.truncateBack(4)
		r.readAll()
	}},
	{"full", logOf(2), Options{}, func(r *run) {
		r.append(100)
		r.limit(r.crash.Used() + 2000)
		r.append(9000)
		r.async(9000)
		r.sync()
		r.limit(0)
		r.append(100)
		r.limit(1)
		r.append(9000)
		r.truncateFront(2)
		r.limit(0)
		r.batch(1, 50, 1, "again")
	}},
	{"grow", logOf(2), Options{SegmentSize: 64 << 10, firstSegment: MinSegmentSize}, func(r *run) {
		for range 6 {
			r.append(3000)
			r.rest()
		}
		r.append(30_000) // more than what is ready has room for
		r.rest()
		r.limit(r.crash.Used() + 6000)
		r.append(40_000)
		r.append(500)
		r.limit(0)
		r.append(20_000)
		r.truncateFront(3)
		r.rest()
		r.append(100)
	}},
	{"large", logOf(2), Options{SegmentSize: 64 << 10, largeRecord: 2000, largePiece: 2000}, func(r *run) {
		r.append(100)
		r.append(5000)
		r.append(2000)
		r.async(100)
		r.append(9000) // in several pieces
		r.limit(r.crash.Used() + 2000)
		r.append(60_000)
		r.limit(0)
		r.append(30_000) // begins a segment
		r.append(30_000)
	}},
	{"again", nil, Options{SegmentSize: 20 << 10, firstSegment: 20 << 10, largeRecord: 6000, largePiece: 6000}, func(r *run) {
		for range 5 {
			r.append(5000) // three of them fill a segment
			r.rest()
		}
		r.truncateFront(4) // sets a file aside
		r.rest()
		r.append(5000)
		r.rest() // a segment is made of it
		r.async(100)
		r.append(100)
		r.append(7000) // where it is, and what was there before
		r.idle(time.Second)
		r.truncateBack(2)
		r.rest()
		r.limit(1)
		r.append(4000)
		r.rest()
		r.append(9000)
		r.limit(0)
		r.reset(50)
		r.rest()
		r.append(100)
	}},
	{"direct", nil, Options{Direct: true, SegmentSize: 20 << 10, firstSegment: 20 << 10, largeRecord: 6000, largePiece: 6000}, func(r *run) {
		r.append(100)
		r.batch(3, 900, 1, "one")
		r.append(3000)
		r.async(100) // behind it a sync is due, and what is behind that is written otherwise
		r.append(500)
		r.idle(time.Second) // a mark
		r.append(500)
		r.append(7000) // from where it is
		r.append(300)
		r.readAll()
		r.append(6000) // begins a segment
		r.append(40)
		r.truncateFront(8) // sets a file aside
		r.rest()
		for range 4 {
			r.append(3500)
			r.rest() // a segment is made of it
		}
		r.append(20)
		r.append(4000)
		r.truncateBack(2)
		r.limit(1)
		r.append(400)
		r.append(9000)
		r.limit(0)
		r.append(100)
		r.append(100)
	}},
	{"given up", damagedLog, Options{Recovery: PointInTime}, func(r *run) {
		r.readAll()
		r.append(3000)
		r.append(3000)
	}},
	{"beside", logOf(12), Options{}, func(r *run) {
		o := faultOptions
		o.FS, o.ReadOnly = r.fs, true
		v, err := Open("log", &o)
		if err != nil {
			if !r.asTheDisk(err) {
				r.problem("Open to read: %v", err)
			}
			return
		}
		for n := range 3 {
			r.append(2000 * n)
			r.idle(2 * lookEvery)
			if _, err := worldOf(v); !r.asTheDisk(err) {
				r.problem("Records, to read: %v", err)
			}
		}
		if err := v.Close(); !r.asTheDisk(err) {
			r.problem("Close, to read: %v", err)
		}
	}},
	{"together", logOf(2), Options{}, together},
}

// makes returns what make leaves in an empty file system. It runs in a bubble: it is
// the same every time, since what is due after a time is not done meanwhile.
func makes(fill func(t *testing.T, c *vfs.Crash) *vfs.Mem) func(*testing.T) *vfs.Mem {
	return func(t *testing.T) (m *vfs.Mem) {
		synctest.Test(t, func(t *testing.T) { m = fill(t, vfs.NewCrash(512)) })
		return m
	}
}

// logOf returns a log of n records that was closed, in segments of its own.
func logOf(n int) func(*testing.T) *vfs.Mem {
	return makes(func(t *testing.T, c *vfs.Crash) *vfs.Mem {
		l := openOn(t, c)
		for i := range n {
			requireAppend(t, l, fmt.Sprintf("old%05d%s", i, strings.Repeat("-", 800)))
		}
		require.NoError(t, l.Close())
		return c.State().Image(c.State().Newest())
	})
}

// tornLog is what a crash left of a log.
var tornLog = makes(tear)

// tear returns what a crash on c left of a log: a write that was not synced lacks a
// part, and nothing proves the group before it.
func tear(t *testing.T, c *vfs.Crash) (torn *vfs.Mem) {
	armed := false
	o := faultOptions
	o.SegmentSize = 64 << 10 // nothing happens in the background
	o.FS = vfs.Wrap(c, func(call vfs.Call, do func(int) (int, error)) (int, error) {
		if armed && call.Op == vfs.Sync && torn == nil {
			state := c.State()
			picks := state.Newest()
			picks[len(picks)/2] = 0
			torn = state.Image(picks)
		}
		return do(int(call.Size))
	})
	l := openWith(t, o)
	requireAppend(t, l, "old00000", "old00001", "old00002")
	synctest.Wait()
	armed = true
	requireAppend(t, l, "old00003"+strings.Repeat("-", 6000))
	require.NoError(t, l.Close())
	return torn
}

// damagedLog is a log of which a sealed segment is damaged, so that a point-in-time
// recovery gives up what is behind.
var damagedLog = func(t *testing.T) *vfs.Mem {
	m := logOf(30)(t)
	names, err := m.List("log")
	require.NoError(t, err)
	require.Greater(t, len(names), 4)
	f, err := m.Open("log/0000000000000002.seg", vfs.ReadWrite)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("damage"), segment.HeaderSize+3000)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return m
}

// together has several goroutines append, one follow and one close, so that
// whoever waits must be released.
func together(r *run) {
	type result struct {
		data string
		lsn  LSN
		err  error
	}
	results := make(chan result, 64)
	ctx, cancel := context.WithCancel(context.Background())
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		for _, err := range r.log.Follow(ctx, r.log.LastLSN()+1) {
			if err != nil {
				return
			}
		}
	}()
	var datas [4][]string
	for g := range datas {
		for range 3 {
			datas[g] = append(datas[g], r.data(900))
		}
	}
	l := r.log
	for _, mine := range datas {
		go func() {
			for _, data := range mine {
				lsn, err := l.Append([]byte(data))
				results <- result{data, lsn, err}
			}
		}()
	}
	var all []result
	for range 12 {
		all = append(all, <-results)
	}
	cancel()
	<-followed
	// The LSNs of those that succeeded are the order; the others follow in any.
	slices.SortStableFunc(all, func(a, b result) int {
		switch {
		case a.err == nil && b.err == nil:
			return int(a.lsn) - int(b.lsn)
		case a.err == nil:
			return -1
		case b.err == nil:
			return 1
		}
		return 0
	})
	r.model.anyOrder = true
	for _, res := range all {
		r.did("append", res.err, appends(res.data))
	}
	if r.failed != nil {
		r.failedAt = r.model.copy()
	}
}
