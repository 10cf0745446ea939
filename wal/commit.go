package wal

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"
)

// This file is group commit: who writes, for whom, and who is told.
//
// There is no goroutine that writes. A committer that finds nobody leading takes
// the lead: it waits a moment for others, takes all that is ordered, writes it,
// syncs once, tells everybody whose append that decided, and hands the lead to
// one who still waits. Lead is mu.leading; whoever has it owns the struct lead
// and every file.
//
//	committer A                        committer B
//	orders 7, finds nobody leading
//	leads: takes the queue [7]         orders 8, finds A leading
//	writes and syncs 7                 waits
//	settles: 7 is done; hands the      wakes with the lead: 7 was done when A
//	lead to B; returns                 settled, so the queue is [8]

// waiter is somebody who waits for an outcome, or for the lead.
type waiter struct {
	seq     uint64 // waits for this position; noSeq: for the lead alone
	durable bool   // to become durable; else to be handed to the OS
	leads   bool   // was woken with the lead
	queued  bool   // is in the list
	wake    chan struct{}
	next    *waiter
}

const noSeq = ^uint64(0)

// waiters is a list, oldest first, and the memory of waiters gone.
type waiters struct {
	head    *waiter
	tail    **waiter
	free    *waiter
	durable int // in the list, waiting for durability
}

func (ws *waiters) push(seq uint64, durable bool) *waiter {
	w := ws.free
	if w == nil {
		w = &waiter{wake: make(chan struct{}, 1)}
	} else {
		ws.free = w.next
	}
	w.seq, w.durable, w.leads, w.queued, w.next = seq, durable, false, true, nil
	if ws.head == nil {
		ws.tail = &ws.head
	}
	*ws.tail = w
	ws.tail = &w.next
	if durable {
		ws.durable++
	}
	return w
}

// remove takes w out of the list and wakes nobody.
func (ws *waiters) remove(w *waiter) {
	for at := &ws.head; *at != nil; at = &(*at).next {
		if *at == w {
			ws.unlink(at)
			return
		}
	}
}

func (ws *waiters) unlink(at **waiter) {
	w := *at
	*at = w.next
	if w.next == nil {
		ws.tail = at
	}
	if w.durable {
		ws.durable--
	}
	w.next, w.queued = nil, false
}

// release gives the memory of w, which is in no list and will not be woken, back.
func (ws *waiters) release(w *waiter) {
	w.next = ws.free
	ws.free = w
}

// cut is a stretch of the stream, [from, to), that was thrown away.
type cut struct {
	from, to uint64
	err      error
}

// keptCuts is how many cuts are remembered.
const keptCuts = 64

// outcome returns whether the fate of the append at seq is known: whether it
// became durable, or was handed to the OS. Requires mu.
func (l *Log) outcome(seq uint64, durable bool) (done bool, err error) {
	if seq == noSeq {
		return false, nil
	}
	for _, c := range l.mu.cuts {
		if c.from <= seq && seq < c.to {
			return true, c.err
		}
	}
	switch {
	case seq <= l.mu.forgot:
		return true, fmt.Errorf("%w: too many appends have failed since", ErrUnknownOutcome)
	case seq <= l.mu.synced, !durable && seq <= l.mu.written:
		return true, nil
	case l.mu.failed == nil:
		return false, nil
	case seq <= l.mu.unknown:
		return true, fmt.Errorf("%w: %w", ErrUnknownOutcome, l.mu.failed)
	}
	return true, l.mu.failed
}

// await returns the outcome of the append at seq, and leads where that is what
// it takes.
func (l *Log) await(ctx context.Context, seq uint64, durable bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if done, err := l.outcome(seq, durable); done {
			return err
		}
		if !l.mu.leading {
			l.mu.leading = true
			if ctx.Done() == nil {
				l.turn(durable)
				continue
			}
			go func() { // so that the caller can leave in the middle of a sync
				l.mu.Lock()
				defer l.mu.Unlock()
				l.lead.gather.proxy = true
				l.turn(durable)
			}()
		}
		if err := l.park(ctx, seq, durable); err != nil {
			return err
		}
	}
}

