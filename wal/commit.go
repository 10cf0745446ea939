package wal

import (
	"context"
	"fmt"
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

// Whoever waits takes mu once, to order and to stand in line, and is woken with the
// outcome: many who come back at once do not queue up for mu behind each other.

// waiter is somebody who waits for an outcome, or for the lead.
type waiter struct {
	seq     uint64 // waits for this position; noSeq: for the lead alone
	durable bool   // to become durable; else to be handed to the OS
	queued  bool   // is in the list
	leads   bool   // is woken with the lead
	err     error  // is woken without the lead, with this outcome
	wake    chan struct{}
	next    *waiter
}

const noSeq = ^uint64(0)

// waiters is a list, oldest first, and the memory of waiters gone.
type waiters struct {
	head    *waiter
	tail    **waiter
	free    *waiter
	gone    atomic.Pointer[waiter] // put back, and not yet in free; without mu
	durable int                    // in the list, waiting for durability
}

func (ws *waiters) push(seq uint64, durable bool) *waiter {
	if ws.free == nil {
		ws.free = ws.gone.Swap(nil)
	}
	w := ws.free
	if w == nil {
		w = &waiter{wake: make(chan struct{}, 1)}
	} else {
		ws.free = w.next
	}
	w.seq, w.durable, w.queued, w.leads, w.err, w.next = seq, durable, true, false, nil, nil
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

// release gives the memory of w, which is in no list and will not be woken, back. It
// needs no lock.
func (ws *waiters) release(w *waiter) {
	for {
		w.next = ws.gone.Load()
		if ws.gone.CompareAndSwap(w.next, w) {
			return
		}
	}
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
// it takes. Requires mu, and gives it up.
func (l *Log) await(ctx context.Context, seq uint64, durable bool) error {
	for {
		if done, err := l.outcome(seq, durable); done {
			l.mu.Unlock()
			return err
		}
		if !l.mu.leading {
			l.mu.leading = true
			if ctx.Done() == nil {
				l.turn(durable)
				l.mu.Lock()
				continue
			}
			go func() { // so that the caller can leave in the middle of a sync
				l.mu.Lock()
				l.lead.gather.proxy = true
				l.turn(durable)
			}()
		}
		w := l.mu.waiters.push(seq, durable)
		l.mu.Unlock()
		leads, err := l.park(ctx, w)
		if !leads {
			return err
		}
		l.mu.Lock()
		l.mu.leading = false
	}
}

// arrived counts one who awaits an append in the queue. Requires mu.
func (l *Log) arrived() {
	l.lead.gather.arrived.Add(1)
	if l.mu.queue.waited.IsZero() {
		l.mu.queue.waited = time.Now()
	}
}

// park returns when w, which was pushed, is woken: with the lead, or with the outcome
// that it returns. The error is ctx's if that has ended before.
func (l *Log) park(ctx context.Context, w *waiter) (leads bool, err error) {
	defer l.mu.waiters.release(w)
	done := ctx.Done()
	if done == nil {
		<-w.wake
		return w.leads, w.err
	}
	select {
	case <-w.wake:
		return w.leads, w.err
	case <-done:
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if w.queued {
		l.mu.waiters.remove(w)
		return false, ctx.Err()
	}
	<-w.wake // whoever took it from the list wakes it, and needs no lock for that
	if w.leads {
		l.mu.leading = false
		l.handOver()
		return false, ctx.Err()
	}
	return false, w.err
}

// turn takes one turn as the leader: it writes all that is ordered, syncs it if
// the caller or another waits for that, and settles. Requires mu and the lead, and
// gives up both.
func (l *Log) turn(durable bool) {
	if durable && len(l.mu.queue.ops) > 0 && l.mu.queue.large == nil {
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
	if l.viewer != nil {
		return ErrReadOnly
	}
	l.mu.Lock()
	if err := l.takeLead(); err != nil {
		l.mu.Unlock()
		return err
	}
	r := l.take(true)
	l.lead.gather.proxy = true
	l.mu.Unlock()
	l.process(r)
	var err error
	if r.failed == nil {
		err = f(r)
	}
	failed := r.failed != nil
	l.mu.Lock()
	l.settle(r)
	if failed {
		l.mu.Lock()
		defer l.mu.Unlock()
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, l.mu.failed)
	}
	return err
}

// awaitTurn returns when nobody leads. Requires mu, and gives it up meanwhile.
func (l *Log) awaitTurn() {
	if l.mu.leading {
		w := l.mu.waiters.push(noSeq, false)
		l.mu.Unlock()
		_, _ = l.park(context.Background(), w) // it is woken with the lead alone
		l.mu.Lock()
		l.mu.leading = false
	}
}

// takeLead waits for the lead. Requires mu, and gives it up meanwhile. The error
// says that the log has ended; then the lead was not taken.
func (l *Log) takeLead() error {
	if l.mu.closed {
		return ErrClosed
	}
	l.awaitTurn()
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
// hands the lead on. Requires mu and the lead, and gives up both: those it wakes
// come back for mu.
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
	r.large = nil // it is the caller's
	if r.buf != nil {
		l.mu.spare = r.queue
	}
	l.mu.stats.add(&l.lead.counts)
	if !r.waited.IsZero() && r.failed == nil && r.cutErr == nil && (r.sync || l.opts.Sync != SyncAlways) {
		l.mu.stats.CommitTime.add(l.mu.lastTurn.Sub(r.waited))
	}
	released := 0
	var decided *waiter
	end := &decided
	for at := &l.mu.waiters.head; *at != nil; {
		w := *at
		done, err := l.outcome(w.seq, w.durable)
		if !done {
			at = &w.next
			continue
		}
		l.mu.waiters.unlink(at)
		w.err = err
		*end, end = w, &w.next
		released++
	}
	l.lead.gather.settle(released)
	l.room.Broadcast()
	l.mu.leading = false
	*end = l.heir() // last: whom a goroutine wakes last runs next
	l.mu.Unlock()
	for decided != nil {
		w := decided
		decided = w.next // w is another's once it is woken
		w.wake <- struct{}{}
	}
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
	l.mu.taken = l.mu.seq // nobody leads for what was thrown away
	l.mu.first, l.mu.next = LSN(l.first.Load()), l.lead.written.last+1
	l.mu.stalled = r.cutErr
	l.hooks.noSpace(r.cutErr)
}

// handOver gives the lead to the oldest waiter, or, if there is none and
// something is left to do, has the flusher take it. Requires mu, and that nobody
// leads.
func (l *Log) handOver() {
	if w := l.heir(); w != nil {
		w.wake <- struct{}{}
	}
}

// heir gives the lead to the oldest waiter, and returns it to be woken; if there is none
// it is as handOver.
func (l *Log) heir() *waiter {
	w := l.mu.waiters.head
	if w == nil {
		l.wakeFlusher(time.Now())
		return nil
	}
	l.mu.waiters.unlink(&l.mu.waiters.head)
	l.mu.leading = true
	w.leads = true
	return w
}
