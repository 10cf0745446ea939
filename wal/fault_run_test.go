package wal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"testing/synctest"
	"time"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// faultOptions are those of the logs that faults are injected in.
var faultOptions = Options{SegmentSize: MinSegmentSize, MaxRecordSize: 64 << 10}

// injected is a fault: from call number at on, of all calls or of those of the
// same kind, or only that one.
type injected struct {
	at    int
	err   error
	lasts string // "once", "kind", "all"
	after bool
	short int
}

func (f injected) String() string {
	how := "before"
	if f.after {
		how = "after"
	}
	if f.short > 0 {
		how = fmt.Sprintf("short %d", f.short)
	}
	return fmt.Sprintf("call %d, %v, %s, %s", f.at, f.err, how, f.lasts)
}

// run is one run of a workload with a fault. Everything in it happens in a
// synctest bubble, so that a call that does not return is a deadlock, which
// ends the test.
type run struct {
	crash  *vfs.Crash
	faulty *vfs.Faulty
	fs     FS
	opts   Options
	log    *Log // nil: Open failed
	model  *model

	each     int // images of each crash that are opened
	fault    injected
	hit      vfs.Call // the first that failed
	failedAt *model   // after the first operation that did not succeed, and the
	failed   *vfs.State
	pending  []waited
	serial   int

	mu       sync.Mutex
	count    int
	calls    []called
	open     int             // files and locks
	unsynced map[string]bool // names of which a sync failed, since the log was opened
	problems []string

	// What was found.
	poisoned bool
	images   int
}

type called struct {
	vfs.Call
	err error
}

// waited is a Pending that is still to be waited for.
type waited struct {
	p  Pending
	op int
}

// newRun returns a run on what is in base, which holds start.
func newRun(base *vfs.Mem, start world, f injected) *run {
	r := &run{crash: vfs.NewCrashFrom(base, 512), opts: faultOptions, fault: f,
		model: &model{start: start}, unsynced: map[string]bool{}}
	r.faulty = vfs.NewFaulty(r.crash)
	if f.err != nil {
		r.faulty.Set(vfs.Fault{Match: r.fails, Sticky: true, Err: f.err, After: f.after, Short: f.short})
	}
	r.fs = vfs.Wrap(r.faulty, r.watch)
	r.opts.FS = r.fs
	return r
}

// fails says which calls fail. It is called for one call at a time.
func (r *run) fails(c vfs.Call) bool {
	n := r.count
	r.count++
	switch {
	case n < r.fault.at:
		return false
	case n == r.fault.at:
		r.hit = c
		return true
	}
	return r.fault.lasts == "all" || r.fault.lasts == "kind" && c.Op == r.hit.Op
}

// watch sees all calls and what becomes of them. After a failed sync the disk
// lacks what should have been made durable, although it can be read.
func (r *run) watch(c vfs.Call, do func(int) (int, error)) (int, error) {
	if r.synced(c) {
		r.problem("a second sync of %s after one that failed", c.Name)
	}
	n, err := do(int(c.Size))
	if c.Op == vfs.Sync && err != nil {
		_ = r.crash.FailSync(c.Name) // it may have no name any more
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, called{c, err})
	switch {
	case c.Op == vfs.Close:
		r.open--
	case err != nil && (c.Op == vfs.Sync || c.Op == vfs.SyncDir):
		r.unsynced[c.Name] = true
	case err == nil && (c.Op == vfs.Create || c.Op == vfs.Open || c.Op == vfs.Lock):
		r.open++
	}
	return n, err
}

// synced reports whether c syncs what an earlier sync failed for.
func (r *run) synced(c vfs.Call) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return (c.Op == vfs.Sync || c.Op == vfs.SyncDir) && r.unsynced[c.Name]
}