// arrive counts a caller who is about to await the append at seq, which was
// ordered without a waiter, among those that a leader waits for.
func (l *Log) arrive(seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq > l.mu.taken {
		l.lead.gather.arrived.Add(1)
	}
}

// park waits for an outcome or for the lead. On return without an error the
// caller looks again; if it was given the lead, nobody leads. Requires mu, and
// gives it up meanwhile.
func (l *Log) park(ctx context.Context, seq uint64, durable bool) error {
	w := l.mu.waiters.push(seq, durable)
	l.mu.Unlock()
	var err error
	select {
	case <-w.wake:
	case <-ctx.Done():
		err = ctx.Err()
	}
	l.mu.Lock()
	if err != nil && w.queued {
		l.mu.waiters.remove(w)
	} else if err != nil {
		<-w.wake // it was woken meanwhile
	}
	if w.leads {
		l.mu.leading = false
		if err != nil {
			l.handOver()
		}
	}
	l.mu.waiters.release(w)
	return err
}

// turn takes one turn as the leader: it writes all that is ordered, syncs it if
// the caller or another waits for that, and settles. Requires mu and the lead;
// gives up mu meanwhile, and the lead for good.
func (l *Log) turn(durable bool) {
	if durable && len(l.mu.queue.ops) > 0 {
		l.mu.Unlock()
		l.lead.gather.wait()
		l.mu.Lock()
	}
	r := l.take(durable || l.mu.waiters.durable > 0 || l.syncDue())
	l.mu.Unlock()
	l.process(r)
	l.mu.Lock()
	l.settle(r)
}

// exclusive runs f as the leader, after all that was ordered before is durable
// or was thrown away. f's error is exclusive's; if the log failed meanwhile, it is
// ErrUnknownOutcome, and if it had before, or is closed, f was not run.
func (l *Log) exclusive(f func(*round) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.viewer != nil {
		return ErrReadOnly
	}
	if l.mu.closed {
		return ErrClosed
	}
	if err := l.takeLead(); err != nil {
		return err
	}
	r := l.take(true)
	l.mu.Unlock()
	l.process(r)
	var err error
	if r.failed == nil {
		err = f(r)
	}
	l.mu.Lock()
	l.settle(r)
	if r.failed != nil {
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, l.mu.failed)
	}
	return err
}

// takeLead waits for the lead. Requires mu, and gives it up meanwhile. The error
// says that the log has ended; then the lead was not taken.
func (l *Log) takeLead() error {
	for l.mu.leading {
		if err := l.park(context.Background(), noSeq, false); err != nil {
			return err
		}
	}
	if l.mu.closed {
		l.handOver()
		return ErrClosed
	}
	if l.mu.failed != nil {
		l.handOver()
		return l.mu.failed
	}
	l.mu.leading = true
	return nil
}

// round is one turn of a leader.
type round struct {
	queue
	sync bool // make all durable

	failed  error  // poison: why the log takes no appends from now on
	cutErr  error  // no space: everything from cutFrom was thrown away
	cutFrom uint64 // with cutErr
}

// take makes a round of all that is ordered. Requires mu and the lead.
func (l *Log) take(sync bool) *round {
	r := &l.lead.round
	*r = round{queue: l.mu.queue, sync: sync}
	l.mu.taken = l.mu.seq
	l.mu.queue = l.mu.spare
	l.mu.queue.reset()
	l.lead.gather.arrived.Store(0)
	l.room.Broadcast()
	return r
}

