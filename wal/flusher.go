package wal

import (
	"time"
)

// What the log does without being asked.
const (
	// handAfter: an append that nobody waits for is handed to the OS after it.
	handAfter = time.Millisecond
	// syncAfter: under SyncAlways what was handed to the OS is synced after it.
	syncAfter = 10 * time.Millisecond
	// markAfter: a log that is idle for so long writes and syncs a mark, so that
	// its last group is provably durable.
	markAfter = 100 * time.Millisecond
)

// flusher is a goroutine that does what is due and nobody waits for. It sleeps
// without a timer while nothing will be.
type flusher struct {
	kick chan struct{} // look again at what is due
	stop chan struct{}
	done chan struct{}
}

func (f *flusher) start(l *Log) {
	f.kick, f.stop, f.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	go f.run(l)
}

func (f *flusher) end() {
	close(f.stop)
	<-f.done
}

func (f *flusher) run(l *Log) {
	defer close(f.done)
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	for {
		if wait, work := l.arm(); work {
			timer.Reset(wait)
		} else {
			timer.Stop()
		}
		select {
		case <-f.kick:
		case <-timer.C:
			l.flushDue()
		case <-f.stop:
			timer.Stop()
			return
		}
	}
}

// wakeFlusher has the flusher look again if it would sleep past what is due.
// Requires mu, and that nobody leads.
func (l *Log) wakeFlusher(now time.Time) {
	at, work := l.dueAt(now)
	if !work || !l.mu.armed.IsZero() && !at.Before(l.mu.armed) {
		return
	}
	select {
	case l.flush.kick <- struct{}{}:
	default:
	}
}

// arm returns how long the flusher sleeps, and whether there is anything to wake
// for. What is due while somebody leads is for whoever leads last to wake it for.
func (l *Log) arm() (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	at, work := l.dueAt(now)
	if !work || l.mu.leading && !at.After(now) {
		l.mu.armed = time.Time{}
		return 0, false
	}
	l.mu.armed = at
	return max(0, at.Sub(now)), true
}

// dueAt returns when something must be done without being asked. Requires mu.
func (l *Log) dueAt(now time.Time) (at time.Time, work bool) {
	switch {
	case l.mu.failed != nil || l.mu.closed:
		return at, false
	case len(l.mu.queue.buf) > handSize:
		return now, true
	case len(l.mu.queue.ops) > 0 && l.mu.queue.since.IsZero():
		return now.Add(handAfter), true
	case len(l.mu.queue.ops) > 0:
		return l.mu.queue.since.Add(handAfter), true
	case l.opts.Sync == SyncNone:
		return at, false
	case l.mu.written == l.mu.synced:
		return l.mu.lastTurn.Add(markAfter), l.mu.unmarked
	}
	return l.syncAt(), true
}

// syncAt returns when what was written must be synced. Requires mu, and that
// something is not synced.
func (l *Log) syncAt() time.Time {
	if l.opts.Sync == SyncInterval {
		return l.mu.dirtySince.Add(l.opts.SyncEvery)
	}
	return l.mu.dirtySince.Add(syncAfter)
}

// syncDue reports whether whoever leads now must sync, although nobody waits for
// it. Requires mu.
func (l *Log) syncDue() bool {
	return l.opts.Sync != SyncNone && l.mu.written != l.mu.synced && !time.Now().Before(l.syncAt())
}

// flushDue does what is due, if nobody leads.
func (l *Log) flushDue() {
	l.mu.Lock()
	now := time.Now()
	at, work := l.dueAt(now)
	if !work || l.mu.leading || now.Before(at) {
		l.mu.Unlock()
		return
	}
	l.mu.leading, l.lead.gather.proxy = true, true
	if len(l.mu.queue.ops) > 0 || l.mu.written != l.mu.synced {
		l.turn(len(l.mu.queue.ops) == 0)
		return
	}
	r := l.take(false)
	l.mu.Unlock()
	if err := l.mark(r, true); err == nil && r.failed == nil {
		l.nameNewest(r)
		l.process(r)
	}
	l.mu.Lock()
	l.settle(r)
}
