package wal

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// keeper does in the background what commits should not wait for: it makes the next
// segment ready, seals those that ended, and removes those truncated away. A commit waits
// for the next segment where it is faster, and where many wait for their seal.
type keeper struct {
	mu struct {
		sync.Mutex
		seals     []func()
		removals  []func()
		running   bool            // the goroutine is at work
		ready     *segment.Writer // made ahead; nil: none
		preparing bool
		err       error // of the last preparation in the background
		nextID    uint64
		size      int64    // of the newest segment made; 0: none was
		spares    []string // paths of files to make segments of
		scarce    bool     // there was no space: none are set aside
		closed    bool
	}
	idle  sync.Cond     // on mu: a seal was taken up, or a preparation or all of the jobs ended
	hurry chan struct{} // holds one: the leader waits for the segment that is being prepared

	first  int64        // size of the first segment
	filled atomic.Int64 // bytes of the active segment
}

// The first segment of a run is small, each next one larger, up to Options.SegmentSize: so
// that it can be written with zeros before the first append, and a log that takes few does
// not take much space.
const (
	firstSegment = 1 << 20
	growth       = 2
)

// zerosBelow is the mean size in bytes of what a sync makes durable up to which segments
// are written with zeros before they are used. That costs the device as many bytes again,
// and saves each sync the journal of the file system: on ext4 on an NVMe disk 113 us
// instead of 145.
const zerosBelow = 128 << 10

// notReadyError says that a file could not be made, by a call that says nothing
// of what is durable: the next append tries again.
type notReadyError struct{ err error }

func (e *notReadyError) Error() string { return "next segment: " + e.err.Error() }
func (e *notReadyError) Unwrap() error { return e.err }

// maxSeals is how many segments may wait for their seal, each with a descriptor or two
// and an index: who rotates faster than that waits. Removals, of which there may be many, take
// turns with the seals.
const maxSeals = 4

// do runs job on the keeper's goroutine, after those given before to the same list.
func (k *keeper) do(list *[]func(), job func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.mu.closed {
		return
	}
	*list = append(*list, job)
	if !k.mu.running {
		k.mu.running = true
		go k.run()
	}
}

// run does the jobs there are, and ends.
func (k *keeper) run() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for sealed := false; len(k.mu.seals)+len(k.mu.removals) > 0; {
		list := &k.mu.seals
		if len(k.mu.removals) > 0 && (sealed || len(k.mu.seals) == 0) { // in turn
			list = &k.mu.removals
		}
		sealed = list == &k.mu.seals
		job := (*list)[0]
		*list = (*list)[1:]
		k.idle.Broadcast()
		k.mu.Unlock()
		job()
		k.mu.Lock()
	}
	k.mu.running = false
	k.idle.Broadcast()
}

// stop waits for the jobs there are and takes no more. It returns the segment
// made ready, if there is one, and the files that were set aside.
func (k *keeper) stop() (ready *segment.Writer, spares []string) {
	k.hurryUp()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.closed = true
	for k.mu.running || k.mu.preparing {
		k.idle.Wait()
	}
	ready, spares = k.mu.ready, k.mu.spares
	k.mu.ready, k.mu.spares = nil, nil
	return ready, spares
}

// readyAhead has the next segment made ready once the active one is half full, or a
// quarter while they grow, and the next takes longer than this one.
func (k *keeper) readyAhead(l *Log) {
	off, size := l.lead.tail.Off(), l.lead.tail.Header().Size
	k.filled.Store(off)
	if off < size/4 || off < size/2 && size >= l.opts.SegmentSize {
		return
	}
	k.mu.Lock()
	wanted := k.mu.ready == nil && !k.mu.preparing && k.mu.err == nil && !k.mu.closed
	k.mu.preparing = k.mu.preparing || wanted
	k.mu.Unlock()
	if !wanted {
		return
	}
	select { // of an earlier one
	case <-k.hurry:
	default:
	}
	var zeros func(written, of int64) bool
	if l.zerosPay() {
		zeros = k.zeros(off, size)
	}
	go k.prepareAhead(l, zeros) // not behind the jobs, nor they behind it
}

