package kill

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
	"github.com/seed3918b8df/tidemark/wal"
)

// Work is what a process does with a log.
type Work struct {
	Dir         string
	Ops         string // letters: see Kind
	Loop        bool   // each writer does random ones of Ops, until the log fails; else one writer does them in order, and closes the log
	Writers     int
	Seed        uint64
	First       ID // of its operations; the others follow
	Sync        wal.SyncPolicy
	SegmentSize int64
	Direct      bool

	Early bool          // a lie, for controls: appends are reported as durable before they are
	Cause syscall.Errno // what the errors of the log must wrap; 0: there must be none
}

// AnyCause is the Cause of errors that wrap whatever error of the system.
const AnyCause syscall.Errno = 1 << 12

// worker is a process at work.
type worker struct {
	Work
	fs     wal.FS
	report io.Writer
	ids    atomic.Uint64
	failed atomic.Bool
	denied atomic.Int64 // operations refused since the last success
	// Held for reading during each operation, and for writing during one that is alone.
	mu    sync.RWMutex
	log   *wal.Log
	front sync.Mutex // one truncation of the front at a time

	unwaited struct {
		sync.Mutex
		list []pending
	}
}

// pending is an append that nobody waited for.
type pending struct {
	op Op
	p  wal.Pending
}

// Run does the work on a log in fsys, and reports it line by line. It returns when the
// work is done or the log has failed; the error says that the log did what it must not.
func (w Work) Run(fsys wal.FS, report io.Writer) error {
	k := &worker{Work: w, fs: fsys, report: report}
	k.ids.Store(uint64(w.First))
	if err := k.open(); err != nil {
		return err
	}
	if !w.Loop {
		return k.once()
	}
	errs := make(chan error)
	for g := range max(1, w.Writers) {
		go func() { errs <- k.loop(rand.New(rand.NewPCG(w.Seed, uint64(g)))) }()
	}
	var all []error
	for range max(1, w.Writers) {
		all = append(all, <-errs)
	}
	return errors.Join(errors.Join(all...), k.end())
}

// patience is how many operations in a row are refused before there is no hope: a disk
// that is gone looks like a full one until something is synced.
const patience = 50

// loop does random operations until the log has failed.
func (k *worker) loop(rnd *rand.Rand) error {
	for !k.failed.Load() && k.denied.Load() < patience {
		if err := k.do(Kind(k.Ops[rnd.IntN(len(k.Ops))]), rnd); err != nil {
			return err
		}
	}
	return nil
}

// once does each operation once, and again if there was no space for it, and closes the
// log.
func (k *worker) once() error {
	rnd := rand.New(rand.NewPCG(k.Seed, 0))
	for _, letter := range k.Ops {
		for _, kind := range []Kind{Kind(letter), Kind(letter), Append} {
			if err := k.do(kind, rnd); err != nil {
				return err
			}
			if k.failed.Load() || k.log.Err() == nil {
				break
			}
		}
		if k.failed.Load() {
			break
		}
		if err := k.log.Err(); err != nil {
			return fmt.Errorf("there is space again, and the log does not go on: %w", err)
		}
	}
	return k.end()
}

// end closes the log. After a failure what is durable must still be readable.
func (k *worker) end() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.log == nil {
		return nil
	}
	failed := k.failed.Load()
	if failed && k.Cause != AnyCause {
		for lsn := k.log.FirstLSN(); lsn <= k.log.DurableLSN(); lsn++ {
			if _, err := k.log.Read(lsn, nil); err != nil {
				return fmt.Errorf("the log failed, and LSN %d, which is durable, cannot be read: %w", lsn, err)
			}
		}
	}
	op, err := k.called(Op{Kind: Close})
	if err != nil {
		return err
	}
	cerr := k.log.Close()
	if failed && !errors.Is(cerr, wal.ErrFailed) && !errors.Is(cerr, wal.ErrClosed) {
		return fmt.Errorf("the log failed, and Close returns %v", cerr)
	}
	if _, err := k.log.Append(nil); !errors.Is(err, wal.ErrClosed) {
		return fmt.Errorf("an append to a closed log returns %v", err)
	}
	return k.closed(op, cerr)
}

// closed reports what Close returned.
func (k *worker) closed(op Op, err error) error {
	if errors.Is(err, wal.ErrNoSpace) { // what nobody waited for was thrown away; the rest is durable
		if err := k.resolve(); err != nil {
			return err
		}
	}
	k.forget()
	return k.returned(op, 0, true, err)
}

