package main

import (
	"sync"

	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/prometheus/prometheus/util/compression"

	"github.com/seed3918b8df/tidemark/bench/load"
)

// prometheus is the log of Prometheus' database. It syncs a segment when it ends.
func prometheus() load.Target {
	open := func(dir string, o load.Options) (load.Log, error) {
		size := segmentSize(o) &^ (32<<10 - 1) // of whole pages
		w, err := wlog.NewSize(nil, nil, dir, int(size), compression.None)
		return &promLog{w: w, dir: dir}, err
	}
	return load.Target{Name: "prometheus", NotDurable: true, Gaps: []string{"an append is not synced", "a checksum over the data alone"}, Open: open}
}

type promLog struct {
	w   *wlog.WL
	dir string

	mu sync.Mutex
}

func (l *promLog) Append(data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Log(data)
}

func (l *promLog) AppendBatch(data [][]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Log(data...)
}

func (l *promLog) Scan() (records, bytes int64, err error) {
	segments, err := wlog.NewSegmentsReader(l.dir)
	if err != nil {
		return 0, 0, err
	}
	defer segments.Close()
	r := wlog.NewReader(segments)
	for r.Next() {
		records++
		bytes += int64(len(r.Record()))
	}
	return records, bytes, r.Err()
}

func (l *promLog) Close() error { return l.w.Close() }
