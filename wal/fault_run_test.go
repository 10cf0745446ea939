package wal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/segment"
)

// faultOptions are those of the logs that faults are injected in.
var faultOptions = Options{SegmentSize: MinSegmentSize, MaxRecordSize: 64 << 10}

// run is one run of a workload with a fault. Everything in it happens in a
// synctest bubble, so that a call that does not return is a deadlock, which
// ends the test.
type run struct {
	t      *testing.T
	crash  *vfs.Crash
	faulty *vfs.Faulty
	fs     FS
	opts   Options
	log    *Log // nil: Open failed
	model  *model

	each     int // images of each crash that are opened
	fault    injected
	pages    pages  // what becomes of what a failed sync should have made durable
	failedAt *model // after the first operation that did not succeed, and the
	failed   *vfs.State
	lied     string       // under mu: the file of which a sync did nothing
	liedAt   int          // under mu: and how many operations were over then
	noted    atomic.Int64 // operations that are over
	pending  []waited
	serial   int
	full     bool // the disk has been full, too

	// Under the lock of faulty: the calls that have a number, and what failed.
	counts []counted
	phase  phase
	paused bool
	hit    hit
	second bool     // fault.then has hit too
	begun  []string // the segments that were written to, the last of which is active

	mu       sync.Mutex
	calls    []called
	open     int             // files and locks
	unsynced map[string]bool // names of which a sync failed, since the log was opened
	problems []string

	// What was found.
	unopened bool // Open failed
	ended    bool // the log took no appends any more
	noSpace  bool // an operation had no space
	corrupt  bool // Open found corruption, after a sync that lied
	told     bool // an operation, Open or Close returned an error
	images   int
}

// hit is the first call that failed.
type hit struct {
	vfs.Call
	ok     bool // there was one
	number int
	phase  phase
	active string // the name of the active segment then
}

// phase is how far a run is.
type phase string

const (
	opening phase = "opening"
	inUse   phase = "in use"
	closing phase = "closing"
)

// counted is a call that has a number.
type counted struct {
	vfs.Call
	phase phase
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
	r := &run{crash: vfs.NewCrashFrom(base, 512), opts: faultOptions, fault: f, phase: opening, pages: kept,
		model: &model{start: start}, unsynced: map[string]bool{}}
	r.faulty = vfs.NewFaulty(r.crash)
	r.faulty.Decide(r.decide)
	r.fs = vfs.Wrap(r.faulty, r.watch)
	r.opts.FS = r.fs
	return r
}

// decide says which calls fail, and how. A call is told by its number, but where
// goroutines run concurrently another may have it than in the run before: only
// one that can fail in this way does.
func (r *run) decide(c vfs.Call) (vfs.Fault, bool) {
	active := r.activeAt(c)
	if r.paused {
		return vfs.Fault{}, false
	}
	n, f := len(r.counts), r.fault
	r.counts = append(r.counts, counted{c, r.phase})
	short, ok := f.part.of(c)
	switch {
	case f.none(), n < f.at:
		return vfs.Fault{}, false
	case !r.hit.ok:
		if !ok || !canReturn(c.Op, f.err) || f.syncs && !syncs(c) {
			return vfs.Fault{}, false
		}
		if f.syncs && c.Op == vfs.WriteSync {
			short = int(c.Size)
		}
		r.hit = hit{Call: c, ok: true, number: n, phase: r.phase, active: active}
	case f.gap > 0:
		if r.second || n < r.hit.number+f.gap || !canReturn(c.Op, f.then) {
			return vfs.Fault{}, false
		}
		r.second = true
		return vfs.Fault{Err: f.then}, true
	case f.lasts == once, f.lasts == kind && c.Op != r.hit.Op, !canReturn(c.Op, f.err):
		return vfs.Fault{}, false
	}
	if !ok {
		short = 0
	}
	return vfs.Fault{Err: f.err, After: f.part == after, Short: short}, true
}

