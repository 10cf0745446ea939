// Package index maps the records of one segment to the offsets of their frames.
//
// An index is sparse: it holds an entry for the first record at or behind each
// [Step] bytes of the file, so that a lookup gives a record to start from and
// the stretch of the file that holds the one asked for. Records are named by
// their ordinal, 0 for the first of the segment; the package knows no LSN, no
// file and no checksum. An index is a hint: whoever uses it verifies what is
// found at the offset, and builds it again from the frames when it is wrong.
//
// The package is exported for tools; its API may change in a minor version.
package index
