package segment

import (
	"errors"
	"fmt"
)

// LSN is the number of a record. LSNs are dense: each record has the LSN of the
// record before it plus one. 0 is never a record.
type LSN uint64

// Errors that callers test with [errors.Is].
var (
	// ErrCorrupt is what every [CorruptError] is.
	ErrCorrupt = errors.New("log is corrupt")
	// ErrVersion means that a file was written in a newer version of the format,
	// or with a feature that this version does not know. It is not damage.
	ErrVersion = errors.New("unknown version of the format")
)

// CorruptError says that something that was durable does not verify. It names
// the place; what is to be done is for package recovery and for the operator.
type CorruptError struct {
	Path   string // the file
	Offset int64  // bytes from its start
	LSN    LSN    // of the record at Offset or, if that is not known, the next one expected; 0: unknown
	Reason string // what does not hold

	// Stored and Computed are the sum found and the sum wanted, where a sum is
	// what does not hold; else both are 0.
	Stored, Computed uint64

	// ValidBeyond says that something behind Offset verifies, or proves that
	// Offset was durable.
	ValidBeyond bool
}

// Error names path, offset, LSN and reason, and the sums if they differ.
func (e *CorruptError) Error() string {
	s := fmt.Sprintf("segment: %s: at %d: %s", e.Path, e.Offset, e.Reason)
	if e.Stored != e.Computed {
		s += fmt.Sprintf(" %016x, want %016x", e.Stored, e.Computed)
	}
	if e.LSN != 0 {
		s += fmt.Sprintf(" (LSN %d)", e.LSN)
	}
	return s
}

// Is makes every CorruptError an [ErrCorrupt].
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// VersionError says which file is of a newer version, and by what.
type VersionError struct {
	Path   string
	Offset int64
	What   string // "version 2", "incompatible features 0x1", "frame type 9"
}

// Error names path, offset and what is not known.
func (e *VersionError) Error() string {
	return fmt.Sprintf("segment: %s: at %d: %s is not known to this version", e.Path, e.Offset, e.What)
}

// Is makes every VersionError an [ErrVersion].
func (e *VersionError) Is(target error) bool { return target == ErrVersion }
