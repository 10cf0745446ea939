package wal

import (
	"runtime"
	"sync/atomic"
	"time"
)

// gather is how a leader waits for those whose appends it can take along.
// Without it closed-loop committers part into two cohorts that take turns: half
// of them a sync, at twice the latency (so do all logs that batch by what has
// arrived when the disk becomes free).
type gather struct {
	arrived atomic.Int64 // committers that wait, since the queue was last taken

	// Owned by the leader.
	off      bool
	proxy    bool          // the leader is no committer
	expected int64         // released by the last round, and arrived meanwhile
	took     time.Duration // of a sync, smoothed
	strayed  float64       // of those who were missing, the part that a wait has not brought, smoothed
	skipped  int           // rounds since the last wait
}

// Bounds of a gathering: of its time, which is also at most a sync, since two cohorts
// that take turns wait as long for each other; and of its yields, since the clock may
// stand still.
const (
	gatherTime   = 400 * time.Microsecond
	gatherYields = 2048
	gatherQuiet  = 8 // for so small a part of that time nobody came: the others do not come back
)

// Those who were released may not come back: records that arrive at a rate of their own
// arrive whether somebody waits or not, and a wait as long as a sync brings half of those
// it waits for. A leader then waits in one round of many only, to see whether that has
// changed.
const (
	gatherStray = 0.25 // of those who were waited for, at most
	gatherProbe = 128  // rounds
)

// wait yields to other goroutines until as many committers have arrived as are
// expected, or a bound is reached.
func (g *gather) wait() {
	there := g.arrived.Load()
	missing := g.expected - there
	if g.off || missing <= 0 {
		return
	}
	if g.skipped++; g.strayed > gatherStray && g.skipped < gatherProbe {
		return
	}
	g.skipped = 0
	bound := min(gatherTime, g.took)
	start := time.Now()
	last, at := there, start // who came last, and when
	for n := 0; n < gatherYields; n++ {
		now := time.Now()
		if came := g.arrived.Load(); came > last {
			last, at = came, now
		}
		if last >= g.expected || now.Sub(start) > bound || last > there && now.Sub(at) > bound/gatherQuiet {
			break
		}
		runtime.Gosched()
	}
	strayed := max(0, float64(g.expected-last)/float64(missing))
	g.strayed += (strayed - g.strayed) / 16
	if strayed < gatherStray {
		g.skipped = gatherProbe // so that all is as it was soon, if they do come back
	}
}

// settle notes how many who waited a round released.
func (g *gather) settle(released int) {
	if !g.proxy {
		released++
	}
	g.proxy = false
	g.expected = int64(released) + g.arrived.Load()
}

// synced notes how long a sync took.
func (g *gather) synced(took time.Duration) {
	if g.took == 0 {
		g.took = took
	}
	g.took += (took - g.took) / 8
}