// settle makes the outcome of a round known, wakes everybody it decided, and
// hands the lead on. Requires mu and the lead, which it gives up.
func (l *Log) settle(r *round) {
	l.mu.written, l.mu.synced = l.lead.written.seq, l.lead.synced.seq
	l.mu.dirtySince, l.mu.lastTurn, l.mu.unmarked = l.lead.firstWork, time.Now(), l.lead.tail != nil && (l.lead.marked != markNone || !l.lead.frontDue.IsZero())
	if r.failed != nil && l.mu.failed == nil {
		l.mu.failed = fmt.Errorf("%w: %w", ErrFailed, r.failed)
		l.mu.unknown = l.lead.handed
		l.mu.queue.reset()
		l.hooks.failed(l.mu.failed)
	}
	if r.cutErr != nil {
		l.throwAway(r)
	}
	if r.failed != nil || r.cutErr != nil {
		l.news.fire()
	}
	if r.buf != nil {
		l.mu.spare = r.queue
	}
	l.mu.stats.add(&l.lead.stats)
	released := 0
	for at := &l.mu.waiters.head; *at != nil; {
		w := *at
		if done, _ := l.outcome(w.seq, w.durable); !done {
			at = &w.next
			continue
		}
		l.mu.waiters.unlink(at)
		w.wake <- struct{}{}
		released++
	}
	l.lead.gather.settle(released + 1)
	l.room.Broadcast()
	l.mu.leading = false
	l.handOver()
}

// throwAway ends the stretch of the stream that r could not write, with all that
// was ordered behind it, and gives its LSNs back. Requires mu.
func (l *Log) throwAway(r *round) {
	for _, ops := range [][]op{r.ops, l.mu.queue.ops} {
		for _, o := range ops {
			if o.seq >= r.cutFrom && !o.waits {
				l.mu.lost = r.cutErr
				l.mu.untold.add(o.seq, r.cutErr)
			}
		}
	}
	if len(l.mu.cuts) == keptCuts {
		l.mu.forgot = l.mu.cuts[0].to - 1
		l.mu.cuts = append(l.mu.cuts[:0], l.mu.cuts[1:]...)
	}
	if r.cutFrom <= l.mu.seq {
		l.mu.cuts = append(l.mu.cuts, cut{from: r.cutFrom, to: l.mu.seq + 1, err: r.cutErr})
	}
	l.mu.queue.reset()
	l.mu.first, l.mu.next = LSN(l.first.Load()), l.lead.written.last+1
	l.mu.stalled = r.cutErr
	l.hooks.noSpace(r.cutErr)
}

// handOver gives the lead to the oldest waiter, or, if there is none and
// something is left to do, has the flusher take it. Requires mu, and that nobody
// leads.
func (l *Log) handOver() {
	if w := l.mu.waiters.head; w != nil {
		l.mu.waiters.unlink(&l.mu.waiters.head)
		l.mu.leading = true
		w.leads = true
		w.wake <- struct{}{}
		return
	}
	l.wakeFlusher(time.Now())
}

// gather is how a leader waits for those whose appends it can take along.
// Without it closed-loop committers part into two cohorts that take turns: half
// of them a sync, at twice the latency (so do all logs that batch by what has
// arrived when the disk becomes free).
type gather struct {
	arrived atomic.Int64 // committers that wait, since the queue was last taken

	// Owned by the leader.
	off      bool
	proxy    bool          // the leader leads for another, who waits
	expected int64         // released by the last round, and arrived meanwhile
	took     time.Duration // of a sync, smoothed
}

// Bounds of a gathering: of its time, which is also at most half a sync, and of
// its yields, since the clock may stand still.
const (
	gatherTime   = 60 * time.Microsecond
	gatherYields = 512
)

// wait yields to other goroutines until as many committers have arrived as are
// expected, or a bound is reached.
func (g *gather) wait() {
	if g.off || g.arrived.Load() >= g.expected {
		return
	}
	bound := min(gatherTime, g.took/2)
	start := time.Now()
	for n := 0; n < gatherYields && g.arrived.Load() < g.expected; n++ {
		runtime.Gosched()
		if time.Since(start) > bound {
			return
		}
	}
}

// settle notes how many committers a round released.
func (g *gather) settle(released int) {
	if g.proxy { // the leader is no committer: the one it leads for was released
		released--
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
