package waltest

import (
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/wal"
)

// Disk is a file system in memory as one process sees it. It behaves as Unix does:
// what is open can be renamed, removed and replaced. Directories "/" and "." are
// there from the start. Names are cleaned as by filepath.Clean; errors are
// *fs.PathError and *os.LinkError, as those of package os.
//
// All methods may be called concurrently. Calls that change something take turns,
// those of the log's own goroutines too.
type Disk struct {
	// Set at creation, then read only.
	sector int
	core   *vfs.Crash // what all processes share
	faulty *vfs.Faulty
	trace  *vfs.Trace
	fs     vfs.FS // core, within, faults, trace and handle around each other

	appending sync.Mutex // held from finding the end of a file to writing there

	turn struct {
		sync.Mutex // held during a call that changes something
		onChange   func(Call)
		left       int // calls that change something, until the process ends; negative: no end is set
	}

	killed atomic.Bool // set under turn, and stays
}

// New returns an empty file system that loses power in units of sector bytes, 512 or
// 4096; it panics for any other size.
func New(sector int) *Disk {
	if sector != 512 && sector != 4096 {
		panic(fmt.Sprintf("waltest: sector of %d bytes, want 512 or 4096", sector))
	}
	core := vfs.NewCrash(sector)
	core.UseDirect(4096)
	return newDisk(core, sector)
}

// newDisk returns core as a new process sees it.
func newDisk(core *vfs.Crash, sector int) *Disk {
	d := &Disk{sector: sector, core: core}
	d.faulty = vfs.NewFaulty(vfs.Wrap(core, d.within))
	d.trace = vfs.NewTrace(d.faulty)
	d.fs = vfs.Wrap(d.trace, d.handle)
	d.turn.left = -1
	return d
}

// FS returns the file system for [wal.Options]. The log's calls are counted, traced,
// failed and shown to OnChange as the engine's are.
func (d *Disk) FS() wal.FS { return d.fs }

// OnChange has fn called before each call that changes something (see
// [Call.Changes]), the log's as well as the engine's, and once more in the middle of a
// WriteSync, when all is written and nothing durable; nil ends that. Each call of fn
// is a moment at which the power may fail: in fn, [Disk.State] is what that leaves,
// and what was promised until then must be in it. The moment behind the last call is
// not among them: call State there too.
//
// Calls of fn do not overlap. They come from the goroutines that call the file
// system, those of the log included. In fn, no call that changes something may be
// made or waited for, nor OnChange and Kill.
func (d *Disk) OnChange(fn func(Call)) {
	d.turn.Lock()
	defer d.turn.Unlock()
	d.turn.onChange = fn
}

// State returns all that a power loss now may leave. It does not change when the file
// system does. It costs no copy of the files.
func (d *Disk) State() *State { return &State{vfs: d.core.State(), sector: d.sector} }

// Kill ends the process, once a call under way that changes something has ended: from
// then on every call of d, of its files and of FS fails with fs.ErrClosed and changes
// nothing. It returns the file system as the next process sees it: all is there, open
// files are closed and locks released, no fault is set. What was not durable is still
// not, though it can be read: a power loss may yet take it.
//
// A log that was open on d still has its goroutines; a Close, which fails, ends them.
func (d *Disk) Kill() *Disk {
	d.turn.Lock()
	defer d.turn.Unlock()
	d.end()
	return newDisk(d.core, d.sector)
}

// KillAt ends the process as Kill does, but before its call number n, from 0 and from
// now on, that changes something; a WriteSync counts twice, as for OnChange, unless it
// fails. A negative n takes that back. Kill, then, returns the file system of the next
// process.
func (d *Disk) KillAt(n int) {
	d.turn.Lock()
	defer d.turn.Unlock()
	d.turn.left = n
}

// Killed reports whether the process has ended.
func (d *Disk) Killed() bool { return d.killed.Load() }

// end ends the process. Requires turn.
func (d *Disk) end() {
	if !d.killed.Swap(true) {
		d.core.Kill()
	}
}

// SetLimit lets all files together have at most that many bytes; 0 is no limit. What
// is there stays. A write that needs more does what fits and fails with
// syscall.ENOSPC. The limit outlives Kill; an [Image] has none.
func (d *Disk) SetLimit(bytes int64) { d.core.SetLimit(bytes) }

// Used returns the sum of the sizes of all files, in bytes. One that was removed and
// is still open counts.
func (d *Disk) Used() int64 { return d.core.Used() }

// Trace returns the calls that changed something, and those of Close, in the order in
// which they returned since the last Trace, one a line, with base names only:
//
//	create snapshot.tmp
//	write snapshot.tmp 0+52
//	sync snapshot.tmp
//	close snapshot.tmp
//	rename snapshot.tmp snapshot
//	syncdir store
//
// A write has offset+size. After a call that failed, ": " and the cause follow.
func (d *Disk) Trace() string { return d.trace.Take() }

// handle is around every call.
func (d *Disk) handle(c vfs.Call, do func(int) (int, error)) (int, error) {
	if !c.Op.Mutates() && c.Op != vfs.Lock { // which may create a file
		return d.perform(c, do)
	}
	d.turn.Lock()
	defer d.turn.Unlock()
	if call := callOf(c); call.Changes() {
		d.before(call)
	}
	n, err := d.perform(c, do)
	if (c.Op == vfs.Sync || c.Op == vfs.WriteSync) && err != nil && !errors.Is(err, fs.ErrClosed) {
		_ = d.core.FailSync(c.Name) // it may have no name any more, and then nothing of it is left
	}
	return n, err
}

// within is around each call of core: there is a moment in the middle of a WriteSync.
func (d *Disk) within(c vfs.Call, do func(int) (int, error)) (int, error) {
	if c.Op == vfs.WriteSync {
		if n, err := do(-int(c.Size)); err != nil {
			return n, err
		}
		d.before(callOf(c))
	}
	return d.perform(c, do)
}

// before does what is due before the call. Requires turn.
func (d *Disk) before(c Call) {
	if d.Killed() {
		return
	}
	if d.turn.left == 0 {
		d.end()
		return
	}
	if d.turn.left > 0 {
		d.turn.left--
	}
	if d.turn.onChange != nil {
		d.turn.onChange(c)
	}
}

// perform does what the call says, while the process lives.
func (d *Disk) perform(c vfs.Call, do func(int) (int, error)) (int, error) {
	if d.Killed() && c.Op != vfs.Close { // closed it is, and says so itself
		return 0, &fs.PathError{Op: c.Op.String(), Path: c.Name, Err: fs.ErrClosed}
	}
	return do(int(c.Size))
}
