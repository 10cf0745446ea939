package wal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/seed3918b8df/tidemark/segment"
)

// keeper does in the background what no commit must wait for: it makes the next
// segment ready, seals those that ended, and removes those truncated away.
type keeper struct {
	mu struct {
		sync.Mutex
		jobs      []func()
		running   bool            // the goroutine is at work
		ready     *segment.Writer // made ahead; nil: none
		preparing bool
		err       error // of the last preparation in the background
		nextID    uint64
		closed    bool
	}
	idle sync.Cond // on mu: a job ended
}

// notReadyError says that a file could not be made, by a call that says nothing
// of what is durable: the next append tries again.
type notReadyError struct{ err error }

func (e *notReadyError) Error() string { return "next segment: " + e.err.Error() }
func (e *notReadyError) Unwrap() error { return e.err }

// do runs job on the keeper's goroutine, after those given before.
func (k *keeper) do(job func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.closed {
		return
	}
	k.mu.jobs = append(k.mu.jobs, job)
	if !k.mu.running {
		k.mu.running = true
		go k.run()
	}
}

// run does the jobs there are, and ends.
func (k *keeper) run() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.mu.jobs) > 0 {
		job := k.mu.jobs[0]
		k.mu.jobs = k.mu.jobs[1:]
		k.mu.Unlock()
		job()
		k.mu.Lock()
	}
	k.mu.running = false
	k.idle.Broadcast()
}

// stop waits for the jobs there are and takes no more. It returns the segment
// made ready, if there is one.
func (k *keeper) stop() *segment.Writer {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.closed = true
	for k.mu.running {
		k.idle.Wait()
	}
	w := k.mu.ready
	k.mu.ready = nil
	return w
}

// readyAhead has the next segment made ready once the active one, filled up to
// off, is half full.
func (k *keeper) readyAhead(l *Log, off int64) {
	if off < l.opts.SegmentSize/2 {
		return
	}
	k.mu.Lock()
	wanted := k.mu.ready == nil && !k.mu.preparing && k.mu.err == nil && !k.mu.closed
	k.mu.preparing = k.mu.preparing || wanted
	k.mu.Unlock()
	if wanted {
		k.do(func() { k.prepareAhead(l) })
	}
}

func (k *keeper) prepareAhead(l *Log) {
	w, err := k.create(l)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.ready, k.mu.err, k.mu.preparing = w, err, false
	k.idle.Broadcast()
}

// take returns a segment that is ready, and makes one if there is none.
func (k *keeper) take(l *Log) (*segment.Writer, error) {
	if err := k.prepare(l); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.mu.ready
	k.mu.ready = nil
	return w, nil
}

// prepare returns once a segment is ready.
func (k *keeper) prepare(l *Log) error {
	k.mu.Lock()
	for k.mu.preparing {
		k.idle.Wait()
	}
	ready, err := k.mu.ready != nil, k.mu.err
	k.mu.err = nil
	k.mu.Unlock()
	if ready {
		return nil
	}
	if err != nil && isFatal(err) {
		return err
	}
	w, err := k.create(l)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.ready = w
	return nil
}

func (k *keeper) create(l *Log) (*segment.Writer, error) {
	k.mu.Lock()
	id := k.mu.nextID
	k.mu.nextID++
	k.mu.Unlock()
	if id > segment.MaxID {
		return nil, &fatalError{errors.New("no segment id is left")}
	}
	salt, err := randomWord()
	if err != nil {
		return nil, &notReadyError{err}
	}
	h := segment.Header{Log: l.id, ID: id, Salt: salt, Unit: 8, Created: time.Now().UnixNano()}
	w, err := segment.Create(l.fs, l.dir, h, l.opts.SegmentSize)
	if err != nil {
		return nil, &notReadyError{err}
	}
	return w, nil
}

// seal ends segments that another follows for good. What fails here loses
// nothing: the one that follows says where they end.
func (k *keeper) seal(l *Log, list []retired) {
	for _, r := range list {
		k.do(func() {
			var err error
			if r.writer == nil {
				err = r.extent.trim(r.end)
			} else if r.end == r.writer.Off() {
				if err = r.writer.Seal(r.next, time.Now().UnixNano()); err == nil {
					r.extent.sealed.Store(true)
					l.hooks.sealed(r.extent)
				}
			} else {
				err = r.writer.Trim() // not at the pin: the opening step may reach behind it
			}
			if r.writer != nil {
				l.files.add(r.extent)
			}
			if err != nil {
				l.logger.Warn("wal: a segment stays without a seal, or with space behind it", "path", r.extent.path, "err", err)
			}
		})
	}
}

// remove deletes the files of segments that are no part of the log any more.
func (k *keeper) remove(l *Log, list []*extent) {
	for _, e := range list {
		k.do(func() {
			err := e.drop()
			if rerr := l.fs.Remove(e.path); err == nil {
				err = rerr
			}
			if err != nil {
				l.logger.Warn("wal: a segment that was truncated away stays", "path", e.path, "err", err)
			}
		})
	}
}

// randomWord returns 64 random bits.
func randomWord() (uint64, error) {
	var b [8]byte
	if _, err := io.ReadFull(rand.Reader, b[:]); err != nil {
		return 0, fmt.Errorf("wal: random number: %w", err)
	}
	var n uint64
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n, nil
}
