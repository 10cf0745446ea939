package wal

import (
	"errors"
	"fmt"

	"github.com/seed3918b8df/tidemark/segment"
)

// Errors that callers test with [errors.Is].
var (
	// ErrClosed: the log, or the reader, has been closed.
	ErrClosed = errors.New("wal: closed")

	// ErrCorrupt: something durable does not verify. Every [CorruptError] is one.
	ErrCorrupt = segment.ErrCorrupt

	// ErrVersion: a file was written by a newer version. It is not damaged.
	ErrVersion = segment.ErrVersion

	// ErrTruncated: the LSN is below FirstLSN.
	ErrTruncated = errors.New("wal: below the first LSN")

	// ErrNotFound: the LSN is above LastLSN.
	ErrNotFound = errors.New("wal: above the last LSN")

	// ErrConflict: the first record of the batch would not have got the LSN that
	// [Batch.SetFirst] asked for. Nothing was written.
	ErrConflict = errors.New("wal: the batch would not begin at the LSN asked for")

	// ErrRewound: TruncateBack or Reset took what this reader had passed.
	ErrRewound = errors.New("wal: truncated behind the reader")

	// ErrLocked: another Log, of this or of another process, has the log open.
	ErrLocked = errors.New("wal: the log is open elsewhere")

	// ErrReadOnly: the log was opened with Options.ReadOnly.
	ErrReadOnly = errors.New("wal: read-only")

	// ErrFailed: the log takes no appends any more, because a write or a sync
	// failed. It wraps the cause. It stays until the log is opened again. The
	// append that is told so is certainly not in the log.
	ErrFailed = errors.New("wal: failed")

	// ErrUnknownOutcome: the append was under way when a write or a sync failed.
	// It may or may not be there when the log is opened again.
	ErrUnknownOutcome = errors.New("wal: outcome unknown")

	// ErrNoSpace: there was no space, or the file of the next segment could not be
	// made. The append is certainly not in the log and will not appear. Appends
	// succeed again when there is space.
	ErrNoSpace = errors.New("wal: no space")

	// ErrTooLarge: the record, batch or meta is above the limit.
	ErrTooLarge = errors.New("wal: too large")
)

// CorruptError says what does not verify, and where.
type CorruptError = segment.CorruptError

// lsnError names the LSN that was asked for and the bound that it breaks.
func lsnError(err error, lsn, bound LSN) error {
	return fmt.Errorf("%w: LSN %d, which is %d", err, lsn, bound)
}
