package wal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// workload is what is done while a call fails. The log that it opens is the one
// that before made; nil: there is none.
type workload struct {
	name   string
	before func(t *testing.T) *vfs.Mem
	policy SyncPolicy
	do     func(r *run)
}

// workloads are what the fault matrix goes through.
var workloads = []workload{
	{"create", nil, SyncAlways, func(r *run) {
		r.append(100)
		r.append(5000)
		r.append(0)
	}},
	{"rotate", logOf(2), SyncAlways, func(r *run) {
		for range 7 {
			r.append(2500)
			r.rest()
		}
		r.rotate()
		r.append(9000) // grows its segment
		r.append(10)
	}},
	{"truncate", logOf(12), SyncAlways, func(r *run) {
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
	{"async", logOf(2), SyncAlways, func(r *run) {
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
	{"interval", logOf(2), SyncInterval, func(r *run) {
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
	{"unsynced", logOf(2), SyncNone, func(r *run) {
		for range 4 {
			r.append(2500)
			r.rest()
		}
		r.truncateBack(1)
		r.async(10)
		r.idle(time.Second)
		r.append(10)
	}},
	{"recover", tornLog, SyncAlways, func(r *run) {
		r.append(100)
		r.readAll()
		r.append(100)
	}},
	{"read", logOf(20), SyncAlways, func(r *run) {
		r.readAll()
		r.append(100)
		for lsn := r.log.FirstLSN(); lsn <= r.log.LastLSN(); lsn += 7 {
			_, err := r.log.Read(lsn, nil)
			if err != nil && (r.fault.err == nil || !errors.Is(err, r.fault.err)) {
				r.problem("Read(%d): %v", lsn, err)
			}
		}
		r.log.Segments()
		r.truncateBack(4)
		r.readAll()
	}},
	{"together", logOf(2), SyncAlways, together},
}

// logOf returns a log of n records that was closed, in segments of its own.
func logOf(n int) func(*testing.T) *vfs.Mem {
	return func(t *testing.T) *vfs.Mem {
		m := vfs.NewMem()
		o := faultOptions
		o.FS = m
		l, err := Open("log", &o)
		require.NoError(t, err)
		for i := range n {
			_, err := l.Append([]byte(fmt.Sprintf("old%05d%s", i, strings.Repeat("-", 800))))
			require.NoError(t, err)
		}
		require.NoError(t, l.Close())
		return m
	}
}

// tornLog returns what a crash left of a log: a write that was not synced lacks
// a part, and nothing proves the group before it.
func tornLog(t *testing.T) *vfs.Mem {
	c := vfs.NewCrash(512)
	var state *vfs.State
	fsys := vfs.Wrap(c, func(call vfs.Call, do func(int) (int, error)) (int, error) {
		if call.Op == vfs.Sync && state == nil && call.Off == 0 {
			if s := c.State(); len(s.Choices()) > 8 {
				state = s
			}
		}
		return do(int(call.Size))
	})
	o := faultOptions
	o.FS = fsys
	l, err := Open("log", &o)
	require.NoError(t, err)
	for i := range 3 {
		_, err := l.Append([]byte(fmt.Sprintf("old%05d", i)))
		require.NoError(t, err)
	}
	state = nil
	_, err = l.Append([]byte("old00003" + strings.Repeat("-", 6000)))
	require.NoError(t, err)
	require.NotNil(t, state)
	picks := state.Newest()
	picks[len(picks)/2] = 0
	m := state.Image(picks)
	c.Kill()
	_ = l.Close()
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
	for _, res := range all {
		r.did("append", res.err, appends(res.data))
		// The order of those of unknown outcome is not known: any of them may be
		// there without the others.
		if op := &r.model.ops[len(r.model.ops)-1]; op.fate == fateOpen {
			op.fate = fateMaybe
		}
	}
}

// TestEveryFailingCallIsSurvived fails every call of the file system in turn.
func TestEveryFailingCallIsSurvived(t *testing.T) {
	table := map[vfs.Op]*[3]int{} // runs, of which failed the log, images
	total, images := 0, 0
	stride := scaled(t, 9, 1, 1)
	for _, wl := range workloads {
		if !strings.Contains(wl.name, *only) {
			continue
		}
		base, start := vfs.NewMem(), world{first: 1, meta: "-"}
		if wl.before != nil {
			base = wl.before(t)
			start = worldIn(t, base)
		}
		quiet := wl.run(t, base, start, injected{})
		require.Empty(t, quiet.problems, "%s, without a fault:\n%v\n%s", wl.name, quiet.model, quiet.trace())
		for at := 0; ; at++ {
			probe := wl.run(t, base, start, injected{at: at, err: syscall.EIO, lasts: "once"})
			if probe.faulty.Hits() == 0 {
				break
			}
			for i, f := range faultsAt(at, probe.hit) {
				if (at+i)%stride != 0 {
					continue
				}
				r := wl.run(t, base, start, f)
				row := table[r.hit.Op]
				if row == nil {
					row = new([3]int)
					table[r.hit.Op] = row
				}
				row[0]++
				if r.poisoned {
					row[1]++
				}
				row[2] += r.images
				total++
				images += r.images
				if !assertRun(t, wl, r) {
					return
				}
			}
		}
	}
	t.Logf("%-9s %6s %6s %6s", "call", "runs", "failed", "images")
	for op := vfs.Mkdir; op <= vfs.Close; op++ {
		if row := table[op]; row != nil {
			t.Logf("%-9v %6d %6d %6d", op, row[0], row[1], row[2])
		}
	}
	t.Logf("%d runs, %d images", total, images)
	require.GreaterOrEqual(t, total, scaled(t, 500, 5000, 5000))
	for _, op := range []vfs.Op{vfs.Mkdir, vfs.List, vfs.Create, vfs.Open, vfs.Rename, vfs.Remove, vfs.SyncDir,
		vfs.Lock, vfs.ReadAt, vfs.WriteAt, vfs.Allocate, vfs.Truncate, vfs.Sync, vfs.Stat, vfs.Close} {
		require.NotNil(t, table[op], "no %v was made to fail", op)
	}
}

func assertRun(t *testing.T, wl workload, r *run) bool {
	if len(r.problems) == 0 {
		return true
	}
	t.Errorf("%s: %v %s %v:\n%s\n%v\n%s", wl.name, r.hit.Op, r.hit.Name, r.fault, strings.Join(r.problems, "\n"), r.model, r.trace())
	return *keepGoing
}

// faultsAt returns the faults that call number at, which is like c, can have.
func faultsAt(at int, c vfs.Call) []injected {
	var list []injected
	for _, err := range []error{syscall.EIO, syscall.ENOSPC} {
		for _, lasts := range []string{"once", "kind", "all"} {
			list = append(list, injected{at: at, err: err, lasts: lasts}, injected{at: at, err: err, lasts: lasts, after: true})
		}
		if c.Op == vfs.WriteAt || c.Op == vfs.ReadAt {
			for _, short := range []int{1, 512, int(c.Size) / 2, int(c.Size) - 1} {
				if short > 0 && short < int(c.Size) {
					list = append(list, injected{at: at, err: err, lasts: "once", short: short})
				}
			}
		}
	}
	return list
}

// hangs is how long a run may take in real time.
const hangs = 10 * time.Second

// run runs the workload with the fault and judges what is left.
func (wl workload) run(t *testing.T, base *vfs.Mem, start world, f injected) *run {
	guard := time.AfterFunc(hangs, func() {
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 2)
		panic(fmt.Sprintf("%s with %v has not returned after %v", wl.name, f, hangs))
	})
	defer guard.Stop()
	r := newRun(base, start, f)
	r.opts.Sync = wl.policy
	synctest.Test(t, func(*testing.T) {
		if r.openLog() {
			wl.do(r)
			r.rest()
			r.judgeLive()
			r.close()
		}
		r.judge()
	})
	return r
}
