package wal

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"

	"github.com/seed3918b8df/tidemark/internal/vfs"
	"github.com/seed3918b8df/tidemark/recovery"
	"github.com/seed3918b8df/tidemark/segment"
)

// SyncPolicy says when an append returns, and so what a crash can take.
type SyncPolicy uint8

// The policies.
const (
	// SyncAlways: an append returns after the sync that makes it durable. A
	// process crash and a power loss both keep it.
	SyncAlways SyncPolicy = iota

	// SyncInterval: an append returns after it was handed to the operating
	// system, and is synced within Options.SyncEvery. A process crash keeps it; a
	// power loss takes at most the last SyncEvery.
	SyncInterval

	// SyncNone: an append returns after it was handed to the operating system. A
	// process crash keeps it; a power loss takes everything since the last
	// rotation, Sync or Wait.
	SyncNone
)

// RecoveryMode says how much Open accepts.
type RecoveryMode = recovery.Mode

// The modes: see package recovery.
const (
	Strict      = recovery.Strict
	Paranoid    = recovery.Paranoid
	PointInTime = recovery.PointInTime
)

// FS is a file system. It is made by [NewMemFS]; nil is the operating system.
type FS = vfs.FS

// NewMemFS returns a file system in memory, of its own. A log on it is a log in
// memory: the code is the same, and it is gone with the process.
func NewMemFS() FS { return vfs.NewMem() }

// The defaults of Options, and its limits.
const (
	DefaultSegmentSize   = 64 << 20 // bytes
	DefaultMaxRecordSize = 16 << 20 // bytes
	DefaultSyncEvery     = 100 * time.Millisecond
	DefaultSlowSync      = time.Second

	MinSegmentSize = 8 << 10         // bytes
	MaxSegmentSize = 4 << 30         // bytes
	MaxMetaSize    = 64 << 10        // bytes
	maxRecordSize  = segment.MaxData // 1 GiB

	// MaxFirstLSN is the highest LSN that a log may begin with; behind it there
	// is room for as many records again.
	MaxFirstLSN = 1 << 63
)

// Options says how a log is opened. The zero value, and a nil pointer, are safe
// defaults.
//
// Segments reach SegmentSize by and by: the first after each Open has 1 MiB at most, or
// twice its first group, and each next one twice that of the one before, or less where the
// disk has less. A log that takes few appends takes little space. Under SyncAlways, on ext4
// and XFS, and as long as a sync makes less than 128 KiB durable on the mean, each is
// written with zeros before it is used, in the background: syncs are faster by a quarter
// for it, and the disk writes twice as much. That ends where the front is truncated as the
// log grows: under SyncAlways up to two files of about SegmentSize that a truncation leaves
// are kept, under the name of a temporary file, and become the next segments; Close removes
// them. A file that has another name, a hard link, never becomes another segment; who has one
// open without that may read another segment's bytes, once it was truncated away.
//
// With Direct, under SyncAlways, on Linux with ext4 or XFS, a group that is to be durable at
// once is written and synced by one call, past the page cache (O_DIRECT with O_DSYNC), where
// all before it is durable. Stats.Direct counts those; SlowSync and Stats.SyncTime are then
// about write and sync. On a disk without FUA there were 2 to 21 % more appends of 8 to 256
// goroutines for it, for less CPU; one that has it, as /sys/block/*/queue/fua says, takes one
// command for each instead of a write and a flush. It is off by default: readers find the
// newest megabyte of the active segment in memory, and what is older and was not read since
// comes from the disk; who mixes AppendAsync and Append has blocks read back before they are
// written to; and an error of such a call ends the log, want of space too, since nobody knows
// what was written. Nothing changes elsewhere, for the first group of a segment, for groups of
// more than 128 KiB, on the mean too, and for what nobody waits for. bench/README.md has the
// figures.
//
// With a ScrubRate every checksum of the segments that take no appends any more is
// verified in the background, so that rot is found while there is still another copy
// to restore it from. A pass over the log begins with Open and then every hour, or when
// the one before has ended. What it finds, Hooks and Stats say; the log goes on.
type Options struct {
	FS            FS            // nil: the operating system
	SegmentSize   int64         // bytes, from MinSegmentSize to MaxSegmentSize; 0: 64 MiB
	MaxRecordSize int           // bytes, at most 1 GiB; 0: 16 MiB
	FirstLSN      LSN           // of a log that this Open creates; 0: 1. Else ignored
	MustExist     bool          // no log there: fs.ErrNotExist, instead of a new log
	Sync          SyncPolicy    // SyncAlways
	SyncEvery     time.Duration // for SyncInterval; 0: 100 ms
	SlowSync      time.Duration // a sync that takes longer is logged; 0: 1 s
	Direct        bool          // durable groups are written past the page cache, where that can be done
	ScrubRate     int64         // bytes a second that the scrub reads at most; 0: there is none
	ReadOnly      bool          // changes nothing on disk, takes no lock, works beside a live writer
	Recovery      RecoveryMode  // Strict
	ExpectLSN     LSN           // the caller knows that this LSN was durable: a log that ends before it is corrupt
	Logger        *slog.Logger  // nil: silent
	Hooks         Hooks
	Name          string // for log lines; "": the directory

	gatherOff    bool  // for tests: a leader does not wait for others
	firstSegment int64 // for tests: bytes of the first segment; 0: those of the constant
	largeRecord  int   // for tests: see the constant
	largePiece   int   // for tests: see the constant
	mirrorSize   int64 // for tests: see the constant
}