// zerosPause is how long the disk is left to others between two pieces of zeros that are
// not urgent, at least: it is as long as a piece takes.
const zerosPause = 2 * time.Millisecond

// zeros returns what [segment.Create] asks for a segment that should be ready before the
// active one, which is filled up to off, has its size. The pieces are spread over that
// time, if it is not long. It ends early when somebody waits for the segment.
func (k *keeper) zeros(off, size int64) func(written, of int64) bool {
	began := time.Now()
	return func(written, of int64) bool {
		defer func() { began = time.Now() }()
		select {
		case <-k.hurry:
			return false
		default:
		}
		if float64(written)*float64(size-off) <= float64(of)*float64(k.filled.Load()-off) {
			return true // it is late
		}
		pause := time.NewTimer(max(zerosPause, time.Since(began)))
		defer pause.Stop()
		select {
		case <-k.hurry:
			return false
		case <-pause.C:
			return true
		}
	}
}

// hurryUp has a preparation that is under way end soon.
func (k *keeper) hurryUp() {
	select {
	case k.hurry <- struct{}{}:
	default:
	}
}

// zerosPay reports whether the next segment is to be written with zeros. It is for the leader.
func (l *Log) zerosPay() bool {
	flushed := l.lead.flushed
	if w := l.lead.tail; w != nil && flushed == 0 {
		flushed = w.Off() - w.Synced()
	}
	return l.opts.Sync == SyncAlways && flushed < zerosBelow
}

func (k *keeper) prepareAhead(l *Log, zeros func(written, of int64) bool) {
	w, err := k.create(l, 0, zeros)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.ready, k.mu.err, k.mu.preparing = w, err, false
	k.idle.Broadcast()
}

// next returns for how large a segment the leader plans: take has that much space reserved
// where the one it returns is smaller.
func (k *keeper) next(l *Log, need int64) int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.mu.ready != nil:
		return k.mu.ready.Header().Size
	case k.mu.preparing: // it may fail, or be a smaller one
		return min(l.opts.SegmentSize, max(k.first, growth*need))
	}
	return k.sizeFor(l, need)
}

// sizeFor returns how large the next segment is made, of which the first group takes need
// bytes: they grow as they are filled. Requires mu.
func (k *keeper) sizeFor(l *Log, need int64) int64 {
	size := k.mu.size
	if k.filled.Load() >= size/4 {
		size *= growth
	}
	return min(l.opts.SegmentSize, max(k.first, size, growth*need))
}

// take returns a segment that is ready, and makes one for a group of need bytes if there
// is none.
func (k *keeper) take(l *Log, need int64) (*segment.Writer, error) {
	if err := k.prepare(l, need); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	w := k.mu.ready
	k.mu.ready = nil
	return w, nil
}

// prepare returns once a segment is ready that has room for a group of need bytes. It is
// for the leader.
func (k *keeper) prepare(l *Log, need int64) error {
	k.hurryUp()
	k.mu.Lock()
	for k.mu.preparing || len(k.mu.seals) >= maxSeals {
		k.idle.Wait()
	}
	ready, err, first := k.mu.ready, k.mu.err, k.mu.size == 0
	k.mu.err = nil
	k.mu.Unlock()
	if ready != nil {
		return k.reserve(l, ready, need)
	}
	if err != nil && isFatal(err) {
		return err
	}
	var zeros func(written, of int64) bool
	if first && growth*need <= k.first && l.zerosPay() { // later, who rotates has no time for it
		zeros = func(int64, int64) bool { return true }
	}
	w, err := k.create(l, need, zeros)
	if err != nil {
		return err
	}
	k.mu.Lock()
	k.mu.ready = w
	k.mu.Unlock()
	return k.reserve(l, w, need) // one group may be larger than a segment
}

