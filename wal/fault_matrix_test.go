package wal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/scale"
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
	var torn *vfs.Mem
	armed := false
	fsys := vfs.Wrap(c, func(call vfs.Call, do func(int) (int, error)) (int, error) {
		if armed && call.Op == vfs.Sync && torn == nil {
			state := c.State()
			picks := state.Newest()
			picks[len(picks)/2] = 0
			torn = state.Image(picks)
		}
		return do(int(call.Size))
	})
	o := faultOptions
	o.FS, o.SegmentSize = fsys, 64<<10 // nothing happens in the background
	l, err := Open("log", &o)
	require.NoError(t, err)
	for i := range 3 {
		_, err := l.Append([]byte(fmt.Sprintf("old%05d", i)))
		require.NoError(t, err)
	}
	armed = true
	_, err = l.Append([]byte("old00003" + strings.Repeat("-", 6000)))
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return torn
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

// tally counts runs, by the call that failed.
type tally struct {
	sync.Mutex
	byOp         map[vfs.Op]*tallyRow
	runs, images int
}

type tallyRow struct{ runs, poisoned, images int }

func (c *tally) add(r *run) {
	c.Lock()
	defer c.Unlock()
	row := c.byOp[r.hit.Op]
	if row == nil {
		row = new(tallyRow)
		c.byOp[r.hit.Op] = row
	}
	row.runs++
	row.images += r.images
	if r.poisoned {
		row.poisoned++
	}
	c.runs++
	c.images += r.images
}

// TestEveryFailingCallIsSurvived fails every call of the file system in turn:
// that one, all of its kind from then on, or all; before or after its effect, or
// in the middle of a write. Whatever the log then says must be so, whoever waits
// is released, and the log opens again as if nothing had been but what it said.
func TestEveryFailingCallIsSurvived(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	c := &tally{byOp: map[vfs.Op]*tallyRow{}}
	t.Run("workload", func(t *testing.T) {
		for _, wl := range workloads {
			t.Run(wl.name, func(t *testing.T) {
				t.Parallel()
				wl.failEveryCall(t, c)
			})
		}
	})
	t.Logf("%-9s %6s %16s %6s", "call", "runs", "ended the log in", "images")
	for op := vfs.Mkdir; op <= vfs.Close; op++ {
		if row := c.byOp[op]; row != nil {
			t.Logf("%-9v %6d %16d %6d", op, row.runs, row.poisoned, row.images)
		}
	}
	t.Logf("%-9s %6d %16s %6d", "all", c.runs, "", c.images)
	require.GreaterOrEqual(t, c.runs, scale.Pick(t, 900, 9000, 9000, 9000))
	if scale.Of(t) == scale.Quick {
		return // not every call has its turn
	}
	for _, op := range []vfs.Op{vfs.Mkdir, vfs.List, vfs.Create, vfs.Open, vfs.Rename, vfs.Remove, vfs.SyncDir,
		vfs.Lock, vfs.ReadAt, vfs.WriteAt, vfs.Allocate, vfs.Truncate, vfs.Sync, vfs.Stat, vfs.Close} {
		require.NotNil(t, c.byOp[op], "no %v was made to fail", op)
	}
}

// failEveryCall runs the workload with every fault.
func (wl workload) failEveryCall(t *testing.T, c *tally) {
	base, start := vfs.NewMem(), world{first: 1, meta: "-"}
	if wl.before != nil {
		base = wl.before(t)
		start = worldIn(t, base)
	}
	quiet := wl.run(t, base, start, injected{})
	require.Empty(t, quiet.problems, "without a fault:\n%v\n%s", quiet.model, quiet.trace())
	stride := scale.Pick(t, 9, 1, 1, 1)
	for at := 0; ; at++ {
		probe := wl.run(t, base, start, injected{at: at, err: syscall.EIO, lasts: "once"})
		if probe.faulty.Hits() == 0 {
			return // there are no more calls
		}
		for i, f := range faultsAt(at, probe.hit) {
			if (at+i)%stride != 0 {
				continue
			}
			r := wl.run(t, base, start, f)
			c.add(r)
			require.Empty(t, r.problems, "%v %s, %v:\n%v\n%s", r.hit.Op, r.hit.Name, f, r.model, r.trace())
		}
	}
}

// faultsAt returns the faults that call number at, which is like c, can have.
func faultsAt(at int, c vfs.Call) []injected {
	var list []injected
	errs := []error{syscall.EIO, syscall.ENOSPC}
	if !c.Op.Mutates() {
		errs = errs[:1] // it needs no space
	}
	for _, err := range errs {
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
	r.each = scale.Pick(t, 3, 3, 3, 12)
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
