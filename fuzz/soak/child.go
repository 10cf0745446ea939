package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
	"github.com/seed3918b8df/tidemark/wal"
)

const (
	segmentSize = 2 << 20 // bytes: segments come and go all the time

	// Records that are retained, about.
	retainedLasting = 20_000
	retainedKilled  = 2_000
)

// user is the process that uses a log.
type user struct {
	settings
	dir  string
	disk *scarce
	out  io.Writer
	ctx  context.Context
	fail context.CancelCauseFunc // ends all, with a violation

	gate  sync.RWMutex // held for writing while nothing may be ordered
	epoch int          // under gate: TruncateBacks so far
	log   atomic.Pointer[wal.Log]
}

// child uses a log until stdin ends, and reports on stdout.
func child(s settings, stdin io.Reader, stdout io.Writer) error {
	ctx, fail := context.WithCancelCause(context.Background())
	u := &user{settings: s, dir: s.logDir(s.child), disk: &scarce{}, out: stdout, ctx: ctx, fail: fail}
	if err := u.open(); err != nil {
		return fmt.Errorf("violation: open: %w", err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, stdin) // it ends with the parent, too
		fail(nil)
	}()
	var all sync.WaitGroup
	for w := range s.writers {
		all.Go(func() { u.write(w) })
	}
	all.Go(u.truncate)
	all.Go(u.fill)
	all.Go(u.follow)
	all.Go(u.readPoints)
	if s.child == "lasting" {
		all.Go(u.reopen)
		all.Go(u.sample)
	}
	all.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("violation: %w", err)
	}
	u.disk.full.Store(false)
	if err := u.log.Load().Close(); err != nil {
		return fmt.Errorf("violation: close: %w", err)
	}
	u.report('d')
	return nil
}

func (u *user) open() error {
	u.disk.opening.Store(true) // a recovery writes where there is space
	defer u.disk.opening.Store(false)
	l, err := wal.Open(u.dir, &wal.Options{FS: vfs.Wrap(vfs.OS(), u.disk.handle), SegmentSize: segmentSize, Sync: wal.SyncPolicy(u.policy)})
	if err == nil {
		u.log.Store(l)
	}
	return err
}

// report writes one line, in one piece.
func (u *user) report(what byte, v ...int) {
	line := append(make([]byte, 0, 64), what)
	for _, n := range v {
		line = strconv.AppendInt(append(line, ' '), int64(n), 10)
	}
	if _, err := u.out.Write(append(line, '\n')); err != nil {
		u.fail(fmt.Errorf("reporting: %w", err))
	}
}

// wait waits, and reports whether the process goes on.
func (u *user) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-u.ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// write is a writer. Some wait for each append, some for several at once, some
// append batches.
func (u *user) write(w int) {
	const burst = 10
	every := time.Second * time.Duration(burst*u.writers) / time.Duration(u.rate)
	for seq := 0; ; {
		start := time.Now()
		for end := seq + burst; seq < end; {
			var n int
			var err error
			switch w % 4 {
			case 0, 1:
				n, err = u.appendOne(w, seq)
			case 2:
				n, err = u.appendAsync(w, seq)
			case 3:
				n, err = u.appendBatch(w, seq)
			}
			seq += n
			if err != nil {
				u.fail(err)
				return
			}
		}
		if !u.wait(every - time.Since(start)) {
			return
		}
	}
}

// told sorts the error of an append: nil and false if it is one that a full disk
// explains.
func (u *user) told(err error, w, seq, n int) (appended bool, fatal error) {
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, wal.ErrNoSpace), errors.Is(err, wal.ErrConflict):
		u.report('n', w, seq, n)
		return false, nil
	}
	return false, fmt.Errorf("append: %w", err)
}

func (u *user) appendOne(w, seq int) (int, error) {
	u.gate.RLock()
	defer u.gate.RUnlock()
	lsn, err := u.log.Load().Append(appendRecord(nil, id{u.round, w, seq}))
	ok, err := u.told(err, w, seq, 1)
	if ok {
		u.report('a', w, seq, 1, int(lsn), u.epoch)
	}
	return 1, err
}

// appendAsync orders up to window records and then waits for them.
func (u *user) appendAsync(w, seq int) (int, error) {
	var list []wal.Pending
	var refused error // of those behind the list
	u.gate.RLock()
	epoch, n := u.epoch, 1+rand.IntN(window-1)
	for i := range n {
		p, err := u.log.Load().AppendAsync(appendRecord(nil, id{u.round, w, seq + i}))
		if refused = err; err != nil {
			break
		}
		list = append(list, p)
	}
	u.gate.RUnlock()
	for i, p := range list {
		ok, err := u.told(p.Wait(context.Background()), w, seq+i, 1)
		if err != nil {
			return n, err
		}
		if ok {
			u.report('a', w, seq+i, 1, int(p.First), epoch)
		}
	}
	_, err := u.told(refused, w, seq+len(list), n-len(list))
	return n, err
}

// appendBatch appends a batch, with a meta if it is the one who does.
func (u *user) appendBatch(w, seq int) (int, error) {
	var b wal.Batch
	n := 1 + rand.IntN(8)
	for i := range n {
		b.Add(appendRecord(nil, id{u.round, w, seq + i}))
	}
	u.gate.RLock()
	defer u.gate.RUnlock()
	l := u.log.Load()
	meta := 0
	switch {
	case w == 3: // the only one
		meta, _ = strconv.Atoi(string(l.Meta()))
		meta++
		b.SetMeta(strconv.AppendInt(nil, int64(meta), 10))
		u.report('m', meta)
	case rand.IntN(4) == 0:
		b.SetFirst(l.LastLSN() + 1)
	}
	first, err := l.AppendBatch(&b)
	ok, err := u.told(err, w, seq, n)
	if ok {
		u.report('a', w, seq, n, int(first), u.epoch)
	}
	if ok && meta > 0 {
		if got := string(l.Meta()); got != strconv.Itoa(meta) {
			return n, fmt.Errorf("the meta is %q, and %d was set", got, meta)
		}
		u.report('M', meta)
	}
	return n, err
}

