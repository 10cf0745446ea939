package wal

import (
	"fmt"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed3918b8df/tidemark/internal/scale"
	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// tally counts runs, by the call that failed first and by how.
type tally struct {
	sync.Mutex
	all    tallyRow
	byOp   map[vfs.Op]*tallyRow
	byErr  map[syscall.Errno]*tallyRow
	byPart map[part]*tallyRow
	cells  map[vfs.Op]map[syscall.Errno]int
	pairs  tallyRow
	missed int // runs in which no call could fail so
}

type tallyRow struct{ runs, unopened, ended, noSpace, told, images int }

func newTally() *tally {
	return &tally{byOp: map[vfs.Op]*tallyRow{}, byErr: map[syscall.Errno]*tallyRow{}, byPart: map[part]*tallyRow{},
		cells: map[vfs.Op]map[syscall.Errno]int{}}
}

func (c *tally) add(r *run) {
	c.Lock()
	defer c.Unlock()
	if !r.hit.ok {
		c.missed++
		return
	}
	if c.cells[r.hit.Op] == nil {
		c.cells[r.hit.Op] = map[syscall.Errno]int{}
	}
	c.cells[r.hit.Op][r.fault.err]++
	rows := []*tallyRow{&c.all, rowOf(c.byOp, r.hit.Op), rowOf(c.byErr, r.fault.err), rowOf(c.byPart, r.fault.part)}
	if r.second {
		rows = append(rows, &c.pairs)
	}
	for _, row := range rows {
		row.add(r)
	}
}

func rowOf[K comparable](rows map[K]*tallyRow, key K) *tallyRow {
	if rows[key] == nil {
		rows[key] = new(tallyRow)
	}
	return rows[key]
}

func (row *tallyRow) add(r *run) {
	row.runs++
	row.images += r.images
	for _, f := range []struct {
		is bool
		n  *int
	}{{r.unopened, &row.unopened}, {r.ended, &row.ended}, {r.noSpace, &row.noSpace}, {r.told, &row.told}} {
		if f.is {
			*f.n++
		}
	}
}

// log prints the tables.
func (c *tally) log(t *testing.T) {
	line := func(what string, row *tallyRow) {
		if row != nil {
			t.Logf("%-24s %7d %9d %9d %9d %9d %8d", what, row.runs, row.unopened, row.ended, row.noSpace, row.runs-row.told, row.images)
		}
	}
	t.Logf("%-24s %7s %9s %9s %9s %9s %8s", "", "runs", "not open", "ended", "no space", "unnoticed", "images")
	for _, op := range allOps {
		line(op.String(), c.byOp[op])
	}
	for _, e := range errnos {
		line(e.err.Error(), c.byErr[e.err])
	}
	for _, p := range parts {
		line(string(p), c.byPart[p])
	}
	line("two calls", &c.pairs)
	line("all", &c.all)
	t.Logf("%d more in which no call could fail so", c.missed)
}

// TestEveryFailingCallIsSurvived fails every call of the file system in turn with
// every error that it can have: that call once, all of its kind from then on, or all
// that can; before or after its effect, or in the middle of a read or a write; and
// then closes the log under that, or uses it on. Two calls fail too, the second a few
// calls behind the first. Whatever the log then says must be so and is what is
// documented of the error, whoever waits is released, nothing stays open or goes on,
// and the log opens again as if nothing had been but what it said.
func TestEveryFailingCallIsSurvived(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	c := newTally()
	t.Run("workload", func(t *testing.T) {
		for _, wl := range workloads {
			t.Run(wl.name, func(t *testing.T) {
				if wl.name != "together" {
					t.Parallel()
				} // there a leader yields up to gatherYields times, which takes long beside others
				wl.failEveryCall(t, c)
			})
		}
	})
	c.log(t)
	require.GreaterOrEqual(t, c.all.runs, scale.Pick(t, 500, 8_000, 13_000, 150_000))
	require.GreaterOrEqual(t, c.pairs.runs, scale.Pick(t, 50, 1_000, 2_000, 40_000))
	require.LessOrEqual(t, c.missed, c.all.runs/20)
	if scale.Of(t) == scale.Quick {
		return // not every call has its turn
	}
	cells := 0
	for _, e := range errnos {
		for _, op := range e.ops {
			require.NotZero(t, c.cells[op][e.err], "no %v failed with %v", op, e.err)
			cells++
		}
	}
	require.Equal(t, 128, cells)
}

// failEveryCall runs the workload with every fault.
func (wl workload) failEveryCall(t *testing.T, c *tally) {
	base, start := wl.begin(t)
	var quiet *run
	for _, closes := range []bool{false, true} {
		quiet = wl.run(t, base, start, injected{closes: closes}, (*run).judge)
		require.Empty(t, quiet.problems, "without a fault:\n%v\n%s", quiet.model, quiet.trace())
	}
	rare, common := scale.Pick(t, 797, 149, 31, 1), scale.Pick(t, 211, 31, 11, 1) // the latter of EIO and ENOSPC
	pairs, gaps := scale.Pick(t, 307, 37, 17, 1), 8
	type cell struct {
		op  vfs.Op
		err syscall.Errno
	}
	seen := map[cell]bool{} // each has its turn
	try := func(f injected) {
		r := wl.run(t, base, start, f, (*run).judge)
		c.add(r)
		require.Empty(t, r.problems, "%s: %v of %s, %v:\n%v\n%s", wl.name, r.hit.Op, r.hit.Name, f, r.model, r.trace())
	}
	for at, call := range quiet.counts {
		for i, f := range faultsAt(at, call) {
			stride := rare
			if f.err == syscall.EIO || f.err == syscall.ENOSPC {
				stride = common
			}
			first := !seen[cell{call.Op, f.err}] && scale.Of(t) != scale.Quick
			if first || (at*31+i)%stride == 0 { // so that each way has its turn at some call
				seen[cell{call.Op, f.err}] = true
				try(f)
			}
		}
		for i, f := range pairsAt(at, call, gaps) {
			if (at*31+i)%pairs == 0 {
				try(f)
			}
		}
	}
}

// begin returns what the workload begins on.
func (wl workload) begin(t *testing.T) (base *vfs.Mem, start world) {
	if wl.before == nil {
		return vfs.NewMem(), world{first: 1, meta: "-"}
	}
	base = wl.before(t)
	return base, worldIn(t, base, wl.opts.Recovery)
}

// hangs is how long a run may take in real time.
const hangs = 10 * time.Second

// run runs the workload with the fault and judges what is left.
func (wl workload) run(t *testing.T, base *vfs.Mem, start world, f injected, judge func(*run)) *run {
	return wl.runWith(t, base, start, f, func(*run) {}, judge)
}

// runWith is run, with what edit changes.
func (wl workload) runWith(t *testing.T, base *vfs.Mem, start world, f injected, edit, judge func(*run)) *run {
	guard := time.AfterFunc(hangs, func() {
		_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 2)
		panic(fmt.Sprintf("%s with %v has not returned after %v", wl.name, f, hangs))
	})
	defer guard.Stop()
	r := newRun(base, start, f)
	r.opts.Sync, r.opts.Recovery = wl.opts.Sync, wl.opts.Recovery
	if wl.opts.firstSegment != 0 {
		r.opts.SegmentSize, r.opts.firstSegment = wl.opts.SegmentSize, wl.opts.firstSegment
		r.crash.UseZeros()
	}
	r.t, r.each = t, scale.Pick(t, 2, 3, 3, 4)
	if r.opts.Direct = wl.opts.Direct; r.opts.Direct {
		r.crash.UseDirect(4096)
	}
	r.opts.largeRecord, r.opts.largePiece = wl.opts.largeRecord, wl.opts.largePiece
	edit(r)
	synctest.Test(t, func(*testing.T) {
		if r.openLog() {
			wl.do(r)
			r.rest()
			r.judgeLive()
		}
		judge(r)
	})
	return r
}
