package wal

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/seed3918b8df/tidemark/segment"
)

// scrubEvery is how long it is from the beginning of one pass of the scrub to that
// of the next, unless a pass takes longer.
const scrubEvery = time.Hour

// scrubStep is how many bytes the scrub reads between two pauses.
const scrubStep = 256 << 10

// scrubber reads the segments that take no appends any more, from the oldest on, and
// verifies every checksum in them, on a goroutine of its own and at a bounded rate.
// What the system has cached, or a mirror has, is read from there: the disk is asked for the
// rest.
type scrubber struct {
	rate    int64         // bytes a second
	quit    chan struct{} // closed to end it; nil: it was not started
	done    chan struct{} // closed when it has ended
	scanner segment.Scanner

	bytes   atomic.Uint64
	passes  atomic.Uint64
	damaged atomic.Uint64
}

// start starts the scrub if the options ask for it.
func (s *scrubber) start(l *Log) {
	if s.rate = l.opts.ScrubRate; s.rate == 0 {
		return
	}
	s.quit, s.done = make(chan struct{}), make(chan struct{})
	go s.run(l)
}

// end ends the scrub and returns when it has ended.
func (s *scrubber) end() {
	if s.quit != nil {
		close(s.quit)
		<-s.done
	}
}

func (s *scrubber) run(l *Log) {
	defer close(s.done)
	for {
		next := time.Now().Add(scrubEvery)
		if !s.pass(l) || !s.pause(time.Until(next)) {
			return
		}
	}
}

// pause returns after d, or false as soon as the scrub is to end.
func (s *scrubber) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.quit:
		return false
	}
}

// pass verifies the segments that there are. It returns false if it was ended.
func (s *scrubber) pass(l *Log) bool {
	var done uint64 // id of the last one that was looked at
	for {
		list := *l.segments.Load()
		at := slices.IndexFunc(list, func(e *extent) bool { return e.id > done })
		if at < 0 || at == len(list)-1 { // the last one takes appends
			break
		}
		e := list[at]
		done = e.id
		end, err := s.verify(e, list, at)
		switch {
		case errors.Is(err, errEnded):
			return false
		case err == nil:
			l.hooks.scrubbed(e)
		case s.stands(*l.segments.Load(), list[at:at+2], end): // or a truncation took it meanwhile
			s.damaged.Add(1)
			l.logger.Error("wal: scrub", "path", e.path, "err", err)
			l.hooks.damaged(fmt.Errorf("wal: scrub: %w", err))
		}
	}
	s.passes.Add(1)
	s.scanner = segment.Scanner{} // its memory, which the largest record decides
	return true
}

var errEnded = errors.New("the scrub was ended")

// stands reports whether list still has the first of two segments, up to end, and the
// second behind it.
func (s *scrubber) stands(list, two []*extent, end int64) bool {
	at := slices.Index(list, two[0])
	return at >= 0 && at+1 < len(list) && list[at+1] == two[1] && two[0].end.Load() >= end
}

// verify reads e, the segment at list[at], up to its end, which it returns. The error is
// errEnded, the file's, or a [CorruptError].
func (s *scrubber) verify(e *extent, list []*extent, at int) (end int64, err error) {
	next := list[at+1]
	if err = next.loadHead(); err == nil {
		err = e.load(list, at)
	}
	if err != nil {
		return 0, err
	}
	end = e.end.Load()
	sc := &s.scanner
	sc.Start(e, e.path, e.header, end)
	sc.SetChunk(scrubStep)
	counted := int64(segment.HeaderSize)
	for more := true; more; {
		more = sc.Next() != segment.StepEnd
		if read := sc.Off() - counted; read >= scrubStep || !more {
			s.bytes.Add(uint64(read))
			counted = sc.Off()
			if !s.pause(time.Duration(float64(read) / float64(s.rate) * float64(time.Second))) {
				return end, errEnded
			}
		}
	}
	if stop := sc.Stop(); stop.Kind != segment.StopLimit {
		return end, stop.Err
	}
	if got := sc.NextLSN(); got != next.baseLSN() {
		return end, &CorruptError{Path: e.path, Offset: end, LSN: got,
			Reason: fmt.Sprintf("the segment that follows begins with LSN %d", next.baseLSN())}
	}
	return end, nil
}
