package wal

import "github.com/seed3918b8df/tidemark/segment"

// Stats counts what a log did since it was opened.
type Stats struct {
	Records   uint64 // appended: handed to the operating system
	Bytes     uint64 // of frames appended: data, frame headers, padding and metas
	Groups    uint64 // written; a group is what one write hands over
	Syncs     uint64 // of segments; those of FRONT, seals and headers are not counted
	Rotations uint64 // segments begun

	Scrubbed uint64 // bytes that the scrub has read
	Passes   uint64 // of the scrub over the log
	Damaged  uint64 // segments that the scrub has found damaged, in each pass again

	QueuedBytes int // ordered and not yet handed to the operating system
	Segments    int // that the log consists of now
	Holds       int // that bind TruncateFront now
}

// add moves the counters of s to t.
func (t *Stats) add(s *Stats) {
	t.Records += s.Records
	t.Bytes += s.Bytes
	t.Groups += s.Groups
	t.Syncs += s.Syncs
	t.Rotations += s.Rotations
	*s = Stats{}
}

// Stats returns a snapshot of the counters, as of the last group that was
// settled.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.mu.stats
	s.QueuedBytes = max(0, len(l.mu.queue.buf)-segment.GroupHeaderSize)
	s.Segments = len(*l.segments.Load())
	s.Holds = len(l.mu.holds)
	s.Scrubbed, s.Passes, s.Damaged = l.scrub.bytes.Load(), l.scrub.passes.Load(), l.scrub.damaged.Load()
	return s
}

// SegmentInfo says what one segment of the log is.
type SegmentInfo struct {
	ID     uint64
	Path   string
	First  LSN   // of its first record, or of the next one; a TruncateFront may have dropped it
	Size   int64 // bytes up to the end of its last record; 0: its file could not be read
	Sealed bool
}

// info returns what is known of the segment without a look at its file.
func (e *extent) info() SegmentInfo {
	return SegmentInfo{ID: e.id, Path: e.path, First: e.opening.Base, Size: e.end.Load(), Sealed: e.sealed.Load()}
}

// Segments returns the segments that the log consists of, oldest first. It opens
// those that nobody has read yet.
func (l *Log) Segments() []SegmentInfo {
	l.look()
	list := *l.segments.Load()
	infos := make([]SegmentInfo, 0, len(list))
	for at, e := range list {
		info := SegmentInfo{ID: e.id, Path: e.path}
		if err := e.load(list, at); err == nil {
			if !e.sealed.Load() {
				_, _ = e.indexOf(false) // finds the seal
			}
			info.First, info.Size, info.Sealed = e.baseLSN(), e.end.Load(), e.sealed.Load()
		}
		infos = append(infos, info)
	}
	return infos
}
