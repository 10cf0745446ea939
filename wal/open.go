package wal

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/recovery"
	"github.com/seed3918b8df/tidemark/segment"
)

// Open opens the log in dir, and creates dir and the log if there is none. It
// brings the log in order after a crash; when it returns, every record of the log
// is durable. A nil opts is the zero [Options]; opts is copied. Options.FirstLSN
// is ignored unless the log is created.
//
// The errors: [ErrLocked] if another Log has it open; a [CorruptError], that names
// path, offset and LSN, if something durable does not verify; [ErrVersion];
// [fs.ErrNotExist] with Options.MustExist or ReadOnly; an error that names a bad
// option; and the file system's. Then nothing was changed, or only what a crash
// had left was cut off.
func Open(dir string, opts *Options) (*Log, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	if o.ReadOnly {
		return openViewer(dir, o)
	}
	if err := findDir(dir, o); err != nil {
		return nil, err
	}
	lock, err := o.FS.Lock(filepath.Join(dir, segment.LockName))
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("%w: %s", ErrLocked, filepath.Join(dir, segment.LockName))
	}
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	l, err := openLocked(dir, o, lock)
	if err != nil {
		_ = lock.Close() // the error that counts is there already
		return nil, err
	}
	return l, nil
}

// findDir returns nil if a log may be opened or made in dir, which is made if need be.
func findDir(dir string, o Options) error {
	front, err := o.FS.Open(filepath.Join(dir, segment.FrontName), vfs.ReadOnly)
	if err == nil { // there is a log: its directory, which may be large, is not read for that
		err = front.Close()
	}
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("wal: %w", err)
	}
	names, err := o.FS.List(dir)
	if errors.Is(err, fs.ErrNotExist) && !o.MustExist && o.ExpectLSN == 0 {
		if err = makeDir(o.FS, dir); err == nil {
			names, err = o.FS.List(dir)
		}
	}
	if err != nil {
		return fmt.Errorf("wal: %w", err)
	}
	return mayHoldLog(dir, names, o.MustExist)
}

// mayHoldLog returns an error if a log may not be made in a directory with
// these names: files of somebody else are there, or one must exist.
func mayHoldLog(dir string, names []string, mustExist bool) error {
	for _, name := range names {
		if _, ok := segment.ParseName(name); ok || name == segment.FrontName {
			return nil
		}
	}
	if mustExist {
		return fmt.Errorf("wal: no log in %s: %w", dir, fs.ErrNotExist)
	}
	for _, name := range names {
		ext := filepath.Ext(name)
		if name != segment.LockName && ext != segment.TempExt && ext != segment.Ext && ext != segment.QuarantinedExt {
			return fmt.Errorf("wal: %s is not a log's directory: it has no %s, and it has %s", dir, segment.FrontName, name)
		}
	}
	return nil
}

// makeDir creates dir, and what is missing above it, and makes them durable. What
// cannot be made durable is removed again: another Open would take it for old.
func makeDir(fsys FS, dir string) error {
	err := fsys.Mkdir(dir)
	if parent := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && parent != dir {
		if err = makeDir(fsys, parent); err == nil {
			err = fsys.Mkdir(dir)
		}
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return err
	}
	if err = fsys.SyncDir(filepath.Dir(dir)); err != nil {
		_ = fsys.Remove(dir) // the error that counts is there already
	}
	return err
}