// activeAt returns the name of the active segment when c is made: the newest that was
// written to, or is by c, and was not removed.
func (r *run) activeAt(c vfs.Call) string {
	is := strings.HasSuffix(c.Name, segment.Ext) && (len(r.begun) == 0 || c.Name > r.begun[len(r.begun)-1])
	if is && c.Op == vfs.WriteAt && c.Off >= segment.HeaderSize {
		r.begun = append(r.begun, c.Name)
	}
	active := ""
	if len(r.begun) > 0 {
		active = r.begun[len(r.begun)-1]
	}
	if c.Op == vfs.Remove {
		r.begun = slices.DeleteFunc(r.begun, func(name string) bool { return name == c.Name })
	}
	return active
}

// pause lets all calls succeed, and not count, or ends that.
func (r *run) pause(on bool) { r.set(func() { r.paused = on }) }

// set changes what decide uses.
func (r *run) set(change func()) {
	r.faulty.Decide(func(vfs.Call) (vfs.Fault, bool) { return vfs.Fault{}, false }) // waits for one that is under way
	change()
	r.faulty.Decide(r.decide)
}

// watch sees all calls and what becomes of them. After a failed sync the disk
// lacks what should have been made durable, although it can be read.
func (r *run) watch(c vfs.Call, do func(int) (int, error)) (int, error) {
	i := r.began(c)
	n, err := r.onPages(c, do)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls[i].err = err
	switch {
	case c.Op == vfs.Close:
		r.open--
	case err != nil && (syncs(c) || c.Op == vfs.SyncDir):
		r.unsynced[c.Name] = true
	case err == nil && (c.Op == vfs.Create || c.Op == vfs.Open || c.Op == vfs.Lock):
		r.open++
	}
	return n, err
}

// syncs reports whether c makes bytes of a file durable.
func syncs(c vfs.Call) bool { return c.Op == vfs.Sync || c.Op == vfs.WriteSync }

// began notes a call that is made, and returns its index in calls.
func (r *run) began(c vfs.Call) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if (syncs(c) || c.Op == vfs.SyncDir) && r.unsynced[c.Name] {
		r.problems = append(r.problems, "a second sync of "+c.Name+" after one that failed")
	}
	r.calls = append(r.calls, called{Call: c})
	return len(r.calls) - 1
}