// open opens the log, twice if the first time fails.
func (k *worker) open() error {
	for try := 0; ; try++ {
		op, err := k.called(Op{Kind: Open})
		if err != nil {
			return err
		}
		k.log, err = wal.Open(k.Dir, &wal.Options{FS: k.fs, Sync: k.Sync, SegmentSize: k.SegmentSize, Direct: k.Direct})
		if err == nil {
			return k.say("h %d 0", op.ID)
		}
		if cerr := k.cause(err); cerr != nil {
			return fmt.Errorf("open: %w", cerr)
		}
		if err := k.say("r %d", op.ID); err != nil {
			return err
		}
		if try > 0 {
			k.log = nil
			k.failed.Store(true)
			if !k.Loop {
				return fmt.Errorf("open fails twice: %w", err)
			}
			return nil
		}
	}
}

// say reports one line. A write into a pipe is there whole, or not at all.
func (k *worker) say(format string, args ...any) error {
	_, err := k.report.Write(fmt.Appendf(nil, format+"\n", args...))
	return err
}

// called gives an operation its ID and reports that it is about to be called.
func (k *worker) called(op Op) (Op, error) {
	for op.ID == 0 || op.ID.isLarge() != (op.Kind == Large) {
		op.ID = ID(k.ids.Add(1))
	}
	return op, k.say("i %d %c %d %d", op.ID, op.Kind, op.N, op.Arg)
}

// returned reports what became of an operation.
func (k *worker) returned(op Op, first wal.LSN, durable bool, err error) error {
	if err == nil {
		k.denied.Store(0)
	}
	switch {
	case err == nil && (durable || k.Sync == wal.SyncAlways):
		return k.say("a %d %d", op.ID, first)
	case err == nil:
		return k.say("h %d %d", op.ID, first)
	}
	if cerr := k.cause(err); cerr != nil {
		return fmt.Errorf("%v: %w", op, cerr)
	}
	k.denied.Add(1)
	if cerr := documented(err); cerr != nil {
		return fmt.Errorf("%v: %w", op, cerr)
	}
	switch {
	case errors.Is(err, wal.ErrUnknownOutcome):
		k.failed.Store(true)
		return k.say("u %d", op.ID)
	case errors.Is(err, wal.ErrFailed):
		k.failed.Store(true)
	}
	return k.say("r %d", op.ID)
}

// documented returns an error unless err says what is documented of its cause: want of
// space ends the log only in a sync and in FRONT, anything else always, but for the making
// of a file, and for reading what a truncation must know.
func documented(err error) error {
	op, path := "", ""
	if at := (*fs.PathError)(nil); errors.As(err, &at) {
		op, path = at.Op, at.Path
	} else if at := (*os.LinkError)(nil); errors.As(err, &at) {
		op, path = at.Op, at.Old
	}
	ended := errors.Is(err, wal.ErrFailed) || errors.Is(err, wal.ErrUnknownOutcome)
	full := vfs.IsNoSpace(err)
	switch {
	case ended && (!full || op == "sync" || op == "writesync" || filepath.Base(path) == segment.FrontName):
	case !ended && errors.Is(err, wal.ErrNoSpace) && op != "sync" && op != "writesync" && (full || strings.Contains(err.Error(), "next segment: ")):
	case !ended && !errors.Is(err, wal.ErrNoSpace) && slices.Contains([]string{"open", "stat", "read"}, op):
	default:
		return fmt.Errorf("not an error that is documented of %s of %s: %w", op, path, err)
	}
	return nil
}

// cause returns an error unless err wraps the error of the system that it must.
func (k *worker) cause(err error) error {
	var errno syscall.Errno
	switch {
	case k.Cause == 0:
		return fmt.Errorf("there is no reason for an error: %w", err)
	case !errors.As(err, &errno):
		return fmt.Errorf("the error wraps none of the system: %w", err)
	case k.Cause != AnyCause && !errors.Is(err, k.Cause):
		return fmt.Errorf("the error does not wrap %v: %w", k.Cause, err)
	}
	return nil
}

// resolve waits for all that nobody waited for, and reports what became of it.
func (k *worker) resolve() error {
	for _, u := range k.take() {
		if err := k.returned(u.op, u.p.First, true, u.p.Wait(context.Background())); err != nil {
			return err
		}
	}
	return nil
}

func (k *worker) take() []pending {
	k.unwaited.Lock()
	defer k.unwaited.Unlock()
	list := k.unwaited.list
	k.unwaited.list = nil
	return list
}

// forget gives up those that nobody waited for, which are durable.
func (k *worker) forget() { k.take() }
