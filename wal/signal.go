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

// rewinds remembers how far the log was taken back, so that a reader can tell
// whether something it had passed was dropped. Its epoch is odd while what
// readers see changes with a rewind: whoever finds the same even epoch before and
// after a read has read from one history.
type rewinds struct {
	epoch atomic.Uint64
	mu    sync.Mutex // held while epoch is odd
	low   []rewind   // rising in epoch and in next: what a later one undercuts is forgotten
}

// rewind is one truncation: next was the LSN of the next record after it.
type rewind struct {
	epoch uint64
	next  LSN
}

// begin opens a change of what readers see that takes the log back, first to the
// next record list[0], then to list[1], and so on. end must follow.
func (r *rewinds) begin(list ...LSN) {
	r.mu.Lock()
	epoch := r.epoch.Add(1) + 1
	for _, next := range list {
		n := len(r.low)
		for n > 0 && r.low[n-1].next >= next {
			n--
		}
		r.low = append(r.low[:n], rewind{epoch, next})
	}
	for len(r.low) > keptRewinds { // a reader that was last used so long ago may be told of one too many
		r.low[1].next = r.low[0].next
		r.low = append(r.low[:0], r.low[1:]...)
	}
}

// keptRewinds is how many truncations are told apart.
const keptRewinds = 1024

func (r *rewinds) end() {
	r.epoch.Add(1)
	r.mu.Unlock()
}

// now returns the epoch, once no change is under way.
func (r *rewinds) now() uint64 {
	for {
		if epoch := r.epoch.Load(); epoch%2 == 0 {
			return epoch
		}
		r.wait()
	}
}

// wait returns when no change is under way.
func (r *rewinds) wait() {
	r.mu.Lock()
	defer r.mu.Unlock()
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
