package wal

import (
	"slices"
	"time"
)

// This file is what becomes of bytes once they are written: they are synced, and
// shown to readers. All of it runs as the leader.

// syncTail makes all that was written durable, and publishes it. An error is
// poison.
func (l *Log) syncTail() error {
	ld := &l.lead
	if ld.tail == nil || ld.tail.Synced() == ld.tail.Off() {
		l.madeDurable()
		return nil
	}
	start, flushed := time.Now(), ld.tail.Off()-ld.tail.Synced()
	if err := ld.tail.Sync(); err != nil {
		return err
	}
	l.tookSync(time.Since(start), flushed)
	l.madeDurable()
	return nil
}

// tookSync notes a sync of so many bytes of the active segment.
func (l *Log) tookSync(took time.Duration, flushed int64) {
	ld := &l.lead
	if ld.flushed == 0 {
		ld.flushed = flushed
	}
	ld.flushed += (flushed - ld.flushed) / 8
	ld.gather.synced(took)
	ld.counts.syncs = append(ld.counts.syncs, took)
	if took > l.opts.SlowSync {
		l.logger.Warn("wal: slow sync", "took", took, "path", ld.tail.Path())
		l.hooks.slowSync(took)
	}
}

// madeDurable notes that all that is written is durable: this is the commit
// point of every append in it.
func (l *Log) madeDurable() {
	ld := &l.lead
	if len(ld.retired) > 0 {
		l.keep.seal(l, ld.retired)
		ld.retired = nil
	}
	if ld.synced.seq != ld.written.seq || len(ld.touched) > 0 {
		ld.synced = ld.written
		l.publish(ld.written)
		l.durable.Store(uint64(ld.written.last))
	}
	if len(ld.dropped) > 0 { // what ended them is durable
		for _, e := range ld.dropped {
			e.endMirror() // their removal may have to wait
		}
		l.keep.remove(l, ld.dropped)
		ld.dropped = nil
	}
}

// publish lets readers see the log as it is at p.
func (l *Log) publish(p progress) {
	ld := &l.lead
	if len(ld.touched) == 0 {
		return
	}
	if len(ld.rewound) > 0 {
		l.rewinds.begin(ld.rewound...)
		low := min(LSN(l.durable.Load()), slices.Min(ld.rewound)-1)
		l.durable.Store(uint64(low)) // what has these LSNs now may not be durable
	}
	if ld.relisted {
		segments := ld.segments // in here, so that only this allocates
		l.segments.Store(&segments)
		ld.relisted = false
	}
	for _, e := range ld.touched {
		e.end.Store(e.nextEnd)
	}
	ld.touched = ld.touched[:0]
	if len(ld.rewound) > 0 {
		l.first.Store(uint64(p.first))
	}
	l.meta.Store(p.meta)
	l.last.Store(uint64(p.last))
	if len(ld.rewound) > 0 {
		l.rewinds.end()
		for _, next := range ld.rewound {
			l.hooks.truncated(LSN(l.first.Load()), next-1)
		}
		ld.rewound = ld.rewound[:0]
	}
	l.news.fire()
}
