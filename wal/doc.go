// Package wal is a write-ahead log: a storage engine, a raft group or a queue
// appends to it before it does anything else, and replays it at start.
//
// [Open] a directory, [Log.Append] records, read them with [Log.Records]. An
// append returns when its record is durable; appends of many goroutines share
// one write and one sync.
//
// # Words
//
//	record      the caller's bytes, possibly none
//	LSN         its number: dense, first 1 unless Options.FirstLSN says otherwise
//	batch       records that survive a crash together or not at all
//	meta        bytes that the caller keeps beside the records, such as a term and
//	            a vote; the last one set is in force
//	group       what was written at once; a sync makes all that were written durable
//	segment     a file of the log: active, which is the last one, or sealed
//	sync        makes durable; to flush, or to hand over, only gives bytes to the
//	            operating system
//	durable     survives a power loss
//	visible     what readers see: an append of it has returned success, or would
//	            have
//	watermark   how far the log is known to be durable; each group carries one
//	torn tail   what an interrupted write left behind the last provably durable
//	            group: cut off at Open, and reported
//	corruption  damage to what was durable: refused, reported, never cut silently
//
// # Policies
//
// [SyncPolicy] says when an append returns, and with that what a crash can take:
//
//	policy        an append returns         a process crash  a power loss
//	SyncAlways    after the sync            keeps it         keeps it
//	SyncInterval  after it was handed over  keeps it         takes at most the
//	                                                         last SyncEvery
//	SyncNone      after it was handed over  keeps it         takes what follows the
//	                                                         last rotation, Sync or
//	                                                         Wait
//
// Under any policy [Pending.Wait] and [Log.Sync] return when it is durable. A
// machine whose disk acknowledges a sync that it did not do keeps none of this.
//
// What is damaged, by a crash or by the disk, is told apart as package recovery
// explains. In short: each group carries the watermark of its time under a sum of
// its own; what fails below the highest watermark was durable, and is corruption;
// what fails above it is a torn tail. The one group that the last sync covered,
// and that nothing behind it claims yet, is the exception: damaged, it is cut and
// reported as ambiguous. A log that is idle for 100 ms claims it, unless its
// policy is SyncNone, and so do Close and the next append; [Options.ExpectLSN]
// decides for who knows better.
//
// Open reads what a crash can have touched and no more. Damage to older records
// is found by who reads them, since every read verifies, by [recovery.Inspect] and
// the command walctl verify, and in the background with [Options.ScrubRate].
//
// # An engine on top
//
// Two goroutines that append and then apply may apply in the other order. So an
// engine orders and applies under its own lock, and waits after it:
//
//	mu.Lock()
//	p, err := log.AppendAsync(change) // has its place, and its LSN, now
//	if err == nil {
//		apply(change)
//	}
//	mu.Unlock()
//	if err == nil {
//		err = p.Wait(ctx) // durable
//	}
//
// Once its state is durable elsewhere, [Log.TruncateFront] drops what it covers;
// at the next start the engine replays Records from there, and tells Open in
// ExpectLSN how far it knows the log to reach.
//
// # Concurrency
//
// All methods of [Log] may be called at any time by any goroutine, from within
// the body of an iterator too, which holds no lock. A [Batch] and a [Reader] are
// for one goroutine at a time. [Hooks] run one at a time on a goroutine of the
// log's own; any method but Close may be called in them.
//
// One Log at a time has a directory open for writing; a second one gets
// [ErrLocked]. Options.ReadOnly takes no lock and works beside the writer, from
// other processes too. The lock and the syncs are those of a local file system:
// a network file system may honour neither.
//
// # Errors
//
// A write or a sync that fails ends the log for appends: those under way get
// [ErrUnknownOutcome], later ones [ErrFailed], and reads of what is durable go on.
// Nothing is synced twice. Want of space is different: what did not fit gets
// [ErrNoSpace], which is certain, and appends succeed again when there is space.
// After Open has returned a [CorruptError] nothing has been changed.
//
// # Where things are
//
//	log.go       Log, Append, Sync, Rotate
//	options.go   Options, policies, limits, Hooks
//	open.go      Open and Close
//	order.go     how an append gets its place, and its LSN
//	commit.go    group commit: who writes, for whom, and who is told
//	gather.go    how long a leader waits for others
//	write.go     groups, rotation, truncation and marks, as calls of the file system
//	publish.go   what readers see, and when
//	fail.go      a failed write, and want of space
//	flusher.go   what is due and nobody waits for
//	keeper.go    the next segment, seals, removals, in the background
//	reuse.go     files of segments that become others
//	truncate.go  TruncateFront, TruncateBack, Reset, Hold
//	stats.go     counters, and histogram.go of durations
//	reader.go    Read, Records, Follow, Reader
//	extent.go    a segment as readers see it
//	viewer.go    ReadOnly
//	signal.go    how readers are woken, and rewound
//
// The format of the files is package segment's comment, what is decided after a
// crash package recovery's.
package wal