// syncParents makes the names of dir and of the directories above it durable. An
// Open that was cut short may have created any of them. One that may not be read is
// left out: most often it is old.
func syncParents(fsys FS, dir string) error {
	for parent := filepath.Dir(dir); parent != dir; dir, parent = parent, filepath.Dir(parent) {
		if err := fsys.SyncDir(parent); err != nil && !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	return nil
}

func openLocked(dir string, o Options, lock io.Closer) (*Log, error) {
	plan, err := recovery.Settle(recovery.Config{FS: o.FS, Dir: dir, Mode: o.Recovery, ExpectLSN: o.ExpectLSN})
	if err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	front := filepath.Join(dir, segment.FrontName)
	if !plan.Exists {
		if len(plan.Chain) == 0 {
			plan.Front = segment.Front{First: o.FirstLSN, Oldest: 1}
			if _, err := io.ReadFull(rand.Reader, plan.Front.Log[:]); err != nil {
				return nil, fmt.Errorf("wal: random number: %w", err)
			}
			plan.Next = o.FirstLSN
		}
		err := syncParents(o.FS, dir)
		if err == nil {
			err = segment.CreateFront(o.FS, dir, front, plan.Front)
		}
		if err != nil {
			return nil, fmt.Errorf("wal: %w", err)
		}
		plan.Front = plan.Front.Created()
	} else if len(plan.Chain) == 0 { // who made FRONT may have died before its name was durable
		if err := o.FS.SyncDir(dir); err != nil {
			return nil, fmt.Errorf("wal: %w", err)
		}
	}
	l := newLog(dir, o, plan)
	l.lock = lock
	if l.lead.frontFile, err = o.FS.Open(front, vfs.ReadWrite); err != nil {
		return nil, fmt.Errorf("wal: %w", err)
	}
	l.flush.start(l)
	if err := l.afterRecovery(plan); err != nil {
		l.lock = nil // Open's caller closes it
		_ = l.Close()
		return nil, fmt.Errorf("wal: %w", err)
	}
	l.hooks.recovered(l.report)
	l.scrub.start(l)
	l.logger.Info("wal: open", "dir", dir, "first", l.report.First, "last", l.report.Last, "tail", l.report.Tail.String())
	return l, nil
}

// newLog returns the log that plan describes, as it is before the first append.
func newLog(dir string, o Options, plan *recovery.Plan) *Log {
	name := o.Name
	if name == "" {
		name = dir
	}
	logger := o.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	l := &Log{fs: o.FS, dir: dir, opts: o, id: plan.Front.Log, report: plan.Report, logger: logger.With("wal", name), closing: make(chan struct{})}
	l.room.L = &l.mu
	l.keep.idle.L, l.keep.hurry = &l.keep.mu, make(chan struct{}, 1)
	l.hooks.idle.L = &l.hooks.mu
	l.hooks.hooks = o.Hooks
	l.keep.mu.nextID, l.keep.first = plan.NextID, cmp.Or(o.firstSegment, firstSegment)
	l.mu.holds = map[*Hold]LSN{}
	l.mu.queue.reset()
	l.mu.spare.reset()
	l.lead.gather.off = o.gatherOff
	l.show(plan)
	l.mu.first, l.mu.next = plan.Front.First, plan.Next
	l.report.First, l.report.Last = plan.Front.First, plan.Next-1
	return l
}

// show makes what plan found visible.
func (l *Log) show(plan *recovery.Plan) {
	ld := &l.lead
	ld.front, ld.pin = plan.Front, plan.Pin
	ld.segments = nil
	paths := segment.Paths(l.dir, plan.Chain)
	var made []extent // several at a time, as there may be many; not all, as one would keep all in memory
	for i, id := range plan.Chain {
		if i%32 == 0 {
			made = make([]extent, min(32, len(plan.Chain)-i))
		}
		e := &made[i%32]
		e.begin(l, id, paths[i])
		ld.segments = append(ld.segments, e)
	}
	if n := len(ld.segments); n > 0 {
		ld.segments[n-1].found(plan.Last)
		ld.irregular = plan.Last.First.Irregular
	}
	ld.written = progress{seq: ld.written.seq, first: plan.Front.First, last: plan.Next - 1}
	if meta := plan.Meta; meta != nil { // a pointer into the plan would keep all of it
		ld.written.meta = &meta
	}
	ld.synced = ld.written
	segments := ld.segments
	l.segments.Store(&segments)
	l.first.Store(uint64(plan.Front.First))
	l.meta.Store(ld.written.meta)
	l.durable.Store(uint64(plan.Next - 1))
	l.last.Store(uint64(plan.Next - 1))
}

// afterRecovery does what a recovery leaves to the log: if it changed the tail,
// a segment is opened behind it and a mark written, so that what was found is
// proved from now on, and what was cut never comes back.
func (l *Log) afterRecovery(plan *recovery.Plan) error {
	return l.exclusive(func(r *round) error {
		if due, must := plan.FrontDue(); due {
			err := l.writeFront(r, l.lead.written.first, 0)
			if err != nil && must {
				return err
			}
			if err != nil {
				l.logger.Warn("wal: the slots of FRONT stay unequal", "err", err)
			}
		}
		if !plan.Renew || r.failed != nil {
			return nil
		}
		if plan.GivenUp {
			l.lead.compat = segment.CompatGivenUp
		}
		err := l.begin(r)
		l.lead.compat = 0
		if err == nil && r.failed == nil {
			err = l.mark(r, true)
		}
		if l.opts.Recovery == PointInTime {
			if err == nil && r.failed == nil {
				err = plan.Finish()
			}
			return err
		}
		if err != nil { // no space: the first append does it
			l.logger.Warn("wal: the segment behind a recovery is put off", "err", err)
		}
		return nil
	})
}

// Close makes every append that was ordered durable, under any policy, wakes all
// who wait, waits for reads that are under way, and gives the directory free. An
// append after it is [ErrClosed] and not in the log. After a failure Close syncs nothing and returns the failure.
// It is idempotent: further calls return what the first did.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.mu.closed {
		l.mu.Unlock()
		<-l.closing
		return l.closeIs
	}
	l.mu.closed = true
	l.room.Broadcast()
	if l.viewer == nil {
		l.closeIs = l.shut()
	}
	l.mu.Unlock()

	l.end()
	if err := l.closeFiles(); l.closeIs == nil {
		l.closeIs = err
	}
	l.hooks.wait()
	close(l.closing)
	return l.closeIs
}

