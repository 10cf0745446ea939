package main

import (
	"sync"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"

	"github.com/seed3918b8df/tidemark/bench/load"
)

// etcd is the log of etcd's raft. Its Save holds a lock across write and fdatasync.
func etcd() load.Target {
	return load.Target{
		Name: "etcd",
		Gaps: []string{"a checksum over the data alone, not over length and type", "a rolling checksum over the whole log"},
		Open: func(dir string, o load.Options) (load.Log, error) {
			wal.SegmentSizeBytes = segmentSize(o)
			w, err := wal.Create(zap.NewNop(), dir+"/wal", nil)
			if err != nil {
				return nil, err
			}
			if o.Relaxed {
				w.SetUnsafeNoFsync()
			}
			return &etcdLog{w: w, dir: dir}, nil
		},
		Reopen: func(dir string, o load.Options) (load.Log, error) {
			w, err := wal.Open(zap.NewNop(), dir+"/wal", walpb.Snapshot{})
			if err != nil {
				return nil, err
			}
			_, _, ents, err := w.ReadAll() // it takes no appends before
			if err != nil {
				return nil, err
			}
			return &etcdLog{w: w, dir: dir, next: uint64(len(ents))}, nil
		},
	}
}

type etcdLog struct {
	w   *wal.WAL
	dir string

	mu   sync.Mutex
	next uint64
}

func (l *etcdLog) Append(data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	return l.w.Save(raftpb.HardState{}, []raftpb.Entry{{Index: l.next, Term: 1, Data: data}})
}

func (l *etcdLog) AppendBatch(data [][]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	ents := make([]raftpb.Entry, len(data))
	for i, d := range data {
		l.next++
		ents[i] = raftpb.Entry{Index: l.next, Term: 1, Data: d}
	}
	return l.w.Save(raftpb.HardState{}, ents)
}

func (l *etcdLog) Scan() (records, bytes int64, err error) {
	w, err := wal.OpenForRead(zap.NewNop(), l.dir+"/wal", walpb.Snapshot{})
	if err != nil {
		return 0, 0, err
	}
	defer w.Close()
	_, _, ents, err := w.ReadAll()
	for _, e := range ents {
		records++
		bytes += int64(len(e.Data))
	}
	return records, bytes, err
}

func (l *etcdLog) Close() error { return l.w.Close() }
