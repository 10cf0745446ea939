package load

import (
	"context"
	"errors"

	"github.com/seed3918b8df/tidemark/wal"
)

// Tidemark is the log of this module.
func Tidemark(name string, opts wal.Options) Target {
	return Target{Name: name, Open: func(dir string, o Options) (Log, error) {
		opts := opts
		opts.SegmentSize = o.SegmentSize
		if o.Relaxed {
			opts.Sync = wal.SyncNone
		}
		l, err := wal.Open(dir, &opts)
		if err != nil {
			return nil, err
		}
		return &tidemark{log: l}, nil
	}}
}

type tidemark struct {
	log   *wal.Log
	slots []wal.Pending
}

func (t *tidemark) Append(data []byte) error {
	_, err := t.log.Append(data)
	return err
}

func (t *tidemark) AppendBatch(data [][]byte) error {
	var b wal.Batch
	for _, d := range data {
		b.Add(d)
	}
	_, err := t.log.AppendBatch(&b)
	return err
}

func (t *tidemark) Order(data []byte) error {
	_, err := t.log.AppendAsync(data)
	return err
}

func (t *tidemark) Slots(n int) { t.slots = make([]wal.Pending, n) }

func (t *tidemark) AppendAsync(slot int, data []byte) (err error) {
	t.slots[slot], err = t.log.AppendAsync(data)
	return err
}

func (t *tidemark) Wait(slot int) error { return t.slots[slot].Wait(context.Background()) }

func (t *tidemark) Scan() (records, bytes int64, err error) {
	for r, err := range t.log.Records(t.log.FirstLSN()) {
		if err != nil {
			return records, bytes, err
		}
		records++
		bytes += int64(len(r.Data))
	}
	return records, bytes, nil
}

func (t *tidemark) Read(n uint64, dst []byte) ([]byte, error) { return t.log.Read(wal.LSN(n+1), dst) }

func (t *tidemark) TruncateFront(n uint64) error { return t.log.TruncateFront(wal.LSN(n + 1)) }

func (t *tidemark) Follow(seen func([]byte)) error {
	for r, err := range t.log.Follow(context.Background(), t.log.LastLSN()+1) {
		if errors.Is(err, wal.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		seen(r.Data)
	}
	return nil
}

func (t *tidemark) Close() error { return t.log.Close() }