// shut writes what is ordered and ends the log. Requires mu, and gives it up
// meanwhile.
func (l *Log) shut() error {
	l.awaitTurn()
	l.mu.leading = true
	r := l.take(true)
	failed := l.mu.failed
	l.mu.Unlock()
	if failed == nil {
		if l.process(r); r.failed == nil {
			l.finish(r)
		}
	}
	ready, unused := l.keep.stop()
	if ready != nil {
		unused = append(unused, ready.Path())
		if err := ready.Close(); err != nil {
			l.logger.Warn("wal: closing an unused segment", "path", ready.Path(), "err", err)
		}
	}
	for _, path := range unused {
		if err := l.fs.Remove(path); err != nil {
			l.logger.Warn("wal: an unused segment stays", "path", path, "err", err)
		}
	}
	l.mu.Lock()
	l.settle(r)
	l.mu.Lock()
	lost := l.mu.untold.take(l.mu.untold.times)
	l.mu.lost = nil
	if l.mu.failed != nil {
		return l.mu.failed
	}
	return lost
}

// finish ends a log in order: a mark that says so, FRONT that names the last segment
// and its length, and no space behind it.
func (l *Log) finish(r *round) {
	ld := &l.lead
	if ld.tail == nil {
		return
	}
	err := l.writeMark(true)
	if err == nil {
		err = l.syncTail()
	} else if !isFatal(err) {
		err = l.cutTail()
	}
	if err != nil {
		r.failed = err
		return
	}
	if ld.tail == nil {
		return
	}
	err = l.allowTrim(l.frontOf(ld.written.first, 0))
	if err == nil {
		err = ld.tail.Trim()
	} else if isFatal(err) {
		r.failed = err
		return
	}
	if err != nil {
		l.logger.Warn("wal: space behind the log stays reserved", "path", ld.tail.Path(), "err", err)
	}
}

// end closes the log to readers.
func (l *Log) end() {
	if v := l.viewer; v != nil {
		v.mu.Lock()
		defer v.mu.Unlock()
	}
	l.ended.Store(true)
	l.news.fire()
}

// closeFiles closes what is open, and releases the lock last.
func (l *Log) closeFiles() error {
	var errs []error
	if l.viewer == nil {
		l.flush.end()
		l.scrub.end()
	}
	if v := l.viewer; v != nil {
		v.mu.Lock()
		defer v.mu.Unlock()
	}
	for _, list := range [][]*extent{*l.segments.Load(), l.lead.segments, l.lead.dropped} {
		for _, e := range list {
			errs = append(errs, e.drop())
			e.settled()
		}
	}
	l.spareParts.clear()
	if l.lead.frontFile != nil {
		errs = append(errs, l.lead.frontFile.Close())
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	return errors.Join(errs...)
}

func (l *Log) isClosed() bool { return l.ended.Load() }

// failure returns why the log has failed, or nil.
func (l *Log) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.failed
}
