package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/seed3918b8df/tidemark/bench/load"
)

// pebble is the writer of Pebble's log, used as its commit pipeline does: records are
// written under a mutex, and a goroutine flushes and syncs for all who wait. recycled
// has it write to files that were written before: the first two are made so, and each
// that is full is used again behind the next.
func pebble(recycled bool) load.Target {
	name := "pebble"
	if recycled {
		name = "pebble, recycled files"
	}
	return load.Target{
		Name:        name,
		OnlyAppends: recycled,
		Gaps:        []string{"a record writer: it finds no record again without a scan"},
		Open: func(dir string, o load.Options) (load.Log, error) {
			l := &pebbleLog{dir: dir, size: segmentSize(o), relaxed: o.Relaxed, recycled: recycled,
				queue: make(chan struct{}, record.SyncConcurrency)}
			for len(l.old) < 2 && recycled {
				if err := l.prepare(); err != nil {
					return nil, err
				}
			}
			return l, l.rotate()
		},
		Reopen: func(dir string, o load.Options) (load.Log, error) {
			return &pebbleLog{dir: dir, last: lastFile(dir)}, nil
		},
	}
}

type pebbleLog struct {
	dir               string
	size              int64
	relaxed, recycled bool
	queue             chan struct{} // as many syncs as may be under way
	mu                sync.Mutex
	w                 *record.LogWriter
	last              int      // number of the file that is written
	old               []string // of recycled: files to be written again, oldest first
	waits             []slot
}

// slot is a record under way.
type slot struct {
	wg  sync.WaitGroup
	err error
}

func (l *pebbleLog) path(n int) string { return filepath.Join(l.dir, fmt.Sprintf("%06d.log", n)) }

func lastFile(dir string) int {
	names, _ := filepath.Glob(filepath.Join(dir, "*.log")) // the pattern is sound
	return len(names)
}

// rotate ends the file and begins the next one. Requires mu, or that nobody else is there.
func (l *pebbleLog) rotate() error {
	if l.w != nil {
		if err := l.w.Close(); err != nil {
			return err
		}
		l.old = append(l.old, l.path(l.last))
	}
	l.last++
	path := l.path(l.last)
	file, err := l.create(path)
	if err != nil {
		return err
	}
	d, err := vfs.Default.OpenDir(l.dir)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if err != nil {
		return err
	}
	synced := vfs.NewSyncingFile(file, vfs.SyncingFileOptions{PreallocateSize: int(l.size)})
	l.w = numbered(record.NewLogWriter, synced, l.last, record.LogWriterConfig{QueueSemChan: l.queue,
		WriteWALSyncOffsets: func() bool { return true }})
	return nil
}

// create makes the file that is written next, of one that was written before if recycled.
func (l *pebbleLog) create(path string) (vfs.File, error) {
	if !l.recycled {
		return vfs.Default.Create(path, vfs.WriteCategoryUnspecified)
	}
	old := l.old[0]
	l.old = l.old[1:]
	return vfs.Default.ReuseForWrite(old, path, vfs.WriteCategoryUnspecified)
}

// prepare makes a file that was written before.
func (l *pebbleLog) prepare() error {
	path := filepath.Join(l.dir, fmt.Sprintf("%d.old", len(l.old)))
	file, err := vfs.Default.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	l.old = append(l.old, path)
	zeros := make([]byte, 1<<20)
	for n := int64(0); err == nil && n < l.size; n += int64(len(zeros)) {
		_, err = file.Write(zeros)
	}
	return errors.Join(err, file.Sync(), file.Close())
}

// numbered calls a function of which the type of the number cannot be named here.
func numbered[N ~uint64](create func(io.Writer, N, record.LogWriterConfig) *record.LogWriter, w io.Writer, n int,
	c record.LogWriterConfig) *record.LogWriter {
	return create(w, N(n), c)
}

func (l *pebbleLog) order(data []byte, s *slot) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.w.Size()+int64(len(data)) > l.size {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	if s == nil {
		_, err := l.w.WriteRecord(data)
		return err
	}
	l.queue <- struct{}{}
	s.wg.Add(1)
	_, err := l.w.SyncRecord(data, &s.wg, &s.err)
	return err
}

var slots = sync.Pool{New: func() any { return new(slot) }}

func (l *pebbleLog) Append(data []byte) error {
	if l.relaxed {
		return l.order(data, nil)
	}
	s := slots.Get().(*slot)
	defer slots.Put(s)
	if err := l.order(data, s); err != nil {
		return err
	}
	s.wg.Wait()
	return s.err
}

func (l *pebbleLog) Order(data []byte) error { return l.order(data, nil) }

func (l *pebbleLog) Slots(n int) { l.waits = make([]slot, n) }

// AppendAsync asks for a sync with every record of the last slot only: that one covers
// those before it.
func (l *pebbleLog) AppendAsync(n int, data []byte) error {
	if n%(max(1, len(l.waits)/4)) != len(l.waits)/4-1 {
		return l.order(data, nil)
	}
	return l.order(data, &l.waits[n])
}

func (l *pebbleLog) Wait(n int) error {
	quarter := max(1, len(l.waits)/4)
	s := &l.waits[min(len(l.waits)-1, n/quarter*quarter+quarter-1)]
	s.wg.Wait()
	return s.err
}

func (l *pebbleLog) Scan() (records, bytes int64, err error) {
	buf := make([]byte, 64<<10)
	for n := 1; n <= l.last; n++ {
		file, err := vfs.Default.Open(l.path(n), vfs.SequentialReadsOption)
		if err != nil {
			return records, bytes, err
		}
		r := reader(record.NewReader, file, n)
		for {
			rec, err := r.Next()
			if err != nil {
				break // behind the last record of a file there may be anything
			}
			for {
				got, err := rec.Read(buf)
				bytes += int64(got)
				if err == io.EOF {
					break
				}
				if err != nil {
					return records, bytes, err
				}
			}
			records++
		}
		if err := file.Close(); err != nil {
			return records, bytes, err
		}
	}
	return records, bytes, nil
}

func reader[N ~uint64](create func(io.Reader, N) *record.Reader, r io.Reader, n int) *record.Reader {
	return create(r, N(n))
}

func (l *pebbleLog) Close() error {
	if l.w == nil {
		return nil
	}
	return l.w.Close()
}