// truncate truncates the log at both ends, and rotates.
func (u *user) truncate() {
	for u.wait(rand.N(100 * time.Millisecond)) {
		if err := u.truncateOnce(); err != nil {
			u.fail(err)
			return
		}
	}
}

func (u *user) truncateOnce() error {
	if rand.IntN(4) > 0 {
		u.gate.RLock()
		defer u.gate.RUnlock()
		l := u.log.Load()
		first, last := l.FirstLSN(), l.LastLSN()
		retained := wal.LSN(retainedKilled)
		if u.child == "lasting" {
			retained = retainedLasting
		}
		to := max(first, last-min(last, retained))
		if rand.IntN(20) == 0 {
			if err := l.Rotate(); err != nil && !errors.Is(err, wal.ErrNoSpace) {
				return fmt.Errorf("rotate: %w", err)
			}
		}
		if to == first {
			return nil
		}
		u.report('f', int(to))
		err := l.TruncateFront(to)
		if errors.Is(err, wal.ErrNotFound) { // what was ordered before has found no space
			return nil
		}
		if err != nil {
			return fmt.Errorf("truncate front to %d of %d to %d: %w", to, first, last, err)
		}
		u.report('F', int(to))
		return nil
	}
	u.gate.Lock()
	defer u.gate.Unlock()
	l := u.log.Load()
	first, last := l.FirstLSN(), l.LastLSN()
	to := max(first-1, last-min(last, wal.LSN(rand.IntN(20))))
	u.epoch++
	u.report('t', u.epoch, int(to))
	switch err := l.TruncateBack(to); {
	case err == nil:
		u.report('T', u.epoch)
	case errors.Is(err, wal.ErrNoSpace):
		u.report('x', u.epoch)
	default:
		return fmt.Errorf("truncate back to %d of %d to %d: %w", to, first, last, err)
	}
	return nil
}

// reopen closes the log and opens it again, now and then.
func (u *user) reopen() {
	for u.wait(time.Second + rand.N(10*time.Second)) {
		u.gate.Lock()
		err := u.log.Load().Close()
		if errors.Is(err, wal.ErrNoSpace) { // who waits has been told
			err = nil
		}
		if err == nil {
			err = u.open()
		}
		u.gate.Unlock()
		if err != nil {
			u.fail(fmt.Errorf("close and open: %w", err))
			return
		}
		u.report('r')
	}
}

// sample reports what this process uses.
func (u *user) sample() {
	for u.wait(sampleEvery) {
		var v []int
		for _, x := range takeSample(u.dir) {
			v = append(v, int(x))
		}
		u.report('s', v...)
	}
}

// gone reports whether a reader may end with err, and begins anew.
func gone(err error) bool {
	return errors.Is(err, wal.ErrTruncated) || errors.Is(err, wal.ErrRewound) || errors.Is(err, wal.ErrClosed) || errors.Is(err, wal.ErrNotFound)
}

// follow follows the log from somewhere on, for a while.
func (u *user) follow() {
	var buf []byte
	for u.wait(10 * time.Millisecond) {
		l := u.log.Load()
		next := l.LastLSN() + 1 - min(l.LastLSN()+1-l.FirstLSN(), wal.LSN(rand.IntN(1000)))
		ctx, cancel := context.WithTimeout(u.ctx, rand.N(5*time.Second))
		for r, err := range l.Follow(ctx, next) {
			if err == nil && r.LSN != next {
				err = fmt.Errorf("%d after %d", r.LSN, next-1)
			}
			if err == nil {
				_, buf, err = parseRecord(r.Data, buf)
				next++
			}
			if err != nil && ctx.Err() == nil && !gone(err) {
				u.fail(fmt.Errorf("follower at %d: %w", next, err))
			}
			if err != nil {
				break
			}
		}
		cancel()
	}
}

// readPoints reads single records.
func (u *user) readPoints() {
	var buf, data []byte
	for u.wait(time.Millisecond) {
		l := u.log.Load()
		lsn := l.FirstLSN() + wal.LSN(rand.Uint64N(uint64(l.LastLSN()+2-l.FirstLSN())&(1<<62-1)+1))
		var err error
		if data, err = l.Read(lsn, data[:0]); err == nil {
			_, buf, err = parseRecord(data, buf)
		}
		if err != nil && !gone(err) {
			u.fail(fmt.Errorf("read %d: %w", lsn, err))
			return
		}
	}
}

// scarce is a disk that is full at times: what needs space fails, and some writes
// to segments do, in the middle.
type scarce struct{ full, opening atomic.Bool }

func (d *scarce) handle(c vfs.Call, do func(int) (int, error)) (int, error) {
	if !d.full.Load() {
		return do(int(c.Size))
	}
	switch {
	case c.Op == vfs.Allocate, c.Op == vfs.Create:
		return 0, syscall.ENOSPC
	case c.Op == vfs.WriteAt && !d.opening.Load() && filepath.Ext(c.Name) == segment.Ext && rand.IntN(4) == 0:
		n, err := do(rand.IntN(int(c.Size)))
		return n, errors.Join(err, syscall.ENOSPC)
	}
	return do(int(c.Size))
}

// fill lets the disk be full at times.
func (u *user) fill() {
	for u.wait(rand.N(3 * time.Second)) {
		u.disk.full.Store(true)
		u.wait(rand.N(300 * time.Millisecond))
		u.disk.full.Store(false)
		u.report('e')
	}
}