// reserve has w, which is ready, have room for a group of need bytes. It is given up if that
// fails for another reason than want of space.
func (k *keeper) reserve(l *Log, w *segment.Writer, need int64) error {
	err := w.Reserve(segment.HeaderSize + openingRoom + need)
	if vfs.IsNoSpace(err) && k.makeRoom(l) {
		err = w.Reserve(segment.HeaderSize + openingRoom + need)
	}
	if err == nil {
		return nil
	}
	if !vfs.IsNoSpace(err) {
		k.mu.Lock()
		k.mu.ready = nil
		k.mu.Unlock()
		if err := errors.Join(w.Close(), l.fs.Remove(w.Path())); err != nil {
			l.logger.Warn("wal: a segment that was ready stays unused", "path", w.Path(), "err", err)
		}
	}
	return &notReadyError{err}
}

// create makes a segment of which the first group takes need bytes, and a smaller one
// where there is no space for one that large. zeros is as [segment.Create] has it.
func (k *keeper) create(l *Log, need int64, zeros func(written, of int64) bool) (*segment.Writer, error) {
	k.mu.Lock()
	size := k.sizeFor(l, need)
	k.mu.Unlock()
	if w, err := k.reuse(l, size, zeros); w != nil || err != nil {
		return w, err
	}
	least := min(size, max(k.first, segment.HeaderSize+openingRoom+need))
	w, err := k.createOf(l, size, zeros)
	for err != nil && vfs.IsNoSpace(err) && !isFatal(&notReadyError{err}) && size > least {
		size = max(size/2, least)
		w, err = k.createOf(l, size, zeros)
	}
	if err != nil {
		return nil, &notReadyError{err}
	}
	k.made(l, w)
	return w, nil
}

// createOf makes a segment of that size.
func (k *keeper) createOf(l *Log, size int64, zeros func(written, of int64) bool) (*segment.Writer, error) {
	h, err := k.newHeader(l)
	if err != nil {
		return nil, err
	}
	return segment.Create(l.fs, l.dir, h, size, zeros)
}

// newHeader returns the header of a segment that is to be made. It has an id of its own:
// what a failed call left may have the last one.
func (k *keeper) newHeader(l *Log) (segment.Header, error) {
	k.mu.Lock()
	id := k.mu.nextID
	k.mu.nextID++
	k.mu.Unlock()
	if id > segment.MaxID {
		return segment.Header{}, &fatalError{errors.New("no segment id is left")}
	}
	salt, err := randomWord()
	return segment.Header{Log: l.id, ID: id, Salt: salt, Unit: 8, Created: time.Now().UnixNano()}, err
}

// made has w, the newest segment, ready for how groups are written, and notes its size.
func (k *keeper) made(l *Log, w *segment.Writer) {
	direct := l.opts.Direct && l.opts.Sync == SyncAlways
	if direct {
		w.UseDirect()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if direct && w.Block() == 0 && k.mu.size == 0 {
		l.logger.Warn("wal: Options.Direct: groups are written through the page cache here", "path", w.Path())
	}
	k.mu.size, k.mu.scarce = w.Header().Size, false
}

// seal ends segments that another follows for good. What fails here loses
// nothing: the one that follows says where they end.
func (k *keeper) seal(l *Log, list []retired) {
	for _, r := range list {
		k.do(&k.mu.seals, func() {
			if r.extent.isGone() { // it was truncated away meanwhile
				return
			}
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
			r.extent.endMirror()
			if r.writer != nil {
				l.files.add(r.extent)
			}
			l.files.hasIndex(r.extent)
			if err != nil {
				r.extent.suspect.Store(!vfs.IsNoSpace(err))
				l.logger.Warn("wal: a segment stays without a seal, or with space behind it", "path", r.extent.path, "err", err)
			}
		})
	}
}

// remove deletes the files of segments that are no part of the log any more, or sets them
// aside.
func (k *keeper) remove(l *Log, list []*extent) {
	for _, e := range list {
		k.do(&k.mu.removals, func() {
			err := e.drop()
			if err == nil && k.setAside(l, e) {
				return
			}
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
