package main

import (
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/metadb"

	"github.com/seed3918b8df/tidemark/bench/load"
)

// raftWAL is HashiCorp's log for raft. StoreLogs holds a lock across write and fsync.
func raftWAL() load.Target {
	return load.Target{
		Name: "raft-wal",
		Gaps: []string{"reads verify no checksum", "one checksum for a batch", "segments are listed in a BoltDB"},
		Open: func(dir string, o load.Options) (load.Log, error) {
			meta := new(metadb.BoltMetaDB)
			w, err := raftwal.Open(dir, raftwal.WithSegmentSize(int(segmentSize(o))), raftwal.WithMetaStore(meta))
			if err != nil {
				return nil, err
			}
			last, err := w.LastIndex()
			return &raftLog{w: w, meta: meta, next: last}, err
		},
		AlwaysSyncs: true,
	}
}

type raftLog struct {
	w    *raftwal.WAL
	meta *metadb.BoltMetaDB // Close of w leaves it open, and locked

	mu   sync.Mutex
	next uint64
}

func (l *raftLog) Append(data []byte) error { return l.AppendBatch([][]byte{data}) }

func (l *raftLog) AppendBatch(data [][]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	logs := make([]*raft.Log, len(data))
	now := time.Now()
	for i, d := range data {
		logs[i] = &raft.Log{Index: l.next + uint64(i) + 1, Term: 1, Data: d, AppendedAt: now}
	}
	err := l.w.StoreLogs(logs)
	if err == nil {
		l.next += uint64(len(data))
	}
	return err
}

func (l *raftLog) Scan() (records, bytes int64, err error) {
	first, err := l.w.FirstIndex()
	if err != nil {
		return 0, 0, err
	}
	var log raft.Log
	for i := first; i <= l.next; i++ {
		if err := l.w.GetLog(i, &log); err != nil {
			return records, bytes, err
		}
		records++
		bytes += int64(len(log.Data))
	}
	return records, bytes, nil
}

func (l *raftLog) Read(n uint64, dst []byte) ([]byte, error) {
	var log raft.Log
	err := l.w.GetLog(n+1, &log)
	return append(dst, log.Data...), err
}

func (l *raftLog) TruncateFront(n uint64) error { return l.w.DeleteRange(1, n) }

func (l *raftLog) Close() error { return errors.Join(l.w.Close(), l.meta.Close()) }
