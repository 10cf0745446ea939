package load

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"

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
		if o.Whole {
			opts.Recovery = wal.Paranoid
		}
		l, err := wal.Open(dir, &opts)
		if err != nil {
			return nil, err
		}
		return &tidemark{log: l}, nil
	}}
}

// Truncated is Tidemark as most engines use it: what is older than two segments is truncated
// away as it grows, and so it has come to use its files again when the work begins.
func Truncated(name string, opts wal.Options) Target {
	t := Tidemark(name, opts)
	open := t.Open
	t.OnlyAppends = true
	t.Open = func(dir string, o Options) (Log, error) {
		log, err := open(dir, o)
		if err != nil {
			return nil, err
		}
		l := &truncated{tidemark: log.(*tidemark), every: cmp.Or(o.SegmentSize, wal.DefaultSegmentSize)}
		data := make([]byte, min(1<<20, l.every/16))
		for n := int64(0); err == nil && n < 6*l.every; n += int64(len(data)) {
			err = l.Append(data)
		}
		if err == nil {
			err = l.log.Sync()
		}
		return l, err
	}
	return t
}

type truncated struct {
	*tidemark
	every   int64 // bytes from one truncation to the next
	since   atomic.Int64
	running atomic.Bool
	before  wal.LSN // the newest record at the last truncation; owned by the one that runs
}

func (t *truncated) Append(data []byte) error {
	if err := t.tidemark.Append(data); err != nil {
		return err
	}
	return t.grew(len(data))
}

func (t *truncated) AppendBatch(data [][]byte) error {
	n := 0
	for _, d := range data {
		n += len(d)
	}
	if err := t.tidemark.AppendBatch(data); err != nil {
		return err
	}
	return t.grew(n)
}

// grew truncates the front if it is time.
func (t *truncated) grew(n int) error {
	if t.since.Add(int64(n)) < t.every || !t.running.CompareAndSwap(false, true) {
		return nil
	}
	defer t.running.Store(false)
	t.since.Store(0)
	last := t.log.LastLSN()
	err := t.log.TruncateFront(t.before + 1)
	t.before = last
	return err
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

func (t *tidemark) VerifiesWhole() {}

func (t *tidemark) TruncateFront(n uint64) error { return t.log.TruncateFront(wal.LSN(n + 1)) }

func (t *tidemark) Follow(seen func([]byte)) error {
	for r, err := range t.log.Follow(context.Background(), t.log.FirstLSN()) {
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
