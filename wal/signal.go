package wal

import (
	"sync"
	"sync/atomic"
)

// signal wakes all who wait for news. It costs a load when nobody does.
type signal struct {
	waiting atomic.Bool
	mu      sync.Mutex
	ch      chan struct{}
}

// arm returns a channel that is closed by the next fire. Whoever waits arms
// first, then looks whether there is something, then waits: so nothing is missed.
func (s *signal) arm() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
		s.waiting.Store(true)
	}
	return s.ch
}

func (s *signal) fire() {
	if !s.waiting.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
		s.waiting.Store(false)
	}
}

// rewinds remembers how far the log was taken back, and in which order, so that
// a reader can tell whether something it had passed was dropped.
type rewinds struct {
	epoch atomic.Uint64 // rises with each
	mu    sync.Mutex
	low   []rewind // rising in epoch and in next: what a later one undercuts is forgotten
}

// rewind is one truncation: next was the LSN of the next record after it.
type rewind struct {
	epoch uint64
	next  LSN
}

func (r *rewinds) add(next LSN) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := len(r.low); n > 0 && r.low[n-1].next >= next; n-- {
		r.low = r.low[:n-1]
	}
	epoch := r.epoch.Load() + 1
	r.low = append(r.low, rewind{epoch, next})
	r.epoch.Store(epoch)
}

// lowest returns the lowest next of the truncations after epoch.
func (r *rewinds) lowest(epoch uint64) (next LSN, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.low {
		if w.epoch > epoch {
			return w.next, true // next rises: the first is the lowest
		}
	}
	return 0, false
}