// Hooks are called on a goroutine of the log's own, one at a time and in order,
// with no lock held: any method but Close may be called in them, and a slow hook
// delays no commit. Each may be nil.
type Hooks struct {
	Recovered func(Report)             // once, after Open
	Rotated   func(SegmentInfo)        // a new segment is active
	Sealed    func(SegmentInfo)        // a segment was sealed
	Truncated func(first, last LSN)    // FirstLSN and LastLSN after a truncation
	SlowSync  func(took time.Duration) // a sync took longer than Options.SlowSync
	NoSpace   func(err error)          // an append failed for want of space
	Failed    func(err error)          // the log takes no appends any more
	Scrubbed  func(SegmentInfo)        // the scrub has verified a segment
	Damaged   func(err error)          // the scrub has found a [CorruptError], or could not read a segment
}

// withDefaults returns a copy of o in which nothing is left to be defaulted, or
// an error that names the option and its value.
func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	if c.FS == nil {
		c.FS = vfs.OS()
	}
	c.largeRecord = cmp.Or(c.largeRecord, largeRecord)
	c.largePiece = cmp.Or(c.largePiece, largePiece)
	if c.SegmentSize == 0 {
		c.SegmentSize = DefaultSegmentSize
	}
	if c.MaxRecordSize == 0 {
		c.MaxRecordSize = DefaultMaxRecordSize
	}
	if c.FirstLSN == 0 {
		c.FirstLSN = 1
	}
	if c.SyncEvery == 0 {
		c.SyncEvery = DefaultSyncEvery
	}
	if c.SlowSync == 0 {
		c.SlowSync = DefaultSlowSync
	}
	switch {
	case c.SegmentSize < MinSegmentSize || c.SegmentSize > MaxSegmentSize:
		return c, fmt.Errorf("wal: Options.SegmentSize is %d, want %d to %d", c.SegmentSize, MinSegmentSize, int64(MaxSegmentSize))
	case c.MaxRecordSize < 1 || c.MaxRecordSize > maxRecordSize:
		return c, fmt.Errorf("wal: Options.MaxRecordSize is %d, want 1 to %d", c.MaxRecordSize, maxRecordSize)
	case c.FirstLSN > MaxFirstLSN:
		return c, fmt.Errorf("wal: Options.FirstLSN is %d, want 1 to %d", c.FirstLSN, LSN(MaxFirstLSN))
	case c.Sync > SyncNone:
		return c, fmt.Errorf("wal: Options.Sync is %d, want SyncAlways, SyncInterval or SyncNone", c.Sync)
	case c.SyncEvery < 0:
		return c, fmt.Errorf("wal: Options.SyncEvery is %v, want more than 0", c.SyncEvery)
	case c.SlowSync < 0:
		return c, fmt.Errorf("wal: Options.SlowSync is %v, want more than 0", c.SlowSync)
	case c.ScrubRate < 0:
		return c, fmt.Errorf("wal: Options.ScrubRate is %d, want 0 or more bytes a second", c.ScrubRate)
	case c.ScrubRate > 0 && c.ReadOnly:
		return c, fmt.Errorf("wal: Options.ScrubRate is %d, and a read-only log is not scrubbed", c.ScrubRate)
	case c.Recovery > PointInTime:
		return c, fmt.Errorf("wal: Options.Recovery is %d, want Strict, Paranoid or PointInTime", c.Recovery)
	}
	return c, nil
}
