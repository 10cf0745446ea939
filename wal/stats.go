package wal

import (
	"time"

	"github.com/seed3918b8df/tidemark/segment"
)

// Stats counts what a log did since it was opened.
type Stats struct {
	Records   uint64 // appended: handed to the operating system
	Bytes     uint64 // of frames appended: data, frame headers, padding and metas
	Groups    uint64 // written; a group is what is handed over at once
	Syncs     uint64 // of segments; those of FRONT, seals and headers are not counted
	Direct    uint64 // of Syncs, those that were one call with the write: see Options.Direct
	Rotations uint64 // segments begun

	Scrubbed uint64 // bytes that the scrub has read
	Passes   uint64 // of the scrub over the log
	Damaged  uint64 // segments that the scrub has found damaged, in each pass again

	QueuedBytes int // ordered and not yet handed to the operating system
	Segments    int // that the log consists of now
	Holds       int // that bind TruncateFront now

	// SyncTime is how long each of Syncs took; of those that are Direct, with the write.
	SyncTime Histogram

	// CommitTime is how long who commits waits, at most: one duration for each group
	// commit, and not for each append in it, from when the first who waits for it begins to
	// wait until all are told. Under SyncAlways those are the commits that are synced. What
	// failed is not in it, nor what nobody waited for before it was written.
	CommitTime Histogram
}

// counts is what a round adds to Stats.
type counts struct {
	records, bytes, groups, direct, rotations uint64
	syncs                                     []time.Duration // how long each took
}

// add moves c to t.
func (t *Stats) add(c *counts) {
	t.Records += c.records
	t.Bytes += c.bytes
	t.Groups += c.groups
	t.Direct += c.direct
	t.Rotations += c.rotations
	t.Syncs += uint64(len(c.syncs))
	for _, took := range c.syncs {
		t.SyncTime.add(took)
	}
	*c = counts{syncs: c.syncs[:0]}
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
