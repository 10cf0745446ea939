// Package load puts the same work on several write-ahead logs and measures what
// becomes of it. A log is a [Target]; what is done to it is a [Workload]; [Run] goes
// through both in rounds, and a [Report] holds the medians of what each round showed.
package load

import "time"

// Target is a log that can be measured.
type Target struct {
	Name string

	// Gaps are what this log promises less than a durable log with checksums does:
	// they are printed beside its figures.
	Gaps []string

	NotDurable  bool // it syncs no append: only work that need not be durable is for it
	AlwaysSyncs bool // work of appends that are not synced is not for it
	OnlyAppends bool // it is measured appending, and without that in nothing

	// Open opens a new log in dir, which is empty.
	Open func(dir string, o Options) (Log, error)

	// Reopen opens the log that was closed in dir. nil: as Open.
	Reopen func(dir string, o Options) (Log, error)

	// Durable is set instead of Open where the log is in a program of its own, which is
	// asked to append from n threads records of size bytes, each durable before the
	// next, for about d, and can be asked for nothing else.
	Durable func(dir string, n, size int, d time.Duration) (Result, error)
}

// Options are what a workload asks of a log.
type Options struct {
	SegmentSize int64 // bytes; 0: 64 MiB
	Relaxed     bool  // an append need not be durable when it returns
	Whole       bool  // opening verifies all of the log, if it is a [Verifier]
}

// Log is an open log. Append is called by any number of goroutines; a log that is not
// safe for that is wrapped in a [Serial]. What else it can do is in the interfaces
// below, which it may have: a workload leaves out the targets that lack what it needs.
type Log interface {
	// Append appends a record and returns when it is durable, unless Options.Relaxed.
	Append(data []byte) error

	Close() error
}

// Batcher appends several records at once.
type Batcher interface {
	AppendBatch(data [][]byte) error
}

// Async appends without waiting. What is under way is told apart by slots, numbers
// from 0 up, so that a log needs no memory for each record.
type Async interface {
	// Slots is called once, before the others, with how many there are.
	Slots(n int)

	// AppendAsync orders a record, which is under way in the slot from then on.
	AppendAsync(slot int, data []byte) error

	// Wait returns when the record that is under way in the slot is durable.
	Wait(slot int) error
}

// Orderer appends without waiting, then or later.
type Orderer interface {
	Order(data []byte) error
}

// Scanner reads all records in order.
type Scanner interface {
	// Scan returns how many records there are, and their bytes of data.
	Scan() (records, bytes int64, err error)
}

// Reader reads one record. The first that was appended is number 0.
type Reader interface {
	Read(n uint64, dst []byte) ([]byte, error)
}

// Verifier heeds [Options.Whole].
type Verifier interface{ VerifiesWhole() }

// Truncater drops the records below number n.
type Truncater interface {
	TruncateFront(n uint64) error
}

// Follower reads records as they become visible until the log is closed.
type Follower interface {
	// Follow calls seen with each record from the next one on. It returns when the log
	// is closed.
	Follow(seen func(data []byte)) error
}