func (r *run) problem(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// trace returns all calls that were made, as text.
func (r *run) trace() string {
	var b strings.Builder
	for i, c := range r.made() {
		fmt.Fprintf(&b, "%4d %v %s %s %d+%d", i, c.Op, c.Name, c.To, c.Off, c.Size)
		if c.err != nil {
			fmt.Fprintf(&b, ": %v", c.err)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// caused reports whether err wraps what was made to fail.
func (r *run) caused(err error) bool {
	return r.fault.caused(err) || r.full && isNoSpace(err)
}

// mayBe notes an error that an operation of the log returned, and returns what
// it says of the operation.
func (r *run) mayBe(what string, err error) fate {
	if err == nil {
		return fateDurable
	}
	r.told = true
	switch {
	case errors.Is(err, ErrClosed):
		return fateNone
	case !r.caused(err):
		r.problem("%s: %v does not wrap the cause", what, err)
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrVersion), errors.Is(err, ErrTruncated), errors.Is(err, ErrNotFound):
		r.problem("%s: %v is not what happened", what, err)
	case errors.Is(err, ErrUnknownOutcome):
		if errors.Is(err, ErrNoSpace) || !errors.Is(r.log.Err(), ErrFailed) && !errors.Is(r.log.Err(), ErrClosed) {
			r.problem("%s: %v, and Err is %v", what, err, r.log.Err())
		}
		return fateOpen
	case errors.Is(err, ErrFailed):
		return fateNone
	case errors.Is(err, ErrNoSpace):
		r.noSpace = true
		if !isNoSpace(err) && !r.madeNone() {
			r.problem("%s: %v, and no file was to be made", what, err)
		}
		return fateNone
	case (strings.HasPrefix(what, "truncate") || what == "append batch") && isRead(err):
		return fateNone // where the record is could not be read
	default:
		r.problem("%s: undocumented error: %v", what, err)
	}
	return fateOpen
}

// madeNone reports whether a call failed that was to make a new segment, or to have one
// that is ready be large enough for its first group.
func (r *run) madeNone() bool {
	calls := r.made()
	for i, c := range calls {
		if c.err == nil {
			continue
		}
		if strings.HasSuffix(c.Name, segment.TempExt) || c.Op == vfs.Allocate && !begunIn(c.Name, calls[:i]) {
			return true
		}
	}
	return false
}

// begunIn reports whether one of the calls is the write of a group to the segment.
func begunIn(name string, calls []called) bool {
	return slices.ContainsFunc(calls, func(c called) bool {
		return c.Name == name && c.Op == vfs.WriteAt && c.Off >= segment.HeaderSize
	})
}

// made returns the calls that were made so far.
func (r *run) made() []called {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.calls)
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
	r.note(operation{fmt.Sprintf("%s: %v", what, err), f, apply})
	if err != nil {
		r.afterFailure()
	} else if r.ended {
		r.problem("%s succeeded, and an operation before it was told that the log has failed", what)
	}
	r.ended = r.ended || errors.Is(err, ErrFailed)
}

// note adds an operation to the model.
func (r *run) note(op operation) {
	r.model.ops = append(r.model.ops, op)
	r.settled()
}

// settled notes how many operations are over: those before the first that is waited
// for.
func (r *run) settled() {
	n := len(r.model.ops)
	if len(r.pending) > 0 {
		n = r.pending[0].op
	}
	r.noted.Store(int64(n))
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
	l, err := Open("log", &r.opts)
	if err == nil {
		r.set(func() { r.phase = inUse })
		if err := l.Err(); err != nil {
			r.problem("Open: nil, and Err: %v", err)
		}
		r.log = l
		return true
	}
	r.told, r.unopened = true, true
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion) || errors.Is(err, ErrLocked) || errors.Is(err, fs.ErrNotExist) || !r.caused(err) {
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
	if err == nil && string(got) != want || !r.asTheDisk(err) {
		r.problem("Read(%d): %.20q, %v, want %.20q", lsn, got, err, want)
	}
}

// asTheDisk reports whether err, of a read, is nil or what the disk says.
func (r *run) asTheDisk(err error) bool {
	r.told = r.told || err != nil
	return err == nil || r.caused(err) && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrTruncated)
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
	r.note(operation{"append async", fateOpen, appends(data)})
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
	r.settled()
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
	if err := r.log.TruncateFront(first); errors.Is(err, ErrNoSpace) && r.fault.part == after {
		r.told, r.noSpace = true, true
		// A write in place that fails for want of space, and is there all the same.
		r.note(operation{"truncate front, against all odds", fateMaybe, truncatesFront(first)})
		r.afterFailure()
	} else {
		r.did(fmt.Sprintf("truncate front to %d", first), err, truncatesFront(first))
	}
}

func (r *run) reset(next LSN) {
	r.did(fmt.Sprintf("reset to %d", next), r.log.Reset(next), resets(next))
}

// limit lets the disk be full with that many bytes; 0: no more.
func (r *run) limit(bytes int64) {
	r.full = true
	r.crash.SetLimit(bytes)
}

// idle lets time pass, so that what is due is done.
func (r *run) idle(d time.Duration) {
	time.Sleep(d) // the bubble's clock
	synctest.Wait()
}

// readAll reads the log to its end; only the disk may make that fail.
func (r *run) readAll() {
	if _, err := worldOf(r.log); !r.asTheDisk(err) {
		r.problem("Records: %v", err)
	}
}

// close closes the log, twice.
func (r *run) close() {
	r.rest()
	r.set(func() { r.phase = closing })
	err := r.log.Close()
	if again := r.log.Close(); again != err {
		r.problem("Close: %v, and then %v", err, again)
	}
	r.wait()
	r.told = r.told || err != nil
	if err != nil && !r.caused(err) {
		r.problem("Close: %v", err)
	}
	if r.ended && !errors.Is(err, ErrFailed) {
		r.problem("Close of a log that has failed: %v", err)
	}
	r.ended = r.ended || errors.Is(err, ErrFailed)
	if r.ended { // what was not ordered durably before may be there, or not
		r.afterFailure()
	} else {
		r.note(operation{"close", fateDurable, nothing})
	}
	r.log = nil
}

// rest lets the goroutines of the log finish what they do.
func (r *run) rest() { synctest.Wait() }
