package waltest

import (
	"fmt"
	"syscall"

	"github.com/seed3918b8df/tidemark/internal/vfs"
)

// Op says what a call does.
type Op string

// The operations. Of a file they are named as the methods of [File] are; the log has
// a few more.
const (
	Mkdir   Op = "mkdir"
	List    Op = "list" // ReadDir
	Create  Op = "create"
	Open    Op = "open" // of a file that is there
	Rename  Op = "rename"
	Remove  Op = "remove"
	Link    Op = "link" // the log's alone
	SyncDir Op = "syncdir"
	Lock    Op = "lock" // the log's alone

	Read     Op = "read"
	Write    Op = "write"
	Allocate Op = "allocate" // space for a file, ahead of writes; the log's alone
	Zero     Op = "zero"     // zeros written to such space, where that is of use; the log's alone
	Truncate Op = "truncate"
	Sync     Op = "sync"
	Stat     Op = "stat"
	Close    Op = "close" // of a file or a lock

	// WriteSync writes bytes and makes them, and nothing else, durable: the log's alone,
	// with [wal.Options].Direct.
	WriteSync Op = "writesync"
)

// Call is one call of the file system.
type Call struct {
	Op   Op
	Name string // the path, as the caller gave it; of an open file the present one
	To   string // the new path, of Rename and Link
	Off  int64  // in bytes, of Read, Write, Zero and WriteSync
	Size int64  // in bytes: what to read or write, or what the size is to be, of Allocate and Truncate
}

func callOf(c vfs.Call) Call {
	return Call{Op: Op(c.Op.String()), Name: c.Name, To: c.To, Off: c.Off, Size: c.Size}
}

// Changes reports whether the call is there to change what is stored or what of it is
// durable: all but List, Open, Lock, Read, Zero, Stat and Close.
func (c Call) Changes() bool {
	switch c.Op {
	case List, Open, Lock, Read, Zero, Stat, Close:
		return false
	}
	return true
}

// String returns the call as one line of text.
func (c Call) String() string {
	switch c.Op {
	case Read, Write, Zero, WriteSync:
		return fmt.Sprintf("%s %s %d+%d", c.Op, c.Name, c.Off, c.Size)
	case Allocate, Truncate:
		return fmt.Sprintf("%s %s %d", c.Op, c.Name, c.Size)
	case Rename, Link:
		return fmt.Sprintf("%s %s %s", c.Op, c.Name, c.To)
	}
	return fmt.Sprintf("%s %s", c.Op, c.Name)
}

// Fault says which calls fail, and how. The zero value lets the next call fail with
// EIO, whatever it is.
type Fault struct {
	// Match says whether a call counts; nil: every call does. Call.Changes is one
	// such function. It must not use the Disk; calls of it do not overlap.
	Match func(Call) bool

	// At is the number, from 0, of the call that fails among those that count; a
	// negative one lets none fail, which only counts.
	At int

	// Sticky lets all calls that count fail from then on.
	Sticky bool

	// Err is the cause of the error, which is an *fs.PathError; nil: syscall.EIO.
	// With syscall.ENOSPC, EDQUOT or EFBIG the log takes it for want of space.
	Err error

	// After lets the call do its work before it fails.
	After bool

	// Short is how many bytes a Read or Write that fails has done all the same and
	// says so, at most what was asked for. A WriteSync that fails has written so many, of
	// which none is durable.
	Short int
}

// Fail sets the fault, in place of the one before, and Matched and Failed to 0. A
// Close that fails closes all the same; the log ignores some errors of that kind.
// Since the log has calls of its own in the background, number n need not be the same
// call in each run; that it happened is what Failed says.
func (d *Disk) Fail(f Fault) {
	fault := vfs.Fault{At: f.At, Sticky: f.Sticky, Err: f.Err, After: f.After, Short: f.Short}
	if fault.Err == nil {
		fault.Err = syscall.EIO
	}
	if match := f.Match; match != nil {
		fault.Match = func(c vfs.Call) bool { return match(callOf(c)) }
	}
	d.faulty.Set(fault)
}

// Heal removes the fault. Matched and Failed count on, with every call matching.
func (d *Disk) Heal() { d.faulty.Clear() }

// Matched returns how many calls counted since Fail, those that failed included;
// without a fault, all calls.
func (d *Disk) Matched() int { return d.faulty.Calls() }

// Failed returns how many calls were made to fail since Fail.
func (d *Disk) Failed() int { return d.faulty.Hits() }