func (r *run) problem(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// trace returns all calls that were made, as text.
func (r *run) trace() string {
	var b strings.Builder
	for i, c := range r.calls {
		fmt.Fprintf(&b, "%4d %v %s %s %d+%d", i, c.Op, c.Name, c.To, c.Off, c.Size)
		if c.err != nil {
			fmt.Fprintf(&b, ": %v", c.err)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// mayBe notes an error that an operation of the log returned, and returns what
// it says of the operation.
func (r *run) mayBe(what string, err error) fate {
	switch {
	case err == nil:
		return fateDurable
	case errors.Is(err, ErrClosed):
		return fateNone
	case r.fault.err == nil || !errors.Is(err, r.fault.err):
		r.problem("%s: %v does not wrap the cause", what, err)
	case errors.Is(err, ErrUnknownOutcome):
		return fateOpen
	case errors.Is(err, ErrNoSpace), errors.Is(err, ErrFailed):
		return fateNone
	case (strings.HasPrefix(what, "truncate") || what == "append batch") && isRead(err):
		return fateNone // where the record is could not be read
	default:
		r.problem("%s: undocumented error: %v", what, err)
	}
	return fateOpen
}

// isRead reports whether err is a file system's, of a call that reads.
func isRead(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path) && (path.Op == "open" || path.Op == "stat" || path.Op == "read")
}

// did notes an operation that returned err.
func (r *run) did(what string, err error, apply func(world) world) {
	f := r.mayBe(what, err)
	if f == fateDurable && r.opts.Sync != SyncAlways && strings.HasPrefix(what, "append") {
		f = fateHanded
	}
	if f == fateOpen && r.model.anyOrder {
		f = fateMaybe
	}
	r.model.ops = append(r.model.ops, operation{fmt.Sprintf("%s: %v", what, err), f, apply})
	if err != nil {
		r.afterFailure()
	}
}

// afterFailure takes the state that a crash would leave now, once.
func (r *run) afterFailure() {
	if r.failed == nil {
		r.failed, r.failedAt = r.crash.State(), r.model.copy()
	}
}

// data returns n bytes, at least 8, that no other call returns.
func (r *run) data(n int) string {
	r.serial++
	return fmt.Sprintf("%08d", r.serial) + strings.Repeat("x", max(0, n-8))
}

// openLog opens the log. What fails then must leave no trace in what the log is.
func (r *run) openLog() bool {
	r.unsynced = map[string]bool{}
	l, err := Open("log", &r.opts)
	if err == nil {
		r.log = l
		return true
	}
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion) || errors.Is(err, fs.ErrNotExist) ||
		r.fault.err == nil || !errors.Is(err, r.fault.err) {
		r.problem("Open: %v", err)
	}
	r.afterFailure()
	return false
}

// append appends a record of n bytes and reads it again.
func (r *run) append(n int) {
	data := r.data(n)
	lsn, err := r.log.Append([]byte(data))
	r.did("append", err, appends(data))
	if err == nil {
		r.reads(lsn, data)
	}
}

// reads reads a record; a read may fail only as the disk does.
func (r *run) reads(lsn LSN, want string) {
	got, err := r.log.Read(lsn, nil)
	if err == nil && string(got) != want || err != nil && (r.fault.err == nil || !errors.Is(err, r.fault.err)) {
		r.problem("Read(%d): %.20q, %v, want %.20q", lsn, got, err, want)
	}
}

// async orders a record that nobody waits for, yet.
func (r *run) async(n int) {
	data := r.data(n)
	p, err := r.log.AppendAsync([]byte(data))
	if err != nil {
		r.did("append async", err, appends(data))
		return
	}
	r.pending = append(r.pending, waited{p, len(r.model.ops)})
	r.model.ops = append(r.model.ops, operation{"append async", fateOpen, appends(data)})
}

// wait waits for all that nobody waited for.
func (r *run) wait() {
	for _, w := range r.pending {
		err := w.p.Wait(context.Background())
		op := &r.model.ops[w.op]
		op.fate = r.mayBe("Wait", err)
		op.what = fmt.Sprintf("%s, Wait: %v", op.what, err)
		if err != nil {
			r.afterFailure()
		}
	}
	r.pending = nil
}

// batch appends n records with a meta, behind a truncation of the last back ones.
func (r *run) batch(n, size, back int, meta string) {
	var b Batch
	var steps []func(world) world
	if back > 0 {
		last := max(r.log.LastLSN()-LSN(back), r.log.FirstLSN()-1)
		b.TruncateBack(last)
		steps = append(steps, truncatesBack(last))
	}
	for range n {
		data := r.data(size)
		b.Add([]byte(data))
		steps = append(steps, appends(data))
	}
	if meta != "" {
		b.SetMeta([]byte(meta))
		steps = append(steps, setsMeta(meta))
	}
	_, err := r.log.AppendBatch(&b)
	r.did("append batch", err, inOrder(steps...))
}

func (r *run) sync() { r.did("sync", r.log.Sync(), nothing) }

func (r *run) rotate() { r.did("rotate", r.log.Rotate(), nothing) }

func (r *run) truncateBack(n int) {
	last := max(r.log.LastLSN()-LSN(n), r.log.FirstLSN()-1)
	r.did(fmt.Sprintf("truncate back to %d", last), r.log.TruncateBack(last), truncatesBack(last))
}

func (r *run) truncateFront(n int) {
	first := min(r.log.FirstLSN()+LSN(n), r.log.LastLSN()+1)
	if err := r.log.TruncateFront(first); errors.Is(err, ErrNoSpace) && r.fault.after {
		// A write in place that fails for want of space, and is there all the same.
		r.model.ops = append(r.model.ops, operation{"truncate front, against all odds", fateMaybe, truncatesFront(first)})
		r.afterFailure()
	} else {
		r.did(fmt.Sprintf("truncate front to %d", first), err, truncatesFront(first))
	}
}

func (r *run) reset(next LSN) {
	r.did(fmt.Sprintf("reset to %d", next), r.log.Reset(next), resets(next))
}

// idle lets time pass, so that what is due is done.
func (r *run) idle(d time.Duration) {
	time.Sleep(d) // the bubble's clock
	synctest.Wait()
}

// readAll reads the log to its end; only the disk may make that fail.
func (r *run) readAll() {
	if _, err := worldOf(r.log); err != nil && (r.fault.err == nil || !errors.Is(err, r.fault.err)) {
		r.problem("Records: %v", err)
	}
}

// close closes the log, twice.
func (r *run) close() {
	r.rest()
	err := r.log.Close()
	if again := r.log.Close(); again != err {
		r.problem("Close: %v, and then %v", err, again)
	}
	r.wait()
	if err == nil {
		r.model.ops = append(r.model.ops, operation{"close", fateDurable, nothing})
	} else if r.fault.err == nil || !errors.Is(err, r.fault.err) {
		r.problem("Close: %v", err)
	}
	r.log = nil
}

// rest lets the goroutines of the log finish what they do.
func (r *run) rest() { synctest.Wait() }

// isNoSpace reports whether the fault is want of space in a call that may want
// some, and so must not end the log.
func (f injected) isNoSpace(c vfs.Call) bool {
	return f.err == syscall.ENOSPC && (c.Op == vfs.WriteAt || c.Op == vfs.Allocate || c.Op == vfs.Create)
}
