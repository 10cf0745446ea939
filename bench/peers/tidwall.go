package main

import (
	"sync"

	"github.com/tidwall/wal"

	"github.com/seed3918b8df/tidemark/bench/load"
)

// tidwall is a log without checksums. Write holds a lock across write and fsync.
func tidwall() load.Target {
	return load.Target{
		Name: "tidwall",
		Gaps: []string{"no checksum", "a new segment's name is not synced", "a torn tail refuses to open"},
		Open: func(dir string, o load.Options) (load.Log, error) {
			w, err := wal.Open(dir, &wal.Options{NoSync: o.Relaxed, SegmentSize: int(segmentSize(o)), SegmentCacheSize: 64, NoCopy: true,
				DirPerms: 0o755, FilePerms: 0o600})
			if err != nil {
				return nil, err
			}
			last, err := w.LastIndex()
			return &tidwallLog{w: w, next: last}, err
		},
	}
}

type tidwallLog struct {
	w *wal.Log

	mu    sync.Mutex
	next  uint64
	batch wal.Batch
}

func (l *tidwallLog) Append(data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.w.Write(l.next+1, data)
	if err == nil {
		l.next++
	}
	return err
}

func (l *tidwallLog) AppendBatch(data [][]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batch.Clear()
	for i, d := range data {
		l.batch.Write(l.next+uint64(i)+1, d)
	}
	err := l.w.WriteBatch(&l.batch)
	if err == nil {
		l.next += uint64(len(data))
	}
	return err
}

func (l *tidwallLog) Scan() (records, bytes int64, err error) {
	first, err := l.w.FirstIndex()
	if err != nil {
		return 0, 0, err
	}
	for i := first; i <= l.next; i++ {
		data, err := l.w.Read(i)
		if err != nil {
			return records, bytes, err
		}
		records++
		bytes += int64(len(data))
	}
	return records, bytes, nil
}

func (l *tidwallLog) Read(n uint64, dst []byte) ([]byte, error) {
	data, err := l.w.Read(n + 1)
	return append(dst, data...), err
}

func (l *tidwallLog) TruncateFront(n uint64) error { return l.w.TruncateFront(n + 1) }

func (l *tidwallLog) Close() error { return l.w.Close() }
